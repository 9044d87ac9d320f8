package sim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Error codes of group robots (WeCom developer documentation 90313).
const (
	wecomMalformed = 40008
	wecomRateLimit = 45009
	wecomBadKey    = 93000
)

const (
	robotMessagesAMinute = 20
	wecomUndocumented    = 99999
)

// WeCom is a simulated WeCom (企业微信) with group robots, a self-built app
// ([WeCom.SetApp]) and a smart robot ([WeCom.SetSmart]): an [http.Handler] for
// POST /cgi-bin/webhook/send?key=KEY (WeCom developer documentation 91770) and
// for what the other two ask of it. It answers 200 with an errcode, always. Its
// methods may be called at any time.
type WeCom struct {
	// Now is the clock that the rate limit goes by.
	Now func() time.Time
	// OnMessage, if not nil, is told each message that a group would show.
	OnMessage func(key string, message RobotMessage)

	mu      sync.Mutex
	robots  map[string]*robot
	failing []int  // errcodes for the next messages
	refused string // messages with this are refused; empty: none is
	down    bool
	app     *wecomApp
	smart   *wecomSmart
	next    int // number of what is named next
}

type robot struct {
	messages []RobotMessage
	accepted []time.Time // in the last minute
}

// RobotMessage is a message that a group robot posted.
type RobotMessage struct {
	Type     string   // text, markdown, markdown_v2 or template_card
	Content  string   // of all but cards
	Mentions []string // of text: user ids and mobile numbers, or "@all"
	Card     *RobotCard
	Raw      json.RawMessage // the body as it came
	At       time.Time
}

// RobotCard is a template_card, as far as it is looked into.
type RobotCard struct {
	Type               string      `json:"card_type"`
	MainTitle          CardText    `json:"main_title"`
	SubTitle           string      `json:"sub_title_text"`
	HorizontalContents []CardField `json:"horizontal_content_list"`
	Jumps              []CardJump  `json:"jump_list"`
	Action             CardAction  `json:"card_action"`

	// Of a card with buttons:
	Task    string       `json:"task_id"`
	Buttons []CardButton `json:"button_list"`
}

// CardButton is a button of a card.
type CardButton struct {
	Text  string `json:"text"`
	Style int    `json:"style"`
	Key   string `json:"key"`
}

// CardText is a title with a description.
type CardText struct {
	Title string `json:"title"`
	Desc  string `json:"desc"`
}

// CardField is a line of a card: a name and a value, linked for type 1.
type CardField struct {
	Type    int    `json:"type"`
	KeyName string `json:"keyname"`
	Value   string `json:"value"`
	URL     string `json:"url"`
}

