package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A Task is a row of the durable work queue, in the manner of client-go's: a key is queued once however often it is
// added, and is never worked twice at the same time.
type Task struct {
	ID       int64  `db:"id"`
	Kind     string `db:"kind"`
	Key      string `db:"key"`
	Attempts int    `db:"attempts"` // failed attempts since the last success
	Faults   int    `db:"faults"`   // those of them that failed by our own fault
	Claims   int64  `db:"claims"`
	Reason   string `db:"reason"` // of the last retry, or of the burial
	DueAt    Time   `db:"due_at"`
}

// ErrLost is returned when a task is finished or renewed by somebody who no longer holds it.
var ErrLost = errors.New("the lease on this task was lost")

// Add queues a task; one that is there already stays as it is.
func (tx *Tx) Add(kind, key string) error {
	tx.wakes = true
	_, err := tx.exec("INSERT INTO tasks (kind, key, due_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", kind, key, stamp(tx.now))
	return err
}

// Wake makes sure that the task runs (again) after this transaction: one that waits becomes due now, one that is being
// worked runs once more afterwards, a buried one gets another chance.
func (tx *Tx) Wake(kind, key string) error { return tx.WakeAt(kind, key, tx.now) }

// WakeAt is Wake for a time to come. A task that is due earlier stays due earlier, and one that failed keeps its
// back-off: what a far end asked us to wait is waited, however much news there is.
func (tx *Tx) WakeAt(kind, key string, at time.Time) error {
	tx.wakes = true
	_, err := tx.exec(`INSERT INTO tasks (kind, key, due_at) VALUES (?, ?, ?)
		ON CONFLICT (kind, key) DO UPDATE SET gen = gen + 1, due_at = CASE WHEN attempts > 0 AND buried_at IS NULL THEN due_at ELSE min(due_at, excluded.due_at) END,
		attempts = CASE WHEN buried_at IS NULL THEN attempts ELSE 0 END, faults = CASE WHEN buried_at IS NULL THEN faults ELSE 0 END, buried_at = NULL`, kind, key, stamp(at))
	return err
}

// In the queries below, +kind keeps SQLite from going through all tasks of a kind for the few that are leased.

// Claim takes the task of these kinds that has been due longest, and leases it. ok is false when none is due. At what waits
// for a builder the repositories take turns: the one whose turn was longest ago is next, with what it has that has been due
// longest. A run that has ended takes no turn, and none is waited for.
func (tx *Tx) Claim(kinds []string, lease time.Duration) (t Task, ok bool, err error) {
	list, err := json.Marshal(kinds)
	if err != nil {
		return t, false, err
	}
	err = tx.q.GetContext(tx.ctx, &t, `UPDATE tasks SET lease_until = ?1, claims = claims + 1, claimed_gen = gen
		WHERE id = (SELECT id FROM (
			SELECT t.id, t.due_at FROM json_each(?3) AS k JOIN tasks AS t ON t.id = (SELECT id FROM tasks
				WHERE kind = k.value AND buried_at IS NULL AND lease_until IS NULL AND due_at <= ?2 ORDER BY due_at, id LIMIT 1)
				WHERE k.value NOT IN ('run', 'run fork')
			UNION ALL
			SELECT t.id, t.due_at FROM json_each(?3) AS k JOIN tasks AS t ON t.id = (SELECT t.id FROM tasks AS t
				LEFT JOIN runs AS r ON r.id = t.key LEFT JOIN repos AS p ON p.name = r.repo
				WHERE t.kind = k.value AND t.buried_at IS NULL AND t.lease_until IS NULL AND t.due_at <= ?2
				ORDER BY r.state IN ('queued', 'running'), p.turn, t.due_at, t.id LIMIT 1)
				WHERE k.value IN ('run', 'run fork')
			UNION ALL
			SELECT id, due_at FROM tasks WHERE lease_until <= ?2 AND due_at <= ?2 AND +kind IN (SELECT value FROM json_each(?3)))
			ORDER BY due_at, id LIMIT 1)
		RETURNING id, kind, key, attempts, faults, claims, reason, due_at`,
		stamp(tx.now.Add(lease)), stamp(tx.now), string(list))
	if errors.Is(err, sql.ErrNoRows) {
		return t, false, nil
	}
	if err == nil && (t.Kind == TaskRun || t.Kind == TaskForkRun) {
		_, err = tx.exec(`UPDATE repos SET turn = 1 + (SELECT max(turn) FROM repos)
			WHERE name = (SELECT repo FROM runs WHERE id = ? AND state IN ('queued', 'running'))`, t.Key)
	}
	return t, err == nil, err
}

