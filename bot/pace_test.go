package bot

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// still is a clock that stands.
type still struct{ t time.Time }

func newPace() (*pace, *still) {
	c := &still{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return &pace{now: func() time.Time { return c.t }, of: map[int64]*budget{}}, c
}

// TestPaceIsExact plays writers that come at random, some of them early, and answers that take their time, and holds what was
// let through against the limits, counted anew for each write: GitHub may count one anywhere between its begin and its end.
func TestPaceIsExact(t *testing.T) {
	t.Parallel()
	type write struct {
		begun, ended time.Time
		urgent       bool
	}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, c := newPace()
		var writes []*write
		type open struct {
			w    *write
			done func()
			at   time.Time
		}
		var inFlight []open
		wake := map[string]time.Time{} // writers that were told to come back
		for step := range 6000 {
			// Stretches of many writers, and of few.
			c.t = c.t.Add(time.Duration(r.Int64N(int64([]time.Duration{20 * time.Millisecond, 4 * time.Second}[step/700%2]))))
			for len(inFlight) > 0 && !inFlight[0].at.After(c.t) {
				inFlight[0].done()
				inFlight[0].w.ended = c.t
				inFlight = inFlight[1:]
			}
			who := fmt.Sprint(r.IntN(300))
			urgent := r.IntN(3) == 0
			done, until := p.take(1, who, urgent)
			if done == nil {
				if !until.After(c.t) {
					t.Fatalf("seed %d: told to come back at %s, it is %s", seed, until, c.t)
				}
				wake[who] = until
				continue
			}
			delete(wake, who)
			w := &write{begun: c.t, urgent: urgent}
			writes = append(writes, w)
			inFlight = append(inFlight, open{w, done, c.t.Add(time.Second)})
		}
		for i, w := range writes {
			for _, window := range []struct {
				size                  time.Duration
				all, whenItIsProgress int
			}{{time.Minute, 80, 60}, {time.Hour, 500, 375}} {
				n := 0
				for _, o := range writes[:i+1] {
					ended := o.ended
					if ended.IsZero() || ended.After(w.begun) {
						ended = w.begun
					}
					if w.begun.Sub(ended) < window.size {
						n++
					}
				}
				if n > window.all || !w.urgent && n > window.whenItIsProgress {
					t.Fatalf("seed %d: write %d (urgent %v) is number %d within %s", seed, i, w.urgent, n, window.size)
				}
			}
		}
		if len(writes) < 500 {
			t.Errorf("seed %d: only %d writes", seed, len(writes))
		}
	}
}

// TestPaceKeepsTurns has a thousand writers wait: each comes when it was told to, writes then, and is as early as the limits
// let it be.
func TestPaceKeepsTurns(t *testing.T) {
	t.Parallel()
	p, c := newPace()
	begin := c.t
	type waiter struct {
		who string
		at  time.Time
	}
	var waiting []waiter
	for i := range 1000 {
		waiting = append(waiting, waiter{fmt.Sprint(i), c.t})
	}
	asked := 0
	var order []string
	for len(waiting) > 0 {
		slices.SortStableFunc(waiting, func(a, b waiter) int { return a.at.Compare(b.at) })
		w := waiting[0]
		waiting = waiting[1:]
		c.t = later(c.t, w.at)
		done, until := p.take(1, w.who, true)
		asked++
		if done == nil {
			waiting = append(waiting, waiter{w.who, until})
			continue
		}
		done()
		order = append(order, w.who)
	}
	if took := c.t.Sub(begin); took != time.Hour+6*time.Minute { // 80 a minute up to 500, and the same in the next hour
		t.Errorf("it took %s", took)
	}
	if asked > 2*1000 {
		t.Errorf("they asked %d times", asked)
	}
	for i, who := range order {
		if who != fmt.Sprint(i) {
			t.Fatalf("number %d is %s", i, who)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	p, c := newPace()
	take := func(who string, urgent bool) time.Duration {
		done, until := p.take(1, who, urgent)
		if done == nil {
			return until.Sub(c.t)
		}
		done()
		return 0
	}
	expect := func(who string, urgent bool, want time.Duration) {
		t.Helper()
		if got := take(who, urgent); got != want {
			t.Errorf("%s waits for %s, want %s", who, got, want)
		}
	}
	for i := range progressMinute {
		expect(fmt.Sprint("p", i), false, 0)
	}
	expect("p", false, time.Minute)
	expect("an answer", true, 0) // a quarter is left for it
	c.t = c.t.Add(time.Second)
	expect("p", false, 59*time.Second) // news does not change its turn
	expect("p", true, 0)               // unless it is final
	for i := range writesMinute - progressMinute - 2 {
		expect(fmt.Sprint("u", i), true, 0)
	}
	expect("u", true, 59*time.Second)
	if done, _ := p.take(2, "u", true); done == nil {
		t.Error("another installation waits")
	}

	// GitHub asks for a pause: nothing is written, reading goes on.
	c.t = c.t.Add(time.Minute)
	if !p.learn(1, signals{paused: c.t.Add(90 * time.Second)}) || p.learn(1, signals{paused: c.t.Add(80 * time.Second)}) {
		t.Error("a pause is news, a shorter one is none")
	}
	expect("u", true, 90*time.Second)
	expect("v", true, 90*time.Second)
	if until := p.stopped(1, true); !until.Equal(c.t.Add(90 * time.Second)) {
		t.Errorf("writing is stopped until %s", until)
	}
	if until := p.stopped(1, false); !until.IsZero() {
		t.Errorf("reading is stopped until %s", until)
	}
	c.t = c.t.Add(90 * time.Second)
	expect("v", true, 0)

	// The primary limit stops reading too; when little is left of it, progress waits for the next hour.
	p.learn(1, signals{scarce: c.t.Add(10 * time.Minute)})
	expect("p", false, 10*time.Minute)
	expect("u", true, 0)
	p.learn(1, signals{closed: c.t.Add(20 * time.Minute)})
	expect("u", true, 20*time.Minute)
	if p.stopped(1, false).IsZero() {
		t.Error("reading goes on")
	}
}
