package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A model is what the comments in queue.go promise, in plain Go.
type model struct {
	tasks map[string]*modelTask // by kind and key
	last  int64                 // id of the newest row
	// What the promises come to, kept beside the tasks: a wake leads to a run that begins after it.
	woken map[string]int // the step of the last Add that counted, or Wake
	began map[string]int // the step of the last claim
	step  int
}

type modelTask struct {
	id, claims int64
	kind, key  string
	attempts   int
	faults     int // of the attempts
	reason     string
	due, lease time.Time // lease: being worked until then; zero: not being worked
	news       bool      // woken since it was claimed
	buried     time.Time
}

func newModel() *model {
	return &model{tasks: map[string]*modelTask{}, woken: map[string]int{}, began: map[string]int{}}
}

func name(kind, key string) string { return kind + " " + key }

func (m *model) add(kind, key string, now time.Time) {
	if m.tasks[name(kind, key)] == nil {
		m.tasks[name(kind, key)] = &modelTask{kind: kind, key: key, due: now}
		m.woken[name(kind, key)] = m.step
	}
}

func (m *model) wake(kind, key string, at time.Time) {
	m.woken[name(kind, key)] = m.step
	t := m.tasks[name(kind, key)]
	switch {
	case t == nil:
		m.tasks[name(kind, key)] = &modelTask{kind: kind, key: key, due: at}
		return
	case !t.buried.IsZero():
		t.buried, t.attempts, t.faults, t.due = time.Time{}, 0, 0, earlier(t.due, at)
	case t.attempts == 0:
		t.due = earlier(t.due, at)
	}
	t.news = true
}

// learn asks for the id of a row that was added or woken: a new one is higher than any before it.
func (m *model) learn(tx *Tx, kind, key string) error {
	id, err := get[int64](tx, "id", "SELECT id FROM tasks WHERE kind = ? AND key = ?", kind, key)
	if err != nil {
		return err
	}
	t := m.tasks[name(kind, key)]
	if t.id == 0 && id > m.last {
		t.id, m.last = id, id
	}
	if t.id != id {
		return fmt.Errorf("%s %s has id %d, the model says %d of up to %d", kind, key, id, t.id, m.last)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// open are the tasks of some kinds in the order in which they are handed out, and when each can be.
func (m *model) open(kinds []string) (tasks []*modelTask) {
	for _, t := range m.tasks {
		if t.buried.IsZero() && slices.Contains(kinds, t.kind) {
			tasks = append(tasks, t)
		}
	}
	slices.SortFunc(tasks, func(a, b *modelTask) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.id, b.id)) })
	return tasks
}

func (t *modelTask) ready() time.Time {
	if t.lease.After(t.due) {
		return t.lease
	}
	return t.due
}

func (m *model) claim(kinds []string, lease time.Duration, now time.Time) (Task, bool) {
	for _, t := range m.open(kinds) {
		if t.ready().After(now) {
			continue
		}
		t.claims++
		t.lease, t.news = now.Add(lease), false
		m.began[name(t.kind, t.key)] = m.step
		return t.public(), true
	}
	return Task{}, false
}

func (t *modelTask) public() Task {
	return Task{ID: t.id, Kind: t.kind, Key: t.key, Attempts: t.attempts, Faults: t.faults, Claims: t.claims, Reason: t.reason, DueAt: Time{t.due}}
}

func (m *model) nextDue(kinds []string) (at time.Time, ok bool) {
	for _, t := range m.open(kinds) {
		if !ok || t.ready().Before(at) {
			at, ok = t.ready(), true
		}
	}
	return at, ok
}

// held is the task that this claim still holds; nil when the lease was lost.
func (m *model) held(c Task) *modelTask {
	t := m.tasks[name(c.Kind, c.Key)]
	if t == nil || t.id != c.ID || t.claims != c.Claims || t.lease.IsZero() {
		return nil
	}
	return t
}

