//go:build e2e

package kube

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestCurrentInCluster: what the API server really stores and notes of what was applied is recognized, and what somebody
// changed of it is applied again.
func TestCurrentInCluster(t *testing.T) {
	w := newWorld(t)
	objs := w.ready(driftManifest + `---
apiVersion: v1
kind: Secret
metadata: {name: plain}
stringData: {key: hunter2}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, creationTimestamp: null}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        metadata: {creationTimestamp: null}
        spec:
          restartPolicy: Never
          serviceAccountName: runner
          containers:
          - name: main
            image: busybox
            command: [sh, -c, "true"]
            envFrom: [{configMapRef: {name: web}}]
            resources: {limits: {memory: 0.5Gi, cpu: 1000m}}
            volumeMounts: [{name: tmp, mountPath: /tmp}, {name: config, mountPath: /etc/web, readOnly: true}]
          volumes: [{name: tmp, emptyDir: {}}, {name: config, configMap: {name: web, optional: false}}]
status: {}
`)
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	known := func() (unknown []string) {
		t.Helper()
		for i, s := range w.cluster.read(t.Context(), objs) {
			if s.err != nil || s.live == nil {
				t.Fatal(RefOf(objs[i]), s.err)
			}
			if !current(objs[i], s.live) {
				unknown = append(unknown, RefOf(objs[i]).String())
			}
		}
		return unknown
	}
	if unknown := known(); len(unknown) > 0 {
		for i, s := range w.cluster.read(t.Context(), objs) {
			if !current(objs[i], s.live) {
				t.Logf("%v\nlive %v", objs[i].Object, s.live.Object)
				for _, f := range s.live.GetManagedFields() {
					t.Log(f.Manager, f.FieldsV1.GetRawString())
				}
			}
		}
		t.Errorf("not recognized: %v", unknown)
	}
	changes, err := w.cluster.Diff(t.Context(), objs, objs)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if c.Action != "none" {
			t.Errorf("%+v", c)
		}
	}

	for _, test := range []struct{ kind, name, patch string }{
		{"ConfigMap", "web", `{"data":{"a":"2"}}`},
		{"ConfigMap", "web", `{"data":{"c":null}}`},
		{"Secret", "plain", `{"data":{"key":"eA=="}}`},
		{"Service", "web", `{"spec":{"selector":{"app":"other"}}}`},
		{"Deployment", "web", `{"spec":{"template":{"spec":{"nodeSelector":{"zone":"a"}}}}}`},
		{"Deployment", "web", `{"metadata":{"annotations":{"shipmate.dev/release":"7"}}}`},
		{"Deployment", "web", `{"metadata":{"labels":{"shipmate.dev/app":null}}}`},
	} {
		w.edit("kubectl-edit", test.kind, test.name, test.patch)
		if got := fmt.Sprint(known()); got != "["+test.kind+"/"+test.name+"]" {
			t.Errorf("%s: %s", test.patch, got)
		}
		if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil && !errors.As(err, new(*Conflict)) {
			t.Errorf("%s: %v", test.patch, err)
		}
		if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{Force: true}); err != nil {
			t.Errorf("%s: %v", test.patch, err)
		}
		if got := w.drifts(objs); got != "" {
			t.Errorf("%s: applied again, and yet %s", test.patch, got)
		}
		if unknown := known(); len(unknown) > 0 {
			t.Errorf("%s: applied again, and not recognized: %v", test.patch, unknown)
		}
	}

	// Deleted: made again. Scaled by an autoscaler: left alone, and then nothing to do.
	i := 0
	for i = range objs {
		if RefOf(objs[i]).String() == "ConfigMap/web" {
			break
		}
	}
	r, err := w.cluster.resource(t.Context(), w.cluster.client, RefOf(objs[i]))
	if err == nil {
		err = r.Delete(t.Context(), "web", metav1.DeleteOptions{})
	}
	if err == nil {
		err = w.cluster.Apply(t.Context(), objs, ApplyOptions{})
	}
	if live, getErr := w.cluster.get(t.Context(), RefOf(objs[i])); err != nil || getErr != nil || !current(objs[i], live) {
		t.Errorf("%v %v: deleted, and then %v", err, getErr, live)
	}
	w.edit("kube-controller-manager", "Deployment", "web", `{"spec":{"replicas":2}}`, "scale")
	if err := w.cluster.Apply(t.Context(), objs, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, o := range objs {
		if o.GetKind() != "Deployment" {
			continue
		}
		live, err := w.cluster.get(t.Context(), RefOf(o))
		if err != nil {
			t.Fatal(err)
		}
		if n, _, _ := unstructured.NestedInt64(live.Object, "spec", "replicas"); n != 2 || !current(scaled(o, live), live) {
			t.Errorf("%d replicas, recognized %v", n, current(scaled(o, live), live))
		}
	}
	if changes, err := w.cluster.Diff(t.Context(), objs, objs); err != nil || strings.Contains(fmt.Sprint(changes), "replicas") {
		t.Errorf("%v %v", changes, err)
	}
}
