package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// Spec is what a deployment was asked to do: the environment and the notices as the default branch's file said when it
// was made.
type Spec struct {
	Environment Environment
	Notify      []Notify
	Adopt       bool `json:",omitempty"` // takes over what kubectl, Helm or another manager owns of the objects
}

// Adopts tells whether a Spec, as JSON, asks to take over what others own.
func Adopts(text json.RawMessage) bool {
	var spec Spec
	return json.Unmarshal(text, &spec) == nil && spec.Adopt
}

// maxChanges is how many lines of a diff are kept for those who approve.
const maxChanges = 200

// Prepare renders a deployment: the environment's manifests at the release's commit, bound to the release's digests.
// It is done once; approval, apply and rollback use what is stored here.
func (e *Engine) Prepare(ctx context.Context, id string, attempts int) error {
	var d store.Deployment
	var rel store.Release
	var repo store.Repo
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if d, err = tx.Deployment(id); err != nil {
			return err
		}
		if repo, err = tx.Repo(d.Repo); err != nil {
			return err
		}
		rel, err = tx.Release(d.Repo, d.App, d.Release)
		return err
	})
	if err != nil || store.Final(d.State) || d.Objects != nil {
		return err
	}
	err = e.while(ctx, func(tx *store.Tx) (bool, error) {
		d, err := tx.Deployment(id)
		return store.Final(d.State), err
	}, func(ctx context.Context) error {
		return e.step(ctx, "deployment", id, StepRender, func() (string, error) { return e.render(ctx, d, rel, repo) })
	})
	if errors.Is(err, errStopped) {
		return nil // whoever stopped it wrote the state
	}
	if err == nil || ctx.Err() != nil || !isPermanent(err) && attempts+1 < maxAttempts {
		return err
	}
	f := e.masked(failure(StepRender, err))
	return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.EndDeployment(d, store.Failed, f.Reason, f) })
}

func (e *Engine) render(ctx context.Context, d store.Deployment, rel store.Release, repo store.Repo) (string, error) {
	env, cluster, err := e.environment(d)
	if err != nil {
		return "", permanent{err}
	}
	dir, remove, err := e.workDir()
	if err != nil {
		return "", err
	}
	defer remove()
	objs, live, released, err := e.objects(ctx, filepath.Join(dir, "src"), d, rel, repo, env, cluster)
	if err != nil {
		return "", err
	}
	plain, err := kube.Encode(objs)
	if err != nil {
		return "", permanent{err}
	}
	hash, err := kube.Hash(objs)
	if err != nil {
		return "", permanent{err}
	}
	sealed, err := e.Sealer.Seal(plain, d.Repo)
	if err != nil {
		return "", err
	}
	applied, _ := split(objs)
	inventory, err := json.Marshal(kube.InventoryOf(applied))
	if err != nil {
		return "", err
	}
	compared, err := e.compared(objs, live, rel, env)
	if err != nil {
		return "", permanent{err}
	}
	changes, err := cluster.Diff(ctx, compared, released)
	if err = whole(err, e.owner(d, env)); isPermanent(err) {
		return "", err
	}
	text := diffText(changes, Adopts(d.Spec.V))
	if err != nil {
		text = "could not be compared with the cluster: " + err.Error()
	}
	text = e.Mask(text)
	detail := fmt.Sprintf("%d objects", len(objs))
	return detail, e.DB.Update(ctx, func(tx *store.Tx) error {
		// In one transaction: what is rendered is never rendered again, so nobody would come back to end the step.
		if err := errors.Join(tx.Prepared(d, sealed, hash, inventory, text), tx.EndStep(d.ID, StepRender, store.StepSucceeded, detail)); err != nil {
			return err
		}
		// The environment's own task comes to it only after the rollout that is under way there: nobody has to wait for that to approve.
		now, err := tx.Deployment(d.ID)
		if err == nil {
			_, err = e.Reconsider(tx, now)
		}
		return err
	})
}

func diffText(changes []kube.Change, adopt bool) string {
	lines := diffLines(changes, adopt)
	if len(lines) == 0 {
		return "no change"
	}
	if n := len(lines) - maxChanges; n > 0 {
		lines = append(lines[:maxChanges], fmt.Sprintf("… and %d more lines", n))
	}
	return strings.Join(lines, "\n")
}

