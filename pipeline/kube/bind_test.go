package kube

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

const other = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

// parse returns the objects of YAML documents.
func parse(t testing.TB, text string) []*unstructured.Unstructured {
	t.Helper()
	var objs []*unstructured.Unstructured
	for _, doc := range splitYAML([]byte(text)) {
		found, err := decodeDocument(doc, false)
		if err != nil {
			t.Fatal(err)
		}
		objs = append(objs, found...)
	}
	return objs
}

func TestCanonical(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"nginx", "docker.io/library/nginx"},
		{"nginx:1.25", "docker.io/library/nginx"},
		{"nginx@" + digest, "docker.io/library/nginx"},
		{"nginx:1.25@" + digest, "docker.io/library/nginx"},
		{"docker.io/nginx", "docker.io/library/nginx"},
		{"docker.io/library/nginx:latest", "docker.io/library/nginx"},
		{"index.docker.io/library/nginx", "docker.io/library/nginx"},
		{"index.docker.io/nginx", "docker.io/library/nginx"},
		{"library/nginx", "docker.io/library/nginx"},
		{"team/app", "docker.io/team/app"},
		{"docker.io/team/app:v1", "docker.io/team/app"},
		{"registry.example.com/team/app", "registry.example.com/team/app"},
		{"registry.example.com/team/app:v1", "registry.example.com/team/app"},
		{"registry.example.com/app", "registry.example.com/app"},
		{"REGISTRY.example.com/team/app", "registry.example.com/team/app"},
		{"host:5000/img", "host:5000/img"},
		{"host:5000/img:v1", "host:5000/img"},
		{"host:5000/team/img:v1@" + digest, "host:5000/team/img"},
		{"127.0.0.1:5000/img@" + digest, "127.0.0.1:5000/img"},
		{"localhost/img:v1", "localhost/img"},
		{"[::1]:5000/img:v1", "[::1]:5000/img"},
		{"host/img", "docker.io/host/img"},
		{"a/b/c/d:v1", "docker.io/a/b/c/d"},
	} {
		if got := canonical(test.in); got != test.want {
			t.Errorf("canonical(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestBindMatches(t *testing.T) {
	const repository = "registry.example.com/team/app"
	hub := Image{Repository: "nginx", Digest: digest}
	plain := Image{Repository: repository, Digest: digest}
	vpc := Image{Repository: repository, Digest: digest, PullHost: "registry-vpc.example.com"}
	port := Image{Repository: "host:5000/img", Digest: digest}
	for _, test := range []struct {
		image Image
		from  string
		want  string // empty: not bound
	}{
		{plain, repository, repository + "@" + digest},
		{plain, repository + ":v1", repository + "@" + digest},
		{plain, repository + ":latest", repository + "@" + digest},
		{plain, repository + "@" + other, repository + "@" + digest},
		{plain, repository + ":v1@" + other, repository + "@" + digest},
		{plain, "Registry.Example.com/team/app", repository + "@" + digest},
		{plain, "REGISTRY.EXAMPLE.COM/team/app:v1@" + other, repository + "@" + digest},
		{plain, repository + ":" + strings.Repeat("v", 128), repository + "@" + digest},
		{plain, "https://" + repository, ""},
		{plain, repository + "/", ""},
		{plain, "registry.example.com/team//app", ""},
		{plain, repository + "-sidecar", ""},
		{plain, repository + "/sub", ""},
		{plain, "registry.example.com/team/ap", ""},
		{plain, "registry.example.com:443/team/app", ""},
		{plain, "team/app", ""},
		{plain, "evil.example.com/registry.example.com/team/app", ""},
		{plain, "registry.example.com.evil.com/team/app", ""},
		{plain, "registry.example.com/other/app", ""},
		{plain, "registry.example.com/Team/app", ""},
		{plain, "", ""},
		{plain, ":v1", ""},
		{plain, "@" + digest, ""},
		{plain, "$(IMAGE)", ""},
		{port, "host:5000/img", "host:5000/img@" + digest},
		{port, "host:5000/img:5000", "host:5000/img@" + digest},
		{port, "host:5001/img", ""},
		{port, "host/img", ""},
		{port, "HOST:5000/img:v1", "host:5000/img@" + digest},
		{port, "host:5000/img@" + other, "host:5000/img@" + digest},
		{port, "host:5000/img:v1@" + other, "host:5000/img@" + digest},
		{port, "host:5000", ""},
		{hub, "nginx", "nginx@" + digest},
		{hub, "nginx:1.25", "nginx@" + digest},
		{hub, "docker.io/nginx", "nginx@" + digest},
		{hub, "docker.io/library/nginx:1", "nginx@" + digest},
		{hub, "index.docker.io/library/nginx", "nginx@" + digest},
		{hub, "library/nginx", "nginx@" + digest},
		{hub, "other/nginx", ""},
		{hub, "registry.example.com/nginx", ""},
		{vpc, repository + ":v1", "registry-vpc.example.com/team/app@" + digest},
		{vpc, "registry-vpc.example.com/team/app:v1", "registry-vpc.example.com/team/app@" + digest},
		{vpc, "registry-vpc.example.com/team/other", ""},
		{Image{Repository: "team/app", Digest: digest, PullHost: "mirror:5000"}, "docker.io/team/app:v1", "mirror:5000/team/app@" + digest},
		{Image{Repository: "nginx", Digest: digest, PullHost: "mirror:5000"}, "nginx", "mirror:5000/library/nginx@" + digest},
		{Image{Repository: "host:5000/a/b", Digest: digest, PullHost: "mirror"}, "host:5000/a/b:v1", "mirror/a/b@" + digest},
	} {
		objs := parse(t, fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: main, image: %q}]}}", test.from))
		bindings, err := Bind(objs, []Image{test.image})
		if err != nil {
			t.Errorf("%q: %v", test.from, err)
			continue
		}
		if test.want == "" {
			if len(bindings) > 0 {
				t.Errorf("%q was bound to %q", test.from, bindings[0].To)
			}
			continue
		}
		want := Binding{Object: "Pod/p", Field: "spec.containers[main].image", From: test.from, To: test.want}
		if len(bindings) != 1 || bindings[0] != want {
			t.Errorf("%q: got %+v, want %+v", test.from, bindings, want)
		}
	}
}

