package bot

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// TestOneComment: whatever happens when it is made, there is one living comment. One that somebody deletes is made once more,
// and no more than once.
func TestOneComment(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	issue := l.repo.OpenIssue("alice", "Ship")
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	died := make(chan struct{})
	var once sync.Once
	l.wrote.set(func(what string) {
		if strings.HasPrefix(what, "comment shipmate[bot]") {
			once.Do(func() {
				_ = l.bot.db.Close() // it is there, and nobody knows
				close(died)
			})
		}
	})
	got(l.Comment(issue, "alice", "/promote production"))(t)
	select {
	case <-died:
	case <-time.After(patience):
		t.Fatal("there is no comment")
	}
	must(t, l.Crash())
	must(t, l.Start())
	must(t, l.Redeliver())
	run := got(l.lookup("SELECT id FROM runs"))(t)
	living := func() (id int64, body string) {
		t.Helper()
		must(t, l.Settle())
		got(l.Living(run))(t) // fails for two
		for _, c := range l.repo.Comments(issue) {
			if strings.Contains(c.Body, "<!-- shipmate run/") {
				id, body = c.ID, c.Body
			}
		}
		return id, body
	}
	must(t, until("the comment is brought up to date", func() error {
		if _, body := living(); !strings.Contains(body, "waiting for approval (0 of 1)") {
			return errors.New(body)
		}
		return nil
	}))

	id, _ := living()
	must(t, l.repo.DeleteComment(id, "root"))
	if ok, reply, err := l.Say(issue, "bob", "/approve"); !ok || err != nil {
		t.Fatal(reply, err)
	}
	again, body := living()
	if again == 0 || again == id || !strings.Contains(body, "`/approve` by `bob`") {
		t.Errorf("it is made once more: %d, %s", again, body)
	}
	must(t, l.repo.DeleteComment(again, "root"))
	got(l.Comment(issue, "alice", "/rollback staging"))(t) // refused: of no release
	got(l.Comment(issue, "alice", "/deploy production 1"))(t)
	must(t, l.Settle())
	if id, _ := living(); id != 0 {
		t.Error("it was made a third time")
	}
	if gone := got(l.buriedTasks())(t); gone != "" {
		t.Errorf("given up: %s", gone)
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("some more of it\n", 100)
	for name, test := range map[string]struct{ md, end string }{
		"text":    {"# A\n" + long, "lines are left out here"},
		"fence":   {"<details><summary>diff</summary>\n\n````\n```\n" + long + "````\n\n</details>", "````\n\n</details>\n\n"},
		"details": {"<details>\n\n```\na\n```\n" + long + "</details>", "</details>\n\n"},
		"long":    {strings.Repeat("x", 5000), "1 more lines are left out here"},
	} {
		got := clip(test.md, 700, text.En)
		if len(got) > 700 || !utf8.ValidString(got) || !strings.Contains(got, test.end) || !strings.HasSuffix(got, "left out here") {
			t.Errorf("%s: %d bytes, ends as %q", name, len(got), got[max(0, len(got)-150):])
		}
		if n := strings.Count(got, "<details>"); n != strings.Count(got, "</details>") {
			t.Errorf("%s: what is opened is not closed: %q", name, got[max(0, len(got)-150):])
		}
	}
	if got := clip("short", 700, text.En); got != "short" {
		t.Error(got)
	}
}

// TestConclusion: what a check run comes to.
func TestConclusion(t *testing.T) {
	t.Parallel()
	env := func(state string, blocks ...string) *store.Deployment {
		d := &store.Deployment{Environment: "staging", Cause: store.CauseAutomatic, State: state}
		for _, kind := range blocks {
			d.Blocks.V = append(d.Blocks.V, store.Block{Kind: kind})
		}
		return d
	}
	for _, test := range []struct {
		run, reason        string
		d                  *store.Deployment
		status, conclusion string
	}{
		{store.RunQueued, "", nil, "queued", ""},
		{store.RunRunning, "", nil, "in_progress", ""},
		{store.RunFailed, "", nil, "completed", "failure"},
		{store.RunCancelled, "by alice", nil, "completed", "cancelled"},
		{store.RunCancelled, store.ReasonUntested, nil, "completed", "action_required"},
		{store.RunSuperseded, "", nil, "completed", "cancelled"},
		{store.RunSucceeded, "", nil, "completed", "success"},
		{store.RunSucceeded, "", env(store.Queued), "in_progress", ""},
		{store.RunSucceeded, "", env(store.Progressing), "in_progress", ""},
		{store.RunSucceeded, "", env(store.Blocked, store.BlockSoak), "in_progress", ""},
		{store.RunSucceeded, "", env(store.Blocked, store.BlockFreeze, store.BlockApproval), "completed", "action_required"},
		{store.RunSucceeded, "", env(store.Blocked, store.BlockHold), "completed", "action_required"},
		{store.RunSucceeded, "", env(store.Failed), "completed", "failure"},
		{store.RunSucceeded, "", env(store.Rejected), "completed", "failure"},
		{store.RunSucceeded, "", env(store.Expired), "completed", "timed_out"},
		{store.RunSucceeded, "", env(store.Cancelled), "completed", "cancelled"},
		{store.RunSucceeded, "", env(store.Superseded), "completed", "success"},
		{store.RunSucceeded, "", env(store.Succeeded), "completed", "success"},
	} {
		v := view{subject: subject{run: store.Run{State: test.run, Reason: test.reason}}}
		name := test.run + " " + test.reason
		if test.d != nil {
			v.deploys, v.envs = []store.Deployment{*test.d}, []subject{{d: test.d}}
			name += fmt.Sprint(" ", test.d.State, test.d.Blocks.V)
		}
		if status, conclusion := v.conclusion(); status != test.status || conclusion != test.conclusion {
			t.Errorf("%s: %s %s, want %s %s", name, status, conclusion, test.status, test.conclusion)
		}
	}
	// What somebody asked for waits for a person too, but does not make the check run wait or fail.
	for state, want := range map[string]string{store.Blocked: "action_required", store.Failed: "success", store.Progressing: "success"} {
		d := env(state, store.BlockApproval)
		d.Cause = store.CausePromote
		v := view{subject: subject{run: store.Run{State: store.RunSucceeded}}, envs: []subject{{d: d}}}
		if _, conclusion := v.conclusion(); conclusion != want {
			t.Errorf("a promote that is %s: %s, want %s", state, conclusion, want)
		}
	}
}

// FuzzPressed: an identifier that GitHub sends comes from our own check run, but it is a stranger's body that says so.
func FuzzPressed(f *testing.F) {
	for _, s := range []string{"approve:12", "rollback:9", "resume:3", "abort:4", "reject:", ":", "approve:-1", "approve:99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		what, number, _, ok := pressed(s)
		if ok && (number < 1 || what != "approve" && what != "reject" && what != "rollback" && what != "resume" && what != "abort") {
			t.Errorf("%q is %s of %d", s, what, number)
		}
	})
}

