package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxGroup bounds how many updates share one commit (and one fsync).
const maxGroup = 256

var (
	errClosed    = errors.New("the database is closed")
	errAbandoned = errors.New("an update of the same transaction ended its goroutine")
)

// A writer is the queue for the one connection that writes. Whoever comes while nobody writes leads: it begins a
// transaction, runs its own update and what has come meanwhile, and commits for all of them. Then the next one leads.
type writer struct {
	mu      sync.Mutex
	queue   []*call
	leading bool // false only while the queue is empty
	closed  bool
}

// A call is one of Update.
type call struct {
	ctx   context.Context
	fn    func(*Tx) error
	alone bool // it shares its transaction with no other, and writes nothing: the checkpoint's
	plain bool // fn fails only when the database does, for all

	turn     chan bool // true: lead; false: err is the outcome
	err      error
	panicked *Panic
}

// A Panic is what Update panics with when fn did: it may have run in the goroutine of another.
type Panic struct {
	Value any
	Stack []byte // of where it happened
}

func (p *Panic) Error() string { return fmt.Sprint(p.Value) }

// Update runs fn in a write transaction: all that fn did is committed or, when it returns an error or panics, nothing. It
// returns after the commit is on disk. Calls that come while a commit is under way share the next one, in which each is
// undone by itself; where that commit fails, all of them fail. One alone waits for nobody.
//
// fn runs at most once, never after ctx has ended, and always to its end: it does no slow work, has no side effects, and
// does not call Update. It may run in the goroutine of another caller.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	return db.do(&call{ctx: ctx, fn: fn, turn: make(chan bool, 1)})
}

func (db *DB) do(c *call) error {
	leads, err := db.writer.enter(c)
	if err != nil {
		return err
	}
	if !leads {
		select {
		case leads = <-c.turn:
		case <-c.ctx.Done():
			if db.writer.leave(c) {
				return fmt.Errorf("wait for the database: %w", c.ctx.Err())
			}
			leads = <-c.turn
		}
	}
	if leads {
		db.lead(c)
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.err
}

func (w *writer) enter(c *call) (leads bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, errClosed
	}
	w.queue = append(w.queue, c)
	leads = !w.leading
	w.leading = true
	return leads, nil
}

// leave takes c out of the queue. It is too late when c is being run, or is to lead.
func (w *writer) leave(c *call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.queue, c)
	if i < 0 || len(c.turn) > 0 {
		return false
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	return true
}

// next takes the next member of a group out of the queue, nil when the group is complete.
func (w *writer) next(members []*call) *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(members)
	if len(w.queue) == 0 || n == maxGroup || n > 0 && (w.queue[0].alone || members[0].alone) {
		return nil
	}
	c := w.queue[0]
	w.queue = slices.Delete(w.queue, 0, 1)
	return c
}

// pass lets the next one lead.
func (w *writer) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leading = len(w.queue) > 0; w.leading {
		w.queue[0].turn <- true
	}
}

func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// A group is the calls that share a transaction.
type group struct {
	members []*call
	changed bool // see Changed
	arrived bool // see Arrived
	ended   []Ended
	err     error // of all of them
}

// lead runs one transaction for the leader and those who come before it ends, and lets the next one lead.
func (db *DB) lead(leader *call) {
	g := group{members: []*call{db.writer.next(nil)}, err: errAbandoned} // the leader stands first
	defer func() {
		for _, c := range g.members {
			if c.err == nil {
				c.err = g.err
			}
			if c != leader {
				c.turn <- false
			}
		}
		db.writer.pass()
	}()
	q, err := db.beginWrite(leader.ctx)
	if err != nil {
		g.err = err
		// What is wrong with the database is wrong for all: each would only wait for it in turn.
		for leader.ctx.Err() == nil && g.add(db.writer.next(g.members)) {
		}
		return
	}
	defer func() { // also when a member ends its goroutine
		if g.err = end(q, g.err); g.err == nil && !leader.alone {
			db.notify(&g)
		}
	}()
	for more := true; more; more = g.add(db.writer.next(g.members)) {
		if err := g.run(db, q); err != nil {
			g.err = err
			return
		}
	}
	g.err = nil
}

func (g *group) add(c *call) bool {
	if c != nil {
		g.members = append(g.members, c)
	}
	return c != nil
}

// patience is how long a group waits for another process that holds the database.
const patience = 10 * time.Second

// beginWrite begins a transaction that writes. While another process holds the database it waits, until ctx ends; a
// transaction that has begun does not end with ctx.
func (db *DB) beginWrite(ctx context.Context) (*sqlx.Conn, error) {
	// Not left to the driver: it has a goroutine watch over each statement whose context can end.
	began := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		q, err := begin(context.WithoutCancel(ctx), db.write, "BEGIN IMMEDIATE")
		if err == nil || resultCode(err) != sqlite3.SQLITE_BUSY || time.Since(began) > db.patience {
			return q, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// run runs the newest member. An error concerns the whole transaction; what is the member's own is its err, and then what
// it did is undone.
func (g *group) run(db *DB, q *sqlx.Conn) error {
	c := g.members[len(g.members)-1]
	if c.err = c.ctx.Err(); c.err != nil {
		return nil
	}
	tx := &Tx{ctx: context.WithoutCancel(c.ctx), q: q, now: db.Now().UTC(), db: db}
	if c.plain {
		err := c.try(tx)
		g.arrived = g.arrived || tx.arrives
		return err
	}
	if _, err := tx.exec("SAVEPOINT member"); err != nil {
		return err
	}
	if c.err = c.try(tx); c.err != nil {
		if _, err := tx.exec("ROLLBACK TO member"); err != nil { // SQLite gave up the transaction, as it does when a disk is full
			return c.err
		}
	} else {
		g.changed, g.arrived, g.ended = g.changed || tx.wakes, g.arrived || tx.arrives, append(g.ended, tx.ended...)
	}
	_, err := tx.exec("RELEASE member")
	return err
}

func (c *call) try(tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked = &Panic{p, debug.Stack()}
			err = fmt.Errorf("panic: %w", c.panicked)
		}
	}()
	return c.fn(tx)
}