// environment reads what a deployment was asked to do, and asks again whether it may: the server's file may have changed.
func (e *Engine) environment(d store.Deployment) (Environment, Cluster, error) {
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return spec.Environment, nil, err
	}
	env := spec.Environment
	if err := e.Server.MayUseCluster(env.Cluster, d.Repo, env.Namespace); err != nil {
		return env, nil, err
	}
	if env.Registry != "" {
		if err := e.Server.MayUseRegistry(env.Registry, d.Repo); err != nil {
			return env, nil, err
		}
	}
	c, ok := e.Clusters[env.Cluster]
	if !ok {
		return env, nil, fmt.Errorf("the server knows no cluster %q", env.Cluster)
	}
	return env, c, nil
}

func (e *Engine) owner(d store.Deployment, env Environment) kube.Owner {
	return kube.Owner{App: d.App, Environment: d.Environment, Release: fmt.Sprint(d.Release), Namespace: env.Namespace, PullSecret: env.PullSecret,
		MayHold: func(kind string) error { return e.Server.MayUseKind(env.Cluster, d.Repo, env.Namespace, kind) },
		MayName: func(other string) error { return e.Server.MayAlsoUse(env.Cluster, d.Repo, env.Namespace, other) }}
}

// whole adds to an error what only the cluster knew, that a kind is of the whole cluster: where the server's file would allow it.
func whole(err error, owner kube.Owner) error {
	var scoped *kube.ClusterScoped
	if !errors.As(err, &scoped) {
		return err
	}
	if refused := owner.MayHold(scoped.Kind); refused != nil {
		err = fmt.Errorf("%w: %w", err, refused)
	}
	return permanent{err}
}

// images are those of a release, as the environment pulls them.
func (e *Engine) images(rel store.Release, env Environment) ([]kube.Image, error) {
	at, err := env.ImagesAt(rel)
	var images []kube.Image
	for n, i := range at {
		image := kube.Image{Repository: i.Repository, Digest: i.Digest, PullHost: e.pullHost(i.Repository), Required: true, Also: i.Parts}
		if from := rel.Images.V[n].Repository; from != i.Repository {
			image.Names = []string{from}
			if _, path, err := ParseRepository(from); err == nil && !strings.HasPrefix(from, e.pullHost(from)+"/") {
				image.Names = append(image.Names, e.pullHost(from)+"/"+path)
			}
		}
		images = append(images, image)
	}
	return images, err
}

// pullHost is the host by which clusters pull from a repository, whose name was checked when its file was read.
func (e *Engine) pullHost(repository string) string {
	host, _, _ := ParseRepository(repository)
	return e.Server.PullHost(host)
}

// Reconsider writes why a deployment waits, as things stand in this transaction; one that waits at a step of its flow is looked at
// by the environment's own task.
func (e *Engine) Reconsider(tx *store.Tx, d store.Deployment) (store.Deployment, error) {
	if _, _, ok := Asking(d); ok {
		return d, tx.Wake(store.TaskEnv, store.EnvKey(d.Repo, d.App, d.Environment))
	}
	if store.Final(d.State) || store.Active(d.State) {
		return d, nil
	}
	f, err := e.facts(tx, d)
	if err != nil {
		return d, err
	}
	if d, err = e.asked(tx, d, f); err != nil {
		return d, err
	}
	if f.Checked && f.Checks == nil {
		if err := tx.Wake(store.TaskChecks, d.ID); err != nil {
			return d, err
		}
	}
	blocks := Blocked(d, f)
	if d.Objects == nil { // nothing can be approved before it is known
		blocks = slices.DeleteFunc(blocks, func(b store.Block) bool { return b.Kind == store.BlockApproval })
	}
	if err := tx.Block(d, blocks); err != nil {
		return d, err
	}
	if d.ExpiresAt.IsZero() && slices.ContainsFunc(blocks, func(b store.Block) bool { return b.Kind == store.BlockApproval }) {
		if err := tx.Expire(d, tx.Now().Add(f.Approvals.Expire)); err != nil {
			return d, err
		}
	}
	return tx.Deployment(d.ID)
}