// CardJump is a link below a card.
type CardJump struct {
	Type  int    `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// CardAction is where a click on a card leads: type 1 is a URL.
type CardAction struct {
	Type int    `json:"type"`
	URL  string `json:"url"`
}

// NewWeCom makes a WeCom with one group robot for each key.
func NewWeCom(keys ...string) *WeCom {
	w := &WeCom{Now: time.Now, robots: map[string]*robot{}}
	for _, key := range keys {
		w.robots[key] = &robot{}
	}
	return w
}

// Messages returns what the robot has posted, oldest first.
func (w *WeCom) Messages(key string) []RobotMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.robots[key] == nil {
		return nil
	}
	return slices.Clone(w.robots[key].messages)
}

// FailNext refuses the next n messages with the errcode.
func (w *WeCom) FailNext(errcode, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = append(w.failing, slices.Repeat([]int{errcode}, n)...)
}

// Refuse refuses all messages that have text in them, with an errcode of which nothing is documented.
func (w *WeCom) Refuse(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = text
}

// Down makes WeCom answer every request with 502 and a page.
func (w *WeCom) Down(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// ServeHTTP serves the group robots' endpoint.
func (w *WeCom) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 3<<20))
	if err != nil {
		return
	}
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		http.Error(rw, "<html><body>502 Bad Gateway</body></html>", http.StatusBadGateway)
		return
	}
	if answer := w.serveApp(r, body); answer != nil {
		rw.Header().Set("Content-Type", "application/json; charset=UTF-8")
		json.NewEncoder(rw).Encode(answer) //nolint:errcheck // the client has gone
		return
	}
	if r.URL.Path != "/cgi-bin/webhook/send" || r.Method != http.MethodPost {
		http.NotFound(rw, r)
		return
	}
	key := r.URL.Query().Get("key")
	message, code, reason := w.accept(key, body)
	if code == 0 && w.OnMessage != nil {
		w.OnMessage(key, message)
	}
	rw.Header().Set("Content-Type", "application/json; charset=UTF-8")
	rw.Header().Set("Error-Code", itoa(int64(code)))
	rw.Header().Set("Error-Msg", reason)
	json.NewEncoder(rw).Encode(object{"errcode": code, "errmsg": reason}) //nolint:errcheck // the client has gone
}

func (w *WeCom) accept(key string, body []byte) (message RobotMessage, code int, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	robot := w.robots[key]
	if robot == nil {
		return message, wecomBadKey, "invalid webhook url"
	}
	if len(w.failing) > 0 {
		code, w.failing = w.failing[0], w.failing[1:]
		return message, code, "injected failure"
	}
	if w.refused != "" && bytes.Contains(body, []byte(w.refused)) {
		return message, wecomUndocumented, "no"
	}
	now := w.Now()
	robot.accepted = slices.DeleteFunc(robot.accepted, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if len(robot.accepted) >= robotMessagesAMinute {
		return message, wecomRateLimit, "api freq out of limit"
	}
	message, reason = parseRobotMessage(body)
	if reason != "" {
		return message, wecomMalformed, reason
	}
	message.At = now
	robot.accepted = append(robot.accepted, now)
	robot.messages = append(robot.messages, message)
	return message, 0, "ok"
}

// parseRobotMessage checks a body; reason is empty for a right one. Lengths are
// in bytes of UTF-8.
func parseRobotMessage(body []byte) (message RobotMessage, reason string) {
	type content struct {
		Content  string   `json:"content"`
		Mentions []string `json:"mentioned_list"`
		Mobiles  []string `json:"mentioned_mobile_list"`
	}
	var wire struct {
		Type       string     `json:"msgtype"`
		Text       *content   `json:"text"`
		Markdown   *content   `json:"markdown"`
		MarkdownV2 *content   `json:"markdown_v2"`
		Card       *RobotCard `json:"template_card"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return message, "invalid message type: not JSON"
	}
	limit, part := 4096, wire.Markdown
	switch wire.Type {
	case "text":
		limit, part = 2048, wire.Text
	case "markdown":
	case "markdown_v2":
		part = wire.MarkdownV2
	case "template_card":
		if wire.Card != nil && wire.Card.Type != "text_notice" && wire.Card.Type != "news_notice" {
			return message, "invalid card_type"
		}
		return RobotMessage{Type: wire.Type, Card: wire.Card, Raw: body}, checkCard(wire.Card)
	default:
		return message, "invalid message type"
	}
	switch {
	case part == nil || part.Content == "":
		return message, "empty content"
	case len(part.Content) > limit:
		return message, wire.Type + ".content exceed max length " + itoa(int64(limit))
	}
	message = RobotMessage{Type: wire.Type, Content: part.Content, Raw: body}
	if wire.Type == "text" { // elsewhere WeCom ignores them
		message.Mentions = slices.Concat(part.Mentions, part.Mobiles)
	}
	return message, ""
}

func checkCard(card *RobotCard) string {
	switch {
	case card == nil:
		return "template_card is missing"
	case card.Type == "button_interaction" && (len(card.Buttons) == 0 || len(card.Buttons) > 6):
		return "button_list has 1 to 6 entries"
	case card.Type == "button_interaction" && !wecomTask.MatchString(card.Task):
		return "task_id is missing or malformed"
	case card.Type != "button_interaction" && len(card.Buttons) > 0:
		return "button_list is for button_interaction"
	case card.MainTitle.Title == "" && card.SubTitle == "":
		return "main_title.title or sub_title_text is required"
	case card.Action.Type != 1 && card.Action.Type != 2:
		return "card_action is required"
	case card.Action.Type == 1 && !isHTTP(card.Action.URL):
		return "card_action.url is required"
	case len(card.HorizontalContents) > 6:
		return "horizontal_content_list has more than 6 entries"
	case len(card.Jumps) > 3:
		return "jump_list has more than 3 entries"
	}
	for _, b := range card.Buttons {
		if b.Text == "" || b.Style < 1 || b.Style > 4 || b.Key == "" || len(b.Key) > 1024 {
			return "button_list: text, style 1 to 4 and key of at most 1024 bytes are required"
		}
	}
	for _, field := range card.HorizontalContents {
		if field.KeyName == "" || field.Type == 1 && field.URL == "" {
			return "horizontal_content_list: keyname, and url of type 1, are required"
		}
	}
	for _, jump := range card.Jumps {
		if jump.Title == "" || jump.Type == 1 && jump.URL == "" {
			return "jump_list: title, and url of type 1, are required"
		}
	}
	return ""
}
