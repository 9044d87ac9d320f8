package chat

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"
)

type slackBlock struct {
	Type     string
	Text     *slackObject
	Fields   []slackObject
	Elements []slackObject
}

type slackObject struct {
	Type     string
	Text     slackWord
	Verbatim bool
	Value    string
	ActionID string `json:"action_id"`
	Confirm  *struct{ Title, Text, Confirm, Deny slackWord }
}

// slackWord is a text, or what stands in an object of its own.
type slackWord string

func (w *slackWord) UnmarshalJSON(raw []byte) error {
	var object struct{ Text string }
	if json.Unmarshal(raw, (*string)(w)) == nil {
		return nil
	}
	err := json.Unmarshal(raw, &object)
	*w = slackWord(object.Text)
	return err
}

// texts are all that is shown of an object.
func (o slackObject) texts() []string {
	all := []string{string(o.Text)}
	if c := o.Confirm; c != nil {
		all = append(all, string(c.Title), string(c.Text), string(c.Confirm), string(c.Deny))
	}
	return all
}

func slackBlocks(r request) []slackBlock {
	blocks := []byte(r.form.Get("blocks"))
	if a, ok := slackBody(r); ok {
		blocks = a.Blocks
	}
	if len(blocks) == 0 { // of an answer
		return nil
	}
	var all []slackBlock
	if err := json.Unmarshal(blocks, &all); err != nil {
		panic("not blocks: " + r.body)
	}
	return all
}

// slackBody is an answer that is sent as JSON; what uses the API is a form.
func slackBody(r request) (a struct {
	Text     string
	Type     string `json:"response_type"`
	Blocks   json.RawMessage
	Replaces bool `json:"replace_original"`
}, ok bool) {
	return a, json.Unmarshal([]byte(r.body), &a) == nil
}

func slackTexts(r request) []string {
	texts := []string{r.form.Get("text")}
	if a, ok := slackBody(r); ok {
		texts[0] = a.Text
	}
	for _, b := range slackBlocks(r) {
		if b.Text != nil {
			texts = append(texts, string(b.Text.Text))
		}
		for _, o := range append(b.Fields, b.Elements...) {
			texts = append(texts, o.texts()...)
		}
	}
	return texts
}

func slackLimits(t *testing.T, r request) {
	t.Helper()
	if len(slackBlocks(r)) == 0 {
		t.Error("no blocks")
	}
	slackAnswerLimits(t, r)
	want := map[string]string{"unfurl_links": "false", "unfurl_media": "false"}
	for k, v := range want {
		if r.form.Get(k) != v {
			t.Errorf("%s = %q, want %q", k, r.form.Get(k), v)
		}
	}
}

