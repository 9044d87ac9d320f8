package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that Up passes to Init.
const (
	apiFD   = 3 // the host's listener for the API server
	reachFD = 4 // the socket over which Init sends the listeners for Options.Reach
)

// Init is the first process of a cluster's namespaces. Only [Up] starts it. It never returns nil: the cluster ends with it.
func Init(args []string) error {
	started := time.Now()
	flags := flag.NewFlagSet(InitCommand, flag.ContinueOnError)
	dir := flags.String("dir", "", "Options.Dir, absolute")
	cgroup := flags.String("cgroup", "", "name of the pods' root cgroup")
	pause := flags.String("pause", "", "path of the pause program")
	reach := flags.String("reach", "", "Options.Reach, separated by commas")
	timeout := flags.Duration("timeout", 0, "Options.Timeout")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return fmt.Errorf("%s is what \"up\" starts as the first process of new namespaces; call \"up\"", InitCommand)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	n := &initProcess{started: started, dir: *dir}

	unix.CloseOnExec(apiFD)
	unix.CloseOnExec(reachFD)
	api, err := net.FileListener(os.NewFile(apiFD, "API server's listener"))
	if err != nil {
		return fmt.Errorf("take over the API server's listener: %w", err)
	}
	pauseProgram, err := os.ReadFile(*pause)
	if err != nil {
		return fmt.Errorf("read the pause program: %w", err)
	}
	kubeconfig, err := os.OpenFile(filepath.Join(*dir, "admin.kubeconfig"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make the kubeconfig: %w", err)
	}
	defer kubeconfig.Close()

	if err := setUpMounts(*dir); err != nil {
		return err
	}
	if err := setUpNetwork(); err != nil {
		return err
	}
	if err := handOverReach(*reach); err != nil {
		return err
	}
	admin, err := writeConfig(kubeconfig, api.Addr().String(), *cgroup)
	if err != nil {
		return err
	}
	n.client = admin
	n.say("namespaces, network and keys are made")

	if err := n.run(ctx, pauseProgram); err != nil {
		return err
	}
	go forward(context.Background(), api, net.JoinHostPort("127.0.0.1", apiPort))
	fmt.Printf("ready KUBECONFIG=%s\n", kubeconfig.Name())
	return n.reap()
}

// initProcess is Init at work.
type initProcess struct {
	started    time.Time
	dir        string       // as the host sees it
	client     *http.Client // the administrator's
	components []component
}

type component struct {
	name  string
	pid   int
	since time.Time
}

// The API server is started again when it ends, as the node of a real control plane does, unless it has just been started.
const (
	apiServer     = "kube-apiserver"
	leastLifetime = 5 * time.Second
)

// run starts everything, in the order of need, and returns when the node is ready for pods.
func (n *initProcess) run(ctx context.Context, pauseProgram []byte) error {
	if err := n.start("containerd", "containerd", "--config", configDir+"/containerd.toml"); err != nil {
		return err
	}
	if err := n.startOwn("etcd", etcdArgs...); err != nil {
		return err
	}
	if err := n.startOwn(apiServer, apiServerArgs...); err != nil {
		return err
	}
	if err := n.until(ctx, "containerd to answer", func(ctx context.Context) error {
		return exec.CommandContext(ctx, "ctr", "version").Run()
	}); err != nil {
		return err
	}
	if err := importPauseImage(ctx, pauseProgram); err != nil {
		return err
	}
	n.say("containerd runs")
	if err := n.until(ctx, "the API server to be ready", func(ctx context.Context) error {
		return n.get(ctx, "/readyz", nil)
	}); err != nil {
		return err
	}
	n.say("API server is ready")
	if err := n.startOwn("kubelet", kubeletArgs...); err != nil {
		return err
	}
	if err := n.startOwn("kube-controller-manager", controllerManagerArgs...); err != nil {
		return err
	}
	if err := n.startOwn("kube-scheduler", schedulerArgs...); err != nil {
		return err
	}
	if err := n.startOwn("kube-proxy", proxyArgs...); err != nil {
		return err
	}
	if err := n.until(ctx, "the node to be ready", n.nodeReady); err != nil {
		return err
	}
	n.say("node is ready")
	// Without it the namespace "default" takes no pod.
	if err := n.until(ctx, "the default service account", func(ctx context.Context) error {
		return n.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	}); err != nil {
		return err
	}
	return n.until(ctx, "kube-proxy to have written its rules", proxyReady)
}

// say reports progress.
func (n *initProcess) say(what string) {
	fmt.Printf("%6.1fs %s\n", time.Since(n.started).Seconds(), what)
}

// startOwn starts a component that is part of this program.
func (n *initProcess) startOwn(name string, args ...string) error {
	return n.start(name, self, append([]string{name}, args...)...)
}

// start starts a component whose output goes to its log.
func (n *initProcess) start(name, program string, args ...string) error {
	log, err := os.Create(logPath(name))
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	n.components = append(n.components, component{name, cmd.Process.Pid, time.Now()})
	return nil
}

func logPath(name string) string { return "/var/log/" + name + ".log" }

// until calls ready until it returns nil. It fails when ctx is done, or as soon as a component has ended.
func (n *initProcess) until(ctx context.Context, what string, ready func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, c := range n.components {
			var status syscall.WaitStatus
			if pid, _ := syscall.Wait4(c.pid, &status, syscall.WNOHANG, nil); pid == c.pid {
				return n.ended(c, status)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w (the logs are in %s; --timeout gives it longer)", what, err, filepath.Join(n.dir, "log"))
		case <-tick.C:
		}
	}
}

// reap waits for every process that ends in the namespace, also the orphans that containers leave, and returns when a component has ended
// that is not started again.
func (n *initProcess) reap() error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for the components: %w", err)
		}
		i := slices.IndexFunc(n.components, func(c component) bool { return c.pid == pid })
		if i < 0 {
			continue
		}
		c := n.components[i]
		if c.name != apiServer || time.Since(c.since) < leastLifetime {
			return n.ended(c, status)
		}
		n.say(apiServer + " ended, and is started again")
		n.components = slices.Delete(n.components, i, i+1)
		if err := n.startOwn(apiServer, apiServerArgs...); err != nil {
			return err
		}
	}
}

