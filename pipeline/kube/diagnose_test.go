package kube

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func podFixture(t *testing.T, status string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "team-a", UID: "u1"}}
	if err := yaml.UnmarshalStrict([]byte(status), &pod.Status); err != nil {
		t.Fatal(err)
	}
	return pod
}

func warning(reason, message string, count int32, minute int) corev1.Event {
	return corev1.Event{
		Type: "Warning", Reason: reason, Message: message, Count: count,
		InvolvedObject: corev1.ObjectReference{UID: "u1"},
		LastTimestamp:  metav1.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC),
	}
}

func TestPodProblems(t *testing.T) {
	waiting := func(reason, message string) string {
		return fmt.Sprintf("containerStatuses: [{name: main, image: 'r/app:1', state: {waiting: {reason: %q, message: %q}}}]", reason, message)
	}
	for _, test := range []struct {
		name   string
		status string
		events []corev1.Event
		ofJob  bool
		want   string // "reason container fatal|after|quiet|-" of the first, empty: none
		text   string // part of its message
	}{
		{name: "pending", status: "phase: Pending"},
		{name: "creating", status: waiting("ContainerCreating", "")},
		{name: "initializing", status: waiting("PodInitializing", "")},
		{name: "ready", status: "{phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: main, ready: true, restartCount: 5, state: {running: {}}, lastState: {terminated: {exitCode: 1}}}]}"},
		{name: "complete", status: "{phase: Succeeded, containerStatuses: [{name: main, state: {terminated: {exitCode: 0, reason: Completed}}}]}", ofJob: true},
		{name: "invalid image name", status: waiting("InvalidImageName", "bad"), want: "InvalidImageName main fatal", text: "bad"},
		{name: "never pull", status: waiting("ErrImageNeverPull", "absent"), want: "ErrImageNeverPull main fatal"},
		{name: "image not found", status: waiting("ErrImagePull", "rpc error: code = NotFound desc = r/app:1: not found"), want: "ErrImagePull main fatal", text: "r/app:1: rpc error"},
		{name: "image not found, backing off", status: waiting("ImagePullBackOff", `Back-off pulling image "r/app:1": ErrImagePull: r/app:1: not found`), want: "ErrImagePull main fatal"},
		{name: "backing off, no reason", status: waiting("ImagePullBackOff", `Back-off pulling image "r/app:1"`), want: "ErrImagePull main -"},
		{name: "pull denied", status: waiting("ErrImagePull", "pull access denied, repository does not exist or may require authorization"), want: "ErrImagePull main fatal"},
		{name: "unauthorized", status: waiting("ErrImagePull", "failed to authorize: 401 Unauthorized"), want: "ErrImagePull main fatal"},
		{name: "registry unreachable", status: waiting("ErrImagePull", "dial tcp 10.0.0.1:443: connect: connection refused"), want: "ErrImagePull main -"},
		{name: "registry without a name", status: waiting("ErrImagePull", "dial tcp: lookup r on 10.0.0.2:53: no such host"), want: "ErrImagePull main -"},
		{name: "rate limit", status: waiting("ErrImagePull", "429 Too Many Requests - toomanyrequests: access denied for now"), want: "ErrImagePull main -"},
		{name: "image not found in a Job", status: waiting("ErrImagePull", "not found"), ofJob: true, want: "ErrImagePull main fatal"},
		{name: "missing ConfigMap", status: waiting("CreateContainerConfigError", `configmap "x" not found`), want: "CreateContainerConfigError main after", text: `configmap "x" not found`},
		{name: "can't create", status: waiting("CreateContainerError", "context deadline exceeded"), want: "CreateContainerError main -"},
		{name: "crash loop, twice", status: "containerStatuses: [{name: main, restartCount: 2, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, reason: Error}}}]", want: "CrashLoopBackOff main -", text: "exit code 1, restarts: 2"},
		{name: "crash loop, three times", status: "containerStatuses: [{name: main, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, reason: Error}}}]", want: "CrashLoopBackOff main fatal"},
		{name: "crash loop without a last state", status: "containerStatuses: [{name: main, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff, message: back-off}}}]", want: "CrashLoopBackOff main fatal", text: "back-off"},
		{name: "crash loop in a Job", status: "containerStatuses: [{name: main, restartCount: 5, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, reason: Error}}}]", ofJob: true, want: "Error main -"},
		{name: "crash loop by ending well", status: "containerStatuses: [{name: main, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 0, reason: Completed}}}]", want: "CrashLoopBackOff main fatal", text: "exit code 0 (Completed)"},
		{name: "out of memory", status: "containerStatuses: [{name: main, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]", want: "OOMKilled main fatal", text: "exit code 137"},
		{name: "first crash", status: "containerStatuses: [{name: main, state: {terminated: {exitCode: 2, reason: Error, message: bye}}}]", want: "Error main -", text: "exit code 2: bye"},
		{name: "runs again", status: "containerStatuses: [{name: main, restartCount: 3, state: {running: {}}, lastState: {terminated: {exitCode: 2, reason: Error}}}]", want: "CrashLoopBackOff main -"},
		{name: "init container crashes", status: "initContainerStatuses: [{name: init, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}]\ncontainerStatuses: [{name: main, state: {waiting: {reason: PodInitializing}}}]", want: "CrashLoopBackOff init fatal"},
		{name: "unschedulable", status: "conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 0/3 nodes}]", want: "Unschedulable  -", text: "0/3 nodes"},
		{name: "evicted", status: "{phase: Failed, reason: Evicted, message: low on disk}", want: "Evicted  -", text: "low on disk"},
		{name: "not ready", status: "{phase: Running, containerStatuses: [{name: main, state: {running: {}}}]}", want: "NotReady main quiet"},
		{name: "probe failed once", status: "{phase: Running, containerStatuses: [{name: main, state: {running: {}}}]}", events: []corev1.Event{warning("Unhealthy", "refused", 1, 1)}, want: "Unhealthy main later", text: "refused"},
		{name: "a mount failed before it ran", status: "{phase: Running, containerStatuses: [{name: main, state: {running: {startedAt: '2026-01-01T00:05:00Z'}}}]}", events: []corev1.Event{warning("FailedMount", "first", 9, 1)}, want: "NotReady main quiet"},
		{name: "a command that is not there", status: "containerStatuses: [{name: main, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 128, reason: StartError, message: no such file}}}]", want: "CrashLoopBackOff main -", text: "no such file"},
		{name: "probe fails", status: "{phase: Running, containerStatuses: [{name: main, state: {running: {}}}]}", events: []corev1.Event{warning("Unhealthy", "refused", 3, 1)}, want: "Unhealthy main -", text: "refused"},
		{name: "mount fails", status: waiting("ContainerCreating", ""), events: []corev1.Event{warning("FailedMount", "first", 1, 1), warning("FailedMount", `secret "x" not found`, 1, 2)}, want: "FailedMount  -", text: `secret "x" not found`},
		{name: "events say what the status says better", status: waiting("ContainerCreating", ""), events: []corev1.Event{warning("Failed", "x", 9, 1), warning("BackOff", "x", 9, 1), warning("FailedScheduling", "x", 9, 1)}},
		{name: "another's event", status: waiting("ContainerCreating", ""), events: []corev1.Event{{Type: "Warning", Reason: "FailedMount", Count: 9, InvolvedObject: corev1.ObjectReference{UID: "u2"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := podProblems("Deployment/web", podFixture(t, test.status), test.events, nil, test.ofJob)
			if test.want == "" {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			if len(found) == 0 {
				t.Fatal("found nothing")
			}
			p := found[0]
			kind := "-"
			switch {
			case p.Fatal:
				kind = "fatal"
			case p.fatalAfter > 0:
				kind = "after"
			case p.tellAfter > 0:
				kind = "later"
			case p.quiet:
				kind = "quiet"
			}
			if got := p.Reason + " " + p.Container + " " + kind; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !strings.Contains(p.Message, test.text) {
				t.Errorf("message %q lacks %q", p.Message, test.text)
			}
			if p.Object != "Deployment/web" || p.Pod != "web-1" || p.Namespace != "team-a" {
				t.Errorf("names %s, %s, %s", p.Object, p.Pod, p.Namespace)
			}
		})
	}
}

// TestProbeHint checks that a container that a probe has restarted is not said to crash by itself.
func TestProbeHint(t *testing.T) {
	const crashed = "containerStatuses: [{name: main, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: CODE}}}]"
	for _, test := range []struct{ code, event, want string }{
		{"0", "Liveness probe failed: x", "its liveness probe fails"},
		{"137", "Startup probe failed: x", "its startup probe fails"},
		{"137", "Readiness probe failed: x", "the end of its log"},
		{"0", "", "only a Job's container may"},
		{"127", "", "the command and its arguments"},
	} {
		events := []corev1.Event{warning("Unhealthy", test.event, 3, 1)}
		found := podProblems("Deployment/web", podFixture(t, strings.Replace(crashed, "CODE", test.code, 1)), events, nil, false)
		if found[0].Reason != "CrashLoopBackOff" || !strings.Contains(found[0].Hint, test.want) {
			t.Errorf("%+v: %s: %s", test, found[0].Reason, found[0].Hint)
		}
	}
	running := podFixture(t, "{phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: main, ready: true, state: {running: {}}}]}")
	event := warning("Unhealthy", "Liveness probe failed: x", 2, 1)
	event.InvolvedObject.FieldPath = "spec.containers{main}"
	found := podProblems("Deployment/web", running, nil, &event, false)
	if len(found) != 1 || found[0].Container != "main" || !found[0].hasLog || !strings.Contains(found[0].Hint, "its liveness probe fails") {
		t.Errorf("of a ready pod: %+v", found)
	}
}

func TestSettled(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	long := func(string) time.Time { return now.Add(-time.Hour) }
	just := func(string) time.Time { return now }
	ready := func(second, restarts int, probe string) string {
		return fmt.Sprintf("{metadata: {name: a}, spec: {containers: [{name: main%s}]}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: main, ready: true, restartCount: %d, state: {running: {startedAt: '2026-01-01T00:00:%02dZ'}}}]}}", probe, restarts, second)
	}
	const probe = ", readinessProbe: {tcpSocket: {port: 1}}"
	for _, test := range []struct {
		name      string
		pod       string
		firstSeen func(string) time.Time
		stable    bool
		recheck   time.Duration
	}{
		{"started long ago", ready(50, 0, ""), just, true, 0},
		{"just started, without a probe", ready(59, 0, ""), just, false, 2 * time.Second},
		{"just started, with a probe", ready(59, 0, probe), just, true, 0},
		{"crashed just now, with a probe", ready(58, 1, probe), just, false, 8 * time.Second},
		{"crashed long ago", ready(40, 7, ""), just, true, 0},
		{"the node's clock is late", strings.Replace(ready(0, 0, ""), "00:00:00", "09:00:00", 1), just, false, 3 * time.Second},
		{"the node's clock is late, seen for long", strings.Replace(ready(0, 0, ""), "00:00:00", "09:00:00", 1), long, true, 0},
		{"not ready by its own account", "{metadata: {name: a}, status: {phase: Running}}", long, false, 0},
		{"evicted before", "{metadata: {name: a}, status: {phase: Failed}}", long, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var pod corev1.Pod
			if err := yaml.UnmarshalStrict([]byte(test.pod), &pod); err != nil {
				t.Fatal(err)
			}
			s := settled(stable("1 of 1 pods ready"), []*corev1.Pod{&pod}, now, test.firstSeen)
			if s.stable != test.stable || s.recheck != test.recheck {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	series := corev1.Event{Type: "Warning", Reason: "New", InvolvedObject: corev1.ObjectReference{UID: "u1"},
		Series: &corev1.EventSeries{Count: 4, LastObservedTime: metav1.MicroTime{Time: time.Date(2026, 1, 1, 0, 9, 0, 0, time.UTC)}}}
	single := corev1.Event{Type: "Warning", Reason: "Single", InvolvedObject: corev1.ObjectReference{UID: "u1"},
		EventTime: metav1.MicroTime{Time: time.Date(2026, 1, 1, 0, 3, 0, 0, time.UTC)}}
	normal := warning("Normal", "", 9, 8)
	normal.Type = "Normal"
	events := []corev1.Event{warning("Old", "", 2, 1), single, series, warning("Mid", "", 2, 5), normal}
	var got []string
	for _, e := range warnings(events, "u1") {
		got = append(got, e.Reason)
	}
	if s := strings.Join(got, " "); s != "New Mid Single Old" {
		t.Errorf("newest first: %s", s)
	}
	got = nil
	for _, e := range telling(append(warnings(events, "u1"), warning("Mid", "", 3, 1), warning("BackOff", "", 9, 9)), podFixture(t, "phase: Pending")) {
		got = append(got, fmt.Sprint(e.Reason, eventCount(e)))
	}
	if s := strings.Join(got, " "); s != "New4 Mid5 Single1 Old2" {
		t.Errorf("telling: %s", s)
	}
}

func TestNewestEvent(t *testing.T) {
	of := func(e corev1.Event) corev1.Event {
		e.InvolvedObject.FieldPath = "spec.containers{main}"
		return e
	}
	backOff, mount := of(warning("BackOff", "again", 9, 9)), warning("FailedMount", "late", 1, 1)
	for _, test := range []struct {
		events []corev1.Event
		want   string
	}{
		{nil, ""},
		{[]corev1.Event{mount, backOff}, "FailedMount: late"},
		{[]corev1.Event{backOff, mount}, "BackOff: again"},
		{[]corev1.Event{backOff, mount, of(warning("Unhealthy", "probe", 3, 1))}, "Unhealthy: probe"},
		{[]corev1.Event{of(warning("Failed", "Error: ImagePullBackOff", 1, 3)), of(warning("Failed", "no such image", 1, 2))}, "Failed: no such image"},
	} {
		if got := newest(test.events); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestNewReplicaSet(t *testing.T) {
	yes := true
	template := func(image, hash string) corev1.PodTemplateSpec {
		labels := map[string]string{"app": "web"}
		if hash != "" {
			labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
		}
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: image}}}}
	}
	set := func(name, owner, image string, minute int) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC),
				OwnerReferences: []metav1.OwnerReference{{UID: "d", Controller: &yes}, {UID: "x"}}},
			Spec: appsv1.ReplicaSetSpec{Template: template(image, name)},
		}
	}
	foreign := set("foreign", "", "v2", 0)
	foreign.OwnerReferences[0].UID = "e"
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "d"}, Spec: appsv1.DeploymentSpec{Template: template("v2", "")}}
	for _, test := range []struct {
		name string
		sets []*appsv1.ReplicaSet
		want string
	}{
		{"none", nil, ""},
		{"only old", []*appsv1.ReplicaSet{set("one", "d", "v1", 1)}, ""},
		{"old and new", []*appsv1.ReplicaSet{set("one", "d", "v1", 1), set("two", "d", "v2", 2)}, "two"},
		{"back to an old one", []*appsv1.ReplicaSet{set("two", "d", "v2", 1), set("one", "d", "v1", 2)}, "two"},
		{"two alike", []*appsv1.ReplicaSet{set("later", "d", "v2", 2), set("first", "d", "v2", 1)}, "first"},
		{"another's", []*appsv1.ReplicaSet{foreign}, ""},
	} {
		got := ""
		if found := newReplicaSet(d, test.sets); found != nil {
			got = found.Name
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	if _, ok := set("one", "d", "v1", 1).Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		t.Error("the comparison changed a template")
	}
}

