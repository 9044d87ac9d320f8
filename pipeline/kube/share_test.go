package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

func workload(t *testing.T, kind, name, selector string) *unstructured.Unstructured {
	obj := parse(t, fmt.Sprintf("{apiVersion: apps/v1, kind: %s, metadata: {name: %s, namespace: 'n'}, spec: {selector: %s, template: {metadata: {labels: {a: b}}, spec: {containers: []}}}}", kind, name, selector))[0]
	obj.SetLabels(map[string]string{LabelManagedBy: FieldManager, LabelApp: "web", LabelEnvironment: "staging"})
	return obj
}

// TestTargetsShareFeeds: one list and watch for all that is of a kind, and each target still sees its own only.
func TestTargetsShareFeeds(t *testing.T) {
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) { t.Error("asked ", r.URL) })
	objs := []*unstructured.Unstructured{
		workload(t, "Deployment", "a", "{matchLabels: {app: a, tier: x}}"),
		workload(t, "Deployment", "b", "{matchLabels: {app: b, tier: x}}"),
		workload(t, "Deployment", "c", "{matchLabels: {role: c}}"),
		workload(t, "Deployment", "d", "{matchExpressions: [{key: app, operator: NotIn, values: [a, b]}]}"),
		workload(t, "Deployment", "e", "{matchLabels: {run: e, stage: ''}}"),
		workload(t, "Deployment", "f", "{matchLabels: {run: f, stage: ''}}"),
	}
	targets, feeds, err := c.targets(t.Context(), objs)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range feeds {
		if _, err := labels.Parse(f.opts.LabelSelector); err != nil {
			t.Error(err)
		}
		got = append(got, f.ref.Kind+" "+f.opts.LabelSelector+f.opts.FieldSelector)
	}
	slices.Sort(got)
	want := []string{"Deployment " + ourLabels(objs[0]), "Pod app in (a,b),tier=x", "Pod app notin (a,b)", "Pod role=c", "Pod run in (e,f),stage=", "ReplicaSet app in (a,b),tier=x", "ReplicaSet app notin (a,b)", "ReplicaSet role=c", "ReplicaSet run in (e,f),stage="}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	pod := func(name, labels string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, uid: %s, labels: %s}}", name, name, labels)
	}
	pods := targets[0].pods.of
	if pods == nil || pods != targets[1].pods.of {
		t.Fatal("they have not the same pods")
	}
	if targets[0].pods.listed() {
		t.Error("it says that it was listed")
	}
	pods.items = filled(t, pod("a-1", "{app: a, tier: x}"), pod("b-1", "{app: b, tier: x}"), pod("b-2", "{app: b, tier: x}")).items
	pods.err = fmt.Errorf("away")
	for i, want := range []string{"a-1", "b-1 b-2"} {
		var names []string
		for _, o := range targets[i].pods.all() {
			names = append(names, o.GetName())
		}
		slices.Sort(names)
		_, trouble := targets[i].pods.trouble()
		if got := strings.Join(names, " "); got != want || !targets[i].pods.listed() || trouble == nil {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	selves := targets[2].self.of
	if selves == nil {
		t.Fatal("they are not watched together")
	}
	selves.items = filled(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: b, uid: b}}", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: c, uid: c}}").items
	if got := targets[2].self.one(); got == nil || got.GetName() != "c" || targets[0].self.one() != nil {
		t.Errorf("c is %v", got)
	}
}

// TestStatusWithoutLabels: what somebody took our labels from is there nevertheless.
func TestStatusWithoutLabels(t *testing.T) {
	deployment := func(name string) string {
		return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":"n","uid":%q},"spec":{"replicas":0,"selector":{},"template":{}},"status":{}}`, name, name)
	}
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		selector, _ := url.QueryUnescape(r.URL.RawQuery)
		switch {
		case strings.HasSuffix(r.URL.Path, "/deployments/b"):
			fmt.Fprint(w, deployment("b"))
		case strings.HasSuffix(r.URL.Path, "/deployments") && strings.Contains(selector, LabelApp+"=web"):
			fmt.Fprint(w, `{"apiVersion":"apps/v1","kind":"DeploymentList","metadata":{},"items":[`+deployment("a")+`]}`)
		default:
			fmt.Fprint(w, `{"apiVersion":"v1","kind":"List","metadata":{},"items":[]}`)
		}
	})
	objs := []*unstructured.Unstructured{workload(t, "Deployment", "a", "{matchLabels: {app: a}}"), workload(t, "Deployment", "b", "{matchLabels: {app: b}}")}
	all, err := c.Status(t.Context(), append(objs, parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}")...))
	if err != nil || len(all) != 2 || !all[0].Found || !all[1].Found || all[1].Object != "Deployment/b" {
		t.Errorf("%+v, %v", all, err)
	}
	if got := a.asks(); got != "GET b, GET deployments, GET pods, GET replicasets" {
		t.Errorf("asked %s", got)
	}
}

// TestWaitWithoutLabels: what lost our labels is watched by its name, and only what that does not find is gone.
func TestWaitWithoutLabels(t *testing.T) {
	named := func(name string) string { return strings.Replace(thing("True"), `"name":"a"`, `"name":"`+name+`"`, 1) }
	for _, there := range []bool{true, false} {
		_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
			query := r.URL.Query()
			switch {
			case query.Has("watch"):
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			case query.Has("labelSelector"):
				fmt.Fprint(w, list(named("a")))
			case query.Get("fieldSelector") == "metadata.name=b" && there:
				fmt.Fprint(w, list(named("b")))
			default:
				fmt.Fprint(w, list())
			}
		})
		objs := slices.Concat(wantedThing(), wantedThing())
		objs[1].SetName("b")
		for _, o := range objs {
			o.SetLabels(map[string]string{LabelManagedBy: FieldManager, LabelApp: "web", LabelEnvironment: "staging"})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := c.Wait(ctx, objs, func(Progress) {})
		if there && err != nil || !there && (err == nil || !strings.Contains(err.Error(), "Thing/b: NotFound")) {
			t.Errorf("there %v: %v", there, err)
		}
	}
}