// NextDue tells when the next task of these kinds that nobody works is due; ok is false when there is none.
func (tx *Tx) NextDue(kinds []string) (at time.Time, ok bool, err error) {
	list, err := json.Marshal(kinds)
	if err != nil {
		return at, false, err
	}
	t, err := get[Time](tx, "next task", `SELECT min(at) FROM (
		SELECT (SELECT due_at FROM tasks WHERE kind = k.value AND buried_at IS NULL AND lease_until IS NULL ORDER BY due_at LIMIT 1) AS at
			FROM json_each(?1) AS k
		UNION ALL
		SELECT max(due_at, lease_until) FROM tasks WHERE lease_until IS NOT NULL AND +kind IN (SELECT value FROM json_each(?1)))`, string(list))
	return t.Time, !t.IsZero(), err
}

// Renew extends the lease of a claimed task.
func (tx *Tx) Renew(t Task, lease time.Duration) error {
	return tx.finish(t, "UPDATE tasks SET lease_until = ?", stamp(tx.now.Add(lease)))
}

// KeepLeases extends the leases of tasks that are being worked and that have run out all the same, as when the clock jumped or the
// machine slept: nobody else is to take them.
func (tx *Tx) KeepLeases(worked []Task, lease time.Duration) error {
	out, err := get[bool](tx, "leases", "SELECT EXISTS (SELECT 1 FROM tasks WHERE lease_until <= ?)", stamp(tx.now))
	if err != nil || !out {
		return err
	}
	for _, t := range worked {
		if _, err := tx.exec("UPDATE tasks SET lease_until = ? WHERE id = ? AND claims = ? AND lease_until <= ?", stamp(tx.now.Add(lease)), t.ID, t.Claims, stamp(tx.now)); err != nil {
			return err
		}
	}
	return nil
}

// Done completes the generation that was claimed: the row goes, unless it was woken meanwhile.
func (tx *Tx) Done(t Task) error {
	n, err := tx.exec("DELETE FROM tasks WHERE id = ? AND claims = ? AND lease_until IS NOT NULL AND gen = claimed_gen", t.ID, t.Claims)
	if err != nil || n == 1 {
		return err
	}
	tx.wakes = true
	return tx.finish(t, "UPDATE tasks SET lease_until = NULL, attempts = 0, faults = 0, reason = ''")
}

// Sleep completes the generation that was claimed and lets the task run again at the given time (earlier when woken).
func (tx *Tx) Sleep(t Task, at time.Time) error {
	tx.wakes = true
	return tx.finish(t, "UPDATE tasks SET lease_until = NULL, attempts = 0, faults = 0, reason = '', due_at = CASE WHEN gen = claimed_gen THEN ? ELSE due_at END", stamp(at))
}

// Retry gives the task back after a failed attempt, to be tried again at the given time.
func (tx *Tx) Retry(t Task, at time.Time, reason string) error {
	tx.wakes = true
	return tx.finish(t, "UPDATE tasks SET lease_until = NULL, attempts = attempts + 1, due_at = ?, reason = ?", stamp(at), reason)
}

// Fault is Retry after an attempt that failed by our own fault, which the task's Faults count.
func (tx *Tx) Fault(t Task, at time.Time, reason string) error {
	tx.wakes = true
	return tx.finish(t, "UPDATE tasks SET lease_until = NULL, attempts = attempts + 1, faults = faults + 1, due_at = ?, reason = ?", stamp(at), reason)
}

