package kube

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// state is how far a live object is on its way to what its specification says.
type state struct {
	stable  bool
	unseen  bool          // its controller has not read the specification yet
	recheck time.Duration // when time alone may change this; 0: never
	text    string        // what it waits for, or what it has reached
	failed  string        // reason why it does not get there; empty while it may
	heals   bool          // failed, but may get there once others have
}

func waiting(format string, args ...any) state { return state{text: fmt.Sprintf(format, args...)} }

func stable(format string, args ...any) state {
	return state{stable: true, text: fmt.Sprintf(format, args...)}
}

func failed(reason, message string) state {
	return state{failed: cmp.Or(reason, "Failed"), text: oneLine(message)}
}

// stateOf reads the state of a live object of any kind. One that is being deleted
// will not become stable, unless it is a Job: a complete one may be on its way out.
func stateOf(live *unstructured.Unstructured) (state, error) {
	s, err := specState(live)
	if err == nil && live.GetDeletionTimestamp() != nil && !(live.GetKind() == "Job" && s.stable) {
		s = waiting("is being deleted")
	}
	return s, err
}

// specState compares status and specification.
func specState(live *unstructured.Unstructured) (state, error) {
	gvk := live.GroupVersionKind()
	observed, has, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	// A workload without any status is one that its controller has never seen.
	if (has || gvk.Group == "apps") && observed < live.GetGeneration() {
		return state{unseen: true, text: "its controller has not seen the change yet"}, nil
	}
	switch gvk.GroupKind().String() {
	case "Deployment.apps":
		return typed(live, deploymentState)
	case "StatefulSet.apps":
		return typed(live, statefulSetState)
	case "DaemonSet.apps":
		return typed(live, daemonSetState)
	case "ReplicaSet.apps":
		return typed(live, replicaSetState)
	case "Job.batch":
		return typed(live, jobState)
	case "Pod":
		return typed(live, podState)
	case "Service":
		return typed(live, serviceState)
	case "Ingress.networking.k8s.io":
		return typed(live, ingressState)
	case "PersistentVolumeClaim":
		return typed(live, claimState)
	case "CustomResourceDefinition.apiextensions.k8s.io":
		return definitionState(live), nil
	case "Rollout.argoproj.io":
		return argoState(live), nil
	default:
		return conditionState(live), nil
	}
}

// typed decodes live for a state function of one kind.
func typed[T any](live *unstructured.Unstructured, read func(*T) state) (state, error) {
	obj, err := decode[T](live)
	if err != nil {
		return state{}, err
	}
	return read(obj), nil
}

func decode[T any](u *unstructured.Unstructured) (*T, error) {
	obj := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil, fmt.Errorf("%s: %w", RefOf(u), err)
	}
	return obj, nil
}

// orOne is the API's default for replicas, completions and the like.
func orOne(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func deploymentState(d *appsv1.Deployment) state {
	want, s := orOne(d.Spec.Replicas), d.Status
	for _, c := range s.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" {
			return failed(c.Reason, c.Message)
		}
	}
	switch {
	case s.UpdatedReplicas == want && s.Replicas == want && s.ReadyReplicas == want && s.AvailableReplicas == want:
		return stable("%d of %d pods ready", want, want)
	case d.Spec.Paused:
		return waiting("is paused (spec.paused)")
	case s.UpdatedReplicas < want:
		return waiting("%d of %d new pods made", s.UpdatedReplicas, want)
	case s.ReadyReplicas < want || s.AvailableReplicas < want:
		return waiting("%d of %d pods ready", min(s.ReadyReplicas, s.AvailableReplicas), want)
	default:
		return waiting("%d of %d pods ready, %d old ones left", want, want, s.Replicas-s.UpdatedReplicas)
	}
}

func statefulSetState(d *appsv1.StatefulSet) state {
	want, s := orOne(d.Spec.Replicas), d.Status
	ready := min(s.ReadyReplicas, s.AvailableReplicas)
	if ready != want || s.Replicas != want {
		return waiting("%d of %d pods ready", ready, want)
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return stable("%d of %d pods ready; a pod gets the change when it is deleted (OnDelete)", want, want)
	}
	var partition int32
	if u := d.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		partition = *u.Partition
	}
	if partition > 0 {
		update := max(0, want-partition)
		if s.UpdatedReplicas < update {
			return waiting("%d of %d pods updated (partition %d)", s.UpdatedReplicas, update, partition)
		}
		return stable("%d of %d pods ready, %d updated (partition %d)", want, want, s.UpdatedReplicas, partition)
	}
	if s.UpdateRevision != s.CurrentRevision {
		return waiting("%d of %d pods updated", s.UpdatedReplicas, want)
	}
	return stable("%d of %d pods ready", want, want)
}

