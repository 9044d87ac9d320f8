package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

func TestOverview(t *testing.T) {
	s := newSignedSite(t)
	s.cfg.Frozen = func(windows []string, now time.Time) (string, time.Time) { return windows[0], now.Add(time.Hour) }
	s.cfg.Health = func(ids []string) map[string]Health {
		all := map[string]Health{}
		for _, id := range ids {
			all[id] = Health{Ready: 1, Desired: 2}
		}
		return all
	}
	s.open()
	_, one := s.ship("acme/shop", "web", "The first")
	s.live(one, "staging")
	s.live(one, "production")
	_, two := s.ship("acme/shop", "web", "The second")
	s.live(two, "staging")
	d := s.deployTo(two, "production", "bob")
	s.update(func(tx *store.Tx) error {
		return errors.Join(tx.Begin(d), tx.EndDeployment(d, store.Failed, "", &store.Failure{Reason: "it broke"}),
			tx.PutHold(store.Hold{Repo: "acme/shop", App: "web", Environment: "staging", By: "dave", Reason: "why"}),
			tx.PutLock(store.Lock{Repo: "acme/shop", By: "carol", Reason: "all of it", Since: store.Time{Time: s.now}, Until: store.Time{Time: s.now.Add(time.Hour)}}))
	})
	s.deployTo(two, "production", "bob")
	s.ship("acme/secret", "hidden-app", "Nothing to see")
	s.person("alice", map[string]int{"acme/shop": Read})
	page := s.see("alice", "/")
	wants(t, page, `<a href="/apps/web?repository=acme%2Fshop"><strong><bdi>web</bdi></strong></a>`, "The first", "The second", ">release 2: failed</a>", "held by dave", "locked by carol", "frozen", "release 2 waits",
		"1 of 2 pods ready", `Apps <span class="count">1</span>`, `data-refresh="15"`)
	lacks(t, page, "hidden-app", "secret", "Nothing to see", "/command", "/audit", "/queue", "/system", "/deliveries")
	if n := strings.Count(page, "frozen</span>"); n != 1 {
		t.Errorf("%d environments are frozen", n)
	}
	wants(t, s.see("alice", "/?q=ACME+we"), "The second")
	wants(t, s.see("alice", "/?q=hidden"), "No app of yours has that in its name")
	s.person("zoe", nil)
	wants(t, s.see("zoe", "/"), "There is no app yet that you may see")
	wants(t, s.see("alice", "/", "Accept-Language", "zh-CN"), `<html lang="zh">`, "总览", "被 dave 暂停自动部署", "版本 2：失败", "封网中")
}

// A page of the overview ends after so many apps, and the next goes on there, whatever the viewer may not see in between.
// TestOverviewIsCurrent: a matrix that takes the place of another takes rows from it, but none that has changed or that says a time
// that is over.
func TestOverviewIsCurrent(t *testing.T) {
	s := newSignedSite(t)
	s.person("alice", map[string]int{"acme/shop": Read})
	_, rel := s.ship("acme/shop", "web", "One")
	s.live(rel, "staging")
	s.ship("acme/shop", "worker", "Two")
	s.pages.s.keep(time.Hour)
	// again looks once more, when half of the time is over.
	again := func() string {
		t.Helper()
		one := s.pages.s.seen.known[struct{}{}]
		one.at = one.at.Add(-40 * time.Minute)
		before := one.value
		page := s.see("alice", "/")
		if one.value == before {
			t.Error("it was not read again")
		}
		return page
	}
	wants(t, s.see("alice", "/"), "just now")
	s.now = s.now.Add(5 * time.Second)
	s.ship("acme/shop", "worker", "Three")
	same := s.pages.s.seen.known[struct{}{}].value
	page := again()
	wants(t, page, "run 2 ", "just now")
	newer := s.pages.s.seen.known[struct{}{}].value
	web, worker := store.App{Repo: "acme/shop", Name: "web"}, store.App{Repo: "acme/shop", Name: "worker"}
	if a, b := same.html[en][web], newer.html[en][web]; a != b {
		t.Errorf("the row that is as it was was made again: %v, %v", a, b)
	}
	if a, b := same.html[en][worker], newer.html[en][worker]; a.HTML == b.HTML {
		t.Errorf("the row that changed is as it was: %v", a)
	}
	s.now = s.now.Add(3 * time.Minute)
	wants(t, again(), "3 min ago")
	// A lock is another row too.
	s.update(func(tx *store.Tx) error {
		return tx.PutLock(store.Lock{Repo: "acme/shop", App: "web", Environment: "staging", By: "bob", Reason: "moving", Since: store.Time{Time: s.now}, Until: store.Time{Time: s.now.Add(time.Hour)}})
	})
	wants(t, again(), "locked by bob")
}

func TestOverviewPages(t *testing.T) {
	s := newSignedSite(t)
	for i := range appsShown + 5 {
		s.ship("acme/shop", fmt.Sprintf("app-%03d", i), "Ship")
		if i%10 == 0 {
			s.ship("acme/hidden", fmt.Sprintf("app-%03d", i), "Hide")
		}
	}
	s.person("alice", map[string]int{"acme/shop": Read})
	page := s.see("alice", "/")
	wants(t, page, "app-000", fmt.Sprintf("app-%03d", appsShown-1))
	lacks(t, page, fmt.Sprintf("app-%03d", appsShown), "First page")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page)
	if next == nil {
		t.Fatal("no next page")
	}
	page = s.see("alice", strings.ReplaceAll(next[1], "&amp;", "&"))
	wants(t, page, fmt.Sprintf("app-%03d", appsShown), fmt.Sprintf("app-%03d", appsShown+4), "First page")
	lacks(t, page, fmt.Sprintf(`app-%03d</bdi>`, appsShown-1), `rel="next"`, "acme/hidden")
}

