package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// AnnotationStep marks a Job that is a step of a deployment, and no part of what it deploys: its position in the flow.
const AnnotationStep = "shipmate.dev/step"

// How long a Job that has ended stays where its manifest does not say, and at least: one that is gone before we saw its
// end can't be told from one that never ended.
const (
	jobTTL    = 24 * time.Hour
	minJobTTL = time.Hour
)

// RunOnce makes the Job obj, in place, one that HoldJob and RunJob run once: by a name that ends in suffix, suspended, and
// removed by the cluster some time after it has ended.
func RunOnce(obj *unstructured.Unstructured, suffix, step string) error {
	ref := RefOf(obj)
	if obj.GroupVersionKind().GroupKind().String() != "Job.batch" {
		return fmt.Errorf("%s is no Job; write a manifest of kind Job, apiVersion batch/v1", ref)
	}
	if suspended, _, _ := unstructured.NestedBool(obj.Object, "spec", "suspend"); suspended {
		return fmt.Errorf("%s would never end; take spec.suspend out", ref)
	}
	spec, err := child(obj.Object, "spec")
	if err != nil {
		return err
	}
	ttl, has, err := unstructured.NestedInt64(spec, "ttlSecondsAfterFinished")
	if err != nil {
		return fmt.Errorf("%s: spec.ttlSecondsAfterFinished is no whole number", ref)
	}
	if !has {
		ttl = int64(jobTTL / time.Second)
	}
	spec["ttlSecondsAfterFinished"] = max(ttl, int64(minJobTTL/time.Second))
	spec["suspend"] = true
	// Its pods are labelled with the name, which a label holds up to 63 letters of.
	name := strings.TrimRight(ref.Name[:min(len(ref.Name), 62-len(suffix))], "-.")
	obj.SetName(name + "-" + suffix)
	annotations, err := child(obj.Object, "metadata", "annotations")
	if err != nil {
		return err
	}
	annotations[AnnotationStep] = step
	return nil
}

// HoldJob makes a Job of RunOnce, which does not run yet, or finds it made, and returns its UID. It is safe to repeat until
// RunJob is called, which wants the UID: whoever has written that down before never runs a Job twice.
func (c *Cluster) HoldJob(ctx context.Context, job *unstructured.Unstructured) (uid string, err error) {
	ref := RefOf(job)
	live, err := c.get(ctx, ref)
	if err != nil {
		return "", err
	}
	if live == nil {
		r, err := c.resource(ctx, c.client, ref)
		if err != nil {
			return "", err
		}
		live, err = r.Create(ctx, job, metav1.CreateOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict})
		if apierrors.IsAlreadyExists(err) { // by an attempt whose answer got lost
			live, err = r.Get(ctx, ref.Name, metav1.GetOptions{})
		}
		if err != nil {
			return "", explain("create", ref, err)
		}
	}
	if err := ownedByAnother(job, live); err != nil {
		return "", err
	}
	if suspended, _, _ := unstructured.NestedBool(live.Object, "spec", "suspend"); !suspended {
		return "", &Error{Object: ref.String(), Message: "runs already, and was not begun by us", Hint: "look who made it, and deploy again"}
	}
	return string(live.GetUID()), nil
}

// RunJob lets the Job of HoldJob run, tells report how it goes as Wait does, and returns the last lines of its log once it is
// complete. It is safe to repeat. A Job that failed, or that is not there any more and may have run, is a *Failure.
func (c *Cluster) RunJob(ctx context.Context, job *unstructured.Unstructured, uid string, report func(Progress)) (logs []string, err error) {
	ref := RefOf(job)
	live, err := c.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if live == nil || string(live.GetUID()) != uid {
		return nil, &Failure{Object: ref.String(), Namespace: ref.Namespace, Reason: "NotFound", Fatal: true,
			Message: "was begun, and is not in the cluster any more: whether it ran to its end can't be told",
			Hint:    "look what it has done, then deploy again, which runs it anew"}
	}
	if suspended, _, _ := unstructured.NestedBool(live.Object, "spec", "suspend"); suspended {
		// By its UID (Kubernetes API reference, preconditions of a patch): a Job of the same name is another one.
		data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "spec": map[string]any{"suspend": false}})
		if err != nil {
			return nil, err
		}
		r, err := c.resource(ctx, c.client, ref)
		if err != nil {
			return nil, err
		}
		if live, err = r.Patch(ctx, ref.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: FieldManager}); err != nil {
			return nil, explain("start", ref, err)
		}
	}
	if err := c.Wait(ctx, []*unstructured.Unstructured{live}, report); err != nil {
		return nil, err
	}
	return c.jobLogs(ctx, ref, uid), nil
}

// StopJob deletes a Job of RunOnce with its pods unless it has ended. One that is gone or another's is left alone.
func (c *Cluster) StopJob(ctx context.Context, job *unstructured.Unstructured) error {
	ref := RefOf(job)
	live, err := c.get(ctx, ref)
	if err != nil || live == nil || ownedByAnother(job, live) != nil || live.GetLabels()[LabelManagedBy] != FieldManager {
		return err
	}
	s, err := stateOf(live)
	if suspended, _, _ := unstructured.NestedBool(live.Object, "spec", "suspend"); err == nil && !suspended && (s.stable || s.failed != "") {
		return nil
	}
	r, err := c.resource(ctx, c.client, ref)
	if err != nil {
		return err
	}
	uid, background := live.GetUID(), metav1.DeletePropagationBackground
	err = r.Delete(ctx, ref.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return explain("delete", ref, err)
}

// jobLogLines is how many lines are kept of each container of a Job's last pod.
const jobLogLines = 200

// jobLogs returns the log of the Job's newest pod, its containers one after the other. What can't be read is said in its place:
// it fails no Job.
func (c *Cluster) jobLogs(ctx context.Context, ref ObjectRef, uid string) (lines []string) {
	unread := func(err error) []string { return []string{"(log not available: " + oneLine(err.Error()) + ")"} }
	pods, err := c.feed(ctx, ObjectRef{Version: "v1", Kind: "Pod", Namespace: ref.Namespace}, metav1.ListOptions{LabelSelector: "job-name=" + ref.Name})
	if err == nil {
		_, err = pods.list(ctx)
	}
	var all []*corev1.Pod
	if err == nil {
		all, err = decodeAll[corev1.Pod](pods)
	}
	if err != nil {
		return unread(err)
	}
	all = slices.DeleteFunc(all, func(p *corev1.Pod) bool { return !controlledBy(p.OwnerReferences, types.UID(uid)) })
	if len(all) == 0 {
		return unread(errors.New("its pod is gone"))
	}
	newest := slices.MaxFunc(all, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for _, container := range newest.Spec.Containers {
		said, err := c.logs(ctx, ref.Namespace, newest.Name, container.Name, false, jobLogLines)
		if err != nil {
			said = unread(err)
		}
		if len(newest.Spec.Containers) > 1 {
			lines = append(lines, "container "+container.Name+":")
		}
		lines = append(lines, said...)
	}
	return lines
}
