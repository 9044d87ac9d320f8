package bot

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/store"
)

// buriedTasks lists what was given up, one a line.
func (l *lab) buriedTasks() (string, error) {
	return l.lookup("SELECT group_concat(replace(kind || ' ' || key, char(10), ' ') || ': ' || reason, char(10)) FROM tasks WHERE buried_at IS NOT NULL HAVING count(*) > 0")
}

// tried waits until everything that is due was tried, whatever came of it; what is built or rolled out may go on.
func (l *lab) tried() error {
	return until("everything was tried", func() error {
		open, err := l.lookup("SELECT group_concat(kind) FROM tasks WHERE buried_at IS NULL AND kind NOT IN ('run', 'env') AND (lease_until IS NOT NULL OR due_at <= ?) HAVING count(*) > 0",
			l.clock.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
		if err == nil && open != "" {
			err = errors.New(open)
		}
		return err
	})
}

// changes lists the requests that change something on GitHub, from the given one on.
func (l *lab) changes(from int) (all []string) {
	for _, r := range l.gh.Requests()[from:] {
		if r.Method != http.MethodGet && !strings.HasSuffix(r.Path, "/access_tokens") && !strings.HasSuffix(r.Path, "git-upload-pack") {
			all = append(all, fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status))
		}
	}
	return all
}

// living are the messages of Slack's channel that are no replies to others.
func (l *lab) living() []sim.SlackMessage {
	return slices.DeleteFunc(l.slack.Messages("C1"), func(m sim.SlackMessage) bool { return m.ThreadTS != "" })
}

// TestCoalesced: news that comes while something is being sent is sent once, the newest.
func TestCoalesced(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	// One is held at Slack, and one at GitHub, which has them already but has not answered.
	release, held := make(chan struct{}), make(chan string, 2)
	first := map[string]*sync.Once{"slack": {}, "status": {}}
	l.wrote.set(func(what string) {
		kind, _, _ := strings.Cut(what, " ")
		if once := first[kind]; once != nil {
			once.Do(func() { held <- kind; <-release })
		}
	})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo() // also where something is missed
	sha := got(l.Push("alice", "master", "Ship", hang(t)))(t)
	<-held
	<-held
	must(t, l.rolling(1))
	for n := range 200 {
		must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
			d, err := tx.DeploymentNumber("acme/web", 1)
			return errors.Join(err, tx.Progress(d, fmt.Sprintf("%d of 200 pods ready", n+1)))
		}))
	}
	must(t, until("the news is handed on", func() error {
		n, err := l.lookup("SELECT count(*) FROM tasks WHERE kind = 'report'")
		if err == nil && n != "0" {
			err = errors.New(n)
		}
		return err
	}))
	letGo()
	must(t, until("the newest is said", func() error {
		m := l.living()
		if len(m) != 1 || !strings.Contains(string(m[0].Blocks), "200 of 200 pods ready") {
			return fmt.Errorf("%v", m)
		}
		return nil
	}))
	if m := l.living(); m[0].Edits != 1 {
		t.Errorf("Slack's message was edited %d times", m[0].Edits)
	}
	l.test.Release()
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	n := map[string]int{}
	for _, s := range l.repo.Statuses(sha) {
		n[s.Context]++
	}
	if n["shipmate/build"] != 2 { // as it was when the first was held, and its end
		t.Errorf("statuses: %v", n)
	}
}

