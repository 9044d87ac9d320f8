package pipeline

import (
	"testing"
	"time"

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
