package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// WeComConfig is one entry of chat.wecom in the server's file: robots of a group ([NewWeComRobot]), an app ([NewWeComApp]) or a
// smart robot ([NewWeComSmart]).
type WeComConfig struct {
	RobotKeys []Secret `yaml:"robot_keys"` // of robots in one group, which share the load
	CorpID    string   `yaml:"corp_id"`    // of an app
	AgentID   int64    `yaml:"agent_id"`   // of an app
	Secret    Secret   `yaml:"secret"`     // of an app
	Token     Secret   `yaml:"token"`      // of a callback, whether an app's or a smart robot's
	AESKey    Secret   `yaml:"aes_key"`    // the same: its EncodingAESKey
	BaseURL   string   `yaml:"base_url"`   // default https://qyapi.weixin.qq.com/
	Language  string   `yaml:"language"`   // en or zh; default: the server's
	Allow     []string `yaml:"allow"`      // repositories that may name this chat
	Card      bool     `yaml:"card"`       // cards instead of markdown, where a card says all
}

const wecomBase = "https://qyapi.weixin.qq.com/"

// The limits of a group robot, by WeCom developer documentation 91770.
const (
	robotMarkdownBytes = 4096 // of UTF-8
	robotBudget        = 20   // messages of one robot
	robotWindow        = time.Minute
)

// WeComRobot is a [Service] that speaks through the group robots of one WeCom group (WeCom developer documentation
// 91770). It can't edit and can't be answered. It is [Rationed]: it keeps the limit of 20 messages a minute for each robot itself,
// and when all are used up it sends nothing and says by [RetryAfter] when there is room again.
type WeComRobot struct {
	client *http.Client
	base   string
	card   bool
	now    func() time.Time

	mu     sync.Mutex
	robots []robot
	next   int // the robot whose turn it is
}

type robot struct {
	key     Secret
	sent    []time.Time // within the last window
	blocked time.Time   // WeCom refused it for its rate until then
}

// NewWeComRobot returns the robots of cfg. Requests go through client; now is the clock of the budget.
func NewWeComRobot(cfg WeComConfig, client *http.Client, now func() time.Time) (*WeComRobot, error) {
	base, err := baseURL(cfg.BaseURL, wecomBase)
	if err != nil {
		return nil, fmt.Errorf("wecom robot: %w", err)
	}
	if len(cfg.RobotKeys) == 0 {
		return nil, errors.New("wecom robot: robot_keys is empty; add the key of the robot's webhook address")
	}
	w := &WeComRobot{client: guarded(client), base: base, card: cfg.Card, now: now}
	for i, key := range cfg.RobotKeys {
		if key.Reveal() == "" {
			return nil, fmt.Errorf("wecom robot: robot_keys[%d] is empty", i)
		}
		w.robots = append(w.robots, robot{key: key})
	}
	return w, nil
}

// Send posts m to the robots' group, as a markdown message or, where the configuration wants cards and one can say what matters, as
// a card. The Ref is empty, and to is not used.
func (w *WeComRobot) Send(ctx context.Context, _ string, m Message) (Ref, error) {
	body, err := w.body(m)
	if err != nil {
		return "", fmt.Errorf("wecom robot: %w", err)
	}
	var limited error
	for range w.robots {
		i, err := w.take()
		if err != nil {
			return "", err
		}
		err = w.post(ctx, w.robots[i].key.Reveal(), body)
		if err == nil {
			return "", nil
		}
		err = fmt.Errorf("wecom robot: robot_keys[%d]: %w", i, err)
		if _, ok := RetryDelay(err); !ok {
			return "", err
		}
		w.block(i)
		limited = err // but another robot may have room
	}
	return "", limited
}

// Edit returns [ErrCannotEdit].
func (w *WeComRobot) Edit(context.Context, Ref, Message) error {
	return fmt.Errorf("wecom robot: %w", Permanent(ErrCannotEdit))
}

// Find returns [ErrCannotFind]: a robot can't read.
func (w *WeComRobot) Find(context.Context, string, string, time.Time) (Ref, error) {
	return "", fmt.Errorf("wecom robot: %w", ErrCannotFind)
}

// take spends one message of the budget of the robot whose turn it is, passing over those that have no room.
func (w *WeComRobot) take() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	soonest := robotWindow
	for range w.robots {
		i := w.next
		w.next = (i + 1) % len(w.robots)
		free, more := w.robots[i].room(now)
		if free > 0 {
			w.robots[i].sent = append(w.robots[i].sent, now)
			return i, nil
		}
		soonest = min(soonest, more.Sub(now))
	}
	return 0, RetryAfter(fmt.Errorf("wecom robot: %d messages a minute are used up; add another robot of the same group to robot_keys for more", robotBudget*len(w.robots)), soonest)
}

