package pipeline

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

const migration = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: "registry.example.com/team/web:latest", args: [migrate]}]
`

// flowing is an environment with a flow, as its file says, and the files of its commits.
func flowing(t *testing.T, flow string, edit func(*Environment)) Environment {
	t.Helper()
	c, err := Parse(".shipmate.yaml", []byte("build: {image: registry.example.com/team/web}\nenvironments:\n- {name: staging, cluster: test, namespace: staging, manifests: deploy/, flow: "+flow+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return environment(func(e *Environment) {
		e.Flow = c.Environments[0].Flow
		if edit != nil {
			edit(e)
		}
	})
}

func flowBench(t *testing.T) *bench {
	b := newBench(t)
	b.files = map[string]string{"deploy/web.yaml": manifest, "deploy/migrate.yaml": migration}
	return b
}

// jump lets time pass, and has the environment looked at.
func (b *bench) jump(by time.Duration) {
	b.t.Helper()
	before := b.DB.Now
	b.DB.Now = func() time.Time { return before().Add(by) }
	b.update(func(tx *store.Tx) error { return tx.Wake(store.TaskEnv, store.EnvKey(testRepo, "web", "staging")) })
}

// walked tells the steps of a deployment but the first, one a line.
func (b *bench) walked(number int) string {
	b.t.Helper()
	var lines []string
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) error {
		steps, err := tx.Steps(b.deployment(number).ID)
		for _, s := range steps {
			if s.Kind != StepRender {
				lines = append(lines, s.Kind+" "+s.State)
			}
		}
		return err
	}))
	return strings.Join(lines, "\n")
}

func (b *bench) result(number int, kind string) (s store.Step) {
	b.t.Helper()
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) (err error) { s, err = tx.Step(b.deployment(number).ID, kind); return err }))
	return s
}

// TestFlow goes through every kind of step, in an order of its own.
func TestFlow(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.servers.secrets = []string{"migrated"}
	b.run('a', flowing(t, `[job: deploy/migrate.yaml, wait: 10m, deploy, verify: {http: "http://web:8080/healthz", for: 1m}]`, nil), nil)
	b.ok(b.work(t.Context()))
	d := b.deployment(1)
	job := "migrate-" + d.ID[:8] + "-1"
	if b.jobs[job] != 1 || len(b.jobs) != 1 || b.running != "" {
		t.Fatalf("jobs %v, running %q", b.jobs, b.running)
	}
	s := b.result(1, "job/1/deploy/migrate.yaml")
	if s.State != store.StepSucceeded || s.Detail != "Job/"+job || s.Result.V == nil || strings.Join(s.Result.V.Logs, "\n") != "•••" {
		t.Errorf("%+v", s)
	}
	if s := b.result(1, "wait/2/10m"); s.State != store.StepRunning || b.deployment(1).State != store.Applying {
		t.Errorf("%s while it is %s", s.State, b.deployment(1).State)
	}
	b.jump(9 * time.Minute)
	b.ok(b.work(t.Context()))
	if b.running != "" {
		t.Error("it did not wait")
	}
	b.jump(time.Minute)
	b.ok(b.work(t.Context()))
	b.runs(1)
	if s := b.result(1, "verify/4/http://web:8080/healthz"); s.State != store.StepRunning || b.deployment(1).State != store.Verifying {
		t.Errorf("%s while it is %s", s.State, b.deployment(1).State)
	}
	if strings.Contains(string(b.applied), `"Job"`) {
		t.Error("the Job was applied with the rest")
	}
	b.jump(time.Minute)
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded" {
		t.Error(got)
	}
	if got, want := b.walked(1), "job/1/deploy/migrate.yaml succeeded\nwait/2/10m succeeded\napply succeeded\nobserve succeeded\nverify succeeded\nverify/4/http://web:8080/healthz succeeded"; got != want {
		t.Error(got)
	}
	if !slices.Contains(b.calls, "proxy staging/web:8080/healthz") {
		t.Error(b.calls)
	}
}

// TestFlowJobIsBound has the Job of the release's image, the environment's and its own name, and no part of what is pruned later.
func TestFlowJobIsBound(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', flowing(t, "[job: deploy/migrate.yaml, deploy]", nil), nil)
	b.ok(b.work(t.Context()))
	d := b.deployment(1)
	applied, jobs, err := b.Objects(d)
	b.ok(err)
	if len(applied) != 1 || len(jobs) != 1 {
		t.Fatalf("%d objects, %d jobs", len(applied), len(jobs))
	}
	if image := imageOf(jobs); image != b.running || jobs[0].GetNamespace() != "staging" || jobs[0].GetLabels()[kube.LabelEnvironment] != "staging" {
		t.Errorf("image %s of %v", image, jobs[0])
	}
	if strings.Contains(string(d.Inventory.V), "Job") {
		t.Errorf("inventory %s", d.Inventory.V)
	}
	// A way back runs no Job.
	b.run('b', environment(nil), nil)
	b.ok(b.work(t.Context()))
	b.update(func(tx *store.Tx) error {
		_, err := NewRollback(tx, b.deployment(2), d, store.CauseRollback, "bob", "")
		return err
	})
	b.ok(b.work(t.Context()))
	b.runs(1)
	if len(b.jobs) != 1 {
		t.Error(b.jobs)
	}
	if _, jobs, err := b.Objects(b.deployment(3)); err != nil || len(jobs) != 0 {
		t.Error(jobs, err)
	}
}

// TestFlowKilledAnywhere kills at each moment of a flow: it ends as it would have, and no Job runs twice.
func TestFlowKilledAnywhere(t *testing.T) {
	t.Parallel()
	crash := func(context.Context) error {
		return &kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff", Fatal: true}
	}
	stories := map[string]struct {
		fails string // the call that fails
		want  string
		live  int
	}{
		"to its end":     {"", "automatic 1 succeeded, automatic 2 succeeded", 2},
		"the Job fails":  {"watch job", "automatic 1 succeeded, automatic 2 failed", 1},
		"it fails later": {"wait release 2", "automatic 1 succeeded, automatic 2 failed", 2}, // and is not taken back: the Job has run
		"it asks again":  {"proxy staging/web:80/", "automatic 1 succeeded, automatic 2 succeeded", 2},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := flowBench(t)
			before.run('a', environment(func(e *Environment) { e.Manifests = "deploy/web.yaml" }), nil)
			before.ok(before.work(t.Context()))
			before.run('b', flowing(t, `[job: deploy/migrate.yaml, deploy, verify: {http: "http://web/"}, job: deploy/migrate.yaml]`, nil), nil)
			stride := 3
			switch {
			case testing.Short():
				stride = 7
			case name == "to its end":
				stride = 1
			}
			for n := 1; ; n += stride {
				b := before.copy()
				if story.fails == "proxy staging/web:80/" { // once, which is no failure
					b.on[story.fails] = func(context.Context) error { delete(b.on, story.fails); return errors.New("no endpoints") }
				} else if story.fails != "" {
					b.on[story.fails] = crash
				}
				ctx, kill := context.WithCancel(t.Context())
				b.mu.Lock()
				b.points, b.dieAt, b.kill = 0, n, kill
				b.mu.Unlock()
				err := b.work(ctx)
				kill()
				b.mu.Lock()
				survived := b.points < n
				b.dieAt = 0
				b.mu.Unlock()
				if survived && err != nil {
					t.Fatal(err)
				}
				b.update((*store.Tx).Recover)
				for range 2 { // where a step waits, its time comes
					if err := b.work(t.Context()); err != nil {
						t.Fatalf("killed at %d: %v", n, err)
					}
					b.jump(verifyEvery)
				}
				b.ok(b.work(t.Context()))
				if got := b.deployments(); got != story.want {
					t.Errorf("killed at %d: %s, want %s", n, got, story.want)
				}
				for job, runs := range b.jobs {
					if runs != 1 {
						t.Errorf("killed at %d: %s ran %d times", n, job, runs)
					}
				}
				b.runs(story.live)
				if survived {
					if n < 20 {
						t.Errorf("only %d points", n)
					}
					return
				}
			}
		})
	}
}

// TestFlowJobIsGone does not run what may have run before.
func TestFlowJobIsGone(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.on["watch job"] = func(context.Context) error { return &kube.Error{Temporary: true} }
	b.run('a', flowing(t, "[job: deploy/migrate.yaml, deploy]", nil), nil)
	if err := b.work(t.Context()); err == nil {
		t.Fatal("it ended")
	}
	clear(b.jobs) // somebody deleted it
	delete(b.on, "watch job")
	b.update((*store.Tx).Recover)
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 failed" || len(b.jobs) != 0 {
		t.Errorf("%s, %v", got, b.jobs)
	}
}

// TestFlowFailsAfterAJob asks a person instead of going back.
func TestFlowFailsAfterAJob(t *testing.T) {
	t.Parallel()
	for name, flow := range map[string]string{"a Job ran": "[job: deploy/migrate.yaml, deploy]", "none ran yet": "[deploy, job: deploy/migrate.yaml]"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := flowBench(t)
			b.run('a', flowing(t, "[deploy, wait: 1s]", nil), nil)
			b.ok(b.work(t.Context()))
			b.jump(time.Second)
			b.ok(b.work(t.Context()))
			first := b.deployment(1)
			b.on["wait release 2"] = func(context.Context) error {
				return &kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff"}
			}
			b.run('b', flowing(t, flow, nil), nil)
			b.ok(b.work(t.Context()))
			got, f, want := b.deployments(), b.deployment(2).Failure.V, "automatic 1 succeeded, automatic 2 failed"
			if name == "none ran yet" {
				if got != want+", recovery 1 succeeded" || f.Ran != nil {
					t.Error(got, f)
				}
				return
			}
			if got != want || len(f.Ran) != 1 || !strings.HasPrefix(f.Ran[0], "Job/migrate-") {
				t.Error(got, f)
			}
			b.ok(b.DB.View(t.Context(), func(tx *store.Tx) error {
				since, err := tx.JobsSince(first)
				if !slices.Equal(since, f.Ran) {
					t.Errorf("since the first: %v", since)
				}
				return err
			}))
		})
	}
}

// TestFlowIsCancelled stops at the step that is under way, and deletes its Job.
func TestFlowIsCancelled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flow, at, want string
		stopped        bool
	}{
		"in a Job":  {"[job: deploy/migrate.yaml, deploy]", "watch job", "job/1/deploy/migrate.yaml cancelled\napply skipped\nobserve skipped\nverify skipped", true},
		"in a wait": {"[wait: 1h, deploy]", "", "wait/1/1h cancelled\napply skipped\nobserve skipped\nverify skipped", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := flowBench(t)
			cancel := func() { b.update(func(tx *store.Tx) error { return tx.AskCancel(b.deployment(1), "bob") }) }
			b.on[test.at] = func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }
			b.run('a', flowing(t, test.flow, nil), nil)
			b.ok(b.work(t.Context()))
			if test.at == "" {
				cancel()
				b.ok(b.work(t.Context()))
			}
			if got := b.deployments(); got != "automatic 1 cancelled" || b.running != "" {
				t.Error(got, b.running)
			}
			if got := b.walked(1); got != test.want {
				t.Error(got)
			}
			if slices.Contains(b.calls, "stop job") != test.stopped {
				t.Error(b.calls)
			}
			if f := b.deployment(1).Failure.V; f != nil {
				t.Error(f)
			}
		})
	}
}

// TestFlowIsCancelledAway ends also where the cluster can't delete the Job, and says that it is left.
func TestFlowIsCancelledAway(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.on["watch job"] = func(ctx context.Context) error {
		b.update(func(tx *store.Tx) error { return tx.AskCancel(b.deployment(1), "bob") })
		<-ctx.Done()
		return ctx.Err()
	}
	b.on["stop job"] = func(context.Context) error {
		return &kube.Error{Object: "cluster", Message: "refused", Temporary: true}
	}
	b.run('a', flowing(t, "[job: deploy/migrate.yaml, deploy]", nil), nil)
	b.ok(b.work(t.Context()))
	if f := b.deployment(1).Failure.V; b.deployments() != "automatic 1 cancelled" || f == nil || !strings.HasPrefix(f.Hint, "delete it: kubectl -n staging delete job migrate-") {
		t.Error(b.deployments(), f)
	}
}

// TestVerifyFails counts only what is wrong several times in a row.
func TestVerifyFails(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', flowing(t, `[deploy, verify: {http: "http://web/", status: 204, for: 1h}]`, nil), nil)
	for _, status := range []int{200, 503, 204, 200, 200} {
		b.status = status
		b.ok(b.work(t.Context()))
		if state := b.deployment(1).State; state != store.Verifying {
			t.Fatalf("it is %s", state)
		}
		b.jump(verifyEvery)
	}
	b.ok(b.work(t.Context()))
	d := b.deployment(1)
	if want := "http://web/ answers 200 instead of 204, 3 times in a row"; d.State != store.Failed || d.Reason != want {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
}

// TestVerifyClusterAway: an API server that cannot be reached says nothing about the service behind it, until time is up.
func TestVerifyClusterAway(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]bool{"it is back": true, "it stays away": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := flowBench(t)
			const ask = "proxy staging/web:80/"
			away := &kube.Error{Object: "cluster test", Message: "the API server does not answer", Temporary: true, Away: true}
			b.on[ask] = func(context.Context) error { return away }
			b.run('a', flowing(t, `[deploy, verify: {http: "http://web/"}]`, func(e *Environment) {
				if !back {
					e.Timeout = 5 * time.Second
				}
			}), nil)
			if !back {
				for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
					err := b.work(t.Context())
					if err == nil {
						break
					}
					if !errors.Is(err, away) || time.Now().After(deadline) {
						t.Fatal(err)
					}
					b.update((*store.Tx).Recover)
				}
				if r := b.deployment(1).Reason; r != "it took longer than its timeout of 5s: the API server does not answer" {
					t.Error(r)
				}
				return
			}
			for range verifyMisses + 1 {
				if err := b.work(t.Context()); !errors.Is(err, away) {
					t.Fatalf("got %v", err)
				}
				b.update((*store.Tx).Recover)
			}
			delete(b.on, ask)
			b.ok(b.work(t.Context()))
			if got := b.deployments(); got != "automatic 1 succeeded" {
				t.Error(got)
			}
		})
	}
}

// TestVerifyFailsGoesBack does so only where something was applied.
func TestVerifyFailsGoesBack(t *testing.T) {
	t.Parallel()
	for flow, want := range map[string]string{
		`[deploy, verify: {http: "http://web/"}]`: "automatic 1 succeeded, automatic 2 failed, recovery 1 succeeded",
		`[verify: {http: "http://web/"}, deploy]`: "automatic 1 succeeded, automatic 2 failed",
	} {
		t.Run(flow, func(t *testing.T) {
			t.Parallel()
			b := flowBench(t)
			b.run('a', environment(nil), nil)
			b.ok(b.work(t.Context()))
			b.status = 500
			b.run('b', flowing(t, flow, nil), nil)
			for range verifyMisses {
				b.ok(b.work(t.Context()))
				b.jump(verifyEvery)
			}
			b.ok(b.work(t.Context()))
			if got := b.deployments(); got != want {
				t.Error(got)
			}
			b.runs(1)
		})
	}
}

// TestFlowWaitsThroughARestart shows a wait as one, and goes on by the time at which it began.
func TestFlowWaitsThroughARestart(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', flowing(t, "[wait: 10m, deploy]", nil), nil)
	b.ok(b.work(t.Context()))
	b.jump(6 * time.Minute)
	b.ok(b.work(t.Context()))
	b.update((*store.Tx).Recover)
	if s := b.result(1, "wait/1/10m"); s.State != store.StepRunning {
		t.Errorf("it is %s", s.State)
	}
	b.jump(4 * time.Minute)
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded" {
		t.Error(got)
	}
}

// TestVerifyAsksPrometheus compares every value with the limits.
func TestVerifyAsksPrometheus(t *testing.T) {
	t.Parallel()
	vector := func(values ...string) string {
		var all []string
		for _, v := range values {
			all = append(all, fmt.Sprintf(`{"metric":{},"value":[1700000000.1,%q]}`, v))
		}
		return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(all, ",") + `]}}`
	}
	for name, test := range map[string]struct{ limit, answer, want string }{
		"below":       {"max: 0.01", vector("0.001", "0.01"), ""},
		"scalar":      {"min: 1, max: 2", `{"status":"success","data":{"resultType":"scalar","result":[1700000000,"1.5"]}}`, ""},
		"above":       {"max: 0.01", vector("0.001", "0.02"), "errors is 0.02, more than 0.01"},
		"too few":     {"min: 3", vector("2"), "errors is 2, less than 3"},
		"not a value": {"max: 1", vector("NaN"), "errors is NaN, more than 1"},
		"no value":    {"max: 1", vector(), "errors has no value"},
		"refused":     {"max: 1", `{"status":"error","error":"parse error"}`, "it refuses: parse error"},
		"a matrix":    {"max: 1", `{"status":"success","data":{"resultType":"matrix","result":[]}}`, "the query is for a matrix"},
		"a page":      {"max: 1", "<html>", "not of its API"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/prom/api/v1/query" || r.FormValue("query") != "errors" {
					t.Errorf("asked %s", r.URL)
				}
				_, _ = io.WriteString(w, test.answer)
			}))
			t.Cleanup(far.Close)
			b := flowBench(t)
			b.Outside = func(string) *http.Client { return far.Client() }
			b.run('a', flowing(t, fmt.Sprintf("[deploy, verify: {prometheus: %q, query: errors, %s}]", far.URL+"/prom/", test.limit), nil), nil)
			for range verifyMisses {
				b.ok(b.work(t.Context()))
				b.jump(verifyEvery)
			}
			if d := b.deployment(1); (test.want == "") != (d.State == store.Succeeded) || !strings.Contains(d.Reason, test.want) {
				t.Errorf("%s: %s", d.State, d.Reason)
			}
		})
	}
}

// TestFlowWebhook signs what it sends, sends it again by the same name, and tells nobody the address.
func TestFlowWebhook(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answers []int
		want    string
	}{
		"taken":          {[]int{200}, ""},
		"led on":         {[]int{302}, ""},
		"taken later":    {[]int{500, 429, 204}, ""},
		"never taken":    {[]int{500, 500, 500, 500, 404}, "HTTP status 404, after 5 attempts"},
		"does not exist": {nil, "after 5 attempts"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mac := hmac.New(sha256.New, []byte("hook secret"))
				mac.Write(body)
				if r.Header.Get(hookSignature) != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
					t.Errorf("signature %q", r.Header.Get(hookSignature))
				}
				var said hookBody
				if err := json.Unmarshal(body, &said); err != nil || said.Deployment != 1 || said.Environment != "staging" || len(said.Images) != 1 || r.URL.Path != "/in/t0ken" {
					t.Errorf("%s %s %v", r.URL, body, err)
				}
				got = append(got, r.Header.Get(hookDelivery))
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.answers[len(got)-1])
			}))
			if test.answers == nil {
				far.Close()
			}
			t.Cleanup(far.Close)
			client := far.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			b := flowBench(t)
			b.servers.secret = "hook secret"
			b.Outside = func(string) *http.Client { return client }
			b.run('a', flowing(t, fmt.Sprintf("[webhook: {url: %q, secret: hook}, deploy]", far.URL+"/in/t0ken"), nil), nil)
			for range hookAttempts {
				b.ok(b.work(t.Context()))
				b.jump(time.Hour)
			}
			d := b.deployment(1)
			if (test.want == "") != (d.State == store.Succeeded) || !strings.Contains(d.Reason, test.want) || strings.Contains(d.Reason+b.walked(1), "t0ken") {
				t.Errorf("%s: %s\n%s", d.State, d.Reason, b.walked(1))
			}
			if len(got) != len(test.answers) || len(slices.Compact(got)) > 1 {
				t.Errorf("asked as %v", got)
			}
		})
	}
}

// TestFlowMistakes has bot check name them.
func TestFlowMistakes(t *testing.T) {
	t.Parallel()
	for flow, want := range map[string]string{
		"[deploy]": "",
		"[job: db/up.yml, deploy: {}, wait: 10m, webhook: {url: https://hook.example.com/x}]": "",
		"[deploy, verify: {prometheus: https://p.example.com, query: up, min: 1, for: 5m}]":   "",
		"[]":                                                                     "flow: has deploy 0 times; it has to be there once",
		"[deploy, deploy]":                                                       "flow: has deploy 2 times; it has to be there once",
		"[fly, deploy]":                                                          `flow[0]: "fly" is no step`,
		"[{}, deploy]":                                                           "flow[0]: is no step",
		"[{job: a.yaml, wait: 1m}, deploy]":                                      "flow[0]: is more than one step",
		"[job: ../a.yaml, deploy]":                                               "flow[0].job: \"../a.yaml\" leads out of the repository",
		"[job: deploy/, deploy]":                                                 `flow[0].job: "deploy/" is no manifest`,
		"[wait: 0s, deploy]":                                                     "flow[0].wait: must be between 1s and 24h",
		"[deploy, approve: [alice]]":                                             "flow[1].approve: must be keys and values, not a list",
		"[deploy, approve: {count: 0}]":                                          "flow[1].approve.count: must be at least 1",
		"[deploy, approve: {count: 2, by: [bob]}]":                               "flow[1].approve.count: asks for 2 approvals, but by names 1",
		"[deploy, approve: {expire: 0s}]":                                        "flow[1].approve.expire: must be more than 0",
		"[approve, deploy, approve: {self: true}]":                               "",
		"[deploy, verify: {}]":                                                   "flow[1].verify: asks nothing, or two things",
		"[deploy, verify: {http: web/x}]":                                        `flow[1].verify.http: "web/x" is no address of a Service`,
		"[deploy, verify: {http: 'http://a.b/'}]":                                `flow[1].verify.http: "http://a.b/" is no address of a Service`,
		"[deploy, verify: {http: 'http://a/', max: 1}]":                          "flow[1].verify.max: is of prometheus",
		"[deploy, verify: {http: 'http://a/', status: 1000}]":                    "flow[1].verify.status: is no HTTP status",
		"[deploy, verify: {prometheus: ftp://a, query: up, max: 1}]":             "flow[1].verify.prometheus: is no http or https address",
		"[deploy, verify: {prometheus: 'https://a', max: 1}]":                    "flow[1].verify.query: is missing",
		"[deploy, verify: {prometheus: 'https://a', query: up}]":                 "flow[1].verify: has no limit",
		"[deploy, verify: {prometheus: 'https://a', query: up, max: high}]":      `flow[1].verify.max: "high" is no number`,
		"[deploy, verify: {prometheus: 'https://a', query: up, max: 1, min: 2}]": "flow[1].verify.min: is more than max",
		"[deploy, webhook: {}]":                                                  "flow[1].webhook.url: is no http or https address",
		"[deploy, webhook: {url: 'https://bob:pw@a/x'}]":                         "flow[1].webhook.url: has a password in it",
		"[deploy, webhook: {url: 'https://a/', secret: ''}]":                     "flow[1].webhook.secret: is missing",
	} {
		file := "build: {image: registry.example.com/team/web}\nenvironments:\n- {name: staging, cluster: test, namespace: staging, manifests: deploy/, flow: " + flow + "}\n"
		_, err := Parse(".shipmate.yaml", []byte(file))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "environments[0]."+want)) {
			t.Errorf("%s: %v, not %q", flow, err, want)
		}
	}
}
