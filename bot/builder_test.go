package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/store"
)

// A scripted daemon builds as do says, and answers pings as there says; nil is well.
type scripted struct {
	do    func(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error)
	there func() error

	mu     sync.Mutex
	builds []build.Request
}

func (s *scripted) Build(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error) {
	s.mu.Lock()
	s.builds = append(s.builds, req)
	s.mu.Unlock()
	if s.do == nil {
		return build.Result{Digest: "sha256:1"}, nil
	}
	return s.do(ctx, req, out)
}

func (s *scripted) Ping(context.Context) error {
	if s.there == nil {
		return nil
	}
	return s.there()
}

func (s *scripted) count() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.builds) }

// Ways in which a build ends.
func unreached(context.Context, build.Request, func(build.Line)) (build.Result, error) {
	return build.Result{}, fmt.Errorf("%w: connection refused", build.ErrUnavailable)
}

func dies(_ context.Context, _ build.Request, out func(build.Line)) (build.Result, error) {
	out(build.Line{Text: "RUN make"})
	return build.Result{}, fmt.Errorf("%w: EOF", build.ErrUnavailable)
}

func faulty(_ context.Context, _ build.Request, out func(build.Line)) (build.Result, error) {
	out(build.Line{Text: "RUN false"})
	return build.Result{}, &build.Failure{Err: errors.New("exit code: 1")}
}

func hangs(ctx context.Context, _ build.Request, out func(build.Line)) (build.Result, error) {
	out(build.Line{Text: "RUN sleep"})
	<-ctx.Done()
	return build.Result{}, context.Cause(ctx)
}

// several are builders a, b, c … that take each runs; for forks are those whose name is in forks.
func several(each int, forks string, all ...*scripted) *builders {
	b := shareOut(&Config{Builder: BuilderConfig{Concurrency: each}})
	for i, d := range all {
		name := string(rune('a' + i))
		b.all = append(b.all, &builder{daemon: d, name: name, forks: strings.Contains(forks, name)})
	}
	return b
}

// appOf is an app whose builds belong to the builders in this order.
func appOf(b *builders, order string) string {
	for i := 0; ; i++ {
		app := fmt.Sprint("acme/", i)
		names := ""
		for _, one := range inOrder(b.all, app) {
			names += one.name
		}
		if names == order {
			return app
		}
	}
}

// TestBuilderIsKept: a builder that goes moves its own apps and no other, and each gets its share of them.
func TestBuilderIsKept(t *testing.T) {
	b := several(1, "", &scripted{}, &scripted{}, &scripted{}, &scripted{}, &scripted{})
	load, moved := map[string]int{}, map[string]int{}
	const apps = 5000
	for i := range apps {
		app := fmt.Sprintf("acme/%d/web", i)
		order := inOrder(b.all, app)
		load[order[0].name]++
		for _, gone := range b.all {
			rest := slices.DeleteFunc(slices.Clone(b.all), func(one *builder) bool { return one == gone })
			slices.Reverse(rest) // how they stand in the file is of no account
			if now := inOrder(rest, app)[0]; order[0] != gone && now != order[0] {
				t.Fatalf("without %s, %s moves from %s to %s", gone.name, app, order[0].name, now.name)
			} else if order[0] == gone && gone.name == "a" {
				moved[now.name]++
			}
		}
	}
	for name, n := range load {
		if n < apps/5*8/10 || n > apps/5*12/10 {
			t.Errorf("%s has %d of %d apps", name, n, apps)
		}
	}
	if len(moved) != 4 {
		t.Errorf("what %s had goes to %v", "a", moved)
	}
}

