package kube

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Values of LabelTrack in what runs as a colour. They differ from TrackStable, so that a Service can lead past them as long as what
// it leads to runs under the manifest's own name.
const (
	TrackBlue  = "blue"
	TrackGreen = "green"
)

// Coloured returns objs as they run as a colour: workload, one of them, and copies of the ConfigMaps and Secrets that its pods mention
// under names that end in the colour (see Beside); Services that lead to its pods lead to those of the colour alone, and what scales
// it, such as a HorizontalPodAutoscaler, scales that. ConfigMaps and Secrets stay under their own names, too: others may read them.
// An empty colour is the manifest's own names.
func Coloured(objs []*unstructured.Unstructured, workload *unstructured.Unstructured, colour string) ([]*unstructured.Unstructured, error) {
	if colour == "" {
		return objs, nil
	}
	beside, err := Beside(objs, workload, "-"+colour, LabelTrack, colour)
	if err != nil {
		return nil, err
	}
	services := ServicesOf(objs, workload)
	all := make([]*unstructured.Unstructured, 0, len(objs)+len(beside)-1)
	for _, o := range objs {
		switch {
		case o == workload:
			all = append(all, beside...)
			continue
		case slices.Contains(services, o):
			o, err = Selecting(o, LabelTrack, colour)
		case scales(o, workload.GetNamespace()) == workload.GetName():
			o, err = scaling(o, workload.GetName()+"-"+colour)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// scaleRefs are the fields by which objects name the workload that they scale, as a HorizontalPodAutoscaler does, or a VerticalPodAutoscaler.
var scaleRefs = []string{"scaleTargetRef", "targetRef"}

// scales is the name of the Deployment of a namespace that an object scales, empty for none.
func scales(obj *unstructured.Unstructured, namespace string) string {
	if obj.GetNamespace() != namespace {
		return ""
	}
	for _, field := range scaleRefs {
		ref, ok, err := unstructured.NestedStringMap(obj.Object, "spec", field)
		if err == nil && ok && (ref["kind"] == "Deployment" || ref["kind"] == "") {
			return ref["name"]
		}
	}
	return ""
}

func scaling(obj *unstructured.Unstructured, name string) (*unstructured.Unstructured, error) {
	obj = obj.DeepCopy()
	for _, field := range scaleRefs {
		if _, ok, _ := unstructured.NestedMap(obj.Object, "spec", field); ok {
			return obj, unstructured.SetNestedField(obj.Object, name, "spec", field, "name")
		}
	}
	return obj, nil
}

// IsScaled tells whether one of objs scales a Deployment.
func IsScaled(objs []*unstructured.Unstructured, workload *unstructured.Unstructured) bool {
	return slices.ContainsFunc(objs, func(o *unstructured.Unstructured) bool {
		return scales(o, workload.GetNamespace()) == workload.GetName()
	})
}

// AtLeast returns a workload that has at least so many pods.
func AtLeast(workload *unstructured.Unstructured, pods int) *unstructured.Unstructured {
	workload = workload.DeepCopy()
	if spec, ok := workload.Object["spec"].(map[string]any); ok {
		spec["replicas"] = int64(max(pods, Replicas(workload)))
	}
	return workload
}

// OfColour returns the Deployment among objs that runs as a colour, nil for none.
func OfColour(objs []*unstructured.Unstructured, colour string) *unstructured.Unstructured {
	i := slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool {
		track, _, _ := unstructured.NestedString(o.Object, "spec", "selector", "matchLabels", LabelTrack)
		return o.GetKind() == "Deployment" && track == colour
	})
	if i < 0 {
		return nil
	}
	return objs[i]
}

// CanTurn tells why Services can't be turned from one release of a workload, one of objs, to the next, nil where they can. preview is the
// name of the Service that is to be made for the new one, empty for none.
func CanTurn(objs []*unstructured.Unstructured, workload *unstructured.Unstructured, preview string) error {
	services := ServicesOf(objs, workload)
	if len(services) == 0 {
		return fmt.Errorf("no Service leads to %s, and turning Services is all that it does; add its Service to the manifests, or take the strategy out", RefOf(workload))
	}
	for _, o := range objs {
		if o == workload || o.GetNamespace() != workload.GetNamespace() || o.GetKind() == "Job" || o.GetKind() == "CronJob" || len(podTemplates(o)) == 0 {
			continue
		}
		for _, s := range ServicesOf(services, o) {
			return fmt.Errorf("%s leads to %s and to %s, which has no colours; give it a selector that tells them apart", RefOf(s), RefOf(workload), RefOf(o))
		}
	}
	ref := ObjectRef{Version: "v1", Kind: "Service", Namespace: workload.GetNamespace(), Name: preview}
	if slices.ContainsFunc(objs, func(o *unstructured.Unstructured) bool { return RefOf(o).same(ref) }) {
		return fmt.Errorf("preview is to be made, and the manifests have %s already; choose another name", ref)
	}
	_, err := Coloured(objs, workload, TrackGreen)
	return err
}

// Preview returns a Service of that name, inside the cluster alone, that leads to the pods to which the first of objs leads that are of a
// colour.
func Preview(objs []*unstructured.Unstructured, colour, name string) *unstructured.Unstructured {
	i := slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool { return isService(o) && selectedTrack(o) == colour })
	if i < 0 {
		return nil
	}
	of := objs[i].DeepCopy()
	made := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "spec": map[string]any{}}}
	made.SetName(name)
	made.SetNamespace(of.GetNamespace())
	labels := map[string]string{}
	for _, key := range []string{LabelManagedBy, LabelApp, LabelEnvironment} {
		labels[key] = of.GetLabels()[key]
	}
	made.SetLabels(labels)
	made.SetAnnotations(map[string]string{AnnotationRelease: of.GetAnnotations()[AnnotationRelease]}) // others may give it an address
	from, to := of.Object["spec"].(map[string]any), made.Object["spec"].(map[string]any)
	for _, field := range []string{"selector", "ports", "sessionAffinity", "ipFamilies", "ipFamilyPolicy", "publishNotReadyAddresses"} {
		if value, ok := from[field]; ok {
			to[field] = value
		}
	}
	ports, _ := to["ports"].([]any)
	for _, p := range ports {
		if port, ok := p.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
	return made
}

