package chat

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
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
	if _, err := NewSlack(SlackConfig{}, http.DefaultClient, time.Now); err == nil || !strings.Contains(err.Error(), "bot_token") {
		t.Errorf("no token: %v", err)
	}
}

func TestSlackNeedsAChannel(t *testing.T) {
	far := newFarEnd(t, says(`{"ok":true}`))
	s, err := NewSlack(SlackConfig{BotToken: NewSecret("x"), BaseURL: far.URL}, http.DefaultClient, time.Now)
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

func TestSlackFind(t *testing.T) {
	message := func(ts, event, key string) string {
		return `{"type":"message","ts":"` + ts + `","metadata":{"event_type":"` + event + `","event_payload":{"key":"` + key + `"}}}`
	}
	far := newFarEnd(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		answer := `{"ok":true,"messages":[{"type":"message","ts":"9.0"},` + message("8.0", "other_app", "run/1") + `],"response_metadata":{"next_cursor":"older"}}`
		if r.URL.Path != "/conversations.history" {
			t.Error(r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(answer))
	})
	s, err := NewSlack(SlackConfig{BotToken: NewSecret(secret), BaseURL: far.URL}, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	since := time.Unix(1700000000, 0)
	if ref, err := s.Find(t.Context(), "C012", "run/1", since); ref != "" || !errors.Is(err, ErrCannotFind) { // pages without end
		t.Errorf("%q, %v", ref, err)
	}
	if n := len(far.requests); n != slackPages {
		t.Errorf("%d pages were read", n)
	}
	for body, want := range map[string]struct {
		ref  Ref
		cant bool
		fail bool
	}{
		`{"ok":true,"messages":[` + message("9.0", slackMetadata, "run/2") + `,` + message("8.0", slackMetadata, "run/1") + `]}`: {ref: "C012:8.0"},
		`{"ok":true,"messages":[` + message("9.0", slackMetadata, "run/2") + `]}`:                                                {},
		`{"ok":false,"error":"missing_scope"}`:                                                                                   {cant: true, fail: true},
		`{"ok":false,"error":"internal_error"}`:                                                                                  {fail: true},
	} {
		far := newFarEnd(t, says(body))
		s, err := NewSlack(SlackConfig{BotToken: NewSecret(secret), BaseURL: far.URL}, http.DefaultClient, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := s.Find(t.Context(), "C012", "run/1", since)
		if ref != want.ref || errors.Is(err, ErrCannotFind) != want.cant || (err != nil) != want.fail {
			t.Errorf("%s: %q, %v", body, ref, err)
		}
		if f := far.last(t).form; f.Get("oldest") != "1700000000.000000" || f.Get("include_all_metadata") != "1" {
			t.Errorf("asked with %v", f)
		}
	}
}

// TestSlackNamesItsMessages in a way that only Find sees.
func TestSlackNamesItsMessages(t *testing.T) {
	far := newFarEnd(t, says(`{"ok":true,"channel":"C012","ts":"1.0"}`))
	s, err := NewSlack(SlackConfig{BotToken: NewSecret(secret), BaseURL: far.URL}, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), "C012", Message{Title: "T", Key: "run/1"}); err != nil {
		t.Fatal(err)
	}
	f := far.last(t).form
	if f.Get("metadata") != `{"event_type":"shipmate_message","event_payload":{"key":"run/1"}}` || strings.Contains(f.Get("text")+f.Get("blocks"), "run/1") {
		t.Error(f)
	}
}
