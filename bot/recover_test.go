package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// recovering turns the sweep of the delivery log on.
func recovering(server string) string {
	return strings.Replace(server, "recover_every: 0", "recover_every: 1m", 1)
}

// missing starts a lab that sweeps, and stops it once it has begun to read the log.
func missing(t *testing.T) *lab {
	t.Helper()
	l := newLab(t, recovering)
	must(t, l.swept("succeeds", func(attempts int, due time.Duration) bool { return attempts == 0 && due > 0 }))
	must(t, l.Stop())
	return l
}

// restart has GitHub give up what is under way, and starts the bot.
func (l *lab) restart() error {
	return errors.Join(l.gh.Flush(context.Background()), l.Start())
}

// swept waits until the sweep's task is in a state.
func (l *lab) swept(what string, ok func(attempts int, due time.Duration) bool) error {
	return until("the sweep "+what, func() error {
		attempts, err := l.lookup("SELECT attempts FROM tasks WHERE kind = 'recover' AND lease_until IS NULL")
		if err != nil || attempts == "" {
			return fmt.Errorf("it is being done: %v", err)
		}
		due, err := l.lookup("SELECT due_at FROM tasks WHERE kind = 'recover'")
		if err != nil {
			return err
		}
		n, err1 := strconv.Atoi(attempts)
		at, err2 := time.Parse(time.RFC3339, due)
		if in := at.Sub(l.clock.Now()); err1 != nil || err2 != nil || !ok(n, in) {
			return fmt.Errorf("%d failed attempts, due in %s", n, in)
		}
		return nil
	})
}

// rows counts.
func (l *lab) rows(t *testing.T, from string, args ...any) int {
	t.Helper()
	return got(strconv.Atoi(got(l.lookup("SELECT count(*) FROM "+from, args...))(t)))(t)
}

// trace is the trace of a delivery.
func (l *lab) trace(t *testing.T, id string) string {
	t.Helper()
	return got(l.lookup("SELECT trace FROM events WHERE id = ? AND decided_at IS NOT NULL", id))(t)
}

// TestRecoverMany: everything in a log of many pages is found, and handled in the order in which it was sent, once.
func TestRecoverMany(t *testing.T) {
	muchOfTheSame(t)
	t.Parallel()
	const n = 1200
	l := missing(t)
	var sent []string
	for i := range n {
		sent = append(sent, l.gh.Deliver("star", fmt.Appendf(nil, `{"action":"created","n":%d}`, i)))
	}
	sha := got(l.Push("alice", "master", "The last", map[string]string{"app.txt": "x"}))(t)
	must(t, l.gh.Flush(t.Context()))
	for _, d := range l.gh.Deliveries() { // one of them is tried again, in vain
		if d.GUID == sent[7] {
			must(t, l.gh.Redeliver(d.ID))
		}
	}
	began := time.Now()
	must(t, l.restart())
	for patient := range 10 { // more than until is
		if err := l.swept("succeeds", func(attempts int, due time.Duration) bool { return attempts == 0 && due > 0 }); err == nil {
			break
		} else if patient == 9 {
			t.Fatal(err)
		}
	}
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	t.Logf("%d deliveries were taken from the log in %s", n, time.Since(began))
	must(t, l.Settle())
	if found := got(l.lookup("SELECT group_concat(id) FROM (SELECT id FROM events WHERE kind = 'star' AND via = 'log' AND decided_at IS NOT NULL ORDER BY rowid)"))(t); found != strings.Join(sent, ",") {
		t.Errorf("%d were found, or not in order", strings.Count(found, ",")+1)
	}
	if late := l.rows(t, "events a JOIN events b ON b.rowid = a.rowid + 1 WHERE b.decided_at < a.decided_at AND b.via = 'log'"); late > 0 {
		t.Errorf("%d were decided before one that was sent earlier", late)
	}
	if body := got(l.lookup("SELECT body FROM events WHERE id = ?", sent[n-1]))(t); body != `{"action":"created","n":1199}` {
		t.Errorf("the body is %s", body)
	}
	if tr := l.trace(t, sent[0]); !strings.Contains(tr, "found in GitHub's delivery log: sent first at ") || !strings.Contains(tr, "noted there as 502 failed to connect to host") || strings.Contains(tr, "takes it for delivered") {
		t.Errorf("the trace is %s", tr)
	}
	pages, reads := l.asked("/app/hook/deliveries?"), l.asked("/app/hook/deliveries/")
	if reads != n+1 || pages != 1+13 {
		t.Errorf("%d payloads and %d pages were read", reads, pages)
	}
	if left := l.rows(t, "tasks WHERE kind = 'event'"); left > 0 {
		t.Errorf("%d tasks are left", left)
	}
}

