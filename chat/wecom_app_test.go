package chat

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const wecomKey = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"

func appConfig(base string) WeComConfig {
	return WeComConfig{CorpID: "ww0123", AgentID: 1000002, Secret: NewSecret(secret), Token: NewSecret("QDG6eK"), AESKey: NewSecret(wecomKey), BaseURL: base}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newApp(t testing.TB, base string, now func() time.Time) *WeComApp {
	t.Helper()
	w, err := NewWeComApp(appConfig(base), http.DefaultClient, now)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// appEnd is WeCom's API as far as an app needs it: each token that is asked for has the next number, and each request that
// has not the newest is refused with code stale.
type appEnd struct {
	*farEnd
	mu     sync.Mutex
	tokens int
	stale  int
}

func newAppEnd(t *testing.T) *appEnd {
	end := &appEnd{stale: codeOldToken}
	end.farEnd = newFarEnd(t, func(w http.ResponseWriter, r *http.Request) {
		end.mu.Lock()
		defer end.mu.Unlock()
		switch {
		case r.URL.Path == "/cgi-bin/gettoken":
			end.tokens++
			fmt.Fprintf(w, `{"errcode":0,"access_token":"token%d","expires_in":7200}`, end.tokens)
		case r.URL.Query().Get("access_token") != fmt.Sprintf("token%d", end.tokens):
			fmt.Fprintf(w, `{"errcode":%d}`, end.stale)
		default:
			fmt.Fprint(w, `{"errcode":0,"errmsg":"ok","response_code":"code1","name":"Ship <b>"}`)
		}
	})
	return end
}

// TestAppToken: one token for however many messages, a new one before it is too old and when WeCom knows it no more.
func TestAppToken(t *testing.T) {
	end := newAppEnd(t)
	now := noon
	w := newApp(t, end.URL, func() time.Time { return now })
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if _, err := w.Send(t.Context(), fmt.Sprintf("u%d", i), Message{Title: "T"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	send := func() {
		t.Helper()
		if _, err := w.Send(t.Context(), "alice", Message{Title: "T"}); err != nil {
			t.Error(err)
		}
	}
	if end.tokens != 1 {
		t.Errorf("%d tokens for messages at once", end.tokens)
	}
	now = now.Add(2*time.Hour - 5*time.Minute)
	send()
	if end.tokens != 2 {
		t.Errorf("%d tokens when the first is about to end", end.tokens)
	}
	for i, code := range []int{codeOldToken, codeBadToken} {
		end.mu.Lock()
		end.tokens++ // somebody else took a new one
		end.stale = code
		end.mu.Unlock()
		send()
		if want := 4 + 2*i; end.tokens != want {
			t.Errorf("errcode %d: %d tokens, want %d", code, end.tokens, want)
		}
	}
	if name, err := w.Check(t.Context()); name != "Ship ＜b＞" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if r := end.last(t); !strings.HasPrefix(r.path, "/cgi-bin/agent/get?agentid=1000002&access_token=") {
		t.Error(r.path)
	}
	hides(t, w)
}

// TestAppSecretIsNotShown: the secret stands in the address by which a token is asked for.
func TestAppSecretIsNotShown(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, base := range map[string]string{"unreached": gone.URL, "refused": newFarEnd(t, says(`{"errcode":40001,"errmsg":"`+secret+`"}`)).URL, "no token": newFarEnd(t, says(`{"errcode":0}`)).URL} {
		_, err := newApp(t, base, time.Now).Send(t.Context(), "alice", Message{Title: "T"})
		if err == nil || !IsNotSent(err) || !strings.Contains(err.Error(), "gettoken") {
			t.Errorf("%s: %v", name, err)
		}
		hides(t, err)
	}
}

func TestAppBudget(t *testing.T) {
	end := newAppEnd(t)
	now := noon
	w := newApp(t, end.URL, func() time.Time { return now })
	send := func(to string) error { _, err := w.Send(t.Context(), to, Message{Title: "T"}); return err }
	for i := range 30 {
		if err := send("alice"); err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
		now = now.Add(time.Second)
	}
	for _, to := range []string{"alice", "bob|alice", "@all"} {
		if d, ok := RetryDelay(send(to)); !ok || d != 30*time.Second {
			t.Errorf("message 31, to %s: delay %v, %v", to, d, ok)
		}
	}
	if err := send("bob"); err != nil {
		t.Error("another member:", err)
	}
	now = now.Add(30 * time.Second)
	if err := send("alice"); err != nil {
		t.Error("after the delay:", err)
	}
}

func TestAppAddressees(t *testing.T) {
	end := newAppEnd(t)
	w := newApp(t, end.URL, func() time.Time { return noon })
	m := Message{Title: "T", Mentions: []Person{{GitHub: "alice", ID: "alice.w"}, {GitHub: "bob"}, {GitHub: "eve", ID: "all"}, {GitHub: "alice", ID: "alice.w"}, {GitHub: "dave", ID: "dave.w"}}}
	for to, want := range map[string]string{"": "alice.w|dave.w", "bob|erin": "bob|erin", "@all": "@all"} {
		if _, err := w.Send(t.Context(), to, m); err != nil {
			t.Fatal(err)
		}
		var sent struct {
			To    string `json:"touser"`
			Agent int    `json:"agentid"`
		}
		if err := json.Unmarshal([]byte(end.last(t).body), &sent); err != nil || sent.To != want || sent.Agent != 1000002 {
			t.Errorf("%q: %+v, %v", to, sent, err)
		}
	}
	for _, to := range []string{"alice bob", "alice|", "all", "@ALL", "a|@all", strings.Repeat("a|", 1000) + "a"} {
		if _, err := w.Send(t.Context(), to, m); !IsPermanent(err) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if _, err := w.Send(t.Context(), "", Message{Title: "T"}); !IsPermanent(err) || !strings.Contains(err.Error(), "channel") {
		t.Errorf("nobody: %v", err)
	}
}

// buttons are those of a deployment that waits.
func buttons(value string) []Button {
	return []Button{{Label: "批准", Value: value, Primary: true, Confirm: "确定？", Typed: "approve web 7"}, {Label: "驳回", Value: value, Danger: true, Reason: "原因", Typed: "reject web 7 原因…"}, {Label: "确认", Value: value}}
}

func TestAppCard(t *testing.T) {
	end := newAppEnd(t)
	w := newApp(t, end.URL, func() time.Time { return noon })
	m := Message{Title: "部署 web 版本 3 到 production", State: Waiting, Status: "等待审批 (1/2)", Text: "Fix <@all> [x](y)", Link: page, Buttons: buttons("v"),
		Fields: []Field{{Name: "项目", Value: "acme/web", URL: "https://github.com/acme/web"}, {Name: "环境", Value: "production"}, {Name: "空"}, {Name: "集群", Value: "prod"}, {Name: "版本", Value: "3"},
			{Name: "提交", Value: "1a2b3c4"}, {Name: "分支", Value: "master"}, {Name: "变更", Value: "2 个提交"}, {Name: "审批", Value: "1/2"}}}
	ref, err := w.Send(t.Context(), "alice|bob", m)
	if err != nil || ref != "code1 alice|bob" {
		t.Fatalf("%q, %v", ref, err)
	}
	card := func() (body map[string]any, card map[string]any) {
		t.Helper()
		if err := json.Unmarshal([]byte(end.last(t).body), &body); err != nil {
			t.Fatal(err)
		}
		card, _ = body["template_card"].(map[string]any)
		return body, card
	}
	body, first := card()
	task := first["task_id"]
	first["task_id"] = "TASK"
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/wecom-app/card.json", pretty(t, request{body: string(text)}))
	if _, err := w.Send(t.Context(), "alice", m); err != nil {
		t.Fatal(err)
	}
	if _, again := card(); again["task_id"] == task {
		t.Error("two cards have one task_id")
	}

	// It ends for everybody who got it, once.
	for ref, want := range map[Ref]string{"code1 alice|bob": `"userids":["alice","bob"]`, "code1 @all": `"atall":1`} {
		if err := w.Settle(t.Context(), ref, "已批准 <@all>"); err != nil {
			t.Fatal(err)
		}
		r := end.last(t)
		if !strings.HasPrefix(r.path, "/cgi-bin/message/update_template_card?") || !strings.Contains(r.body, want) || !strings.Contains(r.body, `"response_code":"code1"`) || !strings.Contains(r.body, `"replace_name":"已批准 ＜＠all＞"`) {
			t.Errorf("%+v", r)
		}
	}
	if err := w.Settle(t.Context(), "", "x"); !IsPermanent(err) {
		t.Error(err)
	}
	for code, permanent := range map[int]bool{40097: true, -1: false, 45009: false} {
		used := newApp(t, newFarEnd(t, says(fmt.Sprintf(`{"errcode":%d,"access_token":"x","expires_in":7200}`, code))).URL, time.Now)
		used.access, used.until = NewSecret("x"), time.Now().Add(time.Hour)
		if err := used.Settle(t.Context(), ref, "x"); err == nil || IsPermanent(err) != permanent {
			t.Errorf("errcode %d: %v", code, err)
		}
	}
}

// TestCardLimits: whatever stands in a card, it is within WeCom's limits and has no markup.
func TestCardLimits(t *testing.T) {
	for _, text := range append(nasty, strings.Repeat("修复登录 <@all>", 1000), strings.Repeat("👩‍💻", 1000), strings.Repeat("x\n", 3000), "") {
		m := Message{Title: "T " + text, Status: text, Text: text, Link: page}
		a := Answer{Title: "T " + text, Text: []Span{{text, Code}, {text, Words}, {text, Block}}, Link: page}
		for range 8 {
			m.Fields = append(m.Fields, Field{Name: text, Value: text, URL: text})
			m.Buttons = append(m.Buttons, Button{Label: "L " + text, Value: "v", Typed: text})
		}
		a.Buttons = m.Buttons
		for _, c := range []*wecomCard{messageCard(m), answerCard(a)} {
			if c == nil {
				t.Fatalf("%q: no card", text)
			}
			if len(c.Title.Title) > cardTitle || len(c.Title.Desc) > cardTitle || len(c.Text) > cardText || len(c.Facts) > 6 || len(c.Buttons) != 6 || c.Action.URL != page.URL {
				t.Errorf("%q: %+v", text, c)
			}
			shown := c.Title.Title + c.Title.Desc + c.Text
			for _, f := range c.Facts {
				shown += f.Name + f.Value
				if f.Name == "" || f.Value == "" || len(f.Name) > cardName || len(f.Value) > cardValue || f.Type == 1 && f.URL == "" {
					t.Errorf("%+v", f)
				}
			}
			for _, b := range c.Buttons {
				shown += b.Text
				if b.Text == "" || len(b.Text) > cardLabel {
					t.Errorf("%+v", b)
				}
			}
			if strings.ContainsAny(shown, "<[&`\\") || strings.Contains(shown, "://") || strings.Contains(shown, "@all") {
				t.Errorf("markup in %q", shown)
			}
		}
	}
	long := buttons(strings.Repeat("v", 1024))
	if c := messageCard(Message{Title: "T", Link: page, Buttons: long}); c != nil {
		t.Errorf("a button that says too much is there: %+v", c)
	}
	if c := messageCard(Message{Title: "T", Buttons: buttons("v")}); c != nil {
		t.Errorf("a card leads nowhere: %+v", c)
	}
	for _, text := range nasty {
		for _, limit := range []int{appMarkdownBytes, 100} {
			content := markdownAnswer(Answer{Text: []Span{{Text: text}, {text, Code}, {text + "\n" + text, Block}}}, limit)
			if len(content) > limit || strings.ContainsAny(content, "<[&") || strings.Contains(content, "://") || strings.Count(content, "`")%2 != 0 {
				t.Errorf("%q: %q", text, content)
			}
		}
	}
	home := Link{URL: "https://ship.example.com"}
	if got := markdownAnswer(Answer{Text: []Span{{Text: "See https://ship.example.com/runs/1, not https://ship.example.com.evil.example/"}}, Link: home}, 2048); got != "See https://ship.example.com/runs/1, not https:／／ship.example.com.evil.example/" {
		t.Errorf("%q", got)
	}
}

// callback is a request of WeCom's: what is encrypted, and at which address, age before it arrives.
func callback(c *wecomCrypto, text string, age time.Duration) (encrypted string, r *http.Request) {
	stamp := strconv.FormatInt(noon.Add(-age).Unix(), 10)
	encrypted, signature := c.seal([]byte(text), stamp, "n1")
	return encrypted, httptest.NewRequest(http.MethodPost, "/?"+url.Values{"msg_signature": {signature}, "timestamp": {stamp}, "nonce": {"n1"}}.Encode(), nil)
}

// xmlCallback is a callback of an app.
func xmlCallback(c *wecomCrypto, text string, age time.Duration) (*http.Request, []byte) {
	encrypted, r := callback(c, text, age)
	return r, []byte("<xml><ToUserName><![CDATA[ww0123]]></ToUserName><AgentID>1000002</AgentID><Encrypt><![CDATA[" + encrypted + "]]></Encrypt></xml>")
}

// inner is what an app's callback has inside, with more of it at the end.
func inner(more string) string {
	return "<xml><ToUserName><![CDATA[ww0123]]></ToUserName><FromUserName><![CDATA[alice]]></FromUserName><CreateTime>1348831860</CreateTime><AgentID>1000002</AgentID>" + more + "</xml>"
}

func textInside(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a builder takes everything
	return inner("<MsgType><![CDATA[text]]></MsgType><MsgId>42</MsgId><Content>" + b.String() + "</Content>")
}

func TestAppHears(t *testing.T) {
	w := newApp(t, "", func() time.Time { return noon })
	hear := func(text string) (Hearing, error) {
		r, body := xmlCallback(w.crypto, text, 0)
		return w.Hear(t.Context(), r, "", body)
	}
	for typed, want := range map[string]string{"status web": "status web", " /shipmate  status web\n": "status web", "Shipmate 状态 web": "状态 web", "／shipmate　帮助": "帮助", "/status <b> & web": "/status <b> & web", "shipmate": "", "shipmates go": "shipmates go"} {
		h, err := hear(textInside(typed))
		if err != nil || h.Heard == nil || h.Heard.Text != want || h.Heard.ID != "42" || h.Heard.User != "alice" || h.Heard.Back != "alice" || h.At != nil || h.Body != "" {
			t.Errorf("%q: %+v, %v", typed, h.Heard, err)
		}
	}
	press := func(key, created string) Hearing {
		t.Helper()
		h, err := hear(strings.Replace(inner("<MsgType>event</MsgType><Event>template_card_event</Event><TaskId>T1</TaskId><EventKey><![CDATA["+key+"]]></EventKey>"), "1348831860", created, 1))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first, asks, later := press("!v", "1").Heard, press("?v", "1").Heard, press("!v", "2").Heard
	if first == nil || first.Value != "v" || first.Plain || first.ID != press("!v", "1").Heard.ID {
		t.Errorf("%+v", first)
	}
	if asks == nil || asks.Value != "v" || !asks.Plain || asks.ID == first.ID || later.ID == first.ID {
		t.Errorf("%+v, %+v", asks, later)
	}
	for _, key := range []string{"", "v", "!", "?"} {
		if h := press(key, "1"); h.Heard != nil {
			t.Errorf("%q: %+v", key, h.Heard)
		}
	}
	for name, text := range map[string]string{"a picture": inner("<MsgType>image</MsgType><MsgId>1</MsgId>"), "a visit": inner("<MsgType>event</MsgType><Event>enter_agent</Event>")} {
		if h, err := hear(text); err != nil || h.Heard != nil {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	for name, text := range map[string]string{
		"another corp": strings.Replace(textInside("x"), "ww0123", "ww9", 1), "another app": strings.Replace(textInside("x"), "1000002", "1", 1),
		"everybody": strings.Replace(textInside("x"), "[alice]", "[all]", 1), "no XML": "hello", "an entity": `<!DOCTYPE xml [<!ENTITY x "status">]>` + strings.Replace(textInside("x"), ">x<", ">&x;<", 1),
	} {
		if h, err := hear(text); err == nil || h.Heard != nil {
			t.Errorf("%s: %+v", name, h.Heard)
		}
	}
}

// TestWeComHearsOnlyWeCom, and says so to nobody else.
func TestWeComHearsOnlyWeCom(t *testing.T) {
	w := newApp(t, "", func() time.Time { return noon })
	stranger := *w.crypto
	stranger.token = NewSecret("another")
	for name, of := range map[string]struct {
		c   *wecomCrypto
		age time.Duration
	}{"another's": {&stranger, 0}, "old": {w.crypto, 11 * time.Minute}, "of the future": {w.crypto, -11 * time.Minute}} {
		r, body := xmlCallback(of.c, textInside("status web"), of.age)
		if h, err := w.Hear(t.Context(), r, "", body); !errors.Is(err, ErrNotGenuine) || h.Heard != nil {
			t.Errorf("%s: %+v, %v", name, h.Heard, err)
		}
	}
	r, body := xmlCallback(w.crypto, textInside("status web"), 0)
	r.URL.RawQuery = ""
	if _, err := w.Hear(t.Context(), r, "", body); !errors.Is(err, ErrNotGenuine) {
		t.Error(err)
	}
	if _, err := w.Hear(t.Context(), r, "", []byte(strings.Repeat("<xml>", 20_000))); err == nil {
		t.Error("it reads what is too long")
	}
	// WeCom's question for the address is answered by the text alone.
	smart := newSmart(t, "")
	for name, c := range map[string]*wecomCrypto{"app": w.crypto, "smart": smart.crypto} {
		encrypted, r := callback(c, "1616140317555161061", 0)
		r.Method = http.MethodGet
		r.URL.RawQuery += "&echostr=" + url.QueryEscape(encrypted)
		ear := Hearer(w)
		if name == "smart" {
			ear = smart
		}
		if h, err := ear.Hear(t.Context(), r, "", nil); err != nil || h.Body != "1616140317555161061" || h.Heard != nil {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "nonce=n1", "nonce=n2", 1)
		if h, err := ear.Hear(t.Context(), r, "", nil); !errors.Is(err, ErrNotGenuine) || h.Body != "" {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

func TestAppAnswers(t *testing.T) {
	end := newAppEnd(t)
	w := newApp(t, end.URL, func() time.Time { return noon })
	if err := w.Answer(t.Context(), "alice", Answer{Refused: true, Text: []Span{{Text: "Use "}, {"/help", Code}}}); err != nil {
		t.Fatal(err)
	}
	if r := end.last(t); !strings.Contains(r.body, `"touser":"alice"`) || robotContent(r) != "🔴 Use `/help`" {
		t.Errorf("%+v", r)
	}
	if err := w.Answer(t.Context(), "alice", Answer{Title: "web", Text: []Span{{Text: "Sure?"}}, Buttons: buttons("v"), Link: page}); err != nil {
		t.Fatal(err)
	}
	if r := end.last(t); !strings.Contains(r.body, `"sub_title_text":"Sure?\napprove web 7\nreject web 7 原因…"`) || !strings.Contains(r.body, `"key":"?v"`) {
		t.Errorf("%+v", r)
	}
	for _, to := range []Back{"", "@all", "all", "alice|bob", "https://evil.example/"} {
		if err := w.Answer(t.Context(), to, Answer{Text: []Span{{Text: "x"}}}); !IsPermanent(err) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if got := w.Typed("promote web production"); got != "promote web production" {
		t.Error(got)
	}
}

func TestWeComCallbackSecrets(t *testing.T) {
	for _, change := range []func(*WeComConfig){
		func(c *WeComConfig) { c.AESKey = NewSecret("short") }, func(c *WeComConfig) { c.Token = NewSecret("") },
		func(c *WeComConfig) { c.CorpID = "" }, func(c *WeComConfig) { c.AgentID = 0 }, func(c *WeComConfig) { c.Secret = NewSecret("") },
	} {
		cfg := appConfig("")
		change(&cfg)
		if _, err := NewWeComApp(cfg, http.DefaultClient, time.Now); err == nil {
			t.Errorf("%+v", cfg)
		}
	}
}
