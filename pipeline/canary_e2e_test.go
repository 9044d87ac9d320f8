//go:build e2e

package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// release begins to deploy a release of manifests, and works until it rests or ends.
func (w *world) release(sha byte, version, manifests, strategy string) {
	w.t.Helper()
	w.begin(sha, version, manifests, strategic(w.t, strategy))
	w.goOn()
}

var realResources = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "secrets"},
	{Version: "v1", Resource: "serviceaccounts"},
	{Version: "v1", Resource: "services"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	{Group: "networking.istio.io", Version: "v1beta1", Resource: "virtualservices"},
}

// everything is what stands in the namespace with our labels: each object with its spec, as far as it is ours.
func (w *world) everything() map[string]*unstructured.Unstructured {
	w.t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, resource := range realResources {
		list, err := w.client.Resource(resource).Namespace(w.namespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: kube.LabelManagedBy + "=shipmate"})
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range list.Items {
			all[kube.RefOf(&list.Items[i]).String()] = &list.Items[i]
		}
	}
	return all
}

// stands asserts that what is in the cluster is what a deployment has, and nothing more.
func (w *world) stands(number int) {
	w.t.Helper()
	objs, _, err := w.Objects(w.deployment(number))
	w.ok(err)
	all := w.everything()
	for _, obj := range objs {
		ref := kube.RefOf(obj).String()
		live := all[ref]
		delete(all, ref)
		if live == nil {
			w.t.Errorf("%s is not there", ref)
			continue
		}
		if has(live.Object, obj.Object, ref) != "" || live.GetAnnotations()[kube.AnnotationCanary] != "" {
			w.t.Errorf("%s: %s, annotations %v", ref, has(live.Object, obj.Object, ref), live.GetAnnotations())
		}
	}
	for ref := range all {
		w.t.Errorf("%s is left over", ref)
	}
	if live := w.everything()["Service/web"]; live != nil {
		if selector, _, _ := unstructured.NestedStringMap(live.Object, "spec", "selector"); len(selector) != 1 {
			w.t.Errorf("the Service selects %v", selector)
		}
	}
}

// has tells where a live value has not what was applied.
func has(live, applied any, at string) string {
	switch applied := applied.(type) {
	case map[string]any:
		there, _ := live.(map[string]any)
		for key, value := range applied {
			if missing := has(there[key], value, at+"."+key); missing != "" {
				return missing
			}
		}
	case []any:
		there, _ := live.([]any)
		if len(there) != len(applied) {
			return fmt.Sprintf("%s has %d entries, not %d", at, len(there), len(applied))
		}
		for i := range applied {
			if missing := has(there[i], applied[i], fmt.Sprintf("%s[%d]", at, i)); missing != "" {
				return missing
			}
		}
	default:
		if fmt.Sprint(live) != fmt.Sprint(applied) {
			return fmt.Sprintf("%s is %v, not %v", at, live, applied)
		}
	}
	return ""
}

// part checks a part of a live object, written as YAML.
func (w *world) part(object, want string, path ...string) {
	w.t.Helper()
	live := w.everything()[object]
	if live == nil {
		w.t.Fatalf("%s is not there", object)
	}
	got, _, err := unstructured.NestedFieldNoCopy(live.Object, path...)
	w.ok(err)
	var wanted any
	w.ok(yaml.Unmarshal([]byte(want), &wanted))
	a, err := json.Marshal(got)
	w.ok(err)
	b, err := json.Marshal(wanted)
	w.ok(err)
	if string(a) != string(b) {
		w.t.Errorf("%s %s: got\n%s\nwant\n%s", object, strings.Join(path, "."), a, b)
	}
}

const realDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 5
  strategy: {rollingUpdate: {maxSurge: 2, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: web
        image: IMAGE
        envFrom: [{configMapRef: {name: settings}}]
        readinessProbe: {httpGet: {port: 5000, path: /}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 12}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {VERSION: WHICH}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 5000}]}}
