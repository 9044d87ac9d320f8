package build

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/shipmate-dev/shipmate/pipeline/mask"
)

// Line is one line of a build's log.
type Line struct {
	At     time.Time
	Step   string // the step's name
	Stream int    // 1 and 2: what the step's command wrote there; 0: what the builder says about the step
	Text   string // without line end, control characters and secrets
}

const (
	// maxLine is the longest line in bytes; the rest of a longer one is dropped.
	maxLine = 16 << 10
	// tailLines is how many lines of a failed step are kept for its Failure.
	tailLines = 20
)

// progress turns BuildKit's status updates into lines.
type progress struct {
	mask  mask.Mask
	out   func(Line)
	byID  map[digest.Digest]*step
	order []*step
}

// step is a vertex of the build graph that has begun.
type step struct {
	Step
	unfinished [3]*partial // the last line of each stream, until its end comes
	done       map[string]bool
	tail       []string
}

// partial is a line whose end has not come yet.
type partial struct {
	data []byte
	cut  bool // longer than maxLine
}

func newProgress(m mask.Mask, out func(Line)) *progress {
	if out == nil {
		out = func(Line) {}
	}
	return &progress{mask: m, out: out, byID: make(map[digest.Digest]*step)}
}

// update handles one message: what began, then what was said, then what ended, so that a step's lines stand between
// its first and its last.
func (p *progress) update(status *client.SolveStatus) {
	for _, v := range status.Vertexes {
		p.begin(v)
	}
	for _, s := range status.Statuses {
		p.report(s)
	}
	for _, l := range status.Logs {
		p.log(l)
	}
	for _, w := range status.Warnings {
		p.warn(w)
	}
	for _, v := range status.Vertexes {
		p.end(v)
	}
}

func (p *progress) begin(v *client.Vertex) {
	if v.Started == nil {
		return
	}
	if s, known := p.byID[v.Digest]; known {
		// BuildKit starts some steps several times (a load in pieces). It is one step, and open again.
		if v.Completed == nil {
			s.Completed = time.Time{}
		}
		return
	}
	s := &step{
		Step: Step{Name: p.clean(v.Name), Started: v.Started.UTC()},
		done: make(map[string]bool),
	}
	p.byID[v.Digest] = s
	p.order = append(p.order, s)
	p.say(s, s.Started, s.Name)
}

func (p *progress) end(v *client.Vertex) {
	s, known := p.byID[v.Digest]
	if !known || v.Completed == nil || v.Completed.UTC().Equal(s.Completed) {
		return
	}
	p.flushStep(s, v.Completed.UTC())
	s.Completed = v.Completed.UTC()
	s.Cached = v.Cached
	s.Error = p.clean(v.Error)
	took := duration(v.Completed.Sub(*v.Started))
	switch {
	case strings.HasSuffix(s.Error, "context canceled"):
		p.say(s, s.Completed, "cancelled after "+took)
	case s.Error != "":
		p.say(s, s.Completed, "failed after "+took+": "+s.Error)
	case s.Cached:
		p.say(s, s.Completed, "cached")
	case took != "0s": // a step that is taken up again has several ends, most of them after nothing
		p.say(s, s.Completed, "done in "+took)
	}
}

// report tells of a part of a step, such as a layer's transfer, once, when it is over.
func (p *progress) report(v *client.VertexStatus) {
	s, known := p.byID[v.Vertex]
	if !known || v.Completed == nil || s.done[v.ID] {
		return
	}
	s.done[v.ID] = true
	text := strings.TrimSuffix(v.ID, ":")
	if n := max(v.Total, v.Current); n > 0 {
		text += " " + size(n)
	}
	if v.Started != nil {
		text += ", " + duration(v.Completed.Sub(*v.Started))
	}
	p.say(s, v.Completed.UTC(), p.clean(text))
}

func (p *progress) warn(w *client.VertexWarning) {
	s, known := p.byID[w.Vertex]
	if !known {
		return
	}
	text := "warning: "
	if w.SourceInfo != nil && len(w.Range) > 0 {
		text += fmt.Sprintf("%s:%d: ", w.SourceInfo.Filename, w.Range[0].Start.Line)
	}
	p.say(s, time.Now().UTC(), p.clean(text+string(w.Short)))
}

