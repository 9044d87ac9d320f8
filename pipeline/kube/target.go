package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// target is one object that is waited for, and what is watched because of it.
type target struct {
	ref    ObjectRef
	self   *feed
	pods   *feed // that its selector selects; nil: its kind has none
	sets   *feed // ReplicaSets of a Deployment
	events *feed // warnings of its namespace; nil where not followed

	// overdue is that its progress deadline had passed already when the wait began:
	// that is the failure of an earlier attempt, and may heal.
	overdue, looked bool
}

// target makes the feeds for obj, still empty.
func (c *Cluster) target(ctx context.Context, obj *unstructured.Unstructured) (*target, error) {
	t := &target{ref: RefOf(obj)}
	var err error
	if t.self, err = c.feed(ctx, t.ref, metav1.ListOptions{FieldSelector: "metadata.name=" + t.ref.Name}); err != nil {
		return nil, err
	}
	var selector string
	switch obj.GroupVersionKind().GroupKind().String() {
	case "Pod":
		t.pods = t.self
		return t, nil
	case "Job.batch":
		selector = "job-name=" + t.ref.Name
	case "Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "ReplicaSet.apps":
		workload, err := decode[struct {
			Spec struct {
				Selector *metav1.LabelSelector `json:"selector"`
			} `json:"spec"`
		}](obj)
		if err != nil {
			return nil, err
		}
		s, err := metav1.LabelSelectorAsSelector(workload.Spec.Selector)
		if err != nil {
			return nil, fmt.Errorf("%s: spec.selector: %w", t.ref, err)
		}
		selector = s.String()
	default:
		return t, nil
	}
	opts := metav1.ListOptions{LabelSelector: selector}
	if t.pods, err = c.feed(ctx, ObjectRef{Version: "v1", Kind: "Pod", Namespace: t.ref.Namespace}, opts); err != nil {
		return nil, err
	}
	if t.ref.Kind == "Deployment" {
		t.sets, err = c.feed(ctx, ObjectRef{Group: "apps", Version: "v1", Kind: "ReplicaSet", Namespace: t.ref.Namespace}, opts)
	}
	return t, err
}

// feeds returns what must be known before the target can be judged.
func (t *target) feeds() []*feed {
	feeds := []*feed{t.self}
	if t.pods != nil && t.pods != t.self {
		feeds = append(feeds, t.pods)
	}
	if t.sets != nil {
		feeds = append(feeds, t.sets)
	}
	return feeds
}

// progressDeadline is the reason of a Deployment that made no progress for too long.
const progressDeadline = "ProgressDeadlineExceeded"

// assess judges the target by what its feeds hold. firstSeen says since when
// something, by a key, has been there.
func (t *target) assess(now time.Time, firstSeen func(string) time.Time) (state, []problem, error) {
	own := problem{Failure: Failure{Object: t.ref.String(), Namespace: t.ref.Namespace, Fatal: true}, weight: weightPod}
	live := t.self.one()
	if live == nil {
		// A Job may be removed as soon as it is complete (ttlSecondsAfterFinished).
		if gone := t.self.lastDeleted(); gone != nil && t.ref.Kind == "Job" {
			if s, err := stateOf(gone); err != nil || s.stable {
				return s, nil, err
			}
		}
		own.Reason, own.Message = "NotFound", "is not in the cluster any more"
		return failed(own.Reason, own.Message), []problem{own}, nil
	}
	s, err := stateOf(live)
	if err != nil {
		return s, nil, err
	}
	if !s.unseen {
		overdue := s.failed == progressDeadline
		t.overdue = overdue && (t.overdue || !t.looked)
		t.looked = true
	}
	var problems []problem
	if t.pods != nil {
		pods, set, err := t.rollout(live)
		if err != nil {
			return s, nil, err
		}
		events, err := t.warned()
		if err != nil {
			return s, nil, err
		}
		failing := map[types.UID]*corev1.Event{}
		if t.ref.Kind != "Job" {
			wasStable := s.stable
			if s.stable {
				s = settled(s, pods, now, firstSeen)
			}
			for _, pod := range pods {
				e, left := failingLiveness(pod, events, now, firstSeen)
				if e == nil {
					continue
				}
				if failing[pod.UID] = e; wasStable {
					s = state{text: fmt.Sprintf("pod %s fails its liveness probe", pod.Name), recheck: sooner(s.recheck, left)}
				}
			}
		}
		if s.stable && t.ref.Kind == "Deployment" && len(pods) < desiredPods(live) {
			s = waiting("%s, but not all of them are seen yet", s.text)
		}
		if s.stable || s.recheck > 0 && len(failing) == 0 {
			return s, nil, nil
		}
		problems = t.problems(live, pods, set, events, failing)
	}
	if s.failed != "" {
		own.Reason, own.Message, own.Hint, own.Fatal, own.uid = s.failed, s.text, hints[s.failed], !t.overdue && !s.heals, live.GetUID()
		own.fatalLast = s.heals
		slices.SortStableFunc(problems, worst)
		if own.Fatal && len(problems) > 0 {
			// The object only says that it failed; its pod says why.
			problems[0].Fatal = true
			problems[0].Message = oneLine(problems[0].Message + " (" + s.failed + ")")
		} else {
			problems = append(problems, own)
		}
	}
	return s, problems, nil
}

// A container without a readiness probe is ready as soon as it starts, and the
// kubelet takes about a second to see that it ended, so a crash looks like success
// for a moment. It must have run for settleTime before its pod counts, or for
// settleAgain after it crashed.
const (
	settleTime  = 3 * time.Second
	settleAgain = 10 * time.Second
)

