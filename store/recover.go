package store

import (
	"encoding/json"
	"time"
)

// Unknown tells which of these deliveries we do not have.
func (tx *Tx) Unknown(ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	return list[string](tx, "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = value)", string(b))
}

// LastReceived is when the event that was stored last came; the zero time when there is none.
func (tx *Tx) LastReceived() (time.Time, error) {
	t, err := Optional(get[Time](tx, "newest event", "SELECT received_at FROM events ORDER BY rowid DESC LIMIT 1"))
	if t == nil || err != nil {
		return time.Time{}, err
	}
	return t.Time, nil
}

// PutFound stores a delivery that GitHub's log told of, with the beginning of its trace. Its own task is due later, at the
// given time: until then it is decided in the order of the log, see Found. One that is known already stays as it is.
func (tx *Tx) PutFound(e Event, trace []string, due time.Time) (fresh bool, err error) {
	e.Via = ViaLog
	if fresh, err = tx.PutEvent(e); err != nil || !fresh {
		return false, err
	}
	b, err := json.Marshal(trace)
	if err != nil {
		return false, err
	}
	if _, err := tx.exec("UPDATE events SET trace = ? WHERE id = ?", string(b), e.ID); err != nil {
		return false, err
	}
	return true, tx.WakeAt(TaskEvent, e.ID, due)
}

// Found lists the deliveries from GitHub's log whose turn it is to be decided: those that are undecided and that their own
// tasks have not taken over, in the order in which GitHub sent them first.
func (tx *Tx) Found() ([]string, error) {
	return list[string](tx, `SELECT e.id FROM tasks t JOIN events e ON e.id = t.key
		WHERE t.kind = ? AND t.due_at > ? AND t.attempts = 0 AND t.lease_until IS NULL AND t.buried_at IS NULL AND e.via = ? AND e.decided_at IS NULL
		ORDER BY e.delivered_at, e.rowid`, TaskEvent, stamp(tx.now), ViaLog)
}

// Drop takes a task out of the queue whose work was done without it. One that is being worked stays.
func (tx *Tx) Drop(kind, key string) error {
	_, err := tx.exec("DELETE FROM tasks WHERE kind = ? AND key = ? AND lease_until IS NULL", kind, key)
	return err
}

// Repos lists the repositories that we know, in the order of their names.
func (tx *Tx) Repos() ([]Repo, error) {
	return list[Repo](tx, "SELECT "+repoColumns+" FROM repos ORDER BY name")
}

// HeardSince tells whether a repository's own delivery arrived after a time: what is found in the log of that time is older
// news.
func (tx *Tx) HeardSince(repo string, at time.Time) (bool, error) {
	return get[bool](tx, "newer events", "SELECT EXISTS (SELECT 1 FROM events WHERE repo = ? AND received_at > ? AND via = ?)", repo, stamp(at), ViaWebhook)
}

// Answered finds the event for which a comment was answered; empty when it was not. GitHub's ids of comments are unique.
func (tx *Tx) Answered(comment int64) (event string, err error) {
	events, err := list[string](tx, "SELECT event FROM replies WHERE comment = ? ORDER BY event LIMIT 1", comment)
	if err != nil || len(events) == 0 {
		return "", err
	}
	return events[0], nil
}

// RunFor finds the run that an event started of a commit, for one app.
func (tx *Tx) RunFor(repo, app, sha, event string) (Run, error) {
	return get[Run](tx, "run of event "+event, "SELECT * FROM runs WHERE repo = ? AND app = ? AND sha = ? AND event = ? LIMIT 1", repo, app, sha, event)
}
