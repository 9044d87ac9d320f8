//go:build e2e

package faults

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shipmate-dev/shipmate/e2e"
)

// TestFaults is the story on real parts: the built binary, BuildKit, a registry and a Kubernetes cluster.
func TestFaults(t *testing.T) {
	say := func(format string, args ...any) { fmt.Printf(time.Now().Format("15:04:05.000 ")+format+"\n", args...) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	opt, repeat, err := FromEnv("make faults", 200, 50)
	must(err)
	stack, err := e2e.Start(t.Context(), e2e.Options{Bot: os.Getenv("SHIPMATE_BOT"), Bin: os.Getenv("SHIPMATE_BIN"), App: "../../app.yaml", Say: say})
	must(err)
	defer func() {
		if err := stack.Close(); err != nil {
			t.Error("taking the stack down:", err)
		}
	}()
	stack.KillBot() // the story has a GitHub and a server's file of its own
	must(pushBusybox(t.Context(), stack.Registry))
	dir := filepath.Join(stack.Dir, "faults")
	must(os.MkdirAll(dir, 0o700))
	wire, kubeconfig, err := wireTo(stack.Kubeconfig, dir)
	must(err)
	defer wire.close()
	opt.Owners, opt.Dir, opt.Stage, opt.Say = len(owners), dir, &realStage{stack, wire}, say
	opt.Gap, opt.Stretch, opt.Patience = 2500*time.Millisecond, 12*time.Second, 6*time.Minute
	opt.Registry, opt.Base = stack.Registry, "busybox"
	opt.Command = func(config string) *exec.Cmd {
		return exec.Command(os.Getenv("SHIPMATE_BOT"), "serve", "--config", config)
	}
	opt.Parts = fmt.Sprintf(`builder:
  buildkit: [%q]
clusters:
  test:
    {kubeconfig: %[2]s, allow: [{repositories: [REPOSITORIES], namespaces: [staging]}]}
  prod:
    {kubeconfig: %[2]s, allow: [{repositories: [REPOSITORIES], namespaces: [production]}]}
`, stack.BuildkitHost, kubeconfig)
	story, err := New(opt)
	must(err)
	defer story.Close()
	wrong, err := story.Play(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
	if t.Failed() {
		log := filepath.Join(os.TempDir(), fmt.Sprintf("faults-%d.log", opt.Seed))
		t.Logf("the bot's log is %s (%v); again: %s", log, os.WriteFile(log, []byte(story.Log()), 0o600), repeat)
	}
}

// pushBusybox puts library/busybox into the registry: what the story's images begin with.
func pushBusybox(ctx context.Context, registry string) error {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("%w (package busybox-static)", err)
	}
	var content bytes.Buffer
	files := tar.NewWriter(&content)
	if err := files.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := files.Write(program); err != nil {
		return err
	}
	if err := files.Close(); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", "amd64", v1.Config{}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	ref, err := ggcr.ParseReference(registry+"/library/busybox:latest", ggcr.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, remote.WithContext(ctx))
}

type realStage struct {
	stack *e2e.Stack
	wire  *wire
}

func (s *realStage) Image(ctx context.Context, namespace, app string) (string, error) {
	d, err := s.stack.Kube.AppsV1().Deployments(namespace).Get(ctx, app, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	image := d.Spec.Template.Spec.Containers[0].Image
	pods, err := s.stack.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return "", err
	}
	for _, p := range pods.Items {
		if got := p.Spec.Containers[0].Image; p.DeletionTimestamp == nil && got != image {
			return "", fmt.Errorf("pod %s runs %s, its Deployment wants %s", p.Name, got, image)
		}
	}
	return image, nil
}

func (s *realStage) Answer(ctx context.Context, namespace, app string) (string, bool, error) {
	b, err := s.stack.Kube.CoreV1().Services(namespace).ProxyGet("http", app, "5000", "version", nil).DoRaw(ctx)
	return strings.TrimSpace(string(b)), true, err
}

func (s *realStage) Troubles() []Trouble {
	wire := func(name string, trouble func(bool)) Trouble {
		return Trouble{"the API server " + name, func(ctx context.Context, lasts time.Duration) error {
			trouble(true)
			defer trouble(false)
			_ = pause(ctx, lasts) // over in either case
			return nil
		}}
	}
	return []Trouble{
		wire("is cut off", s.wire.cut),
		wire("is cut off", s.wire.cut),
		wire("stalls", s.wire.stall),
		{"BuildKit's daemon is killed", func(ctx context.Context, lasts time.Duration) error {
			s.stack.KillBuilder()
			_ = pause(ctx, lasts/2) // it comes back in either case
			return s.stack.StartBuilder(context.WithoutCancel(ctx))
		}},
	}
}

// A wire stands between the bot and an API server, and can be cut and held.
type wire struct {
	to       string
	listener net.Listener

	mu      sync.Mutex
	down    bool
	flowing chan struct{} // closed while nothing is held
	open    map[net.Conn]bool
}

// wireTo lays a wire to the server of a kubeconfig, and writes one that leads through it.
func wireTo(kubeconfig, dir string) (*wire, string, error) {
	cfg, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		return nil, "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	w := &wire{listener: l, flowing: make(chan struct{}), open: map[net.Conn]bool{}}
	close(w.flowing)
	for _, c := range cfg.Clusters {
		w.to = strings.TrimPrefix(c.Server, "https://")
		c.Server = "https://" + l.Addr().String()
	}
	go w.serve()
	name := filepath.Join(dir, "kubeconfig")
	return w, name, clientcmd.WriteToFile(*cfg, name)
}

func (w *wire) close() {
	_ = w.listener.Close() // nobody asks any more
	w.cut(true)
	w.stall(false)
}

func (w *wire) serve() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		go w.carry(c)
	}
}

func (w *wire) carry(from net.Conn) {
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = from.Close() // as if nobody were there
		return
	}
	w.mu.Lock()
	w.open[from], w.open[to] = true, true
	down := w.down
	w.mu.Unlock()
	var both sync.WaitGroup
	if !down {
		both.Go(func() { w.copy(to, from) })
		both.Go(func() { w.copy(from, to) })
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range []net.Conn{from, to} {
		_ = c.Close() // it is over
		delete(w.open, c)
	}
}

// copy carries one direction until it ends, and then ends both.
func (w *wire) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		flowing := w.flowing
		w.mu.Unlock()
		<-flowing
		_, werr := to.Write(buffer[:n])
		if err := errors.Join(err, werr); err != nil {
			_, _ = to.Close(), from.Close() // the other direction ends too
			return
		}
	}
}

// cut ends every connection and takes none, or mends the wire.
func (w *wire) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	for c := range w.open {
		if down {
			_ = c.Close() // that is what cutting means
		}
	}
}

// stall holds what is under way, or lets it flow again.
func (w *wire) stall(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on {
		w.flowing = make(chan struct{})
		return
	}
	select {
	case <-w.flowing:
	default:
		close(w.flowing)
	}
}
