//go:build e2e

// Package install installs the bot in a cluster by following README.md: its test types what the chapters "Install", "In Kubernetes" and
// "Upgrade" say into a shell, changes the files that they say to change, and does in the browser's place what the set-up asks. The bot then ships the
// example, lets somebody sign in, and an older version is upgraded to this one while a deployment is under way.
//
// What is not as the README has it: there is no Docker here, so the image is not made by "docker buildx" but by our own pipeline, from this very tree.
// GitHub and its pages are simulated, and so is its name, ship.example.com. The cluster of e2e/cluster has no names, no way out for pods and nobody who
// makes volumes, and enforces no NetworkPolicy. So the API server is named by its address, a container beside the bot leads to GitHub, the registry and BuildKit
// on this machine, the volume is made by hand, and an HTTP server of ours stands for the ingress controller: it lets in what deploy/'s Ingresses say.
// BuildKit's StatefulSet is only tried on the API server, since no registry can be reached that has its image.
package install

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/shipmate-dev/shipmate/e2e"
	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

const (
	nodeIP    = "10.240.0.1" // of e2e/cluster
	serviceIP = "10.96.0.1"  // of its API server
	host      = "ship.example.com"
)

func TestInstall(t *testing.T) {
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%6.1f  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("SHIPMATE_BIN"), "kubectl")); err != nil {
		t.Fatalf("%v: e2e/setup.sh --with-clients builds it", err)
	}
	chapter(t, "## Run it", imaging) // the one block that is not followed
	files, err := repository()
	must(err)
	now := version{"this tree", files}
	old := before(t, now)
	say("%s (schema %s) will be upgraded to %s (schema %s)", old.name, old.schema(), now.name, now.schema())

	builder, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	stack, err := e2e.Start(ctx, e2e.Options{Bot: os.Getenv("SHIPMATE_BOT"), Bin: os.Getenv("SHIPMATE_BIN"), App: root + "/app.yaml", NoTargets: true, Reach: []string{builder.Addr().String()}, Say: say})
	must(err)
	defer func() {
		if err := stack.Close(); err != nil {
			t.Error("taking the stack down:", err)
		}
	}()
	defer serveBuilder(builder, strings.TrimPrefix(stack.BuildkitHost, "unix://"))()

	// The image, in the place of docker buildx.
	newest := ship(t, stack, "acme/shipmate", root, now)
	say("our own pipeline built %s", newest.digest)
	stack.KillBot()

	// From nothing to a running bot.
	p := newPerson(t, stack)
	p.install(t, stack)
	hookSecret := p.secret(t, "webhook-secret")
	say("Install: a bot has its App, and the doctor knows what it lacks")
	in := &installed{Stack: stack, admin: open(t, stack.Kubeconfig)}
	must(in.prepare(ctx, builder.Addr().String()))
	must(in.volume(ctx, "disk"))
	defer func() {
		if t.Failed() {
			t.Log("the bot's log:\n" + in.log(context.WithoutCancel(ctx)))
		}
	}()
	p.inKubernetes(t, in, newest.digest)
	say("In Kubernetes: the bot is ready, and the doctor finds nothing")
	if got, want := in.run(t, ctx, "version"), short(newest.sha); !strings.Contains(got, want) {
		t.Errorf("the bot says %q, and was built from %s", got, want)
	}
	in.checkRights(t, ctx)
	in.checkExample(t, ctx)
	defer in.ingress(t)()

	// It ships the example, and people sign in.
	x, err := stack.NewExample(root + "/examples/devops-app")
	must(err)
	example, err := x.Files()
	must(err)
	file := regexp.MustCompile(`(?s)notify:.*`).ReplaceAllString(example[".shipmate.yaml"], "") // it has no chats
	example[".shipmate.yaml"] = regexp.MustCompile(`cluster: (test|prod)`).ReplaceAllString(file, "cluster: here")
	sha, err := x.Repo.Commit("master", "alice", "devops-app, v1", example)
	must(err)
	for _, status := range []string{"shipmate/build", "shipmate/deploy/staging"} {
		_, err := x.Status(ctx, sha, status, "success")
		must(err)
	}
	must(x.Live(ctx, "staging", "/", "Hello from devops-app, v1"))
	say("a push is live in staging")
	if page := in.signIn(t, "alice"); !strings.Contains(page, "alice") || !strings.Contains(page, "devops-app") {
		t.Errorf("alice signs in, and sees\n%s", page)
	}
	say("somebody signed in through the ingress, and sees it")
	said, err := p.run(ctx, "kubectl -n shipmate exec deployment/shipmate -- bot doctor --config /etc/shipmate/shipmate.yaml")
	must(err)
	for _, want := range []string{"ok    github webhook", "ok    github deliveries: ", "ok    github sign-in", "ok    registry " + stack.Registry, "ok    cluster here, namespace staging"} {
		if !strings.Contains(said, want) {
			t.Errorf("the doctor does not say %q:\n%s", want, said)
		}
	}

	// The bot in the cluster builds the version that is to be upgraded, and makes way for it.
	tree := filepath.Join(stack.Dir, "before")
	old.unpack(t, tree)
	previous := ship(t, stack, "acme/shipmate-before", tree, old)
	if previous.digest == newest.digest {
		t.Fatal("it is the same image")
	}
	say("the installed bot built %s of %s", previous.digest, old.name)
	p.do(t, "kubectl delete namespace shipmate --wait --timeout=3m")
	must(in.volume(ctx, "second-disk"))
	p.do(t, "kubectl apply --server-side -k "+in.overlay(t, p, tree, previous.digest), "kubectl -n shipmate rollout status deployment/shipmate --timeout=3m")
	if got, want := in.run(t, ctx, "version"), short(previous.sha); !strings.Contains(got, want) {
		t.Errorf("the bot says %q, and was built from %s", got, want)
	}
	say("%s is installed anew, by its own manifests", old.name)

	// It is upgraded in the middle of a rollout.
	slow := strings.Replace(example["deploy/deployment.yaml"], "spec:\n", "spec:\n  minReadySeconds: 45\n", 1)
	sha, err = x.Repo.Commit("master", "alice", "devops-app, slowly", map[string]string{"deploy/deployment.yaml": slow})
	must(err)
	must(in.rolling(ctx))
	pod := in.pod(t, ctx)
	said = p.do(t, chapter(t, "### Upgrade", upgrading)[0]...)
	if is := in.pod(t, ctx); is.Name == pod.Name || !strings.HasSuffix(is.Spec.Containers[0].Image, "@"+newest.digest) {
		t.Errorf("after the upgrade there is pod %s with %s:\n%s", is.Name, is.Spec.Containers[0].Image, said)
	}
	for _, s := range x.Repo.Statuses(sha) {
		if s.Context == "shipmate/deploy/staging" && s.State != "pending" {
			t.Errorf("the rollout had ended when the new bot came (%s: %s): this shows nothing", s.State, s.Description)
		}
	}
	if got, want := in.run(t, ctx, "version"), short(newest.sha); !strings.Contains(got, want) {
		t.Errorf("the bot says %q, and was built from %s", got, want)
	}
	say("Upgrade: %.7s (schema %s) is replaced by %.7s (schema %s), and the rollout is under way", previous.sha, old.schema(), newest.sha, now.schema())
	_, err = x.Status(ctx, sha, "shipmate/deploy/staging", "success")
	must(err)
	must(until(ctx, "GitHub shows two deployments, also the second as one that succeeded", func() (bool, error) { // the first is of a bot whose database is gone
		all := x.Repo.Deployments()
		return len(all) == 2 && all[1].State() == "success", nil
	}))
	must(x.Live(ctx, "staging", "/", "Hello from devops-app, v1"))
	say("the new bot brought it to its end")
	if v := stack.GitHub.Violations(); len(v) > 0 {
		t.Errorf("requests that GitHub's own description forbids: %s", strings.Join(v, "\n"))
	}
	for _, secret := range []string{hookSecret, p.secret(t, "client-secret"), "ghs_", "ghu_", "PRIVATE KEY"} {
		if strings.Contains(in.log(ctx), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

func short(sha string) string { return sha[:7] }

// tracked lists what git knows of this repository, as it lies here.
func tracked() (names []string, err error) {
	out, err := git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimRight(out, "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil { // otherwise it is removed, and that is not committed yet
			names = append(names, name)
		}
	}
	return names, err
}

// repository is the content of that.
func repository() (map[string]string, error) {
	names, err := tracked()
	files := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		files[name] = string(text)
	}
	return files, err
}