func (e *Engine) facts(tx *store.Tx, d store.Deployment) (Facts, error) {
	f := Facts{Now: tx.Now()}
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return f, err
	}
	env := spec.Environment
	rel, err := tx.Release(d.Repo, d.App, d.Release)
	if err != nil {
		return f, err
	}
	f.Approvals = e.Server.Floor(env.Cluster, env.Approvals)
	f.Bound = Bound(rel, d.ObjectsHash, e.policy(env))
	f.After, f.Soak = env.After, env.Soak
	if window, until, ok := Frozen(env.Freeze, f.Now); ok {
		f.Freeze = &Freeze{window, until}
	}
	if f.Votes, err = tx.Approvals(d.ID); err != nil {
		return f, err
	}
	if f.Hold, err = store.Optional(tx.Hold(d.Repo, d.App, d.Environment)); err != nil {
		return f, err
	}
	if f.Locks, err = tx.LocksOn(d.Repo, d.App, d.Environment); err != nil {
		return f, err
	}
	if f.Unratified, err = store.Optional(tx.Unratified(d.Repo, d.App, d.Environment)); err != nil {
		return f, err
	}
	if wanted := ChecksOf(d, env); len(wanted) > 0 {
		f.Checked = true
		if c := d.Checks.V; c != nil && c.Of == wanted.Key() && f.Now.Before(c.At.Add(store.ChecksFresh)) {
			f.Checks = c // else it is read anew before it counts
		}
	}
	repo, err := tx.Repo(d.Repo)
	if err != nil {
		return f, err
	}
	if !Allows(&env, rel.Ref, repo.DefaultBranch) {
		f.Branch = strings.TrimPrefix(strings.TrimPrefix(rel.Ref, branchPrefix), tagPrefix)
	}
	if d.OrderID != "" {
		if f.Order, err = e.orderFacts(tx, d); err != nil {
			return f, err
		}
	}
	if f.After != "" {
		if f.Before, err = store.Optional(tx.LiveRelease(d.Repo, d.App, f.After, d.Release)); err != nil {
			return f, err
		}
		if f.Before != nil && f.Soak > 0 {
			next, err := store.Optional(tx.Replaced(*f.Before))
			if err != nil {
				return f, err
			}
			if next != nil {
				f.Left = next.FinishedAt.Time
			}
		}
	}
	open, err := tx.OpenDeployments(d.Repo, d.App, d.Environment)
	for _, o := range open {
		if store.Active(o.State) {
			f.Active = &o
		}
	}
	return f, err
}

// policy hashes what an approval is bound to besides the objects: the environment's rules, the cluster's floor included.
func (e *Engine) policy(env Environment) string {
	env.Approvals = e.Server.Floor(env.Cluster, env.Approvals)
	return env.PolicyHash()
}

// BoundOf is what a vote on this deployment is bound to now, and what is asked for: before it began, or at the step of its flow at
// which it waits.
func (e *Engine) BoundOf(tx *store.Tx, d store.Deployment) (string, Approvals, error) {
	f, err := e.facts(tx, d)
	if step, wants, ok := Asking(d); ok {
		return boundAt(f.Bound, step), wants, err
	}
	return f.Bound, f.Approvals, err
}

