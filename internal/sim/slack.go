package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of Slack's Web API: "chat.postMessage", "Rate limits" and "Block Kit
// reference" of its documentation. Lengths are in characters.
const (
	slackTextLength   = 40_000
	slackBlocks       = 50
	slackMessageBurst = 5 // Slack documents one a second and "short bursts"
)

// Slack is a simulated Slack workspace with one app: an [http.Handler] for the
// Web API's chat.postMessage, chat.update, chat.postEphemeral, auth.test,
// users.info, conversations.info, conversations.history, conversations.replies, views.open and apps.connections.open, below / and
// /api/, in form and JSON encoding, and for Socket Mode. With [Slack.SetApp] people can speak to the app. Its methods may be called at
// any time.
type Slack struct {
	// Now is the clock for timestamps and the rate limit.
	Now func() time.Time
	// OnMessage, if not nil, is told each message that is posted or changed.
	OnMessage func(SlackMessage)

	token string
	app   *slackApp // nil: no app hears

	mu       sync.Mutex
	channels map[string]*slackChannel
	users    map[string]string // id → name
	lastTS   int64             // microseconds, so that each timestamp is new
	limited  bool
	failing  []string
	down     bool
	readable bool
	scopes   string // what auth.test tells; empty: nothing

	appToken    string // of Socket Mode; empty: it is off
	tickets     int
	ticketsOpen map[string]bool
	sockets     []*slackSocket
	leaving     []*slackSocket // those of them that were told that they end
	socketsMade int
	envelopes   map[string]chan slackAck // by their ids
	loseAcks    int
}

type slackChannel struct {
	messages []*SlackMessage
	credit   float64 // messages that may be posted at once
	counted  time.Time
}

// SlackMessage is a message as it stands.
type SlackMessage struct {
	Channel, TS, ThreadTS string
	Text                  string
	Blocks                json.RawMessage // nil: none
	Metadata              json.RawMessage // nil: none
	EphemeralFor          string          // the user who alone sees it; empty for everyone
	Broadcast             bool            // a reply in a thread that the channel sees too
	Edits                 int
}

// NewSlack makes a workspace where the app has the bot token and is a member of
// the channels, given by id.
func NewSlack(botToken string, channels ...string) *Slack {
	s := &Slack{Now: time.Now, token: botToken, channels: map[string]*slackChannel{}, users: map[string]string{"U0BOT": "shipmate"}}
	for _, id := range channels {
		s.channels[id] = &slackChannel{credit: slackMessageBurst}
	}
	return s
}

// AddUser makes a user.
func (s *Slack) AddUser(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[id] = name
}

// Limit turns the rate limit on: a burst of five messages in a channel, then one
// a second; past it 429 with Retry-After.
func (s *Slack) Limit(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limited = on
}

// Readable gives the app the scope to read channels, or takes it.
func (s *Slack) Readable(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readable = on
}

// SetScopes says which scopes the token has, as in "chat:write,channels:history".
func (s *Slack) SetScopes(scopes string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes = scopes
}

// FailNext refuses the next n calls with the error, such as "internal_error".
func (s *Slack) FailNext(reason string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = append(s.failing, slices.Repeat([]string{reason}, n)...)
}

// Down makes Slack answer every request with 503.
func (s *Slack) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Messages returns the channel's messages as they stand, oldest first. What a user is told alone is in one with the user's id.
func (s *Slack) Messages(channel string) []SlackMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []SlackMessage
	if c := s.channels[channel]; c != nil {
		for _, m := range c.messages {
			all = append(all, *m)
		}
	}
	return all
}

// ServeHTTP serves the Web API.
func (s *Slack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api"), "/")
	if id, ok := strings.CutPrefix(method, "respond/"); ok {
		s.respond(w, r, id)
		return
	}
	if method == "link/" {
		s.link(w, r)
		return
	}
	arguments, err := slackArguments(r)
	s.mu.Lock()
	status, answer, shown := http.StatusOK, slackError("invalid_json"), (*SlackMessage)(nil)
	if err == nil {
		status, answer, shown = s.serve(method, r, arguments)
		if s.scopes != "" {
			w.Header().Set("X-OAuth-Scopes", s.scopes)
		}
	}
	var copied SlackMessage
	if shown != nil {
		copied = *shown
	}
	s.mu.Unlock()
	if shown != nil && s.OnMessage != nil {
		s.OnMessage(copied)
	}
	if wait, ok := answer["retry_after"].(int); ok {
		w.Header().Set("Retry-After", strconv.Itoa(wait))
		delete(answer, "retry_after")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the client has gone
}

// slackArguments reads a form or a JSON object; what is not a string in JSON is
// kept as JSON, as forms have it.
func slackArguments(r *http.Request) (url.Values, error) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		err := r.ParseForm()
		return r.Form, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if len(body) == 0 { // no arguments
		return url.Values{}, nil
	}
	var properties map[string]json.RawMessage
	if err := json.Unmarshal(body, &properties); err != nil {
		return nil, err
	}
	values := url.Values{}
	for name, raw := range properties {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		values.Set(name, text)
	}
	return values, nil
}

