package store

import (
	"errors"
	"time"
)

// Reasons of a cancelled run of a pull request.
const (
	ReasonClosed   = "the pull request was closed"
	ReasonUntested = "it waits for /ok-to-test" // of a fork's head, from the start: see NewUntestedRun
)

// PullRun finds the newest run of a pull request, for one app. A command's run of its head's branch is none.
func (tx *Tx) PullRun(repo, app string, pull int) (Run, error) {
	return get[Run](tx, "run of a pull request", "SELECT * FROM runs WHERE repo = ? AND app = ? AND pull = ? AND cause = 'pull_request' ORDER BY number DESC LIMIT 1", repo, app, pull)
}

// NewUntestedRun records that a fork's head is not built before somebody allows it: the run is cancelled from the start, for
// ReasonUntested, so that nothing stays pending on a pull request that nobody looks at.
func (tx *Tx) NewUntestedRun(r *Run, steps ...string) error {
	if err := tx.NewRun(r, steps...); err != nil {
		return err
	}
	return tx.EndRun(r.ID, RunCancelled, ReasonUntested, nil)
}

// ClosePull cancels what is under way for a pull request that was closed.
func (tx *Tx) ClosePull(repo string, pull int) (cancelled []Run, err error) {
	cancelled, err = list[Run](tx, "SELECT * FROM runs INDEXED BY runs_open WHERE repo = ? AND state IN ('queued','running') AND pull = ? AND cause = 'pull_request' ORDER BY app, number", repo, pull)
	for _, r := range cancelled {
		err = errors.Join(err, tx.EndRun(r.ID, RunCancelled, ReasonClosed, nil))
	}
	return cancelled, errors.Join(err, tx.EndConflict(repo, pull))
}

// PassRun moves a run that makes no release to succeeded: a pull request's, whose result is kept nowhere.
func (tx *Tx) PassRun(id string) error {
	err := tx.move("runs", RunSucceeded, "finished_at = ?", []any{stamp(tx.now)}, "id = ?", id)
	if err != nil {
		return err
	}
	tx.ended = append(tx.ended, Ended{Run: id, State: RunSucceeded})
	return errors.Join(tx.endSteps(id, RunSucceeded), tx.Wake(TaskReport, "run/"+id))
}

// AllowTest records that somebody wants a fork's commit to be built, for this pull request and this head alone.
func (tx *Tx) AllowTest(repo string, pull int, sha, by string) error {
	_, err := tx.exec("INSERT INTO ok_to_test (repo, pull, sha, by, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", repo, pull, sha, by, stamp(tx.now))
	return err
}

// TestAllowed is who first allowed it, or "".
func (tx *Tx) TestAllowed(repo string, pull int, sha string) (by string, err error) {
	by, err = get[string](tx, "ok-to-test", "SELECT by FROM ok_to_test WHERE repo = ? AND pull = ? AND sha = ?", repo, pull, sha)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return by, err
}

// PutConflict records that an open pull request was told that it conflicts with base, a branch in full.
func (tx *Tx) PutConflict(repo string, pull int, base string) error {
	_, err := tx.exec("INSERT INTO conflicts (repo, pull, base) VALUES (?, ?, ?) ON CONFLICT (repo, pull) DO UPDATE SET base = excluded.base", repo, pull, base)
	return err
}

// EndConflict forgets PutConflict.
func (tx *Tx) EndConflict(repo string, pull int) error {
	_, err := tx.exec("DELETE FROM conflicts WHERE repo = ? AND pull = ?", repo, pull)
	return err
}

// Conflicts lists the pull requests that were told that they conflict with base.
func (tx *Tx) Conflicts(repo, base string) ([]int, error) {
	return list[int](tx, "SELECT pull FROM conflicts WHERE repo = ? AND base = ? ORDER BY pull", repo, base)
}

// PutDue stores an event of our own that is decided when it is due.
func (tx *Tx) PutDue(e Event, due time.Time) error {
	fresh, err := tx.PutEvent(e)
	if err != nil || !fresh {
		return err
	}
	return tx.WakeAt(TaskEvent, e.ID, due)
}
