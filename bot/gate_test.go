package bot

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/store"
)

// testKey is a private key of an App.
func testKey(t *testing.T) []byte {
	t.Helper()
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: t.TempDir()})
	must(t, err)
	return gh.PrivateKeyPEM()
}

// TestGateObeysLimits: what each answer of GitHub stops, for how long, and what becomes of the request.
func TestGateObeysLimits(t *testing.T) {
	t.Parallel()
	const secondaryBody = `{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/x"}`
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	tests := map[string]struct {
		method         string
		status         int
		header         map[string]string
		body           string
		limited        bool          // the request ends in a limited error
		writing, all   time.Duration // are stopped for
		progressWaits  time.Duration
		answeredStatus int // of the error, where it is an answer
	}{
		"fine":                      {method: "POST", status: 201},
		"plenty left":               {method: "GET", status: 200, header: map[string]string{"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4000", "X-RateLimit-Reset": in(time.Minute)}},
		"little left":               {method: "GET", status: 200, header: map[string]string{"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "499", "X-RateLimit-Reset": in(20 * time.Minute)}, progressWaits: 20 * time.Minute},
		"the last one":              {method: "POST", status: 201, header: map[string]string{"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": in(20 * time.Minute)}, writing: 20 * time.Minute, all: 20 * time.Minute, progressWaits: 20 * time.Minute},
		"primary":                   {method: "GET", status: 403, header: map[string]string{"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": in(20 * time.Minute)}, limited: true, writing: 20 * time.Minute, all: 20 * time.Minute, progressWaits: 20 * time.Minute},
		"primary, clocks apart":     {method: "GET", status: 403, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": in(-time.Hour)}, limited: true, writing: time.Second, all: time.Second, progressWaits: time.Second},
		"primary, a day ahead":      {method: "GET", status: 429, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": in(24 * time.Hour)}, limited: true, writing: time.Hour, all: time.Hour, progressWaits: time.Hour},
		"secondary":                 {method: "POST", status: 403, header: map[string]string{"Retry-After": "90"}, body: secondaryBody, limited: true, writing: 90 * time.Second, progressWaits: 90 * time.Second},
		"secondary of reading":      {method: "GET", status: 403, header: map[string]string{"Retry-After": "90"}, body: secondaryBody, limited: true, writing: 90 * time.Second, all: 90 * time.Second, progressWaits: 90 * time.Second},
		"secondary without a time":  {method: "POST", status: 403, body: secondaryBody, limited: true, writing: time.Minute, progressWaits: time.Minute},
		"too many requests":         {method: "POST", status: 429, limited: true, writing: time.Minute, progressWaits: time.Minute},
		"a time that is none":       {method: "POST", status: 429, header: map[string]string{"Retry-After": "-3"}, limited: true, writing: time.Second, progressWaits: time.Second},
		"a time without end":        {method: "POST", status: 429, header: map[string]string{"Retry-After": "9223372036854775807"}, limited: true, writing: time.Hour, progressWaits: time.Hour},
		"a date":                    {method: "POST", status: 429, header: map[string]string{"Retry-After": now.Add(2 * time.Minute).Format(http.TimeFormat)}, limited: true, writing: 2 * time.Minute, progressWaits: 2 * time.Minute},
		"no permission":             {method: "POST", status: 403, body: `{"message":"Resource not accessible by integration"}`, answeredStatus: 403},
		"down":                      {method: "POST", status: 503, header: map[string]string{"Retry-After": "90"}, answeredStatus: 503}, // this request's matter
		"not found":                 {method: "GET", status: 404, answeredStatus: 404},
		"unprocessable":             {method: "POST", status: 422, answeredStatus: 422},
		"a token that nobody knows": {method: "POST", status: 401, answeredStatus: 401},
	}
	key := testKey(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests, tokens := 0, 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/access_tokens") {
					tokens++
					w.WriteHeader(http.StatusCreated)
					_, _ = fmt.Fprintf(w, `{"token":"t%d","expires_at":"2099-01-01T00:00:00Z"}`, tokens)
					return
				}
				requests++
				if body, _ := io.ReadAll(r.Body); test.method == "POST" && !strings.Contains(string(body), `"state"`) {
					t.Errorf("request %d has the body %q", requests, body)
				}
				for k, v := range test.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer server.Close()
			h, err := newHub(server.URL, 1, key)
			must(t, err)
			h.now = func() time.Time { return now }
			ask := func(method string) error {
				if method == "GET" {
					_, _, err := h.client(7).Repositories.GetCombinedStatus(t.Context(), "acme", "web", "1", nil)
					return err
				}
				return putStatus(t.Context(), h.client(7), "acme", "web", "1", commitStatus{State: "success"})
			}
			err = ask(test.method)
			if errors.As(err, new(*limited)) != test.limited || statusCode(err) != test.answeredStatus {
				t.Errorf("the request ends in %v", err)
			}
			left := func(until time.Time) time.Duration { return max(until.Sub(now), 0) }
			if got := left(h.pace.stopped(7, true)); got != test.writing {
				t.Errorf("writing is stopped for %s, want %s", got, test.writing)
			}
			if got := left(h.pace.stopped(7, false)); got != test.all {
				t.Errorf("reading is stopped for %s, want %s", got, test.all)
			}
			if _, until := h.pace.take(7, "x", false); left(until) != test.progressWaits {
				t.Errorf("progress waits for %s, want %s", left(until), test.progressWaits)
			}
			// What is stopped is not sent; another installation is none of its business.
			before := requests
			if err := ask("POST"); errors.As(err, new(*limited)) != (test.writing > 0) || test.writing > 0 && requests != before {
				t.Errorf("while writing is stopped: %v, %d requests more", err, requests-before)
			}
			if until := h.pace.stopped(8, true); !until.IsZero() {
				t.Errorf("another installation is stopped until %s", until)
			}
			if want := 1 + map[bool]int{true: 2}[test.status == 401]; tokens < want || test.status != 401 && tokens != 1 {
				t.Errorf("%d tokens were made", tokens)
			}
		})
	}
}

// TestTokenThatEnded: GitHub knows the tokens no more, so others are made: that of the API at once, that of git with the next
// attempt.
func TestTokenThatEnded(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for n := range 2 {
		sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": fmt.Sprint(n)}))(t)
		got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
		must(t, l.Settle())
		l.gh.ExpireTokens()
	}
	for _, line := range strings.Split(l.log.String(), "\n") {
		if strings.Contains(line, "will try again") && !strings.Contains(line, "git fetch") {
			t.Errorf("something failed: %s", line)
		}
	}
}

// TestRules is what becomes of a task for each way to fail.
func TestRules(t *testing.T) {
	t.Parallel()
	answer := func(status int, header ...string) error {
		h := http.Header{}
		if len(header) == 2 {
			h.Set(header[0], header[1])
		}
		return fmt.Errorf("ask: %w", &github.ErrorResponse{Response: &http.Response{StatusCode: status, Header: h, Request: &http.Request{}}})
	}
	// Errors of a real network.
	fetch := func(url string, timeout time.Duration) error {
		_, err := (&http.Client{Timeout: timeout}).Get(url)
		return err
	}
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	full := func() error {
		db, err := store.Open(t.Context(), t.TempDir()+"/full.db", []byte("key"))
		must(t, err)
		defer func() { must(t, db.Close()) }()
		return db.View(t.Context(), func(tx *store.Tx) error { return tx.Add("x", "1") }) // a database that is read-only
	}
	const away, fault, buried, sleeps = "tried again without end", "counted", "buried", "sleeps"
	tests := map[string]struct {
		err  error
		want string
	}{
		"500":                        {answer(500), away},
		"502":                        {answer(502), away},
		"503 with Retry-After":       {answer(503, "Retry-After", "100"), away},
		"408":                        {answer(408), away},
		"401":                        {answer(401), away},
		"429":                        {answer(429), away},
		"403 for a limit":            {answer(403, "Retry-After", "100"), away},
		"403":                        {answer(403), fault},
		"404":                        {answer(404), fault},
		"409":                        {answer(409), fault},
		"422":                        {answer(422), fault},
		"404 for the third time":     {final(answer(404), 2), buried},
		"500 for the third time":     {final(answer(500), 2), away},
		"connection refused":         {fetch(gone.URL, time.Second), away},
		"timeout":                    {fetch(hang.URL, 10*time.Millisecond), away},
		"no such host":               {fetch("http://nowhere.invalid", time.Second), away},
		"broken off":                 {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), away},
		"a limit":                    {fmt.Errorf("ask: %w", &limited{1, time.Now().Add(time.Hour)}), sleeps},
		"a chat that is down":        {chatError(errors.New("HTTP status 502")), away},
		"an engine's error":          {down{errors.New("no builder")}, away},
		"a database that is away":    {full(), away},
		"a mistake":                  {errors.New("unexpected end of JSON input"), fault},
		"something that is not here": {fmt.Errorf("run 1: %w", store.ErrNotFound), fault},
		"given up":                   {giveUp{errors.New("no such channel")}, buried},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, nil)
			if test.err == nil {
				t.Fatal("there is no error")
			}
			s.wake("x", "1")
			outcome := func(attempts, faults int) string {
				var task store.Task
				must(t, s.db.Update(t.Context(), func(tx *store.Tx) (err error) {
					s.clock.Advance(2 * time.Hour)
					return nil
				}))
				must(t, s.db.Update(t.Context(), func(tx *store.Tx) (err error) {
					task, _, err = tx.Claim([]string{"x"}, time.Minute)
					return err
				}))
				if task.Attempts != attempts || task.Faults != faults {
					t.Fatalf("it has %d attempts and %d faults, want %d and %d", task.Attempts, task.Faults, attempts, faults)
				}
				must(t, s.db.Update(t.Context(), func(tx *store.Tx) error { return s.finish(tx, task, time.Time{}, test.err) }))
				return s.task("CASE WHEN buried_at IS NOT NULL THEN 'buried' WHEN faults > " + fmt.Sprint(faults) + " THEN 'counted' WHEN attempts > " + fmt.Sprint(attempts) +
					" THEN 'tried again without end' ELSE 'sleeps' END")
			}
			if got := outcome(0, 0); got != test.want {
				t.Fatalf("%v: it is %s, want %s", test.err, got, test.want)
			}
			switch test.want {
			case away:
				for n := 1; n < 5*maxFaults; n++ {
					if got := outcome(n, 0); got != away {
						t.Fatalf("after %d attempts it is %s", n, got)
					}
				}
			case fault:
				for n := 1; n < maxFaults; n++ {
					want := fault
					if n == maxFaults-1 {
						want = buried
					}
					if got := outcome(n, n); got != want {
						t.Fatalf("after %d attempts it is %s", n, got)
					}
				}
			}
			log := s.logged.String()
			errorsLogged := strings.Count(log, "level=ERROR")
			if want := map[string]int{away: 1, fault: 2, buried: 1, sleeps: 0}[test.want]; errorsLogged != want {
				t.Errorf("%d errors are logged, want %d: %s", errorsLogged, want, log)
			}
		})
	}
}
