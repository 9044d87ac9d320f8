package bot

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// signature is how GitHub signs a body ("Validating webhook deliveries").
func signature(secret, body string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

// delivery is a request as GitHub makes it.
func delivery(id, event, contentType, sign, body string) *http.Request {
	r := httptest.NewRequest("POST", "/webhooks/github", strings.NewReader(body))
	for name, value := range map[string]string{"X-GitHub-Delivery": id, "X-GitHub-Event": event, "Content-Type": contentType, "X-Hub-Signature-256": sign} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return r
}

// send gives a request to the bot.
func (l *lab) send(r *http.Request) (status int, body string) {
	w := httptest.NewRecorder()
	l.bot.handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestWebhookContract(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	const js, form = "application/json", "application/x-www-form-urlencoded"
	const body = `{"zen":"Keep it logically awesome."}`
	encoded := url.Values{"payload": {body}}.Encode()
	tests := []struct {
		name            string
		id, event, kind string
		sign            string
		body            string
		status          int
		stored          string // what is in the database under the id, empty for nothing
	}{
		{"JSON", "d1", "ping", js, signature(hookSecret, body), body, 202, body},
		{"JSON with a charset", "d2", "ping", js + "; charset=utf-8", signature(hookSecret, body), body, 202, body},
		{"the other secret, while rotating", "d3", "ping", js, signature(oldSecret, body), body, 202, body},
		{"form", "d4", "ping", form, signature(hookSecret, encoded), encoded, 202, body},
		{"unknown event", "d5", "some_new_event", js, signature(hookSecret, body), body, 202, body},
		{"signed, but not JSON", "d6", "push", js, signature(hookSecret, "{"), "{", 202, "{"},
		{"signed, but no payload in the form", "d7", "push", form, signature(hookSecret, "a=b"), "a=b", 202, "a=b"},
		{"signed and empty", "d8", "push", js, signature(hookSecret, ""), "", 202, ""},
		{"known", "d1", "ping", js, signature(hookSecret, body), body, 200, body},
		{"known, with another body", "d1", "ping", js, signature(hookSecret, "{}"), "{}", 200, body},

		{"no delivery id", "", "ping", js, signature(hookSecret, body), body, 400, ""},
		{"no event", "e1", "", js, signature(hookSecret, body), body, 400, ""},
		{"odd delivery id", "e2 -->\n/promote", "ping", js, signature(hookSecret, body), body, 400, ""},
		{"long delivery id", strings.Repeat("e", 101), "ping", js, signature(hookSecret, body), body, 400, ""},
		{"plain text", "e3", "ping", "text/plain", signature(hookSecret, body), body, 400, ""},
		{"no content type", "e4", "ping", "", signature(hookSecret, body), body, 400, ""},

		{"no signature", "e5", "ping", js, "", body, 401, ""},
		{"another secret", "e6", "ping", js, signature("guess", body), body, 401, ""},
		{"no secret", "e7", "ping", js, signature("", body), body, 401, ""},
		{"of another body", "e8", "ping", js, signature(hookSecret, body+" "), body, 401, ""},
		{"of the decoded form", "e9", "ping", form, signature(hookSecret, body), encoded, 401, ""},
		{"cut", "e10", "ping", js, signature(hookSecret, body)[:40], body, 401, ""},
		{"not hexadecimal", "e11", "ping", js, "sha256=" + strings.Repeat("z", 64), body, 401, ""},
		{"SHA-1", "e12", "ping", js, "sha1=" + strings.Repeat("a", 40), body, 401, ""},
		{"unsigned and not JSON", "e13", "ping", js, "", "{", 401, ""},
	}
	for _, test := range tests {
		status, answer := l.send(delivery(test.id, test.event, test.kind, test.sign, test.body))
		if status != test.status || (status >= 400) != (answer != "") {
			t.Errorf("%s: %d %q, want %d", test.name, status, answer, test.status)
		}
		if test.id == "" {
			continue
		}
		if stored := got(l.lookup("SELECT body FROM events WHERE id = ?", test.id))(t); stored != test.stored {
			t.Errorf("%s: %q is stored, want %q", test.name, stored, test.stored)
		}
	}
	if n := got(l.lookup("SELECT count(*) FROM events"))(t); n != "8" {
		t.Errorf("%s deliveries are stored", n)
	}
	for _, method := range []string{"GET", "PUT"} {
		if status, _ := l.send(httptest.NewRequest(method, "/webhooks/github", nil)); status != http.StatusMethodNotAllowed && status != http.StatusNotFound {
			t.Errorf("%s: %d", method, status)
		}
	}
}

func TestWebhookTooLarge(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	most := strings.Repeat(" ", maxDelivery-2) + "{}"
	if status, answer := l.send(delivery("big", "push", "application/json", signature(hookSecret, most), most)); status != 202 {
		t.Errorf("25 MiB: %d %s", status, answer)
	}
	more := most + " "
	if status, answer := l.send(delivery("bigger", "push", "application/json", signature(hookSecret, more), more)); status != 413 {
		t.Errorf("25 MiB and a byte: %d %s", status, answer)
	}
	// Without a length, and without an end: not read to it.
	r := delivery("endless", "push", "application/json", "", "")
	r.Body, r.ContentLength = io.NopCloser(endless{}), -1
	if status, answer := l.send(r); status != 413 {
		t.Errorf("an endless body: %d %s", status, answer)
	}
	must(t, l.Settle())
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestWebhookCannotBeStored: nothing is acknowledged that is not on disk, and what comes again afterwards is handled once.
func TestWebhookCannotBeStored(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	body := `{"zen":"Non-blocking is better than blocking."}`
	push := func(ctx context.Context, id string) int {
		status, _ := l.send(delivery(id, "ping", "application/json", signature(hookSecret, body), body).WithContext(ctx))
		return status
	}

	// Somebody else holds the database.
	other, err := sql.Open("sqlite", "file:"+filepath.Join(l.dir, "data", "shipmate.db")+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	must(t, err)
	tx, err := other.Begin()
	must(t, err)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if status := push(short, "locked"); status != 503 {
		t.Errorf("locked: %d", status)
	}
	ready, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if status, _ := l.send(httptest.NewRequest("GET", "/readyz", nil).WithContext(ready)); status != 503 {
		t.Errorf("/readyz: %d", status)
	}
	must(t, errors.Join(tx.Rollback(), other.Close()))
	if status := push(t.Context(), "locked"); status != 202 && status != 200 {
		t.Errorf("sent again: %d", status)
	}
	must(t, l.Settle())
	if n := got(l.lookup("SELECT count(*) FROM events WHERE id = 'locked' AND decided_at IS NOT NULL"))(t); n != "1" {
		t.Errorf("%s are decided", n)
	}
	if status, _ := l.send(httptest.NewRequest("GET", "/readyz", nil)); status != 200 {
		t.Errorf("/readyz: %d", status)
	}

	// The database is gone.
	must(t, l.bot.db.Close())
	short, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if status := push(short, "closed"); status != 503 {
		t.Errorf("closed: %d", status)
	}
	must(t, l.Crash())
	must(t, l.Start())
	if status := push(t.Context(), "closed"); status != 202 {
		t.Errorf("sent again: %d", status)
	}
	must(t, l.Settle())
}

// TestWebhookBurst: each of many deliveries at once is stored, and each but one of the same id is known.
func TestWebhookBurst(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var mu sync.Mutex
	count := map[int]int{}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			body := fmt.Sprintf(`{"n":%d}`, i)
			status, _ := l.send(delivery(fmt.Sprintf("burst-%d", i/2), "ping", "application/json", signature(hookSecret, body), body))
			mu.Lock()
			defer mu.Unlock()
			count[status]++
		})
	}
	wg.Wait()
	if count[202] != 100 || count[200] != 100 {
		t.Errorf("answers: %v", count)
	}
	must(t, l.Settle())
	if n := got(l.lookup("SELECT count(*) FROM events WHERE decided_at IS NOT NULL"))(t); n != "100" {
		t.Errorf("%s are decided", n)
	}
}

// TestWebhookExamples has the receiver take what GitHub's community collected (testdata/webhooks): all is stored and
// decided, and nothing is done for repositories that may not use this server.
func TestWebhookExamples(t *testing.T) {
	t.Parallel()
	file := os.Getenv("EXAMPLES")
	if file == "" {
		file = "testdata/webhooks/examples.json"
	}
	data, err := os.ReadFile(file)
	must(t, err)
	var events []struct {
		Name     string
		Examples []json.RawMessage
	}
	must(t, json.Unmarshal(data, &events))
	l := newLab(t, nil)
	n := 0
	for _, e := range events {
		for _, example := range e.Examples {
			n++
			var body bytes.Buffer
			must(t, json.Compact(&body, example))
			if status, answer := l.send(delivery(fmt.Sprintf("example-%d", n), e.Name, "application/json", signature(hookSecret, body.String()), body.String())); status != 202 {
				t.Errorf("%s %d: %d %s", e.Name, n, status, answer)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d examples", n)
	}
	must(t, l.Settle())
	if decided := got(l.lookup("SELECT count(*) FROM events WHERE decided_at IS NOT NULL"))(t); decided != fmt.Sprint(n) {
		t.Errorf("%s of %d are decided", decided, n)
	}
	if r := l.gh.Requests(); len(r) > 0 {
		t.Errorf("GitHub was asked: %v", r[0])
	}
	if s := l.log.String(); strings.Contains(s, "panic") {
		t.Error(s)
	}
}

func FuzzWebhook(f *testing.F) {
	l := newLab(f, nil)
	f.Add("push", "application/json", []byte(`{"ref":"refs/heads/master"}`))
	f.Add("issue_comment", "application/x-www-form-urlencoded", []byte(`payload={"action":"created"}`))
	n := 0
	f.Fuzz(func(t *testing.T, event, contentType string, body []byte) {
		n++
		r := delivery(fmt.Sprintf("fuzz-%d", n), "push", "application/json", signature(hookSecret, string(body)), string(body))
		r.Header["X-Github-Event"], r.Header["Content-Type"] = []string{event}, []string{contentType}
		if status, answer := l.send(r); status != 202 && status != 400 {
			t.Errorf("%d %s", status, answer)
		}
	})
}
