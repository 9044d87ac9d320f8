package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// blueGreen brings the new release up as the colour that does not serve, and then turns the Services to it, each by one apply.
type blueGreen struct{ *flowRun }

// maxBegun is how many deployments of an environment are looked at that began since what is live succeeded.
const maxBegun = 50

// serving is the deployment that the Services lead to while d begins or is made: the newest other one that began to change what was
// live before, or what is live. nil where there is none.
func serving(tx *store.Tx, d store.Deployment) (*store.Deployment, error) {
	begun, err := tx.Begun(d.Repo, d.App, d.Environment, maxBegun)
	if err != nil {
		return nil, err
	}
	for _, o := range begun {
		var spec Spec
		if o.ID == d.ID {
			continue
		}
		if o.State == store.Succeeded {
			return &o, nil
		}
		if err := json.Unmarshal(o.Spec.V, &spec); err != nil {
			return nil, err
		}
		s, err := store.Optional(tx.Step(o.ID, spec.Environment.Strategy.changes()))
		if err != nil || s != nil && !s.StartedAt.IsZero() {
			return &o, err
		}
	}
	return store.Optional(tx.Live(d.Repo, d.App, d.Environment))
}

// chooseColour records as which colour a deployment runs that begins.
func chooseColour(tx *store.Tx, d store.Deployment) error {
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil || spec.Environment.Strategy.BlueGreen == nil {
		return err
	}
	was, err := serving(tx, d)
	if err != nil {
		return err
	}
	live, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
	if err != nil {
		return err
	}
	return tx.RunAs(d, nextColour(d, was, live))
}

// nextColour is the one that does not serve. What runs under the manifest's own names counts as blue.
func nextColour(d store.Deployment, was, live *store.Deployment) string {
	if was != nil && was.Colour == "" && live != nil && live.Colour != "" { // it failed, and the colour that is live still runs
		if d.Restores != "" && d.ObjectsHash == live.ObjectsHash {
			return live.Colour
		}
		was = live
	}
	if was == nil || was.Colour == kube.TrackGreen {
		return kube.TrackBlue
	}
	return kube.TrackGreen
}

// asRun are a deployment's objects under the names that they have as its colour.
func (e *Engine) asRun(d store.Deployment, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	var rel store.Release
	err := e.DB.View(context.Background(), func(tx *store.Tx) (err error) { rel, err = tx.Release(d.Repo, d.App, d.Release); return err })
	if err != nil {
		return nil, err
	}
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return nil, err
	}
	return e.coloured(objs, rel, spec.Environment, d.Colour)
}

func (e *Engine) coloured(objs []*unstructured.Unstructured, rel store.Release, env Environment, colour string) ([]*unstructured.Unstructured, error) {
	images, err := e.images(rel, env)
	if err != nil {
		return nil, err
	}
	workload, err := kube.Workload(objs, images, env.Strategy.workload())
	if err != nil {
		return nil, err
	}
	return kube.Coloured(objs, workload, colour)
}

// compared are a new release's objects under the names of the colour that is live, so that they differ from what is live in what changes.
// Copies are left out: they change as what they are copies of.
func (e *Engine) compared(objs []*unstructured.Unstructured, live *store.Deployment, rel store.Release, env Environment) ([]*unstructured.Unstructured, error) {
	if live == nil || live.Colour == "" || env.Strategy.BlueGreen == nil {
		return objs, nil
	}
	all, err := e.coloured(objs, rel, env, live.Colour)
	had := kube.InventoryOf(objs)
	return slices.DeleteFunc(all, func(o *unstructured.Unstructured) bool { return o.GetKind() != "Deployment" && !had.Has(kube.RefOf(o)) }), err
}

// fits tells why the strategy is not possible for objects.
func (b BlueGreen) fits(objs []*unstructured.Unstructured, workload *unstructured.Unstructured) error {
	return kube.CanTurn(objs, workload, b.Preview)
}

// inventory is what a deployment has in the cluster, without what it keeps of the one that it replaced.
func (e *Engine) inventory(d *store.Deployment) (kube.Inventory, error) {
	if d == nil {
		return nil, nil
	}
	objs, _, err := e.Objects(*d)
	if err != nil || objs != nil {
		return kube.InventoryOf(objs), err
	}
	return inventoryOf(*d) // its objects are kept no more
}

func inventoryOf(d store.Deployment) (v kube.Inventory, err error) {
	if err = json.Unmarshal(d.Inventory.V, &v); err != nil {
		err = permanent{err}
	}
	return v, err
}

