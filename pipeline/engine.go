// Package pipeline is the declared intent (Config, Plan) and the engine that advances runs and deployments.
//
// The engine changes rows and the world of builders, registries and clusters. It never calls GitHub or a chat: whoever
// wants to be told reads the rows.
package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// Steps of a run.
const (
	StepConfig  = "config" // the only step of a run whose file has mistakes
	StepFetch   = "fetch"
	StepBuild   = "build"
	StepResolve = "resolve"
)

// Steps of a deployment.
const (
	StepRender  = "render"
	StepApply   = "apply"
	StepObserve = "observe"
	StepVerify  = "verify"
)

// Server is what the server's file says about who may use what, and how.
type Server interface {
	MayUseRegistry(image, repo string) error
	MayUseCluster(cluster, repo, namespace string) error
	MayUseSecret(name, repo, ref, defaultBranch string) error
	Secret(name string) (string, error)
	// Floor raises what an environment asks for to what the cluster insists on.
	Floor(cluster string, a Approvals) Approvals
	// PullHost is the host that clusters pull by, for a registry host; often the same.
	PullHost(host string) string
	// PullCredentials are read-only credentials for a registry host, empty for none.
	PullCredentials(host string) (username, password string)
	// Secrets lists every value that must never be shown.
	Secrets() []string
}

// Source fetches commits.
type Source interface {
	// Checkout puts exactly that commit of repo into dest.
	Checkout(ctx context.Context, repo store.Repo, sha, dest string) (source.Commit, error)
}

// Builder builds and pushes images.
type Builder interface {
	// Build builds a folder for a repository and returns the digest of what was pushed.
	Build(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error)
}

// Images reads registries.
type Images interface {
	Resolve(ctx context.Context, ref string) (digest string, err error)
}

// Cluster is one Kubernetes cluster.
type Cluster interface {
	Diff(ctx context.Context, objs []*unstructured.Unstructured) ([]kube.Change, error)
	Apply(ctx context.Context, objs []*unstructured.Unstructured, o kube.ApplyOptions) error
	Wait(ctx context.Context, objs []*unstructured.Unstructured, report func(kube.Progress)) error
	Verify(ctx context.Context, objs []*unstructured.Unstructured, images []kube.Image) (warnings []string, err error)
	Prune(ctx context.Context, old, new kube.Inventory, o kube.Owner) ([]string, error)
	EnsurePullSecret(ctx context.Context, namespace, name, host, username, password string) error
	Status(ctx context.Context, objs []*unstructured.Unstructured) ([]kube.WorkloadStatus, error)
}

// Engine advances runs and deployments. Every method is re-entrant: it reads the state, does what is next, and writes
// the outcome; killed in between, it goes on where the rows and the world are.
type Engine struct {
	DB       *store.DB
	Server   Server
	Source   Source
	Builder  Builder
	Images   Images
	Clusters map[string]Cluster
	Sealer   *Sealer
	DataDir  string
}

// maxAttempts is how often work is tried that fails by no fault of its own (a far end that is down): about an hour at the
// worker's pace. Longer, and whoever pushed no longer waits for it.
const maxAttempts = 24

// safePoint is how long an apply that has begun may go on after it was told to stop, so that an environment is not left with
// a part of the objects. It is shorter than the time that a shutdown gives.
const safePoint = 20 * time.Second

var errStopped = errors.New("stopped")

// while runs fn with a context that ends (with errStopped) as soon as stop says so of the stored state.
func (e *Engine) while(ctx context.Context, stop func(*store.Tx) (bool, error), fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			changed := e.DB.Changed()
			var yes bool
			err := e.DB.View(ctx, func(tx *store.Tx) (err error) { yes, err = stop(tx); return err })
			if ctx.Err() != nil {
				return
			}
			if yes && err == nil {
				cancel(errStopped)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	err := fn(ctx)
	if err != nil && context.Cause(ctx) == errStopped {
		err = errStopped
	}
	cancel(nil)
	<-done
	return err
}

// workDir makes a folder for one piece of work; what a crash leaves there is removed at the next start.
func (e *Engine) workDir() (dir string, remove func(), err error) {
	base := filepath.Join(e.DataDir, "work")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp(base, "")
	return dir, func() { _ = os.RemoveAll(dir) }, err // the next start tries again
}

// finishing is a context for work that must not be left half-done: when ctx is told to stop, it goes on for up to
// safePoint. Work that another may have taken over meanwhile, or whose time is up, has no such time.
func finishing(ctx context.Context) (_ context.Context, stop func()) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unwatch := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if errors.Is(cause, store.ErrLost) || errors.Is(cause, context.DeadlineExceeded) {
			cancel(cause)
			return
		}
		select {
		case <-longer.Done():
		case <-time.After(safePoint):
			cancel(cause)
		}
	})
	return longer, func() { unwatch(); cancel(nil) }
}

