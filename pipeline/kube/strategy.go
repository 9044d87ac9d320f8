package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// Values of LabelTrack where nothing runs as a colour.
const (
	TrackStable = "stable"
	TrackCanary = "canary"
)

// Workload finds among bound objects the Deployment that a strategy brings up beside the one that runs: by its name, or without
// one the only Deployment with one of the images.
func Workload(objs []*unstructured.Unstructured, images []Image, name string) (*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	var names, others []string
	for _, obj := range objs {
		uses := slices.ContainsFunc(podSpecs(obj), func(p podSpec) bool {
			return slices.ContainsFunc(p.containers(), func(c container) bool {
				image, _ := c.content["image"].(string) // the host that is pulled by may have changed since it was bound
				return slices.ContainsFunc(images, func(i Image) bool { return strings.HasSuffix(image, "@"+i.Digest) })
			})
		})
		isDeployment := obj.GroupVersionKind().GroupKind().String() == "Deployment.apps"
		switch {
		case isDeployment && (name == obj.GetName() || name == "" && uses):
			found, names = append(found, obj), append(names, obj.GetName())
		case uses:
			others = append(others, RefOf(obj).String())
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case name != "":
		return nil, fmt.Errorf("there is no Deployment %s; write in workload the name of the one that takes the traffic", name)
	case len(found) > 1:
		return nil, fmt.Errorf("%d Deployments have an image of the release (%s); write in workload which of them takes the traffic", len(found), strings.Join(names, ", "))
	case len(others) > 0:
		return nil, fmt.Errorf("no Deployment has an image of the release, %s has; only Deployments can be brought up beside what runs: take the strategy out", strings.Join(others, ", "))
	}
	return nil, errors.New("no Deployment has an image of the release; take the strategy out, or correct the manifests")
}

// maxName is how long the name of a Deployment may be whose pods are to be told from others by labels.
const maxName = 63

// Beside returns what runs workload, one of objs, beside what runs under its own name: a copy whose name ends in suffix and whose pods
// and selector have the label, and copies of the ConfigMaps and Secrets among objs that its pods mention, under names with
// that suffix. So nothing of what runs is touched.
func Beside(objs []*unstructured.Unstructured, workload *unstructured.Unstructured, suffix, label, value string) ([]*unstructured.Unstructured, error) {
	copied := workload.DeepCopy()
	if name := workload.GetName() + suffix; len(name) > maxName {
		return nil, fmt.Errorf("%s: its name is too long for %s behind it, which may have %d letters; shorten it", RefOf(workload), suffix, maxName)
	}
	copied.SetName(workload.GetName() + suffix)
	for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "template", "metadata", "labels"}} {
		m, err := child(copied.Object, path...)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", RefOf(workload), strings.Join(path, "."), err)
		}
		m[label] = value
	}
	var all []*unstructured.Unstructured
	made := map[string]bool{}
	for _, p := range podSpecs(copied) {
		eachMention(p.spec, func(kind string, from map[string]any, field string) {
			name := from[field].(string)
			i := slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool {
				return o.GetAPIVersion() == "v1" && o.GetKind() == kind && o.GetName() == name && o.GetNamespace() == workload.GetNamespace()
			})
			if i < 0 {
				return
			}
			from[field] = name + suffix
			if key := kind + "/" + name; !made[key] {
				made[key] = true
				source := objs[i].DeepCopy()
				source.SetName(name + suffix)
				all = append(all, source)
			}
		})
	}
	all = append(all, copied)
	for _, o := range all { // what stands beside outlives nothing
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", helmPolicy)
	}
	return all, nil
}

// Needed returns those of objs that pods may need to run and that Beside does not copy, such as a ServiceAccount, where released has none
// of that name.
func Needed(objs, released []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objs), func(o *unstructured.Unstructured) bool {
		had := slices.ContainsFunc(released, func(r *unstructured.Unstructured) bool { return RefOf(r).same(RefOf(o)) })
		kind := o.GetKind()
		return had || rank(o) > 3 || o.GetAPIVersion() == "v1" && (kind == "ConfigMap" || kind == "Secret")
	})
}

// ServicesOf returns those of objs that lead to the pods of workload, as the manifests say.
func ServicesOf(objs []*unstructured.Unstructured, workload *unstructured.Unstructured) []*unstructured.Unstructured {
	pods, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "template", "metadata", "labels")
	return slices.DeleteFunc(slices.Clone(objs), func(o *unstructured.Unstructured) bool {
		if !isService(o) || o.GetNamespace() != workload.GetNamespace() {
			return true
		}
		selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector")
		return len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(pods))
	})
}

// Selecting returns a copy of a Service whose selector has the label, too.
func Selecting(service *unstructured.Unstructured, label, value string) (*unstructured.Unstructured, error) {
	service = service.DeepCopy()
	selector, err := child(service.Object, "spec", "selector")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", RefOf(service), err)
	}
	selector[label] = value
	return service, nil
}

// Replicas is how many pods a live or rendered workload is to have.
func Replicas(workload *unstructured.Unstructured) int {
	n, has, err := unstructured.NestedInt64(workload.Object, "spec", "replicas")
	if !has || err != nil {
		return 1
	}
	return int(n)
}

// Tracked tells whether the pods of a live workload have the label by which a Service tells them from others.
func Tracked(live *unstructured.Unstructured) bool {
	if live == nil {
		return false
	}
	pods, _, _ := unstructured.NestedStringMap(live.Object, "spec", "template", "metadata", "labels")
	return pods[LabelTrack] != ""
}
