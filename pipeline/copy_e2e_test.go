//go:build e2e

package pipeline

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// TestE2ECopy: what was built into one registry is pulled by a real cluster from another, by its digest; a way back brings again
// what was deleted there.
func TestE2ECopy(t *testing.T) {
	there := os.Getenv("OTHER_REGISTRY")
	if there == "" {
		t.Skip("needs OTHER_REGISTRY (host:port, plain HTTP) that the cluster pulls from, too")
	}
	w := newWorld(t)
	copied := there + "/prod/" + w.namespace
	here, _, _ := strings.Cut(w.image, "/")
	images := image.New(map[string]image.Registry{here: {PlainHTTP: true}, there: {PlainHTTP: true}})
	w.Images = images
	ship := func(sha byte, number int) string {
		w.begin(sha, "", strings.ReplaceAll(manifest, testImage, "IMAGE"), environment(func(e *Environment) { e.Registry = copied }))
		w.goOn()
		w.is(number, store.Succeeded)
		_, digest, _ := strings.Cut(w.built, "@")
		return digest
	}
	runs := func(digest string) {
		t.Helper()
		list, err := w.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		w.ok(err)
		var pods corev1.PodList
		w.ok(runtime.DefaultUnstructuredConverter.FromUnstructured(list.UnstructuredContent(), &pods))
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
	w.ok(err)
	w.ok(remote.Delete(ref))
	if ok, err := images.Exists(t.Context(), ref.String()); ok || err != nil {
		t.Fatalf("it was not deleted: %v", err)
	}
	w.update(func(tx *store.Tx) error {
		_, err := NewRollback(tx, w.deployment(2), w.deployment(1), store.CauseRollback, "bob", "")
		return err
	})
	w.goOn()
	w.is(3, store.Succeeded)
	runs(one)
	if ok, err := images.Exists(t.Context(), ref.String()); !ok || err != nil {
		t.Errorf("it was not copied again: %v", err)
	}
}