// called is the name of the workload as a colour.
func (b blueGreen) called(colour string) string {
	w := kube.OfColour(b.objs, b.d.Colour)
	if w == nil {
		return ""
	}
	name := strings.TrimSuffix(w.GetName(), "-"+b.d.Colour)
	if colour != "" {
		name += "-" + colour
	}
	return name
}

// ahead parts what is applied before the Services turn from the rest.
func (b blueGreen) ahead() (first, rest []*unstructured.Unstructured, err error) {
	had, err := b.inventory(b.was)
	first = kube.Ahead(b.objs, had)
	rest = slices.DeleteFunc(slices.Clone(b.objs), func(o *unstructured.Unstructured) bool { return slices.Contains(first, o) })
	return first, rest, err
}

// narrowed are the Services of what is live under the manifest's own name, which would lead to the new pods too: until they turn, they
// lead to its pods alone.
func (b blueGreen) narrowed() ([]*unstructured.Unstructured, error) {
	if b.was == nil || b.was.State != store.Succeeded || b.was.Colour != "" {
		return nil, nil // what serves though it failed may be broken, and is not told from others then
	}
	objs, _, err := b.Objects(*b.was)
	if err != nil {
		return nil, err
	}
	return kube.Narrowed(objs, b.called(""))
}

func (b blueGreen) set(ctx context.Context) ([]*unstructured.Unstructured, error) {
	objs, _, err := b.ahead()
	if err != nil {
		return nil, err
	}
	if name := b.env.Strategy.BlueGreen.Preview; name != "" && b.d.Restores == "" { // a way back does not stop to be looked at
		if preview := kube.Preview(b.objs, b.d.Colour, name); preview != nil {
			objs = append(objs, preview)
		}
	}
	inventory, err := json.Marshal(kube.InventoryOf(b.objs).And(kube.InventoryOf(objs)))
	if err != nil {
		return nil, err
	}
	if err := b.DB.Update(ctx, func(tx *store.Tx) error { return tx.SetInventory(b.d, inventory) }); err != nil {
		return nil, err
	}
	narrowed, err := b.narrowed()
	if err != nil {
		return nil, err
	}
	return b.sized(ctx, append(objs, narrowed...))
}

// sized gives the workload as many pods as what serves has by now, where something scales it: it is to take all of the requests at once.
func (b blueGreen) sized(ctx context.Context, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	w := kube.OfColour(objs, b.d.Colour)
	if w == nil || b.was == nil || !kube.IsScaled(b.objs, w) {
		return objs, nil
	}
	ref := kube.RefOf(w)
	ref.Name = b.called(b.was.Colour)
	live, err := b.cluster.Live(ctx, ref)
	if err == nil && live != nil {
		objs[slices.Index(objs, w)] = kube.AtLeast(w, kube.Replicas(live))
	}
	return objs, err
}

// advance turns the Services, and brings what else there is of the release.
func (b blueGreen) advance(ctx context.Context, s store.Step, _ string, _ StrategyStep) (until time.Time, err error) {
	_, rest, err := b.ahead()
	if err != nil {
		return until, err
	}
	if len(rest) > 0 {
		longer, stop := finishing(ctx)
		err = b.apply(longer, rest)
		stop()
	}
	if err == nil && len(rest) > 0 {
		err = b.unlessPaused(ctx, func(ctx context.Context) error { return b.cluster.Wait(ctx, rest, b.telling(ctx, &rolloutNews{})) })
	}
	if err != nil {
		return until, err
	}
	return until, b.end(ctx, s, "to Deployment/"+b.called(b.d.Colour), nil)
}

// finish has nothing to do: the preview is pruned with what the release has no more.
func (b blueGreen) finish(context.Context) error { return nil }

// undo deletes the new colour and what else came with it.
func (b blueGreen) undo(ctx context.Context) error {
	var now store.Deployment
	var applied store.Step
	err := b.DB.View(ctx, func(tx *store.Tx) (err error) {
		if now, err = tx.Deployment(b.d.ID); err != nil {
			return err
		}
		if b.was, err = serving(tx, now); err != nil { // what is of it must be known: it stays
			return err
		}
		applied, err = tx.Step(b.d.ID, StepApply)
		return err
	})
	if err != nil || applied.StartedAt.IsZero() {
		return err // what runs as its colour is kept of another
	}
	made, err := inventoryOf(now)
	if err != nil {
		return err
	}
	stays, err := b.inventory(b.was)
	if err != nil {
		return err
	}
	if b.d.Restores != "" && b.live != nil { // it may have changed nothing of what is kept for it
		kept, err := inventoryOf(*b.live)
		if err != nil {
			return err
		}
		stays = stays.And(kept)
	}
	if _, err := b.cluster.Prune(ctx, made, stays, b.owner(b.d, b.env)); err != nil {
		return err
	}
	narrowed, err := b.narrowed()
	if err != nil || len(narrowed) == 0 {
		return err
	}
	before, _, err := b.Objects(*b.was)
	if err != nil {
		return err
	}
	services := kube.InventoryOf(narrowed)
	return b.giveBack(ctx, slices.DeleteFunc(before, func(o *unstructured.Unstructured) bool { return !services.Has(kube.RefOf(o)) })...)
}

