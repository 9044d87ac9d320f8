package kube

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"
)

// Labels and annotations that Own sets.
const (
	LabelManagedBy   = "app.kubernetes.io/managed-by" // always shipmate
	LabelApp         = "shipmate.dev/app"
	LabelEnvironment = "shipmate.dev/environment"
	LabelTrack       = "shipmate.dev/track" // in pod templates: TrackStable, TrackCanary or a colour
	// The release that brought what the object says. A release which changes nothing of it leaves it as it is (KeepRelease).
	AnnotationRelease = "shipmate.dev/release"
)

// Owner is whose objects these are, and what they may be.
type Owner struct {
	App         string
	Environment string
	Release     string // number or name of the release
	Namespace   string // the environment's; where objects without one go
	PullSecret  string // added to the imagePullSecrets of every pod; may be empty

	// MayHold says whether manifests may hold objects of a cluster-scoped kind, as in ClusterRole, and where not, what to do
	// about it. nil: of none. MayName is the same for namespaces besides Namespace.
	MayHold, MayName func(string) error
}

// labels returns the labels that mark an object as this owner's.
func (o Owner) labels() map[string]string {
	return map[string]string{LabelManagedBy: FieldManager, LabelApp: o.App, LabelEnvironment: o.Environment}
}

// owns reports whether obj carries this owner's labels.
func (o Owner) owns(obj *unstructured.Unstructured) bool {
	have := obj.GetLabels()
	for key, value := range o.labels() {
		if have[key] != value {
			return false
		}
	}
	return true
}

// clusterScoped are the built-in kinds without a namespace, by group and kind. That
// of a custom kind shows only in the cluster: there, what Own gave a namespace is a
// *ClusterScoped error.
var clusterScoped = map[string][]string{
	"":                             {"Namespace", "Node", "PersistentVolume", "ComponentStatus"},
	"admissionregistration.k8s.io": {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"},
	"apiextensions.k8s.io":         {"CustomResourceDefinition"},
	"apiregistration.k8s.io":       {"APIService"},
	"certificates.k8s.io":          {"CertificateSigningRequest", "ClusterTrustBundle"},
	"flowcontrol.apiserver.k8s.io": {"FlowSchema", "PriorityLevelConfiguration"},
	"networking.k8s.io":            {"IngressClass", "IPAddress", "ServiceCIDR"},
	"node.k8s.io":                  {"RuntimeClass"},
	"policy":                       {"PodSecurityPolicy"},
	"rbac.authorization.k8s.io":    {"ClusterRole", "ClusterRoleBinding"},
	"resource.k8s.io":              {"DeviceClass", "ResourceSlice"},
	"scheduling.k8s.io":            {"PriorityClass"},
	"storage.k8s.io":               {"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"},
	"storagemigration.k8s.io":      {"StorageVersionMigration"},
}

// Own confines objs to the owner's namespace and marks them as the owner's, in
// place: labels, the release's annotation, the track in pod templates, the pull
// secret. An object that names another namespace, or is of a cluster-scoped kind,
// is an error unless the owner allows that by name.
//
// The track never enters a selector: one that exists can't be changed, and a
// canary needs to differ in it. A workload's selector that has it is an error.
func Own(objs []*unstructured.Unstructured, o Owner) error {
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		return fmt.Errorf("namespace %q: %s", o.Namespace, problems[0])
	}
	for _, value := range []string{o.App, o.Environment} {
		if problems := validation.IsValidLabelValue(value); value == "" || len(problems) > 0 {
			return fmt.Errorf("%q can't be a label value: at most 63 letters, digits, '-', '_' or '.', a letter or digit first and last", value)
		}
	}
	for _, obj := range objs {
		if err := o.confine(obj); err != nil {
			return err
		}
		if err := o.mark(obj); err != nil {
			return fmt.Errorf("%s: %w", RefOf(obj), err)
		}
	}
	return nil
}

