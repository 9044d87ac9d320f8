//go:build e2e

package bot

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// steered is a lab whose builder, registry and cluster are real, while GitHub's and the bot's clock is the lab's: a night
// passes in no time.
type steered struct {
	*lab
	t                   *testing.T
	api                 kubernetes.Interface
	registry            string
	staging, production string // namespaces
}

func newSteered(t *testing.T) *steered {
	t.Helper()
	registry, kubeconfig, builder := os.Getenv("REGISTRY"), os.Getenv("KUBECONFIG"), os.Getenv("BUILDKIT_HOST")
	if registry == "" || kubeconfig == "" || builder == "" {
		t.Skip("needs REGISTRY, KUBECONFIG and BUILDKIT_HOST")
	}
	s := &steered{t: t, registry: registry, api: got(kubernetes.NewForConfig(got(clientcmd.BuildConfigFromFlags("", kubeconfig))(t)))(t)}
	for _, ns := range []*string{&s.staging, &s.production} {
		made := got(s.api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "steer-"}}, metav1.CreateOptions{}))(t)
		*ns = made.Name
		t.Cleanup(func() {
			_ = s.api.CoreV1().Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{}) // the cluster goes anyway
		})
	}
	s.lab = newLab(t, func(server string) string {
		return strings.NewReplacer(
			"\n  registry.example.com:\n    username: file:push\n    password: file:push\n    pull: {username: file:pull, password: file:pull}\n", fmt.Sprintf("\n  %q:\n    plain_http: true\n", registry),
			`paths: ["team/web"]`, `paths: ["team"]`, "[staging]", "["+s.staging+"]", "[production]", "["+s.production+"]",
		).Replace(server) + fmt.Sprintf("builder: {buildkit: [%q]}\n", builder)
	})
	must(t, s.Stop())
	s.share = func(cfg *Config) (*builders, pipeline.Images) {
		return got(newBuilders(cfg, nil))(t), image.New(map[string]image.Registry{registry: {PlainHTTP: true}})
	}
	cluster := got(kube.Open(kube.Config{Kubeconfig: kubeconfig}))(t)
	s.clusters = map[string]pipeline.Cluster{"test": cluster, "prod": cluster}
	must(t, s.Start())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", got(s.Deployments())(t), s.log)
		}
	})
	return s
}

// workload is the manifest of an app.
func workload(app, image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: %[1]s, image: %[2]s, command: [/bin/busybox, sleep, "100000"]}
`, app, image)
}

// files are those of two apps: web and api go to staging by themselves, and to production with two approvals.
func (s *steered) files(version, freeze string) map[string]string {
	files := map[string]string{
		"busybox":    string(got(os.ReadFile("/bin/busybox"))(s.t)),
		"Dockerfile": "FROM scratch\nCOPY --chmod=0755 busybox /bin/busybox\nCOPY version /version\n",
		"version":    version + "\n",
		// What the lab begins with.
		".shipmate.yaml": sim.Deleted, "deploy/web.yaml": sim.Deleted,
	}
	for _, app := range []string{"web", "api"} {
		repository := s.registry + "/team/" + app
		files["deploy/"+app+"/app.yaml"] = workload(app, repository)
		files["live/"+app+"/app.yaml"] = workload(app, repository)
		files[".shipmate/"+app+".yaml"] = fmt.Sprintf(`app: %[1]s
build: {image: %[2]s, cache: "off"}
environments:
  - {name: staging, cluster: test, namespace: %[3]s, manifests: deploy/%[1]s, deploy: auto}
  - {name: production, cluster: prod, namespace: %[4]s, manifests: live/%[1]s, approvals: {count: 2}, freeze: [%[5]s]}
