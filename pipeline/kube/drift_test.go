package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const released = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: team-a, annotations: {shipmate.dev/release: "2"}, labels: {app: web, example.com/team: a}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      hostNetwork: false
      nodeSelector: {disk: ssd}
      containers:
        - name: web
          image: example.com/web
          args: [--port, "80"]
          env: [{name: A, value: "1"}, {name: B, value: ""}]
          ports: [{containerPort: 80}]
          resources: {requests: {cpu: 1000m, memory: 1Gi}}
`

// ownedByUs is what server-side apply notes of released.
const ownedByUs = `{"f:metadata":{"f:annotations":{"f:shipmate.dev/release":{}},"f:labels":{"f:app":{},"f:example.com/team":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{
"f:hostNetwork":{},"f:nodeSelector":{},"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{},"f:args":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"B\"}":{".":{},"f:name":{}}},
"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{"f:requests":{"f:cpu":{},"f:memory":{}}}}}}}}}`

// TestDrift: each change is what an update by somebody else makes of the object and of who owns what.
func TestDrift(t *testing.T) {
	at := time.Date(2026, 3, 4, 14, 2, 0, 0, time.UTC)
	const inContainer = `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":%s}}}}}`
	without := func(field string) func(string) string {
		return func(ours string) string {
			if !strings.Contains(ours, field) {
				t.Fatalf("nothing owns %s", field)
			}
			return strings.Replace(ours, field, "", 1)
		}
	}
	for _, test := range []struct {
		name    string
		live    []string            // old and new texts of what is there
		ours    func(string) string // what is left of what we own
		manager string              // with its subresource
		theirs  string
		want    string
	}{
		{"nothing", nil, nil, "", "", ""},
		{"defaults", []string{"replicas: 2", "replicas: 2\n  revisionHistoryLimit: 10", "containerPort: 80", "containerPort: 80, protocol: TCP", "hostNetwork: false", "restartPolicy: Always", `cpu: 1000m`, `cpu: "1"`, `, value: ""`, ""}, nil, "", "", ""},
		{"replicas", []string{"replicas: 2", "replicas: 3"}, without(`"f:replicas":{},`), "kubectl-edit", `{"f:spec":{"f:replicas":{}}}`, "spec.replicas is 3, released 2, by kubectl-edit at 2026-03-04 14:02 UTC"},
		{"by scale", []string{"replicas: 2", "replicas: 3"}, without(`"f:replicas":{},`), "kubectl/scale", `{"f:spec":{"f:replicas":{}}}`, "spec.replicas is 3, released 2, by kubectl at 2026-03-04 14:02 UTC"},
		{"by an autoscaler", []string{"replicas: 2", "replicas: 3"}, without(`"f:replicas":{},`), "kube-controller-manager/scale", `{"f:spec":{"f:replicas":{}}}`, ""},
		{"to zero", []string{"replicas: 2", "replicas: 0"}, without(`"f:replicas":{},`), "kubectl-edit", `{"f:spec":{"f:replicas":{}}}`, "spec.replicas is 0, released 2, by kubectl-edit at 2026-03-04 14:02 UTC"},
		{"another owns the same", nil, nil, "kubectl-client-side-apply", strings.Replace(ownedByUs, "{}", "{}", 1), ""},
		{"another owns the same, written otherwise", []string{"cpu: 1000m", "cpu: 1"}, nil, "helm", fmt.Sprintf(inContainer, `{"f:resources":{"f:requests":{"f:cpu":{}}}}`), ""},
		{"an image", []string{"image: example.com/web", "image: example.com/other"}, without(`"f:image":{},`), "kubectl-set", fmt.Sprintf(inContainer, `{"f:image":{}}`), "spec.template.spec.containers[web].image is example.com/other, released example.com/web, by kubectl-set at 2026-03-04 14:02 UTC"},
		{"arguments", []string{`"80"`, `"81"`}, without(`"f:args":{},`), "kubectl-edit", fmt.Sprintf(inContainer, `{"f:args":{}}`), `spec.template.spec.containers[web].args is ["--port","81"], released ["--port","80"], by kubectl-edit at 2026-03-04 14:02 UTC`},
		{"a variable", []string{`value: "1"`, `value: "2"`}, without(`,"f:value":{}`), "kubectl-edit", fmt.Sprintf(inContainer, `{"f:env":{"k:{\"name\":\"A\"}":{"f:value":{}}}}`), "spec.template.spec.containers[web].env[A].value is 2, released 1, by kubectl-edit at 2026-03-04 14:02 UTC"},
		{"a variable more", []string{`{name: A,`, `{name: C, value: x}, {name: A,`}, nil, "kubectl-edit", fmt.Sprintf(inContainer, `{"f:env":{"k:{\"name\":\"C\"}":{".":{},"f:name":{},"f:value":{}}}}`), ""},
		{"a variable less", []string{`{name: A, value: "1"}, `, ``}, without(`"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}},`), "", "", `spec.template.spec.containers[web].env[A] is gone, released {"name":"A","value":"1"}`},
		{"a label", []string{"example.com/team: a", "example.com/team: b"}, without(`,"f:example.com/team":{}`), "kubectl-label", `{"f:metadata":{"f:labels":{"f:example.com/team":{}}}}`, `metadata.labels["example.com/team"] is b, released a, by kubectl-label at 2026-03-04 14:02 UTC`},
		{"a label less", []string{", example.com/team: a", ""}, without(`,"f:example.com/team":{}`), "", "", `metadata.labels["example.com/team"] is gone, released a`},
		{"a selector that is narrower", []string{"disk: ssd", "disk: ssd, zone: a"}, without(`"f:nodeSelector":{},`), "kubectl-edit", `{"f:spec":{"f:template":{"f:spec":{"f:nodeSelector":{}}}}}`, `spec.template.spec.nodeSelector is {"disk":"ssd","zone":"a"}, released {"disk":"ssd"}, by kubectl-edit at 2026-03-04 14:02 UTC`},
		{"what a webhook changed as we applied", []string{"image: example.com/web", "image: mirror.example.com/web", "memory: 1Gi", "x: y"}, nil, "", "", ""},
		{"another release", []string{`release: "2"`, `release: "3"`, "replicas: 2", "replicas: 3"}, without(`"f:replicas":{},`), "kubectl-edit", `{"f:spec":{"f:replicas":{}}}`, ""},
		{"its status", nil, nil, "kube-controller-manager/status", `{"f:spec":{"f:replicas":{}}}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, ours := released, ownedByUs
			for i := 0; i < len(test.live); i += 2 {
				if !strings.Contains(text, test.live[i]) {
					t.Fatalf("there is no %s", test.live[i])
				}
				text = strings.Replace(text, test.live[i], test.live[i+1], 1)
			}
			if test.ours != nil {
				ours = test.ours(ours)
			}
			live := parse(t, text)[0]
			fields := []metav1.ManagedFieldsEntry{{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(ours)}}
			if test.manager != "" {
				name, sub, _ := strings.Cut(test.manager, "/")
				fields = append(fields, metav1.ManagedFieldsEntry{Manager: name, Subresource: sub, Operation: metav1.ManagedFieldsOperationUpdate, Time: &metav1.Time{Time: at}, FieldsV1: metav1.NewFieldsV1(test.theirs)})
			}
			live.SetManagedFields(fields)
			var got []string
			for _, d := range drift(parse(t, released)[0], live) {
				got = append(got, d.String())
			}
			if s := strings.Join(got, "\n"); s != test.want {
				t.Errorf("got  %s\nwant %s", s, test.want)
			}
		})
	}
}

// TestDriftOfSecret shows no value, and knows stringData where it is stored.
func TestDriftOfSecret(t *testing.T) {
	obj := parse(t, "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: team-a}, stringData: {a: hunter2, b: same}}")[0]
	live := parse(t, "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: team-a}, data: {a: aHVudGVyMw==, b: c2FtZQ==}}")[0]
	live.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:a":{},"f:b":{}}}`)}})
	if got := fmt.Sprint(drift(obj, live)); got != "[data.a is ***, released ***, by kubectl-edit]" {
		t.Error(got)
	}
}

// TestDriftReads everything there is, and tells of at most 20 fields.
func TestDriftReads(t *testing.T) {
	_, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if strings.HasPrefix(name, "gone") {
			writeStatus(w, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name))
			return
		}
		live := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"a": "2"}}}
		live.SetName(name)
		live.SetNamespace("n")
		live.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:a":{}}}`)}})
		if err := json.NewEncoder(w).Encode(live.Object); err != nil {
			t.Error(err)
		}
	})
	var objs []*unstructured.Unstructured
	objs = append(objs, parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: gone, namespace: team-a}}")...)
	objs = append(objs, parse(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: gone, namespace: team-a}, spec: {template: {spec: {containers: []}}}}")...)
	for i := range 30 {
		objs = append(objs, parse(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: c%d, namespace: team-a}, data: {a: '1'}}", i))...)
	}
	drifts, err := c.Drift(t.Context(), objs)
	if err != nil || len(drifts) != 20 || drifts[0] != (Drift{Object: "ConfigMap/gone"}) || drifts[19].Object != "ConfigMap/c18" || drifts[1].Live != "2" {
		t.Errorf("%v %v", drifts, err)
	}
	if slices.ContainsFunc(drifts, func(d Drift) bool { return d.Object == "Deployment/gone" }) {
		t.Error("what has pods is told by Status")
	}
}
