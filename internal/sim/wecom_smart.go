package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a smart robot may do (WeCom developer documentation 101031, 101138).
const (
	smartStream      = 20480 // bytes of a message
	smartResponseAge = time.Hour
)

// wecomSmart is a smart robot in a group.
type wecomSmart struct {
	base      string
	callback  wecomCallback
	shown     []SmartMessage
	responses map[string]time.Time // until when a response_url is good, by its code
}

// SmartMessage is what the robot says in the group.
type SmartMessage struct {
	Content string
	Card    *RobotCard
	For     string // who alone sees it so; empty: everybody
}

// SetSmart makes the smart robot; base is where this WeCom is reached.
func (w *WeCom) SetSmart(base string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.smart = &wecomSmart{base: base, responses: map[string]time.Time{}}
}

// SetSmartCallback says where the robot is told what people do.
func (w *WeCom) SetSmartCallback(address, token, aesKey string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.smart.callback = wecomCallback{address, token, aesKey, ""}
}

// SmartMessages returns what the robot said in the group, oldest first.
func (w *WeCom) SmartMessages() []SmartMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.smart.shown)
}

// Mention has somebody mention the robot in the group.
func (w *WeCom) Mention(user, text string) error { return w.smartly(user, "@Shipmate "+text, true) }

// TellSmart has somebody talk to the robot alone.
func (w *WeCom) TellSmart(user, text string) error { return w.smartly(user, text, false) }

func (w *WeCom) smartly(user, text string, group bool) error {
	w.mu.Lock()
	w.next++
	code := fmt.Sprintf("smart-response-%d", w.next)
	w.smart.responses[code] = w.Now().Add(smartResponseAge)
	event := object{"msgid": itoa(int64(w.next)), "aibotid": "B1", "chattype": "single", "from": object{"userid": user},
		"response_url": w.smart.base + "/cgi-bin/aibot/response?response_code=" + code, "msgtype": "text", "text": object{"content": text}}
	if group {
		event["chatid"], event["chattype"] = "G1", "group"
	}
	w.mu.Unlock()
	return w.tellSmart(event, "")
}

// PressSmart has somebody press the button with that label on the newest card that they see it on. It is told once.
func (w *WeCom) PressSmart(user, label string) error {
	w.mu.Lock()
	key, task := "", ""
	for _, m := range w.smart.shown {
		if m.Card == nil || m.For != "" && m.For != user {
			continue
		}
		for _, b := range m.Card.Buttons {
			if b.Text == label {
				key, task = b.Key, m.Card.Task
			}
		}
	}
	w.next++
	id := itoa(int64(w.next))
	w.mu.Unlock()
	if key == "" {
		return fmt.Errorf("no card has a button %q", label)
	}
	return w.tellSmart(object{"msgid": id, "aibotid": "B1", "chatid": "G1", "chattype": "group", "from": object{"userid": user}, "msgtype": "event",
		"event": object{"eventtype": "template_card_event", "template_card_event": object{"card_type": "button_interaction", "event_key": key, "task_id": task}}}, task)
}

// tellSmart sends the callback an event and shows what it answers; task is that of the card that was pressed.
func (w *WeCom) tellSmart(event object, task string) error {
	inner, err := json.Marshal(event)
	if err != nil {
		return err
	}
	w.mu.Lock()
	callback, now := w.smart.callback, w.Now()
	w.mu.Unlock()
	answer, err := callback.post(now, inner, func(encrypted string) string {
		body, _ := json.Marshal(object{"encrypt": encrypted}) // of a string
		return string(body)
	})
	if err != nil || answer == "" {
		return err
	}
	var envelope struct {
		Encrypt   string `json:"encrypt"`
		Signature string `json:"msgsignature"`
		Timestamp int64  `json:"timestamp"`
		Nonce     string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(answer), &envelope); err != nil {
		return fmt.Errorf("the answer %q: %w", answer, err)
	}
	if envelope.Nonce != "nonce" || envelope.Signature != callback.signature(itoa(envelope.Timestamp), envelope.Nonce, envelope.Encrypt) {
		return errors.New("the answer is signed wrongly")
	}
	text, err := callback.open(envelope.Encrypt)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.smart.show(text, task)
}

// show shows an answer in the group, whether it comes in the response or by a response_url.
func (s *wecomSmart) show(text []byte, task string) error {
	var m struct {
		Type     string   `json:"msgtype"`
		Response string   `json:"response_type"`
		Users    []string `json:"userids"`
		Stream   struct {
			ID      string
			Finish  bool
			Content string
		}
		Markdown struct{ Content string }
		Card     *RobotCard `json:"template_card"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	said := SmartMessage{Content: m.Stream.Content + m.Markdown.Content, Card: m.Card, For: strings.Join(m.Users, "")}
	reason := ""
	switch {
	case (m.Response != "") != (task != ""):
		reason = "a press is answered by an update, and nothing else is"
	case m.Response != "" && (m.Response != "update_template_card" || m.Card == nil || m.Card.Task != task):
		reason = "an update has the task_id of its card"
	case m.Card != nil:
		reason = checkCard(m.Card)
	case m.Type == "stream" && (m.Stream.ID == "" || !m.Stream.Finish):
		reason = "a stream has an id, and ends"
	case said.Content == "" || len(said.Content) > smartStream:
		reason = "content has 1 to 20480 bytes"
	}
	if reason != "" {
		return fmt.Errorf("the answer %s: %s", text, reason)
	}
	s.shown = append(s.shown, said)
	return nil
}

// respondSmart takes an answer by a response_url.
func (w *WeCom) respondSmart(code string, body []byte) int {
	until, ok := w.smart.responses[code]
	if !ok || w.Now().After(until) {
		return wecomBadResponse
	}
	if err := w.smart.show(body, ""); err != nil {
		return wecomMalformed
	}
	delete(w.smart.responses, code)
	return 0
}
