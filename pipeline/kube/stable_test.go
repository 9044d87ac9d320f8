package kube

import (
	"strings"
	"testing"
)

func TestStateOf(t *testing.T) {
	const (
		deployment  = "apiVersion: apps/v1, kind: Deployment"
		statefulSet = "apiVersion: apps/v1, kind: StatefulSet"
		daemonSet   = "apiVersion: apps/v1, kind: DaemonSet"
		job         = "apiVersion: batch/v1, kind: Job"
		replicaSet  = "apiVersion: apps/v1, kind: ReplicaSet"
		custom      = "apiVersion: example.com/v1, kind: Thing"
		argo        = "apiVersion: argoproj.io/v1alpha1, kind: Rollout"
		crd         = "apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition"
	)
	all := "replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2"
	for _, test := range []struct {
		name, kind, spec, status string
		stable                   bool
		failed                   string
		text                     string
	}{
		{"ready", deployment, "replicas: 2", "observedGeneration: 5, " + all, true, "", "2 of 2 pods ready"},
		{"one is the default", deployment, "", "observedGeneration: 5, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1", true, "", "1 of 1 pods ready"},
		{"no replicas", deployment, "replicas: 0", "observedGeneration: 5", true, "", "0 of 0 pods ready"},
		{"not observed", deployment, "replicas: 2", "observedGeneration: 4, " + all, false, "", "its controller has not seen the change yet"},
		{"never observed", deployment, "replicas: 0", "", false, "", "its controller has not seen the change yet"},
		{"old pods", deployment, "replicas: 2", "observedGeneration: 5, replicas: 3, updatedReplicas: 2, readyReplicas: 3, availableReplicas: 3", false, "", "2 of 2 pods ready, 1 old ones left"},
		{"scaling to none", deployment, "replicas: 0", "observedGeneration: 5, replicas: 2", false, "", "0 of 0 pods ready, 2 old ones left"},
		{"some updated", deployment, "replicas: 2", "observedGeneration: 5, replicas: 3, updatedReplicas: 1, readyReplicas: 2, availableReplicas: 2", false, "", "1 of 2 new pods made"},
		{"some ready", deployment, "replicas: 2", "observedGeneration: 5, replicas: 2, updatedReplicas: 2, readyReplicas: 1, availableReplicas: 1", false, "", "1 of 2 pods ready"},
		{"ready, not available", deployment, "replicas: 2", "observedGeneration: 5, replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 0", false, "", "0 of 2 pods ready"},
		{"overdue", deployment, "replicas: 2", "observedGeneration: 5, replicas: 2, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: slow}]", false, "ProgressDeadlineExceeded", "slow"},
		{"overdue before the change", deployment, "replicas: 2", "observedGeneration: 4, replicas: 2, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: slow}]", false, "", "its controller has not seen the change yet"},
		{"progressing", deployment, "replicas: 2", "observedGeneration: 5, replicas: 2, updatedReplicas: 2, conditions: [{type: Progressing, status: 'True', reason: ReplicaSetUpdated}]", false, "", "0 of 2 pods ready"},
		{"paused", deployment, "replicas: 2, paused: true", "observedGeneration: 5, replicas: 2, readyReplicas: 2, availableReplicas: 2", false, "", "is paused (spec.paused)"},

		{"ready", statefulSet, "replicas: 2", "observedGeneration: 5, " + all + ", currentRevision: a, updateRevision: a", true, "", "2 of 2 pods ready"},
		{"two revisions", statefulSet, "replicas: 2", "observedGeneration: 5, replicas: 2, updatedReplicas: 1, readyReplicas: 2, availableReplicas: 2, currentRevision: a, updateRevision: b", false, "", "1 of 2 pods updated"},
		{"not ready", statefulSet, "replicas: 2", "observedGeneration: 5, replicas: 2, readyReplicas: 1, availableReplicas: 1, currentRevision: a, updateRevision: a", false, "", "1 of 2 pods ready"},
		{"partition reached", statefulSet, "replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}", "observedGeneration: 5, replicas: 3, updatedReplicas: 1, readyReplicas: 3, availableReplicas: 3, currentRevision: a, updateRevision: b", true, "", "3 of 3 pods ready, 1 updated (partition 2)"},
		{"partition not reached", statefulSet, "replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}", "observedGeneration: 5, replicas: 3, updatedReplicas: 1, readyReplicas: 3, availableReplicas: 3, currentRevision: a, updateRevision: b", false, "", "1 of 2 pods updated (partition 1)"},
		{"partition above replicas", statefulSet, "replicas: 1, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 5}}", "observedGeneration: 5, replicas: 1, readyReplicas: 1, availableReplicas: 1, currentRevision: a, updateRevision: b", true, "", "1 of 1 pods ready, 0 updated (partition 5)"},
		{"on delete", statefulSet, "replicas: 1, updateStrategy: {type: OnDelete}", "observedGeneration: 5, replicas: 1, readyReplicas: 1, availableReplicas: 1, currentRevision: a, updateRevision: b", true, "", "1 of 1 pods ready; a pod gets the change when it is deleted (OnDelete)"},
		{"not observed", statefulSet, "replicas: 2", "observedGeneration: 4, " + all + ", currentRevision: a, updateRevision: a", false, "", "its controller has not seen the change yet"},
		{"ready, not available", statefulSet, "replicas: 2", "observedGeneration: 5, replicas: 2, readyReplicas: 2, availableReplicas: 1, currentRevision: a, updateRevision: a", false, "", "1 of 2 pods ready"},
		{"scaling down", statefulSet, "replicas: 2", "observedGeneration: 5, replicas: 3, readyReplicas: 2, availableReplicas: 2, currentRevision: a, updateRevision: a", false, "", "2 of 2 pods ready"},
		{"partition, not ready", statefulSet, "replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}", "observedGeneration: 5, replicas: 3, updatedReplicas: 1, readyReplicas: 2, availableReplicas: 2, currentRevision: a, updateRevision: b", false, "", "2 of 3 pods ready"},
		{"no replicas", statefulSet, "replicas: 0", "observedGeneration: 5, currentRevision: a, updateRevision: a", true, "", "0 of 0 pods ready"},

		{"ready", daemonSet, "", "observedGeneration: 5, desiredNumberScheduled: 3, numberAvailable: 3, updatedNumberScheduled: 3", true, "", "3 of 3 pods ready"},
		{"not updated", daemonSet, "", "observedGeneration: 5, desiredNumberScheduled: 3, numberAvailable: 3, updatedNumberScheduled: 1", false, "", "1 of 3 pods updated"},
		{"not available", daemonSet, "", "observedGeneration: 5, desiredNumberScheduled: 3, numberAvailable: 2, updatedNumberScheduled: 3", false, "", "2 of 3 pods ready"},
		{"no node", daemonSet, "", "observedGeneration: 5, desiredNumberScheduled: 0", true, "", "0 of 0 pods ready"},
		{"on delete", daemonSet, "updateStrategy: {type: OnDelete}", "observedGeneration: 5, desiredNumberScheduled: 2, numberAvailable: 2, updatedNumberScheduled: 0", true, "", "2 of 2 pods ready; a pod gets the change when it is deleted (OnDelete)"},
		{"for an older generation", daemonSet, "", "observedGeneration: 4, desiredNumberScheduled: 3, numberAvailable: 3, updatedNumberScheduled: 3", false, "", "its controller has not seen the change yet"},
		{"not observed", daemonSet, "", "", false, "", "its controller has not seen the change yet"},

		{"ready", replicaSet, "replicas: 2", "observedGeneration: 5, replicas: 2, availableReplicas: 2", true, "", "2 of 2 pods ready"},
		{"not available", replicaSet, "replicas: 2", "observedGeneration: 5, replicas: 2, availableReplicas: 1", false, "", "1 of 2 pods ready"},
		{"scaling down", replicaSet, "replicas: 1", "observedGeneration: 5, replicas: 2, availableReplicas: 1", false, "", "1 of 1 pods ready"},

		{"complete", job, "", "conditions: [{type: SuccessCriteriaMet, status: 'True'}, {type: Complete, status: 'True'}]", true, "", "complete"},
		{"failed", job, "", "conditions: [{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True', reason: BackoffLimitExceeded, message: too many}]", false, "BackoffLimitExceeded", "too many"},
		{"running", job, "completions: 3", "active: 2, succeeded: 1", false, "", "1 of 3 completed, 2 running"},
		{"new", job, "", "", false, "", "0 of 1 completed, 0 running"},
		{"suspended", job, "suspend: true", "conditions: [{type: Suspended, status: 'True'}]", true, "", "suspended"},

		{"ready", "apiVersion: v1, kind: Pod", "", "phase: Running, conditions: [{type: Ready, status: 'True'}]", true, "", "ready"},
		{"complete", "apiVersion: v1, kind: Pod", "", "phase: Succeeded, conditions: [{type: Ready, status: 'False'}]", true, "", "complete"},
		{"failed", "apiVersion: v1, kind: Pod", "", "phase: Failed", false, "Failed", ""},
		{"evicted", "apiVersion: v1, kind: Pod", "", "phase: Failed, reason: Evicted, message: low on disk", false, "Evicted", "low on disk"},
		{"starting", "apiVersion: v1, kind: Pod", "", "phase: Pending", false, "", "is not ready"},

		{"cluster address", "apiVersion: v1, kind: Service", "type: ClusterIP", "", true, "", "made"},
		{"no address", "apiVersion: v1, kind: Service", "type: LoadBalancer", "loadBalancer: {}", false, "", "has no address from the load balancer yet"},
		{"address", "apiVersion: v1, kind: Service", "type: LoadBalancer", "loadBalancer: {ingress: [{ip: 10.0.0.1}]}", true, "", "has the address 10.0.0.1"},
		{"host name", "apiVersion: v1, kind: Service", "type: LoadBalancer", "loadBalancer: {ingress: [{hostname: lb.example.com}]}", true, "", "has the address lb.example.com"},
		{"external name", "apiVersion: v1, kind: Service", "type: ExternalName", "", true, "", "made"},
		{"address", "apiVersion: networking.k8s.io/v1, kind: Ingress", "", "loadBalancer: {ingress: [{ip: 10.0.0.1}]}", true, "", "has the address 10.0.0.1"},
		{"no address", "apiVersion: networking.k8s.io/v1, kind: Ingress", "", "", false, "", "has no address from its controller yet"},
		{"host name", "apiVersion: networking.k8s.io/v1, kind: Ingress", "", "loadBalancer: {ingress: [{hostname: lb.example.com}]}", true, "", "has the address lb.example.com"},
		{"bound", "apiVersion: v1, kind: PersistentVolumeClaim", "", "phase: Bound", true, "", "bound"},
		{"pending", "apiVersion: v1, kind: PersistentVolumeClaim", "", "phase: Pending", false, "", "is not bound to a volume yet"},
		{"lost", "apiVersion: v1, kind: PersistentVolumeClaim", "", "phase: Lost", false, "Lost", "the volume behind it is gone"},
		{"established", crd, "", "conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'True'}]", true, "", "established"},
		{"new", crd, "", "", false, "", "is not established yet"},
		{"name taken", crd, "", "conditions: [{type: NamesAccepted, status: 'False', reason: PluralConflict, message: in use}]", false, "PluralConflict", "in use"},

		{"names accepted, not established", crd, "", "conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'False', reason: Installing}]", false, "", "is not established yet"},

		{"stalled while reconciling", custom, "", "conditions: [{type: Reconciling, status: 'True'}, {type: Stalled, status: 'True', reason: Bad, message: never}]", false, "Bad", "never"},
		{"stalled no more", custom, "", "conditions: [{type: Stalled, status: 'False'}, {type: Reconciling, status: 'False'}, {type: Ready, status: 'True'}]", true, "", "made"},
		{"no status", custom, "", "", true, "", "made"},
		{"other conditions", custom, "", "conditions: [{type: Synced, status: 'False'}]", true, "", "made"},
		{"ready", custom, "", "observedGeneration: 5, conditions: [{type: Ready, status: 'True'}]", true, "", "made"},
		{"ready for an older generation", custom, "", "observedGeneration: 4, conditions: [{type: Ready, status: 'True'}]", false, "", "its controller has not seen the change yet"},
		{"not ready", custom, "", "conditions: [{type: Ready, status: 'False', message: pulling}]", false, "", "is not ready: pulling"},
		{"ready unknown", custom, "", "conditions: [{type: Ready, status: Unknown, message: hm}]", false, "", "is not ready: hm"},
		{"reconciling", custom, "", "conditions: [{type: Reconciling, status: 'True', message: busy}, {type: Ready, status: 'True'}]", false, "", "is reconciling: busy"},
		{"argo, unseen", argo, "", "observedGeneration: '4', phase: Healthy", false, "", "its controller has not seen the change yet"},
		{"argo, healthy", argo, "", "observedGeneration: '5', phase: Healthy", true, "", "healthy"},
		{"argo, paused", argo, "", "observedGeneration: '5', phase: Paused, message: CanaryPauseStep", false, "", "is paused: CanaryPauseStep"},
		{"argo, degraded", argo, "", "observedGeneration: '5', phase: Degraded, message: aborted", false, "Degraded", "aborted"},
		{"argo, new", argo, "", "", false, "", "its controller has not seen the change yet"},
		{"stalled", custom, "", "conditions: [{type: Stalled, status: 'True', reason: Bad, message: never}]", false, "Bad", "never"},
		{"odd conditions", custom, "", "conditions: [5, {type: [a]}]", true, "", "made"},
	} {
		t.Run(test.kind[strings.LastIndex(test.kind, " ")+1:]+" "+test.name, func(t *testing.T) {
			objs := parse(t, "{"+test.kind+", metadata: {name: x}, spec: {"+test.spec+"}}")
			status := parse(t, "{"+test.kind+", metadata: {name: x}, spec: {status: {"+test.status+"}}}")
			live := objs[0]
			live.SetGeneration(5)
			live.Object["status"] = status[0].Object["spec"].(map[string]any)["status"]
			s, err := stateOf(live)
			if err != nil {
				t.Fatal(err)
			}
			if s.stable != test.stable || s.failed != test.failed || s.text != test.text {
				t.Errorf("got stable %v, failed %q, %q", s.stable, s.failed, s.text)
			}
		})
	}
}