// An image is what came of a version.
type image struct{ sha, digest string }

// ship has the bot that serves build a version in a repository of its own: with the registry of the stack, for this machine's platform alone, without a
// cache in the registry, and without the checks, which would compile all tests. tree is where its files are.
func ship(t *testing.T, stack *e2e.Stack, repo, tree string, v version) image {
	t.Helper()
	if err := e2e.PushBotBases(t.Context(), stack.Registry, tree); err != nil { // what its Dockerfile begins with
		t.Fatal(err)
	}
	own := &e2e.Example{Stack: stack}
	var err error
	if own.Repo, err = stack.GitHub.CreateRepo(repo, sim.RepoOptions{}); err != nil {
		t.Fatal(err)
	}
	own.Repo.SetPermission("alice", "write", "")
	var file map[string]any
	if err := yaml.Unmarshal([]byte(v.files[".shipmate.yaml"]), &file); err != nil {
		t.Fatal(err)
	}
	delete(file, "checks")
	build := file["build"].(map[string]any)
	delete(build, "platforms")
	build["cache"] = "off" // BuildKit is the same all the time
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(v.files)
	files[".shipmate.yaml"] = strings.ReplaceAll(string(text), "registry.example.com", stack.Registry)
	return image{digest: built(t, own, v.name, files), sha: own.Repo.Head("master")}
}

