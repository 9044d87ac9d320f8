package sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of Slack's interactivity: "Handling user interaction in your Slack apps" and "Modals" of its documentation.
const (
	slackAnswerTime  = 3 * time.Second  // for a request to the app, and for a modal after its trigger
	slackResponses   = 5                // answers by one response_url
	slackResponseAge = 30 * time.Minute // how long it is good for
)

// slackApp is the app on the other side: where it is told what people do.
type slackApp struct {
	base, url, secret string
	client            http.Client
	next              int
	responses         map[string]*slackResponse // by the last part of the response_url
	triggers          map[string]time.Time      // until when a modal may be opened by them
	views             map[string]slackView      // what each user looks at
}

type slackResponse struct {
	user, channel string
	until         time.Time
	left          int
}

type slackView struct {
	Metadata string `json:"private_metadata"`
	Title    slackText
	Submit   slackText
	Close    slackText
	Blocks   []struct {
		Type    string
		BlockID string `json:"block_id"`
		Element struct {
			Type     string
			ActionID string `json:"action_id"`
		}
	}
}

// SetApp gives the workspace's app request URLs below address, as /commands, /actions and /events, and its signing secret. base is
// where this workspace is reached.
func (s *Slack) SetApp(base, address, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.app == nil {
		s.app = &slackApp{client: http.Client{Timeout: slackAnswerTime}, responses: map[string]*slackResponse{}, triggers: map[string]time.Time{}, views: map[string]slackView{}}
	}
	s.app.base, s.app.url, s.app.secret = base, address, secret
}

// Command has a user type "/shipmate text" in a channel, and returns what Slack shows that user as the answer in the response; an error
// is what Slack shows where there was none in time.
func (s *Slack) Command(user, channel, text string) (answer string, err error) {
	response, trigger := s.interaction(user, channel)
	s.mu.Lock()
	name := s.users[user]
	s.mu.Unlock()
	form := url.Values{"command": {"/shipmate"}, "text": {slackEscaped.Replace(text)}, "user_id": {user}, "user_name": {name}, "channel_id": {channel},
		"team_id": {"T0TEAM"}, "api_app_id": {"A0APP"}, "response_url": {response}, "trigger_id": {trigger}}
	body, err := s.call("commands", "application/x-www-form-urlencoded", form.Encode())
	if err != nil || body == "" {
		return "", err
	}
	said, reason := readSlackAnswer([]byte(body))
	if reason != "" {
		return "", fmt.Errorf("the answer %q: %s", body, reason)
	}
	s.show(user, channel, said)
	return said.Text, nil
}

// Mention has a user mention the app in a channel.
func (s *Slack) Mention(user, channel, text string) error {
	s.mu.Lock()
	s.app.next++
	id := s.app.next
	s.mu.Unlock()
	body, err := json.Marshal(object{"type": "event_callback", "event_id": fmt.Sprintf("Ev%d", id), "team_id": "T0TEAM",
		"event": object{"type": "app_mention", "user": user, "channel": channel, "text": "<@U0BOT> " + slackEscaped.Replace(text), "ts": "1.0"}})
	if err != nil {
		return err
	}
	_, err = s.call("events", "application/json", string(body))
	return err
}

// Press has a user press the button with that label under the newest message that has one, of those that they see in the channel; where
// it asks whether they are sure, they are. A modal that the app opens is then what the user looks at.
func (s *Slack) Press(user, channel, label string) error {
	s.mu.Lock()
	var action object
	var ts string
	for _, m := range s.channels[channel].messages {
		if m.EphemeralFor != "" && m.EphemeralFor != user {
			continue
		}
		for _, b := range m.Buttons() {
			if b.Label == label {
				action, ts = object{"type": "button", "block_id": "b1", "action_id": b.ActionID, "value": b.Value, "action_ts": fmt.Sprint(s.Now().Unix())}, m.TS
			}
		}
	}
	s.mu.Unlock()
	if action == nil {
		return fmt.Errorf("no message has a button %q", label)
	}
	response, trigger := s.interaction(user, channel)
	return s.interact(object{"type": "block_actions", "user": object{"id": user, "team_id": "T0TEAM"}, "team": object{"id": "T0TEAM"}, "channel": object{"id": channel},
		"container": object{"type": "message", "message_ts": ts}, "response_url": response, "trigger_id": trigger, "actions": []object{action}})
}

// SlackButton is a button under a message.
type SlackButton struct{ Label, ActionID, Value string }

// Buttons are those under the message.
func (m SlackMessage) Buttons() (all []SlackButton) {
	var blocks []slackBlock
	_ = json.Unmarshal(m.Blocks, &blocks) // a message without blocks has no buttons
	for _, b := range blocks {
		for _, e := range b.Elements {
			var text slackText
			if e.Type == "button" && json.Unmarshal(e.Text, &text) == nil {
				all = append(all, SlackButton{text.Text, e.ActionID, e.Value})
			}
		}
	}
	return all
}

