package bot

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/store"
)

// A hookReceiver is a program that is told by an outgoing webhook. It refuses what is not as openapi.json says.
type hookReceiver struct {
	t      *testing.T
	schema *openapi3.Schema

	mu     sync.Mutex
	failed int // how many it refuses yet, to see them again
	status int // by which
	tried  map[string]int
	events []hookEvent
}

const audience = `audience-"secret"<0123456789>abcdef`

// newHookReceiver starts it, and is what a server's file has to say of it.
func newHookReceiver(t *testing.T) (r *hookReceiver, address string) {
	r = &hookReceiver{t: t, schema: got(description())(t).Components.Schemas["Event"].Value, status: http.StatusServiceUnavailable, tried: map[string]int{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, server.URL + "/in"
}

func (r *hookReceiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		r.t.Error(err)
	}
	mac := hmac.New(sha256.New, []byte(audience))
	mac.Write(body)
	if got := q.Header.Get(chat.WebhookSignature); got != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
		r.t.Errorf("signed %q", got)
	}
	var value any
	var e hookEvent
	if err := errors.Join(json.Unmarshal(body, &value), json.Unmarshal(body, &e)); err != nil {
		r.t.Errorf("%v: %s", err, body)
	}
	if err := r.schema.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()); err != nil {
		r.t.Errorf("not as described: %.600s\n%s", err, body)
	}
	if e.Event != q.Header.Get(chat.WebhookEvent) || e.ID != q.Header.Get(chat.WebhookDelivery) {
		r.t.Errorf("%v: %s", q.Header, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried[e.ID]++
	if r.failed > 0 {
		r.failed--
		w.WriteHeader(r.status)
		return
	}
	r.events = append(r.events, e)
}

// names lists the events that arrived in the order in which they happened.
func (r *hookReceiver) names() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.events, func(a, b hookEvent) int { return int(a.Sequence - b.Sequence) })
	for _, e := range r.events {
		name := e.Event
		switch {
		case e.Deployment != nil:
			name += " " + e.Deployment.Environment
		case e.Audit != nil:
			name += " " + e.Audit.Action
		}
		all = append(all, name)
	}
	return all
}

// hookLab is a lab whose repository has a receiver told of everything, and names another that it may not.
func hookLab(t *testing.T) (l *lab, r *hookReceiver, sha string) {
	r, address := newHookReceiver(t)
	secret := filepath.Join(t.TempDir(), "audience")
	if err := os.WriteFile(secret, []byte(audience), 0o600); err != nil {
		t.Fatal(err)
	}
	l = newLab(t, func(s string) string {
		return strings.Replace(s, "  slack:\n", fmt.Sprintf("  webhook:\n    audit: {url: %q, secret: 'file:%s', private: true, allow: [acme/web]}\n    board: {url: %q, secret: 'file:%s', private: true, allow: [acme/other]}\n  slack:\n", address, secret, address, secret), 1)
	})
	r.failed = 3
	file := got(os.ReadFile("testdata/repo/.shipmate.yaml"))(t)
	sha = got(l.Push("alice", "master", "Tell of it <script>", map[string]string{".shipmate.yaml": strings.Replace(string(file), "notify:\n", "notify:\n  - {webhook: audit}\n  - {webhook: audit, on: [failed]}\n  - {webhook: board}\n", 1)}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	if err := l.Settle(); err != nil {
		t.Fatal(err)
	}
	return l, r, sha
}

// TestHookHoldsNothingUp: of what can't be told the rest is told all the same, and nothing goes where it may not go by now.
func TestHookHoldsNothingUp(t *testing.T) {
	t.Parallel()
	l, r, _ := hookLab(t)
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(l.bot.makeDeliveriesOf(tx, store.News{Kind: "run", Subject: "unknown", State: "queued"}),
			tx.PutHookDelivery(store.HookDelivery{ID: "not-allowed", Hook: "board", Repo: "acme/web", Event: "audit", Body: []byte("{}")}),
			tx.PutHookDelivery(store.HookDelivery{ID: "removed", Hook: "nobody", Repo: "acme/web", Event: "audit", Body: []byte("{}")}),
			tx.Audit(store.Entry{Actor: "alice", Action: "lock", Repo: "acme/web", Subject: "web", Detail: "it is " + audience + ", is it?"}))
	}))
	err := until("everything is told or given up", func() error {
		if err := l.Tick(maxBackoff); err != nil {
			return err
		}
		open, err := l.lookup("SELECT group_concat(id || error) FROM hook_deliveries WHERE done_at IS NULL AND (id NOT IN (SELECT key FROM tasks WHERE buried_at IS NOT NULL) OR error = '') HAVING count(*) > 0")
		news := got(l.lookup("SELECT count(*) FROM news"))(t)
		if err == nil && open+news != "0" {
			err = errors.New(open + " " + news)
		}
		return err
	})
	must(t, err)
	if why := got(l.lookup("SELECT error FROM hook_deliveries WHERE id = 'not-allowed'"))(t); !strings.Contains(why, "chat.webhook.board.allow") {
		t.Errorf("not allowed: %s", why)
	}
	if why := got(l.lookup("SELECT error FROM hook_deliveries WHERE id = 'removed'"))(t); !strings.Contains(why, "nobody") {
		t.Errorf("removed: %s", why)
	}
	names := r.names()
	r.mu.Lock() // one may still be sent a second time
	defer r.mu.Unlock()
	if !slices.Contains(names, "audit lock") || r.tried["not-allowed"] > 0 {
		t.Errorf("told: %q", names)
	}
	for _, e := range r.events {
		if e.Audit != nil && e.Audit.Action == "lock" && e.Audit.Detail != "it is •••, is it?" {
			t.Errorf("not masked: %s", e.Audit.Detail)
		}
	}
}

