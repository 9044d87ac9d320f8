package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/runlog"
	"github.com/shipmate-dev/shipmate/store"
)

// A follower reads a log over HTTP.
type follower struct {
	t      *testing.T
	body   *bufio.Reader
	cancel context.CancelFunc
	answer *http.Response
}

func (s *site) follow(server *httptest.Server, path string, header ...string) *follower {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = answer.Body.Close() })
	return &follower{s.t, bufio.NewReader(answer.Body), cancel, answer}
}

// until reads up to a line that contains the text, and returns what it read.
func (f *follower) until(text string) string {
	f.t.Helper()
	var read strings.Builder
	for {
		line, err := f.body.ReadString('\n')
		read.WriteString(line)
		if strings.Contains(line, text) {
			return read.String()
		}
		if err != nil {
			f.t.Fatalf("%v before %q; it had: %s", err, text, read.String())
		}
	}
}

// atEnd reads what is left of an answer that ends by itself.
func (f *follower) atEnd() string {
	f.t.Helper()
	var rest strings.Builder
	if _, err := f.body.WriteTo(&rest); err != nil {
		f.t.Fatalf("%v after %s", err, rest.String())
	}
	return rest.String()
}

var asEvents = []string{"Accept", "text/event-stream"}

// A follower sees each line within a second of its being logged, whether lines come one by one or in crowds.
func TestFollowerSeesALineWithinASecond(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	s.update(func(tx *store.Tx) error { return tx.StartRun(run.ID) })
	server := httptest.NewServer(s)
	defer server.Close()
	address := "/runs/" + run.ID + "/log?follow"
	plain := s.follow(server, address) // before there is a log
	log := s.logger(run.ID)
	defer log.Close()
	line := func(format string, args ...any) (text string) {
		text = fmt.Sprintf(format, args...)
		log.Write(runlog.Line{At: time.Now(), Step: "[2/4] RUN make", Stream: 1, Text: text})
		return text
	}
	first := line("the <first>")
	plain.until("[2/4] RUN make\t" + first)
	events := s.follow(server, address+"&after=0", asEvents...)
	events.until("the &lt;first&gt;")

	for try := 1; ; try++ { // a machine that is busy with other tests may hold up a few, or all of a try
		var took []time.Duration
		for round := range 5 {
			for _, crowd := range []int{1, 3, 5000} {
				last := ""
				for n := range crowd {
					last = line("try %d round %d line %d of %d", try, round, n+1, crowd)
				}
				began := time.Now()
				plain.until(last)
				events.until(last)
				took = append(took, time.Since(began))
			}
		}
		slices.Sort(took)
		if took[len(took)*2/3] <= time.Second {
			break
		}
		if try == 4 {
			t.Fatalf("lines came after %s", took)
		}
	}

	// Ended: both get the rest, and a browser is told not to come again.
	line("the last")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	s.update(func(tx *store.Tx) error { return tx.EndRun(run.ID, store.RunFailed, "it fails", nil) })
	if rest := plain.atEnd(); !strings.HasSuffix(rest, "\tthe last\n") {
		t.Errorf("the text ends in %q", rest)
	}
	if rest := events.atEnd(); !strings.Contains(rest, "the last") || !strings.HasSuffix(rest, "event: end\ndata:\n\n") {
		t.Errorf("the events end in %q", rest)
	}
}

