// Package deploy has no code: its test renders what is here and holds it against what the API server and the bot would say.
package deploy

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/shipmate-dev/shipmate/bot"
	"github.com/shipmate-dev/shipmate/bot/local"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// secrets are the files that the example says to put beside it.
var secrets = []string{"app.pem", "webhook-secret", "client-secret", "registry-username", "registry-password"}

// example is a copy of this folder with those files, as somebody has it who follows the README; the path is the overlay's.
func example(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlays", "example")
	for _, name := range secrets {
		if err := os.WriteFile(filepath.Join(overlay, name), []byte("not a secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}

// render makes an overlay's objects, each decoded into its type: a field that the type has not is a failure.
func render(t *testing.T, overlay string) []runtime.Object {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	var objects []runtime.Object
	for _, r := range made.Resources() {
		text, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		kind := r.GetGvk()
		obj, err := scheme.New(schema.GroupVersionKind{Group: kind.Group, Version: kind.Version, Kind: kind.Kind})
		if err != nil {
			t.Fatalf("%s: %v", r.CurId(), err)
		}
		wrong, err := kjson.UnmarshalStrict(text, obj)
		if err != nil || len(wrong) > 0 {
			t.Errorf("%s: %v %v", r.CurId(), err, wrong)
		}
		objects = append(objects, obj)
	}
	return objects
}

// all are the objects of one type.
func all[T runtime.Object](objects []runtime.Object) []T {
	var found []T
	for _, o := range objects {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// one is the object of a type and name.
func one[T interface {
	runtime.Object
	GetName() string
}](t *testing.T, objects []runtime.Object, name string) T {
	t.Helper()
	for _, o := range all[T](objects) {
		if o.GetName() == name {
			return o
		}
	}
	var none T
	t.Fatalf("there is no %T %s", none, name)
	return none
}

// TestRender: the example is what the API server takes, the bot runs with as little as it needs, and what names each other is there.
func TestRender(t *testing.T) {
	t.Parallel()
	objects := render(t, example(t))
	if len(objects) < 20 {
		t.Errorf("only %d objects", len(objects))
	}

	d := one[*appsv1.Deployment](t, objects, "shipmate")
	pod := d.Spec.Template.Spec
	bot := pod.Containers[0]
	if d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || *d.Spec.Replicas != 1 {
		t.Error("two bots could be up at once")
	}
	if *pod.TerminationGracePeriodSeconds < 40 {
		t.Error("the bot may take 30 s to end, and it is killed earlier, or nearly so")
	}
	if sc := bot.SecurityContext; !*sc.ReadOnlyRootFilesystem || *sc.AllowPrivilegeEscalation || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0 {
		t.Errorf("the bot's container may too much: %v", sc)
	}
	if sc := pod.SecurityContext; !*sc.RunAsNonRoot || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *sc.FSGroup != *sc.RunAsGroup {
		t.Errorf("the bot's pod may too much: %v", sc)
	}
	if bot.ReadinessProbe.HTTPGet.Path != "/readyz" || bot.LivenessProbe.HTTPGet.Path != "/healthz" || bot.StartupProbe == nil {
		t.Error("a probe is missing")
	}
	if bot.Resources.Requests.Cpu().IsZero() || bot.Resources.Limits.Memory().IsZero() {
		t.Error("no resources")
	}
	sources := pod.Volumes[0].Projected.Sources
	one[*corev1.ConfigMap](t, objects, sources[0].ConfigMap.Name)
	if s := one[*corev1.Secret](t, objects, sources[1].Secret.Name); len(s.Data) != len(secrets) {
		t.Errorf("the Secret has %d files", len(s.Data))
	}

	b := one[*appsv1.StatefulSet](t, objects, "buildkitd")
	if c := b.Spec.Template.Spec.Containers[0]; c.ReadinessProbe == nil || c.LivenessProbe == nil || *b.Spec.Template.Spec.SecurityContext.RunAsUser == 0 ||
		!*b.Spec.Template.Spec.SecurityContext.RunAsNonRoot || *b.Spec.Template.Spec.AutomountServiceAccountToken {
		t.Errorf("buildkitd: %+v", c)
	}
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(b.Spec.Template.Spec.Containers[0].Image, ":")
	if want := "github.com/moby/buildkit " + strings.TrimSuffix(version, "-rootless") + "\n"; !strings.HasSuffix(version, "-rootless") || !bytes.Contains(gomod, []byte(want)) {
		t.Errorf("buildkitd is %s, and the bot speaks another version", version)
	}

	for _, spec := range []corev1.PodSpec{pod, b.Spec.Template.Spec} {
		if spec.HostNetwork || spec.HostPID || spec.HostIPC || slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil }) {
			t.Error("a pod has something of its node")
		}
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			if sc := c.SecurityContext; sc != nil && sc.Privileged != nil && *sc.Privileged {
				t.Errorf("%s is privileged", c.Name)
			}
		}
	}
	for _, s := range all[*corev1.Service](objects) {
		labels := map[string]map[string]string{"shipmate": d.Spec.Template.Labels, "shipmate-build": b.Spec.Template.Labels}[s.Namespace]
		for key, value := range s.Spec.Selector {
			if labels[key] != value {
				t.Errorf("Service %s selects no pod", s.Name)
			}
		}
	}
	for _, i := range all[*networkingv1.Ingress](objects) {
		for _, p := range i.Spec.Rules[0].HTTP.Paths {
			s := one[*corev1.Service](t, objects, p.Backend.Service.Name)
			if !slices.ContainsFunc(s.Spec.Ports, func(port corev1.ServicePort) bool { return port.Name == p.Backend.Service.Port.Name }) {
				t.Errorf("Ingress %s: Service %s has no port %s", i.Name, s.Name, p.Backend.Service.Port.Name)
			}
		}
	}
}

// TestRights: in a namespace that it deploys to the bot may exactly what it does there, elsewhere only speak to BuildKit, and nothing
// of the whole cluster.
func TestRights(t *testing.T) {
	t.Parallel()
	objects := render(t, example(t))
	var gives, does []string
	for _, rule := range one[*rbacv1.ClusterRole](t, objects, "shipmate-deployer").Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					gives = append(gives, strings.Join([]string{verb, resource, group}, " "))
				}
			}
		}
	}
	for _, right := range kube.Needs() {
		for _, verb := range right.Verbs {
			does = append(does, strings.Join([]string{verb, right.Resource, right.Group}, " "))
		}
	}
	slices.Sort(gives)
	slices.Sort(does)
	if !slices.Equal(gives, does) {
		t.Errorf("deployer.yaml gives\n%s\nand what the bot does is\n%s", strings.Join(gives, "\n"), strings.Join(does, "\n"))
	}

	if n := len(all[*rbacv1.ClusterRoleBinding](objects)); n > 0 {
		t.Errorf("%d ClusterRoleBindings", n)
	}
	if n := len(all[*rbacv1.ClusterRole](objects)); n != 1 {
		t.Errorf("%d ClusterRoles", n)
	}
	var bound []string
	for _, b := range all[*rbacv1.RoleBinding](objects) {
		if len(b.Subjects) != 1 || b.Subjects[0] != (rbacv1.Subject{Kind: "ServiceAccount", Name: "shipmate", Namespace: "shipmate"}) {
			t.Errorf("%s in %s is of %v", b.Name, b.Namespace, b.Subjects)
		}
		bound = append(bound, b.Namespace+": "+b.RoleRef.Kind+" "+b.RoleRef.Name)
	}
	if want := []string{"production: ClusterRole shipmate-deployer", "shipmate-build: Role shipmate-dialer", "staging: ClusterRole shipmate-deployer"}; !slices.Equal(slices.Sorted(slices.Values(bound)), want) {
		t.Errorf("bound are %v", bound)
	}
	roles := all[*rbacv1.Role](objects)
	if len(roles) != 1 || fmt.Sprint(roles[0].Rules) != fmt.Sprint([]rbacv1.PolicyRule{{Verbs: []string{"get", "create"}, APIGroups: []string{""}, Resources: []string{"pods/exec"}, ResourceNames: []string{"buildkitd-0"}}}) {
		t.Errorf("Roles: %v", roles)
	}
	one[*corev1.ServiceAccount](t, objects, "shipmate")
}