// TestHookRests: who can't be reached is asked by one delivery at a time, with growing pauses; what is a day old is given up without.
func TestHookRests(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &webhook{}
	for _, longest := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		r.tried(false, now)
		if wait := r.rests().Sub(now); wait < longest/2 || wait > longest {
			t.Errorf("it rests for %s, want at most %s", wait, longest)
		}
		until := r.rests()
		r.tried(false, now) // another attempt, at the same time
		if now = r.rests(); now != until {
			t.Errorf("it rests until %s, %s before", now, until)
		}
	}
	if r.tried(true, now); r.rests().After(now) {
		t.Errorf("it rests though it is there")
	}

	l, receives, _ := hookLab(t)
	until := l.bot.db.Now().Add(10 * day)
	l.bot.hooks["audit"].tried(true, until) // as if
	for _, late := range []bool{false, true} {
		id := fmt.Sprintf("late-%v", late)
		must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
			return tx.PutHookDelivery(store.HookDelivery{ID: id, Hook: "audit", Repo: "acme/web", Event: "audit", Body: []byte("{}")})
		}))
		must(t, l.Settle())
		if late {
			must(t, l.Tick(hookPatience))
		}
		again, err := l.bot.tellHook(t.Context(), id, 0)
		if late != errors.As(err, new(giveUp)) || !late && !again.Equal(until) {
			t.Errorf("late %v: %s %v", late, again, err)
		}
		if receives.tried[id] > 0 {
			t.Errorf("late %v: it was tried", late)
		}
	}
}

func TestHook(t *testing.T) {
	t.Parallel()
	l, r, sha := hookLab(t)
	number := l.repo.OpenIssue("alice", "Ship")
	if done, reply, err := l.Say(number, "alice", "/promote production"); err != nil || !done {
		t.Fatalf("%v %s %v", done, reply, err)
	}
	got(l.Status(sha, "shipmate/deploy/production", "pending", "approval"))(t)
	if done, reply, err := l.Say(number, "bob", "/approve"); err != nil || !done {
		t.Fatalf("%v %s %v", done, reply, err)
	}
	got(l.Status(sha, "shipmate/deploy/production", "success", ""))(t)
	// A pause between two attempts lasts a second at least, of the lab's clock.
	err := until("everything arrives", func() error {
		if err := l.Tick(maxBackoff); err != nil {
			return err
		}
		open, err := l.lookup("SELECT group_concat(event || ' ' || error) FROM hook_deliveries WHERE done_at IS NULL HAVING count(*) > 0")
		if err == nil && open != "" {
			err = errors.New(open)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := r.names()
	for _, want := range []string{"run.queued", "run.running", "run.succeeded", "deployment.queued staging", "deployment.applying staging", "deployment.succeeded staging",
		"deployment.queued production", "deployment.blocked production", "deployment.succeeded production", "audit promote", "audit approve"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is not told: %q", want, names)
		}
	}
	if !slices.IsSorted([]int{slices.Index(names, "run.queued"), slices.Index(names, "run.running"), slices.Index(names, "run.succeeded"), slices.Index(names, "deployment.succeeded staging"), slices.Index(names, "audit promote"), slices.Index(names, "deployment.succeeded production")}) {
		t.Errorf("in another order than they happened: %q", names)
	}
	again := 0
	r.mu.Lock() // one may still be sent a second time
	defer r.mu.Unlock()
	for id, n := range r.tried {
		again += n - 1
		if i := slices.IndexFunc(r.events, func(e hookEvent) bool { return e.ID == id }); i < 0 || r.events[i].Repository != "acme/web" {
			t.Errorf("%s of %v", id, r.events)
		}
	}
	if again < 3 { // the lab's clock may run on while one is sent, which is then sent by two
		t.Errorf("3 attempts failed, and only %d were made again", again)
	}
}
