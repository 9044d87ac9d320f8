package bot

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// slowBuild and hang are files that make a build block and a rollout hang.
var (
	slowBuild = map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}
	quick     = map[string]string{"Dockerfile": "FROM scratch\n"}
)

func hang(t *testing.T) map[string]string {
	t.Helper()
	base, err := readFiles("testdata/repo")
	must(t, err)
	for name, text := range base {
		if strings.HasPrefix(name, "deploy/") && strings.Contains(text, "image:") {
			return map[string]string{name: strings.ReplaceAll(text, "image: registry.example.com/team/web", "args: [hang]\n          image: registry.example.com/team/web")}
		}
	}
	t.Fatal("there is no container")
	return nil
}

func (l *lab) building(n int) error {
	return until(fmt.Sprintf("%d builds block", n), func() error {
		if got := l.builder.Blocked(); got != n {
			return fmt.Errorf("%d do", got)
		}
		return nil
	})
}

func (l *lab) rolling(n int) error {
	return until(fmt.Sprintf("%d rollouts hang", n), func() error {
		if got := l.test.Waiting(); got != n {
			return fmt.Errorf("%d do", got)
		}
		return nil
	})
}

// TestRunningBuildStops at once, whoever stops it.
func TestRunningBuildStops(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*lab) error{
		"cancelled": func(l *lab) error {
			_, err := l.Comment(l.repo.OpenIssue("alice", "Stop"), "alice", "/cancel")
			return err
		},
		"superseded": func(l *lab) error { _, err := l.Push("alice", "master", "Newer", quick); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			sha := got(l.Push("alice", "master", "Slow", slowBuild))(t)
			must(t, l.building(1))
			began := time.Now()
			must(t, stop(l))
			must(t, l.building(0))
			if took := time.Since(began); took > promptly {
				t.Errorf("it took %s", took)
			} else {
				t.Logf("the build ended %s after the delivery", took)
			}
			got(l.Status(sha, "shipmate/build", "error", name))(t)
		})
	}
}

// TestCancelMeansThePullRequest that it is said on, whatever else goes on.
func TestCancelMeansThePullRequest(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	master := got(l.Push("alice", "master", "Slow", slowBuild))(t)
	must(t, l.building(1))
	topic := got(l.Push("alice", "topic", "Slow too", map[string]string{"Dockerfile": "FROM scratch\n\nRUN block\n"}))(t)
	must(t, l.building(2))
	pr := got(l.repo.OpenPullRequest("topic", "master", "alice", "A change"))(t)
	if done, reply, err := l.Say(pr, "alice", "/cancel"); !done || err != nil || !strings.Contains(reply, "run 2") {
		t.Fatalf("%v: %s", err, reply)
	}
	got(l.Status(topic, "shipmate/build", "error", "cancelled by alice"))(t)
	if done, reply, err := l.Say(pr, "alice", "/cancel"); !done || err != nil || !strings.Contains(reply, "run 1") { // what is left
		t.Fatalf("%v: %s", err, reply)
	}
	got(l.Status(master, "shipmate/build", "error", "cancelled by alice"))(t)
	must(t, l.building(0))
}

// TestCancelWhileTheClusterIsAway: a rollout that is tried again and again ends, and says what it may have left.
func TestCancelWhileTheClusterIsAway(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var down []error
	for range 20 {
		down = append(down, &kube.Error{Object: "cluster", Message: "connection refused", Temporary: true})
	}
	l.test.Fail("apply", down...)
	sha := got(l.Push("alice", "master", "Change", quick))(t)
	must(t, until("it is tried again", func() error {
		n, err := l.lookup("SELECT attempts FROM tasks WHERE kind = 'env' AND attempts > 1")
		if err == nil && n == "" {
			err = errors.New("it is not")
		}
		return err
	}))
	if done, reply, err := l.Say(l.repo.OpenIssue("alice", "Stop"), "alice", "/cancel"); !done || err != nil || !strings.Contains(reply, "may hold a part of release 1 now") {
		t.Fatalf("%v: %s", err, reply)
	}
	got(l.Status(sha, "shipmate/deploy/staging", "error", "cancelled half-way by alice; release 1 may be partly live$"))(t)
}

