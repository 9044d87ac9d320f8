//go:build e2e

package node_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
)

const wait = 3 * time.Minute // for anything; far more than it takes

// TestTwoClusters has two clusters up at once, runs pods in both, ends one in the usual way and the other by killing its launcher, and
// looks for what they left behind.
func TestTwoClusters(t *testing.T) {
	program := clusterProgram(t)
	registry := startRegistry(t)
	pushApp(t, registry)
	before := hostState(t)

	one, two := up(t, program, t.TempDir(), registry), up(t, program, t.TempDir(), registry)
	t.Run("pods", func(t *testing.T) { checkPods(t, one, registry) })
	two.deploy(t, registry) // so that it has containers when it is killed
	if err := exec.Command(program, "up", "--dir", one.dir).Run(); err == nil {
		t.Error("a second cluster came up in the directory of the first")
	}
	out, err := exec.Command(program, "status", "--dir", one.dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nkubelet ") {
		t.Errorf("status: %v\n%s", err, out)
	}

	if out, err := exec.Command(program, "down", "--dir", one.dir).CombinedOutput(); err != nil {
		t.Errorf("down: %v\n%s", err, out)
	}
	if err := one.launcher.Wait(); err != nil {
		t.Errorf("the launcher that was asked to end: %v", err)
	}
	one.checkGone(t)
	if _, err := two.client.Discovery().ServerVersion(); err != nil {
		t.Errorf("the other cluster doesn't answer any more: %v", err)
	}

	two.launcher.Process.Kill()
	two.launcher.Wait()
	two.checkGone(t)
	if out, err := exec.Command(program, "status", "--dir", two.dir).CombinedOutput(); err == nil {
		t.Errorf("status says that the killed cluster is up:\n%s", out)
	}

	// The cgroups of the killed one go when the next comes up.
	three := up(t, program, two.dir, registry)
	three.launcher.Process.Signal(syscall.SIGTERM)
	if err := three.launcher.Wait(); err != nil {
		t.Errorf("the launcher that got SIGTERM: %v", err)
	}
	three.checkGone(t)
	for _, c := range []*cluster{one, two, three} {
		for _, pattern := range []string{"/sys/fs/cgroup/%s", "/sys/fs/cgroup/*/%s"} {
			left, _ := filepath.Glob(fmt.Sprintf(pattern, fmt.Sprintf("shipmate-cluster-%d-*", c.launcher.Process.Pid)))
			if len(left) > 0 {
				t.Errorf("cgroups left: %q", left)
			}
		}
	}
	if after := hostState(t); after != before {
		t.Errorf("the host has changed\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// TestDieWithParent ends the process that started the launcher.
func TestDieWithParent(t *testing.T) {
	program := clusterProgram(t)
	dir := t.TempDir()
	shell := exec.Command("sh", "-c", `"$0" up --dir "$1" --die-with-parent & echo $!; wait`, program, dir)
	stdout, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	shell.Stderr = os.Stderr
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	launcher := lines.Text()
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "ready ") {
	}
	shell.Process.Kill()
	eventually(t, "the launcher to end with its parent", func() error {
		if _, err := os.Stat("/proc/" + launcher); err == nil {
			return fmt.Errorf("process %s is there", launcher)
		}
		return nil
	})
	shell.Wait()
	if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
		t.Error("the launcher left its state")
	}
}

// TestComponentFails takes a component's port, and looks whether the error names it.
func TestComponentFails(t *testing.T) {
	program := clusterProgram(t)
	out, err := exec.Command(program, "up", "--dir", t.TempDir(), "--reach", "127.0.0.1:6443").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "kube-apiserver ended (exit status 1)") || !strings.Contains(string(out), "address already in use") {
		t.Errorf("err %v, output:\n%s", err, out)
	}
}

type cluster struct {
	dir        string
	launcher   *exec.Cmd
	config     *rest.Config
	client     *kubernetes.Clientset
	namespaces map[string]bool // of its first process, as in /proc/PID/ns
}

func clusterProgram(t *testing.T) string {
	if os.Geteuid() != 0 {
		t.Skip("a cluster needs root")
	}
	out, err := exec.Command("../../setup.sh", "--print-bin").Output()
	if err != nil {
		t.Fatalf("setup.sh --print-bin: %v", err)
	}
	program := filepath.Join(strings.TrimSpace(string(out)), "cluster")
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%v; e2e/setup.sh builds it", err)
	}
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skipf("%v; e2e/setup.sh installs it", err)
	}
	return program
}

