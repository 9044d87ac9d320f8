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
	tellAfter  time.Duration // before that it may be a race of the start, and is quiet
	fatalLast  bool          // it becomes fatal when nothing else is on its way any more
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
	warningPatience     = 3 * time.Second // for a warning that came once
	eventPatience       = 2 * time.Second // for the event that explains what a status says
)

// Weights of problems.
const (
	weightContainer = iota
	weightPod
	weightEvent
	weightNotReady
)

// podProblems returns what is wrong with one pod of object, worst first. In a pod of
// a Job a crash is the Job's to count. events are all that are known, liveness is the
// one that failingLiveness found.
func podProblems(object string, pod *corev1.Pod, events []corev1.Event, liveness *corev1.Event, ofJob bool) []problem {
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
	about := warnings(events, pod.UID)
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if p, ok := containerProblem(s, ofJob); ok {
			p.Container = s.Name
			switch p.Reason {
			case "ErrImagePull":
				p.Hint = pullHint(p.Message, pod, about)
			case "CrashLoopBackOff":
				if i := slices.IndexFunc(about, func(e corev1.Event) bool { return restarts(e, s.Name) != "" }); i >= 0 {
					p.Hint = fmt.Sprintf(probeHint, restarts(about[i], s.Name))
				}
			}
			add(p)
		}
	}
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
	case podReady(pod):
		if liveness != nil {
			add(warningProblem(pod, *liveness))
		}
	default:
		for _, e := range telling(about, pod) {
			add(warningProblem(pod, e))
		}
		for _, s := range pod.Status.ContainerStatuses {
			if s.State.Running != nil && !s.Ready {
				add(problem{Failure: Failure{Container: s.Name, Reason: "NotReady", Message: "runs, but is not ready"},
					weight: weightNotReady, quiet: true, hasLog: true})
			}
		}
	}
	return found
}

// warningProblem is what a warning about a pod says. One that came once is often only a race.
func warningProblem(pod *corev1.Pod, e corev1.Event) problem {
	p := problem{Failure: Failure{Reason: e.Reason, Message: e.Message, Container: containerOf(e)}, weight: weightEvent}
	if e.Reason == "Unhealthy" {
		if probe := restarts(e, p.Container); probe != "" {
			p.Hint = fmt.Sprintf(probeHint, probe)
		}
		// The container's log may say why.
		for _, s := range pod.Status.ContainerStatuses {
			if p.Container == "" && !s.Ready || p.Container == s.Name {
				p.Container, p.hasLog = s.Name, s.State.Running != nil
				break
			}
		}
	}
	if eventCount(e) < 2 {
		p.tellAfter = warningPatience
	}
	return p
}

// failingLiveness returns the newest warning of a liveness probe about a pod while it may
// go on, nil if there is none, and after how long without another one the probe counts as
// healed: a pod is ready until the kubelet kills its container for it.
func failingLiveness(pod *corev1.Pod, events []corev1.Event, now time.Time, firstSeen func(string) time.Time) (*corev1.Event, time.Duration) {
	if !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.LivenessProbe != nil }) {
		return nil, 0
	}
	for _, e := range warnings(events, pod.UID) {
		for _, c := range pod.Spec.Containers {
			if c.LivenessProbe == nil || restarts(e, c.Name) != "liveness" {
				continue
			}
			next := time.Duration(max(1, c.LivenessProbe.PeriodSeconds)+max(1, c.LivenessProbe.TimeoutSeconds)+1) * time.Second
			// By the node's clock or by our own, whichever says longer: they may differ.
			age := max(now.Sub(eventTime(e)), now.Sub(firstSeen(fmt.Sprint(e.UID, " ", eventCount(e)))))
			if age < next {
				return &e, next - age
			}
			return nil, 0
		}
	}
	return nil, 0
}

// restarts names the probe, liveness or startup, whose failure e tells and for which the container is restarted; empty if
// e tells of none.
func restarts(e corev1.Event, container string) string {
	if of := containerOf(e); e.Reason != "Unhealthy" || of != "" && of != container {
		return ""
	}
	for _, probe := range []string{"Liveness", "Startup"} {
		if strings.Contains(e.Message, probe+" probe") {
			return strings.ToLower(probe)
		}
	}
	return ""
}

