package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// A Need is what Shipmate does with a resource in the namespaces that it deploys to.
type Need struct {
	Group, Resource string // the latter with its subresource, as in pods/log
	Verbs           []string
	// Core says that nothing can be deployed without it. The others are needed by manifests that have such objects.
	Core bool
}

// String is how RBAC is spoken of, as in deployments.apps.
func (n Need) String() string {
	if n.Group == "" {
		return n.Resource
	}
	return n.Resource + "." + n.Group
}

var (
	applied = []string{"get", "create", "patch"}      // Apply and Diff: a server-side apply of what is not there needs create too
	pruned  = append(slices.Clone(applied), "delete") // Prune
	listed  = append(slices.Clone(pruned), "list")    // several are read at once
	waited  = append(slices.Clone(listed), "watch")   // Wait, Verify and Status
	read    = []string{"list", "watch"}
)

// Needs lists every verb that this package uses of the kinds that manifests mostly have. Other kinds, such as custom ones,
// need what a Deployment needs; without list they are read one by one.
func Needs() []Need {
	return []Need{
		{"apps", "deployments", waited, true},
		{"apps", "replicasets", read, true},
		{"", "pods", read, true},
		{"", "pods/log", []string{"get"}, true},
		{"", "events", read, false},
		{"", "services", waited, true},
		{"", "services/proxy", []string{"get"}, false}, // Proxy
		{"", "configmaps", listed, true},
		{"", "secrets", pruned, false}, // whoever lists them reads them all
		{"", "serviceaccounts", listed, false},
		{"", "persistentvolumeclaims", append(slices.Clone(applied), "list", "watch"), false}, // never pruned
		{"apps", "statefulsets", waited, false},
		{"apps", "daemonsets", waited, false},
		{"batch", "jobs", waited, false},
		{"batch", "cronjobs", listed, false},
		{"networking.k8s.io", "ingresses", waited, false},
		{"networking.k8s.io", "networkpolicies", listed, false},
		{"autoscaling", "horizontalpodautoscalers", listed, false},
		{"policy", "poddisruptionbudgets", listed, false},
	}
}

// reviews is how many questions Lacks has open at a time.
const reviews = 16

// Lacks asks the cluster for each verb of Needs whether our account may do that in the namespace (Kubernetes API reference,
// SelfSubjectAccessReview), and returns what it may not, with the verbs that are missing. A namespace that is known not to exist
// is an error; where the account may not look for it, it counts as there.
func (c *Cluster) Lacks(ctx context.Context, namespace string) ([]Need, error) {
	ns := ObjectRef{Version: "v1", Kind: "Namespace", Name: namespace}
	status, _, err := c.fetch(ctx, ns, "/api/v1/namespaces/"+namespace, "", maxProxyBody)
	if err != nil {
		return nil, err
	}
	if status == http.StatusNotFound {
		return nil, &Error{Object: ns.String(), Message: "does not exist", Hint: "create it, or remove it from allow"}
	}
	return c.lacks(ctx, namespace, Needs())
}

// LacksOfKinds is Lacks for kinds of the whole cluster, as in ClusterRole, whatever their groups. unknown are those of them that
// the cluster does not have; a definition may bring them.
func (c *Cluster) LacksOfKinds(ctx context.Context, kinds []string) (lacks []Need, unknown []string, err error) {
	lists, err := c.discovery.ServerPreferredResourcesWithContext(quiet(ctx))
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) { // a group whose server is away says nothing of the others
		return nil, nil, explain("list the kinds by", ObjectRef{Kind: "APIResourceList"}, err)
	}
	var needs []Need
	for _, kind := range kinds {
		known := len(needs)
		for _, list := range lists {
			gv, err := schema.ParseGroupVersion(list.GroupVersion)
			if err != nil {
				return nil, nil, fmt.Errorf("list the kinds: %w", err)
			}
			for _, r := range list.APIResources {
				if r.Kind != kind || r.Namespaced || strings.Contains(r.Name, "/") {
					continue
				}
				n := Need{Group: gv.Group, Resource: r.Name, Verbs: applied, Core: true}
				if !slices.Contains(keptKinds, kind) {
					n.Verbs = pruned
				} else if kind == "CustomResourceDefinition" {
					n.Verbs = append(slices.Clone(applied), read...) // it is waited for
				}
				needs = append(needs, n)
			}
		}
		if len(needs) == known {
			unknown = append(unknown, kind)
		}
	}
	lacks, err = c.lacks(ctx, "", needs)
	return lacks, unknown, err
}

// lacks asks for each verb of needs in a namespace, or in the whole cluster where that is empty.
func (c *Cluster) lacks(ctx context.Context, namespace string, needs []Need) ([]Need, error) {
	may := make([][]bool, len(needs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(reviews)
	for i, n := range needs {
		may[i] = make([]bool, len(n.Verbs))
		for j, verb := range n.Verbs {
			g.Go(func() (err error) { may[i][j], err = c.may(ctx, namespace, verb, n); return err })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var lacks []Need
	for i, n := range needs {
		missing := n
		missing.Verbs = nil
		for j, verb := range n.Verbs {
			if !may[i][j] {
				missing.Verbs = append(missing.Verbs, verb)
			}
		}
		if len(missing.Verbs) > 0 {
			lacks = append(lacks, missing)
		}
	}
	return lacks, nil
}

func (c *Cluster) may(ctx context.Context, namespace, verb string, n Need) (bool, error) {
	ref := ObjectRef{Group: "authorization.k8s.io", Version: "v1", Kind: "SelfSubjectAccessReview"}
	resource, sub, _ := strings.Cut(n.Resource, "/")
	review := authorizationv1.SelfSubjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: ref.Kind},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: n.Group, Resource: resource, Subresource: sub}}}
	text, err := json.Marshal(review)
	if err != nil {
		return false, err
	}
	u := *c.server
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ""
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(text))
	if err != nil {
		return false, fmt.Errorf("ask for our rights: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	status, body, err := c.do(req, ref, maxProxyBody)
	if err != nil {
		return false, err
	}
	if status != http.StatusCreated && status != http.StatusOK {
		if err := answerOfAPI(status, body); err != nil {
			return false, explain("ask for our rights by", ref, err)
		}
		return false, fmt.Errorf("ask for our rights: status %d", status)
	}
	if err := json.Unmarshal(body, &review); err != nil {
		return false, fmt.Errorf("ask for our rights: %w", err)
	}
	return review.Status.Allowed, nil
}
