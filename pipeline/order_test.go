package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

func TestNextState(t *testing.T) {
	ready := store.Deployment{State: store.Blocked, Objects: []byte("x")}
	raw := store.Deployment{State: store.Blocked}
	begun := store.Deployment{State: store.Applying, Objects: []byte("x"), BeganAt: store.Time{Time: time.Unix(1, 0)}}
	done := begun
	done.State = store.Succeeded
	failed := begun
	failed.State = store.Failed
	overtaken := ready
	overtaken.State = store.Superseded
	for _, test := range []struct {
		state  string
		need   int
		have   int
		parts  []store.Deployment
		become string
	}{
		{store.OrderDraft, 1, 0, []store.Deployment{ready, raw}, store.OrderDraft},
		{store.OrderDraft, 1, 0, []store.Deployment{ready, ready}, store.OrderWaiting},
		{store.OrderDraft, 0, 0, []store.Deployment{ready, ready}, store.OrderApproved},
		{store.OrderDraft, 0, 0, []store.Deployment{ready, failed}, store.Failed}, // it could not be rendered
		{store.OrderWaiting, 2, 1, []store.Deployment{ready, ready}, store.OrderWaiting},
		{store.OrderWaiting, 2, 2, []store.Deployment{ready, ready}, store.OrderApproved},
		{store.OrderWaiting, 2, 1, []store.Deployment{ready, overtaken}, store.Failed},
		{store.OrderApproved, 2, 2, []store.Deployment{ready, ready}, store.OrderApproved},
		{store.OrderApproved, 2, 1, []store.Deployment{ready, ready}, store.OrderWaiting}, // void
		{store.OrderApproved, 2, 2, []store.Deployment{begun, ready}, store.OrderRunning},
		{store.OrderApproved, 2, 1, []store.Deployment{begun, ready}, store.OrderRunning},
		{store.OrderRunning, 0, 0, []store.Deployment{begun, ready}, store.OrderRunning},
		{store.OrderRunning, 0, 0, []store.Deployment{done, begun}, store.OrderRunning},
		{store.OrderRunning, 0, 0, []store.Deployment{done, done}, store.Succeeded},
		{store.OrderRunning, 0, 0, []store.Deployment{done, failed}, store.Failed},
	} {
		s := Standing{Parts: test.parts, Need: test.need, Have: make([]string, test.have)}
		if got := nextState(store.Order{State: test.state}, s); got != test.become {
			t.Errorf("%s with %d of %d and %d parts becomes %s, not %s", test.state, test.have, test.need, len(test.parts), got, test.become)
		}
	}
}

// newRelease makes a release of an app, which goes nowhere by itself.
func (b *bench) newRelease(app string, sha byte, env Environment) {
	b.t.Helper()
	cfg := Config{App: app, Build: Build{Image: testImage, Tags: []string{"{short_sha}"}, Timeout: time.Minute}, Environments: []Environment{env}}
	r := store.Run{Repo: testRepo, App: app, Ref: "refs/heads/master", SHA: strings.Repeat(string(sha), 40), Sender: "alice", Cause: "push"}
	r.Config.V = encoded(b.t, cfg)
	b.update(func(tx *store.Tx) error { return tx.NewRun(&r, cfg.RunSteps()...) })
	b.ok(b.work(b.t.Context()))
}

func (b *bench) release(app string, n int) (rel store.Release) {
	b.t.Helper()
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) (err error) { rel, err = tx.Release(testRepo, app, n); return err }))
	return rel
}

// order makes an order of releases to env.
func (b *bench) order(env Environment, releases ...store.Release) store.Order {
	b.t.Helper()
	o := store.Order{Repo: testRepo, Environment: env.Name, Requester: "alice", Note: "why"}
	b.update(func(tx *store.Tx) error {
		if err := PutOrder(tx, &o, "test", "parts"); err != nil {
			return err
		}
		for i, rel := range releases {
			_, err := NewPart(tx, o, i+1, rel, store.Request{Environment: env.Name, Cause: store.CauseOrder, Requester: "alice", Spec: encoded(b.t, Spec{Environment: env})})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return o
}

// standing is an order with its parts, in one line.
func (b *bench) standing(number int) string {
	b.t.Helper()
	var line string
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) error {
		o, err := tx.OrderNumber(testRepo, number)
		if err != nil {
			return err
		}
		parts, err := tx.OrderParts(o.ID)
		line = o.State
		for _, p := range parts {
			line += fmt.Sprintf(", %s %d %s", p.App, p.Release, p.State)
		}
		return err
	}))
	return line
}

