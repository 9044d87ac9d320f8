package chat

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files")

const secret = "5ecret-Key-693axxx6-7aoc"

// provider is one implementation under test, in one mode: the same tests run over all. Another one is one entry of providers.
type provider struct {
	name    string
	open    func(base string, client *http.Client) (Service, error)
	ok      string                        // an answer that means success
	payload func(r request) []string      // every text of the request that is read as markup
	limits  func(t *testing.T, r request) // fails the test where the request exceeds what the provider takes
	active  *regexp.Regexp                // markup that can call a person or lead somewhere
	mention string                        // how alice is called
	link    string                        // the page's link
	edits   bool
	errors  []errorCase
	mute    bool           // it only answers
	ways    map[string]way // in which people are answered, where they are heard
}

// way is one in which a person is answered.
type way struct {
	back    func(base string) Back                            // where
	at      func(t *testing.T, s Service) func(Answer) string // or in the response itself
	buttons bool                                              // there are some
	limits  func(t *testing.T, r request)
	errors  []errorCase // of Answer; nil: the provider's
}

// call is something that tells a person something.
type call struct {
	do     func(ctx context.Context, s Service, base string) error
	errors []errorCase
}

// calls are all of them: whatever happens to one must happen well to each.
func (p provider) calls() map[string]call {
	all := map[string]call{}
	if !p.mute {
		all["Send"] = call{func(ctx context.Context, s Service, _ string) error {
			_, err := s.Send(ctx, "C012", Message{Title: "T"})
			return err
		}, p.errors}
	}
	if p.edits {
		all["Edit"] = call{func(ctx context.Context, s Service, _ string) error {
			return s.Edit(ctx, "C012:1700000000.000100", Message{Title: "T"})
		}, p.errors}
	}
	for name, w := range p.ways {
		if w.at != nil {
			continue
		}
		a := Answer{Title: "T", Text: []Span{{Text: "x"}}, Link: page}
		if w.buttons {
			a.Buttons = buttons("v")
		}
		c := call{func(ctx context.Context, s Service, base string) error {
			return s.(Hearer).Answer(ctx, w.back(base), a)
		}, w.errors}
		if c.errors == nil {
			c.errors = p.errors
		}
		all["Answer "+name] = c
	}
	return all
}

type request struct {
	path string
	body string
	form url.Values
}

type errorCase struct {
	name      string
	status    int // default 200
	header    map[string]string
	body      string
	permanent bool
	delay     time.Duration // 0: none given
	mayArrive bool          // the message may have arrived all the same
	hint      string
}

