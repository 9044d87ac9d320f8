package bot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// age has all that clusters and registries said be that much older.
func (l *lab) age(d time.Duration) {
	s, k := &l.bot.statuses, l.bot.looks
	s.mu.Lock()
	for id, said := range s.said {
		said.at = said.at.Add(-d)
		if !said.read.IsZero() {
			said.read = said.read.Add(-d)
		}
		s.said[id] = said
	}
	s.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, said := range k.parts {
		k.parts[key] = partSaid{said.err, said.at.Add(-d)}
	}
}

// shows loads a page until it has some texts and lacks others, which have a "!" before them.
func (b *browser) shows(t *testing.T, address string, texts ...string) (body string) {
	t.Helper()
	err := until(address+" is as it should be", func() error {
		status, _, page := b.get(t, address, "")
		if body = page; status != http.StatusOK {
			return fmt.Errorf("%d", status)
		}
		for _, text := range texts {
			if text, not := strings.CutPrefix(text, "!"); strings.Contains(page, text) == not {
				return fmt.Errorf("%q: %v, in %s", text, !not, page)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// shippedLab is signInLab with a release that is live in staging.
func shippedLab(t *testing.T) *lab {
	t.Helper()
	l := signInLab(t)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	return l
}

func statusCalls(c *fakeCluster) (n int) {
	for _, call := range c.Calls() {
		if strings.HasPrefix(call, "status") {
			n++
		}
	}
	return n
}

// TestHealth: the pages show what the cluster says: asked for once a minute however many look, with its age where it cannot be asked,
// and what somebody changed there.
func TestHealth(t *testing.T) {
	t.Parallel()
	l := shippedLab(t)
	live := "/deployments/" + got(l.lookup("SELECT id FROM deployments WHERE environment = 'staging'"))(t)
	b := l.browser()
	b.signIn(t, "carol")
	b.shows(t, "/apps/web", "1 of 1 pods ready", "!drift", "!cluster not read", "!min ago)")
	asked := statusCalls(l.test)
	for range 5 {
		for _, page := range []string{"/", "/apps/web", live} {
			b.shows(t, page, "1 of 1 pods ready", "!drift")
		}
	}
	if n := statusCalls(l.test); asked != 1 || n != 1 {
		t.Errorf("the cluster was asked %d times, then %d", asked, n)
	}

	// It is not asked again before a minute, and what it said stays meanwhile.
	l.test.Fail("status", &kube.Error{Object: "Deployment/web", Message: "cluster 10.0.0.1 does not answer: " + npmToken, Temporary: true})
	l.age(5 * time.Minute)
	b.shows(t, "/apps/web", "1 of 1 pods ready (5 min ago) cluster not read", "!drift", "!"+npmToken)
	b.shows(t, "/", "1 of 1 pods ready (5 min ago) cluster not read", "!"+npmToken)
	b.shows(t, live, "It could not be asked: <bdi>Deployment/web: cluster 10.0.0.1 does not answer", "What follows is what it said before", "1 of 1 pods ready", "!"+npmToken)
	l.age(statusTTL)
	b.shows(t, "/apps/web", "1 of 1 pods ready", "!cluster not read", "!min ago)")
	b.shows(t, live, "1 of 1 pods ready", "!It could not be asked", "!What follows")

	annotate := func(name, value string) func(map[string]*unstructured.Unstructured) {
		return func(objects map[string]*unstructured.Unstructured) {
			for _, o := range objects {
				a := o.GetAnnotations()
				a[name] = value
				o.SetAnnotations(a)
			}
		}
	}
	for _, c := range []struct {
		change func(map[string]*unstructured.Unstructured)
		want   []string
	}{
		{annotate(kube.AnnotationRelease, "9<b>"), []string{"drift", "<bdi>Deployment/web</bdi> is of release <bdi>9&lt;b&gt;</bdi>"}},
		{annotate(kube.AnnotationRelease, ""), []string{"drift", "<bdi>Deployment/web</bdi> is of no release"}},
		{annotate(kube.AnnotationRelease, "1"), []string{"1 of 1 pods ready", "!drift"}},
		{annotate("test/problem", "pod web-1: CrashLoopBackOff <b>"), []string{"0 of 1 pods ready", "pod web-1: CrashLoopBackOff &lt;b&gt;", "!drift"}},
		{func(objects map[string]*unstructured.Unstructured) { clear(objects) }, []string{"drift", "<bdi>Deployment/web</bdi> is gone"}},
	} {
		l.test.Change(c.change)
		l.age(statusTTL)
		b.shows(t, "/apps/web", c.want...)
	}
	// In Chinese too.
	b.shows(t, "/apps/web?lang=zh", "与部署不一致", "<bdi>Deployment/web</bdi> 已不存在")
}

// TestDrift: what somebody changed in the cluster is told by /status, on the pages, and before a deployment undoes it.
func TestDrift(t *testing.T) {
	t.Parallel()
	l := shippedLab(t)
	b := l.browser()
	b.signIn(t, "carol")
	issue := l.repo.OpenIssue("alice", "Drift")
	status := func(login string) string {
		t.Helper()
		l.age(statusTTL)
		done, reply, err := l.Say(issue, login, "/status staging")
		if err != nil || !done {
			t.Fatal(done, reply, err)
		}
		return reply
	}
	if s := status("carol"); strings.Contains(s, "changed in the cluster") {
		t.Error(s)
	}
	drift := kube.Drift{Object: "Deployment/web", Field: "spec.replicas", Live: "3", Released: "2", Manager: "kubectl-<b>edit", At: time.Date(2026, 3, 4, 14, 2, 0, 0, time.UTC)}
	env := kube.Drift{Object: "Deployment/web", Field: "spec.env", Live: npmToken, Released: "x", Manager: "kubectl"}
	l.test.SetDrift(drift, env)
	want := "- `staging` was changed in the cluster since: `Deployment/web spec.replicas` is `3`, released `2`, by `kubectl-<b>edit` at 2026-03-04 14:02 UTC; `Deployment/web spec.env` is `•••`, released `x`, by `kubectl`"
	if s := status("carol"); !strings.Contains(s, want) {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	changed := []string{"<bdi>Deployment/web</bdi>: <bdi>spec.replicas</bdi> is <bdi>3</bdi>, released <bdi>2</bdi> (by <bdi>kubectl-&lt;b&gt;edit</bdi> at <time", "<bdi>spec.env</bdi> is <bdi>•••</bdi>, released <bdi>x</bdi> (by <bdi>kubectl</bdi>)"}
	b.shows(t, "/apps/web", append(changed, "drift")...)
	live := got(l.lookup("SELECT id FROM deployments WHERE environment = 'staging'"))(t)
	b.shows(t, "/deployments/"+live, append(changed, "What is in the cluster is not what was deployed.")...)
	b.shows(t, "/apps/web?lang=zh", "<bdi>Deployment/web</bdi>：<bdi>spec.replicas</bdi> 现为 <bdi>3</bdi>，发布时为 <bdi>2</bdi> （<bdi>kubectl-&lt;b&gt;edit</bdi> 于 <time")

	// What a deployment would overwrite is told first.
	done, reply, err := l.Say(issue, "alice", "/diff staging 1")
	if want := "Deployment/web update\n! changed in the cluster: spec.replicas is 3, released 2, by kubectl-<b>edit at 2026-03-04 14:02 UTC\n! changed in the cluster: spec.env is •••, released x, by kubectl"; err != nil || !done || !strings.Contains(reply, want) {
		t.Errorf("%v %v: %s", done, err, reply)
	}

	l.test.SetDrift(kube.Drift{Object: "Deployment/web", Field: "spec.env", Released: "x"})
	if s := status("carol"); !strings.Contains(s, "since: `Deployment/web spec.env` is gone, released `x`") {
		t.Error(s)
	}

	// Few are listed, and what is gone is one of them.
	l.test.SetDrift(slices.Repeat([]kube.Drift{drift}, 7)...)
	if s := status("carol"); strings.Count(s, "spec.replicas") != 5 || !strings.Contains(s, "; and 2 more") {
		t.Error(s)
	}
	l.test.SetDrift()
	l.test.Change(func(objects map[string]*unstructured.Unstructured) {
		for _, o := range objects {
			o.SetAnnotations(map[string]string{kube.AnnotationRelease: "9"})
		}
	})
	if s := status("carol"); !strings.Contains(s, "since: `Deployment/web shipmate.dev/release` is `9`, released `1`") {
		t.Error(s)
	}
	l.test.Change(func(objects map[string]*unstructured.Unstructured) { clear(objects) })
	if s := status("carol"); !strings.Contains(s, "since: `Deployment/web` is gone") {
		t.Error(s)
	}

	// What comes from a cluster is not told in comments that everybody reads.
	l.test.SetDrift(drift)
	l.repo.SetPublic(true)
	if s := status("carol"); !strings.Contains(s, "since: 2 fields, which a public repository's comments do not show") || strings.Contains(s, "spec.replicas") {
		t.Error(s)
	}
}

// TestHealthOfRollout: while a deployment changes its environment its own pods are shown, and what was live before drifts not.
func TestHealthOfRollout(t *testing.T) {
	t.Parallel()
	l := shippedLab(t)
	b := l.browser()
	b.signIn(t, "carol")
	b.shows(t, "/apps/web", "1 of 1 pods ready")
	manifest := got(readFiles("testdata/repo/deploy"))(t)["web.yaml"]
	got(l.Push("alice", "master", "Hang", map[string]string{"deploy/web.yaml": strings.Replace(manifest, "image:", "args: [hang]\n          image:", 1)}))(t)
	must(t, until("the rollout hangs", func() error {
		if l.test.Waiting() == 0 {
			return errors.New("it does not")
		}
		return nil
	}))
	l.age(statusTTL)
	b.shows(t, "/apps/web", "release 2: progressing", "1 of 1 pods ready", "!drift", "!is of release")
	next := "/deployments/" + got(l.lookup("SELECT id FROM deployments WHERE environment = 'staging' AND release = 2"))(t)
	b.shows(t, next, "What the cluster says", "1 of 1 pods ready", "!What is in the cluster")
	before := statusCalls(l.test)
	l.age(movingTTL)
	must(t, until("it is asked again soon", func() error {
		if b.shows(t, next, "1 of 1 pods ready"); statusCalls(l.test) == before {
			return errors.New("it is not")
		}
		return nil
	}))
	l.test.Release()
	must(t, l.Settle())
	b.shows(t, next, "1 of 1 pods ready", "!What is in the cluster")
}

// TestSilentCluster: a cluster that does not answer is asked once a minute, not for each deployment there, and others are asked as ever.
func TestSilentCluster(t *testing.T) {
	t.Parallel()
	l := shippedLab(t)
	var d store.Deployment
	must(t, l.bot.db.View(t.Context(), func(tx *store.Tx) (err error) { d, err = tx.Live("acme/web", "web", "staging"); return err }))
	look := func(id, cluster string) error {
		d := d
		d.ID = id
		return l.bot.lookIn(t.Context(), d, cluster)
	}
	for name, err := range map[string]error{"overload": &kube.Error{Object: "Deployment/web", Message: "does not answer", Temporary: true}, "time": fmt.Errorf("get: %w", context.DeadlineExceeded)} {
		l.age(2 * statusTTL)
		l.test.Fail("status", err)
		before := statusCalls(l.test)
		for i := range 10 {
			id := fmt.Sprint(name, i)
			if err := look(id, "test"); !silent(err) {
				t.Errorf("%s: %v", id, err)
			}
			if h := l.bot.health([]string{id})[id]; h.Unread == "" {
				t.Errorf("%s: %+v", id, h)
			}
			if err := look(id+" prod", "prod"); err != nil {
				t.Errorf("another cluster: %v", err)
			}
		}
		if n := statusCalls(l.test) - before; n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
		l.age(statusTTL)
		if err := look(name+"0", "test"); err != nil {
			t.Errorf("%s: a minute later: %v", name, err)
		}
	}
	// What is refused is so for one place.
	l.test.Fail("status", &kube.Error{Object: "Deployment/web", Message: "not allowed"}, nil)
	if err := look("refused", "test"); err == nil {
		t.Error("not refused")
	}
	if err := look("granted", "test"); err != nil {
		t.Error(err)
	}
	// Who stops waiting tells nothing of the cluster.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	left := d
	left.ID = "left"
	if err := l.bot.lookIn(ctx, left, "test"); err == nil {
		t.Error("nobody waits, and it is read")
	}
	if _, ok := l.bot.statuses.said["left"]; ok {
		t.Error("it is remembered")
	}
}

// TestLooks: what pages ask is asked once at a time, a few at once, and ends with the bot.
func TestLooks(t *testing.T) {
	t.Parallel()
	l := newLooks()
	var running, most, done atomic.Int32
	release := make(chan struct{})
	ask := func(question string) {
		l.ask(question, func(ctx context.Context) {
			n := running.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			select {
			case <-release:
				done.Add(1)
			case <-ctx.Done():
			}
			running.Add(-1)
		})
	}
	for i := range 2 * maxAsks {
		ask(fmt.Sprint(i))
		ask("0")
	}
	must(t, until("as many as may are asked", func() error {
		if n := running.Load(); n != looksAtOnce {
			return fmt.Errorf("%d", n)
		}
		return nil
	}))
	close(release)
	must(t, until("all are answered", func() error {
		if n := done.Load(); n != maxAsks {
			return fmt.Errorf("%d", n)
		}
		return nil
	}))
	if n := most.Load(); n != looksAtOnce {
		t.Errorf("%d were asked at once", n)
	}
	release = make(chan struct{})
	for i := range 20 {
		ask(fmt.Sprint("left ", i))
	}
	must(t, l.close()) // else it waits for ever
	ask("late")
	if n := running.Load(); n != 0 || len(l.asking) != 0 {
		t.Errorf("%d go on, %d wait", n, len(l.asking))
	}
}

// TestSystemPage: who administers a repository sees how builders, registries and clusters are.
func TestSystemPage(t *testing.T) {
	t.Parallel()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			w.WriteHeader(http.StatusUnauthorized) // it wants to know who asks
		}
	}))
	defer registry.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	l := newLab(t, func(text string) string {
		text = strings.Replace(text, "  recover_every: 0\n", "  recover_every: 0\n  client_id: Iv1.12345\n  client_secret: file:hook\n", 1)
		return strings.Replace(text, "registries:\n", fmt.Sprintf("registries:\n  %s: {plain_http: true}\n  %s: {plain_http: true}\n", registry.Listener.Addr(), gone.Listener.Addr()), 1)
	})
	l.gh.SetClientSecret(hookSecret)
	l.gh.SetCallback(publicURL + "/auth/callback")
	got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	must(t, l.Settle())
	b := l.browser()
	b.signIn(t, "bob")
	if status, _, _ := b.get(t, "/system", ""); status != http.StatusNotFound {
		t.Errorf("bob, who maintains, sees the system: %d", status)
	}
	b = l.browser()
	b.signIn(t, "root")
	l.prod.Fail("status", errors.New("certificate has expired "+npmToken))
	body := b.shows(t, "/system", "!not asked yet", "certificate has expired", "connection refused", "!"+npmToken)
	state := func(name string) string {
		_, rest, _ := strings.Cut(body, "<bdi>"+name+"</bdi>")
		row, _, _ := strings.Cut(rest, "</li>")
		switch {
		case strings.Contains(row, "does not answer"):
			return "away"
		case strings.Contains(row, "answers"):
			return "there"
		}
		return row
	}
	for name, want := range map[string]string{registry.Listener.Addr().String(): "there", gone.Listener.Addr().String(): "away", "test": "there", "prod": "away"} {
		if got := state(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	l.age(statusTTL)
	b.shows(t, "/system", "!certificate has expired")
	one := l.bot.builders.all[0]
	l.bot.builders.heard(one, errors.New("no buildkitd here"))
	b.shows(t, "/system", "no buildkitd here")
	l.bot.builders.heard(one, nil)
	b.shows(t, "/system", "!no buildkitd here")
}

// TestPageForms: what a form of several fields says is one command, and it is answered in the language of the page.
func TestPageForms(t *testing.T) {
	t.Parallel()
	l := shippedLab(t)
	b := l.browser()
	b.signIn(t, "dave")
	b.shows(t, "/orders", "There is no release order yet", `value="/order create"`)
	form := url.Values{"csrf": {b.csrf(t)}, "text": {"/order create", "production", "web@1"}, "reason": {`the "new" login`}, "repository": {"acme/web"}, "back": {"/orders"}}
	status, to, body, err := b.send("/command", form)
	if err != nil || status != http.StatusSeeOther || !strings.HasPrefix(to, "/orders?said=") {
		t.Fatalf("%d %s %s %v", status, to, body, err)
	}
	b.shows(t, strings.TrimSuffix(to, "#said"), "Release order 1 to <bdi>production</bdi>", "the &#34;new&#34; login", "asked for by <bdi>dave</bdi>", `id="said"`)
	form = url.Values{"csrf": {b.csrf(t)}, "text": {"/lock staging for", "2h"}, "reason": {"demo"}, "repository": {"acme/web"}, "back": {"/apps/web"}}
	_, to, _, err = b.send("/command", form, "Accept-Language", "zh-CN,zh;q=0.9")
	must(t, err)
	b.shows(t, strings.TrimSuffix(to, "#said")+"&lang=zh", "锁定", "demo", "!is locked by you")
}

// TestOverviewOfAFile: what the repository's file says of an environment is what the pages go by, as the bot wrote it down.
func TestOverviewOfAFile(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	now := time.Now().UTC()
	days := now.AddDate(0, 0, -1).Format("Mon") + " 00:00 - " + now.AddDate(0, 0, 1).Format("Mon") + " 23:59 UTC"
	file := strings.Replace(got(readFiles("testdata/repo"))(t)[".shipmate.yaml"], "    approvals: {count: 1}\n", "    approvals: {count: 1, by: [carol]}\n    deployers: [carol]\n    freeze: [\""+days+"\"]\n", 1)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{".shipmate.yaml": file}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	carol := l.browser()
	carol.signIn(t, "carol")
	page := carol.shows(t, "/", "frozen", "nothing is live", "1 of 1 pods ready")
	if n := strings.Count(page, "frozen</span>"); n != 1 {
		t.Errorf("%d environments are frozen", n)
	}
	carol.shows(t, "/apps/web", `value="/promote web production"`, "Frozen until", "prod / production", "!/deploy web")
	form := url.Values{"csrf": {carol.csrf(t)}, "text": {"/promote web production"}, "repository": {"acme/web"}, "back": {"/apps/web"}}
	if status, to, body, err := carol.send("/command", form); err != nil || status != http.StatusSeeOther {
		t.Fatalf("%d %s %s %v", status, to, body, err)
	}
	must(t, l.Settle())
	carol.shows(t, "/", "release 1 waits", "!Waits for you") // her own
	carol.shows(t, "/apps/web", "Waits for approval: 0 of 1 so far. May approve: carol.")
}
