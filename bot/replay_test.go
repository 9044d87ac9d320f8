package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// config is the server's file of a lab, with the address that its bot listens at.
func (l *lab) config(t *testing.T) *Config {
	t.Helper()
	cfg := got(LoadConfig(filepath.Join(l.dir, "shipmate.yaml")))(t)
	cfg.Listen = strings.TrimPrefix(l.url, "http://")
	return cfg
}

// delivery is the first event of a kind.
func (l *lab) delivery(t *testing.T, kind string) (id string) {
	t.Helper()
	must(t, l.gh.Flush(t.Context()))
	must(t, until("a "+kind+" arrives", func() (err error) {
		id, err = l.lookup("SELECT id FROM events WHERE kind = ? ORDER BY received_at LIMIT 1", kind)
		if err == nil && id == "" {
			err = errors.New("it does not")
		}
		return err
	}))
	return id
}

// state counts everything that a replay must leave as it is.
func (l *lab) state(t *testing.T) string {
	t.Helper()
	return got(l.lookup(`SELECT (SELECT count(*) FROM events) || (SELECT count(*) FROM runs) || (SELECT count(*) FROM deployments) || (SELECT count(*) FROM replies)
		|| (SELECT count(*) FROM audit) || (SELECT count(*) FROM tasks) || (SELECT group_concat(trace) FROM events)`))(t)
}

// TestReplayDoesNothing: it tells what would be done, and does nothing, whether the bot is running or not.
func TestReplayDoesNothing(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]bool{"while it serves": false, "while it is down": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			sha := got(l.Push("alice", "master", "Change", quick))(t)
			push := l.delivery(t, "push")
			got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
			issue := l.repo.OpenIssue("alice", "Go on")
			if done, reply, err := l.Say(issue, "alice", "/promote production"); !done || err != nil {
				t.Fatalf("%v: %s", err, reply)
			}
			comment := l.delivery(t, "issue_comment")
			must(t, l.Settle())
			cfg := l.config(t)
			if down {
				must(t, l.Stop())
			}
			before, requests := l.state(t), len(l.gh.Requests())

			for id, want := range map[string][]string{
				push:    {"push of acme/web, received", "refs/heads/master is now " + sha[:7], "staging: yes", "WOULD a run of web at " + sha[:7] + ", queued", "WOULD when it succeeds, its release to staging"},
				comment: {"alice has write on acme/web", "WOULD a deployment (promote) of release 1 of web to production", "WOULD in the audit: promote by alice", "WOULD the reaction rocket", "WOULD in the comment of its release: Deployment 3: release 1 goes to `production`"},
			} {
				r := got(Replay(t.Context(), cfg, got(StoredEvent(t.Context(), cfg, id))(t)))(t)
				told := strings.Join(r.Trace, "\n") + "\nWOULD " + strings.Join(r.Would, "\nWOULD ")
				for _, w := range want {
					if !strings.Contains(told, w) {
						t.Errorf("it does not tell %q:\n%s", w, told)
					}
				}
			}
			for _, r := range l.gh.Requests()[requests:] {
				if r.Method != http.MethodGet && !strings.HasSuffix(r.Path, "/access_tokens") {
					t.Errorf("it asked GitHub for %s %s", r.Method, r.Path)
				}
			}
			if len(l.gh.Requests()) == requests {
				t.Error("GitHub was not asked")
			}
			if after := l.state(t); after != before {
				t.Errorf("it changed the database from %s to %s", before, after)
			}
			left, err := filepath.Glob(filepath.Join(os.TempDir(), "shipmate-replay-*", "copy.db"))
			for _, dir := range left { // of this test, not of others that run beside it
				if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Minute {
					t.Errorf("%s is left", dir)
				}
			}
			must(t, err)
		})
	}
}

// TestReplaySaved reads an event that the bot never got.
func TestReplaySaved(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	must(t, l.Stop())
	sha := got(l.Push("alice", "master", "Change", quick))(t)
	must(t, l.gh.Flush(t.Context()))
	all := l.gh.Deliveries()
	saved := filepath.Join(t.TempDir(), "push.json")
	must(t, os.WriteFile(saved, all[len(all)-1].Payload, 0o600))
	e := got(ReadSaved(saved, ""))(t)
	r := got(Replay(t.Context(), l.config(t), e))(t)
	if e.Kind != "push" || len(r.Would) == 0 || !strings.Contains(r.Would[0], "a run of web at "+sha[:7]) {
		t.Errorf("%s: %+v", e.Kind, r)
	}
}

