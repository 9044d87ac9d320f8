package web

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/shipmate-dev/shipmate/pipeline/runlog"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	maxLines  = 2000     // of a log that a page shows at first; the whole is a link away
	maxColumn = 16 << 10 // bytes of one line that a page shows
	maxText   = 2 << 20  // bytes of all lines that it shows at first, and of those that it is sent at once
)

// A logTail is the end of a log.
type logTail struct {
	Started store.Time // of the run: lines tell their time since
	Lines   []logLine
	Last    int    // number of the newest line
	Cut     bool   // there are more than a page shows at first
	Query   string // what was searched for
	Found   int    // lines that have it
	At      int    // the line that was asked for, 0 for none
	size    int    // of the text of Lines, in bytes
}

// A logLine is one line of a log.
type logLine struct {
	Number int // counts from 1 in the whole log
	At     time.Time
	Step   string // where it differs from the line before
	Text   []span
}

// A span is text in one style.
type span struct{ Class, Text string }

// add appends a line that comes after one of the given step, and returns its own.
func (t *logTail) add(l runlog.Line, step string) string {
	if len(l.Text) > maxColumn {
		l.Text = l.Text[:maxColumn] + "…"
	}
	line := logLine{Number: l.Number, At: l.At, Text: styled(l.Text)}
	if l.Step != step {
		line.Step = printable(l.Step)
	}
	t.Lines = append(t.Lines, line)
	t.size += len(l.Text)
	return l.Step
}

