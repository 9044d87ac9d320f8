//go:build e2e

package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// road is a bench with a real cluster, in which a pod asks the Service of what is deployed all the time, each time by a new connection.
type road struct {
	*bench
	cluster         *kube.Cluster
	namespace, repo string
}

// paver is a builder whose every build is the image that was pushed.
type paver struct{ *road }

func (p paver) Build(ctx context.Context, req build.Request, _ func(build.Line)) (build.Result, error) {
	_, digest, _ := strings.Cut(p.repo, "@")
	return build.Result{Digest: digest}, p.call(ctx, "build", func() { p.pushed[req.Image+"@"+digest] = true })
}

func newRoad(t *testing.T) *road {
	t.Helper()
	kubeconfig, registry := os.Getenv("KUBECONFIG"), os.Getenv("REGISTRY")
	if kubeconfig == "" || registry == "" {
		t.Skip("needs KUBECONFIG, and REGISTRY (host:port, plain HTTP) that the cluster pulls from")
	}
	t.Parallel()
	w := &road{bench: newBench(t)}
	w.namespace = "traffic-" + strings.ToLower(store.NewID()[:8])
	w.push(registry + "/team/" + w.namespace)
	var err error
	w.cluster, err = kube.Open(kube.Config{Kubeconfig: kubeconfig})
	w.ok(err)
	w.Clusters, w.Builder = map[string]Cluster{"test": w.cluster}, paver{w}
	w.apply(fmt.Sprintf(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": %q}}`, w.namespace))
	t.Cleanup(func() { // the namespace goes with the cluster
		if !t.Failed() {
			return
		}
		t.Log(w.bench.deployments())
		for _, name := range []string{"web", "web-blue", "web-green", "client"} {
			t.Log(name, w.pods(context.Background(), name))
		}
	})
	return w
}

// push builds the program of the test images and pushes it.
func (w *road) push(repo string) {
	w.t.Helper()
	binary := filepath.Join(w.t.TempDir(), "app")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./kube/testdata/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatal(err, string(out))
	}
	data, err := os.ReadFile(binary)
	w.ok(err)
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	w.ok(tw.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(data))}))
	_, err = tw.Write(data)
	w.ok(err)
	w.ok(tw.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	w.ok(err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	w.ok(err)
	config, err := img.ConfigFile()
	w.ok(err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Entrypoint = "linux", "amd64", []string{"/app"}
	img, err = mutate.ConfigFile(img, config)
	w.ok(err)
	ref, err := name.ParseReference(repo, name.Insecure)
	w.ok(err)
	w.ok(remote.Write(ref, img))
	digest, err := img.Digest()
	w.ok(err)
	w.repo = repo + "@" + digest.String()
}

func (w *road) apply(text string) {
	w.t.Helper()
	objs, err := kube.Decode([]byte(text))
	w.ok(err)
	w.ok(w.cluster.Apply(w.t.Context(), objs, kube.ApplyOptions{}))
	w.ok(w.cluster.Wait(w.t.Context(), objs, func(kube.Progress) {}))
}

// commit has a release made of a version, whose pods take three seconds to be ready and to end.
func (w *road) commit(sha byte, version string, replicas int, strategy string) {
	w.t.Helper()
	repo, _, _ := strings.Cut(w.repo, "@")
	w.files = map[string]string{"deploy/web.yaml": fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {VERSION: %[1]s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %[2]d
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: %[3]s
        envFrom: [{configMapRef: {name: settings}}]
        lifecycle: {preStop: {sleep: {seconds: 3}}}
        readinessProbe: {httpGet: {path: /, port: 5000}, periodSeconds: 1, initialDelaySeconds: 3}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 5000}]}
`, version, replicas, repo)}
	env := environment(nil)
	if strategy != "" {
		env = turns(w.t, strategy)
	}
	env.Namespace, env.Timeout = w.namespace, 3*time.Minute
	w.run(sha, env, func(c *Config) { c.Build.Image = repo })
}

// poll has the pod ask.
func (w *road) poll() {
	w.t.Helper()
	service, err := w.cluster.Live(w.t.Context(), kube.ObjectRef{Version: "v1", Kind: "Service", Namespace: w.namespace, Name: "web"})
	w.ok(err)
	ip, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
	w.apply(strings.NewReplacer("NS", w.namespace, "IMAGE", w.repo, "IP", ip).Replace(
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"client","namespace":"NS"},"spec":{"selector":{"matchLabels":{"app":"client"}},"template":{"metadata":{"labels":{"app":"client"}},"spec":{"terminationGracePeriodSeconds":1,"containers":[{"name":"client","image":"IMAGE","args":["poll","http://IP/"]}]}}}}
{"apiVersion":"v1","kind":"Service","metadata":{"name":"client","namespace":"NS"},"spec":{"selector":{"app":"client"},"ports":[{"port":5000}]}}`))
	w.until("it asks", func() bool { return w.asked() > 50 })
}