// What waits for somebody is what they may approve: by name, by team or by permission, and not their own work.
func TestWaitsForMe(t *testing.T) {
	s := newSignedSite(t)
	asked := 0
	s.cfg.Member = func(_ context.Context, _ store.Repo, list []string, login string) (bool, error) {
		asked++
		if login == "grace" {
			return false, errors.New("GitHub is down")
		}
		return login == "dora", nil
	}
	s.open()
	_, rel := s.ship("acme/shop", "web", "Ship it")
	d := s.deployTo(rel, "production", "bob")
	s.asks(d, "@acme/release", "erin", "bob", "alice")
	_, open := s.ship("acme/shop", "api", "Open to maintainers")
	any := s.deployTo(open, "production", "bob")
	s.asks(any)
	for login, p := range map[string]int{"alice": Admin, "bob": Admin, "carol": Maintain, "dora": Read, "erin": Read, "frank": Write, "grace": Read} {
		s.person(login, map[string]int{"acme/shop": p})
	}
	s.person("heidi", map[string]int{"acme/other": Admin})
	s.people["heidi"].Login = "erin-of-elsewhere"
	for login, want := range map[string][2]bool{ // web, api
		"alice": {false, false}, // whose commit it is
		"bob":   {false, false}, // who asked for it
		"carol": {false, true},
		"dora":  {true, false}, // in the team
		"erin":  {true, false},
		"frank": {false, false},
		"grace": {true, false}, // nobody can tell
		"heidi": {false, false},
	} {
		page := s.see(login, "/")
		for i, d := range []store.Deployment{d, any} {
			if got := strings.Contains(page, fmt.Sprintf(`value="/approve %d"`, d.Number)); got != want[i] {
				t.Errorf("%s may approve deployment %d: %v", login, d.Number, got)
			}
		}
	}
	if asked == 0 {
		t.Error("nobody asked who is in the team")
	}
	page := s.see("erin", "/")
	wants(t, page, "Waits for you", `href="/deployments/`+d.ID+`#changes"`, `<input type="hidden" name="csrf" value="csrf of erin">`, `name="repository" value="acme/shop"`, `value="/reject `+itoa(d.Number)+`"`, `name="reason"`)
	s.update(func(tx *store.Tx) error {
		return tx.Vote(store.Approval{Deployment: d.ID, Login: "Erin", Vote: "approve", Via: "page"})
	})
	lacks(t, s.see("erin", "/"), "Waits for you")
	// An order is one decision.
	o := store.Order{Repo: "acme/shop", Environment: "production", Requester: "bob", Note: "the spring <b>release</b>"}
	s.update(func(tx *store.Tx) error { return tx.NewOrder(&o) })
	part := s.deployTo(open, "staging", "bob")
	s.update(func(tx *store.Tx) error {
		p := part
		p.OrderID, p.Part, p.Environment = o.ID, 1, "canary"
		err := tx.NewDeployment(&p, "render")
		return errors.Join(err, tx.Block(p, []store.Block{{Kind: store.BlockPart, Need: 1, By: []string{"erin"}}}), tx.MoveOrder(o, store.OrderWaiting))
	})
	wants(t, s.see("erin", "/"), `value="/approve order 1"`, "the spring &lt;b&gt;release&lt;/b&gt;", `href="/orders/`+o.ID+`#parts"`)
	lacks(t, s.see("frank", "/"), `value="/approve order 1"`)
	wants(t, s.see("erin", "/orders/"+o.ID), `value="/approve order 1"`, `value="/reject order 1"`)
	wants(t, s.see("frank", "/orders/"+o.ID), `value="/order cancel 1"`)
	lacks(t, s.see("frank", "/orders/"+o.ID), `value="/approve order 1"`)
}

// What a deployment changes stands beside the buttons; of a public repository, for whom somebody let in alone.
func TestWaitsWithChanges(t *testing.T) {
	s := newSignedSite(t)
	_, rel := s.ship("acme/shop", "web", "Ship it")
	d := s.deployTo(rel, "production", "bob")
	s.update(func(tx *store.Tx) error {
		return tx.Prepared(d, []byte("x"), "hash", []byte("[]"), "Deployment/web\n-  replicas: 2\n+  replicas: <3>")
	})
	s.asks(d, "erin", "zoe")
	s.person("erin", map[string]int{"acme/shop": Read})
	s.person("zoe", nil)
	wants(t, s.see("erin", "/"), "Changes in the cluster", `<span class="added">&#43;  replicas: &lt;3&gt;</span>`)
	s.update(func(tx *store.Tx) error {
		return tx.PutRepo(store.Repo{Name: "acme/shop", DefaultBranch: "master", HTMLURL: "https://github.example/acme/shop"})
	})
	page := s.see("zoe", "/")
	wants(t, page, "Waits for you")
	lacks(t, page, "replicas")
	wants(t, s.see("erin", "/"), "replicas")
}

// From a run and a deployment there is a way to how it came to be, for who may see that.
func TestWhyLinks(t *testing.T) {
	s := newSignedSite(t)
	repo := "acme/shop"
	s.update(func(tx *store.Tx) error {
		_, err := tx.PutEvent(store.Event{ID: "e-1", Kind: "push", Repo: &repo, Body: []byte("{}")})
		return errors.Join(err, tx.PutRepo(store.Repo{Name: repo, Private: true, DefaultBranch: "master"}))
	})
	run := store.Run{Repo: repo, App: "web", Cause: "push", Sender: "alice", Author: "alice", Ref: "refs/heads/master", SHA: strings.Repeat("0a1b2c3d", 5), Event: "e-1"}
	s.update(func(tx *store.Tx) error { return tx.NewRun(&run, "fetch") })
	s.person("carol", map[string]int{repo: Read})
	s.person("frank", map[string]int{repo: Write})
	wants(t, s.see("frank", "/runs/"+run.ID), `href="/deliveries/e-1"`)
	lacks(t, s.see("carol", "/runs/"+run.ID), "/deliveries/e-1")
	wants(t, s.see("frank", "/deliveries/e-1"), `href="/runs/`+run.ID+`"`)
}

// What went without approval waits for those whom its environment names, not for everyone who maintains, nor for whose work it is.
func TestWaitsToBeAgreedTo(t *testing.T) {
	s := newSignedSite(t)
	_, rel := s.ship("acme/shop", "web", "Ship it")
	d := store.Deployment{Repo: rel.Repo, App: rel.App, Release: rel.Number, Run: rel.Run, Environment: "production", Cause: store.CauseNow, Requester: "bob", RatifyBy: store.Time{Time: s.now.Add(time.Hour)}}
	d.Spec.V = []byte(`{"Environment":{"Name":"production","Approvals":{"Count":1,"By":["erin","alice"]}}}`)
	s.update(func(tx *store.Tx) error { return tx.NewDeployment(&d, "render") })
	for _, login := range []string{"alice", "bob", "carol", "erin"} {
		s.person(login, map[string]int{"acme/shop": Maintain})
	}
	lacks(t, s.see("erin", "/"), "Waits for you") // it did not begin
	s.end(d, store.Progressing, store.Verifying, store.Succeeded)
	for login, want := range map[string]bool{"alice": false, "bob": false, "carol": false, "erin": true} { // alice made the commit, bob broke the glass
		if got := strings.Contains(s.see(login, "/"), fmt.Sprintf(`value="/approve %d"`, d.Number)); got != want {
			t.Errorf("%s may agree: %v", login, got)
		}
	}
}

