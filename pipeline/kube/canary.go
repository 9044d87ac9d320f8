package kube

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
)

// CanarySuffix ends the names of what stands beside the live release as long as a canary runs.
const CanarySuffix = "-canary"

// AnnotationCanary is on what a canary changed of the live release's objects, which is to be given back: what of the traffic goes to it.
const AnnotationCanary = "shipmate.dev/canary"

// Annotations of ingress-nginx (its documentation, "Annotations", Canary).
const (
	nginxPrefix = "nginx.ingress.kubernetes.io/"
	nginxCanary = nginxPrefix + "canary"
	nginxWeight = nginxPrefix + "canary-weight"
	nginxHeader = nginxPrefix + "canary-by-header"
	nginxValue  = nginxPrefix + "canary-by-header-value"
)

// A Share is what of the traffic goes to a canary: Weight percent of it, and the requests whose Header has the Value.
type Share struct {
	Weight        int // 0 to 99
	Header, Value string
}

// String tells it in short, as in "10%, X-Canary: always".
func (s Share) String() string {
	var parts []string
	if s.Weight > 0 {
		parts = append(parts, fmt.Sprintf("%d%%", s.Weight))
	}
	if s.Header != "" {
		parts = append(parts, s.Header+": "+s.Value)
	}
	return strings.Join(parts, ", ")
}

// A Router is the object that parts the traffic: an Ingress of ingress-nginx, or a VirtualService of Istio. The zero Router: the
// numbers of pods do.
type Router struct{ Kind, Name string }

// Kinds of a Router.
const (
	NginxRouter = "Ingress"
	IstioRouter = "VirtualService"
)

var routerGroups = map[string]string{NginxRouter: "networking.k8s.io", IstioRouter: "networking.istio.io"}

// String is the short form for people, as in Ingress/web; empty for none.
func (r Router) String() string {
	if r.Kind == "" {
		return ""
	}
	return r.Kind + "/" + r.Name
}

func (r Router) in(objs []*unstructured.Unstructured, namespace string) *unstructured.Unstructured {
	i := slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool {
		return RefOf(o).same(ObjectRef{Group: routerGroups[r.Kind], Kind: r.Kind, Namespace: namespace, Name: r.Name})
	})
	if i < 0 {
		return nil
	}
	return objs[i]
}

// A Canary is a part of a release that runs beside the live one, and how traffic gets to it. It changes no object that it was
// made of.
type Canary struct {
	Workload *unstructured.Unstructured // the release's Deployment, under its own name
	Router   Router

	release string                       // that of the canary, as its annotation has it
	needed  []*unstructured.Unstructured // what its pods may need and the live release has not
	beside  []*unstructured.Unstructured // ConfigMaps, Secrets, and the Deployment last
	service *unstructured.Unstructured   // that leads to it; nil without a router
	before  routing                      // of the live release
	after   routing                      // of the new one
}

// routing are the objects that bring the traffic to the pods; none without a router.
type routing struct{ service, router *unstructured.Unstructured }

// NewCanary plans the canary of workload, a Deployment among objs, where released are the objects of the live release; objs for
// both tells whether they could ever have one. It reaches no network. An error names the object that does not fit, and the remedy.
func NewCanary(objs, released []*unstructured.Unstructured, workload *unstructured.Unstructured, router Router) (*Canary, error) {
	c := &Canary{Workload: workload, Router: router, release: workload.GetAnnotations()[AnnotationRelease], needed: Needed(objs, released)}
	var err error
	if c.beside, err = Beside(objs, workload, CanarySuffix, LabelTrack, TrackCanary); err != nil {
		return nil, err
	}
	if router.Kind == "" {
		for _, s := range ServicesOf(objs, workload) {
			if selector, _, _ := unstructured.NestedStringMap(s.Object, "spec", "selector"); selector[LabelTrack] != "" {
				return nil, fmt.Errorf("%s selects %s, so a canary would get nothing of its traffic; take that out of its selector", RefOf(s), LabelTrack)
			}
		}
	} else {
		if c.after, err = routingOf(objs, workload, router); err != nil {
			return nil, err
		}
		if c.before, err = routingOf(released, workload, router); err != nil {
			return nil, fmt.Errorf("the live release: %w", err)
		}
		if was, is := RefOf(c.before.service), RefOf(c.after.service); was != is {
			return nil, fmt.Errorf("%s leads to %s in the live release, and to %s in this one", router, was, is)
		}
		if c.service, err = canaryService(c.after.service); err != nil {
			return nil, err
		}
		if _, err := c.Route(Share{Weight: 1}); err != nil {
			return nil, err
		}
	}
	for _, ref := range c.Inventory()[len(c.needed):] {
		if slices.ContainsFunc(objs, func(o *unstructured.Unstructured) bool { return RefOf(o).same(ref) }) {
			return nil, fmt.Errorf("%s has the name that the canary of %s gets; rename it in the manifests", ref, RefOf(workload))
		}
	}
	return c, nil
}

