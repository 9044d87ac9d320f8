package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// TestRest lets a deployment rest, go on, and be aborted.
func TestRest(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', flowing(t, `[deploy, wait: 10m]`, nil), nil)
	b.ok(b.work(t.Context()))
	b.update(func(tx *store.Tx) error { return tx.AskPause(b.deployment(1), "alice") })
	b.ok(b.work(t.Context()))
	d := b.deployment(1)
	if d.State != store.Paused || len(d.Blocks.V) != 1 || d.Blocks.V[0].Kind != store.BlockPause || d.Blocks.V[0].By[0] != "alice" {
		t.Fatalf("%s: %+v", d.State, d.Blocks.V)
	}
	b.jump(time.Hour)
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Paused {
		t.Fatal(d.State)
	}
	b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(1), "bob") })
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded" {
		t.Fatal(got)
	}
	b.run('b', flowing(t, `[deploy, wait: 10m]`, nil), nil)
	b.ok(b.work(t.Context()))
	b.update(func(tx *store.Tx) error { return tx.AskAbort(b.deployment(2), "alice") })
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 cancelled, recovery 1 succeeded" {
		t.Fatal(got)
	}
}

// away is what a cluster that can't be asked comes to.
var away = &kube.Error{Object: "cluster test", Message: "no answer", Temporary: true}

// TestRestAway: a rollout whose cluster could not be asked when it was to rest is held once it can be, however long ago it began.
func TestRestAway(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', flowing(t, `[wait: 2h, deploy]`, nil), nil)
	b.ok(b.work(t.Context()))
	b.jump(2 * time.Hour)
	b.on["wait release 1"] = func(ctx context.Context) error {
		b.on["apply"] = func(context.Context) error { return away }
		b.update(func(tx *store.Tx) error { return tx.AskPause(b.deployment(1), "alice") })
		<-ctx.Done()
		return ctx.Err()
	}
	for range 2 {
		if err := b.work(t.Context()); !errors.Is(err, away) {
			t.Fatalf("%v: %s", err, b.deployments())
		}
		b.update((*store.Tx).Recover)
		if d := b.deployment(1); d.State != store.Progressing || d.Progress != "cluster test: no answer" {
			t.Fatalf("%s, %q", d.State, d.Progress)
		}
	}
	clear(b.on)
	b.ok(b.work(t.Context()))
	held := func() bool {
		held, _, _ := unstructured.NestedBool(b.objects["Deployment/web"].Object, "spec", "paused")
		return held
	}
	if d := b.deployment(1); !held() || d.State != store.Paused {
		t.Fatalf("%s, held %v", d.State, held())
	}
	b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(1), "alice") })
	b.ok(b.work(t.Context()))
	if held() || b.deployments() != "automatic 1 succeeded" {
		t.Errorf("%s, held %v", b.deployments(), held())
	}
}

// TestTakenBackLater: what could not be taken back since the cluster was away is told, and taken back once it is there.
func TestTakenBackLater(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*store.Tx, store.Deployment) error{
		"abort": func(tx *store.Tx, d store.Deployment) error { return tx.AskAbort(d, "bob") },
		"cancel": func(tx *store.Tx, d store.Deployment) error {
			_, err := tx.Cancel(d, "bob")
			return err
		},
		"failure": func(tx *store.Tx, d store.Deployment) error {
			return tx.WillFail(d, &store.Failure{Reason: "no proof"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := canaryBench(t)
			was := picture(b.objects)
			b.run('b', strategic(t, "canary: {steps: [{weight: 10, pause: manual}]}"), nil)
			b.ok(b.work(t.Context()))
			b.on["prune"] = func(context.Context) error { return away }
			b.update(func(tx *store.Tx) error { return end(tx, b.deployment(2)) })
			b.jump(0)
			for range 2 {
				if err := b.work(t.Context()); !errors.Is(err, away) {
					t.Fatalf("%v: %s", err, b.deployments())
				}
				b.update((*store.Tx).Recover)
			}
			if d := b.deployment(2); !store.Active(d.State) || d.Progress != "cluster test: no answer" {
				t.Errorf("%s, %q", d.State, d.Progress)
			}
			delete(b.on, "prune")
			b.ok(b.work(t.Context()))
			if got := picture(b.objects); got != was || !store.Final(b.deployment(2).State) {
				t.Errorf("%s; in the cluster is\n%s\nand was\n%s", b.deployments(), got, was)
			}
		})
	}
}

// TestRestIsNoProof: while a deployment rests nobody asks, so that time proves nothing.
func TestRestIsNoProof(t *testing.T) {
	t.Parallel()
	b := flowBench(t)
	b.run('a', flowing(t, `[deploy, verify: {http: "http://web/", for: 10m}]`, nil), nil)
	b.ok(b.work(t.Context()))
	b.update(func(tx *store.Tx) error { return tx.AskPause(b.deployment(1), "alice") })
	b.ok(b.work(t.Context()))
	b.jump(time.Hour)
	b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(1), "alice") })
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Verifying {
		t.Fatal(d.State)
	}
	b.jump(10 * time.Minute)
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded" {
		t.Error(got)
	}
}

// TestGivenBackWithoutSecret: what was live gets its traffic back also where nothing can be pulled any more.
func TestGivenBackWithoutSecret(t *testing.T) {
	t.Parallel()
	b := canaryBench(t)
	was := picture(b.objects)
	env := strategic(t, "canary: {steps: [{weight: 10, pause: manual}], traffic: {nginx: web}}")
	env.PullSecret, b.servers.puller = "pull", "reader"
	b.run('b', env, nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(2); d.State != store.Paused || picture(b.objects) == was {
		t.Fatal(d.State, d.Reason)
	}
	b.servers.puller = ""
	b.update(func(tx *store.Tx) error { return tx.AskAbort(b.deployment(2), "bob") })
	b.ok(b.work(t.Context()))
	if got := picture(b.objects); got != was || b.deployment(2).Failure.V != nil {
		t.Errorf("%+v; in the cluster is\n%s\nand was\n%s", b.deployment(2).Failure.V, got, was)
	}
}

// TestRestRefused: where the cluster lets nobody hold a rollout, the deployment rests all the same, and says so.
func TestRestRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.on["wait release 1"] = func(ctx context.Context) error {
		b.on["apply"] = func(context.Context) error {
			return &kube.Conflict{Object: "Deployment/web", Fields: []string{".spec.paused"}, Manager: "kubectl-rollout"}
		}
		b.update(func(tx *store.Tx) error { return tx.AskPause(b.deployment(1), "alice") })
		<-ctx.Done()
		return ctx.Err()
	}
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Paused || !strings.HasPrefix(d.Progress, "could not be held: ") || !strings.Contains(d.Progress, "kubectl-rollout") {
		t.Errorf("%s, %q", d.State, d.Progress)
	}
}