type answers struct {
	Total           int
	Failed, Answers []string
}

func (w *road) answers() (a answers, err error) {
	status, body, err := w.cluster.Proxy(w.t.Context(), w.namespace, "client", "5000", "/")
	if err == nil && status != 200 {
		err = fmt.Errorf("HTTP status %d", status)
	}
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	return a, err
}

// asked is how many requests there were so far.
func (w *road) asked() int {
	a, err := w.answers()
	if err != nil {
		w.t.Log(err)
	}
	return a.Total
}

// more waits for so many more requests: all that is under way is seen.
func (w *road) more(n int) {
	w.t.Helper()
	last := w.asked() + n
	w.until("more requests", func() bool { return w.asked() >= last })
}

func (w *road) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

// heard checks that no request failed, and what the answers were one after the other; nil: only that the last is version last.
func (w *road) heard(want []string, last string) {
	w.t.Helper()
	w.more(100)
	a, err := w.answers()
	w.ok(err)
	w.t.Logf("%d requests, %d failed, the answer changed %d times", a.Total, len(a.Failed), len(a.Answers)-1)
	if len(a.Failed) > 0 {
		w.t.Errorf("%d requests failed: %s", len(a.Failed), strings.Join(a.Failed, "\n"))
	}
	for i := range a.Answers {
		a.Answers[i] = strings.TrimSuffix(strings.TrimPrefix(a.Answers[i], "version "), " /")
	}
	if want != nil && !slices.Equal(a.Answers, want) {
		w.t.Errorf("the answers were %v, want %v", a.Answers, want)
	}
	if got := a.Answers[len(a.Answers)-1]; last != "" && got != last {
		w.t.Errorf("the last answer was %s, want %s", got, last)
	}
}

