package pipeline

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// maxLog is how much of one log is kept; past it one line says that the rest was cut.
const maxLog = 50 << 20

// Mask replaces secrets by •••. The zero Mask replaces nothing.
type Mask struct{ r *strings.Replacer }

// NewMask makes a mask for the given values; each line of a value counts by itself. Values shorter than 4 bytes would
// make a log unreadable and protect nothing: they are left alone.
func NewMask(secrets ...string) Mask {
	var parts []string
	for _, s := range secrets {
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); len(line) >= 4 {
				parts = append(parts, line)
			}
		}
	}
	// The longest first: a secret that contains another is masked whole.
	sort.Slice(parts, func(i, j int) bool { return len(parts[i]) > len(parts[j]) })
	var pairs []string
	for _, p := range parts {
		pairs = append(pairs, p, "•••")
	}
	return Mask{strings.NewReplacer(pairs...)}
}

// String masks s.
func (m Mask) String(s string) string {
	if m.r == nil {
		return s
	}
	return m.r.Replace(s)
}

// LogFile is where the log of a run is kept; id is one of ours and safe in a path.
func LogFile(dataDir, id string) string { return filepath.Join(dataDir, "logs", id+".log") }

// A LogWriter writes one run's log: a line each of time, step and text, masked, capped.
type LogWriter struct {
	mu   sync.Mutex
	f    *os.File
	w    *bufio.Writer
	mask Mask
	left int
}

// OpenLog continues the log file of a run.
func OpenLog(file string, mask Mask) (*LogWriter, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &LogWriter{f: f, w: bufio.NewWriter(f), mask: mask, left: maxLog - int(fi.Size())}, nil
}

// Line appends one line and makes it visible to readers of the file.
func (l *LogWriter) Line(at time.Time, step, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left <= 0 {
		return
	}
	line := fmt.Sprintf("%s\t%s\t%s\n", at.UTC().Format(time.RFC3339), oneLine(step), oneLine(l.mask.String(text)))
	if l.left -= len(line); l.left <= 0 {
		line = fmt.Sprintf("%s\t\tthe log is longer than %d MiB: the rest is not kept\n", at.UTC().Format(time.RFC3339), maxLog>>20)
	}
	// A full disk must not fail the build; Close reports it.
	_, _ = l.w.WriteString(line)
	_ = l.w.Flush()
}

// Close closes the file and reports what could not be written.
func (l *LogWriter) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.w.Flush()
	if e := l.f.Close(); err == nil {
		err = e
	}
	return err
}

// oneLine keeps what belongs to a line; control characters of a program must not reach the file's structure.
func oneLine(s string) string {
	return string(bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, []byte(s)))
}
