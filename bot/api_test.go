package bot

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTriggerLimits: no body is too large to be refused, and no token may call without end.
func TestTriggerLimits(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	status, answer, err := l.Trigger(apiToken, "web", "", `{"ref": "`+strings.Repeat("x", maxCall)+`"}`)
	if err != nil || status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s %v", status, answer, err)
	}
	for range callsMinute - 1 {
		if status, answer, err := l.Trigger(apiToken, "web", "", `{`); err != nil || status != http.StatusBadRequest {
			t.Fatalf("%d %s %v", status, answer, err)
		}
	}
	if status, answer, err := l.Trigger(apiToken, "web", "", `{`); err != nil || status != http.StatusTooManyRequests {
		t.Errorf("one more: %d %s %v", status, answer, err)
	}
	if status, answer, err := l.Trigger(carolToken, "web", "", `{`); err != nil || status != http.StatusBadRequest {
		t.Errorf("another token: %d %s %v", status, answer, err)
	}
	l.clock.Advance(time.Minute)
	if status, answer, err := l.Trigger(apiToken, "web", "", `{`); err != nil || status != http.StatusBadRequest {
		t.Errorf("a minute later: %d %s %v", status, answer, err)
	}
}

// TestTriggerOnce: the same call, many times at once, is one run, and each is told of it. Which app is meant is asked where
// several repositories have one of the name.
func TestTriggerOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("root", "master", "Begin", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	var wg sync.WaitGroup
	answers := make([]string, 8)
	for i := range answers {
		wg.Go(func() {
			status, answer, err := l.Trigger(apiToken, "web", "once", `{"ref": "master"}`)
			if err != nil || status != http.StatusAccepted {
				t.Errorf("%d %s %v", status, answer, err)
			}
			answers[i] = answer
		})
	}
	wg.Wait()
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("%s, and %s", answers[0], a)
		}
	}
	if n := got(l.lookup("SELECT count(*) FROM runs"))(t); n != "2" {
		t.Errorf("%s runs", n)
	}

	body := `{"ref": "master", "repository": "acme/web"}`
	must(t, l.declare("acme/other", "web"))
	if status, answer, err := l.Trigger(apiToken, "web", "", `{"ref": "master"}`); err != nil || status != http.StatusConflict || strings.Contains(answer, "acme/") {
		t.Errorf("%d %s %v", status, answer, err)
	}
	if status, answer, err := l.Trigger(apiToken, "web", "", body); err != nil || status != http.StatusAccepted {
		t.Errorf("%d %s %v", status, answer, err)
	}
}

// TestReplayOfATrigger tells what an event of our own would come to, and does nothing.
func TestReplayOfATrigger(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("root", "master", "Begin", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	if status, answer, err := l.Trigger(apiToken, "web", "one", `{"ref": "master", "variables": {"MODE": "x"}}`); err != nil || status != http.StatusAccepted {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	must(t, l.Settle())
	before := l.state(t)
	cfg := l.config(t)
	r := got(Replay(t.Context(), cfg, got(StoredEvent(t.Context(), cfg, "api/ci/one"))(t)))(t)
	if trace := strings.Join(r.Trace, "\n"); !strings.Contains(trace, "api: a program asked for it") {
		t.Errorf("it is decided so: %s", trace)
	}
	if would := strings.Join(r.Would, "\n"); !strings.Contains(would, "a run of web at "+sha[:7]+", queued") {
		t.Errorf("it would do: %s", would)
	}
	if after := l.state(t); after != before {
		t.Errorf("%s became %s", before, after)
	}
}

func TestRefSyntax(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"master", "refs/heads/x/y", "v1.0", "feature/#1", "100%", "über"} {
		if !refSyntax.MatchString(name) {
			t.Errorf("%q is a name", name)
		}
	}
	for _, name := range []string{"", "/x", "x/", "a//b", ".x", "a/.x", "a b", "a\nb", "a~1", "a^", "a:b", "a?b", "a*", "a[b", `a\b`, "a\x7f"} {
		if refSyntax.MatchString(name) {
			t.Errorf("%q is no name", name)
		}
	}
}

func TestCalls(t *testing.T) {
	t.Parallel()
	var c calls
	now := time.Now()
	for i := range callsMinute {
		if wait := c.take("a", now.Add(time.Duration(i)*time.Millisecond)); wait != 0 {
			t.Fatalf("call %d waits %s", i, wait)
		}
	}
	if wait := c.take("a", now.Add(time.Second)); wait != 59*time.Second {
		t.Errorf("the next waits %s", wait)
	}
	if wait := c.take("a", now.Add(time.Minute)); wait != 0 {
		t.Errorf("a minute later it waits %s", wait)
	}
}
