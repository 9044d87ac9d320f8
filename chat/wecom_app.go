package chat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The limits of an app, by WeCom developer documentation 90236 and 96212.
const (
	appMarkdownBytes = 2048 // of UTF-8
	appBudget        = 30   // messages to one member; WeCom drops the excess in silence
	appWindow        = time.Minute
	appUsers         = 1000 // of one message
	appEveryone      = "@all"
)

// WeComApp is a [Hearer] and a [Settler]: a self-built app (自建应用) that people talk to in a chat of their own with it. A message with
// buttons is a card, any other is markdown; neither can be edited. It keeps the limit of 30 messages a minute to each member itself,
// as [WeComRobot] does its own.
type WeComApp struct {
	client *http.Client
	base   string
	now    func() time.Time
	corp   string
	agent  int64
	secret Secret
	crypto *wecomCrypto

	turn   chan struct{} // whoever holds it looks at the two below, and asks for a new token: one at a time
	access Secret
	until  time.Time

	mu   sync.Mutex
	sent []sentTo // within the last window
}

type sentTo struct {
	user string
	at   time.Time
}

// NewWeComApp returns the app of cfg. Requests go through client; now is the clock of its budget, of its token, and of what it hears.
func NewWeComApp(cfg WeComConfig, client *http.Client, now func() time.Time) (*WeComApp, error) {
	base, err := baseURL(cfg.BaseURL, wecomBase)
	if err != nil {
		return nil, fmt.Errorf("wecom app: %w", err)
	}
	if cfg.CorpID == "" || cfg.AgentID <= 0 || cfg.Secret.Reveal() == "" {
		return nil, errors.New("wecom app: corp_id, agent_id and secret are needed; copy them from the app's page")
	}
	crypto, err := newWeComCrypto(cfg.Token, cfg.AESKey, cfg.CorpID)
	if err != nil {
		return nil, fmt.Errorf("wecom app: %w", err)
	}
	return &WeComApp{client: guarded(client), base: base, now: now, corp: cfg.CorpID, agent: cfg.AgentID, secret: cfg.Secret, crypto: crypto, turn: make(chan struct{}, 1)}, nil
}

// CheckWeComCallback tells what is wrong with the form of a callback's secrets, or nil.
func CheckWeComCallback(cfg WeComConfig) error {
	_, err := newWeComCrypto(cfg.Token, cfg.AESKey, "")
	return err
}

// CheckWeComUsers tells what is wrong with whom an app is to write to, or nil: userids with | between, @all, or nothing.
func CheckWeComUsers(to string) error {
	users := strings.Split(to, "|")
	if to == "" || to == appEveryone {
		return nil
	}
	if len(users) > appUsers {
		return fmt.Errorf("names more than %d people; write %s, or fewer", appUsers, appEveryone)
	}
	for _, id := range users {
		if !wecomUserID(id) {
			return fmt.Errorf("%q is no userid; write userids with | between, such as alice|bob, or %s", id, appEveryone)
		}
	}
	return nil
}

// Check asks WeCom for the app's name, and changes nothing (WeCom developer documentation 90227).
func (w *WeComApp) Check(ctx context.Context) (name string, err error) {
	r, err := w.call(ctx, http.MethodGet, "cgi-bin/agent/get?agentid="+strconv.FormatInt(w.agent, 10)+"&", nil)
	if err == nil {
		err = appError(*r.Code)
	}
	if err != nil {
		return "", fmt.Errorf("wecom app: %w", err)
	}
	return inert(r.Name), nil
}

// Send posts m to people: userids with | between, or @all; nobody given, to those whom it mentions.
func (w *WeComApp) Send(ctx context.Context, to string, m Message) (Ref, error) {
	if to == "" {
		var ids []string
		for _, p := range m.Mentions {
			if wecomUserID(p.ID) && !slices.Contains(ids, p.ID) && len(ids) < appUsers {
				ids = append(ids, p.ID)
			}
		}
		to = strings.Join(ids, "|")
	}
	if to == "" {
		return "", Permanent(errors.New("wecom app: nobody to write to; set channel to userids with | between, or to @all"))
	}
	if err := CheckWeComUsers(to); err != nil {
		return "", Permanent(fmt.Errorf("wecom app: channel: %w", err))
	}
	if card := messageCard(m); card != nil {
		return w.send(ctx, to, "template_card", card)
	}
	content, _, err := wecomMarkdown(m, appMarkdownBytes, mentions(m.Mentions, 512, func(string) bool { return false }, inert)) // in a chat of one there is nobody to call
	if err != nil {
		return "", fmt.Errorf("wecom app: %w", err)
	}
	return w.send(ctx, to, "markdown", map[string]string{"content": content})
}

// send posts content of a kind. The Ref is what a card can be settled by.
func (w *WeComApp) send(ctx context.Context, to, kind string, content any) (Ref, error) {
	if err := w.take(strings.Split(to, "|")); err != nil {
		return "", err
	}
	r, err := w.call(ctx, http.MethodPost, "cgi-bin/message/send?", map[string]any{"touser": to, "msgtype": kind, "agentid": w.agent, kind: content})
	if err == nil {
		err = appError(*r.Code)
	}
	if err != nil {
		return "", fmt.Errorf("wecom app: %w", err)
	}
	if r.Response == "" {
		return "", nil
	}
	return Ref(r.Response + " " + to), nil
}