// TestRecoverUnreadable: a log that cannot be read is told of once, and read from where it was as soon as it can be.
func TestRecoverUnreadable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status     int
		retryAfter time.Duration
		told       string
	}{
		"credentials":       {401, 0, "check github.app_id and github.private_key, and this machine's clock"},
		"refused":           {403, 0, "403 Forbidden"},
		"not there":         {404, 0, "404 Not Found"},
		"broken":            {500, 0, "500 Internal Server Error"},
		"secondary limit":   {403, 5 * time.Minute, "GitHub asks us to wait"},
		"too many requests": {429, 10 * time.Minute, "GitHub asks us to wait"},
		"asked to wait":     {503, 7 * time.Minute, "GitHub asks us to wait"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := missing(t)
			sha := got(l.Push("alice", "master", "Missed", map[string]string{"app.txt": "x"}))(t)
			l.gh.Fail("GET", "/app/hook/deliveries", test.status, -1, test.retryAfter)
			lines, before := 1, l.asked("/app/hook/deliveries?") // a line for each process
			must(t, l.restart())
			for n := 1; n <= 3; n++ {
				must(t, l.swept("waits", func(_ int, due time.Duration) bool {
					return l.asked("/app/hook/deliveries?") == before+n && due > max(test.retryAfter, time.Minute)-10*time.Second // this test may take a while
				}))
				if test.retryAfter > 0 && n == 1 { // what GitHub asked to wait is waited, also by the next process
					must(t, l.Stop())
					must(t, l.Start())
					must(t, l.Settle())
					must(t, l.swept("still waits", func(_ int, due time.Duration) bool {
						return l.asked("/app/hook/deliveries?") == before+n && due > test.retryAfter-time.Minute
					}))
					lines++
				}
				must(t, l.Tick(max(test.retryAfter, time.Minute)))
			}
			l.gh.Recover()
			must(t, l.Tick(max(test.retryAfter, time.Minute)))
			got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
			log := l.log.String()
			if n := strings.Count(log, "delivery log cannot be read"); n != lines || !strings.Contains(log, test.told) {
				t.Errorf("it is told %d times, or not as wanted: %s", n, log)
			}
			if n := strings.Count(log, "delivery log can be read again"); n != 1 {
				t.Errorf("its end is told %d times: %s", n, log)
			}
		})
	}
}

