package faults

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// places are where the bot is killed on purpose: right after a far end did what it was asked, before the bot hears of it.
// The empty one is any moment; "start" is while it is starting, "stop" while it ends by SIGTERM.
var places = []string{"", "", "start", "stop", "github comments", "github deployments", "github statuses", "webhook", "wecom", "slack", "build", "cluster"}

// A killer kills the bot, one time after the other.
type killer struct {
	bot *process

	mu    sync.Mutex
	place string        // where the next one is; "" while none is wanted
	after int           // how many answers there first
	done  chan struct{} // closed by the one that killed
	where map[string]int
}

// arm asks for a kill at the n-th answer of a place.
func (k *killer) arm(place string, n int) (done <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.place, k.after, k.done = place, n, make(chan struct{})
	return k.done
}

// saw tells that a far end did something for the bot; it returns true when the bot was killed for that.
func (k *killer) saw(place string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.place != place {
		return false
	}
	if k.after--; k.after > 0 {
		return false
	}
	k.strike(place)
	return true
}

// now kills unless it has happened since arm.
func (k *killer) now() {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.done:
	default:
		k.strike(cmp.Or(map[string]string{"start": "start", "stop": "stop"}[k.place], "any moment"))
	}
}

// strike kills; k.mu is held, so that no far end answers meanwhile.
func (k *killer) strike(place string) {
	k.bot.kill()
	k.place = ""
	if k.where == nil {
		k.where = map[string]int{}
	}
	k.where[place]++
	close(k.done)
}

func (k *killer) counts() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for place, n := range k.where {
		all = append(all, fmt.Sprintf("%s %d", place, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// kills kills the bot as often as was asked for, starting it again each time, and leaves it ready.
func (s *Story) kills(ctx context.Context) error {
	r := s.random(2)
	// All acts take about this long.
	mean := time.Duration(s.opt.Pushes) * s.opt.Gap * 3 / 2 / time.Duration(max(s.opt.Kills, 1))
	for range s.opt.Kills {
		place, n, wait, down, starting := places[r.IntN(len(places))], 1+r.IntN(3), around(r, mean), around(r, s.opt.Gap), around(r, 200*time.Millisecond)
		if place == "start" { // it must be down first
			s.kill.arm("", 0)
			s.kill.now()
			if err := s.bot.start(); err != nil {
				return err
			}
			wait = starting
		}
		if place == "stop" {
			if err := pause(ctx, wait); err != nil {
				return err
			}
			s.bot.terminate()
			wait = starting
		}
		done := s.kill.arm(place, n)
		if !slices.Contains([]string{"", "start", "stop"}, place) {
			wait += 2 * mean // by when there should have been such an answer
		}
		alarm := time.NewTimer(wait)
		select {
		case <-done:
		case <-alarm.C:
			s.kill.now()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		alarm.Stop()
		if err := pause(ctx, down); err != nil {
			return err
		}
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// trouble lets one thing after the other go wrong until ctx ends; afterwards everything is well again.
func (s *Story) trouble(ctx context.Context) error {
	r := s.random(3)
	troubles := slices.Concat(s.farEnds(r), s.opt.Stage.Troubles())
	for {
		if pause(ctx, around(r, s.opt.Stretch)) != nil {
			return nil
		}
		t := troubles[r.IntN(len(troubles))]
		lasts := around(r, s.opt.Stretch/2)
		s.opt.Say("trouble: %s for %s", t.Name, lasts.Round(time.Millisecond))
		if err := t.Strike(ctx, lasts); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
}

// farEnds are the troubles of those that are simulated here. An interrupted one ends at once.
func (s *Story) farEnds(r *rand.Rand) []Trouble {
	github := func(name string, begin func()) Trouble {
		return Trouble{"GitHub " + name, func(ctx context.Context, lasts time.Duration) error {
			begin()
			_ = pause(ctx, lasts) // over in either case
			s.gh.Recover()
			return nil
		}}
	}
	return []Trouble{
		github("is down", func() { s.gh.Down(true) }),
		github("answers 500", func() { s.gh.Fail("", "*", http.StatusInternalServerError, -1, 0) }),
		github("answers 502 to what is written", func() { s.gh.Fail(http.MethodPost, "/repos/*", http.StatusBadGateway, -1, 0) }),
		github("answers 503 now and then", func() { s.gh.Fail("", "*", http.StatusServiceUnavailable, 3+r.IntN(10), 0) }),
		github("limits what is written", func() { s.gh.Fail(http.MethodPost, "/repos/*", http.StatusForbidden, -1, time.Second) }),
		github("limits", func() { s.gh.Fail("", "*", http.StatusTooManyRequests, -1, time.Second) }),
		github("is slow", func() { s.gh.SlowDown(s.opt.Gap) }),
		github("forgets its tokens", s.gh.ExpireTokens),
		{"GitHub delivers again", func(context.Context, time.Duration) error {
			all := s.gh.Deliveries()
			if len(all) == 0 {
				return nil
			}
			return s.gh.Redeliver(all[r.IntN(len(all))].ID)
		}},
		{"WeCom limits", func(context.Context, time.Duration) error { s.wecom.FailNext(45009, 1+r.IntN(robots/2)); return nil }},
		{"WeCom is down", func(ctx context.Context, lasts time.Duration) error {
			s.wecom.Down(true)
			_ = pause(ctx, lasts) // over in either case
			s.wecom.Down(false)
			return nil
		}},
		{"Slack fails", func(context.Context, time.Duration) error {
			s.slack.FailNext("internal_error", 1+r.IntN(4))
			return nil
		}},
		{"Slack limits", func(ctx context.Context, lasts time.Duration) error {
			s.slack.Limit(true)
			_ = pause(ctx, lasts) // over in either case
			s.slack.Limit(false)
			return nil
		}},
	}
}