// AdvanceEnv works on one environment of one app: it finishes what is being made there, or begins the next that nothing
// blocks. It returns when it should be called again by the clock (the zero time: only when woken).
func (e *Engine) AdvanceEnv(ctx context.Context, key string, attempts int) (time.Time, error) {
	part := strings.Split(key, "\n")
	if len(part) != 3 {
		return time.Time{}, permanent{fmt.Errorf("environment key %q", key)}
	}
	for {
		var next, keeper *store.Deployment
		var wake time.Time
		err := e.DB.Update(ctx, func(tx *store.Tx) error {
			open, err := tx.OpenDeployments(part[0], part[1], part[2])
			if err != nil {
				return err
			}
			next, keeper = nil, nil
			for _, d := range open {
				if store.Active(d.State) {
					next = &d
					return nil
				}
			}
			for _, d := range open {
				if d, err = e.Reconsider(tx, d); err != nil {
					return err
				}
				ended, look, err := e.expire(tx, d)
				if err != nil {
					return err
				}
				if ended {
					continue
				}
				wake = sooner(wake, look)
				for _, b := range d.Blocks.V {
					if b.Until.After(tx.Now()) { // what should have been agreed to by then is waited for also afterwards
						wake = sooner(wake, b.Until)
					}
				}
				if d.State == store.Queued && d.Objects != nil && (next == nil || first(d, *next)) {
					next = &d
				}
			}
			if next == nil {
				live, err := store.Optional(tx.Live(part[0], part[1], part[2]))
				if err == nil && live != nil && !live.RetireAt.IsZero() {
					if keeper = live; live.RetireAt.After(tx.Now()) {
						keeper, wake = nil, sooner(wake, live.RetireAt.Time)
					}
				}
				return err
			}
			before, err := store.Optional(tx.Current(next.Repo, next.App, next.Environment))
			if err != nil {
				return err
			}
			if before != nil && before.State == store.Cancelled { // what it says it left behind is no more
				if err := tx.Wake(store.TaskReport, "deployment/"+before.ID); err != nil {
					return err
				}
			}
			if err := errors.Join(tx.Begin(*next), chooseColour(tx, *next)); err != nil {
				return err
			}
			if next.Cause == store.CauseNow {
				if err := tx.MustRatify(*next, tx.Now().Add(RatifyWithin)); err != nil {
					return err
				}
			}
			*next, err = tx.Deployment(next.ID)
			return err
		})
		if err == nil && keeper != nil {
			if err = e.retireKept(ctx, *keeper); err == nil {
				continue
			}
		}
		if err != nil || next == nil {
			return wake, err
		}
		until, err := e.rollout(ctx, *next)
		if errors.Is(err, errRests) {
			return time.Time{}, nil
		}
		if err != nil || !until.IsZero() {
			return until, err
		}
	}
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// first tells whether a goes before b: the way back first, then the oldest.
func first(a, b store.Deployment) bool {
	if back(a) != back(b) {
		return back(a)
	}
	return a.Number < b.Number
}

// A moment is which step a deployment is at, and until when that may take.
type moment struct {
	step  string
	until time.Time
}

// rollout takes a deployment that has begun as far as it gets: to its end, or to a step that waits until a time, or for a person, which
// is errRests. Another error means: try again later.
func (e *Engine) rollout(ctx context.Context, d store.Deployment) (until time.Time, err error) {
	env, cluster, err := e.environment(d)
	if err != nil {
		return until, e.fail(ctx, d, env, e.masked(failure(StepApply, err)))
	}
	at := moment{StepApply, e.DB.Now().Add(env.Timeout)} // before a step has begun, nothing takes too long
	run, err := e.flow(ctx, d, env, cluster)
	if err == nil && d.Failure.V != nil { // before a crash, or before the cluster could be asked again
		return until, run.giveUp(ctx, d.Failure.V)
	}
	if err == nil {
		err = e.while(ctx, func(tx *store.Tx) (bool, error) {
			d, err := tx.Deployment(d.ID)
			return d.CancelBy != "" || store.Final(d.State), err
		}, func(ctx context.Context) (err error) {
			if d.CancelBy != "" { // before a crash
				return errStopped
			}
			until, err = run.roll(ctx, &at)
			return err
		})
	}
	switch {
	case err == nil, errors.Is(err, errRests):
		return until, err
	case errors.Is(err, errStopped):
		return until, run.stop(ctx)
	case ctx.Err() != nil:
		return until, err
	}
	f := failure(at.step, err)
	var k *kube.Failure
	var api *kube.Error
	switch {
	case errors.As(err, &k):
		f.Where, f.Reason, f.Hint = where(k), oneLine(k.Reason+": "+k.Message), k.Hint
		f.Logs, f.Event = k.Logs, k.Event
	case errors.As(err, &api):
		f.Where, f.Reason, f.Hint = api.Object, oneLine(api.Message), api.Hint
		if api.Temporary && time.Now().Before(at.until) { // the cluster could not be asked; nothing is known to be wrong with the release
			return until, errors.Join(err, e.tellAway(ctx, d, api))
		}
		if api.Temporary {
			f.Reason = fmt.Sprintf("it took longer than its timeout of %s: %s", env.Timeout, f.Reason)
		}
	case errors.As(err, new(*kube.Conflict)), isPermanent(err):
	case !time.Now().Before(at.until):
		f.Reason = fmt.Sprintf("it took longer than its timeout of %s: %s", env.Timeout, f.Reason)
	default:
		return until, err
	}
	return until, run.giveUp(ctx, e.masked(f))
}

// tellAway tells that the cluster could not be asked, which is tried again.
func (e *Engine) tellAway(ctx context.Context, d store.Deployment, api *kube.Error) error {
	line := e.Mask(api.Object + ": " + oneLine(api.Message))
	return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.Progress(d, line) })
}

