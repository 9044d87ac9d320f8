package chat

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	wecomAge   = 10 * time.Minute // how old a callback may be; ours, since WeCom sets none: an older one may be a copy
	wecomBytes = 64 << 10         // of a callback; what people type has 2048
)

// opened is what a callback's encrypted text says, by the signature in its address.
func (c *wecomCrypto) opened(r *http.Request, encrypted string, now time.Time) ([]byte, error) {
	q := r.URL.Query()
	stamp, err := strconv.ParseInt(q.Get("timestamp"), 10, 64)
	if err != nil {
		return nil, ErrNotGenuine
	}
	if age := now.Sub(time.Unix(stamp, 0)); age > wecomAge || age < -wecomAge {
		return nil, ErrNotGenuine
	}
	return c.open(q.Get("msg_signature"), q.Get("timestamp"), q.Get("nonce"), encrypted)
}

// echoed answers WeCom's question whether the callback's address is right: the text alone, within a second.
func (c *wecomCrypto) echoed(r *http.Request, now time.Time) (Hearing, error) {
	text, err := c.opened(r, r.URL.Query().Get("echostr"), now)
	return Hearing{Body: string(text), Type: "text/plain; charset=utf-8"}, err
}

// Hear reads a callback (WeCom developer documentation 90238..90240). It wants an empty answer, within 5 s.
func (w *WeComApp) Hear(_ context.Context, r *http.Request, _ string, body []byte) (Hearing, error) {
	h, err := w.hear(r, body)
	if err != nil {
		return Hearing{}, fmt.Errorf("wecom app: %w", err)
	}
	return h, nil
}

func (w *WeComApp) hear(r *http.Request, body []byte) (h Hearing, err error) {
	if r.Method == http.MethodGet {
		return w.crypto.echoed(r, w.now())
	}
	var outer struct {
		Encrypt string `xml:"Encrypt"`
	}
	if len(body) > wecomBytes || xml.Unmarshal(body, &outer) != nil {
		return h, errors.New("the callback is no XML of WeCom's")
	}
	text, err := w.crypto.opened(r, outer.Encrypt, w.now())
	if err != nil {
		return h, err
	}
	var e struct {
		Corp    string `xml:"ToUserName"`
		User    string `xml:"FromUserName"`
		Created int64  `xml:"CreateTime"`
		Type    string `xml:"MsgType"`
		Content string `xml:"Content"`
		ID      string `xml:"MsgId"`
		Agent   int64  `xml:"AgentID"`
		Event   string `xml:"Event"`
		Key     string `xml:"EventKey"`
		Task    string `xml:"TaskId"`
	}
	if err := xml.Unmarshal(text, &e); err != nil {
		return h, errors.New("what is encrypted is no XML of WeCom's")
	}
	switch {
	case e.Corp != w.corp:
		return h, errors.New("it is meant for another corp; is corp_id right?")
	case e.Agent != w.agent:
		return h, errors.New("it is meant for another app; is agent_id right?")
	case e.Type == "text" && e.ID != "":
		h.Heard = &Heard{ID: e.ID, Text: wecomSaid(e.Content)}
	case e.Type == "event" && e.Event == "template_card_event":
		h.Heard = pressed(e.Key, e.Task, e.User, e.Created)
	}
	if h.Heard == nil { // such as a picture, or somebody who looks at the app
		return h, nil
	}
	if !wecomUserID(e.User) {
		return Hearing{}, errors.New("the callback names no user")
	}
	h.Heard.User, h.Heard.Channel, h.Heard.Back, h.Later = e.User, e.User, Back(e.User), true
	return h, nil
}

// pressed is a press of a card's button, or nil where the button is none of ours. What WeCom sends again was made at the same second;
// who presses again, because the first press was refused, means it.
func pressed(key, task, user string, created int64) *Heard {
	value, says := strings.CutPrefix(key, cardSays)
	value, asks := strings.CutPrefix(value, cardAsks)
	if says == asks || value == "" || task == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{task, key, user, strconv.FormatInt(created, 10)}, "\n")))
	return &Heard{ID: hex.EncodeToString(sum[:16]), Value: value, Plain: asks}
}

// wecomOurs is our name before a command, which people may write as elsewhere.
var wecomOurs = regexp.MustCompile(`(?i)^[/／]?shipmate(?:[\s\p{Z}]+|$)`)

func wecomSaid(text string) string {
	return wecomOurs.ReplaceAllString(strings.TrimSpace(text), "")
}

// Typed is the command alone: there is nobody else in the chat.
func (w *WeComApp) Typed(command string) string { return command }

// Answer tells the person, in their chat with the app.
func (w *WeComApp) Answer(ctx context.Context, to Back, a Answer) error {
	if !wecomUserID(string(to)) {
		return Permanent(errors.New("wecom app: there is nobody to answer"))
	}
	if card := answerCard(a); card != nil {
		_, err := w.send(ctx, string(to), "template_card", card)
		return err
	}
	_, err := w.send(ctx, string(to), "markdown", map[string]string{"content": markdownAnswer(a, appMarkdownBytes)})
	return err
}
