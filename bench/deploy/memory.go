package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	churn     = 6 // how often the status of each pod is patched while it is not ready
	patchers  = 8 // at a time
	mostCrowd = 5 * time.Minute
)

// A load is what one process deploys at once, of a node that does not exist: its pods become what the bench writes.
type load struct{ environments, deployments, pods int }

func (l load) all() int { return l.environments * l.deployments * l.pods }

func (l load) String() string {
	if l.environments == 1 {
		return fmt.Sprintf("%d pods of one Deployment", l.all())
	}
	return fmt.Sprintf("%d environments at once, %d Deployments and %d pods in each", l.environments, l.deployments, l.deployments*l.pods)
}

// memory measures a process that watches so many pods: of one Deployment, and of 20 environments.
func (b *bench) memory(ctx context.Context, pods int) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "watching\twhen\tlive heap\theap in use\tRSS\tmost RSS\tour goroutines\tall\tCPU\trequests")
	for i, l := range []load{{1, 1, pods}, {20, 5, max(pods/100, 1)}} {
		if err := b.watch(ctx, t, fmt.Sprintf("bench-watch-%d-%d", i, os.Getpid()), l); err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
	}
	return t.Flush()
}

// manifests are one environment's: a release more changes nothing of them.
func (l load) manifests(image string) string {
	m := mix{deployments: l.deployments, services: l.deployments, configMaps: 2 * l.deployments}
	text := strings.ReplaceAll(m.manifests(image, 0), "replicas: 1", fmt.Sprintf("replicas: %d", l.pods))
	return strings.ReplaceAll(text, "terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 0\n      nodeName: nowhere")
}

// A crowd is the process that is measured, seen from outside.
type crowd struct {
	cmd   *exec.Cmd
	in    io.Writer
	lines chan said
}

// said is one line of it.
type said struct {
	Measured *figures
	Done     *string // all have arrived; empty: with no error
	err      error
}

// figures are those of one process, in bytes.
type figures struct {
	Live, InUse, RSS, MostRSS int64
	Ours, Goroutines          int
	CPU                       time.Duration
}

func (b *bench) watch(ctx context.Context, t io.Writer, prefix string, l load) (err error) {
	ctx, cancel := context.WithTimeout(ctx, mostCrowd)
	defer cancel()
	rc, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	if err != nil {
		return err
	}
	rc.QPS = -1
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return err
	}
	dir, err := b.write(prefix, l.manifests(b.image.Ref()))
	if err != nil {
		return err
	}
	var names []string
	for i := range l.environments {
		names = append(names, fmt.Sprintf("%s-%d", prefix, i))
		if err := b.namespace(ctx, names[i]); err != nil {
			return err
		}
	}
	requests, err := b.count(ctx)
	if err != nil {
		return err
	}
	c, err := begin(ctx, append([]string{"watched", requests.url, dir, b.image.Repository, b.image.Digest}, names...))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			cancel() // ends it
			_ = c.cmd.Wait()
		}
	}()
	tell := func(when string) (figures, error) {
		f, err := c.measure()
		if err != nil {
			return f, fmt.Errorf("%s: %w", when, err)
		}
		all, _, verbs := requests.read()
		mib := func(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%.1f s\t%d: %s\n", l, when, mib(f.Live), mib(f.InUse), mib(f.RSS), mib(f.MostRSS), f.Ours, f.Goroutines, f.CPU.Seconds(), all, verbs)
		return f, nil
	}
	if _, err := tell("before"); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c.in, "deploy"); err != nil {
		return err
	}
	for n := 0; n < l.all(); time.Sleep(time.Second) {
		pods, err := crowdOf(ctx, client, names)
		if err != nil {
			return err
		}
		n = len(pods)
	}
	if _, err := tell("all pods there"); err != nil {
		return err
	}
	patched := 0
	for i := range churn {
		n, err := write(ctx, client, names, fmt.Sprintf(`{"status":{"phase":"Pending","conditions":[{"type":"Ready","status":"False","reason":"ContainersNotReady","message":"look %d"}],"containerStatuses":[{"name":"web","image":"web","imageID":"","ready":false,"restartCount":0,"state":{"waiting":{"reason":"ContainerCreating"}}}]}}`, i), false)
		if err != nil {
			return err
		}
		patched += n
		if i == churn/2 {
			if _, err := tell("while they change"); err != nil {
				return err
			}
		}
	}
	if _, err := tell(fmt.Sprintf("after %d changes", patched)); err != nil {
		return err
	}
	// The end shows that every change was seen: all of them have arrived. What the cluster replaced meanwhile is written to again.
	ready := fmt.Sprintf(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":%[1]q}],"containerStatuses":[{"name":"web","image":"web","imageID":%[2]q,"ready":true,"restartCount":0,"state":{"running":{"startedAt":%[1]q}}}]}}`,
		time.Now().UTC().Format(time.RFC3339), b.image.Digest)
	for done := false; !done; {
		if _, err := write(ctx, client, names, ready, true); err != nil {
			return err
		}
		select {
		case s := <-c.lines:
			if s.err != nil || s.Done == nil || *s.Done != "" {
				return fmt.Errorf("it ended with %w %v", s.err, s.Done)
			}
			done = true
		case <-time.After(time.Second):
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		f, err := c.measure()
		if err != nil {
			return err
		}
		if f.Ours == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d goroutines are left: %w", f.Ours, errMissed)
		}
	}
	if _, err := tell("afterwards"); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c.in, "end"); err != nil {
		return err
	}
	return c.cmd.Wait()
}

// crowdOf lists the pods of namespaces.
func crowdOf(ctx context.Context, client kubernetes.Interface, namespaces []string) (pods []corev1.Pod, err error) {
	for _, ns := range namespaces {
		list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		pods = append(pods, list.Items...)
	}
	return pods, nil
}

// write patches the status of every pod, or of those that are not ready, and returns of how many.
func write(ctx context.Context, client kubernetes.Interface, namespaces []string, patch string, unready bool) (int, error) {
	pods, err := crowdOf(ctx, client, namespaces)
	if err != nil {
		return 0, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(patchers)
	n := 0
	for _, p := range pods {
		if unready && p.Status.Phase == corev1.PodRunning {
			continue
		}
		n++
		g.Go(func() error {
			_, err := client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
			if err != nil && ctx.Err() == nil { // the cluster has replaced it
				err = nil
			}
			return err
		})
	}
	return n, g.Wait()
}

// begin starts the process that is measured.
func begin(ctx context.Context, args []string) (*crowd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &crowd{cmd: exec.CommandContext(ctx, self, args...), lines: make(chan said, 1)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var s said
			s.err = json.Unmarshal(lines.Bytes(), &s)
			c.lines <- s
		}
		c.lines <- said{err: errors.New("it is gone")}
	}()
	return c, nil
}

// measure asks it for its figures.
func (c *crowd) measure() (figures, error) {
	if _, err := fmt.Fprintln(c.in, "measure"); err != nil {
		return figures{}, err
	}
	s := <-c.lines
	switch {
	case s.err != nil:
		return figures{}, s.err
	case s.Done != nil:
		return figures{}, fmt.Errorf("it ended too early: %q", *s.Done)
	}
	return *s.Measured, nil
}