// containerOf returns the name of the container that an event is about, which stands in
// its field path as in spec.containers{web}; empty if it is about the whole pod.
func containerOf(e corev1.Event) string {
	_, name, _ := strings.Cut(e.InvolvedObject.FieldPath, "{")
	return strings.TrimSuffix(name, "}")
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
		p := problem{Failure: Failure{Reason: reason, Message: message, Hint: exitHints[t.ExitCode]}, previous: t == last, hasLog: true}
		if t.Reason == "StartError" || t.Reason == "ContainerCannotRun" {
			p.Hint, p.hasLog = notStarted, false // it never ran
		}
		if reason == "OOMKilled" {
			p.Hint = hints[reason]
		}
		return p
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
		return problem{Failure: Failure{Reason: "ErrImagePull", Message: s.Image + ": " + w.Message, Fatal: pullKind(s.Image, w.Message) != pullMayHeal}}, true
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
	pullRefusals = []string{"unauthorized", "denied", "forbidden", "authentication required", "authorization failed", "insufficient_scope",
		"no basic auth credentials"}
	pullAbsences = []string{"not found", "notfound", "manifest unknown", "name unknown", "does not exist", "no match for platform"}
)

// Kinds of failed pulls.
type pull int

const (
	pullMayHeal pull = iota // or nobody knows
	pullAbsent              // the registry has no such image
	pullDenied              // the registry wants other credentials
)

// pullKind tells by the message of a failed pull, which is text of the registry and the
// container runtime, whether asking again is useless. The image's own name says nothing.
func pullKind(image, message string) pull {
	_, path, _ := strings.Cut(image, "/")
	path, _, _ = strings.Cut(path, "@")
	path, _, _ = strings.Cut(path, ":")
	message = strings.ToLower(message)
	if path != "" {
		message = strings.ReplaceAll(message, "/"+path, "/")
	}
	says := func(s string) bool { return strings.Contains(message, s) }
	switch {
	case slices.ContainsFunc(pullTransient, says):
		return pullMayHeal
	case slices.ContainsFunc(pullRefusals, says):
		return pullDenied
	case slices.ContainsFunc(pullAbsences, says):
		return pullAbsent
	default:
		return pullMayHeal
	}
}

// pullHint says what to do about a failed pull, whose message begins with the image: whether
// the registry lacks it or refuses it, and whether the pull secret is there.
func pullHint(message string, pod *corev1.Pod, about []corev1.Event) string {
	var named []string
	for _, s := range pod.Spec.ImagePullSecrets {
		named = append(named, s.Name)
	}
	secrets := strings.Join(named, ", ")
	lost := slices.IndexFunc(about, func(e corev1.Event) bool { return e.Reason == "FailedToRetrieveImagePullSecret" })
	missing := ""
	if lost >= 0 {
		// The kubelet names those that it did not find in brackets.
		_, names, _ := strings.Cut(about[lost].Message, "(")
		names, _, _ = strings.Cut(names, ")")
		missing = fmt.Sprintf("the pull secret %s is not in namespace %s", cmp.Or(names, secrets), pod.Namespace)
	}
	image, text, _ := strings.Cut(message, ": ")
	switch kind := pullKind(image, text); {
	case kind == pullAbsent && missing != "":
		return "the registry has no such image, or hides it: " + missing
	case kind == pullAbsent:
		return "the registry has no such image: was it pushed there, or removed by a retention rule?"
	case missing != "":
		return missing + ": make it, or have it made with pull_secret"
	case kind == pullDenied && secrets == "":
		return "the registry asks for credentials, and the pods name no pull secret: set pull_secret or imagePullSecrets"
	case kind == pullDenied:
		return fmt.Sprintf("the registry refuses the pull secret %s, or the image is not there: renew its password, and look at its rights", secrets)
	default:
		return "it is tried again; do the nodes reach the registry, and trust its certificate?"
	}
}

