//go:build e2e

package bot

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestE2EDoctor: a real builder, registry and cluster in good health are told so.
func TestE2EDoctor(t *testing.T) {
	builder, registry, kubeconfig := os.Getenv("BUILDKIT_HOST"), os.Getenv("REGISTRY"), os.Getenv("KUBECONFIG")
	if builder == "" || registry == "" || kubeconfig == "" {
		t.Skip("needs BUILDKIT_HOST, REGISTRY and KUBECONFIG")
	}
	w := newWard(t)
	before, rest, _ := strings.Cut(w.text, "builder:")
	_, after, _ := strings.Cut(rest, "chat:")
	w.text = before + fmt.Sprintf("builder: {buildkit: [%q]}\nregistries:\n  %q: {plain_http: true, allow: [{repositories: [\"acme/web\"], paths: [doctor/web]}]}\n"+
		"clusters:\n  real: {kubeconfig: %q, allow: [{repositories: [\"acme/web\"], namespaces: [default]}]}\nchat:", builder, registry, kubeconfig) + after
	said, err := w.examine(t, true)
	if err != nil || strings.Contains(said, "\nwarn") {
		t.Errorf("%v\n%s", err, said)
	}
	for _, want := range []string{"it builds for linux/", "doctor/web: a probe was pushed, pulled and deleted", "cluster real, namespace default: every verb that is needed is allowed"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	w.text = strings.Replace(w.text, "[default]", "[nowhere]", 1)
	if said, err := w.examine(t, true); err == nil || !strings.Contains(said, "FAIL  cluster real, namespace nowhere: Namespace/nowhere: does not exist; create it") {
		t.Errorf("%v\n%s", err, said)
	}
}