// TestGitHubDownForHours: nothing is given up, and when GitHub is back it hears the end, and who asked is answered.
func TestGitHubDownForHours(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	issue := l.repo.OpenIssue("alice", "Ship")
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
	must(t, l.building(1))
	l.gh.Fail("", "*", 503, -1, 0)
	l.builder.Release()
	comment := got(l.Comment(issue, "alice", "/status"))(t)
	other := got(l.Push("alice", "topic", "Another", map[string]string{"Dockerfile": "FROM scratch\n"}))(t)
	for range 30 {
		must(t, l.tried())
		must(t, l.Tick(maxBackoff))
	}
	must(t, l.tried())
	if gone := got(l.buriedTasks())(t); gone != "" {
		t.Fatalf("given up: %s", gone)
	}
	for _, kind := range []string{"say", "event"} {
		if n := got(l.lookup("SELECT min(attempts) > ? FROM tasks WHERE kind = ?", 2*maxFaults, kind))(t); n != "1" {
			t.Errorf("the tasks of kind %s were not tried long enough", kind)
		}
	}
	if log := l.log.String(); !strings.Contains(log, "level=ERROR msg=\"will try again\"") {
		t.Error("no error tells of it")
	}
	l.gh.Recover()
	must(t, l.Tick(maxBackoff))
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	got(l.Status(other, "shipmate/build", "success", ""))(t)
	must(t, until("the comment is answered", func() error {
		if r := l.repo.Reactions(comment); len(r) < 2 {
			return fmt.Errorf("%v", r)
		}
		return nil
	}))
	must(t, l.Settle())
	if n := got(l.lookup("SELECT coalesce(group_concat(kind), '') FROM tasks WHERE kind IN ('event', 'run', 'prepare', 'env', 'report', 'reply', 'say')"))(t); n != "" {
		t.Errorf("tasks are left: %s", n)
	}
	if n, want := len(l.repo.Deployments()), got(l.lookup("SELECT count(*) FROM deployments"))(t); fmt.Sprint(n) != want {
		t.Errorf("GitHub has %d deployments, we %s", n, want)
	}
}

// TestPaceAgainstGitHub writes as fast as the pace lets it, against GitHub's own count.
func TestPaceAgainstGitHub(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.gh.SetSecondaryLimit(true)
	sha := got(l.repo.Commit("quiet", "root", "Nothing is built of it", map[string]string{"app.txt": "x"}))(t)
	begin := l.clock.Now()
	for n := range 600 {
		for {
			err := l.bot.hub.write(store.Repo{Name: "acme/web", Installation: installation(t, l)}, "x", true, func(c *github.Client, owner, name string) error {
				return putStatus(t.Context(), c, owner, name, sha, commitStatus{State: "success", Context: fmt.Sprint(n)})
			})
			var wait *limited
			if !errors.As(err, &wait) {
				must(t, err)
				break
			}
			l.clock.Advance(wait.until.Sub(l.clock.Now()))
		}
	}
	if took := l.clock.Now().Sub(begin); took < time.Hour || took > time.Hour+10*time.Minute {
		t.Errorf("600 writes took %s", took)
	}
	for _, r := range l.gh.Requests() {
		if r.Status == http.StatusForbidden {
			t.Fatalf("%s %s was refused at %s", r.Method, r.Path, r.At)
		}
	}
}

