//go:build e2e

package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// commit has a release made of a version, whose pods take three seconds to be ready and to end.
func (w *world) commit(sha byte, version string, replicas int, strategy string) {
	w.t.Helper()
	env := environment(nil)
	if strategy != "" {
		env = turns(w.t, strategy)
	}
	w.begin(sha, version, fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {VERSION: WHICH}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: IMAGE
        envFrom: [{configMapRef: {name: settings}}]
        lifecycle: {preStop: {sleep: {seconds: 3}}}
        readinessProbe: {httpGet: {path: /, port: 5000}, periodSeconds: 1, initialDelaySeconds: 3}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 5000}]}
`, replicas), env)
}

// poll has the pod ask.
func (w *world) poll() {
	w.t.Helper()
	service, err := w.cluster.Live(w.t.Context(), kube.ObjectRef{Version: "v1", Kind: "Service", Namespace: w.namespace, Name: "web"})
	w.ok(err)
	ip, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
	w.apply(strings.NewReplacer("NS", w.namespace, "IMAGE", w.built, "IP", ip).Replace(
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"client","namespace":"NS"},"spec":{"selector":{"matchLabels":{"app":"client"}},"template":{"metadata":{"labels":{"app":"client"}},"spec":{"terminationGracePeriodSeconds":1,"containers":[{"name":"client","image":"IMAGE","args":["poll","http://IP/"]}]}}}}
{"apiVersion":"v1","kind":"Service","metadata":{"name":"client","namespace":"NS"},"spec":{"selector":{"app":"client"},"ports":[{"port":5000}]}}`))
	w.until("it asks", func() bool { return w.asked() > 50 })
}

type answers struct {
	Total           int
	Failed, Answers []string
}

func (w *world) answers() (a answers, err error) {
	status, body, err := w.cluster.Proxy(w.t.Context(), w.namespace, "client", "5000", "/")
	if err == nil && status != 200 {
		err = fmt.Errorf("HTTP status %d", status)
	}
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	return a, err
}

// asked is how many requests there were so far.
func (w *world) asked() int {
	a, err := w.answers()
	if err != nil {
		w.t.Log(err)
	}
	return a.Total
}

// more waits for so many more requests: all that is under way is seen.
func (w *world) more(n int) {
	w.t.Helper()
	last := w.asked() + n
	w.until("more requests", func() bool { return w.asked() >= last })
}

// heard checks that no request failed, and what the answers were one after the other; nil: only that the last is version last.
func (w *world) heard(want []string, last string) {
	w.t.Helper()
	w.more(100)
	a, err := w.answers()
	w.ok(err)
	w.t.Logf("%d requests, %d failed, the answer changed %d times", a.Total, len(a.Failed), len(a.Answers)-1)
	if len(a.Failed) > 0 {
		w.t.Errorf("%d requests failed: %s", len(a.Failed), strings.Join(a.Failed, "\n"))
	}
	for i := range a.Answers {
		a.Answers[i] = strings.TrimSuffix(strings.TrimPrefix(a.Answers[i], "version "), " /")
	}
	if want != nil && !slices.Equal(a.Answers, want) {
		w.t.Errorf("the answers were %v, want %v", a.Answers, want)
	}
	if got := a.Answers[len(a.Answers)-1]; last != "" && got != last {
		w.t.Errorf("the last answer was %s, want %s", got, last)
	}
}

// started tells whether a Deployment has begun to replace its pods since it was asked last: what it is changes then.
func (w *world) started(name string) string {
	w.t.Helper()
	live, err := w.cluster.Live(w.t.Context(), kube.ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: w.namespace, Name: name})
	w.ok(err)
	if live == nil {
		return "gone"
	}
	template, _, _ := unstructured.NestedMap(live.Object, "spec", "template")
	return fmt.Sprint(live.GetUID(), live.GetGeneration(), live.GetAnnotations()["deployment.kubernetes.io/revision"], template)
}

