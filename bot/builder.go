package bot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

const (
	// pingEvery is how often each builder is asked whether it is there.
	pingEvery = 15 * time.Second
	// pingTimeout is how long it may take to answer.
	pingTimeout = 5 * time.Second
	// maxSilent is how many pings in a row may fail until what is built there is taken to be lost: a connection to a machine
	// that has vanished does not end by itself.
	maxSilent = 3
)

// A daemon is what builds.
type daemon interface {
	Build(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error)
	Ping(ctx context.Context) error
}

// builders shares builds out to BuildKit daemons, each of which takes builder.concurrency runs at once.
//
// An app's builds go to the same builder, by rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to
// increase hit rates", 1998), so that they find their cache, and so that a builder that is lost or new moves no other app.
// The next builder in the app's order takes what the one before it has no room for: a cold cache costs less than a wait.
//
// Nothing waits in here. The worker begins no more runs than room says, and takes those that wait in turns (store.Tx.Claim).
// A run has one place on one builder, however much is built for it at once.
type builders struct {
	cfg   *Config
	log   *slog.Logger
	all   []*builder
	each  int           // runs at once, on each
	grown chan struct{} // told when a builder answers again

	figures *figures // may be nil

	mu    sync.Mutex // also for what changes of each builder
	under []*underway
}

// A builder is one daemon, and whether it is there.
type builder struct {
	daemon
	name   string
	forks  bool   // builds what forks have, and nothing else
	away   bool   // it was not there when it was last spoken to
	why    string // it is away
	silent int    // pings in a row that failed
}

// underway is a build that is being done.
type underway struct {
	run    string
	on     *builder
	cancel context.CancelCauseFunc
}

func newBuilders(cfg *Config, clusters map[string]*kube.Cluster) (*builders, error) {
	b := shareOut(cfg)
	for i, a := range cfg.Builder.BuildKit {
		one, err := openBuilder(i, a, clusters)
		if err != nil {
			return nil, err
		}
		b.all = append(b.all, &builder{daemon: one, name: a.String(), forks: a.Forks})
	}
	return b, nil
}

// openBuilder makes a client of builder.buildkit[i], and reaches nothing yet.
func openBuilder(i int, a BuildKitAddress, clusters map[string]*kube.Cluster) (*build.Builder, error) {
	address := build.Address{URL: a.Addr, CA: a.CA.Value(), Cert: a.Cert.Value(), Key: a.Key.Value()}
	pod, isPod, err := a.pod()
	cluster := clusters[a.Cluster]
	switch {
	case err != nil:
		return nil, fmt.Errorf("builder.buildkit[%d]: %q %w", i, a.Addr, err)
	case isPod && cluster == nil: // it is from the environment
		return nil, fmt.Errorf("builder %s: a pod needs its cluster; write both under builder.buildkit in shipmate.yaml", a)
	case isPod:
		address.Dial = func(ctx context.Context) (net.Conn, error) { return cluster.Exec(ctx, pod, "buildctl", "dial-stdio") }
	}
	return build.Open(address)
}

func shareOut(cfg *Config, all ...*builder) *builders {
	return &builders{cfg: cfg, log: slog.New(slog.DiscardHandler), all: all, each: cfg.Builder.Concurrency, grown: make(chan struct{}, 1)}
}

// unbounded is the room for what ends at once since nobody can build it.
const unbounded = 16

// room is how many runs may be under way: of forks, or of all that is none.
func (b *builders) room(forks bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	able := b.able(forks, nil)
	if len(able) == 0 {
		return unbounded
	}
	return len(preferred(able)) * b.each
}

// able lists the builders that may build something, without those that were tried.
func (b *builders) able(fork bool, tried []*builder) (able []*builder) {
	for _, one := range b.all {
		if one.forks == fork && !slices.Contains(tried, one) {
			able = append(able, one)
		}
	}
	return able
}

// preferred leaves out what does not answer, unless that is all: then there is nothing to lose.
func preferred(all []*builder) []*builder {
	answering := slices.DeleteFunc(slices.Clone(all), func(one *builder) bool { return one.away })
	if len(answering) == 0 {
		return all
	}
	return answering
}

// Build builds on the builder that has the app's cache, or on the next that has room. A build that dies with its builder is
// begun again on another one, once. Where no builder is left the error is build.ErrUnavailable, and where none has room
// build.ErrNoRoom.
func (b *builders) Build(ctx context.Context, req build.Request, out func(build.Line)) (res build.Result, err error) {
	began := time.Now()
	defer func() { b.figures.built(ctx, err, time.Since(began)) }()
	req.Insecure = func(host string) bool { r := b.cfg.Registries[host]; return r != nil && r.PlainHTTP }
	req.Auth = b.cfg.credentials(req.Fork)
	var tried []*builder
	var lost error // with the last of them
	begun := 0
	for {
		building, on, err := b.choose(ctx, req, tried)
		if err != nil {
			return build.Result{}, err
		}
		if on == nil {
			return build.Result{}, lost
		}
		if begun > 0 {
			out(build.Line{At: time.Now().UTC(), Text: "the build begins again on " + on.on.name})
		}
		began := false
		res, err := on.on.Build(building, req, func(l build.Line) { began = true; out(l) })
		b.leave(on)
		if !errors.Is(err, build.ErrUnavailable) || ctx.Err() != nil {
			return res, err
		}
		b.heard(on.on, err)
		lost, tried = err, append(tried, on.on)
		if began {
			out(build.Line{At: time.Now().UTC(), Text: err.Error()})
			if begun++; begun == 2 {
				return res, err
			}
		}
	}
}