func providers() []provider {
	var calls atomic.Int64 // each message has its own minute: no budget is used up here
	now := func() time.Time { return time.Unix(0, 0).Add(time.Duration(calls.Add(1)) * time.Minute) }
	all := []provider{{
		name: "wecom",
		open: func(base string, client *http.Client) (Service, error) {
			return NewWeComRobot(WeComConfig{RobotKeys: []Secret{NewSecret(secret)}, BaseURL: base}, client, now)
		},
		ok:      `{"errcode":0,"errmsg":"ok"}`,
		payload: func(r request) []string { return []string{robotContent(r)} },
		limits: func(t *testing.T, r request) {
			if n := len(robotContent(r)); n > 4096 {
				t.Errorf("content has %d bytes, more than 4096", n)
			}
		},
		active:  regexp.MustCompile("<@[^>]*>|\\[[^\\]]*\\]\\([^)]*\\)|</?[^>]*>?|`|://"),
		mention: "<@alice.w>",
		link:    "[Details](https://ship.example.com/runs/1)",
		errors: []errorCase{
			{name: "busy", body: `{"errcode":-1,"errmsg":"system busy"}`, hint: "busy"},
			{name: "malformed", body: `{"errcode":40008}`, permanent: true, hint: "length"},
			{name: "rate", body: `{"errcode":45009}`, delay: time.Minute, hint: "20 messages a minute"},
			{name: "key", body: `{"errcode":93000,"errmsg":"invalid webhook url ` + secret + `"}`, permanent: true, hint: "copy the key"},
			{name: "unknown code", body: `{"errcode":45033,"errmsg":"` + secret + `"}`, hint: "45033"},
			{name: "bad gateway", status: 502, mayArrive: true, body: secret, hint: "502"},
			{name: "no JSON", mayArrive: true, body: "<html>" + secret, hint: "base_url"},
			{name: "no errcode", mayArrive: true, body: `{}`, hint: "base_url"},
		},
	}, {
		name: "wecom-app",
		open: func(base string, client *http.Client) (Service, error) {
			cfg := appConfig(base)
			w, err := NewWeComApp(cfg, client, now)
			if err == nil { // as if it were kept from before; that it is asked for is TestAppToken's
				w.access, w.until = NewSecret(secret), time.Unix(1<<40, 0)
			}
			return w, err
		},
		ok:      `{"errcode":0,"errmsg":"ok"}`,
		payload: robotTexts,
		limits:  wecomLimits(2048),
		ways: map[string]way{
			"in markdown": {back: func(string) Back { return "alice" }, limits: wecomLimits(2048)},
			"with a card": {back: func(string) Back { return "alice" }, buttons: true, limits: wecomLimits(2048)},
		},
		active:  regexp.MustCompile("<@[^>]*>|\\[[^\\]]*\\]\\([^)]*\\)|</?[^>]*>?|`|://"),
		mention: "alice", // who gets it is called by that
		link:    page.URL,
		errors: []errorCase{
			{name: "busy", body: `{"errcode":-1,"errmsg":"system busy"}`, hint: "busy"},
			{name: "malformed", body: `{"errcode":40008}`, permanent: true, hint: "length"},
			{name: "rate", body: `{"errcode":45009}`, delay: time.Minute, hint: "too often"},
			{name: "address", body: `{"errcode":60020,"errmsg":"not allow to access from your ip, ` + secret + `"}`, permanent: true, hint: "企业可信IP"},
			{name: "nobody", body: `{"errcode":81013}`, permanent: true, hint: "可见范围"},
			{name: "secret", body: `{"errcode":40001}`, permanent: true, hint: "secret is not"},
			{name: "unknown code", body: `{"errcode":99999,"errmsg":"` + secret + `"}`, hint: "99999"},
			{name: "bad gateway", status: 502, mayArrive: true, body: secret, hint: "502"},
			{name: "no JSON", mayArrive: true, body: "<html>" + secret, hint: "base_url"},
			{name: "no errcode", mayArrive: true, body: `{}`, hint: "base_url"},
		},
	}, {
		name: "slack",
		open: func(base string, client *http.Client) (Service, error) {
			return NewSlack(SlackConfig{BotToken: NewSecret(secret), SigningSecret: NewSecret(secret), AppToken: NewSecret(secret), BaseURL: base}, client, time.Now)
		},
		ways: map[string]way{
			"a command":                  {back: slackResponse, limits: slackAnswerLimits, errors: slackResponseErrors},
			"a command, with buttons":    {back: slackResponse, limits: slackAnswerLimits, errors: slackResponseErrors, buttons: true},
			"a command at once":          {at: slackAt, limits: slackAnswerLimits},
			"a command, buttons at once": {at: slackAt, limits: slackAnswerLimits, buttons: true},
			"a mention":                  {back: slackMention, limits: slackAnswerLimits},
			"a mention, with buttons":    {back: slackMention, limits: slackAnswerLimits, buttons: true},
		},
		ok:      `{"ok":true,"channel":"C012","ts":"1700000000.000100"}`,
		payload: slackTexts,
		limits:  slackLimits,
		active:  regexp.MustCompile(`<[^>]*>`),
		mention: "<@U012AB>",
		link:    "<https://ship.example.com/runs/1|Details>",
		edits:   true,
		errors: []errorCase{
			{name: "rate", status: 429, header: map[string]string{"Retry-After": "7"}, delay: 7 * time.Second, hint: "rate limited"},
			{name: "rate without delay", status: 429, delay: time.Minute, hint: "429"},
			{name: "rate at once", status: 429, header: map[string]string{"Retry-After": "0"}, delay: time.Second, hint: "rate limited"},
			{name: "channel", body: `{"ok":false,"error":"channel_not_found"}`, permanent: true, hint: "/invite"},
			{name: "no member", body: `{"ok":false,"error":"not_in_channel"}`, permanent: true, hint: "/invite"},
			{name: "token", body: `{"ok":false,"error":"invalid_auth"}`, permanent: true, hint: "bot_token"},
			{name: "archived", body: `{"ok":false,"error":"is_archived"}`, permanent: true, hint: "archived"},
			{name: "internal", mayArrive: true, body: `{"ok":false,"error":"internal_error"}`, hint: "internal_error"},
			{name: "limited in the body", body: `{"ok":false,"error":"ratelimited"}`, delay: time.Minute, hint: "ratelimited"},
			{name: "echo", mayArrive: true, body: `{"ok":false,"error":"` + secret + `"}`, hint: "malformed"},
			{name: "bad gateway", status: 502, mayArrive: true, body: secret, hint: "502"},
			{name: "no JSON", mayArrive: true, body: "<html>" + secret, hint: "invalid character"},
			{name: "nothing", body: `{}`, mayArrive: true, hint: "base_url"},
		},
	}, {
		name: "wecom-smart",
		mute: true,
		open: func(base string, client *http.Client) (Service, error) {
			return NewWeComSmart(WeComConfig{Token: NewSecret("QDG6eK"), AESKey: NewSecret(wecomKey), BaseURL: base}, client, func() time.Time { return noon })
		},
		ok:      `{"errcode":0,"errmsg":"ok"}`,
		payload: robotTexts,
		active:  regexp.MustCompile("<@[^>]*>|\\[[^\\]]*\\]\\([^)]*\\)|</?[^>]*>?|`|://"),
		ways: map[string]way{
			"by response_url":              {back: smartResponse, limits: wecomLimits(20480)},
			"by response_url, with a card": {back: smartResponse, limits: wecomLimits(20480), buttons: true},
			"at once":                      {at: smartAt(smartText), limits: wecomLimits(20480)},
			"at once, with a card":         {at: smartAt(smartText), limits: wecomLimits(20480), buttons: true},
			"a press":                      {at: smartAt(smartPress), limits: wecomLimits(0)},
			"a press, with buttons":        {at: smartAt(smartPress), limits: wecomLimits(0), buttons: true},
		},
		errors: []errorCase{
			{name: "busy", body: `{"errcode":-1}`, hint: "busy"},
			{name: "rate", body: `{"errcode":45009}`, delay: time.Minute, hint: "too often"},
			{name: "used", body: `{"errcode":40097,"errmsg":"` + secret + `"}`, permanent: true, hint: "too late"},
			{name: "bad gateway", status: 502, mayArrive: true, body: secret, hint: "502"},
			{name: "no JSON", mayArrive: true, body: "<html>" + secret, hint: "base_url"},
			{name: "no errcode", mayArrive: true, body: `{}`, hint: "base_url"},
		},
	}}
	card := all[0] // the same robot, where it may send cards
	card.name, card.link = "wecom-card", page.URL
	card.open = func(base string, client *http.Client) (Service, error) {
		return NewWeComRobot(WeComConfig{RobotKeys: []Secret{NewSecret(secret)}, BaseURL: base, Card: true}, client, now)
	}
	card.payload = robotTexts
	card.limits = func(t *testing.T, r request) {
		if n := len(r.body); n > 2*4096 { // with JSON's escapes
			t.Errorf("the body has %d bytes", n)
		}
	}
	return append(all, card)
}