func slackError(reason string) object { return object{"ok": false, "error": reason} }

// serve runs a method of the Web API; shown is a message that has appeared or
// changed. mu is held.
func (s *Slack) serve(method string, r *http.Request, arguments url.Values) (status int, answer object, shown *SlackMessage) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "" {
		token = arguments.Get("token")
	}
	refuse := func(reason string) (int, object, *SlackMessage) { return http.StatusOK, slackError(reason), nil }
	switch {
	case s.down:
		return http.StatusServiceUnavailable, slackError("service_unavailable"), nil
	case token == "":
		return refuse("not_authed")
	case method == "apps.connections.open":
		return http.StatusOK, s.openSocket(r, token), nil
	case token != s.token:
		return refuse("invalid_auth")
	case len(s.failing) > 0:
		reason := s.failing[0]
		s.failing = s.failing[1:]
		return refuse(reason)
	}
	channel := s.channels[arguments.Get("channel")]
	if user := arguments.Get("channel"); channel == nil && s.users[user] != "" && method == "chat.postMessage" {
		channel = &slackChannel{credit: slackMessageBurst} // the app's own conversation with that user
		s.channels[user] = channel
	}
	if channel == nil && (strings.HasPrefix(method, "chat.") || strings.HasPrefix(method, "conversations.")) {
		return refuse("channel_not_found")
	}
	switch method {
	case "views.open":
		if s.app == nil {
			return refuse("invalid_trigger_id")
		}
		return http.StatusOK, s.openView(arguments), nil
	case "auth.test":
		return http.StatusOK, object{
			"ok": true, "url": "https://acme.slack.com/", "team": "acme", "team_id": "T0TEAM", "user": "shipmate", "user_id": "U0BOT", "bot_id": "B0BOT",
		}, nil
	case "users.info":
		id := arguments.Get("user")
		if s.users[id] == "" {
			return refuse("user_not_found")
		}
		return http.StatusOK, object{"ok": true, "user": object{
			"id": id, "team_id": "T0TEAM", "name": s.users[id], "deleted": false, "real_name": s.users[id], "is_bot": id == "U0BOT",
			"profile": object{"display_name": s.users[id], "real_name": s.users[id]},
		}}, nil
	case "conversations.info":
		id := arguments.Get("channel")
		return http.StatusOK, object{"ok": true, "channel": object{
			"id": id, "name": strings.ToLower(id), "is_channel": true, "is_member": true, "is_archived": false, "is_private": false,
		}}, nil
	case "conversations.history", "conversations.replies":
		if !s.readable {
			return refuse("missing_scope")
		}
		if thread := arguments.Get("ts"); method == "conversations.replies" && !channel.has(thread) {
			return refuse("thread_not_found")
		}
		return s.history(channel, arguments, method == "conversations.replies")
	case "chat.postMessage", "chat.postEphemeral", "chat.update":
		message := &SlackMessage{Channel: arguments.Get("channel"), ThreadTS: arguments.Get("thread_ts"), Text: arguments.Get("text"), Broadcast: arguments.Get("reply_broadcast") == "true"}
		if blocks := arguments.Get("blocks"); blocks != "" {
			message.Blocks = json.RawMessage(blocks)
		}
		if metadata := arguments.Get("metadata"); metadata != "" {
			message.Metadata = json.RawMessage(metadata)
		}
		if reason := checkSlackMessage(message, arguments.Get("attachments")); reason != "" {
			return refuse(reason)
		}
		if method == "chat.update" {
			return s.update(channel, arguments.Get("ts"), message)
		}
		return s.post(channel, method, arguments.Get("user"), message)
	}
	return refuse("unknown_method")
}

// has tells whether there is a message that everybody sees.
func (c *slackChannel) has(ts string) bool {
	return slices.ContainsFunc(c.messages, func(m *SlackMessage) bool { return m.TS == ts && ts != "" && m.EphemeralFor == "" })
}

func (s *Slack) post(channel *slackChannel, method, user string, message *SlackMessage) (int, object, *SlackMessage) {
	now := s.Now()
	if s.limited {
		if !channel.counted.IsZero() {
			channel.credit = min(channel.credit+now.Sub(channel.counted).Seconds(), slackMessageBurst)
		}
		channel.counted = now
		if channel.credit < 1 {
			answer := slackError("ratelimited")
			answer["retry_after"] = max(int(math.Ceil(1-channel.credit)), 1)
			return http.StatusTooManyRequests, answer, nil
		}
		channel.credit--
	}
	if message.ThreadTS != "" && method == "chat.postMessage" && !channel.has(message.ThreadTS) {
		return http.StatusOK, slackError("thread_not_found"), nil
	}
	if method == "chat.postEphemeral" {
		if s.users[user] == "" {
			return http.StatusOK, slackError("user_not_in_channel"), nil
		}
		message.EphemeralFor = user
	}
	s.lastTS = max(now.UnixMicro(), s.lastTS+1)
	message.TS = fmt.Sprintf("%d.%06d", s.lastTS/1e6, s.lastTS%1e6)
	channel.messages = append(channel.messages, message)
	if method == "chat.postEphemeral" {
		return http.StatusOK, object{"ok": true, "message_ts": message.TS}, message
	}
	return http.StatusOK, object{"ok": true, "channel": message.Channel, "ts": message.TS, "message": message.wire()}, message
}