func TestBuilderChoice(t *testing.T) {
	for name, test := range map[string]struct {
		away, forks string   // builders
		under       []string // builder run
		run         string
		fork        bool
		want        string // builder, or words of the error; the app belongs to b, then a, then c
	}{
		"its own":                              {want: "b"},
		"its own has room for one more":        {under: []string{"b 1"}, want: "b"},
		"its own is full":                      {under: []string{"b 1", "b 2"}, want: "a"},
		"two are full":                         {under: []string{"b 1", "b 2", "a 3", "a 4"}, want: "c"},
		"all are full":                         {under: []string{"a 1", "a 2", "b 3", "b 4", "c 5", "c 6"}, want: build.ErrNoRoom.Error()},
		"its own is away":                      {away: "b", want: "a"},
		"who is there is full":                 {away: "bc", under: []string{"a 1", "a 2"}, want: build.ErrNoRoom.Error()},
		"all are away":                         {away: "abc", want: "b"},
		"what is built for one run is one":     {under: []string{"b 1", "b 1", "b 1"}, want: "b"},
		"a run stays":                          {under: []string{"c 7"}, run: "7", want: "c"},
		"a run stays where there is no room":   {under: []string{"c 7", "c 8"}, run: "7", want: "c"},
		"a fork's":                             {forks: "c", fork: true, want: "c"},
		"a fork's, full":                       {forks: "c", fork: true, under: []string{"c 1", "c 2"}, want: build.ErrNoRoom.Error()},
		"a fork's, and nobody takes it":        {fork: true, want: "write forks: true beside one of builder.buildkit"},
		"no fork's":                            {forks: "b", want: "a"},
		"no fork's, and that of forks is idle": {forks: "b", under: []string{"a 1", "a 2", "c 3", "c 4"}, want: build.ErrNoRoom.Error()},
		"nobody takes anything":                {forks: "abc", want: "no builder is configured"},
	} {
		t.Run(name, func(t *testing.T) {
			b := several(2, test.forks, &scripted{}, &scripted{}, &scripted{})
			for _, one := range b.all {
				one.away = strings.Contains(test.away, one.name)
			}
			for _, u := range test.under {
				on, run, _ := strings.Cut(u, " ")
				b.under = append(b.under, &underway{run: run, on: b.all[on[0]-'a']})
			}
			_, u, err := b.choose(t.Context(), build.Request{App: appOf(b, "bac"), Run: test.run, Fork: test.fork}, nil)
			switch {
			case err != nil && !strings.Contains(err.Error(), test.want), err == nil && u.on.name != test.want:
				t.Errorf("%+v, %v; want %s", u, err, test.want)
			}
			if err == nil {
				b.leave(u)
			}
			if len(b.under) != len(test.under) {
				t.Errorf("%d are under way, not %d", len(b.under), len(test.under))
			}
		})
	}
}

func TestBuildIsRepeated(t *testing.T) {
	type way = func(context.Context, build.Request, func(build.Line)) (build.Result, error)
	for name, test := range map[string]struct {
		a, b, c way // in this order
		builds  [3]int
		err     error // nil: it succeeds
		log     string
	}{
		"at once":                         {builds: [3]int{1, 0, 0}},
		"the first is not there":          {a: unreached, builds: [3]int{1, 1, 0}},
		"two are not there":               {a: unreached, b: unreached, builds: [3]int{1, 1, 1}},
		"nobody is there":                 {a: unreached, b: unreached, c: unreached, builds: [3]int{1, 1, 1}, err: build.ErrUnavailable},
		"one dies":                        {a: dies, builds: [3]int{1, 1, 0}, log: "RUN make|builder unavailable: EOF|the build begins again on b"},
		"one dies, the next is not there": {a: dies, b: unreached, builds: [3]int{1, 1, 1}, log: "RUN make|builder unavailable: EOF|the build begins again on b|the build begins again on c"},
		"two die":                         {a: dies, b: dies, builds: [3]int{1, 1, 0}, err: build.ErrUnavailable},
		"one dies, the rest is away":      {a: dies, b: unreached, c: unreached, builds: [3]int{1, 1, 1}, err: build.ErrUnavailable},
		"it is the Dockerfile's fault":    {a: faulty, builds: [3]int{1, 0, 0}, err: &build.Failure{}},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*scripted{{do: test.a}, {do: test.b}, {do: test.c}}
			b := several(1, "", all...)
			var log []string
			res, err := b.Build(t.Context(), build.Request{App: appOf(b, "abc"), Run: "1"}, func(l build.Line) { log = append(log, l.Text) })
			var failure *build.Failure
			switch {
			case test.err == nil && (err != nil || res.Digest == ""),
				errors.Is(test.err, build.ErrUnavailable) && !errors.Is(err, build.ErrUnavailable),
				errors.As(test.err, &failure) && !errors.As(err, &failure):
				t.Errorf("%v, %v; want %v", res, err, test.err)
			}
			for i, d := range all {
				if d.count() != test.builds[i] {
					t.Errorf("%d builds on %c, want %d", d.count(), 'a'+i, test.builds[i])
				}
			}
			if got := strings.Join(log, "|"); test.log != "" && got != test.log {
				t.Errorf("the log says\n%s\nwant\n%s", got, test.log)
			}
			if len(b.under) != 0 {
				t.Errorf("%d places are taken", len(b.under))
			}
			if n, _ := b.answering(); (strings.HasPrefix(name, "at once") || failure != nil) != (n == 3) {
				t.Errorf("%d answer", n)
			}
		})
	}
}

