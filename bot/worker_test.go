package bot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/store"
)

// shop is a worker on a database of its own.
type shop struct {
	*worker
	t    *testing.T
	file string
	clock
	logged buffer
	stop   context.CancelFunc
	done   chan error
}

func newShop(t *testing.T, works map[string]work) *shop {
	t.Helper()
	s := &shop{t: t, file: filepath.Join(t.TempDir(), "test.db")}
	db, err := store.Open(t.Context(), s.file, []byte("key"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	db.Now = s.clock.Now
	s.worker = &worker{db: db, log: slog.New(slog.NewTextHandler(&s.logged, nil)), works: works, lease: time.Minute, grace: 50 * time.Millisecond,
		mask: func(s string) string { return strings.ReplaceAll(s, "s3cr3t", "•••") }}
	return s
}

func (s *shop) start() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s.stop, s.done = stop, done
	go func() { done <- s.worker.Run(ctx) }()
	s.t.Cleanup(stop)
}

// end stops the worker and waits for it.
func (s *shop) end() {
	s.t.Helper()
	s.stop()
	select {
	case err := <-s.done:
		must(s.t, err)
	case <-time.After(patience):
		s.t.Fatal("the worker does not stop")
	}
}

func (s *shop) wake(kind, key string) {
	s.t.Helper()
	must(s.t, s.db.Update(context.Background(), func(tx *store.Tx) error { return tx.Wake(kind, key) }))
}

// task reads columns of the one task that there is.
func (s *shop) task(columns string) string {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.file+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	must(s.t, err)
	defer func() { _ = db.Close() }() // it only reads
	var v sql.NullString
	if err := db.QueryRow("SELECT " + columns + " FROM tasks").Scan(&v); err != nil && !errors.Is(err, sql.ErrNoRows) {
		s.t.Fatal(err)
	}
	return v.String
}

// sees waits until columns of the task say something.
func (s *shop) sees(columns, want string) {
	s.t.Helper()
	must(s.t, until(columns, func() error {
		if got := s.task(columns); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	}))
}

// due is in how long the task is due.
func (s *shop) due() time.Duration {
	s.t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s.task("due_at"))
	must(s.t, err)
	return at.Sub(s.Now())
}

// counter counts calls.
type counter struct {
	mu          sync.Mutex
	n, now, max int
}

func (c *counter) enter()     { c.mu.Lock(); c.n++; c.now++; c.max = max(c.max, c.now); c.mu.Unlock() }
func (c *counter) leave()     { c.mu.Lock(); c.now--; c.mu.Unlock() }
func (c *counter) calls() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	var c counter
	finish := make(chan struct{})
	s := newShop(t, map[string]work{"x": {parallel: 2, do: func(ctx context.Context, _ string, _ int) (time.Time, error) {
		c.enter()
		defer c.leave()
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return time.Time{}, ctx.Err()
	}}})
	s.worker.lease = 5 * time.Second // a busy machine may be late by more than one second
	s.wake("x", "1")
	s.start()
	s.sees("lease_until IS NOT NULL", "1")
	first := s.task("lease_until")
	began := time.Now()
	must(t, until("the work outlasts its lease", func() error {
		if time.Since(began) < s.worker.lease*3/2 || s.task("lease_until") <= first {
			return errors.New("not yet")
		}
		return nil
	}))
	close(finish)
	s.sees("count(*)", "0")
	s.end()
	if c.calls() != 1 {
		t.Errorf("it was begun %d times", c.calls())
	}
}

// TestClockJumps: what is being worked is not begun a second time because the clock says that its lease is over.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	var c counter
	finish := make(chan struct{})
	s := newShop(t, map[string]work{
		"x": {parallel: 2, do: func(ctx context.Context, key string, _ int) (time.Time, error) {
			if key == "after" {
				return time.Time{}, nil
			}
			c.enter()
			defer c.leave()
			<-finish
			return time.Time{}, nil
		}},
	})
	s.wake("x", "1")
	s.start()
	s.sees("lease_until IS NOT NULL", "1")
	s.Advance(time.Hour)
	s.wake("x", "after") // so that the worker looks
	s.sees("count(*)", "1")
	close(finish)
	s.sees("count(*)", "0")
	s.end()
	if c.calls() != 1 {
		t.Errorf("it was begun %d times", c.calls())
	}
}

