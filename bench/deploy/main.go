// Command deploy measures deploying and rolling back beside kubectl, on the same cluster and in the same run: 1, 10 and 50 objects,
// all changed and none changed; the API requests of a deployment that changes nothing; and what it takes to watch 500 pods.
//
//	KUBECONFIG=… REGISTRY=… deploy -kubectl "$(e2e/setup.sh --print-bin)/kubectl" [-parts time,requests,memory]
//
// The registry is spoken to by plain HTTP. The two ways take turns, each in namespaces of its own, and in every other round the
// other one begins. It exits with 1 if a goal is missed.
package main

import (
	"archive/tar"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/shipmate-dev/shipmate/e2e"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// What is to be reached: Shipmate takes at most as many times what kubectl takes, and a deployment of 50 objects that changes
// nothing sends at most so many requests.
const (
	goalDeploy   = 1.0
	goalRollback = 1.1
	goalRequests = 60
)

func main() {
	rounds := flag.Int("rounds", 5, "how often each is measured")
	kubectl := flag.String("kubectl", "", "the program kubectl")
	parts := flag.String("parts", "time,requests,memory", "what is measured")
	pods := flag.Int("pods", 500, "how many pods are watched")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	if flag.Arg(0) == "watched" {
		err = watched(ctx, flag.Args()[1:])
	} else {
		err = run(ctx, *kubectl, strings.Split(*parts, ","), *rounds, *pods)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		os.Exit(1)
	}
}

// errMissed is that a table says no.
var errMissed = errors.New("a goal is missed")

// A bench is what all parts use.
type bench struct {
	kubeconfig, registry, kubectl, dir string
	image                              kube.Image
	cluster                            *kube.Cluster
	made                               []string // namespaces
}

func run(ctx context.Context, kubectl string, parts []string, rounds, pods int) (err error) {
	b := &bench{kubeconfig: os.Getenv("KUBECONFIG"), registry: os.Getenv("REGISTRY"), kubectl: kubectl}
	if b.kubeconfig == "" || b.registry == "" || kubectl == "" {
		return errors.New("it needs KUBECONFIG, REGISTRY and -kubectl")
	}
	if b.dir, err = os.MkdirTemp("", "bench-deploy-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.clean(context.WithoutCancel(ctx)), os.RemoveAll(b.dir)) }()
	if b.cluster, err = kube.Open(kube.Config{Kubeconfig: b.kubeconfig}); err != nil {
		return err
	}
	if err := b.push(ctx); err != nil {
		return err
	}
	var missed []error
	for _, part := range parts {
		var err error
		switch part {
		case "time":
			err = b.times(ctx, rounds)
		case "requests":
			err = b.requests(ctx)
		case "memory":
			err = b.memory(ctx, pods)
		default:
			return fmt.Errorf("there is no part %q; use time, requests and memory", part)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", part, err)
		}
		if err != nil && !errors.Is(err, errMissed) {
			return err
		}
		missed = append(missed, err)
	}
	return errors.Join(missed...)
}

// push makes the image of the deployments.
func (b *bench) push(ctx context.Context) error {
	binary := filepath.Join(b.dir, "app")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./pipeline/kube/testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the app: %w\n%s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	layer := filepath.Join(b.dir, "app.tar")
	f, err := os.Create(layer)
	if err != nil {
		return err
	}
	t := tar.NewWriter(f)
	err = t.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = t.Write(program)
	}
	if err := errors.Join(err, t.Close(), f.Close()); err != nil {
		return err
	}
	repository := b.registry + "/bench/app"
	if err := e2e.PushImage(ctx, repository+":1", v1.Config{Entrypoint: []string{"/app"}}, layer); err != nil {
		return err
	}
	digest, err := image.New(map[string]image.Registry{b.registry: {PlainHTTP: true}}).Resolve(ctx, repository+":1")
	b.image = kube.Image{Repository: repository, Digest: digest, Required: true}
	return err
}

// namespace makes a namespace.
func (b *bench) namespace(ctx context.Context, name string) error {
	b.made = append(b.made, name)
	_, err := b.control(ctx, "create", "namespace", name)
	return err
}

// clean removes what was made. The namespaces go on their own after that.
func (b *bench) clean(ctx context.Context) error {
	if len(b.made) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := b.control(ctx, append([]string{"delete", "namespace", "--wait=false", "--ignore-not-found"}, b.made...)...)
	return err
}

// control runs kubectl. What it knows of the cluster's kinds it keeps in its own folder, as at a desk.
func (b *bench) control(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.kubectl, append([]string{"--kubeconfig", b.kubeconfig, "--cache-dir", filepath.Join(b.dir, "kubectl")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
