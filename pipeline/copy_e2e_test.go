//go:build e2e

package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// pushes is a builder whose image is the app that the tests of pipeline/kube run, a new one each time.
type pushes struct {
	*testing.T
	name string // no other test's: a runtime tells of an image by the first name that it knew it by
	n    int
}

func (p *pushes) Build(ctx context.Context, req build.Request, _ func(build.Line)) (build.Result, error) {
	p.n++
	ref, err := name.ParseReference(req.Image, name.Insecure)
	if err != nil {
		return build.Result{}, err
	}
	img := appImage(p.T, fmt.Sprintf("%s-%d", p.name, p.n))
	digest, err := img.Digest()
	if err == nil {
		err = remote.Write(ref.Context().Digest(digest.String()), img, remote.WithContext(ctx))
	}
	return build.Result{Digest: digest.String()}, err
}

func appImage(t *testing.T, version string) v1.Image {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "app")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./kube/testdata/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(binary)
	must(t, err)
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	must(t, tw.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(data))}))
	_, err = tw.Write(data)
	must(t, err)
	must(t, tw.Close())
	layer, err := tarball.LayerFromReader(&b)
	must(t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	must(t, err)
	config, err := img.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Entrypoint = []string{"/app"}
	config.Config.Env = []string{"VERSION=" + version}
	img, err = mutate.ConfigFile(img, config)
	must(t, err)
	return img
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestE2ECopy: what was built into one registry is pulled by a real cluster from another, by its digest; a way back brings again
// what was deleted there.
func TestE2ECopy(t *testing.T) {
	kubeconfig, here, there := os.Getenv("KUBECONFIG"), os.Getenv("REGISTRY"), os.Getenv("OTHER_REGISTRY")
	if kubeconfig == "" || here == "" || there == "" {
		t.Skip("needs KUBECONFIG, REGISTRY and OTHER_REGISTRY (host:port, plain HTTP), that the cluster pulls from")
	}
	t.Parallel()
	random := make([]byte, 4)
	_, err := rand.Read(random)
	must(t, err)
	namespace := "copy-test-" + hex.EncodeToString(random)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	must(t, err)
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	_, err = client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})

	b := newBench(t)
	built, copied := here+"/team/web-"+hex.EncodeToString(random), there+"/prod/web-"+hex.EncodeToString(random)
	images := image.New(map[string]image.Registry{here: {PlainHTTP: true}, there: {PlainHTTP: true}})
	cluster, err := kube.Open(kube.Config{Kubeconfig: kubeconfig})
	must(t, err)
	b.Builder, b.Images, b.Clusters = &pushes{T: t, name: namespace}, images, map[string]Cluster{"test": cluster}
	b.files = map[string]string{"deploy/web.yaml": strings.ReplaceAll(manifest, testImage, built)}
	env := environment(func(e *Environment) { e.Namespace, e.Registry, e.Timeout = namespace, copied, 3*time.Minute })
	ship := func(sha byte, number int) string {
		b.run(sha, env, func(c *Config) { c.Build.Image = built })
		must(t, b.work(t.Context()))
		d := b.deployment(number)
		if d.State != store.Succeeded {
			t.Fatalf("deployment %d %s: %+v", number, d.State, d.Failure.V)
		}
		var rel store.Release
		must(t, b.DB.View(t.Context(), func(tx *store.Tx) (err error) { rel, err = tx.Release(testRepo, "web", d.Release); return err }))
		return rel.Images.V[0].Digest
	}
	runs := func(digest string) {
		t.Helper()
		pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		must(t, err)
		found := 0
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil || p.Spec.Containers[0].Image != copied+"@"+digest {
				continue
			}
			found++
			if id := p.Status.ContainerStatuses[0].ImageID; !strings.Contains(id, copied+"@") || p.Status.Phase != corev1.PodRunning {
				t.Errorf("the pod is %s and runs %s", p.Status.Phase, id)
			}
		}
		if found == 0 {
			t.Errorf("no pod of %s among %d", digest, len(pods.Items))
		}
	}
	one := ship('a', 1)
	runs(one)
	two := ship('b', 2)
	runs(two)

	ref, err := name.NewDigest(copied+"@"+one, name.Insecure)
	must(t, err)
	must(t, remote.Delete(ref))
	if ok, err := images.Exists(t.Context(), ref.String()); ok || err != nil {
		t.Fatalf("it was not deleted: %v", err)
	}
	b.update(func(tx *store.Tx) error {
		_, err := NewRollback(tx, b.deployment(2), b.deployment(1), store.CauseRollback, "bob", "")
		return err
	})
	must(t, b.work(t.Context()))
	if d := b.deployment(3); d.State != store.Succeeded {
		t.Fatalf("the way back %s: %+v", d.State, d.Failure.V)
	}
	runs(one)
	if ok, err := images.Exists(t.Context(), ref.String()); !ok || err != nil {
		t.Errorf("it was not copied again: %v", err)
	}
}
