//go:build e2e

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

const wait = 2 * time.Minute // for anything; far more than it takes

// TestDirectoryBelowRun builds where the daemon's own /run covers the host's.
func TestDirectoryBelowRun(t *testing.T) {
	program := builderProgram(t)
	registry := startRegistry(t)
	app := buildApp(t)
	dir, err := os.MkdirTemp("/run", "builder")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b := startBuilder(t, program, dir, registry)
	if err := b.build(t.Context(), t, app, "FROM scratch\nCOPY app /app\nRUN [\"/app\", \"hello\"]\n", registry+"/team/app:v1", nil); err != nil {
		t.Errorf("build: %v", err)
	}
	b.launcher.Process.Signal(syscall.SIGTERM)
	if err := b.launcher.Wait(); err != nil {
		t.Errorf("the launcher that got SIGTERM: %v", err)
	}
	b.checkGone(t)
}

// TestTwoBuilders builds and pushes with two daemons at once, ends one in the usual way and the other by killing its launcher in the middle of a build, and
// looks for what they left behind.
func TestTwoBuilders(t *testing.T) {
	program := builderProgram(t)
	registry := startRegistry(t)
	app := buildApp(t)
	before := hostState(t)

	one, two := startBuilder(t, program, shortTempDir(t), registry), startBuilder(t, program, shortTempDir(t), registry)
	for i, b := range []*builder{one, two} {
		ref := fmt.Sprintf("%s/team/app:v%d", registry, i)
		if err := b.build(t.Context(), t, app, "FROM scratch\nCOPY app /app\nRUN [\"/app\", \"hello\"]\nENTRYPOINT [\"/app\"]\n", ref, nil); err != nil {
			t.Fatalf("build: %v", err)
		}
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s/v2/team/app/manifests/v%d", registry, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("the registry has no manifest of %s: %s", ref, response.Status)
		}
	}
	if out, err := exec.Command(program, "up", "--dir", one.dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "another instance running") {
		t.Errorf("a second builder in the directory of the first: %v\n%s", err, out)
	}

	one.launcher.Process.Signal(syscall.SIGTERM)
	if err := one.launcher.Wait(); err != nil {
		t.Errorf("the launcher that got SIGTERM: %v", err)
	}
	one.checkGone(t)
	if left := one.cgroups(t); len(left) > 0 {
		t.Errorf("cgroups left: %q", left)
	}

	running, built := make(chan struct{}), make(chan error, 1)
	go func() {
		built <- two.build(context.Background(), t, app, "FROM scratch\nCOPY app /app\nRUN [\"/app\"]\n", registry+"/team/never:1", running)
	}()
	select {
	case <-running:
	case err := <-built:
		t.Fatalf("the build that waits ended: %v", err)
	case <-time.After(wait):
		t.Fatal("the build never ran")
	}
	two.launcher.Process.Kill()
	two.launcher.Wait()
	if err := <-built; err == nil {
		t.Error("a build survived its daemon")
	}
	two.checkGone(t)

	// The cgroups of the killed one go when the next comes up, here with the same cache.
	three := startBuilder(t, program, two.dir, registry)
	if left := two.cgroups(t); len(left) > 0 {
		t.Errorf("cgroups of the killed launcher left: %q", left)
	}
	if err := three.build(t.Context(), t, app, "FROM scratch\nCOPY app /app\n", registry+"/team/app:v2", nil); err != nil {
		t.Errorf("build with the cache of the killed daemon: %v", err)
	}
	three.launcher.Process.Signal(syscall.SIGINT)
	if err := three.launcher.Wait(); err != nil {
		t.Errorf("the launcher that got SIGINT: %v", err)
	}
	three.checkGone(t)
	if after := hostState(t); after != before {
		t.Errorf("the host has changed\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

type builder struct {
	dir        string
	launcher   *exec.Cmd
	client     *client.Client
	namespaces map[string]bool
}

func builderProgram(t *testing.T) string {
	if os.Geteuid() != 0 {
		t.Skip("a builder needs root")
	}
	out, err := exec.Command("../setup.sh", "--print-bin").Output()
	if err != nil {
		t.Fatalf("setup.sh --print-bin: %v", err)
	}
	program := filepath.Join(strings.TrimSpace(string(out)), "builder")
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%v; e2e/setup.sh builds it", err)
	}
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skipf("%v; e2e/setup.sh installs it", err)
	}
	return program
}

