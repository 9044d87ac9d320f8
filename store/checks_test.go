package store

import (
	"encoding/json"
	"testing"
	"time"
)

// TestLeaveHeadByWhenItWasAsked: what was asked for before the head moved is left behind, also where its release was built, and
// its deployment made, only after that was heard of.
func TestLeaveHeadByWhenItWasAsked(t *testing.T) {
	for name, test := range map[string]struct {
		asked time.Duration // after the head had moved
		state string
	}{
		"before": {-time.Minute, Superseded},
		"after":  {time.Second, Queued},
	} {
		db, now := open(t)
		moved := *now
		*now = moved.Add(test.asked)
		r := run(t, db, "refs/heads/topic", "aaaaaaa")
		update(t, db, func(tx *Tx) error { _, err := tx.PutEvent(Event{ID: "comment", Kind: "issue_comment", Body: []byte("{}")}); return err })
		*now = moved.Add(time.Minute)
		var d Deployment
		update(t, db, func(tx *Tx) error {
			if err := tx.StartRun(r.ID); err != nil {
				return err
			}
			rel, err := tx.SucceedRun(r, []Image{{Repository: "r", Digest: "sha256:1"}})
			if err != nil {
				return err
			}
			d = Deployment{Repo: r.Repo, App: r.App, Environment: "staging", Release: rel.Number, Cause: CauseDeploy, Run: r.ID, Event: "comment", Pull: 7, Green: true}
			d.Spec.V = json.RawMessage("{}")
			if err := tx.NewDeployment(&d); err != nil {
				return err
			}
			if _, err = tx.LeaveHead(r.Repo, 7, r.SHA, Superseded, ReasonHeadMoved, moved); err != nil {
				return err
			}
			d, err = tx.Deployment(d.ID)
			return err
		})
		if d.State != test.state {
			t.Errorf("asked for %s the head moved: %s, want %s", name, d.State, test.state)
		}
	}
}
