package bot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/store"
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

// TestWebhookHeaders: what the signature does not cover, and other ways to say it.
func TestWebhookHeaders(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	const body = `{"zen":"Mind your words, they are important."}`
	right := signature(hookSecret, body)
	old := hmac.New(sha1.New, []byte(hookSecret))
	old.Write([]byte(body))
	packed := zipped(t, body)
	twice := url.Values{"payload": {body, "{}"}}.Encode()
	tests := map[string]struct {
		body   string
		header http.Header
		status int
		stored string
	}{
		"only the SHA-1 signature":       {body, http.Header{"X-Hub-Signature-256": nil, "X-Hub-Signature": {"sha1=" + hex.EncodeToString(old.Sum(nil))}}, 401, ""},
		"both signatures":                {body, http.Header{"X-Hub-Signature": {"sha1=" + hex.EncodeToString(old.Sum(nil))}}, 202, body},
		"without its prefix":             {body, http.Header{"X-Hub-Signature-256": {strings.TrimPrefix(right, "sha256=")}}, 401, ""},
		"with another prefix":            {body, http.Header{"X-Hub-Signature-256": {strings.Replace(right, "sha256", "sha512", 1)}}, 401, ""},
		"in capitals":                    {body, http.Header{"X-Hub-Signature-256": {"sha256=" + strings.ToUpper(right[7:])}}, 202, body},
		"two signatures, the first fits": {body, http.Header{"X-Hub-Signature-256": {right, "sha256=00"}}, 202, body},
		"two signatures, the second":     {body, http.Header{"X-Hub-Signature-256": {"sha256=00", right}}, 401, ""},
		"two in one":                     {body, http.Header{"X-Hub-Signature-256": {right + ", " + right}}, 401, ""},
		"two events":                     {body, http.Header{"X-Github-Event": {"ping", "push\n"}}, 202, body},
		"two content types":              {body, http.Header{"Content-Type": {"application/json", "text/html"}}, 202, body},
		"a content type in capitals":     {body, http.Header{"Content-Type": {"Application/JSON"}}, 202, body},
		"a broken content type":          {body, http.Header{"Content-Type": {"application/json/x"}}, 400, ""},
		"a space in the event":           {body, http.Header{"X-Github-Event": {"pu sh"}}, 400, ""},
		"a letter that looks like one":   {body, http.Header{"X-Github-Event": {"p\u0443sh"}}, 400, ""},
		"gzip":                           {packed, http.Header{"Content-Encoding": {"gzip"}, "X-Hub-Signature-256": {signature(hookSecret, packed)}}, 202, packed},
		"a payload twice":                {twice, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Hub-Signature-256": {signature(hookSecret, twice)}}, 202, body},
		"no text":                        {"\xff\x00\xfe", http.Header{"X-Hub-Signature-256": {signature(hookSecret, "\xff\x00\xfe")}}, 202, "\xff\x00\xfe"},
	}
	for name, test := range tests {
		id := strings.Map(func(r rune) rune {
			if r == ' ' || r == ',' {
				return '-'
			}
			return r
		}, name)
		r := delivery(id, "ping", "application/json", right, test.body)
		for h, values := range test.header {
			if r.Header[h] = values; values == nil {
				r.Header.Del(h)
			}
		}
		if status, answer := l.send(r); status != test.status {
			t.Errorf("%s: %d %q, want %d", name, status, answer, test.status)
		}
		if stored := got(l.lookup("SELECT body FROM events WHERE id = ?", id))(t); stored != test.stored {
			t.Errorf("%s: %q is stored, want %q", name, stored, test.stored)
		}
	}
	must(t, l.Settle())
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	must(t, errors.Join(err, w.Close()))
	return b.String()
}

// TestSignedTriesEverySecret: how long it takes does not tell which of the secrets fitted, or whether one did.
func TestSignedTriesEverySecret(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 4<<20)
	var secrets []Secret
	for i := range 8 {
		value := fmt.Sprint(i)
		secrets = append(secrets, Secret{value: &value})
	}
	took := func(secret string, want bool) time.Duration {
		least := time.Hour
		sign := signature(secret, string(body))
		for range 3 {
			start := time.Now()
			if signed(body, sign, secrets) != want {
				t.Fatalf("signed with %q: want %v", secret, want)
			}
			least = min(least, time.Since(start))
		}
		return least
	}
	first, last, none := took("0", true), took("7", true), took("8", false)
	if first < last/3 || none < last/3 {
		t.Errorf("the first of 8 secrets takes %s, the last %s, none of them %s", first, last, none)
	}
}

