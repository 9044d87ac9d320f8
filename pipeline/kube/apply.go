package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// ApplyOptions changes how Apply treats what others own.
type ApplyOptions struct {
	Force bool // takes fields that another manager owns instead of refusing
	Adopt bool // Force, and what kubectl or Helm made of an object is removed where objs have it no more
}

// crdTimeout bounds how long a CustomResourceDefinition may take until its kind can be used.
const crdTimeout = 30 * time.Second

// comingTime is how long what was applied just before may be unknown to a part of the API server.
const comingTime = 5 * time.Second

// Apply makes the cluster's objects what objs say, by server-side apply: definitions
// and namespaces first, workloads last; what is of the same rank, several at a time.
// What is as objs say already is left alone. Everything else is tried by a dry run before
// anything is changed, unless Diff has just done that, as far as that is possible, so a
// refusal usually leaves the cluster as it was. It is safe to repeat.
//
// A field that another manager owns is a *Conflict unless forced; an object of
// another app or environment of Shipmate is one even then. Other refusals are an
// *Error. spec.replicas is left out of an object whose replicas a
// HorizontalPodAutoscaler owns.
func (c *Cluster) Apply(ctx context.Context, objs []*unstructured.Unstructured, opts ApplyOptions) error {
	opts.Force = opts.Force || opts.Adopt
	ordered := slices.Clone(objs)
	slices.SortStableFunc(ordered, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	coming := comingWith(objs)
	found := c.read(ctx, ordered)

	done := make([]bool, len(ordered))
	err := each(len(ordered), func(i int) error {
		live, err := found[i].live, found[i].err
		if err == nil {
			if err := ownedByAnother(ordered[i], live); err != nil {
				return err
			}
			ordered[i] = scaled(ordered[i], live)
			adopts := opts.Adopt && live != nil && len(adoptable(live)) > 0
			if done[i] = !adopts && current(ordered[i], live); done[i] || !adopts && c.trials.has(ordered[i], live, time.Now()) {
				return nil
			}
			_, err = c.patch(ctx, ordered[i], opts.Force, true)
		}
		if err != nil && !coming.explains(err) && !noDryRun(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if opts.Adopt {
		err = each(len(ordered), func(i int) error {
			if found[i].live == nil || done[i] {
				return nil
			}
			return c.adopt(ctx, found[i].live)
		})
		if err != nil {
			return err
		}
	}
	for first := 0; first < len(ordered); {
		next := first + 1
		for next < len(ordered) && rank(ordered[next]) == rank(ordered[first]) {
			next++
		}
		if err := c.applyRank(ctx, ordered[first:next], done[first:next], opts.Force, coming); err != nil {
			return err
		}
		first = next
	}
	return nil
}

// Live returns the object as it is in the cluster, nil if there is none.
func (c *Cluster) Live(ctx context.Context, ref ObjectRef) (*unstructured.Unstructured, error) {
	return c.get(ctx, ref)
}

// List returns the objects of a kind in a namespace; the name that of has does not count.
func (c *Cluster) List(ctx context.Context, of ObjectRef) ([]*unstructured.Unstructured, error) {
	r, err := c.resource(ctx, c.client, of)
	if err != nil {
		return nil, err
	}
	list, err := r.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, explain("list", of, err)
	}
	all := make([]*unstructured.Unstructured, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return all, nil
}

// applyRank applies those of objs, all of one rank, that are not done, and waits for definitions among them.
func (c *Cluster) applyRank(ctx context.Context, objs []*unstructured.Unstructured, done []bool, force bool, coming coming) error {
	var todo, crds []*unstructured.Unstructured
	for i, obj := range objs {
		if !done[i] {
			todo = append(todo, obj)
		}
		if !done[i] && isCRD(obj) {
			crds = append(crds, obj)
		}
	}
	err := each(len(todo), func(i int) error {
		_, err := c.patch(ctx, todo[i], force, false)
		for end := time.Now().Add(comingTime); coming.explains(err) && ctx.Err() == nil && time.Now().Before(end); {
			time.Sleep(comingTime / 50)
			_, err = c.patch(ctx, todo[i], force, false)
		}
		return err
	})
	if err != nil || len(crds) == 0 {
		return err
	}
	return c.established(ctx, crds)
}

// get returns the live object, nil if there is none.
func (c *Cluster) get(ctx context.Context, ref ObjectRef) (*unstructured.Unstructured, error) {
	r, err := c.resource(ctx, c.client, ref)
	if err != nil {
		return nil, err
	}
	live, err := r.Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return live, explain("get", ref, err)
}

// patch applies one object and returns what it then is.
func (c *Cluster) patch(ctx context.Context, obj *unstructured.Unstructured, force, dryRun bool) (*unstructured.Unstructured, error) {
	ref := RefOf(obj)
	r, err := c.resource(ctx, c.client, ref)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(obj.Object)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", ref, err)
	}
	opts := metav1.PatchOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict}
	if force {
		opts.Force = &force
	}
	if dryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	applied, err := r.Patch(ctx, ref.Name, types.ApplyPatchType, data, opts)
	return applied, explain("apply", ref, err)
}

// rank orders kinds for Apply: what others need comes first.
func rank(obj *unstructured.Unstructured) int {
	switch obj.GroupVersionKind().GroupKind().String() {
	case "CustomResourceDefinition.apiextensions.k8s.io":
		return 0
	case "Namespace":
		return 1
	case "ResourceQuota", "LimitRange", "ServiceAccount", "PriorityClass.scheduling.k8s.io", "StorageClass.storage.k8s.io",
		"Role.rbac.authorization.k8s.io", "ClusterRole.rbac.authorization.k8s.io":
		return 2
	case "ConfigMap", "Secret", "PersistentVolume", "PersistentVolumeClaim",
		"RoleBinding.rbac.authorization.k8s.io", "ClusterRoleBinding.rbac.authorization.k8s.io":
		return 3
	case "MutatingWebhookConfiguration.admissionregistration.k8s.io", "ValidatingWebhookConfiguration.admissionregistration.k8s.io":
		return 6 // they would turn away everything until what answers them runs
	}
	if len(podSpecs(obj)) > 0 {
		return 5
	}
	return 4
}

func isCRD(obj *unstructured.Unstructured) bool {
	gvk := obj.GroupVersionKind()
	return gvk.Group == "apiextensions.k8s.io" && gvk.Kind == "CustomResourceDefinition"
}

// definedKind is the kind that a CustomResourceDefinition defines.
func definedKind(crd *unstructured.Unstructured) schema.GroupKind {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
}

// established waits until the kinds that the definitions among objs define can be used.
func (c *Cluster) established(ctx context.Context, objs []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, crdTimeout)
	defer cancel()
	if err := c.Wait(ctx, objs, func(Progress) {}); err != nil {
		return err
	}
	for _, crd := range objs {
		kind := definedKind(crd)
		// Discovery follows a moment after the condition.
		err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			ctx = quiet(ctx)
			c.mapper.ResetWithContext(ctx)
			_, err := c.mapper.RESTMappingWithContext(ctx, kind)
			if meta.IsNoMatchError(err) {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("%s: kind %s does not become usable: %w", RefOf(crd), kind.Kind, err)
		}
	}
	return nil
}

// coming is what a set of objects will bring, and a dry run of the others must do without.
type coming struct {
	namespaces map[string]bool
	kinds      map[schema.GroupKind]bool
	roles      map[string]bool // by name
}

func comingWith(objs []*unstructured.Unstructured) coming {
	c := coming{namespaces: map[string]bool{}, kinds: map[schema.GroupKind]bool{}, roles: map[string]bool{}}
	for _, obj := range objs {
		if obj.GetAPIVersion() == "v1" && obj.GetKind() == "Namespace" {
			c.namespaces[obj.GetName()] = true
		}
		if isCRD(obj) {
			c.kinds[definedKind(obj)] = true
		}
		if gvk := obj.GroupVersionKind(); gvk.Group == rbacGroup && strings.HasSuffix(gvk.Kind, "Role") {
			c.roles[obj.GetName()] = true
		}
	}
	return c
}

// explains reports whether err is only that the namespace, kind or role is not there yet.
func (c coming) explains(err error) bool {
	var noKind *meta.NoKindMatchError
	if errors.As(err, &noKind) {
		return c.kinds[noKind.GroupKind]
	}
	var status apierrors.APIStatus
	if apierrors.IsNotFound(err) && errors.As(err, &status) {
		d := status.Status().Details
		return d != nil && (d.Kind == "namespaces" && c.namespaces[d.Name] || isRole(d) && c.roles[d.Name])
	}
	return false
}

const rbacGroup = "rbac.authorization.k8s.io"

// isRole reports whether what is not found is the role of a binding, by the name of the role: the API server looks for it where
// an account may bind only what it has itself.
func isRole(d *metav1.StatusDetails) bool {
	return d.Group == rbacGroup && strings.HasSuffix(d.Kind, "rolebindings")
}

// noDryRun reports whether err is that a dry run is impossible because of an
// admission webhook with side effects.
func noDryRun(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run")
}

// ownedByAnother returns a conflict if live is another app's or environment's.
func ownedByAnother(obj, live *unstructured.Unstructured) error {
	if live == nil {
		return nil
	}
	want, have := obj.GetLabels(), live.GetLabels()
	if have[LabelManagedBy] != FieldManager || have[LabelApp] == "" {
		return nil
	}
	if have[LabelApp] == want[LabelApp] && have[LabelEnvironment] == want[LabelEnvironment] {
		return nil
	}
	return &Conflict{Object: RefOf(obj).String(), Manager: fmt.Sprintf("app %s, environment %s", have[LabelApp], have[LabelEnvironment])}
}

// scaled is obj without its replicas where a HorizontalPodAutoscaler owns those of live.
func scaled(obj, live *unstructured.Unstructured) *unstructured.Unstructured {
	if scaledByHPA(live) {
		obj = obj.DeepCopy()
		unstructured.RemoveNestedField(obj.Object, "spec", "replicas")
	}
	return obj
}

// scaledByHPA reports whether a HorizontalPodAutoscaler set the live object's
// replicas: the controller manager does that through the scale subresource.
func scaledByHPA(live *unstructured.Unstructured) bool {
	if live == nil {
		return false
	}
	return slices.ContainsFunc(live.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == "kube-controller-manager" && f.Subresource == "scale" &&
			f.FieldsV1 != nil && strings.Contains(f.FieldsV1.GetRawString(), `"f:replicas"`)
	})
}