// However many teams GitHub does not tell of, a page waits for it once.
func TestTeamsNobodyTellsOf(t *testing.T) {
	s := newSignedSite(t)
	s.cfg.Member = func(ctx context.Context, _ store.Repo, _ []string, _ string) (bool, error) {
		<-ctx.Done()
		return false, ctx.Err()
	}
	s.open()
	_, rel := s.ship("acme/shop", "web", "Ship it")
	const n = 10
	for i := range n {
		s.asks(s.deployTo(rel, fmt.Sprint("e", i), "bob"), fmt.Sprint("@acme/team-", i))
	}
	s.person("erin", map[string]int{"acme/shop": Read})
	began := time.Now()
	if got := strings.Count(s.see("erin", "/"), `value="/approve `); got != n {
		t.Errorf("%d wait", got)
	}
	if took := time.Since(began); took > n/2*teamPatience {
		t.Errorf("it took %s", took)
	}
}

// What a command was answered is shown as it was said, to who said it, without the server's secrets.
func TestSaid(t *testing.T) {
	s := newSignedSite(t)
	s.cfg.Mask = func(text string) string { return strings.ReplaceAll(text, "hunter2", "***") }
	s.open()
	s.ship("acme/shop", "web", "Ship it")
	s.update(func(tx *store.Tx) error {
		repo := "acme/shop"
		if _, err := tx.PutEvent(store.Event{ID: SaidID("Erin", "1"), Kind: "shipmate_command", Repo: &repo, Body: []byte("{}")}); err != nil {
			return err
		}
		return tx.PutReply(store.Reply{Event: SaidID("Erin", "1"), Repo: "acme/shop", Reaction: "confused", Body: "Not so:\n\n- <b>one\n- hunter2"})
	})
	for login, want := range map[string]bool{"erin": true, "alice": false} {
		s.person(login, map[string]int{"acme/shop": Read})
		page := s.see(login, "/apps/web?said=1")
		if strings.Contains(page, "Not so:\n\n- &lt;b&gt;one\n- ***\n") != want || strings.Contains(page, `id="said"`) != want {
			t.Errorf("%s sees it: %v\n%s", login, !want, page)
		}
	}
}

// A page is loaded as often as what is on it changes.
func TestRefreshOfApp(t *testing.T) {
	s := newSignedSite(t)
	s.cfg.Health = func([]string) map[string]Health { return nil }
	s.open()
	_, rel := s.ship("acme/shop", "web", "Ship it")
	live := s.live(rel, "staging") // and nothing in production
	s.person("erin", map[string]int{"acme/shop": Read})
	wants(t, s.see("erin", "/apps/web"), `data-refresh="15"`)
	wants(t, s.see("erin", "/deployments/"+live.ID), `data-refresh="15"`) // the cluster's word changes
	s.deployTo(rel, "production", "bob", store.Progressing)
	wants(t, s.see("erin", "/apps/web"), `data-refresh="2"`)
}

var texts = regexp.MustCompile(`name="text" value="([^"]*)"`)

// A button is shown to whom the permission allows what it says.
func TestButtons(t *testing.T) {
	s := newSignedSite(t)
	run, one := s.ship("acme/shop", "web", "Ship it")
	s.live(one, "staging")
	_, two := s.ship("acme/shop", "web", "Ship more")
	s.live(two, "staging")
	live := s.live(one, "production")
	waits := s.deployTo(two, "production", "bob")
	s.asks(waits, "erin")
	broken := store.Run{Repo: "acme/shop", App: "web", Cause: "push", Sender: "carol", Author: "carol", Ref: "refs/heads/master", SHA: strings.Repeat("ab", 20), Subject: "Break it"}
	broken.Config.V = []byte(chain)
	s.update(func(tx *store.Tx) error {
		return errors.Join(tx.NewRun(&broken, "fetch"), tx.EndRun(broken.ID, store.RunFailed, "", &store.Failure{Reason: "no"}))
	})
	going := broken
	s.update(func(tx *store.Tx) error { return tx.NewRun(&going, "fetch") })
	s.update(func(tx *store.Tx) error {
		return tx.PutHold(store.Hold{Repo: "acme/shop", App: "web", Environment: "staging", By: "bob"})
	})
	for login, p := range map[string]int{"alice": Admin, "bob": Read, "carol": Read, "dora": Read, "erin": Read, "frank": Write} {
		s.person(login, map[string]int{"acme/shop": p})
	}
	app := "/apps/web"
	for _, c := range []struct {
		login, path string
		want        string // commands, with commas
	}{
		{"carol", app, ""},
		{"dora", app, "/promote web production,/rollback web production"}, // one of the deployers
		{"frank", app, "/deploy web staging,/rollback web staging,/unlock web staging,/lock web staging for,/promote web production,/deploy web production,/rollback web production,/lock web production for"},
		{"alice", app, "/deploy web staging,/rollback web staging,/unlock web staging,/lock web staging for,/promote web production,/deploy web production,/rollback web production,/lock web production for,/lock web all for"},
		{"carol", "/runs/" + broken.ID, ""},
		{"frank", "/runs/" + broken.ID, "/rebuild web"},
		{"carol", "/runs/" + going.ID, "/cancel web run " + itoa(going.Number)}, // who pushed it
		{"erin", "/runs/" + going.ID, ""},
		{"frank", "/runs/" + run.ID, "/deploy web"},
		{"carol", "/deployments/" + waits.ID, ""},
		{"erin", "/deployments/" + waits.ID, fmt.Sprintf("/approve %d,/reject %[1]d", waits.Number)},
		{"bob", "/deployments/" + waits.ID, fmt.Sprintf("/cancel deployment %d", waits.Number)}, // who asked for it
		{"frank", "/deployments/" + live.ID, "/rollback web production"},
		{"carol", "/deployments/" + live.ID, ""},
	} {
		page := s.see(c.login, c.path)
		var got []string
		for _, m := range texts.FindAllStringSubmatch(page, -1) {
			got = append(got, m[1])
		}
		if strings.Join(got, ",") != c.want {
			t.Errorf("%s at %s may say %q, want %s", c.login, c.path, got, c.want)
		}
		if strings.Count(page, `action="/command"`) != strings.Count(page, `name="csrf" value="csrf of `+c.login+`"><input type="hidden" name="repository"`) {
			t.Errorf("%s at %s: a form without its token", c.login, c.path)
		}
	}
	wants(t, s.see("frank", "/runs/"+broken.ID), `name="sha" value="`+broken.SHA+`"`)
	wants(t, s.see("frank", "/runs/"+run.ID), "<option>staging 1</option><option>production 1</option>")
}