// A browser that comes again, or whose page has lines already, gets those that it lacks, as the page would show them.
func TestFollowerGoesOn(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	s.update(func(tx *store.Tx) error { return tx.StartRun(run.ID) })
	s.log(run.ID, "2026-01-02T03:04:07Z\tfetch\tone", "2026-01-02T03:04:08Z\tbuild\ttwo", "2026-01-02T03:04:09Z\tbuild\tthree", "2026-01-02T03:04:10Z\tpush\tfour")
	page := s.page("/runs/" + run.ID)
	wants(t, page, `<ol class="log" data-follow="/runs/`+run.ID+`/log?follow&amp;after=4">`, `href="/runs/`+run.ID+`/log?follow"`)
	following := s.page("/runs/" + run.ID + "?following")
	wants(t, following, `data-follow=`, "4 lines")
	lacks(t, following, `id="L1"`)
	s.update(func(tx *store.Tx) error { return tx.EndRun(run.ID, store.RunFailed, "it fails", nil) })
	lacks(t, s.page("/runs/"+run.ID), "data-follow", "log?follow")

	server := httptest.NewServer(s)
	defer server.Close()
	address := "/runs/" + run.ID + "/log?follow&after="
	cases := map[string]struct {
		after, last string
		steps       string
		from        int
	}{
		"all":           {"0", "", "fetch build push ", 1},
		"in a step":     {"2", "", "push ", 3},
		"a new step":    {"3", "", "push ", 4},
		"nothing more":  {"4", "", "", 5},
		"came again":    {"0", "3", "push ", 4},
		"not a number":  {"x", "", "fetch build push ", 1},
		"below nothing": {"-7", "", "fetch build push ", 1},
	}
	for name, c := range cases {
		header := asEvents
		if c.last != "" {
			header = append(header[:2:2], "Last-Event-ID", c.last)
		}
		f := s.follow(server, address+c.after, header...)
		got := f.atEnd()
		steps := ""
		for _, part := range strings.Split(got, `<li class="step"><bdi>`)[1:] {
			step, _, _ := strings.Cut(part, "<")
			steps += step + " "
		}
		if steps != c.steps {
			t.Errorf("%s: steps %q, want %q", name, steps, c.steps)
		}
		for n := 1; n <= 4; n++ {
			li := fmt.Sprintf(`data: <li id="L%d"><a href="#L%d"`, n, n)
			if strings.Contains(got, li) != (n >= c.from) || n >= c.from && !strings.Contains(page, li[6:]) {
				t.Errorf("%s: line %d: %s", name, n, got)
			}
		}
		if want := "id: 4\n"; strings.Contains(got, want) != (c.from <= 4) {
			t.Errorf("%s: no %q in %s", name, want, got)
		}
		if f.answer.Header.Get("Content-Type") != "text/event-stream" || f.answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, f.answer.Header)
		}
	}
}

// Followers end when the server stops, leave when they are gone, and are not more than may be; nobody follows what must not be shown.
func TestFollowersAreBounded(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	s.update(func(tx *store.Tx) error { return tx.StartRun(run.ID) })
	s.log(run.ID, "2026-01-02T03:04:07Z\tfetch\tone")
	server := httptest.NewServer(s)
	defer server.Close()
	address := "/runs/" + run.ID + "/log?follow"
	gone := s.follow(server, address)
	gone.until("one")
	var all []*follower
	for range maxFollowers - 1 {
		all = append(all, s.follow(server, address))
	}
	if f := s.follow(server, address); f.answer.StatusCode != http.StatusServiceUnavailable || f.answer.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s", f.answer.Status)
	}
	gone.cancel()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if f := s.follow(server, address); f.answer.StatusCode == http.StatusOK {
			all = append(all, f)
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("who is gone still counts")
		}
	}
	for _, f := range all {
		f.until("one")
	}
	close(s.stop)
	for _, f := range all { // cut off, so that nobody takes what they have for the whole log
		if rest, err := io.ReadAll(f.body); !errors.Is(err, io.ErrUnexpectedEOF) || len(rest) > 0 {
			t.Errorf("%q %v", rest, err)
		}
	}

	s.update(func(tx *store.Tx) error {
		return tx.PutRepo(store.Repo{Name: run.Repo, DefaultBranch: "master", HTMLURL: "https://github.example/acme/devops-app"})
	})
	for _, path := range []string{address, "/runs/" + store.NewID() + "/log?follow"} {
		if f := s.follow(server, path); f.answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, f.answer.Status)
		}
	}
}

// Of a log with very long lines a page has a bounded part, and whoever follows it gets all of it, in parts.
func TestLongLines(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	s.update(func(tx *store.Tx) error { return tx.StartRun(run.ID) })
	const n = 600
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("2026-01-02T03:04:07Z\tbuild\tline %03d %s", i+1, strings.Repeat("x", maxColumn-100))
	}
	s.log(run.ID, lines...)
	for _, query := range []string{"", "?q=line", "?line=1"} {
		if page := s.page("/runs/" + run.ID + query); len(page) > maxText*3/2 {
			t.Errorf("%s: %d bytes", query, len(page))
		}
	}
	page := s.page("/runs/" + run.ID)
	wants(t, page, `id="L600"`, `id="L500"`, "below are the last ones", "after=600")
	lacks(t, page, `id="L100"`)
	wants(t, s.page("/runs/"+run.ID+"?q=line"), "600 lines have that; below are the first 12")
	s.update(func(tx *store.Tx) error { return tx.EndRun(run.ID, store.RunFailed, "it fails", nil) })
	server := httptest.NewServer(s)
	defer server.Close()
	got := s.follow(server, "/runs/"+run.ID+"/log?follow&after=0", asEvents...).atEnd()
	if events := strings.Count(got, "\nid: ") + 1; events < n*(maxColumn-100)/maxText {
		t.Errorf("%d events", events)
	}
	for i := range n {
		if strings.Count(got, fmt.Sprintf(`<li id="L%d">`, i+1)) != 1 {
			t.Errorf("line %d does not come once", i+1)
		}
	}
}
