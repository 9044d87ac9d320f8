package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// errRests is that only a person lets a deployment go on.
var errRests = errors.New("paused")

// rest lets the deployment rest where somebody asked for that, which is errRests.
func (r *flowRun) rest(ctx context.Context) error {
	var d store.Deployment
	if err := r.DB.View(ctx, func(tx *store.Tx) (err error) { d, err = tx.Deployment(r.d.ID); return err }); err != nil {
		return err
	}
	r.d = d
	switch {
	case d.CancelBy != "":
		return errStopped
	case d.Pause.V == nil:
		return nil
	}
	if err := r.freeze(ctx); err != nil {
		return err
	}
	err := r.DB.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Deployment(r.d.ID)
		if err != nil || d.Pause.V == nil || d.CancelBy != "" || !store.Active(d.State) { // meanwhile: it is looked at again
			return err
		}
		return tx.Pause(d, []store.Block{{Kind: store.BlockPause, By: []string{d.Pause.V.By}, Since: d.Pause.V.At}})
	})
	if err == nil {
		err = errRests
	}
	return err
}

// since is from when on the time of a step counts: a rest is no part of it.
func (r *flowRun) since(started time.Time) time.Time {
	if r.d.ResumedAt.After(started) {
		return r.d.ResumedAt.Time
	}
	return started
}

// unlessPaused runs fn until somebody asks the deployment to rest: that is errRests.
func (r *flowRun) unlessPaused(ctx context.Context, fn func(context.Context) error) error {
	err := r.while(ctx, func(tx *store.Tx) (bool, error) {
		d, err := tx.Deployment(r.d.ID)
		return d.Pause.V != nil, err
	}, fn)
	if errors.Is(err, errStopped) && ctx.Err() == nil {
		return errRests
	}
	return err
}

// freeze holds the Deployments in the cluster that are under way, and writes that down first. What rests already is held.
func (r *flowRun) freeze(ctx context.Context) error {
	var applied, step store.Step
	err := r.DB.View(ctx, func(tx *store.Tx) (err error) {
		if applied, err = tx.Step(r.d.ID, StepApply); err == nil {
			step, err = tx.Step(r.d.ID, StepObserve)
		}
		return err
	})
	if err != nil || r.d.State == store.Paused || r.env.Strategy.changes() != StepApply || applied.State != store.StepSucceeded || step.State == store.StepSucceeded {
		return err // nothing of it is under way
	}
	step, _, err = r.begin(ctx, "deployment", r.d.ID, StepObserve)
	if err != nil {
		return err
	}
	result := resultOf(step)
	result.Held = true
	if err := r.note(ctx, step, result, r.d.Progress); err != nil {
		return err
	}
	objs, err := r.rollout().set(ctx)
	if err != nil {
		return err
	}
	ctx, stop := finishing(ctx)
	defer stop()
	err = r.apply(ctx, kube.Held(objs))
	var api *kube.Error
	if errors.As(err, new(*kube.Conflict)) || errors.As(err, &api) && !api.Temporary { // it rests all the same: a wish to rest fails nothing
		line := r.Mask("could not be held: " + oneLine(err.Error()))
		return r.DB.Update(ctx, func(tx *store.Tx) error { return tx.Progress(r.d, line) })
	}
	return err
}

// thaw lets go on what freeze holds.
func (r *flowRun) thaw(ctx context.Context, objs []*unstructured.Unstructured) error {
	step, _, err := r.begin(ctx, "deployment", r.d.ID, StepObserve)
	result := resultOf(step)
	if err != nil || !result.Held {
		return err
	}
	if err := r.apply(ctx, objs); err != nil {
		return err
	}
	result.Held = false
	return r.note(ctx, step, result, "")
}