// Allows is Own's word on objects that it has marked before, which may be another one by now.
func (o Owner) Allows(objs []*unstructured.Unstructured) error {
	for _, obj := range objs {
		err := o.mayName(obj)
		if obj.GetNamespace() == "" {
			err = o.confine(obj.DeepCopy())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mayName refuses the namespace of an object that has one.
func (o Owner) mayName(obj *unstructured.Unstructured) error {
	ref, refused := RefOf(obj), errors.New("no other is allowed")
	if ref.Namespace == o.Namespace {
		return nil
	}
	if o.MayName != nil {
		refused = o.MayName(ref.Namespace)
	}
	if refused != nil {
		return fmt.Errorf("%s names namespace %s, but environment %s deploys to %s; take the namespace out of the manifest: %w", ref, ref.Namespace, o.Environment, o.Namespace, refused)
	}
	return nil
}

func (o Owner) confine(obj *unstructured.Unstructured) error {
	gvk, ref := obj.GroupVersionKind(), RefOf(obj)
	refused := errors.New("no such kind is allowed")
	if o.MayHold != nil {
		refused = o.MayHold(gvk.Kind)
	}
	if known := slices.Contains(clusterScoped[gvk.Group], gvk.Kind); known || refused == nil {
		if refused != nil {
			return fmt.Errorf("%s is not of a namespace but of the whole cluster; take it out of the manifests: %w", ref, refused)
		}
		if ref.Namespace != "" {
			return fmt.Errorf("%s is of a cluster-scoped kind and can't have the namespace %s", ref, ref.Namespace)
		}
		return nil
	}
	if ref.Namespace == "" {
		obj.SetNamespace(o.Namespace)
	}
	return o.mayName(obj)
}

func (o Owner) mark(obj *unstructured.Unstructured) error {
	if ref := RefOf(obj); o.PullSecret != "" && ref.same(ObjectRef{Kind: "Secret", Namespace: o.Namespace, Name: o.PullSecret}) {
		return errors.New("is what pull_secret has us make; take it out of the manifests, or choose another name for pull_secret")
	}
	labels, err := child(obj.Object, "metadata", "labels")
	if err != nil {
		return err
	}
	for key, value := range o.labels() {
		labels[key] = value
	}
	annotations, err := child(obj.Object, "metadata", "annotations")
	if err != nil {
		return err
	}
	annotations[AnnotationRelease] = o.Release

	for _, pod := range podSpecs(obj) {
		if pod.template != nil {
			if selectsTrack(obj) {
				return fmt.Errorf("spec.selector has %s; take it out, that label is ours and changes", LabelTrack)
			}
			labels, err := child(pod.template, "metadata", "labels")
			if err != nil {
				return err
			}
			labels[LabelTrack] = TrackStable
		}
		if o.PullSecret != "" {
			secrets, _ := pod.spec["imagePullSecrets"].([]any)
			named := func(s any) bool {
				m, _ := s.(map[string]any)
				return m["name"] == o.PullSecret
			}
			if !slices.ContainsFunc(secrets, named) {
				pod.spec["imagePullSecrets"] = append(secrets, map[string]any{"name": o.PullSecret})
			}
		}
	}
	return nil
}

// KeepRelease lets those of objs, as Own marked them, that say what they say in released too name the release that they name
// there, in place: so there is nothing to apply of them.
func KeepRelease(objs, released []*unstructured.Unstructured) error {
	before := map[string]string{} // release by what it brought
	for _, obj := range released {
		text, err := withoutRelease(obj)
		if err != nil {
			return err
		}
		before[text] = obj.GetAnnotations()[AnnotationRelease]
	}
	for _, obj := range objs {
		text, err := withoutRelease(obj)
		if err != nil {
			return err
		}
		if release := before[text]; release != "" {
			annotations := obj.GetAnnotations()
			annotations[AnnotationRelease] = release
			obj.SetAnnotations(annotations)
		}
	}
	return nil
}

func withoutRelease(obj *unstructured.Unstructured) (string, error) {
	obj = obj.DeepCopy()
	unstructured.RemoveNestedField(obj.Object, "metadata", "annotations", AnnotationRelease)
	text, err := json.Marshal(obj.Object)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", RefOf(obj), err)
	}
	return string(text), nil
}

func selectsTrack(obj *unstructured.Unstructured) bool {
	selector, _, _ := unstructured.NestedMap(obj.Object, "spec", "selector")
	data, err := json.Marshal(selector)
	return err == nil && strings.Contains(string(data), `"`+LabelTrack+`"`)
}

// Hash returns a hash of objs, as in sha256:…: equal for equal objects in equal order.
func Hash(objs []*unstructured.Unstructured) (string, error) {
	data, err := Encode(objs)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Encode returns objs as canonical JSON lines: one object a line, keys sorted.
// It holds the content of Secrets in the clear.
func Encode(objs []*unstructured.Unstructured) ([]byte, error) {
	var b bytes.Buffer
	for _, obj := range objs {
		data, err := json.Marshal(obj.Object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", RefOf(obj), err)
		}
		b.Write(data)
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// Decode reads what Encode wrote.
func Decode(data []byte) ([]*unstructured.Unstructured, error) {
	var objs []*unstructured.Unstructured
	line := 0
	for text := range bytes.Lines(data) {
		line++
		obj := &unstructured.Unstructured{}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &obj.Object); err != nil {
			return nil, fmt.Errorf("decode objects: line %d: %w", line, err)
		}
		if obj.GetKind() == "" || obj.GetName() == "" {
			return nil, fmt.Errorf("decode objects: line %d is not a Kubernetes object", line)
		}
		objs = append(objs, obj)
	}
	return objs, nil
}
