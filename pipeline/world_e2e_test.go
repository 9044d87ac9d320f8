//go:build e2e

package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// world is an engine that deploys to a namespace of a real cluster, which pulls from a real registry.
type world struct {
	*bench
	cluster   *kube.Cluster
	client    dynamic.Interface
	namespace string
	image     string // the repository that is pushed to; no other test's
	built     string // the newest image there, by its digest
	builds    int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kubeconfig, registry := os.Getenv("KUBECONFIG"), os.Getenv("REGISTRY")
	if kubeconfig == "" || registry == "" {
		t.Skip("needs KUBECONFIG, and REGISTRY (host:port, plain HTTP) that the cluster pulls from")
	}
	t.Parallel()
	w := &world{bench: newBench(t), namespace: "test-" + strings.ToLower(rand.Text()[:8])}
	w.image = registry + "/team/" + w.namespace
	var err error
	w.cluster, err = kube.Open(kube.Config{Kubeconfig: kubeconfig})
	w.ok(err)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	w.ok(err)
	w.client, err = dynamic.NewForConfig(config)
	w.ok(err)
	w.Clusters, w.Builder = map[string]Cluster{"test": w.cluster}, pushing{w}
	w.define()
	w.apply(fmt.Sprintf(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": %q}}`, w.namespace))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.bench.deployments())
			for _, name := range []string{"web", "web-canary", "web-blue", "web-green", "client"} {
				t.Log(name, w.pods(context.Background(), name))
			}
		}
		namespaces := w.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
		if err := namespaces.Delete(context.Background(), w.namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return w
}

// pushing is a builder whose images are all the program in kube/testdata/app, each under a digest of its own.
type pushing struct{ *world }

func (p pushing) Build(ctx context.Context, req build.Request, _ func(build.Line)) (build.Result, error) {
	p.builds++
	layer, err := appLayer()
	if err != nil {
		return build.Result{}, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return build.Result{}, err
	}
	// A runtime tells of an image by the first name that it knew it by: none is another test's.
	img, err = mutate.Config(img, v1.Config{Entrypoint: []string{"/app"}, Env: []string{fmt.Sprintf("BUILD=%s-%d", p.namespace, p.builds)}})
	if err != nil {
		return build.Result{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return build.Result{}, err
	}
	p.built = p.image + "@" + digest.String()
	ref, err := name.NewDigest(p.built, name.Insecure)
	if err == nil {
		err = remote.Write(ref, img, remote.WithContext(ctx))
	}
	return build.Result{Digest: digest.String()}, errors.Join(err, p.call(ctx, "build", func() { p.pushed[p.built] = true }))
}

// appLayer is the one file of the test images.
var appLayer = sync.OnceValues(func() (v1.Layer, error) {
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
	err = tw.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(data))})
	if err == nil {
		_, err = tw.Write(data)
	}
	if err = errors.Join(err, tw.Close()); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
})

// begin has a release made of manifests, in which IMAGE and WHICH are filled in.
func (w *world) begin(sha byte, version, manifests string, env Environment) {
	w.t.Helper()
	w.files = map[string]string{"deploy/web.yaml": strings.NewReplacer("IMAGE", w.image, "WHICH", version).Replace(manifests)}
	env.Namespace, env.Timeout = w.namespace, 10*time.Minute
	w.run(sha, env, func(c *Config) { c.Build.Image, c.Build.Timeout = w.image, 10*time.Minute })
}

func (w *world) goOn() {
	w.t.Helper()
	w.ok(w.work(w.t.Context()))
}

// resume lets a deployment go on that rests.
func (w *world) resume(number int) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error { return tx.AskResume(w.deployment(number), "alice") })
	w.goOn()
}

func (w *world) is(number int, state string) {
	w.t.Helper()
	if d := w.deployment(number); d.State != state {
		w.t.Fatalf("deployment %d is %s: %s %+v", number, d.State, d.Reason, d.Failure.V)
	}
}

func (w *world) apply(text string) {
	w.t.Helper()
	objs, err := kube.Decode([]byte(text))
	w.ok(err)
	w.ok(w.cluster.Apply(w.t.Context(), objs, kube.ApplyOptions{}))
	w.ok(w.cluster.Wait(w.t.Context(), objs, func(kube.Progress) {}))
}

func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

func (w *world) pods(ctx context.Context, name string) kube.WorkloadStatus {
	obj := &unstructured.Unstructured{}
	w.ok(json.Unmarshal(fmt.Appendf(nil, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":%q},"spec":{"template":{"spec":{"containers":[{"name":"x"}]}}}}`, name, w.namespace), obj))
	all, err := w.cluster.Status(ctx, []*unstructured.Unstructured{obj})
	if err != nil || len(all) == 0 {
		w.t.Log(name, err)
		return kube.WorkloadStatus{}
	}
	return all[0]
}