// A lock is released where it was taken: that of an environment there, a wider one as a whole.
func TestUnlockButtons(t *testing.T) {
	s := newSignedSite(t)
	_, rel := s.ship("acme/shop", "web", "Ship it")
	s.ship("acme/shop", "api", "Ship it")
	s.live(rel, "staging")
	s.person("frank", map[string]int{"acme/shop": Write})
	s.person("carol", map[string]int{"acme/shop": Read})
	for _, c := range []struct{ app, env, web, api string }{
		{"web", "staging", "/unlock web staging", ""},
		{"web", "", "/unlock web all", ""},
		{"", "", "/unlock all", "/unlock all"},
	} {
		l := store.Lock{Repo: "acme/shop", App: c.app, Environment: c.env, By: "dave", Reason: "why", Since: store.Time{Time: s.now}, Until: store.Time{Time: s.now.Add(time.Hour)}}
		s.update(func(tx *store.Tx) error { return tx.PutLock(l) })
		for app, want := range map[string]string{"web": c.web, "api": c.api} {
			var got []string
			for _, m := range texts.FindAllStringSubmatch(s.see("frank", "/apps/"+app), -1) {
				if strings.HasPrefix(m[1], "/unlock") {
					got = append(got, m[1])
				}
			}
			if strings.Join(got, ",") != want {
				t.Errorf("a lock of %q %q: %s has %q, want %q", c.app, c.env, app, got, want)
			}
		}
		lacks(t, s.see("carol", "/apps/web"), "/unlock")
		s.update(func(tx *store.Tx) error { return tx.EndLock(l) })
	}
}

func TestHistory(t *testing.T) {
	s := newSignedSite(t)
	for i := range historyShown + 5 {
		_, rel := s.ship("acme/shop", "web", fmt.Sprintf("Change %d.", i+1))
		if i == 7 {
			s.live(rel, "staging")
		}
	}
	s.person("alice", map[string]int{"acme/shop": Read})
	page := s.see("alice", "/apps/web")
	wants(t, page, "Change 30.", "Change 6.", `href="/apps/web?repository=acme%2Fshop&amp;before=6#history"`)
	lacks(t, page, "Change 5.")
	page = s.see("alice", "/apps/web?repository=acme%2Fshop&before=6")
	wants(t, page, "Change 5.", "Change 1.", "Newest")
	lacks(t, page, "Change 6.", `rel="next"`)
	// Two repositories with an app of that name.
	s.ship("acme/other", "web", "Elsewhere")
	wants(t, s.see("alice", "/apps/web"), "Change 30.") // the other one is nothing to her
	s.person("alice", map[string]int{"acme/shop": Read, "acme/other": Read})
	wants(t, s.see("alice", "/apps/web"), "Several repositories", `href="/apps/web?repository=acme%2Fother"`, `href="/apps/web?repository=acme%2Fshop"`)
	wants(t, s.see("alice", "/apps/web?repository=ACME%2Fother"), "Elsewhere")
}

// What somebody may not see does not exist for them.
func TestOthersRepositories(t *testing.T) {
	s := newSignedSite(t)
	run, rel := s.ship("acme/secret", "vault", "Change the locks")
	d := s.deployTo(rel, "production", "bob")
	s.asks(d)
	repo := "acme/secret"
	s.update(func(tx *store.Tx) error {
		_, err := tx.PutEvent(store.Event{ID: "0000-secret", Kind: "push", Repo: &repo, Body: []byte(`{"secret":1}`)})
		_, err2 := tx.PutEvent(store.Event{ID: "0000-nobodys", Kind: "ping", Body: []byte(`{}`)})
		return errors.Join(err, err2, tx.Decide("0000-secret", []string{"a secret decision"}), tx.Audit(store.Entry{Actor: "bob", Via: "page", Action: "secret action", Repo: repo}))
	})
	o := store.Order{Repo: repo, Environment: "production", Requester: "bob", Note: "why"}
	s.update(func(tx *store.Tx) error { return tx.NewOrder(&o) })
	task := s.bury(store.TaskPrepare, d.ID)
	s.ship("acme/open", "site", "Ship")
	s.update(func(tx *store.Tx) error {
		return tx.PutRepo(store.Repo{Name: "acme/open", DefaultBranch: "master", HTMLURL: "https://github.example/acme/open"})
	})
	s.person("mallory", map[string]int{"acme/mine": Admin, "acme/tools": Write})
	s.ship("acme/mine", "mine", "Mine")
	s.person("reader", map[string]int{"acme/secret": Read})
	s.person("writer", map[string]int{"acme/secret": Write})
	s.person("owner", map[string]int{"acme/secret": Admin})
	secret := "?repository=acme%2Fsecret"
	for _, c := range []struct {
		path string
		need int // in acme/secret
	}{
		{"/apps/vault", Read}, {"/apps/vault" + secret, Read}, {"/runs/" + run.ID, Read}, {"/deployments/" + d.ID, Read}, {"/orders/" + o.ID, Read}, {"/orders" + secret, Read},
		{"/deliveries" + secret, Write}, {"/deliveries/0000-secret", Write}, {"/hooks" + secret, Write}, {"/audit" + secret, Admin}, {"/audit" + secret + "&app=vault", Admin},
		{"/queue", Admin}, {"/system", Admin},
	} {
		for login, has := range map[string]int{"reader": Read, "writer": Write, "owner": Admin} {
			want := http.StatusOK
			if has < c.need {
				want = http.StatusNotFound
			}
			if w := s.as(login, "GET", c.path, nil); w.Code != want {
				t.Errorf("%s at %s: %d", login, c.path, w.Code)
			}
		}
		w := s.as("mallory", "GET", c.path, nil)
		own := regexp.MustCompile(`href="\?[^"]*"`) // the page's address, which is theirs
		if both := c.path == "/queue" || c.path == "/system"; !both && w.Code != http.StatusNotFound || regexp.MustCompile("vault|acme/secret|secret decision|secret action").MatchString(own.ReplaceAllString(w.Body.String(), "")) {
			t.Errorf("mallory at %s: %d %s", c.path, w.Code, w.Body)
		}
		if w := s.as("", "GET", c.path, nil); w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "acme") && !strings.Contains(c.path, "acme") {
			t.Errorf("nobody at %s: %d", c.path, w.Code)
		}
	}
	for _, path := range []string{"/deliveries/0000-nobodys", "/deliveries/0000-none", "/deliveries/" + url.PathEscape("' OR 1=1 --"), "/deliveries?before=0000-secret", "/hooks?repository=acme%2Fopen", "/audit?repository=acme%2Fopen", "/deliveries?repository=acme%2Fopen", "/apps/none", "/apps/site?repository=none"} {
		if w := s.as("mallory", "GET", path, nil); w.Code != http.StatusNotFound {
			t.Errorf("mallory at %s: %d", path, w.Code)
		}
	}
	wants(t, s.see("mallory", "/apps/site"), "site") // it is public
	lacks(t, s.see("mallory", "/"), "vault", "secret", "Waits for you")
	wants(t, s.see("mallory", "/audit"), "There is no line")
	// Nor does somebody else have what was given up there tried again.
	for login, want := range map[string]int{"mallory": 404, "writer": 404, "": 401} {
		if w := s.as(login, "POST", "/queue", url.Values{"csrf": {"csrf of " + login}, "task": {fmt.Sprint(task)}}); w.Code != want {
			t.Errorf("%s retries: %d", login, w.Code)
		}
	}
	s.buriedStill(task, true)
}

