package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// contentHash is the pod template annotation that changes with the ConfigMaps and
// Secrets which the template mentions, so that a changed one rolls the pods.
const contentHash = "shipmate.dev/content-hash"

// Image is one image of a release.
type Image struct {
	Repository string   // as configured, host included where there is one, without tag
	Digest     string   // sha256:…, of the manifest or index that was pushed
	Names      []string // other repositories by which manifests may name it: those that it was copied from
	PullHost   string   // host that the cluster pulls from instead; may be empty
	Required   bool     // it is an error when no container uses it
	Also       []string // digests that a runtime may report instead: an index's manifests, the config's
}

// Ref returns the reference by digest that Bind writes into manifests.
func (i Image) Ref() string {
	repository := i.Repository
	if i.PullHost != "" {
		_, name, _ := strings.Cut(canonical(i.Repository), "/")
		repository = i.PullHost + "/" + name
	}
	return repository + "@" + i.Digest
}

// Binding is one image field that Bind set.
type Binding struct {
	Object string // as in Deployment/web
	Field  string // as in spec.template.spec.containers[web].image
	From   string // what the manifest said
	To     string // repository@sha256:…
}

var sha256Digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Bind sets, in place, the image of every container whose repository is that of a
// release's image to that image's digest, in pod templates wherever they stand and
// in bare Pods, init containers included and ephemeral ones not. Tags and digests
// that a manifest names are ignored; index.docker.io/library/nginx, docker.io/nginx
// and nginx are one repository, and so is one that already names the pull host, or
// one of Image.Names.
//
// A pod template that mentions ConfigMaps or Secrets among objs gets an annotation
// with a hash of their content.
//
// A required image that no container uses is an error that lists what was found.
func Bind(objs []*unstructured.Unstructured, images []Image) ([]Binding, error) {
	byName := map[string]Image{}
	for _, image := range images {
		if !sha256Digest.MatchString(image.Digest) {
			return nil, fmt.Errorf("image %s: %q is not a digest (sha256: and 64 hexadecimal digits)", image.Repository, image.Digest)
		}
		names := []string{canonical(image.Repository)}
		for _, other := range append([]string{image.Ref()}, image.Names...) {
			if other = canonical(other); !slices.Contains(names, other) {
				names = append(names, other)
			}
		}
		for _, name := range names {
			if _, twice := byName[name]; twice {
				return nil, fmt.Errorf("image %s: the release has two images of this repository", image.Repository)
			}
			byName[name] = image
		}
	}

	var (
		bindings []Binding
		bound    = map[string]bool{} // by Image.Repository
		found    []string
	)
	for _, obj := range objs {
		for _, pod := range podSpecs(obj) {
			for _, c := range pod.containers() {
				from, ok := c.content["image"].(string)
				if !ok {
					continue
				}
				image, ok := byName[canonical(from)]
				if !ok {
					found = append(found, from)
					continue
				}
				c.content["image"] = image.Ref()
				bound[image.Repository] = true
				bindings = append(bindings, Binding{Object: RefOf(obj).String(), Field: c.path + ".image", From: from, To: image.Ref()})
			}
		}
	}

	var missing []string
	for _, image := range images {
		if image.Required && !bound[image.Repository] {
			missing = append(append(missing, image.Repository), image.Names...)
		}
	}
	if len(missing) > 0 {
		for _, b := range bindings {
			found = append(found, b.From)
		}
		slices.Sort(found)
		list := strings.Join(slices.Compact(found), ", ")
		if list == "" {
			list = "no container at all"
		}
		return nil, fmt.Errorf("no container uses %s; found: %s", strings.Join(missing, " or "), oneLine(list))
	}
	return bindings, hashContents(objs)
}

// canonical returns host/name of an image reference, its tag and digest stripped,
// with Docker Hub's short names written out.
func canonical(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if slash, colon := strings.LastIndexByte(ref, '/'), strings.LastIndexByte(ref, ':'); colon > slash {
		ref = ref[:colon]
	}
	host, name, ok := strings.Cut(ref, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, name = "docker.io", ref
	}
	host = strings.ToLower(host)
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(name, "/") {
		name = "library/" + name
	}
	return host + "/" + name
}

// podSpec is the specification of pods inside an object.
type podSpec struct {
	path     string         // of the specification, as in spec.template.spec
	spec     map[string]any // has containers
	template map[string]any // the pod template around it; nil in a bare Pod
}

// container is one container of a pod specification.
type container struct {
	path    string // as in spec.template.spec.containers[web]
	content map[string]any
}

func (p podSpec) containers() []container {
	var all []container
	for _, field := range []string{"initContainers", "containers"} {
		list, _ := p.spec[field].([]any)
		for i, item := range list {
			content, ok := item.(map[string]any)
			if !ok {
				continue
			}
			name, _ := content["name"].(string)
			if name == "" {
				name = fmt.Sprint(i)
			}
			all = append(all, container{path: fmt.Sprintf("%s.%s[%s]", p.path, field, name), content: content})
		}
	}
	return all
}

