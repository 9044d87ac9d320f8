package bot

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// grave takes connections, and says nothing on them until it is opened.
type grave struct {
	net.Listener
	mu     sync.Mutex
	opened bool
	taken  []net.Conn
}

func (g *grave) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		opened := g.opened
		if !opened {
			g.taken = append(g.taken, conn)
		}
		g.mu.Unlock()
		if opened {
			return conn, nil
		}
	}
}

func (g *grave) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = true
	for _, conn := range g.taken {
		_ = conn.Close() // whoever waits there is to begin anew
	}
}

// connected is a simulated cluster behind a real way to an API server.
type connected struct {
	*fakeCluster
	way *kube.Cluster
}

func (c connected) reached(ctx context.Context) error {
	_, err := c.way.Lacks(ctx, "x")
	var e *kube.Error
	if errors.As(err, &e) && e.Temporary {
		return err
	}
	return nil
}

func (c connected) Diff(ctx context.Context, objs, released []*unstructured.Unstructured) ([]kube.Change, error) {
	if err := c.reached(ctx); err != nil {
		return nil, err
	}
	return c.fakeCluster.Diff(ctx, objs, released)
}

func (c connected) Apply(ctx context.Context, objs []*unstructured.Unstructured, o kube.ApplyOptions) error {
	if err := c.reached(ctx); err != nil {
		return err
	}
	return c.fakeCluster.Apply(ctx, objs, o)
}

func (c connected) Status(ctx context.Context, objs []*unstructured.Unstructured) ([]kube.WorkloadStatus, error) {
	if err := c.reached(ctx); err != nil {
		return nil, err
	}
	return c.fakeCluster.Status(ctx, objs)
}

// TestDeadCluster: twenty environments on a cluster that takes connections and never answers keep no other from being deployed,
// say what they wait for, hold no worker, and go on by themselves when it answers.
func TestDeadCluster(t *testing.T) {
	t.Parallel()
	const dead = 20
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g := &grave{Listener: inner}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	must(t, server.Listener.Close())
	server.Listener, server.Config.ErrorLog = g, log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() { g.open(); server.Close() })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	way, err := kube.Open(kube.Config{Name: "prod", Server: server.URL, CA: string(ca) + "\n# " + t.Name(), Token: "t"})
	must(t, err)

	l, err := openLab(t.TempDir(), nil)
	must(t, err)
	t.Cleanup(func() {
		for _, err := range l.Close() {
			t.Error(err)
		}
	})
	must(t, l.Stop())
	prod := newFakeCluster("prod")
	l.clusters = map[string]pipeline.Cluster{"test": l.test, "prod": connected{prod, way}}
	l.server = strings.Replace(l.server, "    require: {approvals: 1, self: false}\n", "", 1)
	must(t, l.Start())

	text, err := os.ReadFile(filepath.Join("testdata", "repo", ".shipmate.yaml"))
	must(t, err)
	file, _, _ := strings.Cut(string(text), "environments:")
	file += "environments:\n"
	for i := range dead {
		file += fmt.Sprintf("  - {name: dead%02d, cluster: prod, namespace: production, manifests: deploy/, deploy: auto, after: none}\n", i)
	}
	file += "  - {name: staging, cluster: test, namespace: staging, manifests: deploy/, deploy: auto, after: none}\n"
	count := func(query string) (n int) {
		t.Helper()
		s, err := l.lookup(query)
		must(t, err)
		_, err = fmt.Sscan(s, &n)
		must(t, err)
		return n
	}
	for i := range 2 { // the first finds out
		_, err = l.Push("alice", "master", "Ship", map[string]string{".shipmate.yaml": file, "a": fmt.Sprint(i)})
		must(t, err)
		must(t, until("the release", func() error {
			if n := count("SELECT count(*) FROM releases"); n != i+1 {
				return fmt.Errorf("%d releases", n)
			}
			return nil
		}))
		must(t, until("the deployment to the other cluster", func() error {
			if n := count("SELECT count(*) FROM deployments WHERE environment = 'staging' AND state = 'succeeded'"); n != i+1 {
				return fmt.Errorf("%d succeeded", n)
			}
			return nil
		}))
	}
	must(t, until("what all the others wait for", func() error {
		if n := count("SELECT count(*) FROM deployments WHERE state = 'applying' AND progress LIKE 'cluster prod: the API server does not answer since %'"); n != dead {
			return fmt.Errorf("%d say it", n)
		}
		return nil
	}))
	page, err := l.Page("deployments", "1")
	must(t, err)
	if !strings.Contains(page, "cluster prod: the API server does not answer since ") {
		t.Errorf("the page does not say it:\n%s", page)
	}
	if n := count("SELECT count(*) FROM deployments WHERE state = 'failed'"); n > 0 {
		t.Errorf("%d failed", n)
	}
	must(t, until("workers that do something else", func() error {
		if n := count("SELECT count(*) FROM tasks WHERE lease_until IS NOT NULL AND kind IN ('env', 'prepare')"); n > 2 {
			return fmt.Errorf("%d work", n)
		}
		return nil
	}))
	g.open()
	must(t, until("what waited goes on", func() error {
		if n := count("SELECT count(DISTINCT environment) FROM deployments WHERE environment LIKE 'dead%' AND state = 'succeeded'"); n != dead {
			return fmt.Errorf("%d succeeded", n)
		}
		return nil
	}))
}