// hints says what to look at, by reason.
var hints = map[string]string{
	"InvalidImageName":           "correct the image's name in the manifest",
	"ErrImageNeverPull":          "imagePullPolicy is Never and the node does not have the image",
	"CreateContainerConfigError": "make the ConfigMap, Secret or key that the container names",
	"CrashLoopBackOff":           whyItStops,
	"Error":                      whyItStops,
	"Evicted":                    "the node ran short of what the message names: do the requests say what it needs?",
	"CreateContainerError":       "are its command, mounts and security context right for this image?",
	"RunContainerError":          notStarted,
	"StartError":                 notStarted,
	"OOMKilled":                  "it needs more memory than resources.limits.memory gives it",
	"Unschedulable":              "no node fits its requests, node selector, affinity, tolerations or volumes",
	"Unhealthy":                  "do the probe's port and path match what the container serves, and does it start in time?",
	"NotReady":                   "does its readiness probe ever succeed?",
	"FailedMount":                "do the volume's ConfigMap, Secret or claim exist?",
	"ProgressDeadlineExceeded":   "no pod became ready within spec.progressDeadlineSeconds",
	"BackoffLimitExceeded":       "every attempt failed; its log should say why",
	"DeadlineExceeded":           "it ran longer than spec.activeDeadlineSeconds",
}

// timeoutHints say what to look at where the time is up and the cluster names no problem, by kind.
var timeoutHints = map[string]string{
	"Service":               "does anything in this cluster give load balancers their addresses?",
	"Ingress":               "does a controller serve its ingressClassName?",
	"PersistentVolumeClaim": "does its storage class exist, and does a pod use the claim?",
}

const (
	whyItStops = "the end of its log should say why it stops"
	notStarted = "are the command and its arguments right for this image?"
	probeHint  = "its %s probe fails, so it is restarted: do the probe's port and path match what the container serves, and does it answer in time?"
)

// exitHints say what to look at, by the exit code of a container that ended.
var exitHints = map[int32]string{
	0:   "it ended by itself, which only a Job's container may",
	126: notStarted,
	127: notStarted,
}

// creationHint is the hint for pods that can't be made.
func creationHint(message string) string {
	if strings.Contains(message, "serviceaccount") && strings.Contains(message, "not found") {
		return "make the ServiceAccount that the pods name"
	}
	return admissionHint(message)
}

// admissionHint is the hint for what a rule of the cluster refuses, empty where none is named.
func admissionHint(message string) string {
	switch {
	case strings.Contains(message, "exceeded quota"):
		return "raise the ResourceQuota of the namespace, or ask for less"
	case strings.Contains(message, "violates PodSecurity"):
		return "the namespace's pod security level does not allow such a pod"
	case strings.Contains(message, "denied request"), strings.Contains(message, "denied the request"):
		return "a policy of this cluster refuses it: change the manifests as it says, or ask whoever keeps the policy"
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

// telling returns the newest warning of each reason among those about a pod that is not
// ready, newest first, with the count of all of them: those that the pod's status does not
// tell better, and that are not over since a container of it runs.
func telling(about []corev1.Event, pod *corev1.Pod) []corev1.Event {
	var running time.Time
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if r := s.State.Running; r != nil && r.StartedAt.After(running) {
			running = r.StartedAt.Time
		}
	}
	var newest []corev1.Event
	for _, e := range about {
		i := slices.IndexFunc(newest, func(o corev1.Event) bool { return o.Reason == e.Reason })
		switch {
		case i >= 0:
			newest[i].Count, newest[i].Series = eventCount(newest[i])+eventCount(e), nil
		case slices.Contains(toldByStatus, e.Reason):
		case e.Reason == "Unhealthy" || !eventTime(e).Before(running):
			newest = append(newest, e)
		}
	}
	return newest
}

// toldByStatus are reasons of events that the pod's status tells better. A pull secret that is
// missing matters only where the pull then fails.
var toldByStatus = []string{"BackOff", "Failed", "FailedScheduling", "FailedToRetrieveImagePullSecret"}

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

// newest is the first of events, newest first, or an older one about a container where the first only tells that the kubelet
// backs off; empty if there is none. What else was wrong before, such as a mount that came late, is over by then.
func newest(events []corev1.Event) string {
	if len(events) == 0 {
		return ""
	}
	e := events[0]
	if backsOff(e) {
		i := slices.IndexFunc(events, func(e corev1.Event) bool { return !backsOff(e) && containerOf(e) != "" })
		e = events[max(0, i)]
	}
	return oneLine(e.Reason + ": " + e.Message)
}

func backsOff(e corev1.Event) bool {
	return e.Reason == "BackOff" || e.Reason == "Failed" && slices.Contains([]string{"Error: ErrImagePull", "Error: ImagePullBackOff"}, e.Message)
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
