package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

func podOf(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestPullHint(t *testing.T) {
	secret := podOf(t, "{metadata: {name: web-1, namespace: team-a}, spec: {imagePullSecrets: [{name: tcr}, {name: old}], containers: []}}")
	none := podOf(t, "{metadata: {name: web-1, namespace: team-a}, spec: {containers: []}}")
	lost := warning("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (old); attempting to pull the image may not succeed.", 2, 1)
	const image = "r.example.com:5000/team/web:1"
	for _, test := range []struct {
		name, image, message string
		pod                  *corev1.Pod
		events               []corev1.Event
		kind                 pull
		hint                 string // part of it
	}{
		{"not there", image, image + ": not found", secret, nil, pullAbsent, "no such image: was it pushed"},
		{"not there, and a secret is missing", image, image + ": not found", secret, []corev1.Event{lost}, pullAbsent, "or hides it: the pull secret old is not in namespace team-a"},
		{"a secret is missing", image, "401 Unauthorized", secret, []corev1.Event{lost}, pullDenied, "the pull secret old is not in namespace team-a: make it"},
		{"a secret is missing, in other words", image, "401 Unauthorized", secret, []corev1.Event{warning("FailedToRetrieveImagePullSecret", "gone", 1, 1)}, pullDenied, "the pull secret tcr, old is not in"},
		{"no secret is named", image, "pull access denied, repository does not exist or may require authorization", none, nil, pullDenied, "name no pull secret"},
		{"the secret is refused", image, "403 Forbidden", secret, nil, pullDenied, "refuses the pull secret tcr, old"},
		{"unreachable", image, "dial tcp: connection refused", none, nil, pullMayHeal, "do the nodes reach the registry"},
		{"unknown", image, "something else", none, nil, pullMayHeal, "it is tried again"},
		{"a name that sounds fatal", "r/team/not-found-forbidden:1", `pull "r/team/not-found-forbidden:1": https://r/v2/team/not-found-forbidden/manifests/1: something else`, none, nil, pullMayHeal, "it is tried again"},
		{"a name of one letter", "r/e:1", "r/e:1: pull access denied", none, nil, pullDenied, "name no pull secret"},
		{"a name that sounds transient", "r/team/x509-timeout@sha256:aa", `pull "r/team/x509-timeout@sha256:aa": not found`, none, nil, pullAbsent, "no such image"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := pullKind(test.image, test.message); got != test.kind {
				t.Errorf("kind %d", got)
			}
			if got := pullHint(test.image+": "+test.message, test.pod, test.events); !strings.Contains(got, test.hint) {
				t.Errorf("hint %q", got)
			}
		})
	}
}

func TestFailingLiveness(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 1, 5, 0, time.UTC)
	just := func(string) time.Time { return now }
	long := func(string) time.Time { return now.Add(-time.Hour) }
	pod := podOf(t, "{metadata: {uid: u1}, spec: {containers: [{name: a}, {name: main, livenessProbe: {periodSeconds: 10}}]}}")
	event := func(message, of string) []corev1.Event {
		e := warning("Unhealthy", message, 1, 1)
		e.InvolvedObject.FieldPath = of
		return []corev1.Event{e}
	}
	for _, test := range []struct {
		name      string
		events    []corev1.Event
		now       time.Time
		firstSeen func(string) time.Time
		left      time.Duration // 0: it does not fail
	}{
		{"five seconds ago", event("Liveness probe failed: x", "spec.containers{main}"), now, just, 7 * time.Second},
		{"of many", event("(combined from similar events): Liveness probe failed: x", ""), now, just, 7 * time.Second},
		{"not again since", event("Liveness probe failed: x", "spec.containers{main}"), now.Add(8 * time.Second), just, 0},
		{"not again since, by our clock", event("Liveness probe failed: x", "spec.containers{main}"), now.Add(-time.Hour), func(string) time.Time { return now.Add(-2 * time.Hour) }, 0},
		{"seen for long", event("Liveness probe failed: x", "spec.containers{main}"), now, long, 0},
		{"a readiness probe", event("Readiness probe failed: x", "spec.containers{main}"), now, just, 0},
		{"another container", event("Liveness probe failed: x", "spec.containers{a}"), now, just, 0},
		{"none", nil, now, just, 0},
	} {
		e, left := failingLiveness(pod, test.events, test.now, test.firstSeen)
		if (e != nil) != (test.left > 0) || left != test.left {
			t.Errorf("%s: %v, %v", test.name, e, left)
		}
	}
}

