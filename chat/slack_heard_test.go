package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

const signing = "signing-5ecret"

// slackEar is of the workspace T1.
func slackEar(t testing.TB, base string) *Slack {
	t.Helper()
	s, err := NewSlack(SlackConfig{BotToken: NewSecret(secret), SigningSecret: NewSecret(signing), BaseURL: base}, http.DefaultClient, func() time.Time { return time.Unix(1_700_000_000, 0) })
	if err != nil {
		t.Fatal(err)
	}
	s.team = "T1"
	return s
}

// from is a request of Slack's, signed age before it arrives.
func from(body string, age time.Duration) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	stamp := strconv.FormatInt(1_700_000_000-int64(age/time.Second), 10)
	r.Header.Set("X-Slack-Request-Timestamp", stamp)
	r.Header.Set("X-Slack-Signature", slackSignature(signing, stamp, []byte(body)))
	return r
}

// TestSlackSignature is the example of docs.slack.dev/authentication/verifying-requests-from-slack.
func TestSlackSignature(t *testing.T) {
	const body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	const want = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
	if got := slackSignature("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", []byte(body)); got != want {
		t.Errorf("the signature is %s, want %s", got, want)
	}
}

func TestSlackHearsOnlySlack(t *testing.T) {
	s := slackEar(t, "")
	body := url.Values{"team_id": {"T1"}, "user_id": {"U012"}, "text": {"status web"}, "response_url": {"https://hooks.slack.com/commands/1"}}.Encode()
	if h, err := s.Hear(t.Context(), from(body, 0), "commands", []byte(body)); err != nil || h.Heard == nil || h.Heard.User != "U012" || h.Heard.Text != "status web" || h.Heard.ID == "" {
		t.Fatalf("%+v, %v", h, err)
	}
	unsigned := from(body, 0)
	unsigned.Header.Del("X-Slack-Signature")
	deaf, err := NewSlack(SlackConfig{BotToken: NewSecret(secret)}, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for name, hear := range map[string]func() (Hearing, error){
		"old": func() (Hearing, error) {
			return s.Hear(t.Context(), from(body, 6*time.Minute), "commands", []byte(body))
		},
		"of the future": func() (Hearing, error) {
			return s.Hear(t.Context(), from(body, -6*time.Minute), "commands", []byte(body))
		},
		"changed":   func() (Hearing, error) { return s.Hear(t.Context(), from(body, 0), "commands", []byte(body+"&x=1")) },
		"unsigned":  func() (Hearing, error) { return s.Hear(t.Context(), unsigned, "commands", []byte(body)) },
		"no secret": func() (Hearing, error) { return deaf.Hear(t.Context(), from(body, 0), "commands", []byte(body)) },
	} {
		if h, err := hear(); !errors.Is(err, ErrNotGenuine) || h.Heard != nil {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

// TestSlackAnswersSlackAlone: whatever a request says, an answer goes nowhere but to Slack.
func TestSlackAnswersSlackAlone(t *testing.T) {
	s := slackEar(t, "")
	for _, address := range []string{"", "https://evil.example/", "http://hooks.slack.com/commands/1", "https://hooks.slack.com.evil.example/", "https://hooks.slack.com@evil.example/", "//hooks.slack.com/", "file:///etc/passwd", "https://hooks.slack.com:8443/"} {
		body := url.Values{"team_id": {"T1"}, "user_id": {"U012"}, "text": {"status web"}, "response_url": {address}}.Encode()
		if h, err := s.Hear(t.Context(), from(body, 0), "commands", []byte(body)); err == nil || h.Heard != nil {
			t.Errorf("%q: %+v", address, h)
		}
		if err := s.Answer(t.Context(), Back(address), Answer{Text: []Span{{Text: "x"}}}); !IsPermanent(err) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestSlackButtons(t *testing.T) {
	far := newFarEnd(t, says(`{"ok":true,"channel":"C012","ts":"1700000000.000100","view":{"id":"V1"}}`))
	s := slackEar(t, far.URL)
	m := Message{Title: "T", Buttons: []Button{
		{Label: "Approve", Value: "yes", Primary: true, Confirm: "Sure? <!channel>", Cancel: "Back"},
		{Label: "驳回", Value: "no", Danger: true, Reason: "原因", Cancel: "返回"}}}
	if _, err := s.Send(t.Context(), "C012", m); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/slack/buttons.json", pretty(t, far.last(t)))
	// Where nobody would hear a press there is no button.
	deaf, err := NewSlack(SlackConfig{BotToken: NewSecret(secret), BaseURL: far.URL}, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.Send(t.Context(), "C012", m); err != nil {
		t.Fatal(err)
	}
	if blocks := far.last(t).form.Get("blocks"); strings.Contains(blocks, "Approve") {
		t.Error(blocks)
	}

	// A press of the first one says its value; one of the second opens the question, whose answer says its value and the reason.
	back := far.URL + "/respond/1"
	act := func(action map[string]any, more map[string]any) Hearing {
		t.Helper()
		payload := map[string]any{"type": "block_actions", "team": map[string]any{"id": "T1"}, "user": map[string]any{"id": "U012", "team_id": "T1"}, "response_url": back, "trigger_id": "3.4", "actions": []any{action}}
		for k, v := range more {
			payload[k] = v
		}
		text, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		body := url.Values{"payload": {string(text)}}.Encode()
		h, err := s.Hear(t.Context(), from(body, 0), "actions", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	var rows []struct{ Elements []map[string]any }
	if err := json.Unmarshal([]byte(far.requests[0].form.Get("blocks")), &rows); err != nil {
		t.Fatal(err)
	}
	buttons := rows[len(rows)-1].Elements
	for _, b := range buttons { // as Slack does
		b["block_id"] = "b1"
	}
	h := act(buttons[0], nil)
	if h.Heard == nil || h.Heard.Value != "yes" || h.Heard.User != "U012" || h.Heard.Back != Back(back) {
		t.Errorf("%+v", h.Heard)
	}
	if h := act(buttons[1], nil); h.Heard != nil {
		t.Errorf("%+v", h.Heard)
	}
	asked := far.last(t)
	var opened struct {
		Trigger string         `json:"trigger_id"`
		View    map[string]any `json:"view"`
	}
	if err := json.Unmarshal([]byte(asked.body), &opened); err != nil || asked.path != "/views.open" || opened.Trigger != "3.4" {
		t.Fatalf("%+v, %v", asked, err)
	}
	view := opened.View
	view["state"] = map[string]any{"values": map[string]any{slackAsks: map[string]any{slackAsks: map[string]any{"type": "plain_text_input", "value": "too early"}}}}
	h = act(nil, map[string]any{"type": "view_submission", "response_url": "", "view": view, "actions": nil})
	if h.Heard == nil || h.Heard.Value != "no" || h.Heard.Reason != "too early" || h.Heard.Back != Back(back) {
		t.Errorf("%+v", h.Heard)
	}
	if h := act(map[string]any{"type": "button", "block_id": "b1", "action_id": "another's", "value": "yes"}, nil); h.Heard != nil {
		t.Errorf("a button of somebody else is heard: %+v", h.Heard)
	}
}

func TestSlackMentions(t *testing.T) {
	far := newFarEnd(t, says(`{"ok":true,"message_ts":"1700000000.000100"}`))
	s := slackEar(t, far.URL)
	hear := func(body string) Hearing {
		t.Helper()
		h, err := s.Hear(t.Context(), from(body, 0), "events", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if h := hear(`{"type":"url_verification","challenge":"abc"}`); h.Body != "abc" || h.Heard != nil {
		t.Errorf("%+v", h)
	}
	h := hear(`{"type":"event_callback","event_id":"Ev1","team_id":"T1","event":{"type":"app_mention","user":"U012","text":"<@U0BOT> lock web production &lt;b&gt; &amp;","channel":"C012","ts":"1.2","thread_ts":"1.1"}}`)
	if h.Heard == nil || h.Heard.ID != "Ev1" || h.Heard.Text != "lock web production <b> &" {
		t.Fatalf("%+v", h.Heard)
	}
	for _, body := range []string{`{"type":"event_callback","event_id":"Ev2","event":{"type":"app_mention","user":"U012","bot_id":"B1","text":"x","channel":"C012"}}`,
		`{"type":"event_callback","event_id":"Ev2","event":{"type":"message","user":"U012","text":"x","channel":"C012"}}`} {
		if h := hear(body); h.Heard != nil {
			t.Errorf("%s is heard", body)
		}
	}
	if err := s.Answer(t.Context(), h.Heard.Back, Answer{Text: []Span{{Text: "Yes."}}}); err != nil {
		t.Fatal(err)
	}
	if r := far.last(t); r.path != "/chat.postEphemeral" || r.form.Get("user") != "U012" || r.form.Get("channel") != "C012" || r.form.Get("thread_ts") != "1.1" || r.form.Get("text") != "Yes." {
		t.Errorf("%+v", r)
	}
}

func TestSlackAnswers(t *testing.T) {
	if m := slackAnswer(Answer{Text: []Span{{Text: "Use "}, {"/help", Code}, {Text: ", or\n- wait"}}}); m.Text != "Use `/help`, or\n- wait" {
		t.Errorf("%q", m.Text)
	}
}

func FuzzSlackHeard(f *testing.F) {
	payload := `{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U012"},"response_url":"https://hooks.slack.com/1","trigger_id":"1","actions":[{"type":"button","action_id":"shipmate/0","value":"x"}]}`
	f.Add("commands", "team_id=T1&user_id=U012&text=status+web&response_url=https%3A%2F%2Fhooks.slack.com%2F1")
	f.Add("actions", url.Values{"payload": {payload}}.Encode())
	f.Add("actions", url.Values{"payload": {`{"type":"view_submission","team":{"id":"T1"},"user":{"id":"U012"},"view":{"private_metadata":"{}","state":{"values":{}}}}`}}.Encode())
	f.Add("slash_commands", `{"team_id":"T1","user_id":"U012","text":"status","response_url":"https://hooks.slack.com/1","trigger_id":"1.2"}`)
	f.Add("interactive", payload)
	f.Add("events", `{"type":"event_callback","team_id":"T1","event":{"type":"app_mention","user":"U012","text":"<@U0> x"}}`)
	f.Fuzz(func(t *testing.T, what, body string) {
		s := slackEar(t, "https://127.0.0.1:1/")
		h, err := s.Hear(t.Context(), from(body, 0), what, []byte(body))
		if err != nil && h.Heard != nil {
			t.Errorf("both heard and refused: %+v, %v", h.Heard, err)
		}
		if h.Heard != nil && (h.Heard.ID == "" || !slackID.MatchString(h.Heard.User)) {
			t.Errorf("heard nobody: %+v", h.Heard)
		}
		if errors.Is(err, ErrNotGenuine) {
			t.Error(fmt.Errorf("a signed request: %w", err))
		}
		for _, kind := range []string{"slash_commands", "interactive", "events_api", what} {
			h, err := s.unpack(t.Context(), slackMessage{ID: "1", Type: kind, Payload: json.RawMessage(body)})
			if err != nil && (h.Heard != nil || strings.Contains(err.Error(), "panic")) {
				t.Errorf("by a socket: %+v, %v", h.Heard, err)
			}
			if h.Heard != nil && (h.Heard.ID == "" || !slackID.MatchString(h.Heard.User)) {
				t.Errorf("by a socket, heard nobody: %+v", h.Heard)
			}
		}
	})
}

// TestSlackHearsWhere: what is heard names the place where something can be said again, and what the person calls themselves.
func TestSlackHearsWhere(t *testing.T) {
	s := slackEar(t, "")
	form := func(v url.Values) string { return v.Encode() }
	const back = "https://hooks.slack.com/commands/1"
	for what, body := range map[string]string{
		"commands": form(url.Values{"team_id": {"T1"}, "user_id": {"U012"}, "user_name": {"mallory"}, "channel_id": {"C012"}, "text": {"link"}, "response_url": {back}}),
		"actions": form(url.Values{"payload": {`{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U012","name":"mallory"},"channel":{"id":"C012"},"response_url":"` + back +
			`","actions":[{"type":"button","block_id":"b","action_id":"shipmate/0","value":"v"}]}`}}),
		"events": `{"type":"event_callback","event_id":"Ev1","team_id":"T1","event":{"type":"app_mention","user":"U012","channel":"C012","text":"<@U0BOT> link"}}`,
	} {
		h, err := s.Hear(t.Context(), from(body, 0), what, []byte(body))
		if err != nil || h.Heard == nil || h.Heard.Channel != "C012" || h.Heard.Name != "mallory" && what != "events" {
			t.Errorf("%s: %+v, %v", what, h.Heard, err)
		}
	}
}

// TestSlackAddress: an address of ours can be followed, whatever stands before it.
func TestSlackAddress(t *testing.T) {
	const page = "https://ship.example.com/link/abc?x=1&y=2"
	m := slackAnswer(Answer{Text: []Span{{Text: "<!channel> here: "}, {Text: page, Kind: Address}}})
	if want := "&lt;!channel&gt; here: <https://ship.example.com/link/abc?x=1&amp;y=2|https://ship.example.com/link/abc?x=1&amp;y=2>"; strings.ReplaceAll(m.Text, "\u200b", "") != want {
		t.Errorf("%q", m.Text)
	}
	for _, no := range []string{"javascript:alert(1)", "https://a|b>", ""} {
		if m := slackAnswer(Answer{Text: []Span{{Text: no, Kind: Address}}}); strings.ContainsAny(m.Text, "<>") {
			t.Errorf("%q is shown as %q", no, m.Text)
		}
	}
}

// TestSlackKnowsItsWorkspace: an id is a person of one workspace, and in a channel that is shared there are people of others.
func TestSlackKnowsItsWorkspace(t *testing.T) {
	far := newFarEnd(t, says(`{"ok":true,"team_id":"T1","team":"acme","user":"shipmate"}`))
	s := slackEar(t, far.URL)
	s.team = ""
	press := func(team, user, action string) string {
		return url.Values{"payload": {`{"type":"block_actions","team":{"id":"` + team + `"},"user":{"id":"U012","team_id":"` + user + `"},"response_url":"` + far.URL + `/respond/1","trigger_id":"1",` +
			`"actions":[{"type":"button","block_id":"b","action_id":"` + action + `","value":"{}"}]}`}}.Encode()
	}
	command := func(team string) string {
		return url.Values{"team_id": {team}, "user_id": {"U012"}, "text": {"status"}, "response_url": {far.URL + "/respond/1"}}.Encode()
	}
	mention := func(team, of string) string {
		return `{"type":"event_callback","event_id":"Ev1","team_id":"` + team + `","event":{"type":"app_mention","user":"U012","text":"x","channel":"C012"` + of + `}}`
	}
	for _, tt := range []struct {
		what, body string
		foreign    bool
	}{
		{"commands", command("T1"), false}, {"commands", command("T2"), true},
		{"actions", press("T1", "T1", "shipmate/0"), false}, {"actions", press("T1", "T2", "shipmate/0"), true}, {"actions", press("T2", "T2", "shipmate/0"), true},
		{"actions", press("T1", "T2", "shipmate-reason/0"), true}, // and nobody is asked for a reason
		{"events", mention("T1", ""), false}, {"events", mention("T1", `,"team":"T2"`), true}, {"events", mention("T1", `,"team":"T1","user_team":"T2"`), true},
	} {
		h, err := s.Hear(t.Context(), from(tt.body, 0), tt.what, []byte(tt.body))
		if err != nil || h.Heard == nil || h.Heard.Foreign != tt.foreign {
			t.Errorf("%s: %+v, %v", tt.body, h.Heard, err)
		}
	}
	if n := len(far.requests); n != 1 {
		t.Errorf("Slack was asked %d times", n)
	}
	// What cannot be determined is not heard.
	none := command("")
	if h, err := s.Hear(t.Context(), from(none, 0), "commands", []byte(none)); err == nil || h.Heard != nil {
		t.Errorf("no workspace: %+v", h.Heard)
	}
	refuses := newFarEnd(t, says(`{"ok":false,"error":"internal_error"}`))
	lost := slackEar(t, refuses.URL)
	lost.team = ""
	body := command("T1")
	body = strings.Replace(body, url.QueryEscape(far.URL), url.QueryEscape(refuses.URL), 1)
	if h, err := lost.Hear(t.Context(), from(body, 0), "commands", []byte(body)); err == nil || h.Heard != nil {
		t.Errorf("an unknown workspace: %+v", h.Heard)
	}
}
