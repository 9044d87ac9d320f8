package bot

import (
	"context"
	"errors"
	"fmt"

	"github.com/shipmate-dev/shipmate/pipeline/build"
)

// builders shares builds out to BuildKit daemons, each of which takes builder.concurrency at once.
type builders struct {
	cfg  *Config
	all  []*build.Builder
	free chan *build.Builder
}

func newBuilders(cfg *Config) (*builders, error) {
	b := &builders{cfg: cfg, free: make(chan *build.Builder, len(cfg.Builder.BuildKit)*cfg.Builder.Concurrency)}
	for _, a := range cfg.Builder.BuildKit {
		one, err := build.Open(a.Addr)
		if err != nil {
			return nil, err
		}
		b.all = append(b.all, one)
	}
	for range cfg.Builder.Concurrency { // in turn, so that the load is spread
		for _, one := range b.all {
			b.free <- one
		}
	}
	return b, nil
}

// Build builds on the next builder that has room.
func (b *builders) Build(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error) {
	if len(b.all) == 0 {
		return build.Result{}, errors.New("no builder is configured: set builder.buildkit in shipmate.yaml, or BUILDKIT_HOST")
	}
	if req.Fork {
		return build.Result{}, fmt.Errorf("%w takes the builds of forks: mark one with forks: true under builder.buildkit in shipmate.yaml", build.ErrNoBuilder)
	}
	var one *build.Builder
	select {
	case one = <-b.free:
		defer func() { b.free <- one }()
	case <-ctx.Done():
		return build.Result{}, ctx.Err()
	}
	req.Auth = b.cfg.credentials(req.Fork)
	req.Insecure = func(host string) bool { r := b.cfg.Registries[host]; return r != nil && r.PlainHTTP }
	return one.Build(ctx, req, out)
}
