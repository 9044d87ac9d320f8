//go:build e2e

// Package install installs the bot in a cluster as the README says, by the image that its own pipeline builds from this repository
// and by the manifests of deploy/, has it ship the example, and upgrades it while a deployment is under way.
//
// What differs from a real cluster: the one of e2e/cluster has no names, no way out for pods and nobody who makes volumes, and
// enforces no NetworkPolicy. So the API server is named by its address, a container beside the bot leads to GitHub, the registry and BuildKit
// on this machine, the volume is made by hand, and an HTTP server of ours stands for the ingress controller: it lets in what deploy/'s Ingress says.
// BuildKit's StatefulSet is only tried on the API server, since no registry can be reached that has its image.
package install

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	root       = "../.."
	nodeIP     = "10.240.0.1" // of e2e/cluster
	serviceIP  = "10.96.0.1"  // of its API server
	hookSecret = "the-webhook-secret-of-the-installed-bot"
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

	builder, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	stack, err := e2e.Start(ctx, e2e.Options{Bot: os.Getenv("SHIPMATE_BOT"), Bin: os.Getenv("SHIPMATE_BIN"), App: root + "/app.yaml", Reach: []string{builder.Addr().String()}, Say: say})
	must(err)
	defer func() {
		if err := stack.Close(); err != nil {
			t.Error("taking the stack down:", err)
		}
	}()
	defer serveBuilder(builder, strings.TrimPrefix(stack.BuildkitHost, "unix://"))()
	must(e2e.PushBotBases(ctx, stack.Registry, root))
	say("what the Dockerfile begins with is pushed")

	// A bot on this machine builds the first image.
	own := &e2e.Example{Stack: stack}
	own.Repo, err = stack.GitHub.CreateRepo("acme/shipmate", sim.RepoOptions{})
	must(err)
	own.Repo.SetPermission("alice", "write", "")
	files, err := repository(stack.Registry)
	must(err)
	first := build(t, own, "The bot", files)
	say("its own pipeline built %s", first)
	stack.KillBot()

	in := &installed{Stack: stack, admin: open(t, stack.Kubeconfig)}
	must(in.prepare(ctx, builder.Addr().String()))
	objects := in.render(t, first)
	must(in.admin.Apply(ctx, objects, kube.ApplyOptions{}))
	must(in.ready(ctx, objects))
	say("the manifests are applied, and the bot is ready")
	defer func() {
		if t.Failed() {
			t.Log("the bot's log:\n" + in.log(context.WithoutCancel(ctx)))
		}
	}()
	if got, want := in.run(t, ctx, "version"), short(own.Repo.Head("master")); !strings.Contains(got, want) {
		t.Errorf("the bot says %q, and was built from %s", got, want)
	}
	in.checkRights(t, ctx)
	in.checkExample(t, ctx)
	defer in.ingress(t, objects)()

	// It ships the example.
	x, err := stack.NewExample(root + "/examples/devops-app")
	must(err)
	example, err := x.Files()
	must(err)
	example[".shipmate.yaml"] = regexp.MustCompile(`(?s)notify:.*`).ReplaceAllString(example[".shipmate.yaml"], "") // it has no chats
	sha, err := x.Repo.Commit("master", "alice", "devops-app, v1", example)
	must(err)
	for _, status := range []string{"shipmate/build", "shipmate/deploy/staging"} {
		_, err := x.Status(ctx, sha, status, "success")
		must(err)
	}
	must(x.Live(ctx, "staging", "/", "Hello from devops-app, v1"))
	say("a push is live in staging")

	// It builds the next version of itself, and is replaced by that in the middle of a rollout.
	second := build(t, own, "The bot, changed", map[string]string{"cmd/bot/main.go": files["cmd/bot/main.go"] + "\n// Changed.\n"})
	if second == first {
		t.Fatal("the changed bot is the same image")
	}
	say("it built its own next version, %s", second)
	say("a backup: %s", strings.TrimSpace(in.run(t, ctx, "backup", "--config", "/etc/shipmate/shipmate.yaml", "/var/lib/shipmate/before.db")))
	slow := strings.Replace(example["deploy/deployment.yaml"], "spec:\n", "spec:\n  minReadySeconds: 30\n", 1)
	sha, err = x.Repo.Commit("master", "alice", "devops-app, slowly", map[string]string{"deploy/deployment.yaml": slow})
	must(err)
	must(in.rolling(ctx))
	old := in.pod(t, ctx)
	objects = in.render(t, second)
	must(in.admin.Apply(ctx, objects, kube.ApplyOptions{}))
	must(in.ready(ctx, objects))
	if is := in.pod(t, ctx); is.Name == old.Name || !strings.HasSuffix(is.Spec.Containers[0].Image, "@"+second) {
		t.Errorf("after the upgrade there is pod %s with %s", is.Name, is.Spec.Containers[0].Image)
	}
	for _, s := range x.Repo.Statuses(sha) {
		if s.Context == "shipmate/deploy/staging" && s.State != "pending" {
			t.Errorf("the rollout had ended when the new bot came (%s: %s): this shows nothing", s.State, s.Description)
		}
	}
	say("it is replaced, and the rollout is under way")
	if got, want := in.run(t, ctx, "version"), short(own.Repo.Head("master")); !strings.Contains(got, want) {
		t.Errorf("the bot says %q, and was built from %s", got, want)
	}
	_, err = x.Status(ctx, sha, "shipmate/deploy/staging", "success")
	must(err)
	must(until(ctx, "GitHub shows two deployments, the second as the live one", func() (bool, error) {
		var states []string
		for _, d := range x.Repo.Deployments() {
			states = append(states, d.State())
		}
		return strings.Join(states, " ") == "inactive success", nil
	}))
	must(x.Live(ctx, "staging", "/", "Hello from devops-app, v1"))
	say("the new bot brought it to its end")
	if v := stack.GitHub.Violations(); len(v) > 0 {
		t.Errorf("requests that GitHub's own description forbids: %s", strings.Join(v, "\n"))
	}
	for _, secret := range []string{hookSecret, "ghs_", "PRIVATE KEY"} {
		if strings.Contains(in.log(ctx), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

func short(sha string) string { return sha[:7] }

// repository is what git knows of this one, as it lies here: with the registry of the stack, for this machine's platform alone, without a cache in
// the registry, and without the checks, which would compile all tests.
func repository(registry string) (map[string]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			return nil, err
		}
		files[name] = string(text)
	}
	var file map[string]any
	if err := yaml.Unmarshal([]byte(files[".shipmate.yaml"]), &file); err != nil {
		return nil, err
	}
	delete(file, "checks")
	image := file["build"].(map[string]any)
	delete(image, "platforms")
	image["cache"] = "off" // BuildKit is the same all the time
	text, err := yaml.Marshal(file)
	files[".shipmate.yaml"] = strings.ReplaceAll(string(text), "registry.example.com", registry)
	return files, err
}