func TestLostLeaseStopsTheWork(t *testing.T) {
	t.Parallel()
	stopped := make(chan error, 1)
	s := newShop(t, map[string]work{"x": {parallel: 1, do: func(ctx context.Context, _ string, attempts int) (time.Time, error) {
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return time.Time{}, nil
	}}})
	s.worker.lease = 60 * time.Millisecond
	s.wake("x", "1")
	s.start()
	s.sees("lease_until IS NOT NULL", "1")
	// Another takes it over, as after a long pause of this process.
	must(t, s.db.Update(t.Context(), func(tx *store.Tx) error {
		err := tx.Recover()
		_, ok, err2 := tx.Claim([]string{"x"}, time.Hour)
		if !ok {
			t.Error("it cannot be taken")
		}
		return errors.Join(err, err2)
	}))
	if err := <-stopped; !errors.Is(err, store.ErrLost) {
		t.Errorf("it was stopped by %v", err)
	}
	s.end()
	if s.task("lease_until IS NOT NULL") != "1" { // the late finish did not count
		t.Error("the other's lease is gone")
	}
}

// TestLostLeaseUndoesWhatIsSettled: what came of the work is written only by whoever still holds the task.
func TestLostLeaseUndoesWhatIsSettled(t *testing.T) {
	t.Parallel()
	taken, goOn := make(chan bool), make(chan bool)
	s := newShop(t, map[string]work{"x": {parallel: 1, settle: func(context.Context, string) (func(*store.Tx) error, error) {
		close(taken)
		<-goOn
		return func(tx *store.Tx) error { return tx.SetCursor("effect", "late") }, nil
	}}})
	s.wake("x", "1")
	s.start()
	<-taken
	// Another takes it over, as after a long pause of this process.
	must(t, s.db.Update(t.Context(), func(tx *store.Tx) error {
		err := tx.Recover()
		_, ok, err2 := tx.Claim([]string{"x"}, time.Hour)
		if !ok {
			t.Error("it cannot be taken")
		}
		return errors.Join(err, err2)
	}))
	close(goOn)
	s.end()
	must(t, s.db.View(t.Context(), func(tx *store.Tx) error {
		effect, err := tx.Cursor("effect")
		if effect != "" {
			t.Error("the late one had its effect")
		}
		return err
	}))
}

func TestPanicIsRetriedAndBuried(t *testing.T) {
	t.Parallel()
	s := newShop(t, map[string]work{"x": {parallel: 1, do: func(context.Context, string, int) (time.Time, error) { panic("a bug with s3cr3t") }}})
	s.wake("x", "1")
	s.start()
	for n := 1; n < maxFaults; n++ {
		// At least: on a busy machine it may have been tried again before we look.
		s.sees(fmt.Sprintf("count(*) = 0 OR min(buried_at IS NOT NULL OR attempts >= %d AND faults >= %d AND reason = 'panic: a bug with •••')", n, n), "1")
		s.clock.Advance(maxBackoff)
		s.wake("x", "1") // has the worker look again
	}
	must(t, until("it is buried", func() error {
		if got := s.buried(); got != "x 1: panic: a bug with •••" {
			return errors.New(got)
		}
		return nil
	}))
	s.end()
	log := s.logged.String()
	if strings.Contains(log, "s3cr3t") || !strings.Contains(log, "worker_test.go") {
		t.Errorf("the log has no stack, or a secret: %s", log)
	}
	if n := strings.Count(log, `level=ERROR msg="gave up"`); n != 1 {
		t.Errorf("the log says %d times that it was given up", n)
	}
}

func (s *shop) buried() string {
	s.t.Helper()
	var all []string
	must(s.t, s.db.View(context.Background(), func(tx *store.Tx) error {
		tasks, err := tx.Buried()
		for _, t := range tasks {
			all = append(all, t.Kind+" "+t.Key+": "+t.Reason)
		}
		return err
	}))
	return strings.Join(all, ", ")
}