// senders are the providers that tell something by themselves.
func senders() []provider {
	return slices.DeleteFunc(providers(), func(p provider) bool { return p.mute })
}

// farEnd records what it is sent and answers each request by answer.
type farEnd struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
}

func newFarEnd(t *testing.T, answer http.HandlerFunc) *farEnd {
	f := &farEnd{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		form, _ := url.ParseQuery(string(body))
		f.mu.Lock()
		f.requests = append(f.requests, request{r.URL.RequestURI(), string(body), form})
		f.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *farEnd) last(t *testing.T) request {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) == 0 {
		t.Fatal("nothing was sent")
	}
	return f.requests[len(f.requests)-1]
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) }
}

func open(t *testing.T, p provider, base string) Service {
	t.Helper()
	s, err := p.open(base, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p provider) alice() Person {
	if strings.HasPrefix(p.name, "wecom") {
		return Person{GitHub: "alice", ID: "alice.w"}
	}
	return Person{GitHub: "alice", ID: "U012AB"}
}

var page = Link{Text: "Details", URL: "https://ship.example.com/runs/1"}

func TestMessages(t *testing.T) {
	for _, p := range senders() {
		far := newFarEnd(t, says(p.ok))
		s := open(t, p, far.URL)
		digest := "registry.example.com/team/devops-app@sha256:" + strings.Repeat("ab", 32)
		for name, m := range map[string]Message{
			"running": {Title: "Build devops-app", State: Running, Status: "step 3 of 7", Fields: []Field{{Name: "Branch", Value: "master"}}, Link: page},
			"waiting": {Title: "devops-app release 3 to production", State: Waiting, Status: "waiting for approval (0 of 1)",
				Fields:   []Field{{Name: "Image", Value: digest}, {Name: "Strategy", Value: "rolling"}, {Name: "Approver"}},
				Mentions: []Person{p.alice(), {GitHub: "bob"}, p.alice()}, Link: page},
			"succeeded-zh": {Title: "devops-app 版本 3 部署到 staging", State: Succeeded, Status: "已上线",
				Fields: []Field{{Name: "提交", Value: "1a2b3c4", URL: "https://github.com/acme/web/commit/1a2b3c4"}, {Name: "用时", Value: "1 分 20 秒"}},
				Text:   "修复登录 & 首页\n\n第二行", Link: Link{Text: "查看", URL: page.URL}},
			"failed": {Title: "Build devops-app", State: Failed, Status: "failed at step build",
				Text: "Fix *everything* <!channel>", Detail: "\x1b[31merror:\x1b[0m cannot find `main`\r\nexit status 1\n", Mentions: []Person{p.alice()}, Link: page},
			"stopped": {Title: "Build devops-app", State: Stopped, Status: "superseded", Link: page},
			"plain":   {Title: "Hello"},
		} {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				if _, err := s.Send(t.Context(), "C012", m); err != nil {
					t.Fatal(err)
				}
				r := far.last(t)
				p.limits(t, r)
				golden(t, filepath.Join("testdata", p.name, name+".json"), pretty(t, r))
			})
		}
	}
}

