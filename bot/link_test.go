package bot

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// asks has mallory ask for an address, and returns its path.
func (l *lab) asks(t *testing.T) string {
	t.Helper()
	answer := got(l.slack.Command("U04", "C1", "link"))(t)
	path := regexp.MustCompile(`<https://ship\.example\.com(/link/[a-z2-7]{26})\|`).FindStringSubmatch(answer)
	if path == nil {
		t.Fatalf("no address: %s", answer)
	}
	return path[1]
}

func (l *lab) links(t *testing.T) string {
	t.Helper()
	return got(l.lookup("SELECT coalesce(group_concat(user || ' is ' || login), '') FROM links"))(t)
}

// TestLinkPageForged: nothing is confirmed but by somebody who is signed in and pressed the button of the page.
func TestLinkPageForged(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	must(t, l.Settle())
	at := l.asks(t)
	root, dave := l.browser(), l.browser()
	root.signIn(t, "root")
	dave.signIn(t, "dave")
	for what, token := range map[string]string{"no token": "", "another session's": dave.csrf(t)} {
		if status, _, body, err := root.send(at, url.Values{"csrf": {token}}); err != nil || status != http.StatusForbidden || !strings.Contains(body, "out of date") {
			t.Errorf("%s: %d %s %v", what, status, body, err)
		}
	}
	// Who is not signed in is asked to, and comes back to the page, not to what it asks.
	status, _, body, err := l.browser().send(at, url.Values{"csrf": {root.csrf(t)}})
	if err != nil || status != http.StatusUnauthorized || !strings.Contains(body, `href="/auth/login?to=`+url.QueryEscape(at)+`"`) {
		t.Errorf("without a session: %d %s %v", status, body, err)
	}
	if n := got(l.lookup("SELECT count(*) FROM link_requests WHERE login <> ''"))(t); n != "0" {
		t.Errorf("%s requests are confirmed", n)
	}
	// The database has neither the address nor the digits.
	if status, to, _, err := root.send(at, url.Values{"csrf": {root.csrf(t)}}); err != nil || status != http.StatusSeeOther || to != at {
		t.Fatalf("root confirms: %d %s %v", status, to, err)
	}
	_, _, body = root.get(t, at, "")
	shown := digits.FindStringSubmatch(body)
	if shown == nil {
		t.Fatalf("no digits: %s", body)
	}
	row := got(l.lookup("SELECT id || ' ' || hex(digits) || ' ' || CAST(digits AS TEXT) FROM link_requests"))(t)
	if strings.Contains(row, strings.TrimPrefix(at, "/link/")) || strings.Contains(row, shown[1]) {
		t.Errorf("stored: %s", row)
	}
	for what, form := range map[string]url.Values{"no token": {"scope": {"slack/team"}}, "another session's": {"scope": {"slack/team"}, "csrf": {dave.csrf(t)}}} {
		if status, _, _, err := root.send("/links", form); err != nil || status != http.StatusForbidden {
			t.Errorf("take back, %s: %d %v", what, status, err)
		}
	}
	// Who may write sees on an app's page where it was subscribed to.
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		s := store.Subscription{Chat: "slack/team", Channel: "C1", Repo: "acme/web", App: "web", By: "alice"}
		s.Events.V = []string{"failed"}
		return tx.PutSubscription(s)
	}))
	l.clock.Advance(2 * time.Second)
	if _, _, body := dave.get(t, "/apps/web", ""); !strings.Contains(body, "slack/team C1</bdi>: failed <") {
		t.Errorf("the app's page: %s", body)
	}
	// Nobody takes another's back.
	got(l.slack.Command("U04", "C1", "link "+shown[1]))(t)
	if have := l.links(t); have != "U04 is root" {
		t.Fatalf("links: %s", have)
	}
	if status, _, _, err := dave.send("/links", url.Values{"scope": {"slack/team"}, "csrf": {dave.csrf(t)}}); err != nil || status != http.StatusSeeOther || l.links(t) == "" {
		t.Errorf("dave takes root's back: %d %v, %s", status, err, l.links(t))
	}
	must(t, l.Settle())
}

// TestLinkConfirmedByTwo: of those who confirm at the same time one gets the digits.
func TestLinkConfirmedByTwo(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	must(t, l.Settle())
	l.repo.SetPermission("mallory", "read", "")
	at := l.asks(t)
	var all []*browser
	var tokens []string
	for range 6 { // by turns root and somebody whom the file names nowhere
		b := l.browser()
		b.signIn(t, []string{"root", "mallory"}[len(all)%2])
		all, tokens = append(all, b), append(tokens, b.csrf(t))
	}
	var wg sync.WaitGroup
	for i, b := range all {
		wg.Go(func() {
			if _, _, _, err := b.send(at, url.Values{"csrf": {tokens[i]}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	owner := got(l.lookup("SELECT login FROM link_requests"))(t)
	var seen []string
	for i, b := range all {
		status, _, body := b.get(t, at, "")
		mine := []string{"root", "mallory"}[i%2] == owner
		shown := digits.FindStringSubmatch(body)
		if (shown != nil) != mine || !mine && status != http.StatusGone {
			t.Errorf("browser %d, of %s confirmed by %s: %d %s", i, []string{"root", "mallory"}[i%2], owner, status, body)
		}
		if shown != nil {
			seen = append(seen, shown[1])
		}
	}
	if slices.Sort(seen); len(slices.Compact(seen)) != 1 {
		t.Errorf("several digits: %v", seen)
	}
}

// TestLinkUnderTheFile: what people in the server's file says goes before what people said themselves.
func TestLinkUnderTheFile(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ctx := t.Context()
	must(t, l.bot.db.Update(ctx, func(tx *store.Tx) error {
		for user, login := range map[string]string{"U01": "root", "U98": "bob", "U99": "frank"} { // the file has U01 as alice, and bob as U02
			if err := tx.PutLink(store.Link{Scope: "slack/team", User: user, Login: login, Chat: "slack/team"}); err != nil {
				return err
			}
		}
		return nil
	}))
	for user, want := range map[string]string{"U01": "alice", "U02": "bob", "U98": "", "U99": "frank", "U77": "", "": ""} {
		if who := got(l.bot.personIn(ctx, "slack", "team", user))(t); who != want {
			t.Errorf("%s is %q, want %q", user, who, want)
		}
	}
	if who := got(l.bot.personIn(ctx, "slack", "other", "U99"))(t); who != "" {
		t.Errorf("U99 of another workspace is %s", who)
	}
	people := got(l.bot.peopleIn(ctx, chatPlace{"slack", "team", "C1"}, []string{"alice", "root", "bob", "FRANK", "nobody"}))(t)
	for i, want := range []string{"U01", "", "U02", "U99", ""} {
		if people[i].ID != want {
			t.Errorf("%s is %q, want %q", people[i].GitHub, people[i].ID, want)
		}
	}
}