// built pushes to our own repository, waits until it is built, and returns the digest.
func built(t *testing.T, own *e2e.Example, message string, files map[string]string) string {
	t.Helper()
	sha, err := own.Repo.Commit("master", "alice", message, files)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := own.Status(t.Context(), sha, "shipmate/build", "success"); err != nil {
		_, log, e := own.Fetch(t.Context(), "alice", status.TargetURL+"/log")
		t.Fatalf("%v\n%s%v", err, log, e)
	}
	ref, err := ggcr.ParseReference(own.Registry+"/team/shipmate:master-"+short(sha), ggcr.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Head(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return image.Digest.String()
}

// installed is the bot in the cluster.
type installed struct {
	*e2e.Stack
	admin   *kube.Cluster
	rest    *rest.Config
	outside *http.Transport // reaches the ingress by its name
	builder string          // where the builder is on this machine
	reach   []string        // what the bot is to find on its own loopback: addresses on this machine's
}

func open(t *testing.T, kubeconfig string) *kube.Cluster {
	t.Helper()
	c, err := kube.Open(kube.Config{Kubeconfig: kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// volume makes one that the bot's claim takes.
func (in *installed) volume(ctx context.Context, name string) error {
	folder := filepath.Join(in.Dir, name)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	// A local volume, not a hostPath: those are not made the pod's group's.
	_, err := in.Kube.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: folder}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpExists}}}}}},
	}}, metav1.CreateOptions{})
	return err
}

// prepare makes what the cluster lacks: the way from its pods to this machine.
func (in *installed) prepare(ctx context.Context, builder string) (err error) {
	if in.rest, err = clientcmd.BuildConfigFromFlags("", in.Kubeconfig); err != nil {
		return err
	}
	in.builder = builder
	in.reach = []string{in.Registry, strings.TrimPrefix(in.GitHub.URL(), "http://"), builder}

	if err := in.pushForward(ctx); err != nil {
		return err
	}
	args := make([]string, len(in.reach))
	for i, address := range in.reach {
		_, port, _ := net.SplitHostPort(address)
		args[i] = net.JoinHostPort(nodeIP, port) + "=" + address
	}
	_, err = in.Kube.CoreV1().Pods("kube-system").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "forward"}, Spec: corev1.PodSpec{
		HostNetwork: true, Containers: []corev1.Container{{Name: "forward", Image: in.Registry + "/forward:1", Args: args}}}}, metav1.CreateOptions{})
	return err
}

