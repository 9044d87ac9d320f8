package runlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/mask"
)

var at = time.Date(2026, 11, 24, 20, 0, 0, 123456789, time.FixedZone("", 8*3600))

func create(t *testing.T, file string, secrets ...string) *Writer {
	t.Helper()
	w, err := Create(file, mask.New(secrets...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // a test that cares closes it itself
	return w
}

func closed(t *testing.T, w *Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// read gives the lines after one, each as number, time, step, stream and text.
func read(t *testing.T, file string, after int) (lines []string) {
	t.Helper()
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for l, err := range r.Lines(after) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, show(l))
	}
	return lines
}

func show(l Line) string {
	return fmt.Sprintf("%d %s %s %d %s", l.Number, l.At.UTC().Format("05.000"), l.Step, l.Stream, l.Text)
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "logs", "abc.log.zst")
	if _, err := Open(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it is begun: %v", err)
	}
	for i := range 2 { // a second writer goes on where the first ended
		w := create(t, file, "s3cr3t-token")
		w.Line(at, "fetch s3cr3t-token", fmt.Sprintf("line %d\tof s3cr3t-token\r\nforged\tline", i))
		w.Write(Line{At: at, Step: "build", Stream: 2, Text: "one"})
		w.Write(Line{At: at, Step: "build", Stream: 1, Text: ""})
		closed(t, w)
		w.Line(at, "build", "after the end")
		closed(t, w)
	}
	want := []string{"1 00.123 fetch ••• 0 line 0 of •••  forged line", "2 00.123 build 2 one", "3 00.123 build 1 ",
		"4 00.123 fetch ••• 0 line 1 of •••  forged line", "5 00.123 build 2 one", "6 00.123 build 1 "}
	for after := range 8 {
		equal(t, read(t, file, after), want[min(after, 6):]...)
	}
	for name, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", name, fi.Mode(), err)
		}
	}
	if zstdcat, err := exec.LookPath("zstdcat"); err == nil {
		out, err := exec.Command(zstdcat, file).Output()
		if err != nil || strings.Count(string(out), "\n") != 6 || !strings.HasPrefix(string(out), "2026-11-24T12:00:00.123Z\tfetch •••\t0\tline 0") {
			t.Errorf("zstdcat: %q, %v", out, err)
		}
	}
}

// A log that a writer was killed in the middle of, at any byte, has all frames that are whole, and is gone on with.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "whole.log.zst")
	var whole []string
	var ends []int64
	for i := range 4 {
		w := create(t, file)
		for j := range 3 {
			w.Line(at, "build", fmt.Sprint("frame ", i, " line ", j))
			whole = append(whole, fmt.Sprintf("%d 00.123 build 0 frame %d line %d", len(whole)+1, i, j))
		}
		closed(t, w)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, info.Size())
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for size := range int64(len(content)) {
		for name, rest := range map[string]string{"cut": "", "zeros": strings.Repeat("\x00", 100)} {
			file := filepath.Join(dir, "killed.log.zst")
			if err := os.WriteFile(file, append(slices.Clone(content[:size]), rest...), 0o600); err != nil {
				t.Fatal(err)
			}
			// The first frame has two of its own: a line that comes when nothing has been written for a while goes out alone.
			r, err := Open(file)
			if err != nil {
				t.Fatal(err)
			}
			last, err := r.Last()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			for i, end := range ends {
				if end <= size && last < 3*(i+1) {
					t.Fatalf("%s at %d: %d lines are left", name, size, last)
				}
			}
			if rest == "" {
				equal(t, read(t, file, 0), whole[:last]...)
			}
			w := create(t, file)
			w.Line(at, "build", "again")
			closed(t, w)
			if got := read(t, file, last); len(got) != 1 || got[0] != fmt.Sprintf("%d 00.123 build 0 again", last+1) {
				t.Fatalf("%s at %d: after line %d stands %q", name, size, last, got)
			}
			if t.Failed() {
				t.FailNow()
			}
		}
	}
}