// where names the object that fails, down to the container.
func where(k *kube.Failure) string {
	w := k.Object
	if k.Pod != "" && k.Object != "Pod/"+k.Pod {
		w += ", pod " + k.Pod
	}
	if k.Container != "" {
		w += ", container " + k.Container
	}
	return w
}

// rolloutNews gathers what is known of each object that is waited for into one line.
type rolloutNews struct{ all []kube.Progress }

func (n *rolloutNews) add(p kube.Progress) string {
	i := slices.IndexFunc(n.all, func(o kube.Progress) bool { return o.Object == p.Object })
	switch {
	case p.Text == "" && i >= 0:
		n.all = slices.Delete(n.all, i, i+1)
	case p.Text == "":
	case i < 0:
		n.all = append(n.all, p)
	default:
		n.all[i] = p
	}
	return n.String()
}

// String tells what is not stable yet, or the last of what is.
func (n *rolloutNews) String() string {
	var open []string
	for _, p := range n.all {
		if !p.Stable {
			line := p.Object + ": " + p.Text
			if p.Problem != nil {
				line += " (" + p.Problem.Error() + ")"
			}
			open = append(open, line)
		}
	}
	if len(open) == 0 && len(n.all) > 0 {
		p := n.all[len(n.all)-1]
		return p.Object + ": " + p.Text
	}
	return strings.Join(open, "; ")
}

// flow makes ready what is left to do of a deployment that has begun.
func (e *Engine) flow(ctx context.Context, d store.Deployment, env Environment, cluster Cluster) (*flowRun, error) {
	r := &flowRun{Engine: e, d: d, env: env, cluster: cluster}
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if r.rel, err = tx.Release(d.Repo, d.App, d.Release); err != nil {
			return err
		}
		if r.live, err = store.Optional(tx.Live(d.Repo, d.App, d.Environment)); err != nil {
			return err
		}
		r.was, err = serving(tx, d)
		return err
	})
	if err != nil {
		return r, err
	}
	if r.objs, r.jobs, err = e.Objects(d); err != nil {
		return r, permanent{err}
	}
	if err := e.owner(d, env).Allows(r.objs); err != nil { // the server's file may have changed
		return r, permanent{err}
	}
	if r.images, err = e.images(r.rel, env); err != nil {
		err = permanent{err}
	}
	return r, err
}

// roll does what is left to do, step by step. until is when to go on where a step waits.
func (r *flowRun) roll(ctx context.Context, at *moment) (until time.Time, err error) {
	var steps []store.Step
	if err := r.DB.View(ctx, func(tx *store.Tx) (err error) { steps, err = tx.Steps(r.d.ID); return err }); err != nil {
		return until, err
	}
	if err := r.makeWay(ctx); err != nil {
		return until, err
	}
	for _, s := range steps {
		if s.Kind == StepRender {
			continue
		}
		if err := r.rest(ctx); err != nil {
			return until, err
		}
		if s.Kind == StepCopy {
			if s.State != store.StepSucceeded {
				err = r.copyImage(ctx, at)
			}
		} else if slices.Contains(deploySteps, s.Kind) {
			if s.Kind != StepObserve { // whose time is that of apply
				if s.StartedAt.IsZero() && s.Kind == StepApply {
					if s, _, err = r.begin(ctx, "deployment", r.d.ID, s.Kind); err != nil {
						return until, err
					}
				}
				at.until = r.since(cmp.Or(s.StartedAt.Time, r.DB.Now())).Add(r.env.Timeout)
			}
			at.step = s.Kind
			err = r.deploy(ctx, s, *at)
		} else if s.State != store.StepSucceeded && s.State != store.StepSkipped {
			until, err = r.advance(ctx, s.Kind, at)
		}
		if errors.Is(err, errRests) && r.d.State != store.Paused { // it may have been asked for while something was waited for
			if now := r.rest(ctx); now != nil {
				err = now
			}
		}
		if err != nil || !until.IsZero() {
			return until, err
		}
	}
	keeps, err := r.keeps()
	if err != nil {
		return until, err
	}
	return until, r.DB.Update(ctx, func(tx *store.Tx) error {
		if err := errors.Join(tx.EndDeployment(r.d, store.Succeeded, "", nil), r.settle(tx, keeps), overtake(tx, r.d)); err != nil || r.d.RollbackOf == "" {
			return err
		}
		from, err := tx.Deployment(r.d.RollbackOf)
		if err == nil && from.OrderID != "" {
			err = tx.Wake(store.TaskReport, "order/"+from.OrderID)
		}
		return errors.Join(err, tx.Wake(store.TaskReport, "deployment/"+r.d.RollbackOf)) // which now says what it was taken back to
	})
}

