package chat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const appSecret = secret + "-app"

// socketEnd is Slack's end of Socket Mode: it plays one script for each connection.
type socketEnd struct {
	*httptest.Server
	play func(*websocket.Conn)
	open string // what apps.connections.open answers instead of an address
}

func newSocketEnd(t *testing.T, play func(*websocket.Conn)) *socketEnd {
	e := &socketEnd{play: play}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/apps.connections.open" && e.open != "":
			says(e.open)(w, r)
		case r.URL.Path == "/apps.connections.open":
			if got := r.Header.Get("Authorization"); got != "Bearer "+appSecret {
				t.Errorf("asked with %q", got)
			}
			says(`{"ok":true,"url":"ws://`+r.Host+`/link/?ticket=`+secret+`"}`)(w, r)
		case r.URL.Path == "/link/":
			conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			e.play(conn)
		default:
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func slackSocketEar(t *testing.T, base string) *Slack {
	t.Helper()
	s, err := NewSlack(SlackConfig{BotToken: NewSecret(secret), AppToken: NewSecret(appSecret), BaseURL: base}, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.team = "T1"
	return s
}

func write(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Error(err)
	}
}

// acks reads n acknowledgements, by their ids.
func acks(t *testing.T, conn *websocket.Conn, n int) map[string]string {
	t.Helper()
	got := map[string]string{}
	for range n {
		var ack struct {
			ID      string          `json:"envelope_id"`
			Payload json.RawMessage `json:"payload"`
		}
		if err := conn.ReadJSON(&ack); err != nil {
			t.Error(err)
			break
		}
		got[ack.ID] = string(ack.Payload)
	}
	return got
}

func TestSlackSocket(t *testing.T) {
	var base string
	var answered map[string]string
	end := newSocketEnd(t, func(conn *websocket.Conn) {
		back := base + "/respond/1"
		write(t, conn, `{"type":"hello"}`)
		write(t, conn, `no JSON`)
		write(t, conn, `{"envelope_id":"a","type":"slash_commands","accepts_response_payload":true,"payload":{"team_id":"T1","user_id":"U012","text":"status web","response_url":"`+back+`","trigger_id":"1.2"}}`)
		write(t, conn, `{"envelope_id":"b","type":"interactive","payload":{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U012","team_id":"T1"},"response_url":"`+back+`","trigger_id":"1.3","actions":[{"type":"button","block_id":"x","action_id":"shipmate/0","value":"yes"}]}}`)
		write(t, conn, `{"envelope_id":"c","type":"events_api","payload":{"type":"event_callback","event_id":"Ev1","team_id":"T1","event":{"type":"app_mention","user":"U012","text":"<@U0BOT> help","channel":"C012"}}}`)
		write(t, conn, `{"envelope_id":"d","type":"news","payload":{}}`)
		write(t, conn, `{"envelope_id":"fails","type":"slash_commands","payload":{"team_id":"T1","user_id":"U012","text":"fails","response_url":"`+back+`"}}`)
		write(t, conn, `{"envelope_id":"unread","type":"interactive","payload":"?"}`)
		answered = acks(t, conn, 4)
		write(t, conn, `{"type":"disconnect","reason":"warning"}`)
		write(t, conn, `{"type":"disconnect","reason":"refresh_requested"}`)
		write(t, conn, `{"envelope_id":"late","type":"news","payload":{}}`) // until it ends it is heard by
		acks(t, conn, 1)
	})
	base = end.URL
	s := slackSocketEar(t, end.URL)
	var mu sync.Mutex
	heard, unread, stood := map[string]Heard{}, 0, []Connection(nil)
	err := s.Fetch(t.Context(), func(c Connection) { stood = append(stood, c) }, func(_ context.Context, h Hearing, wrong error) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case wrong != nil:
			unread++
			return "", wrong
		case h.Heard == nil:
			return "", nil
		}
		heard[h.Heard.Text+h.Heard.Value] = *h.Heard
		if h.Heard.Text == "fails" {
			return "", errors.New("the disk is full")
		}
		if h.At != nil {
			return h.At(Answer{Text: []Span{{Text: "One moment"}}}), nil
		}
		return "", nil
	})
	if err != nil || !slices.Equal(stood, []Connection{Opened, Leaving}) || unread != 1 {
		t.Errorf("%v, it stood %v, %d unread", err, stood, unread)
	}
	if len(answered) != 4 || !strings.Contains(answered["a"], `"text":"One moment"`) || !strings.Contains(answered["a"], "ephemeral") || answered["b"]+answered["c"]+answered["d"] != "" {
		t.Errorf("acknowledged: %v", answered)
	}
	if h := heard["status web"]; h.User != "U012" || h.ID == "" || h.Back == "" {
		t.Errorf("%+v", heard)
	}
	if heard["yes"].ID == "" || heard["help"].ID != "Ev1" {
		t.Errorf("%+v", heard)
	}
	// The same by HTTP has the same id.
	if id := heard["status web"].ID; id != triggered("1.2") || strings.Contains(id, "1.2") {
		t.Errorf("the id is %s", id)
	}
}