// Of a log that is too long both ends are kept, also when it was written by several, and it says what is missing.
func TestTooLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "abc.log.zst")
	random := rand.New(rand.NewPCG(1, 2))
	const lines, limit = 40_000, 1 << 20
	var r *Reader
	n, followed := 0, 0
	for n < lines {
		w := create(t, file)
		w.max = limit
		for range lines / 4 {
			n++
			w.Line(at, "build", fmt.Sprintf("line %d %x", n, random.Uint64()))
			if n == 100 {
				w.mu.Lock()
				w.flush()
				w.mu.Unlock()
				var err error
				if r, err = Open(file); err != nil { // a reader that stays while lines are taken out
					t.Fatal(err)
				}
				defer r.Close()
			}
			if r != nil && n%999 == 0 {
				for l, err := range r.Lines(followed) {
					if err != nil || l.Number <= followed {
						t.Fatalf("line %d after %d, %v", l.Number, followed, err)
					}
					followed = l.Number
				}
			}
		}
		closed(t, w)
	}
	got := read(t, file, 0)
	size, gaps, next := 0, 0, 1
	for i, line := range got {
		var number, says int
		if _, err := fmt.Sscanf(line, "%d 00.123 build 0 line %d", &number, &says); err != nil {
			var left int
			if _, err := fmt.Sscanf(line, "%d 00.000  0 … %d lines", &number, &left); err != nil || number != next+left-1 || i == 0 {
				t.Fatalf("line %d of %d: %q after %d, %v", i, len(got), line, next-1, err)
			}
			gaps++
			next = number + 1
			continue
		}
		if number != next || says != number {
			t.Fatalf("%q after %d", line, next-1)
		}
		size += len("2026-11-24T12:00:00.123Z\t\t0\tline 1234 0123456789abcdef\n")
		next++
	}
	if gaps != 1 || next != lines+1 || size < limit*3/4 || size > limit*9/8 {
		t.Errorf("%d gaps, the last line is %d, about %d bytes are kept", gaps, next-1, size)
	}
	if len(got) > 0 && got[0][:2] != "1 " {
		t.Errorf("it begins with %q", got[0])
	}
	for l, err := range r.Lines(followed) {
		if err != nil {
			t.Fatal(err)
		}
		followed = l.Number
	}
	if followed != lines {
		t.Errorf("the reader ended at %d", followed)
	}
	// From the middle of what is missing, and from its end.
	from := read(t, file, lines/2)
	if !strings.Contains(from[0], "are missing here") {
		t.Errorf("after %d: %q", lines/2, from[0])
	}
	var end int
	if _, err := fmt.Sscan(from[0], &end); err != nil {
		t.Fatal(err)
	}
	if from := read(t, file, end); !strings.HasPrefix(from[0], fmt.Sprint(end+1, " ")) {
		t.Errorf("after %d: %q", end, from[0])
	}
}

