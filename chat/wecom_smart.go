package chat

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// smartBytes is the most that the text of a smart robot has; WeCom takes 20480 bytes of UTF-8 in a stream.
const smartBytes = 16 << 10

// WeComSmart is a [Hearer]: a smart robot (智能机器人) in webhook mode, which people mention in a group, or talk to alone (WeCom developer
// documentation 100719, 101031, 101138). It only answers.
type WeComSmart struct {
	client *http.Client
	base   string
	now    func() time.Time
	zh     bool
	crypto *wecomCrypto
}

// NewWeComSmart returns the smart robot of cfg. Requests go through client; now is the clock of what it hears.
func NewWeComSmart(cfg WeComConfig, client *http.Client, now func() time.Time) (*WeComSmart, error) {
	base, err := baseURL(cfg.BaseURL, wecomBase)
	if err != nil {
		return nil, fmt.Errorf("wecom smart robot: %w", err)
	}
	crypto, err := newWeComCrypto(cfg.Token, cfg.AESKey, "")
	if err != nil {
		return nil, fmt.Errorf("wecom smart robot: %w", err)
	}
	return &WeComSmart{guarded(client), base, now, cfg.Language == "zh", crypto}, nil
}

// errOnlyAnswers is permanent.
var errOnlyAnswers = Permanent(errors.New("wecom smart robot: it can only answer; notify robots of the group, or an app"))

// Send returns a permanent error.
func (w *WeComSmart) Send(context.Context, string, Message) (Ref, error) { return "", errOnlyAnswers }

// Edit returns a permanent error, which is [ErrCannotEdit].
func (w *WeComSmart) Edit(context.Context, Ref, Message) error {
	return fmt.Errorf("wecom smart robot: %w", Permanent(ErrCannotEdit))
}

// Find returns [ErrCannotFind].
func (w *WeComSmart) Find(context.Context, string, string, time.Time) (Ref, error) {
	return "", fmt.Errorf("wecom smart robot: %w", ErrCannotFind)
}

// Typed is a mention of the robot, whatever it is called in the group, with the command.
func (w *WeComSmart) Typed(command string) string {
	if w.zh {
		return "@机器人 " + command
	}
	return "@robot " + command
}

// Hear reads a callback. What people type is answered by a message, a press by what becomes of the card for who pressed.
func (w *WeComSmart) Hear(_ context.Context, r *http.Request, _ string, body []byte) (Hearing, error) {
	h, err := w.hear(r, body)
	if err != nil {
		return Hearing{}, fmt.Errorf("wecom smart robot: %w", err)
	}
	return h, nil
}