func (s *Slack) update(channel *slackChannel, ts string, changed *SlackMessage) (int, object, *SlackMessage) {
	for _, m := range channel.messages {
		if m.TS == ts && m.EphemeralFor == "" {
			m.Text, m.Blocks, m.Metadata, m.Edits = changed.Text, changed.Blocks, changed.Metadata, m.Edits+1
			return http.StatusOK, object{"ok": true, "channel": m.Channel, "ts": ts, "text": m.Text, "message": m.wire()}, m
		}
	}
	return http.StatusOK, slackError("message_not_found"), nil
}

// history lists the channel's messages, or with thread one of them and its replies, newest first (Slack lists replies oldest first;
// nobody here relies on either), a page at a time; the cursor is the timestamp that the next page begins before.
func (s *Slack) history(channel *slackChannel, arguments url.Values, thread bool) (int, object, *SlackMessage) {
	limit := min(max(number(arguments.Get("limit"), 100), 1), 999)
	messages, next := []object{}, ""
	for _, m := range slices.Backward(channel.messages) {
		if in := m.ThreadTS != "" && !m.Broadcast; !thread && in || thread && m.TS != arguments.Get("ts") && m.ThreadTS != arguments.Get("ts") {
			continue
		}
		if m.EphemeralFor != "" || m.TS <= arguments.Get("oldest") || arguments.Get("cursor") != "" && m.TS >= arguments.Get("cursor") {
			continue
		}
		if len(messages) == limit {
			next = messages[limit-1]["ts"].(string)
			break
		}
		o := m.wire()
		if m.Metadata != nil && arguments.Get("include_all_metadata") == "1" {
			o["metadata"] = m.Metadata
		}
		messages = append(messages, o)
	}
	return http.StatusOK, object{"ok": true, "messages": messages, "has_more": next != "", "response_metadata": object{"next_cursor": next}}, nil
}

func (m *SlackMessage) wire() object {
	o := object{"type": "message", "user": "U0BOT", "bot_id": "B0BOT", "text": m.Text, "ts": m.TS}
	if m.Blocks != nil {
		o["blocks"] = m.Blocks
	}
	if m.ThreadTS != "" {
		o["thread_ts"] = m.ThreadTS
	}
	return o
}

func checkSlackMessage(m *SlackMessage, attachments string) (reason string) {
	if m.Text == "" && m.Blocks == nil && attachments == "" {
		return "no_text"
	}
	if utf8.RuneCountInString(m.Text) > slackTextLength {
		return "msg_too_long"
	}
	if m.Blocks == nil {
		return ""
	}
	var blocks []slackBlock
	if json.Unmarshal(m.Blocks, &blocks) != nil {
		return "invalid_blocks_format"
	}
	if len(blocks) > slackBlocks || slices.ContainsFunc(blocks, func(b slackBlock) bool { return !b.valid() }) {
		return "invalid_blocks"
	}
	return ""
}

type slackText struct{ Type, Text string }

type slackBlock struct {
	Type     string
	Text     *slackText
	Fields   []slackText
	Elements []struct {
		Type     string
		ActionID string `json:"action_id"`
		Value    string
		Text     json.RawMessage // an object in a button, a string in a context
	}
}

func (t *slackText) valid(most int) bool {
	n := utf8.RuneCountInString(t.Text)
	return (t.Type == "plain_text" || t.Type == "mrkdwn") && n > 0 && n <= most
}

// valid checks the blocks whose limits are known here; others pass.
func (b slackBlock) valid() bool {
	switch b.Type {
	case "":
		return false
	case "header":
		return b.Text != nil && b.Text.Type == "plain_text" && b.Text.valid(150)
	case "section":
		if b.Text == nil && len(b.Fields) == 0 || len(b.Fields) > 10 || b.Text != nil && !b.Text.valid(3000) {
			return false
		}
		return !slices.ContainsFunc(b.Fields, func(t slackText) bool { return !t.valid(2000) })
	case "context":
		return len(b.Elements) >= 1 && len(b.Elements) <= 10
	case "actions":
		if len(b.Elements) < 1 || len(b.Elements) > 25 {
			return false
		}
		for _, e := range b.Elements {
			var label slackText
			if e.Type == "button" && (json.Unmarshal(e.Text, &label) != nil || label.Type != "plain_text" || !label.valid(75)) ||
				len(e.ActionID) > 255 || len(e.Value) > 2000 {
				return false
			}
		}
	}
	return true
}