// routingOf finds the router and the one Service that leads from it to the pods of workload.
func routingOf(objs []*unstructured.Unstructured, workload *unstructured.Unstructured, router Router) (r routing, err error) {
	if r.router = router.in(objs, workload.GetNamespace()); r.router == nil {
		return r, fmt.Errorf("there is no %s; write in traffic the name of one that the manifests have", router)
	}
	var names []string
	if router.Kind == NginxRouter {
		if r.router.GetAnnotations()[nginxCanary] == "true" {
			return r, fmt.Errorf("%s is a canary itself (%s); write the name of the Ingress that it belongs to", router, nginxCanary)
		}
		eachPath(r.router, func(_, _ string, _ map[string]any, service string) { names = append(names, service) })
	} else {
		eachDestination(r.router, func(_ int, _ map[string]any, service string) { names = append(names, service) })
	}
	var found []*unstructured.Unstructured
	var services []string
	for _, s := range ServicesOf(objs, workload) {
		if slices.Contains(names, s.GetName()) {
			found, services = append(found, s), append(services, s.GetName())
		}
	}
	switch {
	case len(found) > 1:
		return r, fmt.Errorf("%s leads to the pods of %s by several Services (%s); leave one of them in it", router, RefOf(workload), strings.Join(services, ", "))
	case len(found) == 0:
		what := "path"
		if router.Kind == IstioRouter {
			what = "http route"
		}
		return r, fmt.Errorf("%s has no %s to a Service that selects the pods of %s; name such a Service in it, or another router in traffic", router, what, RefOf(workload))
	}
	r.service = found[0]
	return r, nil
}

// Objects are the canary itself, of so many pods: what it needs, its Deployment, and with a router its Service.
func (c *Canary) Objects(pods int) ([]*unstructured.Unstructured, error) {
	all := slices.Concat(c.needed, c.beside)
	deployment := c.Deployment().DeepCopy()
	spec, err := child(deployment.Object, "spec")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", RefOf(deployment), err)
	}
	spec["replicas"] = int64(pods)
	delete(spec, "paused") // it would never get its pods
	all[len(all)-1] = deployment
	if c.service != nil {
		all = append(all, c.service)
	}
	return all, nil
}

// Deployment is that of the canary, with as many pods as the manifest says.
func (c *Canary) Deployment() *unstructured.Unstructured { return c.beside[len(c.beside)-1] }

// Inventory lists whatever may stand beside the live release because of the canary, the canary Ingress last: pruned from behind,
// it goes first.
func (c *Canary) Inventory() Inventory {
	inv := InventoryOf(slices.Concat(c.needed, c.beside))
	if c.service != nil {
		inv = append(inv, RefOf(c.service))
	}
	return append(inv, c.Ingress()...)
}

// Ingress lists the canary Ingress, none with another router.
func (c *Canary) Ingress() Inventory {
	if c.Router.Kind != NginxRouter {
		return nil
	}
	ref := RefOf(c.before.router)
	ref.Name += CanarySuffix
	return Inventory{ref}
}