// pushForward makes the image of ./forward.
func (in *installed) pushForward(ctx context.Context) error {
	program := filepath.Join(in.Dir, "forward")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, "./forward")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	layer, err := os.Create(program + ".tar")
	if err != nil {
		return err
	}
	w := tar.NewWriter(layer)
	err = w.WriteHeader(&tar.Header{Name: "forward", Mode: 0o755, Size: int64(len(text))})
	if err == nil {
		_, err = w.Write(text)
	}
	if err := errors.Join(err, w.Close(), layer.Close()); err != nil {
		return err
	}
	return e2e.PushImage(ctx, in.Registry+"/forward:1", v1.Config{Entrypoint: []string{"/forward"}}, layer.Name())
}

// reachPatch adds to the bot's pod what leads to this machine.
func (in *installed) reachPatch() string {
	var args strings.Builder
	for _, address := range in.reach {
		_, port, _ := net.SplitHostPort(address)
		fmt.Fprintf(&args, "%q, ", "127.0.0.1:"+port+"="+net.JoinHostPort(nodeIP, port))
	}
	return `apiVersion: apps/v1
kind: Deployment
metadata: {name: shipmate, namespace: shipmate}
spec:
  template:
    spec:
      initContainers:
        - name: reach
          restartPolicy: Always
          image: ` + in.Registry + `/forward:1
          args: [` + args.String() + `]
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`
}

func kustomize(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, r := range made.Resources() {
		text, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var obj unstructured.Unstructured
		if err := obj.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, &obj)
	}
	return objects
}

// pod is the bot's only one.
func (in *installed) pod(t *testing.T, ctx context.Context) corev1.Pod {
	t.Helper()
	pods, err := in.Kube.CoreV1().Pods("shipmate").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=shipmate"})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("the bot has %d pods: %v", len(pods.Items), err)
	}
	return pods.Items[0]
}

func (in *installed) log(ctx context.Context) string {
	var b strings.Builder
	pods, err := in.Kube.CoreV1().Pods("shipmate").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, p := range pods.Items {
		text, err := in.Kube.CoreV1().Pods("shipmate").GetLogs(p.Name, &corev1.PodLogOptions{Container: "bot"}).DoRaw(ctx)
		fmt.Fprintf(&b, "== %s %v\n%s", p.Name, err, text)
	}
	return b.String()
}

