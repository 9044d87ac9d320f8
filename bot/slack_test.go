package bot

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
)

// buttonValue is the value of the newest button in C1 with that label.
func (l *lab) buttonValue(label string) (value string) {
	for _, m := range l.slack.Messages("C1") {
		for _, b := range m.Buttons() {
			if b.Label == label {
				value = b.Value
			}
		}
	}
	return value
}

// TestOldButtons: a button that somebody still looks at does what it showed, or nothing.
func TestOldButtons(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, v := range []string{"1", "2"} {
		sha := got(l.Push("alice", "master", "Ship "+v, map[string]string{"app.txt": v}))(t)
		got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	}
	must(t, l.Settle())
	back, forth := l.buttonValue("Roll back staging"), l.buttonValue("Promote to production")
	if back == "" || !strings.Contains(forth, "promote web production 2") {
		t.Fatalf("the buttons are %q and %q", back, forth)
	}
	sha := got(l.Push("alice", "master", "Ship 3", map[string]string{"app.txt": "3"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	if now := l.buttonValue("Roll back staging"); now == back {
		t.Errorf("the newest button is the old one")
	}
	answers := 0
	press := func(value string) string {
		t.Helper()
		answers++
		_, stored, err := l.bot.heard(t.Context(), "slack", "team", chat.Heard{ID: strings.Repeat("x", answers), User: "U01", Value: value, Back: "C1 U01 "})
		must(t, err)
		if !stored {
			t.Errorf("%s is not stored", value)
		}
		must(t, l.Settle())
		for i, all := 0, l.slack.Messages("C1"); i < len(all); i++ {
			if m := all[len(all)-1-i]; m.EphemeralFor == "U01" {
				return m.Text
			}
		}
		return ""
	}
	if said := press(back); !strings.Contains(said, text.En.Say(text.ButtonChanged)) {
		t.Errorf("an old rollback: %s", said)
	}
	must(t, l.Runs(l.test, 3))
	if said := press(forth); !strings.Contains(said, "release 2 goes to") { // and not the newest
		t.Errorf("an old promotion: %s", said)
	}
}

// TestPresses: what is pressed twice, or as the bot dies, happens once.
func TestPresses(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, v := range []string{"1", "2"} {
		sha := got(l.Push("alice", "master", "Ship "+v, map[string]string{"app.txt": v}))(t)
		got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	}
	must(t, l.Settle())
	count := func(of, want string) {
		t.Helper()
		must(t, l.Settle())
		if n := got(l.lookup("SELECT count(*) FROM " + of))(t); n != want {
			t.Errorf("%s: %s, want %s", of, n, want)
		}
	}
	twice := func(user, label string) {
		t.Helper()
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := l.slack.Press(user, "C1", label); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	const promoted, approved, back = "deployments WHERE cause = 'promote'", "approvals WHERE vote = 'approve'", "deployments WHERE cause = 'rollback'"
	twice("U01", "Promote to production")
	count(promoted, "1")
	twice("U06", "Approve")
	must(t, l.Crash()) // what Slack was told is heard is on disk
	must(t, l.Start())
	count(approved, "1")
	count(promoted+" AND state = 'succeeded'", "1")
	twice("U01", "Roll back staging")
	count(back, "1")

	must(t, l.Stop())
	if err := l.slack.Press("U02", "C1", "Roll back staging"); err == nil {
		t.Error("Slack shows nobody that it was not heard")
	}
}

// TestOtherWorkspaces: an id of another workspace is nobody, also where it is that of somebody here.
func TestOtherWorkspaces(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	answer, stored, err := l.bot.heard(t.Context(), "slack", "team", chat.Heard{ID: "1", User: "U01", Foreign: true, Text: "status web", Back: "C1 U01 "})
	if err != nil || stored || !answer.Refused || len(answer.Text) == 0 || answer.Text[0].Text != text.En.Say(text.Foreigner) {
		t.Errorf("%+v, stored %v, %v", answer, stored, err)
	}
}

// TestRefusedAppToken: a token that Slack refuses is told once, and what comes by HTTP is heard all the same.
func TestRefusedAppToken(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(server string) string {
		return strings.Replace(server, "signing_secret: file:signing", "signing_secret: file:signing, app_token: file:slack", 1) // the bot's own
	})
	const told = "not fetched any more"
	must(t, until("it is told", func() error {
		if !strings.Contains(l.log.String(), told) {
			return errors.New("it is not")
		}
		return nil
	}))
	answer, err := l.slack.Command("U01", "C1", "help promote")
	if err != nil || !strings.Contains(answer, "promote") {
		t.Errorf("%q, %v", answer, err)
	}
	if n := strings.Count(l.log.String(), told); n != 1 || !strings.Contains(l.log.String(), "xapp-") {
		t.Errorf("it is told %d times:\n%s", n, l.log.String())
	}
}

// TestSlackLimits: what Slack does not take now is said when it does, edits and replies too, and once.
func TestSlackLimits(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.slack.Limit(true)
	const releases = 4 // with two replies each: more than Slack takes at once
	for v := range releases {
		sha := got(l.Push("alice", "master", fmt.Sprint("Ship ", v), map[string]string{"app.txt": fmt.Sprint(v)}))(t)
		got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	}
	for range releases {
		must(t, l.Settle()) // or the clock would take its lease from what is being said
		must(t, l.Tick(time.Minute))
	}
	must(t, l.Settle())
	said := map[string]int{}
	for _, m := range l.slack.Messages("C1") {
		said[m.ThreadTS+" "+m.Text]++
	}
	if len(said) != 3*releases || len(l.living()) != releases {
		t.Errorf("%d messages, %d of them no replies", len(said), len(l.living()))
	}
	for text, n := range said {
		if n != 1 {
			t.Errorf("%d times: %s", n, text)
		}
	}
	if gone := got(l.buriedTasks())(t); gone != "" {
		t.Errorf("given up: %s", gone)
	}
}
