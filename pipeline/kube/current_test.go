package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestCurrent: only what an apply would leave as it is counts as such.
func TestCurrent(t *testing.T) {
	for _, test := range []struct {
		name string
		obj  []string // old and new texts of what is wanted
		live []string // of what is there
		ours []string // of what we own of it
		want bool
	}{
		{"as it was", nil, nil, nil, true},
		{"defaults", nil, []string{"replicas: 2", "replicas: 2\n  revisionHistoryLimit: 10"}, nil, true},
		{"a false that is not stored, beside a default", nil, []string{"nodeSelector:", "restartPolicy: Always\n      nodeSelector:"}, nil, true},
		{"more by somebody else", nil, []string{"app: web, example.com/team: a", "app: web, example.com/team: a, more: b", `{name: A,`, `{name: C, value: x}, {name: A,`}, nil, true},
		{"nothing there of a field that is null", []string{"replicas: 2", "replicas: 2\n  paused: null"}, nil, nil, true},
		{"nor of one that was null before", []string{"replicas: 2", "replicas: 2\n  paused: null"}, nil, []string{`"f:replicas":{}`, `"f:replicas":{},"f:paused":{}`}, true},

		{"another release", []string{`release: "2"`, `release: "3"`}, nil, nil, false},
		{"another value", []string{`image: example.com/web`, "image: example.com/web:2"}, nil, nil, false},
		{"another value there, still ours", nil, []string{`value: "1"`, `value: "2"`}, nil, false},
		{"a field more", []string{"replicas: 2", "replicas: 2\n  minReadySeconds: 1"}, nil, nil, false},
		{"a field more, there by default", []string{"replicas: 2", "replicas: 2\n  revisionHistoryLimit: 10"}, []string{"replicas: 2", "replicas: 2\n  revisionHistoryLimit: 10"}, nil, false},
		{"a field less", []string{"replicas: 2", ""}, nil, nil, false},
		{"a field that is null and somebody's", []string{"replicas: 2", "replicas: 2\n  paused: null"}, []string{"replicas: 2", "replicas: 2\n  paused: true"}, nil, false},
		{"a zero that is null now", []string{"replicas: 2", "replicas: null"}, []string{"replicas: 2", "replicas: 0"}, nil, false},
		{"a null that is false now, which is stored", []string{"hostNetwork: false", "hostNetwork: false\n      hostUsers: false"}, nil, []string{`"f:hostNetwork":{}`, `"f:hostNetwork":{},"f:hostUsers":{}`}, false},
		{"a variable less", []string{`{name: A, value: "1"}, `, ""}, nil, nil, false},
		{"variables in another order", []string{`{name: A, value: "1"}, {name: B, value: ""}`, `{name: B, value: ""}, {name: A, value: "1"}`}, nil, nil, false},
		{"a label of a list owned as a whole", []string{"disk: ssd", "disk: ssd, zone: a"}, nil, nil, false},
		{"less of a list owned as a whole", nil, []string{"disk: ssd", "disk: ssd, zone: a"}, nil, false},
		{"arguments", []string{`[--port, "80"]`, `[--port, "80", -v]`}, nil, nil, false},
		{"a number for a text", []string{`[--port, "80"]`, `[--port, 80]`}, nil, nil, false},
		{"a quantity", []string{"cpu: 1000m", "cpu: 1001m"}, nil, nil, false},
		{"what is no quantity", []string{`value: "1"`, `value: 1000m`}, nil, nil, false},
		{"a port of another protocol", []string{"{containerPort: 80}", "{containerPort: 80, protocol: UDP}"}, nil, nil, false},
		{"ports that can't be told apart", nil, nil, []string{`"f:ports":{`, `"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"UDP\"}":{".":{},"f:containerPort":{}},`}, false},
		{"taken by somebody else", nil, nil, []string{`"f:replicas":{},`, ""}, false},
		{"removed by somebody else", nil, []string{", example.com/team: a", ""}, []string{`,"f:example.com/team":{}`, ""}, false},
		{"never applied by us", nil, nil, []string{`"f:spec"`, `"f:none"`}, false},
		{"another version", []string{"apps/v1", "apps/v2"}, nil, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := func(text string, pairs []string) string {
				for i := 0; i < len(pairs); i += 2 {
					if !strings.Contains(text, pairs[i]) {
						t.Fatalf("there is no %s", pairs[i])
					}
					text = strings.Replace(text, pairs[i], pairs[i+1], 1)
				}
				return text
			}
			kept := strings.NewReplacer("containerPort: 80", "containerPort: 80, protocol: TCP", "cpu: 1000m", `cpu: "1"`, `, value: ""`, "", "hostNetwork: false", "dnsPolicy: ClusterFirst")
			live := parse(t, changed(kept.Replace(released), test.live))[0]
			all := strings.Replace(ownedByUs, `"k:{\"name\":\"B\"}":{".":{},"f:name":{}}`, `"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}`, 1)
			manage(live, changed(all, test.ours))
			if got := current(parse(t, changed(released, test.obj))[0], live); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestCurrentInParts: what manifests mostly don't have, and what is stored within something that is owned as a whole.
func TestCurrentInParts(t *testing.T) {
	object := func(apiVersion, kind, fields string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(fields), &o.Object); err != nil {
			t.Fatal(err)
		}
		o.SetAPIVersion(apiVersion)
		o.SetKind(kind)
		o.SetName("a")
		return o
	}
	for name, test := range map[string]struct {
		apiVersion, kind, wanted, live, ours string
		want                                 bool
	}{
		"no status wanted": {"v1", "Pod", `{"spec":{"a":1},"status":{}}`, `{"spec":{"a":1},"status":{"b":1}}`, `{"f:spec":{"f:a":{}}}`, true},
		"a status wanted":  {"v1", "Pod", `{"spec":{"a":1},"status":{"b":1}}`, `{"spec":{"a":1},"status":{"b":1}}`, `{"f:spec":{"f:a":{}}}`, false},
		"being deleted":    {"v1", "Pod", `{"spec":{"a":1}}`, `{"spec":{"a":1},"metadata":{"deletionTimestamp":"2026-03-04T14:02:00Z"}}`, `{"f:spec":{"f:a":{}}}`, false},
		"a set":            {"v1", "Pod", `{"spec":{"a":["x","y"]}}`, `{"spec":{"a":["x","theirs","y"]}}`, `{"f:spec":{"f:a":{"v:\"x\"":{},"v:\"y\"":{}}}}`, true},
		"less of a set":    {"v1", "Pod", `{"spec":{"a":["x"]}}`, `{"spec":{"a":["x","y"]}}`, `{"f:spec":{"f:a":{"v:\"x\"":{},"v:\"y\"":{}}}}`, false},
		"more of a set":    {"v1", "Pod", `{"spec":{"a":["x","y"]}}`, `{"spec":{"a":["x"]}}`, `{"f:spec":{"f:a":{"v:\"x\"":{}}}}`, false},
		"a protocol":       {"networking.k8s.io/v1", "NetworkPolicy", `{"spec":{"ingress":[{"ports":[{"port":80}]}]}}`, `{"spec":{"ingress":[{"ports":[{"port":80,"protocol":"TCP"}]}]}}`, `{"f:spec":{"f:ingress":{}}}`, true},
		"another protocol": {"networking.k8s.io/v1", "NetworkPolicy", `{"spec":{"ingress":[{"ports":[{"port":80}]}]}}`, `{"spec":{"ingress":[{"ports":[{"port":80,"protocol":"UDP"}]}]}}`, `{"f:spec":{"f:ingress":{}}}`, false},
		"of another kind":  {"example.com/v1", "Thing", `{"spec":{"a":{"b":1}}}`, `{"spec":{"a":{"b":1,"protocol":"TCP"}}}`, `{"f:spec":{"f:a":{}}}`, false},
		"its limits":       {"example.com/v1", "Thing", `{"spec":{"limits":{"b":"1000m"}}}`, `{"spec":{"limits":{"b":"1"}}}`, `{"f:spec":{"f:limits":{"f:b":{}}}}`, false},
		"no quantity":      {"v1", "ConfigMap", `{"data":{"limits":"1000m"}}`, `{"data":{"limits":"1"}}`, `{"f:data":{"f:limits":{}}}`, false},
		"another nothing":  {"example.com/v1", "Thing", `{"spec":{"a":false}}`, `{"spec":{"a":""}}`, `{"f:spec":{"f:a":{}}}`, false},
		"its protocol":     {"gateway.networking.k8s.io/v1", "Thing", `{"spec":{"a":{"b":1}}}`, `{"spec":{"a":{"b":1,"protocol":"TCP"}}}`, `{"f:spec":{"f:a":{}}}`, false},
		"in the clear":     {"v1", "Secret", `{"stringData":{"a":"1"}}`, `{"data":{"a":"MQ=="}}`, `{"f:stringData":{"f:a":{}}}`, true},
		"another secret":   {"v1", "Secret", `{"stringData":{"a":"1"}}`, `{"data":{"a":"Mg=="}}`, `{"f:stringData":{"f:a":{}}}`, false},
	} {
		obj, live := object(test.apiVersion, test.kind, test.wanted), object(test.apiVersion, test.kind, test.live)
		manage(live, test.ours)
		if got := current(obj, live); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
		live.SetManagedFields(append(live.GetManagedFields(), live.GetManagedFields()[1]))
		if current(obj, live) {
			t.Errorf("%s: that it is noted twice is not trusted", name)
		}
	}
}

// manage notes that we own fields of a live object.
func manage(live *unstructured.Unstructured, fields string) {
	live.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: live.GetAPIVersion(), Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`)},
		{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: live.GetAPIVersion(), FieldsV1: metav1.NewFieldsV1(fields)},
	})
}

// shelf is an API server that keeps ConfigMaps and Secrets of one namespace by name, and applies in a plain way.
type shelf struct {
	mu       sync.Mutex
	objects  map[string]*unstructured.Unstructured
	noList   bool
	conflict string        // the name of one of which somebody else owns a field
	slow     time.Duration // what an apply takes
	together int           // applies under way
	most     int
	version  int // of the object that was written last
}

func (s *shelf) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, kind := path.Base(r.URL.Path), "ConfigMap"
	if strings.Contains(r.URL.Path, "/secrets") {
		kind = "Secret"
	}
	switch {
	case r.Method == http.MethodGet && (name == "configmaps" || name == "secrets"):
		if s.noList {
			writeStatus(w, apierrors.NewForbidden(schema.GroupResource{Resource: name}, "", fmt.Errorf("no list")))
			return
		}
		all := []any{}
		for _, o := range s.objects {
			if o.GetKind() == kind && strings.Contains(r.URL.Query().Get("labelSelector"), LabelApp+"="+o.GetLabels()[LabelApp]) {
				all = append(all, o.Object)
			}
		}
		json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": kind + "List", "metadata": map[string]any{}, "items": all})
	case r.Method == http.MethodGet && s.objects[kind+"/"+name] == nil:
		writeStatus(w, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name))
	case r.Method == http.MethodGet:
		json.NewEncoder(w).Encode(s.objects[kind+"/"+name].Object)
	case r.Header.Get("Content-Type") == "application/json-patch+json": // an adoption
		o := s.objects[kind+"/"+name]
		o.SetManagedFields(o.GetManagedFields()[:2])
		json.NewEncoder(w).Encode(o.Object)
	case r.Method == http.MethodPatch:
		o := &unstructured.Unstructured{}
		if err := json.NewDecoder(r.Body).Decode(&o.Object); err != nil {
			panic(err)
		}
		if name == s.conflict && r.URL.Query().Get("force") != "true" {
			writeStatus(w, apierrors.NewApplyConflict([]metav1.StatusCause{{Type: metav1.CauseTypeFieldManagerConflict, Field: ".data.a", Message: `conflict with "kubectl-edit"`}}, "conflict"))
			return
		}
		s.together++
		s.most = max(s.most, s.together)
		s.mu.Unlock()
		time.Sleep(s.slow)
		s.mu.Lock()
		s.together--
		if r.URL.Query().Get("dryRun") == "" {
			s.version++
			o.SetResourceVersion(fmt.Sprint(s.version))
			s.objects[kind+"/"+name] = o
			manage(o, `{"f:metadata":{"f:annotations":{"f:shipmate.dev/release":{}},"f:labels":{"f:app.kubernetes.io/managed-by":{},"f:shipmate.dev/app":{},"f:shipmate.dev/environment":{}}},"f:data":{"f:a":{}}}`)
		}
		json.NewEncoder(w).Encode(o.Object)
	default:
		panic(r.Method + r.URL.Path)
	}
}

func shelved(t *testing.T, kind string, n int, release string) []*unstructured.Unstructured {
	var objs []*unstructured.Unstructured
	for i := range n {
		objs = append(objs, parse(t, fmt.Sprintf("{apiVersion: v1, kind: %s, metadata: {name: c%02d}, data: {a: MQ==}}", kind, i))...)
	}
	if err := Own(objs, Owner{App: "web", Environment: "staging", Release: release, Namespace: "n"}); err != nil {
		t.Fatal(err)
	}
	return objs
}

// asks returns what was asked since it was last called, sorted: verb and name, a dry run in small letters.
func (a *api) asks() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, one := range a.asked {
		verb, at, _ := strings.Cut(one, " ")
		at, query, _ := strings.Cut(at, "?")
		if strings.Contains(query, "dryRun=") {
			verb = strings.ToLower(verb)
		}
		all = append(all, verb+" "+path.Base(at))
	}
	a.asked = nil
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// TestUnchanged: what is as it should be costs one list of its kind, and nothing that is not is taken for that.
func TestUnchanged(t *testing.T) {
	s := &shelf{objects: map[string]*unstructured.Unstructured{}}
	a, c := newAPI(t, s.answer)
	apply := func(objs []*unstructured.Unstructured, opts ApplyOptions, want string) {
		t.Helper()
		if err := c.Apply(t.Context(), objs, opts); err != nil {
			t.Error(err)
		}
		if got := a.asks(); got != want {
			t.Errorf("asked %s\nwant  %s", got, want)
		}
	}
	first := shelved(t, "ConfigMap", 2, "1")
	apply(first, ApplyOptions{}, "GET c00, GET c01, GET configmaps, PATCH c00, PATCH c01, patch c00, patch c01")
	next := shelved(t, "ConfigMap", 2, "2")
	if err := KeepRelease(next, first); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []ApplyOptions{{}, {Force: true}, {Adopt: true}} {
		apply(next, opts, "GET configmaps")
	}
	changes, err := c.Diff(t.Context(), next, first)
	if err != nil || len(changes) != 2 || changes[0].Action != "none" || changes[1].Object != "ConfigMap/c01" || changes[0].Text+changes[0].Note != "" {
		t.Errorf("%+v, %v", changes, err)
	}
	if got := a.asks(); got != "GET configmaps" {
		t.Errorf("asked %s", got)
	}

	// Changed by hand, and deleted.
	if err := unstructured.SetNestedField(s.objects["ConfigMap/c01"].Object, "Mg==", "data", "a"); err != nil {
		t.Fatal(err)
	}
	apply(next, ApplyOptions{}, "GET configmaps, PATCH c01, patch c01")
	delete(s.objects, "ConfigMap/c00")
	apply(next, ApplyOptions{}, "GET c00, GET configmaps, PATCH c00, patch c00")

	// Another has a field: nothing is changed, of the others neither.
	manage(s.objects["ConfigMap/c00"], `{}`)
	s.conflict = "c00"
	delete(s.objects, "ConfigMap/c01")
	if err := c.Apply(t.Context(), next, ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "kubectl-edit") || s.objects["ConfigMap/c01"] != nil {
		t.Errorf("%v", err)
	}
	a.asks()
	apply(next, ApplyOptions{Force: true}, "GET c01, GET configmaps, PATCH c00, PATCH c01, patch c00, patch c01")

	// Kubectl has a part in it: an adoption does not leave it alone.
	s.conflict = ""
	fields := s.objects["ConfigMap/c00"].GetManagedFields()
	s.objects["ConfigMap/c00"].SetManagedFields(append(fields, metav1.ManagedFieldsEntry{Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:b":{}}}`)}))
	apply(next, ApplyOptions{}, "GET configmaps")
	if changes, err := c.Diff(t.Context(), next, first); err != nil || strings.Join(changes[0].Takes, " ") != "kubectl-edit" {
		t.Errorf("%+v, %v", changes, err)
	}
	a.asks()
	if err := c.Apply(t.Context(), next, ApplyOptions{Adopt: true}); err != nil {
		t.Error(err)
	}
	if got := a.asks(); got != "GET configmaps, PATCH c00, PATCH c00, patch c00" {
		t.Errorf("asked %s", got)
	}

	// One of another app is refused, though none of ours has its name.
	s.objects["ConfigMap/c00"] = shelved(t, "ConfigMap", 1, "1")[0]
	s.objects["ConfigMap/c00"].SetLabels(map[string]string{LabelManagedBy: FieldManager, LabelApp: "other", LabelEnvironment: "staging"})
	if err := c.Apply(t.Context(), next, ApplyOptions{Force: true}); err == nil || !strings.Contains(err.Error(), "app other") {
		t.Errorf("%v", err)
	}
}

