// Package build has BuildKit turn a folder into an image in a registry, and returns the image's digest.
//
// What is built is not trusted: nothing outside the folder is sent, no entitlement (host network, insecure mode) is
// allowed, a credential goes to the builder only when its registry asks for it, and what a secret holds is cut out of
// everything that comes back.
package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// ErrUnavailable says that the builder could not be reached, or went away during the build. The build may be repeated.
var ErrUnavailable = errors.New("builder unavailable")

// ErrNoBuilder says that the server's file has no builder that may take a build. Repeating it is no use before that is changed.
var ErrNoBuilder = errors.New("no builder")

// cancelGrace is how long a cancelled build may take to end in good order before its connection is cut.
const cancelGrace = time.Second

// Builder is one BuildKit daemon. It may be used concurrently.
type Builder struct{ addr string }

// Open returns the builder at addr: unix:///path/to/socket or tcp://host:port. It does not connect; each Ping and each
// Build has its own connection, so there is nothing to close.
func Open(addr string) (*Builder, error) {
	u, err := url.Parse(addr)
	switch {
	case err == nil && u.Scheme == "unix" && u.Host == "" && u.Path != "":
	case err == nil && u.Scheme == "tcp" && u.Hostname() != "" && u.Port() != "" && u.Path == "" && u.User == nil:
	default:
		return nil, fmt.Errorf("builder %q: write unix:///path/to/buildkitd.sock or tcp://host:port", addr)
	}
	return &Builder{addr: addr}, nil
}

// Ping reports whether the builder answers and has a worker. Its error is ErrUnavailable when it does not.
func (b *Builder) Ping(ctx context.Context) error {
	c, err := client.New(ctx, b.addr)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, b.addr, err)
	}
	defer c.Close()
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s: is buildkitd running there, and may the bot connect? %w", ErrUnavailable, b.addr, err)
	}
	if len(workers) == 0 {
		return fmt.Errorf("%w: %s has no worker", ErrUnavailable, b.addr)
	}
	return nil
}

// Request says what to build and where to push it.
type Request struct {
	Dir        string // the checkout
	Context    string // folder in Dir that the Dockerfile copies from; "" means Dir
	Dockerfile string // path in Dir; "" means Dockerfile in Dir
	Target     string // stage; "" means the last

	Args      map[string]string
	Labels    map[string]string
	Platforms []string          // such as linux/amd64; none means the builder's own
	Secrets   map[string][]byte // by id, for RUN --mount=type=secret; at most 500 KiB each

	Image string   // repository to push to, without tag
	Tags  []string // none pushes by digest only
	// NoPush builds and keeps the result in the builder. Image, Tags, CacheExports and InlineCache are not used then:
	// nothing is written to a registry.
	NoPush bool

	CacheImports []string // references whose layers may be reused; one that is not there is skipped
	CacheExports []string // references that all layers are written to; one that can't be written does not fail the build
	InlineCache  bool     // puts cache data for the image's own layers into the image
	// CacheScope separates builds that must not share what RUN --mount=type=cache keeps in the builder. Builds with the
	// same scope share it. "" means Image, and without that Dir: shared with no other build.
	CacheScope string

	// Auth returns the credential for a registry, by host[:port] (Docker Hub is docker.io); "" and "" for none. It is
	// asked for the registries of FROM lines too. Nil means none at all.
	Auth func(host string) (user, password string)
	// Insecure reports whether a registry is spoken to by plain HTTP. It rules pushing and the cache. What FROM lines
	// pull is ruled by the builder's own configuration. Nil means none is.
	Insecure func(host string) bool

	// Fork marks the build of a stranger's commit. Whoever chooses the builder gives it one that builds nothing else: a
	// Dockerfile's "# syntax=" names a program that runs in the builder itself.
	Fork bool

	// SourceDateEpoch, when set, becomes the image's time and the upper limit of file times in its layers, so that equal
	// input gives an equal digest. Layers are written anew for it: with another time for each commit, no two commits
	// share a layer, and each pushes all of them.
	SourceDateEpoch time.Time
}

// Result is what a build made.
type Result struct {
	Digest string // "sha256:…" of the pushed manifest, or index for several platforms; "" with NoPush
	Steps  []Step // in the order in which they began
}

// Step is one operation of a build.
type Step struct {
	Name      string // as BuildKit names it: "[build 2/4] RUN go build ."
	Started   time.Time
	Completed time.Time // zero when it was not completed
	Cached    bool
	Error     string
}

// Build builds and pushes. Progress is given to out (which may be nil) line by line, by one goroutine, until Build
// returns. The error is a *Failure when the Dockerfile, or a command in it, is at fault, ErrUnavailable when the builder
// is, and the context's when that is done; Build then returns within two seconds. Anything else is mostly the registry's
// refusal, in its own words.
func (b *Builder) Build(ctx context.Context, r Request, out func(Line)) (Result, error) {
	s, err := newSolve(r)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	c, err := client.New(ctx, b.addr)
	if err != nil {
		return Result{}, fmt.Errorf("%w: %s: %w", ErrUnavailable, b.addr, err)
	}
	defer c.Close()

	returned := make(chan struct{})
	defer close(returned)
	go func() {
		select {
		case <-ctx.Done():
		case <-returned:
			return
		}
		select {
		case <-time.After(cancelGrace):
			c.Close()
		case <-returned:
		}
	}()

	p := newProgress(newMask(r.Secrets), out)
	statuses := make(chan *client.SolveStatus)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for status := range statuses {
			p.update(status)
		}
		p.flush()
	}()
	response, err := c.Solve(ctx, nil, s.options, statuses)
	<-drained

	switch {
	case err == nil:
	case ctx.Err() != nil:
		return Result{Steps: p.steps()}, fmt.Errorf("build: %w", context.Cause(ctx))
	case grpcerrors.Code(err) == codes.Unavailable:
		return Result{Steps: p.steps()}, fmt.Errorf("%w: %s: %w", ErrUnavailable, b.addr, p.mask.error(err))
	default:
		return Result{Steps: p.steps()}, p.explain(err, cmp.Or(r.Dockerfile, "Dockerfile"))
	}
	result := Result{Steps: p.steps()}
	if !r.NoPush {
		result.Digest = response.ExporterResponse[exptypes.ExporterImageDigestKey]
		if result.Digest == "" {
			return result, fmt.Errorf("build: builder %s reported no digest", b.addr)
		}
	}
	return result, nil
}