// TestTyped: what a person typed stands in code, wherever the comment and the check run show it.
func TestTyped(t *testing.T) {
	t.Parallel()
	evil := "@acme/all ![x](http://evil) </details><img src=x> | `a` ```` **b**"
	b := &Bot{lang: text.En, cfg: &Config{PublicURL: "https://ship.example.com"}}
	d := &store.Deployment{Environment: "staging", Requester: evil, State: store.Rejected, Reason: evil + ": " + evil, Number: 3}
	v := view{
		subject: subject{repo: store.Repo{Private: true}, run: store.Run{App: "web", SHA: "0123456789", Subject: evil, State: store.RunFailed,
			Failure: store.JSON[*store.Failure]{V: &store.Failure{Step: "build", Reason: evil, Hint: evil, Logs: []string{evil, "```", evil}, Event: evil}}},
			steps: []store.Step{{Kind: "check/" + evil, Detail: evil, State: store.StepFailed}}},
		envs:    []subject{{d: d}},
		answers: []store.Answer{{Login: evil, Command: "/reject 3 " + evil, Body: text.Quote(evil)}}, count: 1,
	}
	run, err := b.checkRunOf(v, func() (bool, error) { return false, nil })
	must(t, err)
	for name, md := range map[string]string{"comment": b.commentWords(v), "summary": run.Output.Summary, "text": run.Output.Text} {
		for _, line := range strings.Split(outsideCode(md), "\n") {
			for _, bad := range []string{"@acme", "evil", "<img", "**b**"} {
				if strings.Contains(line, bad) {
					t.Errorf("%s: %s stands outside of code: %q in\n%s", name, bad, line, md)
				}
			}
		}
	}
}
