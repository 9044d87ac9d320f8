package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

func init() { routerSettles = 0 } // no router is there to wait for

const canaryManifests = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: registry.example.com/team/web, envFrom: [{configMapRef: {name: settings}}]}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: blue}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web}, spec: {hosts: [shop.example.com], http: [{route: [{destination: {host: web}}]}]}}
`

var canaryRouters = []string{"", ", traffic: {nginx: web}", ", traffic: {istio: web}"}

// strategic is an environment with a strategy, as its file says.
func strategic(t *testing.T, strategy string) Environment {
	t.Helper()
	c, err := Parse(".shipmate.yaml", []byte("build: {image: registry.example.com/team/web}\nenvironments:\n- {name: staging, cluster: test, namespace: staging, manifests: deploy/, strategy: {"+strategy+"}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return environment(func(e *Environment) { e.Strategy = c.Environments[0].Strategy })
}

const canarySteps = `canary: {steps: [{weight: 10, pause: 5m}, {weight: 50, verify: {http: "http://web/healthz"}}]`

// canaryBench has release 1 live, as rolling brought it, and the files of a release that needs something new.
func canaryBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.files = map[string]string{"deploy/web.yaml": canaryManifests}
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	b.files = map[string]string{"deploy/web.yaml": strings.Replace(canaryManifests, "colour: blue", "colour: green", 1) +
		"---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}\n"}
	b.watch = b.orderly
	return b
}

// orderly checks what must be so at each moment: no traffic is sent to a canary that is not there.
func (b *bench) orderly() {
	canary, service := b.objects["Deployment/web-canary"] != nil, b.objects["Service/web-canary"] != nil
	routed := b.objects["Ingress/web-canary"] != nil
	if vs := b.objects["VirtualService/web"]; vs != nil {
		text, err := json.Marshal(vs.Object["spec"])
		b.ok(err)
		routed = routed || strings.Contains(string(text), "web-canary")
	}
	if routed && (!canary || !service) {
		b.t.Errorf("traffic goes to a canary: Deployment %v, Service %v", canary, service)
	}
	if text := fmt.Sprint(b.objects["Service/web"].Object["spec"]); service && canary && !strings.Contains(text, "track:stable") && routed {
		b.t.Errorf("the Service leads to the canary, too: %s", text)
	}
}

// picture is all that is in the cluster, one object a line.
func picture(objects map[string]*unstructured.Unstructured) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		text, _ := kube.Encode([]*unstructured.Unstructured{objects[name]})
		lines = append(lines, string(text))
	}
	return strings.Join(lines, "")
}

// plain is a picture of the objects of a deployment, as rolling brings them.
func (b *bench) plain(number int) string {
	b.t.Helper()
	objs, _, err := b.Objects(b.deployment(number))
	b.ok(err)
	all := map[string]*unstructured.Unstructured{}
	for _, obj := range objs {
		all[kube.RefOf(obj).String()] = obj
	}
	return picture(all)
}

func (b *bench) stands(number int) {
	b.t.Helper()
	if got, want := picture(b.objects), b.plain(number); got != want {
		b.t.Errorf("in the cluster is\n%s\nand not what deployment %d has:\n%s", got, number, want)
	}
}

// TestCanary looks at the cluster after each step of a canary.
func TestCanary(t *testing.T) {
	t.Parallel()
	for _, router := range canaryRouters {
		t.Run(router, func(t *testing.T) {
			t.Parallel()
			b := canaryBench(t)
			b.run('b', strategic(t, canarySteps+router+"}"), nil)
			b.ok(b.work(t.Context()))
			weight := func(percent, pods int64) {
				t.Helper()
				b.runs(1)
				canary := b.objects["Deployment/web-canary"]
				if canary == nil || b.objects["ConfigMap/settings-canary"] == nil || b.objects["ServiceAccount/web"] == nil {
					t.Fatalf("the cluster has %s", picture(b.objects))
				}
				if n, _, _ := unstructured.NestedInt64(canary.Object, "spec", "replicas"); n != pods {
					t.Errorf("%d pods", n)
				}
				if colour, _, _ := unstructured.NestedString(b.objects["ConfigMap/settings"].Object, "data", "colour"); colour != "blue" {
					t.Errorf("the settings of what is live are %s", colour)
				}
				switch {
				case strings.Contains(router, "nginx"):
					if got := b.objects["Ingress/web-canary"].GetAnnotations()["nginx.ingress.kubernetes.io/canary-weight"]; got != fmt.Sprint(percent) {
						t.Errorf("weight %s", got)
					}
				case strings.Contains(router, "istio"):
					routes, _, _ := unstructured.NestedSlice(b.objects["VirtualService/web"].Object, "spec", "http")
					to := routes[0].(map[string]any)["route"].([]any)
					if len(to) != 2 || to[1].(map[string]any)["weight"] != percent || to[0].(map[string]any)["weight"] != 100-percent {
						t.Errorf("routes %v", to)
					}
				case b.objects["Service/web-canary"] != nil:
					t.Error("a Service that nobody needs")
				}
			}
			details := []string{"1 of 5 pods, 20%", "4 of 8 pods, 50%"}
			if router != "" {
				kind := map[bool]string{true: "Ingress", false: "VirtualService"}[strings.Contains(router, "nginx")]
				details = []string{"10% by " + kind + "/web, pods: 1 beside 4", "50% by " + kind + "/web, pods: 2 beside 4"}
			}
			if d := b.deployment(2); d.State != store.Paused {
				t.Fatalf("it is %s", d.State)
			}
			weight(10, 1)
			b.status = 500
			b.jump(5 * time.Minute)
			b.ok(b.work(t.Context()))
			weight(50, map[bool]int64{true: 4, false: 2}[router == ""])
			for i, kind := range []string{"canary/1/10%", "canary/2/50%"} {
				if s := b.result(2, kind); s.State != store.StepSucceeded || s.Detail != details[i] {
					t.Errorf("%s: %s, %s", kind, s.State, s.Detail)
				}
			}
			b.status = 200
			b.jump(verifyEvery)
			b.ok(b.work(t.Context()))
			if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded" {
				t.Error(got)
			}
			b.runs(2)
			b.stands(2)
		})
	}
}

// TestCanaryKeepsTheTraffic has the live pods replaced while the traffic stays as the last step left it.
func TestCanaryKeepsTheTraffic(t *testing.T) {
	t.Parallel()
	for _, router := range canaryRouters[1:] {
		t.Run(router, func(t *testing.T) {
			t.Parallel()
			b := canaryBench(t)
			b.on["wait release 2"] = func(context.Context) error {
				b.runs(2)
				if b.objects["Service/web"].GetAnnotations()[kube.AnnotationCanary] != "30%" || b.objects["Deployment/web-canary"] == nil ||
					strings.Contains(router, "nginx") != (b.objects["Ingress/web-canary"] != nil) ||
					strings.Contains(router, "istio") != (b.objects["VirtualService/web"].GetAnnotations()[kube.AnnotationCanary] == "30%") {
					t.Error(picture(b.objects))
				}
				return nil
			}
			b.run('b', strategic(t, "canary: {steps: [{weight: 10}, {weight: 30}]"+router+"}"), nil)
			b.ok(b.work(t.Context()))
			b.runs(2)
			b.stands(2)
		})
	}
}

// TestCanaryKilledAnywhere kills at each moment of a canary: it ends as it would have, and nothing is left over.
func TestCanaryKilledAnywhere(t *testing.T) {
	t.Parallel()
	crash := func(context.Context) error {
		return &kube.Failure{Object: "Deployment/web-canary", Reason: "CrashLoopBackOff", Fatal: true}
	}
	for _, router := range canaryRouters {
		stories := map[string]struct {
			play    func(b *bench) // before it is worked
			want    string
			stands  int
			aborted bool
		}{
			"to its end":  {func(*bench) {}, "automatic 1 succeeded, automatic 2 succeeded", 2, false},
			"it crashes":  {func(b *bench) { b.on["wait canary of 2"] = crash }, "automatic 1 succeeded, automatic 2 failed", 1, false},
			"no proof":    {func(b *bench) { b.status = 500 }, "automatic 1 succeeded, automatic 2 failed", 1, false},
			"it is ended": {func(*bench) {}, "automatic 1 succeeded, automatic 2 cancelled", 1, true},
			"goes back":   {func(b *bench) { b.on["wait release 2"] = crash }, "automatic 1 succeeded, automatic 2 failed, recovery 1 succeeded", 1, false},
		}
		for name, story := range stories {
			t.Run(name+router, func(t *testing.T) {
				t.Parallel()
				before := canaryBench(t)
				before.run('b', strategic(t, canarySteps+router+"}"), nil)
				stride := 5
				switch {
				case testing.Short():
					stride = 17
				case name == "to its end":
					stride = 1
				}
				play := func(b *bench, ctx context.Context) error {
					for range 8 { // a rest, and what asks again
						if err := b.work(ctx); err != nil {
							return err
						}
						d := b.deployment(2)
						if store.Final(d.State) {
							break
						}
						if story.aborted && d.State == store.Paused {
							if err := b.DB.Update(ctx, func(tx *store.Tx) error { return tx.AskAbort(d, "bob") }); err != nil {
								return err
							}
							continue
						}
						before := b.DB.Now
						b.DB.Now = func() time.Time { return before().Add(5 * time.Minute) }
						if err := b.DB.Update(ctx, func(tx *store.Tx) error { return tx.Wake(store.TaskEnv, store.EnvKey(testRepo, "web", "staging")) }); err != nil {
							return err
						}
					}
					return b.work(ctx)
				}
				for n := 1; ; n += stride {
					b := before.copy()
					b.watch = b.orderly
					story.play(b)
					ctx, kill := context.WithCancel(t.Context())
					b.mu.Lock()
					b.points, b.dieAt, b.kill = 0, n, kill
					b.mu.Unlock()
					err := play(b, ctx)
					kill()
					b.mu.Lock()
					survived := b.points < n
					b.dieAt = 0
					b.mu.Unlock()
					if survived && err != nil {
						t.Fatal(err)
					}
					b.update((*store.Tx).Recover)
					if err := play(b, t.Context()); err != nil {
						t.Fatalf("killed at %d: %v", n, err)
					}
					if got := b.deployments(); got != story.want {
						t.Fatalf("killed at %d: %s, want %s", n, got, story.want)
					}
					b.runs(story.stands)
					if b.stands(story.stands); t.Failed() {
						t.Fatalf("killed at %d", n)
					}
					if survived {
						if t.Logf("%d points", n); n < 50 {
							t.Errorf("only %d points", n)
						}
						return
					}
				}
			})
		}
	}
}

// TestCanaryUndone aborts, cancels and fails at each step: what was live is as it was.
func TestCanaryUndone(t *testing.T) {
	t.Parallel()
	const steps = `canary: {steps: [{weight: 10, pause: manual, verify: {http: "http://web/1"}}, {weight: 50, pause: manual, verify: {http: "http://web/2"}}]`
	for _, router := range canaryRouters {
		for at := range 2 {
			for _, how := range []string{"abort", "cancel", "prove", "crash", "conflict"} {
				t.Run(fmt.Sprint(how, at, router), func(t *testing.T) {
					t.Parallel()
					b := canaryBench(t)
					was := picture(b.objects)
					b.run('b', strategic(t, steps+router+"}"), nil)
					fails := func(err error) { b.on["wait canary of 2"] = func(context.Context) error { return err } }
					for range at {
						b.ok(b.work(t.Context()))
						b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(2), "alice") })
					}
					switch how {
					case "crash":
						fails(&kube.Failure{Object: "Deployment/web-canary", Reason: "CrashLoopBackOff", Fatal: true})
					case "conflict":
						fails(&kube.Conflict{Object: "VirtualService/web", Fields: []string{".spec.http"}, Manager: "kubectl-edit"})
					}
					b.ok(b.work(t.Context()))
					d, want := b.deployment(2), "automatic 1 succeeded, automatic 2 failed"
					switch how {
					case "abort", "cancel":
						want = "automatic 1 succeeded, automatic 2 cancelled"
						b.update(func(tx *store.Tx) error {
							if how == "abort" {
								return tx.AskAbort(d, "bob")
							}
							return tx.AskCancel(d, "bob")
						})
					case "prove":
						b.status = 500
						b.update(func(tx *store.Tx) error { return tx.AskResume(d, "alice") })
						for range verifyMisses {
							b.ok(b.work(t.Context()))
							b.jump(verifyEvery)
						}
					}
					b.ok(b.work(t.Context()))
					if got := b.deployments(); got != want {
						t.Error(got)
					}
					if got := picture(b.objects); got != was {
						t.Errorf("in the cluster is\n%s\nand was\n%s", got, was)
					}
					if inventory := b.deployment(1).Inventory.V; strings.Contains(string(inventory), "canary") || strings.Contains(string(inventory), "ServiceAccount") {
						t.Errorf("inventory %s", inventory)
					}
				})
			}
		}
	}
}

// TestCanarySkipped does without where there is nothing to stand beside, and says so.
func TestCanarySkipped(t *testing.T) {
	t.Parallel()
	const nginx = canarySteps + ", traffic: {nginx: web}}"
	for name, test := range map[string]struct {
		strategy string
		play     func(*bench)
		want     string
	}{
		"nothing is live": {nginx, nil, "nothing is live here yet"},
		"it is not there": {nginx, func(b *bench) { delete(b.objects, "Deployment/web") }, "Deployment/web is not in the cluster yet"},
		"no pods":         {canarySteps + "}", func(b *bench) { b.set("Deployment/web", int64(0), "spec", "replicas") }, "Deployment/web has no pods"},
		"no track": {nginx, func(b *bench) {
			b.set("Deployment/web", map[string]any{"app": "web"}, "spec", "template", "metadata", "labels")
		}, "the pods of Deployment/web have no label shipmate.dev/track yet; the next release finds it"},
		"the router is new": {strings.Replace(nginx, "nginx: web", "nginx: shop", 1), func(b *bench) {
			b.files["deploy/shop.yaml"] = `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shop}, spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}}`
		}, "the live release: there is no Ingress/shop; write in traffic the name of one that the manifests have"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			number, b := 2, canaryBench(t)
			if test.play == nil {
				number, b = 1, newBench(t)
				b.files = map[string]string{"deploy/web.yaml": canaryManifests}
			} else {
				test.play(b)
			}
			b.run('b', strategic(t, test.strategy), nil)
			b.ok(b.work(t.Context()))
			for _, kind := range []string{"canary/1/10%", "pause/1/5m", "canary/2/50%", "prove/2/http://web/healthz"} {
				if s := b.result(number, kind); s.State != store.StepSkipped || s.Detail != test.want {
					t.Errorf("%s: %s, %s", kind, s.State, s.Detail)
				}
			}
			if d := b.deployment(number); d.State != store.Succeeded {
				t.Errorf("it is %s: %s", d.State, d.Reason)
			}
			b.stands(number)
		})
	}
}

// set has somebody change a field of an object in the cluster.
func (b *bench) set(name string, value any, path ...string) {
	b.t.Helper()
	b.ok(unstructured.SetNestedField(b.objects[name].Object, value, path...))
}

// TestCanaryLeftBehind has the next deployment remove what a dead one could not: where that is a canary, before its own is there.
func TestCanaryLeftBehind(t *testing.T) {
	t.Parallel()
	for _, router := range canaryRouters {
		for _, next := range []string{"rolling: {}", canarySteps + router + "}"} {
			t.Run(next[:6]+router, func(t *testing.T) {
				t.Parallel()
				b := canaryBench(t)
				b.run('b', strategic(t, canarySteps+router+"}"), nil)
				b.ok(b.work(t.Context()))
				for _, call := range []string{"prune", "live"} {
					b.on[call] = func(context.Context) error { return &kube.Error{Object: "cluster", Message: "forbidden"} }
				}
				b.update(func(tx *store.Tx) error { return tx.AskAbort(b.deployment(2), "bob") })
				b.ok(b.work(t.Context()))
				if f := b.deployment(2).Failure.V; b.deployments() != "automatic 1 succeeded, automatic 2 cancelled" || f == nil || !strings.Contains(f.Reason, "could not be taken back") {
					t.Fatal(b.deployments(), f)
				}
				if b.objects["Deployment/web-canary"] == nil {
					t.Fatal("nothing is left")
				}
				clear(b.on)
				gone := false
				b.on["wait canary of 3"] = func(context.Context) error { gone = true; return nil }
				b.on["wait release 3"] = func(context.Context) error {
					if next == "rolling: {}" && b.objects["Deployment/web-canary"] != nil {
						t.Error("it still stands")
					}
					return nil
				}
				b.files = map[string]string{"deploy/web.yaml": canaryManifests}
				b.run('c', strategic(t, next), nil)
				for range 4 {
					b.ok(b.work(t.Context()))
					b.jump(5 * time.Minute)
				}
				if b.deployment(3).State != store.Succeeded || gone != (next != "rolling: {}") {
					t.Error(b.deployments(), gone)
				}
				b.stands(3)
			})
		}
	}
}

// TestCanaryStaysManual: where nothing goes back by itself, a canary keeps its share until somebody does.
func TestCanaryStaysManual(t *testing.T) {
	t.Parallel()
	for _, router := range canaryRouters {
		t.Run(router, func(t *testing.T) {
			t.Parallel()
			b := canaryBench(t)
			env := strategic(t, "canary: {steps: [{weight: 10}]"+router+"}")
			env.Rollback = Manual
			b.on["wait release 2"] = crashes
			b.run('b', env, nil)
			b.ok(b.work(t.Context()))
			if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 failed" || b.objects["Deployment/web-canary"] == nil {
				t.Fatalf("%s\n%s", got, picture(b.objects))
			}
			b.update(func(tx *store.Tx) error {
				_, err := NewRollback(tx, b.deployment(2), b.deployment(1), store.CauseRollback, "bob", "")
				return err
			})
			b.ok(b.work(t.Context()))
			if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 failed, rollback 1 succeeded" {
				t.Error(got)
			}
			b.stands(3)
		})
	}
}

// TestCanaryRival leaves another canary Ingress of the same host alone, and says which it is.
func TestCanaryRival(t *testing.T) {
	t.Parallel()
	b := canaryBench(t)
	rival := b.objects["Ingress/web"].DeepCopy()
	rival.SetName("beta")
	rival.SetAnnotations(map[string]string{"nginx.ingress.kubernetes.io/canary": "true"})
	b.objects["Ingress/beta"] = rival
	was := picture(b.objects)
	b.run('b', strategic(t, canarySteps+", traffic: {nginx: web}}"), nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(2); d.State != store.Failed || !strings.HasPrefix(d.Reason, "Ingress/beta is a canary of shop.example.com/ already") {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	if got := picture(b.objects); got != was {
		t.Error(got)
	}
}

// TestCanaryDoesNotFit refuses it when it is rendered.
func TestCanaryDoesNotFit(t *testing.T) {
	t.Parallel()
	b := canaryBench(t)
	b.run('b', strategic(t, canarySteps+", traffic: {nginx: shop}}"), nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(2); d.State != store.Failed || d.Reason != "strategy canary: there is no Ingress/shop; write in traffic the name of one that the manifests have" {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
}

// TestCanaryRests stops where somebody asks for that while the canary comes up, and goes on.
func TestCanaryRests(t *testing.T) {
	t.Parallel()
	b := canaryBench(t)
	b.on["wait canary of 2"] = func(ctx context.Context) error {
		b.update(func(tx *store.Tx) error { return tx.AskPause(b.deployment(2), "alice") })
		<-ctx.Done()
		return ctx.Err()
	}
	b.run('b', strategic(t, "canary: {steps: [{weight: 10}, {weight: 50}], traffic: {istio: web}}"), nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(2); d.State != store.Paused || b.objects["VirtualService/web"].GetAnnotations()[kube.AnnotationCanary] != "" {
		t.Fatalf("%s, %s", d.State, picture(b.objects))
	}
	clear(b.on)
	b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(2), "bob") })
	b.ok(b.work(t.Context()))
	if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded" {
		t.Error(got)
	}
	b.stands(2)
}

// TestCanaryNeverLosesPods keeps as many behind a router as it had, where a step sends less to them, and as many as the share is
// without.
func TestCanaryNeverLosesPods(t *testing.T) {
	t.Parallel()
	for router, want := range map[string]string{"": "4 1", ", traffic: {nginx: web}": "2 2"} {
		b := canaryBench(t)
		var pods []string
		b.on["wait canary of 2"] = func(context.Context) error {
			n, _, _ := unstructured.NestedInt64(b.objects["Deployment/web-canary"].Object, "spec", "replicas")
			pods = append(pods, fmt.Sprint(n))
			return nil
		}
		b.run('b', strategic(t, "canary: {steps: [{weight: 50}, {weight: 10}]"+router+"}"), nil)
		b.ok(b.work(t.Context()))
		if got := strings.Join(pods, " "); got != want {
			t.Errorf("%s: %s, want %s", router, got, want)
		}
	}
}
