package chat

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func robotContent(r request) string {
	var body struct {
		Type     string `json:"msgtype"`
		Markdown struct{ Content string }
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil || body.Type != "markdown" {
		panic("not a markdown message: " + r.body)
	}
	return body.Markdown.Content
}

// wecomSent is what WeCom is sent, or answered.
type wecomSent struct {
	Type     string     `json:"msgtype"`
	Card     *wecomCard `json:"template_card"`
	Markdown struct{ Content string }
	Stream   struct{ Content string }
}

func wecomBody(r request) (body wecomSent) {
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		panic(err)
	}
	return body
}

// robotTexts lists the texts of a message or an answer, be it markdown or a card.
func robotTexts(r request) []string {
	body := wecomBody(r)
	c := body.Card
	if c == nil {
		return []string{body.Markdown.Content + body.Stream.Content}
	}
	texts := []string{c.Title.Title, c.Title.Desc, c.Text, c.Action.URL}
	for _, f := range c.Facts {
		texts = append(texts, f.Name, f.Value, f.URL)
	}
	for _, j := range c.Jumps {
		texts = append(texts, j.Title, j.URL)
	}
	for _, b := range c.Buttons {
		texts = append(texts, b.Text)
	}
	return texts
}

// wecomLimits are those of a text in bytes, or of a card of an app or a smart robot.
func wecomLimits(most int) func(*testing.T, request) {
	return func(t *testing.T, r request) {
		t.Helper()
		c := wecomBody(r).Card
		if c == nil {
			if n := len(robotTexts(r)[0]); n == 0 || n > most {
				t.Errorf("content has %d bytes, limit %d", n, most)
			}
			return
		}
		within := func(what, s string, limit int) {
			t.Helper()
			if n := len(s); n == 0 || n > limit {
				t.Errorf("%s has %d bytes, limit %d: %q", what, n, limit, s)
			}
		}
		within("title", c.Title.Title, cardTitle)
		within("text", c.Text+" ", cardText+1)
		within("action", c.Action.URL, 512)
		if len(c.Facts) > 6 || len(c.Jumps) > 3 || len(c.Buttons) > 6 {
			t.Errorf("%d facts, %d jumps, %d buttons", len(c.Facts), len(c.Jumps), len(c.Buttons))
		}
		for _, f := range c.Facts {
			within("fact", f.Name, cardName)
			within("fact", f.Value, cardValue)
		}
		for _, b := range c.Buttons {
			within("label", b.Text, cardLabel)
			within("key", b.Key, 1024)
		}
		if c.Type == "button_interaction" != (len(c.Buttons) > 0) || len(c.Buttons) > 0 && !regexp.MustCompile(`^[0-9A-Za-z_@-]{1,128}$`).MatchString(c.Task) {
			t.Errorf("type %q, task %q, %d buttons", c.Type, c.Task, len(c.Buttons))
		}
	}
}

// TestRobotCard: a card is sent only where it says what matters, and nothing in it is markup.
func TestRobotCard(t *testing.T) {
	fields := func(n int) (all []Field) {
		for range n {
			all = append(all, Field{Name: "N", Value: "<@all> [x](https://evil.example)", URL: page.URL})
		}
		return all
	}
	for name, tt := range map[string]struct {
		m    Message
		card bool
	}{
		"plain":                  {Message{Title: "T", Status: "succeeded", State: Succeeded, Text: "words", Link: page}, true},
		"many fields":            {Message{Title: "T", Fields: fields(9), Link: page}, true},
		"nowhere to go":          {Message{Title: "T"}, false},
		"a mention":              {Message{Title: "T", Link: page, Mentions: []Person{{GitHub: "alice", ID: "alice.w"}}}, false},
		"a decision":             {Message{Title: "T", State: Waiting, Link: page}, false},
		"what was not agreed to": {Message{Title: "T", State: Failed, Link: page, Buttons: buttons("v")}, false},
		"a log":                  {Message{Title: "T", Link: page, Detail: "exit status 1"}, false},
		"coloured results":       {Message{Title: "T", Link: page, Fields: []Field{{Name: "failed", State: Failed, Value: "x"}}}, false},
	} {
		far := newFarEnd(t, says(`{"errcode":0}`))
		w, err := NewWeComRobot(WeComConfig{RobotKeys: []Secret{NewSecret("a")}, BaseURL: far.URL, Card: true}, http.DefaultClient, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Send(t.Context(), "", tt.m); err != nil {
			t.Fatal(err)
		}
		body := far.last(t).body
		if strings.Contains(body, `"msgtype":"template_card"`) != tt.card {
			t.Errorf("%s: %s", name, body)
		}
		if n := strings.Count(body, `"keyname"`); n > 6 || len(tt.m.Fields) == 9 && n != 6 {
			t.Errorf("%s: %d fields: %s", name, n, body)
		}
		if texts := strings.Join(robotTexts(far.last(t)), "\n"); strings.Contains(texts, "<@all>") || strings.Contains(texts, "evil.example)") && strings.Contains(texts, "](https") {
			t.Errorf("%s: %s", name, texts)
		}
	}
}

func newRobots(t *testing.T, base string, now func() time.Time, keys ...string) *WeComRobot {
	t.Helper()
	var secrets []Secret
	for _, k := range keys {
		secrets = append(secrets, NewSecret(k))
	}
	w, err := NewWeComRobot(WeComConfig{RobotKeys: secrets, BaseURL: base}, http.DefaultClient, now)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRobotBudget(t *testing.T) {
	far := newFarEnd(t, says(`{"errcode":0}`))
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := newRobots(t, far.URL, func() time.Time { return now }, "a")
	send := func() error { _, err := w.Send(t.Context(), "", Message{Title: "T"}); return err }
	for i := range 20 {
		if err := send(); err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
		now = now.Add(time.Second)
	}
	d, ok := RetryDelay(send())
	if !ok || d != 40*time.Second || len(far.requests) != 20 {
		t.Fatalf("message 21: delay %v, %v; %d requests", d, ok, len(far.requests))
	}
	now = now.Add(d - 1)
	if _, ok := RetryDelay(send()); !ok {
		t.Fatal("sent before the time that was promised")
	}
	now = now.Add(1)
	if err := send(); err != nil {
		t.Fatalf("after the delay: %v", err)
	}
	if d, _ := RetryDelay(send()); d != time.Second {
		t.Errorf("next slot in %v, want 1s", d)
	}
}

func TestRobotsShareTheLoad(t *testing.T) {
	far := newFarEnd(t, says(`{"errcode":0}`))
	now := time.Now()
	w := newRobots(t, far.URL, func() time.Time { return now }, "a", "b")
	var sent, refused atomic.Int32
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			_, err := w.Send(t.Context(), "", Message{Title: "T"})
			if d, ok := RetryDelay(err); ok && d == time.Minute {
				refused.Add(1)
			} else if err == nil {
				sent.Add(1)
			}
		})
	}
	all.Wait()
	byKey := map[string]int{}
	for _, r := range far.requests {
		byKey[r.path[strings.Index(r.path, "key="):]]++
	}
	if sent.Load() != 40 || refused.Load() != 20 || byKey["key=a"] != 20 || byKey["key=b"] != 20 {
		t.Errorf("sent %d, refused %d, %v", sent.Load(), refused.Load(), byKey)
	}
}

