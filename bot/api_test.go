package bot

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/store"
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
	if status, answer, err := l.Trigger(apiToken, "web", "", `{"ref": "master"}`); err != nil || status != http.StatusAccepted {
		t.Errorf("the other one is not alice's to see: %d %s %v", status, answer, err)
	}
	got(l.gh.CreateRepo("acme/other", sim.RepoOptions{}))(t).SetPermission("alice", "read", "")
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		repo := got(tx.Repo("acme/web"))(t)
		repo.Name, repo.ID = "acme/other", 7
		return tx.PutRepo(repo)
	}))
	l.clock.Advance(2 * accessTTL)
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

// TestAPINames: by none of its answers a stranger learns which apps and repositories there are.
func TestAPINames(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(text string) string {
		return strings.Replace(text, "{name: carol, github: carol, token: file:carol-token, may: [trigger]}", "{name: frank, github: frank, token: file:carol-token, may: [trigger, command]}", 1)
	})
	l.gh.AddUser("frank")
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	must(t, l.declare("acme/other", "twice"))
	must(t, l.declare("acme/web", "twice"))
	answer := func(path, body string) string {
		t.Helper()
		status, answer, err := l.Call(carolToken, path, "", body)
		must(t, err)
		return fmt.Sprint(status, answer)
	}
	for _, there := range []string{"web", "twice"} {
		for path, body := range map[string]string{"apps/APP/trigger": `{"ref": "master"}`, "command": `{"text": "status APP"}`} {
			call := func(app string) string {
				return strings.ReplaceAll(answer(strings.ReplaceAll(path, "APP", app), strings.ReplaceAll(body, "APP", app)), `\"`+app+`\"`, "APP")
			}
			if there, none := call(there), call("none"); there != none {
				t.Errorf("%s says %s of what there is, and %s of what there is not", path, there, none)
			}
		}
	}
	for _, call := range []func(repo string) string{
		func(repo string) string { return answer("command", `{"text": "status", "repository": "`+repo+`"}`) },
		func(repo string) string {
			return answer("apps/web/trigger", `{"ref": "master", "repository": "`+repo+`"}`)
		},
	} {
		if there, none := call("acme/web"), call("acme/none"); there != none {
			t.Errorf("%s of what there is, and %s of what there is not", there, none)
		}
	}
}