`, app, repository, s.staging, s.production, freeze)
	}
	return files
}

// pass lets time pass once the bot has come to rest: work whose lease ran out meanwhile would be done again.
func (s *steered) pass(d time.Duration) {
	s.t.Helper()
	must(s.t, s.Settle())
	must(s.t, s.Tick(d))
}

// says says a command, and wants it to be obeyed or refused, with words in the answer.
func (s *steered) says(issue int, login, command string, yes bool, want string) {
	s.t.Helper()
	s.pass(time.Minute) // what is written to GitHub is paced
	done, reply, err := s.Say(issue, login, command)
	must(s.t, err)
	if done != yes || !strings.Contains(reply, want) {
		s.t.Fatalf("%s says %s: %v %q, want %v %q", login, command, done, reply, yes, want)
	}
}

// is waits until the newest deployment of an app in an environment has a state, and returns it.
func (s *steered) is(app, environment, state string, blocks ...string) (d store.Deployment) {
	s.t.Helper()
	must(s.t, until(fmt.Sprintf("%s in %s is %s", app, environment, state), func() error {
		return s.bot.db.View(context.Background(), func(tx *store.Tx) error {
			for n := 1; ; n++ {
				next, err := store.Optional(tx.DeploymentNumber("acme/web", n))
				if err != nil {
					return err
				}
				if next == nil {
					break
				}
				if next.App == app && next.Environment == environment {
					d = *next
				}
			}
			var why []string
			for _, b := range d.Blocks.V {
				why = append(why, b.Kind)
			}
			if d.State != state || strings.Join(why, " ") != strings.Join(blocks, " ") {
				return fmt.Errorf("deployment %d of release %d is %s %v %s", d.Number, d.Release, d.State, why, d.Reason)
			}
			return nil
		})
	}))
	return d
}

// runs waits until the pods of an app in a namespace are those of a release alone.
func (s *steered) runs(namespace, app string, release int) {
	s.t.Helper()
	must(s.t, until("the pods of "+app, func() error {
		var want string
		err := s.bot.db.View(context.Background(), func(tx *store.Tx) error {
			rel, err := tx.Release("acme/web", app, release)
			if err == nil {
				want = rel.Images.V[0].Repository + "@" + rel.Images.V[0].Digest
			}
			return err
		})
		if err != nil {
			return err // it is being built
		}
		pods, err := s.api.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return fmt.Errorf("there are none")
		}
		for _, p := range pods.Items {
			if p.Spec.Containers[0].Image != want || p.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("%s is %s, %s", p.Name, p.Spec.Containers[0].Image, p.Status.Phase)
			}
		}
		return nil
	}))
}

// ship pushes to the default branch.
func (s *steered) ship(version, freeze string, edit func(map[string]string)) string {
	s.t.Helper()
	s.pass(time.Minute)
	files := s.files(version, freeze)
	if edit != nil {
		edit(files)
	}
	sha, err := s.Push("alice", "master", "Ship "+version, files)
	must(s.t, err)
	return sha
}

// TestE2ESteer steers two apps on a real cluster: approvals, a lock, a hold that outlives the night, a freeze that ends, and
// a release order that fails in its second part and is taken back.
func TestE2ESteer(t *testing.T) {
	s := newSteered(t)
	s.ship("v1", "", nil)
	for _, app := range []string{"web", "api"} {
		s.is(app, "staging", store.Succeeded)
		s.runs(s.staging, app, 1)
	}
	issue := s.repo.OpenIssue("alice", "Steer")

	t.Log("two approvers, and an outsider")
	s.says(issue, "alice", "/promote web production", true, "")
	s.is("web", "production", store.Blocked, store.BlockApproval)
	s.says(issue, "mallory", "/approve", false, "read")
	s.says(issue, "alice", "/approve", false, "")
	s.says(issue, "bob", "/approve", true, "")
	s.is("web", "production", store.Blocked, store.BlockApproval)
	s.says(issue, "erin", "/approve", true, "")
	s.is("web", "production", store.Succeeded)
	s.runs(s.production, "web", 1)

	t.Log("a lock against an automatic deployment")
	s.says(issue, "dave", "/lock web staging for 2h I am testing there", true, "")
	s.ship("v2", "", nil)
	s.is("api", "staging", store.Succeeded)
	s.is("web", "staging", store.Blocked, store.BlockLock)
	s.runs(s.staging, "web", 1)
	s.pass(2 * time.Hour)
	s.is("web", "staging", store.Succeeded)
	s.runs(s.staging, "web", 2)

	t.Log("a hold after a rollback outlives the night")
	s.says(issue, "alice", "/rollback web staging it is slow", true, "")
	s.is("web", "staging", store.Succeeded)
	s.runs(s.staging, "web", 1)
	s.ship("v3", "", nil)
	s.is("web", "staging", store.Blocked, store.BlockHold)
	for range 14 { // hours
		s.pass(time.Hour)
	}
	must(t, s.Crash())
	must(t, s.Start())
	s.is("web", "staging", store.Blocked, store.BlockHold)
	s.runs(s.staging, "web", 1)
	s.says(issue, "bob", "/unlock web staging", true, "")
	s.is("web", "staging", store.Succeeded)
	s.runs(s.staging, "web", 3)

	t.Log("a freeze that ends")
	now := s.clock.Now().UTC()
	s.ship("v4", fmt.Sprintf("%q", now.Add(-time.Hour).Format("15:04")+" - "+now.Add(3*time.Hour).Format("15:04")+" UTC"), nil)
	s.is("web", "staging", store.Succeeded)
	s.runs(s.staging, "web", 4)
	s.says(issue, "alice", "/promote web production", true, "")
	s.is("web", "production", store.Blocked, store.BlockFreeze, store.BlockApproval)
	s.says(issue, "bob", "/approve", true, "")
	s.says(issue, "erin", "/approve", true, "")
	s.is("web", "production", store.Blocked, store.BlockFreeze)
	s.runs(s.production, "web", 1)
	s.pass(3 * time.Hour)
	s.is("web", "production", store.Succeeded)
	s.runs(s.production, "web", 4)

	t.Log("an order of two apps fails in the second, and is taken back")
	s.ship("v5", "", func(files map[string]string) {
		files["live/api/job.yaml"] = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate-v5}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: migrate, image: ` + s.registry + `/team/api, command: [/bin/busybox, "false"]}
`
	})
	for _, app := range []string{"web", "api"} {
		s.is(app, "staging", store.Succeeded)
		s.runs(s.staging, app, 5)
	}
	s.says(issue, "alice", `/order create production web@5 api@5 "the new checkout"`, true, "")
	s.is("web", "production", store.Blocked, store.BlockPart)
	s.says(issue, "bob", "/approve order 1", true, "")
	s.says(issue, "erin", "/approve order 1", true, "")
	s.is("web", "production", store.Succeeded)
	s.runs(s.production, "web", 5)
	s.is("api", "production", store.Failed)
	s.says(issue, "alice", "/order show 1", true, "1")
	s.says(issue, "alice", "/rollback order 1 the migration fails", true, "")
	s.is("web", "production", store.Succeeded)
	s.runs(s.production, "web", 4)
	s.pass(time.Minute)
	must(t, s.Settle())
}