// deploy does one of deploySteps where it is not done yet.
func (r *flowRun) deploy(ctx context.Context, s store.Step, at moment) error {
	ctx, cancel := context.WithDeadline(ctx, at.until)
	defer cancel()
	switch {
	case s.State == store.StepSucceeded && s.Kind == StepApply: // it may have been killed in between
		return r.enter(ctx, store.Progressing)
	case s.State == store.StepSucceeded:
	case s.Kind == StepApply:
		ctx, stop := finishing(ctx)
		defer stop()
		err := r.step(ctx, "deployment", r.d.ID, s.Kind, func() (string, error) {
			err := r.sweep(ctx)
			if err != nil {
				return "", err
			}
			objs, err := r.rollout().set(ctx)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d objects", len(objs)), r.apply(ctx, objs)
		})
		if err != nil {
			return err
		}
		return r.enter(ctx, store.Progressing)
	case s.Kind == StepObserve:
		var news rolloutNews
		err := r.step(ctx, "deployment", r.d.ID, s.Kind, func() (string, error) {
			objs, err := r.rollout().set(ctx)
			if err == nil {
				err = r.thaw(ctx, objs)
			}
			if err == nil {
				err = r.unlessPaused(ctx, func(ctx context.Context) error { return r.cluster.Wait(ctx, objs, r.telling(ctx, &news)) })
			}
			return r.Mask(news.String()), err
		})
		if err != nil {
			return err
		}
	case s.Kind == StepVerify:
		if err := r.enter(ctx, store.Verifying); err != nil {
			return err
		}
		err := r.step(ctx, "deployment", r.d.ID, s.Kind, func() (string, error) {
			warnings, err := r.cluster.Verify(ctx, r.objs, r.images)
			if err != nil {
				return "", err
			}
			if err := r.rollout().finish(ctx); err != nil {
				return "", err
			}
			before, err := r.left(ctx)
			if err != nil {
				return "", err
			}
			keeps, err := r.keeps()
			if err != nil {
				return "", permanent{err}
			}
			gone, err := r.cluster.Prune(ctx, before, kube.InventoryOf(r.objs).And(keeps), r.owner(r.d, r.env))
			for _, g := range gone {
				warnings = append(warnings, "removed "+g)
			}
			if len(keeps) > 0 {
				warnings = append(warnings, "what it replaced is kept for "+shortDuration(r.env.Strategy.BlueGreen.Keep))
			}
			return r.Mask(strings.Join(warnings, "; ")), err
		})
		if err != nil {
			return err
		}
		return r.DB.Update(ctx, func(tx *store.Tx) error { // what kept it from being verified is over
			observed, err := tx.Step(r.d.ID, StepObserve)
			return errors.Join(err, tx.Progress(r.d, observed.Detail))
		})
	}
	return nil
}

// apply brings objects to the cluster, after the secret by which it pulls their images.
func (r *flowRun) apply(ctx context.Context, objs []*unstructured.Unstructured) error {
	if err := r.pullSecret(ctx, r.env, r.cluster, r.images); err != nil {
		return err
	}
	err := r.cluster.Apply(ctx, objs, kube.ApplyOptions{Force: r.env.Conflicts == Force, Adopt: Adopts(r.d.Spec.V)})
	return whole(err, r.owner(r.d, r.env))
}

