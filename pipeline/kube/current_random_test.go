package kube

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
)

// TestCurrentAtRandom: of whatever was applied, whatever is taken for current is left as it is when it is applied too. The
// applying is that of the API server's own library, without its defaults.
func TestCurrentAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	converter := applyconfigurations.NewTypeConverter(scheme.Scheme)
	same, alike := 0, 0
	for range 500 {
		manifest, resource := randomDeployment, schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
		if r.IntN(4) == 0 {
			manifest, resource = randomConfig, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
		}
		tracker := clienttesting.NewFieldManagedObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder(), converter)
		apply := func(fields map[string]any, by string) (*unstructured.Unstructured, error) {
			force := true
			obj := &unstructured.Unstructured{Object: fields}
			err := tracker.Apply(resource, obj.DeepCopy(), "n", metav1.PatchOptions{FieldManager: by, Force: &force})
			if err != nil {
				return nil, err
			}
			stored, err := tracker.Get(resource, "n", "a")
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(stored)
			live := &unstructured.Unstructured{}
			if err == nil {
				err = live.UnmarshalJSON(text)
			}
			live.SetAPIVersion(obj.GetAPIVersion())
			live.SetKind(obj.GetKind())
			return live, err
		}
		first := manifest(r)
		live, err := apply(first, FieldManager)
		if err != nil {
			continue // such as a list of which two items have one name
		}
		if r.IntN(3) == 0 {
			if live, err = apply(manifest(r), "kubectl"); err != nil {
				continue
			}
		}
		next := first
		if r.IntN(4) > 0 {
			next = manifest(r)
		}
		if reflect.DeepEqual(next, first) {
			same++
		}
		if !current(&unstructured.Unstructured{Object: next}, live) {
			continue
		}
		alike++
		after, err := apply(next, FieldManager)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []*unstructured.Unstructured{live, after} {
			o.SetManagedFields(nil)
			o.SetResourceVersion("")
		}
		if !reflect.DeepEqual(after.Object, live.Object) {
			text := func(v any) string { s, _ := json.Marshal(v); return string(s) }
			t.Fatalf("taken for current:\nbefore %s\nwanted %s\nlive   %s\nafter  %s", text(first), text(next), text(live), text(after))
		}
	}
	t.Logf("%d were the same, %d taken for current", same, alike)
	if alike < 40 {
		t.Errorf("only %d were taken for current", alike)
	}
}

// randomFields is a mapping of some of fields, each with one of its values.
func randomFields(r *rand.Rand, most int, fields map[string][]any) map[string]any {
	made := map[string]any{}
	for range r.IntN(most + 1) {
		name := pick(r, sortedKeys(fields))
		made[name] = pick(r, fields[name])
	}
	return made
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func randomConfig(r *rand.Rand) map[string]any {
	values := []any{"", "1", "1000m", "x"}
	return map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "immutable": pick(r, []any{nil, false, true}),
		"metadata": map[string]any{"name": "a", "namespace": "n", "labels": randomFields(r, 1, map[string][]any{"limits": values, "b": values})},
		"data":     randomFields(r, 2, map[string][]any{"limits": values, "hard": values}),
	}
}

func randomDeployment(r *rand.Rand) map[string]any {
	quantities := []any{"1000m", "1", int64(1), "1Gi"}
	bools := []any{nil, false, true}
	container := func(name string) map[string]any {
		c := randomFields(r, 2, map[string][]any{
			"args": {nil, []any{}, []any{"a"}, []any{"a", ""}}, "tty": bools, "workingDir": {"", "/a"},
			"securityContext": {nil, map[string]any{}, map[string]any{"privileged": false}, map[string]any{"runAsUser": int64(0)}},
			"ports":           {nil, []any{map[string]any{"containerPort": int64(80), "protocol": "TCP"}}, []any{map[string]any{"containerPort": int64(80), "protocol": "UDP", "hostPort": int64(0)}}},
			"env": {[]any{map[string]any{"name": "A", "value": "1"}}, []any{map[string]any{"name": "A", "value": ""}}, []any{map[string]any{"name": "A"}, map[string]any{"name": "B"}},
				[]any{map[string]any{"name": "A", "valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}}}}},
			"resources": {nil, map[string]any{}, map[string]any{"limits": map[string]any{"cpu": pick(r, quantities)}}, map[string]any{"requests": map[string]any{"memory": pick(r, quantities)}}},
		})
		c["name"], c["image"] = name, pick(r, []any{"a", "a:2"})
		return c
	}
	containers := []any{container("web")}
	if r.IntN(4) == 0 {
		containers = append(containers, container("side"))
	}
	pod := randomFields(r, 2, map[string][]any{
		"hostNetwork": bools, "hostUsers": bools, "automountServiceAccountToken": bools, "nodeSelector": {nil, map[string]any{}, map[string]any{"a": ""}, map[string]any{"a": "b"}},
		"terminationGracePeriodSeconds": {nil, int64(0), int64(5)}, "serviceAccountName": {"", "a"}, "volumes": {nil, []any{map[string]any{"name": "v", "emptyDir": map[string]any{}}}, []any{map[string]any{"name": "v", "emptyDir": map[string]any{"sizeLimit": pick(r, quantities)}}}},
	})
	pod["containers"] = containers
	spec := randomFields(r, 2, map[string][]any{
		"replicas": {nil, int64(0), int64(1), int64(2)}, "paused": bools, "minReadySeconds": {nil, int64(0), int64(3)},
		"strategy": {nil, map[string]any{}, map[string]any{"type": "Recreate", "rollingUpdate": nil}, map[string]any{"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxSurge": pick(r, []any{int64(1), "1", "10%", int64(0)})}}},
	})
	labels := randomFields(r, 1, map[string][]any{"a": {"", "b"}})
	spec["selector"] = map[string]any{"matchLabels": labels}
	spec["template"] = map[string]any{"metadata": map[string]any{"labels": labels, "creationTimestamp": nil}, "spec": pod}
	return map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a", "namespace": "n", "labels": labels}, "spec": spec}
}
