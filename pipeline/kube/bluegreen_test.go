package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const shop = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, annotations: {helm.sh/resource-policy: keep}}
data: {mode: fast}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop, tier: front}}
    spec:
      serviceAccountName: shop
      containers:
      - name: shop
        image: registry.example.com/team/shop
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: of-somebody-else}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec: {containers: [{name: worker, image: busybox, envFrom: [{configMapRef: {name: settings}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop, annotations: {external-dns.alpha.kubernetes.io/hostname: shop.example.com}}
spec:
  type: NodePort
  clusterIP: 10.0.0.7
  selector: {app: shop}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: worker}
spec: {selector: {app: worker}, ports: [{port: 80}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}, maxReplicas: 9}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: shop}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}
`

var shopImages = []Image{{Repository: "registry.example.com/team/shop", Digest: "sha256:" + strings.Repeat("a", 64), Required: true}}

// shopped renders, binds and owns manifests.
func shopped(t *testing.T, manifests string) []*unstructured.Unstructured {
	t.Helper()
	objs := parse(t, manifests)
	if _, err := Bind(objs, shopImages); err != nil {
		t.Fatal(err)
	}
	if err := Own(objs, Owner{App: "shop", Environment: "production", Release: "1", Namespace: "shop"}); err != nil {
		t.Fatal(err)
	}
	return objs
}

func listOf(objs []*unstructured.Unstructured) string {
	var names []string
	for _, o := range objs {
		names = append(names, RefOf(o).String())
	}
	return strings.Join(names, " ")
}

// at reads a field of one of objs, as JSON.
func fieldOf(t *testing.T, objs []*unstructured.Unstructured, object string, path ...string) string {
	t.Helper()
	i := slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool { return RefOf(o).String() == object })
	if i < 0 {
		t.Fatalf("no %s among %s", object, listOf(objs))
	}
	value, _, err := unstructured.NestedFieldNoCopy(objs[i].Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func coloured(t *testing.T, objs []*unstructured.Unstructured, colour string) []*unstructured.Unstructured {
	t.Helper()
	w, err := Workload(objs, shopImages, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Coloured(objs, w, colour)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestColoured(t *testing.T) {
	t.Parallel()
	objs := shopped(t, shop)
	before, err := Hash(objs)
	if err != nil {
		t.Fatal(err)
	}
	got := coloured(t, objs, TrackGreen)
	if after, err := Hash(objs); err != nil || after != before {
		t.Error("it changed what it was given", err)
	}
	if want := "ConfigMap/settings ServiceAccount/shop ConfigMap/settings-green Deployment/shop-green Deployment/worker Service/shop Service/worker HorizontalPodAutoscaler/shop PodDisruptionBudget/shop Ingress/shop"; listOf(got) != want {
		t.Errorf("got  %s\nwant %s", listOf(got), want)
	}
	for _, test := range []struct{ object, path, want string }{
		{"Deployment/shop-green", "spec.selector.matchLabels", `{"app":"shop","shipmate.dev/track":"green"}`},
		{"Deployment/shop-green", "spec.template.metadata.labels", `{"app":"shop","shipmate.dev/track":"green","tier":"front"}`},
		{"Deployment/worker", "spec.template.metadata.labels", `{"app":"worker","shipmate.dev/track":"stable"}`},
		{"Service/shop", "spec.selector", `{"app":"shop","shipmate.dev/track":"green"}`},
		{"Service/worker", "spec.selector", `{"app":"worker"}`},
		{"HorizontalPodAutoscaler/shop", "spec.scaleTargetRef.name", `"shop-green"`},
		{"PodDisruptionBudget/shop", "spec.selector", `{"matchLabels":{"app":"shop"}}`},
		{"ConfigMap/settings-green", "data", `{"mode":"fast"}`},
		{"ConfigMap/settings-green", "metadata.annotations", `{"shipmate.dev/release":"1"}`}, // a copy is pruned
	} {
		if got := fieldOf(t, got, test.object, strings.Split(test.path, ".")...); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.object, test.path, got, test.want)
		}
	}
	template := fieldOf(t, got, "Deployment/shop-green", "spec", "template", "spec")
	if !strings.Contains(template, `{"name":"settings-green"}`) || !strings.Contains(template, `{"name":"of-somebody-else"}`) {
		t.Error(template)
	}
	if w := OfColour(got, TrackGreen); w == nil || w.GetName() != "shop-green" || OfColour(got, TrackBlue) != nil {
		t.Error(w)
	}
	if !IsScaled(got, OfColour(got, TrackGreen)) {
		t.Error("nothing scales it")
	}
	if plain := coloured(t, objs, ""); listOf(plain) != listOf(objs) {
		t.Error(listOf(plain))
	}
	if one, other := fieldOf(t, got, "Deployment/shop-green", "spec", "template"), fieldOf(t, coloured(t, objs, TrackGreen), "Deployment/shop-green", "spec", "template"); one != other {
		t.Error("it comes out differently each time")
	}
}

// TestCannotTurn refuses what would not be blue-green.
func TestCannotTurn(t *testing.T) {
	t.Parallel()
	edit := func(old, new string) string {
		if !strings.Contains(shop, old) {
			t.Fatalf("no %s", old)
		}
		return strings.ReplaceAll(shop, old, new)
	}
	for name, test := range map[string]struct{ manifests, preview, want string }{
		"as it is":          {shop, "shop-next", ""},
		"no Service":        {edit("selector: {app: shop}\n  ports", "selector: {app: other}\n  ports"), "", "no Service leads to Deployment/shop, and turning Services is all that it does; add its Service to the manifests, or take the strategy out"},
		"a shared Service":  {edit("labels: {app: worker}", "labels: {app: shop}"), "", "Service/shop leads to Deployment/shop and to Deployment/worker, which has no colours; give it a selector that tells them apart"},
		"a taken preview":   {shop, "worker", "preview is to be made, and the manifests have Service/worker already; choose another name"},
		"a name too long":   {edit("name: shop}\nspec:\n  replicas", "name: "+strings.Repeat("x", 58)+"}\nspec:\n  replicas"), "", "Deployment/" + strings.Repeat("x", 58) + ": its name is too long for -green behind it, which may have 63 letters; shorten it"},
		"a Job is no other": {shop + "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec: {template: {metadata: {labels: {app: shop}}, spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objs := shopped(t, test.manifests)
			w, err := Workload(objs, shopImages, "")
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := CanTurn(objs, w, test.preview); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	got := Preview(coloured(t, shopped(t, shop), TrackGreen), TrackGreen, "next")
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"apiVersion":"v1","kind":"Service","metadata":{"annotations":{"shipmate.dev/release":"1"},"labels":{"app.kubernetes.io/managed-by":"shipmate","shipmate.dev/app":"shop","shipmate.dev/environment":"production"},"name":"next","namespace":"shop"},"spec":{"ports":[{"port":80,"targetPort":8080}],"selector":{"app":"shop","shipmate.dev/track":"green"}}}`; string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	if none := Preview(shopped(t, shop), TrackGreen, "next"); none != nil {
		t.Error(none)
	}
}

