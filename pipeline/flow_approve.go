package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// errUndecided is that nobody decided in time at a step of a flow.
var errUndecided = errors.New(store.ReasonUndecided)

// Asking is the step of its flow at which a deployment waits for approvals, by its kind, and what it wants; ok is false where it
// waits at none. The cluster's floor is about the deployment as a whole, and has been asked for before it began.
func Asking(d store.Deployment) (step string, wants Approvals, ok bool) {
	i := slices.IndexFunc(d.Blocks.V, func(b store.Block) bool { return b.Kind == store.BlockApproval && b.Text != "" })
	if d.State != store.Paused || i < 0 {
		return "", wants, false
	}
	var spec Spec
	if json.Unmarshal(d.Spec.V, &spec) != nil {
		return "", wants, false
	}
	step = d.Blocks.V[i].Text
	_, _, of, err := spec.Environment.flowStep(step)
	if err != nil || of.Approve == nil {
		return "", wants, false
	}
	return step, spec.Environment.wants(*of.Approve), true
}

// wants is what a step of the flow asks for: who may approve is the environment's to say where the step does not.
func (e *Environment) wants(a Approvals) Approvals {
	if len(a.By) == 0 {
		a.By = e.Approvals.By
	}
	return a
}

// boundAt is what a vote at a step is bound to: what one before the deployment began is, and the step.
func boundAt(bound, step string) string { return bound + " " + step }

// Agreed lists whose approvals count that were given for what a deployment is now, before it began and at the steps of its flow.
func Agreed(votes []store.Approval, r store.Rules) (who []string) {
	base, _, _ := strings.Cut(r.Bound, " ")
	for _, v := range votes {
		of, _, _ := strings.Cut(v.Bound, " ")
		if v.Vote == "approve" && of == base && !slices.Contains(who, v.Login) {
			who = append(who, v.Login)
		}
	}
	return who
}

// Reject ends the wait of a deployment at a step of its flow: it fails there, and what it changed is taken back as after any failure.
func Reject(tx *store.Tx, d store.Deployment, step, by, reason string) error {
	f := &store.Failure{Step: step, Reason: store.ReasonRejected + by + ": " + reason}
	return errors.Join(tx.WillFail(d, f), tx.Unpause(d, ""))
}

// approve waits until as many have approved as a step wants. until is when it is looked at again: to remind, or to give up.
func (r *flowRun) approve(ctx context.Context, step store.Step, of Approvals) (until time.Time, err error) {
	of = r.env.wants(of)
	late, busy := false, false
	err = r.DB.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Deployment(r.d.ID)
		if err != nil {
			return err
		}
		if busy = d.CancelBy != "" || d.Pause.V != nil || d.Failure.V != nil; busy {
			return nil // it is looked at again
		}
		if d.Cause == store.CauseNow {
			return r.approved(tx, d, step, "without approval, as it was asked for", nil)
		}
		f, err := r.facts(tx, d)
		if err != nil {
			return err
		}
		bound := boundAt(f.Bound, step.Kind)
		if d.Rules.V == nil || d.Rules.V.Bound != bound { // or the cluster's floor has changed
			rules := store.Rules{Bound: bound, Step: step.Kind}
			if had := d.Rules.V; had != nil {
				rules.Asked, rules.Changes = had.Asked, had.Changes
			}
			if err := tx.Ask(d, rules, tx.Now().Add(of.Expire)); err != nil {
				return err
			}
			if d, err = tx.Deployment(d.ID); err != nil {
				return err
			}
		}
		have := Approvers(f.Votes, bound)
		if len(have) >= of.Count {
			return r.approved(tx, d, step, "approved by "+strings.Join(have, ", "), have)
		}
		if late = !tx.Now().Before(d.ExpiresAt.Time); late {
			return nil
		}
		until = d.ExpiresAt.Time
		if d.RemindedAt.IsZero() {
			if half := until.Add(-of.Expire / 2); tx.Now().Before(half) {
				until = half
			} else if err := tx.Remind(d); err != nil {
				return err
			}
		}
		return tx.Pause(d, []store.Block{{Kind: store.BlockApproval, Have: len(have), Need: of.Count, By: of.By, Since: step.StartedAt.Time, Text: step.Kind}})
	})
	switch {
	case err != nil:
		return time.Time{}, err
	case busy:
		return time.Time{}, errRests
	case late:
		return time.Time{}, permanent{errUndecided}
	}
	return until, nil
}

// approved ends the wait of a step.
func (r *flowRun) approved(tx *store.Tx, d store.Deployment, step store.Step, how string, by []string) error {
	return errors.Join(tx.EndStep(d.ID, step.Kind, store.StepSucceeded, how), tx.Unpause(d, strings.Join(by, ", ")), tx.Progress(d, ""), tx.Wake(store.TaskReport, "deployment/"+d.ID))
}
