// Package pipeline is the declared intent (Config, Plan) and the engine that advances runs and deployments.
//
// The engine changes rows and the world of builders, registries and clusters. It never calls GitHub or a chat: whoever
// wants to be told reads the rows.
package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/pipeline/mask"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// Steps of a run.
const (
	StepMerge   = "merge"  // the only step of a run of a pull request that there is no merge result of
	StepConfig  = "config" // the only step of a run whose file has mistakes
	StepFetch   = "fetch"
	StepBuild   = "build"
	StepResolve = "resolve"
)

// Steps of a deployment.
const (
	StepRender  = "render"
	StepCopy    = "copy" // of the image to the registry of the environment
	StepApply   = "apply"
	StepObserve = "observe"
	StepSwitch  = "switch" // of blue-green: the Services are turned to the new release
	StepVerify  = "verify"
)

// deploySteps are the steps by which rendered objects get into a cluster.
var deploySteps = []string{StepApply, StepObserve, StepVerify}

// Server is what the server's file says about who may use what, and how.
type Server interface {
	MayUseRegistry(image, repo string) error
	MayUseCluster(cluster, repo, namespace string) error
	// MayUseKind says whether a repository that may deploy to that namespace may apply objects of a cluster-scoped kind too.
	MayUseKind(cluster, repo, namespace, kind string) error
	// MayAlsoUse says the same of objects that name another namespace.
	MayAlsoUse(cluster, repo, namespace, other string) error
	MayUseSecret(name, repo, ref, defaultBranch string) error
	Secret(name string) (string, error)
	// Floor raises what an environment asks for to what the cluster insists on.
	Floor(cluster string, a Approvals) Approvals
	// PullHost is the host that clusters pull by, for a registry host; often the same.
	PullHost(host string) string
	// PullCredentials are read-only credentials for a registry host; the error says that there are none and where to write them.
	PullCredentials(host string) (username, password string, err error)
	// Secrets lists every value that must never be shown.
	Secrets() []string
}

// Source fetches commits.
type Source interface {
	// Checkout puts exactly that commit of repo into dest.
	Checkout(ctx context.Context, repo store.Repo, sha, dest string, o source.Options) (source.Commit, error)
}

// Builder builds and pushes images.
type Builder interface {
	// Build builds a folder for a repository and returns the digest of what was pushed. build.ErrNoRoom and
	// build.ErrUnavailable are for another time; see also Permanent.
	Build(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error)
}

// Images is the registries.
type Images interface {
	Resolve(ctx context.Context, ref string) (digest string, err error)
	// Find is Resolve for what somebody else pushed: its errors are image.ErrNotFound and image.ErrNoImage.
	Find(ctx context.Context, ref string) (digest string, err error)
	// Tag makes a tag stand for an image; image.ErrImmutable where that can't be.
	Tag(ctx context.Context, repoAtDigest, tag string) error
	// Exists tells whether the registry has an image by its digest. A registry that can't tell is an error.
	Exists(ctx context.Context, repoAtDigest string) (bool, error)
	// Copy copies an image to another repository, by its digest; report is told how far it is, in bytes. What is there is not copied
	// again. Its errors are image.ErrNotFound, image.ErrDigest, and what registries say, explained.
	Copy(ctx context.Context, repoAtDigest, repository string, report func(done, total int64)) error
	// Parts lists the digests by which a container runtime may call the image.
	Parts(ctx context.Context, repoAtDigest string) ([]string, error)
}