// Settle updates the buttons (WeCom developer documentation 94888), which is possible once within 72 hours: after that, and for what
// is no card of ours, the error is permanent.
func (w *WeComApp) Settle(ctx context.Context, ref Ref, label string) error {
	code, to, ok := strings.Cut(string(ref), " ")
	if !ok {
		return Permanent(errors.New("wecom app: the message has no buttons"))
	}
	body := map[string]any{"agentid": w.agent, "response_code": code, "button": map[string]string{"replace_name": clip(label, cardLabel, octets, inert)}}
	if to == appEveryone {
		body["atall"] = 1
	} else {
		body["userids"] = strings.Split(to, "|")
	}
	r, err := w.call(ctx, http.MethodPost, "cgi-bin/message/update_template_card?", body)
	if err == nil {
		if err = appError(*r.Code); err != nil && *r.Code != codeBusy && *r.Code != codeTooOften {
			err = Permanent(err) // what it says of a code that is used up or too old is not documented
		}
	}
	if err != nil {
		return fmt.Errorf("wecom app: update a card: %w", err)
	}
	return nil
}

// Edit returns [ErrCannotEdit].
func (w *WeComApp) Edit(context.Context, Ref, Message) error {
	return fmt.Errorf("wecom app: %w", Permanent(ErrCannotEdit))
}

// Find returns [ErrCannotFind]: an app can't read.
func (w *WeComApp) Find(context.Context, string, string, time.Time) (Ref, error) {
	return "", fmt.Errorf("wecom app: %w", ErrCannotFind)
}

// take spends one message of the budget of each of users, or of nobody's where one of them has no room.
func (w *WeComApp) take(users []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	w.sent = slices.DeleteFunc(w.sent, func(s sentTo) bool { return now.Sub(s.at) >= appWindow })
	for _, user := range users {
		var got []time.Time // of everyone it is what anybody got: rather too little than into the void
		for _, s := range w.sent {
			if user == s.user || user == appEveryone || s.user == appEveryone {
				got = append(got, s.at)
			}
		}
		if n := len(got) - appBudget; n >= 0 {
			return RetryAfter(fmt.Errorf("wecom app: %d messages a minute to one member are used up", appBudget), got[n].Add(appWindow).Sub(now))
		}
	}
	for _, user := range users {
		w.sent = append(w.sent, sentTo{user, now})
	}
	return nil
}

// call asks the API for something at a path, whose query the token is added to, and once more where the token is not good any more.
func (w *WeComApp) call(ctx context.Context, method, path string, body any) (wecomResult, error) {
	stale := ""
	for {
		token, err := w.token(ctx, stale)
		if err != nil {
			return wecomResult{}, NotSent(fmt.Errorf("gettoken: %w", err))
		}
		r, err := wecomCall(ctx, w.client, method, w.base+path+"access_token="+url.QueryEscape(token), body)
		if err == nil && (*r.Code == codeBadToken || *r.Code == codeOldToken) && stale == "" {
			stale = token
			continue
		}
		return r, err
	}
}

// token is the access token (WeCom developer documentation 91039): the one that is kept, unless that is stale or soon too old. However
// many want it, one at a time asks for a new one.
func (w *WeComApp) token(ctx context.Context, stale string) (string, error) {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := w.now()
	if kept := w.access.Reveal(); kept != "" && kept != stale && now.Before(w.until) {
		return kept, nil
	}
	r, err := wecomCall(ctx, w.client, http.MethodGet, w.base+"cgi-bin/gettoken?"+url.Values{"corpid": {w.corp}, "corpsecret": {w.secret.Reveal()}}.Encode(), nil)
	if err == nil {
		err = appError(*r.Code)
	}
	if err == nil && r.Token == "" {
		err = errors.New("the answer has no access_token; is base_url the address of WeCom's API?")
	}
	if err != nil {
		return "", err
	}
	lives := time.Duration(r.Expires) * time.Second
	w.access, w.until = NewSecret(r.Token), now.Add(lives-min(lives/10, 5*time.Minute))
	return r.Token, nil
}

// Error codes that more is done about than to tell them.
const (
	codeBusy     = -1
	codeBadToken = 40014
	codeOldToken = 42001
	codeTooOften = 45009
)

// appRefusals are the error codes that trying again can't heal, and what can (WeCom developer documentation 90313).
var appRefusals = map[int]string{
	40001:  "secret is not that of the app; copy it from the app's page again",
	40003:  "WeCom does not know a userid",
	40008:  "WeCom does not accept the message's form or length",
	40013:  "corp_id is not that of a corp; copy it from the page of the company's information (我的企业)",
	40056:  "agent_id is not that of an app; copy AgentId from the app's page",
	40058:  "WeCom does not accept the message's form or length",
	48002:  "the app may not do this; look at its permissions",
	60011:  "the app may not write to these people; add them to those who see it (可见范围)",
	60020:  "this server's address is not trusted; add it to the app's trusted addresses (企业可信IP)",
	81013:  "the app can write to none of these people; write userids as WeCom has them, and let them see the app (可见范围)",
	301002: "agent_id is not that of the app whose secret it is; copy both from one page",
}

// appError classifies an errcode; of the errmsg beside it see robotError.
func appError(code int) error {
	err := fmt.Errorf("errcode %d", code)
	hint, known := appRefusals[code]
	switch {
	case code == 0:
		return nil
	case known:
		return Permanent(fmt.Errorf("%w: %s", err, hint))
	case code == codeBusy:
		return NotSent(fmt.Errorf("%w: WeCom is busy", err))
	case code == codeTooOften:
		return RetryAfter(fmt.Errorf("%w: WeCom was asked too often", err), appWindow)
	}
	return NotSent(err)
}
