package kube

import (
	"context"
	"errors"
	"time"
)

const (
	beatEvery = 3 * time.Second
	awayTold  = 3 * time.Second  // a connection that is lost and had again is no news
	awayAgain = 20 * time.Second // until another cause is told
	awayMost  = time.Minute      // how long Wait holds its caller while nothing can be seen
)

// beat asks the API server every few seconds whether it is there and knows us: a watch that is open tells neither.
func (c *Cluster) beat(ctx context.Context, w *waiter) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	refused := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.link.check(ctx, beatEvery/2)
		if ctx.Err() != nil {
			return
		}
		if !errors.As(err, new(*refusal)) {
			refused = 0
			w.beaten(explain("reach", ObjectRef{}, err))
			continue
		}
		// One that has just started, or that lost its storage, may know nobody for a moment.
		if refused++; refused > 1 {
			w.deny(explain("reach", ObjectRef{}, err))
			return
		}
	}
}

// deny ends the wait with err.
func (w *waiter) deny(err error) {
	select {
	case w.denied <- err:
	default: // another one was told already
	}
}

// beaten notes whether the API server answered.
func (w *waiter) beaten(err error) {
	w.mu.Lock()
	changed := (err == nil) != (w.away == nil)
	if changed {
		w.awaySince = silentSince(err)
	}
	w.away = err
	w.mu.Unlock()
	if changed {
		w.poke()
	}
}

// silentSince is since when the API server does not answer, as err knows it, or now.
func silentSince(err error) time.Time {
	var e *Error
	var u *unreachable
	if errors.As(err, &e) && errors.As(e.Err, &u) && !u.since.IsZero() {
		return u.since
	}
	return time.Now()
}

// trouble tells why the cluster, or what is waited for in it, is out of sight, and since when; nil if it is not.
func (w *waiter) trouble() (since time.Time, err error) {
	w.mu.Lock()
	since, err = w.awaySince, w.away
	w.mu.Unlock()
	for _, t := range w.targets {
		for _, f := range t.feeds() {
			if at, e := f.trouble(); e != nil && (err == nil || at.Before(since)) {
				since, err = at, e
			}
		}
	}
	return since, err
}

// outOfSight is what is told of trouble.
func (w *waiter) outOfSight(err error, since time.Time) *Error {
	told := Error{Object: w.place, Message: oneLine(err.Error()), Err: err}
	var e *Error
	if errors.As(err, &e) {
		told.Message, told.Hint = e.Message, e.Hint
	}
	var u *unreachable
	if e == nil || !errors.As(e.Err, &u) || u.since.IsZero() {
		told.Message += " (since " + since.UTC().Format(clock) + ")"
	}
	told.Temporary = true
	return &told
}

// tellAway tells that the cluster is out of sight, and that it is not any more. blind says that nothing can be judged now,
// err that this has gone on for so long that the caller should have something else to do.
func (w *waiter) tellAway(now time.Time, report func(Progress)) (recheck time.Duration, blind bool, err error) {
	since, trouble := w.trouble()
	if trouble == nil {
		if w.told != "" {
			w.told, w.toldAt = "", time.Time{}
			report(Progress{Object: w.place, Stable: true})
		}
		return 0, false, nil
	}
	e := w.outOfSight(trouble, since)
	gone := now.Sub(since)
	if gone >= awayTold && e.Message != w.told && now.Sub(w.toldAt) >= awayAgain {
		w.told, w.toldAt = e.Message, now
		report(Progress{Object: w.place, Text: e.Message})
	}
	if gone >= awayMost {
		return 0, true, e
	}
	if gone < awayTold {
		return awayTold - gone, true, nil
	}
	return awayMost - gone, true, nil
}