func TestGivenUpAndWoken(t *testing.T) {
	t.Parallel()
	var c counter
	s := newShop(t, map[string]work{"x": {parallel: 1, do: func(context.Context, string, int) (time.Time, error) {
		c.enter()
		defer c.leave()
		if c.calls() == 1 {
			return time.Time{}, fmt.Errorf("say: %w", giveUp{errors.New("no such channel")})
		}
		return time.Time{}, nil
	}}})
	s.wake("x", "1")
	s.start()
	must(t, until("it is given up", func() error {
		if got := s.buried(); got != "x 1: say: no such channel" {
			return errors.New(got)
		}
		return nil
	}))
	s.wake("x", "1") // news gives it another chance
	s.sees("count(*)", "0")
	s.end()
	if c.calls() != 2 {
		t.Errorf("%d calls", c.calls())
	}
}

func TestRetryWaits(t *testing.T) {
	t.Parallel()
	limited := func(header string) error {
		return &github.ErrorResponse{Response: &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {header}}, Request: &http.Request{}}}
	}
	ninety := 90 * time.Second
	tests := map[string]struct {
		err         error
		least, most time.Duration
	}{
		"any error":              {errors.New("no"), 400 * time.Millisecond, time.Second},
		"secondary rate limit":   {&github.AbuseRateLimitError{RetryAfter: &ninety, Response: &http.Response{StatusCode: 403, Request: &http.Request{}}}, 89 * time.Second, ninety},
		"without a time":         {&github.AbuseRateLimitError{Response: &http.Response{StatusCode: 403, Request: &http.Request{}}}, 59 * time.Second, time.Minute},
		"Retry-After":            {limited("120"), 119 * time.Second, 120 * time.Second},
		"Retry-After not a time": {limited("soon"), 400 * time.Millisecond, time.Second},
		"primary rate limit":     {&github.RateLimitError{Response: &http.Response{StatusCode: 403, Request: &http.Request{}}}, 9 * time.Minute, 10 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, map[string]work{"x": {parallel: 1, do: func(context.Context, string, int) (time.Time, error) {
				if primary := (*github.RateLimitError)(nil); errors.As(test.err, &primary) {
					primary.Rate.Reset = github.Timestamp{Time: time.Now().Add(10 * time.Minute)}
				}
				return time.Time{}, fmt.Errorf("ask: %w", test.err)
			}}})
			before := time.Now().Truncate(time.Millisecond)
			s.wake("x", "1")
			s.start()
			s.sees("attempts > 0", "1")
			s.end()
			due := s.task("due_at")
			at, err := time.Parse(time.RFC3339Nano, due)
			must(t, err)
			if at.Before(before.Add(test.least)) || at.After(time.Now().Add(test.most)) {
				t.Errorf("it is due in %s", at.Sub(before))
			}
			s.wake("x", "1") // news does not make it hurry
			if now := s.task("due_at"); now != due {
				t.Errorf("after news it is due at %s, not %s", now, due)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	for attempts, most := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		most *= time.Second
		for range 100 {
			if d := backoff(attempts); d < most/2 || d > most {
				t.Fatalf("after %d attempts: %s, want %s to %s", attempts, d, most/2, most)
			}
		}
	}
	if d := backoff(1 << 40); d > maxBackoff {
		t.Error(d)
	}
}

func TestShutdownGivesLeasesBack(t *testing.T) {
	t.Parallel()
	for name, anytime := range map[string]bool{"at once": true, "after the grace": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := make(chan struct{}, 1)
			s := newShop(t, map[string]work{"x": {parallel: 1, anytime: anytime, do: func(ctx context.Context, _ string, attempts int) (time.Time, error) {
				began <- struct{}{}
				<-ctx.Done()
				return time.Time{}, fmt.Errorf("stopped: %w", ctx.Err())
			}}})
			if anytime {
				s.worker.grace = time.Hour
			}
			s.wake("x", "1")
			s.start()
			<-began
			s.end()
			if got := s.task("coalesce(lease_until, 'free') || attempts || reason"); got != "free0" {
				t.Errorf("the task is %s", got)
			}
			s.start() // as the next process would
			<-began
			s.end()
		})
	}
}