// bury makes a task and gives it up.
func (s *site) bury(kind, key string) (id int64) {
	s.t.Helper()
	s.update(func(tx *store.Tx) error {
		if err := tx.Wake(kind, key); err != nil {
			return err
		}
		for {
			task, ok, err := tx.Claim([]string{kind}, time.Minute)
			if err != nil || !ok {
				return errors.Join(err, store.ErrNotFound)
			}
			if task.Key == key {
				id = task.ID
				return tx.Bury(task, "it <b>broke</b>")
			}
		}
	})
	return id
}

func (s *site) buriedStill(id int64, want bool) {
	s.t.Helper()
	s.update(func(tx *store.Tx) error {
		task, err := tx.QueuedTask(id)
		if err == nil && task.BuriedAt.IsZero() == want {
			s.t.Errorf("given up: %v", !want)
		}
		return err
	})
}

func TestRetry(t *testing.T) {
	s := newSignedSite(t)
	_, rel := s.ship("acme/shop", "web", "Ship")
	d := s.deployTo(rel, "production", "bob")
	task := s.bury(store.TaskPrepare, d.ID)
	s.person("alice", map[string]int{"acme/shop": Admin})
	wants(t, s.see("alice", "/queue"), `href="/deployments/`+d.ID+`"`, "Rendering the manifests", "it &lt;b&gt;broke&lt;/b&gt;", "acme/shop", fmt.Sprintf(`name="task" value="%d"`, task))
	form := url.Values{"csrf": {"guessed"}, "task": {fmt.Sprint(task)}}
	if w := s.as("alice", "POST", "/queue", form); w.Code != http.StatusForbidden {
		t.Errorf("a form of another site: %d", w.Code)
	}
	s.buriedStill(task, true)
	form.Set("csrf", "csrf of alice")
	for range 2 { // a second click does nothing
		if w := s.as("alice", "POST", "/queue", form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/queue" {
			t.Errorf("retry: %d", w.Code)
		}
	}
	s.buriedStill(task, false)
	wants(t, s.see("alice", "/queue"), "Nothing was given up")
	page := s.see("alice", "/audit")
	wants(t, page, "retry", "alice", "given up: it &lt;b&gt;broke&lt;/b&gt;")
	if strings.Count(page, ">retry<") != 1 {
		t.Errorf("%d lines", strings.Count(page, ">retry<"))
	}
	for _, id := range []string{"", "x", "99999999", "-1"} {
		form.Set("task", id)
		if w := s.as("alice", "POST", "/queue", form); w.Code != http.StatusNotFound {
			t.Errorf("task %q: %d", id, w.Code)
		}
	}
}

func TestOrdersPage(t *testing.T) {
	s := newSignedSite(t)
	s.ship("acme/shop", "web", "Ship it")
	s.ship("acme/secret", "vault", "Hide it")
	s.update(func(tx *store.Tx) (err error) {
		for i := range linesShown + 2 {
			o := store.Order{Repo: "acme/shop", Environment: "production", Requester: "bob", Note: fmt.Sprintf("note %03d <b>", i+1)}
			err = errors.Join(err, tx.NewOrder(&o))
		}
		o := store.Order{Repo: "acme/secret", Environment: "production", Requester: "bob", Note: "unseen by others"}
		return errors.Join(err, tx.NewOrder(&o))
	})
	s.person("carol", map[string]int{"acme/shop": Read})
	s.person("frank", map[string]int{"acme/shop": Write})
	s.person("zoe", nil)
	page := s.see("carol", "/orders")
	wants(t, page, "note 052 &lt;b&gt;", "note 003", "Release order 52 to <bdi>production</bdi>", `href="/orders" aria-current="page"`)
	lacks(t, page, "note 002", "unseen by others", "secret", "/order create")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page)
	page = s.see("carol", strings.ReplaceAll(next[1], "&amp;", "&"))
	wants(t, page, "note 002", "note 001")
	lacks(t, page, "note 003", `rel="next"`)
	wants(t, s.see("frank", "/orders"), `name="text" value="/order create"`, `name="text" required`, `name="reason" maxlength="300" autocomplete="off" required`)
	if w := s.as("carol", "GET", "/orders?repository=acme%2Fsecret", nil); w.Code != http.StatusNotFound {
		t.Errorf("another's: %d", w.Code)
	}
	if w := s.as("zoe", "GET", "/orders", nil); w.Code != http.StatusNotFound || strings.Contains(s.see("zoe", "/"), `href="/orders"`) {
		t.Errorf("who sees no repository: %d", w.Code)
	}
}