// podSpecs returns every pod specification in obj: those of pod templates, and
// obj's own if it is a Pod.
func podSpecs(obj *unstructured.Unstructured) []podSpec {
	if isPod(obj) {
		if spec, ok := obj.Object["spec"].(map[string]any); ok {
			return []podSpec{{path: "spec", spec: spec}}
		}
		return nil
	}
	var specs []podSpec
	for _, t := range podTemplates(obj) {
		specs = append(specs, podSpec{path: t.path + ".spec", spec: t.template["spec"].(map[string]any), template: t.template})
	}
	return specs
}

func isPod(obj *unstructured.Unstructured) bool {
	return obj.GetAPIVersion() == "v1" && obj.GetKind() == "Pod"
}

// podTemplate is a pod template inside an object.
type podTemplate struct {
	path     string // as in spec.template, or spec.jobTemplate.spec.template of a CronJob
	template map[string]any
}

// podTemplates finds pod templates by their shape, so that those of custom kinds
// are found too: a field named template whose spec has a list of containers.
func podTemplates(obj *unstructured.Unstructured) []podTemplate {
	var found []podTemplate
	var walk func(at string, value any)
	walk = func(at string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, key := range sortedKeys(value) {
				next := strings.TrimPrefix(at+"."+key, ".")
				child, _ := value[key].(map[string]any)
				if spec, _ := child["spec"].(map[string]any); key == "template" && spec != nil {
					if _, ok := spec["containers"].([]any); ok {
						found = append(found, podTemplate{path: next, template: child})
						continue
					}
				}
				walk(next, value[key])
			}
		case []any:
			for i, item := range value {
				walk(fmt.Sprintf("%s[%d]", at, i), item)
			}
		}
	}
	walk("", obj.Object)
	return found
}

// hashContents annotates the pod templates that mention a ConfigMap or Secret of objs.
func hashContents(objs []*unstructured.Unstructured) error {
	contents := map[string][]*unstructured.Unstructured{} // by kind/name
	for _, obj := range objs {
		if obj.GetAPIVersion() == "v1" && (obj.GetKind() == "ConfigMap" || obj.GetKind() == "Secret") {
			key := RefOf(obj).String()
			contents[key] = append(contents[key], obj)
		}
	}
	for _, obj := range objs {
		for _, t := range podTemplates(obj) {
			var content []any
			for _, key := range mentions(t.template["spec"].(map[string]any)) {
				for _, source := range contents[key] {
					// At this point an absent namespace still means the environment's.
					a, b := source.GetNamespace(), obj.GetNamespace()
					if a == b || a == "" || b == "" {
						content = append(content, key, source.Object["data"], source.Object["binaryData"], source.Object["stringData"])
					}
				}
			}
			if len(content) == 0 {
				continue
			}
			data, err := json.Marshal(content)
			if err != nil {
				return fmt.Errorf("%s: %w", RefOf(obj), err)
			}
			annotations, err := child(t.template, "metadata", "annotations")
			if err != nil {
				return fmt.Errorf("%s: %s.%w", RefOf(obj), t.path, err)
			}
			sum := sha256.Sum256(data)
			// Half of the hash tells changes apart, and tells less about a Secret.
			annotations[contentHash] = hex.EncodeToString(sum[:8])
		}
	}
	return nil
}

// mentions returns, sorted and as kind/name, the ConfigMaps and Secrets that a pod
// specification mounts or takes its environment from.
func mentions(spec map[string]any) []string {
	found := map[string]bool{}
	eachMention(spec, func(kind string, from map[string]any, field string) {
		found[kind+"/"+from[field].(string)] = true
	})
	return sortedKeys(found)
}

// eachMention shows every place where a pod specification names a ConfigMap or Secret: field of from.
func eachMention(spec map[string]any, see func(kind string, from map[string]any, field string)) {
	add := func(kind string, from any, field string) {
		if m, ok := from.(map[string]any); ok {
			if name, _ := m[field].(string); name != "" {
				see(kind, m, field)
			}
		}
	}
	each := func(list any, do func(map[string]any)) {
		items, _ := list.([]any)
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				do(m)
			}
		}
	}
	each(spec["volumes"], func(volume map[string]any) {
		add("ConfigMap", volume["configMap"], "name")
		add("Secret", volume["secret"], "secretName")
		projected, _ := volume["projected"].(map[string]any)
		each(projected["sources"], func(source map[string]any) {
			add("ConfigMap", source["configMap"], "name")
			add("Secret", source["secret"], "name")
		})
	})
	for _, c := range (podSpec{spec: spec}).containers() {
		each(c.content["envFrom"], func(from map[string]any) {
			add("ConfigMap", from["configMapRef"], "name")
			add("Secret", from["secretRef"], "name")
		})
		each(c.content["env"], func(env map[string]any) {
			from, _ := env["valueFrom"].(map[string]any)
			add("ConfigMap", from["configMapKeyRef"], "name")
			add("Secret", from["secretKeyRef"], "name")
		})
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// child returns the mapping at the end of path in m, made where it is absent.
func child(m map[string]any, path ...string) (map[string]any, error) {
	for _, key := range path {
		switch value := m[key].(type) {
		case map[string]any:
			m = value
		case nil:
			made := map[string]any{}
			m[key] = made
			m = made
		default:
			return nil, errors.New(key + " must be a mapping")
		}
	}
	return m, nil
}
