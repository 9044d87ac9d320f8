//go:build e2e

package bot

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
)

// These tests need the registry REGISTRY, the cluster of KUBECONFIG, SHIPMATE_BIN with the programs of e2e/setup.sh
// --with-clients, and a static busybox at /bin/busybox.

// startBuildKit starts a daemon and returns its socket, and how it is killed.
func startBuildKit(t *testing.T, registry string) (socket string, kill func()) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "b") // a socket's path is short
	must(t, err)
	cmd := exec.Command(filepath.Join(os.Getenv("SHIPMATE_BIN"), "builder"), "up", "--dir", dir, "--die-with-parent", "--insecure-registry", registry)
	out := got(cmd.StdoutPipe())(t)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // it is the machine's temporary folder
	ended := false
	end := func(signal os.Signal) {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(signal)
			_ = cmd.Wait() // that it was killed is what was wanted
		}
	}
	t.Cleanup(func() { end(os.Interrupt) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "ready BUILDKIT_HOST=unix://"); ok {
			return address, func() { end(os.Kill) }
		}
	}
	t.Fatal("the builder did not start")
	return "", nil
}

func needParts(t *testing.T) (registry string) {
	t.Helper()
	registry = os.Getenv("REGISTRY")
	if registry == "" || os.Getenv("SHIPMATE_BIN") == "" {
		t.Skip("needs REGISTRY and SHIPMATE_BIN")
	}
	return registry
}

func insecure(string) bool { return true }

// TestE2EOneOfTwoDies kills the builder in the middle of a build: the other one finishes, and there is one release.
func TestE2EOneOfTwoDies(t *testing.T) {
	registry := needParts(t)
	one, killOne := startBuildKit(t, registry)
	two, killTwo := startBuildKit(t, registry)
	kill := map[string]func(){"unix://" + one: killOne, "unix://" + two: killTwo}
	l := newLab(t, func(server string) string {
		return strings.ReplaceAll(server, "\n  registry.example.com:\n    username: file:push\n    password: file:push\n", fmt.Sprintf("\n  %q:\n    plain_http: true\n", registry)) +
			fmt.Sprintf("builder: {buildkit: [%q, %q]}\n", "unix://"+one, "unix://"+two)
	})
	must(t, l.Stop())
	var b *builders
	l.share = func(cfg *Config) (*builders, pipeline.Images) {
		b = got(newBuilders(cfg, nil))(t)
		return b, image.New(map[string]image.Registry{registry: {PlainHTTP: true}})
	}
	must(t, l.Start())

	busybox := got(os.ReadFile("/bin/busybox"))(t)
	files := got(readFiles("testdata/repo"))(t)
	file := strings.ReplaceAll(files[".shipmate.yaml"], "registry.example.com", registry)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{".shipmate.yaml": file, "busybox": string(busybox),
		"Dockerfile": "FROM scratch\nCOPY --chmod=0755 busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sleep\", \"4\"]\n"}))(t)
	var run, killed string
	must(t, until("the build sleeps", func() (err error) {
		if run, err = l.lookup("SELECT id FROM runs WHERE sha = ?", sha); err != nil {
			return err
		}
		log, err := logText(l, run)
		if err == nil && !strings.Contains(log, `RUN ["/bin/busybox"`) {
			err = errors.New("not yet")
		}
		return err
	}))
	b.mu.Lock()
	killed = b.under[0].on.name
	b.mu.Unlock()
	kill[killed]()
	description, err := l.Status(sha, "shipmate/build", "success", "")
	must(t, err)
	t.Log(description)
	must(t, l.Settle())
	digest := got(l.lookup("SELECT group_concat(number || ' ' || json_extract(images, '$[0].digest')) FROM releases"))(t)
	if releases := strings.Split(digest, ","); len(releases) != 1 || !strings.HasPrefix(digest, "1 sha256:") {
		t.Errorf("releases %s", digest)
	}
	log := got(logText(l, run))(t)
	if strings.Count(log, "the build begins again on") != 1 {
		t.Errorf("the log:\n%s", log)
	}
	if n, all := b.answering(); n != 1 || all != 2 {
		t.Errorf("%d of %d answer", n, all)
	}
}

// logText is the log of a run.
func logText(l *lab, run string) (string, error) {
	r, err := runlog.Open(pipeline.LogFile(filepath.Join(l.dir, "data"), run))
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }() // it was only read
	var text strings.Builder
	for line, err := range r.Lines(0) {
		if err != nil {
			return "", err
		}
		text.WriteString(line.String() + "\n")
	}
	return text.String(), nil
}