// TestTriedOnce: what Diff has just tried is not tried again, unless it or what is there is another by now, or time has passed.
func TestTriedOnce(t *testing.T) {
	s := &shelf{objects: map[string]*unstructured.Unstructured{}}
	a, c := newAPI(t, s.answer)
	diff := func(objs []*unstructured.Unstructured) {
		t.Helper()
		if _, err := c.Diff(t.Context(), objs, nil); err != nil {
			t.Fatal(err)
		}
		a.asks()
	}
	apply := func(objs []*unstructured.Unstructured, want string) {
		t.Helper()
		err := c.Apply(t.Context(), objs, ApplyOptions{})
		if got := a.asks(); err != nil || got != want {
			t.Errorf("%v: asked %s\nwant %s", err, got, want)
		}
	}
	first := shelved(t, "ConfigMap", 1, "1")
	diff(first)
	apply(first, "GET c00, PATCH c00")

	next := shelved(t, "ConfigMap", 1, "2")
	diff(next)
	apply(shelved(t, "ConfigMap", 1, "3"), "GET c00, PATCH c00, patch c00")
	apply(next, "GET c00, PATCH c00, patch c00")

	next = shelved(t, "ConfigMap", 1, "4")
	diff(next)
	for ref, made := range c.trials.made {
		made.at = made.at.Add(-trialTTL)
		c.trials.made[ref] = made
	}
	apply(next, "GET c00, PATCH c00, patch c00")
	diff(shelved(t, "ConfigMap", 2, "5")[1:])
	if len(c.trials.made) != 1 {
		t.Errorf("%d are remembered", len(c.trials.made))
	}

	// A conflict is none that went well, though Diff goes on to show what a forced apply would do.
	next = shelved(t, "ConfigMap", 1, "6")
	s.conflict = "c00"
	diff(next)
	if err := c.Apply(t.Context(), next, ApplyOptions{}); err == nil || a.asks() != "GET c00, patch c00" {
		t.Errorf("%v", err)
	}
}