// TestSlackSocketEnds: what ends a connection says whether, and when, to make another one, and shows no secret.
func TestSlackSocketEnds(t *testing.T) {
	take := func(context.Context, Hearing, error) (string, error) { return "", nil }
	for name, tt := range map[string]struct {
		play      func(*websocket.Conn)
		open      string
		permanent bool
		delay     time.Duration
		hint      string
	}{
		"it breaks": {play: func(*websocket.Conn) {}, hint: "broke"},
		"it is off": {play: func(c *websocket.Conn) {
			_ = c.WriteJSON(map[string]string{"type": "disconnect", "reason": "link_disabled"})
		}, delay: slackOff, hint: "turned off"},
		"the token":       {open: `{"ok":false,"error":"invalid_auth"}`, permanent: true, hint: "xapp-"},
		"its kind":        {open: `{"ok":false,"error":"not_allowed_token_type"}`, permanent: true, hint: "xapp-"},
		"its scope":       {open: `{"ok":false,"error":"missing_scope"}`, permanent: true, hint: "connections:write"},
		"Slack is away":   {open: `{"ok":false,"error":"internal_error"}`, hint: "internal_error"},
		"no address":      {open: `{"ok":true}`, hint: "base_url"},
		"another address": {open: `{"ok":true,"url":"https://evil.example/` + secret + `"}`, hint: "base_url"},
		"nobody is there": {open: `{"ok":true,"url":"ws://127.0.0.1:1/` + secret + `"}`, hint: "refused"},
		"no socket":       {open: `{"ok":true,"url":"ws://` + secret + `:x/"}`, hint: "base_url"},
	} {
		t.Run(name, func(t *testing.T) {
			end := newSocketEnd(t, tt.play)
			end.open = tt.open
			s := slackSocketEar(t, end.URL)
			err := s.Fetch(t.Context(), func(Connection) {}, take)
			if err == nil || IsPermanent(err) != tt.permanent || !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("%v", err)
			}
			if delay, _ := RetryDelay(err); delay != tt.delay {
				t.Errorf("again after %v: %v", delay, err)
			}
			hides(t, err)
			hides(t, s)
			if tt.open != "" && tt.hint != "refused" && s.CheckSocket(t.Context()) == nil {
				t.Error("the check finds nothing")
			}
		})
	}
}

// TestSlackSocketStops: the end of ctx ends a connection, and what was heard before is still acknowledged.
func TestSlackSocketStops(t *testing.T) {
	taken, acked := make(chan struct{}), make(chan map[string]string, 1)
	end := newSocketEnd(t, func(conn *websocket.Conn) {
		write(t, conn, `{"envelope_id":"a","type":"events_api","payload":{}}`)
		acked <- acks(t, conn, 1)
		_, _, _ = conn.ReadMessage() // until the other end goes
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-taken; cancel() }()
	err := slackSocketEar(t, end.URL).Fetch(ctx, func(Connection) {}, func(taking context.Context, _ Hearing, _ error) (string, error) {
		close(taken)
		<-ctx.Done()
		return "", taking.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := <-acked; len(got) != 1 {
		t.Errorf("acknowledged: %v", got)
	}
}
