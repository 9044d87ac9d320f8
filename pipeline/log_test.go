package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMask(t *testing.T) {
	pem := "-----BEGIN KEY-----\nMIIEvQIBADANBg\r\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
	tests := []struct {
		secrets []string
		in, out string
	}{
		{nil, "nothing to hide", "nothing to hide"},
		{[]string{"hunter22"}, "password=hunter22&x=hunter22", "password=•••&x=•••"},
		{[]string{"hunter22"}, "HUNTER22", "HUNTER22"},
		{[]string{"abc"}, "abc: too short to be one", "abc: too short to be one"},
		{[]string{""}, "empty", "empty"},
		{[]string{"secret", "secret-longer"}, "secret-longer secret", "••• •••"},
		{[]string{"secret-longer", "secret"}, "secret-longer secret", "••• •••"},
		{[]string{"  padded  \n"}, "is padded here", "is ••• here"},
		{[]string{pem}, "MIIEvQIBADANBg", "•••"}, // each line by itself
		{[]string{pem}, strings.ReplaceAll(pem, "\n", " "), "••• •••\r ••• ••• "},
		{[]string{pem}, "echo MIIEvQIBADANBg; echo kqhkiG9w0BAQEF", "echo •••; echo •••"},
	}
	for _, test := range tests {
		if got := NewMask(test.secrets...).String(test.in); got != test.out {
			t.Errorf("%q masked in %q: %q, want %q", test.secrets, test.in, got, test.out)
		}
	}
	if got := (Mask{}).String("as it is"); got != "as it is" {
		t.Errorf("the zero Mask: %q", got)
	}
}

func TestLog(t *testing.T) {
	file := LogFile(t.TempDir(), "abc")
	at := time.Date(2026, 11, 24, 20, 0, 0, 0, time.FixedZone("", 8*3600))
	for i := range 2 { // a second writer goes on where the first ended
		l, err := OpenLog(file, NewMask("s3cr3t-token"))
		if err != nil {
			t.Fatal(err)
		}
		l.Line(at, "build", fmt.Sprintf("line %d\tof s3cr3t-token\r\nforged\tline", i))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "2026-11-24T12:00:00Z\tbuild\tline 0 of •••  forged line\n2026-11-24T12:00:00Z\tbuild\tline 1 of •••  forged line\n"
	if string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	for name, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != mode {
			t.Errorf("%s is %s", name, fi.Mode())
		}
	}
}

func TestLogIsCapped(t *testing.T) {
	file := LogFile(t.TempDir(), "abc")
	l, err := OpenLog(file, Mask{})
	if err != nil {
		t.Fatal(err)
	}
	l.left = 1000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				l.Line(time.Now(), "build", "a line that says nothing at all")
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(got), "\n"), "\n")
	if len(got) > 1200 || !strings.Contains(lines[len(lines)-1], "the rest is not kept") || strings.Count(string(got), "not kept") != 1 {
		t.Errorf("%d bytes, the last line is %q", len(got), lines[len(lines)-1])
	}
	// It is not told again by a later writer.
	if l, err = OpenLog(file, Mask{}); err != nil {
		t.Fatal(err)
	}
	l.left = 0
	l.Line(time.Now(), "build", "more")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(file); err != nil || len(after) != len(got) {
		t.Errorf("%d bytes, then %d, %v", len(got), len(after), err)
	}
}