// TestE2EPod builds through a pod: BuildKit's own client in it, at a daemon's socket.
func TestE2EPod(t *testing.T) {
	registry := needParts(t)
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("needs KUBECONFIG")
	}
	socket, _ := startBuildKit(t, registry)
	pushPrograms(t, registry+"/builder/client:1")
	cluster := got(kube.Open(kube.Config{Kubeconfig: kubeconfig}))(t)
	api := got(kubernetes.NewForConfig(got(clientcmd.BuildConfigFromFlags("", kubeconfig))(t)))(t)
	ctx := t.Context()
	ns := got(api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "build-"}}, metav1.CreateOptions{}))(t).Name
	t.Cleanup(func() {
		_ = api.CoreV1().Namespaces().Delete(context.Background(), ns, metav1.DeleteOptions{}) // the cluster goes anyway
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "buildkitd-0"}, Spec: corev1.PodSpec{
		Volumes:                       []corev1.Volume{{Name: "run", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Dir(socket)}}}},
		TerminationGracePeriodSeconds: new(int64(0)),
		Containers: []corev1.Container{{Name: "buildkitd", Image: registry + "/builder/client:1", Command: []string{"/bin/pause"}, Env: []corev1.EnvVar{{Name: "PATH", Value: "/bin"}},
			VolumeMounts: []corev1.VolumeMount{{Name: "run", MountPath: "/run/buildkit"}}}},
	}}
	bare := pod.DeepCopy()
	bare.Name, bare.Spec.Containers[0].Env[0].Value = "bare-0", "/none"
	for _, p := range []*corev1.Pod{pod, bare} {
		got(api.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{}))(t)
	}
	must(t, until("the pods run", func() error {
		for _, name := range []string{"buildkitd-0", "bare-0"} {
			if p, err := api.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{}); err != nil || p.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("%s: %v %v", name, p.Status, err)
			}
		}
		return nil
	}))
	open := func(address string) *builder {
		t.Helper()
		cfg := &Config{Builder: BuilderConfig{Concurrency: 1, BuildKit: []BuildKitAddress{{Addr: address, Cluster: "test"}}}}
		return got(newBuilders(cfg, map[string]*kube.Cluster{"test": cluster}))(t).all[0]
	}
	for address, want := range map[string]string{
		"kube-pod://buildkitd-0?namespace=" + ns:                     "",
		"kube-pod://buildkitd-0?container=buildkitd&namespace=" + ns: "",
		"kube-pod://buildkitd-0?container=other&namespace=" + ns:     "is that the container's name?",
		"kube-pod://buildkitd-1?namespace=" + ns:                     "kubectl get pods --namespace " + ns,
		"kube-pod://bare-0?namespace=" + ns:                          "must have the program buildctl",
	} {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		err := open(address).Ping(ctx)
		cancel()
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, build.ErrUnavailable) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
		if err != nil {
			t.Log(err)
		}
	}

	dir := t.TempDir()
	must(t, errors.Join(os.WriteFile(filepath.Join(dir, "busybox"), got(os.ReadFile("/bin/busybox"))(t), 0o755),
		os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"echo\", \"hello\"]\n"), 0o600)))
	b := open("kube-pod://buildkitd-0?namespace=" + ns)
	var log []string
	res, err := b.Build(ctx, build.Request{Dir: dir, Image: registry + "/team/pod", Insecure: insecure}, func(l build.Line) { log = append(log, l.Text) })
	if err != nil || res.Digest == "" || !strings.Contains(strings.Join(log, "\n"), "hello") {
		t.Fatalf("%v, %v\n%s", res, err, strings.Join(log, "\n"))
	}
	must(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sleep\", \"300\"]\n"), 0o600))
	deleted := make(chan error, 1)
	_, err = b.Build(ctx, build.Request{Dir: dir, NoPush: true}, func(l build.Line) {
		if strings.Contains(l.Text, "sleep") && len(deleted) == 0 {
			deleted <- api.CoreV1().Pods(ns).Delete(ctx, pod.Name, metav1.DeleteOptions{})
		}
	})
	must(t, <-deleted)
	if !errors.Is(err, build.ErrUnavailable) {
		t.Errorf("its pod was deleted, and a build says %v", err)
	}
	t.Log(err)
}

// pushPrograms pushes an image of buildctl and pause.
func pushPrograms(t *testing.T, ref string) {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, program := range []string{"buildctl", "pause"} {
		b := got(os.ReadFile(filepath.Join(os.Getenv("SHIPMATE_BIN"), program)))(t)
		must(t, w.WriteHeader(&tar.Header{Name: "bin/" + program, Mode: 0o755, Size: int64(len(b))}))
		got(w.Write(b))(t)
	}
	must(t, w.Close())
	l := got(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil }))(t)
	img := got(mutate.AppendLayers(empty.Image, l))(t)
	config := got(img.ConfigFile())(t).DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	must(t, remote.Write(got(name.ParseReference(ref, name.Insecure))(t), got(mutate.ConfigFile(img, config))(t)))
}
