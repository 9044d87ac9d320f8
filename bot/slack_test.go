package bot

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
)

// buttonValue is the value of the newest button in C1 with that label.
func (l *lab) buttonValue(label string) (value string) {
	for _, m := range l.slack.Messages("C1") {
		var blocks []struct {
			Elements []struct {
				Value string
				Text  json.RawMessage
			}
		}
		_ = json.Unmarshal(m.Blocks, &blocks) // one without blocks has no buttons
		for _, b := range blocks {
			for _, e := range b.Elements {
				var shown struct{ Text string }
				if json.Unmarshal(e.Text, &shown) == nil && shown.Text == label {
					value = e.Value
				}
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

// TestOtherWorkspaces: an id of another workspace is nobody, also where it is that of somebody here.
func TestOtherWorkspaces(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	answer, stored, err := l.bot.heard(t.Context(), "slack", "team", chat.Heard{ID: "1", User: "U01", Foreign: true, Text: "status web", Back: "C1 U01 "})
	if err != nil || stored || !answer.Refused || len(answer.Text) == 0 || answer.Text[0].Text != text.En.Say(text.Foreigner) {
		t.Errorf("%+v, stored %v, %v", answer, stored, err)
	}
}