func (w *WeComSmart) hear(r *http.Request, body []byte) (h Hearing, err error) {
	if r.Method == http.MethodGet {
		return w.crypto.echoed(r, w.now())
	}
	var outer struct {
		Encrypt string `json:"encrypt"`
	}
	if len(body) > wecomBytes || json.Unmarshal(body, &outer) != nil {
		return h, errors.New("the callback is no JSON of WeCom's")
	}
	text, err := w.crypto.opened(r, outer.Encrypt, w.now())
	if err != nil {
		return h, err
	}
	var e struct {
		ID   string `json:"msgid"`
		Chat string `json:"chattype"` // group, or single
		From struct {
			User string `json:"userid"`
		} `json:"from"`
		Response string                   `json:"response_url"`
		Type     string                   `json:"msgtype"`
		Text     struct{ Content string } `json:"text"`
		Event    struct {
			Type string `json:"eventtype"`
			Card struct {
				Key  string `json:"event_key"`
				Task string `json:"task_id"`
			} `json:"template_card_event"`
		} `json:"event"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return h, errors.New("what is encrypted is no JSON of WeCom's")
	}
	nonce, task := r.URL.Query().Get("nonce"), e.Event.Card.Task
	switch {
	case e.Type == "text" && e.ID != "":
		h.Heard = &Heard{ID: e.ID, Text: wecomSaid(smartOurs.ReplaceAllString(strings.TrimSpace(e.Text.Content), ""))}
		h.At = func(a Answer) string { return w.sealed(smartMessage(a), nonce) }
	case e.Type == "event" && e.Event.Type == "template_card_event":
		if h.Heard = pressed(e.Event.Card.Key, task, e.From.User, 0); h.Heard != nil && e.ID != "" {
			h.Heard.ID = e.ID // a press is sent once
		}
		h.At = func(a Answer) string { return w.sealed(smartUpdate(a, task, e.From.User), nonce) }
	}
	if h.Heard == nil {
		return Hearing{}, nil
	}
	if !wecomUserID(e.From.User) {
		return Hearing{}, errors.New("the callback names no user")
	}
	h.Type, h.Heard.User, h.Heard.Open = "application/json", e.From.User, e.Chat != "single"
	if e.Response != "" {
		h.Heard.Back, err = w.back(e.Response)
	}
	if err != nil {
		return Hearing{}, err
	}
	return h, nil
}

// smartOurs is the robot's name before what is said to it in a group.
var smartOurs = regexp.MustCompile(`^@[^\s\p{Z}]+[\s\p{Z}]*`)

// back checks the address where a person is answered: it is WeCom's, whatever a callback says.
func (w *WeComSmart) back(address string) (Back, error) {
	u, err := url.Parse(address)
	base, _ := url.Parse(w.base)    // NewWeComSmart has checked it
	ours, _ := url.Parse(wecomBase) // of a constant
	if err != nil || u.User != nil || !(u.Scheme == ours.Scheme && u.Host == ours.Host || u.Scheme == base.Scheme && u.Host == base.Host) {
		return "", errors.New("the callback has no response_url of WeCom's")
	}
	return Back(address), nil
}

// smartMessage is an answer as a message.
func smartMessage(a Answer) map[string]any {
	if card := answerCard(a); card != nil {
		return map[string]any{"msgtype": "template_card", "template_card": card}
	}
	return map[string]any{"msgtype": "stream", "stream": map[string]any{"id": rand.Text(), "finish": true, "content": markdownAnswer(a, smartBytes)}}
}

// smartUpdate is an answer as what the card becomes that was pressed, for who pressed it.
func smartUpdate(a Answer, task, user string) map[string]any {
	card := answerCard(a)
	if card == nil {
		card = &wecomCard{Type: "text_notice", Title: cardWords{Title: clip(a.Title, cardTitle, octets, inert)}, Action: cardAction{1, address(a.Link.URL)},
			Text: plainAnswer(a, cardText)}
	}
	card.Task = task
	return map[string]any{"response_type": "update_template_card", "userids": []string{user}, "template_card": card}
}

// sealed encrypts what is answered in the response itself.
func (w *WeComSmart) sealed(answer map[string]any, nonce string) string {
	text, err := json.Marshal(answer)
	if err != nil {
		return "" // of strings and numbers it never happens
	}
	stamp := w.now().Unix()
	encrypted, signature := w.crypto.seal(text, strconv.FormatInt(stamp, 10), nonce)
	body, _ := json.Marshal(map[string]any{"encrypt": encrypted, "msgsignature": signature, "timestamp": stamp, "nonce": nonce}) // the same
	return string(body)
}

// Answer tells the person by the address that came with what they said, which is good for an hour and one answer (WeCom developer
// documentation 101138). A press may come without one: then nothing more is told there.
func (w *WeComSmart) Answer(ctx context.Context, to Back, a Answer) error {
	if to == "" {
		return nil
	}
	if _, err := w.back(string(to)); err != nil {
		return Permanent(fmt.Errorf("wecom smart robot: %w", err))
	}
	message := map[string]any{"msgtype": "markdown", "markdown": map[string]string{"content": markdownAnswer(a, smartBytes)}}
	if card := answerCard(a); card != nil {
		message = map[string]any{"msgtype": "template_card", "template_card": card}
	}
	r, err := wecomCall(ctx, w.client, http.MethodPost, string(to), message)
	switch {
	case err != nil:
		return fmt.Errorf("wecom smart robot: answer: %w", err)
	case *r.Code == 0:
		return nil
	case *r.Code == codeBusy || *r.Code == codeTooOften:
		return fmt.Errorf("wecom smart robot: answer: %w", appError(*r.Code))
	}
	return Permanent(fmt.Errorf("wecom smart robot: answer: errcode %d; it may be too late for that", *r.Code))
}
