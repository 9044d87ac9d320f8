package bot

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/store"
)

// TestPushesOutOfOrder: an older push that is decided after a newer one does not stop the newer one's build.
func TestPushesOutOfOrder(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.gh.Fail("GET", "*/contents/*", 502, 1, 0) // the older one's, which is decided again a second later
	older := got(l.Push("alice", "master", "Older", map[string]string{"Dockerfile": "FROM scratch\n"}))(t)
	must(t, until("the older push fails to be decided", func() error {
		for _, r := range l.gh.Requests() {
			if r.Status == 502 {
				return nil
			}
		}
		return errors.New("it does not")
	}))
	newer := got(l.Push("alice", "master", "Newer", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
	must(t, until("both are decided", func() error {
		n, err := l.lookup("SELECT count(*) FROM events WHERE kind = 'push' AND decided_at IS NOT NULL")
		if err == nil && n != "2" {
			err = errors.New(n + " are")
		}
		return err
	}))
	must(t, until("the newer one is built", func() error {
		if l.builder.Blocked() == 0 {
			return errors.New("it is not")
		}
		return nil
	}))
	l.builder.Release()
	got(l.Status(newer, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	if s, want := l.status(older, "shipmate/build"), fmt.Sprintf("superseded by %.7s before it was built", newer); s.State != "error" || s.Description != want {
		t.Errorf("the older commit's status is %s: %q, want %q", s.State, s.Description, want)
	}
	if d, want := got(l.Deployments())(t), "1 staging release 1 automatic by alice: succeeded\n"; d != want {
		t.Errorf("%s, want %s", d, want)
	}
}

// TestBranchThatIsGone: the push of a branch that was deleted since builds nothing.
func TestBranchThatIsGone(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	must(t, l.Stop())
	sha := got(l.Push("alice", "topic", "Short-lived", map[string]string{"app.txt": "x"}))(t)
	must(t, l.repo.DeleteBranch("topic", "alice"))
	must(t, l.gh.Flush(t.Context()))
	must(t, l.Start())
	must(t, l.Redeliver())
	must(t, l.Settle())
	if n := len(l.builder.Requests()); n != 0 {
		t.Errorf("%d builds", n)
	}
	got(l.Status(sha, "shipmate/build", "error", "^superseded before it was built: the branch is gone$"))(t)
}

// TestDeliveredTwice: a delivery has its effect once, however often it comes.
func TestDeliveredTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Once", map[string]string{"app.txt": "x"}))(t)
	issue := l.repo.OpenIssue("alice", "Once")
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	if done, reply, err := l.Say(issue, "alice", "/promote production"); !done {
		t.Fatalf("%s %v", reply, err)
	}
	must(t, l.Settle())
	before := got(l.Deployments())(t)
	comments := len(l.repo.Comments(issue))
	for _, d := range l.gh.Deliveries() {
		must(t, l.gh.Redeliver(d.ID))
	}
	must(t, l.Settle())
	if after := got(l.Deployments())(t); after != before {
		t.Errorf("%s, before %s", after, before)
	}
	if n := len(l.repo.Comments(issue)); n != comments || len(l.builder.Requests()) != 1 {
		t.Errorf("%d comments, %d before; %d builds", n, comments, len(l.builder.Requests()))
	}
	for _, d := range l.gh.Deliveries() {
		if want := map[bool]int{false: 202, true: 200}[d.Redelivery]; d.StatusCode != want {
			t.Errorf("%s (redelivery %v): %d", d.Event, d.Redelivery, d.StatusCode)
		}
	}
}

// TestEventsAreDecidedWithATrace, also where nothing is done.
func TestEventsAreDecidedWithATrace(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	inst, _ := l.gh.Installation("acme")
	repo := `"repository":{"full_name":"acme/web","id":1,"default_branch":"master"}`
	tests := map[string]struct{ event, body, trace string }{
		"unknown event":     {"star", `{"action":"created"}`, "nothing is done on a star"},
		"no repository":     {"push", `{"ref":"refs/heads/master"}`, "names no repository"},
		"not an object":     {"push", `[]`, "cannot be read"},
		"not JSON":          {"push", `{`, "cannot be read"},
		"null":              {"push", `null`, "holds no push"},
		"other types":       {"push", `{"ref":7}`, "cannot be read"},
		"tag":               {"push", `{"ref":"refs/tags/v1","after":"1",` + repo + `,"installation":{"id":1}}`, "tag of no commit"},
		"neither":           {"push", `{"ref":"refs/notes/x","after":"1",` + repo + `,"installation":{"id":1}}`, "neither a branch nor a tag"},
		"schedule":          {"shipmate_schedule", `{"ref":"refs/heads/master",` + repo + `}`, "none of our schedules"},
		"order of the API":  {"shipmate_trigger", `{"shipmate_trigger":{},` + repo + `}`, "no order of the API"},
		"edited comment":    {"issue_comment", `{"action":"edited",` + repo + `,"installation":{"id":1},"comment":{"body":"/rollback production","user":{"login":"root","type":"User"}},"sender":{"login":"root"}}`, "never a command"},
		"comment by a bot":  {"issue_comment", `{"action":"created",` + repo + `,"installation":{"id":1},"comment":{"body":"/rollback production","user":{"login":"root","type":"Bot"}},"sender":{"login":"root"}}`, "no person"},
		"comment by proxy":  {"issue_comment", `{"action":"created",` + repo + `,"installation":{"id":1},"comment":{"body":"/rollback production","user":{"login":"root","type":"User"}},"sender":{"login":"mallory"}}`, "no person"},
		"comment nowhere":   {"issue_comment", `{"action":"created",` + repo + `,"installation":{"id":1},"comment":{"body":"/rollback production","user":{"login":"root","type":"User"}},"sender":{"login":"root"}}`, "no issue"},
		"comment of nobody": {"issue_comment", `{"action":"created",` + repo + `,"installation":{"id":1},"comment":{"body":"/rollback production"}}`, "no person"},
	}
	// The first event of a repository has its files read, once.
	l.gh.Deliver("push", []byte(strings.ReplaceAll(tests["tag"].body, `"id":1}`, `"id":`+strconv.FormatInt(inst.ID, 10)+`}`)))
	must(t, l.Settle())
	before := len(l.gh.Requests())
	for name, test := range tests {
		id := l.gh.Deliver(test.event, []byte(strings.ReplaceAll(test.body, `"id":1}`, `"id":`+strconv.FormatInt(inst.ID, 10)+`}`)))
		must(t, until(name, func() error {
			trace, err := l.lookup("SELECT trace FROM events WHERE id = ? AND decided_at IS NOT NULL", id)
			if err == nil && !strings.Contains(trace, test.trace) {
				err = errors.New("its trace is " + trace)
			}
			return err
		}))
	}
	must(t, l.Settle())
	if r := l.gh.Requests()[before:]; before == 0 || len(r) > 0 {
		t.Errorf("GitHub was asked: %v", r)
	}
}

// TestFarEndsThatFail hear the final state all the same, once.
func TestFarEndsThatFail(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.gh.Fail("POST", "*/statuses/*", 500, 3, 0)
	l.wecom.FailNext(-1, 2)
	l.slack.FailNext("internal_error", 2)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	for _, s := range []string{"shipmate/build", "shipmate/deploy/staging"} {
		if got := l.status(sha, s).State; got != "success" {
			t.Errorf("%s is %s", s, got)
		}
	}
	for _, d := range l.repo.Deployments() {
		if d.State() != "success" {
			t.Errorf("GitHub's deployment is %s", d.State())
		}
	}
	if n := len(l.repo.Deployments()); n != 1 {
		t.Errorf("GitHub has %d deployments", n)
	}
}

// TestEventHasItsEffectOnce: of two that decide an event side by side only one writes.
func TestEventHasItsEffectOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.repo.Commit("master", "alice", "Twice", map[string]string{"twice": "1"}))(t)
	must(t, l.Settle())
	body := got(l.lookup("SELECT body FROM events WHERE kind = 'push'"))(t)
	before := got(l.lookup("SELECT count(*) FROM runs"))(t)
	e := store.Event{ID: "twice", Kind: "push", Body: []byte(body)}
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.PutEvent(e); return err }))
	first, second := got(l.bot.settle(t.Context(), e.ID))(t), got(l.bot.settle(t.Context(), e.ID))(t)
	must(t, l.bot.db.Update(t.Context(), first))
	must(t, l.bot.db.Update(t.Context(), second))
	must(t, l.Settle())
	if n := got(l.lookup("SELECT count(*) FROM runs WHERE event = 'twice'"))(t); n != "1" {
		t.Errorf("%s runs of %.7s came of it; there were %s before", n, sha, before)
	}
}
