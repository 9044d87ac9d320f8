package pipeline

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// TestToldWhileItWaits checks that what may still heal is told with its hint while the rollout waits, and with log and
// event at the end.
func TestToldWhileItWaits(t *testing.T) {
	b := newBench(t)
	b.problem = &kube.Failure{Object: "Deployment/web", Pod: "web-1", Container: "main", Reason: "Unhealthy", Message: "Readiness probe failed: 503", Hint: "does the probe's path match?"}
	var told string
	b.on["wait"] = func(ctx context.Context) error {
		f := *b.problem
		f.Message += " (time is up)"
		f.Logs, f.Event = []string{"no database"}, "Unhealthy: Readiness probe failed: 503"
		err := b.DB.View(ctx, func(tx *store.Tx) error {
			d, err := tx.DeploymentNumber(testRepo, 1)
			told = d.Progress
			return err
		})
		return cmp.Or[error](err, &f)
	}
	b.run('a', environment(nil), nil)
	b.ok(b.work(context.Background()))
	want := "Deployment/web: 0 of 1 pods ready (Deployment/web: pod web-1, container main: Unhealthy: Readiness probe failed: 503; does the probe's path match?)"
	if told != want {
		t.Errorf("while it waits: %q\nwant %q", told, want)
	}
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) error {
		d, err := tx.DeploymentNumber(testRepo, 1)
		if err != nil {
			return err
		}
		f := d.Failure.V
		if d.State != store.Failed || f == nil || f.Where != "Deployment/web, pod web-1, container main" || !strings.HasPrefix(f.Reason, "Unhealthy: ") ||
			f.Hint != b.problem.Hint || !slices.Equal(f.Logs, []string{"no database"}) || f.Event == "" {
			t.Errorf("at the end: %s %+v", d.State, f)
		}
		return nil
	}))
}