func TestBindFields(t *testing.T) {
	const template = "{metadata: {labels: {a: b}}, spec: {initContainers: [{name: init, image: 'r.example.com/app:1'}], containers: [{name: main, image: 'r.example.com/app:1'}], ephemeralContainers: [{name: debug, image: 'r.example.com/app:1'}]}}"
	for _, test := range []struct {
		name, manifest string
		fields         []string
	}{
		{"Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: " + template + "}}",
			[]string{"spec.template.spec.initContainers[init].image", "spec.template.spec.containers[main].image"}},
		{"StatefulSet", "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x}, spec: {template: " + template + "}}",
			[]string{"spec.template.spec.initContainers[init].image", "spec.template.spec.containers[main].image"}},
		{"CronJob", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: x}, spec: {jobTemplate: {spec: {template: " + template + "}}}}",
			[]string{"spec.jobTemplate.spec.template.spec.initContainers[init].image", "spec.jobTemplate.spec.template.spec.containers[main].image"}},
		{"PodTemplate", "{apiVersion: v1, kind: PodTemplate, metadata: {name: x}, template: " + template + "}",
			[]string{"template.spec.initContainers[init].image", "template.spec.containers[main].image"}},
		{"custom kind", "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: x}, spec: {template: " + template + "}}",
			[]string{"spec.template.spec.initContainers[init].image", "spec.template.spec.containers[main].image"}},
		{"several templates", "{apiVersion: example.com/v1, kind: Cluster, metadata: {name: x}, spec: {nodes: [{template: " + template + "}, {template: " + template + "}]}}",
			[]string{"spec.nodes[0].template.spec.initContainers[init].image", "spec.nodes[0].template.spec.containers[main].image",
				"spec.nodes[1].template.spec.initContainers[init].image", "spec.nodes[1].template.spec.containers[main].image"}},
		{"DaemonSet", "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: x}, spec: {template: " + template + "}}",
			[]string{"spec.template.spec.initContainers[init].image", "spec.template.spec.containers[main].image"}},
		{"Job", "{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {template: " + template + "}}",
			[]string{"spec.template.spec.initContainers[init].image", "spec.template.spec.containers[main].image"}},
		{"ReplicationController", "{apiVersion: v1, kind: ReplicationController, metadata: {name: x}, spec: {template: " + template + "}}",
			[]string{"spec.template.spec.initContainers[init].image", "spec.template.spec.containers[main].image"}},
		{"Knative Service", "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: x}, spec: {template: {spec: {containers: [{image: 'r.example.com/app:1'}]}}}}",
			[]string{"spec.template.spec.containers[0].image"}},
		{"templates by a name", "{apiVersion: kubeflow.org/v1, kind: PyTorchJob, metadata: {name: x}, spec: {pytorchReplicaSpecs: {Worker: {template: " + template + "}, Master: {template: " + template + "}}}}",
			[]string{"spec.pytorchReplicaSpecs.Master.template.spec.initContainers[init].image", "spec.pytorchReplicaSpecs.Master.template.spec.containers[main].image",
				"spec.pytorchReplicaSpecs.Worker.template.spec.initContainers[init].image", "spec.pytorchReplicaSpecs.Worker.template.spec.containers[main].image"}},
		{"a Job's template in another kind", "{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {name: x}, spec: {replicatedJobs: [{name: a, template: {spec: {template: {spec: {containers: [{name: a, image: 'r.example.com/app:1'}]}}}}}]}}",
			[]string{"spec.replicatedJobs[0].template.spec.template.spec.containers[a].image"}},
		{"a List", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: a, image: 'r.example.com/app:1'}]}}, {apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: " + template + "}}]}",
			[]string{"spec.containers[a].image", "spec.template.spec.initContainers[init].image", "spec.template.spec.containers[main].image"}},
		{"several containers, and others' between them", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: a, image: 'r.example.com/app:1'}, {name: b, image: redis}, {name: c, image: 'r.example.com/app:2'}, {name: d, image: 'r.example.com/app-proxy:1'}]}}",
			[]string{"spec.containers[a].image", "spec.containers[c].image"}},
		{"a sidecar", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {initContainers: [{name: s, restartPolicy: Always, image: 'r.example.com/app:1'}], containers: [{name: a, image: redis}]}}",
			[]string{"spec.initContainers[s].image"}},
		{"ephemeral containers alone", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {ephemeralContainers: [{name: d, image: 'r.example.com/app:1'}], containers: [{name: a, image: redis}]}}", nil},
		{"a volume's image", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {volumes: [{name: v, image: {reference: 'r.example.com/app:1'}}], containers: [{name: a, image: redis}]}}", nil},
		{"image elsewhere", "{apiVersion: example.com/v1, kind: Thing, metadata: {name: x}, spec: {image: 'r.example.com/app:1', containers: [{image: 'r.example.com/app:1'}]}}", nil},
		{"ConfigMap", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {image: 'r.example.com/app:1'}}", nil},
		{"a Pod of another group", "{apiVersion: example.com/v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: a, image: 'r.example.com/app:1'}]}}", nil},
		{"no name", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{image: 'r.example.com/app:1'}]}}", []string{"spec.containers[0].image"}},
		{"no image", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: a}]}}", nil},
		{"odd shapes", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [null, 1, {image: 5}], initContainers: {a: b}}}", nil},
		{"no spec", "{apiVersion: v1, kind: Pod, metadata: {name: x}}", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			objs := parse(t, test.manifest)
			bindings, err := Bind(objs, []Image{{Repository: "r.example.com/app", Digest: digest}})
			if err != nil {
				t.Fatal(err)
			}
			var fields []string
			for _, b := range bindings {
				fields = append(fields, b.Field)
			}
			if strings.Join(fields, " ") != strings.Join(test.fields, " ") {
				t.Errorf("bound %q, want %q", fields, test.fields)
			}
			data, err := Encode(objs)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(data), "r.example.com/app@"+digest); got != len(test.fields) {
				t.Errorf("%d images in %s", got, data)
			}
		})
	}
}