func TestReadSaved(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, kind, want string }{
		"push":             {`{"ref": "refs/heads/x", "after": "1", "pusher": {}}`, "", "push"},
		"comment":          {`{"comment": {}, "issue": {}, "repository": {"full_name": "acme/web"}}`, "", "issue_comment"},
		"said":             {`{"action": "created"}`, "check_run", "check_run"},
		"unknown":          {`{"action": "created"}`, "", "--event"},
		"not JSON":         {`action: created`, "", "must hold the JSON body"},
		"a list":           {`[]`, "", "must hold the JSON body"},
		"order":            {`{"shipmate_replay": {}}`, kindReplay, "--event"},
		"kind with spaces": {`{}`, "a b", "--event"},
	}
	for name, test := range tests {
		file := filepath.Join(t.TempDir(), "event.json")
		must(t, os.WriteFile(file, []byte(test.body), 0o600))
		e, err := ReadSaved(file, test.kind)
		if (err != nil || e.Kind != test.want) && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %q, %v", name, e.Kind, err)
		}
		if err == nil && !word(e.ID) {
			t.Errorf("%s: the id %q is none", name, e.ID)
		}
	}
}

// TestReplayForReal has the running bot do again what a push and a comment led to.
func TestReplayForReal(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	cfg := l.config(t)
	sha := got(l.Push("alice", "master", "Change", quick))(t)
	push := l.delivery(t, "push")
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	issue := l.repo.OpenIssue("alice", "Go on")
	if done, reply, err := l.Say(issue, "alice", "/help"); !done || err != nil {
		t.Fatalf("%v: %s", err, reply)
	}
	comment := l.delivery(t, "issue_comment")
	must(t, l.Settle())

	again := func(delivery string) (order string) {
		t.Helper()
		order = got(ReplayStored(t.Context(), cfg, delivery))(t)
		trace := strings.Join(got(Decided(t.Context(), cfg, order))(t), "\n")
		if !strings.Contains(trace, "received") || !strings.Contains(trace, "as delivery "+delivery+", is decided again") {
			t.Errorf("the order's trace: %s", trace)
		}
		must(t, l.Settle())
		old := got(l.lookup("SELECT trace FROM events WHERE id = ?", delivery))(t)
		if !strings.Contains(old, "as delivery "+order+":") {
			t.Errorf("the old event's trace: %s", old)
		}
		return order
	}
	order := again(push)
	if n := got(l.lookup("SELECT count(*) FROM runs WHERE sha = ? AND state = 'succeeded'", sha))(t); n != "2" {
		t.Errorf("there are %s runs", n)
	}
	if got := got(l.lookup("SELECT via || ' ' || repo || ' ' || (SELECT number FROM runs WHERE event = events.id) FROM events WHERE id = ?", order))(t); got != "replay acme/web 2" {
		t.Errorf("the order is %s", got)
	}
	again(comment)
	if n := len(l.repo.Comments(issue)); n != 3 {
		t.Errorf("there are %d comments, not the command and two answers", n)
	}

	// A file is an event of its own.
	file := filepath.Join(t.TempDir(), "push.json")
	must(t, os.WriteFile(file, got(StoredEvent(t.Context(), cfg, push))(t).Body, 0o600))
	id := got(Deliver(t.Context(), cfg, got(ReadSaved(file, ""))(t)))(t)
	got(Decided(t.Context(), cfg, id))(t)
	must(t, l.Settle())
	if n := got(l.lookup("SELECT count(*) FROM runs WHERE event = ?", id))(t); n != "1" {
		t.Errorf("the file made %s runs", n)
	}

	// And the same order again does nothing, being the same delivery.
	_, err := Deliver(t.Context(), cfg, Event{ID: order, Kind: kindReplay, Body: got(StoredEvent(t.Context(), cfg, order))(t).Body})
	if err == nil || !strings.Contains(err.Error(), "200 OK") {
		t.Errorf("the same delivery again: %v", err)
	}
	must(t, l.Stop())
	if _, err := ReplayStored(t.Context(), cfg, push); err == nil || !strings.Contains(err.Error(), "is it serving with this file?") {
		t.Errorf("without a bot: %v", err)
	}
}

