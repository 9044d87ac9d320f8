package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack"
)

// Limits of Socket Mode (docs.slack.dev/apis/events-api/using-socket-mode), where it gives any.
const (
	slackQuiet     = time.Minute     // without a sign of life a connection is taken for dead; Slack pings several times in that time
	slackWrite     = 5 * time.Second // to write an acknowledgement
	slackEnvelope  = 1 << 20         // bytes: a press brings the message with it
	slackAtOnce    = 8               // envelopes
	slackOff       = 5 * time.Minute // until we look again whether Socket Mode was turned on
	slackHandshake = 10 * time.Second
	slackLeaves    = 30 * time.Second // what Slack may take to end a connection that it says it will: about 10 s
)

// slackAppRefusals are the error codes of apps.connections.open that trying again can't heal, and what can
// (docs.slack.dev/reference/methods/apps.connections.open).
var slackAppRefusals = map[string]string{
	"access_denied":          "the app may not use Socket Mode; enable it on the app's page",
	"account_inactive":       "the app was removed from the workspace; install it again",
	"invalid_auth":           "Slack does not know app_token; copy an app-level token (xapp-…) from Basic Information on the app's page",
	"missing_scope":          "app_token lacks a scope; make an app-level token with connections:write under Basic Information on the app's page",
	"no_permission":          "app_token lacks a scope; make an app-level token with connections:write under Basic Information on the app's page",
	"not_allowed_token_type": "app_token is no app-level token; use one that begins with xapp-, from Basic Information on the app's page",
	"not_authed":             "Slack saw no token; copy an app-level token (xapp-…) from Basic Information on the app's page",
	"token_expired":          "app_token has expired; make another app-level token under Basic Information on the app's page",
	"token_revoked":          "app_token was revoked; make another app-level token under Basic Information on the app's page",
}

// Fetches tells whether there is an app_token.
func (s *Slack) Fetches() bool { return s.app.Reveal() != "" }

// CheckSocket asks Slack for a connection of Socket Mode, and makes none.
func (s *Slack) CheckSocket(ctx context.Context) error {
	_, err := s.socket(ctx)
	return err
}

// socket is the address of a connection. It lets whoever has it hear what we would, once.
func (s *Slack) socket(ctx context.Context) (address string, err error) {
	api := slack.New(s.token.Reveal(), slack.OptionAppLevelToken(s.app.Reveal()), slack.OptionAPIURL(s.base), slack.OptionHTTPClient(s.client))
	_, address, err = api.StartSocketModeContext(ctx)
	var refusal slack.SlackErrorResponse
	if errors.As(err, &refusal) {
		if hint, known := slackAppRefusals[refusal.Err]; known {
			return "", Permanent(fmt.Errorf("slack: app_token: %s: %s", refusal.Err, hint))
		}
	}
	if err != nil {
		return "", fmt.Errorf("slack: open a socket: %w", slackError(err))
	}
	base, _ := url.Parse(s.base) // NewSlack has checked it
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "wss" && (u.Scheme != "ws" || base.Scheme != "http") {
		return "", errors.New("slack: open a socket: the answer has no wss address; is base_url the address of Slack's API?")
	}
	return address, nil
}

// A slackMessage is what comes by a socket: an envelope, or a word about the connection itself.
type slackMessage struct {
	ID      string          `json:"envelope_id"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload"`
	Takes   bool            `json:"accepts_response_payload"`
	Reason  string          `json:"reason"` // of a disconnect
}

// Fetch hears by Socket Mode (docs.slack.dev/apis/events-api/using-socket-mode): the same payloads that Slack would send by HTTP, each
// in an envelope that it sends again unless it is acknowledged. Who may use the connection is said by app_token, so nothing is signed.
func (s *Slack) Fetch(ctx context.Context, on func(Connection), take func(ctx context.Context, h Hearing, unread error) (body string, err error)) error {
	address, err := s.socket(ctx)
	if err != nil {
		return err
	}
	dialer := websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: slackHandshake}
	conn, _, err := dialer.DialContext(ctx, address, nil) //nolint:bodyclose // there is none to be read after a handshake
	if err != nil {
		return fmt.Errorf("slack: connect to the socket: %w", NotSent(withoutURL(err)))
	}
	var doing sync.WaitGroup
	// The end of ctx ends the read and not the connection: what was heard is still acknowledged.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		doing.Wait()
		stop()
		_ = conn.Close() // nobody is told anything by its error
	}()
	conn.SetReadLimit(slackEnvelope)
	alive := func() error { return errors.Join(conn.SetReadDeadline(time.Now().Add(slackQuiet)), ctx.Err()) }
	ping := conn.PingHandler()
	conn.SetPingHandler(func(data string) error { return errors.Join(alive(), ping(data)) })
	var writing sync.Mutex
	room := make(chan struct{}, slackAtOnce)
	leaving := false
	for {
		var text []byte
		err := alive()
		if err == nil {
			_, text, err = conn.ReadMessage()
		}
		switch {
		case err != nil && leaving:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("slack: the socket broke: %w", errors.Join(ctx.Err(), err))
		}
		var m slackMessage
		if json.Unmarshal(text, &m) != nil {
			continue // nothing of ours, and nothing that could be acknowledged
		}
		switch m.Type {
		case "hello":
			on(Opened)
			continue
		case "disconnect":
			if m.Reason == "link_disabled" {
				return RetryAfter(errors.New("slack: Socket Mode was turned off; enable it on the app's page, or take app_token out of the server's file"), slackOff)
			}
			if !leaving { // warning, refresh_requested: it is heard by until Slack ends it
				leaving = true
				defer time.AfterFunc(slackLeaves, func() { _ = conn.Close() }).Stop()
				on(Leaving)
			}
			continue
		}
		if m.ID == "" {
			continue
		}
		room <- struct{}{}
		doing.Go(func() {
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), HearTimeout)
			defer cancel()
			ack := struct {
				ID      string          `json:"envelope_id"`
				Payload json.RawMessage `json:"payload,omitempty"`
			}{ID: m.ID}
			h, unread := s.unpack(ctx, m)
			body, err := take(ctx, h, unread)
			if err != nil {
				return // it comes again
			}
			if body != "" {
				ack.Payload = json.RawMessage(body)
			}
			writing.Lock()
			defer writing.Unlock()
			_ = conn.SetWriteDeadline(time.Now().Add(slackWrite)) // the write tells
			_ = conn.WriteJSON(ack)                               // where it fails the read does too, and it comes again
		})
	}
}

// unpack reads an envelope as Hear reads a request. Where it takes no answer, the person is told by Answer.
func (s *Slack) unpack(ctx context.Context, m slackMessage) (h Hearing, err error) {
	defer func() {
		if p := recover(); p != nil { // of a bug one envelope is lost, as net/http has it, and not the process
			h, err = Hearing{}, fmt.Errorf("slack: panic: %v", p)
		}
	}()
	id := triggered(m.ID)
	switch m.Type {
	case "slash_commands":
		var fields map[string]any // all but a few are strings
		if err := json.Unmarshal(m.Payload, &fields); err != nil {
			return h, errors.New("slack: the command is no JSON that we know")
		}
		h, err = s.heard(ctx, id, func(field string) string { text, _ := fields[field].(string); return text }, nil)
	case "interactive":
		h, err = s.heard(ctx, id, nil, m.Payload)
	case "events_api":
		h, err = s.hearEvent(ctx, id, m.Payload)
	}
	if !m.Takes {
		h.At = nil
	}
	return h, err
}