// TestPressure: when there is room for progress no more, the ends are told, what was overtaken never is, and who asks is
// answered.
func TestPressure(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	issue := l.repo.OpenIssue("alice", "Ship")
	l.bot.hub.pace.learn(installation(t, l), signals{scarce: l.clock.Now().Add(time.Hour)})
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	if _, reply, err := l.Say(issue, "alice", "/status"); err != nil || reply == "" {
		t.Errorf("%q, %v", reply, err)
	}
	must(t, l.Settle())
	if s := l.repo.Statuses(sha); len(s) != 2 {
		t.Errorf("the commit was given %v", s)
	}
	if d := l.repo.Deployments(); len(d) != 1 || len(d[0].Statuses) != 1 {
		t.Errorf("deployments: %v", d)
	}

	// What has no end is told when there is room.
	sha = got(l.Push("alice", "master", "Ship", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
	must(t, l.building(1))
	must(t, l.tried())
	if s := l.repo.Statuses(sha); len(s) > 0 {
		t.Errorf("there is no room, but it says %v", s)
	}
	must(t, l.Tick(time.Hour))
	got(l.Status(sha, "shipmate/build", "pending", "running"))(t)
}

func installation(t *testing.T, l *lab) int64 {
	t.Helper()
	i, ok := l.gh.Installation("acme")
	if !ok {
		t.Fatal("the App is not installed")
	}
	return i.ID
}

// TestLimitedInstallation: one refusal stops the writing of the whole installation, at the cost of one request.
func TestLimitedInstallation(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.gh.Fail("POST", "*/statuses/*", 403, 1, 40*time.Minute)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	must(t, until("it is live", func() error { return l.Runs(l.test, 1) }))
	must(t, l.Settle())
	went := func() []string { // but for what was under way beside the request that was refused
		all := l.changes(0)
		if i := slices.Index(all, "POST /repos/acme/web/check-runs 201"); i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
		return all
	}
	if w := went(); len(w) != 1 {
		t.Errorf("after the refusal it went on: %v", w)
	}
	// News wakes what sleeps; it costs GitHub nothing.
	for range 100 {
		must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
			d, err := tx.DeploymentNumber("acme/web", 1)
			return errors.Join(err, tx.Wake(store.TaskReport, "deployment/"+d.ID))
		}))
	}
	must(t, l.Settle())
	must(t, l.Tick(30*time.Minute))
	must(t, l.Settle())
	if w := went(); len(w) != 1 {
		t.Errorf("before the time it went on: %v", w)
	}
	must(t, l.Tick(10*time.Minute+time.Second))
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	if n := strings.Count(l.log.String(), "GitHub's limit is used up"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
}

// TestGivenUp: what GitHub declines is given up and shown; the sweep does not insist, a start does.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 404, 422} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			l.gh.Fail("POST", "*/statuses/*", status, -1, 0)
			sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
			shown := func() {
				t.Helper()
				must(t, until("both statuses are given up", func() error {
					gone, err := l.buriedTasks()
					if err == nil && strings.Count(gone, fmt.Sprintf("%d", status)) != 2 {
						err = errors.New(gone)
					}
					return err
				}))
				must(t, l.Settle())
			}
			shown()
			from := len(l.gh.Requests())
			must(t, l.Tick(healEvery))
			must(t, l.Settle())
			if w := l.changes(from); len(w) > 0 {
				t.Errorf("the sweep insists: %v", w)
			}
			l.gh.Recover()
			must(t, l.Stop())
			must(t, l.Start())
			got(l.Status(sha, "shipmate/build", "success", ""))(t)
			got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
		})
	}
}

// TestPoisonedEvent is buried after its attempts, with the reason in its trace, and decided when somebody wakes it.
func TestPoisonedEvent(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.gh.Fail("GET", "*/contents/*", 422, -1, 0)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	must(t, l.gh.Flush(t.Context()))
	must(t, until("it is given up", func() error {
		must(t, l.Tick(maxBackoff))
		trace, err := l.lookup("SELECT coalesce(trace, '') FROM events WHERE decided_at IS NULL")
		if err == nil && !strings.Contains(trace, fmt.Sprintf("given up after %d attempts", maxFaults)) {
			err = errors.New(trace)
		}
		return err
	}))
	l.gh.Recover()
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		buried, err := tx.Buried()
		if err != nil || len(buried) != 1 || !strings.Contains(buried[0].Reason, "422") {
			return fmt.Errorf("%v, %w", buried, err)
		}
		return tx.Wake(buried[0].Kind, buried[0].Key)
	}))
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
}

