package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Progress is news about one object that Wait waits for.
type Progress struct {
	Object  string   // as in Deployment/web; as in "cluster prod" where that is out of sight
	Text    string   // as in "1 of 2 pods ready"; empty: what was told of it is over
	Stable  bool     // it has arrived
	Problem *Failure // what holds it up and may still heal; without log and event; may be nil
}

// Wait returns nil once every one of objs, as applied, is stable in the cluster. It
// tells report, one call at a time, whenever what it knows of an object changes.
//
// It returns a *Failure at once when one of them can't become stable, and when the
// deadline of ctx is over. Only pods of the present rollout count. When ctx is
// cancelled it returns that error.
//
// What is out of sight, because the API server does not answer, is told, and is
// neither stable nor failed. After a minute of that Wait returns a temporary *Error:
// it is to be called again, with the same deadline. An account that the cluster
// does not know any more is an *Error within some seconds.
func (c *Cluster) Wait(ctx context.Context, objs []*unstructured.Unstructured, report func(Progress)) error {
	w := &waiter{
		place:    c.link.where.String(),
		changed:  make(chan struct{}, 1),
		denied:   make(chan error, 1),
		since:    map[string]time.Time{},
		reported: map[string]string{},
	}
	var waited []*unstructured.Unstructured
	for _, obj := range objs {
		if !inert(obj) {
			waited = append(waited, obj)
		}
	}
	var feeds []*feed
	var err error
	if w.targets, feeds, err = c.targets(ctx, waited); err != nil {
		return err
	}
	events := map[string]*feed{} // by namespace
	for _, t := range w.targets {
		if t.pods != nil {
			ns := t.ref.Namespace
			if events[ns] == nil {
				if events[ns], err = c.feed(ctx, ObjectRef{Version: "v1", Kind: "Event", Namespace: ns}, metav1.ListOptions{FieldSelector: "type=Warning"}); err != nil {
					return err
				}
				events[ns].optional = true
				feeds = append(feeds, events[ns])
			}
			t.events = events[ns]
		}
	}
	if len(w.targets) == 0 {
		return nil
	}

	watching, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	for _, f := range feeds {
		group.Go(func() { f.follow(watching, w) })
	}
	group.Go(func() { c.beat(watching, w) })
	for {
		found, recheck, err := w.look(time.Now(), report)
		if err != nil || found == nil && w.stable {
			return err
		}
		if found != nil {
			if own := w.aside(found); own != nil {
				group.Go(func() { own.follow(watching, w) })
				continue
			}
			return c.conclude(ctx, *found, w)
		}
		var timer <-chan time.Time
		if recheck > 0 {
			timer = time.After(recheck)
		}
		select {
		case <-w.changed:
		case <-timer:
		case err := <-w.denied:
			return err
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return c.timeUp(ctx, w)
		}
	}
}

// inert reports whether obj is of a kind that is what it says as soon as it is
// applied, so that nobody needs the right to watch it.
func inert(obj *unstructured.Unstructured) bool {
	switch obj.GroupVersionKind().GroupKind().String() {
	case "ConfigMap", "Secret", "ServiceAccount", "Endpoints", "LimitRange", "ResourceQuota", "PodTemplate", "Namespace",
		"CronJob.batch", "EndpointSlice.discovery.k8s.io",
		"Role.rbac.authorization.k8s.io", "RoleBinding.rbac.authorization.k8s.io",
		"ClusterRole.rbac.authorization.k8s.io", "ClusterRoleBinding.rbac.authorization.k8s.io",
		"NetworkPolicy.networking.k8s.io", "IngressClass.networking.k8s.io",
		"PriorityClass.scheduling.k8s.io", "StorageClass.storage.k8s.io", "RuntimeClass.node.k8s.io",
		"PodDisruptionBudget.policy", "HorizontalPodAutoscaler.autoscaling":
		return true
	case "Service":
		kind, _, _ := unstructured.NestedString(obj.Object, "spec", "type")
		return kind != string(corev1.ServiceTypeLoadBalancer)
	}
	return false
}

// waiter is the memory of one Wait. Its feeds are filled by goroutines; everything
// else belongs to Wait's own.
type waiter struct {
	place   string // the cluster
	targets []*target
	changed chan struct{} // something arrived
	denied  chan error    // a feed can't be had

	mu        sync.Mutex
	away      error // why the API server does not answer, nil if it does
	awaySince time.Time
	told      string // of what is out of sight
	toldAt    time.Time

	stable   bool
	since    map[string]time.Time // when a problem or a running container was first seen, by its key
	reported map[string]string    // what was last told, by object
	problems []problem            // of the last look, worst first
	unstable []unstable           // of the last look
}

// unstable is an object that has not arrived, and what it waits for.
type unstable struct {
	ref  ObjectRef
	text string
}

