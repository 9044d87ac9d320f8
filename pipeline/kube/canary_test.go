package kube

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const canaryManifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {team: shop}}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: registry.example.com/team/web
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: elsewhere}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: unused}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {external-dns.alpha.kubernetes.io/hostname: shop.example.com}}
spec:
  type: LoadBalancer
  clusterIP: 10.0.0.7
  externalTrafficPolicy: Local
  sessionAffinity: ClientIP
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations: {cert-manager.io/cluster-issuer: main, nginx.ingress.kubernetes.io/proxy-body-size: 8m}
spec:
  ingressClassName: nginx
  defaultBackend: {service: {name: api, port: {number: 80}}}
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
  - host: api.example.com
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [shop.example.com]
  http:
  - match: [{uri: {prefix: /api}}]
    route: [{destination: {host: api}}]
  - name: beta
    match: [{uri: {prefix: /beta}}, {headers: {cookie: {regex: .*beta.*}}}]
    timeout: 5s
    route: [{destination: {host: web.team-a.svc.cluster.local, subset: v1, port: {number: 80}}, weight: 100}]
  - route: [{destination: {host: web}}]
`

var (
	canaryImage = Image{Repository: "registry.example.com/team/web", Digest: "sha256:" + strings.Repeat("1", 64)}
	byIngress   = Router{NginxRouter, "web"}
	byIstio     = Router{IstioRouter, "web"}
)

// asReleased are manifests as a release has them, bound and owned.
func asReleased(t *testing.T, release, manifests string) []*unstructured.Unstructured {
	t.Helper()
	objs := parse(t, manifests)
	if _, err := Bind(objs, []Image{canaryImage}); err != nil {
		t.Fatal(err)
	}
	o := owner
	o.Release = release
	if err := Own(objs, o); err != nil {
		t.Fatal(err)
	}
	return objs
}

func newCanary(t *testing.T, manifests string, router Router) (*Canary, []*unstructured.Unstructured, error) {
	t.Helper()
	objs := asReleased(t, "7", manifests)
	workload, err := Workload(objs, []Image{canaryImage}, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCanary(objs, asReleased(t, "6", strings.Replace(canaryManifests, "serviceAccountName: web", "", 1)), workload, router)
	return c, objs, err
}

// golden compares objects with a file of testdata, which -update writes.
func golden(t *testing.T, name string, objs ...*unstructured.Unstructured) {
	t.Helper()
	var parts []string
	for _, obj := range objs {
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(text))
	}
	got, file := strings.Join(parts, "---\n"), filepath.Join("testdata", "canary", name+".yaml")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestCanaryObjects has each object that a canary makes or changes, in each of its shapes; what it is made of stays.
func TestCanaryObjects(t *testing.T) {
	manifests := canaryManifests + "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n"
	for name, router := range map[string]Router{"pods": {}, "nginx": byIngress, "istio": byIstio} {
		t.Run(name, func(t *testing.T) {
			c, objs, err := newCanary(t, manifests, router)
			if err != nil {
				t.Fatal(err)
			}
			before, err := Encode(objs)
			if err != nil {
				t.Fatal(err)
			}
			all, err := c.Objects(3)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, all...)
			for share, s := range map[string]Share{"weight": {Weight: 10}, "header": {Header: "X-Canary", Value: "always"}, "both": {Weight: 25, Header: "X-Canary", Value: "beta"}} {
				var changed []*unstructured.Unstructured
				service, err := c.Narrow(s)
				if err != nil {
					t.Fatal(err)
				}
				route, err := c.Route(s)
				if err != nil {
					t.Fatal(err)
				}
				if router.Kind == "" {
					if service != nil || route != nil {
						t.Errorf("without a router %v and %v are changed", service, route)
					}
					continue
				}
				changed = append(changed, service, route)
				golden(t, name+"-"+share, changed...)
				kept, err := c.Keep(objs, s)
				if err != nil {
					t.Fatal(err)
				}
				var differs []*unstructured.Unstructured
				for i := range kept {
					if kept[i] != objs[i] {
						differs = append(differs, kept[i])
					}
				}
				golden(t, name+"-"+share+"-kept", differs...)
			}
			if after, err := Encode(objs); err != nil || string(after) != string(before) {
				t.Errorf("the release's objects changed: %v", err)
			}
			var names []string
			for _, ref := range c.Inventory() {
				names = append(names, ref.String())
			}
			want := "ServiceAccount/web ConfigMap/settings-canary Deployment/web-canary"
			if router.Kind != "" {
				want += " Service/web-canary"
			}
			if router == byIngress {
				want += " Ingress/web-canary"
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("inventory %s, want %s", got, want)
			}
		})
	}
}

func TestCanaryPods(t *testing.T) {
	for _, test := range []struct{ weight, others, alone, routed int }{
		{10, 10, 2, 1}, {25, 5, 2, 2}, {50, 5, 5, 3}, {1, 1, 1, 1}, {99, 1, 99, 1}, {50, 1, 1, 1}, {20, 4, 1, 1}, {33, 100, 50, 33}, {0, 10, 1, 1},
	} {
		c := Canary{}
		if got := c.Pods(test.weight, test.others); got != test.alone {
			t.Errorf("%d%% of %d: %d pods, want %d", test.weight, test.others, got, test.alone)
		}
		c.Router = byIngress
		if got := c.Pods(test.weight, test.others); got != test.routed {
			t.Errorf("%d%% of %d with a router: %d pods, want %d", test.weight, test.others, got, test.routed)
		}
	}
}

// TestCanaryRefused names the object and the remedy of what can't have a canary.
func TestCanaryRefused(t *testing.T) {
	for _, test := range []struct {
		name     string
		router   Router
		old, new string
		want     string
	}{
		{"no such Ingress", Router{NginxRouter, "shop"}, "", "", "there is no Ingress/shop; write in traffic the name of one that the manifests have"},
		{"no such VirtualService", Router{IstioRouter, "shop"}, "", "", "there is no VirtualService/shop; write in traffic"},
		{"a VirtualService of another group", byIstio, "networking.istio.io/v1", "example.com/v1", "there is no VirtualService/web"},
		{"Ingress leads elsewhere", byIngress, "service: {name: web,", "service: {name: other,", "Ingress/web has no path to a Service that selects the pods of Deployment/web; name such a Service in it"},
		{"its Service leads elsewhere", byIngress, "selector: {app: web}\n", "selector: {app: shop}\n", "Ingress/web has no path to a Service"},
		{"several Services", byIngress, "name: api}\nspec: {selector: {app: api}", "name: api}\nspec: {selector: {app: web}", "Ingress/web leads to the pods of Deployment/web by several Services (web, api); leave one of them in it"},
		{"a canary already", byIngress, "proxy-body-size: 8m", `canary: "true"`, "Ingress/web is a canary itself (nginx.ingress.kubernetes.io/canary); write the name of the Ingress"},
		{"route elsewhere", byIstio, "host: web", "host: other", "VirtualService/web has no http route to a Service"},
		{"another namespace's", byIstio, "{host: web.team-a.svc.cluster.local, subset: v1, port: {number: 80}}, weight: 100}]\n  - route: [{destination: {host: web}", "{host: web.team-b}}]\n  - route: [{destination: {host: web.example.com}", "VirtualService/web has no http route"},
		{"parted already", byIstio, "[{destination: {host: web}}]", "[{destination: {host: web}, weight: 50}, {destination: {host: api}, weight: 50}]", "VirtualService/web: spec.http[2] parts its traffic already; leave Service/web alone in it, without a weight"},
		{"a weight", byIstio, "[{destination: {host: web}}]", "[{destination: {host: web}, weight: 60}]", "spec.http[2] parts its traffic already"},
		{"the name of its Deployment", Router{}, "kind: ConfigMap\nmetadata: {name: unused}", "kind: ConfigMap\nmetadata: {name: settings-canary}", "ConfigMap/settings-canary has the name that the canary of Deployment/web gets; rename it in the manifests"},
		{"the name of its Service", byIngress, "metadata: {name: api}", "metadata: {name: web-canary}", "Service/web-canary has the name that the canary of Deployment/web gets"},
		{"the track in a Service", Router{}, "selector: {app: web}\n", "selector: {app: web, shipmate.dev/track: stable}\n", "Service/web selects shipmate.dev/track, so a canary would get nothing of its traffic; take that out of its selector"},
		{"a long name", Router{}, "metadata: {name: web, labels", "metadata: {name: " + strings.Repeat("w", 57) + ", labels", "is too long for -canary behind it"},
		{"another Service than before", byIngress, "", "", "leads to Service/web in the live release, and to Service/shop in this one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			manifests := strings.Replace(canaryManifests, test.old, test.new, 1)
			if test.name == "route elsewhere" {
				manifests = strings.ReplaceAll(canaryManifests, test.old, test.new)
			}
			if strings.HasPrefix(test.name, "another Service") {
				manifests = strings.NewReplacer("metadata: {name: web, annotations", "metadata: {name: shop, annotations", "service: {name: web,", "service: {name: shop,").Replace(canaryManifests)
			}
			if test.old != "" && manifests == canaryManifests {
				t.Fatal("nothing is different")
			}
			objs := asReleased(t, "7", manifests)
			before := objs // as when they are rendered
			if strings.HasPrefix(test.name, "another Service") {
				before = asReleased(t, "6", canaryManifests)
			}
			workload, err := Workload(objs, []Image{canaryImage}, "")
			if err == nil {
				_, err = NewCanary(objs, before, workload, test.router)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	c, _, err := newCanary(t, canaryManifests, byIstio)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Route(Share{Header: "Cookie", Value: "x"})
	if want := "VirtualService/web: spec.http[1]: its match asks for the header cookie already; write another header in the strategy's step"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestCanaryRival finds another canary Ingress of the same host and path alone.
func TestCanaryRival(t *testing.T) {
	c, objs, err := newCanary(t, canaryManifests, byIngress)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := c.Route(Share{Weight: 10})
	if err != nil {
		t.Fatal(err)
	}
	other := func(name, host, path, canary string) *unstructured.Unstructured {
		return parse(t, `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: `+name+`, namespace: team-a, annotations: {nginx.ingress.kubernetes.io/canary: "`+canary+`"}},
			spec: {rules: [{host: `+host+`, http: {paths: [{path: `+path+`, pathType: Prefix, backend: {service: {name: x, port: {number: 80}}}}]}}]}}`)[0]
	}
	good := append(slices.Clone(objs), ours, other("a", "shop.example.com", "/api", "true"), other("b", "www.example.com", "/", "true"), other("c", "shop.example.com", "/", "false"))
	if err := c.Rival(good); err != nil {
		t.Error(err)
	}
	err = c.Rival(append(good, other("beta", "shop.example.com", "/", "true")))
	if want := "Ingress/beta is a canary of shop.example.com/ already, and ingress-nginx takes one for each host and path; delete it: kubectl -n team-a delete ingress beta"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestBesideIsRemovable: what a chart keeps for good is kept under its own name alone.
func TestBesideIsRemovable(t *testing.T) {
	const keep = "metadata: {name: settings, annotations: {helm.sh/resource-policy: keep}}"
	objs := parse(t, strings.Replace(canaryManifests, "metadata: {name: settings}", keep, 1))
	beside, err := Beside(objs, objs[0], CanarySuffix, LabelTrack, TrackCanary)
	if err != nil || len(beside) != 2 || beside[0].GetName() != "settings-canary" {
		t.Fatal(beside, err)
	}
	if beside[0].GetAnnotations()[helmPolicy] != "" || objs[1].GetAnnotations()[helmPolicy] != "keep" {
		t.Error(beside[0].GetAnnotations(), objs[1].GetAnnotations())
	}
}