// keptKinds are never removed by Prune: with them goes what can't be rendered again.
var keptKinds = []string{"PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"}

// Prune deletes what old has and new has not, last applied first, and returns what
// it deleted, as in ConfigMap/web. It deletes only what carries the labels of owner's
// app and environment, and never a PersistentVolumeClaim, PersistentVolume,
// Namespace or CustomResourceDefinition, nor what a chart annotated
// helm.sh/resource-policy: keep. What is gone already is no error.
func (c *Cluster) Prune(ctx context.Context, old, new Inventory, owner Owner) ([]string, error) {
	var pruned []string
	for _, ref := range slices.Backward(old) {
		if slices.ContainsFunc(new, ref.same) || slices.Contains(keptKinds, ref.Kind) {
			continue
		}
		live, err := c.get(ctx, ref)
		if meta.IsNoMatchError(err) || err == nil && (live == nil || !owner.owns(live) || live.GetAnnotations()[helmPolicy] == "keep") {
			continue
		}
		if err != nil {
			return pruned, fmt.Errorf("prune: %w", err)
		}
		r, err := c.resource(ctx, c.client, ref)
		if err != nil {
			return pruned, fmt.Errorf("prune: %w", err)
		}
		uid, background := live.GetUID(), metav1.DeletePropagationBackground
		err = r.Delete(ctx, ref.Name, metav1.DeleteOptions{
			Preconditions:     &metav1.Preconditions{UID: &uid},
			PropagationPolicy: &background,
		})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return pruned, fmt.Errorf("prune: %w", explain("delete", ref, err))
		}
		pruned = append(pruned, ref.String())
	}
	return pruned, nil
}