// slackAnswerLimits are those of an answer, which is text alone where it has no buttons.
func slackAnswerLimits(t *testing.T, r request) {
	t.Helper()
	blocks := slackBlocks(r)
	if len(blocks) > 50 {
		t.Errorf("%d blocks", len(blocks))
	}
	within := func(what string, word slackWord, limit int) {
		t.Helper()
		s := string(word)
		if n := len(utf16.Encode([]rune(s))); n == 0 || n > limit {
			t.Errorf("%s has %d characters, limit %d", what, n, limit)
		}
	}
	within("text", slackWord(slackTexts(r)[0]), 4000)
	buttons := 0
	for _, b := range blocks {
		objects := append(b.Fields, b.Elements...)
		if b.Text != nil {
			within(b.Type, b.Text.Text, map[string]int{"header": 150, "section": 3000}[b.Type])
			objects = append(objects, *b.Text)
		}
		if b.Type == "actions" {
			if buttons += len(b.Elements); len(b.Elements) > 5 || buttons > 25 {
				t.Errorf("%d buttons in a row, %d in all", len(b.Elements), buttons)
			}
			for _, e := range b.Elements {
				within("label", e.Text, 24)
				within("value", slackWord(e.Value), 2000)
				if c := e.Confirm; c != nil {
					within("question's title", c.Title, 100)
					within("question", c.Text, 300)
					within("yes", c.Confirm, 30)
					within("no", c.Deny, 30)
				}
			}
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
	if a, ok := slackBody(r); ok && (a.Type != "ephemeral" || a.Replaces) {
		t.Errorf("others see it, or it takes another's place: %s", r.body)
	} else if !ok && r.form.Get("parse") != "none" {
		t.Errorf("parse = %q", r.form.Get("parse"))
	}
}

func slackResponse(base string) Back { return Back(base + "/respond/" + secret) }

func slackMention(string) Back { return "C012 U012AB 1700000000.000100" }

// slackAt answers a command in the response.
func slackAt(t *testing.T, s Service) func(Answer) string {
	slack := s.(*Slack)
	slack.team = "T1"
	h, err := slack.hearCommand(t.Context(), url.Values{"team_id": {"T1"}, "user_id": {"U012"}, "response_url": {"https://hooks.slack.com/commands/1"}}.Get)
	if err != nil {
		t.Fatal(err)
	}
	return h.At
}

// slackResponseErrors are those of a response_url, which knows only the status.
var slackResponseErrors = []errorCase{
	{name: "rate", status: 429, header: map[string]string{"Retry-After": "7"}, delay: 7 * time.Second, hint: "rate limited"},
	{name: "rate without delay", status: 429, delay: time.Minute, hint: "429"},
	{name: "used", status: 404, permanent: true, body: secret, hint: "too late"},
	{name: "expired", status: 410, permanent: true, body: secret, hint: "too late"},
	{name: "bad gateway", status: 502, mayArrive: true, body: secret, hint: "502"},
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

// TestSlackThread: a message to a message is a reply to it, which the channel sees where it is to.
func TestSlackThread(t *testing.T) {
	far := newFarEnd(t, says(`{"ok":true,"channel":"C012","ts":"2.0","messages":[{"ts":"1.0"},{"ts":"2.0","thread_ts":"1.0","metadata":{"event_type":"shipmate_message","event_payload":{"key":"run/1 failed"}}}]}`))
	s, err := NewSlack(SlackConfig{BotToken: NewSecret(secret), BaseURL: far.URL}, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, aloud := range []bool{false, true} {
		ref, err := s.Send(t.Context(), "C012:1.0", Message{Title: "T", Aloud: aloud})
		if err != nil || ref != "C012:2.0" {
			t.Fatal(ref, err)
		}
		if f := far.last(t).form; f.Get("channel") != "C012" || f.Get("thread_ts") != "1.0" || (f.Get("reply_broadcast") == "true") != aloud {
			t.Errorf("aloud %v: %v", aloud, f)
		}
	}
	if _, err := s.Send(t.Context(), "C012", Message{Title: "T", Aloud: true}); err != nil {
		t.Fatal(err)
	}
	if f := far.last(t).form; f.Has("thread_ts") || f.Has("reply_broadcast") {
		t.Errorf("to the channel: %v", f)
	}
	ref, err := s.Find(t.Context(), "C012:1.0", "run/1 failed", time.Unix(1700000000, 0))
	if r := far.last(t); ref != "C012:2.0" || err != nil || r.path != "/conversations.replies" || r.form.Get("ts") != "1.0" || r.form.Get("channel") != "C012" || r.form.Get("include_all_metadata") != "1" {
		t.Errorf("%q, %v: %+v", ref, err, r)
	}
	gone := newFarEnd(t, says(`{"ok":false,"error":"thread_not_found"}`))
	if s, err = NewSlack(SlackConfig{BotToken: NewSecret(secret), BaseURL: gone.URL}, http.DefaultClient, time.Now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), "C012:1.0", Message{Title: "T"}); !IsPermanent(err) {
		t.Errorf("a thread that is gone: %v", err)
	}
}

// TestSlackManifest: the app asks for the scopes that our calls need, and for no others.
func TestSlackManifest(t *testing.T) {
	// What each method needs (docs.slack.dev/reference/methods); an app-level token has scopes of its own.
	needs := map[string]string{"chat.postMessage": "chat:write", "chat.update": "chat:write", "chat.postEphemeral": "chat:write", "views.open": "", "auth.test": "",
		"conversations.history": "channels:history", "conversations.replies": "channels:history", "apps.connections.open": ""}
	want := map[string]bool{"commands": true, "app_mentions:read": true} // what is heard
	sources, err := filepath.Glob("slack*.go")
	if err != nil {
		t.Fatal(err)
	}
	methods := regexp.MustCompile(`\.([A-Z]\w+)Context\(`)
	called := map[string]string{"PostMessage": "chat.postMessage", "UpdateMessage": "chat.update", "PostEphemeral": "chat.postEphemeral", "OpenView": "views.open", "AuthTest": "auth.test",
		"GetConversationHistory": "conversations.history", "GetConversationReplies": "conversations.replies", "StartSocketMode": "apps.connections.open", "PostWebhookCustomHTTP": ""}
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range methods.FindAllSubmatch(source, -1) {
			method, known := called[string(m[1])]
			if m := string(m[1]); !known && m != "Dial" {
				t.Errorf("%s calls %s: which scope does it need?", file, m)
			}
			if scope := needs[method]; scope != "" {
				want[scope] = true
			}
		}
	}
	raw, err := os.ReadFile("slack-app.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var app struct {
		OAuth struct {
			Scopes struct{ Bot []string }
		} `yaml:"oauth_config"`
		Settings struct {
			Events struct {
				Bot []string `yaml:"bot_events"`
			} `yaml:"event_subscriptions"`
		}
	}
	if err := yaml.Unmarshal(raw, &app); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(slices.Values(app.OAuth.Scopes.Bot)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
		t.Errorf("it asks for %v, and needs %v", got, want)
	}
	if !slices.Equal(app.Settings.Events.Bot, []string{"app_mention"}) {
		t.Errorf("it is told of %v", app.Settings.Events.Bot)
	}
	for _, scope := range slackScopes { // what the doctor looks for
		if !want[scope.name] {
			t.Errorf("nothing needs %s", scope.name)
		}
	}
}
