package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

func TestMain(m *testing.M) {
	if kube.RenderConfined() {
		return
	}
	os.Exit(m.Run())
}

const (
	testRepo  = "acme/web"
	testImage = "registry.example.com/team/web"
	manifest  = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: registry.example.com/team/web}]
`
)

// bench is an engine with far ends that remember what was done to them.
type bench struct {
	*Engine
	t *testing.T

	mu       sync.Mutex
	points   int    // transactions begun, and calls of far ends begun and ended
	dieAt    int    // at this point kill is called; 0: never
	kill     func() // ends the context of the work
	pushed   map[string]bool
	tags     map[string]string // in the registry
	options  []source.Options  // of the checkouts
	files    map[string]string // what they hold; nil: the manifest, in deploy/
	builds   int
	running  string        // the image that the cluster runs
	applied  []byte        // the objects that it got last
	changes  []kube.Change // what it says that an apply would do
	problem  *kube.Failure // what it tells of a rollout while it waits
	compared string        // the image of what was released before, as a comparison was told
	calls    []string
	on       map[string]func(context.Context) error // what a call does before its effect
	servers  server
	outputs  map[string]string                     // by path: what checks leave behind
	says     []build.Line                          // what a build writes
	jobs     map[string]int                        // in the cluster, by name: how often each has run
	status   int                                   // what a Service answers
	objects  map[string]*unstructured.Unstructured // in the cluster, as in Deployment/web
	watch    func()                                // sees what is in the cluster after each change; may be nil
}

// server allows everything.
type server struct {
	denied  error
	secrets []string
	secret  string // any
	floor   int
	puller  string   // who pulls
	kinds   []string // cluster-scoped ones that may be applied
}

func (s server) MayUseRegistry(string, string) error        { return s.denied }
func (s server) MayUseCluster(string, string, string) error { return s.denied }
func (s server) MayUseKind(_, _, _, kind string) error {
	if slices.Contains(s.kinds, kind) {
		return nil
	}
	return errors.New("add kinds: [" + kind + "]")
}
func (s server) MayAlsoUse(string, string, string, string) error   { return errors.New("no other") }
func (s server) MayUseSecret(string, string, string, string) error { return s.denied }
func (s server) Secret(string) (string, error)                     { return s.secret, nil }
func (s server) PullHost(host string) string                       { return host }
func (s server) PullCredentials(string) (string, string, error) {
	if s.puller == "" {
		return "", "", errors.New("no credentials")
	}
	return s.puller, "sesame", nil
}
func (s server) Secrets() []string                     { return s.secrets }
func (s server) Floor(_ string, a Approvals) Approvals { a.Count = max(a.Count, s.floor); return a }

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, jobs: map[string]int{}, objects: map[string]*unstructured.Unstructured{}, status: 200, pushed: map[string]bool{}, tags: map[string]string{}, on: map[string]func(context.Context) error{}}
	b.open(t.TempDir())
	b.update(func(tx *store.Tx) error {
		return tx.PutRepo(store.Repo{Name: testRepo, ID: 1, Installation: 1, DefaultBranch: "master", HTMLURL: "https://github.example.com/acme/web"})
	})
	return b
}

// open opens the database in dir.
func (b *bench) open(dir string) {
	b.t.Helper()
	key := []byte("0123456789abcdef0123456789abcdef")
	db, err := store.Open(context.Background(), filepath.Join(dir, "test.db"), key)
	b.ok(err)
	b.t.Cleanup(func() { b.ok(db.Close()) })
	db.Now = func() time.Time { b.point(""); return time.Now() }
	sealer, err := NewSealer(key)
	b.ok(err)
	b.Engine = &Engine{DB: db, Server: &b.servers, Source: (*fakeSource)(b), Builder: (*fakeBuilder)(b), Images: (*fakeImages)(b),
		Clusters: map[string]Cluster{"test": (*fakeCluster)(b)}, Sealer: sealer, DataDir: dir}
}

// copy is another bench in the state of b, which is closed.
func (b *bench) copy() *bench {
	b.t.Helper()
	b.ok(b.DB.Close())
	dir := b.t.TempDir()
	data, err := os.ReadFile(filepath.Join(b.DataDir, "test.db"))
	b.ok(err)
	b.ok(os.WriteFile(filepath.Join(dir, "test.db"), data, 0o600))
	c := &bench{t: b.t, jobs: maps.Clone(b.jobs), objects: maps.Clone(b.objects), status: b.status, pushed: maps.Clone(b.pushed), tags: maps.Clone(b.tags), builds: b.builds, running: b.running, outputs: b.outputs, files: b.files, on: map[string]func(context.Context) error{}}
	c.open(dir)
	return c
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) update(fn func(*store.Tx) error) {
	b.t.Helper()
	b.ok(b.DB.Update(context.Background(), fn))
}

// point is a moment at which the program may be killed; what names a call of a far end.
func (b *bench) point(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if what != "" {
		b.calls = append(b.calls, what)
	}
	b.points++
	if b.points == b.dieAt {
		b.kill()
	}
}

// call is one call of a far end: fn is its effect, which a kill right after it does not undo.
func (b *bench) call(ctx context.Context, what string, fn func()) error {
	b.point(what)
	if err := ctx.Err(); err != nil {
		return err
	}
	if on := b.on[what]; on != nil {
		if err := on(ctx); err != nil {
			return err
		}
	}
	b.mu.Lock()
	if fn != nil {
		fn()
		if b.watch != nil {
			b.watch()
		}
	}
	b.mu.Unlock()
	b.point("")
	return ctx.Err()
}

func (b *bench) changed() {
	if b.watch != nil {
		b.watch()
	}
}

type fakeSource bench

func (f *fakeSource) Checkout(ctx context.Context, _ store.Repo, sha, dest string, o source.Options) (source.Commit, error) {
	err := (*bench)(f).call(ctx, "checkout", func() {
		f.t.Helper()
		f.options = append(f.options, o)
		files := f.files
		if files == nil {
			files = map[string]string{"deploy/web.yaml": manifest}
		}
		for name, text := range files {
			name = filepath.Join(dest, name)
			(*bench)(f).ok(os.MkdirAll(filepath.Dir(name), 0o700))
			(*bench)(f).ok(os.WriteFile(name, []byte(text), 0o600))
		}
	})
	return source.Commit{Time: time.Unix(1, 0), Subject: "Change"}, err
}

type fakeBuilder bench

func (f *fakeBuilder) Build(ctx context.Context, req build.Request, out func(build.Line)) (build.Result, error) {
	for _, l := range f.says {
		out(l)
	}
	if req.NoPush {
		return (*bench)(f).check(ctx, req, out)
	}
	var digest string
	err := (*bench)(f).call(ctx, "build", func() {
		f.builds++ // no two builds make the same image
		digest = fmt.Sprintf("sha256:%064x", f.builds)
		f.pushed[req.Image+"@"+digest] = true
	})
	if err == nil {
		out(build.Line{At: time.Now(), Step: "build", Text: "done"})
	}
	return build.Result{Digest: digest}, err
}

type fakeImages bench

func (f *fakeImages) Resolve(ctx context.Context, ref string) (string, error) {
	_, digest, _ := strings.Cut(ref, "@")
	err := (*bench)(f).call(ctx, "resolve", nil)
	if err == nil && !f.pushed[ref] {
		err = fmt.Errorf("%s was never pushed", ref)
	}
	return digest, err
}

func (f *fakeImages) Find(ctx context.Context, ref string) (string, error) {
	return f.Resolve(ctx, ref)
}

func (f *fakeImages) Tag(ctx context.Context, ref, tag string) error {
	return (*bench)(f).call(ctx, "tag "+tag, func() { f.tags[tag] = ref })
}

// Exists tells of what was pushed or copied; what "ask" does is its error.
func (f *fakeImages) Exists(ctx context.Context, ref string) (there bool, err error) {
	err = (*bench)(f).call(ctx, "ask", func() { there = f.pushed[ref] })
	return there, err
}

// Copy takes two moments, and is not there before both are over.
func (f *fakeImages) Copy(ctx context.Context, ref, repository string, report func(done, total int64)) error {
	report(0, 4e6)
	if err := (*bench)(f).call(ctx, "copy", nil); err != nil {
		return err
	}
	report(4e6, 4e6)
	_, digest, _ := strings.Cut(ref, "@")
	err := error(image.ErrNotFound)
	if called := (*bench)(f).call(ctx, "copied", func() {
		if f.pushed[ref] {
			f.pushed[repository+"@"+digest], err = true, nil
		}
	}); called != nil {
		return called
	}
	return err
}

func (f *fakeImages) Parts(context.Context, string) ([]string, error) {
	return []string{"sha256:part"}, nil
}

type fakeCluster bench

// imageOf is the image of the first of objs that has one.
func imageOf(objs []*unstructured.Unstructured) string {
	for _, o := range objs {
		if containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers"); len(containers) > 0 {
			return containers[0].(map[string]any)["image"].(string)
		}
	}
	return ""
}

func (f *fakeCluster) Diff(ctx context.Context, _, released []*unstructured.Unstructured) ([]kube.Change, error) {
	f.compared = ""
	if len(released) > 0 {
		f.compared = imageOf(released)
	}
	return f.changes, (*bench)(f).call(ctx, "diff", nil)
}

func (f *fakeCluster) Drift(context.Context, []*unstructured.Unstructured) ([]kube.Drift, error) {
	return nil, nil
}

func (f *fakeCluster) Apply(ctx context.Context, objs []*unstructured.Unstructured, _ kube.ApplyOptions) error {
	return (*bench)(f).call(ctx, "apply", func() {
		for _, obj := range objs {
			if obj.GetKind() == "Deployment" && !strings.HasSuffix(obj.GetName(), kube.CanarySuffix) {
				f.running = imageOf([]*unstructured.Unstructured{obj})
			}
			f.objects[kube.RefOf(obj).String()] = obj.DeepCopy()
		}
		var err error
		f.applied, err = kube.Encode(objs)
		(*bench)(f).ok(err)
		(*bench)(f).changed()
	})
}

func (f *fakeCluster) Wait(ctx context.Context, objs []*unstructured.Unstructured, report func(kube.Progress)) error {
	report(kube.Progress{Object: "Deployment/web", Text: "0 of 1 pods ready", Problem: f.problem})
	of := objs[max(0, slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" }))]
	release := of.GetAnnotations()[kube.AnnotationRelease]
	if err := (*bench)(f).call(ctx, "wait", nil); err != nil {
		return err
	}
	if strings.HasSuffix(of.GetName(), kube.CanarySuffix) {
		return (*bench)(f).call(ctx, "wait canary of "+release, nil)
	}
	return (*bench)(f).call(ctx, "wait release "+release, nil)
}

func (f *fakeCluster) Verify(ctx context.Context, _ []*unstructured.Unstructured, _ []kube.Image) ([]string, error) {
	return nil, (*bench)(f).call(ctx, "verify", nil)
}

func (f *fakeCluster) Prune(ctx context.Context, old, new kube.Inventory, _ kube.Owner) (gone []string, err error) {
	err = (*bench)(f).call(ctx, "prune", func() {
		for _, ref := range slices.Backward(old) {
			if _, there := f.objects[ref.String()]; there && !slices.Contains(new, ref) {
				delete(f.objects, ref.String())
				gone = append(gone, ref.String())
			}
		}
		(*bench)(f).changed()
	})
	return gone, err
}

func (f *fakeCluster) List(ctx context.Context, of kube.ObjectRef) (objs []*unstructured.Unstructured, err error) {
	err = (*bench)(f).call(ctx, "list", func() {
		for _, obj := range f.objects {
			if obj.GetKind() == of.Kind && obj.GetNamespace() == of.Namespace {
				objs = append(objs, obj.DeepCopy())
			}
		}
	})
	return objs, err
}

func (f *fakeCluster) EnsurePullSecret(ctx context.Context, _, name, _, user, _ string) error {
	return (*bench)(f).call(ctx, "pull secret "+name+" of "+user, nil)
}

func (f *fakeCluster) Capabilities(ctx context.Context) (kube.Capabilities, error) {
	return kube.Capabilities{Version: "v1.37.0", Major: "1", Minor: "37"}, (*bench)(f).call(ctx, "capabilities", nil)
}

func (f *fakeCluster) HoldJob(ctx context.Context, job *unstructured.Unstructured) (string, error) {
	err := (*bench)(f).call(ctx, "hold "+job.GetName(), func() { f.jobs[job.GetName()] += 0 })
	return "uid of " + job.GetName(), err
}

// RunJob runs a Job that is held, and takes one that has run for ended.
func (f *fakeCluster) RunJob(ctx context.Context, job *unstructured.Unstructured, uid string, report func(kube.Progress)) ([]string, error) {
	name := job.GetName()
	report(kube.Progress{Object: "Job/" + name, Text: "0 of 1 completed"})
	f.mu.Lock()
	runs, there := f.jobs[name]
	f.mu.Unlock()
	if !there || uid != "uid of "+name {
		return nil, &kube.Failure{Object: "Job/" + name, Reason: "NotFound"}
	}
	if runs == 0 {
		if err := (*bench)(f).call(ctx, "run job", func() { f.jobs[name]++ }); err != nil {
			return nil, err
		}
	}
	return []string{"migrated"}, (*bench)(f).call(ctx, "watch job", nil)
}

func (f *fakeCluster) Live(ctx context.Context, ref kube.ObjectRef) (obj *unstructured.Unstructured, err error) {
	err = (*bench)(f).call(ctx, "live", func() { obj = f.objects[ref.String()].DeepCopy() })
	return obj, err
}

func (f *fakeCluster) StopJob(ctx context.Context, job *unstructured.Unstructured) error {
	return (*bench)(f).call(ctx, "stop job", nil)
}

func (f *fakeCluster) Proxy(ctx context.Context, namespace, service, port, path string) (int, []byte, error) {
	err := (*bench)(f).call(ctx, fmt.Sprintf("proxy %s/%s:%s%s", namespace, service, port, path), nil)
	return f.status, nil, err
}

func (f *fakeCluster) Status(context.Context, []*unstructured.Unstructured) ([]kube.WorkloadStatus, error) {
	return nil, nil
}

// environment is where the tests deploy to.
func environment(edit func(*Environment)) Environment {
	env := Environment{Name: "staging", Cluster: "test", Namespace: "staging", Manifests: "deploy/", Deploy: Auto, Rollback: Auto, Timeout: time.Minute}
	env.Approvals.Expire = time.Hour
	if edit != nil {
		edit(&env)
	}
	return env
}

func encoded(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run queues a run of a commit, whose release goes to env.
func (b *bench) run(sha byte, env Environment, edit func(*Config)) store.Run {
	b.t.Helper()
	cfg := Config{App: "web", Build: Build{Image: testImage, Tags: []string{"{short_sha}"}, Timeout: time.Minute}, Environments: []Environment{env}}
	if edit != nil {
		edit(&cfg)
	}
	r := store.Run{Repo: testRepo, App: "web", Ref: "refs/heads/master", SHA: strings.Repeat(string(sha), 40), Sender: "alice", Cause: "push"}
	r.Config.V = encoded(b.t, cfg)
	r.Deploys.V = []store.Request{{Environment: env.Name, Cause: store.CauseAutomatic, Requester: "alice", Spec: encoded(b.t, Spec{Environment: env})}}
	b.update(func(tx *store.Tx) error { return tx.NewRun(&r, cfg.RunSteps()...) })
	return r
}

// work does what is due, as the worker does, until nothing is, or something fails.
func (b *bench) work(ctx context.Context) error {
	kinds := []string{store.TaskRun, store.TaskForkRun, store.TaskImageRun, store.TaskPrepare, store.TaskEnv, store.TaskOrder}
	for range 50 {
		var task store.Task
		var due bool
		err := b.DB.Update(ctx, func(tx *store.Tx) (err error) { task, due, err = tx.Claim(kinds, time.Hour); return err })
		if err != nil || !due {
			return err
		}
		switch task.Kind {
		case store.TaskRun, store.TaskForkRun, store.TaskImageRun:
			err = b.AdvanceRun(ctx, task.Key, 0)
		case store.TaskPrepare:
			err = b.Prepare(ctx, task.Key, 0)
		case store.TaskEnv:
			_, err = b.AdvanceEnv(ctx, task.Key, 0)
		case store.TaskOrder:
			_, err = b.AdvanceOrder(ctx, task.Key, 0)
		}
		if err == nil {
			err = b.DB.Update(ctx, func(tx *store.Tx) error { return tx.Done(task) })
		}
		if err != nil {
			return err
		}
	}
	return errors.New("it goes round in circles")
}

// deployments lists the deployments, one a line.
func (b *bench) deployments() string {
	b.t.Helper()
	var lines []string
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) error {
		for n := 1; ; n++ {
			d, err := tx.DeploymentNumber(testRepo, n)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("%s %d %s", d.Cause, d.Release, d.State))
			steps, err := tx.Steps(d.ID)
			if err != nil {
				return err
			}
			for _, s := range steps {
				if store.Final(d.State) && (s.State == store.StepPending || s.State == store.StepRunning || s.State == store.StepInterrupted) {
					b.t.Errorf("deployment %d is %s, its step %s %s", n, d.State, s.Kind, s.State)
				}
			}
		}
	}))
	return strings.Join(lines, ", ")
}

// deployment reads a deployment by its number.
func (b *bench) deployment(number int) (d store.Deployment) {
	b.t.Helper()
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) (err error) { d, err = tx.DeploymentNumber(testRepo, number); return err }))
	return d
}

func (b *bench) reload(r store.Run) store.Run {
	b.t.Helper()
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) (err error) { r, err = tx.Run(r.ID); return err }))
	return r
}

// runs checks that the cluster runs a release, and that its digest is in the registry.
func (b *bench) runs(release int) {
	b.t.Helper()
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) error {
		rel, err := tx.Release(testRepo, "web", release)
		if err != nil {
			return err
		}
		if want := testImage + "@" + rel.Images.V[0].Digest; b.running != want || !b.pushed[want] {
			b.t.Errorf("the cluster runs %s, release %d is %s", b.running, release, want)
		}
		return nil
	}))
}

// digests checks that every step of a run tells the digest of its release, and that no two releases have the same.
func (b *bench) digests() {
	b.t.Helper()
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) error {
		seen := map[string]bool{}
		for n := 1; ; n++ {
			rel, err := tx.Release(testRepo, "web", n)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			digest := rel.Images.V[0].Digest
			if seen[digest] {
				b.t.Errorf("release %d has the digest of another", n)
			}
			seen[digest] = true
			steps, err := tx.Steps(rel.Run)
			if err != nil {
				return err
			}
			for _, s := range steps {
				if _, check := CheckOf(s.Kind); s.State != store.StepSucceeded || s.Kind != StepFetch && !check && s.Detail != digest {
					b.t.Errorf("release %d is %s, its step %s %s with %s", n, digest, s.Kind, s.State, s.Detail)
				}
			}
		}
	}))
}

// TestSourceOptions: a build gets the submodules and LFS objects that its configuration asks for, a stranger's public ones only.
func TestSourceOptions(t *testing.T) {
	t.Parallel()
	for want, edit := range map[source.Options]func(*Build){
		{}:                               func(*Build) {},
		{Submodules: true}:               func(b *Build) { b.Submodules = true },
		{LFS: true}:                      func(b *Build) { b.LFS = true },
		{Submodules: true, Public: true}: func(b *Build) { b.Submodules = true },
	} {
		b := newBench(t)
		r := b.run('a', environment(nil), func(c *Config) { edit(&c.Build) })
		if want.Public {
			r.Fork = "mallory/web"
		}
		b.update(func(tx *store.Tx) error { return tx.StartRun(r.ID) })
		_, err := b.makeImage(t.Context(), r, store.Repo{Name: testRepo, DefaultBranch: "master"})
		b.ok(err)
		if !slices.Equal(b.options, []source.Options{want}) {
			t.Errorf("checked out with %+v, want %+v", b.options, want)
		}
	}
}

// TestTags: tags are put on the digest at the end of a run that passes, and one that stays another image's fails nothing.
func TestTags(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tags := func(c *Config) { c.Build.Tags = []string{"{branch}", "fixed", "build-{run}"} }
	b.on["tag fixed"] = func(context.Context) error { return fmt.Errorf("tag x: %w", image.ErrImmutable) }
	r := b.run('a', environment(nil), tags)
	b.ok(b.work(context.Background()))
	r = b.reload(r)
	ref := testImage + "@" + r.Digest
	if r.State != store.RunSucceeded || !slices.Equal(r.TagsKept.V, []string{"fixed"}) || !maps.Equal(b.tags, map[string]string{"master": ref, "build-1": ref}) {
		t.Errorf("%s, tags %v but for %v", r.State, b.tags, r.TagsKept.V)
	}
	var rel store.Release
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) (err error) { rel, err = tx.Release(testRepo, "web", 1); return err }))
	if images, err := b.images(rel, environment(nil)); err != nil || len(images) != 1 || !slices.Equal(images[0].Also, []string{"sha256:part"}) {
		t.Errorf("pods are verified against %+v", images)
	}

	// One that fails before its end leaves the tags where they are.
	b.on["resolve"] = func(context.Context) error { return permanent{errors.New("no")} }
	r = b.run('b', environment(nil), tags)
	b.ok(b.work(context.Background()))
	if r = b.reload(r); r.State != store.RunFailed || b.tags["master"] != ref {
		t.Errorf("%s, tags %v", r.State, b.tags)
	}
}

// TestKilledAnywhere kills the engine at every transaction and before and after every call of a far end; a second engine
// on what is left then comes to the same end as one that was never killed.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	crash := func(context.Context) error {
		return &kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff", Fatal: true}
	}
	stories := map[string]struct {
		play   func(*bench, context.Context) error
		want   string
		live   int
		stride int // from one moment to the next
		checks []CheckSpec
	}{
		"a push": {func(b *bench, ctx context.Context) error { return b.work(ctx) }, "automatic 1 succeeded", 1, 1, nil},
		"a push with checks": {func(b *bench, ctx context.Context) error { return b.work(ctx) }, "automatic 1 succeeded", 1, 1,
			[]CheckSpec{{Name: "unit", Target: "test", Report: "junit.xml"}, {Name: "vet", Image: "golang:1.26", Run: "go vet ./..."}}},
		"a push that fails": {func(b *bench, ctx context.Context) error {
			b.on["wait release 2"] = crash
			return b.work(ctx)
		}, "automatic 1 succeeded, automatic 2 failed, recovery 1 succeeded", 1, 1, nil},
		"a push that is cancelled": {func(b *bench, ctx context.Context) error {
			b.on["wait release 2"] = func(context.Context) error {
				b.update(func(tx *store.Tx) error {
					d, err := tx.DeploymentNumber(testRepo, 2)
					return errors.Join(err, tx.AskCancel(d, "bob"))
				})
				return nil
			}
			return b.work(ctx)
		}, "automatic 1 succeeded, automatic 2 cancelled", 2, 3, nil},
		"a rollback while it rolls out": {func(b *bench, ctx context.Context) error {
			b.on["wait release 2"] = func(context.Context) error {
				b.update(func(tx *store.Tx) error {
					from, err1 := tx.DeploymentNumber(testRepo, 2)
					to, err2 := tx.DeploymentNumber(testRepo, 1)
					if err := errors.Join(err1, err2); err != nil || from.CancelBy != "" {
						return err
					}
					_, err := NewRollback(tx, from, to, store.CauseRollback, "bob", "")
					return errors.Join(tx.AskCancel(from, "bob"), err)
				})
				return nil
			}
			return b.work(ctx)
		}, "automatic 1 succeeded, automatic 2 cancelled, rollback 1 succeeded", 1, 3, nil},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := newBench(t)
			if strings.Contains(story.want, "2") {
				before.run('a', environment(nil), nil)
				before.ok(before.work(t.Context()))
			}
			before.run('b', environment(nil), func(c *Config) { c.Checks = story.checks })
			stride := story.stride
			if testing.Short() {
				stride = 7
			}
			for n := 1; ; n += stride {
				b := before.copy()
				ctx, kill := context.WithCancel(t.Context())
				b.mu.Lock()
				b.points, b.dieAt, b.kill = 0, n, kill
				b.mu.Unlock()
				err := story.play(b, ctx)
				kill()
				b.mu.Lock()
				survived := b.points < n
				b.dieAt = 0
				b.mu.Unlock()
				if survived && err != nil {
					t.Fatal(err)
				}
				b.update((*store.Tx).Recover)
				if err := story.play(b, t.Context()); err != nil {
					t.Fatalf("killed at %d: %v", n, err)
				}
				if got := b.deployments(); got != story.want {
					t.Errorf("killed at %d: %s, want %s", n, got, story.want)
				}
				b.runs(story.live)
				b.digests()
				if survived {
					if n < 20 {
						t.Errorf("only %d points", n)
					}
					return
				}
			}
		})
	}
}

func TestSupersededBuildIsCancelled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	started := make(chan struct{})
	b.on["build"] = func(ctx context.Context) error {
		close(started)
		<-ctx.Done() // a builder that is told to stop
		return ctx.Err()
	}
	old := b.run('a', environment(nil), nil)
	done := make(chan error, 1)
	go func() { done <- b.AdvanceRun(t.Context(), old.ID, 0) }()
	<-started
	b.on = map[string]func(context.Context) error{}
	b.run('b', environment(nil), nil)
	b.ok(<-done)
	if old = b.reload(old); old.State != store.RunSuperseded {
		t.Errorf("the older run is %s", old.State)
	}
	b.ok(b.work(t.Context()))
	if got, want := b.deployments(), "automatic 1 succeeded"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.runs(1)
}

// TestSupersededWhileItFinishes: a run that is superseded between its last step and its release makes none.
func TestSupersededWhileItFinishes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := b.run('a', environment(nil), nil)
	b.on["resolve"] = func(context.Context) error {
		b.on = map[string]func(context.Context) error{}
		b.run('b', environment(nil), nil)
		return nil
	}
	_ = b.AdvanceRun(t.Context(), old.ID, 0) // it may be told to come again
	b.ok(b.work(t.Context()))
	if old = b.reload(old); old.State != store.RunSuperseded || old.Release != 0 {
		t.Errorf("the older run is %s with release %d", old.State, old.Release)
	}
	if got, want := b.deployments(), "automatic 1 succeeded"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// log is the log of a run, empty where it never came to one.
func (b *bench) log(r store.Run) string {
	b.t.Helper()
	log, err := runlog.Open(LogFile(b.DataDir, r.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	b.ok(err)
	defer func() { _ = log.Close() }() // it was only read
	var text strings.Builder
	for l, err := range log.Lines(0) {
		b.ok(err)
		text.WriteString(l.String() + "\n")
	}
	return text.String()
}

func TestRunThatFails(t *testing.T) {
	t.Parallel()
	down := errors.New("no route to host, token s3cr3t-token")
	slow := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	tests := map[string]struct {
		on       map[string]func(context.Context) error
		denied   error
		timeout  time.Duration
		attempts int
		again    bool // it is to be tried again
		want     store.Failure
	}{
		"far end down":       {on: map[string]func(context.Context) error{"checkout": func(context.Context) error { return down }}, again: true},
		"far end stays down": {on: map[string]func(context.Context) error{"checkout": func(context.Context) error { return down }}, attempts: maxAttempts - 1, want: store.Failure{Step: StepFetch, Reason: "no route to host, token •••"}},
		"commit is gone":     {on: map[string]func(context.Context) error{"checkout": func(context.Context) error { return source.ErrCommitGone }}, want: store.Failure{Step: StepFetch, Reason: source.ErrCommitGone.Error()}},
		"builder away":       {on: map[string]func(context.Context) error{"build": func(context.Context) error { return build.ErrUnavailable }}, again: true},
		"build too long":     {on: map[string]func(context.Context) error{"build": slow}, timeout: 20 * time.Millisecond, want: store.Failure{Step: StepBuild, Reason: "the build took longer than its timeout of 20ms"}},
		"registry denies":    {denied: errors.New("acme/web may not push"), want: store.Failure{Step: StepFetch, Reason: "acme/web may not push"}},
		"registry lacks it":  {on: map[string]func(context.Context) error{"resolve": func(context.Context) error { return down }}, again: true},
		"Dockerfile does not work": {on: map[string]func(context.Context) error{"build": func(context.Context) error {
			return &build.Failure{Command: "RUN curl s3cr3t-token", File: "Dockerfile", Line: 7, Tail: []string{"using s3cr3t-token"}, Err: errors.New("exit code: 1")}
		}}, want: store.Failure{Step: StepBuild, Where: "Dockerfile:7", Reason: "Dockerfile:7: RUN curl •••: exit code: 1", Command: "RUN curl •••", Logs: []string{"using •••"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.servers = server{denied: test.denied, secrets: []string{"s3cr3t-token"}}
			if test.on != nil {
				b.on = test.on
			}
			r := b.run('a', environment(nil), func(c *Config) {
				if test.timeout > 0 {
					c.Build.Timeout = test.timeout
				}
			})
			err := b.AdvanceRun(t.Context(), r.ID, test.attempts)
			r = b.reload(r)
			if test.again {
				if err == nil || r.State != store.RunRunning {
					t.Fatalf("%v, the run is %s", err, r.State)
				}
				b.on = map[string]func(context.Context) error{}
				b.ok(b.work(t.Context()))
				b.runs(1)
				return
			}
			b.ok(err)
			if len(test.want.Logs) == 0 && r.Failure.V != nil {
				r.Failure.V.Logs = nil
			}
			if r.State != store.RunFailed || fmt.Sprintf("%+v", *r.Failure.V) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("the run is %s: %+v, want %+v", r.State, r.Failure.V, test.want)
			}
			if log := b.log(r); strings.Contains(log, "s3cr3t-token") || test.denied == nil && log == "" {
				t.Errorf("the log: %s", log)
			}
		})
	}
}

func TestRolloutThatFails(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	giveUp := func(ctx context.Context) error {
		<-ctx.Done()
		return &kube.Failure{Object: "Deployment/web", Reason: "Unschedulable", Message: "no node fits"}
	}
	fails := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	const kept = "automatic 1 succeeded, automatic 2 "
	tests := map[string]struct {
		verb    string
		fn      func(context.Context) error
		timeout time.Duration
		manual  bool
		again   bool
		want    string
		reason  string
	}{
		"cluster is down":           {verb: "apply", fn: fails(&kube.Error{Object: "cluster", Message: "refused", Temporary: true}), again: true},
		"cluster breaks off":        {verb: "wait release 2", fn: fails(&kube.Error{Object: "cluster", Message: "eof", Temporary: true}), again: true},
		"error of unknown kind":     {verb: "verify", fn: fails(errors.New("odd")), again: true},
		"pruning breaks off":        {verb: "prune", fn: fails(&kube.Error{Temporary: true}), again: true},
		"cluster refuses":           {verb: "apply", fn: fails(&kube.Error{Object: "Deployment/web", Message: "invalid"}), want: "failed, recovery 1 succeeded", reason: "invalid"},
		"field of another":          {verb: "apply", fn: fails(&kube.Conflict{Object: "Deployment/web", Fields: []string{".spec"}, Manager: "helm"}), want: "failed, recovery 1 succeeded", reason: "helm"},
		"pod crashes":               {verb: "wait release 2", fn: fails(&kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff", Message: "back-off"}), want: "failed, recovery 1 succeeded", reason: "CrashLoopBackOff: back-off"},
		"pod crashes, manual":       {verb: "wait release 2", fn: fails(&kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff"}), manual: true, want: "failed", reason: "CrashLoopBackOff"},
		"time is up":                {verb: "wait release 2", fn: giveUp, timeout: 300 * time.Millisecond, want: "failed, recovery 1 succeeded", reason: "no node fits"},
		"time is up without reason": {verb: "wait release 2", fn: hang, timeout: 300 * time.Millisecond, want: "failed, recovery 1 succeeded", reason: "longer than its timeout"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.run('a', environment(nil), nil)
			b.ok(b.work(t.Context()))
			b.on[test.verb] = func(ctx context.Context) error {
				delete(b.on, test.verb) // once
				return test.fn(ctx)
			}
			b.run('b', environment(func(e *Environment) {
				if test.timeout > 0 {
					e.Timeout = test.timeout
				}
				if test.manual {
					e.Rollback = Manual
				}
			}), nil)
			err := b.work(t.Context())
			if test.again {
				if d := b.deployment(2); err == nil || !store.Active(d.State) {
					t.Fatalf("%v, the deployment is %s", err, d.State)
				}
				b.update((*store.Tx).Recover) // gives the task back
				b.ok(b.work(t.Context()))
				if got := b.deployments(); got != kept+"succeeded" {
					t.Error(got)
				}
				b.runs(2)
				return
			}
			b.ok(err)
			if got := b.deployments(); got != kept+test.want {
				t.Errorf("%s, want %s", got, kept+test.want)
			}
			late := test.timeout > 0 && strings.Contains(b.deployment(2).Reason, "longer than its timeout") // also where it is slow here
			if r := b.deployment(2).Reason; !strings.Contains(r, test.reason) && !late {
				t.Errorf("the reason is %q, not %q", r, test.reason)
			}
		})
	}
}

// TestFirstRolloutThatFails has nothing to go back to.
func TestFirstRolloutThatFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.on["wait"] = func(context.Context) error {
		return &kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff"}
	}
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	if got, want := b.deployments(), "automatic 1 failed"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestRecoveryThatFails is not tried in circles.
func TestRecoveryThatFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	b.on["wait"] = func(context.Context) error {
		return &kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff"}
	}
	b.run('b', environment(nil), nil)
	b.ok(b.work(t.Context()))
	if got, want := b.deployments(), "automatic 1 succeeded, automatic 2 failed, recovery 1 failed"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestRollbackDuringRollout cancels the rollout, also when it fails at that very moment: then the person's way back is
// gone, not another of our own.
func TestRollbackDuringRollout(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(context.Context) error{
		"while it waits": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"as it fails": func(context.Context) error {
			return &kube.Failure{Object: "Deployment/web", Reason: "CrashLoopBackOff"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.run('a', environment(nil), nil)
			b.ok(b.work(t.Context()))
			b.run('b', environment(nil), nil)
			b.on["wait release 2"] = func(ctx context.Context) error {
				b.update(func(tx *store.Tx) error {
					from, err := tx.DeploymentNumber(testRepo, 2)
					if err != nil {
						return err
					}
					to, err := tx.DeploymentNumber(testRepo, 1)
					if err != nil {
						return err
					}
					_, err = NewRollback(tx, from, to, store.CauseRollback, "bob", "")
					return errors.Join(tx.AskCancel(from, "bob"), err)
				})
				return end(ctx)
			}
			b.ok(b.work(t.Context()))
			if got, want := b.deployments(), "automatic 1 succeeded, automatic 2 cancelled, rollback 1 succeeded"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			b.runs(1)
			if b.builds != 2 {
				t.Errorf("%d builds", b.builds)
			}
		})
	}
}

// TestApplyIsFinished: an apply that has begun is not broken off, neither by a cancel nor by a shutdown, and is recorded.
func TestApplyIsFinished(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stop func(b *bench, shutdown func())
		want string
	}{
		"cancelled": {func(b *bench, _ func()) {
			b.update(func(tx *store.Tx) error {
				d, err := tx.DeploymentNumber(testRepo, 1)
				return errors.Join(err, tx.AskCancel(d, "bob"))
			})
		}, "cancelled: apply succeeded, observe cancelled"},
		"shut down": {func(_ *bench, shutdown func()) { shutdown() }, "progressing: apply succeeded, observe pending"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			ctx, shutdown := context.WithCancel(t.Context())
			defer shutdown()
			b.on["apply"] = func(ctx context.Context) error {
				test.stop(b, shutdown)
				select { // long enough for the news to get here, if it did
				case <-ctx.Done():
					t.Error("the apply is broken off")
				case <-time.After(200 * time.Millisecond):
				}
				return ctx.Err()
			}
			b.run('a', environment(nil), nil)
			err := b.work(ctx)
			if (err != nil) != (name == "shut down") {
				t.Error(err)
			}
			b.runs(1)
			d := b.deployment(1)
			var steps []store.Step
			b.ok(b.DB.View(t.Context(), func(tx *store.Tx) (err error) { steps, err = tx.Steps(d.ID); return err }))
			got := fmt.Sprintf("%s: %s %s, %s %s", d.State, steps[1].Kind, steps[1].State, steps[2].Kind, steps[2].State)
			if name == "cancelled" {
				got = strings.Replace(got, "skipped", "cancelled", 1) // it may have begun to look
			}
			if got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestRightsAreAskedAgain: what the server's file no longer allows is not done, also when it was asked for before.
func TestRightsAreAskedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.on["resolve"] = func(context.Context) error { b.servers.denied = errors.New("not any more"); return nil }
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Failed || d.Reason != "not any more" {
		t.Errorf("the deployment is %s: %s", d.State, d.Reason)
	}
	if b.running != "" {
		t.Errorf("the cluster runs %s", b.running)
	}

	// The same after it was rendered and approved.
	b = newBench(t)
	b.run('a', environment(nil), nil)
	b.on["diff"] = func(context.Context) error { b.servers.denied = errors.New("not any more"); return nil }
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Failed || b.running != "" {
		t.Errorf("the deployment is %s, the cluster runs %q", d.State, b.running)
	}
}

// TestRollbackAppliesWhatWasStored needs neither git nor a builder.
func TestRollbackAppliesWhatWasStored(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	b.run('b', environment(nil), nil)
	b.ok(b.work(t.Context()))
	broken := func(context.Context) error { return permanent{errors.New("must not be needed")} }
	b.on["checkout"], b.on["build"], b.on["resolve"], b.on["diff"] = broken, broken, broken, broken
	b.update(func(tx *store.Tx) error {
		_, err := NewRollback(tx, b.deployment(2), b.deployment(1), store.CauseRollback, "bob", "")
		return err
	})
	b.ok(b.work(t.Context()))
	if got, want := b.deployments(), "automatic 1 succeeded, automatic 2 succeeded, rollback 1 succeeded"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.runs(1)
	if one, three := b.deployment(1), b.deployment(3); one.ObjectsHash != three.ObjectsHash {
		t.Error("other objects were applied")
	}
}

// TestDriftIsShown before it is overwritten: a comparison is with what is live, and no more than five fields of an object are told.
func TestDriftIsShown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	drift := kube.Drift{Object: "Deployment/web", Field: "spec.replicas", Live: "3", Released: "2", Manager: "kubectl-edit", At: time.Date(2026, 3, 4, 14, 2, 0, 0, time.UTC)}
	b.changes = []kube.Change{{Object: "Deployment/web", Action: "update", Text: "-a\n+b", Drift: slices.Repeat([]kube.Drift{drift}, 7)}, {Object: "Service/web", Action: "none", Drift: []kube.Drift{drift}}}
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	if b.compared != "" {
		t.Errorf("the first is compared with %s", b.compared)
	}
	first := b.running
	b.run('b', environment(nil), nil)
	b.ok(b.work(t.Context()))
	want := "Deployment/web update\n" + strings.Repeat("! changed in the cluster: spec.replicas is 3, released 2, by kubectl-edit at 2026-03-04 14:02 UTC\n", 5) + "! and 2 more changed in the cluster\n-a\n+b"
	if got := b.deployment(2).Changes; got != want || b.compared != first || first == "" {
		t.Errorf("compared with %s: %s", b.compared, got)
	}
}

// TestKindsOfTheWholeCluster are deployed where the server's file allows that, as it is when they are applied.
func TestKindsOfTheWholeCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.files = map[string]string{"deploy/web.yaml": manifest, "deploy/z.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: web}\nrules: []\n"}
	const refused = "ClusterRole/web is not of a namespace but of the whole cluster; take it out of the manifests: add kinds: [ClusterRole]"
	b.run('a', environment(nil), nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Failed || d.Reason != refused {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	b.servers.kinds = []string{"ClusterRole"}
	b.run('b', environment(nil), nil)
	b.ok(b.work(t.Context()))
	b.run('c', environment(nil), nil)
	b.on["diff"] = func(context.Context) error { b.servers.kinds = nil; return nil }
	b.ok(b.work(t.Context()))
	if got, want := b.deployments(), "automatic 1 failed, automatic 2 succeeded, automatic 3 failed"; got != want || b.deployment(3).Reason != refused {
		t.Errorf("%s, want %s: %s", got, want, b.deployment(3).Reason)
	}

	// Of a custom kind only the cluster knows.
	b = newBench(t)
	b.run('a', environment(nil), nil)
	b.on["diff"] = func(context.Context) error { return &kube.ClusterScoped{Object: "World/a", Kind: "World"} }
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Failed || d.Reason != "World/a is not of a namespace but of the whole cluster; take it out of the manifests: add kinds: [World]" {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
}

// TestPullSecret: the credentials are those of today, for a rollback and for what is live too, and none are an error.
func TestPullSecret(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	env := environment(func(e *Environment) { e.PullSecret = "tcr" })
	b.servers.puller = "old"
	b.run('a', env, nil)
	b.ok(b.work(t.Context()))
	b.run('b', env, nil)
	b.ok(b.work(t.Context()))
	if got := pulls(b); got != "pull secret tcr of old, pull secret tcr of old" {
		t.Errorf("%s", got)
	}
	b.servers.puller = "new"
	b.ok(b.KeepPullSecret(t.Context(), b.deployment(1).ID))
	if got := pulls(b); got != "" {
		t.Errorf("what is not live any more: %s", got)
	}
	b.ok(b.KeepPullSecret(t.Context(), b.deployment(2).ID))
	b.update(func(tx *store.Tx) error {
		_, err := NewRollback(tx, b.deployment(2), b.deployment(1), store.CauseRollback, "bob", "")
		return err
	})
	b.ok(b.work(t.Context()))
	if got := pulls(b); got != "pull secret tcr of new, pull secret tcr of new" {
		t.Errorf("%s", got)
	}
	for _, number := range []int{1, 2, 3} {
		objs, _, err := b.Objects(b.deployment(number))
		b.ok(err)
		if len(objs) != 1 || !strings.Contains(fmt.Sprint(objs[0].Object), "imagePullSecrets:[map[name:tcr]]") {
			t.Errorf("deployment %d stores %v", number, objs)
		}
	}

	b.servers.puller = ""
	b.run('c', env, nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(4); d.State != store.Failed || d.Reason != "no credentials" || b.running == "" {
		t.Errorf("the deployment is %s: %s", d.State, d.Reason)
	}
}

// pulls are the pull secrets that were made since it was asked last.
func pulls(b *bench) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var made []string
	for _, c := range b.calls {
		if strings.HasPrefix(c, "pull secret") {
			made = append(made, c)
		}
	}
	b.calls = nil
	return strings.Join(made, ", ")
}

// TestVotes: only those count that are bound to exactly what would be applied.
func TestVotes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run('a', environment(func(e *Environment) { e.Approvals.Count = 2 }), nil)
	b.ok(b.work(t.Context()))
	vote := func(login, bound string) {
		b.t.Helper()
		b.update(func(tx *store.Tx) error {
			d, err := tx.DeploymentNumber(testRepo, 1)
			if err != nil {
				return err
			}
			if bound == "" {
				if bound, _, err = b.BoundOf(tx, d); err != nil {
					return err
				}
			}
			if err := tx.Vote(store.Approval{Deployment: d.ID, Login: login, Vote: "approve", Bound: bound, Via: "test"}); err != nil {
				return err
			}
			_, err = b.Reconsider(tx, d)
			return err
		})
		b.ok(b.work(t.Context()))
	}
	vote("bob", "")
	vote("BOB", "") // the same person
	vote("erin", "something else")
	if d := b.deployment(1); d.State != store.Blocked || d.Blocks.V[0].Have != 1 {
		t.Fatalf("the deployment is %s: %v", d.State, d.Blocks.V)
	}
	b.servers.floor = 3 // another policy: what was agreed to is not this
	vote("carol", "")
	if d := b.deployment(1); d.State != store.Blocked || d.Blocks.V[0].Have != 1 || d.Blocks.V[0].Need != 3 {
		t.Fatalf("the deployment is %s: %v", d.State, d.Blocks.V)
	}
	vote("bob", "")
	vote("dave", "")
	if d := b.deployment(1); d.State != store.Succeeded {
		t.Fatalf("the deployment is %s: %v", d.State, d.Blocks.V)
	}
	b.runs(1)
}

// TestNothingIsAppliedThatWasChanged: stored objects that somebody changed do not open.
func TestNothingIsAppliedThatWasChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other, err := NewSealer([]byte("another key, of thirty-two bytes"))
	b.ok(err)
	b.run('a', environment(func(e *Environment) { e.Approvals.Count = 1 }), nil)
	b.ok(b.work(t.Context()))
	b.Sealer = other
	b.update(func(tx *store.Tx) error {
		d, err := tx.DeploymentNumber(testRepo, 1)
		if err != nil {
			return err
		}
		bound, _, err := b.BoundOf(tx, d)
		if err != nil {
			return err
		}
		err = tx.Vote(store.Approval{Deployment: d.ID, Login: "bob", Vote: "approve", Bound: bound, Via: "test"})
		if err != nil {
			return err
		}
		_, err = b.Reconsider(tx, d)
		return err
	})
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Failed || !strings.Contains(d.Reason, "data_key") || b.running != "" {
		t.Errorf("the deployment is %s: %s; the cluster runs %q", d.State, d.Reason, b.running)
	}
}

// chart makes another token each time that it is rendered.
var chart = map[string]string{
	"deploy/Chart.yaml":         "apiVersion: v2\nname: web\nversion: 1.0.0\n",
	"deploy/values.yaml":        "tier: none\n",
	"values-staging.yaml":       "tier: small\n",
	"deploy/templates/web.yaml": strings.Replace(manifest, "{name: web}", `{name: {{ .Release.Name }}, annotations: {token: "{{ randAlphaNum 32 }}", as: "{{ .Release.Namespace }} {{ .Release.Revision }} {{ .Release.IsUpgrade }} {{ .Capabilities.KubeVersion.Minor }} {{ .Values.tier }}"}}`, 1),
}

// TestChart: a chart is rendered once, so that what is random in it is applied as it was approved, also when it goes back.
func TestChart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.files = chart
	env := environment(func(e *Environment) { e.Approvals.Count, e.Values = 1, []string{"values-staging.yaml"} })
	approve := func(number int) []byte {
		t.Helper()
		b.ok(b.work(t.Context()))
		d := b.deployment(number)
		objs, _, err := b.Objects(d)
		b.ok(err)
		shown, err := kube.Encode(objs)
		b.ok(err)
		b.update(func(tx *store.Tx) error {
			bound, _, err := b.BoundOf(tx, d)
			if err != nil {
				return err
			}
			err = tx.Vote(store.Approval{Deployment: d.ID, Login: "bob", Vote: "approve", Bound: bound, Via: "test"})
			if err == nil {
				_, err = b.Reconsider(tx, d)
			}
			return errors.Join(err, tx.Wake(store.TaskEnv, store.EnvKey(d.Repo, d.App, d.Environment)))
		})
		b.ok(b.work(t.Context()))
		if string(b.applied) != string(shown) {
			t.Errorf("applied is\n%s\napproved was\n%s", b.applied, shown)
		}
		return shown
	}
	b.run('a', env, nil)
	first := approve(1)
	if !strings.Contains(string(first), `"as":"staging 1 false 37 small"`) {
		t.Errorf("the chart was told otherwise: %s", first)
	}
	b.run('b', env, nil)
	if second := approve(2); string(first) == string(second) || !strings.Contains(string(second), `"as":"staging 2 true 37 small"`) {
		t.Errorf("the second release: %s", second)
	}
	if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded" {
		t.Error(got)
	}
}

// TestChartClusterAway: a cluster that does not say what it is is asked again, a chart that cannot be rendered is not.
func TestChartClusterAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.files = chart
	away := &kube.Error{Object: "discovery", Message: "the API server does not answer", Temporary: true}
	b.on["capabilities"] = func(context.Context) error { return away }
	b.run('a', environment(nil), nil)
	if err := b.work(t.Context()); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if got := b.deployments(); got != "automatic 1 queued" {
		t.Error(got)
	}
	away.Temporary = false
	d := b.deployment(1)
	b.ok(b.Prepare(t.Context(), d.ID, 0))
	if d = b.deployment(1); d.State != store.Failed || !strings.Contains(d.Failure.V.Reason, "does not answer") {
		t.Errorf("%s: %+v", d.State, d.Failure.V)
	}
}

// TestClusterAway: a deployment whose cluster does not answer says so and waits, before anything was applied and afterwards, goes
// on when it is back, and fails only when its time is up, and says why.
func TestClusterAway(t *testing.T) {
	t.Parallel()
	away := &kube.Error{Object: "cluster test", Message: "the API server does not answer since 12:00:00 UTC: connection refused", Temporary: true}
	const said = "cluster test: the API server does not answer since 12:00:00 UTC: connection refused"
	for _, verb := range []string{"apply", "wait release 1", "verify"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.on[verb] = func(context.Context) error { return away }
			b.run('a', environment(nil), nil)
			for range 3 {
				if err := b.work(t.Context()); !errors.Is(err, away) {
					t.Fatalf("got %v", err)
				}
				b.update(func(tx *store.Tx) error { return tx.Recover() })
				if d := b.deployment(1); !store.Active(d.State) || d.Progress != said {
					t.Errorf("%s, %q", d.State, d.Progress)
				}
			}
			delete(b.on, verb)
			if err := b.work(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d := b.deployment(1); d.State != store.Succeeded || strings.Contains(d.Progress, "does not answer") {
				t.Errorf("%s, %q", d.State, d.Progress)
			}
		})
	}
	b := newBench(t)
	b.on["apply"] = func(ctx context.Context) error { <-ctx.Done(); return away } // until its time is up
	b.run('a', environment(func(e *Environment) { e.Timeout = 100 * time.Millisecond }), nil)
	if err := b.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := b.deployment(1)
	if f := d.Failure.V; d.State != store.Failed || f == nil || f.Where != "cluster test" || f.Reason != "it took longer than its timeout of 100ms: "+away.Message {
		t.Errorf("%s: %+v", d.State, f)
	}
}

// TestNewsOfCluster: that a cluster is out of sight is told beside what is known of its objects, and goes when it is over.
func TestNewsOfCluster(t *testing.T) {
	var n rolloutNews
	for _, step := range []struct {
		p    kube.Progress
		want string
	}{
		{kube.Progress{Object: "Deployment/web", Text: "0 of 1 pods ready"}, "Deployment/web: 0 of 1 pods ready"},
		{kube.Progress{Object: "cluster test", Text: "does not answer"}, "Deployment/web: 0 of 1 pods ready; cluster test: does not answer"},
		{kube.Progress{Object: "cluster test", Stable: true}, "Deployment/web: 0 of 1 pods ready"},
		{kube.Progress{Object: "cluster test", Stable: true}, "Deployment/web: 0 of 1 pods ready"},
		{kube.Progress{Object: "Deployment/web", Text: "1 of 1 pods ready", Stable: true}, "Deployment/web: 1 of 1 pods ready"},
	} {
		if got := n.add(step.p); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}