// choose takes a place for a build on the best builder that was not tried yet, nil where each was. The context that it
// returns is what to build with.
func (b *builders) choose(ctx context.Context, req build.Request, tried []*builder) (context.Context, *underway, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	able := b.able(req.Fork, tried)
	switch {
	case len(able) > 0:
	case len(tried) > 0:
		return nil, nil, nil
	case req.Fork:
		return nil, nil, pipeline.Permanent(errors.New("no builder takes what forks have: write forks: true beside one of builder.buildkit in shipmate.yaml, one that holds nothing of value"))
	default:
		return nil, nil, pipeline.Permanent(errors.New("no builder is configured: set builder.buildkit in shipmate.yaml, or BUILDKIT_HOST"))
	}
	u := &underway{run: req.Run}
	for _, other := range b.under {
		if other.run == req.Run && req.Run != "" && slices.Contains(able, other.on) {
			u.on = other.on // the run's place
		}
	}
	if u.on == nil {
		order := inOrder(preferred(able), req.App)
		i := slices.IndexFunc(order, func(one *builder) bool { return b.busy(one) < b.each })
		if i < 0 {
			return nil, nil, build.ErrNoRoom
		}
		u.on = order[i]
	}
	ctx, u.cancel = context.WithCancelCause(ctx)
	b.under = append(b.under, u)
	return ctx, u, nil
}

func (b *builders) leave(u *underway) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.under = slices.DeleteFunc(b.under, func(other *underway) bool { return other == u })
	u.cancel(nil)
}

// busy is how many runs have a place on a builder.
func (b *builders) busy(on *builder) (n int) {
	var seen []string
	for _, u := range b.under {
		if u.on == on && (u.run == "" || !slices.Contains(seen, u.run)) {
			seen = append(seen, u.run)
			n++
		}
	}
	return n
}

// inOrder sorts builders by where the builds of an app belong, the first before.
func inOrder(all []*builder, app string) []*builder {
	weight := func(one *builder) []byte {
		sum := sha256.Sum256([]byte(one.name + "\x00" + app))
		return sum[:]
	}
	return slices.SortedFunc(slices.Values(all), func(x, y *builder) int { return bytes.Compare(weight(y), weight(x)) })
}

// heard notes whether a builder was there: err is nil or says why not.
func (b *builders) heard(one *builder, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if one.away == (err != nil) {
		return
	}
	if one.away, one.why = err != nil, ""; one.away {
		one.why = err.Error()
		b.log.Warn("a builder does not answer; its builds go to others where there are some", "builder", one.name, "err", err)
		return
	}
	b.log.Info("the builder answers again", "builder", one.name)
	select {
	case b.grown <- struct{}{}:
	default:
	}
}

// pinged counts how often in a row a builder was not there, and gives up what is built there when that is too often.
func (b *builders) pinged(one *builder, err error) {
	b.heard(one, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if one.silent++; err == nil {
		one.silent = 0
	}
	if one.silent < maxSilent {
		return
	}
	for _, u := range b.under {
		if u.on == one {
			u.cancel(err)
		}
	}
}

// watch asks every builder from time to time whether it is there, until ctx ends.
func (b *builders) watch(ctx context.Context) {
	for _, a := range b.cfg.Builder.BuildKit {
		if a.inClear() {
			b.log.Warn("a builder is spoken to without TLS: secrets of builds can be read on the way, and whoever reaches it may build", "builder", a.String(),
				"remedy", "start buildkitd with --tlscacert, --tlscert and --tlskey, and write ca, cert and key beside addr")
		}
	}
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		b.ping(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *builders) ping(ctx context.Context) {
	var wg sync.WaitGroup
	for _, one := range b.all {
		wg.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, pingTimeout, fmt.Errorf("%w: %s: no answer within %s", build.ErrUnavailable, one.name, pingTimeout))
			defer cancel()
			err := one.Ping(ctx)
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if !errors.Is(err, context.Canceled) { // that says nothing about it
				b.pinged(one, err)
			}
		})
	}
	wg.Wait()
}

// answering is how many builders there are, and how many of them answer.
func (b *builders) answering() (n, all int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.all {
		if !one.away {
			n++
		}
	}
	return n, len(b.all)
}