// Room is that of all robots together.
func (w *WeComRobot) Room() (all Room) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for i := range w.robots {
		free, more := w.robots[i].room(now)
		all.Free += free
		all.Of += robotBudget
		if !more.IsZero() && (all.More.IsZero() || more.Before(all.More)) {
			all.More = more
		}
	}
	return all
}

// room is how many messages r may send now, and when it is more of them: the zero time for a robot that has rested.
func (r *robot) room(now time.Time) (free int, more time.Time) {
	for len(r.sent) > 0 && now.Sub(r.sent[0]) >= robotWindow {
		r.sent = r.sent[1:]
	}
	if len(r.sent) > 0 {
		more = r.sent[0].Add(robotWindow)
	}
	if r.blocked.After(now) {
		return 0, r.blocked
	}
	return robotBudget - len(r.sent), more
}

func (w *WeComRobot) block(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.robots[i].blocked = w.now().Add(robotWindow)
}

func (w *WeComRobot) post(ctx context.Context, key string, body []byte) error {
	r, err := wecomCall(ctx, w.client, http.MethodPost, w.base+"cgi-bin/webhook/send?key="+url.QueryEscape(key), json.RawMessage(body))
	if err != nil {
		return err
	}
	return robotError(*r.Code)
}

// wecomResult is what WeCom answers, as far as it is read.
type wecomResult struct {
	Code     *int   `json:"errcode"` // of an answer that is none it is nil
	Token    string `json:"access_token"`
	Expires  int    `json:"expires_in"` // seconds
	Response string `json:"response_code"`
	Name     string `json:"name"`
}

