package bot

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// How much GitHub lets an installation write (statuses, deployments, comments, reactions): "about 80 content-generating
// requests a minute and 500 an hour" (GitHub docs, "Rate limits for the REST API", secondary limits). Progress may use the
// smaller numbers only, so that there is always room for a final state, an approval that is waited for, and an answer.
const (
	writesMinute   = 80
	writesHour     = 500
	progressMinute = writesMinute * 3 / 4
	progressHour   = writesHour * 3 / 4
)

// pace spreads what is written to GitHub, for each installation, over exact sliding windows, and keeps what GitHub said of
// its own limits. Nobody waits in it: who finds no room is told when to come back, and sleeps as a row of the queue.
//
// It lives in memory. After a restart the windows are empty, which may earn one refusal: that tells how long to wait just as
// well, and stops the installation as a whole. Counting what was sent before would need a row for every request.
type pace struct {
	now func() time.Time

	mu sync.Mutex
	of map[int64]*budget // by installation
}

// A budget is what one installation has used of its limits.
type budget struct {
	sent     []time.Time // the writes of the last hour, by the time of their answer, or of their begin while there is none
	promised []promise   // to those who found no room, in the order of their times
	paused   time.Time   // GitHub asked not to be written to until then
	closed   time.Time   // its primary limit is used up until then: nothing may be asked, either
	quota    quota       // of its primary limit
	scarce   time.Time   // little is left of its primary limit until then: no progress is written
}

// A promise is when somebody may come back. It keeps those who wait apart, in their order, instead of waking all of them for
// every place that gets free; it is not room that is set aside.
type promise struct {
	who    string
	at     time.Time
	urgent bool
}

// overdue is how long a promise stands for somebody who does not come.
const overdue = time.Minute

func (p *pace) budget(installation int64) *budget {
	b := p.of[installation]
	if b == nil {
		b = &budget{}
		p.of[installation] = b
	}
	return b
}

// take asks for room to write once, for who (one that asks again keeps its turn). With room, done is to be called when
// GitHub has answered or the attempt has failed; without, done is nil and until is when to ask again.
func (p *pace) take(installation int64, who string, urgent bool) (done func(), until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, now := p.budget(installation), p.now()
	b.forget(now)
	stop := later(b.paused, b.closed)
	if !urgent {
		stop = later(stop, b.scarce)
	}
	considered := slices.Clone(b.sent)
	i := slices.IndexFunc(b.promised, func(o promise) bool { return o.who == who })
	mine := i >= 0 && b.promised[i].urgent == urgent
	if mine && b.promised[i].at.After(later(now, stop)) {
		return nil, b.promised[i].at
	}
	at := later(now, stop)
	due := mine && at.Equal(now)
	if i >= 0 {
		b.promised = slices.Delete(b.promised, i, i+1)
	}
	if !due { // behind those who wait already
		for _, o := range b.promised {
			if o.urgent || !urgent {
				considered, at = append(considered, o.at), later(at, o.at)
			}
		}
		slices.SortFunc(considered, time.Time.Compare)
	}
	minute, hour := progressMinute, progressHour
	if urgent {
		minute, hour = writesMinute, writesHour
	}
	at = later(at, roomAt(considered, minute, time.Minute), roomAt(considered, hour, time.Hour))
	if at.After(now) {
		b.promise(promise{who, at, urgent})
		return nil, at
	}
	b.sent = append(b.sent, now)
	return func() { p.answered(installation, now) }, time.Time{}
}

// answered moves a write to the time of its answer: when in between GitHub counted it cannot be told.
func (p *pace) answered(installation int64, begun time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.budget(installation)
	if i := slices.IndexFunc(b.sent, begun.Equal); i >= 0 {
		b.sent = append(slices.Delete(b.sent, i, i+1), p.now())
	}
}

// roomAt is when a window has room again of which at most most fit into size; the zero time when it has room.
func roomAt(times []time.Time, most int, size time.Duration) time.Time {
	if len(times) < most {
		return time.Time{}
	}
	return times[len(times)-most].Add(size)
}

func (b *budget) forget(now time.Time) {
	b.sent = slices.DeleteFunc(b.sent, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
	b.promised = slices.DeleteFunc(b.promised, func(o promise) bool { return now.Sub(o.at) >= overdue })
}

func (b *budget) promise(o promise) {
	i, _ := slices.BinarySearchFunc(b.promised, o, func(a, o promise) int { return cmp.Or(a.at.Compare(o.at), -1) })
	b.promised = slices.Insert(b.promised, i, o)
}

// stopped tells until when an installation may not be asked (or, to write, not be written to); the zero time when it may.
func (p *pace) stopped(installation int64, write bool) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.budget(installation)
	until := b.closed
	if write {
		until = later(until, b.paused)
	}
	if until.After(p.now()) {
		return until
	}
	return time.Time{}
}

// learn keeps what an answer said of the limits; news tells that it stops what was not stopped before.
func (p *pace) learn(installation int64, s signals) (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.budget(installation)
	news = later(s.paused, s.closed).After(later(p.now(), b.paused, b.closed))
	b.paused, b.closed, b.scarce = later(b.paused, s.paused), later(b.closed, s.closed), later(b.scarce, s.scarce)
	if s.quota.most > 0 {
		b.quota = s.quota
	}
	return news
}

// quotas are those of all installations of which something is known.
func (p *pace) quotas() map[int64]quota {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[int64]quota{}
	for installation, b := range p.of {
		q := b.quota
		if q.most > 0 && !p.now().Before(q.reset) {
			q.left = q.most
		}
		if q.most > 0 {
			all[installation] = q
		}
	}
	return all
}

// later is the latest of some times.
func later(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// limited is the error of a request that was kept back or refused because an installation's limits are used up until a
// time. Whatever work meets it sleeps until then: it has not failed.
type limited struct {
	installation int64
	until        time.Time
}

func (l *limited) Error() string {
	return fmt.Sprintf("GitHub's limit for installation %d is used up until %s", l.installation, l.until.UTC().Format(time.RFC3339))
}