func daemonSetState(d *appsv1.DaemonSet) state {
	s := d.Status
	want := s.DesiredNumberScheduled
	if s.NumberAvailable < want {
		return waiting("%d of %d pods ready", s.NumberAvailable, want)
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		return stable("%d of %d pods ready; a pod gets the change when it is deleted (OnDelete)", want, want)
	}
	if s.UpdatedNumberScheduled < want {
		return waiting("%d of %d pods updated", s.UpdatedNumberScheduled, want)
	}
	return stable("%d of %d pods ready", want, want)
}

func replicaSetState(d *appsv1.ReplicaSet) state {
	want, s := orOne(d.Spec.Replicas), d.Status
	if s.AvailableReplicas != want || s.Replicas != want {
		return waiting("%d of %d pods ready", s.AvailableReplicas, want)
	}
	return stable("%d of %d pods ready", want, want)
}

func jobState(j *batchv1.Job) state {
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return stable("complete")
		case batchv1.JobFailed:
			return failed(c.Reason, c.Message)
		}
	}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		return stable("suspended")
	}
	return waiting("%d of %d completed, %d running", j.Status.Succeeded, orOne(j.Spec.Completions), j.Status.Active)
}

func podState(p *corev1.Pod) state {
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		return stable("complete")
	case corev1.PodFailed:
		return failed(p.Status.Reason, p.Status.Message)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return stable("ready")
		}
	}
	return waiting("is not ready")
}

func serviceState(s *corev1.Service) state {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return stable("made")
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		return stable("has the address %s", in.IP+in.Hostname)
	}
	return waiting("has no address from the load balancer yet")
}

func ingressState(i *networkingv1.Ingress) state {
	for _, in := range i.Status.LoadBalancer.Ingress {
		return stable("has the address %s", in.IP+in.Hostname)
	}
	return waiting("has no address from its controller yet")
}

func claimState(c *corev1.PersistentVolumeClaim) state {
	switch c.Status.Phase {
	case corev1.ClaimBound:
		return stable("bound")
	case corev1.ClaimLost:
		return failed("Lost", "the volume behind it is gone")
	default:
		return waiting("is not bound to a volume yet")
	}
}

func definitionState(crd *unstructured.Unstructured) state {
	conditions := conditionsOf(crd)
	if c := conditions["NamesAccepted"]; c.status == "False" {
		return failed(c.reason, c.message)
	}
	if conditions["Established"].status == "True" {
		return stable("established")
	}
	return waiting("is not established yet")
}

// argoState reads a Rollout of Argo Rollouts, which says in one word how it is (its API, RolloutStatus: phase and message; the
// observed generation is a text there).
func argoState(rollout *unstructured.Unstructured) state {
	text := func(field string) string {
		s, _, _ := unstructured.NestedString(rollout.Object, "status", field)
		return s
	}
	switch phase, message := text("phase"), text("message"); {
	case text("observedGeneration") != fmt.Sprint(rollout.GetGeneration()):
		return state{unseen: true, text: "its controller has not seen the change yet"}
	case phase == "Healthy":
		return stable("healthy")
	case phase == "Degraded":
		return failed(phase, message)
	default:
		return waiting("%s", oneLine(strings.TrimSuffix("is "+strings.ToLower(cmp.Or(phase, "unknown"))+": "+message, ": ")))
	}
}

// conditionState reads an object of a kind that has no rules of its own, by the
// conventions of kstatus (sigs.k8s.io/cli-utils, pkg/kstatus): Stalled means
// failed, Reconciling and a Ready that is not true mean in progress.
func conditionState(obj *unstructured.Unstructured) state {
	conditions := conditionsOf(obj)
	if c := conditions["Stalled"]; c.status == "True" {
		s := failed(c.reason, c.message)
		s.heals = true
		return s
	}
	if c := conditions["Reconciling"]; c.status == "True" {
		return waiting("%s", oneLine("is reconciling: "+c.message))
	}
	if c, has := conditions["Ready"]; has && c.status != "True" {
		return waiting("%s", oneLine("is not ready: "+c.message))
	}
	return stable("made")
}

type condition struct{ status, reason, message string }

func conditionsOf(obj *unstructured.Unstructured) map[string]condition {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	conditions := map[string]condition{}
	for _, item := range list {
		m, _ := item.(map[string]any)
		text := func(key string) string { s, _ := m[key].(string); return s }
		conditions[text("type")] = condition{text("status"), text("reason"), text("message")}
	}
	return conditions
}