// Before the first push nothing is known of any repository: the pages that are offered are there, and have nothing of anybody.
func TestBeforeTheFirstPush(t *testing.T) {
	s := newSignedSite(t)
	s.cfg.System = func() []Part { return []Part{{Kind: "cluster", Name: "prod", State: store.Succeeded}} }
	s.open()
	s.update(func(tx *store.Tx) error {
		return tx.Audit(store.Entry{Actor: "shipmate", Via: "engine", Action: "of the server"})
	})
	s.person("root", map[string]int{"acme/shop": Admin})
	links := regexp.MustCompile(`<li><a href="([^"]+)"`).FindAllStringSubmatch(s.see("root", "/"), -1)
	if len(links) != 6 {
		t.Errorf("%q", links)
	}
	for _, link := range links {
		lacks(t, s.see("root", link[1]), "of the server")
	}
	wants(t, s.see("root", "/system"), "prod")
	s.ship("acme/other", "web", "Ship it") // now it is known who may use the server, and root is not among them
	if w := s.as("root", "GET", "/system", nil); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
}

// What was given up is found: each kind leads to what it is about.
func TestGivenUpLeads(t *testing.T) {
	for task, want := range map[store.Task]string{
		{Kind: store.TaskEvent, Key: "page/x/1 2"}:                     "/deliveries/page/x/1%202",
		{Kind: store.TaskRun, Key: "r1"}:                               "/runs/r1",
		{Kind: store.TaskForkRun, Key: "r1"}:                           "/runs/r1",
		{Kind: store.TaskPrepare, Key: "d1"}:                           "/deployments/d1",
		{Kind: store.TaskOrder, Key: "o1"}:                             "/orders/o1",
		{Kind: store.TaskReport, Key: "order/o1"}:                      "/orders/o1",
		{Kind: store.TaskSay, Key: "deployment/d1\nwecom/ops"}:         "/deployments/d1",
		{Kind: store.TaskEnv, Key: store.EnvKey("acme/a", "web", "x")}: "/apps/web?repository=acme%2Fa",
		{Kind: store.TaskLocks}:                                        "",
	} {
		if got := (buried{QueuedTask: store.QueuedTask{Task: task}}).Path(); got != want {
			t.Errorf("%+v: %q, want %q", task, got, want)
		}
	}
}

func TestAuditAndDeliveries(t *testing.T) {
	s := newSignedSite(t)
	s.cfg.About = func(e store.Event) string { return e.Kind + " about " + e.ID }
	s.cfg.Mask = func(text string) string { return strings.ReplaceAll(text, "hunter2", "***") }
	s.open()
	run, rel := s.ship("acme/shop", "web", "Ship")
	d := s.deployTo(rel, "production", "bob")
	other, _ := s.ship("acme/shop", "api", "Ship")
	repo := "acme/shop"
	s.update(func(tx *store.Tx) (err error) {
		for i := range linesShown + 3 {
			s.now = s.now.Add(time.Second)
			id := fmt.Sprintf("page/x/%03d", i)
			_, e := tx.PutEvent(store.Event{ID: id, Kind: "push", Repo: &repo, Body: []byte("{}")})
			err = errors.Join(err, e, tx.Decide(id, []string{"<i>read</i>", fmt.Sprintf("end %03d hunter2", i)}),
				tx.Audit(store.Entry{Actor: "alice", Via: "page", Action: "approve", Repo: repo, Subject: "deployment/" + d.ID, Detail: fmt.Sprintf("line %03d hunter2", i)}))
		}
		return errors.Join(err, tx.Audit(store.Entry{Actor: "alice", Via: "page", Action: "rebuild", Repo: repo, Subject: "run/" + other.ID, Detail: "of the api"}),
			tx.Audit(store.Entry{Actor: "alice", Via: "page", Action: "lock", Repo: repo, Subject: "api production", Detail: "locks the api"}))
	})
	s.person("alice", map[string]int{repo: Admin})
	page := s.see("alice", "/audit?app=web")
	wants(t, page, "line 052 ***", "line 003 ***", `href="/deployments/`+d.ID+`"`)
	lacks(t, page, "line 002", "hunter2", "of the api", "locks the api")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page)
	wants(t, s.see("alice", strings.ReplaceAll(next[1], "&amp;", "&")), "line 002 ***", "line 000 ***")
	page = s.see("alice", "/audit?app=api")
	wants(t, page, "of the api", "locks the api")
	lacks(t, page, "line 0")
	for _, wild := range []string{"%25", "a_i"} { // no patterns
		lacks(t, s.see("alice", "/audit?app="+wild), "of the api", "locks the api", "line 0")
	}
	page = s.see("alice", "/deliveries")
	wants(t, page, "push about page/x/052", "end 003 ***", `href="/deliveries/page/x/052"`)
	lacks(t, page, "end 002", "hunter2")
	next = regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page)
	page = s.see("alice", strings.ReplaceAll(next[1], "&amp;", "&"))
	wants(t, page, "end 002 ***", "end 000 ***")
	lacks(t, page, "end 003", `rel="next"`)
	wants(t, s.see("alice", "/deliveries/page/x/007"), "&lt;i&gt;read&lt;/i&gt;", "end 007 ***")
	_ = run
	s.update(func(tx *store.Tx) (err error) {
		for i := range 53 {
			err = errors.Join(err, tx.PutHookDelivery(store.HookDelivery{ID: fmt.Sprintf("hook-%03d", i), Hook: "audit", Repo: repo, Event: "run.succeeded", Body: []byte("{}")}))
		}
		return errors.Join(err, tx.TriedHook("hook-052", 503, "HTTP <i>status</i> 503"), tx.TriedHook("hook-051", 204, ""))
	})
	page = s.see("alice", "/hooks")
	wants(t, page, "hook-052", "not arrived, 1 attempts", "HTTP &lt;i&gt;status&lt;/i&gt; 503", "arrived, attempt 1, HTTP status 204", "not sent yet", "hook-003")
	lacks(t, page, "hook-002")
	next = regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page)
	page = s.see("alice", strings.ReplaceAll(next[1], "&amp;", "&"))
	wants(t, page, "hook-002", "hook-000")
	lacks(t, page, "hook-003", `rel="next"`)
}