func TestDamaged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "abc.log.zst")
	for i := range 3 {
		w := create(t, file)
		w.Line(at, "build", fmt.Sprint("line ", i+1))
		closed(t, w)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.update(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[r.frames[1].end()-6] ^= 0xff
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	got := read(t, file, 0)
	if len(got) != 3 || got[0] != "1 00.123 build 0 line 1" || !strings.Contains(got[1], "1 lines") || got[2] != "3 00.123 build 0 line 3" {
		t.Errorf("%q", got)
	}
}

// What an earlier version wrote is read on.
func TestPlain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "abc.log.zst")
	if err := os.WriteFile(Plain(file), []byte("2026-11-24T12:00:05Z\tbuild\tone\ttwo\nwhat\tis\tthis\n2026-11-24T12:00:06Z\tbuild\tbeing writ"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 05.000 build 0 one\ttwo", "2 00.000  0 what\tis\tthis", "3 06.000 build 0 being writ"}
	for after := range 4 {
		equal(t, read(t, file, after), want[after:]...)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if last, err := r.Last(); last != 3 || err != nil {
		t.Errorf("%d, %v", last, err)
	}
}

// A full disk loses lines, and neither what was there nor what comes when there is room again.
func TestFullDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "abc.log.zst")
	w := create(t, file)
	flush := func() { w.mu.Lock(); defer w.mu.Unlock(); w.flush() }
	w.Line(at, "build", "before")
	flush()
	good := w.f
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	defer full.Close()
	w.mu.Lock()
	w.f = full
	w.mu.Unlock()
	w.Line(at, "build", "lost")
	flush()
	w.mu.Lock()
	w.f = good
	w.mu.Unlock()
	w.Line(at, "build", "after")
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("close: %v", err)
	}
	got := read(t, file, 0)
	if len(got) != 3 || got[0] != "1 00.123 build 0 before" || !strings.Contains(got[1], "1 lines") || got[2] != "3 00.123 build 0 after" {
		t.Errorf("%q", got)
	}
}

func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "abc.log.zst")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	over := false
	lines := make(chan Line, 1000)
	ended := make(chan error, 1)
	go func() {
		defer close(lines)
		for batch, err := range Follow(ctx, file, 0, func(context.Context) (bool, error) { mu.Lock(); defer mu.Unlock(); return over, nil }) {
			if err != nil {
				ended <- err
				return
			}
			for _, l := range batch {
				lines <- l
			}
		}
		ended <- nil
	}()
	next := func(want string) {
		t.Helper()
		began := time.Now()
		select {
		case l, ok := <-lines:
			if took := time.Since(began); !ok || l.Text != want || took > time.Second {
				t.Errorf("%q after %s, want %q", l.Text, took, want)
			}
		case <-ctx.Done():
			t.Fatalf("no %q", want)
		}
	}
	w := create(t, file)
	w.Line(at, "build", "alone")
	next("alone")
	w.Line(at, "build", "close") // before a flush is due
	w.Line(at, "build", "together")
	next("close")
	next("together")
	w.Line(at, "build", "the last")
	closed(t, w)
	mu.Lock()
	over = true
	mu.Unlock()
	next("the last")
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// It ends with its context, and says when it cannot tell.
	cancel()
	for range Follow(ctx, file, 4, func(context.Context) (bool, error) { return false, nil }) {
		t.Error("a line after the last")
	}
	gone := errors.New("gone")
	for _, err := range Follow(t.Context(), file, 0, func(context.Context) (bool, error) { return false, gone }) {
		if !errors.Is(err, gone) {
			t.Errorf("%v, want %v", err, gone)
		}
	}
}

func TestManyWriteAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "abc.log.zst")
	w := create(t, file)
	var wg sync.WaitGroup
	for step := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				w.Write(Line{At: at, Step: fmt.Sprint("step ", step), Stream: 1, Text: fmt.Sprint(n)})
			}
		})
	}
	wg.Wait()
	closed(t, w)
	next := map[string]int{}
	for _, l := range read(t, file, 0) {
		f := strings.Fields(l) // number, time, "step", which, stream, text
		if f[5] != fmt.Sprint(next[f[3]]) {
			t.Fatalf("%s, want %d", l, next[f[3]])
		}
		next[f[3]]++
	}
	for step, n := range next {
		if n != 5000 {
			t.Errorf("step %s has %d lines", step, n)
		}
	}
	if len(next) != 4 {
		t.Errorf("%d steps", len(next))
	}
}

func FuzzOpen(f *testing.F) {
	file := filepath.Join(f.TempDir(), "seed.log.zst")
	w, err := Create(file, mask.Mask{})
	if err != nil {
		f.Fatal(err)
	}
	w.Line(at, "build", "hello")
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("\x50\x2a\x4d\x18\x1c\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "x.log.zst")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, err := range r.Lines(0) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