// TestRecoverPayloads: one payload that cannot be read holds up no other, and one that never will be is not asked for again.
func TestRecoverPayloads(t *testing.T) {
	t.Parallel()
	l := missing(t)
	lost := l.gh.Deliver("push", []byte(`{"n":1}`))
	empty := l.gh.Deliver("push", []byte(`{"n":2}`))
	slow := l.gh.Deliver("star", []byte(`{"n":3}`))
	odd := l.gh.Deliver("star", []byte("not JSON")) // GitHub's log shows an empty object
	last := l.gh.Deliver("star", []byte(`{"n":4}`))
	must(t, l.gh.Flush(t.Context()))
	ids := map[string]string{}
	for _, d := range l.gh.Deliveries() {
		ids[d.GUID] = fmt.Sprint(d.ID)
		if status := map[string]int{lost: 404, empty: 200, slow: 500}[d.GUID]; status != 0 {
			l.gh.Fail("GET", fmt.Sprintf("/app/hook/deliveries/%d", d.ID), status, -1, 0)
		}
	}
	must(t, l.restart())
	asked := func(n int) {
		t.Helper()
		must(t, l.swept("asks for the slow one", func(_ int, due time.Duration) bool { return due > 0 && l.asked("/app/hook/deliveries/"+ids[slow]) == n }))
	}
	asked(1)
	for id, want := range map[string]string{lost: "its payload cannot be read from GitHub's log: ", empty: "GitHub's log has no payload of it", odd: "nothing is done on a star", last: "nothing is done on a star"} {
		if tr := l.trace(t, id); !strings.Contains(tr, want) {
			t.Errorf("the trace of %s is %q, want %s", id, tr, want)
		}
	}
	if n := l.rows(t, "events WHERE id = ?", slow); n != 0 {
		t.Error("one that could not be read is stored")
	}
	l.gh.SetHook("http://127.0.0.1:1/", hookSecret)
	later := l.gh.Deliver("star", []byte(`{"n":5}`))
	must(t, l.gh.Flush(t.Context()))
	must(t, l.Tick(time.Hour)) // longer than the overlap
	asked(2)
	if tr := l.trace(t, later); !strings.Contains(tr, "nothing is done on a star") {
		t.Errorf("the trace of one that was sent later is %q", tr)
	}
	l.gh.Recover()
	must(t, l.Tick(time.Hour))
	asked(3)
	if tr := l.trace(t, slow); !strings.Contains(tr, "nothing is done on a star") {
		t.Errorf("once it can be read, its trace is %q", tr)
	}
	for guid, id := range ids {
		want := 1
		if guid == slow {
			want = 3
		}
		if n := l.asked("/app/hook/deliveries/" + id); n != want {
			t.Errorf("delivery %s was read %d times, not %d", guid, n, want)
		}
	}
}

// asked counts the requests for what begins with a path.
func (l *lab) asked(path string) (n int) {
	for _, r := range l.gh.Requests() {
		if strings.HasPrefix(r.Path, path) {
			n++
		}
	}
	return n
}

// TestFetch: which answers say that there will never be a payload, and which that it is to be asked for again.
func TestFetch(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status                 int
		answer                 string
		body, none, tryAgain   string
		retryAfter, cutsAnswer bool
	}{
		"payload":        {status: 200, answer: `{"request":{"payload":{"a": 1.0}}}`, body: `{"a": 1.0}`},
		"null":           {status: 200, answer: `{"request":{"payload":null}}`, none: "has no payload"},
		"no request":     {status: 200, answer: `{}`, none: "has no payload"},
		"not JSON":       {status: 200, answer: `<html>`, none: "cannot be read"},
		"another form":   {status: 200, answer: `{"request":7}`, none: "cannot be read"},
		"gone":           {status: 404, answer: `{}`, none: "404"},
		"gone for good":  {status: 410, answer: `{}`, none: "410"},
		"unprocessable":  {status: 422, answer: `{}`, none: "422"},
		"server error":   {status: 500, answer: `{}`, tryAgain: "500"},
		"bad gateway":    {status: 502, answer: `<html>`, tryAgain: "502"},
		"not authorized": {status: 401, answer: `{}`, tryAgain: "401"},
		"forbidden":      {status: 403, answer: `{}`, tryAgain: "403"},
		"cut off":        {status: 200, answer: `{"request":{"pay`, cutsAnswer: true, tryAgain: "unexpected EOF"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if test.cutsAnswer {
					w.Header().Set("Content-Length", "1000")
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.answer)
			}))
			t.Cleanup(server.Close)
			c := got(github.NewClient(nil).WithEnterpriseURLs(server.URL, server.URL))(t)
			p := fetch(t.Context(), c, []missed{{guid: "g", attempt: 1}})[0]
			if string(p.body) != test.body || !strings.Contains(p.none, test.none) || (p.none == "") != (test.none == "") || (p.err == nil) != (test.tryAgain == "") ||
				p.err != nil && !strings.Contains(p.err.Error(), test.tryAgain) {
				t.Errorf("%q, %q, %v", p.body, p.none, p.err)
			}
		})
	}
}

