package chat

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf16"
)

type slackBlock struct {
	Type     string
	Text     *slackObject
	Fields   []slackObject
	Elements []slackObject
}

type slackObject struct {
	Type, Text string
	Verbatim   bool
}

func slackBlocks(r request) []slackBlock {
	var blocks []slackBlock
	if err := json.Unmarshal([]byte(r.form.Get("blocks")), &blocks); err != nil {
		panic("not blocks: " + r.body)
	}
	return blocks
}

func slackTexts(r request) []string {
	texts := []string{r.form.Get("text")}
	for _, b := range slackBlocks(r) {
		if b.Text != nil {
			texts = append(texts, b.Text.Text)
		}
		for _, o := range append(b.Fields, b.Elements...) {
			texts = append(texts, o.Text)
		}
	}
	return texts
}

func slackLimits(t *testing.T, r request) {
	t.Helper()
	blocks := slackBlocks(r)
	if len(blocks) == 0 || len(blocks) > 50 {
		t.Errorf("%d blocks", len(blocks))
	}
	within := func(what, s string, limit int) {
		t.Helper()
		if n := len(utf16.Encode([]rune(s))); n == 0 || n > limit {
			t.Errorf("%s has %d characters, limit %d", what, n, limit)
		}
	}
	within("text", r.form.Get("text"), 4000)
	for _, b := range blocks {
		objects := append(b.Fields, b.Elements...)
		if b.Text != nil {
			within(b.Type, b.Text.Text, map[string]int{"header": 150, "section": 3000}[b.Type])
			objects = append(objects, *b.Text)
		}
		if len(b.Fields) > 10 || len(b.Elements) > 10 {
			t.Errorf("%d fields, %d elements", len(b.Fields), len(b.Elements))
		}
		for _, f := range b.Fields {
			within("field", f.Text, 2000)
		}
		for _, o := range objects {
			if o.Type == "mrkdwn" && !o.Verbatim {
				t.Errorf("Slack would look for links and names in %q", o.Text)
			}
		}
	}
	want := map[string]string{"parse": "none", "unfurl_links": "false", "unfurl_media": "false"}
	for k, v := range want {
		if r.form.Get(k) != v {
			t.Errorf("%s = %q, want %q", k, r.form.Get(k), v)
		}
	}
}

func TestSlackConfig(t *testing.T) {
	if _, err := NewSlack(SlackConfig{}, http.DefaultClient); err == nil || !strings.Contains(err.Error(), "bot_token") {
		t.Errorf("no token: %v", err)
	}
}

func TestSlackNeedsAChannel(t *testing.T) {
	far := newFarEnd(t, says(`{"ok":true}`))
	s, err := NewSlack(SlackConfig{BotToken: NewSecret("x"), BaseURL: far.URL}, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), "", Message{Title: "T"}); !IsPermanent(err) || !strings.Contains(err.Error(), "channel") {
		t.Errorf("no channel: %v", err)
	}
}

func TestSlackKeepsNamesWhole(t *testing.T) {
	for _, s := range []string{"feature_x/do-it", "host:5000/a_b/c@sha256:00", "fix[web]: 1 (#12)", "alice@example.com"} {
		if got := slackText(s); got != s {
			t.Errorf("slackText(%q) = %q", s, got)
		}
	}
}
