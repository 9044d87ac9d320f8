//go:build e2e

package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// knowledge is since when the cluster shows what, as somebody else sees who looks all the time.
type knowledge struct {
	mu    sync.Mutex
	since map[string]time.Time // by reason, of a warning or of a pod's status
}

func (k *knowledge) note(now time.Time, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.since[reason].IsZero() {
		k.since[reason] = now
	}
}

// first is the first time that one of the reasons was shown; zero if none was.
func (k *knowledge) first(reasons []string) (first time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range reasons {
		if t := k.since[r]; first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// learn looks at the pods and warnings of the namespace until the test ends.
func (w *world) learn() *knowledge {
	k := &knowledge{since: map[string]time.Time{}}
	ctx, cancel := context.WithCancel(w.Context())
	var group sync.WaitGroup
	w.Cleanup(func() { cancel(); group.Wait() })
	pods, err := w.cluster.feed(ctx, ObjectRef{Version: "v1", Kind: "Pod", Namespace: w.owner.Namespace}, metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	events, err := w.cluster.feed(ctx, ObjectRef{Version: "v1", Kind: "Event", Namespace: w.owner.Namespace}, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		w.Fatal(err)
	}
	news := &waiter{changed: make(chan struct{}, 1), denied: make(chan error, 2)}
	group.Go(func() { pods.follow(ctx, news) })
	group.Go(func() { events.follow(ctx, news) })
	group.Go(func() {
		for {
			select {
			case <-news.changed:
			case <-ctx.Done():
				return
			}
			now := time.Now()
			warned, _ := decodeAll[corev1.Event](events)
			for _, e := range warned {
				k.note(now, e.Reason)
			}
			seen, _ := decodeAll[corev1.Pod](pods)
			for _, p := range seen {
				k.notePod(now, p)
			}
		}
	})
	return k
}

func (k *knowledge) notePod(now time.Time, p *corev1.Pod) {
	for _, c := range p.Status.Conditions {
		if c.Status == corev1.ConditionFalse {
			k.note(now, c.Reason)
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil {
			k.note(now, s.State.Waiting.Reason)
		}
		for _, t := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			if t != nil {
				k.note(now, t.Reason)
			}
		}
	}
}

// denyingRegistry runs a registry in the cluster, at the node's own loopback address, that refuses everybody.
func (w *world) denyingRegistry() string {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free here is likely to be free there
	if err != nil {
		w.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	pod := w.ready(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: registry}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    args: [deny, "%s"]
    readinessProbe: {tcpSocket: {host: 127.0.0.1, port: %s}, periodSeconds: 1}
`, address, port))
	if err := w.roll(pod, time.Minute); err != nil {
		w.Fatal(err)
	}
	return address
}

// cause is something that goes wrong, and what is to be said of it.
type cause struct {
	name     string
	prepare  func(*world) string // returns what DENIED stands for in manifest
	manifest string
	shown    []string // reasons by which the cluster shows it first
	told     []string // reasons of which one must be told while it waits
	end      string   // reason at the end, if it is not one of told
	fatal    bool
	timeout  time.Duration // of the wait; 0: long enough for what is fatal
	message  string
	log      string
	event    string
	hint     string
}

var causesOfFailure = []cause{
	{name: "missing-image", manifest: deployment("web", "image: "+os.Getenv("REGISTRY")+"/nothing/here:1"),
		shown: []string{"ErrImagePull"}, told: []string{"ErrImagePull"}, fatal: true,
		message: "/nothing/here:1", event: "Failed: ", hint: "the registry has no such image: was it pushed there"},
	{name: "missing-pull-secret", prepare: (*world).denyingRegistry,
		manifest: strings.Replace(deployment("web", "image: DENIED/team/web:1"), "containers:", "imagePullSecrets: [{name: tcr-secret}]\n      containers:", 1),
		shown:    []string{"ErrImagePull"}, told: []string{"ErrImagePull"}, fatal: true,
		message: "/team/web:1", event: "Failed", hint: "the pull secret tcr-secret is not in namespace kube-test-"},
	{name: "no-pull-secret", prepare: (*world).denyingRegistry, manifest: deployment("web", "image: DENIED/team/web:1"),
		shown: []string{"ErrImagePull"}, told: []string{"ErrImagePull"}, fatal: true,
		message: "/team/web:1", event: "Failed", hint: "the registry asks for credentials, and the pods name no pull secret"},
	{name: "refused-pull-secret", prepare: func(w *world) string {
		address := w.denyingRegistry()
		if err := w.cluster.EnsurePullSecret(w.Context(), w.owner.Namespace, "tcr-secret", address, "bot", "stale"); err != nil {
			w.Fatal(err)
		}
		return address
	}, manifest: strings.Replace(deployment("web", "image: DENIED/team/web:1"), "containers:", "imagePullSecrets: [{name: tcr-secret}]\n      containers:", 1),
		shown: []string{"ErrImagePull"}, told: []string{"ErrImagePull"}, fatal: true,
		message: "/team/web:1", event: "Failed", hint: "the registry refuses the pull secret tcr-secret"},
	{name: "wrong-command", manifest: deployment("web", "image: IMAGE", "command: [/nothing]"),
		shown: []string{"StartError", "RunContainerError", "ContainerCannotRun"}, told: []string{"StartError", "RunContainerError"}, end: "CrashLoopBackOff", fatal: true,
		message: "/nothing", event: "/nothing", hint: "are the command and its arguments right for this image?"},
	{name: "stack-trace", manifest: doubted(deployment("web", "image: IMAGE", "args: [panic]")),
		shown: []string{"Error"}, told: []string{"Error", "CrashLoopBackOff"}, end: "CrashLoopBackOff", fatal: true,
		message: "exit code 2, restarts: 3", log: "main.handle(", event: "BackOff: ", hint: "the end of its log should say why"},
	{name: "oom", manifest: doubted(deployment("web", "image: IMAGE", "args: [oom]", "resources: {limits: {memory: 48Mi}}")),
		shown: []string{"OOMKilled"}, told: []string{"OOMKilled"}, fatal: true,
		message: "exit code 137, restarts: 3", log: "1\n2", event: "BackOff: ", hint: "resources.limits.memory"},
	{name: "readiness", manifest: deployment("web", "image: IMAGE", "readinessProbe: {httpGet: {path: /, port: 81}}"),
		shown: []string{"Unhealthy"}, told: []string{"Unhealthy"}, timeout: 25 * time.Second,
		message: "Readiness probe failed", log: "listening", event: "Unhealthy: Readiness probe failed", hint: "do the probe's port and path match"},
	{name: "liveness", manifest: deployment("web", "image: IMAGE", "readinessProbe: {tcpSocket: {port: 5000}, initialDelaySeconds: 12}",
		"livenessProbe: {httpGet: {path: /, port: 81}, periodSeconds: 2, failureThreshold: 2}"),
		shown: []string{"Unhealthy"}, told: []string{"Unhealthy"}, end: "CrashLoopBackOff", fatal: true,
		message: "restarts: ", log: "listening", event: "Unhealthy: Liveness probe failed", hint: "its liveness probe fails"},
	{name: "liveness-of-a-ready-pod", manifest: doubted(deployment("web", "image: IMAGE", "livenessProbe: {httpGet: {path: /, port: 81}, periodSeconds: 1, failureThreshold: 99}")),
		shown: []string{"Unhealthy"}, told: []string{"Unhealthy"}, timeout: 20 * time.Second,
		message: "Liveness probe failed", log: "listening", event: "Unhealthy: Liveness probe failed", hint: "its liveness probe fails"},
	{name: "unschedulable", manifest: deployment("web", "image: IMAGE", `resources: {requests: {cpu: "900"}}`),
		shown: []string{"Unschedulable"}, told: []string{"Unschedulable"}, timeout: 12 * time.Second,
		message: "Insufficient cpu", event: "FailedScheduling: ", hint: "no node fits its requests"},
	{name: "quota", prepare: func(w *world) string {
		return w.also("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small}\nspec: {hard: {requests.cpu: \"1\"}}")
	}, manifest: deployment("web", "image: IMAGE", `resources: {requests: {cpu: "2"}}`),
		shown: []string{"FailedCreate"}, told: []string{"FailedCreate"}, timeout: 12 * time.Second,
		message: "exceeded quota: small", event: "FailedCreate: ", hint: "raise the ResourceQuota"},
	{name: "missing-key", prepare: func(w *world) string {
		return w.also("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {there: x}")
	}, manifest: deployment("web", "image: IMAGE", "env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: absent}}}]"),
		shown: []string{"CreateContainerConfigError"}, told: []string{"CreateContainerConfigError"}, fatal: true,
		message: "absent", event: "absent", hint: "make the ConfigMap, Secret or key"},
	{name: "missing-volume", manifest: deployment("web", "image: IMAGE", "volumeMounts: [{name: v, mountPath: /v}]", "") +
		"      volumes: [{name: v, configMap: {name: absent}}]\n",
		shown: []string{"FailedMount"}, told: []string{"FailedMount"}, timeout: 15 * time.Second,
		message: `"absent" not found`, event: "FailedMount: ", hint: "do the volume's ConfigMap"},
}

// also applies what is there before, as another's.
func (w *world) also(manifest string) string {
	objs := object(w.T, manifest)
	for _, o := range objs {
		o.SetNamespace(w.owner.Namespace)
	}
	if err := w.cluster.Apply(w.Context(), objs, ApplyOptions{}); err != nil {
		w.Fatal(err)
	}
	return ""
}

// within is how soon after the cluster knows what is wrong it must have been told.
const within = 10 * time.Second

// TestDiagnose makes each cause happen, and measures from when the cluster shows it to when it is told.
func TestDiagnose(t *testing.T) {
	var mu sync.Mutex
	var table []string
	t.Run("causes", func(t *testing.T) {
		for _, c := range causesOfFailure {
			t.Run(c.name, func(t *testing.T) {
				w := newWorld(t)
				line := w.diagnose(c)
				mu.Lock()
				defer mu.Unlock()
				table = append(table, line)
			})
		}
	})
	slices.Sort(table)
	t.Logf("seconds from when the cluster shows it to when it is told, and to the end where it is fatal\n%s", strings.Join(table, "\n"))
}

func (w *world) diagnose(c cause) string {
	manifest := c.manifest
	if c.prepare != nil {
		manifest = strings.ReplaceAll(manifest, "DENIED", c.prepare(w))
	}
	known := w.learn()
	objs := w.ready(manifest)
	if err := w.cluster.Apply(w.Context(), objs, ApplyOptions{}); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.Context(), cmp.Or(c.timeout, 3*time.Minute))
	defer cancel()
	var told time.Time
	var first *Failure
	err := w.cluster.Wait(ctx, objs, func(p Progress) {
		w.Logf("%s: %s %v %v", p.Object, p.Text, p.Stable, p.Problem)
		if p.Problem != nil && told.IsZero() && slices.Contains(c.told, p.Problem.Reason) {
			told, first = time.Now(), p.Problem
		}
	})
	ended := time.Now()
	end := c.told
	if c.end != "" {
		end = []string{c.end}
	}
	f := w.fails(err, c.fatal, end...)
	shown := known.first(c.shown)
	for end := time.Now().Add(within); shown.IsZero() && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		shown = known.first(c.shown) // we were first
	}
	if shown.IsZero() || told.IsZero() {
		w.Fatalf("shown at %v, told at %v", shown, told)
	}
	if took := told.Sub(shown); took > within {
		w.Errorf("told %s after %v", first.Reason, took)
	}
	if first.Object != "Deployment/web" || f.Object != "Deployment/web" || first.Hint == "" {
		w.Errorf("told %+v, at the end %+v", first, f)
	}
	for what, pair := range map[string][2]string{"message": {f.Message, c.message}, "log": {strings.Join(f.Logs, "\n"), c.log},
		"event": {f.Event, c.event}, "hint": {f.Hint, c.hint}, "hint when told": {first.Hint, c.hint}} {
		if !strings.Contains(pair[0], pair[1]) {
			w.Errorf("%s %q lacks %q", what, pair[0], pair[1])
		}
	}
	if len(f.Logs) > logLines || c.log == "" && len(f.Logs) > 0 {
		w.Errorf("the log is %q", f.Logs)
	}
	at := "at the deadline"
	if c.fatal {
		at = fmt.Sprintf("%.1f", ended.Sub(shown).Seconds())
	}
	return fmt.Sprintf("%-20s %-28s told %5.1f, ended %s (%s)", c.name, strings.Join(c.shown, "|"), told.Sub(shown).Seconds(), at, f.Reason)
}

// TestDiagnoseRefusal has the API server refuse, which it says at once.
func TestDiagnoseRefusal(t *testing.T) {
	web := deployment("web", "image: IMAGE")
	for _, c := range []struct {
		name    string
		prepare func(*world) *Cluster // nil: the world's own
		message string
		hint    string
	}{
		{"immutable-field", func(w *world) *Cluster {
			other := w.ready(strings.ReplaceAll(web, "app: web", "app: other"))
			if err := w.cluster.Apply(w.Context(), other, ApplyOptions{}); err != nil {
				w.Fatal(err)
			}
			return w.cluster
		}, "spec.selector: Invalid value", "this field can't change while the object exists"},
		{"denied-namespace", (*world).stranger, "not allowed to ", "grant it to our account"},
		{"admission", (*world).withPolicy, "two replicas at least, says the policy", "a policy of this cluster refuses it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			cluster := c.prepare(w)
			start := time.Now()
			err := cluster.Apply(t.Context(), w.ready(web), ApplyOptions{})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			t.Logf("%.1f s: %v", time.Since(start).Seconds(), err)
			if took := time.Since(start); took > within {
				t.Errorf("took %v", took)
			}
			if e.Object != "Deployment/web" || e.Temporary || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("says %+v", e)
			}
		})
	}
}

// stranger is the cluster with an account that may do nothing in the namespace.
func (w *world) stranger() *Cluster {
	w.also("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: stranger}")
	accounts, err := w.cluster.resource(w.Context(), w.cluster.client, ObjectRef{Version: "v1", Kind: "ServiceAccount", Namespace: w.owner.Namespace, Name: "stranger"})
	if err != nil {
		w.Fatal(err)
	}
	issued, err := accounts.Create(w.Context(), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": "stranger"}, "spec": map[string]any{}}}, metav1.CreateOptions{}, "token")
	if err != nil {
		w.Fatal(err)
	}
	token, _, _ := unstructured.NestedString(issued.Object, "status", "token")
	rc, err := restConfig(Config{Kubeconfig: os.Getenv("KUBECONFIG")})
	if err != nil {
		w.Fatal(err)
	}
	c, err := Open(Config{Server: rc.Host, CA: string(rc.CAData), Token: token})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// withPolicy has a policy refuse every Deployment of the namespace that has one replica, and waits until it does.
func (w *world) withPolicy() *Cluster {
	ns := w.owner.Namespace
	objs := object(w.T, strings.ReplaceAll(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NS}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  validations: [{expression: "object.spec.replicas > 1", message: "two replicas at least, says the policy"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NS}
spec:
  policyName: NS
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}}
`, "NS", ns))
	if err := w.cluster.Apply(w.Context(), objs, ApplyOptions{}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		for _, o := range objs {
			r, err := w.cluster.resource(context.Background(), w.cluster.client, RefOf(o))
			if err == nil {
				err = r.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{})
			}
			if err != nil {
				w.Error(err)
			}
		}
	})
	// The API server reads its policies a moment later.
	probe := w.ready(deployment("probe", "image: IMAGE"))[0]
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if _, err := w.cluster.patch(w.Context(), probe, false, true); err != nil {
			return w.cluster
		}
	}
	w.Fatal("the policy is not in force after a minute")
	return nil
}