`

// traffic asks a Service again and again, and counts who answers.
type traffic struct {
	mu     sync.Mutex
	by     map[string]int
	failed []string
}

func (w *world) traffic() *traffic {
	c := &traffic{by: map[string]int{}}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				status, body, err := w.cluster.Proxy(ctx, w.namespace, "web", "80", "/")
				if ctx.Err() != nil {
					return
				}
				c.mu.Lock()
				if words := strings.Fields(string(body)); err == nil && status == 200 && len(words) > 1 {
					c.by[words[1]]++
				} else {
					c.failed = append(c.failed, fmt.Sprintf("%s %d %q %v", time.Now().Format("15:04:05.000"), status, body, err))
				}
				c.mu.Unlock()
			}
		})
	}
	w.t.Cleanup(func() { stop(); group.Wait() })
	return c
}

func (c *traffic) total() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, count := range c.by {
		n += count
	}
	return n + len(c.failed)
}

// share is what of the next requests, 1,000 at least, a version answers, in percent.
func (w *world) share(c *traffic, version string) float64 {
	w.t.Helper()
	c.mu.Lock()
	clear(c.by)
	c.mu.Unlock()
	for deadline := time.Now().Add(5 * time.Minute); c.total()-len(c.failures()) < 1000; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("only %d requests", c.total())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := 0
	for _, count := range c.by {
		all += count
	}
	return 100 * float64(c.by[version]) / float64(all)
}

func (c *traffic) failures() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.failed)
}

// TestCanaryTraffic asks all the time while canaries come, go on, and are aborted: none of the requests fails, and their shares are
// as computed.
func TestCanaryTraffic(t *testing.T) {
	w := newWorld(t)
	w.release('a', "one", realDeployment, "rolling: {}")
	w.is(1, store.Succeeded)
	client := w.traffic()
	const strategy = "canary: {steps: [{weight: 25, pause: manual}, {weight: 50, pause: manual}]}"
	near := func(version string, want float64) {
		t.Helper()
		got := w.share(client, version)
		t.Logf("%s answers %.1f%% of the requests, computed %.1f%%", version, got, want)
		if math.Abs(got-want) > 5 {
			t.Errorf("%s answers %.1f%% of the requests, want %.1f%%", version, got, want)
		}
	}
	detail := func(number int, kind, want string) {
		t.Helper()
		if s := w.result(number, kind); s.State != store.StepSucceeded || s.Detail != want {
			t.Errorf("%s: %s, %s", kind, s.State, s.Detail)
		}
	}
	w.release('b', "two", realDeployment, strategy)
	w.is(2, store.Paused)
	detail(2, "canary/1/25%", "2 of 7 pods, 29%")
	near("two", 100*2/7.)
	w.resume(2)
	w.is(2, store.Paused)
	detail(2, "canary/2/50%", "5 of 10 pods, 50%")
	near("two", 50)
	w.resume(2)
	w.is(2, store.Succeeded)
	near("two", 100)
	w.stands(2)

	w.release('c', "three", realDeployment, strategy)
	w.is(3, store.Paused)
	near("three", 100*2/7.)
	w.resume(3)
	near("three", 50)
	w.update(func(tx *store.Tx) error { return tx.AskAbort(w.deployment(3), "bob") })
	w.goOn()
	w.is(3, store.Cancelled)
	w.stands(2)
	for deadline := time.Now().Add(2 * time.Minute); w.share(client, "two") != 100; {
		if time.Now().After(deadline) {
			t.Fatal("what was aborted still answers")
		}
	}

	w.release('d', "four", strings.Replace(realDeployment, "image: IMAGE", "image: IMAGE\n        args: [crash]", 1), strategy)
	w.is(4, store.Failed)
	if f := w.deployment(4).Failure.V; f.Step != "canary/1/25%" || !strings.HasPrefix(f.Where, "Deployment/web-canary, pod web-canary-") || !strings.HasPrefix(f.Reason, "CrashLoopBackOff") || f.Hint == "" && len(f.Logs) == 0 {
		t.Errorf("%+v", f)
	}
	w.stands(2)
	near("two", 100)
	if failed := client.failures(); len(failed) > 0 {
		t.Errorf("%d requests failed: %v", len(failed), failed[:min(len(failed), 5)])
	}
}

const realIngress = `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 8m, example.com/note: mine}}
spec:
  rules:
  - host: shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
