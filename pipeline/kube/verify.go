package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Verify compares the running pods of the present rollout with the release: in every
// container that Bind bound to one of images, the pod must have an image of that
// digest in its specification, else Verify returns a *Failure. What the runtime
// reports as running must be the digest, or one of Image.Also; since runtimes differ
// in what they report, anything else is only a warning.
func (c *Cluster) Verify(ctx context.Context, objs []*unstructured.Unstructured, images []Image) (warnings []string, err error) {
	byDigest := map[string]Image{}
	for _, image := range images {
		byDigest[image.Digest] = image
	}
	var bound []map[string]Image // by container
	var holding []*unstructured.Unstructured
	for _, obj := range objs {
		in := map[string]Image{}
		for _, spec := range podSpecs(obj) {
			for _, container := range spec.containers() {
				name, _ := container.content["name"].(string)
				ref, _ := container.content["image"].(string)
				_, digest, _ := strings.Cut(ref, "@")
				if image, ok := byDigest[digest]; ok {
					in[name] = image
				}
			}
		}
		if len(in) > 0 {
			bound, holding = append(bound, in), append(holding, obj)
		}
	}
	present, err := c.present(ctx, holding)
	if err != nil {
		return nil, err
	}
	for i, w := range present {
		if w == nil {
			continue // a CronJob, say: it has no pods of its own
		}
		for _, pod := range w.pods {
			if pod.Status.Phase != corev1.PodRunning {
				continue
			}
			warned, err := verifyPod(w.target.ref.String(), pod, bound[i])
			warnings = append(warnings, warned...)
			if err != nil {
				return warnings, err
			}
		}
	}
	return warnings, nil
}

// verifyPod compares one pod with what its containers are bound to, by name.
func verifyPod(object string, pod *corev1.Pod, bound map[string]Image) (warnings []string, err error) {
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		image, ok := bound[container.Name]
		if ok && !strings.HasSuffix(container.Image, "@"+image.Digest) {
			return nil, &Failure{Object: object, Namespace: pod.Namespace, Pod: pod.Name, Container: container.Name, Reason: "WrongImage",
				Message: fmt.Sprintf("has the image %s instead of %s", container.Image, image.Ref()),
				Hint:    "does a webhook or another controller change it?", Fatal: true}
		}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		image, ok := bound[status.Name]
		if !ok || status.ImageID == "" {
			continue
		}
		// name@sha256:…, sha256:… or docker-pullable://name@sha256:…
		digest := status.ImageID[strings.LastIndexAny(status.ImageID, "@/")+1:]
		if digest != image.Digest && !slices.Contains(image.Also, digest) {
			warnings = append(warnings, fmt.Sprintf("%s: pod %s, container %s runs %s by its runtime's account, the release is %s",
				object, pod.Name, status.Name, status.ImageID, image.Digest))
		}
	}
	return warnings, nil
}

// WorkloadStatus is what the cluster says of one workload now.
type WorkloadStatus struct {
	Object   string   // as in Deployment/web
	Released string   // the release that it should name
	Found    bool     // it is there; all below is empty otherwise
	Release  string   // that it names; see AnnotationRelease
	Desired  int      // pods that should run
	Updated  int      // pods of the present rollout
	Ready    int      // pods that are ready, old ones included
	Images   []string // in the specifications of pods that are ready, sorted
	Stable   bool
	Text     string // as in Progress
	Problem  string // what holds it up; may be empty
}

// Status reads the Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and Pods
// among objs from the cluster, and returns them in the same order.
func (c *Cluster) Status(ctx context.Context, objs []*unstructured.Unstructured) ([]WorkloadStatus, error) {
	present, err := c.present(ctx, objs)
	if err != nil {
		return nil, err
	}
	var all []WorkloadStatus
	for i, w := range present {
		if w == nil {
			continue
		}
		s := WorkloadStatus{Object: w.target.ref.String(), Released: objs[i].GetAnnotations()[AnnotationRelease]}
		if w.live != nil {
			if err := w.describe(&s); err != nil {
				return nil, err
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// presence is a workload as it is in the cluster at one moment.
type presence struct {
	target *target
	live   *unstructured.Unstructured // nil if it is not there
	pods   []*corev1.Pod              // of the present rollout
}

// present reads the workloads among objs, in the order of objs; nil stands for what is of a kind that has no pods.
func (c *Cluster) present(ctx context.Context, objs []*unstructured.Unstructured) ([]*presence, error) {
	var holding []*unstructured.Unstructured
	var at []int
	for i, obj := range objs {
		if hasPods(obj) {
			holding, at = append(holding, obj), append(at, i)
		}
	}
	targets, feeds, err := c.targets(ctx, holding)
	if err != nil {
		return nil, err
	}
	err = each(len(feeds), func(i int) error { _, err := feeds[i].list(ctx); return err })
	if err != nil {
		return nil, err
	}
	all := make([]*presence, len(objs))
	err = each(len(targets), func(i int) (err error) {
		t := targets[i]
		w := &presence{target: t, live: t.self.one()}
		if w.live == nil && t.self.of != nil { // somebody may have taken our labels from it
			if w.live, err = c.get(ctx, t.ref); err != nil || w.live == nil {
				all[at[i]] = w
				return err
			}
			self := &feed{items: map[types.UID]*unstructured.Unstructured{w.live.GetUID(): w.live}}
			if t.pods == t.self {
				t.pods = self
			}
			t.self = self
		}
		if w.live != nil {
			w.pods, _, err = t.rollout(w.live)
		}
		all[at[i]] = w
		return err
	})
	return all, err
}

// hasPods reports whether obj is of a kind whose pods target finds.
func hasPods(obj *unstructured.Unstructured) bool {
	switch obj.GroupVersionKind().GroupKind().String() {
	case "Pod", "Job.batch", "Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "ReplicaSet.apps":
		return true
	}
	return false
}

func (w *presence) describe(s *WorkloadStatus) error {
	s.Found, s.Release = true, w.live.GetAnnotations()[AnnotationRelease]
	long := func(string) time.Time { return time.Time{} } // one look can't tell what lasts
	st, problems, err := w.target.assess(time.Now(), long)
	if err != nil {
		return err
	}
	s.Stable, s.Text = st.stable, st.text
	slices.SortStableFunc(problems, worst)
	for _, p := range problems {
		if !p.quiet {
			s.Problem = p.Failure.Error()
			break
		}
	}
	s.Desired = desiredPods(w.live)
	s.Updated = len(w.pods)

	selected, err := decodeAll[corev1.Pod](w.target.pods)
	if err != nil {
		return err
	}
	images := map[string]bool{}
	for _, pod := range selected {
		if pod.DeletionTimestamp != nil || !podReady(pod) {
			continue
		}
		s.Ready++
		for _, container := range pod.Spec.Containers {
			images[container.Image] = true
		}
	}
	s.Images = slices.Sorted(maps.Keys(images))
	return nil
}

// desiredPods returns how many pods a live workload should have: none where it is a Job that has ended.
func desiredPods(live *unstructured.Unstructured) int {
	path := []string{"spec", "replicas"}
	switch live.GetKind() {
	case "Job":
		conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True" {
				return 0
			}
		}
		path = []string{"spec", "parallelism"}
	case "DaemonSet":
		path = []string{"status", "desiredNumberScheduled"}
	}
	if n, ok, _ := unstructured.NestedInt64(live.Object, path...); ok {
		return int(n)
	}
	return 1
}