func TestStateOfDeleted(t *testing.T) {
	for _, test := range []struct {
		manifest string
		stable   bool
	}{
		{"{apiVersion: v1, kind: Service, metadata: {name: x}}", false},
		{"{apiVersion: batch/v1, kind: Job, metadata: {name: x}}", false},
		{"{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {suspend: true}}", true},
	} {
		obj := parse(t, test.manifest)[0]
		obj.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
		if s, err := stateOf(obj); err != nil || s.stable != test.stable {
			t.Errorf("%s: %+v %v", test.manifest, s, err)
		}
	}
}

// TestInert checks which kinds nobody waits for: those that nothing has to be done for, or that are what they say at once.
func TestInert(t *testing.T) {
	for manifest, want := range map[string]bool{
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}":                                                      true,
		"{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: x}}":                                     true,
		"{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: x}}":                            true,
		"{apiVersion: batch/v1, kind: CronJob, metadata: {name: x}}":                                                  true,
		"{apiVersion: v1, kind: Service, metadata: {name: x}}":                                                        true,
		"{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {type: LoadBalancer}}":                            false,
		"{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: x}}":                                      false,
		"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: x}}":                                          false,
		"{apiVersion: example.com/v1, kind: ConfigMap, metadata: {name: x}}":                                          false,
		"{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: things.example.com}}": false,
	} {
		if got := inert(parse(t, manifest)[0]); got != want {
			t.Errorf("%s: %v", manifest, got)
		}
	}
}