// left is what deployments have left in the cluster since what is live succeeded, this one included, and what that has there.
func (r *flowRun) left(ctx context.Context) (all kube.Inventory, err error) {
	err = r.DB.View(ctx, func(tx *store.Tx) error {
		begun, err := tx.Begun(r.d.Repo, r.d.App, r.d.Environment, maxBegun)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(begun, func(d store.Deployment) bool { return d.State == store.Succeeded }); i >= 0 {
			begun = begun[:i]
		}
		if r.live != nil {
			begun = append(begun, *r.live)
		}
		for _, d := range slices.Backward(begun) {
			of, err := inventoryOf(d)
			if err != nil {
				return err
			}
			all = all.And(of)
		}
		return nil
	})
	return all, err
}

// keeps is what a deployment leaves running of the one that it replaced, for a while.
func (r *flowRun) keeps() (kube.Inventory, error) {
	s := r.env.Strategy.BlueGreen
	if s == nil || s.Keep == 0 || r.was == nil || r.was.State != store.Succeeded {
		return nil, nil
	}
	objs, _, err := r.Objects(*r.was)
	if err != nil {
		return nil, err
	}
	own := kube.InventoryOf(r.objs)
	kept := kube.InventoryOf(kube.Standing(objs, blueGreen{r}.called(r.was.Colour)))
	return slices.DeleteFunc(kept, own.Has), nil
}

// settle records what a deployment has in the cluster that succeeds, and until when what it replaced is kept.
func (r *flowRun) settle(tx *store.Tx, keeps kube.Inventory) error {
	if r.live != nil && !r.live.RetireAt.IsZero() { // nothing of it is left
		if err := tx.RetireAt(*r.live, time.Time{}); err != nil {
			return err
		}
	}
	s := r.env.Strategy.BlueGreen
	if s == nil {
		return nil
	}
	inventory, err := json.Marshal(kube.InventoryOf(r.objs).And(keeps))
	if err != nil {
		return err
	}
	if err := tx.SetInventory(r.d, inventory); err != nil || len(keeps) == 0 {
		return err
	}
	return tx.RetireAt(r.d, tx.Now().Add(s.Keep))
}

// makeWay removes what is kept of a release before where Services are about to lead to all pods again, but for what is of this one.
func (r *flowRun) makeWay(ctx context.Context) error {
	if r.env.Strategy.BlueGreen != nil || r.live == nil || r.live.RetireAt.IsZero() {
		return nil
	}
	if err := r.retire(ctx, *r.live, r.cluster, r.env, kube.InventoryOf(r.objs)); err != nil {
		return err
	}
	r.live.RetireAt = store.Time{}
	return nil
}

// retireKept removes what a live deployment still keeps of the one that it replaced.
func (e *Engine) retireKept(ctx context.Context, d store.Deployment) error {
	env, cluster, err := e.environment(d)
	if err != nil { // it may go there no more: what is there is left, and listed for the day when it may again
		return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.RetireAt(d, time.Time{}) })
	}
	return e.retire(ctx, d, cluster, env, nil)
}

func (e *Engine) retire(ctx context.Context, d store.Deployment, cluster Cluster, env Environment, stays kube.Inventory) error {
	kept, err := inventoryOf(d)
	if err != nil {
		return err
	}
	own, err := e.inventory(&d)
	if err != nil {
		return permanent{err}
	}
	if _, err := cluster.Prune(ctx, kept, own.And(stays), e.owner(d, env)); err != nil {
		return fmt.Errorf("what release %d replaced: %w", d.Release, err)
	}
	inventory, err := json.Marshal(own)
	if err != nil {
		return err
	}
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		if err := tx.SetInventory(d, inventory); err != nil {
			return err
		}
		return tx.RetireAt(d, time.Time{})
	})
}
