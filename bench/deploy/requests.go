package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// A counter stands before the API server, at an address of this machine alone, and counts what is asked.
type counter struct {
	proxy *httputil.ReverseProxy
	url   string

	mu        sync.Mutex
	discovery int // of what kinds there are, which is asked once for each process
	asked     map[string]int
}

// count begins to count until ctx ends.
func (b *bench) count(ctx context.Context) (*counter, error) {
	rc, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(rc)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(rc)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &counter{url: "http://" + listener.Addr().String(), asked: map[string]int{}}
	c.proxy = &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: server.Scheme, Host: server.Host}) }}
	s := &http.Server{Handler: c}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	go func() { _ = s.Serve(listener) }() // it ends with ctx
	return c, nil
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb := r.Method
	switch query := r.URL.Query(); {
	case query.Has("watch"):
		verb = "watch"
	case query.Has("dryRun"):
		verb = "dry run"
	}
	c.mu.Lock()
	// /api, /apis, /api/v1, /apis/GROUP/VERSION
	if part := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); part[0] == "api" && len(part) <= 2 || part[0] == "apis" && len(part) <= 3 {
		c.discovery++
	} else {
		c.asked[verb]++
	}
	c.mu.Unlock()
	c.proxy.ServeHTTP(w, r)
}

// read returns what was counted since it was last called.
func (c *counter) read() (all, discovery int, verbs string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var by []string
	for _, verb := range []string{"GET", "watch", "dry run", "PATCH", "DELETE", "POST"} {
		if n := c.asked[verb]; n > 0 {
			by = append(by, fmt.Sprintf("%d %s", n, verb))
		}
		all += c.asked[verb]
	}
	discovery = c.discovery
	c.discovery, c.asked = 0, map[string]int{}
	return all, discovery, strings.Join(by, ", ")
}

// requests counts what a deployment of each mix asks of the API server: new, unchanged and changed.
func (b *bench) requests(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c, err := b.count(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "API requests of a deployment\trequests\tof discovery\t\tat most\tmet")
	missed := false
	for _, m := range mixes {
		cluster, err := kube.Open(kube.Config{Server: c.url})
		if err != nil {
			return err
		}
		e := &environment{bench: b, mix: m, cluster: cluster, namespace: fmt.Sprintf("bench-requests-%d-%d", m.objects(), os.Getpid())}
		if err := b.namespace(ctx, e.namespace); err != nil {
			return err
		}
		for version, what := range []string{"new", "none changed", "all changed"} {
			dir, err := b.write(fmt.Sprintf("requests-%d-%d", m.objects(), version), m.manifests(b.image.Ref(), version/2))
			if err != nil {
				return err
			}
			within, cancel := context.WithTimeout(ctx, 5*time.Minute)
			err = e.shipmate(within, dir)
			cancel()
			if err != nil {
				return err
			}
			all, discovery, verbs := c.read()
			goal, met := "", ""
			if m.objects() == 50 && what == "none changed" {
				goal, met = fmt.Sprint(goalRequests), "yes"
				if all > goalRequests {
					met, missed = "no", true
				}
			}
			fmt.Fprintf(t, "%d objects, %s\t%d\t%d\t%s\t%s\t%s\n", m.objects(), what, all, discovery, verbs, goal, met)
		}
	}
	if err := errors.Join(t.Flush(), blank(os.Stdout)); err != nil {
		return err
	}
	if missed {
		return errMissed
	}
	return nil
}
