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
		update(t, db, func(tx *Tx) error {
			_, err := tx.PutEvent(Event{ID: "comment", Kind: "issue_comment", Body: []byte("{}")})
			return err
		})
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

// TestDefaultBranchWakes: which branches an environment takes may depend on which is the default one.
func TestDefaultBranchWakes(t *testing.T) {
	db, _ := open(t)
	r := run(t, db, "refs/heads/main", "aaaaaaa")
	repo := Repo{Name: r.Repo, ID: 1, Installation: 1, DefaultBranch: "master"}
	deploy(t, db, r, CauseDeploy, "", 1)
	for _, test := range []struct {
		branch string
		woken  bool
	}{{"master", false}, {"master", false}, {"main", true}, {"main", false}} {
		repo.DefaultBranch = test.branch
		var woken bool
		update(t, db, func(tx *Tx) error {
			if _, err := tx.exec("DELETE FROM tasks"); err != nil {
				return err
			}
			if err := tx.PutRepo(repo); err != nil {
				return err
			}
			var err error
			_, woken, err = tx.NextDue([]string{TaskEnv})
			return err
		})
		if woken != test.woken {
			t.Errorf("default branch %s: woken: %v, want %v", test.branch, woken, test.woken)
		}
	}
}

// TestRestoredAsksForAgreement: that nobody agreed in time to what went without approval is told also after a restore.
func TestRestoredAsksForAgreement(t *testing.T) {
	db, now := open(t)
	r := run(t, db, "refs/heads/main", "aaaaaaa")
	d := deploy(t, db, r, CauseNow, "", 1)
	finish(t, db, d, Succeeded)
	update(t, db, func(tx *Tx) error {
		if err := tx.MustRatify(d, now.Add(time.Hour)); err != nil {
			return err
		}
		_, err := tx.restored(*now)
		return err
	})
	var at time.Time
	update(t, db, func(tx *Tx) (err error) { at, _, err = tx.NextDue([]string{TaskRatify}); return err })
	if !at.Equal(now.Add(time.Hour)) {
		t.Errorf("looked again at %s, want %s", at, now.Add(time.Hour))
	}
}