// Pods is of how many pods a canary is that gets weight percent of the traffic beside so many others. With a router it is
// weight percent of those, and at least one; without, the numbers of pods alone give it its share, rounded up.
func (c *Canary) Pods(weight, others int) int {
	of := 100
	if c.Router.Kind == "" {
		of -= weight
	}
	return max(1, (weight*others+of-1)/of)
}

// Narrow returns the Service that leads to the live release, so that it leads to no canary any more; nil without a router, where
// it is to lead to both.
func (c *Canary) Narrow(share Share) (*unstructured.Unstructured, error) {
	if c.service == nil {
		return nil, nil
	}
	return c.narrowed(c.before.service, share)
}

func (c *Canary) narrowed(service *unstructured.Unstructured, share Share) (*unstructured.Unstructured, error) {
	s, err := Selecting(service, LabelTrack, TrackStable)
	if err == nil {
		c.mark(s, share)
	}
	return s, err
}

// mark says on a copy of an object of either release that it is changed for the canary.
func (c *Canary) mark(obj *unstructured.Unstructured, share Share) {
	annotations := obj.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationRelease], annotations[AnnotationCanary] = c.release, share.String()
	obj.SetAnnotations(annotations)
}

// Route returns the object that gives the canary its share: the canary Ingress, or the live release's VirtualService with it; nil
// without a router.
func (c *Canary) Route(share Share) (obj *unstructured.Unstructured, err error) {
	switch c.Router.Kind {
	case NginxRouter:
		obj = canaryIngress(c.before.router, c.before.service.GetName(), share)
	case IstioRouter:
		obj, err = splitVirtualService(c.before.router, c.before.service.GetName(), share)
	}
	if obj != nil && err == nil {
		c.mark(obj, share)
	}
	return obj, err
}