// run executes the bot's program in its pod, and returns what it prints.
func (in *installed) run(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	c, err := in.admin.Exec(ctx, kube.Pod{Namespace: "shipmate", Name: in.pod(t, ctx).Name, Container: "bot"}, append([]string{"bot"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // it was only read
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("bot %s: %v: %s", args[0], err, text)
	}
	return string(text)
}

// rolling waits until the cluster is at the rollout of the example that takes two times 45 s.
func (in *installed) rolling(ctx context.Context) error {
	return until(ctx, "the slow rollout begins", func() (bool, error) {
		d, err := in.Kube.AppsV1().Deployments("staging").Get(ctx, "devops-app", metav1.GetOptions{})
		return err == nil && d.Spec.MinReadySeconds > 0, err
	})
}

// until looks again and again for at most 3 minutes.
func until(ctx context.Context, what string, look func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		if ok, err := look(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkRights asks the API server what the bot may.
func (in *installed) checkRights(t *testing.T, ctx context.Context) {
	t.Helper()
	may := func(namespace, verb, group, resource string) bool {
		resource, sub, _ := strings.Cut(resource, "/")
		r, err := in.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:shipmate:shipmate", Groups: []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:shipmate"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: sub},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Allowed
	}
	for _, right := range kube.Needs() {
		for _, verb := range right.Verbs {
			if !may("staging", verb, right.Group, right.Resource) {
				t.Errorf("the bot may not %s %s", verb, right.Resource)
			}
			if may("default", verb, right.Group, right.Resource) || may("shipmate", verb, right.Group, right.Resource) {
				t.Errorf("the bot may %s %s where it deploys nothing", verb, right.Resource)
			}
		}
	}
	for _, no := range [][3]string{{"create", "", "pods"}, {"create", "", "pods/exec"}, {"update", "apps", "deployments"}, {"list", "", "secrets"}, {"create", "rbac.authorization.k8s.io", "rolebindings"}, {"get", "", "nodes"}} {
		if may("staging", no[0], no[1], no[2]) {
			t.Errorf("the bot may %s %s", no[0], no[2])
		}
	}
}

// checkExample has the API server try the example as it stands, BuildKit with it: every object, by a dry run.
func (in *installed) checkExample(t *testing.T, ctx context.Context) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(root+"/deploy")); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlays", "example")
	for _, name := range []string{"app.pem", "webhook-secret", "client-secret", "registry-username", "registry-password"} {
		if err := os.WriteFile(filepath.Join(overlay, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objects := kustomize(t, overlay)
	for _, o := range objects {
		if o.GetKind() == "Namespace" { // in what does not exist nothing can be tried
			if err := in.admin.Apply(ctx, []*unstructured.Unstructured{o}, kube.ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	changes, err := in.admin.Diff(ctx, objects, nil)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, c := range changes {
		if c.Note == "" {
			tried++
		}
	}
	if tried < 20 {
		t.Errorf("of %d objects only %d could be tried: %+v", len(objects), tried, changes)
	}
}

// ingress stands for the ingress controller: GitHub reaches what the Ingress for webhooks names, and everybody else, who may be inside a
// company's network, what that for people does. Both find it by the host's name, over TLS.
func (in *installed) ingress(t *testing.T) (stop func()) {
	t.Helper()
	transport, err := rest.TransportFor(in.rest)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(in.rest.Host)
	if err != nil {
		t.Fatal(err)
	}
	const service = "/api/v1/namespaces/shipmate/services/http:shipmate:http/proxy"
	to.Path = service
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error { // the API server has redirects lead to itself
			if l := r.Header.Get("Location"); l != "" {
				r.Header.Set("Location", strings.Replace(l, service, "", 1))
			}
			return nil
		}}
	serve := func(name string) *httptest.Server {
		i, err := in.Kube.NetworkingV1().Ingresses("shipmate").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rule := i.Spec.Rules[0]
		if rule.Host != host || len(i.Spec.TLS) != 1 || i.Spec.TLS[0].Hosts[0] != host {
			t.Errorf("the Ingress %s is of %q, with TLS of %v", name, rule.Host, i.Spec.TLS)
		}
		mux := http.NewServeMux()
		for _, p := range rule.HTTP.Paths {
			if *p.PathType == networkingv1.PathTypePrefix {
				mux.Handle(strings.TrimSuffix(p.Path, "/")+"/", proxy)
			} else {
				mux.Handle(p.Path, proxy)
			}
		}
		return httptest.NewTLSServer(mux)
	}
	hooks, people := serve("shipmate-webhooks"), serve("shipmate-people")
	reach := func(s *httptest.Server) *http.Transport {
		return toHost(s.Listener.Addr().String(), s.Client().Transport.(*http.Transport))
	}
	in.GitHub.SetHookTransport(reach(hooks))
	in.outside = reach(people)
	return func() { hooks.Close(); people.Close() }
}

// serveBuilder leads from a listener to BuildKit's socket.
func serveBuilder(l net.Listener, socket string) (stop func()) {
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // closed
			}
			all.Go(func() {
				far, err := net.Dial("unix", socket)
				if err != nil {
					_ = near.Close()
					return
				}
				defer context.AfterFunc(ctx, func() { _ = near.Close(); _ = far.Close() })()
				var both sync.WaitGroup
				for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
					both.Go(func() {
						_, _ = io.Copy(pair[0], pair[1]) // whichever ends first ends both
						_ = near.Close()
						_ = far.Close()
					})
				}
				both.Wait()
			})
		}
	})
	return func() { cancel(); _ = l.Close(); all.Wait() }
}
