package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

func postRobot(t *testing.T, base, key, body string) int {
	t.Helper()
	response, err := http.Post(base+"/cgi-bin/webhook/send?key="+key, "application/json", strings.NewReader(body))
	must(t, err)
	defer response.Body.Close()
	var answer struct{ Errcode int }
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d; WeCom always answers 200", response.StatusCode)
	}
	must(t, json.NewDecoder(response.Body).Decode(&answer))
	return answer.Errcode
}

func TestWeComMessages(t *testing.T) {
	w := sim.NewWeCom("k1")
	server := httptest.NewServer(w)
	defer server.Close()
	card := func(rest string) string {
		return `{"msgtype":"template_card","template_card":{"card_type":"text_notice"` + rest + `}}`
	}
	for _, test := range []struct {
		name, key, body string
		want            int
	}{
		{"text", "k1", `{"msgtype":"text","text":{"content":"hi","mentioned_list":["alice","@all"]}}`, 0},
		{"text of 2048 bytes", "k1", `{"msgtype":"text","text":{"content":"` + strings.Repeat("x", 2048) + `"}}`, 0},
		{"text of 2049 bytes", "k1", `{"msgtype":"text","text":{"content":"` + strings.Repeat("船", 683) + `"}}`, 40008},
		{"markdown of 4096 bytes", "k1", `{"msgtype":"markdown","markdown":{"content":"` + strings.Repeat("x", 4096) + `"}}`, 0},
		{"markdown of 4097 bytes", "k1", `{"msgtype":"markdown","markdown":{"content":"` + strings.Repeat("x", 4097) + `"}}`, 40008},
		{"markdown_v2", "k1", `{"msgtype":"markdown_v2","markdown_v2":{"content":"**hi**"}}`, 0},
		{"content under another name", "k1", `{"msgtype":"markdown_v2","markdown":{"content":"hi"}}`, 40008},
		{"unknown type", "k1", `{"msgtype":"video"}`, 40008},
		{"not JSON", "k1", `hello`, 40008},
		{"unknown key", "k2", `{"msgtype":"text","text":{"content":"hi"}}`, 93000},
		{"card", "k1", card(`,"main_title":{"title":"t"},"card_action":{"type":1,"url":"https://x.example"}`), 0},
		{"card with a link", "k1", card(`,"sub_title_text":"t","card_action":{"type":1,"url":"https://x.example"},"horizontal_content_list":[{"type":1,"keyname":"run","value":"7","url":"https://x.example"}],"jump_list":[{"type":1,"title":"log","url":"https://x.example"}]`), 0},
		{"card with a link to nowhere", "k1", card(`,"sub_title_text":"t","card_action":{"type":1,"url":"https://x.example"},"jump_list":[{"type":1,"title":"log"}]`), 40008},
		{"card without action", "k1", card(`,"main_title":{"title":"t"}`), 40008},
		{"card without title", "k1", card(`,"card_action":{"type":1,"url":"https://x.example"}`), 40008},
		{"card with seven lines", "k1", card(`,"main_title":{"title":"t"},"card_action":{"type":1,"url":"https://x.example"},"horizontal_content_list":[` +
			strings.TrimSuffix(strings.Repeat(`{"keyname":"k","value":"v"},`, 7), ",") + `]`), 40008},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(w.Messages("k1"))
			if got := postRobot(t, server.URL, test.key, test.body); got != test.want {
				t.Fatalf("errcode %d, want %d", got, test.want)
			}
			if shown := len(w.Messages("k1")) > before; shown != (test.want == 0) {
				t.Fatalf("shown: %v", shown)
			}
		})
	}
	if first := w.Messages("k1")[0]; first.Content != "hi" || strings.Join(first.Mentions, ",") != "alice,@all" {
		t.Fatalf("%+v", first)
	}
}

func TestWeComRateLimit(t *testing.T) {
	now := &clock{at: time.Unix(1000, 0)}
	var told int
	w := sim.NewWeCom("k1", "k2")
	w.Now = now.Now
	w.OnMessage = func(string, sim.RobotMessage) { told++ }
	server := httptest.NewServer(w)
	defer server.Close()
	const hello = `{"msgtype":"text","text":{"content":"hi"}}`
	w.FailNext(-1, 1)
	if got := postRobot(t, server.URL, "k1", hello); got != -1 {
		t.Fatalf("errcode %d, want -1", got)
	}
	for i := range 20 {
		if got := postRobot(t, server.URL, "k1", hello); got != 0 {
			t.Fatalf("message %d: errcode %d", i+1, got)
		}
	}
	if got := postRobot(t, server.URL, "k1", hello); got != 45009 {
		t.Fatalf("message 21: errcode %d, want 45009", got)
	}
	if got := postRobot(t, server.URL, "k2", hello); got != 0 {
		t.Fatalf("another robot: errcode %d", got)
	}
	now.Advance(time.Minute)
	if got := postRobot(t, server.URL, "k1", hello); got != 0 {
		t.Fatalf("a minute later: errcode %d", got)
	}
	w.Down(true)
	response, err := http.Post(server.URL+"/cgi-bin/webhook/send?key=k1", "application/json", strings.NewReader(hello))
	must(t, err)
	response.Body.Close()
	if response.StatusCode != http.StatusBadGateway {
		t.Fatalf("while down: status %d", response.StatusCode)
	}
	if told != 22 {
		t.Fatalf("OnMessage was called %d times, want 22", told)
	}
}

