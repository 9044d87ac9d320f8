package sim

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What an app may do, and what becomes of it otherwise (WeCom developer
// documentation 90236, 91039, 94888; the codes are those of 90313).
const (
	wecomBadSecret   = 40001
	wecomBadToken    = 40014
	wecomOldToken    = 42001
	wecomBadAgent    = 301002
	wecomNobody      = 81013
	wecomBadResponse = 40097 // ours: the real one is not documented

	appMessagesAMinute = 30 // to one member; more are dropped in silence
	appTokenAge        = 2 * time.Hour
	appResponseAge     = 72 * time.Hour
	callbackTime       = 5 * time.Second
	callbackTries      = 3
)

var wecomTask = regexp.MustCompile(`^[0-9A-Za-z_@-]{1,128}$`)

// wecomApp is a self-built app and its members.
type wecomApp struct {
	corp, secret string
	agent        int64
	members      []string
	token        string
	until        time.Time
	tasks        map[string]bool
	responses    map[string]*appResponse // by the response_code
	got          map[string][]AppMessage // by member, oldest first
	sent         map[string][]time.Time  // by member, in the last minute
	callback     wecomCallback
	failing      []int                             // errcodes for what is asked next
	last         func() (answer string, err error) // tells the callback once more what it was told last
}

// appResponse is what a response_code is good for: one update.
type appResponse struct {
	task  string
	until time.Time
	used  bool
}

// AppMessage is a message that a member has from the app.
type AppMessage struct {
	Type     string // markdown, text or template_card
	Content  string // of all but cards
	Card     *RobotCard
	Replaced string // what stands in place of the card's buttons
	At       time.Time
}

// SetApp makes the app of a corp and says who sees it.
func (w *WeCom) SetApp(corp, secret string, agent int64, members ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.app = &wecomApp{corp: corp, secret: secret, agent: agent, members: members, tasks: map[string]bool{}, responses: map[string]*appResponse{},
		got: map[string][]AppMessage{}, sent: map[string][]time.Time{}}
}

// SetAppCallback says where the app is told what members do.
func (w *WeCom) SetAppCallback(address, token, aesKey string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.app.callback = wecomCallback{address, token, aesKey, w.app.corp}
}

// ExpireToken makes the app's access token one of yesterday.
func (w *WeCom) ExpireToken() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.app.until = time.Time{}
}

// FailNextApp answers the next n things that the app asks for with the errcode.
func (w *WeCom) FailNextApp(errcode, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.app.failing = append(w.app.failing, slices.Repeat([]int{errcode}, n)...)
}

// AppMessages returns what a member has from the app, oldest first.
func (w *WeCom) AppMessages(user string) []AppMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.app.got[user])
}

// serveApp answers what the app and the smart robot ask for; nil is none of it.
func (w *WeCom) serveApp(r *http.Request, body []byte) object {
	w.mu.Lock()
	defer w.mu.Unlock()
	code := func(code int) object { return object{"errcode": code, "errmsg": "see errcode"} }
	q := r.URL.Query()
	if r.URL.Path == "/cgi-bin/aibot/response" && w.smart != nil {
		return code(w.respondSmart(q.Get("response_code"), body))
	}
	a := w.app
	if a == nil || r.URL.Path == "/cgi-bin/webhook/send" {
		return nil
	}
	if r.URL.Path == "/cgi-bin/gettoken" {
		if q.Get("corpid") != a.corp || q.Get("corpsecret") != a.secret {
			return code(wecomBadSecret)
		}
		if !w.Now().Before(a.until) {
			w.next++
			a.token, a.until = fmt.Sprintf("access-token-%d", w.next), w.Now().Add(appTokenAge)
		}
		return object{"errcode": 0, "errmsg": "ok", "access_token": a.token, "expires_in": int(a.until.Sub(w.Now()) / time.Second)}
	}
	switch token := q.Get("access_token"); {
	case token == "" || token != a.token:
		return code(wecomBadToken)
	case !w.Now().Before(a.until):
		return code(wecomOldToken)
	case len(a.failing) > 0:
		var failed int
		failed, a.failing = a.failing[0], a.failing[1:]
		return code(failed)
	}
	switch r.URL.Path {
	case "/cgi-bin/agent/get":
		if q.Get("agentid") != itoa(a.agent) {
			return code(wecomBadAgent)
		}
		return object{"errcode": 0, "errmsg": "ok", "agentid": a.agent, "name": "Shipmate"}
	case "/cgi-bin/message/send":
		return w.sendApp(body)
	case "/cgi-bin/message/update_template_card":
		return code(w.updateApp(body))
	}
	return nil
}

