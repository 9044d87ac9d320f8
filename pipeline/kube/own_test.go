package kube

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var owner = Owner{App: "web", Environment: "staging", Release: "7", Namespace: "team-a"}

func TestOwnConfines(t *testing.T) {
	allowing := owner
	allowing.MayHold = func(kind string) error {
		if kind == "ClusterRole" || kind == "Widget" {
			return nil
		}
		return errors.New("allow " + kind)
	}
	allowing.MayName = func(namespace string) error {
		if namespace == "team-b" {
			return nil
		}
		return errors.New("add " + namespace)
	}
	object := func(apiVersion, kind, namespace string) string {
		ns := ""
		if namespace != "" {
			ns = ", namespace: " + namespace
		}
		return "{apiVersion: " + apiVersion + ", kind: " + kind + ", metadata: {name: x" + ns + "}}"
	}
	for _, test := range []struct {
		name      string
		owner     Owner
		manifest  string
		namespace string
		want      string // part of the error; empty: allowed
	}{
		{"none", owner, object("v1", "ConfigMap", ""), "team-a", ""},
		{"the same", owner, object("v1", "ConfigMap", "team-a"), "team-a", ""},
		{"another", owner, object("v1", "ConfigMap", "kube-system"), "", "ConfigMap/x names namespace kube-system, but environment staging deploys to team-a"},
		{"another, allowed", allowing, object("v1", "ConfigMap", "team-b"), "team-b", ""},
		{"another, not allowed", allowing, object("v1", "ConfigMap", "team-c"), "", "take the namespace out of the manifest: add team-c"},
		{"case matters", owner, object("v1", "ConfigMap", "Team-A"), "", "names namespace Team-A"},
		{"cluster-scoped", owner, object("rbac.authorization.k8s.io/v1", "ClusterRole", ""), "", "ClusterRole/x is not of a namespace but of the whole cluster; take it out of the manifests: no such kind is allowed"},
		{"cluster-scoped with a namespace", owner, object("rbac.authorization.k8s.io/v1", "ClusterRole", "team-a"), "", "ClusterRole/x is not of a namespace but of the whole cluster; take it out of the manifests: no such kind is allowed"},
		{"cluster-scoped, old version", owner, object("rbac.authorization.k8s.io/v1beta1", "ClusterRole", ""), "", "ClusterRole/x is not of a namespace but of the whole cluster; take it out of the manifests: no such kind is allowed"},
		{"cluster-scoped, allowed", allowing, object("rbac.authorization.k8s.io/v1", "ClusterRole", ""), "", ""},
		{"cluster-scoped, allowed, with a namespace", allowing, object("rbac.authorization.k8s.io/v1", "ClusterRole", "team-a"), "", "can't have the namespace"},
		{"binding of it, not allowed", allowing, object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", ""), "", "take it out of the manifests: allow ClusterRoleBinding"},
		{"Namespace", owner, object("v1", "Namespace", ""), "", "Namespace/x is not of a namespace"},
		{"definition", owner, object("apiextensions.k8s.io/v1", "CustomResourceDefinition", ""), "", "CustomResourceDefinition/x is not of a namespace"},
		{"webhook", owner, object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", ""), "", "is not of a namespace"},
		{"custom kind", owner, object("example.com/v1", "Widget", ""), "team-a", ""},
		{"custom cluster-scoped kind, allowed", allowing, object("example.com/v1", "Widget", ""), "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			objs := parse(t, test.manifest)
			err := Own(objs, test.owner)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			case err == nil && objs[0].GetNamespace() != test.namespace:
				t.Errorf("namespace %q, want %q", objs[0].GetNamespace(), test.namespace)
			}
		})
	}
}

