package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/mask"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
	"github.com/shipmate-dev/shipmate/store"
)

const digest = "sha256:3f1c0ffee0000000000000000000000000000000000000000000000000000001"

// A site is a handler over a real database and a folder of logs.
type site struct {
	http.Handler
	t       *testing.T
	db      *store.DB
	now     time.Time
	logs    string
	stop    chan struct{}
	errors  strings.Builder
	logFile func(run string) string
}

func newSite(t *testing.T) *site {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "shipmate.db"), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // a test may have closed it
	s := &site{t: t, db: db, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), logs: t.TempDir(), stop: make(chan struct{})}
	db.Now = func() time.Time { return s.now }
	s.logFile = func(run string) string { return filepath.Join(s.logs, run+".log.zst") }
	s.Handler = New(Config{DB: db, Version: "v1.2.3", Logger: slog.New(slog.NewTextHandler(&s.errors, nil)),
		LogFile: func(run string) string { return s.logFile(run) }, Stop: s.stop, Artifact: artifact(t)})
	return s
}

func (s *site) update(fn func(*store.Tx) error) {
	s.t.Helper()
	if err := s.db.Update(s.t.Context(), fn); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) logger(run string) *runlog.Writer {
	s.t.Helper()
	w, err := runlog.Create(s.logFile(run), mask.Mask{})
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

func (s *site) log(run string, lines ...string) {
	s.t.Helper()
	w := s.logger(run)
	for _, line := range lines {
		part := strings.SplitN(line, "\t", 3) // time, step, text
		at, err := time.Parse(time.RFC3339, part[0])
		if err != nil || len(part) < 3 {
			s.t.Fatalf("%q: %v", line, err)
		}
		w.Line(at, part[1], part[2])
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) do(method, target string) *httptest.ResponseRecorder {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

// page reads a page that must be there.
func (s *site) page(target string) string {
	s.t.Helper()
	w := s.do("GET", target)
	if w.Code != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", target, w.Code, s.errors.String())
	}
	return w.Body.String()
}

func (s *site) newRun(r store.Run) store.Run {
	s.t.Helper()
	r.Repo, r.App, r.Cause, r.Sender = "acme/devops-app", "devops-app", "push", "alice"
	if r.Ref == "" {
		r.Ref = "refs/heads/master"
	}
	if r.SHA == "" {
		r.SHA = strings.Repeat("0a1b2c3d", 5)
	}
	if r.Subject == "" {
		r.Subject = "Add the v2 endpoint"
	}
	r.Author = "alice"
	r.Config.V = json.RawMessage(`{}`)
	s.update(func(tx *store.Tx) error {
		err := tx.PutRepo(store.Repo{Name: r.Repo, Private: true, DefaultBranch: "master", HTMLURL: "https://github.example/acme/devops-app"})
		return errors.Join(err, tx.NewRun(&r, "fetch", "build", "resolve"))
	})
	return r
}

// release takes a new run to its release.
func (s *site) release() (store.Run, store.Release) {
	s.t.Helper()
	run := s.newRun(store.Run{})
	var rel store.Release
	s.update(func(tx *store.Tx) error { return tx.StartRun(run.ID) })
	s.now = s.now.Add(83 * time.Second)
	s.update(func(tx *store.Tx) (err error) {
		rel, err = tx.SucceedRun(run, []store.Image{{Repository: "registry.example.com/team/devops-app", Digest: digest}})
		return err
	})
	return run, rel
}

func (s *site) deploy(rel store.Release, d store.Deployment) store.Deployment {
	s.t.Helper()
	d.Repo, d.App, d.Release, d.Run = rel.Repo, rel.App, rel.Number, rel.Run
	if d.Environment == "" {
		d.Environment = "production"
	}
	if d.Cause == "" {
		d.Cause, d.Requester = store.CausePromote, "bob"
	}
	d.Spec.V = json.RawMessage(`{"Environment":{"Name":"production","Cluster":"prod-cluster","Namespace":"prod-namespace"},"Notify":null}`)
	s.update(func(tx *store.Tx) error { return tx.NewDeployment(&d, "render", "apply", "observe", "verify") })
	return d
}

func (s *site) end(d store.Deployment, states ...string) {
	s.t.Helper()
	s.update(func(tx *store.Tx) error { return tx.Begin(d) })
	for _, state := range states {
		s.now = s.now.Add(10 * time.Second)
		s.update(func(tx *store.Tx) error {
			if store.Final(state) {
				return tx.EndDeployment(d, state, "", nil)
			}
			return tx.Advance(d, state)
		})
	}
}

func wants(t *testing.T, page string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(page, w) {
			t.Errorf("the page lacks %q", w)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func lacks(t *testing.T, page string, unwanted ...string) {
	t.Helper()
	for _, u := range unwanted {
		if strings.Contains(page, u) {
			t.Errorf("the page has %q", u)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestRunGoesItsWay(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{Pull: 7, Deploys: store.JSON[[]store.Request]{V: []store.Request{{Environment: "staging", Cause: store.CauseAutomatic, Requester: "alice", Spec: json.RawMessage(`{}`)}}}})
	address := "/runs/" + run.ID
	wants(t, s.page(address), `data-refresh="2"`, `<noscript><meta http-equiv="refresh" content="2"></noscript>`, "devops-app run 1 queued", "acme/devops-app", "Nothing has been logged yet", "when the release exists",
		`<a href="https://github.example/acme/devops-app/commit/0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d"><code>0a1b2c3</code></a> <bdi>Add the v2 endpoint</bdi>`,
		`<a href="https://github.example/acme/devops-app/pull/7">pull request 7</a>`, "push by <bdi>alice</bdi>")

	s.update(func(tx *store.Tx) error {
		_, err := tx.StartStep(run.ID, "fetch")
		return errors.Join(tx.StartRun(run.ID), err)
	})
	s.log(run.ID, "2026-01-02T03:04:07Z\tfetch\tfetching", "2026-01-02T03:05:10Z\tbuild\tgo build")
	s.now = s.now.Add(65 * time.Second)
	wants(t, s.page(address), "running", "for 1m 05s", "Fetch the source", `id="L2"><a href="#L2"`, "1:05</span><code>go build", `<li class="step"><bdi>build</bdi></li>`)

	s.update(func(tx *store.Tx) error {
		_, err := tx.SucceedRun(run, []store.Image{{Repository: "registry.example.com/team/devops-app", Digest: digest}})
		return err
	})
	page := s.page(address)
	wants(t, page, "devops-app run 1 succeeded", "registry.example.com/team/devops-app@"+digest, "<dt>Release</dt><dd>1</dd>")
	lacks(t, page, "data-refresh", "http-equiv")
}

func TestRunFollowsItsDeployments(t *testing.T) {
	s := newSite(t)
	run, rel := s.release()
	staging := s.deploy(rel, store.Deployment{Environment: "staging", Cause: store.CauseAutomatic, Requester: "alice"})
	production := s.deploy(rel, store.Deployment{})
	s.update(func(tx *store.Tx) error {
		return tx.Block(production, []store.Block{{Kind: store.BlockOrder, Environment: "staging"}})
	})
	wants(t, s.page("/runs/"+run.ID), `data-refresh="2"`, `href="/deployments/`+staging.ID, `href="/deployments/`+production.ID, "Waits until the release is live in staging",
		"automatic, after a push by alice", "promote by bob")
	s.end(staging, store.Progressing, store.Verifying, store.Succeeded)
	wants(t, s.page("/runs/"+run.ID), `data-refresh="15"`) // only production is open, and waits
}

func TestFailureComesFirst(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	s.update(func(tx *store.Tx) error {
		return errors.Join(tx.StartRun(run.ID), tx.EndRun(run.ID, store.RunFailed, "exit code 2", &store.Failure{Step: "build", Where: "Dockerfile:12", Reason: "exit code 2",
			Command: "go build ./...", Logs: []string{"\x1b[31mmain.go:3: syntax error\x1b[0m"}, Event: "BackOff", Hint: "fix the code"}))
	})
	page := s.page("/runs/" + run.ID)
	wants(t, page, "exit code 2", "Dockerfile:12", "go build ./...", `<span class="c1">main.go:3: syntax error</span>`, "BackOff", "fix the code", "There is no log")
	if failure, about := strings.Index(page, "Why it failed"), strings.Index(page, "About this run"); failure > about {
		t.Error("the failure stands below other things")
	}
}

func TestAnnotations(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	lacks(t, s.page("/runs/"+run.ID), "Where in the source")
	s.update(func(tx *store.Tx) error {
		return errors.Join(
			tx.Annotate(run.ID, "build", []store.Annotation{{Path: "of/an/earlier", Line: 1, Level: store.LevelFailure, Message: "attempt"}}, 0),
			tx.Annotate(run.ID, "build", []store.Annotation{
				{Path: "a b/%/<main>.go", Line: 7, Column: 3, Level: store.LevelFailure, Message: "undefined: <b>"},
				{Path: "x.go", Line: 9, Level: store.LevelWarning, Message: "odd"},
			}, 2),
			tx.Annotate(run.ID, "check/lint", []store.Annotation{{Path: "y.go", Line: 1, Level: store.LevelNotice, Message: "\u202ehm"}}, 1))
	})
	page := s.page("/runs/" + run.ID)
	wants(t, page, `<a href="https://github.example/acme/devops-app/blob/0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d/a%20b/%25/%3Cmain%3E.go#L7">a b/%/&lt;main&gt;.go:7</a>`,
		`<span class="level failure">error</span> <bdi>undefined: &lt;b&gt;</bdi>`, `x.go:9</a>`, `warning</span> <bdi>odd`, "y.go:1</a>", "\ufffdhm", "and 3 more")
	lacks(t, page, "attempt")
	s.update(func(tx *store.Tx) error { // public: what comes from a log
		return tx.PutRepo(store.Repo{Name: run.Repo, DefaultBranch: "master", HTMLURL: "https://github.example/acme/devops-app"})
	})
	lacks(t, s.page("/runs/"+run.ID), "Where in the source", "x.go")
}

func TestDeploymentSaysWhyItWaits(t *testing.T) {
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		block store.Block
		want  []string
	}{
		"approval":             {store.Block{Kind: store.BlockApproval, Have: 1, Need: 2, By: []string{"@acme/release", "alice"}}, []string{"1 of 2 so far", "May approve: @acme/release, alice.", "/approve 1", "It expires at"}},
		"approval by anyone":   {store.Block{Kind: store.BlockApproval, Need: 1}, []string{"0 of 1 so far", "Everyone who may maintain"}},
		"hold":                 {store.Block{Kind: store.BlockHold, By: []string{"bob"}, Since: since, Text: "<b>errors</b>"}, []string{"Held by bob since", "2026-01-01 00:00:00 UTC", "&lt;b&gt;errors&lt;/b&gt;"}},
		"running":              {store.Block{Kind: store.BlockRunning, Number: 12}, []string{"Waits for deployment 12"}},
		"order":                {store.Block{Kind: store.BlockOrder, Environment: "staging"}, []string{"live in staging"}},
		"soak":                 {store.Block{Kind: store.BlockSoak, Environment: "staging", Until: since}, []string{"2026-01-01 00:00:00 UTC", "soaks in staging"}},
		"branch":               {store.Block{Kind: store.BlockBranch, Text: "feature/<x>"}, []string{"takes no releases of <bdi>feature/&lt;x&gt;</bdi>"}},
		"lock":                 {store.Block{Kind: store.BlockLock, By: []string{"dave"}, Until: since, Text: "<i>migration</i>"}, []string{"Locked by dave until", `<time datetime="2026-01-01T00:00:00Z">`, "&lt;i&gt;migration&lt;/i&gt;"}},
		"freeze":               {store.Block{Kind: store.BlockFreeze, Text: "Fri 18:00 - Mon 08:00 UTC", Until: since}, []string{"Frozen until", `<time datetime="2026-01-01T00:00:00Z">`, "Fri 18:00 - Mon 08:00 UTC"}},
		"checks":               {store.Block{Kind: store.BlockChecks, Names: []string{"lint", "<e2e>"}, Have: 1, Need: 2}, []string{"Waits for checks of the commit, 1 of which failed", "lint, &lt;e2e&gt;"}},
		"checks not read":      {store.Block{Kind: store.BlockChecks}, []string{"Waits until the commit's checks are read"}},
		"checks unreadable":    {store.Block{Kind: store.BlockChecks, Text: "403 <b>"}, []string{"could not be read: <bdi>403 &lt;b&gt;</bdi>"}},
		"part":                 {store.Block{Kind: store.BlockPart, Number: 2}, []string{"Waits for part 2 of its release order"}},
		"release order":        {store.Block{Kind: store.BlockPart}, []string{"Waits until every part of its release order is prepared"}},
		"ratify":               {store.Block{Kind: store.BlockRatify, Number: 9, Until: since}, []string{"Deployment 9 went without approval", `<time datetime="2026-01-01T00:00:00Z">`, "maintain the repository may agree"}},
		"a kind to come later": {store.Block{Kind: "eclipse", Text: "until Monday"}, []string{"eclipse until Monday"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			_, rel := s.release()
			d := s.deploy(rel, store.Deployment{ExpiresAt: store.Time{Time: since}})
			s.update(func(tx *store.Tx) error { return tx.Block(d, []store.Block{c.block}) })
			wants(t, s.page("/deployments/"+d.ID), append(c.want, "Why it waits", "blocked", `data-refresh="15"`)...)
		})
	}
}

func TestDeploymentShowsWhatIsApproved(t *testing.T) {
	s := newSite(t)
	run, rel := s.release()
	d := s.deploy(rel, store.Deployment{})
	s.update(func(tx *store.Tx) error {
		return errors.Join(
			tx.Prepared(d, []byte("objects"), "hash", json.RawMessage("[]"), "Deployment/web\n-  replicas: 1\n+  replicas: \u202e2\n   x: <y>"),
			tx.Vote(store.Approval{Deployment: d.ID, Login: "carol", Vote: "approve", Bound: "old", Via: "github"}),
			tx.Vote(store.Approval{Deployment: d.ID, Login: "dave", Vote: "reject", Reason: "not <i>today</i>", Bound: "old", Via: "slack"}),
			tx.Block(d, []store.Block{{Kind: store.BlockApproval, Have: 0, Need: 1}}))
	})
	wants(t, s.page("/deployments/"+d.ID), "prod-cluster", "prod-namespace", digest, `href="/runs/`+run.ID, "promote by bob",
		`<span class="place">Deployment/web</span><span class="removed">-  replicas: 1</span><span class="added">&#43;  replicas: �2</span><span class="same">   x: &lt;y&gt;</span>`,
		"<strong>carol</strong>", "approved on github", "rejected on slack", "not &lt;i&gt;today&lt;/i&gt;", "Not every approval counts")
}

func TestRollbackNamesBothEnds(t *testing.T) {
	s := newSite(t)
	_, rel1 := s.release()
	good := s.deploy(rel1, store.Deployment{})
	s.end(good, store.Progressing, store.Verifying, store.Succeeded)
	s.now = s.now.Add(time.Hour)
	_, rel2 := s.release()
	bad := s.deploy(rel2, store.Deployment{})
	s.end(bad, store.Progressing)
	s.update(func(tx *store.Tx) error {
		if err := tx.Progress(bad, "1 of 2 pods ready"); err != nil {
			return err
		}
		return tx.AskCancel(bad, "erin")
	})
	wants(t, s.page("/deployments/"+bad.ID), "1 of 2 pods ready", "erin asked to stop", `data-refresh="2"`)
	s.update(func(tx *store.Tx) error {
		return tx.EndDeployment(bad, store.Failed, "it crashes", &store.Failure{Step: "observe", Reason: "it crashes", Logs: []string{"</pre><script>alert(1)</script>"}})
	})
	back := s.deploy(rel1, store.Deployment{Cause: store.CauseRecovery, RollbackOf: bad.ID, Restores: good.ID})

	page := s.page("/deployments/" + bad.ID)
	wants(t, page, "it crashes", "Automatic rollback to release 1", `href="/deployments/`+back.ID, "&lt;/pre&gt;&lt;script&gt;", `data-refresh="2"`)
	lacks(t, page, "erin asked to stop", "<script>alert", good.ID)
	page = s.page("/deployments/" + back.ID)
	wants(t, page, "Rolls back", `href="/deployments/`+bad.ID, "what deployment 1 applied", "automatic, after a failed deployment")
	lacks(t, page, good.ID)
}

// TestTroubleIsShown: work that failed or was given up is on the page of what it is about, and on no other.
func TestTroubleIsShown(t *testing.T) {
	s := newSite(t)
	run, rel := s.release()
	d := s.deploy(rel, store.Deployment{})
	other := s.deploy(rel, store.Deployment{Environment: "staging"})
	fail := func(kind, key string, finish func(*store.Tx, store.Task) error) {
		t.Helper()
		s.update(func(tx *store.Tx) error {
			if err := tx.Wake(kind, key); err != nil {
				return err
			}
			for { // the one that is meant is among those that are due
				task, ok, err := tx.Claim([]string{kind}, time.Hour)
				if err != nil || !ok {
					return errors.Join(err, errors.New("it is not due"))
				}
				if task.Key == key {
					return finish(tx, task)
				}
			}
		})
	}
	fail(store.TaskSay, "deployment/"+d.ID+"\nwecom/ops", func(tx *store.Tx, task store.Task) error { return tx.Bury(task, "no <i>such</i> robot") })
	fail(store.TaskPrepare, d.ID, func(tx *store.Tx, task store.Task) error {
		return tx.Retry(task, tx.Now().Add(time.Minute), "git is away")
	})
	fail(store.TaskSay, "run/"+run.ID+"\ngithub/status", func(tx *store.Tx, task store.Task) error { return tx.Bury(task, "gone") })
	page := s.page("/deployments/" + d.ID)
	wants(t, page, "Telling wecom/ops was given up at", "no &lt;i&gt;such&lt;/i&gt; robot", "Rendering the manifests failed 1 time and is tried again", "git is away")
	wants(t, s.page("/runs/"+run.ID), "Telling github/status was given up at", "gone")
	lacks(t, s.page("/deployments/"+other.ID), "What did not work")
	s.update(func(tx *store.Tx) error { // public: reasons may come from anywhere
		return tx.PutRepo(store.Repo{Name: run.Repo, DefaultBranch: "master", HTMLURL: "https://github.example/acme/devops-app"})
	})
	page = s.page("/deployments/" + d.ID)
	wants(t, page, "Telling wecom/ops was given up at")
	lacks(t, page, "robot", "git is away")
}

func TestNothingTypedIsMarkup(t *testing.T) {
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	s := newSite(t)
	run := s.newRun(store.Run{Subject: evil, Ref: "refs/heads/" + evil, SHA: `"><script>alert(1)</script>`})
	s.update(func(tx *store.Tx) error {
		return errors.Join(
			tx.PutRepo(store.Repo{Name: run.Repo, Private: true, HTMLURL: "javascript:alert(1)"}),
			tx.StartRun(run.ID),
			tx.EndRun(run.ID, store.RunFailed, evil, &store.Failure{Step: evil, Where: evil, Reason: evil, Logs: []string{evil}, Event: evil, Hint: evil, Command: evil}))
	})
	s.log(run.ID, "2026-01-02T03:04:07Z\t"+evil+"\t</code></ol></pre>"+evil, "2026-01-02T03:04:07Z\tbuild\t\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07 \x1b[31m"+evil+"\x1b[2J\x1b[0m\x00\x7f")
	page := s.page("/runs/" + run.ID)
	lacks(t, page, "<script>alert", "<img src=x", "</code></ol></pre>", "javascript:alert", "\x1b", "\x00", "\x7f")
	wants(t, page, `<span class="c1">&lt;script&gt;alert(1)`)
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("%d scripts, want our own only", n)
	}
	if on := regexp.MustCompile(`<[^>]*\s(on\w+|style)=`).FindString(page); on != "" {
		t.Errorf("an attribute that the policy forbids: %s", on)
	}
}

// A page must lead nowhere but to its own family: its address is all that keeps others out.
func TestPagesKeepOtherAddresses(t *testing.T) {
	s := newSite(t)
	run1, rel1 := s.release()
	deployment1 := s.deploy(rel1, store.Deployment{})
	s.end(deployment1, store.Progressing, store.Verifying, store.Succeeded)
	run2, rel2 := s.release()
	deployment2 := s.deploy(rel2, store.Deployment{})
	deployment2b := s.deploy(rel2, store.Deployment{Environment: "staging"})

	lacks(t, s.page("/"), run1.ID, run2.ID, deployment1.ID, "acme", "devops-app")
	lacks(t, s.page("/runs/"+run1.ID), run2.ID, deployment2.ID, deployment2b.ID)
	lacks(t, s.page("/runs/"+run2.ID), run1.ID, deployment1.ID)
	lacks(t, s.page("/deployments/"+deployment1.ID), run2.ID, deployment2.ID)
	lacks(t, s.page("/deployments/"+deployment2.ID), run1.ID, deployment1.ID, deployment2b.ID)
	lacks(t, s.do("GET", "/runs/"+store.NewID()).Body.String(), run1.ID, run2.ID, "acme")
}

func TestAnswers(t *testing.T) {
	s := newSite(t)
	run, rel := s.release()
	d := s.deploy(rel, store.Deployment{})
	logged := s.newRun(store.Run{SHA: strings.Repeat("ab", 20)})
	s.log(logged.ID, "2026-01-02T03:04:07Z\tbuild\t<b>")
	asset := regexp.MustCompile(`/assets/style\.[0-9a-f]+\.css`).FindString(s.page("/"))
	cases := []struct {
		method, path string
		code         int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/runs/" + run.ID, 200, "text/html; charset=utf-8"},
		{"GET", "/runs/" + run.ID + "/log", 404, "text/html; charset=utf-8"}, // nothing logged
		{"GET", "/runs/" + logged.ID + "/log", 200, "text/plain; charset=utf-8"},
		{"GET", "/deployments/" + d.ID, 200, "text/html; charset=utf-8"},
		{"GET", asset, 200, "text/css; charset=utf-8"},
		{"GET", "/assets/style.css", 404, "text/html; charset=utf-8"},
		{"GET", "/assets/..%2fweb.go", 404, "text/html; charset=utf-8"},
		{"GET", "/runs/", 404, "text/html; charset=utf-8"},
		{"GET", "/runs/1", 404, "text/html; charset=utf-8"},
		{"GET", "/runs/" + strings.ToUpper(run.ID), 404, "text/html; charset=utf-8"},
		{"GET", "/runs/" + d.ID, 404, "text/html; charset=utf-8"},
		{"GET", "/runs/%25/log", 404, "text/html; charset=utf-8"},
		{"GET", "/runs/..%2f..%2fetc%2fpasswd/log", 404, "text/html; charset=utf-8"},
		{"GET", "/deployments/" + run.ID, 404, "text/html; charset=utf-8"},
		{"GET", "/deployments/' OR 1=1 --", 404, "text/html; charset=utf-8"},
		{"GET", "/apps/devops-app", 404, "text/html; charset=utf-8"},
		{"POST", "/", 405, "text/plain; charset=utf-8"},
		{"POST", "/runs/" + run.ID, 405, "text/plain; charset=utf-8"},
		{"DELETE", "/deployments/" + d.ID, 405, "text/plain; charset=utf-8"},
	}
	logFile := s.logFile
	s.logFile = func(id string) string {
		if id != run.ID && id != logged.ID {
			t.Errorf("the log of %q was asked for", id)
		}
		return logFile(id)
	}
	for _, c := range cases {
		methods := []string{c.method}
		if c.method == "GET" {
			methods = append(methods, "HEAD")
		}
		for _, method := range methods {
			t.Run(method+" "+c.path, func(t *testing.T) {
				w := s.do(method, strings.ReplaceAll(c.path, " ", "%20"))
				if w.Code != c.code || w.Header().Get("Content-Type") != c.contentType {
					t.Errorf("%d %s, want %d %s", w.Code, w.Header().Get("Content-Type"), c.code, c.contentType)
				}
				cache := "no-store"
				if c.path == asset {
					cache = "public, max-age=31536000, immutable"
				}
				for header, want := range map[string]string{
					"Cache-Control": cache, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex",
					"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
				} {
					if got := w.Header().Get(header); got != want {
						t.Errorf("%s: %q, want %q", header, got, want)
					}
				}
			})
		}
	}
	if s.errors.Len() > 0 {
		t.Errorf("logged as broken: %s", s.errors.String())
	}
}

// Over a connection, where net/http keeps the body of an answer to HEAD back.
func TestHeadHasNoBody(t *testing.T) {
	s := newSite(t)
	run, _ := s.release()
	server := httptest.NewServer(s)
	defer server.Close()
	answer, err := http.Head(server.URL + "/runs/" + run.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || len(body) != 0 || answer.StatusCode != http.StatusOK {
		t.Errorf("%d with %d bytes, %v", answer.StatusCode, len(body), err)
	}
}

func TestWholeLog(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	lines := make([]string, 2*maxLines)
	for i := range lines {
		lines[i] = fmt.Sprintf("2026-01-02T03:04:07.000Z\tbuild\tthis is line %d", i+1)
	}
	s.log(run.ID, lines...)
	if got, want := s.page("/runs/"+run.ID+"/log"), strings.Join(lines, "\n")+"\n"; got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	page := s.page("/runs/" + run.ID)
	wants(t, page, "this is line 2001<", "this is line 4000<", `id="L4000"`, "4000 lines; below are the last ones", `href="/runs/`+run.ID+`/log"`)
	lacks(t, page, "this is line 2000<", `id="L2000"`)
}

func TestBrokenPageTellsTheOperatorOnly(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	secret := s.logs // a folder where the log should be
	s.logFile = func(string) string { return secret }
	for _, path := range []string{"/runs/" + run.ID, "/runs/" + run.ID + "/log"} {
		s.errors.Reset()
		w := s.do("GET", path)
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), secret) {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
		if !strings.Contains(s.errors.String(), "is a directory") {
			t.Errorf("GET %s: the operator was told %q", path, s.errors.String())
		}
	}
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if w := s.do("GET", "/deployments/"+store.NewID()); w.Code != http.StatusInternalServerError {
		t.Errorf("without a database: %d", w.Code)
	}
}

func TestEveryAssetIsServed(t *testing.T) {
	s := newSite(t)
	found := regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(s.page("/"), -1)
	if len(found) < 3 {
		t.Fatalf("only %q", found)
	}
	for _, m := range found {
		if s.page(m[1]) == "" {
			t.Errorf("%s is empty", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(s.page("/"), -1) {
		if !strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "?") && !strings.HasPrefix(m[1], "#") || strings.HasPrefix(m[1], "//") {
			t.Errorf("%s is fetched from elsewhere", m[1])
		}
	}
}

// Everyone who sees a public repository sees the address of this page in a commit status.
func TestPublicRepositoryShowsNoLogAndNoObject(t *testing.T) {
	s := newSite(t)
	run := s.newRun(store.Run{})
	s.log(run.ID, "2026-01-02T03:04:07Z\tbuild\ta line of the log")
	d := store.Deployment{Repo: run.Repo, App: run.App, Environment: "staging", Release: 1, Cause: store.CauseAutomatic, Requester: "alice", Run: run.ID,
		Spec: store.JSON[json.RawMessage]{V: json.RawMessage("{}")}, Changes: "+ a line of the diff"}
	fail := &store.Failure{Step: "observe", Reason: "the reason", Logs: []string{"a line of the pod"}, Event: "an event"}
	s.update(func(tx *store.Tx) error {
		if err := tx.StartRun(run.ID); err != nil {
			return err
		}
		if _, err := tx.SucceedRun(run, []store.Image{{Repository: "registry.example.com/team/devops-app", Digest: digest}}); err != nil {
			return err
		}
		const job = "job/1/migrate.yaml"
		if err := tx.NewDeployment(&d, job); err != nil {
			return err
		}
		if _, err := tx.StartStep(d.ID, job); err != nil {
			return err
		}
		return errors.Join(tx.NoteStep(d.ID, job, store.StepResult{Logs: []string{"a line of the Job"}}), tx.EndDeployment(d, store.Failed, "the reason", fail))
	})
	hidden := []string{"a line of the log", "a line of the diff", "a line of the pod", "an event", "a line of the Job"}
	wants(t, s.page("/runs/"+run.ID)+s.page("/deployments/"+d.ID), hidden...)

	s.update(func(tx *store.Tx) error {
		return tx.PutRepo(store.Repo{Name: run.Repo, DefaultBranch: "master", HTMLURL: "https://github.example/acme/devops-app"})
	})
	lacks(t, s.page("/runs/"+run.ID), hidden...)
	lacks(t, s.page("/deployments/"+d.ID), hidden...)
	wants(t, s.page("/deployments/"+d.ID), "the reason")
	if w := s.do("GET", "/runs/"+run.ID+"/log"); w.Code != http.StatusNotFound {
		t.Errorf("the whole log: %d", w.Code)
	}
}
