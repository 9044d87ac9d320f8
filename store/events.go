package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// TaskEvent is the kind of the task that decides an event; its key is the event's id.
const TaskEvent = "event"

// How an event came to us.
const (
	ViaWebhook = "webhook"
	ViaLog     = "log"    // found in GitHub's delivery log: it was sent while nobody answered
	ViaReplay  = "replay" // an operator asked for it
)

// An Event is a delivery as it was received.
type Event struct {
	ID          string         `db:"id"`
	Kind        string         `db:"kind"`
	Repo        *string        `db:"repo"`
	Via         string         `db:"via"`
	DeliveredAt Time           `db:"delivered_at"` // when GitHub first tried, where its log told
	ReceivedAt  Time           `db:"received_at"`  // when it was stored
	Body        []byte         `db:"body"`
	DecidedAt   Time           `db:"decided_at"`
	Trace       JSON[[]string] `db:"trace"`
}

// Accept stores what came in one delivery, in one transaction, and queues its decision. It returns after the commit is on
// disk; fresh is false when all of it is known already, and then nothing was changed.
func (db *DB) Accept(ctx context.Context, events ...Event) (fresh bool, err error) {
	err = db.do(&call{ctx: ctx, plain: true, turn: make(chan bool, 1), fn: func(tx *Tx) error {
		fresh = false
		for _, e := range events {
			added, err := tx.PutEvent(e)
			if err != nil {
				return err
			}
			if !added {
				continue
			}
			if err := tx.Add(TaskEvent, e.ID); err != nil {
				return err
			}
			fresh, tx.wakes, tx.arrives = true, false, true
		}
		return nil
	}})
	return fresh && err == nil, err
}

// PutEvent stores a delivery; fresh is false when it is known already, and then nothing was changed. It queues nothing.
func (tx *Tx) PutEvent(e Event) (fresh bool, err error) {
	n, err := tx.exec("INSERT INTO events (id, kind, repo, via, delivered_at, received_at, body) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		e.ID, e.Kind, e.Repo, cmp.Or(e.Via, ViaWebhook), e.DeliveredAt, stamp(tx.now), e.Body)
	if err != nil {
		return false, fmt.Errorf("store delivery %s: %w", e.ID, err)
	}
	return n == 1, nil
}

// Event reads one delivery.
func (tx *Tx) Event(id string) (Event, error) {
	return get[Event](tx, "event "+id, `SELECT id, kind, repo, via, delivered_at, received_at, body, decided_at, coalesce(trace, 'null') AS trace FROM events WHERE id = ?`, id)
}

// Cursor reads how far something was read that goes on; "" when it was not begun.
func (tx *Tx) Cursor(name string) (string, error) {
	v, err := get[string](tx, "cursor", "SELECT value FROM cursors WHERE name = ?", name)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return v, err
}

// SetCursor records how far something was read.
func (tx *Tx) SetCursor(name, value string) error {
	_, err := tx.exec("INSERT INTO cursors (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}

// Decide records how an event was decided, step by step, also when nothing was done.
func (tx *Tx) Decide(id string, trace []string) error {
	b, err := json.Marshal(trace)
	if err != nil {
		return err
	}
	tx.ended = append(tx.ended, Ended{Event: id})
	_, err = tx.exec("UPDATE events SET decided_at = ?, trace = ? WHERE id = ?", stamp(tx.now), string(b), id)
	return err
}

// Trace records why an event is not decided, without deciding it.
func (tx *Tx) Trace(id string, trace []string) error {
	_, err := tx.exec("UPDATE events SET trace = ? WHERE id = ? AND decided_at IS NULL", JSON[[]string]{trace}, id)
	return err
}
