package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// slackSockets is how many connections of Socket Mode an app may have ("Using Socket Mode" of Slack's documentation).
const slackSockets = 10

// slackSocket is a connection of Socket Mode.
type slackSocket struct {
	conn    *websocket.Conn
	writing chan struct{} // holds one: a connection takes one writer at a time
	gone    chan struct{} // closed when it has ended
}

func (c *slackSocket) write(message object) error {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	_ = c.conn.SetWriteDeadline(time.Now().Add(slackAnswerTime)) // the write tells
	return c.conn.WriteJSON(message)
}

// SetSocketMode turns Socket Mode on for the app, with its app-level token, or with "" off: what people do then comes by a socket, as
// by no request. Connections that there are end.
func (s *Slack) SetSocketMode(appToken string) {
	s.mu.Lock()
	s.appToken = appToken
	s.mu.Unlock()
	if appToken == "" {
		s.Disconnect("link_disabled")
	}
}

// Disconnect tells every connection that it ends, for a reason such as "refresh_requested", and ends it, that one once there is another;
// without a reason it breaks.
func (s *Slack) Disconnect(reason string) {
	s.mu.Lock()
	all := s.sockets
	if reason == "refresh_requested" {
		s.leaving = append(s.leaving, all...)
	} else {
		s.sockets = nil
	}
	s.mu.Unlock()
	for _, c := range all {
		if reason != "" {
			_ = c.write(object{"type": "disconnect", "reason": reason, "debug_info": object{"host": "sim"}}) // it may have ended
		}
		if reason != "refresh_requested" {
			_ = c.conn.Close()
		}
	}
}

// LoseAcks has the next n acknowledgements get lost: what they are for is sent again.
func (s *Slack) LoseAcks(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseAcks = n
}

// Sockets counts the connections of Socket Mode that were made, and that there are.
func (s *Slack) Sockets() (made, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.socketsMade, len(s.sockets)
}

// openSocket is apps.connections.open. mu is held.
func (s *Slack) openSocket(r *http.Request, token string) object {
	switch {
	case token == s.token:
		return slackError("not_allowed_token_type")
	case s.appToken == "" || token != s.appToken:
		return slackError("invalid_auth")
	}
	s.tickets++
	ticket := fmt.Sprint(s.tickets)
	if s.ticketsOpen == nil {
		s.ticketsOpen = map[string]bool{}
	}
	s.ticketsOpen[ticket] = true
	return object{"ok": true, "url": (&url.URL{Scheme: "ws", Host: r.Host, Path: "/link/", RawQuery: "ticket=" + ticket + "&app_id=A0APP"}).String()}
}

// link serves a connection until it ends.
func (s *Slack) link(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	ticket := r.URL.Query().Get("ticket")
	ok := s.ticketsOpen[ticket] && len(s.sockets) < slackSockets && !s.down
	delete(s.ticketsOpen, ticket)
	s.mu.Unlock()
	if !ok {
		http.Error(w, "no such ticket", http.StatusNotFound)
		return
	}
	anybody := func(*http.Request) bool { return true } // clients call themselves what they like
	conn, err := (&websocket.Upgrader{CheckOrigin: anybody}).Upgrade(w, r, nil)
	if err != nil {
		return // the client was told
	}
	c := &slackSocket{conn: conn, writing: make(chan struct{}, 1), gone: make(chan struct{})}
	defer conn.Close() //nolint:errcheck // it has ended
	if c.write(object{"type": "hello", "num_connections": 1, "connection_info": object{"app_id": "A0APP"}}) != nil {
		return
	}
	s.mu.Lock()
	s.sockets = append(slices.DeleteFunc(s.sockets, func(c *slackSocket) bool { return slices.Contains(s.leaving, c) }), c)
	left := s.leaving
	s.leaving = nil
	s.socketsMade++
	s.mu.Unlock()
	for _, c := range left {
		_ = c.conn.Close()
	}
	defer close(c.gone)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, other := range s.sockets {
			if other == c {
				s.sockets = append(s.sockets[:i:i], s.sockets[i+1:]...)
				return
			}
		}
	}()
	for {
		var ack struct {
			ID      string          `json:"envelope_id"`
			Payload json.RawMessage `json:"payload"`
		}
		if conn.ReadJSON(&ack) != nil {
			return
		}
		s.mu.Lock()
		waiting, lost := s.envelopes[ack.ID], s.loseAcks > 0
		if lost {
			s.loseAcks--
		}
		s.mu.Unlock()
		if waiting == nil {
			continue
		}
		if lost {
			waiting <- slackAck{lost: true}
			continue
		}
		waiting <- slackAck{payload: string(ack.Payload)}
	}
}

type slackAck struct {
	payload string
	lost    bool
}

// envelope sends the app what it would otherwise get by a request, and again where that is not acknowledged; it returns the payload of
// the acknowledgement.
func (s *Slack) envelope(what, body string) (answer string, err error) {
	kind, payload, takes := "events_api", json.RawMessage(body), false
	switch what {
	case "commands", "actions":
		form, err := url.ParseQuery(body)
		if err != nil {
			return "", err
		}
		kind, takes, payload = "interactive", false, json.RawMessage(form.Get("payload"))
		if what == "commands" {
			fields := map[string]string{}
			for name := range form {
				fields[name] = form.Get(name)
			}
			kind, takes = "slash_commands", true
			if payload, err = json.Marshal(fields); err != nil {
				return "", err
			}
		}
	}
	const attempts = 3
	for attempt := range attempts {
		ack := make(chan slackAck, attempts)
		s.mu.Lock()
		s.app.next++
		id := fmt.Sprintf("envelope-%d", s.app.next)
		var c *slackSocket
		if n := len(s.sockets); n > 0 {
			c = s.sockets[n-1]
		}
		if s.envelopes == nil {
			s.envelopes = map[string]chan slackAck{}
		}
		s.envelopes[id] = ack
		s.mu.Unlock()
		if c == nil {
			return "", fmt.Errorf("the app has no connection")
		}
		message := object{"envelope_id": id, "type": kind, "payload": payload, "accepts_response_payload": takes}
		if attempt > 0 {
			message["retry_attempt"], message["retry_reason"] = attempt, "timeout"
		}
		err = c.write(message)
		if err == nil {
			timer := time.NewTimer(slackAnswerTime)
			select {
			case a := <-ack:
				timer.Stop()
				if !a.lost {
					return strings.TrimPrefix(a.payload, "null"), nil
				}
				err = fmt.Errorf("operation_timeout: it was not acknowledged")
			case <-c.gone:
				err = fmt.Errorf("operation_timeout: the connection broke")
			case <-timer.C:
				err = fmt.Errorf("operation_timeout: it was not acknowledged")
			}
			timer.Stop()
		}
	}
	return "", err
}