// TestCancelIsNotRepeated: a build that its run cancels goes nowhere else, whatever the builder makes of it.
func TestCancelIsNotRepeated(t *testing.T) {
	for _, way := range []func(context.Context, build.Request, func(build.Line)) (build.Result, error){hangs,
		func(ctx context.Context, _ build.Request, _ func(build.Line)) (build.Result, error) {
			<-ctx.Done()
			return build.Result{}, build.ErrUnavailable
		}} {
		first, second := &scripted{do: way}, &scripted{}
		b := several(1, "", first, second)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := b.Build(ctx, build.Request{App: appOf(b, "ab")}, func(build.Line) {})
			done <- err
		}()
		must(t, until("it builds", func() error {
			if first.count() == 0 {
				return errors.New("not yet")
			}
			return nil
		}))
		began := time.Now()
		cancel()
		if err := <-done; err == nil || second.count() > 0 {
			t.Errorf("%v; %d builds elsewhere", err, second.count())
		}
		if took := time.Since(began); took > promptly {
			t.Errorf("it took %s", took)
		}
		if n, _ := b.answering(); n != 2 {
			t.Errorf("%d answer", n)
		}
	}
}

// TestSilentBuilder: what is built on a machine that has vanished does not wait for its connection's end.
func TestSilentBuilder(t *testing.T) {
	gone := fmt.Errorf("%w: no answer", build.ErrUnavailable)
	var silent error
	first, second := &scripted{do: hangs, there: func() error { return silent }}, &scripted{}
	b := several(1, "", first, second)
	var logged buffer
	b.log = slog.New(slog.NewTextHandler(&logged, nil))
	done := make(chan error, 1)
	go func() {
		_, err := b.Build(t.Context(), build.Request{App: appOf(b, "ab")}, func(build.Line) {})
		done <- err
	}()
	must(t, until("it builds", func() error {
		if first.count() == 0 {
			return errors.New("not yet")
		}
		return nil
	}))
	for range 2 { // one that is merely busy is left alone
		silent = gone
		for range maxSilent - 1 {
			b.ping(t.Context())
		}
		if n := b.room(false); n != 1 {
			t.Errorf("room for %d while one is away", n)
		}
		silent = nil
		b.ping(t.Context())
		if n := b.room(false); n != 2 {
			t.Errorf("room for %d", n)
		}
		select {
		case <-b.grown:
		case <-time.After(patience):
			t.Fatal("nobody is told that there is room again")
		}
	}
	if second.count() > 0 {
		t.Fatal("given up too early")
	}
	silent = gone
	for range maxSilent {
		b.ping(t.Context())
	}
	must(t, <-done)
	if second.count() != 1 {
		t.Errorf("%d builds elsewhere", second.count())
	}
	if n := strings.Count(logged.String(), "does not answer"); n != 3 {
		t.Errorf("said %d times, and it went away 3 times:\n%s", n, logged.String())
	}
}

