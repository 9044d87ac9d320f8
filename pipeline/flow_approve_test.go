package pipeline

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// approve is a vote on what a deployment asks for now, as the bot records it.
func (b *bench) approve(number int, login string) {
	b.t.Helper()
	b.update(func(tx *store.Tx) error {
		d := b.deployment(number)
		step, _, _ := Asking(d)
		bound, _, err := b.BoundOf(tx, d)
		if err != nil {
			return err
		}
		if err := tx.Vote(store.Approval{Deployment: d.ID, Step: step, Login: login, Vote: "approve", Bound: bound, Via: "github"}); err != nil {
			return err
		}
		_, err = b.Reconsider(tx, d)
		return err
	})
}

// TestFlowApprove has a flow wait for people: for votes of after it began to, and for as many as it wants.
func TestFlowApprove(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', flowing(t, `[approve: {count: 2, by: [bob, erin, dave]}, deploy, approve]`, func(e *Environment) { e.Approvals.Count = 1; e.Approvals.By = []string{"bob"} }), nil)
	b.ok(b.work(t.Context()))
	b.approve(1, "bob")
	b.ok(b.work(t.Context()))
	waits := func(step string, have, need int, by string) {
		t.Helper()
		d := b.deployment(1)
		if d.State != store.Paused || len(d.Blocks.V) != 1 {
			t.Fatalf("%s: %+v", d.State, d.Blocks.V)
		}
		if x := d.Blocks.V[0]; x.Kind != store.BlockApproval || x.Text != step || x.Have != have || x.Need != need || strings.Join(x.By, " ") != by {
			t.Fatalf("%+v", x)
		}
	}
	waits("approve/1/2", 0, 2, "bob erin dave") // bob's vote was for its beginning
	b.update((*store.Tx).Recover)
	b.approve(1, "bob")
	b.approve(1, "bob")
	b.ok(b.work(t.Context()))
	waits("approve/1/2", 1, 2, "bob erin dave")
	if b.running != "" {
		t.Fatal("it went on")
	}
	b.approve(1, "erin")
	b.ok(b.work(t.Context()))
	b.runs(1)
	waits("approve/3/1", 0, 1, "bob") // the environment's
	if d := b.deployment(1); d.ResumedBy != "bob, erin" {
		t.Errorf("by %q", d.ResumedBy)
	}
	b.approve(1, "bob")
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded" {
		t.Fatal(got)
	}
	if s := b.result(1, "approve/1/2"); s.Detail != "approved by bob, erin" {
		t.Errorf("%+v", s)
	}
	b.ok(b.DB.View(t.Context(), func(tx *store.Tx) error {
		votes, err := tx.Approvals(b.deployment(1).ID)
		if len(votes) != 4 { // each of them is kept
			t.Errorf("%+v", votes)
		}
		if who := Agreed(votes, *b.deployment(1).Rules.V); strings.Join(who, " ") != "bob erin" {
			t.Error(who)
		}
		return err
	}))
}

// TestFlowApproveEnds has nobody agree: it is taken back as any failure is.
func TestFlowApproveEnds(t *testing.T) {
	t.Parallel()
	back := "automatic 1 succeeded, automatic 2 failed, recovery 1 succeeded"
	for name, c := range map[string]struct {
		flow string
		end  func(b *bench)
		want string
		why  string
	}{
		"rejected": {"[deploy, approve]", func(b *bench) {
			b.update(func(tx *store.Tx) error { return Reject(tx, b.deployment(2), "approve/2/1", "bob", "too slow") })
		}, back, "rejected by bob: too slow"},
		"rejected before it changed anything": {"[approve, deploy]", func(b *bench) {
			b.update(func(tx *store.Tx) error { return Reject(tx, b.deployment(2), "approve/1/1", "bob", "too slow") })
		}, "automatic 1 succeeded, automatic 2 failed", "rejected by bob: too slow"},
		"expired": {"[deploy, approve: {expire: 2h}]", func(b *bench) {
			b.jump(time.Hour)
			b.ok(b.work(context.Background()))
			if d := b.deployment(2); d.State != store.Paused || d.RemindedAt.IsZero() {
				b.t.Errorf("%s, reminded at %s", d.State, d.RemindedAt)
			}
			b.jump(time.Hour)
		}, back, "nobody decided in time"},
		"cancelled": {"[deploy, approve]", func(b *bench) {
			b.update(func(tx *store.Tx) error { _, err := tx.Cancel(b.deployment(2), "bob"); return err })
		}, "automatic 1 succeeded, automatic 2 cancelled", ""},
		"aborted": {"[deploy, approve]", func(b *bench) {
			b.update(func(tx *store.Tx) error { return tx.AskAbort(b.deployment(2), "bob") })
		}, "automatic 1 succeeded, automatic 2 cancelled, recovery 1 succeeded", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := flowBench(t)
			b.run('a', environment(nil), nil)
			b.ok(b.work(t.Context()))
			b.run('b', flowing(t, c.flow, nil), nil)
			b.ok(b.work(t.Context()))
			if d := b.deployment(2); d.State != store.Paused {
				t.Fatal(d.State)
			}
			c.end(b)
			b.ok(b.work(t.Context()))
			if got := b.deployments(); got != c.want {
				t.Error(got)
			}
			d := b.deployment(2)
			if why := d.Failure.V; c.why != "" && (why == nil || why.Reason != c.why) {
				t.Errorf("%+v", why)
			}
		})
	}
}

