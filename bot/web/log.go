package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"
)

const (
	maxLines  = 2000     // of a log that a page shows; the whole is a link away
	maxColumn = 16 << 10 // bytes of one line that a page shows
)

// A logTail is the end of a log.
type logTail struct {
	Lines []logLine
	Total int // lines of the whole log
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

// readTail reads the last lines of a log, in one pass and in memory for no more than those.
func readTail(r io.Reader, lines int) (*logTail, error) {
	ring := make([][]byte, lines)
	total := 0
	in := bufio.NewReaderSize(r, maxColumn)
	for {
		line, more, err := in.ReadLine()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		ring[total%lines] = append(ring[total%lines][:0], line...)
		total++
		if more {
			ring[(total-1)%lines] = append(ring[(total-1)%lines], "…"...)
		}
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
	}
	t := &logTail{Total: total}
	step := ""
	for i := max(0, total-lines); i < total; i++ {
		l := parseLine(string(ring[i%lines]))
		l.Number = i + 1
		if l.Step == step {
			l.Step = ""
		} else {
			step = l.Step
		}
		t.Lines = append(t.Lines, l)
	}
	return t, nil
}

func parseLine(line string) logLine {
	if part := strings.SplitN(line, "\t", 3); len(part) == 3 {
		if at, err := time.Parse(time.RFC3339, part[0]); err == nil {
			return logLine{At: at, Step: printable(part[1]), Text: styled(part[2])}
		}
	}
	return logLine{Text: styled(line)}
}

// escapes are the control sequences of ECMA-48: CSI, then the strings (OSC and the like), then all others.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]`)

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

// printable drops control characters, and makes those visible that would show a text in another order than it has.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case unicode.IsControl(r):
			return -1
		case unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