func TestSlack(t *testing.T) {
	ctx := context.Background()
	now := &clock{at: time.Unix(1000, 0)}
	s := sim.NewSlack("xoxb-1", "C1")
	s.Now = now.Now
	s.AddUser("U1", "alice")
	server := httptest.NewServer(s)
	defer server.Close()
	client := slack.New("xoxb-1", slack.OptionAPIURL(server.URL+"/api/"))

	who, err := client.AuthTestContext(ctx)
	must(t, err)
	if who.UserID != "U0BOT" {
		t.Fatalf("%+v", who)
	}
	user, err := client.GetUserInfoContext(ctx, "U1")
	must(t, err)
	if user.Name != "alice" {
		t.Fatalf("%+v", user)
	}
	blocks := slack.MsgOptionBlocks(slack.NewSectionBlock(slack.NewTextBlockObject("mrkdwn", "*hi*", false, false), nil, nil))
	_, ts, err := client.PostMessageContext(ctx, "C1", slack.MsgOptionText("one", false), blocks)
	must(t, err)
	_, second, err := client.PostMessageContext(ctx, "C1", slack.MsgOptionText("other", false))
	must(t, err)
	if ts == second {
		t.Fatal("two messages have one timestamp")
	}
	_, _, _, err = client.UpdateMessageContext(ctx, "C1", ts, slack.MsgOptionText("two", false))
	must(t, err)
	_, err = client.PostEphemeralContext(ctx, "C1", "U1", slack.MsgOptionText("psst", false))
	must(t, err)
	messages := s.Messages("C1")
	if len(messages) != 3 || messages[0].Text != "two" || messages[0].Edits != 1 || messages[2].EphemeralFor != "U1" {
		t.Fatalf("%+v", messages)
	}

	many := make([]slack.Block, 51)
	for i := range many {
		many[i] = slack.NewDividerBlock()
	}
	longHeader := slack.NewHeaderBlock(slack.NewTextBlockObject("plain_text", strings.Repeat("x", 151), false, false))
	for _, test := range []struct {
		want string
		err  func() error
	}{
		{"invalid_auth", func() error {
			_, err := slack.New("xoxb-2", slack.OptionAPIURL(server.URL+"/")).AuthTestContext(ctx)
			return err
		}},
		{"channel_not_found", func() error {
			_, _, err := client.PostMessageContext(ctx, "C2", slack.MsgOptionText("x", false))
			return err
		}},
		{"message_not_found", func() error {
			_, _, _, err := client.UpdateMessageContext(ctx, "C1", "1.1", slack.MsgOptionText("x", false))
			return err
		}},
		{"msg_too_long", func() error {
			_, _, err := client.PostMessageContext(ctx, "C1", slack.MsgOptionText(strings.Repeat("x", 40_001), false))
			return err
		}},
		{"no_text", func() error { _, _, err := client.PostMessageContext(ctx, "C1"); return err }},
		{"invalid_blocks", func() error {
			_, _, err := client.PostMessageContext(ctx, "C1", slack.MsgOptionBlocks(many...))
			return err
		}},
		{"invalid_blocks", func() error {
			_, _, err := client.PostMessageContext(ctx, "C1", slack.MsgOptionBlocks(longHeader))
			return err
		}},
		{"user_not_in_channel", func() error {
			_, err := client.PostEphemeralContext(ctx, "C1", "U9", slack.MsgOptionText("x", false))
			return err
		}},
	} {
		if err := test.err(); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}

	s.Limit(true)
	var limited *slack.RateLimitedError
	for range 6 {
		_, _, err = client.PostMessageContext(ctx, "C1", slack.MsgOptionText("x", false))
	}
	if !errors.As(err, &limited) || limited.RetryAfter != time.Second {
		t.Fatalf("after the burst: %v", err)
	}
	now.Advance(time.Second)
	_, _, err = client.PostMessageContext(ctx, "C1", slack.MsgOptionText("x", false))
	must(t, err)

	s.Limit(false)

	s.FailNext("internal_error", 1)
	if _, err := client.AuthTestContext(ctx); err == nil || err.Error() != "internal_error" {
		t.Errorf("got %v, want internal_error", err)
	}
	s.Down(true)
	if _, err := client.AuthTestContext(ctx); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v, want 503", err)
	}
	s.Down(false)
	if channel, err := client.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: "C1"}); err != nil || !channel.IsMember {
		t.Errorf("%v, %v", channel, err)
	}
}