// pretty is a request as JSON to read; Slack's form with its blocks laid open and without the token.
func pretty(t *testing.T, r request) []byte {
	t.Helper()
	var v any = map[string]any{}
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		form := map[string]any{}
		for k := range r.form {
			form[k] = r.form.Get(k)
		}
		delete(form, "token")
		var blocks any
		if err := json.Unmarshal([]byte(r.form.Get("blocks")), &blocks); err != nil {
			t.Fatal(err)
		}
		form["blocks"] = blocks
		v = form
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (go test ./chat -update writes it):\n%s", file, got)
	}
}

// nasty is what a user may write to look like us, to call people or to break a message.
var nasty = []string{
	"<@all>", "<@alice.w>", "<@U012AB>", "<!here>", "<!channel|x>", "@all", "@channel", "@here please", "<#C012>",
	"[x](https://evil.example)", "<https://evil.example|bank>", "https://evil.example/", "[a\n](b)",
	"**bold**", "*bold*", "_it_", "~gone~", "`code`", "```\nfence\n```", "\\[x\\](y)", "&lt;@all&gt;", "&#60;@all>",
	"> quote", ">>> all", "# head", `<font color="warning">red</font>`, "</font><@all>", "a\u200b<\u200b@all>", "\u202e<lla@>",
	"line\r\n> two\u2028# three\u0085<@all>", "\x00\x1b[31m<@all>\xff\xfe", "<", "[", "]", "](", "(", ")", "|", "\\",
}

func TestUserTextIsNeverMarkup(t *testing.T) {
	for _, p := range senders() {
		far := newFarEnd(t, says(p.ok))
		s := open(t, p, far.URL)
		own := open(t, p, far.URL)
		for _, text := range append(nasty, strings.Join(nasty, ""), strings.Join(nasty, " "), strings.Join(nasty, "\n")) {
			everywhere := func(text string) Message {
				return Message{Title: "T" + text, Status: text, State: Failed, Text: text, Detail: text, Fields: []Field{{Name: text, Value: "v" + text}, {Name: "n", Value: text, URL: "https://a.example/"}},
					Mentions: []Person{p.alice(), {GitHub: text}, {GitHub: "bob", ID: text}}, Link: Link{Text: text, URL: page.URL},
					Buttons: []Button{{Label: "b" + text, Value: "1", Confirm: "c" + text, Cancel: "d" + text}, {Label: "b" + text, Value: "2", Reason: text, Cancel: "d" + text}}}
			}
			if _, err := s.Send(t.Context(), "C012", everywhere(text)); err != nil {
				t.Fatal(err)
			}
			got := p.markup(far.last(t))
			if _, err := own.Send(t.Context(), "C012", everywhere("x")); err != nil {
				t.Fatal(err)
			}
			// The only markup is what the message has with harmless text, but for the links' own words.
			want := p.markup(far.last(t))
			for _, m := range got {
				if !slices.Contains(want, m) {
					t.Errorf("%s: %q brought %q into the message", p.name, text, m)
				}
			}
		}
	}
}