// shortTempDir is t.TempDir with a path short enough for a socket.
func shortTempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "builder")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func startBuilder(t *testing.T, program, dir, registry string) *builder {
	t.Helper()
	b := &builder{dir: dir, launcher: exec.Command(program, "up", "--dir", dir, "--insecure-registry", registry), namespaces: map[string]bool{}}
	stdout, err := b.launcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.launcher.Stderr = os.Stderr
	if err := b.launcher.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.launcher.Process.Kill() })
	var address string
	for lines := bufio.NewScanner(stdout); address == "" && lines.Scan(); {
		t.Log(lines.Text())
		if host, ok := strings.CutPrefix(lines.Text(), "ready BUILDKIT_HOST="); ok {
			address = host
		}
	}
	if address == "" {
		t.Fatalf("the builder didn't come up: %v", b.launcher.Wait())
	}
	b.client, err = client.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.client.Close() })
	links, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, link := range links {
		stat, _ := os.ReadFile(link)
		if f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])); len(f) > 1 && f[1] == fmt.Sprint(b.launcher.Process.Pid) {
			for _, name := range []string{"pid", "mnt", "ipc"} {
				ns, err := os.Readlink(filepath.Join(filepath.Dir(link), "ns", name))
				if err != nil {
					t.Fatal(err)
				}
				b.namespaces[ns] = true
			}
		}
	}
	if len(b.namespaces) != 3 {
		t.Fatal("found no namespaces of the daemon")
	}
	return b
}

// build builds dockerfile with the files of dir and pushes the image as ref. When the build prints something, it closes running.
func (b *builder) build(ctx context.Context, t *testing.T, dir, dockerfile, ref string, running chan struct{}) error {
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	recipe := shortTempDir(t)
	if err := os.WriteFile(filepath.Join(recipe, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return err
	}
	recipeFiles, err := fsutil.NewFS(recipe)
	if err != nil {
		return err
	}
	status := make(chan *client.SolveStatus)
	go func() {
		for s := range status {
			for _, l := range s.Logs {
				t.Logf("%s", l.Data)
				if running != nil {
					close(running)
					running = nil
				}
			}
		}
	}()
	_, err = b.client.Solve(ctx, nil, client.SolveOpt{
		Frontend:    "dockerfile.v0",
		LocalMounts: map[string]fsutil.FS{"context": files, "dockerfile": recipeFiles},
		Exports:     []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": ref, "push": "true"}}},
	}, status)
	return err
}

func (b *builder) cgroups(t *testing.T) []string {
	found, err := cgroups(fmt.Sprintf("%s%d-*", cgroupPrefix, b.launcher.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// checkGone fails when a process or a mount of b is left.
func (b *builder) checkGone(t *testing.T) {
	t.Helper()
	eventually(t, "all processes to be gone", func() error {
		links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
		for _, link := range links {
			if ns, err := os.Readlink(link); err == nil && b.namespaces[ns] {
				return fmt.Errorf("%s is %s", link, ns)
			}
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err == nil && strings.Contains(string(mounts), b.dir) {
			err = fmt.Errorf("mounts are left:\n%s", mounts)
		}
		return err
	})
}

// hostState is what a builder could change on the host.
func hostState(t *testing.T) string {
	var state strings.Builder
	for _, command := range []string{"ip -o link", "ip -o addr", "ip route"} {
		argv := strings.Fields(command)
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		state.Write(out)
	}
	for _, pattern := range []string{"/run/*", "/tmp/buildkit*", "/var/lib/*", "/etc/cni*", "/etc/buildkit*", "/tmp/containerd*"} {
		paths, _ := filepath.Glob(pattern)
		fmt.Fprintln(&state, paths)
	}
	return state.String()
}

// buildApp returns a directory with testdata/app, built.
func buildApp(t *testing.T) string {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "app"), "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the app: %v\n%s", err, out)
	}
	return dir
}

// startRegistry starts a registry on a free port of loopback and returns its address.
func startRegistry(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	config := filepath.Join(t.TempDir(), "registry.yml")
	yaml := fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", t.TempDir(), address)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, "the registry to answer", func() error {
		response, err := http.Get("http://" + address + "/v2/")
		if err == nil {
			response.Body.Close()
		}
		return err
	})
	return address
}

// eventually waits until ok returns nil.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