// TestStalled has a custom object say that it is stalled beside a Deployment that is slow: that is told at once, and ends the
// wait when the Deployment has arrived.
func TestStalled(t *testing.T) {
	w := newWorld(t)
	w.owner.MayHold = func(kind string) error {
		if kind == "CustomResourceDefinition" {
			return nil
		}
		return errors.New("only definitions")
	}
	group := w.owner.Namespace + ".example.com"
	objs := w.ready(strings.ReplaceAll(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {kind: Thing, plural: things, singular: thing, listKind: ThingList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: GROUP/v1
kind: Thing
metadata: {name: one}
---
`, "GROUP", group) + deployment("web", "image: IMAGE", "readinessProbe: {tcpSocket: {port: 5000}, initialDelaySeconds: 5, periodSeconds: 1}"))
	t.Cleanup(func() {
		r, err := w.cluster.resource(context.Background(), w.cluster.client, RefOf(objs[0]))
		if err == nil {
			err = r.Delete(context.Background(), objs[0].GetName(), metav1.DeleteOptions{})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	// No manifest sets a status: its controller does.
	things, err := w.cluster.resource(t.Context(), w.cluster.client, RefOf(objs[1]))
	if err != nil {
		t.Fatal(err)
	}
	status := `{"status":{"conditions":[{"type":"Stalled","status":"True","reason":"NoService","message":"no Service web"}]}}`
	live, err := things.Patch(t.Context(), "one", types.MergePatchType, []byte(status), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.also(fmt.Sprintf(`
apiVersion: v1
kind: Event
metadata: {name: one.1}
type: Warning
reason: SyncFailed
message: asked for Service web
involvedObject: {apiVersion: %s/v1, kind: Thing, namespace: %s, name: one, uid: %s}
`, group, w.owner.Namespace, live.GetUID()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var told, arrived bool
	err = w.cluster.Wait(ctx, objs, func(p Progress) {
		told = told || p.Object == "Thing/one" && p.Problem != nil && !arrived
		arrived = arrived || p.Object == "Deployment/web" && p.Stable
	})
	f := w.fails(err, true, "NoService")
	if !told || !arrived || f.Object != "Thing/one" || f.Message != "no Service web" || f.Event != "SyncFailed: asked for Service web" {
		t.Errorf("told early %v, the Deployment arrived %v, %+v", told, arrived, f)
	}
}
