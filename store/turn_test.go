package store

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A contest is what Claim promises of turns, in plain Go: repositories with random loads want few places.
type contest struct {
	t     *testing.T
	db    *DB
	now   *time.Time
	rng   *rand.Rand
	turns map[string]int // when a repository's last turn was
	runs  []*entrant
	begun int
}

type entrant struct {
	id, repo string
	due      time.Time
	working  *Task
	ended    bool // by a newer push, say: its row is still to go
}

func (c *contest) push(repo string) {
	r := Run{Repo: repo, App: "web", Ref: "refs/heads/master", SHA: "a", Cause: CauseCommand}
	update(c.t, c.db, func(tx *Tx) error { return tx.NewRun(&r, "build") })
	c.runs = append(c.runs, &entrant{id: r.ID, repo: repo, due: *c.now})
}

// waiting lists what could be claimed.
func (c *contest) waiting() []*entrant {
	return slices.DeleteFunc(slices.Clone(c.runs), func(e *entrant) bool { return e.working != nil || e.due.After(*c.now) })
}

func (c *contest) working() []*entrant {
	return slices.DeleteFunc(slices.Clone(c.runs), func(e *entrant) bool { return e.working == nil })
}

// fill claims until no place is free, or nobody wants one, and compares who got it with who should.
func (c *contest) fill(places int) {
	for len(c.working()) < places {
		var task Task
		var ok bool
		update(c.t, c.db, func(tx *Tx) (err error) { task, ok, err = tx.Claim([]string{TaskRun}, time.Hour); return err })
		waiting := c.waiting()
		if ok != (len(waiting) > 0) {
			c.t.Fatalf("claimed: %t, and %d wait for a place", ok, len(waiting))
		}
		if !ok {
			return
		}
		// Who has ended goes first; then who had no turn for longest; and of theirs what has been due longest.
		best := slices.MinFunc(waiting, func(a, b *entrant) int {
			if a.ended != b.ended {
				return map[bool]int{true: -1, false: 1}[a.ended]
			}
			turn := 0
			if !a.ended {
				turn = cmp.Compare(c.turns[a.repo], c.turns[b.repo])
			}
			return cmp.Or(turn, a.due.Compare(b.due))
		})
		i := slices.IndexFunc(c.runs, func(e *entrant) bool { return e.id == task.Key })
		got := c.runs[i]
		if got.ended != best.ended || !got.ended && c.turns[got.repo] != c.turns[best.repo] || !got.due.Equal(best.due) && got.repo == best.repo {
			c.t.Fatalf("a place for %s, whose turn was %d, due %s; want %s, %d, %s", got.repo, c.turns[got.repo], got.due, best.repo, c.turns[best.repo], best.due)
		}
		got.working = &task
		if !got.ended {
			c.begun++
			c.turns[got.repo] = c.begun
		}
	}
}

func (c *contest) step() {
	*c.now = c.now.Add(time.Second)
	working, waiting := c.working(), c.waiting()
	switch n := c.rng.IntN(10); {
	case n < 3:
		// One of them has as much as all the others.
		c.push(fmt.Sprintf("acme/%d", max(0, c.rng.IntN(12)-6)))
	case n < 7 && len(working) > 0:
		e := working[c.rng.IntN(len(working))]
		update(c.t, c.db, func(tx *Tx) error { return tx.Done(*e.working) })
		c.runs = slices.DeleteFunc(c.runs, func(other *entrant) bool { return other == e })
	case n == 7 && len(working) > 0: // a far end was down
		e := working[c.rng.IntN(len(working))]
		e.due = c.now.Add(time.Duration(c.rng.IntN(5)) * time.Second)
		update(c.t, c.db, func(tx *Tx) error { return tx.Retry(*e.working, e.due, "down") })
		e.working = nil
	case n == 8 && len(waiting) > 0: // overtaken
		e := waiting[c.rng.IntN(len(waiting))]
		if !e.ended {
			update(c.t, c.db, func(tx *Tx) error { return tx.EndRun(e.id, RunFailed, "gone", nil) })
			e.ended = true
		}
	case n == 9 && c.rng.IntN(5) == 0: // the program starts anew
		update(c.t, c.db, func(tx *Tx) error { return tx.Recover() })
		for _, e := range working {
			e.working = nil
		}
	}
}

// TestTurns: no place is free while somebody waits, and who gets one is who had no turn for longest.
func TestTurns(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			db, now := open(t)
			c := &contest{t: t, db: db, now: now, rng: rand.New(rand.NewPCG(seed, 1)), turns: map[string]int{}}
			for i := range 6 {
				update(t, db, func(tx *Tx) error { return tx.PutRepo(Repo{Name: fmt.Sprintf("acme/%d", i), ID: int64(i)}) })
			}
			for range 30 {
				c.push("acme/0")
			}
			for range 150 {
				c.step()
				c.fill(3)
			}
			for i := 0; len(c.runs) > 0; i++ { // everybody gets through
				if i > 1000 {
					t.Fatalf("%d never got a place", len(c.runs))
				}
				*now = now.Add(5 * time.Second)
				c.fill(3)
				for _, e := range c.working() {
					update(t, db, func(tx *Tx) error { return tx.Done(*e.working) })
				}
				c.runs = slices.DeleteFunc(c.runs, func(e *entrant) bool { return e.working != nil })
			}
		})
	}
}

// TestRunTask: what has no builder to wait for has a queue of its own.
func TestRunTask(t *testing.T) {
	for want, r := range map[string]Run{
		TaskRun:      {},
		TaskForkRun:  {Fork: "mallory/web"},
		TaskImageRun: {Image: JSON[*PushedImage]{&PushedImage{Repository: "r.example.com/web"}}, Fork: ""},
	} {
		db, _ := open(t)
		r.Repo, r.App, r.SHA, r.Cause = "acme/web", "web", "a", CausePush
		update(t, db, func(tx *Tx) error { return errors.Join(tx.PutRepo(Repo{Name: "acme/web"}), tx.NewRun(&r)) })
		update(t, db, func(tx *Tx) error {
			task, ok, err := tx.Claim([]string{want}, time.Minute)
			if err == nil && (!ok || task.Key != r.ID) {
				t.Errorf("no task %q", want)
			}
			return err
		})
	}
}
