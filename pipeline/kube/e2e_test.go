//go:build e2e

package kube

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// world is a namespace of a real cluster, and an image in a registry that it pulls from.
type world struct {
	*testing.T
	cluster *Cluster
	owner   Owner
	image   Image
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	return newSerialWorld(t)
}

// newSerialWorld is newWorld for a test that disturbs the whole cluster, and runs before all others.
func newSerialWorld(t *testing.T) *world {
	kubeconfig, registry := os.Getenv("KUBECONFIG"), os.Getenv("REGISTRY")
	if kubeconfig == "" || registry == "" {
		t.Skip("needs KUBECONFIG, and REGISTRY (host:port, plain HTTP) that the cluster pulls from")
	}
	cluster, err := Open(Config{Kubeconfig: kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 4)
	rand.Read(random)
	w := &world{T: t, cluster: cluster}
	w.owner = Owner{App: "web", Environment: "staging", Release: "1", Namespace: "kube-test-" + hex.EncodeToString(random)}
	ns := object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+w.owner.Namespace+"}")
	if err := cluster.Apply(t.Context(), ns, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r, err := cluster.resource(context.Background(), cluster.client, RefOf(ns[0]))
		if err == nil {
			err = r.Delete(context.Background(), ns[0].GetName(), metav1.DeleteOptions{})
		}
		if err != nil {
			t.Error(err)
		}
	})
	w.image = pushImage(t, registry+"/team/web-"+hex.EncodeToString(random))
	return w
}

// appImage is made once: where two images differ in their compression alone, containerd tells one by the other's digest.
var appImage = sync.OnceValues(func() (v1.Image, error) {
	dir, err := os.MkdirTemp("", "shipmate-app-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a file of the tests
	binary := filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
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
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Entrypoint = []string{"/app"}
	return mutate.ConfigFile(img, config)
})

func pushImage(t *testing.T, repository string) Image {
	img, err := appImage()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(repository, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return Image{Repository: repository, Digest: digest.String(), Required: true}
}

// ready renders manifests as a release's, bound and owned.
func (w *world) ready(manifests string) []*unstructured.Unstructured {
	w.Helper()
	objs := object(w.T, strings.ReplaceAll(manifests, "IMAGE", w.image.Repository))
	image := w.image
	image.Required = false
	if _, err := Bind(objs, []Image{image}); err != nil {
		w.Fatal(err)
	}
	if err := Own(objs, w.owner); err != nil {
		w.Fatal(err)
	}
	return objs
}

// roll applies and waits, and prints what it was told.
func (w *world) roll(objs []*unstructured.Unstructured, timeout time.Duration) error {
	w.Helper()
	if err := w.cluster.Apply(w.Context(), objs, ApplyOptions{}); err != nil {
		w.Fatal(err)
	}
	return w.wait(objs, timeout)
}

func (w *world) wait(objs []*unstructured.Unstructured, timeout time.Duration) error {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), timeout)
	defer cancel()
	start := time.Now()
	return w.cluster.Wait(ctx, objs, func(p Progress) {
		w.Logf("%5.1fs %s: %s %v %v", time.Since(start).Seconds(), p.Object, p.Text, p.Stable, p.Problem)
	})
}

// fails asserts that err is a Failure of one of the reasons, and returns it.
func (w *world) fails(err error, fatal bool, reasons ...string) *Failure {
	w.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		w.Fatalf("got %v, want a failure %v", err, reasons)
	}
	w.Logf("%v\n  event: %s\n  log: %q", f, f.Event, f.Logs)
	for _, reason := range reasons {
		if f.Reason == reason && f.Fatal == fatal {
			return f
		}
	}
	w.Fatalf("reason %s, fatal %v; want one of %v, fatal %v", f.Reason, f.Fatal, reasons, fatal)
	return nil
}

func object(t testing.TB, manifests string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	objs, err := Render(t.Context(), Manifests{Root: dir, Path: "."})
	if err != nil {
		t.Fatal(err)
	}
	return objs
}

