package runlog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/shipmate-dev/shipmate/pipeline/mask"
)

const (
	// flushEvery is how long a line waits at most until readers find it.
	flushEvery = 250 * time.Millisecond
	// frameText is how much text makes a frame before that.
	frameText = 128 << 10
	// maxFrame is the longest frame that is believed, in bytes.
	maxFrame = 16 << 20
)

// A Writer writes the log of one run. It may be used concurrently; it is the only writer of its file.
type Writer struct {
	mu     sync.Mutex
	file   string
	f      *os.File
	mask   mask.Mask
	pack   *zstd.Encoder
	max    int // see MaxText
	frames []frame

	// What is not written yet.
	text    []byte
	lines   int
	step    string // of its last line
	flushed time.Time
	timer   *time.Timer // nil where nothing waits

	next   int   // number of the next line
	before int64 // bytes of all lines that were written or lost
	err    error // the first one
	closed bool

	// Of the last line, since mostly they are the next one's too.
	raw, masked string // its step
	at          time.Time
	stamp       []byte
}

// Create continues the log in a file, or begins it. Secrets are taken out of all that is written.
func Create(file string, m mask.Mask) (*Writer, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file, f: f, mask: m, max: MaxText, next: 1}
	if err := w.resume(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w.pack, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// resume finds out what is in the file already, and cuts off what a writer that was killed left incomplete.
func (w *Writer) resume() error {
	info, err := w.f.Stat()
	if err != nil {
		return err
	}
	if w.frames, err = readFrames(w.f, 0, info.Size()); err != nil {
		return err
	}
	if n := len(w.frames); n > 0 {
		last := w.frames[n-1]
		w.next, w.before = last.next(), last.before+int64(last.size)
	}
	return w.f.Truncate(w.size())
}

// size is where the file's last frame ends.
func (w *Writer) size() int64 {
	if len(w.frames) == 0 {
		return 0
	}
	return w.frames[len(w.frames)-1].end()
}

// Line appends what is said about a step.
func (w *Writer) Line(at time.Time, step, text string) {
	w.Write(Line{At: at, Step: step, Text: text})
}

// Write appends a line, whose number it gives itself. Readers find it within 250 ms. A full disk must not fail what is logged:
// Close reports it.
func (w *Writer) Write(l Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if l.Step != w.raw || w.masked == "" {
		w.raw, w.masked = l.Step, oneLine(w.mask.String(l.Step))
	}
	l.Step, l.Text = w.masked, oneLine(w.mask.String(w.whole(l.Text)))
	if !l.At.Equal(w.at) || w.stamp == nil {
		w.at, w.stamp = l.At, l.At.UTC().AppendFormat(w.stamp[:0], stamp)
	}
	w.text = appendLine(w.text, w.stamp, l, w.lines > 0 && l.Step == w.step)
	w.step = l.Step
	w.lines++
	waited := time.Since(w.flushed)
	switch {
	case len(w.text) >= frameText || waited >= flushEvery:
		w.flush()
	case w.timer == nil:
		w.timer = time.AfterFunc(flushEvery-waited, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.flush()
		})
	}
}

// Flush makes what was written so far visible to readers.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

// flush writes what waits as one frame. What can't be written is lost.
func (w *Writer) flush() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if w.lines == 0 || w.closed {
		return
	}
	packed := w.pack.EncodeAll(w.text, make([]byte, headerSize, headerSize+len(w.text)/2))
	next := frame{at: w.size(), packed: len(packed) - headerSize, size: len(w.text), lines: w.lines, first: w.next, before: w.before}
	copy(packed, next.header())
	w.before += int64(next.size)
	w.next = next.next()
	w.text, w.lines, w.flushed = w.text[:0], 0, time.Now()
	if _, err := w.f.Write(packed); err != nil {
		w.failed(errors.Join(err, w.f.Truncate(next.at)))
		return
	}
	w.frames = append(w.frames, next)
	if w.kept() > w.max/2*3 { // not at each frame: it copies the file
		w.failed(w.cut())
	}
}

func (w *Writer) failed(err error) {
	if w.err == nil {
		w.err = err
	}
}

// kept is how much text the file has.
func (w *Writer) kept() int {
	n := 0
	for _, f := range w.frames {
		n += f.size
	}
	return n
}

// cut takes frames out of the middle, so that no more text is left than may be.
func (w *Writer) cut() error {
	if w.kept() <= w.max {
		return nil
	}
	head, tail, room := 0, len(w.frames), w.max/2
	for head < tail && w.frames[head].before+int64(w.frames[head].size) <= int64(w.max/2) {
		head++
	}
	for tail > head && w.frames[tail-1].size <= room {
		tail--
		room -= w.frames[tail].size
	}
	to, err := os.OpenFile(w.file+".cut", os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600) // one that is left by a crash is of no use
	if err != nil {
		return err
	}
	var frames []frame
	at := int64(0)
	for i, f := range w.frames {
		if i >= head && i < tail {
			continue
		}
		if _, err = io.Copy(to, io.NewSectionReader(w.f, f.at, f.end()-f.at)); err != nil {
			break
		}
		f.at = at
		at = f.end()
		frames = append(frames, f)
	}
	if err == nil {
		err = os.Rename(to.Name(), w.file) // who reads the old one sees that it is another
	}
	if err != nil {
		return errors.Join(err, to.Close(), os.Remove(to.Name()))
	}
	err = w.f.Close()
	w.f, w.frames = to, frames
	return err
}

// Close ends the log and reports the first thing that could not be written.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return w.err
	}
	w.flush()
	w.failed(w.cut())
	w.closed = true
	w.failed(errors.Join(w.pack.Close(), w.f.Close()))
	return w.err
}

// whole takes the colours off a text in which they stand in the middle of a secret.
func (w *Writer) whole(text string) string {
	if plain := Uncoloured(text); plain != text && w.mask.String(plain) != plain {
		return plain
	}
	return text
}

// oneLine keeps control characters of a program from the file's structure.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\n\r\t") {
		return s
	}
	return strings.NewReplacer("\n", " ", "\r", " ", "\t", " ").Replace(s)
}