func (p *progress) log(l *client.VertexLog) {
	s, known := p.byID[l.Vertex]
	if !known || l.Stream < 0 || l.Stream >= len(s.unfinished) {
		return
	}
	line := s.unfinished[l.Stream]
	if line == nil {
		line = &partial{}
		s.unfinished[l.Stream] = line
	}
	data := l.Data
	for {
		chunk, rest, ended := bytes.Cut(data, []byte{'\n'})
		if room := maxLine - len(line.data); len(chunk) > room {
			chunk, line.cut = chunk[:room], true
		}
		line.data = append(line.data, chunk...)
		if !ended {
			return
		}
		p.write(s, l.Timestamp.UTC(), l.Stream)
		data = rest
	}
}

// write gives out the line that has ended on a stream.
func (p *progress) write(s *step, at time.Time, stream int) {
	line := s.unfinished[stream]
	raw := strings.TrimRight(string(line.data), "\r")
	if i := strings.LastIndexByte(raw, '\r'); i >= 0 {
		raw = raw[i+1:] // what a terminal would show of a progress bar
	}
	text := p.clean(raw)
	shown := p.coloured(raw, text)
	if line.cut {
		// A secret may have been cut in two; its beginning is within the last bytes.
		text = strings.ToValidUTF8(text[:max(0, len(text)-p.mask.Longest())], "") + "…"
		shown = text
	}
	line.data, line.cut = line.data[:0], false

	s.tail = append(s.tail, text)
	if len(s.tail) > tailLines {
		s.tail = s.tail[1:]
	}
	p.out(Line{At: at, Step: s.Name, Stream: stream, Text: shown})
}

// flushStep gives out lines that the step's command did not end.
func (p *progress) flushStep(s *step, at time.Time) {
	for stream, line := range s.unfinished {
		if line != nil && len(line.data) > 0 {
			p.write(s, at, stream)
		}
	}
}

func (p *progress) flush() {
	for _, s := range p.order {
		p.flushStep(s, time.Now().UTC())
	}
}

func (p *progress) say(s *step, at time.Time, text string) {
	p.out(Line{At: at, Step: s.Name, Text: text})
}

func (p *progress) steps() []Step {
	steps := make([]Step, len(p.order))
	for i, s := range p.order {
		steps[i] = s.Step
	}
	return steps
}

// escape matches terminal control sequences (ECMA-48 CSI and OSC).
var escape = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(\x07|\x1b\\\\)?")

// colours are what of it is kept: what chooses how text looks (SGR).
var colours = regexp.MustCompile("\x1b\\[[0-9;:]*m")

// clean makes text fit to be shown: no terminal control, valid UTF-8, one line, no secrets.
func (p *progress) clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		return p.mask.String(s) // as almost every line
	}
	// Secrets are looked for before and after: what is taken out may be part of one, or stand in the middle of one.
	return p.mask.String(printable(p.mask.String(escape.ReplaceAllString(s, ""))))
}

// coloured is clean text with the colours that its command gave it, where they are all that makes it differ from what was written:
// in the middle of a secret, or of a character, there are none.
func (p *progress) coloured(raw, clean string) string {
	if strings.IndexByte(raw, '\x1b') < 0 {
		return clean
	}
	var b strings.Builder
	at := 0
	for _, e := range escape.FindAllStringIndex(raw, -1) {
		b.WriteString(printable(raw[at:e[0]]))
		if colour := raw[e[0]:e[1]]; colours.ReplaceAllString(colour, "") == "" {
			b.WriteString(colour)
		}
		at = e[1]
	}
	b.WriteString(printable(raw[at:]))
	if colours.ReplaceAllString(b.String(), "") != clean {
		return clean
	}
	return b.String()
}

// printable is valid UTF-8 on one line without control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func size(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func duration(d time.Duration) string {
	if d < time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