// Whatever people type is only ever text on a page.
func TestHostileText(t *testing.T) {
	s := newSignedSite(t)
	const (
		script = `<script>alert(1)</script>`
		attr   = `"><img src=x onerror=alert(1)>`
		link   = "\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\"
		evil   = script + attr + link + "\x1b[31m\u202e{{.}}&<!--"
	)
	r := store.Run{Repo: "acme/shop", App: "web", Cause: "push", Sender: "mal" + evil, Author: evil, Ref: "refs/heads/" + evil, SHA: strings.Repeat("0a1b2c3d", 5), Subject: evil}
	r.Config.V = []byte(`{"Environments":[{"Name":"production","Cluster":"<script>alert(1)</script>","Deployers":["\"><script>alert(1)</script>"]}]}`)
	s.update(func(tx *store.Tx) error {
		return errors.Join(tx.PutRepo(store.Repo{Name: "acme/shop", Private: true, DefaultBranch: "master", HTMLURL: `javascript:alert(1)`}), tx.NewRun(&r, "fetch"), tx.StartRun(r.ID))
	})
	s.log(r.ID, "2026-01-02T03:04:07Z\tfetch\t"+evil)
	var rel store.Release
	s.update(func(tx *store.Tx) (err error) {
		rel, err = tx.SucceedRun(r, []store.Image{{Repository: evil, Digest: evil}})
		return err
	})
	live := s.live(rel, "production")
	d := s.deployTo(rel, "production", evil)
	repo := "acme/shop"
	s.update(func(tx *store.Tx) error {
		d, err := tx.Deployment(d.ID)
		_, err2 := tx.PutEvent(store.Event{ID: "page/x/" + evil, Kind: "push", Repo: &repo, Body: []byte("{}")})
		_, err3 := tx.PutEvent(store.Event{ID: "0000-1", Kind: evil, Repo: &repo, Body: []byte("{}")})
		return errors.Join(err, err2, err3, tx.Decide("0000-1", []string{evil}),
			tx.Prepared(d, []byte("x"), "hash", []byte("[]"), "+"+evil+"\n-"+evil),
			tx.Block(d, []store.Block{{Kind: store.BlockApproval, Need: 1, By: []string{"erin", evil}}, {Kind: store.BlockLock, By: []string{evil}, Text: evil}, {Kind: store.BlockFreeze, Text: evil},
				{Kind: store.BlockChecks, Names: []string{evil}}, {Kind: store.BlockBranch, Text: evil}, {Kind: store.BlockOrder, Environment: evil}, {Kind: evil, Text: evil}}),
			tx.Vote(store.Approval{Deployment: d.ID, Login: "eve" + evil, Vote: "reject", Reason: evil, Via: evil}),
			tx.PutHold(store.Hold{Repo: repo, App: "web", Environment: "production", By: evil, Reason: evil}),
			tx.PutLock(store.Lock{Repo: repo, By: evil, Reason: evil, Since: store.Time{Time: s.now}, Until: store.Time{Time: s.now.Add(time.Hour)}}),
			tx.Audit(store.Entry{Actor: evil, Via: evil, Action: evil, Repo: repo, Subject: "deployment/" + evil, Detail: evil}))
	})
	o := store.Order{Repo: repo, Environment: evil, Requester: evil, Note: evil}
	s.update(func(tx *store.Tx) error { return tx.NewOrder(&o) })
	s.cfg.Health = func([]string) map[string]Health {
		return map[string]Health{live.ID: {Ready: 1, Desired: 1, Drift: true, Unread: evil, At: s.now, Workloads: []Workload{{Object: evil, Text: evil, Problem: evil, Release: evil, Foreign: true, Desired: 1}, {Object: evil, Gone: true}}}}
	}
	s.cfg.System = func() []Part { return []Part{{Kind: "cluster", Name: evil, Detail: evil, State: store.Failed}} }
	s.cfg.Frozen = func([]string, time.Time) (string, time.Time) { return evil, s.now }
	s.open()
	s.bury(store.TaskReport, "deployment/"+d.ID)
	s.person("erin", map[string]int{repo: Admin})
	query := "?q=" + url.QueryEscape(evil)
	for _, path := range []string{"/", "/" + query, "/?after=" + url.QueryEscape(evil), "/apps/web", "/runs/" + r.ID, "/runs/" + r.ID + query, "/runs/" + r.ID + "?line=1", "/deployments/" + d.ID, "/deployments/" + live.ID, "/orders/" + o.ID,
		"/orders", "/audit", "/audit?app=" + url.QueryEscape(evil), "/deliveries", "/deliveries/0000-1", "/queue", "/system", "/?lang=" + url.QueryEscape(evil), "/?lang=zh&said=" + url.QueryEscape(evil), "/apps/web?repository=" + url.QueryEscape(repo) + "&back=" + url.QueryEscape("//evil.example")} {
		for _, language := range []string{"en", "zh"} {
			page := s.see("erin", path, "Accept-Language", language)
			for _, bad := range []string{"<script>", "<img src=x", "onerror=alert(1)>", "\x1b", "\u202e", `href="javascript:`, "<!--", `"//evil.example`} {
				if strings.Contains(page, bad) {
					i := strings.Index(page, bad)
					t.Errorf("%s (%s) has %q: …%q", path, language, bad, page[max(0, i-120):i+40])
				}
			}
			for _, m := range regexp.MustCompile(`name="back" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
				if !strings.HasPrefix(m[1], "/") || strings.HasPrefix(m[1], "//") || strings.Contains(m[1], "said=") || strings.Contains(m[1], "lang=") {
					t.Errorf("%s goes back to %q", path, m[1])
				}
			}
		}
	}
	wants(t, s.see("erin", "/runs/"+r.ID), "&lt;script&gt;alert(1)&lt;/script&gt;", "click")
	// A path that a browser takes for another host is none of ours.
	if w := s.as("erin", "GET", "//evil.example/..", nil); w.Code == http.StatusOK || strings.Contains(w.Body.String(), `href="//evil`) {
		t.Errorf("//evil.example: %d", w.Code)
	}
}

func TestFindInLog(t *testing.T) {
	s := newSignedSite(t)
	run, _ := s.ship("acme/shop", "web", "Ship")
	lines := make([]string, 3000)
	for i := range lines {
		lines[i] = fmt.Sprintf("2026-01-02T03:04:07Z\tbuild\tgo \x1b[32mbuild\x1b[0m of package %d.", i+1)
	}
	s.log(run.ID, lines...)
	s.person("alice", map[string]int{"acme/shop": Read})
	page := s.see("alice", "/runs/"+run.ID+"?q="+url.QueryEscape("Build of package 17."))
	wants(t, page, "1 line has that.", `<a href="?line=17#L17"`, `value="Build of package 17."`, "Back to the whole log")
	lacks(t, page, "package 18.", "data-follow")
	wants(t, s.see("alice", "/runs/"+run.ID+"?q=build"), "3000 lines have that; below are the first 500.")
	wants(t, s.see("alice", "/runs/"+run.ID+"?q=nothing+like+it"), "No line has that.")
	page = s.see("alice", "/runs/"+run.ID+"?line=17")
	wants(t, page, `id="L17"`, "Line 17 and those around it, of 3000.")
	page = s.see("alice", "/runs/"+run.ID)
	wants(t, page, `id="L3000"`, "below are the last ones")
	lacks(t, page, `id="L17"`)
	wants(t, s.see("alice", "/runs/"+run.ID+"?q="+strings.Repeat("x", maxQuery+1)), `id="L3000"`) // too long to be one
	// Whose log is withheld is not searched either.
	s.update(func(tx *store.Tx) error {
		return tx.PutRepo(store.Repo{Name: "acme/shop", DefaultBranch: "master", HTMLURL: "https://github.example/acme/shop"})
	})
	s.person("zoe", nil)
	lacks(t, s.see("zoe", "/runs/"+run.ID+"?q=build"), "package", "lines have that")
}

// Who may not see a log any more does not follow it for as long as it is written: their session ended, somebody took their
// permission, or nobody can tell.
func TestFollowerWhoMayNotAnyMore(t *testing.T) {
	for name, change := range map[string]func(*signedSite){
		"still may":   func(*signedSite) {},
		"signed out":  func(s *signedSite) { s.who.Store(&looker{}) },
		"not theirs":  func(s *signedSite) { s.who.Store(&looker{viewer: &Viewer{Login: "alice"}}) },
		"not to tell": func(s *signedSite) { s.who.Store(&looker{err: errors.New("GitHub is down")}) },
	} {
		s := newSignedSite(t)
		s.cfg.Viewer = func(*http.Request) (*Viewer, error) { l := s.who.Load(); return l.viewer, l.err }
		s.open()
		s.pages.s.askedAgain = 0
		run := store.Run{Repo: "acme/shop", App: "web", Cause: "push", Sender: "alice", Author: "alice", Ref: "refs/heads/master", SHA: strings.Repeat("0a1b2c3d", 5)}
		s.update(func(tx *store.Tx) error {
			return errors.Join(tx.PutRepo(store.Repo{Name: "acme/shop", Private: true, DefaultBranch: "master"}), tx.NewRun(&run, "fetch"), tx.StartRun(run.ID))
		})
		s.log(run.ID, "2026-01-02T03:04:07Z\tfetch\tone")
		s.who.Store(&looker{viewer: &Viewer{Login: "alice", Repos: map[string]int{"acme/shop": Read}}})
		server := httptest.NewServer(s)
		f := s.follow(server, "/runs/"+run.ID+"/log?follow", asEvents...)
		f.until("one")
		change(s)
		if name == "still may" {
			s.update(func(tx *store.Tx) error { return tx.EndRun(run.ID, store.RunFailed, "it fails", nil) })
		}
		if rest := f.atEnd(); strings.Contains(rest, "event: end") != (name == "still may") { // else a browser would not come again
			t.Errorf("%s: %q", name, rest)
		}
		server.Close()
	}
}

// TestFigures: an app's page tells the four figures of where its chain ends, as they are.
func TestFigures(t *testing.T) {
	s := newSignedSite(t)
	s.person("alice", map[string]int{"acme/shop": Read})
	// week is how the chart says what a week has.
	week := func(since, words string) string { return "<title>" + since + ": " + words + "</title>" }
	s.now = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	_, first := s.ship("acme/shop", "web", "One")
	page := s.see("alice", "/apps/web")
	wants(t, page, "Delivery to <bdi>production</bdi>", "No change went there in the last 13 weeks")
	lacks(t, page, "Deployment frequency", "Delivery to <bdi>staging</bdi>", `class="chart`)

	// A release that takes three hours, one that takes one, and a failure that is over after half an hour.
	s.now = s.now.Add(3 * time.Hour)
	s.live(first, "production")
	page = s.see("alice", "/apps/web")
	wants(t, page, `<div class="value">0.1 a week</div>`, "1 deployment succeeded", `<div class="value">3 h 0 min</div>`, "of 1 release", `<div class="value">0%</div>`, "0 of 1 deployments", "nothing failed")
	s.now = time.Date(2026, 3, 9, 9, 0, 0, 0, time.UTC)
	_, second := s.ship("acme/shop", "web", "Two")
	s.now = s.now.Add(time.Hour)
	s.live(second, "production")
	_, third := s.ship("acme/shop", "web", "Three")
	s.now = s.now.Add(time.Minute)
	s.deployTo(third, "production", "bob", store.Failed)
	wants(t, s.see("alice", "/apps/web"), "not ended yet: 1")
	s.now = s.now.Add(30 * time.Minute)
	s.live(third, "production")
	page = s.see("alice", "/apps/web")
	wants(t, page, `<div class="value">0.2 a week</div>`, "3 deployments succeeded", `<div class="value">1 h 0 min</div>`, "median of 3 releases", `<div class="value">25%</div>`, "1 of 4 deployments", `<div class="value">30 min</div>`, "of 1 failure<",
		// The last week began at 11:00, since it ends with the next full hour.
		week("2026-03-02", "2"), week("2026-02-23", "1"), week("2026-02-16", "0"), week("2026-03-02", "33%"), week("2026-02-16", "–"), week("2026-03-02", "30 min"),
		`aria-label="Week by week: 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2"`, `<tr><td>2026-03-02</td><td>2</td><td>46 min</td><td>33%</td><td>30 min</td></tr>`)
	wants(t, s.see("alice", "/apps/web", "Accept-Language", "zh"), "交付到 <bdi>production</bdi>", "每周 0.2 次", "4 次部署中有 1 次", "3 个版本的中位数")
	// They grow old with the hour alone: 13 weeks after the first it counts no more.
	s.now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(13 * 7 * 24 * time.Hour)
	wants(t, s.see("alice", "/apps/web"), "2 deployments succeeded")
}
