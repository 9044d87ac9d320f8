package bot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// lease is how long a task may go without a sign of life before another worker may take it.
	lease = 30 * time.Second
	// grace is how long running work may take to reach a safe point at shutdown.
	grace = 30 * time.Second
	// standBack is how long at most, while deliveries come in, events are not taken after some were: accepting goes before
	// deciding, and each takes time from the other. It begins with a tenth, so that a few deliveries wait for next to nothing.
	standBack = 100 * time.Millisecond
	// maxBackoff bounds the wait between two attempts, unless a far end asked for more.
	maxBackoff = 5 * time.Minute
	// maxAwayBackoff is the same for a deployment whose cluster does not answer.
	maxAwayBackoff = 15 * time.Second
	// maxFaults is how many attempts may fail by our own fault until a task is buried: about a quarter of an hour.
	maxFaults = 12
	// longAttempts is the attempt from which on a far end that is down is no hiccup: after about six minutes.
	longAttempts = 10
)

// A work is what is done for one kind of task. It is re-entrant. again is when to call it again by the clock (the zero
// time: only when woken). What becomes of an error: see [worker.finish].
type work struct {
	parallel int        // how many of this kind at once
	room     func() int // the same where it changes, instead of parallel
	anytime  bool       // any moment is a safe point: at shutdown it is stopped at once, and done again at the next start
	do       func(ctx context.Context, key string, attempts int) (again time.Time, err error)
	// settle is there instead of do where what comes of the work is written in the transaction that ends the task.
	settle func(ctx context.Context, key string) (write func(*store.Tx) error, err error)
}

// worker takes tasks and does them, each kind within its limit. There is one.
type worker struct {
	db    *store.DB
	log   *slog.Logger
	works map[string]work
	mask  func(string) string // takes secrets out of what is logged or stored
	lease time.Duration       // see lease
	grace time.Duration       // see grace

	grown <-chan struct{} // told when a room has grown; may be nil

	figures *figures // may be nil

	mu      sync.Mutex
	running map[string]int       // by kind
	held    map[int64]store.Task // what is being worked, by id
	freed   chan struct{}
}

// Run works until ctx ends, then waits for what is running, at most for grace, and gives the rest back.
func (w *worker) Run(ctx context.Context) error {
	w.running, w.held, w.freed = map[string]int{}, map[int64]store.Task{}, make(chan struct{}, 1)
	// Work goes on for a while after ctx has ended.
	doing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	arrived, back, pause, failing := w.db.Arrived(), time.Time{}, time.Duration(0), false
	for ctx.Err() == nil {
		changed := w.db.Changed()
		standing := time.Until(back)
		if standing <= 0 {
			select {
			case <-arrived:
				if pause = min(2*pause, standBack); -standing > standBack { // nothing has arrived for a while
					pause = standBack / 10
				}
				arrived, back = w.db.Arrived(), time.Now().Add(pause)
			default:
			}
		}
		tasks, wait, err := w.claim(ctx, standing > 0)
		for _, task := range tasks {
			until := doing
			if w.works[task.Kind].anytime {
				until = ctx
			}
			wg.Go(func() { w.one(until, task) })
		}
		if failing != (err != nil) && ctx.Err() == nil { // said once, not with every attempt
			if failing = err != nil; failing {
				w.log.Error("no task can be taken", "err", err, "remedy", store.Remedy(err))
			} else {
				w.log.Info("tasks are taken again")
			}
		}
		if len(tasks) > 0 {
			continue
		}
		fresh := arrived
		if standing > 0 {
			fresh, wait = nil, min(wait, standing)
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-fresh:
		case <-w.freed:
		case <-w.grown:
		case <-timer.C:
		}
		timer.Stop()
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

// never is the wait for what has no time.
const never = time.Duration(math.MaxInt64)

// claim takes the tasks that are due, as many as there is room for. Where it takes none, wait is when to ask again.
func (w *worker) claim(ctx context.Context, standing bool) (tasks []store.Task, wait time.Duration, err error) {
	kinds := w.room(nil, standing)
	if len(kinds) == 0 {
		return nil, never, nil
	}
	err = w.db.View(ctx, func(tx *store.Tx) error {
		next, ok, err := tx.NextDue(kinds)
		if wait = next.Sub(tx.Now()); !ok {
			wait = never
		}
		return err
	})
	if err != nil {
		return nil, time.Second, err
	}
	if wait > 0 {
		return nil, wait, nil
	}
	w.mu.Lock()
	held := slices.Collect(maps.Values(w.held))
	w.mu.Unlock()
	err = w.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.KeepLeases(held, w.lease); err != nil {
			return err
		}
		for ; len(kinds) > 0; kinds = w.room(tasks, standing) {
			t, ok, err := tx.Claim(kinds, w.lease)
			if err != nil || !ok {
				return err
			}
			tasks = append(tasks, t)
		}
		return nil
	})
	if err != nil {
		return nil, time.Second, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range tasks {
		w.running[t.Kind]++
		w.held[t.ID] = t
	}
	return tasks, 0, nil
}

// room lists the kinds of which another task may begin besides those that run and those just taken.
func (w *worker) room(taken []store.Task, standing bool) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	begun := maps.Clone(w.running)
	for _, t := range taken {
		begun[t.Kind]++
	}
	var kinds []string
	for kind, work := range w.works {
		limit := work.parallel
		if work.room != nil {
			limit = work.room()
		}
		if begun[kind] < limit && !(standing && kind == store.TaskEvent) {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

func (w *worker) one(ctx context.Context, t store.Task) {
	defer func() {
		w.mu.Lock()
		w.running[t.Kind]--
		if w.held[t.ID].Claims == t.Claims {
			delete(w.held, t.ID)
		}
		w.mu.Unlock()
		select {
		case w.freed <- struct{}{}:
		default:
		}
	}()
	began := time.Now()
	again, finished, err := w.leased(ctx, t)
	w.figures.worked(t.Kind, ctx.Err() != nil, err, time.Since(began))
	if finished {
		return
	}
	// The outcome is written also when the work was told to stop.
	stopped := ctx.Err() != nil
	write := func() error {
		return w.db.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
			if stopped && err != nil {
				return tx.Unclaim(t)
			}
			return w.finish(tx, t, again, err)
		})
	}
	failed := write()
	for store.Unavailable(failed) && ctx.Err() == nil { // there is nowhere to write that the outcome waits
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			if failed = w.db.Update(ctx, func(tx *store.Tx) error { return tx.Renew(t, w.lease) }); failed == nil {
				failed = write()
			}
		}
	}
	if failed != nil {
		w.log.Error("finish a task", "task", t.Kind, "key", t.Key, "err", failed)
	}
}

