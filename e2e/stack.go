// Package e2e brings up everything that a push goes through: a simulated GitHub with real git, a registry, BuildKit, a
// one-node Kubernetes, sinks for WeCom and Slack, and the bot. The demo and the stories run on it.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

const (
	wecomKey     = "00000000-demo-0000-0000-robotkey0000"
	slackToken   = "xoxb-demo-token"
	slackChannel = "C012SHIPPING"
	hookSecret   = "demo-webhook-secret"
	clientSecret = "demo-client-secret"
)

// Options say what a stack is made of.
type Options struct {
	Bot string // the bot's binary
	Bin string // the folder with the programs of e2e/cluster and e2e/builder
	App string // the App's manifest, app.yaml: the simulated GitHub grants these permissions and sends these events
	Say func(format string, args ...any)

	ForkBuilder bool     // a second builder, for builds of forks
	NoTargets   bool     // the namespaces that the example's environments go to are not made
	Reach       []string // more addresses on this machine's loopback that the cluster's node reaches, besides the registry and GitHub

	// What is there already and is used instead of one of our own; empty for our own.
	Kubeconfig, BuildkitHost, Registry string
}

// A Stack is the running whole.
type Stack struct {
	Dir          string
	GitHub       *sim.GitHub
	WeCom        *sim.WeCom
	Slack        *sim.Slack
	Registry     string // host:port
	BuildkitHost string
	ForkBuilder  string // where builds of forks go; empty: nowhere
	Kubeconfig   string
	Kube         *kubernetes.Clientset
	BotURL       string

	opt     Options
	bot     *process
	builder *process // nil where another's is used
	mu      sync.Mutex
	onWrite func(sim.Write)
	onWeCom func(sim.RobotMessage)
	onSlack func(sim.SlackMessage)
	close   []func() error
}

// Start brings a stack up. On an error everything that was started is down again.
func Start(ctx context.Context, opt Options) (s *Stack, err error) {
	s = &Stack{opt: opt, Registry: opt.Registry, BuildkitHost: opt.BuildkitHost, Kubeconfig: opt.Kubeconfig}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if err := s.makeDir(); err != nil {
		return s, err
	}
	if err := s.startSims(); err != nil {
		return s, err
	}
	if s.Registry == "" {
		if err := s.startRegistry(ctx); err != nil {
			return s, err
		}
	} else {
		opt.Say("uses the registry %s (REGISTRY)", s.Registry)
	}
	var g errgroup.Group // the rest at the same time; closed in one order all the same
	var cluster, forks *process
	g.Go(func() error { return s.pushBase(ctx) })
	g.Go(func() (err error) {
		if s.BuildkitHost != "" {
			opt.Say("uses the builder %s (BUILDKIT_HOST)", s.BuildkitHost)
			return nil
		}
		s.builder, s.BuildkitHost, err = s.startBuilder(ctx)
		return err
	})
	g.Go(func() (err error) {
		if opt.ForkBuilder {
			forks, s.ForkBuilder, err = s.startTool(ctx, "builder", "f", "BUILDKIT_HOST=", s.builderArgs()...)
		}
		return err
	})
	g.Go(func() (err error) {
		if s.Kubeconfig != "" {
			opt.Say("uses the cluster of %s (KUBECONFIG)", s.Kubeconfig)
			return nil
		}
		args := []string{"--reach", s.Registry, "--reach", strings.TrimPrefix(s.GitHub.URL(), "http://")}
		for _, address := range opt.Reach {
			args = append(args, "--reach", address)
		}
		cluster, s.Kubeconfig, err = s.startTool(ctx, "cluster", "c", "KUBECONFIG=", args...)
		return err
	})
	err = g.Wait()
	if s.builder != nil {
		s.close = append(s.close, func() error { return s.builder.stop() }) // it may be another by then
	}
	if forks != nil {
		s.close = append(s.close, forks.stop)
	}
	if cluster != nil {
		s.close = append(s.close, cluster.stop)
	}
	if err != nil {
		return s, err
	}
	if err := s.namespaces(ctx); err != nil {
		return s, err
	}
	if err := s.writeConfig(); err != nil {
		return s, err
	}
	s.close = append(s.close, func() error {
		if s.bot != nil {
			return s.bot.stop()
		}
		return nil
	})
	return s, s.StartBot(ctx)
}

