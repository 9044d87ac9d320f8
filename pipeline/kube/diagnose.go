package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Failure is why an object does not become stable.
type Failure struct {
	Object    string   // as in Deployment/web
	Namespace string   // of the object
	Pod       string   // name of the pod that shows it; may be empty
	Container string   // name of the container in it; may be empty
	Reason    string   // as Kubernetes names it, as in CrashLoopBackOff
	Message   string   // one line
	Logs      []string // last 20 lines of the container, of its previous run if it crashed
	Event     string   // newest warning event about the pod or object; may be empty
	Hint      string   // what to look at; may be empty
	Fatal     bool     // waiting longer would not help; otherwise the time was up
}

// Error is one line, without log and event.
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.Object)
	if f.Pod != "" && f.Object != "Pod/"+f.Pod {
		b.WriteString(": pod " + f.Pod)
	}
	if f.Container != "" {
		b.WriteString(", container " + f.Container)
	}
	b.WriteString(": " + f.Reason)
	if f.Message != "" {
		b.WriteString(": " + f.Message)
	}
	if f.Hint != "" {
		b.WriteString("; " + f.Hint)
	}
	return b.String()
}

// problem is a Failure in the making.
type problem struct {
	Failure
	fatalAfter time.Duration // it becomes fatal when it has been seen for so long; 0: as Fatal says
	quiet      bool          // part of every healthy start: only worth telling when the time is up
	weight     int           // of several, the lowest tells most
	previous   bool          // the log to show is the previous run's
	hasLog     bool
	uid        types.UID // of the pod or object that events are about
}

// key identifies a problem that is still the same when it is seen again.
func (p problem) key() string {
	return strings.Join([]string{p.Object, string(p.uid), p.Container, p.Reason}, "\x00")
}

const (
	configErrorPatience = 30 * time.Second
	fatalRestarts       = 3
)

// Weights of problems.
const (
	weightContainer = iota
	weightPod
	weightEvent
	weightNotReady
)

// podProblems returns what is wrong with one pod of object, worst first. In a pod of
// a Job a crash is the Job's to count.
func podProblems(object string, pod *corev1.Pod, events []corev1.Event, ofJob bool) []problem {
	var found []problem
	add := func(p problem) {
		p.Object, p.Namespace, p.Pod, p.uid = object, pod.Namespace, pod.Name, pod.UID
		p.Message = oneLine(p.Message)
		if p.Hint == "" {
			p.Hint = hints[p.Reason]
		}
		found = append(found, p)
	}
	if pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "" {
		add(problem{Failure: Failure{Reason: pod.Status.Reason, Message: pod.Status.Message}, weight: weightPod})
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			add(problem{Failure: Failure{Reason: c.Reason, Message: c.Message}, weight: weightPod})
		}
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if p, ok := containerProblem(s, ofJob); ok {
			p.Container = s.Name
			add(p)
		}
	}
	if !podReady(pod) && pod.Status.Phase != corev1.PodSucceeded {
		for _, e := range repeatedWarnings(events, pod.UID) {
			add(problem{Failure: Failure{Reason: e.Reason, Message: e.Message}, weight: weightEvent})
		}
		for _, s := range pod.Status.ContainerStatuses {
			if s.State.Running != nil && !s.Ready {
				add(problem{Failure: Failure{Container: s.Name, Reason: "NotReady", Message: "runs, but is not ready"},
					weight: weightNotReady, quiet: true, hasLog: true})
			}
		}
	}
	// An event about probes is about a container whose log may say why.
	for i, p := range found {
		if p.Reason == "Unhealthy" && found[len(found)-1].Reason == "NotReady" {
			found[i].Container, found[i].hasLog = found[len(found)-1].Container, true
		}
	}
	return found
}

func containerProblem(s corev1.ContainerStatus, ofJob bool) (problem, bool) {
	last := s.LastTerminationState.Terminated
	crashed := func(t *corev1.ContainerStateTerminated) problem {
		reason := cmp.Or(t.Reason, "Error")
		if s.RestartCount > 0 && !ofJob && reason != "OOMKilled" {
			// One name while it crashes, waits and runs in turn.
			reason = "CrashLoopBackOff"
		}
		message := fmt.Sprintf("exit code %d", t.ExitCode)
		if t.Reason != "" && t.Reason != "Error" && t.Reason != reason {
			message += " (" + t.Reason + ")"
		}
		if s.RestartCount > 0 {
			message += fmt.Sprintf(", restarts: %d", s.RestartCount)
		}
		if t.Message != "" {
			message += ": " + t.Message
		}
		return problem{Failure: Failure{Reason: reason, Message: message}, previous: t == last, hasLog: true}
	}
	if t := s.State.Terminated; t != nil {
		if t.ExitCode == 0 {
			return problem{}, false
		}
		return crashed(t), true
	}
	if s.State.Running != nil && !s.Ready && last != nil && last.ExitCode != 0 {
		return crashed(last), true
	}
	w := s.State.Waiting
	if w == nil {
		return problem{}, false
	}
	switch w.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return problem{}, false
	case "CrashLoopBackOff":
		p := problem{Failure: Failure{Reason: w.Reason, Message: w.Message}}
		if last != nil {
			p = crashed(last)
		}
		p.Fatal = !ofJob && s.RestartCount >= fatalRestarts
		return p, true
	case "InvalidImageName", "ErrImageNeverPull":
		return problem{Failure: Failure{Reason: w.Reason, Message: w.Message, Fatal: true}}, true
	case "ErrImagePull", "ImagePullBackOff":
		// Both are one problem that the kubelet names in turn.
		return problem{Failure: Failure{Reason: "ErrImagePull", Message: s.Image + ": " + w.Message, Fatal: pullRefused(w.Message)}}, true
	case "CreateContainerConfigError":
		return problem{Failure: Failure{Reason: w.Reason, Message: w.Message}, fatalAfter: configErrorPatience}, true
	default:
		return problem{Failure: Failure{Reason: w.Reason, Message: w.Message}}, true
	}
}