// tail reads the end of a run's log, at most so many lines; nil where there is none.
func (s *server) tail(run store.Run, lines int) (*logTail, error) {
	r, err := runlog.Open(s.LogFile(run.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the log of run %s: %w", run.ID, err)
	}
	defer func() { _ = r.Close() }() // it was only read
	t := &logTail{Started: run.StartedAt}
	if t.Last, err = r.Last(); err != nil {
		return nil, fmt.Errorf("read the log of run %s: %w", run.ID, err)
	}
	t.Cut = t.Last > maxLines
	var end []runlog.Line
	size := 0
	for l, err := range r.Lines(max(0, t.Last-lines)) {
		if err != nil {
			return nil, fmt.Errorf("read the log of run %s: %w", run.ID, err)
		}
		if l.Number > t.Last {
			break // it came since
		}
		end = append(end, l)
		for size += length(l); size > maxText; t.Cut, end = true, end[1:] {
			size -= length(end[0])
		}
	}
	step := ""
	for _, l := range end {
		step = t.add(l, step)
	}
	return t, nil
}

// length is how much of a line a page shows at most, in bytes.
func length(l runlog.Line) int { return min(len(l.Text), maxColumn) }

// maxFound is how many lines that fit a search a page shows.
const maxFound = 500

// logOf is what a page shows of a run's log: its end, or the lines that have ?q= in them, or those around ?line=.
func (s *server) logOf(r *http.Request, run store.Run) (*logTail, error) {
	q := r.URL.Query()
	query := strings.TrimSpace(q.Get("q"))
	at, _ := strconv.Atoi(q.Get("line")) // 0 is none
	switch {
	case query != "" && len(query) <= maxQuery:
		wanted := strings.ToLower(query)
		return s.part(r.Context(), run, 0, func(l runlog.Line) bool { return strings.Contains(strings.ToLower(plain(l.Text)), wanted) }, &logTail{Query: query})
	case at > 0:
		return s.part(r.Context(), run, max(0, at-1-maxLines/10), func(runlog.Line) bool { return true }, &logTail{At: at})
	case q.Has("following"):
		return s.tail(run, 0) // they are there already
	}
	return s.tail(run, maxLines)
}

// maxQuery is how long what is searched for may be, in bytes.
const maxQuery = 200

// part reads those lines after a number that fit into t; nil where there is no log.
func (s *server) part(ctx context.Context, run store.Run, after int, fits func(runlog.Line) bool, t *logTail) (*logTail, error) {
	r, err := runlog.Open(s.LogFile(run.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the log of run %s: %w", run.ID, err)
	}
	defer func() { _ = r.Close() }() // it was only read
	t.Started = run.StartedAt
	if t.Last, err = r.Last(); err != nil {
		return nil, fmt.Errorf("read the log of run %s: %w", run.ID, err)
	}
	most := maxLines
	if t.Query != "" {
		most = maxFound
	}
	step := ""
	for l, err := range r.Lines(after) {
		if err != nil {
			return nil, fmt.Errorf("read the log of run %s: %w", run.ID, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err() // nobody waits for it
		}
		if !fits(l) {
			continue
		}
		if t.Found++; t.Found <= most && t.size <= maxText {
			step = t.add(l, step)
		} else if t.Query == "" {
			break
		}
	}
	return t, nil
}

// plain is the text of a line without its style.
func plain(line string) string {
	if !strings.Contains(line, "\x1b") {
		return line
	}
	var b strings.Builder
	for _, s := range styled(line) {
		b.WriteString(s.Text)
	}
	return b.String()
}

// runLog answers with a log as text. With ?follow it goes on with what is written until the run has ended, and whoever
// accepts events gets the page's lines, from the one after ?after= or the last one that it had.
func (s *server) runLog(w http.ResponseWriter, r *http.Request, who seer) {
	var run store.Run
	may := func(who seer) error {
		return s.DB.View(r.Context(), func(tx *store.Tx) error {
			var err error
			if run, err = tx.Run(r.PathValue("id")); err != nil {
				return err
			}
			hidden, err := who.look(tx, run.Repo)
			if err == nil && hidden {
				err = store.ErrNotFound
			}
			return err
		})
	}
	if err := may(who); err != nil {
		s.fail(w, r, err)
		return
	}
	still := func() bool {
		var now seer
		if s.Viewer != nil {
			viewer, err := s.Viewer(r)
			if err != nil || viewer == nil {
				return false
			}
			now.Viewer = viewer
		}
		return may(now) == nil
	}
	if err := s.sendLog(w, r, run, still); errors.Is(err, ErrBusy) {
		w.Header().Set("Retry-After", "10")
		http.Error(w, err.Error()+"; the run's page shows this one too", http.StatusServiceUnavailable)
	} else if err != nil {
		s.fail(w, r, err)
	}
}

// ErrBusy is returned where as many follow logs as may.
var ErrBusy = errors.New("too many follow logs just now")

// Log answers with the log of a run as text, as /runs/{id}/log does, for a caller that asked whether it may be seen; while it is
// followed still tells, once a minute, whether it still may. Where Log returns an error nothing was sent: ErrBusy, or
// fs.ErrNotExist where there is no log (any more).
func (p *Pages) Log(w http.ResponseWriter, r *http.Request, run store.Run, still func() bool) error {
	return p.s.sendLog(w, r, run, still)
}

// Followers is how many follow logs.
func (p *Pages) Followers() int { return len(p.s.followers) }

func (s *server) sendLog(w http.ResponseWriter, r *http.Request, run store.Run, still func() bool) error {
	if r.URL.Query().Has("follow") {
		return s.follow(w, r, run, still)
	}
	log, err := runlog.Open(s.LogFile(run.ID))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()    // it was only read
	if _, err := log.Last(); err != nil { // what can't be read at all is no empty log
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		return nil
	}
	out := bufio.NewWriterSize(patient{w}, 64<<10)
	for l, err := range log.Lines(0) {
		if err != nil {
			s.Logger.Error("a log could not be read", "run", run.ID, "err", err)
			_, _ = out.WriteString("… the rest could not be read just now\n")
			break
		}
		if _, err := out.WriteString(l.String() + "\n"); err != nil {
			return nil // nobody reads any more
		}
	}
	_ = out.Flush() // the same
	return nil
}

const (
	// maxFollowers is how many may follow logs at once; each has a connection and a file.
	maxFollowers = 256
	// sendTimeout is how long somebody may take to receive what is sent at once.
	sendTimeout = 30 * time.Second
	// askedAgain is how often it is asked whether a follower may still see the log.
	askedAgain = time.Minute
)

// patient has its reader take as long as they need for all of an answer, where the server allows so much for the whole of it, as
// long as each part goes out in time.
type patient struct{ http.ResponseWriter }

func (p patient) Write(b []byte) (int, error) {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(sendTimeout)) // without it the server's own applies
	return p.ResponseWriter.Write(b)
}

// follow sends a log while it is written.
func (s *server) follow(w http.ResponseWriter, r *http.Request, run store.Run, still func() bool) error {
	select {
	case s.followers <- struct{}{}:
		defer func() { <-s.followers }()
	default:
		return ErrBusy
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.Stop: // a browser comes again, to the next process
			cancel()
		case <-ctx.Done():
		}
	}()
	events := strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	after := 0
	h := w.Header()
	h.Set("X-Accel-Buffering", "no") // nginx
	if events {
		h.Set("Content-Type", "text/event-stream")
		after, _ = strconv.Atoi(cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after"))) // 0 begins at the beginning
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	control := http.NewResponseController(w)
	send := func(text []byte) error {
		if _, err := (patient{w}).Write(text); err != nil {
			return err
		}
		return control.Flush()
	}
	if send(nil) != nil || r.Method == http.MethodHead {
		return nil
	}
	asked, state := time.Now(), run.State
	ended := func(ctx context.Context) (over bool, err error) {
		if time.Since(asked) >= s.askedAgain {
			if !still() {
				cancel() // a browser comes again, and is refused
				return false, context.Canceled
			}
			asked = time.Now()
		}
		state, err = s.states.get(run.ID, false, func(string) (state string, err error) {
			err = s.DB.View(ctx, func(tx *store.Tx) error {
				now, err := tx.Run(run.ID)
				state = now.State
				return err
			})
			return state, err
		})
		return store.Final(state), err
	}
	step, whole := "", true
	for lines, err := range runlog.Follow(ctx, s.LogFile(run.ID), max(0, after-1), ended) { // the one before tells its step
		if err != nil {
			if ctx.Err() == nil {
				s.Logger.Error("a log could not be followed", "run", run.ID, "err", err)
			}
			whole = false
			break
		}
		if events && len(lines) > 0 && lines[0].Number <= after {
			lines, step = lines[1:], lines[0].Step
		}
		for first := true; first || len(lines) > 0; first = false {
			part := lines[:sendable(lines)]
			lines = lines[len(part):]
			var text []byte
			if events {
				if text, err = s.events(langOf(r), run, part, step); err != nil {
					s.Logger.Error("a log could not be shown", "run", run.ID, "err", err)
					return nil
				}
				if len(part) > 0 {
					step = part[len(part)-1].Step
				}
			} else {
				for _, l := range part {
					text = append(text, l.String()+"\n"...)
				}
			}
			if send(text) != nil {
				return nil // nobody reads any more
			}
		}
	}
	switch whole = whole && store.Final(state); {
	case events && whole:
		_ = send([]byte("event: end\ndata:\n\n")) // else a browser would come again
	case !events && !whole:
		panic(http.ErrAbortHandler) // cut off, so that nobody takes it for the whole log
	}
	return nil
}

// sendable is how many of the lines may be sent at once.
func sendable(lines []runlog.Line) int {
	size := 0
	for i, l := range lines {
		if size >= maxText {
			return i
		}
		size += len(l.Text)
	}
	return len(lines)
}

const (
	// statesTTL is how long a run may have ended before its followers hear of it.
	statesTTL = 400 * time.Millisecond
	// sharedTTL is for how long lines are kept as they are shown: followers come for the same ones at about the same time.
	sharedTTL = time.Second
	// maxShared is how much text such lines have at most, in bytes.
	maxShared = 16 << 10
)

// A linesKey is which lines, and how they are shown.
type linesKey struct {
	run         string
	lang        lang
	first, last int
	step        string // of the line before
}

// events are lines after one of the given step as one event, see event.
func (s *server) events(l lang, run store.Run, lines []runlog.Line, step string) ([]byte, error) {
	show := func([]byte) ([]byte, error) {
		t := logTail{Started: run.StartedAt}
		for _, one := range lines {
			step = t.add(one, step)
		}
		var b bytes.Buffer
		err := s.event(&b, l, t)
		return b.Bytes(), err
	}
	size := 0
	for _, one := range lines {
		size += len(one.Text)
	}
	if len(lines) == 0 || size > maxShared {
		return show(nil)
	}
	return s.lines.get(linesKey{run.ID, l, lines[0].Number, lines[len(lines)-1].Number, step}, false, show)
}

// event writes lines as one event (HTML Standard, 9.2 Server-sent events), or, without any, what keeps the connection.
func (s *server) event(b *bytes.Buffer, l lang, t logTail) error {
	if len(t.Lines) == 0 {
		b.WriteString(":\n\n")
		return nil
	}
	var html bytes.Buffer
	if err := s.pages[l]["run"].ExecuteTemplate(&html, "lines", t); err != nil {
		return err
	}
	fmt.Fprintf(b, "id: %d\n", t.Lines[len(t.Lines)-1].Number)
	for line := range strings.Lines(strings.TrimSpace(html.String())) {
		b.WriteString("data: " + strings.TrimRight(line, "\n") + "\n")
	}
	b.WriteString("\n")
	return nil
}

// escapes are the control sequences of ECMA-48: CSI, then the strings (OSC and the like), then all others. A string ends at the
// next escape at the latest: what is looked for to the end of a line again and again takes a line of such beginnings seconds.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]`)

// styled turns the colours of a terminal (SGR, ECMA-48 8.3.117) into classes and drops every other control sequence.
func styled(s string) []span {
	var spans []span
	var style sgr
	add := func(text string) {
		if text = printable(text); text != "" {
			spans = append(spans, span{style.class(), text})
		}
	}
	at := 0
	for _, e := range escapes.FindAllStringIndex(s, -1) {
		add(s[at:e[0]])
		if seq := s[e[0]:e[1]]; strings.HasPrefix(seq, "\x1b[") && strings.HasSuffix(seq, "m") {
			style.set(seq[2 : len(seq)-1])
		}
		at = e[1]
	}
	add(s[at:])
	return spans
}

// sgr is the style of a terminal, as far as a page shows it: backgrounds are left out, since they make text unreadable
// in one colour scheme or the other.
type sgr struct {
	bold, dim bool
	colour    int // 0: default, 1 to 7: red to white
}

func (s *sgr) set(params string) {
	codes := strings.FieldsFunc(params, func(r rune) bool { return r == ';' || r == ':' })
	if len(codes) == 0 {
		codes = []string{"0"}
	}
	for i := 0; i < len(codes); i++ {
		var n int
		if _, err := fmt.Sscan(codes[i], &n); err != nil {
			return // a private sequence
		}
		switch {
		case n == 0:
			*s = sgr{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 22:
			s.bold, s.dim = false, false
		case n >= 30 && n <= 37:
			s.colour = n - 30
		case n >= 90 && n <= 97:
			s.colour = n - 90
		case n == 39:
			s.colour = 0
		case n == 38 || n == 48:
			return // a colour of a larger palette, whose parameters mean something else
		}
	}
}

func (s sgr) class() string {
	var c []string
	if s.bold {
		c = append(c, "bold")
	}
	if s.dim {
		c = append(c, "dim")
	}
	if s.colour > 0 {
		c = append(c, fmt.Sprintf("c%d", s.colour))
	}
	return strings.Join(c, " ")
}

// printable drops control characters, all but tabs and the ends of lines, which become spaces, and makes those visible that would show a text in another order than it has.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r == '\n': // of what should have been one line
			return ' '
		case unicode.IsControl(r):
			return -1
		case unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
