//go:build e2e

package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// driftManifest is full of what the API server writes in another way, leaves out or fills in. No pod runs.
const driftManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {team: a}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, creationTimestamp: null}
    spec:
      hostNetwork: false
      securityContext: {}
      nodeSelector: {disk: ssd}
      volumes: [{name: tmp, emptyDir: {}}, {name: cfg, configMap: {name: web}}]
      containers:
        - name: web
          image: IMAGE
          args: [--port, "80"]
          env: [{name: A, value: "1"}, {name: B, value: ""}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]
          resources: {requests: {cpu: 1000m, memory: 1024Mi}, limits: {cpu: 2}}
          volumeMounts: [{name: tmp, mountPath: /tmp}]
          livenessProbe: {httpGet: {path: /, port: 80}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {a: "1", b: "", c: "3"}
---
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {key: hunter2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}
`

// edit changes a live object as somebody at a keyboard does.
func (w *world) edit(manager, kind, name, patch string, subresources ...string) {
	w.Helper()
	ref := ObjectRef{Version: "v1", Kind: kind, Namespace: w.owner.Namespace, Name: name}
	if kind == "Deployment" {
		ref.Group = "apps"
	}
	r, err := w.cluster.resource(w.Context(), w.cluster.client, ref)
	if err == nil {
		_, err = r.Patch(w.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager}, subresources...)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) drifts(objs []*unstructured.Unstructured) string {
	w.Helper()
	drifts, err := w.cluster.Drift(w.Context(), objs)
	if err != nil {
		w.Fatal(err)
	}
	var all []string
	for _, d := range drifts {
		if d.Manager != "" && d.Manager != "kubectl" && d.At.IsZero() { // of kubectl scale no time is noted
			w.Errorf("%v", d)
		}
		all = append(all, fmt.Sprintf("%s %s: %s, released %s, by %s", d.Object, d.Field, d.Live, d.Released, d.Manager))
	}
	return strings.Join(all, "\n")
}

func TestDriftInCluster(t *testing.T) {
	w := newWorld(t)
	objs := w.ready(driftManifest)
	for range 2 { // applied again it is the same
		if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := w.drifts(objs); got != "" {
			t.Fatalf("nobody changed anything, and yet\n%s", got)
		}
	}
	w.edit("kube-controller-manager", "Deployment", "web", `{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"7"}}}`)
	w.edit("kubectl-label", "Deployment", "web", `{"metadata":{"labels":{"more":"b"}}}`)
	if got := w.drifts(objs); got != "" {
		t.Fatalf("what was not released is no drift, and yet\n%s", got)
	}
	w.edit("kubectl", "Deployment", "web", `{"spec":{"replicas":1}}`, "scale")
	w.edit("kubectl-edit", "Deployment", "web", `{"metadata":{"labels":{"team":null}},"spec":{"template":{"spec":{"nodeSelector":{"zone":"a"}}}}}`)
	w.edit("kubectl-edit", "ConfigMap", "web", `{"data":{"a":"2","c":null}}`)
	w.edit("kubectl-edit", "Secret", "web", `{"data":{"key":"aHVudGVyMw=="}}`)
	w.edit("kubectl-edit", "Service", "web", `{"spec":{"selector":{"app":"other"}}}`)
	want := `Deployment/web metadata.labels.team: , released a, by 
Deployment/web spec.replicas: 1, released 0, by kubectl
Deployment/web spec.template.spec.nodeSelector: {"disk":"ssd","zone":"a"}, released {"disk":"ssd"}, by kubectl-edit
Service/web spec.selector: {"app":"other"}, released {"app":"web"}, by kubectl-edit
ConfigMap/web data.a: 2, released 1, by kubectl-edit
ConfigMap/web data.c: , released 3, by 
Secret/web data.key: ***, released ***, by kubectl-edit`
	if got := w.drifts(objs); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	changes, err := w.cluster.Diff(t.Context(), objs, objs)
	if err != nil || len(changes[0].Drift) != 3 || changes[0].Conflict == nil || changes[0].Conflict.Manager == "" {
		t.Errorf("%v: %+v", err, changes[0])
	}
	var conflict *Conflict
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); !errors.As(err, &conflict) || !strings.Contains(conflict.Manager, "kubectl") {
		t.Errorf("%v", err)
	}
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if got := w.drifts(objs); got != "" {
		t.Errorf("it was applied again, and yet\n%s", got)
	}
	// An autoscaler's replicas are its own.
	w.edit("kube-controller-manager", "Deployment", "web", `{"spec":{"replicas":2}}`, "scale")
	if got := w.drifts(objs); got != "" {
		t.Errorf("an autoscaler scaled it:\n%s", got)
	}
}

// TestAdopt: what kubectl apply made is taken over whole: what the manifests no longer have goes.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, labels: {team: a}}\ndata: {a: '1', old: x}\n"
	for name, made := range map[string]func(r *unstructured.Unstructured){
		"client": func(o *unstructured.Unstructured) { // as kubectl apply does
			o.SetNamespace(w.owner.Namespace)
			text, err := json.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			o.SetAnnotations(map[string]string{lastApplied: string(text)})
			r, err := w.cluster.resource(t.Context(), w.cluster.client, RefOf(o))
			if err == nil {
				_, err = r.Create(t.Context(), o, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"})
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"server": func(o *unstructured.Unstructured) { // as kubectl apply --server-side does
			o.SetNamespace(w.owner.Namespace)
			text, err := json.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			r, err := w.cluster.resource(t.Context(), w.cluster.client, RefOf(o))
			if err == nil {
				_, err = r.Patch(t.Context(), o.GetName(), types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: "kubectl"})
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		named := strings.Replace(manifest, "NAME", name, 1)
		made(object(t, named)[0])
		objs := w.ready(strings.Replace(strings.Replace(named, ", old: x", "", 1), "'1'", "'2'", 1))
		changes, err := w.cluster.Diff(t.Context(), objs, nil)
		if err != nil || changes[0].Conflict == nil || len(changes[0].Takes) != 1 || name == "client" && strings.Join(changes[0].Loses, " ") != "data.old" {
			t.Errorf("%s: %v: %+v", name, err, changes[0])
		}
		if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); !errors.As(err, new(*Conflict)) {
			t.Errorf("%s: %v", name, err)
		}
		for range 2 {
			if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{Adopt: true}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		live, err := w.cluster.get(t.Context(), RefOf(objs[0]))
		if err != nil {
			t.Fatal(err)
		}
		data, _, _ := unstructured.NestedStringMap(live.Object, "data")
		if len(data) != 1 || data["a"] != "2" || live.GetAnnotations()[lastApplied] != "" || len(adoptable(live)) != 0 {
			t.Errorf("%s: %v, %v", name, data, live.GetManagedFields())
		}
	}
}
