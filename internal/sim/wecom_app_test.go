package sim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// appWorld is a WeCom with an app of two members, and a clock.
func appWorld(t *testing.T) (*sim.WeCom, *clock, func(path, body string) map[string]any) {
	t.Helper()
	w, now := sim.NewWeCom("k1"), &clock{at: time.Unix(1000, 0)}
	w.Now = now.Now
	w.SetApp("ww1", "s1", 7, "alice", "bob")
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.SetSmart(server.URL)
	return w, now, func(path, body string) map[string]any {
		t.Helper()
		response, err := http.Post(server.URL+"/cgi-bin/"+path, "application/json", strings.NewReader(body))
		must(t, err)
		defer response.Body.Close()
		answer := map[string]any{}
		must(t, json.NewDecoder(response.Body).Decode(&answer))
		return answer
	}
}

func appText(to string) string {
	return fmt.Sprintf(`{"touser":%q,"agentid":7,"msgtype":"markdown","markdown":{"content":"hi"}}`, to)
}

func appCard(task, buttons string) string {
	return fmt.Sprintf(`{"touser":"alice|bob","agentid":7,"msgtype":"template_card","template_card":{"card_type":"button_interaction","main_title":{"title":"t"},"card_action":{"type":1,"url":"https://x.example"},"task_id":%q,"button_list":[%s]}}`, task, buttons)
}

const oneButton = `{"text":"Yes","style":1,"key":"k"}`

func TestWeComApp(t *testing.T) {
	w, now, call := appWorld(t)
	if got := call("gettoken?corpid=ww1&corpsecret=wrong", "")["errcode"]; got != 40001.0 {
		t.Errorf("a wrong secret: %v", got)
	}
	token := func() string {
		text, _ := call("gettoken?corpid=ww1&corpsecret=s1", "")["access_token"].(string)
		return text
	}
	first := token()
	if first == "" || token() != first {
		t.Errorf("a token that is good is %q, and then another", first)
	}
	send := func(body string) map[string]any { t.Helper(); return call("message/send?access_token="+token(), body) }
	for name, test := range map[string]struct {
		body string
		want float64
	}{
		"text":              {appText("alice"), 0},
		"somebody":          {appText("alice|ZOE"), 0},
		"nobody":            {appText("zoe"), 81013},
		"another app":       {strings.Replace(appText("alice"), "7", "8", 1), 301002},
		"2049 bytes":        {strings.Replace(appText("alice"), "hi", strings.Repeat("x", 2049), 1), 40008},
		"a card":            {appCard("t1", oneButton), 0},
		"no task":           {appCard("", oneButton), 40008},
		"a task with space": {appCard("t 1", oneButton), 40008},
		"no buttons":        {appCard("t2", ""), 40008},
		"seven buttons":     {appCard("t3", strings.TrimSuffix(strings.Repeat(oneButton+",", 7), ",")), 40008},
		"a long key":        {appCard("t4", strings.Replace(oneButton, `"k"`, `"`+strings.Repeat("k", 1025)+`"`, 1)), 40008},
	} {
		if got := send(test.body); got["errcode"] != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if got := send(appText("alice|ZOE"))["invaliduser"]; got != "zoe" {
		t.Errorf("invaliduser is %v", got)
	}
	if got := send(appCard("t1", oneButton))["errcode"]; got != 40008.0 {
		t.Errorf("a task_id twice: %v", got)
	}
	now.Advance(2 * time.Hour)
	if got := call("message/send?access_token="+first, appText("alice"))["errcode"]; got != 42001.0 {
		t.Errorf("an old token: %v", got)
	}
	if got := call("message/send?access_token=x", appText("alice"))["errcode"]; got != 40014.0 {
		t.Errorf("no token: %v", got)
	}
	w.FailNextApp(-1, 1)
	if got := send(appText("alice"))["errcode"]; got != -1.0 {
		t.Errorf("an injected failure: %v", got)
	}

	// More than 30 a minute are dropped without a word.
	before := len(w.AppMessages("bob"))
	for range 31 {
		if got := send(appText("bob"))["errcode"]; got != 0.0 {
			t.Fatal(got)
		}
	}
	if n := len(w.AppMessages("bob")) - before; n != 30 {
		t.Errorf("%d messages arrived", n)
	}
}

// TestWeComAppUpdate: a response_code is good once, for three days.
func TestWeComAppUpdate(t *testing.T) {
	w, now, call := appWorld(t)
	ask := func(path, body string) map[string]any {
		text, _ := call("gettoken?corpid=ww1&corpsecret=s1", "")["access_token"].(string)
		return call("message/"+path+"?access_token="+text, body)
	}
	update := func(code any) any {
		return ask("update_template_card", fmt.Sprintf(`{"userids":["alice"],"agentid":7,"response_code":%q,"button":{"replace_name":"Done"}}`, code))["errcode"]
	}
	code := ask("send", appCard("t1", oneButton))["response_code"]
	if got := update(code); got != 0.0 {
		t.Fatal(got)
	}
	if a, b := w.AppMessages("alice")[0].Replaced, w.AppMessages("bob")[0].Replaced; a != "Done" || b != "" {
		t.Errorf("alice sees %q, bob %q", a, b)
	}
	if got := update(code); got == 0.0 {
		t.Error("it was good twice")
	}
	code = ask("send", appCard("t2", oneButton))["response_code"]
	now.Advance(72*time.Hour + time.Second)
	if got := update(code); got == 0.0 {
		t.Error("it was good after three days")
	}
	if got := update("x"); got == 0.0 {
		t.Error("any is good")
	}
}

// TestWeComCallbackTries: who does not answer a callback with an empty 200 is told three times; a smart robot's press once.
func TestWeComCallbackTries(t *testing.T) {
	w, _, call := appWorld(t)
	n := 0
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { n++; rw.WriteHeader(http.StatusServiceUnavailable) }))
	defer app.Close()
	const key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	w.SetAppCallback(app.URL, "t", key)
	w.SetSmartCallback(app.URL, "t", key)
	if err := w.Say("alice", "status"); err == nil || n != 3 {
		t.Errorf("%d tries: %v", n, err)
	}
	if err := w.PressApp("alice", "Yes"); err == nil || n != 3 {
		t.Errorf("a button that is not there: %d, %v", n, err)
	}
	if err := w.Mention("alice", "status"); err == nil || n != 4 {
		t.Errorf("%d tries: %v", n, err)
	}
	if err := w.CheckCallbacks(); err == nil {
		t.Error("the address is right")
	}
	// The address for an answer is good for one.
	body := `{"msgtype":"markdown","markdown":{"content":"hi"}}`
	if got := call("aibot/response?response_code=smart-response-2", `{"msgtype":"markdown"}`)["errcode"]; got != 40008.0 {
		t.Errorf("nothing said: %v", got)
	}
	for i, want := range []float64{0, 40097} {
		if got := call("aibot/response?response_code=smart-response-2", body)["errcode"]; got != want {
			t.Errorf("answer %d: %v", i+1, got)
		}
	}
}