func TestSlackJSON(t *testing.T) {
	s := sim.NewSlack("xoxb-1", "C1")
	server := httptest.NewServer(s)
	defer server.Close()
	button := func(label string) string {
		return `{"channel":"C1","text":"x","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"hi"}},{"type":"actions","elements":[` +
			`{"type":"button","action_id":"approve","text":{"type":"plain_text","text":"` + label + `"}}]}]}`
	}
	for _, test := range []struct{ name, authorization, body, want string }{
		{"right", "Bearer xoxb-1", button("Approve"), ""},
		{"label too long", "Bearer xoxb-1", button(strings.Repeat("x", 76)), "invalid_blocks"},
		{"blocks that are no list", "Bearer xoxb-1", `{"channel":"C1","blocks":{}}`, "invalid_blocks_format"},
		{"not JSON", "Bearer xoxb-1", `{"channel"`, "invalid_json"},
		{"no token", "", button("Approve"), "not_authed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequest("POST", server.URL+"/api/chat.postMessage", strings.NewReader(test.body))
			must(t, err)
			request.Header.Set("Content-Type", "application/json; charset=utf-8")
			request.Header.Set("Authorization", test.authorization)
			response, err := http.DefaultClient.Do(request)
			must(t, err)
			defer response.Body.Close()
			var answer struct {
				OK    bool
				Error string
			}
			must(t, json.NewDecoder(response.Body).Decode(&answer))
			if answer.Error != test.want || answer.OK != (test.want == "") {
				t.Fatalf("%+v, want %q", answer, test.want)
			}
		})
	}
	if m := s.Messages("C1"); len(m) != 1 || !strings.Contains(string(m[0].Blocks), "approve") {
		t.Fatalf("%+v", m)
	}
}

// TestSlackSocketMode: the library's own client hears what people do by the simulated socket, also when that ends now and then.
func TestSlackSocketMode(t *testing.T) {
	s := sim.NewSlack("xoxb-1", "C1")
	server := httptest.NewServer(s)
	defer server.Close()
	s.SetApp(server.URL, "http://127.0.0.1:1", "unused")
	s.SetSocketMode("xapp-1")
	if _, err := s.Command("U1", "C1", "status"); err == nil {
		t.Error("a command without anybody who hears it")
	}
	open := func(token string) error {
		_, _, err := slack.New("xoxb-1", slack.OptionAppLevelToken(token), slack.OptionAPIURL(server.URL+"/")).StartSocketModeContext(t.Context())
		return err
	}
	for token, want := range map[string]string{"xoxb-1": "not_allowed_token_type", "xapp-2": "invalid_auth"} {
		if err := open(token); err == nil || err.Error() != want {
			t.Errorf("%s: %v", token, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	client := socketmode.New(slack.New("xoxb-1", slack.OptionAppLevelToken("xapp-1"), slack.OptionAPIURL(server.URL+"/")))
	ended := make(chan error, 1)
	go func() { ended <- client.RunContext(ctx) }()
	heard := make(chan string, 10)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-client.Events:
				if command, ok := e.Data.(slack.SlashCommand); ok {
					heard <- command.Text
					_ = client.Ack(*e.Request, map[string]string{"text": "You said " + command.Text}) // where it fails the test does
				}
			}
		}
	}()
	connected := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // between two looks, not for something
			if made, open := s.Sockets(); made == n && open == 1 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("connection %d is not made", n)
			}
		}
	}
	connected(1)
	if answer, err := s.Command("U1", "C1", "a <b>"); err != nil || answer != "You said a &lt;b&gt;" {
		t.Errorf("%q, %v", answer, err)
	}
	s.Disconnect("refresh_requested")
	connected(2)
	s.LoseAcks(1)
	if answer, err := s.Command("U1", "C1", "b"); err != nil || answer != "You said b" {
		t.Errorf("%q, %v", answer, err)
	}
	if all := []string{<-heard, <-heard, <-heard}; all[1] != "b" || all[2] != "b" {
		t.Errorf("it heard %q", all)
	}
	cancel()
	s.Disconnect("")
	<-ended
}
