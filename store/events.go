package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// TaskEvent is the kind of the task that decides an event; its key is the event's id.
const TaskEvent = "event"

// An Event is a delivery as it was received.
type Event struct {
	ID         string         `db:"id"`
	Kind       string         `db:"kind"`
	Repo       *string        `db:"repo"`
	ReceivedAt Time           `db:"received_at"`
	Body       []byte         `db:"body"`
	DecidedAt  Time           `db:"decided_at"`
	Trace      JSON[[]string] `db:"trace"`
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
				n, err := tx.exec("INSERT INTO events (id, kind, repo, received_at, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
					a.event.ID, a.event.Kind, a.event.Repo, stamp(tx.now), a.event.Body)
				if err != nil {
					return fmt.Errorf("store delivery %s: %w", a.event.ID, err)
				}
				if fresh[i] = n == 1; fresh[i] {
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

// Event reads one delivery.
func (tx *Tx) Event(id string) (Event, error) {
	return get[Event](tx, "event "+id, "SELECT id, kind, repo, received_at, body, decided_at, coalesce(trace, 'null') AS trace FROM events WHERE id = ?", id)
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