// TestFlowApproveNow has a deployment that goes without approval not wait for one on its way.
func TestFlowApproveNow(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	env := flowing(t, "[approve, deploy]", nil)
	b.update(func(tx *store.Tx) error {
		rel, err := tx.Release(testRepo, "web", 1)
		if err != nil {
			return err
		}
		_, err = NewDeployment(tx, rel, store.Request{Environment: "staging", Cause: store.CauseNow, Requester: "root", Spec: encoded(t, Spec{Environment: env})})
		return err
	})
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded, now 1 succeeded" {
		t.Error(got)
	}
}

// TestFlowApproveKilledAnywhere kills at each moment of a flow that waits for people twice: it waits each time, until they agreed.
func TestFlowApproveKilledAnywhere(t *testing.T) {
	t.Parallel()
	before := flowBench(t)
	before.run('a', environment(func(e *Environment) { e.Manifests = "deploy/web.yaml" }), nil)
	before.ok(before.work(t.Context()))
	before.run('b', flowing(t, `[job: deploy/migrate.yaml, approve, deploy, approve: {count: 2}]`, nil), nil)
	stride := 1
	if testing.Short() {
		stride = 5
	}
	for n := 1; ; n += stride {
		b := before.copy()
		ctx, kill := context.WithCancel(t.Context())
		b.mu.Lock()
		b.points, b.dieAt, b.kill = 0, n, kill
		b.mu.Unlock()
		survived := true
		// work goes on after a kill as after a restart.
		work := func() {
			err := b.work(ctx)
			if ctx.Err() != nil {
				survived = false
				b.mu.Lock()
				b.dieAt = 0
				b.mu.Unlock()
				ctx = t.Context()
				b.update((*store.Tx).Recover)
				err = b.work(ctx)
			}
			if err != nil {
				t.Fatalf("killed at %d: %v", n, err)
			}
		}
		for _, who := range []string{"bob", "erin", "dave"} {
			work()
			if step, _, ok := Asking(b.deployment(2)); !ok || (step == "approve/2/1") != (who == "bob") {
				t.Fatalf("killed at %d: it waits at %q for %s", n, step, who)
			}
			b.approve(2, who)
		}
		work()
		kill()
		if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded" {
			t.Errorf("killed at %d: %s", n, got)
		}
		for job, runs := range b.jobs {
			if runs != 1 {
				t.Errorf("killed at %d: %s ran %d times", n, job, runs)
			}
		}
		b.runs(2)
		if survived {
			if n < 20 {
				t.Errorf("only %d points", n)
			}
			return
		}
	}
}

// TestRestsAtAStep rests at a step of the strategy until somebody resumes it, also after a restart.
func TestRestsAtAStep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run('a', environment(func(e *Environment) {
		e.Strategy.Canary = &Canary{Steps: []StrategyStep{{Pause: Rest{Manual: true}}, {Pause: Rest{For: time.Hour}}}}
	}), nil)
	b.ok(b.work(t.Context()))
	b.update((*store.Tx).Recover)
	d := b.deployment(1)
	if d.State != store.Paused || d.Blocks.V[0].Text != "pause/1/manual" || b.running != "" {
		t.Fatalf("%s: %+v", d.State, d.Blocks.V)
	}
	b.update(func(tx *store.Tx) error { return tx.Wake(store.TaskEnv, store.EnvKey(testRepo, "web", "staging")) })
	b.ok(b.work(t.Context()))
	b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(1), "bob") })
	b.ok(b.work(t.Context()))
	d = b.deployment(1)
	if d.State != store.Paused || d.Blocks.V[0].Text != "pause/2/1h" || d.Blocks.V[0].Until.IsZero() || d.ResumedBy != "bob" {
		t.Fatalf("%s by %q: %+v", d.State, d.ResumedBy, d.Blocks.V)
	}
	b.jump(time.Hour)
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded" || b.deployment(1).ResumedBy != "" {
		t.Fatal(got)
	}
}