`

// controls plays the Ingress controller: it gives each Ingress an address.
func (w *world) controls() {
	ingresses := w.client.Resource(schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}).Namespace(w.namespace)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			list, err := ingresses.List(ctx, metav1.ListOptions{})
			for i := 0; err == nil && i < len(list.Items); i++ {
				if _, has, _ := unstructured.NestedSlice(list.Items[i].Object, "status", "loadBalancer", "ingress"); !has {
					_ = unstructured.SetNestedSlice(list.Items[i].Object, []any{map[string]any{"ip": "192.0.2.1"}}, "status", "loadBalancer", "ingress")
					_, _ = ingresses.UpdateStatus(ctx, &list.Items[i], metav1.UpdateOptions{}) // else the next round
				}
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	w.t.Cleanup(func() { stop(); <-done })
}

const abSteps = `{header: X-Canary, value: beta, pause: manual}, {weight: 30, header: X-Canary, pause: manual}, {weight: 60, pause: manual}`

// TestCanaryNginx has the objects on a real API server after each step, after the end, and after an abort.
func TestCanaryNginx(t *testing.T) {
	w := newWorld(t)
	w.controls()
	manifests := strings.Replace(realDeployment, "replicas: 5", "replicas: 2", 1) + realIngress
	w.release('a', "one", manifests, "rolling: {}")
	w.is(1, store.Succeeded)
	const strategy = "canary: {steps: [" + abSteps + "], traffic: {nginx: web}}"
	canary := func(annotations string, pods int) {
		t.Helper()
		w.part("Ingress/web-canary", annotations, "metadata", "annotations")
		w.part("Ingress/web-canary", "[{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web-canary, port: {number: 80}}}}]}}]", "spec", "rules")
		w.part("Service/web-canary", "{app: web, shipmate.dev/track: canary}", "spec", "selector")
		w.part("Service/web", "{app: web, shipmate.dev/track: stable}", "spec", "selector")
		w.part("Ingress/web", "[{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]", "spec", "rules")
		w.part("Deployment/web-canary", fmt.Sprint(pods), "spec", "replicas")
		w.part("Deployment/web-canary", "{app: web, shipmate.dev/track: canary}", "spec", "selector", "matchLabels")
		w.part("ConfigMap/settings", "one", "data", "VERSION")
		for service, want := range map[string]string{"web": "one", "web-canary": "two"} {
			for range 20 {
				if _, body, err := w.cluster.Proxy(t.Context(), w.namespace, service, "80", "/"); err != nil || !strings.Contains(string(body), "version "+want) {
					t.Fatalf("%s: %q, %v", service, body, err)
				}
			}
		}
	}
	steps := func(number int, release string) {
		t.Helper()
		w.is(number, store.Paused)
		const common = "nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/proxy-body-size: 8m, shipmate.dev/release: "
		canary("{"+common+"'"+release+"', nginx.ingress.kubernetes.io/canary-by-header: X-Canary, nginx.ingress.kubernetes.io/canary-by-header-value: beta, shipmate.dev/canary: 'X-Canary: beta'}", 1)
		w.resume(number)
		canary("{"+common+"'"+release+"', nginx.ingress.kubernetes.io/canary-weight: '30', nginx.ingress.kubernetes.io/canary-by-header: X-Canary, nginx.ingress.kubernetes.io/canary-by-header-value: always, shipmate.dev/canary: '30%, X-Canary: always'}", 1)
		w.resume(number)
		canary("{"+common+"'"+release+"', nginx.ingress.kubernetes.io/canary-weight: '60', shipmate.dev/canary: 60%}", 2)
	}
	w.release('b', "two", manifests, strategy)
	steps(2, "2")
	w.update(func(tx *store.Tx) error { return tx.AskAbort(w.deployment(2), "bob") })
	w.goOn()
	w.is(2, store.Cancelled)
	w.stands(1)
	w.release('c', "two", manifests, strategy)
	steps(3, "3")
	w.resume(3)
	w.is(3, store.Succeeded)
	w.stands(3)

	// Another canary Ingress for the same host and path.
	rival := w.everything()["Ingress/web"].DeepCopy()
	rival.Object = map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": rival.Object["spec"],
		"metadata": map[string]any{"name": "beta", "annotations": map[string]any{"nginx.ingress.kubernetes.io/canary": "true"}}}
	_, err := w.client.Resource(realResources[5]).Namespace(w.namespace).Create(t.Context(), rival, metav1.CreateOptions{FieldManager: "somebody"})
	w.ok(err)
	w.release('d', "four", manifests, strategy)
	if d := w.deployment(4); d.State != store.Failed || !strings.HasPrefix(d.Reason, "Ingress/beta is a canary of shop.example.com/ already") {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	w.stands(3)
}

const virtualServices = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: virtualservices.networking.istio.io}, spec: {
  group: networking.istio.io, scope: Namespaced, names: {kind: VirtualService, plural: virtualservices, singular: virtualservice, listKind: VirtualServiceList}, versions: [
    {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}},
    {name: v1beta1, served: true, storage: false, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}]}}`