// TestRecoverMeetsWebhook: a delivery that arrives while the sweep takes it from the log, or after that, is the same one.
func TestRecoverMeetsWebhook(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil) // this test sweeps itself
	since := l.clock.Now().Add(-time.Minute)
	must(t, l.Stop())
	during := got(l.Push("alice", "master", "During", map[string]string{"app.txt": "1"}))(t)
	after := got(l.Push("alice", "topic", "After", map[string]string{"app.txt": "2"}))(t)
	must(t, l.restart())
	redeliver := func(sha string) (guid string) {
		for _, d := range l.gh.Deliveries() {
			if d.Event == "push" && strings.Contains(string(d.Payload), `"after":"`+sha) && !d.Redelivery {
				must(t, l.gh.Redeliver(d.ID))
				guid = d.GUID
			}
		}
		must(t, l.gh.Flush(t.Context()))
		return guid
	}
	c := l.bot.hub.asApp()
	found, _, err := l.bot.listMissed(t.Context(), c, since)
	if err != nil || len(found) != 3 { // and the create of topic
		t.Fatalf("%v, %v", found, err)
	}
	first := redeliver(during)
	payloads := fetch(t.Context(), c, found)
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error { return putMissed(tx, found, payloads) }))
	second := redeliver(after)
	must(t, l.bot.decideFound(t.Context()))
	must(t, l.Settle())
	for id, via := range map[string]string{first: store.ViaWebhook, second: store.ViaLog} {
		if n := l.rows(t, "events WHERE id = ? AND via = ? AND decided_at IS NOT NULL", id, via); n != 1 {
			t.Errorf("%s is not there once, via %s", id, via)
		}
		if n := l.rows(t, "runs WHERE event = ? AND state = 'succeeded'", id); n != 1 {
			t.Errorf("%s has %d runs", id, n)
		}
	}
	for _, d := range l.gh.Deliveries() {
		if want := map[string]int{first: 202, second: 200}[d.GUID]; d.Redelivery && d.StatusCode != want {
			t.Errorf("the redelivery of %s was answered with %d", d.GUID, d.StatusCode)
		}
	}
	if n := l.rows(t, "tasks WHERE kind = 'event'"); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
}

// TestRecoverInFlight: a delivery that was under way during a sweep is found by a later one, though it is dated before.
func TestRecoverInFlight(t *testing.T) {
	t.Parallel()
	l := missing(t)
	began := l.asked("/app/hook/deliveries?")
	must(t, l.Start())
	must(t, l.swept("begins", func(_ int, due time.Duration) bool { return due > 0 && l.asked("/app/hook/deliveries?") > began }))
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(slow.Close)
	l.gh.SetHook(slow.URL, hookSecret)
	sha := got(l.Push("alice", "master", "Slow", map[string]string{"app.txt": "1"}))(t)
	<-arrived
	for sweep := range 2 {
		before := l.asked("/app/hook/deliveries?")
		must(t, l.Tick(time.Minute))
		must(t, l.swept("looks", func(_ int, due time.Duration) bool { return due > 0 && l.asked("/app/hook/deliveries?") > before }))
		if sweep == 0 {
			close(release)
			must(t, l.gh.Flush(t.Context()))
		}
	}
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	if log := l.log.String(); strings.Contains(log, "cannot be read") { // an empty log is no trouble
		t.Error(log)
	}
}