// TestOrdersThatAreNone do nothing, and say why.
func TestOrdersThatAreNone(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Change", quick))(t)
	push := l.delivery(t, "push")
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	now := l.clock.Now().UTC()
	order := func(delivery string, at time.Time) string {
		return fmt.Sprintf(`{"shipmate_replay": {"delivery": %q, "at": %q}}`, delivery, at.Format(time.RFC3339))
	}
	signed := got(json.Marshal(map[string]any{"ref": "refs/heads/master", "shipmate_replay": map[string]any{"delivery": push, "at": now}}))(t) // a push whose payload somebody could shape
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.PutEvent(store.Event{ID: "aged", Kind: "push", Body: []byte{}})
		return errors.Join(err, tx.Decide("aged", nil))
	}))
	tests := []struct{ id, body, want string }{
		{"n1", string(signed), "nothing else"},
		{"n2", `{"ref": "refs/heads/master"}`, "nothing else"},
		{"n3", `not JSON`, "no order"},
		{"n4", `{"shipmate_replay": {"delivery": "x", "also": 1}}`, "no order"},
		{"n5", order(push, now.Add(-6*time.Minute)), "more than 5m0s"},
		{"n6", order(push, now.Add(6*time.Minute)), "more than 5m0s"},
		{"n7", `{"shipmate_replay": {"delivery": "` + push + `"}}`, "more than 5m0s"},
		{"n8", order("nowhere", now), "no delivery nowhere is stored"},
		{"n9", order("n9", now), "an order to replay itself"},
		{"n10", order("aged", now), "not kept any more"},
	}
	for _, test := range tests {
		got(l.bot.db.Accept(t.Context(), store.Event{ID: test.id, Kind: kindReplay, Via: store.ViaReplay, Body: []byte(test.body)}))(t)
	}
	// What GitHub did sign, sent again under another header.
	body := got(l.lookup("SELECT body FROM events WHERE id = ?", push))(t)
	got(Deliver(t.Context(), l.config(t), Event{ID: "n11", Kind: kindReplay, Body: []byte(body)}))(t)
	tests = append(tests, struct{ id, body, want string }{"n11", "", "nothing else"})
	must(t, l.Settle())
	for _, test := range tests {
		if trace := got(l.lookup("SELECT trace FROM events WHERE id = ?", test.id))(t); !strings.Contains(trace, test.want) || !strings.Contains(trace, "nothing is done") {
			t.Errorf("%s: the trace has no %q: %s", test.id, test.want, trace)
		}
	}
	if n := got(l.lookup("SELECT count(*) FROM runs"))(t); n != "1" {
		t.Errorf("there are %s runs", n)
	}
}

