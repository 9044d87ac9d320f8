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
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// ErrUnavailable says that the builder could not be reached, or went away during the build. The build may be repeated.
var ErrUnavailable = errors.New("builder unavailable")

// ErrNoRoom says that every builder that may build this is at as many builds as it may be. Nothing was done, and nothing is
// wrong: the build's turn comes when one has ended.
var ErrNoRoom = errors.New("no builder has room")

// cancelGrace is how long a cancelled build may take to end in good order before its connection is cut.
const cancelGrace = time.Second

// Builder is one BuildKit daemon. It may be used concurrently.
type Builder struct {
	url     string
	options []client.ClientOpt
	unknown bool // TLS without a certificate of ours
}

// Request says what to build and where to push it.
type Request struct {
	Dir        string // the checkout
	Context    string // folder in Dir that the Dockerfile copies from; "" means Dir
	Dockerfile string // path in Dir; "" means Dockerfile in Dir
	Target     string // stage; "" means the last

	Args      map[string]string
	Labels    map[string]string // of the image's configuration; annotations of its manifest and index too
	Platforms []string          // such as linux/amd64; none means the builder's own
	Secrets   map[string][]byte // by id, for RUN --mount=type=secret; at most 500 KiB each

	Image string // repository to push to, by digest, without tag
	// NoPush builds and keeps the result in the builder. Image, CacheExports and InlineCache are not used then:
	// nothing is written to a registry.
	NoPush bool

	// Command, when set, runs in place of the Dockerfile; NoPush is implied.
	Command *Command
	// Outputs are read back from where the build's last command ran, also when that failed. Only with NoPush.
	Outputs []Output

	CacheImports []string // references whose layers may be reused; one that is not there is skipped
	CacheExports []string // references that all layers are written to; one that can't be written does not fail the build
	InlineCache  bool     // puts cache data for the image's own layers into the image
	// CacheScope separates builds that must not share what RUN --mount=type=cache keeps in the builder. Builds with the
	// same scope share it. "" means Image, and without that Dir: shared with no other build.
	CacheScope string

	// What a choice among several builders goes by; Build itself looks at none of it.
	Run  string // the run's id: what is built for one run has one place on a builder; "" is a run of its own
	App  string // the repository and its app: what is built for one app goes to the same builder, which has its cache
	Fork bool   // whether it is a fork's, whose code nobody vouches for

	// Auth returns the credential for a registry, by host[:port] (Docker Hub is docker.io); "" and "" for none. It is
	// asked for the registries of FROM lines too. Nil means none at all.
	Auth func(host string) (user, password string)
	// Insecure reports whether a registry is spoken to by plain HTTP. It rules pushing and the cache. What FROM lines
	// pull is ruled by the builder's own configuration. Nil means none is.
	Insecure func(host string) bool

	// SourceDateEpoch, when set, becomes the image's time and the upper limit of file times in its layers, so that equal
	// input gives an equal digest. Layers are written anew for it: with another time for each commit, no two commits
	// share a layer, and each pushes all of them.
	SourceDateEpoch time.Time
}

// Result is what a build made.
type Result struct {
	Digest string // "sha256:…" of the pushed manifest, or index for several platforms; "" with NoPush
	Steps  []Step // in the order in which they began
	Files  []File // what was read back, by outputs
	Left   []Left // what of the outputs was not
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
// refusal, in its own words. With an error the result has what is known nevertheless: Steps, Files and Left.
func (b *Builder) Build(ctx context.Context, r Request, out func(Line)) (Result, error) {
	s, err := newSolve(r)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	c, err := b.connect(ctx)
	if err != nil {
		return Result{}, err
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
	var response *client.SolveResponse
	var result Result
	if r.Command != nil || len(r.Outputs) > 0 {
		result.Files, result.Left, err = s.solveAndRead(ctx, c, r, statuses)
	} else {
		response, err = c.Solve(ctx, nil, s.options, statuses)
	}
	<-drained
	result.Steps = p.steps()

	switch {
	case err == nil:
	case ctx.Err() != nil:
		return result, fmt.Errorf("build: %w", context.Cause(ctx))
	// Cancelled, and not by us: the daemon is shutting down.
	case grpcerrors.Code(err) == codes.Unavailable, grpcerrors.Code(err) == codes.Canceled:
		return result, b.unavailable(p.mask.error(err))
	case r.Command != nil:
		return result, p.explainCommand(err, *r.Command)
	default:
		return result, p.explain(err, cmp.Or(r.Dockerfile, "Dockerfile"))
	}
	if !r.NoPush && r.Command == nil {
		result.Digest = response.ExporterResponse[exptypes.ExporterImageDigestKey]
		if result.Digest == "" {
			return result, fmt.Errorf("build: builder %s reported no digest", b.url)
		}
	}
	return result, nil
}