func (w *road) pods(ctx context.Context, name string) kube.WorkloadStatus {
	obj := &unstructured.Unstructured{}
	w.ok(json.Unmarshal(fmt.Appendf(nil, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":%q},"spec":{"template":{"spec":{"containers":[{"name":"x"}]}}}}`, name, w.namespace), obj))
	all, err := w.cluster.Status(ctx, []*unstructured.Unstructured{obj})
	if err != nil || len(all) == 0 {
		w.t.Log(name, err)
		return kube.WorkloadStatus{}
	}
	return all[0]
}

// started tells whether a Deployment has begun to replace its pods since it was asked last: what it is changes then.
func (w *road) started(name string) string {
	w.t.Helper()
	live, err := w.cluster.Live(w.t.Context(), kube.ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: w.namespace, Name: name})
	w.ok(err)
	if live == nil {
		return "gone"
	}
	template, _, _ := unstructured.NestedMap(live.Object, "spec", "template")
	return fmt.Sprint(live.GetUID(), live.GetGeneration(), live.GetAnnotations()["deployment.kubernetes.io/revision"], template)
}

// TestTrafficBlueGreen: no request fails, and no old answer comes after a new one, from rolling to blue-green, from colour to colour, and back.
func TestTrafficBlueGreen(t *testing.T) {
	w := newRoad(t)
	w.commit('a', "one", 2, "")
	w.ok(w.work(t.Context()))
	w.poll()
	w.commit('b', "two", 2, "blue-green")
	w.ok(w.work(t.Context()))
	w.heard([]string{"one", "two"}, "")
	w.commit('c', "three", 2, "{blue-green: {preview: web-next}}")
	w.ok(w.work(t.Context()))
	w.heard([]string{"one", "two", "three"}, "")

	before, began := w.started("web-green"), time.Now()
	w.goBack(3, 2)
	w.ok(w.work(t.Context()))
	took := time.Since(began)
	w.heard([]string{"one", "two", "three", "two"}, "")
	if after := w.started("web-green"); after != before || before == "gone" {
		t.Errorf("pods were replaced: %s, before %s", after, before)
	}
	t.Logf("flipped back in %v", took)
	if took > 10*time.Second {
		t.Errorf("the way back took %v", took)
	}
	w.jump(11 * time.Minute)
	w.ok(w.work(t.Context()))
	if w.started("web") != "gone" || w.started("web-blue") != "gone" || w.started("web-green") == "gone" {
		t.Error("what was replaced was not retired")
	}
	w.heard([]string{"one", "two", "three", "two"}, "")

	// One that is looked at through its preview, and aborted.
	w.commit('d', "four", 2, "{blue-green: {preview: web-next, steps: [{pause: manual}]}}")
	w.ok(w.work(t.Context()))
	status, body, err := w.cluster.Proxy(t.Context(), w.namespace, "web-next", "80", "/")
	if err != nil || status != 200 || !strings.HasPrefix(string(body), "version four") || w.deployment(5).State != store.Paused {
		t.Errorf("the preview of what is %s: %d %q %v", w.deployment(5).State, status, body, err)
	}
	w.update(func(tx *store.Tx) error { return tx.AskAbort(w.deployment(5), "alice") })
	w.ok(w.work(t.Context()))
	if left := w.started("web-blue"); left != "gone" {
		t.Errorf("it left %s", left)
	}
	w.heard([]string{"one", "two", "three", "two"}, "")

	w.commit('e', "five", 2, "") // rolling again
	w.ok(w.work(t.Context()))
	w.until("the colour is gone", func() bool { return w.started("web-green") == "gone" })
	w.more(300)
	w.heard(nil, "five")
	if got := w.bench.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded, automatic 3 succeeded, rollback 2 succeeded, automatic 4 cancelled, automatic 5 succeeded" {
		t.Error(got)
	}
}

// TestTrafficRolling: no request fails while pods are replaced, and a rollout that is paused in the middle replaces no more of them until it is
// resumed, or aborted.
func TestTrafficRolling(t *testing.T) {
	w := newRoad(t)
	w.commit('a', "one", 4, "")
	w.ok(w.work(t.Context()))
	w.poll()
	w.commit('b', "two", 4, "")
	w.ok(w.work(t.Context()))
	w.heard(nil, "two")

	paused := func(sha byte, version string, number int) {
		t.Helper()
		w.commit(sha, version, 4, "")
		done := make(chan error, 1)
		go func() { done <- w.work(t.Context()) }()
		w.until("the first pod is replaced", func() bool {
			s := w.pods(t.Context(), "web")
			return s.Release == fmt.Sprint(number) && s.Updated >= 1 && s.Updated < 3
		})
		w.update(func(tx *store.Tx) error { return tx.AskPause(w.deployment(number), "alice") })
		w.ok(<-done)
		if d := w.deployment(number); d.State != store.Paused {
			t.Fatalf("it is %s", d.State)
		}
		held := w.pods(t.Context(), "web")
		for range 10 { // three times as long as the next pod would take
			w.more(100)
			if now := w.pods(t.Context(), "web"); now.Updated != held.Updated || now.Updated >= 4 {
				t.Fatalf("%d pods are replaced, %d when it was paused", now.Updated, held.Updated)
			}
		}
	}
	paused('c', "three", 3)
	w.update(func(tx *store.Tx) error { return tx.AskResume(w.deployment(3), "alice") })
	w.ok(w.work(t.Context()))
	w.heard(nil, "three")

	paused('d', "four", 4)
	w.update(func(tx *store.Tx) error { return tx.AskAbort(w.deployment(4), "alice") })
	w.ok(w.work(t.Context()))
	w.heard(nil, "three")
	if got := w.bench.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded, automatic 3 succeeded, automatic 4 cancelled, recovery 3 succeeded" {
		t.Error(got)
	}
	if s := w.pods(t.Context(), "web"); s.Release != "3" || !s.Stable || s.Updated != 4 {
		t.Errorf("%+v", s)
	}
}