// TestDecidedOnce: an event that several decide at a time has its effect once.
func TestDecidedOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	issue := l.repo.OpenIssue("alice", "Ship")
	must(t, l.Settle())
	l.gh.SetHook("http://127.0.0.1:1/", hookSecret)
	got(l.Comment(issue, "alice", "/promote production"))(t)
	must(t, l.gh.Flush(t.Context()))
	all := l.gh.Deliveries()
	d := all[len(all)-1]
	e := store.Event{ID: d.GUID, Kind: d.Event, Repo: repoName(d.Payload), Via: store.ViaReplay, Body: d.Payload} // which may be answered again
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.PutEvent(e); return err }))
	l.gh.SlowDown(50 * time.Millisecond) // all have read it before one has written
	var g errgroup.Group
	for range 4 {
		g.Go(func() error { _, err := l.bot.event(t.Context(), d.GUID, 0); return err })
	}
	must(t, g.Wait())
	l.gh.Recover()
	must(t, l.Settle())
	if n := l.rows(t, "deployments WHERE cause = 'promote'"); n != 1 || strings.Count(l.trace(t, d.GUID), "command ") != 1 {
		t.Errorf("%d deployments; %s", n, l.trace(t, d.GUID))
	}
}

// TestRecoverFirstStart: a new database has no past, but one that begins while the log cannot be read loses nothing.
func TestRecoverFirstStart(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	must(t, l.Stop())
	must(t, os.Remove(filepath.Join(l.dir, "data", "shipmate.db")))
	l.server = recovering(l.server)
	old := got(l.Push("alice", "master", "Before", map[string]string{"app.txt": "1"}))(t)
	must(t, l.gh.Flush(t.Context()))
	l.clock.Advance(2 * time.Second)
	l.gh.Fail("GET", "/app/hook/deliveries", 500, -1, 0)
	must(t, l.Start())
	must(t, l.swept("fails", func(_ int, due time.Duration) bool { return due > 0 && l.asked("/app/hook/deliveries") == 1 }))
	must(t, l.Stop())
	sha := got(l.Push("alice", "master", "Since", map[string]string{"app.txt": "2"}))(t)
	must(t, l.gh.Flush(t.Context()))
	l.gh.Recover()
	must(t, l.Start())
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	if s := l.repo.Statuses(old); len(s) > 0 {
		t.Errorf("what was sent before the first start was handled: %v", s)
	}
	if log := l.log.String(); strings.Count(log, "there are no deliveries here yet") != 1 {
		t.Errorf("it is not told once: %s", log)
	}
}

// TestRecoverEarlierVersion: a version that did not read the log has left no cursor, but events.
func TestRecoverEarlierVersion(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Before", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Stop())
	sha = got(l.Push("alice", "master", "Missed", map[string]string{"app.txt": "2"}))(t)
	l.server = recovering(l.server)
	must(t, l.restart())
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
}