func (w *WeCom) sendApp(body []byte) object {
	var m struct {
		To       string `json:"touser"`
		Type     string `json:"msgtype"`
		Agent    int64  `json:"agentid"`
		Text     struct{ Content string }
		Markdown struct{ Content string }
		Card     *RobotCard `json:"template_card"`
	}
	malformed := func(reason string) object { return object{"errcode": wecomMalformed, "errmsg": reason} }
	if json.Unmarshal(body, &m) != nil {
		return malformed("not JSON")
	}
	a := w.app
	if m.Agent != a.agent {
		return object{"errcode": wecomBadAgent, "errmsg": "agentid"}
	}
	said := AppMessage{Type: m.Type, Card: m.Card, At: w.Now()}
	switch m.Type {
	case "text", "markdown":
		if said.Content = m.Text.Content + m.Markdown.Content; said.Content == "" || len(said.Content) > 2048 {
			return malformed("content has 1 to 2048 bytes")
		}
	case "template_card":
		if reason := checkCard(m.Card); reason != "" {
			return malformed(reason)
		}
		if m.Card.Task != "" && a.tasks[m.Card.Task] {
			return malformed("task_id is used already")
		}
		a.tasks[m.Card.Task] = true
	default:
		return malformed("invalid message type")
	}
	to, unknown := a.members, []string(nil)
	if m.To != "@all" {
		to = nil
		for user := range strings.SplitSeq(m.To, "|") {
			if slices.Contains(a.members, user) {
				to = append(to, user)
			} else {
				unknown = append(unknown, strings.ToLower(user))
			}
		}
	}
	if len(to) == 0 {
		return object{"errcode": wecomNobody, "errmsg": "all touser & toparty & totag invalid"}
	}
	for _, user := range to {
		a.sent[user] = slices.DeleteFunc(a.sent[user], func(t time.Time) bool { return w.Now().Sub(t) >= time.Minute })
		if len(a.sent[user]) < appMessagesAMinute {
			a.sent[user] = append(a.sent[user], w.Now())
			a.got[user] = append(a.got[user], said)
		}
	}
	answer := object{"errcode": 0, "errmsg": "ok", "invaliduser": strings.Join(unknown, "|"), "msgid": "m"}
	if m.Card != nil && len(m.Card.Buttons) > 0 {
		answer["response_code"] = a.response(w, m.Card.Task)
	}
	return answer
}

// response makes a response_code for a card.
func (a *wecomApp) response(w *WeCom, task string) string {
	w.next++
	code := fmt.Sprintf("response-code-%d", w.next)
	a.responses[code] = &appResponse{task: task, until: w.Now().Add(appResponseAge)}
	return code
}

func (w *WeCom) updateApp(body []byte) (code int) {
	var m struct {
		Users    []string `json:"userids"`
		All      int      `json:"atall"`
		Agent    int64    `json:"agentid"`
		Response string   `json:"response_code"`
		Button   struct {
			Name string `json:"replace_name"`
		}
	}
	if json.Unmarshal(body, &m) != nil || m.Button.Name == "" || m.Agent != w.app.agent {
		return wecomMalformed
	}
	r := w.app.responses[m.Response]
	if r == nil || r.used || w.Now().After(r.until) {
		return wecomBadResponse
	}
	r.used = true
	for user, all := range w.app.got {
		for i := range all {
			if all[i].Card != nil && all[i].Card.Task == r.task && (m.All == 1 || slices.Contains(m.Users, user)) {
				all[i].Replaced = m.Button.Name
			}
		}
	}
	return 0
}

