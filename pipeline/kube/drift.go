package kube

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Drift is one field of an object that somebody changed in the cluster since it was applied.
type Drift struct {
	Object   string    // as in Deployment/web
	Field    string    // as in spec.replicas or spec.template.spec.containers[web].image; empty: the whole object is gone
	Live     string    // what is there, values of Secrets masked; empty: nothing any more
	Released string    // what was applied
	Manager  string    // who changed it, as the API server calls them, such as kubectl-edit; empty: it does not tell
	At       time.Time // when; zero: it does not tell, as with kubectl scale
}

// String is one line, as in "spec.replicas is 3, released 2, by kubectl-edit at 2026-03-04 14:02 UTC".
func (d Drift) String() string {
	s := d.Field + " is " + d.Live
	if d.Live == "" {
		s = d.Field + " is gone"
	}
	s += ", released " + d.Released
	if d.Manager != "" {
		s += ", by " + d.Manager
	}
	if !d.At.IsZero() {
		s += " at " + d.At.UTC().Format("2006-01-02 15:04 UTC")
	}
	return s
}

const (
	maxDrifts     = 20 // told of all objects together
	maxDriftValue = 60 // characters of a value
)

// Drift compares objs, as they were applied, with what is live, and returns the fields that somebody changed or removed since,
// at most 20. What the API server fills in by itself is no drift, nor what it writes in another way, nor replicas that a
// HorizontalPodAutoscaler owns. An object of another release is not compared. Of objects that are gone only those are told
// that have no pods: Status tells of the others.
func (c *Cluster) Drift(ctx context.Context, objs []*unstructured.Unstructured) ([]Drift, error) {
	found := make([][]Drift, len(objs))
	seen := c.read(ctx, objs)
	err := each(len(objs), func(i int) error {
		obj, live := objs[i], seen[i].live
		switch {
		case live != nil:
			found[i] = drift(obj, live)
		case seen[i].err == nil && len(podSpecs(obj)) == 0:
			found[i] = []Drift{{Object: RefOf(obj).String()}}
		}
		return seen[i].err
	})
	all := slices.Concat(found...)
	return all[:min(len(all), maxDrifts)], err
}

// drift compares an object as it was applied with what it is. Who changed a field is told by the managed fields, which
// the API server keeps (Kubernetes documentation, "Server-Side Apply", Field management; the format of the tree is that of
// sigs.k8s.io/structured-merge-diff, fieldpath/serialize.go): an update takes a field from us if it changes its value, and
// from everybody if it removes it.
func drift(obj, live *unstructured.Unstructured) []Drift {
	if obj.GetAnnotations()[AnnotationRelease] != live.GetAnnotations()[AnnotationRelease] {
		return nil
	}
	obj = obj.DeepCopy()
	unstructured.RemoveNestedField(obj.Object, "status")
	if scaledByHPA(live) {
		unstructured.RemoveNestedField(obj.Object, "spec", "replicas")
	}
	d := drifting{object: RefOf(obj).String(), secret: obj.GetAPIVersion() == "v1" && obj.GetKind() == "Secret"}
	if d.secret {
		storedSecret(obj)
	}
	var ours map[string]any
	var others []manager
	for _, entry := range live.GetManagedFields() {
		var tree map[string]any
		if entry.Subresource == "status" || entry.FieldsV1 == nil || json.Unmarshal([]byte(entry.FieldsV1.GetRawString()), &tree) != nil {
			continue
		}
		switch {
		case entry.Manager != FieldManager:
			m := manager{name: entry.Manager, tree: tree}
			if entry.Time != nil {
				m.at = entry.Time.Time
			}
			others = append(others, m)
		case entry.Operation == metav1.ManagedFieldsOperationApply:
			ours = tree
		}
	}
	slices.SortStableFunc(others, func(a, b manager) int { return b.at.Compare(a.at) })
	d.walk("", obj.Object, live.Object, ours, others)
	return d.found
}

// manager is somebody else and what they own, or a part of it.
type manager struct {
	name string
	at   time.Time
	tree map[string]any
}

// drifting gathers what drifted of one object.
type drifting struct {
	object string
	secret bool
	found  []Drift
}

// walk compares a part of an object. ours and others are who owns what of it: a tree with nothing below is a field that is
// owned as a whole.
func (d *drifting) walk(path string, wanted, live any, ours map[string]any, others []manager) {
	switch wanted := wanted.(type) {
	case map[string]any:
		there, _ := live.(map[string]any)
		for _, name := range sortedKeys(wanted) {
			next := fieldPath(path, name)
			mine, owned := ours["f:"+name].(map[string]any)
			now, exists := there[name]
			d.field(next, wanted[name], now, exists, mine, owned, narrowed(others, func(key string) bool { return key == "f:"+name }))
		}
	case []any:
		there, _ := live.([]any)
		names := keyNames(ours, others)
		for _, item := range wanted {
			item, ok := item.(map[string]any)
			if !ok || len(names) == 0 {
				return // it is owned as a whole, or a set
			}
			isItem := func(key string) bool {
				keys, ok := keysIn(key)
				return ok && matches(item, keys)
			}
			var mine map[string]any
			owned := false
			for key, tree := range ours {
				if isItem(key) {
					mine, owned = tree.(map[string]any)
				}
			}
			var now any
			i := slices.IndexFunc(there, func(one any) bool {
				l, ok := one.(map[string]any)
				return ok && !slices.ContainsFunc(names, func(n string) bool { return item[n] != nil && fmt.Sprint(item[n]) != fmt.Sprint(l[n]) })
			})
			if i >= 0 {
				now = there[i]
			}
			label := ""
			for _, n := range names {
				if label = fmt.Sprint(item[n]); item[n] != nil {
					break
				}
			}
			d.field(path+"["+label+"]", item, now, i >= 0, mine, owned, narrowed(others, isItem))
		}
	}
}