const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: IMAGE
        ports: [{containerPort: 5000}]
        readinessProbe: {httpGet: {path: /, port: 5000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web-svc}
spec:
  selector: {app: web}
  ports: [{port: 5000, name: http}]
`

// deployment is one with the given lines in its container.
func deployment(name string, lines ...string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        %[2]s
`, name, strings.Join(lines, "\n        "))
}

// doubted is a deployment whose pods must have been ready for ten seconds: on a busy machine a container may well run for longer than
// the settle time before it does what it is to fail by.
func doubted(deployment string) string {
	return strings.Replace(deployment, "spec:\n  selector", "spec:\n  minReadySeconds: 10\n  selector", 1)
}

func TestStory(t *testing.T) {
	w := newWorld(t)
	objs := w.ready(webManifest)

	changes, err := w.cluster.Diff(t.Context(), objs, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 2 || changes[0].Action != "create" || !strings.Contains(changes[0].Text, "+kind: Deployment") {
		t.Errorf("diff of what is not there: %+v", changes)
	}
	if err := w.roll(objs, time.Minute); err != nil {
		t.Fatal(err)
	}
	warnings, err := w.cluster.Verify(t.Context(), objs, []Image{w.image})
	if err != nil || len(warnings) > 0 {
		t.Errorf("verify: %v, %v", warnings, err)
	}

	// Applying the same changes nothing, and is stable at once.
	start := time.Now()
	if err := w.roll(objs, time.Minute); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("applying the same took %v", took)
	}
	if changes, err = w.cluster.Diff(t.Context(), objs, nil); err != nil || changes[0].Action != "none" || changes[1].Action != "none" {
		t.Errorf("diff of the same: %+v, %v", changes, err)
	}

	status, body, err := w.cluster.Proxy(t.Context(), w.owner.Namespace, "web-svc", "http", "/v2?x=1")
	if err != nil || status != 200 || !strings.Contains(string(body), "/v2") {
		t.Errorf("proxy: %d %q %v", status, body, err)
	}
	status, body, err = w.cluster.Proxy(t.Context(), w.owner.Namespace, "web-svc", "5000", "/%2e%2e/../../secrets")
	if err != nil || !strings.Contains(string(body), "version  /secrets") {
		t.Errorf("a path with .. left the service: %d %q %v", status, body, err)
	}
	status, body, err = w.cluster.Proxy(t.Context(), w.owner.Namespace, "web-svc", "5000", "/away")
	if err != nil || status != 302 {
		t.Errorf("redirect: %d %q %v", status, body, err)
	}
	if _, _, err = w.cluster.Proxy(t.Context(), w.owner.Namespace, "nothing", "5000", "/"); err == nil {
		t.Error("a service that is not there was reached")
	}

	// A second rollout: only its pods count, and old ones are gone at the end.
	w.owner.Release = "2"
	second := w.ready(strings.Replace(webManifest, "image: IMAGE", "image: IMAGE:v2\n        env: [{name: VERSION, value: two}]", 1))
	if changes, err = w.cluster.Diff(t.Context(), second, nil); err != nil || changes[0].Action != "update" || !strings.Contains(changes[0].Text, "+          value: two") {
		t.Errorf("diff of a change: %+v, %v", changes, err)
	}
	t.Log(changes[0].Text)
	if err := w.roll(second, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, body, err := w.cluster.Proxy(t.Context(), w.owner.Namespace, "web-svc", "http", "/"); err != nil || !strings.Contains(string(body), "version two") {
		t.Errorf("after the second rollout: %q %v", body, err)
	}
	workloads, err := w.cluster.Status(t.Context(), second)
	if err != nil || len(workloads) != 1 {
		t.Fatalf("status: %+v, %v", workloads, err)
	}
	s := workloads[0]
	if s.Desired != 2 || s.Ready != 2 || s.Updated != 2 || s.Release != "2" || !s.Stable || len(s.Images) != 1 || s.Images[0] != w.image.Ref() {
		t.Errorf("status: %+v", s)
	}

	// No replicas is stable too.
	none := w.ready(strings.Replace(webManifest, "replicas: 2", "replicas: 0", 1))
	if err := w.roll(none, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// TestIndex rolls an image for several platforms out: what the kubelet reports of its pods is one of the digests that the
// release knows it by.
func TestIndex(t *testing.T) {
	w := newWorld(t)
	ref, err := name.NewDigest(w.image.Repository+"@"+w.image.Digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	arm, err := mutate.Config(img, v1.Config{Labels: map[string]string{"for": "another platform"}})
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	if err := remote.WriteIndex(ref.Context().Tag("index"), index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	w.image.Also = []string{w.image.Digest, config.String()}
	w.image.Digest = digest.String()

	objs := w.ready(deployment("web", "image: IMAGE"))
	if err := w.roll(objs, time.Minute); err != nil {
		t.Fatal(err)
	}
	warnings, err := w.cluster.Verify(t.Context(), objs, []Image{w.image})
	if err != nil || len(warnings) > 0 {
		t.Errorf("verify: %v, %v", warnings, err)
	}
	present, err := w.cluster.present(t.Context(), objs[:1])
	if err != nil || len(present[0].pods) == 0 {
		t.Fatalf("no pod (%v)", err)
	}
	t.Log("the kubelet reports ", present[0].pods[0].Status.ContainerStatuses[0].ImageID, " of the index ", digest)
}

func TestFatal(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name     string
		manifest string
		reasons  []string
		log      string
		within   time.Duration
	}{
		{"invalid-name", deployment("invalid-name", `image: "UPPER/Case:tag!"`), []string{"InvalidImageName"}, "", 20 * time.Second},
		{"no-image", deployment("no-image", "image: "+os.Getenv("REGISTRY")+"/nothing/here:1"), []string{"ErrImagePull"}, "", 20 * time.Second},
		{"config", deployment("config", "image: IMAGE", "envFrom: [{configMapRef: {name: missing}}]"), []string{"CreateContainerConfigError"}, "", 50 * time.Second},
		{"crash", doubted(deployment("crash", "image: IMAGE", "args: [crash]")), []string{"CrashLoopBackOff"}, "no database at db:5432", 90 * time.Second},
		{"late-crash", deployment("late-crash", "image: IMAGE", "args: [late-crash]", "readinessProbe: {tcpSocket: {port: 5000}, periodSeconds: 1}"), []string{"CrashLoopBackOff"}, "lost it", 120 * time.Second},
		{"oom", doubted(deployment("oom", "image: IMAGE", "args: [oom]", "resources: {limits: {memory: 48Mi}}")), []string{"OOMKilled"}, "", 90 * time.Second},
		{"no-command", deployment("no-command", "image: IMAGE", "command: [/nothing]"), []string{"CrashLoopBackOff"}, "", 90 * time.Second},
		{"overdue", strings.Replace(deployment("overdue", "image: IMAGE", "readinessProbe: {tcpSocket: {port: 81}, periodSeconds: 1}"),
			"spec:\n  selector", "spec:\n  progressDeadlineSeconds: 8\n  selector", 1), []string{"Unhealthy", "NotReady"}, "", 40 * time.Second},
		{"job", `
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: IMAGE, args: [crash]}]
`, []string{"Error"}, "no database at db:5432", 40 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, cluster: w.cluster, owner: w.owner, image: w.image}
			err := w.roll(w.ready(test.manifest), test.within)
			f := w.fails(err, true, test.reasons...)
			if test.log != "" && (len(f.Logs) != min(20, len(f.Logs)) || !strings.Contains(strings.Join(f.Logs, "\n"), test.log)) {
				t.Errorf("log %q lacks %q", f.Logs, test.log)
			}
			if f.Pod == "" || f.Container == "" {
				t.Errorf("names no container: %+v", f)
			}
		})
	}
}

func TestTimeUp(t *testing.T) {
	w := newWorld(t)
	quota := w.ready(`
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {requests.cpu: "10"}}
`)
	if err := w.cluster.Apply(t.Context(), quota, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		manifest string
		reasons  []string
	}{
		{"quota", deployment("quota", "image: IMAGE", `resources: {requests: {cpu: "11"}}`), []string{"FailedCreate"}},
		{"quota-stateful", strings.NewReplacer("kind: Deployment", "kind: StatefulSet").Replace(
			deployment("quota-stateful", "image: IMAGE", `resources: {requests: {cpu: "11"}}`)), []string{"FailedCreate"}},
		{"unschedulable", deployment("unschedulable", "image: IMAGE", `resources: {requests: {cpu: "9"}}`), []string{"Unschedulable"}},
		{"probe", deployment("probe", "image: IMAGE", `resources: {requests: {cpu: 1m}}`, "readinessProbe: {httpGet: {path: /, port: 81}, periodSeconds: 1}"), []string{"Unhealthy"}},
		{"no-registry", deployment("no-registry", "image: 127.0.0.1:1/team/web:1", `resources: {requests: {cpu: 1m}}`), []string{"ErrImagePull"}},
		{"load-balancer", "apiVersion: v1\nkind: Service\nmetadata: {name: load-balancer}\nspec: {type: LoadBalancer, ports: [{port: 1}]}", []string{"Timeout"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, cluster: w.cluster, owner: w.owner, image: w.image}
			if f := w.fails(w.roll(w.ready(test.manifest), 12*time.Second), false, test.reasons...); f.Hint == "" {
				t.Error("there is no hint")
			}
		})
	}
}

func TestOtherWorkloads(t *testing.T) {
	w := newWorld(t)
	manifest := `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: set}
spec:
  replicas: 2
  serviceName: set
  selector: {matchLabels: {app: set}}
  template:
    metadata: {labels: {app: set}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: IMAGE, env: [{name: VERSION, value: one}]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon}
spec:
  selector: {matchLabels: {app: daemon}}
  template:
    metadata: {labels: {app: daemon}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: IMAGE, env: [{name: VERSION, value: one}]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  ttlSecondsAfterFinished: 0
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: IMAGE, args: [done]}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: IMAGE}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: IMAGE, args: [done]}]}}}}
`
	objs := w.ready(manifest)
	if err := w.roll(objs, time.Minute); err != nil {
		t.Fatal(err)
	}
	if warnings, err := w.cluster.Verify(t.Context(), objs, []Image{w.image}); err != nil || len(warnings) > 0 {
		t.Errorf("verify: %v, %v", warnings, err)
	}
	// A pod of the new revision that crashes is found in these kinds too, and the
	// old revision's pods don't hide it.
	for i, kind := range []string{"StatefulSet", "DaemonSet"} {
		broken := w.ready(strings.ReplaceAll(manifest, "value: one}]", "value: two}], args: [crash]"))[i : i+1]
		f := w.fails(w.roll(broken, 2*time.Minute), true, "CrashLoopBackOff")
		if !strings.HasPrefix(f.Object, kind) {
			t.Errorf("failure of %s, want a %s", f.Object, kind)
		}
	}
}

func TestConflict(t *testing.T) {
	w := newWorld(t)
	objs := w.ready(webManifest)
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ref := RefOf(objs[0])
	deployments, err := w.cluster.resource(t.Context(), w.cluster.client, ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{FieldManager: "someone"}); err != nil {
		t.Fatal(err)
	}
	var conflict *Conflict
	err = w.cluster.Apply(t.Context(), objs, ApplyOptions{})
	if !errors.As(err, &conflict) || conflict.Manager != "someone" || len(conflict.Fields) != 1 || conflict.Fields[0] != ".spec.replicas" {
		t.Fatalf("%v: %+v", err, conflict)
	}
	t.Log(err)
	changes, err := w.cluster.Diff(t.Context(), objs, nil)
	if err != nil || !strings.Contains(changes[0].Note, "someone") {
		t.Errorf("diff: %+v, %v", changes, err)
	}
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{Force: true}); err != nil {
		t.Fatal(err)
	}

	// What a HorizontalPodAutoscaler set is left alone: it writes as the controller manager.
	if _, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`),
		metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale"); err != nil {
		t.Fatal(err)
	}
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	live, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(live.Object, "spec", "replicas"); n != 3 {
		t.Errorf("replicas became %d", n)
	}

	// Another app's object of the same name is not taken over, not even by force.
	other := *w
	other.owner.App = "shop"
	err = w.cluster.Apply(t.Context(), other.ready(webManifest), ApplyOptions{Force: true})
	if !errors.As(err, &conflict) || conflict.Manager != "app web, environment staging" {
		t.Errorf("another app's object: %v", err)
	}
	t.Log(err)
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	first := w.ready(deployment("web", "image: IMAGE"))
	if err := w.cluster.Apply(t.Context(), first, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	config := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: before}\ndata: {a: b}\n---\n"
	for _, test := range []struct {
		name, manifest string
		want           []string
	}{
		{"unknown field", config + deployment("typo", "imagee: x", "image: IMAGE"), []string{"Deployment/typo", "imagee"}},
		{"invalid value", config + deployment("web2", "image: IMAGE", "ports: [{containerPort: 99999}]"), []string{"spec.template.spec.containers[0].ports[0].containerPort", "99999"}},
		{"immutable field", config + strings.ReplaceAll(deployment("web", "image: IMAGE"), "app: web", "app: other"), []string{"spec.selector", "immutable", "delete the object"}},
		{"unknown kind", config + "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}", []string{"Thing", "CustomResourceDefinition"}},
		{"secret value", config + "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {key: hunter2hunter2!}", []string{"Secret/a", "refuses"}},
		{"cluster-scoped", config + "apiVersion: apiregistration.k8s.io/v1\nkind: APIServiceList\nmetadata: {name: a}", []string{"APIServiceList"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := w.cluster.Apply(t.Context(), w.ready(test.manifest), ApplyOptions{})
			if err == nil {
				t.Fatal("applied")
			}
			t.Log(err)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(fmt.Sprintf("%+v", errors.Unwrap(err)), "hunter2") {
				t.Errorf("%q shows the secret", err)
			}
			if live, err := w.cluster.get(t.Context(), ObjectRef{Version: "v1", Kind: "ConfigMap", Namespace: w.owner.Namespace, Name: "before"}); err != nil || live != nil {
				t.Errorf("something was applied before the refusal: %v %v", live, err)
			}
		})
	}
	missing := w.ready(config)
	missing[0].SetNamespace("nowhere")
	err := w.cluster.Apply(t.Context(), missing, ApplyOptions{})
	if err == nil || !strings.Contains(err.Error(), "namespace nowhere does not exist") {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	w := newWorld(t)
	manifest := `
apiVersion: v1
kind: ConfigMap
metadata: {name: keep}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: drop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: foreign}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: gone}
`
	objs := w.ready(manifest)
	if err := w.cluster.Apply(t.Context(), objs[:4], ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	// Someone else took this one over.
	configs, err := w.cluster.resource(t.Context(), w.cluster.client, RefOf(objs[2]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := configs.Patch(t.Context(), "foreign", types.MergePatchType, []byte(`{"metadata":{"labels":{"shipmate.dev/app":"shop"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	old := append(InventoryOf(objs), ObjectRef{Group: "example.com", Version: "v1", Kind: "Thing", Namespace: w.owner.Namespace, Name: "a"})
	pruned, err := w.cluster.Prune(t.Context(), old, InventoryOf(objs[:1]), w.owner)
	if err != nil || strings.Join(pruned, " ") != "ConfigMap/drop" {
		t.Errorf("pruned %v, %v", pruned, err)
	}
	for _, ref := range old[:4] {
		live, err := w.cluster.get(t.Context(), ref)
		if err != nil || (live == nil) != (ref.Name == "drop") {
			t.Errorf("%s: there %v, %v", ref, live != nil, err)
		}
	}
}

func TestDefinition(t *testing.T) {
	w := newWorld(t)
	group := w.owner.Namespace + ".example.com"
	w.owner.MayHold = func(kind string) error {
		if kind == "CustomResourceDefinition" {
			return nil
		}
		return errors.New("only definitions")
	}
	objs := w.ready(strings.ReplaceAll(`
apiVersion: GROUP/v1
kind: Thing
metadata: {name: one}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {kind: Thing, plural: things, singular: thing, listKind: ThingList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
`, "GROUP", group))
	t.Cleanup(func() {
		r, err := w.cluster.resource(context.Background(), w.cluster.client, RefOf(objs[1]))
		if err == nil {
			err = r.Delete(context.Background(), objs[1].GetName(), metav1.DeleteOptions{})
		}
		if err != nil {
			t.Error(err)
		}
	})
	changes, err := w.cluster.Diff(t.Context(), objs, nil)
	if err != nil || changes[0].Action != "create" || !strings.Contains(changes[0].Note, "comes with this release") {
		t.Errorf("diff: %+v, %v", changes, err)
	}
	if err := w.roll(objs, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func TestSecrets(t *testing.T) {
	w := newWorld(t)
	ns := w.owner.Namespace
	for _, password := range []string{"one", "two", "two"} {
		if err := w.cluster.EnsurePullSecret(t.Context(), ns, "pull", "registry.example.com", "bot", password); err != nil {
			t.Fatal(err)
		}
	}
	live, err := w.cluster.get(t.Context(), ObjectRef{Version: "v1", Kind: "Secret", Namespace: ns, Name: "pull"})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := decode[corev1.Secret](live)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"auths":{"registry.example.com":{"auth":"Ym90OnR3bw==","password":"two","username":"bot"}}}`
	if got := string(secret.Data[corev1.DockerConfigJsonKey]); got != want || secret.Type != corev1.SecretTypeDockerConfigJson {
		t.Errorf("%s %s", secret.Type, got)
	}

	manifest := "apiVersion: v1\nkind: Secret\nmetadata: {name: theirs}\nstringData: {key: hunter2, same: always}"
	theirs := object(t, manifest)
	theirs[0].SetNamespace(ns)
	if err := w.cluster.Apply(t.Context(), theirs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.cluster.EnsurePullSecret(t.Context(), ns, "theirs", "registry.example.com", "bot", "x"); err == nil {
		t.Error("took over a Secret that is not ours")
	}
	changed := w.ready(strings.Replace(manifest, "hunter2", "hunter3", 1))
	changes, err := w.cluster.Diff(t.Context(), changed, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(changes[0].Text)
	for _, leak := range []string{"hunter", "aHVudGVy", "YWx3YXlz"} {
		if strings.Contains(changes[0].Text, leak) {
			t.Errorf("the diff shows a value: %s", changes[0].Text)
		}
	}
	if !strings.Contains(changes[0].Text, "+  key: '*** (after)'") {
		t.Errorf("the diff does not show that a value changes: %s", changes[0].Text)
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	objs := w.ready(deployment("slow", "image: IMAGE", "readinessProbe: {tcpSocket: {port: 81}}"))
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := w.cluster.Wait(ctx, objs, func(Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// limited is the cluster by an account that has only rules in the world's namespace.
func (w *world) limited(rules string) *Cluster {
	t := w.T
	t.Helper()
	ns := w.owner.Namespace
	setup := object(t, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: shipmate, namespace: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: shipmate, namespace: NS}
rules:
`+rules+`---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: shipmate, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: shipmate}
subjects: [{kind: ServiceAccount, name: shipmate, namespace: NS}]
`)
	for _, obj := range setup {
		obj.SetNamespace(ns)
		if subjects, ok := obj.Object["subjects"].([]any); ok {
			subjects[0].(map[string]any)["namespace"] = ns
		}
	}
	if err := w.cluster.Apply(t.Context(), setup, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	accounts, err := w.cluster.resource(t.Context(), w.cluster.client, RefOf(setup[0]))
	if err != nil {
		t.Fatal(err)
	}
	request := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": "shipmate"}, "spec": map[string]any{}}}
	issued, err := accounts.Create(t.Context(), request, metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	token, _, _ := unstructured.NestedString(issued.Object, "status", "token")
	rc, err := restConfig(Config{Kubeconfig: os.Getenv("KUBECONFIG")})
	if err != nil {
		t.Fatal(err)
	}
	limited, err := Open(Config{Server: rc.Host, CA: string(rc.CAData), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return limited
}

// TestLeastPrivilege rolls out with an account that may do nothing but what the
// package needs.
func TestLeastPrivilege(t *testing.T) {
	w := newWorld(t)
	ns := w.owner.Namespace
	limited := w.limited(`
- {apiGroups: ["", apps], resources: [services, configmaps, secrets, deployments], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: ["", apps], resources: [pods, replicasets], verbs: [list, watch]}
- {apiGroups: [""], resources: [pods/log, services/proxy], verbs: [get]}
`)
	l := &world{T: t, cluster: limited, owner: w.owner, image: w.image}
	objs := l.ready(webManifest)
	if err := l.roll(objs, time.Minute); err != nil {
		t.Fatal(err)
	}
	if warnings, err := limited.Verify(t.Context(), objs, []Image{w.image}); err != nil || len(warnings) > 0 {
		t.Errorf("verify: %v %v", warnings, err)
	}
	if status, _, err := limited.Proxy(t.Context(), ns, "web-svc", "5000", "/"); err != nil || status != 200 {
		t.Errorf("proxy: %d %v", status, err)
	}
	if err := limited.EnsurePullSecret(t.Context(), ns, "pull", "r.example.com", "u", "p"); err != nil {
		t.Error(err)
	}
	if pruned, err := limited.Prune(t.Context(), InventoryOf(objs), InventoryOf(objs[:1]), w.owner); err != nil || len(pruned) != 1 {
		t.Errorf("prune: %q %v", pruned, err)
	}

	// So does what the cluster says of its rights, of which it has those that the rollout needed.
	lacks, err := limited.Lacks(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range lacks {
		if n.Core || n.Resource == "secrets" {
			t.Errorf("it lacks %v of %s", n.Verbs, n)
		}
	}
	if want := len(Needs()) - 8; len(lacks) != want {
		t.Errorf("it lacks %v, want %d", lacks, want)
	}
	if lacks, err := w.cluster.Lacks(t.Context(), ns); err != nil || len(lacks) > 0 {
		t.Errorf("who may do anything lacks %v, %v", lacks, err)
	}
	kinds, unknown, err := limited.LacksOfKinds(t.Context(), []string{"ClusterRole", "ConfigMap", "CustomResourceDefinition"})
	if err != nil || fmt.Sprint(unknown) != "[ConfigMap]" || len(kinds) != 2 || kinds[0].String() != "clusterroles.rbac.authorization.k8s.io" || strings.Join(kinds[1].Verbs, " ") != "get create patch list watch" {
		t.Errorf("%v: it lacks %v, and there is no %v", err, kinds, unknown)
	}
	if kinds, _, err := w.cluster.LacksOfKinds(t.Context(), []string{"ClusterRole"}); err != nil || len(kinds) > 0 {
		t.Errorf("%v: the admin lacks %v", err, kinds)
	}
	if _, err := w.cluster.Lacks(t.Context(), "kube-test-none"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("of a namespace that is not there: %v", err)
	}

	// What it may not do names verb, resource and namespace.
	for _, test := range []struct{ manifest, want string }{
		{"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}}", "not allowed to get statefulsets.apps in namespace " + ns},
		{"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}}", "not allowed to get rolebindings.rbac.authorization.k8s.io in namespace " + ns},
	} {
		err := limited.Apply(t.Context(), l.ready(test.manifest), ApplyOptions{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
		t.Log(err)
	}
	forbidden := l.ready("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")
	forbidden[0].SetNamespace("kube-system")
	if err := limited.Apply(t.Context(), forbidden, ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "in namespace kube-system") {
		t.Errorf("got %v", err)
	}
	rc, err := restConfig(Config{Kubeconfig: os.Getenv("KUBECONFIG")})
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := Open(Config{Server: rc.Host, CA: string(rc.CAData), Token: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if err := wrong.Apply(t.Context(), objs, ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "refuses our credentials") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v", err)
	}
}

// TestJob: a Job of a flow runs once on the real cluster, whatever is repeated; one that is stopped is gone, and one that fails says why.
func TestJob(t *testing.T) {
	w := newWorld(t)
	job := func(name, mode string) *unstructured.Unstructured {
		objs := w.ready(`apiVersion: batch/v1
kind: Job
metadata: {name: ` + name + `}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: IMAGE, args: [` + mode + `]}]
`)
		if err := RunOnce(objs[0], "0a1b2c3d-1", "1"); err != nil {
			t.Fatal(err)
		}
		return objs[0]
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	once := job("migrate", "done")
	uid, err := w.cluster.HoldJob(ctx, once)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.cluster.HoldJob(ctx, once); err != nil || again != uid {
		t.Errorf("held again: %s, %v", again, err)
	}
	for range 2 { // who is killed before the end is written down asks again
		logs, err := w.cluster.RunJob(ctx, once, uid, silent)
		if err != nil || !strings.Contains(strings.Join(logs, "\n"), "done") {
			t.Fatalf("%q, %v", logs, err)
		}
	}
	r, err := w.cluster.resource(ctx, w.cluster.client, ObjectRef{Version: "v1", Kind: "Pod", Namespace: w.owner.Namespace, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := r.List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + once.GetName()})
	if err != nil || len(pods.Items) != 1 {
		t.Errorf("%d pods, %v", len(pods.Items), err)
	}
	if _, err := w.cluster.RunJob(ctx, once, "another", silent); err == nil {
		t.Error("a Job of another id is taken for ours")
	}

	bad := job("fails", "crash")
	if uid, err = w.cluster.HoldJob(ctx, bad); err != nil {
		t.Fatal(err)
	}
	_, err = w.cluster.RunJob(ctx, bad, uid, silent)
	var failure *Failure
	if !errors.As(err, &failure) || !strings.Contains(strings.Join(failure.Logs, "\n"), "no database at db:5432") {
		t.Errorf("%v: %+v", err, failure)
	}

	long := job("long", "serve")
	if uid, err = w.cluster.HoldJob(ctx, long); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	_, _ = w.cluster.RunJob(running, long, uid, func(Progress) { stop() }) // until it is seen to run
	if err := w.cluster.StopJob(ctx, long); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cluster.RunJob(ctx, long, uid, silent); err == nil {
		t.Error("a Job that was stopped runs again")
	}
}

// TestRoleWithItsBinding: an account that may bind only what it has itself applies a role and its binding together: the API server
// looks for the role, in a dry run too.
func TestRoleWithItsBinding(t *testing.T) {
	w := newWorld(t)
	limited := w.limited(`
- {apiGroups: [""], resources: [configmaps], verbs: [get]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [get, create, patch]}
`)
	l := &world{T: t, cluster: limited, owner: w.owner, image: w.image}
	for i := range 5 {
		objs := l.ready(fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers-%[1]d}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader-%[1]d}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader-%[1]d}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
`, i))
		changes, err := limited.Diff(t.Context(), objs, nil)
		if err != nil || changes[0].Action != "create" || changes[1].Action != "create" {
			t.Errorf("%+v, %v", changes, err)
		}
		if err := limited.Apply(t.Context(), objs[:1], ApplyOptions{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("RoleBinding/readers-%[1]d: the role reader-%[1]d does not exist", i)) {
			t.Errorf("alone: %v", err)
		}
		if err := limited.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
			t.Error(err)
		}
	}
}
