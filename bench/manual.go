package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shipmate-dev/shipmate/e2e"
)

// Namespaces of what is shipped by hand.
const (
	manualStaging    = "manual-staging"
	manualProduction = "manual-production"
)

// manual ships as a person does, with buildctl and kubectl. The build has the same cache options as Shipmate's.
type manual struct {
	x      *e2e.Example
	bin    string
	dir    string // of all that is below
	files  map[string]string
	image  string // repository
	digest string // what staging runs
	before string // what production ran before what it runs now
	live   string // what production runs
	round  int
}

func newManual(ctx context.Context, x *e2e.Example, bin string) (*manual, error) {
	for _, name := range []string{manualStaging, manualProduction} {
		_, err := x.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
	}
	files, err := x.Files()
	if err != nil {
		return nil, err
	}
	m := &manual{x: x, bin: bin, dir: filepath.Join(x.Dir, "manual"), files: files, image: x.Registry + "/manual/devops-app"}
	return m, m.write("src", files)
}

// write puts files into a folder.
func (m *manual) write(folder string, files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(m.dir, folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(files[name]), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tool runs one of the clients.
func (m *manual) tool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(m.bin, name), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+m.x.Kubeconfig, "BUILDKIT_HOST="+m.x.BuildkitHost, "HOME="+m.dir) // HOME: kubectl caches there
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, lastLines(string(out), 20))
	}
	return nil
}

func (m *manual) push(ctx context.Context, greeting string) ([]part, error) {
	m.round++
	greeting += ", by hand" // each way compiles a line of its own
	if err := m.write("src", greet(m.files, greeting)); err != nil {
		return nil, err
	}
	src, meta, cache := filepath.Join(m.dir, "src"), filepath.Join(m.dir, "meta.json"), m.image+":cache"
	w := stopwatch{last: time.Now()}
	err := m.tool(ctx, "buildctl", "build", "--progress=plain", "--frontend", "dockerfile.v0",
		"--local", "context="+src, "--local", "dockerfile="+src,
		"--opt", "build-arg:BUILDKIT_CACHE_MOUNT_NS="+m.image,
		"--output", fmt.Sprintf("type=image,name=%s:%d,push=true,oci-mediatypes=true,registry.insecure=true", m.image, m.round),
		"--import-cache", "type=registry,registry.insecure=true,ref="+cache,
		"--export-cache", "type=registry,registry.insecure=true,mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true,ref="+cache,
		"--metadata-file", meta)
	if err != nil {
		return nil, err
	}
	if m.digest, err = digestIn(meta); err != nil {
		return nil, err
	}
	w.lap("build", time.Now())
	if err := m.deploy(ctx, manualStaging, &w); err != nil {
		return nil, err
	}
	err = m.x.Live(ctx, manualStaging, "/", greeting)
	w.lap("answer", time.Now())
	return w.parts, err
}

func (m *manual) promote(ctx context.Context) ([]part, error) {
	w := stopwatch{last: time.Now()}
	if err := m.deploy(ctx, manualProduction, &w); err != nil {
		return nil, err
	}
	err := m.x.Runs(ctx, manualProduction, m.digest)
	w.lap("answer", time.Now())
	m.before, m.live = m.live, m.digest
	return w.parts, err
}

func (m *manual) rollback(ctx context.Context) ([]part, error) {
	w := stopwatch{last: time.Now()}
	if err := m.tool(ctx, "kubectl", "rollout", "undo", "deployment/devops-app", "--namespace", manualProduction); err != nil {
		return nil, err
	}
	w.lap("apply", time.Now())
	if err := m.wait(ctx, manualProduction, &w); err != nil {
		return nil, err
	}
	err := m.x.Runs(ctx, manualProduction, m.before)
	w.lap("answer", time.Now())
	m.live, m.before = m.before, m.live
	return w.parts, err
}

// deploy applies the example's manifests with the image by digest, and waits until they are rolled out.
func (m *manual) deploy(ctx context.Context, namespace string, w *stopwatch) error {
	manifests := map[string]string{}
	for name, text := range m.files {
		if strings.HasPrefix(name, "deploy/") {
			manifests[name] = strings.ReplaceAll(text, m.x.Registry+"/team/devops-app", m.image+"@"+m.digest)
		}
	}
	if err := m.write(namespace, manifests); err != nil {
		return err
	}
	// Without --force-conflicts the first apply after an undo is refused: the undo owns the image then.
	err := m.tool(ctx, "kubectl", "apply", "--server-side", "--field-manager=bench", "--force-conflicts", "--namespace", namespace,
		"--filename", filepath.Join(m.dir, namespace, "deploy"))
	if err != nil {
		return err
	}
	w.lap("apply", time.Now())
	return m.wait(ctx, namespace, w)
}

func (m *manual) wait(ctx context.Context, namespace string, w *stopwatch) error {
	err := m.tool(ctx, "kubectl", "rollout", "status", "deployment/devops-app", "--namespace", namespace, "--timeout=3m")
	w.lap("observe", time.Now())
	return err
}

// digestIn reads the image's digest from what buildctl says about a build.
func digestIn(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var meta struct {
		Digest string `json:"containerimage.digest"`
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if meta.Digest == "" {
		return "", errors.New("buildctl reported no digest")
	}
	return meta.Digest, nil
}

// greet is the example's one source file with another greeting in one of its lines.
func greet(files map[string]string, greeting string) map[string]string {
	return map[string]string{"main.go": strings.Replace(files["main.go"], "Hello from devops-app, v1", greeting, 1)}
}