// TestForksGetNoCredential: a fork's builder is not given what pushes, whatever it asks for.
func TestForksGetNoCredential(t *testing.T) {
	d := &scripted{}
	b := several(1, "b", d, d)
	b.cfg.Registries = map[string]*RegistryConfig{"r.example.com": {Username: Secret{value: new("bot")}, Password: Secret{value: new("s3cret")}}}
	for _, fork := range []bool{false, true} {
		must(t, second(b.Build(t.Context(), build.Request{Fork: fork}, func(build.Line) {})))
		if user, password := d.builds[len(d.builds)-1].Auth("r.example.com"); (user+password == "") != fork {
			t.Errorf("fork: %t, and its builder gets %q", fork, user)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestBuildersAndWorker: whatever comes, no builder is at more than it may be, none is idle while a run waits for it, the
// repositories take turns, and all get through, also past a builder that comes and goes and a start in between.
func TestBuildersAndWorker(t *testing.T) {
	t.Parallel()
	const each = 2
	var mu sync.Mutex
	now, most, begun := map[string]int{}, map[string]int{}, []string{}
	step, forks := make(chan struct{}), make(chan struct{})
	busy := func(name string, step chan struct{}) func(context.Context, build.Request, func(build.Line)) (build.Result, error) {
		return func(ctx context.Context, req build.Request, _ func(build.Line)) (build.Result, error) {
			mu.Lock()
			now[name]++
			most[name] = max(most[name], now[name])
			begun = append(begun, req.App)
			mu.Unlock()
			defer func() { mu.Lock(); now[name]--; mu.Unlock() }()
			select {
			case <-ctx.Done():
				return build.Result{}, ctx.Err()
			case <-step:
				return build.Result{Digest: "sha256:1"}, nil
			}
		}
	}
	var away bool
	b := several(each, "c", &scripted{do: busy("a", step)}, &scripted{do: busy("b", step), there: func() error {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return build.ErrUnavailable
		}
		return nil
	}}, &scripted{do: busy("c", forks)})
	var s *shop
	do := func(ctx context.Context, id string, _ int) (time.Time, error) {
		var r store.Run
		if err := s.db.View(ctx, func(tx *store.Tx) (err error) { r, err = tx.Run(id); return err }); err != nil {
			return time.Time{}, err
		}
		_, err := b.Build(ctx, build.Request{Run: id, App: r.Repo, Fork: r.Fork != ""}, func(build.Line) {})
		return time.Time{}, err
	}
	s = newShop(t, map[string]work{
		store.TaskRun:     {room: func() int { return b.room(false) }, anytime: true, do: do},
		store.TaskForkRun: {room: func() int { return b.room(true) }, anytime: true, do: do},
	})
	s.worker.grown = b.grown
	push := func(repo, fork string) {
		must(t, s.db.Update(t.Context(), func(tx *store.Tx) error {
			r := store.Run{Repo: repo, App: "web", Ref: "refs/heads/master", SHA: "a", Cause: store.CauseCommand, Fork: fork}
			return errors.Join(tx.PutRepo(store.Repo{Name: repo}), tx.NewRun(&r))
		}))
	}
	at := func(name string, n int) {
		t.Helper()
		must(t, until(name, func() error {
			mu.Lock()
			defer mu.Unlock()
			if now[name] != n {
				return fmt.Errorf("at %d builds, want %d", now[name], n)
			}
			return nil
		}))
	}
	begins := func(n int) []string {
		t.Helper()
		must(t, until("builds begin", func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(begun) != n {
				return fmt.Errorf("%d did, want %d", len(begun), n)
			}
			return nil
		}))
		return begun
	}
	for range 20 {
		push("acme/large", "")
	}
	s.start()
	begins(2 * each) // of one repository; the rest of its runs waits as rows
	push("acme/large", "mallory/large")
	begins(2*each + 1) // where no other run may
	at("c", 1)
	for i := range 4 {
		push(fmt.Sprintf("acme/small-%d", i), "")
	}
	for i := range 6 { // the small ones' turn, and the large one's again
		step <- struct{}{}
		begins(2*each + 1 + i + 1)
	}
	turns := slices.Sorted(slices.Values(begins(2*each + 1 + 6)[2*each+1:]))
	if got := strings.Join(turns, " "); got != "acme/large acme/large acme/small-0 acme/small-1 acme/small-2 acme/small-3" {
		t.Errorf("the next turns went to %s", got)
	}

	mu.Lock()
	away = true
	mu.Unlock()
	b.ping(t.Context())
	for range 2 * each {
		step <- struct{}{}
	}
	at("a", each)
	at("b", 0)
	mu.Lock()
	away = false
	mu.Unlock()
	b.ping(t.Context()) // there is room again, and nobody has ended
	at("b", each)
	s.end() // and a start in between
	at("a", 0)
	s.start()
	close(step)
	close(forks)
	s.sees("sum(kind LIKE 'run%')", "0")
	s.end()
	at("b", 0)
	for name, n := range most {
		if n > each {
			t.Errorf("%s was at %d builds", name, n)
		}
	}
}
