//go:build e2e

package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// realm is an engine that deploys to a namespace of a real cluster.
type realm struct {
	*bench
	cluster   *kube.Cluster
	client    dynamic.Interface
	namespace string
	image     string
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	kubeconfig, registry := os.Getenv("KUBECONFIG"), os.Getenv("REGISTRY")
	if kubeconfig == "" || registry == "" {
		t.Skip("needs KUBECONFIG, and REGISTRY (host:port, plain HTTP) that the cluster pulls from")
	}
	t.Parallel()
	b := newBench(t)
	cluster, err := kube.Open(kube.Config{Kubeconfig: kubeconfig})
	b.ok(err)
	rc, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	b.ok(err)
	client, err := dynamic.NewForConfig(rc)
	b.ok(err)
	random := make([]byte, 4)
	rand.Read(random)
	r := &realm{b, cluster, client, "canary-" + hex.EncodeToString(random), registry + "/team/canary-" + hex.EncodeToString(random)}
	b.Clusters["test"] = cluster
	r.define()
	b.Builder = pushing{r}
	namespaces := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": r.namespace}}}
	_, err = namespaces.Create(t.Context(), ns, metav1.CreateOptions{})
	b.ok(err)
	t.Cleanup(func() {
		if err := namespaces.Delete(context.Background(), r.namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return r
}

// pushing is a builder whose images are all that of testdata/app.
type pushing struct{ *realm }

func (p pushing) Build(context.Context, build.Request, func(build.Line)) (build.Result, error) {
	img, err := testApp()
	if err != nil {
		return build.Result{}, err
	}
	ref, err := name.ParseReference(p.image, name.Insecure)
	if err != nil {
		return build.Result{}, err
	}
	digest, err := img.Digest()
	if err == nil {
		err = remote.Write(ref, img)
	}
	p.mu.Lock()
	p.pushed[p.image+"@"+digest.String()] = true
	p.mu.Unlock()
	return build.Result{Digest: digest.String()}, err
}

var testApp = sync.OnceValues(func() (v1.Image, error) {
	dir, err := os.MkdirTemp("", "shipmate-app-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a file of the tests
	binary := filepath.Join(dir, "app")
	compile := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./kube/testdata/app")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(data))}); err != nil {
		return nil, err
	}
	if _, err := tw.Write(data); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.Config(img, v1.Config{Entrypoint: []string{"/app"}})
})

// release begins to deploy a release of manifests, in which VERSION and IMAGE are filled in, and works until it rests or ends.
func (r *realm) release(sha byte, version, manifests, strategy string) {
	r.t.Helper()
	r.files = map[string]string{"deploy/web.yaml": strings.NewReplacer("IMAGE", r.image, "WHICH", version).Replace(manifests)}
	env := strategic(r.t, strategy)
	env.Namespace, env.Timeout = r.namespace, 10*time.Minute
	r.run(sha, env, func(c *Config) { c.Build.Image, c.Build.Timeout = r.image, 10*time.Minute })
	r.goOn()
}

func (r *realm) goOn() {
	r.t.Helper()
	r.ok(r.work(r.t.Context()))
}

// resume lets a deployment go on that rests at a step, of which the detail is checked.
func (r *realm) resume(number int) {
	r.t.Helper()
	r.update(func(tx *store.Tx) error { return tx.AskResume(r.deployment(number), "alice") })
	r.goOn()
}

func (r *realm) is(number int, state string) {
	r.t.Helper()
	if d := r.deployment(number); d.State != state {
		r.t.Fatalf("deployment %d is %s: %s %+v", number, d.State, d.Reason, d.Failure.V)
	}
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
func (r *realm) everything() map[string]*unstructured.Unstructured {
	r.t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, resource := range realResources {
		list, err := r.client.Resource(resource).Namespace(r.namespace).List(r.t.Context(), metav1.ListOptions{LabelSelector: kube.LabelManagedBy + "=shipmate"})
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range list.Items {
			all[kube.RefOf(&list.Items[i]).String()] = &list.Items[i]
		}
	}
	return all
}

// stands asserts that what is in the cluster is what a deployment has, and nothing more.
func (r *realm) stands(number int) {
	r.t.Helper()
	objs, _, err := r.Objects(r.deployment(number))
	r.ok(err)
	all := r.everything()
	for _, obj := range objs {
		ref := kube.RefOf(obj).String()
		live := all[ref]
		delete(all, ref)
		if live == nil {
			r.t.Errorf("%s is not there", ref)
			continue
		}
		if has(live.Object, obj.Object, ref) != "" || live.GetAnnotations()[kube.AnnotationCanary] != "" {
			r.t.Errorf("%s: %s, annotations %v", ref, has(live.Object, obj.Object, ref), live.GetAnnotations())
		}
	}
	for ref := range all {
		r.t.Errorf("%s is left over", ref)
	}
	if live := r.everything()["Service/web"]; live != nil {
		if selector, _, _ := unstructured.NestedStringMap(live.Object, "spec", "selector"); len(selector) != 1 {
			r.t.Errorf("the Service selects %v", selector)
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
func (r *realm) part(object, want string, path ...string) {
	r.t.Helper()
	live := r.everything()[object]
	if live == nil {
		r.t.Fatalf("%s is not there", object)
	}
	got, _, err := unstructured.NestedFieldNoCopy(live.Object, path...)
	r.ok(err)
	var wanted any
	r.ok(yaml.Unmarshal([]byte(want), &wanted))
	a, err := json.Marshal(got)
	r.ok(err)
	b, err := json.Marshal(wanted)
	r.ok(err)
	if string(a) != string(b) {
		r.t.Errorf("%s %s: got\n%s\nwant\n%s", object, strings.Join(path, "."), a, b)
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

func (r *realm) traffic() *traffic {
	c := &traffic{by: map[string]int{}}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				status, body, err := r.cluster.Proxy(ctx, r.namespace, "web", "80", "/")
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
	r.t.Cleanup(func() { stop(); group.Wait() })
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
func (r *realm) share(c *traffic, version string) float64 {
	r.t.Helper()
	c.mu.Lock()
	clear(c.by)
	c.mu.Unlock()
	for deadline := time.Now().Add(5 * time.Minute); c.total()-len(c.failures()) < 1000; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("only %d requests", c.total())
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
	r := newRealm(t)
	r.release('a', "one", realDeployment, "rolling: {}")
	r.is(1, store.Succeeded)
	client := r.traffic()
	const strategy = "canary: {steps: [{weight: 25, pause: manual}, {weight: 50, pause: manual}]}"
	near := func(version string, want float64) {
		t.Helper()
		got := r.share(client, version)
		t.Logf("%s answers %.1f%% of the requests, computed %.1f%%", version, got, want)
		if math.Abs(got-want) > 5 {
			t.Errorf("%s answers %.1f%% of the requests, want %.1f%%", version, got, want)
		}
	}
	detail := func(number int, kind, want string) {
		t.Helper()
		if s := r.result(number, kind); s.State != store.StepSucceeded || s.Detail != want {
			t.Errorf("%s: %s, %s", kind, s.State, s.Detail)
		}
	}
	r.release('b', "two", realDeployment, strategy)
	r.is(2, store.Paused)
	detail(2, "canary/1/25%", "2 of 7 pods, 29%")
	near("two", 100*2/7.)
	r.resume(2)
	r.is(2, store.Paused)
	detail(2, "canary/2/50%", "5 of 10 pods, 50%")
	near("two", 50)
	r.resume(2)
	r.is(2, store.Succeeded)
	near("two", 100)
	r.stands(2)

	r.release('c', "three", realDeployment, strategy)
	r.is(3, store.Paused)
	near("three", 100*2/7.)
	r.resume(3)
	near("three", 50)
	r.update(func(tx *store.Tx) error { return tx.AskAbort(r.deployment(3), "bob") })
	r.goOn()
	r.is(3, store.Cancelled)
	r.stands(2)
	for deadline := time.Now().Add(2 * time.Minute); r.share(client, "two") != 100; {
		if time.Now().After(deadline) {
			t.Fatal("what was aborted still answers")
		}
	}

	r.release('d', "four", strings.Replace(realDeployment, "image: IMAGE", "image: IMAGE\n        args: [crash]", 1), strategy)
	r.is(4, store.Failed)
	if f := r.deployment(4).Failure.V; f.Step != "canary/1/25%" || !strings.HasPrefix(f.Where, "Deployment/web-canary, pod web-canary-") || !strings.HasPrefix(f.Reason, "CrashLoopBackOff") || f.Hint == "" && len(f.Logs) == 0 {
		t.Errorf("%+v", f)
	}
	r.stands(2)
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
func (r *realm) controls() {
	ingresses := r.client.Resource(schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}).Namespace(r.namespace)
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
	r.t.Cleanup(func() { stop(); <-done })
}

const abSteps = `{header: X-Canary, value: beta, pause: manual}, {weight: 30, header: X-Canary, pause: manual}, {weight: 60, pause: manual}`

// TestCanaryNginx has the objects on a real API server after each step, after the end, and after an abort.
func TestCanaryNginx(t *testing.T) {
	r := newRealm(t)
	r.controls()
	manifests := strings.Replace(realDeployment, "replicas: 5", "replicas: 2", 1) + realIngress
	r.release('a', "one", manifests, "rolling: {}")
	r.is(1, store.Succeeded)
	const strategy = "canary: {steps: [" + abSteps + "], traffic: {nginx: web}}"
	canary := func(annotations string, pods int) {
		t.Helper()
		r.part("Ingress/web-canary", annotations, "metadata", "annotations")
		r.part("Ingress/web-canary", "[{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web-canary, port: {number: 80}}}}]}}]", "spec", "rules")
		r.part("Service/web-canary", "{app: web, shipmate.dev/track: canary}", "spec", "selector")
		r.part("Service/web", "{app: web, shipmate.dev/track: stable}", "spec", "selector")
		r.part("Ingress/web", "[{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]", "spec", "rules")
		r.part("Deployment/web-canary", fmt.Sprint(pods), "spec", "replicas")
		r.part("Deployment/web-canary", "{app: web, shipmate.dev/track: canary}", "spec", "selector", "matchLabels")
		r.part("ConfigMap/settings", "one", "data", "VERSION")
		for service, want := range map[string]string{"web": "one", "web-canary": "two"} {
			for range 20 {
				if _, body, err := r.cluster.Proxy(t.Context(), r.namespace, service, "80", "/"); err != nil || !strings.Contains(string(body), "version "+want) {
					t.Fatalf("%s: %q, %v", service, body, err)
				}
			}
		}
	}
	steps := func(number int, release string) {
		t.Helper()
		r.is(number, store.Paused)
		const common = "nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/proxy-body-size: 8m, shipmate.dev/release: "
		canary("{"+common+"'"+release+"', nginx.ingress.kubernetes.io/canary-by-header: X-Canary, nginx.ingress.kubernetes.io/canary-by-header-value: beta, shipmate.dev/canary: 'X-Canary: beta'}", 1)
		r.resume(number)
		canary("{"+common+"'"+release+"', nginx.ingress.kubernetes.io/canary-weight: '30', nginx.ingress.kubernetes.io/canary-by-header: X-Canary, nginx.ingress.kubernetes.io/canary-by-header-value: always, shipmate.dev/canary: '30%, X-Canary: always'}", 1)
		r.resume(number)
		canary("{"+common+"'"+release+"', nginx.ingress.kubernetes.io/canary-weight: '60', shipmate.dev/canary: 60%}", 2)
	}
	r.release('b', "two", manifests, strategy)
	steps(2, "2")
	r.update(func(tx *store.Tx) error { return tx.AskAbort(r.deployment(2), "bob") })
	r.goOn()
	r.is(2, store.Cancelled)
	r.stands(1)
	r.release('c', "two", manifests, strategy)
	steps(3, "3")
	r.resume(3)
	r.is(3, store.Succeeded)
	r.stands(3)

	// Another canary Ingress for the same host and path.
	rival := r.everything()["Ingress/web"].DeepCopy()
	rival.Object = map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": rival.Object["spec"],
		"metadata": map[string]any{"name": "beta", "annotations": map[string]any{"nginx.ingress.kubernetes.io/canary": "true"}}}
	_, err := r.client.Resource(realResources[5]).Namespace(r.namespace).Create(t.Context(), rival, metav1.CreateOptions{FieldManager: "somebody"})
	r.ok(err)
	r.release('d', "four", manifests, strategy)
	if d := r.deployment(4); d.State != store.Failed || !strings.HasPrefix(d.Reason, "Ingress/beta is a canary of shop.example.com/ already") {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	r.stands(3)
}

const virtualServices = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: virtualservices.networking.istio.io}, spec: {
  group: networking.istio.io, scope: Namespaced, names: {kind: VirtualService, plural: virtualservices, singular: virtualservice, listKind: VirtualServiceList}, versions: [
    {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}},
    {name: v1beta1, served: true, storage: false, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}]}}`

// defined has the cluster know VirtualServices; it is for all tests of it.
var defined sync.Once

func (r *realm) define() {
	r.t.Helper()
	defined.Do(func() {
		crd := &unstructured.Unstructured{}
		r.ok(yaml.Unmarshal([]byte(virtualServices), &crd.Object))
		r.ok(r.cluster.Apply(r.t.Context(), []*unstructured.Unstructured{crd}, kube.ApplyOptions{}))
	})
}

// TestCanaryIstio is TestCanaryNginx with a VirtualService, and somebody else who owns a part of it.
func TestCanaryIstio(t *testing.T) {
	r := newRealm(t)
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
	r.release('a', "one", manifests, "rolling: {}")
	r.is(1, store.Succeeded)
	const strategy = "canary: {steps: [" + abSteps + "], traffic: {istio: web}}"
	const (
		header = "{name: all-canary, timeout: 5s, match: [{headers: {x-canary: {exact: VALUE}}}], route: [{destination: {host: web-canary}}]}"
		plain  = "[{name: all, timeout: 5s, route: [{destination: {host: web, subset: v1}}]}]"
		parted = "{name: all, timeout: 5s, route: [{destination: {host: web, subset: v1}, weight: STABLE}, {destination: {host: web-canary}, weight: CANARY}]}"
	)
	steps := func(number int) {
		t.Helper()
		r.is(number, store.Paused)
		r.part("VirtualService/web", "["+strings.Replace(header, "VALUE", "beta", 1)+", "+plain[1:], "spec", "http")
		r.part("Service/web", "{app: web, shipmate.dev/track: stable}", "spec", "selector")
		r.part("Service/web-canary", "{app: web, shipmate.dev/track: canary}", "spec", "selector")
		r.resume(number)
		r.part("VirtualService/web", "["+strings.Replace(header, "VALUE", "always", 1)+", "+strings.NewReplacer("STABLE", "70", "CANARY", "30").Replace(parted)+"]", "spec", "http")
		r.resume(number)
		r.part("VirtualService/web", "["+strings.NewReplacer("STABLE", "40", "CANARY", "60").Replace(parted)+"]", "spec", "http")
	}
	r.release('b', "two", manifests, strategy)
	steps(2)
	r.update(func(tx *store.Tx) error { return tx.AskAbort(r.deployment(2), "bob") })
	r.goOn()
	r.is(2, store.Cancelled)
	r.stands(1)
	r.part("VirtualService/web", plain, "spec", "http")
	r.release('c', "two", manifests, strategy)
	steps(3)
	r.resume(3)
	r.is(3, store.Succeeded)
	r.stands(3)
	r.part("VirtualService/web", plain, "spec", "http")

	services := r.client.Resource(realResources[6]).Namespace(r.namespace)
	live, err := services.Get(t.Context(), "web", metav1.GetOptions{})
	r.ok(err)
	r.ok(unstructured.SetNestedField(live.Object, []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "web"}}}}}, "spec", "http"))
	_, err = services.Update(t.Context(), live, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
	r.ok(err)
	r.release('d', "four", manifests, strategy)
	if d := r.deployment(4); d.State != store.Failed || !strings.Contains(d.Reason, "VirtualService/web") || !strings.Contains(d.Reason, "kubectl-edit") {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	if all := r.everything(); all["Deployment/web-canary"] != nil || all["Service/web"].GetAnnotations()[kube.AnnotationCanary] != "" {
		t.Error("something of the canary is left")
	}
}