func TestOwnMarks(t *testing.T) {
	objs := parse(t, `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app.kubernetes.io/managed-by: Helm, shipmate.dev/app: forged, team: a}
  annotations: null
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, shipmate.dev/track: canary}}
    spec: {containers: [{name: a, image: b}], imagePullSecrets: [{name: theirs}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: b}], imagePullSecrets: [{name: pull}]}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {containers: [{name: a, image: b}]}
`)
	o := owner
	o.PullSecret = "pull"
	if err := Own(objs, o); err != nil {
		t.Fatal(err)
	}
	for _, obj := range objs {
		labels := obj.GetLabels()
		if labels[LabelManagedBy] != "shipmate" || labels[LabelApp] != "web" || labels[LabelEnvironment] != "staging" || !o.owns(obj) {
			t.Errorf("%s: labels %v", RefOf(obj), labels)
		}
		if got := obj.GetAnnotations()[AnnotationRelease]; got != "7" {
			t.Errorf("%s: release %q", RefOf(obj), got)
		}
		var names []string
		secrets := podSpecs(obj)[0].spec["imagePullSecrets"].([]any)
		for _, s := range secrets {
			names = append(names, s.(map[string]any)["name"].(string))
		}
		if got := strings.Join(names, " "); got != "pull" && got != "theirs pull" {
			t.Errorf("%s: pull secrets %q", RefOf(obj), got)
		}
	}
	if got := objs[0].GetLabels()["team"]; got != "a" {
		t.Errorf("a label of the manifest became %q", got)
	}
	for _, obj := range objs[:2] {
		labels, _, _ := unstructured.NestedStringMap(podSpecs(obj)[0].template, "metadata", "labels")
		if labels[LabelTrack] != "stable" {
			t.Errorf("%s: template labels %v", RefOf(obj), labels)
		}
	}
	if _, ok := objs[2].GetLabels()[LabelTrack]; ok {
		t.Error("a bare Pod has a track")
	}
	selector, _, _ := unstructured.NestedStringMap(objs[0].Object, "spec", "selector", "matchLabels")
	if len(selector) != 1 || selector["app"] != "web" {
		t.Errorf("the selector became %v", selector)
	}
	o.App = "shop"
	if o.owns(objs[0]) {
		t.Error("another app owns it")
	}
}

func TestOwnRefuses(t *testing.T) {
	pod := "{apiVersion: v1, kind: Pod, metadata: {name: p}}"
	with := func(change func(*Owner)) Owner { o := owner; change(&o); return o }
	for _, test := range []struct {
		name, manifest string
		owner          Owner
		want           string
	}{
		{"no namespace", pod, with(func(o *Owner) { o.Namespace = "" }), "namespace"},
		{"odd namespace", pod, with(func(o *Owner) { o.Namespace = "a/../b" }), "namespace"},
		{"no app", pod, with(func(o *Owner) { o.App = "" }), "label value"},
		{"odd environment", pod, with(func(o *Owner) { o.Environment = "a b" }), "label value"},
		{"long app", pod, with(func(o *Owner) { o.App = strings.Repeat("a", 64) }), "label value"},
		{"track in matchLabels", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {selector: {matchLabels: {shipmate.dev/track: stable}}, template: {spec: {containers: []}}}}", owner, "spec.selector has shipmate.dev/track"},
		{"track in matchExpressions", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {selector: {matchExpressions: [{key: shipmate.dev/track, operator: Exists}]}, template: {spec: {containers: []}}}}", owner, "spec.selector has shipmate.dev/track"},
		{"the pull secret", "{apiVersion: v1, kind: Secret, metadata: {name: pull}}", with(func(o *Owner) { o.PullSecret = "pull" }), "Secret/pull: is what pull_secret has us make"},
		{"template metadata", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: {metadata: 1, spec: {containers: []}}}}", owner, "must be a mapping"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Own(parse(t, test.manifest), test.owner)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	manifest := `
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {text: "<&> 中文 \u2028", b: "1"}}
---
{kind: Thing, apiVersion: example.com/v1, metadata: {name: b}, spec: {big: 9007199254740993, small: 0.5, whole: 3.0, yes: true, none: null, list: [1, a]}}
`
	objs := parse(t, manifest)
	data, err := Encode(objs)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Encode(decoded)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(again) {
		t.Errorf("encoding is not stable:\n%s%s", data, again)
	}
	if !strings.Contains(string(data), "9007199254740993") {
		t.Errorf("a large number changed: %s", data)
	}
	hash := func(text string) string {
		h, err := Hash(parse(t, text))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if a, b := hash(manifest), hash(strings.Replace(manifest, "kind: Thing, apiVersion: example.com/v1", "apiVersion: example.com/v1, kind: Thing", 1)); a != b || !sha256Digest.MatchString(a) {
		t.Errorf("the order of keys changes the hash: %s %s", a, b)
	}
	if a, b := hash(manifest), hash(strings.Replace(manifest, `b: "1"`, `b: "2"`, 1)); a == b {
		t.Error("a change does not change the hash")
	}
	for _, bad := range []string{"{", "{}\n", "null\n", `{"kind":"A"}`, "[]"} {
		if _, err := Decode([]byte(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("Decode(%q): %v", bad, err)
		}
	}
}
