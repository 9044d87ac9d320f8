package store

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// A Pause is somebody's wish that a deployment rests. It is kept at the next point where that is possible.
type Pause struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// stepPause is the first part of the kind of a step that rests, for a time or until somebody resumes it.
const stepPause = "pause/"

// Steps that only a strategy has: the first part of the kind of one that sends a share of the traffic to a canary, and blue-green's that
// turns all of it.
const (
	stepCanary = "canary/"
	stepSwitch = "switch"
)

// AskPause asks a deployment that is being made to rest. ErrState: it is not being made, or somebody stops it.
func (tx *Tx) AskPause(d Deployment, by string) error {
	if !Active(d.State) || d.CancelBy != "" {
		return ErrState
	}
	_, err := tx.exec("UPDATE deployments SET pause = ? WHERE id = ?", JSON[*Pause]{&Pause{by, tx.now}}, d.ID)
	return errors.Join(err, tx.wakeDeployment(d))
}

// Pause lets a deployment rest, for the reasons that blocks give.
func (tx *Tx) Pause(d Deployment, blocks []Block) error {
	if d.State != Paused {
		if err := tx.move("deployments", Paused, "paused_from = ?, blocks = ?", []any{d.State, JSON[[]Block]{blocks}}, "id = ?", d.ID); err != nil {
			return err
		}
		return tx.wakeDeployment(d)
	}
	if slices.EqualFunc(d.Blocks.V, blocks, sameBlock) {
		return nil
	}
	_, err := tx.exec("UPDATE deployments SET blocks = ? WHERE id = ?", JSON[[]Block]{blocks}, d.ID)
	return errors.Join(err, tx.changed("deployment", d.ID, Paused), tx.Wake(TaskReport, "deployment/"+d.ID))
}

func sameBlock(a, b Block) bool {
	return a.Kind == b.Kind && a.Text == b.Text && a.Have == b.Have && a.Need == b.Need && slices.Equal(a.By, b.By) && a.Since.Equal(b.Since) && a.Until.Equal(b.Until)
}

// Unpause lets a deployment go on that rests, as by said; by is empty where its time is over. One that does not rest is left as it is.
func (tx *Tx) Unpause(d Deployment, by string) error {
	if d.State != Paused {
		return nil
	}
	return errors.Join(
		tx.move("deployments", d.PausedFrom, "blocks = '[]', resumed_at = ?, resumed_by = ?", []any{stamp(tx.now), by}, "id = ?", d.ID),
		tx.wakeDeployment(d))
}

// AskResume ends whatever lets a deployment rest: somebody's wish, and a step that rests. ErrState: nothing does.
func (tx *Tx) AskResume(d Deployment, by string) error {
	steps, err := tx.Steps(d.ID)
	if err != nil {
		return err
	}
	rests := d.Pause.V != nil
	for _, s := range steps {
		if !strings.HasPrefix(s.Kind, stepPause) || s.State != StepRunning {
			continue
		}
		rests = true
		var r StepResult
		if s.Result.V != nil {
			r = *s.Result.V
		}
		r.By = by
		if err := tx.NoteStep(d.ID, s.Kind, r); err != nil {
			return err
		}
	}
	if !rests || Final(d.State) {
		return ErrState
	}
	_, err = tx.exec("UPDATE deployments SET pause = 'null' WHERE id = ?", d.ID)
	return errors.Join(err, tx.Unpause(d, by), tx.wakeDeployment(d))
}

// Touched tells whether a deployment has begun to change what was live before it, and whether it has put something beside that.
func (tx *Tx) Touched(d Deployment) (changed, beside bool, err error) {
	steps, err := tx.Steps(d.ID)
	applied, switched := false, false
	turns := slices.ContainsFunc(steps, func(s Step) bool { return s.Kind == stepSwitch })
	for _, s := range steps {
		begun := !s.StartedAt.IsZero()
		applied = applied || begun && s.Kind == "apply"
		switched = switched || begun && s.Kind == stepSwitch
		beside = beside || begun && strings.HasPrefix(s.Kind, stepCanary)
	}
	if turns {
		return switched, applied, err
	}
	return applied, beside, err
}

// Held tells whether what a deployment has applied is held in the cluster, as somebody paused it.
func (tx *Tx) Held(d Deployment) (bool, error) {
	return get[bool](tx, "step", "SELECT EXISTS (SELECT 1 FROM steps WHERE owner = ? AND result ->> 'held')", d.ID)
}

// Standing tells at which step a deployment with these steps is, by its kind, and what share of the traffic a canary of it has, as in
// "10%"; empty: none.
func (d Deployment) Standing(steps []Step) (at, share string) {
	if !Active(d.State) {
		return "", ""
	}
	for _, s := range steps {
		if s.State == StepRunning || s.State == StepInterrupted {
			at = s.Kind
		}
		switch {
		case s.State != StepSucceeded:
		case strings.HasPrefix(s.Kind, stepCanary):
			_, share, _ = strings.Cut(strings.TrimPrefix(s.Kind, stepCanary), "/")
			if r := s.Result.V; r != nil && r.Share != "" { // numbers of pods come only near to what was asked for
				share = r.Share
			}
		case s.Kind == "apply": // all of it is the new release's
			share = ""
		}
	}
	return at, share
}

// AskAbort is AskCancel, after which what was live before is given back everything.
func (tx *Tx) AskAbort(d Deployment, by string) error {
	_, err := tx.exec("UPDATE deployments SET abort = 1 WHERE id = ? AND cancel_by = ''", d.ID)
	return errors.Join(err, tx.AskCancel(d, by))
}

// WillFail records why a deployment fails that has something to take back first. The first reason stays.
func (tx *Tx) WillFail(d Deployment, f *Failure) error {
	_, err := tx.exec("UPDATE deployments SET failure = ? WHERE id = ? AND failure = 'null'", JSON[*Failure]{f}, d.ID)
	return err
}

// RunAs records the colour that a deployment runs as, before it is used.
func (tx *Tx) RunAs(d Deployment, colour string) error {
	_, err := tx.exec("UPDATE deployments SET colour = ? WHERE id = ?", colour, d.ID)
	return err
}

// SetInventory records what there is in the cluster because of a deployment, as JSON.
func (tx *Tx) SetInventory(d Deployment, inventory []byte) error {
	_, err := tx.exec("UPDATE deployments SET inventory = ? WHERE id = ?", string(inventory), d.ID)
	return err
}

// RetireAt says when what a deployment replaced, and still runs, is to be removed; the zero time: it is.
func (tx *Tx) RetireAt(d Deployment, at time.Time) error {
	_, err := tx.exec("UPDATE deployments SET retire_at = ? WHERE id = ?", Time{at}, d.ID)
	return errors.Join(err, tx.Wake(TaskEnv, EnvKey(d.Repo, d.App, d.Environment)))
}

// maxKept is how many deployments back the one is looked for whose pods are kept.
const maxKept = 50

// Kept is the release whose pods still run without requests beside what is live, until its RetireAt; 0: there is none, or something
// began there since that takes their place.
func (tx *Tx) Kept(live Deployment) (release int, err error) {
	if !live.RetireAt.After(tx.Now()) {
		return 0, nil
	}
	begun, err := tx.Begun(live.Repo, live.App, live.Environment, maxKept)
	if len(begun) == 0 || begun[0].ID != live.ID {
		return 0, err
	}
	for _, d := range begun[1:] {
		if d.State == Succeeded {
			return d.Release, nil
		}
	}
	return 0, nil
}
