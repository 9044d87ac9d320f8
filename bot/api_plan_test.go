package bot

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestAPIPlan: what a push would start is told as the push then decides, by what the server knows; and nothing is done.
func TestAPIPlan(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	d := &described{l: l, operations: operations(t), answered: map[string]any{}, token: readToken}
	plan := func(query string) (p apiPlan, a apiAnswer) {
		t.Helper()
		a = d.get(t, "apps/{app}/plan", "apps/web/plan"+query)
		if a.status == http.StatusOK {
			must(t, json.Unmarshal([]byte(a.body), &p))
		}
		return p, a
	}
	file := got(l.repo.ContentsAt("master", ".shipmate.yaml"))(t)
	first := got(l.Push("alice", "master", "Ship it\n\nwith a body", map[string]string{"app.txt": "1", ".shipmate.yaml": strings.Replace(file, "branches: [master, topic]", "branches: [master, /^release/]\n  paths: [app/**, app.txt]", 1)}))(t)
	got(l.Status(first, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())

	p, a := plan("")
	if p.Build || !strings.HasPrefix(p.Reason, "paths: of the files that changed") || p.SHA != first || p.Ref != "refs/heads/master" || p.Subject != "Ship it" || len(p.Deploys) > 0 ||
		!strings.HasPrefix(p.Text, `push of refs/heads/master: `+first[:7]+` "Ship it"`) || !strings.Contains(p.Text, "\n\nweb (.shipmate.yaml)\n") || !strings.HasSuffix(p.Text, "\n  nothing is built\n") {
		t.Errorf("what is released already: %d %s", a.status, a.body)
	}
	// What has not arrived yet, and then arrives.
	must(t, l.Stop())
	second := got(l.repo.Commit("release-1", "alice", "Try it", map[string]string{"app/x": "1"}))(t)
	must(t, l.gh.Flush(t.Context()))
	must(t, l.Start())
	p, a = plan("?ref=release-1&repository=acme/web")
	if !p.Build || p.SHA != second || !strings.Contains(p.Text, `paths: "app/x" changed since `+first[:7]) || !strings.Contains(p.Text, "files changed since "+first[:7]+": 1\n") ||
		!strings.Contains(p.Text, "  build: Dockerfile in . becomes ") || !strings.Contains(p.Text, "release-1-"+second[:7]) {
		t.Errorf("a branch: %d %s", a.status, a.body)
	}
	if n := l.rows(t, "runs WHERE sha = ?", second); n != 0 {
		t.Errorf("asking began %d runs", n)
	}
	must(t, l.Redeliver())
	must(t, l.Settle())
	if trace := got(l.lookup("SELECT group_concat(trace) FROM events"))(t); l.rows(t, "runs WHERE sha = ?", second) != 1 || !strings.Contains(trace, p.Reason) {
		t.Errorf("the push was decided by %s, and not by %s", trace, p.Reason)
	}
	got(l.repo.Commit("topic", "alice", "Not this", map[string]string{"app/x": "2"}))(t)
	got(l.repo.Commit("release-2", "alice", "Break it", map[string]string{".shipmate.yaml": "build: {image: 1, x: 2}\n", "app/x": "3"}))(t)
	must(t, l.Settle())
	if p, a := plan("?ref=topic"); p.Build || !strings.HasPrefix(p.Reason, "branch: refs/heads/topic is none of") {
		t.Errorf("a branch that is not built: %d %s", a.status, a.body)
	}
	for query, want := range map[string]struct {
		status int
		detail string
	}{
		"?ref=nowhere": {http.StatusBadRequest, "no branch or tag"}, "?ref=refs/pull/1/head": {http.StatusBadRequest, "neither a branch nor a tag"}, "?ref=a..b": {http.StatusBadRequest, "no name"},
		"?ref=release-2": {http.StatusUnprocessableEntity, "its file has mistakes"}, "?repository=acme/other": {http.StatusNotFound, "there is no app"}, "?branch=x": {http.StatusBadRequest, "there are: ref, repository"},
	} {
		if _, a := plan(query); a.status != want.status || !strings.Contains(a.body, want.detail) {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}
