package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
)

// maxLost is how many fields are told that an adoption removes, of one object.
const maxLost = 10

// adoptable are the managers of a live object that are people at work rather than controllers, sorted: kubectl in all its
// ways, Helm, and whoever made it before there were managers (apimachinery, managedfields/fieldmanager.go).
func adoptable(live *unstructured.Unstructured) []string {
	names := map[string]bool{}
	for _, f := range live.GetManagedFields() {
		if f.Subresource == "" && (strings.HasPrefix(f.Manager, "kubectl") || strings.EqualFold(f.Manager, "helm") || f.Manager == "before-first-apply") {
			names[f.Manager] = true
		}
	}
	return sortedKeys(names)
}

// adopt makes what those managers own of a live object ours, so that the apply which follows removes what it does not have.
// It is safe to repeat.
func (c *Cluster) adopt(ctx context.Context, live *unstructured.Unstructured) error {
	ref := RefOf(live)
	names := sets.New[string]()
	entries := slices.Clone(live.GetManagedFields())
	for i, f := range entries {
		if f.Subresource != "" || !slices.Contains(adoptable(live), f.Manager) {
			continue
		}
		if f.Operation == metav1.ManagedFieldsOperationApply {
			// What kubectl applied on the server's side is migrated likewise, apart from what it updated.
			entries[i].Manager, entries[i].Operation = f.Manager+" (apply)", metav1.ManagedFieldsOperationUpdate
		}
		names.Insert(entries[i].Manager)
	}
	if len(names) == 0 {
		return nil
	}
	changed := live.DeepCopy()
	changed.SetManagedFields(entries)
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(changed, names, FieldManager)
	if err != nil {
		return fmt.Errorf("adopt %s: %w", ref, err)
	}
	r, err := c.resource(ctx, c.client, ref)
	if err != nil {
		return err
	}
	_, err = r.Patch(ctx, ref.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	return explain("adopt", ref, err)
}

// lost are the fields that kubectl apply set by its own account and obj does not have, at most 10: an adoption removes them.
func lost(obj, live *unstructured.Unstructured) (fields []string) {
	var last map[string]any
	if json.Unmarshal([]byte(live.GetAnnotations()[lastApplied]), &last) != nil {
		return nil
	}
	var walk func(path string, before, now any)
	walk = func(path string, before, now any) {
		switch before := before.(type) {
		case map[string]any:
			there, _ := now.(map[string]any)
			for _, name := range sortedKeys(before) {
				if next := fieldPath(path, name); there[name] != nil {
					walk(next, before[name], there[name])
				} else if !isZero(before[name]) {
					fields = append(fields, next)
				}
			}
		case []any:
			there, _ := now.([]any)
			for _, item := range before {
				one, _ := item.(map[string]any)
				name, ok := one["name"].(string)
				if !ok {
					return // nothing tells its items apart
				}
				next := path + "[" + name + "]"
				if i := slices.IndexFunc(there, func(v any) bool { m, _ := v.(map[string]any); return m["name"] == name }); i >= 0 {
					walk(next, item, there[i])
				} else {
					fields = append(fields, next)
				}
			}
		}
	}
	walk("", last, obj.Object)
	return fields[:min(len(fields), maxLost)]
}
