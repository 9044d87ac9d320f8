package store

import (
	"encoding/json"
	"errors"
	"time"
)

// TaskChecks is the kind of the task that reads the checks of the commit of a deployment that waits for them; its key is the
// deployment's id.
const TaskChecks = "checks"

// ChecksFresh is how long what was read of a commit's checks counts.
const ChecksFresh = 15 * time.Minute

// SetChecks records what was read of the checks that a deployment waits for, and wakes its environment where that is news.
func (tx *Tx) SetChecks(d Deployment, c Checks) error {
	c.At = tx.now
	if _, err := tx.exec("UPDATE deployments SET checks = ? WHERE id = ?", JSON[*Checks]{&c}, d.ID); err != nil {
		return err
	}
	if old := d.Checks.V; old != nil && tx.now.Before(old.At.Add(ChecksFresh)) {
		was, now := *old, c
		was.At, now.At = time.Time{}, time.Time{}
		a, errA := json.Marshal(was)
		b, errB := json.Marshal(now)
		if err := errors.Join(errA, errB); err != nil || string(a) == string(b) {
			return err
		}
	}
	return tx.Wake(TaskEnv, EnvKey(d.Repo, d.App, d.Environment))
}

// ChecksChanged wakes the reading of a commit's checks for what waits for them, and counts that.
func (tx *Tx) ChecksChanged(repo, sha string) (int, error) {
	waiting, err := list[string](tx, `SELECT d.id FROM deployments d CROSS JOIN releases r ON r.repo = d.repo AND r.app = d.app AND r.number = d.release
		WHERE d.repo = ? AND d.state NOT IN `+ended+` AND d.state IN ('blocked','queued') AND r.sha = ?`, repo, sha)
	for _, id := range waiting {
		err = errors.Join(err, tx.Wake(TaskChecks, id))
	}
	return len(waiting), err
}

// ReasonHeadMoved stands with what was superseded because the head of its pull request moved on.
const ReasonHeadMoved = "the head of its pull request moved on"

// A Left is what had waited for a commit that its pull request has left.
type Left struct {
	Deployments []Deployment
	Requests    []LeftRequest
}

// A LeftRequest is what a run does not deploy any more.
type LeftRequest struct {
	Request
	Run Run
}

// LeaveHead ends what a person asked for on a pull request and what has not begun, since the pull request does not have that
// commit as its head any more: deployments move to state, with the reason, and a run under way forgets who asked it to deploy
// when green. A run that was made for nothing else is superseded. What was asked for after the given time stays.
func (tx *Tx) LeaveHead(repo string, pull int, sha, state, reason string, until time.Time) (left Left, err error) {
	open, err := list[Deployment](tx, "SELECT * FROM deployments WHERE repo = ? AND pull = ? AND pull > 0 AND state NOT IN "+ended+" ORDER BY number", repo, pull)
	if err != nil {
		return left, err
	}
	for _, d := range open {
		if Active(d.State) || d.Cause != CauseDeploy && d.Cause != CausePromote {
			continue
		}
		asked, err := tx.heardAt(d.Event, d.CreatedAt.Time)
		if err != nil {
			return left, err
		}
		if asked.After(until) {
			continue
		}
		rel, err := tx.Release(d.Repo, d.App, d.Release)
		if err != nil {
			return left, err
		}
		if rel.SHA != sha {
			continue
		}
		if err := tx.EndDeployment(d, state, reason, nil); err != nil {
			return left, err
		}
		left.Deployments = append(left.Deployments, d)
	}
	building, err := list[Run](tx, "SELECT * FROM runs INDEXED BY runs_open WHERE repo = ? AND state IN ('queued','running') AND sha = ? ORDER BY app, number", repo, sha)
	if err != nil {
		return left, err
	}
	for _, r := range building {
		var stay []Request
		before := len(left.Requests)
		for _, q := range r.Deploys.V {
			asked, err := tx.heardAt(q.Event, q.At)
			if err != nil {
				return left, err
			}
			if q.Green && q.Pull == pull && !asked.After(until) {
				left.Requests = append(left.Requests, LeftRequest{q, r})
			} else {
				stay = append(stay, q)
			}
		}
		if len(left.Requests) == before {
			continue
		}
		if _, err := tx.exec("UPDATE runs SET deploys = ? WHERE id = ?", JSON[[]Request]{stay}, r.ID); err != nil {
			return left, err
		}
		if r.Cause == CauseCommand && len(stay) == 0 {
			err = tx.EndRun(r.ID, RunSuperseded, reason, nil)
		} else {
			err = tx.Wake(TaskReport, "run/"+r.ID)
		}
		if err != nil {
			return left, err
		}
	}
	return left, nil
}

// heardAt is when an event was heard of, or the given time where it is not known. What it asked for may have come of it much
// later: it was built first.
func (tx *Tx) heardAt(event string, or time.Time) (time.Time, error) {
	e, err := Optional(tx.Event(event))
	switch {
	case err != nil || e == nil:
		return or, err
	case !e.DeliveredAt.IsZero():
		return e.DeliveredAt.Time, nil
	}
	return e.ReceivedAt.Time, nil
}