// TestCrashAfterSending kills the bot when a far end has done what it was asked, but has not answered: on each surface.
func TestCrashAfterSending(t *testing.T) {
	t.Parallel()
	for _, at := range []string{
		"status shipmate/build pending", "status shipmate/build success", "status shipmate/deploy/staging success",
		"deployment staging ", "deployment_status staging pending", "deployment_status staging success",
		"check_run shipmate ", "check_run shipmate success", "reaction", "comment", "wecom", "slack", "slack that can be read",
		"reply slack", "reply slack that can be read",
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			l.slack.Readable(strings.HasSuffix(at, "that can be read"))
			died := make(chan struct{})
			var once sync.Once
			l.wrote.set(func(what string) {
				if strings.HasPrefix(what, "wecom ") && !strings.Contains(what, "succeeded") {
					return // that it began is not said again when it has ended meanwhile
				}
				if at, _, _ := strings.Cut(at, " that"); strings.HasPrefix(what, at) && what != "reaction shipmate[bot] eyes" {
					once.Do(func() {
						_ = l.bot.db.Close() // what is under way fails from here on
						close(died)
					})
				}
			})
			issue := l.repo.OpenIssue("alice", "Ship")
			files := map[string]string{"app.txt": "x"}
			if at == "deployment_status staging pending" { // what takes an instant is not told
				files = hang(t)
			}
			sha := got(l.Push("alice", "master", "Ship", files))(t)
			comment := int64(0)
			if at == "reaction" || at == "comment" {
				comment = got(l.Comment(issue, "alice", "/status"))(t)
			}
			select {
			case <-died:
			case <-time.After(patience):
				t.Fatal("it was not sent")
			}
			must(t, l.Crash())
			must(t, l.Start())
			must(t, l.Redeliver())
			got(l.Status(sha, "shipmate/build", "success", ""))(t)
			if at == "deployment_status staging pending" {
				must(t, l.rolling(1))
				l.test.Release()
			}
			got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
			if comment != 0 {
				_, _, err := l.Answer(issue, comment)
				must(t, err)
			}
			must(t, l.Tick(inFlight)) // what may be under way still is made only then
			must(t, l.Settle())

			if d := l.repo.Deployments(); len(d) != 1 || d[0].State() != "success" {
				t.Errorf("GitHub's deployments: %v", d)
			}
			if runs := l.repo.CheckRuns(sha); len(runs) != 1 || runs[0].Conclusion != "success" {
				t.Errorf("the check runs are %v", runs)
			}
			if comment != 0 {
				if c := l.repo.Comments(issue); len(c) != 2 {
					t.Errorf("the comment and its reply are %v", c)
				}
				if r := l.repo.Reactions(comment); len(r) != 2 {
					t.Errorf("reactions: %v", r)
				}
			}
			repeat := text.En.Say(text.MayRepeat, "")[:20]
			told, repeats := map[string]int{}, 0
			for _, m := range l.wecom.Messages(robotKey) {
				if strings.Contains(m.Content, repeat) {
					repeats++
					continue
				}
				told[strings.Split(m.Content, "\n")[0]]++
			}
			for title, n := range told {
				if n != 1 {
					t.Errorf("WeCom was told %d times: %s", n, title)
				}
			}
			// A crash elsewhere may hit a chat at the same moment, but not twice.
			if repeats > 1 || at == "wecom" && repeats == 0 {
				t.Errorf("WeCom has %d messages that may be repeats", repeats)
			}
			// The living message is begun anew where it cannot be found, which the new one says at first.
			messages := l.living()
			if n := len(messages); n > 2 || at == "slack" && n != 2 || at == "slack that can be read" && n != 1 {
				t.Errorf("Slack has %d messages", n)
			}
			replies, repeats := map[string]int{}, 0
			for _, m := range l.slack.Messages("C1") {
				if strings.Contains(string(m.Blocks), repeat) && m.ThreadTS != "" {
					repeats++
				} else if m.ThreadTS != "" {
					replies[m.Text]++
				}
			}
			for said, n := range replies {
				if n != 1 {
					t.Errorf("Slack has %d times the reply %s", n, said)
				}
			}
			if repeats > 1 || at == "reply slack" && repeats == 0 || at == "reply slack that can be read" && (repeats > 0 || len(replies) != 2) {
				t.Errorf("Slack has %d replies that may be repeats, and these: %v", repeats, replies)
			}
			if m := messages[len(messages)-1]; !strings.Contains(string(m.Blocks), "live") {
				t.Errorf("the message ends as %s", m.Blocks)
			}
			if gone := got(l.buriedTasks())(t); gone != "" {
				t.Errorf("given up: %s", gone)
			}
		})
	}
}