// Say has a member type something to the app.
func (w *WeCom) Say(user, text string) error {
	return w.tell(func(id int, corp string, agent int64) any {
		return struct {
			XMLName      xml.Name `xml:"xml"`
			ToUserName   string
			FromUserName string
			CreateTime   int64
			MsgType      string
			Content      string
			MsgId        string
			AgentID      int64
		}{xml.Name{}, corp, user, w.Now().Unix(), "text", text, itoa(int64(id)), agent}
	})
}

// PressApp has a member press the button with that label under the newest card of theirs that still has one.
func (w *WeCom) PressApp(user, label string) error {
	w.mu.Lock()
	key, task := "", ""
	for _, m := range w.app.got[user] {
		if m.Card == nil || m.Replaced != "" {
			continue
		}
		for _, b := range m.Card.Buttons {
			if b.Text == label {
				key, task = b.Key, m.Card.Task
			}
		}
	}
	response := ""
	if key != "" {
		response = w.app.response(w, task)
	}
	w.mu.Unlock()
	if key == "" {
		return fmt.Errorf("%s has no card with a button %q", user, label)
	}
	return w.tell(func(_ int, corp string, agent int64) any {
		return struct {
			XMLName      xml.Name `xml:"xml"`
			ToUserName   string
			FromUserName string
			CreateTime   int64
			MsgType      string
			Event        string
			EventKey     string
			TaskId       string
			CardType     string
			ResponseCode string
			AgentID      int64
		}{xml.Name{}, corp, user, w.Now().Unix(), "event", "template_card_event", key, task, "button_interaction", response, agent}
	})
}

// tell sends the app's callback what a member does, up to three times.
func (w *WeCom) tell(event func(id int, corp string, agent int64) any) error {
	w.mu.Lock()
	w.next++
	callback, corp, agent := w.app.callback, w.app.corp, w.app.agent
	inner, err := xml.Marshal(event(w.next, corp, agent))
	w.mu.Unlock()
	if err != nil {
		return err
	}
	send := func() (string, error) {
		return callback.post(w.Now(), inner, func(encrypted string) string {
			return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName><AgentID>%d</AgentID><Encrypt><![CDATA[%s]]></Encrypt></xml>", corp, agent, encrypted)
		})
	}
	w.mu.Lock()
	w.app.last = send
	w.mu.Unlock()
	for range callbackTries {
		var answer string
		answer, err = send()
		if err == nil && answer != "" {
			return fmt.Errorf("the answer to a callback is %q instead of nothing", answer)
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// Again tells the app's callback once more what it was told last, as if its answer had got lost.
func (w *WeCom) Again() error {
	w.mu.Lock()
	last := w.app.last
	w.mu.Unlock()
	_, err := last()
	return err
}

// CheckCallbacks asks the callbacks of the app and of the smart robot whether they are right, as when they are saved.
func (w *WeCom) CheckCallbacks() error {
	w.mu.Lock()
	callbacks, now := []wecomCallback{w.app.callback, w.smart.callback}, w.Now()
	w.mu.Unlock()
	for _, c := range callbacks {
		encrypted, signature := c.seal([]byte("1616140317555161061"), itoa(now.Unix()), "nonce")
		q := url.Values{"msg_signature": {signature}, "timestamp": {itoa(now.Unix())}, "nonce": {"nonce"}, "echostr": {encrypted}}
		resp, err := (&http.Client{Timeout: callbackTime}).Get(c.address + "?" + q.Encode())
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		err = errors.Join(err, resp.Body.Close())
		if err == nil && string(answer) != "1616140317555161061" {
			err = fmt.Errorf("%s answers %d: %q", c.address, resp.StatusCode, answer)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