// makeDir makes the stack's folder and removes those of stacks that were killed: their locks are free. Their processes,
// mounts and namespaces went with them.
func (s *Stack) makeDir() (err error) {
	const lockName = "stack.lock"
	old, err := filepath.Glob(filepath.Join(os.TempDir(), "shipmate-*", lockName))
	if err != nil {
		return err
	}
	for _, name := range old {
		f, err := os.Open(name)
		if err != nil {
			continue // gone meanwhile
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			s.opt.Say("removes %s, left by a stack that was killed", filepath.Dir(name))
			err = os.RemoveAll(filepath.Dir(name))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	// Short: paths of unix sockets have at most 107 bytes.
	if s.Dir, err = os.MkdirTemp("", "shipmate-"); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.close = append(s.close, func() error { return errors.Join(os.RemoveAll(s.Dir), lock.Close()) })
	return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// Close takes everything down, the newest first, and removes what it left on disk.
func (s *Stack) Close() error {
	var err error
	for i := len(s.close) - 1; i >= 0; i-- {
		err = errors.Join(err, s.close[i]())
	}
	s.close = nil
	return err
}

// Watch says who is told what the far ends get. Any may be nil.
func (s *Stack) Watch(github func(sim.Write), wecom func(sim.RobotMessage), slack func(sim.SlackMessage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onWrite, s.onWeCom, s.onSlack = github, wecom, slack
}

func (s *Stack) startSims() error {
	text, err := os.ReadFile(s.opt.App)
	if err != nil {
		return err
	}
	var app struct {
		Permissions map[string]string `yaml:"default_permissions"`
		Events      []string          `yaml:"default_events"`
	}
	if err := yaml.Unmarshal(text, &app); err != nil {
		return fmt.Errorf("%s: %w", s.opt.App, err)
	}
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: filepath.Join(s.Dir, "github"), Secret: hookSecret, Permissions: app.Permissions, Events: app.Events, OnWrite: func(w sim.Write) {
		s.mu.Lock()
		fn := s.onWrite
		s.mu.Unlock()
		if fn != nil {
			fn(w)
		}
	}})
	if err != nil {
		return err
	}
	s.GitHub = gh
	if err := gh.Start("127.0.0.1:0"); err != nil {
		return err
	}
	s.close = append(s.close, func() error { gh.Close(); return nil })
	s.WeCom = sim.NewWeCom(wecomKey)
	s.WeCom.OnMessage = func(_ string, m sim.RobotMessage) {
		s.mu.Lock()
		fn := s.onWeCom
		s.mu.Unlock()
		if fn != nil {
			fn(m)
		}
	}
	s.Slack = sim.NewSlack(slackToken, slackChannel)
	s.Slack.OnMessage = func(m sim.SlackMessage) {
		s.mu.Lock()
		fn := s.onSlack
		s.mu.Unlock()
		if fn != nil {
			fn(m)
		}
	}
	return nil
}

// serve puts a handler on a free loopback port.
func (s *Stack) serve(h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }() // ends with Close
	s.close = append(s.close, func() error { err := server.Close(); <-done; return err })
	return "http://" + l.Addr().String(), nil
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

func (s *Stack) startRegistry(ctx context.Context) error {
	config := filepath.Join(s.Dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: \"127.0.0.1:0\", secret: demo}\n", filepath.Join(s.Dir, "registry"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	var mu sync.Mutex
	p, err := start("docker-registry", nil, func(line string) {
		if m := listening.FindStringSubmatch(line); m != nil {
			mu.Lock()
			s.Registry = m[1]
			mu.Unlock()
		}
	}, "docker-registry", "serve", config)
	if err != nil {
		return err
	}
	// It has no orderly end of its own on SIGTERM: being ended by it is what is wanted.
	s.close = append(s.close, func() error { p.stopQuietly(); return nil })
	err = p.ready(ctx, func() bool { mu.Lock(); defer mu.Unlock(); return s.Registry != "" })
	s.opt.Say("registry on %s", s.Registry)
	return err
}

// startTool starts one of our two tools, in a folder of its own, and waits for its "ready NAME=VALUE" line.
func (s *Stack) startTool(ctx context.Context, name, folder, prefix string, args ...string) (*process, string, error) {
	began := time.Now()
	var mu sync.Mutex
	var value string
	dir := filepath.Join(s.Dir, folder) // its name is short, as above
	p, err := start(name, nil, func(line string) {
		if v, ok := strings.CutPrefix(line, "ready "+prefix); ok {
			mu.Lock()
			value = v
			mu.Unlock()
		}
	}, filepath.Join(s.opt.Bin, name), append([]string{"up", "--dir", dir, "--die-with-parent"}, args...)...)
	if err != nil {
		return nil, "", fmt.Errorf("%w (make setup builds it)", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("not ready after 3 minutes"))
	defer cancel()
	if err := p.ready(ctx, func() bool { mu.Lock(); defer mu.Unlock(); return value != "" }); err != nil {
		return nil, "", errors.Join(err, p.stop())
	}
	s.opt.Say("%s ready after %.1f s", name, time.Since(began).Seconds())
	mu.Lock()
	defer mu.Unlock()
	return p, value, nil
}

func (s *Stack) startBuilder(ctx context.Context) (*process, string, error) {
	return s.startTool(ctx, "builder", "b", "BUILDKIT_HOST=", s.builderArgs()...)
}

func (s *Stack) builderArgs() []string {
	return []string{"--insecure-registry", s.Registry, "--mirror", "docker.io=" + s.Registry}
}

// KillBuilder ends BuildKit's daemon as a crash would, with every build that it is at.
func (s *Stack) KillBuilder() { s.builder.kill() }

// StartBuilder starts BuildKit's daemon again after KillBuilder, at the same address.
func (s *Stack) StartBuilder(ctx context.Context) (err error) {
	s.builder, s.BuildkitHost, err = s.startBuilder(ctx)
	return err
}

// namespaces makes those that the example's environments go to.
func (s *Stack) namespaces(ctx context.Context) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return err
	}
	if s.Kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	for _, name := range []string{"staging", "production"} {
		if s.opt.NoTargets {
			break
		}
		_, err := s.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// Get asks the example in a namespace through the API server's service proxy.
func (s *Stack) Get(ctx context.Context, namespace, path string) (string, error) {
	body, err := s.Kube.CoreV1().Services(namespace).ProxyGet("http", "devops-svc", "5000", path, nil).DoRaw(ctx)
	return strings.TrimSpace(string(body)), err
}

func (s *Stack) writeConfig() error {
	wecom, err := s.serve(s.WeCom)
	if err != nil {
		return err
	}
	slack, err := s.serve(s.Slack)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		return err
	}
	listen := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	s.BotURL = "http://" + listen
	s.GitHub.SetHook(s.BotURL+"/webhooks/github", hookSecret)
	s.GitHub.SetCallback(s.BotURL + "/auth/callback")
	s.GitHub.SetClientSecret(clientSecret)
	if err := os.WriteFile(filepath.Join(s.Dir, "app.pem"), []byte(s.GitHub.PrivateKeyPEM()), 0o600); err != nil {
		return err
	}
	builders := fmt.Sprintf("%q", s.BuildkitHost)
	if s.ForkBuilder != "" {
		builders += fmt.Sprintf(", {addr: %q, forks: true}", s.ForkBuilder)
	}
	text := fmt.Sprintf(`listen: %[1]s
public_url: http://%[1]s
data_dir: %[2]s/data
github:
  api_url: %[3]s
  app_id: %[4]d
  private_key: file:%[2]s/app.pem
  webhook_secrets: [env:GITHUB_WEBHOOK_SECRET]
  client_id: %[10]s
  client_secret: env:GITHUB_CLIENT_SECRET
  allow: ["acme/*", "globex/*"]
builder:
  buildkit: [%[5]s]
registries:
  "%[6]s":
    plain_http: true
    allow: [{repositories: ["acme/*", "globex/*"], paths: [team]}]
clusters:
  test:
    kubeconfig: %[7]s
    allow: [{repositories: ["acme/*"], namespaces: [staging]}]
  prod:
    kubeconfig: %[7]s
    allow: [{repositories: ["acme/devops-app"], namespaces: [production]}]
    require: {approvals: 1, self: false}
chat:
  wecom:
    ops: {robot_keys: [env:WECOM_KEY], base_url: %[8]s/, language: zh, allow: ["acme/*"]}
  slack:
    team: {bot_token: env:SLACK_TOKEN, base_url: %[9]s/api/, allow: ["acme/*"]}
people:
  - {github: alice, slack: {team: U012}, wecom: {ops: alice}}
  - {github: bob, slack: {team: U013}, wecom: {ops: bob}}
`, listen, s.Dir, s.GitHub.APIURL(), s.GitHub.AppID(), builders, s.Registry, s.Kubeconfig, wecom, slack, s.GitHub.ClientID())
	return os.WriteFile(s.Config(), []byte(text), 0o600)
}

// Config is the server's file.
func (s *Stack) Config() string { return filepath.Join(s.Dir, "shipmate.yaml") }

// BotPID is the bot's process id.
func (s *Stack) BotPID() int { return s.bot.cmd.Process.Pid }

// StartBot starts the bot (again) and waits until it is ready for work.
func (s *Stack) StartBot(ctx context.Context) error {
	began := time.Now()
	log, err := os.OpenFile(filepath.Join(s.Dir, "bot.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	env := []string{"GITHUB_WEBHOOK_SECRET=" + hookSecret, "GITHUB_CLIENT_SECRET=" + clientSecret, "WECOM_KEY=" + wecomKey, "SLACK_TOKEN=" + slackToken}
	s.bot, err = start("bot", env, func(line string) { _, _ = io.WriteString(log, line+"\n") }, s.opt.Bot, "serve", "--config", s.Config())
	if err != nil {
		return errors.Join(err, log.Close())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not ready after 30 s"))
	defer cancel()
	err = s.bot.ready(ctx, func() bool {
		resp, err := http.Get(s.BotURL + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close() // only its status counts
		return resp.StatusCode == http.StatusOK
	})
	s.opt.Say("bot ready after %.2f s on %s", time.Since(began).Seconds(), s.BotURL)
	return err
}

// KillBot ends the bot as a crash would.
func (s *Stack) KillBot() { s.bot.kill() }

// BotLog is the bot's log so far.
func (s *Stack) BotLog() string {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "bot.log")) // empty before its first line
	return string(b)
}