// TestShutdownLetsWorkFinish that does finish within the grace.
func TestShutdownLetsWorkFinish(t *testing.T) {
	t.Parallel()
	began, finish := make(chan struct{}), make(chan struct{})
	s := newShop(t, map[string]work{"x": {parallel: 1, do: func(ctx context.Context, _ string, _ int) (time.Time, error) {
		close(began)
		<-finish
		return time.Time{}, ctx.Err()
	}}})
	s.worker.grace = time.Hour
	s.wake("x", "1")
	s.wake("x", "2") // not begun any more
	s.start()
	<-began
	s.stop()
	close(finish)
	s.end()
	if got := s.task("group_concat(key)"); got != "2" {
		t.Errorf("left are %s", got)
	}
}

func TestParallel(t *testing.T) {
	t.Parallel()
	var c counter
	full, finish := make(chan struct{}), make(chan struct{})
	s := newShop(t, map[string]work{"x": {parallel: 3, do: func(context.Context, string, int) (time.Time, error) {
		c.enter()
		defer c.leave()
		if c.calls() == 3 {
			close(full)
		}
		<-finish
		return time.Time{}, nil
	}}})
	for i := range 10 {
		s.wake("x", fmt.Sprint(i))
	}
	s.start()
	<-full
	close(finish)
	s.sees("count(*)", "0")
	s.end()
	if c.max != 3 || c.calls() != 10 {
		t.Errorf("%d calls, %d at once", c.calls(), c.max)
	}
}

// TestWokenWhileWorked: a task is never worked twice at once, and runs again for news that came meanwhile.
func TestWokenWhileWorked(t *testing.T) {
	t.Parallel()
	var c counter
	began, finish := make(chan struct{}, 2), make(chan struct{})
	s := newShop(t, map[string]work{"x": {parallel: 3, do: func(context.Context, string, int) (time.Time, error) {
		c.enter()
		defer c.leave()
		began <- struct{}{}
		<-finish
		return time.Time{}, nil
	}}})
	s.wake("x", "1")
	s.start()
	<-began
	for range 5 {
		s.wake("x", "1")
	}
	close(finish)
	<-began
	s.sees("count(*)", "0")
	s.end()
	if c.calls() != 2 || c.max != 1 {
		t.Errorf("%d calls, %d at once", c.calls(), c.max)
	}
}

// TestCalledAgainByTheClock is how waits work: no goroutine, a row with a time.
func TestCalledAgainByTheClock(t *testing.T) {
	t.Parallel()
	var c counter
	var s *shop
	s = newShop(t, map[string]work{"x": {parallel: 1, do: func(context.Context, string, int) (time.Time, error) {
		c.enter()
		defer c.leave()
		if c.calls() == 1 {
			return s.Now().Add(time.Hour), nil
		}
		return time.Time{}, nil
	}}})
	s.wake("x", "1")
	s.start()
	must(t, until("it sleeps", func() error {
		if due := s.due(); due < 59*time.Minute {
			return fmt.Errorf("it is due in %s", due)
		}
		return nil
	}))
	s.clock.Advance(time.Hour)
	s.wake("other", "")
	s.sees("sum(kind = 'x')", "0")
	s.end()
	if c.calls() != 2 {
		t.Errorf("%d calls", c.calls())
	}
}

// TestDataDirInUse: a second bot on the same data says who is there.
func TestDataDirInUse(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	cfg, err := LoadConfig(filepath.Join(l.dir, "shipmate.yaml"))
	must(t, err)
	b, err := New(t.Context(), cfg, "test", slog.New(slog.NewTextHandler(l.log, nil)))
	if b != nil || err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Fatalf("%v, %v", b, err)
	}
	must(t, l.Stop())
	if b, err = New(t.Context(), cfg, "test", slog.New(slog.NewTextHandler(l.log, nil))); err != nil {
		t.Fatal(err)
	}
	must(t, b.Close())
	must(t, b.Close()) // does no harm
}