// defined has the cluster know VirtualServices; it is for all tests of this run.
var defined sync.Once

func (w *world) define() {
	w.t.Helper()
	defined.Do(func() {
		crd := &unstructured.Unstructured{}
		w.ok(yaml.Unmarshal([]byte(virtualServices), &crd.Object))
		w.ok(w.cluster.Apply(w.t.Context(), []*unstructured.Unstructured{crd}, kube.ApplyOptions{}))
	})
}

// TestCanaryIstio is TestCanaryNginx with a VirtualService, and somebody else who owns a part of it.
func TestCanaryIstio(t *testing.T) {
	w := newWorld(t)
	manifests := strings.Replace(realDeployment, "replicas: 5", "replicas: 2", 1) + `---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [shop.example.com]
  http:
  - name: all
    timeout: 5s
    route: [{destination: {host: web, subset: v1}}]
`
	w.release('a', "one", manifests, "rolling: {}")
	w.is(1, store.Succeeded)
	const strategy = "canary: {steps: [" + abSteps + "], traffic: {istio: web}}"
	const (
		header = "{name: all-canary, timeout: 5s, match: [{headers: {x-canary: {exact: VALUE}}}], route: [{destination: {host: web-canary}}]}"
		plain  = "[{name: all, timeout: 5s, route: [{destination: {host: web, subset: v1}}]}]"
		parted = "{name: all, timeout: 5s, route: [{destination: {host: web, subset: v1}, weight: STABLE}, {destination: {host: web-canary}, weight: CANARY}]}"
	)
	steps := func(number int) {
		t.Helper()
		w.is(number, store.Paused)
		w.part("VirtualService/web", "["+strings.Replace(header, "VALUE", "beta", 1)+", "+plain[1:], "spec", "http")
		w.part("Service/web", "{app: web, shipmate.dev/track: stable}", "spec", "selector")
		w.part("Service/web-canary", "{app: web, shipmate.dev/track: canary}", "spec", "selector")
		w.resume(number)
		w.part("VirtualService/web", "["+strings.Replace(header, "VALUE", "always", 1)+", "+strings.NewReplacer("STABLE", "70", "CANARY", "30").Replace(parted)+"]", "spec", "http")
		w.resume(number)
		w.part("VirtualService/web", "["+strings.NewReplacer("STABLE", "40", "CANARY", "60").Replace(parted)+"]", "spec", "http")
	}
	w.release('b', "two", manifests, strategy)
	steps(2)
	w.update(func(tx *store.Tx) error { return tx.AskAbort(w.deployment(2), "bob") })
	w.goOn()
	w.is(2, store.Cancelled)
	w.stands(1)
	w.part("VirtualService/web", plain, "spec", "http")
	w.release('c', "two", manifests, strategy)
	steps(3)
	w.resume(3)
	w.is(3, store.Succeeded)
	w.stands(3)
	w.part("VirtualService/web", plain, "spec", "http")

	services := w.client.Resource(realResources[6]).Namespace(w.namespace)
	live, err := services.Get(t.Context(), "web", metav1.GetOptions{})
	w.ok(err)
	w.ok(unstructured.SetNestedField(live.Object, []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "web"}}}}}, "spec", "http"))
	_, err = services.Update(t.Context(), live, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
	w.ok(err)
	w.release('d', "four", manifests, strategy)
	if d := w.deployment(4); d.State != store.Failed || !strings.Contains(d.Reason, "VirtualService/web") || !strings.Contains(d.Reason, "kubectl-edit") {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	if all := w.everything(); all["Deployment/web-canary"] != nil || all["Service/web"].GetAnnotations()[kube.AnnotationCanary] != "" {
		t.Error("something of the canary is left")
	}
}