// TestReads: Secrets are not listed, and where nothing may be listed everything is read one by one.
func TestReads(t *testing.T) {
	s := &shelf{objects: map[string]*unstructured.Unstructured{}}
	a, c := newAPI(t, s.answer)
	secrets, configs := shelved(t, "Secret", 2, "1"), shelved(t, "ConfigMap", 2, "1")
	for _, objs := range [][]*unstructured.Unstructured{secrets, configs} {
		if err := c.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	a.asks()
	if err := c.Apply(t.Context(), secrets, ApplyOptions{}); err != nil || a.asks() != "GET c00, GET c01" {
		t.Error(err)
	}
	s.noList = true
	if err := c.Apply(t.Context(), configs, ApplyOptions{}); err != nil || a.asks() != "GET c00, GET c01, GET configmaps" {
		t.Error(err)
	}
	if err := c.Apply(t.Context(), configs[:1], ApplyOptions{}); err != nil || a.asks() != "GET c00" {
		t.Error("one is not worth a list", err)
	}
}

// TestApplyTogether: what does not depend on each other is applied at once, but not without bound, and the error is always the same.
func TestApplyTogether(t *testing.T) {
	s := &shelf{objects: map[string]*unstructured.Unstructured{}, slow: 20 * time.Millisecond}
	_, c := newAPI(t, s.answer)
	objs := shelved(t, "ConfigMap", 30, "1")
	if err := c.Apply(t.Context(), objs, ApplyOptions{}); err != nil || len(s.objects) != 30 {
		t.Fatal(err, len(s.objects))
	}
	if s.most < 2 || s.most > atOnce {
		t.Errorf("%d at once", s.most)
	}
	for range 20 {
		err := each(30, func(i int) error {
			if i == 3 || i > 4 {
				time.Sleep(time.Duration(i%3) * time.Millisecond)
				return fmt.Errorf("error %d", i)
			}
			return nil
		})
		if err == nil || err.Error() != "error 3" {
			t.Fatal(err)
		}
	}
}

func TestKeepRelease(t *testing.T) {
	old, next := shelved(t, "ConfigMap", 3, "1"), shelved(t, "ConfigMap", 3, "2")
	if err := unstructured.SetNestedField(next[1].Object, "Mg==", "data", "a"); err != nil {
		t.Fatal(err)
	}
	if err := KeepRelease(next, old[:2]); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"1", "2", "2"} { // unchanged, changed, new
		if got := next[i].GetAnnotations()[AnnotationRelease]; got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	if old[1].GetAnnotations()[AnnotationRelease] != "1" {
		t.Error("what was released was changed")
	}
}