// TestRobotsRoom: what is left of the budget of all robots together, and when it is more.
func TestRobotsRoom(t *testing.T) {
	far := newFarEnd(t, says(`{"errcode":0}`))
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := begin
	w := newRobots(t, far.URL, func() time.Time { return now }, "a", "b")
	if r := w.Room(); r != (Room{Free: 40, Of: 40}) {
		t.Errorf("at first: %+v", r)
	}
	for range 5 {
		if _, err := w.Send(t.Context(), "", Message{Title: "T"}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	if r := w.Room(); r != (Room{Free: 35, Of: 40, More: begin.Add(time.Minute)}) {
		t.Errorf("after five: %+v", r)
	}
	w.block(0)
	if r := w.Room(); r != (Room{Free: 18, Of: 40, More: begin.Add(61 * time.Second)}) {
		t.Errorf("without the one that was refused: %+v", r)
	}
	now = now.Add(time.Minute)
	if r := w.Room(); r != (Room{Free: 40, Of: 40}) {
		t.Errorf("a minute later: %+v", r)
	}
}

// TestRobotFits: one field too many is noticed.
func TestRobotFits(t *testing.T) {
	w := newRobots(t, "https://x.example/", time.Now, "a")
	m := Message{Title: "T", Link: page}
	for w.Fits(m) {
		m.Fields = append(m.Fields, Field{Name: "成功", State: Succeeded, Value: "部署", URL: page.URL})
		if len(m.Fields) > 100 {
			t.Fatal("a hundred fields fit")
		}
	}
	most, _, err := robotMarkdown(Message{Title: "T", Link: page, Fields: m.Fields[1:]})
	if err != nil || len(most) > robotMarkdownBytes || strings.Count(most, `<font color="info">成功</font> [部署](`) != len(m.Fields)-1 {
		t.Errorf("%d bytes, %v:\n%s", len(most), err, most)
	}
}

func TestLimitedRobotIsPassedOver(t *testing.T) {
	far := newFarEnd(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("key") == "a" {
			io.WriteString(w, `{"errcode":45009}`)
			return
		}
		io.WriteString(w, `{"errcode":0}`)
	})
	now := time.Now()
	w := newRobots(t, far.URL, func() time.Time { return now }, "a", "b")
	for range 3 {
		if _, err := w.Send(t.Context(), "", Message{Title: "T"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(far.requests) != 4 { // a was asked once
		t.Errorf("%d requests", len(far.requests))
	}
	now = now.Add(time.Minute)
	for range 2 {
		if _, err := w.Send(t.Context(), "", Message{Title: "T"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(far.requests) != 7 { // and is asked again
		t.Errorf("%d requests", len(far.requests))
	}
}

func TestKeyIsQuotedInTheAddress(t *testing.T) {
	far := newFarEnd(t, says(`{"errcode":0}`))
	w := newRobots(t, far.URL, time.Now, "a&b=c#d")
	if _, err := w.Send(t.Context(), "", Message{Title: "T"}); err != nil {
		t.Fatal(err)
	}
	if got := far.last(t).path; got != "/cgi-bin/webhook/send?key=a%26b%3Dc%23d" {
		t.Errorf("sent to %s", got)
	}
}

func TestRobotConfig(t *testing.T) {
	for _, keys := range [][]Secret{nil, {NewSecret("")}, {NewSecret("a"), {}}} {
		if _, err := NewWeComRobot(WeComConfig{RobotKeys: keys}, http.DefaultClient, time.Now); err == nil || !strings.Contains(err.Error(), "robot_keys") {
			t.Errorf("%d keys: %v", len(keys), err)
		}
	}
}

func TestWeComUserID(t *testing.T) {
	for id, want := range map[string]bool{
		"alice": true, "a": true, "allen": true, "al": true, "a.l@x_y-z": true,
		"": false, "all": false, "ALL": false, "@all": false, "a b": false, "a>b": false, "a\n": false, strings.Repeat("a", 65): false,
	} {
		if got := wecomUserID(id); got != want {
			t.Errorf("wecomUserID(%q) = %v", id, got)
		}
	}
}
