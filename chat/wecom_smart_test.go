package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func newSmart(t testing.TB, base string) *WeComSmart {
	t.Helper()
	w, err := NewWeComSmart(WeComConfig{Token: NewSecret("QDG6eK"), AESKey: NewSecret(wecomKey), BaseURL: base, Language: "zh"}, http.DefaultClient, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// smartSays is a callback of a smart robot.
func smartSays(c *wecomCrypto, text string) (*http.Request, []byte) {
	encrypted, r := callback(c, text, 0)
	body, _ := json.Marshal(map[string]string{"encrypt": encrypted}) // of a string
	return r, body
}

// opened is what an answer says once it is decrypted.
func opened(t *testing.T, c *wecomCrypto, answer string) string {
	t.Helper()
	var e struct {
		Encrypt   string `json:"encrypt"`
		Signature string `json:"msgsignature"`
		Timestamp int64  `json:"timestamp"`
		Nonce     string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(answer), &e); err != nil || e.Nonce != "n1" || e.Timestamp != noon.Unix() {
		t.Fatalf("%q, %v", answer, err)
	}
	text, err := c.open(e.Signature, fmt.Sprint(e.Timestamp), e.Nonce, e.Encrypt)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const smartText = `{"msgid":"M1","aibotid":"B","chatid":"G","chattype":"group","from":{"userid":"alice"},"response_url":"https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=R","msgtype":"text","text":{"content":"@Ship\u2005/shipmate 状态 web"}}`

const smartPress = `{"msgid":"M2","from":{"userid":"alice"},"msgtype":"event","event":{"eventtype":"template_card_event","template_card_event":{"card_type":"button_interaction","event_key":"?v","task_id":"T1"}}}`

func smartResponse(base string) Back {
	return Back(base + "/cgi-bin/aibot/response?response_code=" + secret)
}

// smartAt answers a callback in the response.
func smartAt(text string) func(*testing.T, Service) func(Answer) string {
	return func(t *testing.T, s Service) func(Answer) string {
		w := s.(*WeComSmart)
		r, body := smartSays(w.crypto, text)
		h, err := w.Hear(t.Context(), r, "", body)
		if err != nil {
			t.Fatal(err)
		}
		return func(a Answer) string { return opened(t, w.crypto, h.At(a)) }
	}
}

func TestSmartHears(t *testing.T) {
	w := newSmart(t, "")
	r, body := smartSays(w.crypto, smartText)
	h, err := w.Hear(t.Context(), r, "", body)
	if err != nil || h.Heard == nil || h.Heard.ID != "M1" || h.Heard.User != "alice" || h.Heard.Text != "状态 web" || h.Heard.Back != "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=R" {
		t.Fatalf("%+v, %v", h.Heard, err)
	}
	if !h.Heard.Open {
		t.Error("a group does not see the answer")
	}
	r, body = smartSays(w.crypto, strings.Replace(smartText, `"chattype":"group"`, `"chattype":"single"`, 1))
	if alone, err := w.Hear(t.Context(), r, "", body); err != nil || alone.Heard == nil || alone.Heard.Open {
		t.Errorf("alone with the robot: %+v, %v", alone.Heard, err)
	}
	if got := opened(t, w.crypto, h.At(Answer{Text: []Span{{Text: "正在处理…"}}})); !strings.Contains(got, `"msgtype":"stream"`) || !strings.Contains(got, `"content":"正在处理…","finish":true,"id":"`) {
		t.Error(got)
	}
	r, body = smartSays(w.crypto, smartPress)
	h, err = w.Hear(t.Context(), r, "", body)
	if err != nil || h.Heard == nil || h.Heard.ID != "M2" || h.Heard.Value != "v" || !h.Heard.Plain || h.Heard.Back != "" {
		t.Fatalf("%+v, %v", h.Heard, err)
	}
	// A press changes the card for who pressed, and for nobody else.
	for want, a := range map[string]Answer{`"card_type":"button_interaction"`: {Title: "web", Text: []Span{{Text: "Sure?"}}, Link: page, Buttons: buttons("v")}, `"card_type":"text_notice"`: {Title: "web", Text: []Span{{Text: "Sure?"}}, Link: page}} {
		got := opened(t, w.crypto, h.At(a))
		if !strings.Contains(got, want) || !strings.Contains(got, `"response_type":"update_template_card"`) || !strings.Contains(got, `"task_id":"T1"`) || !strings.Contains(got, `"userids":["alice"]`) || !strings.Contains(got, "Sure?") {
			t.Error(got)
		}
	}
	if err := w.Answer(t.Context(), h.Heard.Back, Answer{}); err != nil {
		t.Error("a press without an address for more:", err)
	}
	for name, text := range map[string]string{"a picture": strings.Replace(smartText, `"msgtype":"text"`, `"msgtype":"image"`, 1), "another's button": `{"msgid":"M3","from":{"userid":"alice"},"msgtype":"event","event":{"eventtype":"template_card_event","template_card_event":{"event_key":"x","task_id":"T1"}}}`} {
		r, body := smartSays(w.crypto, text)
		if h, err := w.Hear(t.Context(), r, "", body); err != nil || h.Heard != nil {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	for name, text := range map[string]string{"nobody": strings.Replace(smartText, `"alice"`, `""`, 1), "everybody": strings.Replace(smartText, `"alice"`, `"all"`, 1), "no JSON": "<xml>"} {
		r, body := smartSays(w.crypto, text)
		if h, err := w.Hear(t.Context(), r, "", body); err == nil || h.Heard != nil {
			t.Errorf("%s: %+v", name, h.Heard)
		}
	}
	if got := w.Typed("status web"); got != "@机器人 status web" {
		t.Error(got)
	}
}

// TestSmartAnswersWeComAlone: whatever a callback says, an answer goes nowhere but to WeCom.
func TestSmartAnswersWeComAlone(t *testing.T) {
	w := newSmart(t, "")
	for _, address := range []string{"https://evil.example/", "http://qyapi.weixin.qq.com/", "https://qyapi.weixin.qq.com.evil.example/", "https://qyapi.weixin.qq.com@evil.example/", "https://a@qyapi.weixin.qq.com/", "//qyapi.weixin.qq.com/", "file:///etc/passwd", "https://qyapi.weixin.qq.com:8443/"} {
		r, body := smartSays(w.crypto, strings.Replace(smartText, "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=R", address, 1))
		if h, err := w.Hear(t.Context(), r, "", body); err == nil || h.Heard != nil {
			t.Errorf("%q: %+v", address, h.Heard)
		}
		if err := w.Answer(t.Context(), Back(address), Answer{Text: []Span{{Text: "x"}}}); !IsPermanent(err) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestSmartAnswers(t *testing.T) {
	far := newFarEnd(t, says(`{"errcode":0}`))
	w := newSmart(t, far.URL)
	back := smartResponse(far.URL)
	if err := w.Answer(t.Context(), back, Answer{Text: []Span{{Text: "部署 2 "}, {"<@all>", Code}}}); err != nil {
		t.Fatal(err)
	}
	if got := robotContent(far.last(t)); got != "部署 2 `＜＠all＞`" {
		t.Error(got)
	}
	if err := w.Answer(t.Context(), back, Answer{Title: "web", Text: []Span{{Text: "x"}}, Link: page, Buttons: buttons("v")}); err != nil {
		t.Fatal(err)
	}
	if r := far.last(t); !strings.Contains(r.body, `"msgtype":"template_card"`) || !strings.Contains(r.body, "approve web 7") {
		t.Errorf("%+v", r)
	}
	// It says nothing by itself.
	if _, err := w.Send(t.Context(), "", Message{Title: "T"}); !IsPermanent(err) {
		t.Error(err)
	}
	if err := w.Edit(t.Context(), "", Message{Title: "T"}); !errors.Is(err, ErrCannotEdit) {
		t.Error(err)
	}
	if _, err := w.Find(t.Context(), "", "", noon); !errors.Is(err, ErrCannotFind) {
		t.Error(err)
	}
}

// FuzzWeComHeard: whatever is signed rightly is heard as somebody's, or refused, or nothing.
func FuzzWeComHeard(f *testing.F) {
	f.Add(textInside("状态 web"))
	f.Add(inner("<MsgType>event</MsgType><Event>template_card_event</Event><TaskId>T1</TaskId><EventKey>!v</EventKey>"))
	f.Add(smartText)
	f.Add(`{"msgid":"M2","from":{"userid":"alice"},"msgtype":"event","event":{"eventtype":"template_card_event","template_card_event":{"event_key":"?v","task_id":"T1"}}}`)
	f.Add(`<!DOCTYPE xml [<!ENTITY x "y">]><xml>&x;</xml>`)
	f.Fuzz(func(t *testing.T, text string) {
		app, smart := newApp(t, "", func() time.Time { return noon }), newSmart(t, "")
		appRequest, appBody := xmlCallback(app.crypto, text, 0)
		smartRequest, smartBody := smartSays(smart.crypto, text)
		plain, _ := xmlCallback(app.crypto, "", 0)
		for _, hear := range []func() (Hearing, error){
			func() (Hearing, error) { return app.Hear(t.Context(), appRequest, "", appBody) },
			func() (Hearing, error) { return smart.Hear(t.Context(), smartRequest, "", smartBody) },
			func() (Hearing, error) { return app.Hear(t.Context(), plain, "", []byte(text)) },
			func() (Hearing, error) { return smart.Hear(t.Context(), plain, "", []byte(text)) },
		} {
			h, err := hear()
			if err != nil && h.Heard != nil {
				t.Errorf("both heard and refused: %+v, %v", h.Heard, err)
			}
			if h.Heard != nil && (h.Heard.ID == "" || !wecomUserID(h.Heard.User)) {
				t.Errorf("heard nobody: %+v", h.Heard)
			}
		}
	})
}