// finish writes the outcome of an attempt. While a far end is away or limits us, a task is tried again without end. What
// fails by our own fault is buried, with its reason, after maxFaults attempts, and at once where trying again is no use.
func (w *worker) finish(tx *store.Tx, t store.Task, again time.Time, err error) error {
	var wait *limited
	switch {
	case err == nil && again.IsZero():
		return tx.Done(t)
	case err == nil:
		return tx.Sleep(t, again)
	case errors.Is(err, build.ErrNoRoom):
		return tx.Unclaim(t) // and taken again when its room has some
	case errors.As(err, &wait): // it was not even tried
		return tx.Sleep(t, wait.until)
	}
	reason := w.mask(err.Error())
	fault := !away(err)
	if errors.As(err, new(giveUp)) || fault && t.Faults+1 >= maxFaults {
		w.log.Error("gave up", "task", t.Kind, "key", t.Key, "attempts", t.Attempts+1, "err", reason)
		if t.Kind == store.TaskEvent {
			if err := tx.Trace(t.Key, []string{fmt.Sprintf("given up after %d attempts: %s", t.Attempts+1, reason)}); err != nil {
				return err
			}
		}
		return tx.Bury(t, reason)
	}
	at := tx.Now().Add(backoff(t.Attempts))
	if d, ok := retryAfter(err); ok {
		at = tx.Now().Add(d)
	}
	level := slog.LevelWarn
	var api *kube.Error
	if t.Kind == store.TaskEnv && errors.As(err, &api) && api.Temporary { // finding out costs next to nothing, and somebody waits
		if most := tx.Now().Add(maxAwayBackoff); at.After(most) {
			at = most
		}
		if t.Reason == reason {
			level = slog.LevelDebug
		}
	}
	if t.Attempts+1 == longAttempts { // said once where somebody looks
		level = slog.LevelError
	}
	w.log.Log(context.Background(), level, "will try again", "task", t.Kind, "key", t.Key, "attempts", t.Attempts+1, "at", at, "err", reason)
	if fault {
		return tx.Fault(t, at, reason)
	}
	return tx.Retry(t, at, reason)
}

// leased does the work of a task while renewing its lease; work whose lease is lost is stopped.
func (w *worker) leased(ctx context.Context, t store.Task) (again time.Time, finished bool, err error) {
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
			stack := debug.Stack()
			if p, ok := p.(*store.Panic); ok {
				stack = p.Stack
			}
			w.log.Error("panic", "task", t.Kind, "key", t.Key, "err", w.mask(err.Error()), "stack", string(stack))
		}
		cancel(nil)
		<-renewing
	}()
	if settle := w.works[t.Kind].settle; settle != nil {
		write, err := settle(ctx, t.Key)
		if err == nil {
			err = w.db.Update(ctx, func(tx *store.Tx) error {
				if err := write(tx); err != nil {
					return err
				}
				return tx.Done(t)
			})
		}
		return again, err == nil, err
	}
	again, err = w.works[t.Kind].do(ctx, t.Key, t.Attempts)
	return again, false, err
}

// backoff is exponential from one second, with jitter, so that what failed together is not tried together.
func backoff(attempts int) time.Duration {
	d := min(time.Second<<min(attempts, 10), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

// giveUp wraps an error that trying again does not mend.
type giveUp struct{ error }

func (g giveUp) Unwrap() error { return g.error }

// down wraps an error of a far end that is away: it is no fault of the task.
type down struct{ error }

func (d down) Unwrap() error { return d.error }

// away tells whether an attempt failed because something that the task needs (a far end, the network, the disk) is down or
// limits us.
func away(err error) bool {
	if _, asked := retryAfter(err); asked || errors.As(err, new(down)) || errors.As(err, new(*limited)) || store.Unavailable(err) {
		return true
	}
	if code := statusCode(err); code != 0 {
		// 401 is for a credential that was new: the clock, or the App's key, which an operator mends.
		return code >= 500 || code == http.StatusUnauthorized || code == http.StatusRequestTimeout || code == http.StatusTooManyRequests
	}
	var network net.Error // also whatever ran out of time
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF)
}