var (
	linkWords      = regexp.MustCompile(`^\[[^\]]*\]|\|[^>]*>$`)
	slackCodes     = regexp.MustCompile("(?s)```.*```|`[^`\n]*`")
	slackFormat    = regexp.MustCompile("(?m)^&gt;|~|`|(^|[^A-Za-z0-9])_|_($|[^A-Za-z0-9])|(^|[^A-Za-z0-9<])@")
	markdownFormat = regexp.MustCompile(`(?m)^\s*[>#]+ *[>#]|^#|\\|&|~|(^|[^*])\*([^*]|$)`)
)

// markup lists what is active in a request, links without their words.
func (p provider) markup(r request) []string {
	var found []string
	for _, text := range p.payload(r) {
		for _, m := range p.active.FindAllString(text, -1) {
			found = append(found, linkWords.ReplaceAllString(m, ""))
		}
		format := markdownFormat
		if p.name == "slack" {
			format = slackFormat
			text = slackCodes.ReplaceAllString(text, "")
		}
		found = append(found, format.FindAllString(text, -1)...)
	}
	return found
}

func TestLimits(t *testing.T) {
	long := map[string]string{
		"Chinese": strings.Repeat("修复登录页面的错误", 380),
		"emoji":   strings.Repeat("👩‍💻🚀", 700),
		"escaped": strings.Repeat("&<>*_`", 1700),
		"lines":   strings.Repeat("一行日志 <@all>\n", 600),
		"one":     strings.Repeat("a", 10_000),
	}
	for _, p := range senders() {
		far := newFarEnd(t, says(p.ok))
		s := open(t, p, far.URL)
		for name, text := range long {
			fields := slices.Repeat([]Field{{Name: text, Value: text}, {Name: "x", Value: text, URL: "https://a.example/b"}}, 40)
			people := slices.Repeat([]Person{{GitHub: text}}, 5)
			for i := range 300 {
				people = append(people, Person{GitHub: fmt.Sprint("u", i)})
			}
			for part, m := range map[string]Message{
				"title":    {Title: text},
				"text":     {Title: "T", Text: text},
				"detail":   {Title: "T", Detail: text + "\nthe end"},
				"fields":   {Title: "T", Fields: fields},
				"mentions": {Title: "T", Mentions: append([]Person{p.alice()}, people...)},
				"buttons":  {Title: "T…", Buttons: slices.Repeat([]Button{{Label: text, Value: strings.Repeat("v", 1000), Confirm: text, Cancel: text}, {Label: text, Value: strings.Repeat("v", 1000), Reason: text, Cancel: text}}, 40)},
				"all":      {Title: text, Status: text, State: Failed, Text: text, Detail: text, Fields: fields, Mentions: append([]Person{p.alice()}, people...)},
			} {
				t.Run(p.name+"/"+name+"/"+part, func(t *testing.T) {
					m.Link = page
					if _, err := s.Send(t.Context(), "C012", m); err != nil {
						t.Fatal(err)
					}
					r := far.last(t)
					p.limits(t, r)
					texts := strings.Join(p.payload(r), "\n")
					whole(t, texts)
					if !strings.Contains(texts, p.link) {
						t.Error("the page's link is gone")
					}
					if len(m.Mentions) > 0 && !strings.Contains(texts, p.mention) {
						t.Error("the mention is gone")
					}
					if part == "detail" && !strings.Contains(texts, "the end") {
						t.Error("the end of the detail is gone")
					}
					if !strings.Contains(texts, "…") {
						t.Errorf("nothing says that text was left out")
					}
				})
			}
		}
	}
}

// whole fails the test where a rune or one of our tags was cut.
func whole(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
		t.Error("a rune was cut")
	}
	if strings.Count(text, "<font ") != strings.Count(text, "</font>") || strings.Count(text, "<") != strings.Count(regexp.MustCompile(`(?m)^>`).ReplaceAllString(text, ""), ">") {
		t.Errorf("a tag was cut:\n%s", text)
	}
	if strings.Count(text, "[") != strings.Count(text, "](https://") && !strings.Contains(text, "|") {
		t.Errorf("a link was cut:\n%s", text)
	}
}