// Keep returns objs, those of the new release, so that applying them leaves the traffic parted as by share.
func (c *Canary) Keep(objs []*unstructured.Unstructured, share Share) (kept []*unstructured.Unstructured, err error) {
	kept = slices.Clone(objs)
	for i, obj := range kept {
		switch {
		case obj == c.after.service:
			kept[i], err = c.narrowed(obj, share)
		case obj == c.after.router && c.Router.Kind == IstioRouter:
			if kept[i], err = splitVirtualService(obj, c.after.service.GetName(), share); err == nil {
				c.mark(kept[i], share)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// Before and After are the objects of the live and the new release that bring the traffic to the pods, and that a canary changes as
// long as it runs: the router first where it is one of them, then the Service.
func (c *Canary) Before() []*unstructured.Unstructured { return c.before.changed() }
func (c *Canary) After() []*unstructured.Unstructured  { return c.after.changed() }

func (r routing) changed() (objs []*unstructured.Unstructured) {
	if r.router != nil && r.router.GetKind() == IstioRouter {
		objs = append(objs, r.router)
	}
	if r.service != nil {
		objs = append(objs, r.service)
	}
	return objs
}

// Rival returns an error that names another canary Ingress among those of the cluster, for a host and path of this one: ingress-nginx
// has at most one for each.
func (c *Canary) Rival(ingresses []*unstructured.Unstructured) error {
	type place struct{ host, path string }
	ours := map[place]bool{}
	eachPath(c.before.router, func(host, path string, _ map[string]any, service string) {
		if service == c.before.service.GetName() {
			ours[place{host, path}] = true
		}
	})
	for _, other := range ingresses {
		if RefOf(other).same(c.Ingress()[0]) || other.GetAnnotations()[nginxCanary] != "true" {
			continue
		}
		var at *place
		eachPath(other, func(host, path string, _ map[string]any, _ string) {
			if p := (place{host, path}); ours[p] {
				at = &p
			}
		})
		if at != nil {
			return fmt.Errorf("%s is a canary of %s%s already, and ingress-nginx takes one for each host and path; delete it: kubectl -n %s delete ingress %s",
				RefOf(other), at.host, at.path, other.GetNamespace(), other.GetName())
		}
	}
	return nil
}

// serviceFields are those of a Service that its copy for a canary has, too. What is left out stands for an address of its own.
var serviceFields = []string{"ports", "selector", "sessionAffinity", "sessionAffinityConfig", "publishNotReadyAddresses", "internalTrafficPolicy",
	"trafficDistribution", "ipFamilies", "ipFamilyPolicy"}

// canaryService is a Service within the cluster that leads to the canary's pods alone.
func canaryService(service *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	s, err := Selecting(service, LabelTrack, TrackCanary)
	if err != nil {
		return nil, err
	}
	s.SetName(service.GetName() + CanarySuffix)
	if problems := validation.IsDNS1035Label(s.GetName()); len(problems) > 0 {
		return nil, fmt.Errorf("%s: with %s behind its name it can't be one: %s; shorten it", RefOf(service), CanarySuffix, problems[0])
	}
	s.SetAnnotations(map[string]string{AnnotationRelease: service.GetAnnotations()[AnnotationRelease]}) // others may ask for names and addresses
	from, _ := s.Object["spec"].(map[string]any)
	spec := map[string]any{"type": "ClusterIP"}
	for _, field := range serviceFields {
		if value, has := from[field]; has {
			spec[field] = value
		}
	}
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if port, ok := p.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
	s.Object["spec"] = spec
	return s, nil
}

// eachPath calls fn with each path of an Ingress, the object that it is, and the name of the Service that it leads to.
func eachPath(ingress *unstructured.Unstructured, fn func(host, path string, content map[string]any, service string)) {
	rules, _, _ := unstructured.NestedFieldNoCopy(ingress.Object, "spec", "rules")
	for _, r := range asList(rules) {
		rule, _ := r.(map[string]any)
		host, _ := rule["host"].(string)
		paths, _, _ := unstructured.NestedFieldNoCopy(rule, "http", "paths")
		for _, p := range asList(paths) {
			content, _ := p.(map[string]any)
			path, _ := content["path"].(string)
			service, _, _ := unstructured.NestedString(content, "backend", "service", "name")
			fn(host, path, content, service)
		}
	}
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// canaryIngress is a copy of an Ingress that leads to the canary where that leads to service, and nowhere else. Annotations of
// others stay out of it: they may ask for certificates and names, which the Ingress itself has.
func canaryIngress(ingress *unstructured.Unstructured, service string, share Share) *unstructured.Unstructured {
	c := ingress.DeepCopy()
	c.SetName(ingress.GetName() + CanarySuffix)
	annotations := map[string]string{}
	for key, value := range ingress.GetAnnotations() {
		if strings.HasPrefix(key, nginxPrefix) || key == "kubernetes.io/ingress.class" {
			annotations[key] = value
		}
	}
	annotations[nginxCanary] = "true"
	if share.Weight > 0 {
		annotations[nginxWeight] = strconv.Itoa(share.Weight)
	}
	if share.Header != "" {
		annotations[nginxHeader], annotations[nginxValue] = share.Header, share.Value
	}
	c.SetAnnotations(annotations)
	spec, _ := c.Object["spec"].(map[string]any)
	delete(spec, "defaultBackend")
	spec["rules"] = slices.DeleteFunc(asList(spec["rules"]), func(r any) bool {
		rule, _ := r.(map[string]any)
		http, _ := rule["http"].(map[string]any)
		if http == nil {
			return true
		}
		paths := slices.DeleteFunc(asList(http["paths"]), func(p any) bool {
			content, _ := p.(map[string]any)
			name, _, _ := unstructured.NestedString(content, "backend", "service", "name")
			if name == service {
				content["backend"].(map[string]any)["service"].(map[string]any)["name"] = service + CanarySuffix
			}
			return name != service
		})
		http["paths"] = paths
		return len(paths) == 0
	})
	return c
}

// eachDestination calls fn with each destination of a VirtualService's http routes: the position of the route, the destination, and
// the name of the Service, empty for one of another namespace or none.
func eachDestination(vs *unstructured.Unstructured, fn func(route int, destination map[string]any, service string)) {
	routes, _, _ := unstructured.NestedFieldNoCopy(vs.Object, "spec", "http")
	for i, r := range asList(routes) {
		route, _ := r.(map[string]any)
		for _, d := range asList(route["route"]) {
			to, _ := d.(map[string]any)
			destination, _ := to["destination"].(map[string]any)
			host, _ := destination["host"].(string)
			service, _ := serviceOfHost(host, vs.GetNamespace())
			fn(i, destination, service)
		}
	}
}

// serviceOfHost splits what a VirtualService calls a Service of namespace: web, web.shop, or web.shop.svc.cluster.local.
func serviceOfHost(host, namespace string) (service, domain string) {
	service, domain, qualified := strings.Cut(host, ".")
	if !qualified {
		return service, ""
	}
	if domain == namespace || domain == namespace+".svc" || strings.HasPrefix(domain, namespace+".svc.") {
		return service, "." + domain
	}
	return "", ""
}

// splitVirtualService gives a canary its share of each http route that leads to service alone.
func splitVirtualService(vs *unstructured.Unstructured, service string, share Share) (*unstructured.Unstructured, error) {
	vs = vs.DeepCopy()
	leads := map[int]bool{}
	eachDestination(vs, func(route int, _ map[string]any, to string) { leads[route] = leads[route] || to == service })
	spec, _ := vs.Object["spec"].(map[string]any)
	var split []any
	for i, r := range asList(spec["http"]) {
		route, _ := r.(map[string]any)
		if !leads[i] {
			split = append(split, r)
			continue
		}
		to := asList(route["route"])
		only, _ := to[0].(map[string]any)
		if weight, has := only["weight"]; len(to) != 1 || has && fmt.Sprint(weight) != "100" && fmt.Sprint(weight) != "0" {
			return nil, fmt.Errorf("%s: spec.http[%d] parts its traffic already; leave Service/%s alone in it, without a weight", RefOf(vs), i, service)
		}
		destination, _ := only["destination"].(map[string]any)
		host, _ := destination["host"].(string)
		_, domain := serviceOfHost(host, vs.GetNamespace())
		canary := runtime.DeepCopyJSON(only)
		canary["destination"].(map[string]any)["host"] = service + CanarySuffix + domain
		delete(canary["destination"].(map[string]any), "subset") // subsets are of a host: the canary's has none
		if share.Header != "" {
			matched, err := byHeader(route, canary, share)
			if err != nil {
				return nil, fmt.Errorf("%s: spec.http[%d]: %w", RefOf(vs), i, err)
			}
			split = append(split, matched)
		}
		if share.Weight > 0 {
			only["weight"], canary["weight"] = int64(100-share.Weight), int64(share.Weight)
			route["route"] = []any{only, canary}
		}
		split = append(split, route)
	}
	spec["http"] = split
	return vs, nil
}

// byHeader is a copy of a route that takes of its requests those with a header to the canary. It goes before that route.
func byHeader(route, canary map[string]any, share Share) (map[string]any, error) {
	header := strings.ToLower(share.Header) // Istio's documentation, HTTPMatchRequest: the keys must be lowercase
	route = runtime.DeepCopyJSON(route)
	canary = runtime.DeepCopyJSON(canary)
	delete(canary, "weight")
	route["route"] = []any{canary}
	if name, _ := route["name"].(string); name != "" {
		route["name"] = name + CanarySuffix
	}
	matches := asList(route["match"])
	if len(matches) == 0 {
		matches = []any{map[string]any{}}
	}
	for _, m := range matches {
		match, _ := m.(map[string]any)
		headers, err := child(match, "headers")
		if err != nil {
			return nil, fmt.Errorf("match: %w", err)
		}
		if _, has := headers[header]; has {
			return nil, fmt.Errorf("its match asks for the header %s already; write another header in the strategy's step", header)
		}
		headers[header] = map[string]any{"exact": share.Value}
	}
	route["match"] = matches
	return route, nil
}