// TestRipens checks what the age of a problem and the company of others make of it.
func TestRipens(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	deployed := func(events ...corev1.Event) *target {
		web := &target{ref: ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web", Namespace: "n"},
			self: filled(t, with(liveDeployment, "", rolling)), sets: filled(t, with(liveSets, "new", "")), pods: filled(t), events: filled(t)}
		for i, e := range events {
			e.UID, e.Name = types.UID(fmt.Sprint(i)), fmt.Sprint(i)
			web.events.items[e.UID] = encodeEvent(t, e)
		}
		return web
	}
	about := func(reason, message string, count int32) corev1.Event {
		e := warning(reason, message, count, 1)
		e.InvolvedObject.UID = "pod-new"
		return e
	}
	absent := "containerStatuses: [{name: main, image: 'r/app:1', state: {waiting: {reason: ErrImagePull, message: 'r/app:1: not found'}}}]"
	config := "containerStatuses: [{name: main, state: {waiting: {reason: CreateContainerConfigError, message: x}}}]"
	running := "containerStatuses: [{name: main, state: {running: {}}}]"
	for _, test := range []struct {
		name   string
		pod    string
		events []corev1.Event
		after  []time.Duration
		want   []string // reason that is told and whether it ends the wait, at each of after
	}{
		{"explained", absent, []corev1.Event{about("Failed", "not found", 1)}, []time.Duration{0}, []string{"ErrImagePull ends"}},
		{"not explained", absent, nil, []time.Duration{0, time.Second, 2 * time.Second}, []string{"ErrImagePull", "ErrImagePull", "ErrImagePull ends"}},
		{"configuration", config, []corev1.Event{about("Failed", "x", 1)}, []time.Duration{0, 29 * time.Second, 30 * time.Second},
			[]string{"CreateContainerConfigError", "CreateContainerConfigError", "CreateContainerConfigError ends"}},
		{"a probe that failed once", running, []corev1.Event{about("Unhealthy", "Readiness probe failed: x", 1)}, []time.Duration{0, time.Second, 3 * time.Second, time.Hour},
			[]string{"", "", "Unhealthy", "Unhealthy"}},
		{"a probe that fails", running, []corev1.Event{about("Unhealthy", "Readiness probe failed: x", 2)}, []time.Duration{0}, []string{"Unhealthy"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			web := deployed(test.events...)
			web.pods = filled(t, with(livePod, "new", test.pod))
			w := &waiter{targets: []*target{web}, since: map[string]time.Time{}}
			for i, after := range test.after {
				told := ""
				w.reported = map[string]string{}
				found, recheck, err := w.look(start.Add(after), func(p Progress) {
					if p.Problem != nil {
						told = p.Problem.Reason
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if found != nil {
					told += " ends"
				} else if next := i + 1; next < len(test.want) && test.want[next] != told && recheck == 0 {
					t.Errorf("after %v it does not look again", after)
				}
				if told != test.want[i] {
					t.Errorf("after %v: %q, want %q", after, told, test.want[i])
				}
			}
		})
	}
}

func encodeEvent(t *testing.T, e corev1.Event) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	obj := map[string]any{}
	if err := yaml.Unmarshal(data, &obj); err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: obj}
}

// TestOnlyFailedLeft checks that an object that says it is stalled ends the wait only when nothing is on its way any more.
func TestOnlyFailedLeft(t *testing.T) {
	custom := func(name, conditions string) *target {
		return &target{ref: ObjectRef{Group: "example.com", Version: "v1", Kind: "Thing", Name: name},
			self: filled(t, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: "+name+", uid: "+name+"}, status: {conditions: ["+conditions+"]}}")}
	}
	const stalled, ready, unready = "{type: Stalled, status: 'True', reason: NoService}", "{type: Ready, status: 'True'}", "{type: Ready, status: 'False'}"
	for _, test := range []struct {
		name    string
		targets []*target
		ends    bool
	}{
		{"alone", []*target{custom("a", stalled)}, true},
		{"another is on its way", []*target{custom("a", stalled), custom("b", unready)}, false},
		{"another is finished", []*target{custom("a", stalled), custom("b", ready)}, true},
		{"another failed too", []*target{custom("a", stalled), custom("b", stalled)}, true},
		{"on its way", []*target{custom("b", unready)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &waiter{targets: test.targets, since: map[string]time.Time{}, reported: map[string]string{}}
			told := map[string]bool{}
			found, _, err := w.look(time.Now(), func(p Progress) { told[p.Object] = p.Problem != nil })
			if err != nil || (found != nil) != test.ends {
				t.Errorf("ends %v, %v", found, err)
			}
			if test.targets[0].ref.Name == "a" && !told["Thing/a"] {
				t.Error("the problem is not told")
			}
		})
	}
}