func (m *model) done(t *modelTask) {
	if !t.news {
		delete(m.tasks, name(t.kind, t.key))
		return
	}
	t.lease, t.attempts, t.faults, t.reason = time.Time{}, 0, 0, ""
}

func (m *model) sleep(t *modelTask, at time.Time) {
	t.lease, t.attempts, t.faults, t.reason = time.Time{}, 0, 0, ""
	if !t.news {
		t.due = at
	}
}

func (m *model) retry(t *modelTask, at time.Time, reason string) {
	t.lease, t.due, t.reason = time.Time{}, at, reason
	t.attempts++
}

// bury gives a task up; one that was woken while it was worked is woken again: the news came after the attempt began.
func (m *model) bury(t *modelTask, now time.Time, reason string) {
	t.lease, t.reason = time.Time{}, reason
	if t.news {
		t.attempts, t.faults = 0, 0
		return
	}
	t.buried = now
}

func (m *model) recover() {
	for _, t := range m.tasks {
		t.lease = time.Time{}
	}
}

// An action is one step of a test; what its numbers mean depends on do. Any list of actions can be played, so that one
// that fails can be cut down.
type action struct {
	do          string
	key, holder int
	d           time.Duration
	undone      bool // its transaction fails at the end
}

var (
	queueKinds = []string{"a", "b", "c"}
	queueKeys  = []string{"1", "2", "3"}
	// Finishes stand here more than once: most claims are finished, some are left to run out.
	queueActions = []string{"add", "wake", "wake", "wake at", "claim", "claim", "claim", "claim", "renew", "done", "done", "sleep", "retry", "fault", "unclaim",
		"bury", "bury", "pass", "pass", "pass", "due", "buried", "recover", "crash"}
	queueTimes = []time.Duration{0, time.Millisecond, time.Second, 59 * time.Second, time.Minute, time.Hour}
)

const queueLease = time.Minute

func randomActions(rnd *rand.Rand, n int) []action {
	list := make([]action, n)
	for i := range list {
		list[i] = action{queueActions[rnd.IntN(len(queueActions))], rnd.IntN(1 << 16), rnd.IntN(1 << 16), queueTimes[rnd.IntN(len(queueTimes))], rnd.IntN(12) == 0}
		if rare := list[i].do; (rare == "crash" || rare == "recover") && rnd.IntN(4) > 0 {
			list[i].do = "pass"
		}
	}
	return list
}

// A queueTest plays actions on a database and on the model, and tells where they differ.
type queueTest struct {
	dir     string
	opened  int
	db      *DB
	now     time.Time
	model   *model
	holders []Task // every claim, also those that were lost
}

var errUndone = errors.New("undone")

func (q *queueTest) open(file string) (err error) {
	if q.db, err = Open(context.Background(), file, []byte("key")); err != nil {
		return err
	}
	q.db.Now = func() time.Time { return q.now }
	// A crash of the process is played, not of the machine, and the disk is slow.
	_, err = q.db.write.Exec("PRAGMA synchronous = OFF")
	return err
}

// crash goes on with a copy of the files as they are, which nobody closed.
func (q *queueTest) crash() error {
	from := filepath.Join(q.dir, fmt.Sprint(q.opened))
	q.opened++
	to := filepath.Join(q.dir, fmt.Sprint(q.opened))
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(from + suffix)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to+suffix, data, 0o600); err != nil {
			return err
		}
	}
	if err := q.db.Close(); err != nil {
		return err
	}
	return q.open(to)
}

func playQueue(dir string, actions []action) (err error) {
	q := &queueTest{dir: dir, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), model: newModel()}
	if err := q.open(filepath.Join(dir, "0")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.db.Close()) }()
	for i, a := range actions {
		q.model.step = i
		if err := q.play(a); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, a.do, err)
		}
	}
	return q.drain()
}