// build pushes to our own repository, waits until it is built, and returns the digest.
func build(t *testing.T, own *e2e.Example, message string, files map[string]string) string {
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
	builder string   // where the builder is on this machine
	reach   []string // what the bot is to find on its own loopback: addresses on this machine's
}

func open(t *testing.T, kubeconfig string) *kube.Cluster {
	t.Helper()
	c, err := kube.Open(kube.Config{Kubeconfig: kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// prepare makes what the cluster lacks: the volume, and the way from its pods to this machine.
func (in *installed) prepare(ctx context.Context, builder string) (err error) {
	if in.rest, err = clientcmd.BuildConfigFromFlags("", in.Kubeconfig); err != nil {
		return err
	}
	in.builder = builder
	in.reach = []string{in.Registry, strings.TrimPrefix(in.GitHub.URL(), "http://"), builder}

	folder := filepath.Join(in.Dir, "volume")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	// A local volume, not a hostPath: those are not made the pod's group's.
	_, err = in.Kube.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: folder}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpExists}}}}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
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

// render writes an overlay beside the example, as the README says, and renders it.
func (in *installed) render(t *testing.T, digest string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(root+"/deploy")); err != nil {
		t.Fatal(err)
	}
	example, mine := filepath.Join(dir, "overlays", "example"), filepath.Join(dir, "overlays", "mine")
	if err := os.CopyFS(mine, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := os.ReadFile(filepath.Join(mine, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	var args strings.Builder
	for _, address := range in.reach {
		_, port, _ := net.SplitHostPort(address)
		fmt.Fprintf(&args, "%q, ", "127.0.0.1:"+port+"="+net.JoinHostPort(nodeIP, port))
	}
	for name, text := range map[string]string{
		"app.pem":        string(in.GitHub.PrivateKeyPEM()),
		"webhook-secret": hookSecret + "\n",
		"kubeconfig":     strings.Replace(string(kubeconfig), "https://kubernetes.default.svc", "https://"+serviceIP, 1),
		"shipmate.yaml": fmt.Sprintf(`listen: :8080
public_url: https://ship.example.com
data_dir: /var/lib/shipmate
github:
  api_url: %s
  app_id: %d
  private_key: file:./app.pem
  webhook_secrets: [file:./webhook-secret]
  allow: ["acme/*"]
builder:
  buildkit: ["tcp://%s"]
registries:
  "%s":
    plain_http: true
    allow: [{repositories: ["acme/*"], paths: [team]}]
clusters:
  test: {kubeconfig: ./kubeconfig, allow: [{repositories: ["acme/*"], namespaces: [staging]}]}
  prod: {kubeconfig: ./kubeconfig, allow: [{repositories: ["acme/devops-app"], namespaces: [production]}]}
`, in.GitHub.APIURL(), in.GitHub.AppID(), in.builder, in.Registry),
		"reach.yaml": `apiVersion: apps/v1
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
`,
		"kustomization.yaml": `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base, targets.yaml, ingress.yaml]
images: [{name: registry.example.com/team/shipmate, newName: "` + in.Registry + `/team/shipmate", digest: "` + digest + `"}]
configMapGenerator: [{name: shipmate, namespace: shipmate, files: [shipmate.yaml, kubeconfig]}]
secretGenerator: [{name: shipmate, namespace: shipmate, files: [app.pem, webhook-secret]}]
patches: [{path: reach.yaml}]
`,
	} {
		if err := os.WriteFile(filepath.Join(mine, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return kustomize(t, mine)
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

// ready waits until the Deployment is rolled out.
func (in *installed) ready(ctx context.Context, objects []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			if err := in.admin.Wait(ctx, []*unstructured.Unstructured{o}, func(kube.Progress) {}); err != nil {
				var f *kube.Failure
				if errors.As(err, &f) {
					return fmt.Errorf("%w\n%s\n%s", err, f.Event, strings.Join(f.Logs, "\n"))
				}
				return err
			}
		}
	}
	return nil
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

// rolling waits until the cluster is at the rollout of the example that takes two times 30 s.
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
	for _, name := range []string{"app.pem", "webhook-secret", "registry-username", "registry-password"} {
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
	changes, err := in.admin.Diff(ctx, objects)
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

// ingress stands for the ingress controller: it passes on what the Ingress for webhooks names, and has GitHub send there.
func (in *installed) ingress(t *testing.T, objects []*unstructured.Unstructured) (stop func()) {
	t.Helper()
	transport, err := rest.TransportFor(in.rest)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(in.rest.Host)
	if err != nil {
		t.Fatal(err)
	}
	to.Path = "/api/v1/namespaces/shipmate/services/http:shipmate:http/proxy"
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
	}}
	mux := http.NewServeMux()
	for _, o := range objects {
		if o.GetKind() != "Ingress" || o.GetName() != "shipmate-webhooks" {
			continue
		}
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var i networkingv1.Ingress
		if err := yaml.Unmarshal(text, &i); err != nil {
			t.Fatal(err)
		}
		for _, p := range i.Spec.Rules[0].HTTP.Paths {
			if *p.PathType == networkingv1.PathTypePrefix {
				mux.Handle(p.Path+"/", proxy)
			} else {
				mux.Handle(p.Path, proxy)
			}
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }() // ends with Close
	in.GitHub.SetHook("http://"+l.Addr().String()+"/webhooks/github", hookSecret)
	return func() { _ = server.Close(); <-done }
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