func TestVerifyPod(t *testing.T) {
	image := Image{Repository: "r.example.com/app", Digest: digest, Also: []string{other}}
	third := strings.Replace(digest, "aaa", "ccc", 1)
	for _, test := range []struct {
		name, spec, imageID string
		warnings            int
		fails               bool
	}{
		{"the digest", image.Ref(), "r.example.com/app@" + digest, 0, false},
		{"docker's form", image.Ref(), "docker-pullable://r.example.com/app@" + digest, 0, false},
		{"config or manifest of the index", image.Ref(), other, 0, false},
		{"something else", image.Ref(), "r.example.com/app@" + third, 1, false},
		{"nothing yet", image.Ref(), "", 0, false},
		{"a mirror", "mirror.example.com/app@" + digest, "mirror.example.com/app@" + digest, 0, false},
		{"another image in the specification", "r.example.com/app@" + third, "r.example.com/app@" + digest, 0, true},
		{"a tag in the specification", "r.example.com/app:v1", "r.example.com/app@" + digest, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := &corev1.Pod{
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: test.spec}, {Name: "injected", Image: "istio"}}},
				Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
					{Name: "main", ImageID: test.imageID}, {Name: "injected", ImageID: "istio@" + third}}},
			}
			warnings, err := verifyPod("Deployment/web", pod, map[string]Image{"main": image})
			if len(warnings) != test.warnings || (err != nil) != test.fails {
				t.Errorf("warnings %q, error %v", warnings, err)
			}
			if f := new(Failure); test.fails && (!errors.As(err, &f) || !f.Fatal || f.Container != "main") {
				t.Errorf("%v is no failure of the container", err)
			}
			for _, w := range warnings {
				if !strings.Contains(w, digest) || !strings.Contains(w, third) {
					t.Errorf("%q does not name both", w)
				}
			}
		})
	}
}

func TestFailureIsOneLine(t *testing.T) {
	f := &Failure{Object: "Deployment/web", Pod: "web-1", Container: "main", Reason: "CrashLoopBackOff", Message: "exit code 1", Hint: "look", Logs: []string{"a", "b"}}
	if got, want := f.Error(), "Deployment/web: pod web-1, container main: CrashLoopBackOff: exit code 1; look"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f = &Failure{Object: "Pod/web-1", Pod: "web-1", Reason: "Evicted"}
	if got, want := f.Error(), "Pod/web-1: Evicted"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