// step runs fn as one step of a run or deployment.
func (e *Engine) step(ctx context.Context, subject, owner, kind string, fn func() (detail string, err error)) error {
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.StartStep(owner, kind); err != nil {
			return err
		}
		return tx.Wake(store.TaskReport, subject+"/"+owner)
	})
	if err != nil {
		return err
	}
	detail, err := fn()
	if err != nil {
		return err // whoever ends the run or deployment closes the step
	}
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		todo, err := tx.StartStep(owner, kind) // false when an earlier attempt finished it
		if err != nil || !todo {
			return err
		}
		return errors.Join(tx.EndStep(owner, kind, store.StepSucceeded, detail), tx.Wake(store.TaskReport, subject+"/"+owner))
	})
}

// AdvanceRun takes a run to its end. An error means: try again later; attempts counts how often that was so.
func (e *Engine) AdvanceRun(ctx context.Context, id string, attempts int) error {
	var run store.Run
	var repo store.Repo
	err := e.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if run, err = tx.Run(id); err != nil {
			return err
		}
		if repo, err = tx.Repo(run.Repo); err != nil {
			return err
		}
		if run.State == store.RunQueued {
			return tx.StartRun(id)
		}
		return nil
	})
	if err != nil || store.Final(run.State) {
		return err
	}
	step := StepFetch
	var rel store.Release
	err = e.while(ctx, func(tx *store.Tx) (bool, error) {
		r, err := tx.Run(id)
		return store.Final(r.State), err
	}, func(ctx context.Context) error {
		image, err := e.makeImage(ctx, run, repo, &step)
		if err != nil {
			return err
		}
		return e.DB.Update(ctx, func(tx *store.Tx) (err error) {
			if run, err = tx.Run(id); err != nil { // what is deployed may have been added to
				return err
			}
			if rel, err = tx.SucceedRun(run, []store.Image{image}); err != nil {
				return err
			}
			for _, q := range run.Deploys.V {
				if _, err := NewDeployment(tx, rel, q); err != nil {
					return err
				}
			}
			return nil
		})
	})
	var failed *build.Failure
	switch {
	case err == nil, errors.Is(err, errStopped):
		return nil // when stopped, whoever stopped it wrote the state
	case ctx.Err() != nil:
		return err
	case errors.As(err, &failed) || isPermanent(err) || attempts+1 >= maxAttempts:
		f := failure(step, err)
		if errors.Is(err, build.ErrUnavailable) {
			f.Hint = "is buildkitd running at that address, and may the bot connect to it? Push again, or comment /deploy, once it is"
		}
		if failed != nil {
			if failed.File != "" {
				f.Where = fmt.Sprintf("%s:%d", failed.File, failed.Line)
			}
			f.Command, f.Logs = failed.Command, failed.Tail
		}
		e.masked(f)
		return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.EndRun(id, store.RunFailed, f.Reason, f) })
	}
	return err
}

// NewDeployment makes the deployment of a release that a request asks for.
func NewDeployment(tx *store.Tx, rel store.Release, q store.Request) (store.Deployment, error) {
	d := store.Deployment{Repo: rel.Repo, App: rel.App, Environment: q.Environment, Release: rel.Number, Cause: q.Cause, Requester: q.Requester,
		Run: rel.Run, Event: q.Event, Spec: store.JSON[json.RawMessage]{V: q.Spec}}
	err := tx.NewDeployment(&d, StepRender, StepApply, StepObserve, StepVerify)
	return d, err
}

// NewRollback makes a deployment that applies the stored objects of an earlier one again.
func NewRollback(tx *store.Tx, from, to store.Deployment, cause, requester, event string) (store.Deployment, error) {
	d := store.Deployment{Repo: to.Repo, App: to.App, Environment: to.Environment, Release: to.Release, RollbackOf: from.ID, Restores: to.ID,
		Cause: cause, Requester: requester, Run: to.Run, Event: event, Spec: to.Spec,
		Objects: to.Objects, ObjectsHash: to.ObjectsHash, Inventory: to.Inventory}
	err := tx.NewDeployment(&d, StepApply, StepObserve, StepVerify)
	return d, err
}

// permanent marks an error that trying again does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func isPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

func (e *Engine) mask() Mask { return NewMask(e.Server.Secrets()...) }

// Mask takes every configured secret out of a text.
func (e *Engine) Mask(s string) string { return e.mask().String(s) }

// failure is what is told of an error; masked takes its secrets out before it is stored.
func failure(step string, err error) *store.Failure {
	return &store.Failure{Step: step, Reason: oneLine(err.Error())}
}