// giveBack applies objects as they were: it takes nothing over, and needs no secret, since it makes no pods.
func (r *flowRun) giveBack(ctx context.Context, objs ...*unstructured.Unstructured) error {
	return whole(r.cluster.Apply(ctx, objs, kube.ApplyOptions{Force: r.env.Conflicts == Force}), r.owner(r.d, r.env))
}

// enter moves the deployment on to a state that it has not reached yet, unless somebody asked to stop it.
func (r *flowRun) enter(ctx context.Context, state string) error {
	order := []string{store.Applying, store.Progressing, store.Verifying}
	if r.d.State == store.Paused || slices.Index(order, r.d.State) >= slices.Index(order, state) { // what rests goes on by being resumed
		return nil
	}
	return r.DB.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Deployment(r.d.ID)
		if err != nil {
			return err
		}
		if now.CancelBy != "" { // a safe point
			return errStopped
		}
		r.d.State = state
		if state == store.Progressing { // what kept it from being applied is over
			err = tx.Progress(r.d, "")
		}
		return errors.Join(err, tx.Advance(now, state))
	})
}

// telling records how a rollout or a Job goes. It is told, not needed: an error here must not fail them.
func (r *flowRun) telling(ctx context.Context, news *rolloutNews) func(kube.Progress) {
	return func(p kube.Progress) {
		line := r.Mask(news.add(p))
		_ = r.DB.Update(ctx, func(tx *store.Tx) error { return tx.Progress(r.d, line) })
	}
}

// fail ends a deployment that began, and goes back to what was live before where the environment wants that.
func (e *Engine) fail(ctx context.Context, d store.Deployment, env Environment, f *store.Failure) error {
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Deployment(d.ID)
		if err != nil {
			return err
		}
		if now.CancelBy != "" && !now.Abort { // whoever cancelled it meanwhile said what comes next
			return tx.EndDeployment(d, store.Cancelled, "by "+now.CancelBy, f)
		}
		live, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
		if err != nil {
			return err
		}
		changed, err := tx.Step(d.ID, env.Strategy.changes())
		if err != nil {
			return err
		}
		goBack := live != nil && (env.Rollback != Manual || now.Abort) && !changed.StartedAt.IsZero() &&
			d.RollbackOf == "" // a way back that failed is not tried in circles
		if now.Abort {
			return e.aborted(tx, now, live, goBack, f)
		}
		if goBack {
			if f.Ran, err = tx.JobsOf(d.ID); err != nil {
				return err
			}
		}
		if err := tx.EndDeployment(d, store.Failed, f.Reason, f); err != nil || !goBack {
			return err
		}
		if len(f.Ran) > 0 { // the release before may not be made for what they did: a person has to tell
			return tx.Audit(store.Entry{Actor: "shipmate", Via: "engine", Action: "not recovered", Repo: d.Repo, Subject: "deployment/" + d.ID,
				Detail: fmt.Sprintf("deployment %d failed after %s ran: release %d is not gone back to by itself", d.Number, strings.Join(f.Ran, ", "), live.Release)})
		}
		back, err := NewRollback(tx, d, *live, store.CauseRecovery, "shipmate", d.Event)
		if err != nil {
			return err
		}
		return tx.Audit(store.Entry{Actor: "shipmate", Via: "engine", Action: "recover", Repo: d.Repo, Subject: "deployment/" + back.ID,
			Detail: fmt.Sprintf("deployment %d failed: back to release %d", d.Number, live.Release)})
	})
}

// Objects returns the rendered objects of a deployment as they run, and the Jobs that its flow runs, nil when it is not rendered yet. A
// way back runs none.
func (e *Engine) Objects(d store.Deployment) (applied, jobs []*unstructured.Unstructured, err error) {
	if d.Objects == nil {
		return nil, nil, nil
	}
	plain, err := e.Sealer.Open(d.Objects, d.Repo)
	if err != nil {
		return nil, nil, err
	}
	objs, err := kube.Decode(plain)
	if err != nil {
		return nil, nil, err
	}
	applied, jobs = split(objs)
	if d.Restores != "" {
		jobs = nil
	}
	if d.Colour != "" {
		applied, err = e.asRun(d, applied)
	}
	return applied, jobs, err
}
