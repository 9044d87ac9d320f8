package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

const turning = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: fast}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: registry.example.com/team/web, envFrom: [{configMapRef: {name: settings}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 9}
`

// turns is an environment with a strategy, as its file says.
func turns(t *testing.T, strategy string) Environment {
	t.Helper()
	c, err := Parse(".shipmate.yaml", []byte("build: {image: registry.example.com/team/web}\nenvironments:\n- {name: staging, cluster: test, namespace: staging, manifests: deploy/, strategy: "+strategy+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return environment(func(e *Environment) { e.Strategy = c.Environments[0].Strategy })
}

func turnBench(t *testing.T) *bench {
	b := newBench(t)
	b.files = map[string]string{"deploy/web.yaml": turning}
	return b
}

// ship has a commit released, and does what is due.
func (b *bench) ship(sha byte, env Environment) {
	b.t.Helper()
	b.run(sha, env, nil)
	b.ok(b.work(b.t.Context()))
}

// leads tells what a Service leads to, as in "web-green 2": the Deployment and its release, more than one by commas.
func (b *bench) leads(service string) string {
	s := b.objects["Service/"+service]
	if s == nil {
		return "no Service"
	}
	selector, _, _ := unstructured.NestedStringMap(s.Object, "spec", "selector")
	var to []string
	for _, name := range slices.Sorted(maps.Keys(b.objects)) {
		o := b.objects[name]
		pods, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
		if o.GetKind() == "Deployment" && labels.SelectorFromSet(selector).Matches(labels.Set(pods)) {
			to = append(to, o.GetName()+" "+o.GetAnnotations()[kube.AnnotationRelease])
		}
	}
	return strings.Join(to, ", ")
}

// there lists what is in the cluster.
func (b *bench) there() string {
	return strings.Join(slices.Sorted(maps.Keys(b.objects)), " ")
}

func (b *bench) goBack(from, to int) {
	b.t.Helper()
	b.update(func(tx *store.Tx) error {
		_, err := NewRollback(tx, b.deployment(from), b.deployment(to), store.CauseRollback, "bob", "")
		return err
	})
}

const (
	plainThere = "ConfigMap/settings Deployment/web HorizontalPodAutoscaler/web Service/web"
	blueThere  = "ConfigMap/settings ConfigMap/settings-blue Deployment/web-blue HorizontalPodAutoscaler/web Service/web"
	greenThere = "ConfigMap/settings ConfigMap/settings-green Deployment/web-green HorizontalPodAutoscaler/web Service/web"
	bothThere  = "ConfigMap/settings ConfigMap/settings-blue ConfigMap/settings-green Deployment/web-blue Deployment/web-green HorizontalPodAutoscaler/web Service/web"
)

// TestBlueGreen goes from rolling to blue-green, through two releases, back, and to rolling again.
func TestBlueGreen(t *testing.T) {
	t.Parallel()
	b := turnBench(t)
	is := func(when, leads, there string) {
		t.Helper()
		if got := b.leads("web"); got != leads {
			t.Errorf("%s: the Service leads to %s, want %s", when, got, leads)
		}
		if got := b.there(); got != there {
			t.Errorf("%s: there is\n%s, want\n%s", when, got, there)
		}
	}
	env := turns(t, `{blue-green: {preview: web-next, steps: [{pause: manual}, {verify: {http: "http://web-next/"}}]}}`)
	b.ship('a', environment(nil))
	is("rolling", "web 1", plainThere)

	b.ship('b', env)
	is("the new one stands beside", "web 1", "ConfigMap/settings ConfigMap/settings-green Deployment/web Deployment/web-green HorizontalPodAutoscaler/web Service/web Service/web-next")
	if got := b.leads("web-next"); got != "web-green 2" {
		t.Errorf("the preview leads to %s", got)
	}
	if d := b.deployment(2); d.State != store.Paused || d.Colour != kube.TrackGreen {
		t.Errorf("%s as %q", d.State, d.Colour)
	}
	resume := func(number int) {
		t.Helper()
		b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(number), "alice") })
		b.ok(b.work(t.Context()))
	}
	resume(2)
	is("turned", "web-green 2", "ConfigMap/settings ConfigMap/settings-green Deployment/web Deployment/web-green HorizontalPodAutoscaler/web Service/web")
	if got, want := b.walked(2), "apply succeeded\nobserve succeeded\npause/1/manual succeeded\nprove/2/http://web-next/ succeeded\nswitch succeeded\nverify succeeded"; got != want {
		t.Error(got)
	}
	if name, _, _ := unstructured.NestedString(b.objects["HorizontalPodAutoscaler/web"].Object, "spec", "scaleTargetRef", "name"); name != "web-green" {
		t.Errorf("scaled is %s", name)
	}
	if got, want := b.result(2, StepVerify).Detail, "removed Service/web-next; what it replaced is kept for 10m"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.jump(9 * time.Minute)
	b.ok(b.work(t.Context()))
	if b.objects["Deployment/web"] == nil {
		t.Error("it was not kept")
	}
	b.jump(2 * time.Minute)
	b.ok(b.work(t.Context()))
	is("what was replaced is gone", "web-green 2", greenThere)
	if v := string(b.deployment(2).Inventory.V); strings.Contains(v, `"web"`) && strings.Contains(v, `"kind":"Deployment","namespace":"staging","name":"web"`) || !b.deployment(2).RetireAt.IsZero() {
		t.Error(v)
	}

	// The next has as many pods as something gave the one that serves.
	b.ok(unstructured.SetNestedField(b.objects["Deployment/web-green"].Object, int64(7), "spec", "replicas"))
	b.ship('c', env)
	if n := kube.Replicas(b.objects["Deployment/web-blue"]); n != 7 {
		t.Errorf("it came up with %d pods", n)
	}
	resume(3)
	is("and back to blue", "web-blue 3", bothThere)

	// The way back turns the Services again to pods that still run.
	template := func() string { return fmt.Sprint(b.objects["Deployment/web-green"].Object["spec"]) }
	before := template()
	b.goBack(3, 2)
	b.ok(b.work(t.Context()))
	is("flipped back", "web-green 2", bothThere)
	if template() != before {
		t.Errorf("the pods were replaced: %s, before %s", template(), before)
	}
	if got, want := b.walked(4), "apply succeeded\nobserve succeeded\nswitch succeeded\nverify succeeded"; got != want {
		t.Error(got)
	}
	b.jump(11 * time.Minute)
	b.ok(b.work(t.Context()))
	is("what failed is gone", "web-green 2", greenThere)

	// Within keep, the next takes the place of what is kept.
	quick := turns(t, "blue-green")
	b.ship('d', quick)
	is("another", "web-blue 4", bothThere)
	b.ship('e', quick)
	is("and another", "web-green 5", bothThere)

	// A rolling one first makes way: its Services lead to all pods.
	mixed := ""
	b.watch = func() {
		if leads := b.leads("web"); strings.Contains(leads, "web-blue") {
			mixed = leads
		}
	}
	b.ship('f', environment(nil))
	is("rolling again", "web 6", plainThere)
	if mixed != "" {
		t.Errorf("the Service led to %s", mixed)
	}
	b.jump(11 * time.Minute)
	b.ok(b.work(t.Context()))
	is("later", "web 6", plainThere)
	if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 succeeded, automatic 3 succeeded, rollback 2 succeeded, automatic 4 succeeded, automatic 5 succeeded, automatic 6 succeeded" {
		t.Error(got)
	}
}

// TestBlueGreenAlone is the first release of an environment, and one that keeps nothing.
func TestBlueGreenAlone(t *testing.T) {
	t.Parallel()
	b := turnBench(t)
	env := turns(t, "{blue-green: {keep: 0s}}")
	b.ship('a', env)
	if b.leads("web") != "web-blue 1" || b.there() != blueThere {
		t.Errorf("%s: %s", b.leads("web"), b.there())
	}
	b.ship('b', env)
	if b.leads("web") != "web-green 2" || b.there() != greenThere || !b.deployment(2).RetireAt.IsZero() {
		t.Errorf("%s: %s", b.leads("web"), b.there())
	}
	// What fails is taken back at the first release, too.
	b = turnBench(t)
	b.on["wait release 1"] = crashes
	b.ship('a', env)
	if got := b.deployments(); got != "automatic 1 failed" || b.there() != "" {
		t.Errorf("%s: %s", got, b.there())
	}
}

func crashes(context.Context) error {
	return &kube.Failure{Object: "Deployment/web-green", Reason: "CrashLoopBackOff", Fatal: true}
}

// TestBlueGreenKilledAnywhere kills at each moment of a story: it ends as it would have, and at no moment does the Service lead to nothing
// or to two releases.
func TestBlueGreenKilledAnywhere(t *testing.T) {
	t.Parallel()
	rolling, keeping := environment(nil), turns(t, `{blue-green: {preview: next, steps: [{pause: 1s}]}}`)
	rolling.Timeout, keeping.Timeout = time.Hour, time.Hour // the test takes longer than a minute, which is no part of any story
	stories := map[string]struct {
		before []Environment // of the releases before
		late   bool          // so long ago that nothing is kept any more
		env    Environment
		back   [2]int // a rollback instead
		fails  string // the call that fails
		want   string // of the last deployments
		leads  string
		there  string
	}{
		"from rolling":           {before: []Environment{rolling}, env: keeping, want: "automatic 2 succeeded", leads: "web-green 2", there: greenThere},
		"a release":              {before: []Environment{keeping}, env: keeping, want: "automatic 2 succeeded", leads: "web-green 2", there: greenThere},
		"within keep":            {before: []Environment{keeping, keeping}, env: keeping, want: "automatic 3 succeeded", leads: "web-blue 3", there: blueThere},
		"after keep":             {before: []Environment{keeping, keeping}, late: true, env: keeping, want: "automatic 3 succeeded", leads: "web-blue 3", there: blueThere},
		"back within keep":       {before: []Environment{keeping, keeping}, back: [2]int{2, 1}, want: "rollback 1 succeeded", leads: "web-blue 1", there: blueThere},
		"back after keep":        {before: []Environment{keeping, keeping}, late: true, back: [2]int{2, 1}, want: "rollback 1 succeeded", leads: "web-blue 1", there: blueThere},
		"fails before the turn":  {before: []Environment{keeping}, env: keeping, fails: "wait release 2", want: "automatic 2 failed", leads: "web-blue 1", there: blueThere},
		"fails, after rolling":   {before: []Environment{rolling}, env: keeping, fails: "wait release 2", want: "automatic 2 failed", leads: "web 1", there: plainThere},
		"fails after the turn":   {before: []Environment{keeping}, env: keeping, fails: "verify", want: "automatic 2 failed, recovery 1 succeeded", leads: "web-blue 1", there: blueThere},
		"fails within keep":      {before: []Environment{keeping, keeping}, env: keeping, fails: "wait release 3", want: "automatic 3 failed", leads: "web-green 2", there: greenThere},
		"back to rolling":        {before: []Environment{keeping, keeping}, env: rolling, want: "automatic 3 succeeded", leads: "web 3", there: plainThere},
		"rolling fails":          {before: []Environment{keeping}, env: rolling, fails: "wait release 2", want: "automatic 2 failed, recovery 1 succeeded", leads: "web-blue 1", there: blueThere},
		"back to what rolled":    {before: []Environment{rolling, keeping}, back: [2]int{2, 1}, want: "rollback 1 succeeded", leads: "web 1", there: plainThere},
		"the first":              {env: keeping, want: "automatic 1 succeeded", leads: "web-blue 1", there: blueThere},
		"the first fails before": {env: keeping, fails: "wait release 1", want: "automatic 1 failed", leads: "no Service", there: ""},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := turnBench(t)
			onward := func(b *bench) { // a pause of a second each
				t.Helper()
				for range 4 {
					b.jump(time.Second)
					b.ok(b.work(t.Context()))
				}
			}
			for i, env := range story.before {
				before.ship('a'+byte(i), env)
				onward(before)
			}
			if story.late {
				before.jump(time.Hour)
				before.ok(before.work(t.Context()))
			}
			if story.back != [2]int{} {
				before.goBack(story.back[0], story.back[1])
			} else {
				before.run('x', story.env, nil)
				// Everything up to the deployment itself is killed elsewhere.
				before.on["apply"] = func(context.Context) error { return errors.New("not yet") }
				for range 3 {
					if before.work(t.Context()) != nil {
						break
					}
				}
				delete(before.on, "apply")
				before.update((*store.Tx).Recover)
			}
			had := len(strings.Split(before.deployments(), ", "))
			ahead := time.Until(before.DB.Now())
			stride := 7
			switch {
			case testing.Short():
				stride = 13
			case name == "a release":
				stride = 1
			}
			for n := 1; ; n += stride {
				b := before.copy()
				b.jump(ahead)
				if story.fails == "verify" { // of the new one alone
					failed := false
					b.on["verify"] = func(ctx context.Context) error {
						if b.deployment(had).State == store.Failed || failed && story.fails == "" {
							return nil
						}
						failed = true
						return crashes(ctx)
					}
				} else if story.fails != "" {
					b.on[story.fails] = crashes
				}
				blueGreen := story.env.Strategy.BlueGreen != nil || story.back != [2]int{} && story.before[story.back[1]-1].Strategy.BlueGreen != nil
				b.watch = func() {
					leads := b.leads("web")
					if strings.Contains(leads, ",") && blueGreen || leads == "" {
						t.Errorf("killed at %d: the Service leads to %q", n, leads)
					}
				}
				ctx, kill := context.WithCancel(t.Context())
				b.mu.Lock()
				b.points, b.dieAt, b.kill = 0, n, kill
				b.mu.Unlock()
				for _, by := range []time.Duration{0, time.Second, time.Second, time.Hour} { // the pause, and what is kept
					b.jump(by)
					if b.work(ctx) != nil {
						break
					}
				}
				kill()
				b.mu.Lock()
				survived := b.points < n
				b.dieAt = 0
				b.mu.Unlock()
				b.update((*store.Tx).Recover)
				onward(b)
				b.jump(time.Hour)
				onward(b)
				last := strings.Join(strings.Split(b.deployments(), ", ")[had-1:], ", ")
				if last != story.want || b.leads("web") != story.leads || b.there() != story.there {
					t.Errorf("killed at %d: %s, leads to %s, there is\n%s\nwant %s, %s,\n%s", n, last, b.leads("web"), b.there(), story.want, story.leads, story.there)
				}
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

// TestBlueGreenStopped cancels and aborts at each step: before the turn all is as before; after it a cancelled one stays, and an
// aborted one goes back.
func TestBlueGreenStopped(t *testing.T) {
	t.Parallel()
	env := turns(t, "{blue-green: {preview: next, steps: [{pause: manual}]}}")
	for _, from := range []Environment{environment(nil), env} {
		for _, abort := range []bool{false, true} {
			for _, at := range []string{"apply", "wait release 2", "the pause", "switch", "verify", "prune"} {
				t.Run(fmt.Sprint(from.Strategy.Name(), " ", abort, " at ", at), func(t *testing.T) {
					t.Parallel()
					b := turnBench(t)
					resume := func(number int) {
						b.update(func(tx *store.Tx) error { return tx.AskResume(b.deployment(number), "alice") })
						b.ok(b.work(t.Context()))
					}
					b.ship('a', from)
					if from.Strategy.BlueGreen != nil {
						resume(1)
					}
					served, was := b.leads("web"), b.there()
					stopped := false
					stop := func(context.Context) error {
						if d := b.deployment(2); !stopped && d.State != "" {
							stopped = true
							b.update(func(tx *store.Tx) error {
								if abort {
									return tx.AskAbort(d, "bob")
								}
								_, err := tx.Cancel(d, "bob")
								return err
							})
						}
						return nil
					}
					if at == "apply" || at == "wait release 2" {
						b.on[at] = stop
					}
					b.ship('b', env)
					switch at {
					case "the pause":
						b.ok(stop(t.Context()))
						b.ok(b.work(t.Context()))
					case "switch", "prune":
						b.on[strings.Replace(at, "switch", "apply", 1)] = stop
						resume(2)
					case "verify":
						b.on[at] = func(ctx context.Context) error {
							if !stopped {
								b.ok(stop(ctx))
								<-ctx.Done()
							}
							return ctx.Err()
						}
						resume(2)
					}
					if !stopped {
						t.Fatal("it was not stopped")
					}
					b.ok(b.work(t.Context()))
					got, before := b.deployments(), at == "apply" || at == "wait release 2" || at == "the pause"
					want, leads := "automatic 1 succeeded, automatic 2 cancelled", served
					switch {
					case at == "prune": // it was done
						want, leads = "automatic 1 succeeded, automatic 2 succeeded", "web-green 2"
					case !before && !abort:
						leads = "web-green 2"
					case !before:
						want += ", recovery 1 succeeded"
					}
					if got != want && at != "prune" || b.leads("web") != leads && at != "prune" {
						t.Errorf("%s, leads to %s; want %s, %s", got, b.leads("web"), want, leads)
					}
					if leads == served && b.there() != was {
						t.Errorf("there is\n%s\nwas\n%s", b.there(), was)
					}
					// Whatever it left, the next one clears away.
					delete(b.on, "prune")
					b.ship('c', env)
					resume(len(strings.Split(b.deployments(), ", ")))
					b.jump(time.Hour)
					b.ok(b.work(t.Context()))
					if leads, there := b.leads("web"), b.there(); leads == "web-blue 3" && there != blueThere || leads == "web-green 3" && there != greenThere || !strings.HasSuffix(leads, " 3") {
						t.Errorf("the next: %s, there is %s", leads, there)
					}
				})
			}
		}
	}
}

// TestBlueGreenCompared: a comparison has the new release under the colour that is live, each change once.
func TestBlueGreenCompared(t *testing.T) {
	t.Parallel()
	b := turnBench(t)
	env := turns(t, "blue-green")
	b.ship('a', environment(nil))
	b.ship('b', env)
	b.ship('c', env)
	rel := func(d store.Deployment) (rel store.Release) {
		b.ok(b.DB.View(t.Context(), func(tx *store.Tx) (err error) { rel, err = tx.Release(testRepo, "web", d.Release); return err }))
		return rel
	}
	for number, want := range map[int]string{
		1: "ConfigMap/settings Deployment/web Service/web HorizontalPodAutoscaler/web",
		2: "ConfigMap/settings Deployment/web-green Service/web HorizontalPodAutoscaler/web",
		3: "ConfigMap/settings Deployment/web-blue Service/web HorizontalPodAutoscaler/web",
	} {
		live, first := b.deployment(number), b.deployment(1)
		objs, _, err := b.Objects(first)
		b.ok(err)
		got, err := b.Engine.compared(objs, &live, rel(first), env)
		b.ok(err)
		var names []string
		for _, o := range got {
			names = append(names, kube.RefOf(o).String())
		}
		if strings.Join(names, " ") != want {
			t.Errorf("beside deployment %d: %s, want %s", number, names, want)
		}
		if rolling, err := b.Engine.compared(objs, &live, rel(first), environment(nil)); err != nil || len(rolling) != len(objs) || rolling[1] != objs[1] {
			t.Error("a rolling release is compared as something else", err)
		}
	}
	if objs, _, err := b.Objects(b.deployment(2)); err != nil || len(objs) != 5 {
		t.Error(objs, err)
	}
}

// TestBlueGreenRefused tells when it is rendered what is no blue-green.
func TestBlueGreenRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t) // its manifests have no Service
	b.ship('a', turns(t, "blue-green"))
	if d := b.deployment(1); d.State != store.Failed || d.Reason != "strategy blue-green: no Service leads to Deployment/web, and turning Services is all that it does; add its Service to the manifests, or take the strategy out" {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
}

// TestLeftovers: what a release brought that failed is gone once what was before is back.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	b := turnBench(t)
	b.ship('a', environment(nil))
	b.files = map[string]string{"deploy/web.yaml": turning, "deploy/more.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n"}
	b.on["wait release 2"] = func(ctx context.Context) error {
		if b.objects["ConfigMap/more"] == nil {
			t.Error("it was not applied")
		}
		return crashes(ctx)
	}
	b.ship('b', environment(nil))
	if got := b.deployments(); got != "automatic 1 succeeded, automatic 2 failed, recovery 1 succeeded" || b.there() != plainThere {
		t.Errorf("%s: %s", got, b.there())
	}
}

// TestBlueGreenUnreachable: a cluster that cannot be asked when the time of what was replaced is over is asked again, and holds up no release.
func TestBlueGreenUnreachable(t *testing.T) {
	t.Parallel()
	b := turnBench(t)
	env := turns(t, "blue-green")
	b.ship('a', env)
	b.ship('b', env)
	b.on["prune"] = func(context.Context) error { return &kube.Error{Message: "no answer", Temporary: true} }
	b.jump(11 * time.Minute)
	if err := b.work(t.Context()); err == nil || b.there() != bothThere {
		t.Errorf("%v: %s", err, b.there())
	}
	delete(b.on, "prune")
	b.update((*store.Tx).Recover)
	b.ok(b.work(t.Context()))
	if b.there() != greenThere || !b.deployment(2).RetireAt.IsZero() {
		t.Error(b.there())
	}
	b.ship('c', env)
	b.servers.denied = errors.New("not any more") // the server's file was changed
	b.jump(11 * time.Minute)
	b.ok(b.work(t.Context()))
	if b.there() != bothThere || !b.deployment(3).RetireAt.IsZero() || !strings.Contains(string(b.deployment(3).Inventory.V), "web-green") {
		t.Errorf("%s, listed %s", b.there(), b.deployment(3).Inventory.V)
	}
}

// TestNextColour never is one that serves or may.
func TestNextColour(t *testing.T) {
	t.Parallel()
	of := func(colour, hash string) *store.Deployment {
		return &store.Deployment{Colour: colour, ObjectsHash: hash}
	}
	back := store.Deployment{Restores: "x", ObjectsHash: "1"}
	for i, test := range []struct {
		d         store.Deployment
		was, live *store.Deployment
		want      string
	}{
		{store.Deployment{}, nil, nil, "blue"},
		{store.Deployment{}, of("", "1"), of("", "1"), "green"},
		{store.Deployment{}, of("blue", "1"), of("blue", "1"), "green"},
		{store.Deployment{}, of("green", "1"), of("green", "1"), "blue"},
		{back, of("green", "2"), of("blue", "1"), "blue"},               // it failed after the Services turned
		{store.Deployment{}, of("green", "2"), of("blue", "1"), "blue"}, // or was cancelled: green serves
		{back, of("", "2"), of("green", "1"), "green"},                  // a rolling one failed
		{store.Deployment{}, of("", "2"), of("green", "1"), "blue"},
	} {
		if got := nextColour(test.d, test.was, test.live); got != test.want {
			t.Errorf("%d: %s, want %s", i, got, test.want)
		}
	}
}