func up(t *testing.T, program, dir, registry string) *cluster {
	t.Helper()
	c := &cluster{dir: dir, launcher: exec.Command(program, "up", "--dir", dir, "--reach", registry), namespaces: map[string]bool{}}
	stdout, err := c.launcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.launcher.Stderr = os.Stderr
	if err := c.launcher.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.launcher.Process.Kill() })
	var kubeconfig string
	for lines := bufio.NewScanner(stdout); kubeconfig == "" && lines.Scan(); {
		t.Log(lines.Text())
		kubeconfig, _ = strings.CutPrefix(lines.Text(), "ready KUBECONFIG=")
		if kubeconfig == lines.Text() {
			kubeconfig = ""
		}
	}
	if kubeconfig == "" {
		t.Fatalf("the cluster didn't come up: %v", c.launcher.Wait())
	}
	if info, err := os.Stat(kubeconfig); err != nil || info.Mode() != 0o600 {
		t.Errorf("the kubeconfig has mode %v, %v", info.Mode(), err)
	}
	c.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c.client, err = kubernetes.NewForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "status", "--dir", dir).Output()
	if err != nil {
		t.Fatalf("status: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if pid, ok := strings.CutPrefix(strings.TrimSpace(line), "init "); ok {
			for _, name := range []string{"pid", "mnt", "net", "ipc", "uts"} {
				ns, err := os.Readlink("/proc/" + pid + "/ns/" + name)
				if err != nil {
					t.Fatal(err)
				}
				c.namespaces[ns] = true
			}
		}
	}
	if len(c.namespaces) != 5 {
		t.Fatalf("found no namespaces of the cluster; status says:\n%s", out)
	}
	return c
}

// deploy runs two replicas of the app, behind a Service, and waits until they are available.
func (c *cluster) deploy(t *testing.T, registry string) *corev1.Service {
	t.Helper()
	labels := map[string]string{"app": "app"}
	replicas := int32(2)
	_, err := c.client.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: registry + "/team/app:v1"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := c.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8000)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deployment to be available", func() error {
		d, err := c.client.AppsV1().Deployments("default").Get(t.Context(), "app", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != replicas {
			err = fmt.Errorf("%d replicas are available", d.Status.AvailableReplicas)
		}
		return err
	})
	return service
}

func checkPods(t *testing.T, c *cluster, registry string) {
	start := time.Now()
	service := c.deploy(t, registry)
	t.Logf("deployed in %v", time.Since(start))
	pods, err := c.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := pods.Items[0]

	logs, err := c.client.CoreV1().Pods("default").GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || string(logs) != "listening on :8000\n" {
		t.Errorf("logs: %q, %v", logs, err)
	}
	for name, target := range map[string]string{
		"ClusterIP":                    "http://" + service.Spec.ClusterIP + "/",
		"NodePort":                     fmt.Sprintf("http://10.240.0.1:%d/", service.Spec.Ports[0].NodePort),
		"API server from inside a pod": "https://10.96.0.1/version",
	} {
		eventually(t, name, func() error {
			_, err := c.proxyGet(t.Context(), "/fetch?url="+url.QueryEscape(target))
			return err
		})
	}
	if body, err := c.proxyGet(t.Context(), "/"); err != nil || !strings.HasPrefix(body, "hello from app-") {
		t.Errorf("service proxy: %q, %v", body, err)
	}
	body, err := c.proxyGet(t.Context(), "/lookup?name=nowhere.example")
	if err != nil || !strings.Contains(body, "refused") {
		t.Errorf("a look-up in a pod isn't refused: %s, %v", body, err)
	}
	t.Log("look-up:", body)
	events, err := c.client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.kind=Pod"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		t.Errorf("warning event about %s: %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
	}

	t.Run("exec", func(t *testing.T) { checkExec(t, c, pod.Name) })
	t.Run("port-forward", func(t *testing.T) { checkPortForward(t, c, pod.Name) })
	t.Run("anonymous", func(t *testing.T) {
		anonymous, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(c.config))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := anonymous.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("without credentials: %v", err)
		}
	})
}

