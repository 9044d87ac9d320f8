package kube

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAdoptable: people at work are taken over from, controllers are not.
func TestAdoptable(t *testing.T) {
	live := parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")[0]
	var fields []metav1.ManagedFieldsEntry
	for _, name := range []string{"kubectl-edit", "kube-controller-manager", "kubectl/scale", "helm", "shipmate", "before-first-apply", "argocd-controller", "kubectl-edit"} {
		name, sub, _ := strings.Cut(name, "/")
		fields = append(fields, metav1.ManagedFieldsEntry{Manager: name, Subresource: sub})
	}
	live.SetManagedFields(fields)
	if got := fmt.Sprint(adoptable(live)); got != "[before-first-apply helm kubectl-edit]" {
		t.Error(got)
	}
}

func TestLost(t *testing.T) {
	live := parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")[0]
	for last, want := range map[string]string{
		"":  "[]",
		"{": "[]",
		`{"data":{"a":"1","b.c":"2","d":""},"spec":{"args":["x"],"containers":[{"name":"web","env":[{"name":"A"}]},{"name":"side"}]}}`: `[data["b.c"] spec.containers[web].env[A] spec.containers[side]]`,
		`{"data":{"0":"1","1":"1","2":"1","3":"1","4":"1","5":"1","6":"1","7":"1","8":"1","9":"1","x":"1"}}`:                           "[data.0 data.1 data.2 data.3 data.4 data.5 data.6 data.7 data.8 data.9]",
	} {
		live.SetAnnotations(map[string]string{lastApplied: last})
		obj := parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: '1'}, spec: {args: [y], containers: [{name: web, env: [{name: B}]}]}}")[0]
		if got := fmt.Sprint(lost(obj, live)); got != want {
			t.Errorf("%s: got %s, want %s", last, got, want)
		}
	}
}

// TestAdoptMigrates what kubectl owns before it applies, and only if nobody changed the object meanwhile.
func TestAdoptMigrates(t *testing.T) {
	const live = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"team-a","resourceVersion":"7","managedFields":[
		{"manager":"kubectl-client-side-apply","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:old":{}}}},
		{"manager":"kubectl","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:older":{}}}},
		{"manager":"someone","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:theirs":{}}}}]}}`
	var migrated string
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") == "application/json-patch+json" {
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			migrated = string(text)
		}
		fmt.Fprint(w, live)
	})
	if err := c.Apply(t.Context(), parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: team-a}}"), ApplyOptions{Adopt: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(migrated, `"manager":"shipmate"`) || !strings.Contains(migrated, `"f:old":{},"f:older":{}`) || strings.Contains(migrated, "kubectl") || !strings.Contains(migrated, `"manager":"someone"`) || !strings.Contains(migrated, `"path":"/metadata/resourceVersion","value":"7"`) {
		t.Errorf("%s", migrated)
	}
	if got := strings.Join(a.asked, "\n"); strings.Count(got, "force=true") != 2 || strings.Index(got, "dryRun") > strings.LastIndex(got, "PATCH") {
		t.Errorf("%s", got)
	}
}
