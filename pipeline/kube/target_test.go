package kube

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// filled is a feed that holds the given objects, as a server would send them.
func filled(t *testing.T, objects ...string) *feed {
	t.Helper()
	f := &feed{decodedAt: -1, items: map[types.UID]*unstructured.Unstructured{}}
	for _, text := range objects {
		obj := &unstructured.Unstructured{}
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := obj.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		f.items[obj.GetUID()] = obj
	}
	return f
}

const (
	liveDeployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, uid: d, generation: 2}, spec: {replicas: 1, selector: {}, template: {metadata: {labels: {v: new}}, spec: {containers: []}}}, status: {observedGeneration: 2, STATUS}}"
	liveSets       = "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-HASH, uid: HASH, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}, spec: {selector: {}, template: {metadata: {labels: {v: HASH, pod-template-hash: HASH}}, spec: {containers: []}}}}"
	livePod        = "{apiVersion: v1, kind: Pod, metadata: {name: web-HASH-1, uid: pod-HASH, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-HASH, uid: HASH, controller: true}]}, spec: {containers: []}, status: {phase: Running, STATUS}}"

	rolledOut = "replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1"
	rolling   = "replicas: 2, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1"
	overdue   = rolling + ", conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: slow}]"
	podIsUp   = "conditions: [{type: Ready, status: 'True'}]"
	crashing  = "containerStatuses: [{name: main, restartCount: 9, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}]"
)

func with(text, hash, status string) string {
	return strings.NewReplacer("HASH", hash, "STATUS", status).Replace(text)
}

func TestAssessDeployment(t *testing.T) {
	sets := filled(t, with(liveSets, "old", ""), with(liveSets, "new", ""))
	for _, test := range []struct {
		name   string
		status string
		pods   []string
		stable bool
		fatal  string // reason
	}{
		{"rolled out", rolledOut, []string{with(livePod, "new", podIsUp)}, true, ""},
		{"its pods are not seen yet", rolledOut, nil, false, ""},
		{"only old pods are seen", rolledOut, []string{with(livePod, "old", podIsUp)}, false, ""},
		{"a pod crashed meanwhile", rolledOut, []string{with(livePod, "new", crashing)}, false, "CrashLoopBackOff"},
		{"the new pod crashes", rolling, []string{with(livePod, "old", podIsUp), with(livePod, "new", crashing)}, false, "CrashLoopBackOff"},
		{"an old pod crashes", rolling, []string{with(livePod, "old", crashing), with(livePod, "new", "conditions: []")}, false, ""},
		{"a pod that is being deleted crashes", rolling, []string{strings.Replace(with(livePod, "new", crashing), "uid: pod", "deletionTimestamp: '2026-01-01T00:00:00Z', uid: pod", 1)}, false, ""},
		{"another's pod crashes", rolling, []string{with(livePod, "other", crashing)}, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := &target{ref: ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web"},
				self: filled(t, with(liveDeployment, "", test.status)), sets: sets, pods: filled(t, test.pods...)}
			s, problems, err := target.assess(time.Now(), func(string) time.Time { return time.Time{} })
			if err != nil {
				t.Fatal(err)
			}
			fatal := ""
			for _, p := range problems {
				if p.Fatal {
					fatal = p.Reason
				}
			}
			if s.stable != test.stable || fatal != test.fatal {
				t.Errorf("got %+v, fatal %q", s, fatal)
			}
		})
	}
}

func TestAssessOverdue(t *testing.T) {
	never := func(string) time.Time { return time.Time{} }
	for _, test := range []struct {
		name     string
		statuses []string // in turn
		fatal    bool     // at the end
	}{
		{"from the start", []string{overdue}, false},
		{"still, from the start", []string{overdue, overdue}, false},
		{"while it is watched", []string{rolling, overdue}, true},
		{"again", []string{overdue, rolling, overdue}, true},
		{"of the generation before", []string{strings.Replace(overdue, "replicas: 2", "observedGeneration: 1, replicas: 2", 1), overdue}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := &target{ref: ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web"}, sets: filled(t), pods: filled(t)}
			var fatal bool
			for _, status := range test.statuses {
				live := with(liveDeployment, "", status)
				if strings.Contains(status, "observedGeneration") {
					live = strings.Replace(live, "observedGeneration: 2, ", "", 1)
				}
				target.self = filled(t, live)
				_, problems, err := target.assess(time.Now(), never)
				if err != nil {
					t.Fatal(err)
				}
				fatal = len(problems) > 0 && problems[0].Fatal
			}
			if fatal != test.fatal {
				t.Errorf("fatal %v", fatal)
			}
		})
	}
}

func TestAssessGone(t *testing.T) {
	job := func(condition string) string {
		return "{apiVersion: batch/v1, kind: Job, metadata: {name: j, uid: j}, status: {conditions: [{type: " + condition + ", status: 'True'}]}}"
	}
	for _, test := range []struct {
		name   string
		gone   string // empty: it was never seen
		stable bool
	}{
		{"complete", job("Complete"), true},
		{"failed", job("Failed"), false},
		{"running", job("Suspended"), false},
		{"never seen", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := &target{ref: ObjectRef{Group: "batch", Version: "v1", Kind: "Job", Name: "j"}, self: filled(t), pods: filled(t)}
			if test.gone != "" {
				target.self.gone = filled(t, test.gone).one()
			}
			s, problems, err := target.assess(time.Now(), func(string) time.Time { return time.Time{} })
			if err != nil || s.stable != test.stable || (len(problems) == 0) != test.stable {
				t.Errorf("got %+v, %+v, %v", s, problems, err)
			}
		})
	}
}
