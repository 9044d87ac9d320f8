package bot

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// TestAnnotations: what was found in the source is sent in batches, each once, also where nobody knows whether a batch arrived.
func TestAnnotations(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
	must(t, l.building(1))
	run := got(l.lookup("SELECT id FROM runs"))(t)
	var found []store.Annotation
	for n := range 120 {
		found = append(found, store.Annotation{Path: "main.go", Line: n + 1, Level: store.LevelFailure, Message: fmt.Sprint("found ", n)})
	}
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error { return tx.Annotate(run, "build", found, 0) }))
	ended, died := 0, make(chan struct{})
	l.wrote.set(func(what string) {
		if what == "check_run shipmate success" || what == "check_run shipmate in_progress" && len(l.repo.CheckRuns(sha)[0].Annotations) > 0 {
			if ended++; len(l.repo.CheckRuns(sha)[0].Annotations) == 100 && ended > 0 {
				ended = -1000
				_ = l.bot.db.Close() // the second batch is there, and nobody knows
				close(died)
			}
		}
	})
	l.builder.Release()
	select {
	case <-died:
	case <-time.After(patience):
		t.Fatal("there was no second batch")
	}
	must(t, l.Crash())
	must(t, l.Start())
	must(t, l.Settle())
	must(t, l.Tick(inFlight))
	must(t, until("all are there", func() error {
		runs := l.repo.CheckRuns(sha)
		if len(runs) != 1 || len(runs[0].Annotations) != 120 || runs[0].Conclusion != "success" {
			return fmt.Errorf("%d check runs, %d annotations, %s", len(runs), len(runs[0].Annotations), runs[0].Conclusion)
		}
		return nil
	}))
	must(t, l.Settle())
	all := l.repo.CheckRuns(sha)[0].Annotations
	for i, a := range all {
		if want := fmt.Sprint("found ", i); a.Message != want || a.StartLine != i+1 || a.Path != "main.go" || a.Level != "failure" {
			t.Fatalf("annotation %d is %v", i, a)
		}
	}
	if len(all) != 120 {
		t.Errorf("there are %d", len(all))
	}
}

// TestCheckRunLimits: what GitHub takes, and what a public repository shows.
func TestCheckRunLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("很长的名字", 40)
	for _, lang := range []text.Lang{text.En, text.Zh} {
		b := &Bot{lang: lang, cfg: &Config{PublicURL: "https://ship.example.com"}}
		waits := &store.Deployment{Environment: long, Number: 1234567890, Release: 1234567890, State: store.Blocked, Blocks: store.JSON[[]store.Block]{V: []store.Block{{Kind: store.BlockApproval, Need: 1}}}}
		live := &store.Deployment{Environment: long, Number: 1234567890, State: store.Failed, Failure: store.JSON[*store.Failure]{V: &store.Failure{Reason: "no", Logs: []string{"a secret line"}}}}
		v := view{subject: subject{run: store.Run{State: store.RunSucceeded}}, envs: []subject{{d: waits, rel: store.Release{SHA: "0123456789"}}, {d: live}}, undo: &subject{d: live}}
		for range 3000 {
			v.steps = append(v.steps, store.Step{Kind: "check/" + long, State: store.StepSucceeded})
		}
		c, err := b.checkRunOf(v, func() (bool, error) { return false, nil })
		must(t, err)
		if len(c.Actions) != 3 || c.Conclusion != actionRequired {
			t.Errorf("%s with the buttons %v", c.Conclusion, c.Actions)
		}
		for _, a := range c.Actions {
			if n := [3]int{len([]rune(a.Label)), len([]rune(a.Description)), len(a.Identifier)}; n[0] > 20 || n[1] > 40 || n[2] > 20 {
				t.Errorf("%v has %v", a, n)
			}
			if _, number, _, ok := pressed(a.Identifier); !ok || number != 1234567890 {
				t.Errorf("%s is not read back", a.Identifier)
			}
		}
		if len(c.Output.Summary) > maxOutput || len(c.Output.Text) > maxOutput {
			t.Errorf("%d and %d bytes", len(c.Output.Summary), len(c.Output.Text))
		}
		if strings.Contains(c.Output.Text, "secret line") || !strings.Contains(c.Output.Text, "https://ship.example.com/runs/") {
			t.Errorf("a public repository shows %s", c.Output.Text)
		}
		v.repo.Private = true
		if c, _ = b.checkRunOf(v, func() (bool, error) { return true, nil }); !strings.Contains(c.Output.Text, "secret line") || c.Conclusion != "success" {
			t.Errorf("a private one shows %s, %s", c.Output.Text, c.Conclusion)
		}
	}
}

// TestNeededToMerge: a check run that merging waits for is no hindrance to it while a person is waited for.
func TestNeededToMerge(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	file := "app: web\nbuild: {image: registry.example.com/team/web}\nenvironments:\n" +
		"  - {name: staging, cluster: test, namespace: staging, manifests: deploy/, approvals: {count: 1}}\n"
	got(l.Push("root", "master", "Ask", map[string]string{".shipmate.yaml": file}))(t)
	must(t, l.Settle())
	sha := got(l.Push("dave", "feature", "A change", map[string]string{"app.txt": "x"}))(t)
	pull := got(l.repo.OpenPullRequest("feature", "master", "dave", "A change"))(t)
	if ok, reply, err := l.Say(pull, "dave", "/deploy staging"); !ok || err != nil {
		t.Fatal(reply, err)
	}
	is := func(want string) {
		t.Helper()
		must(t, until("the check run is "+want, func() error {
			runs := l.repo.CheckRuns(sha)
			if len(runs) != 1 || runs[0].Conclusion != want || len(runs[0].Actions) != 2 {
				return fmt.Errorf("%v", runs)
			}
			return nil
		}))
	}
	is("action_required")
	l.repo.AddRule("master", 4711, "shipmate") // another App's of that name is none of ours
	again := func() {
		t.Helper()
		must(t, l.Tick(2*time.Minute))
		run := got(l.lookup("SELECT id FROM runs WHERE sha = ?", sha))(t)
		must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error { return tx.Wake(taskSay, "run/"+run+"\n"+surfaceRun) }))
		must(t, l.Settle())
	}
	again()
	is("action_required")
	l.repo.AddRule("master", 0, "shipmate")
	again()
	is("success")
}