func isService(obj *unstructured.Unstructured) bool {
	return obj.GroupVersionKind().GroupKind() == corev1.SchemeGroupVersion.WithKind("Service").GroupKind()
}

func selectedTrack(service *unstructured.Unstructured) string {
	track, _, _ := unstructured.NestedString(service.Object, "spec", "selector", LabelTrack)
	return track
}

// Ahead returns those of objs that can be there before Services turn to them, because nothing that runs is touched by them: of what
// had does not have all that pods may need or that runs pods, and new Services. All of objs where nothing runs.
func Ahead(objs []*unstructured.Unstructured, had Inventory) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objs), func(o *unstructured.Unstructured) bool {
		touches := rank(o) > 3 && len(podSpecs(o)) == 0 && !isService(o)
		return len(had) > 0 && (touches || had.Has(RefOf(o)))
	})
}

// Narrowed returns the Services that lead to the Deployment of that name among objs, which runs under the manifest's own name, so that
// they lead to no pods of another track: what comes beside it gets no requests by them.
func Narrowed(objs []*unstructured.Unstructured, name string) (services []*unstructured.Unstructured, err error) {
	for _, w := range objs {
		if w.GetKind() != "Deployment" || w.GetName() != name {
			continue
		}
		for _, s := range ServicesOf(objs, w) {
			if s, err = Selecting(s, LabelTrack, TrackStable); err != nil {
				return nil, err
			}
			services = append(services, s)
		}
	}
	return services, nil
}

// Standing returns those of objs that the Deployment of that name among them needs to go on running.
func Standing(objs []*unstructured.Unstructured, name string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objs), func(o *unstructured.Unstructured) bool {
		return rank(o) > 3 && (o.GetKind() != "Deployment" || o.GetName() != name)
	})
}

// Has tells whether an inventory names an object.
func (v Inventory) Has(ref ObjectRef) bool { return slices.ContainsFunc(v, ref.same) }

// And returns what either names, each once.
func (v Inventory) And(o Inventory) Inventory {
	all := slices.Clone(v)
	for _, ref := range o {
		if !all.Has(ref) {
			all = append(all, ref)
		}
	}
	return all
}