// sooner returns the shorter of two times, of which 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// look judges what the feeds hold. It returns the problem that ends the wait, or the
// time after which a problem becomes fatal by age; 0 if there is none.
func (w *waiter) look(now time.Time, report func(Progress)) (*problem, time.Duration, error) {
	if recheck, blind, err := w.tellAway(now, report); blind {
		return nil, recheck, err // what was seen before may not be so any more
	}
	for _, t := range w.targets {
		for _, f := range t.feeds() {
			if !f.listed() {
				return nil, 0, nil
			}
		}
	}
	var recheck time.Duration
	since := map[string]time.Time{}
	firstSeen := func(key string) time.Time {
		first, seen := w.since[key]
		if !seen {
			first = now
		}
		since[key] = first
		return first
	}
	w.stable, w.problems, w.unstable = true, nil, nil
	underway := false
	for _, t := range w.targets {
		s, problems, err := t.assess(now, firstSeen)
		if err != nil {
			return nil, 0, err
		}
		for i := range problems {
			recheck = sooner(recheck, problems[i].ripen(now, firstSeen, t))
		}
		slices.SortStableFunc(problems, worst)
		w.problems = append(w.problems, problems...)
		w.tell(t, s, problems, report)
		if !s.stable {
			w.stable = false
			w.unstable = append(w.unstable, unstable{t.ref, s.text})
			underway = underway || !s.heals
			recheck = sooner(recheck, s.recheck)
		}
	}
	w.since = since
	for i := range w.problems {
		// Only what failed and what is finished is left: nothing will come that it may heal by.
		w.problems[i].Fatal = w.problems[i].Fatal || w.problems[i].fatalLast && !underway
	}
	slices.SortStableFunc(w.problems, worst)
	if len(w.problems) > 0 && w.problems[0].Fatal {
		return &w.problems[0], 0, nil
	}
	return nil, recheck, nil
}

// ripen makes a problem what its age makes it, and returns after which time that may change; 0: never.
func (p *problem) ripen(now time.Time, firstSeen func(string) time.Time, t *target) (recheck time.Duration) {
	if p.Fatal && p.fatalAfter == 0 && t.unexplained(p.uid) {
		p.Fatal, p.fatalAfter = false, eventPatience
	}
	if p.fatalAfter == 0 && p.tellAfter == 0 {
		return 0
	}
	age := now.Sub(firstSeen(p.key()))
	if left := p.fatalAfter - age; left > 0 {
		recheck = left
	} else if p.fatalAfter > 0 {
		p.Fatal = true
	}
	if left := p.tellAfter - age; left > 0 {
		p.quiet, recheck = true, sooner(recheck, left)
	}
	return recheck
}

// tell reports the object's progress if it differs from what was last told.
func (w *waiter) tell(t *target, s state, problems []problem, report func(Progress)) {
	news := Progress{Object: t.ref.String(), Text: s.text, Stable: s.stable}
	for _, p := range problems {
		if !p.quiet {
			f := p.Failure
			news.Problem = &f
			break
		}
	}
	text := fmt.Sprint(news.Text, news.Stable)
	if news.Problem != nil {
		// Not the message: it may count, or alternate with each attempt.
		text += news.Problem.Pod + news.Problem.Container + news.Problem.Reason
	}
	key := t.ref.String() + "\x00" + t.ref.Namespace
	if w.reported[key] == text {
		return
	}
	w.reported[key] = text
	report(news)
}

// poke says that there is something to look at.
func (w *waiter) poke() {
	select {
	case w.changed <- struct{}{}:
	default: // it is going to look anyway
	}
}

// timeUp says, when the deadline is over, what held the rollout up.
func (c *Cluster) timeUp(ctx context.Context, w *waiter) error {
	if since, err := w.trouble(); err != nil {
		e := w.outOfSight(err, since)
		e.Message = "the cluster is out of sight: " + e.Message // that time is up is said by whoever gave it
		return e
	}
	var texts []string
	for _, u := range w.unstable {
		texts = append(texts, u.ref.String()+" "+u.text)
	}
	text := "time is up: " + strings.Join(texts, ", ")
	switch {
	case len(w.problems) > 0:
		p := w.problems[0]
		p.Message = oneLine(p.Message + " (" + text + ")")
		return c.conclude(ctx, p, w)
	case len(w.unstable) > 0:
		ref := w.unstable[0].ref
		f := Failure{Object: ref.String(), Namespace: ref.Namespace, Reason: "Timeout", Message: oneLine(text), Hint: timeoutHints[ref.Kind]}
		return c.conclude(ctx, problem{Failure: f}, w)
	default:
		return fmt.Errorf("time is up before the cluster could be read: %w", ctx.Err())
	}
}

// readEvents reads the warnings about a target whose events were not followed, since it has no pods.
func (c *Cluster) readEvents(ctx context.Context, t *target) {
	if t.events != nil || t.ref.Namespace == "" {
		return
	}
	events, err := c.feed(ctx, ObjectRef{Version: "v1", Kind: "Event", Namespace: t.ref.Namespace},
		metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.name=" + t.ref.Name})
	if err != nil {
		return
	}
	if _, err := events.list(ctx); err == nil {
		t.events = events
	}
}

// diagnosisTimeout bounds how long the log may take, after the wait is over.
const diagnosisTimeout = 10 * time.Second

// conclude adds the log and the newest warning event.
func (c *Cluster) conclude(ctx context.Context, p problem, w *waiter) error {
	// The deadline of ctx may be what brought us here.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnosisTimeout)
	defer cancel()
	f := p.Failure
	for _, t := range w.targets {
		if t.ref.String() != p.Object || t.ref.Namespace != p.Namespace {
			continue
		}
		c.readEvents(ctx, t)
		// An event that can't be read only makes the diagnosis shorter.
		events, _ := t.warned()
		about := warnings(events, p.uid)
		if len(about) == 0 {
			about = warnings(events, t.uid())
		}
		f.Event = newest(about)
	}
	if p.hasLog {
		lines, err := c.logs(ctx, f.Namespace, f.Pod, f.Container, p.previous, logLines)
		if err != nil {
			lines = []string{"(log not available: " + oneLine(err.Error()) + ")"}
		}
		f.Logs = lines
	}
	return &f
}