func (q *queueTest) play(a action) error {
	switch a.do {
	case "pass":
		q.now = q.now.Add(a.d)
		return nil
	case "crash":
		if err := q.crash(); err != nil {
			return err
		}
	}
	kind, key := queueKinds[a.key%len(queueKinds)], queueKeys[a.key/len(queueKinds)%len(queueKeys)]
	kinds := queueKinds[:1+a.key%len(queueKinds)]
	m := q.model
	if a.undone { // what it does to the model is forgotten too
		m = m.clone()
	}
	holders := q.holders
	err := q.db.Update(context.Background(), func(tx *Tx) error {
		err := func() error {
			switch a.do {
			case "add":
				m.add(kind, key, q.now)
				return errors.Join(tx.Add(kind, key), m.learn(tx, kind, key))
			case "wake":
				m.wake(kind, key, q.now)
				return errors.Join(tx.Wake(kind, key), m.learn(tx, kind, key))
			case "wake at":
				m.wake(kind, key, q.now.Add(a.d))
				return errors.Join(tx.WakeAt(kind, key, q.now.Add(a.d)), m.learn(tx, kind, key))
			case "claim":
				got, ok, err := tx.Claim(kinds, queueLease)
				if err != nil {
					return err
				}
				if ok {
					holders = append(holders, got)
				}
				want, any := m.claim(kinds, queueLease, q.now)
				return differ("it hands out", got, want, ok, any)
			case "due":
				got, ok, err := tx.NextDue(kinds)
				if err != nil {
					return err
				}
				want, any := m.nextDue(kinds)
				return differ("next due is", got, want, ok, any)
			case "recover", "crash":
				m.recover()
				return tx.Recover()
			case "buried":
				return m.sameBuried(tx)
			}
			if len(holders) == 0 {
				return nil
			}
			// Mostly one of the last claims, sometimes one that was lost long ago.
			t := holders[len(holders)-1-a.holder%min(len(holders), 4)]
			if a.holder%8 == 0 {
				t = holders[a.holder/8%len(holders)]
			}
			return m.finish(tx, t, a, q.now)
		}()
		if err == nil && a.undone {
			return errUndone
		}
		return err
	})
	if a.undone && errors.Is(err, errUndone) {
		err = nil
	} else {
		q.holders = holders
	}
	return errors.Join(err, q.same())
}

func differ[T any](what string, got, want T, ok, any bool) error {
	if ok != any || ok && !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s %+v (%v), the model says %+v (%v)", what, got, ok, want, any)
	}
	return nil
}

func (m *model) finish(tx *Tx, t Task, a action, now time.Time) error {
	held := m.held(t)
	at := now.Add(a.d)
	var err error
	switch a.do {
	case "renew":
		err = tx.Renew(t, queueLease)
	case "done":
		err = tx.Done(t)
	case "sleep":
		err = tx.Sleep(t, at)
	case "retry":
		err = tx.Retry(t, at, "no luck")
	case "fault":
		err = tx.Fault(t, at, "our fault")
	case "unclaim":
		err = tx.Unclaim(t)
	case "bury":
		err = tx.Bury(t, "poison")
	}
	if held == nil {
		if !errors.Is(err, ErrLost) {
			return fmt.Errorf("%+v was lost, but: %v", t, err)
		}
		return nil
	}
	switch a.do {
	case "renew":
		held.lease = now.Add(queueLease)
	case "done":
		m.done(held)
	case "sleep":
		m.sleep(held, at)
	case "retry":
		m.retry(held, at, "no luck")
	case "fault":
		m.retry(held, at, "our fault")
		held.faults++
	case "unclaim":
		held.lease = time.Time{}
	case "bury":
		m.bury(held, now, "poison")
	}
	return err
}

func (m *model) clone() *model {
	c := &model{tasks: map[string]*modelTask{}, last: m.last, woken: maps.Clone(m.woken), began: maps.Clone(m.began), step: m.step}
	for n, t := range m.tasks {
		copied := *t
		c.tasks[n] = &copied
	}
	return c
}