// TestCancelsDoNotPileUp: a rollout that is cancelled, the rollback of it that is cancelled too, and another: what is pushed
// then still goes its way.
func TestCancelsDoNotPileUp(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	issue := l.repo.OpenIssue("alice", "Stop")
	say := func(text, want string, yes bool) {
		t.Helper()
		if done, reply, err := l.Say(issue, "bob", text); done != yes || err != nil || !strings.Contains(reply, want) {
			t.Fatalf("%s: %v, %v: %s", text, done, err, reply)
		}
	}
	first := got(l.Push("alice", "master", "Hangs", hang(t)))(t)
	must(t, l.rolling(1))
	l.test.Release()
	got(l.Status(first, "shipmate/deploy/staging", "success", ""))(t)
	got(l.Push("alice", "master", "Hangs again", map[string]string{"app.txt": "2"}))(t)
	must(t, l.rolling(1))
	say("/rollback staging", "Deployment 3", true)
	must(t, l.rolling(1)) // the rollback hangs too
	must(t, until("the rollback rolls", func() error {
		s, err := l.lookup("SELECT state FROM deployments WHERE number = 3")
		if err == nil && s != "progressing" {
			err = errors.New(s)
		}
		return err
	}))
	say("/cancel deployment 2", "Nothing is left to cancel", false)
	say("/rollback staging", "Deployment 4", true) // another way back stops the one that is under way
	say("/cancel deployment 4", "deployment 4", true)
	must(t, l.rolling(0))
	say("/unlock staging", "", true)
	last := got(l.Push("alice", "master", "Fine", map[string]string{"deploy/web.yaml": strings.ReplaceAll(hang(t)["deploy/web.yaml"], "hang", "fine")}))(t)
	got(l.Status(last, "shipmate/deploy/staging", "success", ""))(t)
	d := got(l.Deployments())(t)
	if !strings.Contains(d, "3 staging release 1 rollback by bob: cancelled") || !strings.Contains(d, "5 staging release 3 automatic by alice: succeeded") {
		t.Error(d)
	}
}

// TestShutdownStopsABuild at once; it is done again at the next start, and nobody holds a lease meanwhile. A rollout that is
// watched is left too, and goes on.
func TestShutdownStopsABuild(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	hanging := got(l.Push("alice", "master", "Hangs", hang(t)))(t)
	must(t, l.rolling(1))
	slow := got(l.Push("alice", "topic", "Slow", slowBuild))(t)
	must(t, l.building(1))
	l.bot.worker.grace = time.Hour
	began := time.Now()
	must(t, l.Stop())
	if took := time.Since(began); took > promptly {
		t.Errorf("it took %s", took)
	} else {
		t.Logf("it took %s", took)
	}
	if leases := got(l.lookup("SELECT count(*) FROM tasks WHERE lease_until IS NOT NULL"))(t); leases != "0" {
		t.Errorf("%s leases are left", leases)
	}
	if s := got(l.lookup("SELECT group_concat(state || ' ' || (SELECT group_concat(state, ' ') FROM steps WHERE owner = runs.id ORDER BY seq), '; ') FROM runs WHERE sha = ?", slow))(t); s != "running succeeded running pending" {
		t.Errorf("the run is %s", s)
	}
	must(t, l.Start())
	must(t, l.building(1))
	must(t, l.rolling(1))
	l.builder.Release()
	got(l.Status(slow, "shipmate/build", "success", ""))(t)
	l.test.Release()
	got(l.Status(hanging, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.rolling(1)) // the other branch's release comes next
	l.test.Release()
	must(t, l.Settle())
	if n := got(l.lookup("SELECT count(*) FROM steps WHERE kind = 'build' AND detail <> (SELECT digest FROM runs WHERE id = owner)"))(t); n != "0" {
		t.Errorf("%s build steps tell another digest than their release", n)
	}
	must(t, l.bot.db.View(t.Context(), func(tx *store.Tx) error { _, err := tx.VerifyAudit(); return err }))
}