// masked takes the secrets out of everything that a failure says.
func (e *Engine) masked(f *store.Failure) *store.Failure {
	m := e.mask()
	for _, s := range []*string{&f.Where, &f.Reason, &f.Event, &f.Hint, &f.Command} {
		*s = m.String(*s)
	}
	logs := make([]string, len(f.Logs))
	for i, l := range f.Logs {
		logs[i] = m.String(l)
	}
	f.Logs = logs
	return f
}

// makeImage fetches, builds and pushes, and reads the digest back.
func (e *Engine) makeImage(ctx context.Context, run store.Run, repo store.Repo, step *string) (store.Image, error) {
	var cfg Config
	if err := json.Unmarshal(run.Config.V, &cfg); err != nil {
		return store.Image{}, permanent{err}
	}
	image := store.Image{Repository: cfg.Build.Image}
	// Asked again here, where the right is used: the server's file may have changed since the run was queued.
	if err := e.Server.MayUseRegistry(image.Repository, run.Repo); err != nil {
		return image, permanent{err}
	}
	// What was pushed and recorded before a crash is what the release will be: a second build would make another digest.
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) { image.Digest, err = built(tx, run.ID); return err })
	if err != nil {
		return image, err
	}
	if image.Digest == "" {
		if image.Digest, err = e.build(ctx, run, repo, cfg, step); err != nil {
			return image, err
		}
	}
	*step = StepResolve
	return image, e.step(ctx, "run", run.ID, *step, func() (string, error) {
		got, err := e.Images.Resolve(ctx, image.Repository+"@"+image.Digest)
		if err == nil && got != image.Digest {
			err = permanent{fmt.Errorf("the registry answers with %s for %s", got, image.Digest)}
		}
		return got, inWords(err, image.Repository)
	})
}

// built is the digest that the build step of a run recorded, empty where it has not ended.
func built(tx *store.Tx, run string) (digest string, err error) {
	steps, err := tx.Steps(run)
	for _, s := range steps {
		if s.Kind == StepBuild && s.State == store.StepSucceeded {
			digest = s.Detail
		}
	}
	return digest, err
}

// build fetches, builds and pushes, and returns the digest.
func (e *Engine) build(ctx context.Context, run store.Run, repo store.Repo, cfg Config, step *string) (digest string, err error) {
	secrets := map[string][]byte{}
	for _, name := range cfg.Build.Secrets {
		if err := e.Server.MayUseSecret(name, run.Repo, run.Ref, repo.DefaultBranch); err != nil {
			return "", permanent{err}
		}
		v, err := e.Server.Secret(name)
		if err != nil {
			return "", permanent{err}
		}
		secrets[name] = []byte(v)
	}
	dir, remove, err := e.workDir()
	if err != nil {
		return "", err
	}
	defer remove()
	log, err := OpenLog(LogFile(e.DataDir, run.ID), e.mask())
	if err != nil {
		return "", err
	}
	defer func() { _ = log.Close() }() // the build counts, not its log

	dest := filepath.Join(dir, "src")
	var commit source.Commit
	err = e.step(ctx, "run", run.ID, *step, func() (string, error) {
		log.Line(time.Now(), *step, fmt.Sprintf("fetching %s of %s", run.SHA, run.Repo))
		commit, err = e.Source.Checkout(ctx, repo, run.SHA, dest)
		if errors.Is(err, source.ErrCommitGone) {
			err = permanent{err}
		}
		return commit.Subject, err
	})
	if err != nil {
		log.Line(time.Now(), *step, err.Error())
		return "", err
	}

	var previous *store.Release // nil for the first of its branch
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		previous, err = store.Optional(tx.ReleaseOn(run.Repo, run.App, run.Ref))
		return err
	})
	if err != nil {
		return "", err
	}
	previousSHA := ""
	if previous != nil {
		previousSHA = previous.SHA
	}
	*step = StepBuild
	err = e.step(ctx, "run", run.ID, *step, func() (string, error) {
		req, err := buildRequest(cfg, run, repo, commit, previousSHA, dest, secrets)
		if err != nil {
			return "", permanent{err}
		}
		ctx := ctx
		if t := cfg.Build.Timeout; t > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, t, permanent{fmt.Errorf("the build took longer than its timeout of %s", t)})
			defer cancel()
		}
		res, err := e.Builder.Build(ctx, req, func(l build.Line) { log.Line(l.At, l.Step, l.Text) })
		if err != nil && isPermanent(context.Cause(ctx)) {
			err = context.Cause(ctx)
		}
		digest = res.Digest
		return res.Digest, inWords(err, cfg.Build.Image)
	})
	if err != nil {
		log.Line(time.Now(), *step, err.Error())
	}
	return digest, err
}