func TestBindErrors(t *testing.T) {
	pod := func(images ...string) string {
		text := "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: ["
		for i, image := range images {
			text += fmt.Sprintf("{name: c%d, image: '%s'},", i, image)
		}
		return text + "]}}"
	}
	app := Image{Repository: "registry.example.com/team/devops-app", Digest: digest, Required: true}
	job := Image{Repository: "registry.example.com/team/job", Digest: digest, Required: true}
	for _, test := range []struct {
		name     string
		manifest string
		images   []Image
		want     string
	}{
		{"not used", pod("redis:7", "nginx", "redis:7"), []Image{app}, "no container uses registry.example.com/team/devops-app; found: nginx, redis:7"},
		{"no container", "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}", []Image{app}, "no container uses registry.example.com/team/devops-app; found: no container at all"},
		{"two not used", pod("nginx"), []Image{app, job}, "no container uses registry.example.com/team/devops-app or registry.example.com/team/job; found: nginx"},
		{"one of two", pod(app.Repository + ":1"), []Image{app, job}, "no container uses registry.example.com/team/job; found: registry.example.com/team/devops-app:1"},
		{"not required", pod("nginx"), []Image{{Repository: "a/b", Digest: digest}}, ""},
		{"a tag for a digest", pod("nginx"), []Image{{Repository: "nginx", Digest: "v1"}}, `image nginx: "v1" is not a digest (sha256: and 64 hexadecimal digits)`},
		{"a short digest", pod("nginx"), []Image{{Repository: "nginx", Digest: "sha256:abc"}}, `image nginx: "sha256:abc" is not a digest (sha256: and 64 hexadecimal digits)`},
		{"something after the digest", pod("nginx"), []Image{{Repository: "nginx", Digest: digest + "\n"}}, fmt.Sprintf("image nginx: %q is not a digest (sha256: and 64 hexadecimal digits)", digest+"\n")},
		{"twice", pod("nginx"), []Image{{Repository: "nginx", Digest: digest}, {Repository: "docker.io/library/nginx", Digest: other}}, "image docker.io/library/nginx: the release has two images of this repository"},
		{"template without mapping", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: {metadata: text, spec: {containers: [{image: nginx, envFrom: [{configMapRef: {name: c}}]}]}}}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}",
			nil, "Deployment/d: spec.template.metadata must be a mapping"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Bind(parse(t, test.manifest), test.images)
			if got := fmt.Sprint(err); got != test.want && !(test.want == "" && err == nil) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestContentHash(t *testing.T) {
	hash := func(pod, contents string) string {
		t.Helper()
		objs := parse(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: {spec: {"+pod+"}}}}\n---\n"+contents)
		if _, err := Bind(objs, nil); err != nil {
			t.Fatal(err)
		}
		value, _, _ := unstructured.NestedString(objs[0].Object, "spec", "template", "metadata", "annotations", contentHash)
		return value
	}
	const one = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '1'}}"
	const two = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '2'}}"
	const secret = "{apiVersion: v1, kind: Secret, metadata: {name: c}, stringData: {a: hunter2}}"
	for _, pod := range []string{
		"containers: [{name: a, envFrom: [{configMapRef: {name: c}}]}]",
		"containers: [{name: a, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: a}}}]}]",
		"containers: [{name: a}], initContainers: [{name: i, envFrom: [{configMapRef: {name: c}}]}]",
		"containers: [{name: a}], volumes: [{name: v, configMap: {name: c}}]",
		"containers: [{name: a}], volumes: [{name: v, projected: {sources: [{configMap: {name: c}}]}}]",
	} {
		if a, b := hash(pod, one), hash(pod, two); a == "" || a == b {
			t.Errorf("%s: a changed ConfigMap leaves the annotation at %q", pod, a)
		}
		if a, b := hash(pod, one), hash(pod, strings.Replace(one, "name: c", "labels: {x: z}, name: c", 1)); a != b {
			t.Errorf("%s: a changed label changes the annotation", pod)
		}
		if got := hash(pod, secret); got != "" {
			t.Errorf("%s: a Secret of the ConfigMap's name counts: %q", pod, got)
		}
		if got := hash(pod, strings.Replace(one, "name: c", "name: other", 1)); got != "" {
			t.Errorf("%s: another ConfigMap counts: %q", pod, got)
		}
	}
	for _, pod := range []string{
		"containers: [{name: a, envFrom: [{secretRef: {name: c}}]}]",
		"containers: [{name: a, env: [{name: A, valueFrom: {secretKeyRef: {name: c, key: a}}}]}]",
		"containers: [{name: a}], volumes: [{name: v, secret: {secretName: c}}]",
		"containers: [{name: a}], volumes: [{name: v, projected: {sources: [{secret: {name: c}}]}}]",
	} {
		if a, b := hash(pod, secret), hash(pod, strings.Replace(secret, "hunter2", "hunter3", 1)); a == "" || a == b {
			t.Errorf("%s: a changed Secret leaves the annotation at %q", pod, a)
		}
	}
	// What may be absent counts where it is there.
	for _, pod := range []string{
		"containers: [{name: a, envFrom: [{configMapRef: {name: c, optional: true}}]}]",
		"containers: [{name: a, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: z, optional: true}}}]}]",
		"containers: [{name: a}], volumes: [{name: v, configMap: {name: c, optional: true, items: [{key: z, path: z}]}}]",
	} {
		if a, b := hash(pod, one), hash(pod, two); a == "" || a == b {
			t.Errorf("%s: a changed ConfigMap leaves the annotation at %q", pod, a)
		}
		if got := hash(pod, secret); got != "" {
			t.Errorf("%s: what is not there counts: %q", pod, got)
		}
	}
	// Several count together, each of them.
	const both = "containers: [{name: a, envFrom: [{configMapRef: {name: c}}, {secretRef: {name: c}}]}]"
	all := map[string]bool{}
	for _, contents := range []string{one, two, secret, one + "\n---\n" + secret, two + "\n---\n" + secret, one + "\n---\n" + strings.Replace(secret, "hunter2", "hunter3", 1)} {
		all[hash(both, contents)] = true
	}
	if len(all) != 6 {
		t.Errorf("%d annotations of 6 contents", len(all))
	}
	if a, b := hash(both, one+"\n---\n"+secret), hash(both, secret+"\n---\n"+one); a != b {
		t.Error("the order of the manifests counts")
	}
	if got := hash("containers: [{name: a}], ephemeralContainers: [{name: d, envFrom: [{configMapRef: {name: c}}]}]", one); got != "" {
		t.Errorf("an ephemeral container counts: %q", got)
	}
	if got := hash("containers: [{name: a, args: [c], env: [{name: C, value: c}]}]", one); got != "" {
		t.Errorf("a ConfigMap that is not referred to counts: %q", got)
	}
	// Of another namespace is another ConfigMap; without a namespace it will be the environment's.
	if got := hash(both, strings.Replace(one, "name: c", "namespace: z, name: c", 1)); got == "" {
		t.Error("a ConfigMap of the environment's own namespace, written out, does not count")
	}
	if got := hash("containers: [{name: a}], imagePullSecrets: [{name: c}]", secret); got != "" {
		t.Errorf("a pull secret rolls the pods: %q", got)
	}
}