// Cluster is one Kubernetes cluster.
type Cluster interface {
	Diff(ctx context.Context, objs, released []*unstructured.Unstructured) ([]kube.Change, error)
	Apply(ctx context.Context, objs []*unstructured.Unstructured, o kube.ApplyOptions) error
	Wait(ctx context.Context, objs []*unstructured.Unstructured, report func(kube.Progress)) error
	Verify(ctx context.Context, objs []*unstructured.Unstructured, images []kube.Image) (warnings []string, err error)
	Prune(ctx context.Context, old, new kube.Inventory, o kube.Owner) ([]string, error)
	// Live reads an object, nil where there is none.
	Live(ctx context.Context, ref kube.ObjectRef) (*unstructured.Unstructured, error)
	// List reads all objects of a kind in a namespace.
	List(ctx context.Context, of kube.ObjectRef) ([]*unstructured.Unstructured, error)
	EnsurePullSecret(ctx context.Context, namespace, name, host, username, password string) error
	Status(ctx context.Context, objs []*unstructured.Unstructured) ([]kube.WorkloadStatus, error)
	Drift(ctx context.Context, objs []*unstructured.Unstructured) ([]kube.Drift, error)
	Capabilities(ctx context.Context) (kube.Capabilities, error)
	HoldJob(ctx context.Context, job *unstructured.Unstructured) (uid string, err error)
	RunJob(ctx context.Context, job *unstructured.Unstructured, uid string, report func(kube.Progress)) (logs []string, err error)
	StopJob(ctx context.Context, job *unstructured.Unstructured) error
	Proxy(ctx context.Context, namespace, service, port, pathAndQuery string) (status int, body []byte, err error)
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
	Outside  func(repo string) *http.Client // for addresses that a repository's file names; nil: they are not reached
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
	if _, _, err := e.begin(ctx, subject, owner, kind); err != nil {
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

// begin marks a step as running, and returns it with the time that it is.
func (e *Engine) begin(ctx context.Context, subject, owner, kind string) (step store.Step, now time.Time, err error) {
	err = e.DB.Update(ctx, func(tx *store.Tx) error {
		now = tx.Now()
		if _, err := tx.StartStep(owner, kind); err != nil {
			return err
		}
		if step, err = tx.Step(owner, kind); err != nil {
			return err
		}
		return tx.Wake(store.TaskReport, subject+"/"+owner)
	})
	return step, now, err
}

// NewDeployment makes the deployment of a release that a request asks for.
func NewDeployment(tx *store.Tx, rel store.Release, q store.Request) (store.Deployment, error) {
	d := requested(rel, q)
	steps, err := stepsOf(q)
	if err == nil {
		err = tx.NewDeployment(&d, steps...)
	}
	return d, err
}

func requested(rel store.Release, q store.Request) store.Deployment {
	return store.Deployment{Repo: rel.Repo, App: rel.App, Environment: q.Environment, Release: rel.Number, Cause: q.Cause, Requester: q.Requester,
		Run: rel.Run, Event: q.Event, Spec: store.JSON[json.RawMessage]{V: q.Spec}, Note: q.Note, Pull: q.Pull, Green: q.Green}
}

// NewRollback makes a deployment that applies the stored objects of an earlier one again.
func NewRollback(tx *store.Tx, from, to store.Deployment, cause, requester, event string) (store.Deployment, error) {
	d := restoring(from, to, cause, requester, event)
	steps, err := backSteps(d)
	if err == nil {
		err = tx.NewDeployment(&d, steps...)
	}
	return d, err
}

func restoring(from, to store.Deployment, cause, requester, event string) store.Deployment {
	var spec Spec
	if Adopts(to.Spec.V) && json.Unmarshal(to.Spec.V, &spec) == nil { // that was asked for once
		spec.Adopt = false
		if text, err := json.Marshal(spec); err == nil {
			to.Spec.V = text
		}
	}
	return store.Deployment{Repo: to.Repo, App: to.App, Environment: to.Environment, Release: to.Release, RollbackOf: from.ID, Restores: to.ID,
		Cause: cause, Requester: requester, Run: to.Run, Event: event, Spec: to.Spec,
		Objects: to.Objects, ObjectsHash: to.ObjectsHash, Inventory: to.Inventory}
}

// permanent marks an error that trying again does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error of a Builder that trying again does not mend: it ends the run.
func Permanent(err error) error { return permanent{err} }

func isPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

func (e *Engine) mask() mask.Mask { return mask.New(e.Server.Secrets()...) }

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