// Unclaim gives the task back untouched: the program is shutting down, or what the work needs is in use.
func (tx *Tx) Unclaim(t Task) error {
	return tx.finish(t, "UPDATE tasks SET lease_until = NULL")
}

// Bury takes the task out of the queue with its reason; it stays visible until somebody wakes it. One that was woken
// while it was being worked has been woken already: it gets its other chance now.
func (tx *Tx) Bury(t Task, reason string) error {
	tx.wakes = true
	return tx.finish(t, `UPDATE tasks SET lease_until = NULL, reason = ?, buried_at = CASE WHEN gen = claimed_gen THEN ? END,
		attempts = CASE WHEN gen = claimed_gen THEN attempts ELSE 0 END, faults = CASE WHEN gen = claimed_gen THEN faults ELSE 0 END`, reason, stamp(tx.now))
}

func (tx *Tx) finish(t Task, update string, args ...any) error {
	n, err := tx.exec(update+" WHERE id = ? AND claims = ? AND lease_until IS NOT NULL", append(args, t.ID, t.Claims)...)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%s %s: %w", t.Kind, t.Key, ErrLost)
	}
	return nil
}

// Recover is called once at start, by the holder of the data directory's lock: whoever held a lease is gone, and steps
// that were running are interrupted, but for those of a flow in which nothing happens but time.
func (tx *Tx) Recover() error {
	if _, err := tx.exec("UPDATE tasks SET lease_until = NULL WHERE lease_until IS NOT NULL"); err != nil {
		return err
	}
	_, err := tx.exec("UPDATE steps SET state = 'interrupted' WHERE state = 'running' AND kind NOT LIKE 'wait/%' AND kind NOT LIKE 'pause/%' AND kind NOT LIKE 'approve/%'")
	return err
}

// Buried lists the tasks that were given up, newest first.
func (tx *Tx) Buried() ([]Task, error) {
	return list[Task](tx, "SELECT id, kind, key, attempts, faults, claims, reason, due_at FROM tasks WHERE buried_at IS NOT NULL ORDER BY buried_at DESC, id DESC LIMIT 100")
}

// Tasks counts the tasks that are not buried.
func (tx *Tx) Tasks() (int, error) {
	return get[int](tx, "tasks", "SELECT count(*) FROM tasks WHERE buried_at IS NULL")
}

// A QueueLength is how many tasks of a kind there are.
type QueueLength struct {
	Kind      string `db:"kind"`
	Due       int    `db:"due"`       // may be worked, and nobody works them
	Scheduled int    `db:"scheduled"` // due later: a wait that has a time, or another try
	Working   int    `db:"working"`
	Buried    int    `db:"buried"`
	Oldest    Time   `db:"oldest"` // since when the first of Due is due; zero where there is none
}

// QueueLengths counts the tasks of each of these kinds.
func (tx *Tx) QueueLengths(kinds []string) ([]QueueLength, error) {
	of, err := json.Marshal(kinds)
	if err != nil {
		return nil, err
	}
	return list[QueueLength](tx, `SELECT k.value AS kind,
		(SELECT count(*) FROM tasks WHERE kind = k.value AND buried_at IS NULL AND lease_until IS NULL AND due_at <= ?2) AS due,
		(SELECT count(*) FROM tasks WHERE kind = k.value AND buried_at IS NULL AND lease_until IS NULL AND due_at > ?2) AS scheduled,
		(SELECT count(*) FROM tasks WHERE lease_until IS NOT NULL AND +kind = k.value) AS working,
		(SELECT count(*) FROM tasks WHERE buried_at IS NOT NULL AND +kind = k.value) AS buried,
		(SELECT min(due_at) FROM tasks WHERE kind = k.value AND buried_at IS NULL AND lease_until IS NULL AND due_at <= ?2) AS oldest
		FROM json_each(?1) AS k`, string(of), stamp(tx.now))
}