// TestReadOnly: nothing that writes passes.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	passed := 0
	tr := &readOnly{to: roundTrip(func(r *http.Request) (*http.Response, error) {
		passed++
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
	})}
	for request, passes := range map[string]bool{
		"GET /repos/a/b":                                 true,
		"HEAD /repos/a/b":                                true,
		"POST /app/installations/1/access_tokens":        true,
		"POST /api/v3/app/installations/1/access_tokens": true,
		"POST /repos/a/b/statuses/1":                     false,
		"POST /repos/a/access_tokens":                    false,
		"PUT /repos/a/b/contents/x":                      false,
		"PATCH /repos/a/b":                               false,
		"DELETE /app/installations/1/access_tokens":      false,
	} {
		method, path, _ := strings.Cut(request, " ")
		before := passed
		resp := got(tr.RoundTrip(got(http.NewRequestWithContext(t.Context(), method, "https://api.example"+path, strings.NewReader("{}")))(t)))(t)
		must(t, resp.Body.Close())
		if (passed > before) != passes || !passes && resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: passed %v, %s", request, passed > before, resp.Status)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestQueue shows what was given up first, in words.
func TestQueue(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var b bytes.Buffer
	cfg := l.config(t)
	must(t, Queue(t.Context(), cfg, &b))
	if strings.Contains(b.String(), "given up") || strings.Contains(b.String(), "retrying") { // what comes again by the clock waits
		t.Errorf("of nothing: %s", b.String())
	}
	sha := got(l.Push("alice", "master", "Change", quick))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.Stop())
	// As a later start would find it: each kind of task, one buried, one that is tried again.
	db := got(store.Open(context.Background(), cfg.database(), []byte(cfg.DataKey.Value())))(t)
	db.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	run := got(l.lookup("SELECT id FROM runs"))(t)
	deployment := got(l.lookup("SELECT id FROM deployments"))(t)
	push := l.delivery(t, "push")
	for kind, key := range map[string]string{"event": push, "run": run, "prepare": deployment, "env": store.EnvKey("acme/web", "web", "staging"), "report": "run/" + run, "say": "deployment/" + deployment + "\nwecom/ops", "reply": push, "sweep": "odd"} {
		must(t, db.Update(t.Context(), func(tx *store.Tx) error {
			if err := tx.Wake(kind, key); err != nil {
				return err
			}
			if kind != "say" && kind != "run" && kind != "env" {
				return nil
			}
			task, _, err := tx.Claim([]string{kind}, time.Minute)
			if err != nil || kind == "env" {
				return err
			}
			if kind == "say" {
				return tx.Bury(task, "no such robot\nat all")
			}
			return tx.Retry(task, tx.Now().Add(time.Hour), "git is away")
		}))
	}
	must(t, db.Close())
	b.Reset()
	must(t, Queue(t.Context(), cfg, &b))
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for i, want := range []string{
		"STATE KIND ABOUT ATTEMPTS NEXT REASON",
		"given up say deployment 1 to staging in acme/web on wecom/ops 0 - no such robot at all",
		"retrying run run 1 of web in acme/web 1 2026-01-02T04:04:05Z git is away",
	} {
		if squeeze(lines[i]) != want {
			t.Errorf("line %d is %q, want %q", i, squeeze(lines[i]), want)
		}
	}
	rest := squeeze(strings.Join(lines[3:], "; "))
	for _, want := range []string{"event push of acme/web, delivery " + push, "prepare deployment 1 to staging in acme/web", "env staging of web in acme/web", "report run 1 of web in acme/web", "reply push of acme/web, delivery " + push, "sweep odd"} {
		if !strings.Contains(rest, "waiting "+want+" 0 now") {
			t.Errorf("%q is not in %s", want, rest)
		}
	}
	// Without a database it says what may be wrong.
	cfg.DataDir = t.TempDir()
	if err := Queue(t.Context(), cfg, &b); err == nil || !strings.Contains(err.Error(), "there is no database") {
		t.Error(err)
	}
}

// TestWhyOfOthers: an event of another repository is not told of, and of a public one nothing of its cluster.
func TestWhyOfOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("alice", "master", "Change", quick))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	evil := "evil/web"
	got(l.bot.db.Accept(t.Context(), store.Event{ID: "theirs", Kind: "push", Repo: &evil, Body: []byte(`{"ref": "refs/heads/secret"}`)}))(t)
	must(t, l.Settle())
	issue := l.repo.OpenIssue("alice", "Why")
	if done, reply, err := l.Say(issue, "root", "/why theirs"); done || err != nil || strings.Contains(reply, "secret") {
		t.Errorf("%v, %v: %s", done, err, reply)
	}
	must(t, l.Settle()) // so that no event but the next is due

	// An event that was given up is told of with its reason.
	ours := "acme/web"
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.PutEvent(store.Event{ID: "poison", Kind: "push", Repo: &ours, Body: []byte(`{"ref": "refs/heads/bad"}`)})
		if err := errors.Join(err, tx.Add(store.TaskEvent, "poison")); err != nil {
			return err
		}
		task, _, err := tx.Claim([]string{store.TaskEvent}, time.Minute)
		return errors.Join(err, tx.Bury(task, "panic: a bug"))
	}))
	for _, ask := range []string{"/why", "/why poison"} {
		done, reply, err := l.Say(issue, "alice", ask)
		if !done || err != nil || !strings.Contains(reply, "not decided") || !strings.Contains(reply, "was given up at") || !strings.Contains(reply, "panic: a bug") {
			t.Errorf("%s: %v, %v: %s", ask, done, err, reply)
		}
	}
	for _, details := range []bool{false, true} {
		must(t, l.bot.db.View(t.Context(), func(tx *store.Tx) error {
			d, err := tx.DeploymentNumber("acme/web", 1)
			if err != nil {
				return err
			}
			lines, err := why{tx, details}.piece(piece{d: &d})
			if told := strings.Contains(strings.Join(lines, "\n"), "1 objects"); told != details {
				t.Errorf("with details %v:\n%s", details, strings.Join(lines, "\n"))
			}
			return err
		}))
	}
}
