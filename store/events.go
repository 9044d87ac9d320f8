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

type acceptance struct {
	event Event
	done  chan error
	fresh bool
}

var errClosed = errors.New("the database is closed")

// maxBatch bounds how many deliveries share one commit (and one fsync).
const maxBatch = 256

// Accept stores a delivery and queues its decision. It returns after the commit is on disk; fresh is false when the
// delivery is known already, and then nothing was changed. Concurrent calls share a commit; one alone waits for nobody.
func (db *DB) Accept(ctx context.Context, e Event) (fresh bool, err error) {
	a := &acceptance{event: e, done: make(chan error, 1)}
	select {
	case db.accept <- a: // unbuffered: from here on the loop answers
	case <-db.closing:
		return false, errClosed
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case err := <-a.done:
		return a.fresh, err
	case <-ctx.Done(): // it may still be stored; the sender will see a failure and a redelivery is then a known one
		return false, ctx.Err()
	}
}

func (db *DB) acceptLoop(ctx context.Context) {
	for {
		var batch []*acceptance
		select {
		case <-ctx.Done():
			return
		case a := <-db.accept:
			batch = append(batch, a)
		}
	more:
		for len(batch) < maxBatch {
			select {
			case a := <-db.accept:
				batch = append(batch, a)
			default:
				break more
			}
		}
		fresh := make([]bool, len(batch))
		err := db.Update(ctx, func(tx *Tx) error {
			for i, a := range batch {
				var err error
				if fresh[i], err = tx.PutEvent(a.event); err != nil {
					return err
				}
				if fresh[i] {
					if err := tx.Add(TaskEvent, a.event.ID); err != nil {
						return err
					}
				}
			}
			return nil
		})
		for i, a := range batch {
			a.fresh = fresh[i] && err == nil
			a.done <- err
		}
	}
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
	_, err = tx.exec("UPDATE events SET decided_at = ?, trace = ? WHERE id = ?", stamp(tx.now), string(b), id)
	return err
}

// Trace records why an event is not decided, without deciding it.
func (tx *Tx) Trace(id string, trace []string) error {
	_, err := tx.exec("UPDATE events SET trace = ? WHERE id = ? AND decided_at IS NULL", JSON[[]string]{trace}, id)
	return err
}
