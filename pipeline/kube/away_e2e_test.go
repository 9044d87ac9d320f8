//go:build e2e

package kube

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// behind is the cluster of w behind a proxy.
func (w *world) behind() (*Cluster, *passage) {
	w.Helper()
	rc, err := restConfig(Config{Kubeconfig: os.Getenv("KUBECONFIG")})
	if err != nil {
		w.Fatal(err)
	}
	server, err := url.Parse(rc.Host)
	if err != nil {
		w.Fatal(err)
	}
	p := newPassage(w.T, server.Host)
	text, err := os.ReadFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		w.Fatal(err)
	}
	file := filepath.Join(w.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), server.Host, p.Addr().String())), 0o600); err != nil {
		w.Fatal(err)
	}
	c, err := Open(Config{Name: "test", Kubeconfig: file})
	if err != nil {
		w.Fatal(err)
	}
	return c, p
}

// begin waits for objs by c, again where it is given back, and returns once it is told of the Deployment web.
func (w *world) begin(ctx context.Context, c *Cluster, objs []*unstructured.Unstructured, n *news) chan error {
	w.Helper()
	ended := make(chan error, 1)
	go func() {
		for {
			err := c.Wait(ctx, objs, n.add)
			var e *Error
			if !errors.As(err, &e) || !e.Temporary || ctx.Err() != nil {
				ended <- err
				return
			}
			w.Log("given back: ", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}()
	until(w.T, "the first news", time.Minute, func() bool { return len(n.of("Deployment/web")) > 0 })
	return ended
}

const (
	slowlyReady = "readinessProbe: {tcpSocket: {port: 5000}, initialDelaySeconds: 20, periodSeconds: 1}"
	neverReady  = "readinessProbe: {tcpSocket: {port: 81}}"
)

// TestServerAway: in the middle of a rollout the API server is gone for a while, with all connections. That is told, and the
// rollout, which has come to its end meanwhile, is seen.
func TestServerAway(t *testing.T) {
	w := newWorld(t)
	c, p := w.behind()
	objs := w.ready(deployment("web", "image: IMAGE", slowlyReady))
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var n news
	ended := w.begin(ctx, c, objs, &n)
	p.cut(true)
	began := time.Now()
	until(t, "that it is away", 30*time.Second, func() bool { return len(n.of("cluster test")) > 0 })
	t.Logf("told after %s: %s", time.Since(began), n.of("cluster test")[0])
	if err := w.wait(objs, 2*time.Minute); err != nil { // by the straight way
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended while it was away: %v", err)
	default:
	}
	p.cut(false)
	back := time.Now()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	t.Logf("seen %s after it was back", time.Since(back))
	if texts := n.of("cluster test"); !strings.Contains(texts[0], "does not answer since ") || texts[len(texts)-1] != "" {
		t.Errorf("told %q", texts)
	}
}

// TestServerRestarts kills the real API server in the middle of a rollout. It is started again, and the rollout is seen to its end.
func TestServerRestarts(t *testing.T) {
	w := newSerialWorld(t)
	launcher := filepath.Join(os.Getenv("SHIPMATE_BIN"), "cluster")
	out, err := exec.Command(launcher, "status", "--dir", filepath.Dir(os.Getenv("KUBECONFIG"))).Output()
	if err != nil {
		t.Skipf("%s status: %v; only what e2e/setup.sh builds can be told to restart", launcher, err)
	}
	_, rest, _ := strings.Cut(string(out), "kube-apiserver ")
	line, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("%s", out)
	}
	objs := w.ready(deployment("web", "image: IMAGE", slowlyReady))
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var n news
	ended := w.begin(ctx, w.cluster, objs, &n)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	t.Logf("stable %s after the API server was killed; told %q", time.Since(killed), n.of("cluster"))
	live, err := w.cluster.get(t.Context(), RefOf(objs[0]))
	if err != nil || live == nil {
		t.Fatal(live, err)
	}
	if s, err := stateOf(live); err != nil || !s.stable {
		t.Errorf("%+v %v", s, err)
	}
}

// TestSilenceNoticed: connections to the real API server that stay open, and on which nothing comes any more, are given up within
// a minute, and the rollout is seen on new ones.
func TestSilenceNoticed(t *testing.T) {
	w := newWorld(t)
	c, p := w.behind()
	objs := w.ready(deployment("web", "image: IMAGE", slowlyReady))
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var n news
	ended := w.begin(ctx, c, objs, &n)
	before := p.through.Load()
	p.swallow(true)
	began := time.Now()
	until(t, "that it is away", 40*time.Second, func() bool { return len(n.of("cluster test")) > 0 })
	t.Logf("told after %s: %s", time.Since(began), n.of("cluster test")[0])
	until(t, "another connection", 90*time.Second, func() bool { return p.through.Load() > before })
	took := time.Since(began)
	t.Logf("given up after %s", took)
	if took > 75*time.Second { // about 45 s; the machine may be slow
		t.Errorf("given up after %s", took)
	}
	p.cut(false)
	p.swallow(false)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if texts := n.of("cluster test"); !strings.Contains(texts[0], "no answer within") {
		t.Errorf("told %q", texts)
	}
}

// token is one of the ServiceAccount bot that the API server refuses once the Secret of that name is deleted, which drop does.
func (w *world) token(secret string) (token string, drop func()) {
	w.Helper()
	objs := object(w.T, "{apiVersion: v1, kind: Secret, metadata: {name: "+secret+"}}\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: bot}}")
	for _, o := range objs {
		o.SetNamespace(w.owner.Namespace)
	}
	if err := w.cluster.Apply(w.Context(), objs, ApplyOptions{}); err != nil {
		w.Fatal(err)
	}
	accounts, err := w.cluster.resource(w.Context(), w.cluster.client, RefOf(objs[1]))
	if err != nil {
		w.Fatal(err)
	}
	issued, err := accounts.Create(w.Context(), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": "bot"}, "spec": map[string]any{"boundObjectRef": map[string]any{"apiVersion": "v1", "kind": "Secret", "name": secret}}}}, metav1.CreateOptions{}, "token")
	if err != nil {
		w.Fatal(err)
	}
	token, _, _ = unstructured.NestedString(issued.Object, "status", "token")
	return token, func() {
		secrets, err := w.cluster.resource(w.Context(), w.cluster.client, RefOf(objs[0]))
		if err == nil {
			err = secrets.Delete(w.Context(), secret, metav1.DeleteOptions{})
		}
		if err != nil {
			w.Fatal(err)
		}
	}
}

// TestTokenRefused: a token that the API server refuses from the middle of a rollout on is told within 10 s of that. One that was
// replaced in its file before does not fail it.
func TestTokenRefused(t *testing.T) {
	w := newWorld(t)
	ns := w.owner.Namespace
	first, dropFirst := w.token("first")
	second, dropSecond := w.token("second")
	binding := object(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: bot, namespace: "+ns+"}, "+
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}, subjects: [{kind: ServiceAccount, name: bot, namespace: "+ns+"}]}")
	if err := w.cluster.Apply(t.Context(), binding, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	rc, err := restConfig(Config{Kubeconfig: os.Getenv("KUBECONFIG")})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	open := func(cfg Config) *Cluster {
		t.Helper()
		cfg.Name, cfg.Server, cfg.CA = "test", rc.Host, string(rc.CAData)
		c, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	refused := func(token string) {
		t.Helper()
		c := open(Config{Token: token})
		until(t, "the refusal", time.Minute, func() bool { return errors.As(c.link.check(t.Context(), 0), new(*refusal)) })
	}
	c := open(Config{TokenFile: file})

	objs := w.ready(deployment("web", "image: IMAGE", slowlyReady))
	if err := c.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ended := w.begin(ctx, c, objs, &news{})
	write(second)
	dropFirst()
	refused(first)
	if err := <-ended; err != nil {
		t.Fatalf("though it was replaced: %v", err)
	}

	objs = w.ready(deployment("web", "image: IMAGE", neverReady))
	if err := c.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ended = w.begin(ctx, c, objs, &news{})
	dropSecond()
	refused(second)
	since := time.Now()
	err = <-ended
	took := time.Since(since)
	t.Logf("after %s: %v", took, err)
	var e *Error
	if !errors.As(err, &e) || e.Temporary || e.Object != "cluster test" || !strings.Contains(e.Message, "refuses our credentials") || !strings.Contains(e.Hint, "renew the token in the file of clusters.test.token") {
		t.Errorf("got %v", err)
	}
	if took > 10*time.Second {
		t.Errorf("told after %s", took)
	}
	if strings.Contains(err.Error(), second) {
		t.Error("the token is told")
	}
}