// Submit has a user fill the only field of the modal that they look at, and send it.
func (s *Slack) Submit(user, text string) error {
	s.mu.Lock()
	v, ok := s.app.views[user]
	delete(s.app.views, user)
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s looks at no modal", user)
	}
	field := v.Blocks[0]
	_, trigger := s.interaction(user, "")
	return s.interact(object{"type": "view_submission", "user": object{"id": user, "team_id": "T0TEAM"}, "team": object{"id": "T0TEAM"}, "trigger_id": trigger, "view": object{
		"type": "modal", "private_metadata": v.Metadata,
		"state": object{"values": object{field.BlockID: object{field.Element.ActionID: object{"type": field.Element.Type, "value": text}}}}}})
}

func (s *Slack) interact(payload object) error {
	text, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	_, err = s.call("actions", "application/x-www-form-urlencoded", url.Values{"payload": {string(text)}}.Encode())
	return err
}

var slackEscaped = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// interaction makes the addresses that come with what a user does.
func (s *Slack) interaction(user, channel string) (response, trigger string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app.next++
	id := fmt.Sprint(s.app.next)
	now := s.Now()
	s.app.responses[id] = &slackResponse{user, channel, now.Add(slackResponseAge), slackResponses}
	s.app.triggers[id] = now.Add(slackAnswerTime)
	return s.app.base + "/respond/" + id, id
}

// call sends the app a signed request, or where Socket Mode is on the same by a socket.
func (s *Slack) call(what, contentType, body string) (answer string, err error) {
	s.mu.Lock()
	app, now, socket := s.app, s.Now(), s.appToken != ""
	s.mu.Unlock()
	if socket {
		return s.envelope(what, body)
	}
	r, err := http.NewRequest(http.MethodPost, app.url+"/"+what, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	stamp := fmt.Sprint(now.Unix())
	mac := hmac.New(sha256.New, []byte(app.secret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body) //nolint:errcheck // a hash takes everything
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Slack-Request-Timestamp", stamp)
	r.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := app.client.Do(r)
	if err != nil {
		return "", fmt.Errorf("operation_timeout: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the app answers %d: %s", resp.StatusCode, text)
	}
	return string(text), err
}

// respond takes an answer by a response_url.
func (s *Slack) respond(w http.ResponseWriter, r *http.Request, id string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	said, reason := readSlackAnswer(body)
	s.mu.Lock()
	response := (*slackResponse)(nil)
	if s.app != nil {
		response = s.app.responses[id]
	}
	status := http.StatusOK
	switch {
	case s.down:
		status = http.StatusServiceUnavailable
	case response == nil || response.left == 0 || s.Now().After(response.until):
		status = http.StatusNotFound
	case err != nil || reason != "":
		status = http.StatusBadRequest
	default:
		response.left--
	}
	s.mu.Unlock()
	if status != http.StatusOK {
		http.Error(w, "used_url", status)
		return
	}
	s.show(response.user, response.channel, said)
	io.WriteString(w, "ok") //nolint:errcheck // the client has gone
}

// slackAnswer is an answer to what a user did, in the response or by a response_url.
type slackAnswer struct {
	Text   string
	Blocks json.RawMessage
	Type   string `json:"response_type"`
}

// readSlackAnswer reads an answer; reason is what is wrong with it.
func readSlackAnswer(body []byte) (said slackAnswer, reason string) {
	if json.Unmarshal(body, &said) != nil {
		return said, "invalid_payload"
	}
	return said, checkSlackMessage(&SlackMessage{Text: said.Text, Blocks: said.Blocks}, "")
}

// show puts an answer into a channel, for the user alone unless its type is in_channel.
func (s *Slack) show(user, channel string, said slackAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channel]
	if c == nil {
		return // a direct message
	}
	m := &SlackMessage{Channel: channel, Text: said.Text, Blocks: said.Blocks, EphemeralFor: user}
	if said.Type == "in_channel" {
		m.EphemeralFor = ""
	}
	c.messages = append(c.messages, m)
}

// openView is views.open. mu is held.
func (s *Slack) openView(arguments url.Values) object {
	until, known := s.app.triggers[arguments.Get("trigger_id")]
	if !known || s.Now().After(until) {
		return slackError("expired_trigger_id")
	}
	delete(s.app.triggers, arguments.Get("trigger_id"))
	var v slackView
	if json.Unmarshal([]byte(arguments.Get("view")), &v) != nil || !v.Title.valid(24) || !v.Submit.valid(24) || !v.Close.valid(24) || len(v.Metadata) > 3000 || len(v.Blocks) == 0 {
		return slackError("invalid_arguments")
	}
	s.app.views[s.app.responsesUser(arguments.Get("trigger_id"))] = v
	return object{"ok": true, "view": object{"id": "V1"}}
}

// responsesUser is the user of the interaction with that number.
func (a *slackApp) responsesUser(id string) string {
	if r := a.responses[id]; r != nil {
		return r.user
	}
	return ""
}