// TestRecoverRestored: what GitHub delivered and a restored backup does not have is found as well.
func TestRecoverRestored(t *testing.T) {
	t.Parallel()
	l := missing(t)
	file := filepath.Join(l.dir, "data", "shipmate.db")
	backup := got(os.ReadFile(file))(t)
	must(t, l.Start())
	sha := got(l.Push("alice", "master", "Delivered", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.Stop())
	must(t, os.WriteFile(file, backup, 0o600))
	l.clock.Advance(10 * time.Minute) // more than the overlap
	must(t, l.Start())
	must(t, until("it is built again", func() error {
		if n := len(l.builder.Requests()); n != 2 {
			return fmt.Errorf("%d builds", n)
		}
		return nil
	}))
	must(t, l.Settle())
	if tr := got(l.lookup("SELECT trace FROM events WHERE kind = 'push'"))(t); !strings.Contains(tr, "noted there as 202 ") || !strings.Contains(tr, "takes it for delivered, but it is not in this database") {
		t.Errorf("the trace is %s", tr)
	}
}

// TestRecoverGap: of what GitHub's log has lost, the default branches' newest commits are taken up.
func TestRecoverGap(t *testing.T) {
	t.Parallel()
	l := missing(t)
	other := got(l.gh.CreateRepo("acme/other", sim.RepoOptions{}))(t)
	must(t, l.Start())
	base := got(readFiles("testdata/repo"))(t)
	base[".shipmate.yaml"] = strings.ReplaceAll(base[".shipmate.yaml"], "team/web", "team/other")
	known := got(other.Commit("master", "root", "Known", base))(t)
	first := got(l.Push("alice", "master", "Known", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(first, "shipmate/deploy/staging", "success", ""))(t)
	got(l.Status(first, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	runs := l.rows(t, "runs WHERE sha = ?", known)
	must(t, l.Stop())

	lost := got(l.Push("dave", "master", "Lost", map[string]string{"app.txt": "2"}))(t)
	must(t, l.gh.Flush(t.Context()))
	l.clock.Advance(4 * 24 * time.Hour)
	topic := got(l.Push("alice", "topic", "In time", map[string]string{"app.txt": "3"}))(t)
	must(t, l.restart())
	got(l.Status(topic, "shipmate/build", "success", ""))(t)
	got(l.Status(lost, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	if got := got(l.lookup("SELECT cause || ' ' || sender || ' ' || author || ' ' || subject FROM runs WHERE sha = ?", lost))(t); got != "push dave dave Lost" {
		t.Errorf("the run is %s", got)
	}
	if n := l.rows(t, "runs WHERE sha = ?", known); n != runs || l.rows(t, "runs WHERE sha = ?", first) != 1 {
		t.Errorf("a commit that was known has %d runs, before %d", n, runs)
	}
	const told = "may be lost: GitHub's log goes back no further; push again or comment again"
	if n := strings.Count(l.log.String(), told); n != 1 {
		t.Errorf("the gap is logged %d times", n)
	}
	if n := l.rows(t, "events WHERE kind = 'gap' AND decided_at IS NOT NULL AND trace LIKE ?", "%"+told+"%"); n != 2 {
		t.Errorf("%d repositories were told of it", n)
	}
	must(t, l.Tick(time.Minute))
	must(t, l.swept("succeeds", func(attempts int, due time.Duration) bool { return attempts == 0 && due > 0 }))
	if n := l.rows(t, "events WHERE kind = 'gap'"); n != 2 {
		t.Errorf("the next sweep sees a gap again: %d events", n)
	}
	// Nobody else can make a gap: the header that says so is not signed.
	body := got(json.Marshal(gap{time.Unix(0, 0), time.Unix(1, 0)}))(t)
	id := l.gh.Deliver(kindGap, []byte(fmt.Sprintf(`{"repository":{"full_name":"acme/web"},%s`, body[1:])))
	must(t, l.Settle())
	if tr := l.trace(t, id); !strings.Contains(tr, "nothing is done on a gap") {
		t.Errorf("a gap from outside: %s", tr)
	}
}

// TestRecoverFailing: what cannot be decided is left to its own task, and holds up no other.
func TestRecoverFailing(t *testing.T) {
	t.Parallel()
	l := missing(t)
	topic := got(l.Push("alice", "topic", "One", map[string]string{"app.txt": "1"}))(t)
	master := got(l.Push("alice", "master", "Two", map[string]string{"app.txt": "2"}))(t)
	must(t, l.gh.Flush(t.Context()))
	l.gh.Fail("GET", "*/contents/*", 502, 1, 0)
	must(t, l.Start())
	got(l.Status(master, "shipmate/build", "success", ""))(t)
	l.gh.Recover()
	must(t, l.Tick(maxBackoff))
	got(l.Status(topic, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	if n := l.rows(t, "runs"); n != 2 {
		t.Errorf("%d runs", n)
	}
	if !strings.Contains(l.log.String(), "is left to its own task") {
		t.Error("the failure is not told of")
	}
}

// TestRecoverKilledAnywhere kills the sweep at each of its transactions. Nothing is lost or doubled by that, whoever goes on:
// the next sweep, or a bot that sweeps no more.
func TestRecoverKilledAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("one after the other, some 40 bots that live for a moment: nothing for the race detector")
	}
	t.Parallel()
	l := missing(t)
	issue := l.repo.OpenIssue("alice", "Ship")
	must(t, l.Start())
	first := got(l.Push("root", "master", "Ask before it deploys", file(t, "deploy: auto", "deploy: manual")))(t)
	got(l.Status(first, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.Stop())
	killed, off := true, 0
	for n := 1; killed; n++ {
		older := got(l.Push("alice", "master", "Older", map[string]string{"app.txt": fmt.Sprint(n)}))(t)
		comment := got(l.Comment(issue, "alice", "/status"))(t)
		newer := got(l.Push("alice", "master", "Newer", map[string]string{"app.txt": fmt.Sprint(-n)}))(t)
		must(t, l.gh.Flush(t.Context()))
		killed = l.killSweep(t, n)
		if n%4 == 0 && l.rows(t, "events WHERE decided_at IS NULL") == 3 { // all are stored
			l.server = strings.Replace(l.server, "recover_every: 1m", "recover_every: 0", 1)
			off++
		}
		must(t, l.Start())
		l.server = recovering(strings.Replace(l.server, "recover_every: 1m", "recover_every: 0", 1))
		got(l.Status(newer, "shipmate/build", "success", ""))(t)
		if _, reply, err := l.Answer(issue, comment); err != nil || reply == "" {
			t.Fatalf("killed at %d: %q %v", n, reply, err)
		}
		must(t, l.Settle())
		state := got(l.lookup(`SELECT group_concat(state) FROM (SELECT state FROM runs WHERE sha IN (?, ?) ORDER BY number)`, older, newer))(t)
		if undecided := l.rows(t, "events WHERE decided_at IS NULL"); state != "superseded,succeeded" || undecided != 0 || l.rows(t, "replies") != n || l.rows(t, "events WHERE kind = 'push'") != 1+2*n {
			t.Fatalf("killed at %d: runs %s, %d undecided, %d replies, events %s", n, state, undecided, l.rows(t, "replies"), got(l.lookup("SELECT group_concat(kind || ' ' || via) FROM events"))(t))
		}
		must(t, l.Stop())
		if !killed {
			t.Logf("the sweep has %d transactions", n-1)
		}
	}
	if n := len(l.repo.Comments(issue)); n != 2*l.rows(t, "replies") || off == 0 {
		t.Errorf("%d comments; the sweep was off %d times", n, off)
	}
}

// killSweep opens the bot and sweeps until the nth transaction begins, which fails, as does everything after it.
func (l *lab) killSweep(t *testing.T, n int) (killed bool) {
	t.Helper()
	file := filepath.Join(l.dir, "shipmate.yaml")
	must(t, os.WriteFile(file, []byte(l.server), 0o600))
	cfg := got(LoadConfig(file))(t)
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	var armed atomic.Bool
	var points atomic.Int32
	w := world{builders: oneBuilder(cfg, l.builder), images: l.registry, clusters: map[string]pipeline.Cluster{"test": l.test, "prod": l.prod}, now: func() time.Time {
		if armed.Load() && points.Add(1) == int32(n) {
			kill()
		}
		return l.clock.Now()
	}}
	b := got(open(t.Context(), cfg, w, "test", slog.New(slog.NewTextHandler(l.log, nil))))(t)
	armed.Store(true)
	_, err := b.recoverDeliveries(ctx, deliveryLog, 0)
	armed.Store(false)
	if killed = ctx.Err() != nil; !killed {
		must(t, err)
	}
	must(t, b.Close())
	return killed
}

// TestCommentIsObeyedOnce, also when its delivery comes under another id, which no signature covers.
func TestCommentIsObeyedOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	issue := l.repo.OpenIssue("alice", "Ship")
	if done, reply, err := l.Say(issue, "alice", "/promote production"); !done {
		t.Fatalf("%s %v", reply, err)
	}
	must(t, l.Settle())
	before, comments := got(l.Deployments())(t), len(l.repo.Comments(issue))
	body := got(l.lookup("SELECT body FROM events WHERE kind = 'issue_comment'"))(t)
	for i := range 3 {
		id := fmt.Sprintf("again-%d", i)
		if status, _ := l.send(delivery(id, "issue_comment", "application/json", signature(hookSecret, body), body)); status != http.StatusAccepted {
			t.Fatalf("it is answered with %d", status)
		}
		must(t, l.Settle())
		if tr := l.trace(t, id); !strings.Contains(tr, "the comment was answered already, for delivery ") {
			t.Errorf("the trace is %s", tr)
		}
	}
	if after := got(l.Deployments())(t); after != before || len(l.repo.Comments(issue)) != comments || l.rows(t, "replies") != 1 {
		t.Errorf("%s, before %s; %d comments, before %d", after, before, len(l.repo.Comments(issue)), comments)
	}
}

// TestOvertakenIsNotTheNewest: a push of a commit that has shipped, found late and overtaken, takes back nothing that is said
// of the commit.
func TestOvertakenIsNotTheNewest(t *testing.T) {
	t.Parallel()
	l := missing(t)
	must(t, l.Start())
	one := got(l.Push("alice", "master", "One", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(one, "shipmate/deploy/staging", "success", ""))(t)
	two := got(l.Push("alice", "master", "Two", map[string]string{"app.txt": "2"}))(t)
	got(l.Status(two, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.Stop())
	l.clock.Advance(2 * time.Second)
	got(l.repo.ForcePush("master", one, "alice"))(t)
	got(l.Push("alice", "master", "Three", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
	must(t, l.restart())
	must(t, until("the newest is built", func() error {
		if l.builder.Blocked() == 0 {
			return errors.New("it is not")
		}
		return nil
	}))
	l.builder.Release()
	must(t, l.Settle())
	if n := l.rows(t, "runs WHERE sha = ? AND state = 'superseded'", one); n != 1 {
		t.Fatalf("%d runs were overtaken", n)
	}
	if s := l.status(one, "shipmate/build"); s.State != "success" || !strings.Contains(s.Description, "release 1") {
		t.Errorf("the status says %s: %s", s.State, s.Description)
	}
	if n := l.rows(t, "runs WHERE state = 'succeeded'"); n != 3 {
		t.Errorf("%d runs succeeded", n)
	}
}

// TestWaitsForTheBranch: how long GitHub asks to wait is waited, also before the branch is asked for.
func TestWaitsForTheBranch(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.gh.Fail("GET", "*/git/ref/*", 403, 1, 5*time.Minute)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	must(t, until("it waits", func() error {
		due, err := l.lookup("SELECT due_at FROM tasks WHERE kind = 'event' AND lease_until IS NULL")
		if err != nil || due == "" {
			return fmt.Errorf("it does not: %v", err)
		}
		if at, err := time.Parse(time.RFC3339, due); err != nil || at.Before(l.clock.Now().Add(4*time.Minute)) {
			return fmt.Errorf("it is due at %s, %v", due, err)
		}
		return nil
	}))
	must(t, l.Tick(5*time.Minute))
	_ = sha
}

// TestRecoverOldNews: what a delivery from the log says of its repository does not replace what a later one said.
func TestRecoverOldNews(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "x"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	body := got(l.lookup("SELECT body FROM events WHERE kind = 'push'"))(t)
	body = strings.ReplaceAll(body, `"html_url":"`+l.gh.URL()+`/acme/web"`, `"html_url":"https://old.example.com/acme/web"`)
	for _, test := range []struct {
		id   string
		sent time.Duration // from now
		want string
	}{{"older", -time.Hour, l.gh.URL()}, {"newer", time.Hour, "https://old.example.com"}} {
		e := store.Event{ID: test.id, Kind: "push", Repo: repoName([]byte(body)), DeliveredAt: store.Time{Time: l.clock.Now().Add(test.sent)}, Body: []byte(body)}
		must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.PutFound(e, nil, tx.Now().Add(ownTurn)); return err }))
		must(t, l.bot.decideFound(t.Context()))
		if url := got(l.lookup("SELECT html_url FROM repos"))(t); url != test.want+"/acme/web" {
			t.Errorf("after the %s one it is at %s", test.id, url)
		}
	}
	must(t, l.Settle())
}