// same compares every row with the model.
func (q *queueTest) same() error {
	return q.db.View(context.Background(), func(tx *Tx) error {
		rows, err := list[struct {
			Task
			Lease  Time `db:"lease_until"`
			Buried Time `db:"buried_at"`
			News   bool `db:"news"`
		}](tx, "SELECT id, kind, key, attempts, faults, claims, reason, due_at, lease_until, buried_at, gen > claimed_gen AND lease_until IS NOT NULL AS news FROM tasks ORDER BY id")
		if err != nil {
			return err
		}
		var got, want []string
		for _, r := range rows {
			got = append(got, fmt.Sprint(r.Task, r.Lease, r.Buried, r.News))
		}
		tasks := slices.SortedFunc(maps.Values(q.model.tasks), func(a, b *modelTask) int { return cmp.Compare(a.id, b.id) })
		for _, t := range tasks {
			want = append(want, fmt.Sprint(t.public(), Time{t.lease}, Time{t.buried}, t.news && !t.lease.IsZero()))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("the rows are\n%s\nthe model's\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

func (m *model) sameBuried(tx *Tx) error {
	got, err := tx.Buried()
	if err != nil {
		return err
	}
	var want []*modelTask
	for _, t := range m.tasks {
		if !t.buried.IsZero() {
			want = append(want, t)
		}
	}
	slices.SortFunc(want, func(a, b *modelTask) int { return cmp.Or(b.buried.Compare(a.buried), cmp.Compare(b.id, a.id)) })
	if !slices.EqualFunc(got, want, func(g Task, w *modelTask) bool { return g == w.public() }) {
		return fmt.Errorf("buried are %+v, the model's %+v", got, want)
	}
	return nil
}

// drain works until nothing is left, and then holds the promises against what happened, whatever the model thinks of it:
// nothing due is lost, and every wake was followed by a run that began after it.
func (q *queueTest) drain() error {
	ctx := context.Background()
	for q.model.step++; ; q.model.step++ {
		var next time.Time
		var waits bool
		err := q.db.Update(ctx, func(tx *Tx) error {
			t, ok, err := tx.Claim(queueKinds, queueLease)
			if err != nil {
				return err
			}
			if !ok {
				next, waits, err = tx.NextDue(queueKinds)
				if waits && !next.After(q.now) {
					err = fmt.Errorf("due at %s, not handed out at %s", next, q.now)
				}
				return err
			}
			q.model.began[name(t.Kind, t.Key)] = q.model.step
			next, waits = q.now, true
			return tx.Done(t)
		})
		if err != nil {
			return fmt.Errorf("drain: %w", err)
		}
		if !waits {
			break
		}
		q.now = next
	}
	return q.model.kept()
}

// kept tells whether every wake was followed by a run that began after it.
func (m *model) kept() error {
	for _, n := range slices.Sorted(maps.Keys(m.woken)) {
		if m.woken[n] >= m.began[n] {
			return fmt.Errorf("%s was woken at step %d and ran last at step %d", n, m.woken[n], m.began[n])
		}
	}
	return nil
}

// TestQueueAgainstModel plays random actions on the queue and on the model. QUEUE_SEED plays one seed again.
func TestQueueAgainstModel(t *testing.T) {
	t.Parallel()
	const steps = 250
	games := 24
	if testing.Short() { // the race detector
		games = 2
	}
	for range games {
		seed := rand.Uint64()
		if s := os.Getenv("QUEUE_SEED"); s != "" {
			if _, err := fmt.Sscan(s, &seed); err != nil {
				t.Fatal(err)
			}
		}
		actions := randomActions(rand.New(rand.NewPCG(seed, 0)), steps)
		if err := playQueue(t.TempDir(), actions); err != nil {
			actions, err = shrink(t, actions, err)
			var b strings.Builder
			for _, a := range actions {
				fmt.Fprintf(&b, "\t%+v\n", a)
			}
			t.Fatalf("QUEUE_SEED=%d, cut down to:\n%s%v", seed, b.String(), err)
		}
	}
}

// shrink leaves out whatever the failure does not need.
func shrink(t *testing.T, actions []action, err error) ([]action, error) {
	for size := len(actions) / 2; size > 0; {
		cut := false
		for from := 0; from+size <= len(actions); {
			fewer := slices.Delete(slices.Clone(actions), from, from+size)
			if e := playQueue(t.TempDir(), fewer); e != nil {
				actions, err, cut = fewer, e, true
			} else {
				from += size
			}
		}
		if !cut {
			size /= 2
		}
	}
	return actions, err
}

// TestQueueConcurrently has many workers and many who wake on one queue. The model is asked in the order in which the
// transactions are written; and, whatever it says, each wake is seen by a run that began after it.
func TestQueueConcurrently(t *testing.T) {
	t.Parallel()
	const workers, wakers, wakes = 6, 4, 100
	db, _ := open(t)
	if _, err := db.write.Exec("PRAGMA synchronous = OFF"); err != nil { // it is slow, and nothing crashes here
		t.Fatal(err)
	}
	var clock atomic.Int64 // milliseconds
	start := db.Now()
	db.Now = func() time.Time { return start.Add(time.Duration(clock.Load()) * time.Millisecond) }
	m := newModel() // of the writer: whoever is in a write transaction
	update := func(fn func(tx *Tx) error) {
		if err := db.Update(context.Background(), func(tx *Tx) error { m.step++; return fn(tx) }); err != nil {
			t.Error(err)
		}
	}
	keys := len(queueKinds) * len(queueKeys)
	var mu sync.Mutex
	woken, seen, runs := make([]int, keys), make([]int, keys), 0

	var waking, working sync.WaitGroup
	for range wakers {
		waking.Go(func() {
			for range wakes {
				i := rand.IntN(keys)
				kind, key := queueKinds[i/len(queueKeys)], queueKeys[i%len(queueKeys)]
				mu.Lock()
				woken[i]++
				mu.Unlock()
				update(func(tx *Tx) error {
					m.wake(kind, key, tx.Now())
					return errors.Join(tx.Wake(kind, key), m.learn(tx, kind, key))
				})
			}
		})
	}
	asleep := make(chan struct{})
	go func() { waking.Wait(); close(asleep) }()
	for range workers {
		working.Go(func() {
			for !t.Failed() {
				last := false
				select {
				case <-asleep:
					last = true
				default:
				}
				var task Task
				var ok, any bool
				left := 0
				kinds := queueKinds[rand.IntN(len(queueKinds)):]
				update(func(tx *Tx) (err error) {
					if task, ok, err = tx.Claim(kinds, queueLease); err != nil {
						return err
					}
					var want Task
					want, any = m.claim(kinds, queueLease, tx.Now())
					left, err = tx.Tasks()
					return errors.Join(err, differ("it hands out", task, want, ok, any))
				})
				if !ok {
					if last && left == 0 {
						return
					}
					clock.Add(1000) // what was put off becomes due
					continue
				}
				i := slices.Index(queueKinds, task.Kind)*len(queueKeys) + slices.Index(queueKeys, task.Key)
				mu.Lock()
				runs++
				seen[i] = woken[i]
				mu.Unlock()
				if rand.IntN(20) == 0 {
					clock.Add(2 * queueLease.Milliseconds()) // every lease runs out
				}
				a := action{do: []string{"done", "done", "done", "sleep", "retry", "fault", "unclaim", "bury"}[rand.IntN(8)], d: queueTimes[rand.IntN(5)]}
				update(func(tx *Tx) error { return m.finish(tx, task, a, tx.Now()) })
			}
		})
	}
	working.Wait()
	if !slices.Equal(seen, woken) {
		t.Errorf("woken %v times, the last runs saw %v", woken, seen)
	}
	if err := m.kept(); err != nil {
		t.Error(err)
	}
	t.Logf("%d wakes, %d runs, %d transactions", wakers*wakes, runs, m.step)
}
