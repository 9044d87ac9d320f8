package kube

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Held returns objs with their Deployments paused, so that the cluster replaces no more of their pods once they are applied. Applying
// objs themselves lets them go on. Other kinds can't be held.
func Held(objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	held := slices.Clone(objs)
	for i, obj := range held {
		if obj.GroupVersionKind().GroupKind().String() == "Deployment.apps" {
			held[i] = obj.DeepCopy()
			if spec, ok := held[i].Object["spec"].(map[string]any); ok {
				spec["paused"] = true
			}
		}
	}
	return held
}
