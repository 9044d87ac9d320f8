package build

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// A Command runs in an image, in place of a Dockerfile: by "/bin/sh -ec", as root, in a copy of Request.Dir that it may
// change, and that is its working directory. It has the image's environment and the builder's sandboxed network, and gets
// no secrets, arguments or caches. Of a Request with a command Dir, Outputs, Auth and CacheScope are used.
type Command struct {
	Image string // a reference; the builder resolves it and asks Request.Auth for its registry's credential
	Run   string // may have several lines
}

const (
	sourceMount = "source" // the local folder's name between the builder and us
	sourceDir   = "/src"   // where a command finds it
)

// solveAndRead has the builder carry out s and reads r.Outputs back, also where a command failed: not its last state is
// read then, but the file system as the command left it. What a command did that failed is not cached, so it runs again.
func (s *solve) solveAndRead(ctx context.Context, c *client.Client, r Request, statuses chan *client.SolveStatus) (files []File, left []Left, err error) {
	var failed error
	_, err = c.Build(ctx, s.options, "", func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
		request, err := s.gatewayRequest(ctx, r, g)
		if err != nil {
			failed = err
			return nil, err
		}
		result, err := g.Solve(ctx, request)
		if err == nil {
			var from tree
			if from, err = succeeded(r, result); err == nil {
				files, left, err = readOutputs(ctx, from, r.Outputs)
			}
			return gateway.NewResult(), err
		}
		failed = err
		from, release, readErr := failedTree(ctx, r, g, err)
		switch {
		case readErr != nil:
			left = append(left, Left{Why: "what the command left behind can't be read: " + readErr.Error()})
		case from != nil:
			files, left, _ = readOutputs(ctx, from, r.Outputs) // the command's own error counts
		}
		release()
		return nil, err
	}, statuses)
	if err != nil && failed != nil && ctx.Err() == nil {
		err = failed // without what is wrapped around it on its way through the callback
	}
	return files, left, err
}

// gatewayRequest is what the builder is asked for in one session, from which more can be asked for.
func (s *solve) gatewayRequest(ctx context.Context, r Request, g gateway.Client) (gateway.SolveRequest, error) {
	if r.Command == nil {
		request := gateway.SolveRequest{Evaluate: true, Frontend: dockerfileFrontend, FrontendOpt: s.options.FrontendAttrs}
		for _, c := range s.options.CacheImports {
			request.CacheImports = append(request.CacheImports, gateway.CacheOptionsEntry{Type: c.Type, Attrs: c.Attrs})
		}
		return request, nil
	}
	said := cutText(strings.Join(strings.Fields(r.Command.Run), " "), 200)
	source := llb.Local(sourceMount, llb.SharedKeyHint(sourceMount), llb.WithCustomName("load the source"))
	state := llb.Image(r.Command.Image, llb.WithMetaResolver(g)).Dir(sourceDir).User("0").Run(
		llb.Args([]string{"/bin/sh", "-ec", r.Command.Run}),
		llb.AddMount(sourceDir, source),
		llb.WithCustomName("RUN "+said),
	).GetMount(sourceDir)
	definition, err := state.Marshal(ctx)
	if err != nil { // the image's configuration is read for it
		return gateway.SolveRequest{}, &imageError{r.Command.Image, err}
	}
	return gateway.SolveRequest{Evaluate: true, Definition: definition.ToPB()}, nil
}

// imageError says that a command's image can't be had.
type imageError struct {
	image string
	err   error
}

func (e *imageError) Error() string { return fmt.Sprintf("image %s: %v", e.image, e.err) }
func (e *imageError) Unwrap() error { return e.err }

// succeeded is what a build without an error made: the command's folder, or the stage from its working directory on.
func succeeded(r Request, result *gateway.Result) (tree, error) {
	if len(r.Outputs) == 0 {
		return nil, nil
	}
	ref, err := result.SingleRef()
	if err != nil {
		return nil, err
	}
	dir := "/"
	if r.Command == nil {
		dir = workingDir(result.Metadata[exptypes.ExporterImageConfigKey])
	}
	return &refTree{ref, dir}, nil
}

// failedTree is the file system of the command that failed, from its working directory on; nil where nothing is to be
// read, or it was no command that failed. release ends what was begun for it.
func failedTree(ctx context.Context, r Request, g gateway.Client, err error) (_ tree, release func(), _ error) {
	release = func() {}
	var at *errdefs.SolveError
	if len(r.Outputs) == 0 || !errors.As(err, &at) || at.Op.GetExec() == nil {
		return nil, release, nil
	}
	exec, root, dir := at.Op.GetExec(), "/", path.Join("/", at.Op.GetExec().GetMeta().GetCwd())
	if r.Command != nil {
		root, dir = sourceDir, "/"
	}
	for i, m := range exec.Mounts {
		if m.Dest != root || m.MountType != pb.MountType_BIND || i >= len(at.MountIDs) || at.MountIDs[i] == "" {
			continue
		}
		container, err := g.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{{Dest: "/", ResultID: at.MountIDs[i], MountType: pb.MountType_BIND}}})
		if err != nil {
			return nil, release, err
		}
		return &containerTree{container, dir}, func() { _ = container.Release(context.WithoutCancel(ctx)) }, nil // it ends with the session anyway
	}
	return nil, release, nil
}

// explainCommand returns a *Failure where a command or its image is at fault, and the error as it is otherwise.
func (p *progress) explainCommand(err error, c Command) error {
	f := &Failure{Command: p.clean(c.Run), Err: errors.New(reason(p.clean(err.Error())))}
	var image *imageError
	var vertex *errdefs.VertexError
	switch {
	case errors.As(err, &image):
		f.Command, f.Step = "", p.clean("image "+image.image)
		f.Err = errors.New(reason(p.clean(image.err.Error())))
	case errors.As(err, &vertex):
		if s, known := p.byID[digest.Digest(vertex.Digest)]; known {
			f.Step, f.Tail = s.Name, s.tail
		}
	default:
		return p.mask.error(fmt.Errorf("build: %w", err))
	}
	return f
}