// TestOrderKilledAnywhere kills the engine at every transaction and every call of a far end while it works on a release
// order; a second engine on what is left then comes to the same end as one that was never killed, and no part begins before
// the one before it is live.
func TestOrderKilledAnywhere(t *testing.T) {
	t.Parallel()
	manual := environment(func(e *Environment) { e.Deploy = Manual })
	asking := environment(func(e *Environment) { e.Deploy, e.Approvals.Count = Manual, 1 })
	approve := func(b *bench) {
		b.update(func(tx *store.Tx) error {
			o, err := tx.OrderNumber(testRepo, 1)
			if err != nil || o.State != store.OrderWaiting {
				return err
			}
			s, err := b.StandingOf(tx, o)
			if err != nil {
				return err
			}
			err = tx.VoteOrder(store.OrderApproval{OrderID: o.ID, Login: "bob", Vote: "approve", Bound: s.Bound, Via: "test"})
			_, err2 := b.AdvanceOrderIn(tx, o)
			return errors.Join(err, err2)
		})
	}
	takeBack := func(b *bench) {
		b.update(func(tx *store.Tx) error {
			o, err := tx.OrderNumber(testRepo, 1)
			if err != nil || !store.Final(o.State) {
				return err
			}
			if known, err := store.Optional(tx.RollbackOrder(o.ID)); err != nil || known != nil {
				return err
			}
			parts, err := tx.OrderParts(o.ID)
			if err != nil {
				return err
			}
			back := store.Order{Repo: testRepo, Environment: o.Environment, Requester: "bob", RollbackOf: o.ID}
			if err := PutOrder(tx, &back, "test", "back"); err != nil {
				return err
			}
			slices.Reverse(parts)
			n := 0
			for _, p := range parts {
				if p.State != store.Succeeded {
					continue
				}
				to, err := tx.LiveBefore(p)
				if err != nil {
					return err
				}
				n++
				if _, err := NewRollbackPart(tx, back, n, p, to); err != nil {
					return err
				}
			}
			return nil
		})
	}
	stories := map[string]struct {
		env    Environment
		parts  [2]string // app release
		play   func(*bench, context.Context) error
		want   []string // the orders
		stride int
	}{
		"an order": {manual, [2]string{"api 1", "web 2"}, func(b *bench, ctx context.Context) error { return b.work(ctx) },
			[]string{"succeeded, api 1 succeeded, web 2 succeeded"}, 3},
		"an order that is approved": {asking, [2]string{"api 1", "web 2"}, func(b *bench, ctx context.Context) error {
			if err := b.work(ctx); err != nil {
				return err
			}
			approve(b)
			return b.work(ctx)
		}, []string{"succeeded, api 1 succeeded, web 2 succeeded"}, 3},
		"an order that fails in its second part and is taken back": {manual, [2]string{"web 1", "api 2"}, func(b *bench, ctx context.Context) error {
			b.on["wait release 2"] = func(context.Context) error {
				return &kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff", Fatal: true}
			}
			if err := b.work(ctx); err != nil {
				return err
			}
			takeBack(b)
			return b.work(ctx)
		}, []string{"failed, web 1 succeeded, api 2 failed", "succeeded, web 3 succeeded"}, 3},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := newBench(t)
			for _, sha := range []byte("abd") {
				before.run(sha, environment(nil), nil)
				before.ok(before.work(t.Context()))
			}
			before.newRelease("api", 'a', manual)
			before.newRelease("api", 'b', manual)
			var releases []store.Release
			for _, p := range story.parts {
				app, number, _ := strings.Cut(p, " ")
				releases = append(releases, before.release(app, int(number[0]-'0')))
			}
			before.order(story.env, releases...)
			for n := 1; ; n += story.stride {
				b := before.copy()
				ctx, kill := context.WithCancel(t.Context())
				b.mu.Lock()
				b.points, b.dieAt, b.kill = 0, n, kill
				b.mu.Unlock()
				err := story.play(b, ctx)
				kill()
				b.mu.Lock()
				survived := b.points < n
				b.dieAt = 0
				b.mu.Unlock()
				if survived && err != nil {
					t.Fatal(err)
				}
				b.update((*store.Tx).Recover)
				if err := story.play(b, t.Context()); err != nil {
					t.Fatalf("killed at %d: %v", n, err)
				}
				for i, want := range story.want {
					if got := b.standing(i + 1); got != want {
						t.Errorf("killed at %d: %s, want %s", n, got, want)
					}
				}
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