// A countedBody is a body that counts what is taken from it, and waits at one place.
type countedBody struct {
	size, stop int64
	taken      atomic.Int64
	goOn       chan struct{}
}

func (s *countedBody) Read(p []byte) (int, error) {
	taken := s.taken.Load()
	if s.stop > 0 && taken >= s.stop {
		<-s.goOn
	}
	n := min(int64(len(p)), s.size-taken)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = ' '
	}
	s.taken.Add(n)
	return int(n), nil
}

func (s *countedBody) Close() error { return nil }

func TestWebhookTooLarge(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	most := strings.Repeat(" ", maxDelivery)
	sign := signature(hookSecret, most)
	tests := map[string]struct {
		size, announced int64
		status          int
		taken           int64 // at most
	}{
		"25 MiB":                        {maxDelivery, maxDelivery, 202, maxDelivery},
		"25 MiB, announced by nobody":   {maxDelivery, -1, 202, maxDelivery},
		"a byte more":                   {maxDelivery + 1, maxDelivery + 1, 413, 0},
		"a byte more, not announced":    {maxDelivery + 1, -1, 413, maxDelivery + 1},
		"without an end":                {1 << 60, -1, 413, maxDelivery + 1<<20},
		"announced larger than it is":   {100, maxDelivery + 1, 413, 0},
		"announced as without an end":   {1 << 60, 1 << 60, 413, 0},
		"empty, and announced as large": {0, maxDelivery, 401, 0},
	}
	for name, test := range tests {
		from := &countedBody{size: test.size}
		r := delivery(strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", ""), "push", "application/json", sign, "")
		r.Body, r.ContentLength = from, test.announced
		if status, answer := l.send(r); status != test.status || from.taken.Load() > test.taken {
			t.Errorf("%s: %d %s after %d bytes, want %d after %d at most", name, status, answer, from.taken.Load(), test.status, test.taken)
		}
	}
	must(t, l.Settle())
}

// TestWebhookAnnounced: memory is taken for what comes, not for what is announced.
func TestWebhookAnnounced(t *testing.T) {
	l := newLab(t, nil) // alone: what others allocate is counted too
	must(t, l.Stop())
	b := &Bot{cfg: got(LoadConfig(filepath.Join(l.dir, "shipmate.yaml")))(t), large: make(chan struct{}, maxLarge), acceptTimeout: patience}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 10 {
		r := delivery(fmt.Sprint(i), "push", "application/json", signature("guess", ""), "")
		r.Body, r.ContentLength = &countedBody{size: 1000}, maxDelivery
		w := httptest.NewRecorder()
		if b.webhook(w, r); w.Code != 401 {
			t.Fatal(w.Code, w.Body)
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 2<<20 {
		t.Errorf("ten deliveries of 1000 bytes took %d bytes of memory", took)
	}
}

// TestWebhookManyLarge: few large deliveries are read at a time; small ones pass them, and one that waits too long is
// refused.
func TestWebhookManyLarge(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	const size = smallDelivery + 64<<10
	sign := signature(hookSecret, strings.Repeat(" ", size))
	goOn := make(chan struct{})
	var from []*countedBody
	answers := make(chan int, maxLarge+2)
	for i := range maxLarge + 2 {
		s := &countedBody{size: size, stop: smallDelivery + 1, goOn: goOn}
		from = append(from, s)
		go func() {
			r := delivery(fmt.Sprintf("large-%d", i), "push", "application/json", sign, "")
			r.Body, r.ContentLength = s, size
			status, _ := l.send(r)
			answers <- status
		}()
	}
	must(t, until("as many are read as may be, and the others wait", func() error {
		reading, waiting := 0, 0
		for _, s := range from {
			switch taken := s.taken.Load(); {
			case taken > smallDelivery:
				reading++
			case taken == smallDelivery:
				waiting++
			}
		}
		if reading != maxLarge || waiting != 2 {
			return fmt.Errorf("%d are read, %d wait", reading, waiting)
		}
		return nil
	}))
	small := strings.Repeat(" ", smallDelivery-1)
	if status, answer := l.send(delivery("small", "push", "application/json", signature(hookSecret, small), small)); status != 202 {
		t.Errorf("a small one: %d %s", status, answer)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := delivery("impatient", "push", "application/json", sign, "").WithContext(short)
	r.Body, r.ContentLength = &countedBody{size: size}, size
	if status, answer := l.send(r); status != 503 || !strings.Contains(answer, "send it again") {
		t.Errorf("one more: %d %s", status, answer)
	}
	close(goOn)
	for range from {
		if status := <-answers; status != 202 {
			t.Errorf("afterwards: %d", status)
		}
	}
	must(t, l.Settle())
}

// TestWebhookSlowBody: a sender that trickles is cut off.
func TestWebhookSlowBody(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	b := &Bot{cfg: l.bot.cfg, log: l.bot.log, db: l.bot.db, large: make(chan struct{}, maxLarge), acceptTimeout: 200 * time.Millisecond}
	server := httptest.NewServer(http.HandlerFunc(b.webhook))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	must(t, err)
	defer func() { _ = conn.Close() }() // the server closes it
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nX-GitHub-Delivery: slow\r\nX-GitHub-Event: push\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
	must(t, err)
	go func() {
		for range int(patience / (5 * time.Millisecond)) {
			if _, err := io.WriteString(conn, " "); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond) // that is what trickling is
		}
	}()
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	if resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
		t.Errorf("%s, closed: %v", resp.Status, resp.Close)
	}
	// One that comes in time is answered by the same server.
	const body = "{}"
	req, err := http.NewRequest("POST", server.URL, strings.NewReader(body))
	must(t, err)
	req.Header = delivery("quick", "ping", "application/json", signature(hookSecret, body), "").Header
	resp, err = http.DefaultClient.Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != 202 {
		t.Error(resp.Status)
	}
}

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

// A collected delivery is one that GitHub's community collected, see testdata/webhooks.
type collected struct {
	Event   string
	Payload json.RawMessage
}

func examples(t testing.TB) (all []collected) {
	t.Helper()
	file, err := os.Open("testdata/webhooks/examples.jsonl.gz")
	must(t, err)
	defer func() { _ = file.Close() }() // it was only read
	unpacked, err := gzip.NewReader(file)
	must(t, err)
	for lines := json.NewDecoder(unpacked); ; {
		var e collected
		err := lines.Decode(&e)
		if err == io.EOF {
			break
		}
		must(t, err)
		all = append(all, e)
	}
	if len(all) < 400 {
		t.Fatalf("only %d examples", len(all))
	}
	return all
}

// as is the example as the repository acme/web would send it, with an installation of ours.
func (e collected) as(t testing.TB, inst sim.Installation) string {
	t.Helper()
	var body map[string]any
	must(t, json.Unmarshal(e.Payload, &body))
	body["installation"] = map[string]any{"id": inst.ID}
	body["repository"] = map[string]any{"id": 1, "full_name": "acme/web", "default_branch": "master", "private": false, "html_url": "https://github.com/acme/web"}
	return string(got(json.Marshal(body))(t))
}

// TestWebhookExamples has the bot take every example over HTTP, in both content types: all is accepted, stored as it came
// and decided, nothing is left to do and nothing done; also where the repository is one that it serves.
func TestWebhookExamples(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	inst, _ := l.gh.Installation("acme")
	var g errgroup.Group
	g.SetLimit(8)
	bodies := map[string]string{} // by the delivery's id
	post := func(id, event, contentType, body string) {
		g.Go(func() error {
			req := delivery(id, event, contentType, signature(hookSecret, body), body)
			req.RequestURI = ""
			req.URL = got(url.Parse(l.url + "/webhooks/github"))(t)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }() // it is read to its end
			answer, err := io.ReadAll(resp.Body)
			if err == nil && resp.StatusCode != http.StatusAccepted {
				err = fmt.Errorf("%s: %s %s", id, resp.Status, answer)
			}
			return err
		})
	}
	unreadable := 0
	for i, e := range examples(t) {
		if testing.Short() && i%8 > 0 { // the race detector
			continue
		}
		if _, err := github.ParseWebHook(e.Event, e.Payload); err != nil {
			unreadable++
		}
		body, ours := string(e.Payload), e.as(t, inst)
		js, form, own := fmt.Sprintf("json-%d", i), fmt.Sprintf("form-%d", i), fmt.Sprintf("own-%d", i)
		bodies[js], bodies[form], bodies[own] = body, body, ours
		post(js, e.Event, "application/json", body)
		post(form, e.Event, "application/x-www-form-urlencoded", url.Values{"payload": {body}}.Encode())
		post(own, e.Event, "application/json", ours)
	}
	must(t, g.Wait())
	if unreadable == 0 && !testing.Short() {
		t.Error("go-github can parse every example: none shows that it need not")
	}
	for before := ""; ; { // they are many: as long as it goes on, it is waited for
		err := l.Settle()
		if err == nil {
			break
		}
		if now := got(l.lookup("SELECT count(*) FROM events WHERE decided_at IS NOT NULL"))(t); now != before {
			before = now
			continue
		}
		t.Fatal(err)
	}
	must(t, l.bot.db.View(t.Context(), func(tx *store.Tx) error {
		for id, body := range bodies {
			e, err := tx.Event(id)
			if err != nil {
				return err
			}
			if string(e.Body) != body || e.DecidedAt.IsZero() || len(e.Trace.V) < 2 {
				t.Errorf("%s, a %s: decided %s with the trace %q, its body is as it came: %v", id, e.Kind, e.DecidedAt, e.Trace.V, string(e.Body) == body)
			}
		}
		buried, err := tx.Buried()
		if len(buried) > 0 {
			t.Errorf("given up: %+v", buried)
		}
		return err
	}))
	// What works by the clock is always there.
	if left := got(l.lookup("SELECT coalesce(group_concat(kind || ' ' || key), '') FROM tasks WHERE kind NOT IN (?, ?, ?)", taskRecover, taskHeal, store.TaskKeep))(t); left != "" {
		t.Errorf("left are %s", left)
	}
	if w := l.writes(); len(w) > 0 || len(l.gh.Requests()) == 0 {
		t.Errorf("GitHub was asked %d times, and told: %v", len(l.gh.Requests()), w)
	}
	if s := l.log.String(); strings.Contains(s, "panic") {
		t.Error(s)
	}
	t.Logf("%d deliveries, %d that go-github cannot parse", len(bodies), unreadable)
}

// writes are the requests by which GitHub was told something.
func (l *lab) writes() (writes []string) {
	for _, r := range l.gh.Requests() {
		if r.Method != "GET" && !strings.HasSuffix(r.Path, "/access_tokens") {
			writes = append(writes, r.Method+" "+r.Path+" "+r.Body)
		}
	}
	return writes
}

// FuzzWebhook: what is not signed is refused, what is signed is stored as it came, and nothing else is answered.
func FuzzWebhook(f *testing.F) {
	l := newLab(f, nil)
	f.Add("push", "application/json", "sha256=00", []byte(`{"ref":"refs/heads/master"}`))
	f.Add("issue_comment", "application/x-www-form-urlencoded", "", []byte(`payload={"action":"created"}`))
	f.Add("issue_comment", "application/x-www-form-urlencoded; charset", "sha1=00", []byte(`payload=%zz&payload=1`))
	f.Add("x y", "text/plain", "sha256=zz", []byte("\x00"))
	n := 0
	f.Fuzz(func(t *testing.T, event, contentType, sign string, body []byte) {
		n++
		right := signature(hookSecret, string(body))
		if strings.EqualFold(sign, right) {
			sign = "" // it is the one that is right
		}
		id := fmt.Sprintf("fuzz-%d", n)
		r := delivery(id, "push", "application/json", right, string(body))
		r.Header["X-Github-Event"], r.Header["Content-Type"], r.Header["X-Hub-Signature-256"] = []string{event}, []string{contentType}, []string{sign}
		if status, answer := l.send(r); status != 401 && status != 400 {
			t.Errorf("without a signature: %d %s", status, answer)
		}
		r = delivery(id, "push", "application/json", right, string(body))
		r.Header["X-Github-Event"], r.Header["Content-Type"] = []string{event}, []string{contentType}
		status, answer := l.send(r)
		if status != 202 && status != 400 {
			t.Errorf("%d %s", status, answer)
		}
		if status != 202 {
			return
		}
		var stored store.Event
		must(t, l.bot.db.View(t.Context(), func(tx *store.Tx) (err error) { stored, err = tx.Event(id); return err }))
		if form, err := url.ParseQuery(string(body)); !bytes.Equal(stored.Body, body) && (err != nil || form.Get("payload") != string(stored.Body)) {
			t.Errorf("%q is stored as %q", body, stored.Body)
		}
		again := delivery(id, "push", "application/json", right, string(body))
		if status, answer := l.send(again); status != 200 {
			t.Errorf("again: %d %s", status, answer)
		}
	})
}

// FuzzDecide: every event ends as decided, with a trace, or in an answer of GitHub's that makes it be tried again; GitHub
// is told nothing but, on a comment, that it was seen.
func FuzzDecide(f *testing.F) {
	l := newLab(f, nil)
	inst, _ := l.gh.Installation("acme")
	must(f, l.Stop())
	cfg := got(LoadConfig(filepath.Join(l.dir, "shipmate.yaml")))(f)
	b := got(New(f.Context(), cfg, "test", slog.New(slog.NewTextHandler(l.log, nil))))(f) // without a worker
	f.Cleanup(func() { must(f, b.Close()) })
	kinds := map[string]bool{}
	for _, e := range examples(f) {
		if !kinds[e.Event] {
			kinds[e.Event] = true
			f.Add(e.Event, []byte(e.Payload), true)
		}
	}
	person := `"sender":{"login":"alice"},"comment":{"id":1,"body":"/promote production","user":{"login":"alice","type":"User"}}`
	for _, body := range []string{
		`{"ref":"refs/heads/master","after":"` + strings.Repeat("a", 40) + `","head_commit":{"message":"x"},"sender":{"login":"alice"}}`,
		`{"ref":"refs/heads/` + `x\u0000?#%/..","after":"../..","commits":[null],"head_commit":null}`, `{"ref":"refs/heads/","after":null}`, `{"ref":"refs/tags/v1","deleted":true}`, `{}`, `[]`, `null`, `{`, ``} {
		f.Add("push", []byte(body), true)
		f.Add("push", []byte(body), false)
	}
	for _, body := range []string{`{"action":"created","issue":{"number":1},` + person + `}`, `{"action":"created","issue":{"number":1,"pull_request":{}},` + person + `}`,
		`{"action":"created",` + person + `}`, `{"action":"created","issue":null,"comment":{"body":null,"user":null},"sender":null}`, `{"action":"created","comment":[]}`} {
		f.Add("issue_comment", []byte(body), true)
	}
	n, seen := 0, 0
	f.Fuzz(func(t *testing.T, event string, body []byte, ours bool) {
		if ours { // it comes from a repository that may use this server
			var fields map[string]any
			if json.Unmarshal(body, &fields) == nil && fields != nil {
				fields["installation"] = map[string]any{"id": inst.ID}
				fields["repository"] = map[string]any{"id": 1, "full_name": "acme/web", "default_branch": "master"}
				body = got(json.Marshal(fields))(t)
			}
		}
		n++
		e := store.Event{ID: fmt.Sprintf("fuzz-%d", n), Kind: event, Repo: repoName(body), Body: body}
		must(t, b.db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.PutEvent(e); return err }))
		_, err := b.event(t.Context(), e.ID, 0)
		if err != nil && !errors.As(err, new(*github.ErrorResponse)) && !errors.As(err, new(*ghinstallation.HTTPError)) {
			t.Errorf("%v", err)
		}
		must(t, b.db.View(t.Context(), func(tx *store.Tx) (err error) { e, err = tx.Event(e.ID); return err }))
		if err == nil && (e.DecidedAt.IsZero() || len(e.Trace.V) < 2) || err != nil && !e.DecidedAt.IsZero() {
			t.Errorf("%v, decided %s: %q", err, e.DecidedAt, e.Trace.V)
		}
		if len(body) > 0 && event != "push" && event != "issue_comment" {
			return // it asks GitHub nothing, which is seen below of the next
		}
		writes := l.writes()
		for _, w := range writes[seen:] {
			if event != "issue_comment" || !strings.HasPrefix(w, "POST ") || !strings.Contains(w, "/reactions ") {
				t.Errorf("GitHub was told: %s", w)
			}
		}
		seen = len(writes)
	})
}
