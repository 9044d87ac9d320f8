package chat

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
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

// TestRobotsWaitersComeApart: a thousand messages are sent at the rate of the robot, and few of them ask in vain.
func TestRobotsWaitersComeApart(t *testing.T) {
	far := newFarEnd(t, says(`{"errcode":0}`))
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := begin
	w := newRobots(t, far.URL, func() time.Time { return now }, "a")
	waiting := make([]time.Time, 1000)
	asked := 0
	for len(waiting) > 0 {
		slices.SortFunc(waiting, time.Time.Compare)
		if waiting[0].After(now) {
			now = waiting[0]
		}
		_, err := w.Send(t.Context(), "", Message{Title: "T"})
		asked++
		d, again := RetryDelay(err)
		if err != nil && !again {
			t.Fatal(err)
		}
		waiting = waiting[1:]
		if again {
			waiting = append(waiting, now.Add(d))
		}
	}
	if took := now.Sub(begin); took < 49*time.Minute || took > 60*time.Minute {
		t.Errorf("it took %s", took)
	}
	if asked > 3*1000 {
		t.Errorf("they asked %d times", asked)
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