// wecomCall asks WeCom for something. The target has a credential in it, so no error repeats it. What the code means is told by
// robotError and appError.
func wecomCall(ctx context.Context, client *http.Client, method, target string, body any) (r wecomResult, err error) {
	var said []byte
	if body != nil {
		if said, err = json.Marshal(body); err != nil {
			return r, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(said))
	if err != nil {
		return r, withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return r, unreached(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return r, statusError(resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&r); err != nil || r.Code == nil {
		return wecomResult{}, errors.New("the answer has no errcode; is base_url the address of WeCom's API?")
	}
	return r, nil
}

// robotError classifies an errcode (WeCom developer documentation 90313). The errmsg beside it is for people, may change,
// and may repeat the request, so it is neither read nor shown.
func robotError(code int) error {
	err := fmt.Errorf("errcode %d", code)
	switch code {
	case 0:
		return nil
	case -1:
		return NotSent(fmt.Errorf("%w: WeCom is busy", err))
	case 40008:
		return Permanent(fmt.Errorf("%w: WeCom does not accept the message's form or length", err))
	case 45009:
		return RetryAfter(fmt.Errorf("%w: more than %d messages a minute", err, robotBudget), robotWindow)
	case 93000:
		return Permanent(fmt.Errorf("%w: the key is wrong or the robot was removed from its group; copy the key from the robot's webhook address again", err))
	}
	return NotSent(refusedError{err})
}

var wecomID = regexp.MustCompile(`^[0-9A-Za-z][-_.@0-9A-Za-z]{0,63}$`)

// wecomUserID reports whether id has the form of a member's userid (WeCom developer documentation 90195). "all" would
// call everyone.
func wecomUserID(id string) bool { return wecomID.MatchString(id) && !strings.EqualFold(id, "all") }

var robotColour = map[State]string{
	Running: "comment", Waiting: "warning", Succeeded: "info", Failed: "warning", Stopped: "comment",
}

// robotMarkdown renders m for a robot.
func robotMarkdown(m Message) (content string, whole bool, err error) {
	return wecomMarkdown(m, robotMarkdownBytes, mentions(m.Mentions, 1024, wecomUserID, inert))
}

// wecomMarkdown renders m in the subset of markdown that WeCom knows, in at most limit bytes. What must stay is placed first: title,
// link and people, whose lengths have bounds. Fields, then text, then detail share the rest; whole tells whether all fields are there.
func wecomMarkdown(m Message, limit int, people string) (content string, whole bool, err error) {
	if clean(m.Title) == "" {
		return "", false, errNoTitle
	}
	whole = true
	title := "**" + clip(m.Title, 256, octets, inert) + "**"
	if status := clip(m.Status, 128, octets, inert); status != "" {
		title += " " + font(robotColour[m.State], status)
	}
	link := robotLink(m.Link.Text, m.Link.URL, 128)

	room := limit - len(title) - len("\n"+link) - len("\n"+people)
	parts := []string{title}
	for _, f := range m.Fields {
		line := robotField(f)
		if line == "" {
			continue
		}
		if len("\n"+line) > room {
			whole = false
			continue
		}
		room -= len("\n" + line)
		parts = append(parts, line)
	}
	// An empty line after a quote ends it: what follows must not read as part of it.
	const least = 32 // room for less than this says nothing
	if quote := clip(m.Text, room-len("\n\n"), octets, robotQuote); quote != "" && room > least {
		room -= len("\n\n" + quote)
		parts = append(parts, quote, "")
	}
	if tail := clipTail(m.Detail, room-len("\n\n"), octets, robotQuote); tail != "" && room > 4*least {
		parts = append(parts, tail, "")
	}
	for _, last := range []string{link, people} {
		if last != "" {
			parts = append(parts, last)
		}
	}
	return strings.Join(parts, "\n"), whole, nil
}

// body is m on the wire.
func (w *WeComRobot) body(m Message) ([]byte, error) {
	content, _, err := robotMarkdown(m)
	if err != nil {
		return nil, err
	}
	if card := robotCard(m); w.card && card != nil {
		return json.Marshal(map[string]any{"msgtype": "template_card", "template_card": card})
	}
	return json.Marshal(map[string]any{"msgtype": "markdown", "markdown": map[string]string{"content": content}})
}

// robotCard renders m as a card, with the first six of its fields; nil where a card could not say what matters: it mentions nobody,
// has no colours for fields, no lines of a log and no room for all that somebody has to decide about, and has to lead somewhere. The bounds of its texts
// are ours.
func robotCard(m Message) *wecomCard {
	const titleBytes, quoteBytes, nameBytes, valueBytes = 256, 512, 64, 256
	target := address(m.Link.URL)
	if target == "" || m.State == Waiting || len(m.Buttons) > 0 || len(m.Mentions) > 0 || strings.TrimSpace(m.Detail) != "" {
		return nil
	}
	c := &wecomCard{Type: "text_notice", Title: cardWords{clip(m.Title, titleBytes, octets, inert), clip(m.Status, titleBytes, octets, inert)},
		Text: clip(m.Text, quoteBytes, octets, inert), Action: cardAction{1, target}}
	for _, f := range m.Fields {
		if f.State != "" {
			return nil
		}
		fact := cardFact{Name: clip(f.Name, nameBytes, octets, inert), Value: clip(f.Value, valueBytes, octets, inert)}
		if fact.URL = address(f.URL); fact.URL != "" {
			fact.Type = 1
		}
		if fact.Name != "" && fact.Value != "" && len(c.Facts) < cardFacts {
			c.Facts = append(c.Facts, fact)
		}
	}
	title := clip(m.Link.Text, nameBytes, octets, inert)
	if title == "" {
		title = target
	}
	c.Jumps = []cardJump{{1, title, target}}
	return c
}

// Fits tells whether one message shows all of m's fields.
func (w *WeComRobot) Fits(m Message) bool {
	_, whole, err := robotMarkdown(m)
	return err == nil && whole
}

func robotField(f Field) string {
	const valueBytes = 512
	value := robotLink(f.Value, f.URL, valueBytes)
	if value == "" {
		value = clip(f.Value, valueBytes, octets, inert)
	}
	if value == "" {
		return ""
	}
	colour := "comment"
	if f.State != "" {
		colour = robotColour[f.State]
	}
	return font(colour, clip(f.Name, 64, octets, inert)) + " " + value
}

// robotLink is "" unless there is an address.
func robotLink(text, target string, limit int) string {
	target = address(target)
	if target == "" {
		return ""
	}
	text = clip(text, limit, octets, inert)
	if text == "" {
		text = target
	}
	return "[" + text + "](" + target + ")"
}

func font(colour, text string) string {
	if colour == "" || text == "" {
		return text
	}
	return `<font color="` + colour + `">` + text + `</font>`
}

func robotQuote(s string) string {
	quoted := lines(s)
	for i, line := range quoted {
		quoted[i] = "> " + inert(line)
	}
	return strings.Join(quoted, "\n")
}
