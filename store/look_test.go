package store

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// TestCancel: what waits ends at once; what is being made is asked to stop while somebody works on its environment, and
// ends at once between two attempts.
func TestCancel(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		began, working bool
		want           string
		stopping       bool
	}{
		"waits":                {false, false, Cancelled, false},
		"waits, others go on":  {false, true, Cancelled, false},
		"is being made":        {true, true, Applying, true},
		"between two attempts": {true, false, Cancelled, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), []byte("key"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }() // it is thrown away
			var d Deployment
			err = db.Update(t.Context(), func(tx *Tx) error {
				r := Run{Repo: "acme/web", App: "web", Ref: "refs/heads/master", SHA: "1a2b3c4", Cause: CausePush}
				r.Config.V = json.RawMessage("{}")
				err := errors.Join(tx.NewRun(&r, "build"), tx.StartRun(r.ID))
				rel, e := tx.SucceedRun(r, []Image{{Repository: "registry.example.com/web", Digest: "sha256:1"}})
				d = Deployment{Repo: rel.Repo, App: rel.App, Environment: "staging", Release: rel.Number, Run: rel.Run, Cause: CauseDeploy, Requester: "alice"}
				d.Spec.V = json.RawMessage("{}")
				err = errors.Join(err, e, tx.NewDeployment(&d, "apply"))
				if test.began && err == nil {
					err = tx.Begin(d)
				}
				task, _, e := tx.Claim([]string{TaskEnv}, time.Minute)
				err = errors.Join(err, e)
				if !test.working && err == nil {
					err = tx.Retry(task, tx.Now().Add(time.Hour), "the cluster is away")
				}
				if err != nil {
					return err
				}
				if d, err = tx.Deployment(d.ID); err != nil {
					return err
				}
				stopping, err := tx.Cancel(d, "bob")
				if stopping != test.stopping {
					t.Errorf("stopping is %v", stopping)
				}
				if err == nil {
					d, err = tx.Deployment(d.ID)
				}
				return err
			})
			if err != nil || d.State != test.want || (d.CancelBy != "bob") == test.began || d.State == Cancelled && d.Reason != "by bob" {
				t.Errorf("%v, it is %s by %q: %s", err, d.State, d.CancelBy, d.Reason)
			}
		})
	}
}