// ended is the error of a component that ended, which none does unasked, with the last lines of its log.
func (n *initProcess) ended(c component, status syscall.WaitStatus) error {
	how := fmt.Sprintf("exit status %d", status.ExitStatus())
	if status.Signaled() {
		how = "signal " + status.Signal().String()
	}
	return fmt.Errorf("%s ended (%s); the last lines of %s:\n%s",
		c.name, how, filepath.Join(n.dir, "log", c.name+".log"), tail(logPath(c.name), 20))
}

// tail returns the last lines of the file at path, as many as lie within its last 16 KiB, at most n.
func tail(path string, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 16 << 10
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, end-most), io.SeekStart)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// get reads what is at path of the API server into v, where v isn't nil.
func (n *initProcess) get(ctx context.Context, path string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:"+apiPort+path, nil)
	if err != nil {
		return err
	}
	response, err := n.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(v)
}

func (n *initProcess) nodeReady(ctx context.Context) error {
	var node struct {
		Spec struct {
			Taints []struct{ Key, Effect string }
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := n.get(ctx, "/api/v1/nodes/"+nodeName, &node); err != nil {
		return err
	}
	// The taint of a node that isn't ready stays for a moment after it is.
	for _, t := range node.Spec.Taints {
		if t.Effect == "NoSchedule" || t.Effect == "NoExecute" {
			return fmt.Errorf("node has the taint %s", t.Key)
		}
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" {
			if c.Status == "True" {
				return nil
			}
			return fmt.Errorf("node is not ready: %s", c.Message)
		}
	}
	return errors.New("node has not reported yet")
}

// proxyReady asks kube-proxy, which is well once it has written all rules for the first time.
func proxyReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10256/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("kube-proxy: %s", response.Status)
	}
	return nil
}

func importPauseImage(ctx context.Context, program []byte) error {
	const archive = "/run/pause.tar"
	f, err := os.Create(archive)
	if err != nil {
		return fmt.Errorf("import the pause image: %w", err)
	}
	defer os.Remove(archive)
	defer f.Close()
	if err := writePauseImage(f, pauseImage, program); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "ctr", "--namespace", "k8s.io", "images", "import", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import the pause image: %w: %s", err, out)
	}
	return nil
}

func handOverReach(reach string) error {
	f := os.NewFile(reachFD, "reach")
	defer f.Close()
	if reach == "" {
		return nil
	}
	c, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("hand over the listeners to be reached: %w", err)
	}
	defer c.Close()
	return sendListeners(c.(*net.UnixConn), strings.Split(reach, ","))
}

// writeConfig makes the cluster's keys and writes its configuration; to kubeconfig it writes the administrator's, for the API server at address. It returns
// an HTTP client with the administrator's credentials.
func writeConfig(kubeconfig io.Writer, address, cgroup string) (*http.Client, error) {
	if err := os.MkdirAll(pkiDir, 0o700); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	if err := os.MkdirAll(cniConfigDir, 0o755); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	a, err := newAuthority()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		pkiDir + "/ca.crt":                 a.pem,
		configDir + "/containerd.toml":     []byte(containerdConfig),
		configDir + "/kubelet.yaml":        []byte(kubeletConfig + "cgroupRoot: /" + cgroup + "\n"),
		cniConfigDir + "/10-pods.conflist": []byte(cniConfig),
	}
	for _, s := range []struct {
		name, user, group string
		hosts             []string
	}{
		{"apiserver", "kube-apiserver", "", []string{"127.0.0.1", nodeIP, serviceIP, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{"kubelet-server", nodeName, "", []string{nodeName, nodeIP}},
		{"kubelet-client", "kube-apiserver-kubelet-client", "system:masters", nil},
		{"service-accounts", "service-accounts", "", nil},
	} {
		c, err := a.issue(s.user, s.group, s.hosts...)
		if err != nil {
			return nil, err
		}
		files[pkiDir+"/"+s.name+".crt"], files[pkiDir+"/"+s.name+".key"] = c.cert, c.key
	}
	for _, u := range []struct{ component, user, group string }{
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
		{"kubelet", "system:node:" + nodeName, "system:nodes"},
	} {
		c, err := a.issue(u.user, u.group)
		if err != nil {
			return nil, err
		}
		files[configDir+"/"+u.component+".kubeconfig"] = a.kubeconfig("127.0.0.1:"+apiPort, c)
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return nil, fmt.Errorf("write the configuration: %w", err)
		}
	}

	admin, err := a.issue("admin", "system:masters")
	if err != nil {
		return nil, err
	}
	if _, err := kubeconfig.Write(a.kubeconfig(address, admin)); err != nil {
		return nil, fmt.Errorf("write the kubeconfig: %w", err)
	}
	pair, err := tls.X509KeyPair(admin.cert, admin.key)
	if err != nil {
		return nil, fmt.Errorf("load the administrator's key: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	tlsConfig := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: 5 * time.Second}, nil
}