// restStep is a step that rests, for a time or until somebody resumes it.
func (r *flowRun) restStep(ctx context.Context, step store.Step, now time.Time, of Rest) (until time.Time, err error) {
	if !of.Manual {
		until = step.StartedAt.Add(of.For)
	}
	result := resultOf(step)
	if over := !of.Manual && !now.Before(until); over || result.By != "" {
		detail := ""
		if result.By != "" {
			detail = "by " + result.By
		}
		if err := r.DB.Update(ctx, func(tx *store.Tx) error {
			d, err := tx.Deployment(r.d.ID)
			if err != nil {
				return err
			}
			return tx.Unpause(d, result.By)
		}); err != nil {
			return until, err
		}
		return time.Time{}, r.end(ctx, step, detail, nil)
	}
	err = r.DB.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Deployment(r.d.ID)
		if err != nil || d.CancelBy != "" || d.Pause.V != nil {
			return err // it is looked at again
		}
		return tx.Pause(d, []store.Block{{Kind: store.BlockPause, Since: step.StartedAt.Time, Until: until, Text: step.Kind}})
	})
	if err == nil && of.Manual {
		err = errRests
	}
	return until, err
}

// changed tells whether a deployment has begun to change what was live before.
func (r *flowRun) changed(ctx context.Context) (yes bool, err error) {
	err = r.DB.View(ctx, func(tx *store.Tx) error {
		s, err := tx.Step(r.d.ID, r.env.Strategy.changes())
		yes = err == nil && !s.StartedAt.IsZero()
		return err
	})
	return yes, err
}

// takeBack undoes what a deployment did beside the live release that it did not change yet, and deletes its Jobs that run. What
// could not be is told; an error means that it is to be tried again.
func (r *flowRun) takeBack(ctx context.Context) (left *store.Failure, err error) {
	changed, err := r.changed(ctx)
	if err != nil {
		return nil, err
	}
	if !changed {
		ctx, stop := finishing(ctx)
		err = r.rollout().undo(ctx)
		stop()
	}
	var api *kube.Error
	switch {
	case ctx.Err() != nil:
		return nil, errors.Join(ctx.Err(), err)
	case errors.As(err, &api) && api.Temporary:
		return nil, errors.Join(err, r.tellAway(ctx, r.d, api))
	}
	if left = r.stopJobs(ctx); left == nil && err != nil {
		left = r.masked(&store.Failure{Step: StepApply, Reason: oneLine("could not be taken back: " + err.Error()),
			Hint: "look what is left of release " + fmt.Sprint(r.rel.Number) + " in namespace " + r.env.Namespace + "; the next deployment removes it"})
	}
	return left, nil
}

// stop ends a deployment that somebody stopped.
func (r *flowRun) stop(ctx context.Context) error {
	left, err := r.takeBack(ctx)
	if err != nil {
		return err
	}
	d := r.d
	if err := r.DB.View(ctx, func(tx *store.Tx) (err error) { d, err = tx.Deployment(r.d.ID); return err }); err != nil || store.Final(d.State) {
		return err
	}
	if d.Abort {
		return r.fail(ctx, d, r.env, left)
	}
	return r.DB.Update(ctx, func(tx *store.Tx) error { return tx.EndDeployment(d, store.Cancelled, "by "+d.CancelBy, left) })
}

// giveUp ends a deployment that failed, after what can be taken back of it is.
func (r *flowRun) giveUp(ctx context.Context, f *store.Failure) error {
	if err := r.DB.Update(ctx, func(tx *store.Tx) error { return tx.WillFail(r.d, f) }); err != nil {
		return err
	}
	left, err := r.takeBack(ctx)
	if err != nil {
		return err
	}
	if left != nil && f.Hint == "" {
		f.Hint = strings.TrimSpace(left.Where + " " + left.Reason + "; " + left.Hint)
	}
	return r.fail(ctx, r.d, r.env, f)
}

// aborted ends a deployment that somebody aborted, and goes back where it had begun to change what was live.
func (e *Engine) aborted(tx *store.Tx, d store.Deployment, live *store.Deployment, goBack bool, left *store.Failure) error {
	if err := tx.EndDeployment(d, store.Cancelled, "by "+d.CancelBy, left); err != nil || !goBack {
		return err
	}
	back, err := NewRollback(tx, d, *live, store.CauseRecovery, d.CancelBy, d.Event)
	if err != nil {
		return err
	}
	return tx.Audit(store.Entry{Actor: d.CancelBy, Via: "engine", Action: "recover", Repo: d.Repo, Subject: "deployment/" + back.ID,
		Detail: fmt.Sprintf("deployment %d was aborted: back to release %d", d.Number, live.Release)})
}
