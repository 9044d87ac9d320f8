// Package kube deploys to Kubernetes: it renders manifests, binds images to
// them, applies them, watches until they are stable, says why they are not, and
// removes what a newer release no longer has.
//
// Render, Bind, Own, Hash, Encode and Decode reach no network; Render starts a process
// for what is a program (a chart). A Cluster does the rest, by the dynamic client and a REST mapper, so
// that any kind can be applied.
package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/klog/v2"
)

// FieldManager is the name under which Shipmate owns fields in server-side apply.
const FieldManager = "shipmate"

// requestTimeout bounds one request. The API server itself gives up on an
// admission webhook after at most 30 s and on most requests after 60 s.
const requestTimeout = 60 * time.Second

// Config says how to reach a cluster: by a kubeconfig, or by Server, CA and Token.
type Config struct {
	Name string // of the cluster in the server's file, for errors

	Kubeconfig string // path of a kubeconfig file
	Context    string // context in that file; empty: its current context

	Server string // URL of the API server, instead of Kubeconfig
	CA     string // PEM certificates that sign the server's; empty: the system's roots
	Token  string // bearer token of a service account

	// TokenFile is a file with the token, instead of Token: it is read again once a minute, and when the token is refused.
	TokenFile string

	// Read is told each token that is read from a file, so that it is never shown; it may be nil.
	Read func(token string)
}

// Cluster is a client of one Kubernetes cluster. It is safe for concurrent use.
type Cluster struct {
	server  *url.URL
	http    *http.Client // authenticated, follows no redirect
	client  dynamic.Interface
	watch   dynamic.Interface // without a request timeout
	endless *rest.Config      // of the same
	mapper  *restmapper.DeferredDiscoveryRESTMapper

	discovery *discovery.DiscoveryClient // uncached
	trials    trials

	link *link // what all but Exec goes through
}

// Open makes a client from cfg. It reads the kubeconfig but does not reach the
// network: whether the cluster answers shows at the first call.
func Open(cfg Config) (*Cluster, error) {
	rc, err := restConfig(cfg)
	if err != nil {
		return nil, err
	}
	rc.UserAgent = "shipmate"
	rc.QPS = -1 // what is asked at a time is bounded (atOnce), and the API server shares out what it has: a 429 is waited for
	rc.WarningHandlerWithContext = rest.NoWarnings{}
	rc.Timeout = requestTimeout
	where, again := placeOf(cfg, rc.Host), renewable(rc, cfg)
	switch {
	case rc.ExecProvider != nil:
		where.renewal = renewedByPlugin
	case again:
		where.renewal = renewedByFile
	}
	endless := rest.CopyConfig(rc)
	endless.Timeout = 0

	hc, err := rest.HTTPClientFor(rc)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", rc.Host, err)
	}
	server, _, err := rest.DefaultServerUrlFor(rc)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", rc.Host, err)
	}
	way := hc.Transport
	if again {
		way = renewing{way}
	}
	link := newLink(way, where, server)
	hc.Transport = link
	watching := &http.Client{Transport: link}
	client, err := dynamic.NewForConfigAndClient(rc, hc)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", rc.Host, err)
	}
	watch, err := dynamic.NewForConfigAndClient(endless, watching)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", rc.Host, err)
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(rc, hc)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", rc.Host, err)
	}
	// The service proxy relays what a pod answers, and the transport would add our
	// credentials to wherever a redirect of it leads.
	plain := *hc
	plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Cluster{
		server:  server,
		http:    &plain,
		client:  client,
		watch:   watch,
		endless: endless,
		mapper:  restmapper.NewDeferredDiscoveryRESTMapperWithContext(memory.NewMemCacheClientWithContext(disco)),

		discovery: disco,
		link:      link,
	}, nil
}

func restConfig(cfg Config) (*rest.Config, error) {
	switch {
	case cfg.Kubeconfig != "" && cfg.Server != "":
		return nil, errors.New("cluster has both kubeconfig and server; keep one of them")
	case cfg.Kubeconfig != "":
		return readKubeconfig(cfg)
	case cfg.Server != "":
		u, err := url.Parse(cfg.Server)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("cluster server %q is not a URL such as https://host:6443", cfg.Server)
		}
		if u.Scheme == "http" && (cfg.Token != "" || cfg.TokenFile != "") {
			return nil, fmt.Errorf("cluster server %s would get its token unencrypted; use https", cfg.Server)
		}
		return &rest.Config{
			Host:            cfg.Server,
			BearerToken:     strings.TrimSpace(cfg.Token),
			BearerTokenFile: cfg.TokenFile,
			TLSClientConfig: rest.TLSClientConfig{CAData: []byte(cfg.CA)},
		}, nil
	default:
		return nil, errors.New("cluster has neither kubeconfig nor server; write one of them")
	}
}

// ObjectRef names one object of a cluster.
type ObjectRef struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// RefOf returns the reference of obj.
func RefOf(obj *unstructured.Unstructured) ObjectRef {
	gvk := obj.GroupVersionKind()
	return ObjectRef{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// String is the short form for people, as in Deployment/web.
func (r ObjectRef) String() string { return r.Kind + "/" + r.Name }

func (r ObjectRef) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

// same reports whether both name one object, whatever version it is read in.
func (r ObjectRef) same(o ObjectRef) bool {
	r.Version, o.Version = "", ""
	return r == o
}

// Inventory lists the objects of a release in one environment, in the order in
// which they were rendered.
type Inventory []ObjectRef

// InventoryOf returns the references of objs.
func InventoryOf(objs []*unstructured.Unstructured) Inventory {
	inv := make(Inventory, len(objs))
	for i, obj := range objs {
		inv[i] = RefOf(obj)
	}
	return inv
}

// resource returns the client for the object that ref names. A kind that the
// cached discovery does not know is looked up once more. The scope is checked here,
// since Own, which has no cluster to ask, can't know that of a custom kind: an
// object with a namespace never becomes a cluster-scoped one.
func (c *Cluster) resource(ctx context.Context, client dynamic.Interface, ref ObjectRef) (dynamic.ResourceInterface, error) {
	ctx = quiet(ctx)
	m, err := c.mapper.RESTMappingWithContext(ctx, ref.gvk().GroupKind(), ref.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.ResetWithContext(ctx)
		m, err = c.mapper.RESTMappingWithContext(ctx, ref.gvk().GroupKind(), ref.Version)
	}
	if err != nil {
		return nil, explain("look up", ref, err)
	}
	namespaced := m.Scope.Name() == meta.RESTScopeNameNamespace
	switch {
	case namespaced && ref.Namespace == "":
		return nil, fmt.Errorf("%s has no namespace, and its kind needs one", ref)
	case !namespaced && ref.Namespace != "":
		return nil, &ClusterScoped{ref.String(), ref.Kind}
	case namespaced:
		return client.Resource(m.Resource).Namespace(ref.Namespace), nil
	default:
		return client.Resource(m.Resource), nil
	}
}

// quiet returns ctx for discovery, which logs each error that it returns.
func quiet(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }
