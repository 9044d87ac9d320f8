package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// routerSettles is how long pods still run that a router was just told to send nothing to: it takes a moment to obey.
var routerSettles = 5 * time.Second

// router is what parts the traffic of a canary.
func (t Traffic) router() kube.Router {
	switch {
	case t.Nginx != "":
		return kube.Router{Kind: kube.NginxRouter, Name: t.Nginx}
	case t.Istio != "":
		return kube.Router{Kind: kube.IstioRouter, Name: t.Istio}
	}
	return kube.Router{}
}

// plan is the canary of workload, one of objs, beside what released has; an error tells why none is possible.
func (c *Canary) plan(objs, released []*unstructured.Unstructured, workload *unstructured.Unstructured) (*kube.Canary, error) {
	p, err := kube.NewCanary(objs, released, workload, c.Traffic.router())
	for _, s := range c.Steps {
		if err == nil && s.shares() {
			_, err = p.Route(s.share())
		}
	}
	return p, err
}

// last is the share that a canary has in the end.
func (c *Canary) last() (share kube.Share) {
	for _, s := range c.Steps {
		if s.shares() {
			share = s.share()
		}
	}
	return share
}

// canary brings the release up beside the live one, sends it more of the traffic step by step, and then replaces the live one as
// rolling does. Nothing is kept in memory: what is to be done follows from the objects of both releases and from the steps.
type canary struct{ *flowRun }

// plan is the canary of the deployment. It is the same each time.
func (c canary) plan() (*kube.Canary, error) {
	released, _, err := c.Objects(*c.live)
	if err != nil {
		return nil, err
	}
	if len(released) == 0 {
		return nil, permanent{fmt.Errorf("the objects of release %d, which is live, are kept no more", c.live.Release)}
	}
	workload, err := kube.Workload(c.objs, c.images, c.env.Strategy.workload())
	if err != nil {
		return nil, permanent{err}
	}
	p, err := c.env.Strategy.Canary.plan(c.objs, released, workload)
	if err != nil {
		return nil, permanent{err}
	}
	return p, nil
}

// firstCanary is the step of a deployment that decides whether there is a canary, and what it has decided.
func (r *flowRun) firstCanary(ctx context.Context) (kind string, decided store.StepResult, err error) {
	err = r.DB.View(ctx, func(tx *store.Tx) error {
		steps, err := tx.Steps(r.d.ID)
		if i := slices.IndexFunc(steps, func(s store.Step) bool { return strings.HasPrefix(s.Kind, verbCanary+"/") }); i >= 0 {
			kind, decided = steps[i].Kind, resultOf(steps[i])
		}
		return err
	})
	return kind, decided, err
}

// begun is the canary of the deployment where something of it may be in the cluster, else nil.
func (c canary) begun(ctx context.Context) (*kube.Canary, error) {
	_, decided, err := c.firstCanary(ctx)
	if err != nil || !decided.Began {
		return nil, err
	}
	return c.plan()
}

