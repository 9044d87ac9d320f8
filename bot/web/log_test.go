package web

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

func TestStyled(t *testing.T) {
	cases := map[string]struct {
		in   string
		want []span
	}{
		"plain":                  {"hello", []span{{"", "hello"}}},
		"empty":                  {"", nil},
		"colour and reset":       {"a\x1b[31mb\x1b[0mc", []span{{"", "a"}, {"c1", "b"}, {"", "c"}}},
		"empty reset":            {"\x1b[1mb\x1b[mc", []span{{"bold", "b"}, {"", "c"}}},
		"bold bright":            {"\x1b[1;92mok", []span{{"bold c2", "ok"}}},
		"dim, then normal":       {"\x1b[2ma\x1b[22mb", []span{{"dim", "a"}, {"", "b"}}},
		"default colour":         {"\x1b[1;34ma\x1b[39mb", []span{{"bold c4", "a"}, {"bold", "b"}}},
		"black would be unseen":  {"\x1b[30ma", []span{{"", "a"}}},
		"large palette":          {"\x1b[38;5;31ma", []span{{"", "a"}}},
		"background":             {"\x1b[41ma", []span{{"", "a"}}},
		"private":                {"\x1b[>4;2ma", []span{{"", "a"}}},
		"absurd number":          {"\x1b[99999999999999999999ma", []span{{"", "a"}}},
		"cursor and erase":       {"\x1b[2K\x1b[1Ga\x1b[?25l", []span{{"", "a"}}},
		"hyperlink":              {"\x1b]8;;http://x/\x1b\\a\x1b]8;;\x1b\\", []span{{"", "a"}}},
		"title":                  {"\x1b]0;evil\x07a", []span{{"", "a"}}},
		"charset":                {"\x1b(Ba", []span{{"", "a"}}},
		"cut off":                {"a\x1b[3", []span{{"", "a"}, {"", "3"}}},
		"string that never ends": {"\x1b]0;shown", []span{{"", "0;shown"}}},
		"other controls":         {"a\x00\x08\x7f\u009bb", []span{{"", "ab"}}},
		"order of text":          {"a\u202eb\u2066c", []span{{"", "a\ufffdb\ufffdc"}}},
		"tab stays":              {"a\tb", []span{{"", "a\tb"}}},
		"Chinese":                {"\x1b[32m部署\x1b[0m", []span{{"c2", "部署"}}},
	}
	for name, c := range cases {
		if got := styled(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A line of which nothing is what it begins to be takes no longer than any other of its length.
func TestStyledIsLinear(t *testing.T) {
	began := time.Now()
	for _, part := range []string{"\x1b]", "\x1bP", "\x1b[", "\x1b[0", "\x1b]8;;\x1b", "\x1b(", "\x1b "} {
		styled(strings.Repeat(part, maxColumn/len(part)))
	}
	if took := time.Since(began); took > 5*time.Second { // it was a minute
		t.Error(took)
	}
}

func FuzzStyled(f *testing.F) {
	f.Add("a\x1b[31mb\x1b[0m\x1b]8;;x\x07\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		for _, span := range styled(s) {
			if span.Text == "" || span.Text != printable(span.Text) || strings.Trim(span.Class, "abcdefghijklmnopqrstuvwxyz 1234567") != "" {
				t.Errorf("%q became %+v", s, span)
			}
		}
	})
}

func TestElapsed(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) store.Time { return store.Time{Time: start.Add(d)} }
	cases := []struct {
		from, to store.Time
		now      time.Duration
		want     string
	}{
		{store.Time{}, store.Time{}, time.Hour, ""},
		{at(0), store.Time{}, 3400 * time.Millisecond, "3s"},
		{at(0), at(3400 * time.Millisecond), time.Hour, "3.4s"},
		{at(0), at(9999 * time.Millisecond), time.Hour, "10.0s"},
		{at(0), at(59*time.Second + 900*time.Millisecond), time.Hour, "59s"},
		{at(0), at(61 * time.Second), time.Hour, "1m 01s"},
		{at(0), at(26*time.Hour + 3*time.Minute), 0, "26h 03m"},
		{at(time.Second), at(0), 0, "0.0s"}, // a clock that was set back
	}
	for _, c := range cases {
		if got := elapsed(c.from, c.to, start.Add(c.now)); got != c.want {
			t.Errorf("from %v to %v: %q, want %q", c.from, c.to, got, c.want)
		}
	}
}