func TestErrors(t *testing.T) {
	for _, p := range providers() {
		for name, c := range p.calls() {
			for _, tt := range c.errors {
				t.Run(p.name+"/"+name+"/"+tt.name, func(t *testing.T) {
					far := newFarEnd(t, func(w http.ResponseWriter, r *http.Request) {
						for k, v := range tt.header {
							w.Header().Set(k, v)
						}
						if tt.status != 0 {
							w.WriteHeader(tt.status)
						}
						io.WriteString(w, tt.body)
					})
					err := c.do(t.Context(), open(t, p, far.URL), far.URL)
					if err == nil {
						t.Fatal("no error")
					}
					if got := IsPermanent(err); got != tt.permanent {
						t.Errorf("permanent = %v: %v", got, err)
					}
					if got, ok := RetryDelay(err); got != tt.delay || ok != (tt.delay > 0) {
						t.Errorf("delay = %v, %v: %v", got, ok, err)
					}
					if got := !IsNotSent(err); got != tt.mayArrive {
						t.Errorf("may have arrived = %v: %v", got, err)
					}
					if !strings.Contains(err.Error(), tt.hint) {
						t.Errorf("%q does not say %q", err, tt.hint)
					}
					hides(t, err)
				})
			}
		}
	}
}

// TestAnswers: what a person is told is within the limits, whole, and nothing that somebody typed is markup in it.
func TestAnswers(t *testing.T) {
	long := []string{strings.Repeat("修复 <!channel> `x` ", 700), strings.Repeat("👩‍💻", 3000), strings.Repeat("a\n", 5000), strings.Repeat("&<>*_`", 1700), strings.Repeat("x", 10_000)}
	for _, p := range providers() {
		for name, w := range p.ways {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				far := newFarEnd(t, says(p.ok))
				s := open(t, p, far.URL)
				told := func(text string) request {
					a := Answer{Refused: true, Title: "T" + text, Link: Link{Text: text, URL: page.URL}, Text: []Span{{Text: "Release "}, {text, Code}, {Text: " goes. " + text + "\n"}, {text, Block}}}
					if w.buttons {
						a.Buttons = []Button{{Label: "b" + text, Value: "1", Confirm: "c" + text, Cancel: "d" + text, Typed: "e" + text}, {Label: "b" + text, Value: "2", Reason: text, Cancel: "d" + text}}
					}
					if w.at != nil {
						return request{body: w.at(t, s)(a)}
					}
					if err := s.(Hearer).Answer(t.Context(), w.back(far.URL), a); err != nil {
						t.Fatal(err)
					}
					return far.last(t)
				}
				want := p.markup(told("x"))
				for _, text := range slices.Concat(nasty, long, []string{strings.Join(nasty, " "), strings.Join(nasty, "\n")}) {
					r := told(text)
					w.limits(t, r)
					for _, m := range p.markup(r) {
						if !slices.Contains(want, m) {
							t.Errorf("%.100q brought %q into the answer", text, m)
						}
					}
					shown := p.payload(r)
					for _, one := range shown {
						if !utf8.ValidString(one) || strings.ContainsRune(one, utf8.RuneError) && utf8.ValidString(text) {
							t.Error("a rune was cut")
						}
						if strings.Count(one, "`")%2 != 0 {
							t.Errorf("%.100q leaves code open: %.200s", text, one)
						}
					}
					if !strings.Contains(strings.Join(shown, "\n"), "🔴 Release ") {
						t.Errorf("%.100q: the beginning is gone: %.200q", text, shown)
					}
					if w.buttons && !strings.Contains(strings.Join(shown, "\n"), "\nb") {
						t.Errorf("%.100q: the buttons are gone: %.200q", text, shown)
					}
				}
			})
		}
	}
}