// TestBindCopied: manifests name an image that was copied by where it was built, by where it is now, or by the hosts that clusters
// pull both from; it is bound to where it is now.
func TestBindCopied(t *testing.T) {
	image := Image{Repository: "other.example.com/prod/web", Digest: digest, PullHost: "other-vpc.example.com", Required: true,
		Names: []string{"registry.example.com/team/web", "registry-vpc.example.com/team/web"}}
	for from, bound := range map[string]bool{
		"registry.example.com/team/web": true, "registry.example.com/team/web:v1": true, "registry-vpc.example.com/team/web@" + other: true,
		"other.example.com/prod/web:v2": true, "other-vpc.example.com/prod/web": true,
		"registry.example.com/prod/web": false, "other.example.com/team/web": false,
	} {
		objs := parse(t, "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: '"+from+"'}]}}")
		bindings, err := Bind(objs, []Image{image})
		if !bound {
			if want := "no container uses other.example.com/prod/web or registry.example.com/team/web or registry-vpc.example.com/team/web; found: " + from; err == nil || err.Error() != want {
				t.Errorf("%s: %v", from, err)
			}
			continue
		}
		if err != nil || len(bindings) != 1 || bindings[0].To != "other-vpc.example.com/prod/web@"+digest {
			t.Errorf("%s: %v, %v", from, bindings, err)
		}
	}
	same := Image{Repository: "r.example.com/a", Digest: digest, Names: []string{"r.example.com/a"}}
	if _, err := Bind(parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}"), []Image{same}); err != nil {
		t.Errorf("named twice: %v", err)
	}
}