// field compares one field or item.
func (d *drifting) field(path string, wanted, live any, exists bool, ours map[string]any, owned bool, others []manager) {
	who := slices.IndexFunc(others, func(m manager) bool { return len(m.tree) == 0 })
	switch {
	case path == fieldPath("metadata.annotations", AnnotationRelease):
	case !exists:
		// What is ours still and not there was never stored, such as a false that is the default.
		if !owned && !isZero(wanted) {
			d.add(path, "", wanted, manager{})
		}
	case who >= 0:
		exact := slices.ContainsFunc([]string{"selector", "nodeSelector", "matchLabels"}, func(s string) bool { return strings.HasSuffix(path, "."+s) })
		if !same(wanted, live, exact) {
			d.add(path, d.value(live), wanted, others[who])
		}
	case owned && len(ours) == 0:
	default:
		d.walk(path, wanted, live, ours, others)
	}
}

func (d *drifting) add(path, live string, wanted any, by manager) {
	d.found = append(d.found, Drift{Object: d.object, Field: path, Live: live, Released: d.value(wanted), Manager: by.name, At: by.at})
}

// value shows a value in one short line.
func (d *drifting) value(v any) string {
	if d.secret {
		return "***"
	}
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		text = string(data)
	}
	text = oneLine(text)
	if short := []rune(text); len(short) > maxDriftValue {
		text = string(short[:maxDriftValue]) + "…"
	}
	return cmp.Or(text, `""`)
}

// fieldPath is path with one more name, in quotes where it has dots.
func fieldPath(path, name string) string {
	switch {
	case strings.Contains(name, "."):
		return fmt.Sprintf("%s[%q]", path, name)
	case path == "":
		return name
	}
	return path + "." + name
}

// narrowed narrows managers to what they own below the keys that are meant.
func narrowed(others []manager, meant func(key string) bool) (in []manager) {
	for _, m := range others {
		for _, key := range sortedKeys(m.tree) {
			if tree, ok := m.tree[key].(map[string]any); ok && meant(key) {
				in = append(in, manager{m.name, m.at, tree})
			}
		}
	}
	return in
}

// keysIn reads the key of an item of a list, as in k:{"name":"web"}.
func keysIn(key string) (keys map[string]any, ok bool) {
	text, ok := strings.CutPrefix(key, "k:")
	return keys, ok && json.Unmarshal([]byte(text), &keys) == nil
}

// matches tells whether an item has these keys. One that it lacks, such as the protocol of a port, has its default.
func matches(item, keys map[string]any) bool {
	for name, value := range keys {
		if item[name] != nil && fmt.Sprint(item[name]) != fmt.Sprint(value) {
			return false
		}
	}
	return true
}

// keyNames are the fields that tell the items of a list apart, sorted; none if it is owned as a whole.
func keyNames(ours map[string]any, others []manager) []string {
	names := map[string]bool{}
	for _, m := range append(slices.Clone(others), manager{tree: ours}) {
		for key := range m.tree {
			keys, _ := keysIn(key)
			for name := range keys {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// same tells whether live is what was wanted. What it has besides is what the API server fills in, unless exact.
func same(wanted, live any, exact bool) bool {
	switch w := wanted.(type) {
	case map[string]any:
		l, _ := live.(map[string]any)
		for name, value := range w {
			if !isZero(value) && !same(value, l[name], exact) || isZero(value) && !isZero(l[name]) {
				return false
			}
		}
		return !exact || len(l) <= len(w)
	case []any:
		l, _ := live.([]any)
		return len(l) == len(w) && slices.EqualFunc(w, l, func(a, b any) bool { return same(a, b, exact) })
	}
	a, b := fmt.Sprint(wanted), fmt.Sprint(live)
	if a == b || isZero(wanted) && isZero(live) {
		return true
	}
	p, err := resource.ParseQuantity(a) // 1000m is stored as 1
	if err != nil {
		return false
	}
	q, err := resource.ParseQuantity(b)
	return err == nil && p.Cmp(q) == 0
}

// isZero tells whether v is a value that the API server need not store.
func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case int64:
		return v == 0
	case float64:
		return v == 0
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// storedSecret writes a Secret's stringData as the API server stores it (API reference, Secret).
func storedSecret(obj *unstructured.Unstructured) {
	plain, _, _ := unstructured.NestedMap(obj.Object, "stringData")
	for name, value := range plain {
		// A data that is no mapping would not have been applied.
		_ = unstructured.SetNestedField(obj.Object, base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(value))), "data", name)
	}
	unstructured.RemoveNestedField(obj.Object, "stringData")
}