// TestTrafficBlueGreen: no request fails, and no old answer comes after a new one, from rolling to blue-green, from colour to colour, and back.
func TestTrafficBlueGreen(t *testing.T) {
	w := newWorld(t)
	w.commit('a', "one", 2, "")
	w.goOn()
	w.poll()
	w.commit('b', "two", 2, "blue-green")
	w.goOn()
	w.heard([]string{"one", "two"}, "")
	w.commit('c', "three", 2, "{blue-green: {preview: web-next}}")
	w.goOn()
	w.heard([]string{"one", "two", "three"}, "")

	before, began := w.started("web-green"), time.Now()
	w.goBack(3, 2)
	w.goOn()
	took := time.Since(began)
	w.heard([]string{"one", "two", "three", "two"}, "")
	if after := w.started("web-green"); after != before || before == "gone" {
		t.Errorf("pods were replaced: %s, before %s", after, before)
	}
	t.Logf("flipped back in %v", took)
	if took > 10*time.Second {
		t.Errorf("the way back took %v", took)
	}
	w.jump(11 * time.Minute)
	w.goOn()
	if w.started("web") != "gone" || w.started("web-blue") != "gone" || w.started("web-green") == "gone" {
		t.Error("what was replaced was not retired")
	}
	w.heard([]string{"one", "two", "three", "two"}, "")

	// One that is looked at through its preview, and aborted.
	w.commit('d', "four", 2, "{blue-green: {preview: web-next, steps: [{pause: manual}]}}")
	w.goOn()
	status, body, err := w.cluster.Proxy(t.Context(), w.namespace, "web-next", "80", "/")
	if err != nil || status != 200 || !strings.HasPrefix(string(body), "version four") || w.deployment(5).State != store.Paused {
		t.Errorf("the preview of what is %s: %d %q %v", w.deployment(5).State, status, body, err)
	}
	w.update(func(tx *store.Tx) error { return tx.AskAbort(w.deployment(5), "alice") })
	w.goOn()
	if left := w.started("web-blue"); left != "gone" {
		t.Errorf("it left %s", left)
	}
	w.heard([]string{"one", "two", "three", "two"}, "")

	w.commit('e', "five", 2, "") // rolling again
	w.goOn()
	w.until("the colour is gone", func() bool { return w.started("web-green") == "gone" })
	w.more(300)
	w.heard(nil, "five")
	if got := w.bench.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded, automatic 3 succeeded, rollback 2 succeeded, automatic 4 cancelled, automatic 5 succeeded" {
		t.Error(got)
	}
}

// TestTrafficRolling: no request fails while pods are replaced, and a rollout that is paused in the middle replaces no more of them until it is
// resumed, or aborted.
func TestTrafficRolling(t *testing.T) {
	w := newWorld(t)
	w.commit('a', "one", 4, "")
	w.goOn()
	w.poll()
	w.commit('b', "two", 4, "")
	w.goOn()
	w.heard(nil, "two")

	paused := func(sha byte, version string, number int) {
		t.Helper()
		w.commit(sha, version, 4, "")
		done := make(chan error, 1)
		go func() { done <- w.work(t.Context()) }()
		w.until("the first pod is replaced", func() bool {
			s := w.pods(t.Context(), "web")
			return s.Release == fmt.Sprint(number) && s.Updated >= 1 && s.Updated < 3
		})
		w.update(func(tx *store.Tx) error { return tx.AskPause(w.deployment(number), "alice") })
		w.ok(<-done)
		if d := w.deployment(number); d.State != store.Paused {
			t.Fatalf("it is %s", d.State)
		}
		held := w.pods(t.Context(), "web")
		for range 10 { // three times as long as the next pod would take
			w.more(100)
			if now := w.pods(t.Context(), "web"); now.Updated != held.Updated || now.Updated >= 4 {
				t.Fatalf("%d pods are replaced, %d when it was paused", now.Updated, held.Updated)
			}
		}
	}
	paused('c', "three", 3)
	w.update(func(tx *store.Tx) error { return tx.AskResume(w.deployment(3), "alice") })
	w.goOn()
	w.heard(nil, "three")

	paused('d', "four", 4)
	w.update(func(tx *store.Tx) error { return tx.AskAbort(w.deployment(4), "alice") })
	w.goOn()
	w.heard(nil, "three")
	if got := w.bench.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded, automatic 3 succeeded, automatic 4 cancelled, recovery 3 succeeded" {
		t.Error(got)
	}
	if s := w.pods(t.Context(), "web"); s.Release != "3" || !s.Stable || s.Updated != 4 {
		t.Errorf("%+v", s)
	}
}