// TestAhead parts what touches nothing that runs from the rest.
func TestAhead(t *testing.T) {
	t.Parallel()
	objs := shopped(t, shop)
	green := coloured(t, objs, TrackGreen)
	if first := Ahead(green, nil); listOf(first) != listOf(green) {
		t.Errorf("where nothing runs: %s", listOf(first))
	}
	for name, test := range map[string]struct {
		had  []*unstructured.Unstructured
		want string
	}{
		"the same before": {coloured(t, objs, TrackBlue), "ConfigMap/settings-green Deployment/shop-green"},
		"from rolling":    {objs, "ConfigMap/settings-green Deployment/shop-green"},
		"much is new":     {objs[2:3], "ConfigMap/settings ServiceAccount/shop ConfigMap/settings-green Deployment/shop-green Deployment/worker Service/shop Service/worker"},
	} {
		if got := listOf(Ahead(green, InventoryOf(test.had))); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	if got := listOf(Standing(coloured(t, objs, TrackBlue), "shop-blue")); got != "ConfigMap/settings ServiceAccount/shop ConfigMap/settings-blue Deployment/shop-blue" {
		t.Error(got)
	}
	narrowed, err := Narrowed(objs, "shop")
	if err != nil || listOf(narrowed) != "Service/shop" || fieldOf(t, narrowed, "Service/shop", "spec", "selector") != `{"app":"shop","shipmate.dev/track":"stable"}` {
		t.Error(listOf(narrowed), err)
	}
}

func TestAtLeast(t *testing.T) {
	t.Parallel()
	objs := shopped(t, shop)
	for pods, want := range map[int]string{1: "2", 5: "5"} {
		if got := fieldOf(t, []*unstructured.Unstructured{AtLeast(objs[2], pods)}, "Deployment/shop", "spec", "replicas"); got != want {
			t.Errorf("at least %d: %s", pods, got)
		}
	}
	if got := fmt.Sprint(Replicas(objs[2]), Replicas(objs[3])); got != "2 1" {
		t.Error(got)
	}
	one, other := InventoryOf(objs[:3]), InventoryOf(objs[1:4])
	if all := one.And(other); len(all) != 4 || !all.Has(RefOf(objs[3])) || one.Has(RefOf(objs[3])) {
		t.Error(all)
	}
}