// TestServerFile: the example's shipmate.yaml is without mistakes as it lies in the pod, beside its secrets.
func TestServerFile(t *testing.T) {
	t.Parallel()
	cfg, err := bot.LoadConfig(filepath.Join(example(t), "shipmate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	mount := false
	for _, v := range one[*appsv1.Deployment](t, render(t, example(t)), "shipmate").Spec.Template.Spec.Containers[0].VolumeMounts {
		mount = mount || v.Name == "data" && v.MountPath == cfg.DataDir
	}
	if !mount {
		t.Errorf("nothing is mounted at data_dir, %s", cfg.DataDir)
	}
	if cfg.Listen != ":8080" {
		t.Errorf("listen is %s, which is not what the Deployment says", cfg.Listen)
	}
}

// TestIngress: what the internet reaches is what GitHub, registries and chats use, and no page.
func TestIngress(t *testing.T) {
	t.Parallel()
	objects := render(t, example(t))
	mux := http.NewServeMux()
	for _, p := range one[*networkingv1.Ingress](t, objects, "shipmate-webhooks").Spec.Rules[0].HTTP.Paths {
		pattern := p.Path
		if *p.PathType == networkingv1.PathTypePrefix {
			pattern += "/"
		}
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
	}
	for path, want := range map[string]bool{
		"/webhooks/github": true, "/webhooks/registry/registry.example.com": true, "/chat/wecom/desk": true,
		"/": false, "/setup": false, "/auth/login": false, "/runs/1": false, "/api/v1/command": false, "/healthz": false, "/metrics": false, "/webhooks/github/x": false,
	} {
		if _, pattern := mux.Handler(httptest.NewRequest(http.MethodGet, path, nil)); (pattern != "") != want {
			t.Errorf("%s: reachable %t", path, !want)
		}
	}
}

// TestIngressLimits: what GitHub sends at most comes through nginx, which by itself takes 1 MiB, and so does a log in which nothing is
// said for a while.
func TestIngressLimits(t *testing.T) {
	t.Parallel()
	objects := render(t, example(t))
	for name, want := range map[string]string{"shipmate-webhooks": "proxy-body-size=25m", "shipmate-people": "proxy-read-timeout=3600"} {
		key, value, _ := strings.Cut(want, "=")
		if got := one[*networkingv1.Ingress](t, objects, name).Annotations["nginx.ingress.kubernetes.io/"+key]; got != value {
			t.Errorf("%s: %s is %q", name, key, got)
		}
	}
}

// TestSecretsStayOut: whatever secrets lie in an overlay, git takes none of them.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	overlay := example(t)
	for _, name := range []string{"client-secret", "client-key.pem", "prod.token"} {
		if err := os.WriteFile(filepath.Join(overlay, name), []byte("not a secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out []byte
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "."}, {"ls-files"}} {
		var err error
		if out, err = exec.CommandContext(t.Context(), "git", append([]string{"-C", overlay}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	if got, want := strings.Fields(string(out)), []string{".gitignore", "ingress.yaml", "kubeconfig", "kustomization.yaml", "shipmate.yaml", "targets.yaml"}; !slices.Equal(got, want) {
		t.Errorf("git takes %v", got)
	}
}

// TestStamped: what the Dockerfile has the linker set is there to be set; the linker says nothing of what is not.
func TestStamped(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	main, err := os.ReadFile("../cmd/bot/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var set []string
	for _, m := range regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(string(text), -1) {
		set = append(set, m[1])
		if !regexp.MustCompile(`(?m)^var .*\b` + m[1] + `\b.* = `).Match(main) {
			t.Errorf("main has no variable %s", m[1])
		}
	}
	if !slices.Equal(set, []string{"version", "commit"}) {
		t.Errorf("an image is told %v", set)
	}
}

// TestOwnFile: the repository's own .shipmate.yaml has no mistakes, and a push of it would start a build of our Dockerfile.
func TestOwnFile(t *testing.T) {
	t.Parallel()
	if mistakes := bot.Check("", "", []string{"../.shipmate.yaml"}); len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	dir := t.TempDir()
	for _, name := range []string{".shipmate.yaml", "Dockerfile"} {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch=master"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "-m", "x"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	var plan strings.Builder
	if err := local.Plan(t.Context(), &plan, dir, "", ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"registry.example.com/team/shipmate", "vet", "test"} {
		if !strings.Contains(plan.String(), want) {
			t.Errorf("the plan lacks %s:\n%s", want, plan.String())
		}
	}
}

// TestContext: .dockerignore lets in every file of ours that the bot is compiled from.
func TestContext(t *testing.T) {
	t.Parallel()
	ignore, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(ignore)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			kept = append(kept, name)
			if _, err := os.Stat("../" + name); err != nil {
				t.Error(err)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{if and .Module .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}`, "./cmd/bot")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for file := range strings.FieldsSeq(string(out)) {
		rel, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		files++
		inside := slices.ContainsFunc(kept, func(k string) bool { return rel == k || strings.HasPrefix(rel, k+"/") })
		if !inside || strings.HasSuffix(rel, "_test.go") || strings.Contains(rel, "testdata/") {
			t.Errorf("%s is not in the build's context", rel)
		}
	}
	if files < 100 {
		t.Errorf("only %d files", files)
	}
}

// TestUnit: systemd understands every line of the unit.
func TestUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	text, err := fs.ReadFile(os.DirFS("systemd"), "shipmate.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable() // systemd looks whether the program is there
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "shipmate.service")
	if err := os.WriteFile(unit, bytes.ReplaceAll(text, []byte("/usr/local/bin/shipmate"), []byte(program)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", unit).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, want := range []string{"NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes", "LoadCredential=", "Restart=on-failure", "TimeoutStopSec=45"} {
		if !bytes.Contains(text, []byte("\n"+want)) {
			t.Errorf("%s is gone", want)
		}
	}
}