// decide tells why there can be no canary, empty where there is to be one. A dead one's is out of the way then.
func (c canary) decide(ctx context.Context) (why string, err error) {
	if c.live == nil {
		return "nothing is live here yet", nil
	}
	if err := c.sweep(ctx); err != nil {
		return "", err
	}
	p, err := c.plan()
	if isPermanent(err) { // it fits by itself, as was seen when it was rendered: the live release is another
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	ref := kube.RefOf(p.Workload)
	live, err := c.cluster.Live(ctx, ref)
	switch {
	case err != nil:
		return "", err
	case live == nil:
		return fmt.Sprintf("%s is not in the cluster yet", ref), nil
	case kube.Replicas(live) == 0:
		return fmt.Sprintf("%s has no pods", ref), nil
	case p.Router.Kind != "" && !kube.Tracked(live):
		return fmt.Sprintf("the pods of %s have no label %s yet; the next release finds it", ref, kube.LabelTrack), nil
	}
	return "", c.remember(ctx, p.Inventory())
}

// remember has whatever replaces the live release remove what stands beside it, also where this deployment dies.
func (c canary) remember(ctx context.Context, beside kube.Inventory) error {
	return c.recount(ctx, func(all kube.Inventory) kube.Inventory {
		for _, ref := range beside {
			if !slices.Contains(all, ref) {
				all = append(all, ref)
			}
		}
		return all
	})
}

// recount changes what is known to be in the cluster because of the live release.
func (r *flowRun) recount(ctx context.Context, change func(kube.Inventory) kube.Inventory) error {
	return r.DB.Update(ctx, func(tx *store.Tx) error {
		live, err := tx.Deployment(r.live.ID)
		if err != nil {
			return err
		}
		all, err := inventoryOf(live)
		if err != nil {
			return err
		}
		text, err := json.Marshal(change(all))
		if err != nil {
			return err
		}
		r.live.Inventory.V = text
		return tx.SetInventory(live, text)
	})
}

// sweep removes what a canary left beside the live release that died: its Ingress first. One that runs is left alone.
func (r *flowRun) sweep(ctx context.Context) error {
	if r.live == nil {
		return nil
	}
	if _, decided, err := r.firstCanary(ctx); err != nil || decided.Began {
		return err
	}
	inventory, err := inventoryOf(*r.live)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(inventory, func(ref kube.ObjectRef) bool { return !strings.HasSuffix(ref.Name, kube.CanarySuffix) })
	if len(left) == 0 {
		return nil
	}
	released, _, err := r.Objects(*r.live)
	if err != nil {
		return err
	}
	routing := slices.DeleteFunc(slices.Clone(released), func(o *unstructured.Unstructured) bool {
		return o.GetKind() != kube.IstioRouter && o.GetKind() != "Service"
	})
	return r.leave(ctx, left, routing, slices.Concat(released, r.objs))
}

func (c canary) advance(ctx context.Context, s store.Step, _ string, of StrategyStep) (until time.Time, err error) {
	first, decided, err := c.firstCanary(ctx)
	if err != nil {
		return until, err
	}
	if first == s.Kind && !decided.Began {
		why, err := c.decide(ctx)
		if err != nil {
			return until, err
		}
		decided.Began, decided.Skipped = why == "", why
		if err := c.note(ctx, s, decided, ""); err != nil {
			return until, err
		}
		if why != "" {
			return until, c.skip(ctx, s, why)
		}
	}
	p, err := c.plan()
	if err != nil {
		return until, err
	}
	had, detail, err := c.bring(ctx, s, p, of.share())
	if err != nil {
		return until, err
	}
	result := resultOf(s)
	if first == s.Kind {
		result = decided
	}
	result.Share = had
	return until, c.end(ctx, s, detail, &result)
}

// bring gives a canary its share of the traffic: its pods first. had is what it really has got.
func (c canary) bring(ctx context.Context, s store.Step, p *kube.Canary, share kube.Share) (had, detail string, err error) {
	if err := c.alone(ctx, p); err != nil {
		return "", "", err
	}
	ref := kube.RefOf(p.Workload)
	live, err := c.cluster.Live(ctx, ref)
	if err != nil {
		return "", "", err
	}
	if live == nil {
		return "", "", permanent{fmt.Errorf("%s is in the cluster no more, so there is nothing that a canary could stand beside", ref)}
	}
	others := kube.Replicas(live)
	pods := p.Pods(c.most(s, p), others)
	objs, err := p.Objects(pods)
	if err != nil {
		return "", "", permanent{err}
	}
	stable, err := p.Narrow(share)
	if err != nil {
		return "", "", permanent{err}
	}
	if stable != nil { // else its pods would have a share by their number as soon as they are ready
		if err := c.put(ctx, stable); err != nil {
			return "", "", err
		}
	}
	if err := c.put(ctx, objs...); err != nil {
		return "", "", err
	}
	var news rolloutNews
	err = c.unlessPaused(ctx, func(ctx context.Context) error {
		return c.cluster.Wait(ctx, []*unstructured.Unstructured{p.Deployment()}, c.telling(ctx, &news))
	})
	if err != nil {
		return "", "", err
	}
	if p.Router.Kind == "" {
		all := pods + others
		had = fmt.Sprintf("%d%%", (200*pods+all)/(2*all))
		return had, fmt.Sprintf("%d of %d pods, %s", pods, all, had), nil
	}
	route, err := p.Route(share)
	if err != nil {
		return "", "", permanent{err}
	}
	return share.String(), fmt.Sprintf("%s by %s, pods: %d beside %d", share, p.Router, pods, others), c.put(ctx, route)
}

// most is the weight by which the pods of a canary are counted in one of its steps. With a router it never falls: pods would be gone
// before less is sent to them.
func (c canary) most(s store.Step, p *kube.Canary) (weight int) {
	for _, step := range c.env.Strategy.Canary.Steps[:position(s.Kind)] {
		if weight = max(weight, step.Weight); p.Router.Kind == "" {
			weight = step.Weight
		}
	}
	return weight
}

// alone refuses a canary where another has its place.
func (c canary) alone(ctx context.Context, p *kube.Canary) error {
	for _, ingress := range p.Ingress() {
		all, err := c.cluster.List(ctx, ingress)
		if err != nil {
			return err
		}
		if err := p.Rival(all); err != nil {
			return permanent{err}
		}
	}
	return nil
}

// put applies objects; what has begun is not left half-done.
func (c canary) put(ctx context.Context, objs ...*unstructured.Unstructured) error {
	ctx, stop := finishing(ctx)
	defer stop()
	return c.apply(ctx, objs)
}

func (c canary) set(ctx context.Context) ([]*unstructured.Unstructured, error) {
	p, err := c.begun(ctx)
	if err != nil || p == nil {
		return c.objs, err
	}
	return p.Keep(c.objs, c.env.Strategy.Canary.last())
}

func (c canary) finish(ctx context.Context) error {
	p, err := c.begun(ctx)
	if err != nil || p == nil {
		return err
	}
	return c.leave(ctx, p.Inventory(), p.After(), c.objs)
}

func (c canary) undo(ctx context.Context) error {
	p, err := c.begun(ctx)
	if err != nil || p == nil {
		return err
	}
	released, _, err := c.Objects(*c.live)
	if err != nil {
		return err
	}
	return c.leave(ctx, p.Inventory(), p.Before(), released)
}

// leave takes the traffic from a canary, and then removes what stands beside: what stays are objs, and of them routing brings the
// traffic to the pods. Only what a canary did is undone, so that this can be repeated, and ends what was begun.
func (r *flowRun) leave(ctx context.Context, beside kube.Inventory, routing, objs []*unstructured.Unstructured) error {
	owner, stays := r.owner(r.d, r.env), kube.InventoryOf(objs)
	ingresses := slices.DeleteFunc(slices.Clone(beside), func(ref kube.ObjectRef) bool { return ref.Kind != kube.NginxRouter })
	gone, err := r.cluster.Prune(ctx, ingresses, stays, owner)
	if err != nil {
		return err
	}
	turned := len(gone) > 0
	for _, obj := range routing {
		if obj.GetKind() == kube.IstioRouter {
			plain, err := r.restore(ctx, obj)
			if err != nil {
				return err
			}
			turned = turned || plain
		}
	}
	if turned {
		select {
		case <-time.After(routerSettles):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, err := r.cluster.Prune(ctx, beside, stays, owner); err != nil {
		return err
	}
	for _, obj := range routing { // last: a Service leads to all pods again
		if obj.GetKind() != kube.IstioRouter {
			if _, err := r.restore(ctx, obj); err != nil {
				return err
			}
		}
	}
	return r.recount(ctx, func(all kube.Inventory) kube.Inventory {
		return slices.DeleteFunc(all, func(ref kube.ObjectRef) bool { return slices.Contains(beside, ref) && !slices.Contains(stays, ref) })
	})
}

// restore applies an object as a release has it, where the one in the cluster is changed for the canary.
func (r *flowRun) restore(ctx context.Context, obj *unstructured.Unstructured) (changed bool, err error) {
	live, err := r.cluster.Live(ctx, kube.RefOf(obj))
	if err != nil || live == nil || live.GetAnnotations()[kube.AnnotationCanary] == "" {
		return false, err
	}
	return true, r.giveBack(ctx, obj)
}

// skip ends a step that is not needed, and says why.
func (r *flowRun) skip(ctx context.Context, s store.Step, why string) error {
	return r.DB.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.EndStep(r.d.ID, s.Kind, store.StepSkipped, r.Mask(oneLine(why))), tx.Progress(r.d, ""), tx.Wake(store.TaskReport, "deployment/"+r.d.ID))
	})
}
