package store

import (
	"encoding/json"
	"errors"
	"testing"
)

// TestTouched: what a deployment has done so far decides what becomes of it when it is stopped.
func TestTouched(t *testing.T) {
	canary := []string{"canary/1/10%", "pause/1/manual", "canary/2/50%", "apply", "observe", "verify"}
	turning := []string{"apply", "observe", "pause/1/5m", "switch", "verify"}
	for name, c := range map[string]struct {
		steps           []string
		done            int // of them
		changed, beside bool
		at, share       string
	}{
		"nothing yet":          {[]string{"wait/1/10m", "apply"}, 0, false, false, "wait/1/10m", ""},
		"applied":              {[]string{"wait/1/10m", "apply"}, 1, true, false, "apply", ""},
		"canary begins":        {canary, 0, false, true, "canary/1/10%", ""},
		"canary rests":         {canary, 1, false, true, "pause/1/manual", "10%"},
		"canary has more":      {canary, 3, true, true, "apply", "50%"},
		"canary is all":        {canary, 4, true, true, "observe", ""},
		"blue-green stands":    {turning, 2, false, true, "pause/1/5m", ""},
		"blue-green is turned": {turning, 3, true, true, "switch", ""},
	} {
		t.Run(name, func(t *testing.T) {
			db, _ := open(t)
			r := run(t, db, "refs/heads/master", "11111111")
			d := Deployment{Repo: r.Repo, App: r.App, Environment: "staging", Release: 1, Cause: CauseAutomatic, Requester: "alice", Run: r.ID, Spec: JSON[json.RawMessage]{V: json.RawMessage("{}")}}
			update(t, db, func(tx *Tx) error {
				if err := tx.NewDeployment(&d, c.steps...); err != nil {
					return err
				}
				err := tx.Begin(d)
				for i, kind := range c.steps[:c.done+1] {
					_, begun := tx.StartStep(d.ID, kind)
					err = errors.Join(err, begun)
					if i < c.done {
						err = errors.Join(err, tx.EndStep(d.ID, kind, StepSucceeded, ""))
					}
				}
				return err
			})
			update(t, db, func(tx *Tx) error {
				d, err := tx.Deployment(d.ID)
				if err != nil {
					return err
				}
				changed, beside, err := tx.Touched(d)
				if changed != c.changed || beside != c.beside {
					t.Errorf("changed %t, beside %t", changed, beside)
				}
				steps, errSteps := tx.Steps(d.ID)
				if at, share := d.Standing(steps); at != c.at || share != c.share {
					t.Errorf("at %q with %q", at, share)
				}
				// What stands beside has to be taken back by the engine; everything else ends at once where nobody works on it.
				own := c.beside || c.steps[0] == "apply"
				stopping, errCancel := tx.Cancel(d, "alice")
				if stopping != own {
					t.Errorf("stopping %t", stopping)
				}
				return errors.Join(err, errSteps, errCancel)
			})
		})
	}
}

// TestCancelJob: a Job that may run has to be stopped by the engine, also while nobody works on its environment.
func TestCancelJob(t *testing.T) {
	for _, runs := range []bool{true, false} {
		db, _ := open(t)
		r := run(t, db, "refs/heads/master", "11111111")
		d := Deployment{Repo: r.Repo, App: r.App, Environment: "staging", Release: 1, Cause: CauseAutomatic, Requester: "alice", Run: r.ID, Spec: JSON[json.RawMessage]{V: json.RawMessage("{}")}}
		update(t, db, func(tx *Tx) error {
			if err := tx.NewDeployment(&d, "job/1/migrate.yaml", "apply"); err != nil {
				return err
			}
			_, err := tx.StartStep(d.ID, "job/1/migrate.yaml")
			err = errors.Join(err, tx.Begin(d))
			if runs {
				err = errors.Join(err, tx.NoteStep(d.ID, "job/1/migrate.yaml", StepResult{UID: "1"}))
			}
			return err
		})
		update(t, db, (*Tx).Recover)
		update(t, db, func(tx *Tx) error {
			d, err := tx.Deployment(d.ID)
			if err != nil {
				return err
			}
			stopping, err := tx.Cancel(d, "alice")
			if stopping != runs {
				t.Errorf("stopping %t where it runs %t", stopping, runs)
			}
			return err
		})
	}
}