var (
	pullTransient = []string{"timeout", "timed out", "no such host", "connection refused", "connection reset", "network is unreachable",
		"no route to host", "too many requests", "toomanyrequests", "rate limit", "429", "500 internal", "502 bad", "503 service", "504 gateway",
		"x509", "unexpected eof", "server misbehaving"}
	pullFatal = []string{"not found", "notfound", "manifest unknown", "name unknown", "does not exist", "unauthorized", "denied", "forbidden",
		"authentication required", "authorization failed", "insufficient_scope", "no basic auth credentials", "no match for platform"}
)

// pullRefused reports whether the message of a failed pull, which is text of the
// registry and the container runtime, says that asking again is useless.
func pullRefused(message string) bool {
	message = strings.ToLower(message)
	says := func(s string) bool { return strings.Contains(message, s) }
	return !slices.ContainsFunc(pullTransient, says) && slices.ContainsFunc(pullFatal, says)
}

// hints says what to look at, by reason.
var hints = map[string]string{
	"InvalidImageName":           "correct the image's name in the manifest",
	"ErrImagePull":               "does it exist in the registry, and is the pull secret in the namespace?",
	"ErrImageNeverPull":          "imagePullPolicy is Never and the node does not have the image",
	"CreateContainerConfigError": "make the ConfigMap, Secret or key that the container names",
	"CrashLoopBackOff":           "the end of its log should say why it stops",
	"StartError":                 "are the command and its arguments right for this image?",
	"OOMKilled":                  "it needs more memory than resources.limits.memory gives it",
	"Unschedulable":              "no node fits its requests, node selector, affinity, tolerations or volumes",
	"Unhealthy":                  "do the probe's port and path match what the container serves, and does it start in time?",
	"NotReady":                   "does its readiness probe ever succeed?",
	"FailedMount":                "do the volume's ConfigMap, Secret or claim exist?",
	"ProgressDeadlineExceeded":   "no pod became ready within spec.progressDeadlineSeconds",
	"BackoffLimitExceeded":       "every attempt failed; its log should say why",
	"DeadlineExceeded":           "it ran longer than spec.activeDeadlineSeconds",
}

// creationHint is the hint for pods that can't be made.
func creationHint(message string) string {
	switch {
	case strings.Contains(message, "exceeded quota"):
		return "raise the ResourceQuota of the namespace, or ask for less"
	case strings.Contains(message, "PodSecurity"):
		return "the namespace's pod security level does not allow such a pod"
	case strings.Contains(message, "serviceaccount") && strings.Contains(message, "not found"):
		return "make the ServiceAccount that the pods name"
	default:
		return ""
	}
}

// creationProblem says why a controller can't make pods.
func creationProblem(object, namespace, message string, uid types.UID) problem {
	return problem{
		Failure: Failure{Object: object, Namespace: namespace, Reason: "FailedCreate", Message: oneLine(message), Hint: creationHint(message)},
		weight:  weightPod,
		uid:     uid,
	}
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// repeatedWarnings returns the newest warning of each reason about uid that came
// more than once: one is often only a race at the start. Newest first.
func repeatedWarnings(events []corev1.Event, uid types.UID) []corev1.Event {
	times := map[string]int32{}
	var newest []corev1.Event
	for _, e := range warnings(events, uid) {
		if times[e.Reason] == 0 {
			newest = append(newest, e)
		}
		times[e.Reason] += eventCount(e)
	}
	return slices.DeleteFunc(newest, func(e corev1.Event) bool {
		// What these tell stands in the pod's status, and better. A pull secret that is missing matters only where the
		// pull then fails.
		return times[e.Reason] < 2 || slices.Contains([]string{"BackOff", "Failed", "FailedScheduling", "FailedToRetrieveImagePullSecret"}, e.Reason)
	})
}

// warnings returns the warning events about uid, newest first.
func warnings(events []corev1.Event, uid types.UID) []corev1.Event {
	var about []corev1.Event
	for _, e := range events {
		if e.Type == corev1.EventTypeWarning && e.InvolvedObject.UID == uid {
			about = append(about, e)
		}
	}
	slices.SortStableFunc(about, func(a, b corev1.Event) int {
		return cmp.Or(eventTime(b).Compare(eventTime(a)), cmp.Compare(a.Name, b.Name))
	})
	return about
}

// eventCount and eventTime read both forms of an event: the older one counts in
// count and lastTimestamp, the newer one in series.
func eventCount(e corev1.Event) int32 {
	if e.Series != nil {
		return e.Series.Count
	}
	return max(1, e.Count)
}

func eventTime(e corev1.Event) time.Time {
	if e.Series != nil {
		return e.Series.LastObservedTime.Time
	}
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

// worst orders problems: fatal ones first, then those that tell most.
func worst(a, b problem) int {
	fatal := func(p problem) int {
		if p.Fatal {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(fatal(a), fatal(b)), cmp.Compare(a.weight, b.weight),
		cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container), cmp.Compare(a.Reason, b.Reason))
}
