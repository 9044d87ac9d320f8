package runlog

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	// lookEvery is how often a follower looks for new lines.
	lookEvery = 200 * time.Millisecond
	// idleEvery is how long it says nothing where there are none.
	idleEvery = 15 * time.Second
)

// A Reader reads a log, also while it is written. It must not be used concurrently.
type Reader struct {
	file   string
	f      *os.File
	plain  bool // a log of an earlier version: lines of time, tab, step, tab, text
	frames []frame
	unpack *zstd.Decoder
	packed []byte
	text   []byte
}

// Open opens a log for reading. The error is fs.ErrNotExist where there is none.
func Open(file string) (*Reader, error) {
	r := &Reader{file: file}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		if old, e := os.Open(Plain(file)); e == nil {
			f, err, r.plain = old, nil, true
		}
	}
	if err != nil {
		return nil, err
	}
	r.f = f
	r.unpack, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxFrame))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// Plain is where earlier versions kept the log of a file, not compressed.
func Plain(file string) string { return strings.TrimSuffix(file, ".zst") }

// Close releases the file.
func (r *Reader) Close() error {
	r.unpack.Close()
	return r.f.Close()
}

// update takes notice of what was written since.
func (r *Reader) update() error {
	mine, err := r.f.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(r.file); err == nil && !os.SameFile(mine, now) { // lines were taken out; one that is removed is still read
		f, err := os.Open(r.file)
		if err != nil {
			return err
		}
		_ = r.f.Close() // it was only read
		r.f, r.frames, mine = f, nil, now
	}
	at := int64(0)
	if n := len(r.frames); n > 0 {
		at = r.frames[n-1].end()
	}
	more, err := readFrames(r.f, at, mine.Size())
	r.frames = append(r.frames, more...)
	return err
}

// Last is the number of the newest line, 0 for an empty log.
func (r *Reader) Last() (int, error) {
	if r.plain {
		last := 0
		for l, err := range r.plainLines(0) {
			if err != nil {
				return 0, err
			}
			last = l.Number
		}
		return last, nil
	}
	err := r.update()
	if err != nil || len(r.frames) == 0 {
		return 0, err
	}
	return r.frames[len(r.frames)-1].next() - 1, nil
}

// Lines are those that come after the one with the given number, up to the newest. Where some are not kept, one line that
// has the last one's number says so.
func (r *Reader) Lines(after int) iter.Seq2[Line, error] {
	if r.plain {
		return r.plainLines(after)
	}
	return func(yield func(Line, error) bool) {
		if err := r.update(); err != nil {
			yield(Line{}, err)
			return
		}
		next, before := 1, int64(0) // of what is read so far
		for _, f := range r.frames {
			if f.next() <= after+1 {
				next, before = f.next(), f.before+int64(f.size)
				continue
			}
			lines, err := r.read(f)
			if errors.Is(err, errDamaged) {
				continue // the next one tells what is missing
			}
			if err != nil {
				yield(Line{}, err)
				return
			}
			if f.first > next && f.first-1 > after && !yield(missing(next, f.first, f.before-before), nil) {
				return
			}
			for _, l := range lines {
				if l.Number > after && !yield(l, nil) {
					return
				}
			}
			next, before = f.next(), f.before+int64(f.size)
		}
	}
}

var errDamaged = errors.New("a part of the log is damaged")

func (r *Reader) read(f frame) ([]Line, error) {
	if cap(r.packed) < f.packed {
		r.packed = make([]byte, f.packed)
	}
	packed := r.packed[:f.packed]
	if _, err := r.f.ReadAt(packed, f.at+headerSize); err != nil {
		return nil, err
	}
	text, err := r.unpack.DecodeAll(packed, r.text[:0])
	if err != nil || len(text) != f.size {
		return nil, errDamaged
	}
	r.text = text
	return parse(text, f.first), nil
}

// plainLines reads a log of an earlier version.
func (r *Reader) plainLines(after int) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		in := bufio.NewReader(io.NewSectionReader(r.f, 0, 1<<62))
		for number := 1; ; number++ {
			text, err := in.ReadString('\n')
			if text != "" && number > after {
				l := Line{Number: number, Text: strings.TrimSuffix(text, "\n")}
				if part := strings.SplitN(l.Text, "\t", 3); len(part) == 3 {
					if at, err := time.Parse(time.RFC3339, part[0]); err == nil {
						l.At, l.Step, l.Text = at, part[1], part[2]
					}
				}
				if !yield(l, nil) {
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(Line{}, err)
				}
				return
			}
		}
	}
}

// Follow gives the lines after the one with the given number, several at a time, as they are written, until the run has
// ended: then those that are left. Where none come for 15 s it gives none, so that the caller can tell its own reader that
// it is still there. The log need not exist yet.
func Follow(ctx context.Context, file string, after int, ended func(context.Context) (bool, error)) iter.Seq2[[]Line, error] {
	return func(yield func([]Line, error) bool) {
		var r *Reader
		defer func() {
			if r != nil {
				_ = r.Close() // it was only read
			}
		}()
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		said := time.Now()
		for {
			last, err := ended(ctx) // before the lines are read, which were written before
			if r == nil && err == nil {
				if r, err = Open(file); errors.Is(err, fs.ErrNotExist) {
					err = nil
				}
			}
			var lines []Line
			if r != nil && err == nil {
				for l, e := range r.Lines(after) {
					if err = e; err != nil {
						break
					}
					if lines = append(lines, l); len(lines) == 1000 {
						if !yield(lines, nil) {
							return
						}
						lines = nil
					}
					after = l.Number
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if len(lines) > 0 || time.Since(said) > idleEvery {
				said = time.Now()
				if !yield(lines, nil) {
					return
				}
			}
			if last {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}