// hides fails the test where v shows the secret in any way that it can be printed.
func hides(t *testing.T, v any) {
	t.Helper()
	shown := fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v)
	if j, err := json.Marshal(v); err == nil {
		shown += string(j)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
	for err, ok := v.(error); ok && err != nil; err = errors.Unwrap(err) {
		shown += fmt.Sprintf("%+v %#v", err, err)
	}
	shown += log.String()
	for _, form := range []string{secret, url.QueryEscape(secret), fmt.Sprintf("%x", secret)} {
		if strings.Contains(shown, form) {
			t.Errorf("the secret is shown: %s", shown)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	k := NewSecret(secret)
	hides(t, k)
	hides(t, &k)
	hides(t, struct{ unexported Secret }{k})
	hides(t, map[string]Secret{"k": k})
	hides(t, WeComConfig{RobotKeys: []Secret{k}})
	hides(t, SlackConfig{BotToken: k, SigningSecret: k, AppToken: k})
	hides(t, WeComConfig{Secret: k, Token: k, AESKey: k})
	for _, p := range providers() {
		far := newFarEnd(t, says(p.ok))
		s := open(t, p, far.URL)
		hides(t, s)
		if w, ok := s.(*WeComRobot); ok {
			hides(t, w.robots)
		}
		for name, c := range p.calls() {
			if err := c.do(t.Context(), s, far.URL); err != nil {
				t.Fatalf("%s, %s: %v", p.name, name, err)
			}
			if r := far.last(t); !strings.Contains(r.path+r.body, secret) {
				t.Errorf("%s, %s: the far end did not get the secret", p.name, name)
			}
		}
		far.Close()
		for name, c := range p.calls() {
			err := c.do(t.Context(), s, far.URL)
			if err == nil || IsPermanent(err) {
				t.Errorf("%s, %s: unreachable far end: %v", p.name, name, err)
			}
			hides(t, err)
		}
		_, err := p.open("http://user:"+secret+"@host:port/", http.DefaultClient)
		if err == nil {
			t.Errorf("%s: accepts a malformed base_url", p.name)
		}
		hides(t, err)
	}
}

func TestRedirectGetsNothing(t *testing.T) {
	for _, p := range providers() {
		for name, c := range p.calls() {
			thief := newFarEnd(t, says(p.ok))
			far := newFarEnd(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, thief.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			})
			err := c.do(t.Context(), open(t, p, far.URL), far.URL)
			if err == nil || len(thief.requests) > 0 {
				t.Errorf("%s, %s: followed a redirect: %v", p.name, name, err)
			}
			hides(t, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	for _, p := range providers() {
		for name, c := range p.calls() {
			arrived, done := make(chan struct{}), make(chan struct{})
			far := newFarEnd(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-done })
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-arrived; cancel() }()
			err := c.do(ctx, open(t, p, far.URL), far.URL)
			close(done)
			if !errors.Is(err, context.Canceled) || IsPermanent(err) {
				t.Errorf("%s, %s: %v", p.name, name, err)
			}
			hides(t, err)
		}
	}
}

func TestEdit(t *testing.T) {
	for _, p := range senders() {
		far := newFarEnd(t, says(p.ok))
		s := open(t, p, far.URL)
		ref, err := s.Send(t.Context(), "C012", Message{Title: "One"})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Edit(t.Context(), ref, Message{Title: "Two"})
		if !p.edits {
			if !errors.Is(err, ErrCannotEdit) || !IsPermanent(err) || len(far.requests) != 1 {
				t.Errorf("%s: %v", p.name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r := far.last(t)
		if r.path != "/chat.update" || r.form.Get("channel") != "C012" || r.form.Get("ts") != "1700000000.000100" || !strings.Contains(r.form.Get("blocks"), "Two") {
			t.Errorf("%s: edit sent %+v", p.name, r)
		}
		for _, ref := range []Ref{"", "C012", ":1", "C012:"} {
			if err := s.Edit(t.Context(), ref, Message{Title: "T"}); !errors.Is(err, ErrCannotEdit) || !IsPermanent(err) {
				t.Errorf("%s: ref %q: %v", p.name, ref, err)
			}
		}
		gone := newFarEnd(t, says(`{"ok":false,"error":"message_not_found"}`))
		if err := open(t, p, gone.URL).Edit(t.Context(), ref, Message{Title: "T"}); !errors.Is(err, ErrCannotEdit) || !IsPermanent(err) {
			t.Errorf("%s: deleted message: %v", p.name, err)
		}
	}
}

func TestRefusesWhatCannotBeSent(t *testing.T) {
	for _, p := range providers() {
		far := newFarEnd(t, says(p.ok))
		s := open(t, p, far.URL)
		for _, title := range []string{"", " \n\u200b"} {
			if _, err := s.Send(t.Context(), "C012", Message{Title: title, Text: "x"}); !IsPermanent(err) {
				t.Errorf("%s: title %q: %v", p.name, title, err)
			}
		}
		if len(far.requests) > 0 {
			t.Errorf("%s: sent a message without a title", p.name)
		}
		for _, base := range []string{"ftp://x/", "qyapi.weixin.qq.com", "https://", "https://x/?key=" + secret, "https://x/#y"} {
			_, err := p.open(base, http.DefaultClient)
			if err == nil {
				t.Errorf("%s: accepts base_url %q", p.name, base)
			}
			hides(t, err)
		}
	}
}

func TestMarkedErrors(t *testing.T) {
	base := errors.New("x")
	for name, err := range map[string]error{
		"permanent": fmt.Errorf("a: %w", Permanent(base)),
		"later":     fmt.Errorf("a: %w", RetryAfter(base, time.Second)),
	} {
		if !errors.Is(err, base) || err.Error() != "a: x" {
			t.Errorf("%s: %v hides its cause", name, err)
		}
		if IsPermanent(err) != (name == "permanent") {
			t.Errorf("%s: IsPermanent is wrong", name)
		}
		if d, ok := RetryDelay(err); ok != (name == "later") || (ok && d != time.Second) {
			t.Errorf("%s: RetryDelay = %v, %v", name, d, ok)
		}
	}
	if Permanent(nil) != nil || RetryAfter(nil, time.Second) != nil || IsPermanent(nil) || IsPermanent(base) {
		t.Error("no error and plain errors are not marked")
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example/b?c=d&e=f#g":                 "https://a.example/b?c=d&e=f#g",
		"https://a.example/分支":                          "https://a.example/%E5%88%86%E6%94%AF",
		"https://u:p@a.example/":                        "https://a.example/",
		"https://a.example/x)<@all>|*`'\"":              "https://a.example/x%29%3C@all%3E%7C%2A%60%27%22",
		"javascript:alert(1)":                           "",
		"//a.example":                                   "",
		"https://":                                      "",
		"https://a.example/\n":                          "",
		"https://a.example/" + strings.Repeat("x", 500): "",
		"": "",
	} {
		if got := address(in); got != want {
			t.Errorf("address(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, text := range nasty {
		f.Add(text, text, "x", text)
	}
	f.Add(strings.Repeat("中_", 3000), strings.Repeat("👩‍💻", 2000), "https://a.example/|>", strings.Repeat("a\n", 5000))
	f.Fuzz(func(t *testing.T, title, text, target, detail string) {
		m := Message{Title: title, Status: text, State: Failed, Text: text, Detail: detail, Link: Link{Text: title, URL: target},
			Fields: []Field{{Name: title, Value: text, URL: target}, {Name: "x", Value: detail}}, Mentions: []Person{{GitHub: title, ID: text}, {GitHub: "a", ID: "U012AB"}}}
		content, _, err := robotMarkdown(m)
		if clean(title) == "" {
			if !IsPermanent(err) {
				t.Fatalf("title %q: %v", title, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > robotMarkdownBytes || !utf8.ValidString(content) {
			t.Errorf("%d bytes, valid: %v", len(content), utf8.ValidString(content))
		}
		ours := regexp.MustCompile(`</?font( color="(info|comment|warning)")?>|<@[0-9A-Za-z][-_.@0-9A-Za-z]*>|(?m:^> )|\*\*|\]\(https?://[^)<>\s]*\)`)
		rest := ours.ReplaceAllString(content, "")
		if strings.ContainsAny(rest, "<>]*`~\\&") || strings.Contains(rest, "://") || strings.Contains(content, "<@all>") {
			t.Errorf("markup in %q", rest)
		}
		for _, field := range []string{slackText(text), slackVerbatim(text), slackQuote(text)} {
			rest := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(regexp.MustCompile(`(?m)^>`).ReplaceAllString(field, ""))
			if strings.ContainsAny(rest, "<>&`") || !utf8.ValidString(field) {
				t.Errorf("markup in %q", field)
			}
		}
		for _, limit := range []int{8, 40, 300} {
			if s := clip(text, limit, units, slackQuote); units(s) > limit {
				t.Errorf("clip: %d > %d", units(s), limit)
			}
		}
		for _, limit := range []int{120, 300} {
			if s := clipTail(detail, limit, octets, robotQuote); len(s) > limit {
				t.Errorf("clipTail: %d > %d", len(s), limit)
			}
		}
	})
}

// TestUnreached: without a connection nothing was sent; after a timeout, who knows.
func TestUnreached(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client has gone
		<-r.Context().Done()
	}))
	defer hang.Close()
	for _, p := range providers() {
		for name, c := range p.calls() {
			err := c.do(t.Context(), open(t, p, gone.URL), gone.URL)
			if err == nil || !IsNotSent(err) || IsPermanent(err) {
				t.Errorf("%s, %s, no connection: %v", p.name, name, err)
			}
			hides(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			err = c.do(ctx, open(t, p, hang.URL), hang.URL)
			cancel()
			if err == nil || IsNotSent(err) || IsPermanent(err) {
				t.Errorf("%s, %s, no answer: %v", p.name, name, err)
			}
			hides(t, err)
		}
	}
}