// TestMayRepeat: only what may have arrived is called a repeat.
func TestMayRepeat(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fail   func(*lab)
		again  time.Duration // when it is tried again; after a minute progress may be left out instead
		repeat bool
	}{
		"busy":        {func(l *lab) { l.wecom.FailNext(-1, 1) }, 20 * time.Second, false},
		"limited":     {func(l *lab) { l.wecom.FailNext(45009, 1) }, time.Minute, false},
		"bad gateway": {func(l *lab) { l.wecom.Down(true) }, 20 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			test.fail(l)
			got(l.Push("alice", "master", "Ship", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
			must(t, until("it fails", func() error {
				if !strings.Contains(l.log.String(), "wecom robot") {
					return errors.New("it does not")
				}
				return nil
			}))
			l.wecom.Down(false)
			must(t, l.Tick(test.again))
			must(t, until("it is said", func() error {
				if len(l.wecom.Messages(robotKey)) == 0 {
					return errors.New("it is not")
				}
				return nil
			}))
			m := l.wecom.Messages(robotKey)
			if got := strings.Contains(m[0].Content, "may be a repeat"); got != test.repeat || len(m) != 1 {
				t.Errorf("%d messages: %s", len(m), m[0].Content)
			}
		})
	}
}

// TestHeal: what GitHub shows is what is, whoever wrote something else there, and nothing is written where it is so.
func TestHeal(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	file := got(os.ReadFile("testdata/repo/.shipmate.yaml"))(t)
	sha := got(l.Push("root", "master", "Ship", map[string]string{".shipmate.yaml": string(file) + "checks: [{name: vet, image: 'golang:1.26', run: 'true'}]\n"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	sweep := func() (wrote []string) {
		t.Helper()
		from := len(l.gh.Requests())
		must(t, l.Tick(healEvery))
		must(t, until("the sweep is done", func() error {
			n, err := l.lookup("SELECT count(*) FROM tasks WHERE kind = 'heal' AND lease_until IS NULL AND due_at > ?", l.clock.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
			if err == nil && n != "1" {
				err = errors.New("it is not")
			}
			return err
		}))
		must(t, l.Settle())
		return l.changes(from)
	}
	if w := sweep(); len(w) > 0 {
		t.Errorf("all is as it should be, yet it wrote %v", w)
	}

	do := func(fn func(c *github.Client) error) {
		t.Helper()
		must(t, fn(l.bot.hub.client(installation(t, l))))
	}
	ours := l.repo.Deployments()[0]
	l.repo.SetStatus(sha, "mallory", "shipmate/build", "pending")          // by any token
	l.repo.SetStatus(sha, "mallory", "shipmate/deploy/staging", "failure") // also an end that is another
	l.repo.SetStatus(sha, "mallory", "shipmate/check/vet", "pending")
	l.repo.SetStatus(sha, "mallory", "shipmate/of-another-server", "pending")
	l.repo.SetStatus(sha, "mallory", "ci/lint", "pending")
	var stranger *github.Deployment
	do(func(c *github.Client) (err error) {
		page := "https://ship.example.com/runs/1"
		if err := putStatus(t.Context(), c, "acme", "web", sha, commitStatus{"pending", "shipmate/old-name/build", "running", page}); err != nil {
			return err
		}
		if err := putStatus(t.Context(), c, "acme", "web", sha, commitStatus{"success", "shipmate/older-name/build", "done", page}); err != nil {
			return err
		}
		if err := putDeploymentStatus(t.Context(), c, "acme", "web", ours.ID, commitStatus{State: "in_progress", URL: page}); err != nil {
			return err
		}
		stranger, _, err = c.Repositories.CreateDeployment(t.Context(), "acme", "web", &github.DeploymentRequest{Ref: &sha, Environment: github.String("staging"),
			AutoMerge: github.Bool(false), RequiredContexts: &[]string{}, Payload: map[string]string{"shipmate": "gone"}})
		if err != nil {
			return err
		}
		if err := putDeploymentStatus(t.Context(), c, "acme", "web", stranger.GetID(), commitStatus{State: "in_progress", URL: page}); err != nil {
			return err
		}
		// Somebody else's payload is none of ours.
		_, _, err = c.Repositories.CreateDeployment(t.Context(), "acme", "web", &github.DeploymentRequest{Ref: &sha, Environment: github.String("docs"),
			AutoMerge: github.Bool(false), RequiredContexts: &[]string{}, Payload: map[string]string{"other": "1"}})
		return err
	})
	if w := sweep(); len(w) != 6 {
		t.Errorf("%d writes: %v", len(w), w)
	}
	for name, want := range map[string]string{"shipmate/build": "success", "shipmate/deploy/staging": "success", "shipmate/of-another-server": "pending", "shipmate/check/vet": "success",
		"ci/lint": "pending", "shipmate/old-name/build": "error", "shipmate/older-name/build": "success"} {
		if s := l.status(sha, name); s.State != want {
			t.Errorf("%s is %s, want %s", name, s.State, want)
		}
	}
	if s := l.status(sha, "shipmate/old-name/build"); s.Description != text.En.Say(text.NotKnown) {
		t.Error(s.Description)
	}
	for _, d := range l.repo.Deployments() {
		if want := map[int64]string{ours.ID: "success", stranger.GetID(): "error"}[d.ID]; d.State() != want {
			t.Errorf("deployment %d is %q, want %q", d.ID, d.State(), want)
		}
	}
	if w := sweep(); len(w) > 0 {
		t.Errorf("healed, yet it wrote %v", w)
	}

	// What ended long ago is left alone; so is what is not ours to ask.
	must(t, l.Tick(healSince))
	must(t, l.Settle())
	l.repo.SetStatus(sha, "mallory", "shipmate/build", "pending")
	from := len(l.gh.Requests())
	sweep()
	if r := l.gh.Requests()[from:]; len(r) > 0 {
		t.Errorf("it asked %v", r)
	}
}

// TestHealCheckRuns: a start ends the check runs that stand for nothing, and has ours say what is so.
func TestHealCheckRuns(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	c := l.bot.hub.client(installation(t, l))
	ours := l.repo.CheckRuns(sha)[0]
	_, err := putCheckRun(t.Context(), c, http.MethodPatch, fmt.Sprintf("acme/web/check-runs/%d", ours.ID),
		checkRun{Name: ours.Name, DetailsURL: ours.DetailsURL, ExternalID: ours.ExternalID, Status: "in_progress", Actions: []checkAction{}})
	must(t, err)
	_, err = putCheckRun(t.Context(), c, http.MethodPost, "acme/web/check-runs",
		checkRun{Name: "shipmate/old", HeadSHA: sha, DetailsURL: ours.DetailsURL, ExternalID: "gone", Status: "queued", Actions: []checkAction{}})
	must(t, err)
	must(t, l.Stop())
	must(t, l.Start())
	must(t, until("they are healed", func() error {
		for _, run := range l.repo.CheckRuns(sha) {
			if want := map[string]string{"shipmate": "success", "shipmate/old": "cancelled"}[run.Name]; run.Conclusion != want {
				return fmt.Errorf("the check run %s is %s %s", run.Name, run.Status, run.Conclusion)
			}
		}
		return nil
	}))
}

// TestHealIsBounded: with many commits, a sweep asks no more than it may, and the next goes on from there.
func TestHealIsBounded(t *testing.T) {
	muchOfTheSame(t)
	t.Parallel()
	l := newLab(t, nil)
	const many = 150
	file, key := filepath.Join(l.dir, "data", "shipmate.db"), []byte(l.bot.cfg.DataKey.Value())
	must(t, l.Stop())
	db, err := store.Open(t.Context(), file, key)
	must(t, err)
	must(t, db.Update(t.Context(), func(tx *store.Tx) error {
		err := tx.PutRepo(store.Repo{Name: "acme/web", ID: 1, Installation: installation(t, l), DefaultBranch: "master"})
		for n := range many {
			run := store.Run{Repo: "acme/web", App: "web", Ref: "refs/heads/x", SHA: fmt.Sprintf("%040x", n+1), Cause: store.CauseCommand}
			run.Config.V = json.RawMessage("{}")
			err = errors.Join(err, tx.NewRun(&run), tx.EndRun(run.ID, store.RunCancelled, "", nil))
		}
		return err
	}))
	must(t, db.Close())
	raw, err := sql.Open("sqlite", file)
	must(t, err)
	_, err = raw.Exec("DELETE FROM tasks") // what GitHub has never heard of is not to be told
	must(t, errors.Join(err, raw.Close()))
	must(t, l.Start())
	must(t, l.Settle())
	asked := map[string]int{}
	for range (many + healRequests - 1) / (healRequests - 1) {
		from := len(l.gh.Requests())
		must(t, l.Tick(healEvery))
		must(t, l.Settle())
		n := 0
		for _, r := range l.gh.Requests()[from:] {
			if r.Method == http.MethodGet {
				n++
				if strings.Contains(r.Path, "/status") {
					asked[r.Path]++
				}
			}
		}
		if n > healRequests+2 { // a commit that is begun is finished
			t.Errorf("a sweep asked %d times", n)
		}
	}
	if len(asked) != many {
		t.Errorf("%d of %d commits were looked at", len(asked), many)
	}
}

// TestHealBesideALimit: an installation whose limit is used up holds up no other.
func TestHealBesideALimit(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	const other = 999
	l.bot.hub.pace.learn(other, signals{closed: l.clock.Now().Add(time.Hour)})
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		run := store.Run{Repo: "acme/aaa", App: "aaa", Ref: "refs/heads/x", SHA: strings.Repeat("a", 40), Cause: store.CauseCommand} // it comes first
		run.Config.V = json.RawMessage("{}")
		return errors.Join(tx.PutRepo(store.Repo{Name: run.Repo, ID: 2, Installation: other, DefaultBranch: "master"}), tx.NewRun(&run),
			tx.EndRun(run.ID, store.RunCancelled, "", nil))
	}))
	l.repo.SetStatus(sha, "mallory", "shipmate/build", "pending")
	must(t, l.Tick(healEvery))
	must(t, until("it is healed", func() error {
		if s := l.status(sha, "shipmate/build"); s.State != "success" {
			return errors.New(s.State)
		}
		return nil
	}))
}

// TestReportsAfterUninstalling: with the App gone, what is to be said is given up and shown, and the sweep is not stopped by it.
func TestReportsAfterUninstalling(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	got(l.Push("alice", "master", "Ship", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
	must(t, l.building(1))
	must(t, l.tried())
	l.gh.Uninstall("acme")
	l.builder.Release()
	must(t, until("it is given up", func() error {
		gone, err := l.buriedTasks()
		if err == nil && strings.Count(gone, "404") < 2 {
			err = errors.New(gone)
		}
		return err
	}))
	must(t, l.Tick(healEvery))
	must(t, l.Settle())
	kinds := strings.Fields(got(l.lookup("SELECT group_concat(DISTINCT kind) FROM tasks WHERE buried_at IS NOT NULL"))(t))
	if !slices.Equal(kinds, []string{"say"}) {
		t.Errorf("given up: %v", kinds)
	}
}
