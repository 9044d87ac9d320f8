package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

const (
	// lease is how long a task may go without a sign of life before another worker may take it.
	lease = 30 * time.Second
	// grace is how long running work may take to reach a safe point at shutdown.
	grace = 30 * time.Second
	// maxBackoff bounds the wait between two attempts, unless a far end asked for more.
	maxBackoff = time.Minute
)

// A work is what is done for one kind of task. It is re-entrant. again is when to call it again by the clock (the zero
// time: only when woken). An error means "try again"; give wraps one that trying again does not mend.
type work struct {
	parallel int  // how many of this kind at once
	attempts int  // failed attempts until the task is buried; 0: never
	anytime  bool // any moment is a safe point: at shutdown it is stopped at once, and done again at the next start
	do       func(ctx context.Context, key string, attempts int) (again time.Time, err error)
}

// worker takes tasks and does them, each kind within its limit. There is one.
type worker struct {
	db    *store.DB
	log   *slog.Logger
	works map[string]work
	mask  func(string) string // takes secrets out of what is logged or stored
	lease time.Duration       // see lease
	grace time.Duration       // see grace

	mu      sync.Mutex
	running map[string]int
	freed   chan struct{}
}

// Run works until ctx ends, then waits for what is running, at most for grace, and gives the rest back.
func (w *worker) Run(ctx context.Context) error {
	w.running, w.freed = map[string]int{}, make(chan struct{}, 1)
	// Work goes on for a while after ctx has ended.
	doing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	for ctx.Err() == nil {
		changed := w.db.Changed()
		task, ok, next, err := w.claim(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.Error("take a task", "err", err)
			next = time.Now().Add(time.Second)
		}
		if ok {
			until := doing
			if w.works[task.Kind].anytime {
				until = ctx
			}
			wg.Go(func() { w.one(until, task) })
			continue
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(max(next.Sub(w.db.Now()), time.Millisecond))
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-w.freed:
		case <-timer:
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(w.grace):
		stop()
		<-done
	}
	return nil
}

// claim takes a due task of a kind that has room.
func (w *worker) claim(ctx context.Context) (t store.Task, ok bool, next time.Time, err error) {
	w.mu.Lock()
	var kinds []string
	for kind, work := range w.works {
		if w.running[kind] < work.parallel {
			kinds = append(kinds, kind)
		}
	}
	w.mu.Unlock()
	if len(kinds) == 0 {
		return t, false, next, nil
	}
	err = w.db.View(ctx, func(tx *store.Tx) error {
		var due bool
		next, due, err = tx.NextDue(kinds)
		ok = due && !next.After(tx.Now())
		return err
	})
	if err != nil || !ok {
		return t, false, next, err
	}
	err = w.db.Update(ctx, func(tx *store.Tx) (err error) { t, ok, err = tx.Claim(kinds, w.lease); return err })
	if ok && err == nil {
		w.mu.Lock()
		w.running[t.Kind]++
		w.mu.Unlock()
	}
	return t, ok && err == nil, time.Time{}, err
}

func (w *worker) one(ctx context.Context, t store.Task) {
	defer func() {
		w.mu.Lock()
		w.running[t.Kind]--
		w.mu.Unlock()
		select {
		case w.freed <- struct{}{}:
		default:
		}
	}()
	again, err := w.leased(ctx, t)
	// The outcome is written also when the work was told to stop.
	err = w.db.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		switch {
		case ctx.Err() != nil && err != nil:
			return tx.Unclaim(t)
		case err == nil && again.IsZero():
			return tx.Done(t)
		case err == nil:
			return tx.Sleep(t, again)
		}
		limit := w.works[t.Kind].attempts
		if errors.As(err, new(giveUp)) || limit > 0 && t.Attempts+1 >= limit {
			w.log.Error("gave up", "task", t.Kind, "key", t.Key, "attempts", t.Attempts+1, "err", w.mask(err.Error()))
			return tx.Bury(t, w.mask(err.Error()))
		}
		at := tx.Now().Add(backoff(t.Attempts))
		if d, ok := retryAfter(err); ok {
			at = tx.Now().Add(d)
		}
		w.log.Warn("will try again", "task", t.Kind, "key", t.Key, "attempts", t.Attempts+1, "at", at, "err", w.mask(err.Error()))
		return tx.Retry(t, at, w.mask(err.Error()))
	})
	if err != nil {
		w.log.Error("finish a task", "task", t.Kind, "key", t.Key, "err", err)
	}
}

// leased does the work of a task while renewing its lease; work whose lease is lost is stopped.
func (w *worker) leased(ctx context.Context, t store.Task) (again time.Time, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		tick := time.NewTicker(w.lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := w.db.Update(ctx, func(tx *store.Tx) error { return tx.Renew(t, w.lease) }); errors.Is(err, store.ErrLost) {
				cancel(err)
				return
			}
		}
	}()
	defer func() {
		if p := recover(); p != nil { // a bug: the task is retried and, if that does not help, shown
			err = fmt.Errorf("panic: %v", p)
			w.log.Error("panic", "task", t.Kind, "key", t.Key, "err", w.mask(err.Error()), "stack", string(debug.Stack()))
		}
		cancel(nil)
		<-renewing
	}()
	return w.works[t.Kind].do(ctx, t.Key, t.Attempts)
}

// backoff is exponential from one second, with jitter, so that what failed together is not tried together.
func backoff(attempts int) time.Duration {
	d := min(time.Second<<min(attempts, 10), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

// giveUp wraps an error that trying again does not mend.
type giveUp struct{ error }

func (g giveUp) Unwrap() error { return g.error }
