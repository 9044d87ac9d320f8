package store

import (
	"encoding/json"
	"errors"
	"time"
)

// TaskNews is the kind of the task that makes deliveries of the news; its key is empty.
const TaskNews = "news"

// TaskHook is the kind of the task that sends a HookDelivery; its key is that one's id.
const TaskHook = "hook"

// News is a change that outgoing webhooks are yet to be told of.
type News struct {
	Seq     int64  `db:"seq"`
	Kind    string `db:"kind"`    // run | deployment | order | audit
	Subject string `db:"subject"` // its id; of a line of the audit its number
	State   string `db:"state"`   // the new one; of a line of the audit its action
	At      Time   `db:"at"`
}

// changed notes a change where there is an outgoing webhook (DB.Hooked).
func (tx *Tx) changed(kind, subject, state string) error {
	if !tx.db.Hooked {
		return nil
	}
	return errors.Join(tx.insert("news", "kind subject state at", News{Kind: kind, Subject: subject, State: state, At: Time{tx.now}}), tx.Wake(TaskNews, ""))
}

// Untold lists the oldest news that nobody was told.
func (tx *Tx) Untold(limit int) ([]News, error) {
	return list[News](tx, "SELECT * FROM news ORDER BY seq LIMIT ?", limit)
}

// DropNews forgets the news up to one.
func (tx *Tx) DropNews(seq int64) error {
	_, err := tx.exec("DELETE FROM news WHERE seq <= ?", seq)
	return err
}

// A HookDelivery is what one outgoing webhook is told.
type HookDelivery struct {
	Seq      int64  `db:"seq"` // orders those of all webhooks
	ID       string `db:"id"`
	Hook     string `db:"hook"` // its name in the server's file
	Repo     string `db:"repo"`
	Event    string `db:"event"` // as in run.succeeded
	Body     []byte `db:"body"`
	MadeAt   Time   `db:"made_at"`
	TriedAt  Time   `db:"tried_at"` // last; zero: never
	Attempts int    `db:"attempts"`
	Status   int    `db:"status"`  // of the last answer, 0 for none
	Error    string `db:"error"`   // of the last attempt
	DoneAt   Time   `db:"done_at"` // zero: it did not arrive
}

// PutHookDelivery stores a delivery and wakes the task that sends it.
func (tx *Tx) PutHookDelivery(d HookDelivery) error {
	d.MadeAt = Time{tx.now}
	return errors.Join(tx.insert("hook_deliveries", "id hook repo event body made_at", d), tx.Wake(TaskHook, d.ID))
}

// HookDelivery reads one.
func (tx *Tx) HookDelivery(id string) (HookDelivery, error) {
	return get[HookDelivery](tx, "delivery "+id, "SELECT * FROM hook_deliveries WHERE id = ?", id)
}

// TriedHook records how an attempt ended: by an answer's status, 0 for none, and an error, empty where it arrived.
func (tx *Tx) TriedHook(id string, status int, failed string) error {
	done := any(nil)
	if failed == "" {
		done = stamp(tx.now)
	}
	_, err := tx.exec("UPDATE hook_deliveries SET tried_at = ?, attempts = attempts + 1, status = ?, error = ?, done_at = ? WHERE id = ?", stamp(tx.now), status, failed, done, id)
	return err
}

// HookDeliveriesOf lists what was told of a repository before a delivery, newest first, without bodies.
func (tx *Tx) HookDeliveriesOf(repo string, before int64, limit int) ([]HookDelivery, error) {
	return list[HookDelivery](tx, `SELECT seq, id, hook, repo, event, x'' AS body, made_at, tried_at, attempts, status, error, done_at FROM hook_deliveries
		WHERE repo = ? AND seq < ? ORDER BY seq DESC LIMIT ?`, repo, before, limit)
}

// AgeHookDeliveries drops what was told before the given time, also what was given up. It takes a batch, as AgeEvents does.
func (tx *Tx) AgeHookDeliveries(before time.Time) (int, error) {
	ids, err := list[string](tx, `SELECT id FROM hook_deliveries WHERE made_at < ?
		AND NOT EXISTS (SELECT 1 FROM tasks WHERE kind = ? AND key = hook_deliveries.id AND buried_at IS NULL) ORDER BY made_at LIMIT ?`, stamp(before), TaskHook, ageBatch)
	batch, failed := json.Marshal(ids)
	if err = errors.Join(err, failed); err != nil || len(ids) == 0 {
		return 0, err
	}
	_, err = tx.exec("DELETE FROM tasks WHERE kind = ? AND key IN (SELECT value FROM json_each(?))", TaskHook, string(batch))
	_, failed = tx.exec("DELETE FROM hook_deliveries WHERE id IN (SELECT value FROM json_each(?))", string(batch))
	return len(ids), errors.Join(err, failed)
}
