package kube

import (
	"context"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// atOnce is how many requests that don't depend on each other one call of this package has open.
const atOnce = 8

// each does something for each number below n, at most atOnce at a time, begun in order. After an error it begins no more;
// it returns that of the lowest number.
func each(n int, do func(int) error) error {
	errs := make([]error, n)
	var stop atomic.Bool
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range n {
		if stop.Load() {
			break
		}
		g.Go(func() error {
			if errs[i] = do(i); errs[i] != nil {
				stop.Store(true)
			}
			return nil
		})
	}
	_ = g.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// A sight is one object as it was found in the cluster: live is nil if it is not there, err says why that is not known.
type sight struct {
	live *unstructured.Unstructured
	err  error
}

// read looks for each of objs. Those of one kind and namespace are read by one list of what has our labels, where the account
// may list; what that does not have, and Secrets, which the account is not to list, by a get.
func (c *Cluster) read(ctx context.Context, objs []*unstructured.Unstructured) []sight {
	type kind struct {
		ref      ObjectRef // without a name
		selector string
	}
	kinds := map[kind][]int{}
	var order []kind
	for i, obj := range objs {
		k := kind{RefOf(obj), ourLabels(obj)}
		k.ref.Name = ""
		if k.selector == "" || k.ref.Group == "" && k.ref.Kind == "Secret" {
			continue
		}
		if kinds[k] == nil {
			order = append(order, k)
		}
		kinds[k] = append(kinds[k], i)
	}
	order = slices.DeleteFunc(order, func(k kind) bool { return len(kinds[k]) < 2 })

	found := make([]sight, len(objs))
	_ = each(len(order), func(n int) error {
		k := order[n]
		r, err := c.resource(ctx, c.client, k.ref)
		if err != nil {
			return nil // the get says it
		}
		list, err := r.List(ctx, metav1.ListOptions{LabelSelector: k.selector})
		if err != nil {
			return nil // forbidden, say: a get may do
		}
		named := map[string]*unstructured.Unstructured{}
		for i := range list.Items {
			named[list.Items[i].GetName()] = &list.Items[i]
		}
		for _, i := range kinds[k] {
			found[i].live = named[objs[i].GetName()]
		}
		return nil
	})
	_ = each(len(objs), func(i int) error {
		if found[i].live == nil {
			found[i].live, found[i].err = c.get(ctx, RefOf(objs[i]))
		}
		return nil
	})
	return found
}

// ourLabels selects what has the same owner as obj; "" if obj has none.
func ourLabels(obj *unstructured.Unstructured) string {
	have, ours := obj.GetLabels(), labels.Set{}
	for _, name := range []string{LabelManagedBy, LabelApp, LabelEnvironment} {
		if have[name] == "" {
			return ""
		}
		ours[name] = have[name]
	}
	if _, err := labels.ValidatedSelectorFromSet(ours); err != nil {
		return ""
	}
	return ours.String()
}