// settled returns the state s of a workload that calls itself stable, or what it still
// waits for by the account of its pods, of which news may come earlier or later.
func settled(s state, pods []*corev1.Pod, now time.Time, firstSeen func(string) time.Time) state {
	var left time.Duration
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		if !podReady(pod) {
			return waiting("pod %s is not ready", pod.Name)
		}
		probed := map[string]bool{}
		for _, c := range pod.Spec.Containers {
			probed[c.Name] = c.ReadinessProbe != nil
		}
		for _, c := range pod.Status.ContainerStatuses {
			need := settleTime
			switch {
			case c.State.Running == nil:
				continue
			case c.RestartCount > 0:
				need = settleAgain
			case probed[c.Name]:
				continue
			}
			// By the node's clock or by our own, whichever says longer: they may differ.
			ran := max(now.Sub(c.State.Running.StartedAt.Time), now.Sub(firstSeen(c.ContainerID)))
			left = max(left, need-ran)
		}
	}
	if left > 0 {
		return state{text: s.text + ", watching that they stay so", recheck: left}
	}
	return s
}

// warned returns the warning events of the target's namespace, none where they are not followed.
func (t *target) warned() ([]corev1.Event, error) {
	if t.events == nil {
		return nil, nil
	}
	return t.events.events()
}

// unexplained reports whether no event tells yet of what is wrong with the pod or object uid, and one may.
func (t *target) unexplained(uid types.UID) bool {
	events, err := t.warned()
	return t.events != nil && err == nil && len(warnings(events, uid)) == 0 && len(warnings(events, t.uid())) == 0
}

// uid returns the UID of the object itself, empty if it is not there.
func (t *target) uid() types.UID {
	if live := t.self.one(); live != nil {
		return live.GetUID()
	}
	return ""
}

// problems returns what is wrong with the pods of the present rollout, and with
// making them. failing are the warnings of liveness probes that fail, by pod.
func (t *target) problems(live *unstructured.Unstructured, pods []*corev1.Pod, set *appsv1.ReplicaSet, events []corev1.Event, failing map[types.UID]*corev1.Event) []problem {
	var problems []problem
	for _, pod := range pods {
		problems = append(problems, podProblems(t.ref.String(), pod, events, failing[pod.UID], t.ref.Kind == "Job")...)
	}
	if t.ref.Kind == "Deployment" {
		if set != nil {
			for _, c := range set.Status.Conditions {
				if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
					problems = append(problems, creationProblem(t.ref.String(), t.ref.Namespace, c.Message, set.UID))
				}
			}
		}
		return problems
	}
	for _, e := range warnings(events, live.GetUID()) {
		// An older one is about pods that could be made after all.
		made := func(p *corev1.Pod) bool { return !p.CreationTimestamp.Time.Before(eventTime(e)) }
		if e.Reason == "FailedCreate" && !slices.ContainsFunc(pods, made) {
			problems = append(problems, creationProblem(t.ref.String(), t.ref.Namespace, e.Message, live.GetUID()))
			break
		}
	}
	return problems
}

// rollout returns the pods of the present rollout of a live workload by name, and of
// a Deployment the new ReplicaSet, nil if there is none yet. Pods that are being
// deleted are left out.
func (t *target) rollout(live *unstructured.Unstructured) ([]*corev1.Pod, *appsv1.ReplicaSet, error) {
	pods, err := decodeAll[corev1.Pod](t.pods)
	if err != nil {
		return nil, nil, err
	}
	owner, label, revision := live.GetUID(), "", ""
	var set *appsv1.ReplicaSet
	switch t.ref.Kind {
	case "Deployment":
		d, err := decode[appsv1.Deployment](live)
		if err != nil {
			return nil, nil, err
		}
		sets, err := decodeAll[appsv1.ReplicaSet](t.sets)
		if err != nil {
			return nil, nil, err
		}
		if set = newReplicaSet(d, sets); set == nil {
			return nil, nil, nil
		}
		owner = set.UID
	case "StatefulSet":
		label = appsv1.ControllerRevisionHashLabelKey
		revision, _, _ = unstructured.NestedString(live.Object, "status", "updateRevision")
	case "DaemonSet":
		// Its status names no revision, but its controller labels pods with the
		// number that it counts in this annotation.
		label, revision = "pod-template-generation", live.GetAnnotations()[appsv1.DeprecatedTemplateGeneration]
	}
	pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool {
		mine := p.UID == owner || controlledBy(p.OwnerReferences, owner)
		return !mine || p.DeletionTimestamp != nil || label != "" && p.Labels[label] != revision
	})
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, set, nil
}

// newReplicaSet returns the ReplicaSet of a Deployment's present template, nil if
// there is none yet. The Deployment's controller finds it in the same way: the
// oldest one whose template is equal but for the hash that it added.
func newReplicaSet(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	var found *appsv1.ReplicaSet
	for _, set := range sets {
		if !controlledBy(set.OwnerReferences, d.UID) || !sameTemplate(set.Spec.Template, d.Spec.Template) {
			continue
		}
		if found == nil || set.CreationTimestamp.Before(&found.CreationTimestamp) {
			found = set
		}
	}
	return found
}

func controlledBy(refs []metav1.OwnerReference, uid types.UID) bool {
	return slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool {
		return r.Controller != nil && *r.Controller && r.UID == uid
	})
}

// sameTemplate compares two pod templates but for the hash label of ReplicaSets.
func sameTemplate(a, b corev1.PodTemplateSpec) bool {
	a.Labels, b.Labels = maps.Clone(a.Labels), maps.Clone(b.Labels)
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return apiequality.Semantic.DeepEqual(a, b)
}
