package store

import (
	"encoding/json"
	"fmt"
)

// OpenRuns lists the runs of a repository that have not ended, oldest first.
func (tx *Tx) OpenRuns(repo string) ([]Run, error) {
	return list[Run](tx, "SELECT * FROM runs INDEXED BY runs_open WHERE repo = ? AND state IN ('queued','running') ORDER BY app, number", repo)
}

// RunNumber reads a run of an app by the number that people type.
func (tx *Tx) RunNumber(repo, app string, number int) (Run, error) {
	return get[Run](tx, fmt.Sprintf("run %d of %s", number, app), "SELECT * FROM runs WHERE repo = ? AND app = ? AND number = ?", repo, app, number)
}

// OpenDeploymentsOf lists the deployments of a repository that have not ended, oldest first.
func (tx *Tx) OpenDeploymentsOf(repo string) ([]Deployment, error) {
	return list[Deployment](tx, "SELECT * FROM deployments WHERE repo = ? AND state NOT IN "+ended+" ORDER BY number", repo)
}

// Cancel ends a deployment that has not ended. One that is being made is asked to stop, and ends at its next safe point;
// stopping tells that. Where nobody works on its environment at this moment, that moment is one, unless it has something beside what
// runs to be taken back, or a Job that may run.
func (tx *Tx) Cancel(d Deployment, by string) (stopping bool, err error) {
	working, err := get[bool](tx, "task", "SELECT EXISTS (SELECT 1 FROM tasks WHERE kind = ? AND key = ? AND lease_until > ?)",
		TaskEnv, EnvKey(d.Repo, d.App, d.Environment), stamp(tx.now))
	if err != nil {
		return false, err
	}
	beside, err := get[bool](tx, "step", "SELECT EXISTS (SELECT 1 FROM steps WHERE owner = ? AND (kind = ? OR kind LIKE ? || '%' OR state IN ('running','interrupted') AND "+begunJob+"))",
		d.ID, stepSwitch, stepCanary)
	if err != nil {
		return false, err
	}
	if Active(d.State) {
		if err := tx.AskCancel(d, by); err != nil || working || beside {
			return true, err
		}
	}
	return false, tx.EndDeployment(d, Cancelled, "by "+by, nil)
}

// NewestEvents lists the newest events of a repository, newest first.
func (tx *Tx) NewestEvents(repo string, limit int) ([]Event, error) {
	return list[Event](tx, "SELECT "+eventColumns+" FROM events WHERE repo = ? ORDER BY received_at DESC, id LIMIT ?", repo, limit)
}

const eventColumns = "id, kind, repo, via, delivered_at, received_at, body, decided_at, coalesce(trace, 'null') AS trace"

// MadeBy lists the runs and the deployments that an event led to.
func (tx *Tx) MadeBy(event string) ([]Run, []Deployment, error) {
	runs, err := list[Run](tx, "SELECT * FROM runs WHERE event = ? AND event <> '' ORDER BY app, number", event)
	if err != nil {
		return nil, nil, err
	}
	deployments, err := list[Deployment](tx, "SELECT * FROM deployments WHERE event = ? AND event <> '' ORDER BY number", event)
	return runs, deployments, err
}

// Replayed records that an event was decided again by another: adds to its trace, marks it decided, and gives the other
// its repository.
func (tx *Tx) Replayed(id, by string, lines []string) error {
	e, err := tx.Event(id)
	if err != nil {
		return err
	}
	b, err := json.Marshal(append(e.Trace.V, lines...))
	if err != nil {
		return err
	}
	if _, err := tx.exec("UPDATE events SET trace = ?, decided_at = coalesce(decided_at, ?) WHERE id = ?", string(b), stamp(tx.now), id); err != nil {
		return err
	}
	_, err = tx.exec("UPDATE events SET repo = ? WHERE id = ?", e.Repo, by)
	return err
}

// A QueuedTask is a task with all that people ask of it.
type QueuedTask struct {
	Task
	LeaseUntil Time `db:"lease_until"` // being worked until then at least
	BuriedAt   Time `db:"buried_at"`
}

const queuedColumns = "id, kind, key, attempts, claims, reason, due_at, lease_until, buried_at"

// Queue calls fn for each task: the buried first, the newest before; then what failed and is tried again; then the rest by
// when it is due.
func (tx *Tx) Queue(fn func(QueuedTask) error) error {
	rows, err := tx.q.QueryxContext(tx.ctx, "SELECT "+queuedColumns+" FROM tasks ORDER BY buried_at IS NULL, buried_at DESC, attempts = 0, due_at, id")
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err is checked
	for rows.Next() {
		var t QueuedTask
		if err := rows.StructScan(&t); err != nil {
			return err
		}
		if err := fn(t); err != nil {
			return err
		}
	}
	return rows.Err()
}

// TaskSay is the kind of the task that says one subject's state on one surface; its key is subject, newline, surface.
const TaskSay = "say"

// Troubled lists the tasks about a run, a deployment, a release order or an event that failed and are tried again, or were buried. kind is
// the task that works on it: Run.Task, TaskPrepare, TaskOrder or TaskEvent. That of its environment counts for a deployment that is
// being made.
func (tx *Tx) Troubled(kind, id string) ([]QueuedTask, error) {
	subject, env := "run/"+id, ""
	switch kind {
	case TaskEvent:
		subject = "command/" + id
	case TaskOrder:
		subject = "order/" + id
	case TaskPrepare:
		subject = "deployment/" + id
		d, err := tx.Deployment(id)
		if err != nil {
			return nil, err
		}
		if Active(d.State) {
			env = EnvKey(d.Repo, d.App, d.Environment)
		}
	}
	return list[QueuedTask](tx, "SELECT "+queuedColumns+` FROM tasks WHERE (buried_at IS NOT NULL OR attempts > 0) AND
		(kind = ? AND key = ? OR kind = ? AND key = ? OR kind = ? AND key = ? OR kind = ? AND key = ? OR kind = ? AND key > ? AND key < ?)
		ORDER BY buried_at IS NULL, due_at, id`,
		kind, id, TaskEnv, env, TaskReply, id, TaskReport, subject, TaskSay, subject+"\n", subject+"\v")
}