func (c *cluster) proxyGet(ctx context.Context, path string) (string, error) {
	u, err := url.Parse(path)
	if err != nil {
		return "", err
	}
	request := c.client.CoreV1().RESTClient().Get().Namespace("default").Resource("services").Name("app:80").SubResource("proxy").Suffix(u.Path)
	for key, values := range u.Query() {
		request = request.Param(key, values[0])
	}
	body, err := request.DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, body)
	}
	return string(body), nil
}

func checkExec(t *testing.T, c *cluster, pod string) {
	request := c.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"/app", "hello"}, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, request.URL())
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &stdout, Stderr: io.Discard})
	if err != nil || stdout.String() != "hello\n" {
		t.Errorf("%q, %v", stdout.String(), err)
	}
}

func checkPortForward(t *testing.T, c *cluster, pod string) {
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	u := c.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(pod).SubResource("portforward").URL()
	stop, ready := make(chan struct{}), make(chan struct{})
	defer close(stop)
	forwarder, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u), []string{"0:8000"}, stop, ready, io.Discard, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case err := <-failed:
		t.Fatal(err)
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "hello from "+pod+"\n" {
		t.Errorf("%q, %v", body, err)
	}
}

// checkGone fails when a process is left in a namespace of c or, soon after, in any that lies within them.
func (c *cluster) checkGone(t *testing.T) {
	t.Helper()
	eventually(t, "all processes to be gone", func() error {
		links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
		for _, link := range links {
			if ns, err := os.Readlink(link); err == nil && c.namespaces[ns] {
				return fmt.Errorf("%s is %s", link, ns)
			}
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			return err
		}
		if strings.Contains(string(mounts), c.dir) {
			return fmt.Errorf("mounts are left:\n%s", mounts)
		}
		return nil
	})
}

// hostState is what a cluster could change on the host: links, addresses, routes, rules, sysctls and fixed paths.
func hostState(t *testing.T) string {
	var state strings.Builder
	for _, command := range []string{"ip -o link", "ip -o addr", "ip route", "iptables -t filter -S", "iptables -t nat -S", "iptables -t mangle -S"} {
		argv := strings.Fields(command)
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		state.Write(out)
	}
	for _, name := range []string{
		"kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "kernel/hostname", "vm/overcommit_memory",
		"vm/panic_on_oom", "net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/netfilter/nf_conntrack_max",
	} {
		value, err := os.ReadFile("/proc/sys/" + name)
		fmt.Fprintf(&state, "%s = %s %v\n", name, bytes.TrimSpace(value), err)
	}
	for _, pattern := range []string{"/run/*", "/var/lib/*", "/var/log/*", "/opt/*", "/etc/cni*", "/tmp/containerd*"} {
		paths, _ := filepath.Glob(pattern)
		fmt.Fprintln(&state, paths)
	}
	return state.String()
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

// pushApp builds testdata/app and pushes it as an image of one layer to REGISTRY/team/app:v1, by the OCI distribution specification v1.1.
func pushApp(t *testing.T, registry string) {
	program := filepath.Join(t.TempDir(), "app")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the app: %v\n%s", err, out)
	}
	// tar(1) rather than this package's own writer, which is what is tested.
	layer, err := exec.Command("tar", "-C", filepath.Dir(program), "-c", "app").Output()
	if err != nil {
		t.Fatal(err)
	}
	const repository = "/v2/team/app"
	blob := func(mediaType string, content []byte) map[string]any {
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
		request(t, http.MethodPost, "http://"+registry+repository+"/blobs/uploads/?digest="+digest, "application/octet-stream", content, func(location string) {
			request(t, http.MethodPut, location+"&digest="+digest, "application/octet-stream", content, nil)
		})
		return map[string]any{"mediaType": mediaType, "digest": digest, "size": len(content)}
	}
	config := marshal(t, map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Entrypoint": []string{"/app"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest := marshal(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": blob("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{blob("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	request(t, http.MethodPut, "http://"+registry+repository+"/manifests/v1", manifestType, manifest, nil)
}

// request sends content; accepted, where it isn't nil, is called with the address to go on at when the server only accepted the request.
func request(t *testing.T, method, address, contentType string, content []byte, accepted func(location string)) {
	t.Helper()
	r, err := http.NewRequest(method, address, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusCreated:
	case response.StatusCode == http.StatusAccepted && accepted != nil:
		accepted(response.Header.Get("Location"))
	default:
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("%s %s: %s: %s", method, address, response.Status, body)
	}
}

func marshal(t *testing.T, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// eventually waits until ok returns nil.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
