package bot

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-github/v60/github"
)

const publicURL = "https://ship.example.com"

// A browser goes to the pages as https://ship.example.com, and keeps cookies.
type browser struct {
	l       *lab
	cookies map[string]*http.Cookie
	raw     []string // every Set-Cookie
	host    string   // by which it comes; default: that of publicURL
	client  http.Client
	page    string // what it shows, in a script
}

func (l *lab) browser() *browser {
	return &browser{l: l, cookies: map[string]*http.Cookie{}, client: http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// send sends one request; form makes it a POST.
func (b *browser) send(address string, form url.Values, header ...string) (status int, location, body string, err error) {
	ours := strings.HasPrefix(address, "/") || strings.HasPrefix(address, publicURL)
	if ours {
		address = b.l.url + strings.TrimPrefix(address, publicURL)
	}
	method, content := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, content = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, address, content)
	if err != nil {
		return 0, "", "", err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if ours {
		r.Host = strings.TrimPrefix(publicURL, "https://")
		if b.host != "" {
			r.Host = b.host
		}
		for _, c := range b.cookies {
			r.AddCookie(c)
		}
	}
	answer, err := b.client.Do(r)
	if err != nil {
		return 0, "", "", err
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	for _, c := range answer.Cookies() {
		b.raw = append(b.raw, c.Raw)
		if b.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return answer.StatusCode, answer.Header.Get("Location"), string(read), err
}

// follow follows redirects, and signs in at GitHub as the person.
func (b *browser) follow(address, login string) (status int, at, body string, err error) {
	for range 10 {
		if strings.Contains(address, "/login/oauth/authorize?") && login != "" {
			address += "&user=" + login
		}
		status, location, body, err := b.send(address, nil)
		if location == "" || err != nil {
			return status, address, body, err
		}
		address = location
	}
	return 0, address, "", fmt.Errorf("it redirects for ever, at last to %s", address)
}

func (b *browser) get(t *testing.T, address, login string) (status int, at, body string) {
	t.Helper()
	status, at, body, err := b.follow(address, login)
	must(t, err)
	return status, at, body
}

func (b *browser) signIn(t *testing.T, login string) {
	t.Helper()
	if status, at, body := b.get(t, "/auth/login", login); status != http.StatusOK || at != "/" {
		t.Fatalf("%s is not signed in: %d at %s\n%s", login, status, at, body)
	}
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (b *browser) csrf(t *testing.T) string {
	t.Helper()
	_, _, body := b.get(t, "/", "")
	found := csrfField.FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no form: %s", body)
	}
	return found[1]
}

func signInLab(t *testing.T) *lab {
	t.Helper()
	return newLab(t, func(text string) string {
		return strings.Replace(text, "  recover_every: 0\n", "  recover_every: 0\n  client_id: Iv1.12345\n  client_secret: file:hook\n", 1)
	})
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	run := "/runs/" + got(l.lookup("SELECT id FROM runs WHERE sha = ?", sha))(t)

	b := l.browser()
	if status, _, body := b.get(t, run, ""); status != http.StatusUnauthorized || !strings.Contains(body, `href="/auth/login?to=%2Fruns%2F`) || strings.Contains(body, sha) {
		t.Errorf("who is not signed in sees: %d %s", status, body)
	}
	// Who signs in comes to the page that they wanted.
	status, at, body := b.get(t, "/auth/login?to="+url.QueryEscape(run), "carol")
	if status != http.StatusOK || at != run || !strings.Contains(body, sha[:7]) || !strings.Contains(body, "carol") {
		t.Errorf("carol, who reads, sees at %s: %d %s", at, status, body)
	}
	for _, raw := range b.raw {
		for _, want := range []string{"__Host-", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
			if !strings.Contains(raw, want) {
				t.Errorf("a cookie without %q: %s", want, raw)
			}
		}
	}
	// Nobody let frank see the repository: to him there is nothing.
	l.gh.AddUser("frank")
	stranger := l.browser()
	stranger.signIn(t, "frank")
	if status, _, body := stranger.get(t, run, ""); status != http.StatusNotFound || strings.Contains(body, sha[:7]) {
		t.Errorf("frank sees: %d %s", status, body)
	}
	if status, _, _ := stranger.get(t, run+"/log", ""); status != http.StatusNotFound {
		t.Errorf("frank reads the log: %d", status)
	}
	// A permission that is taken away counts within a minute.
	l.repo.SetPermission("carol", "none", "")
	must(t, l.gh.Flush(t.Context()))
	l.clock.Advance(accessTTL)
	if status, _, _ := b.get(t, run, ""); status != http.StatusNotFound {
		t.Errorf("carol still sees it: %d", status)
	}
	// A session ends.
	l.clock.Advance(sessionTime)
	if status, _, _ := b.get(t, run, ""); status != http.StatusUnauthorized {
		t.Errorf("the session has not ended: %d", status)
	}
	got(l.bot.keep(t.Context(), "", 0))(t)
	if n := got(l.lookup("SELECT count(*) FROM sessions"))(t); n != "0" {
		t.Errorf("the tokens of %s sessions that have expired are kept", n)
	}
}

// TestMadePrivate: a repository that is made private is hidden at once, not when something is pushed to it the next time.
func TestMadePrivate(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	must(t, l.Settle())
	run := "/runs/" + got(l.lookup("SELECT id FROM runs WHERE sha = ?", sha))(t)
	l.gh.AddUser("frank")
	frank := l.browser()
	frank.signIn(t, "frank")
	installation, id := got(l.lookup("SELECT installation FROM repos"))(t), got(l.lookup("SELECT id FROM repos"))(t)
	for _, to := range []struct {
		action  string
		private bool
		status  int
	}{{"publicized", false, http.StatusOK}, {"privatized", true, http.StatusNotFound}} {
		l.gh.Deliver("repository", fmt.Appendf(nil, `{"action":%q,"installation":{"id":%s},"repository":{"id":%s,"full_name":"acme/web","default_branch":"master","private":%v}}`, to.action, installation, id, to.private))
		must(t, l.gh.Flush(t.Context()))
		must(t, l.Settle())
		if status, _, _ := frank.get(t, run, ""); status != to.status {
			t.Errorf("once it is %s frank, whom nobody let see it, gets %d", to.action, status)
		}
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	b := l.browser()
	b.signIn(t, "alice")
	stolen := *b.cookies[sessionCookie]
	if status, _, _, err := b.send("/auth/logout", url.Values{"csrf": {"guessed"}}); err != nil || status != http.StatusForbidden {
		t.Errorf("signed out by a form of somebody else's: %d %v", status, err)
	}
	if status, to, _, err := b.send("/auth/logout", url.Values{"csrf": {b.csrf(t)}}); err != nil || status != http.StatusSeeOther || to != "/" {
		t.Errorf("sign out: %d %s %v", status, to, err)
	}
	b.cookies[sessionCookie] = &stolen
	if status, _, _ := b.get(t, "/", ""); status != http.StatusUnauthorized {
		t.Errorf("the session lives on the server: %d", status)
	}
	// Who takes the App's access back at GitHub is signed out, at the next question.
	c := l.browser()
	c.signIn(t, "alice")
	l.gh.RevokeUserTokens()
	l.clock.Advance(accessTTL)
	if status, _, _ := c.get(t, "/", ""); status != http.StatusUnauthorized {
		t.Errorf("the token was revoked: %d", status)
	}
	if n := got(l.lookup("SELECT count(*) FROM sessions"))(t); n != "0" {
		t.Errorf("%s sessions are left", n)
	}
}

func TestSignInAttacks(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	l.gh.AddUser("alice")
	refused := func(what string, status int, b *browser) {
		t.Helper()
		if status < 400 || b.cookies[sessionCookie] != nil {
			t.Errorf("%s: %d, session %v", what, status, b.cookies[sessionCookie])
		}
	}
	code := func(b *browser) string { // where GitHub sends the browser back to
		_, to, _, err := b.send("/auth/login", nil)
		must(t, err)
		_, back, _, err := b.send(to+"&user=alice", nil)
		must(t, err)
		return back
	}
	// An attacker's link to the callback: the victim would act as the attacker.
	victim := l.browser()
	status, _, _ := victim.get(t, code(l.browser()), "")
	refused("another browser's code", status, victim)
	// The same with a sign-in of the victim's own under way.
	_, _, _, err := victim.send("/auth/login", nil)
	must(t, err)
	status, _, _ = victim.get(t, code(l.browser()), "")
	refused("another browser's state", status, victim)
	// A code is good once, and only with the verifier of the browser that it was given to.
	b := l.browser()
	back := code(b)
	kept := *b.cookies[loginCookie]
	if status, _, _ := b.get(t, back, ""); status != http.StatusOK {
		t.Errorf("sign in: %d", status)
	}
	again := l.browser()
	again.cookies[loginCookie] = &kept
	status, _, _ = again.get(t, back, "")
	refused("a code once more", status, again)
	// No session that the browser had before becomes somebody's.
	fixed := l.browser()
	fixed.cookies[sessionCookie] = &http.Cookie{Name: sessionCookie, Value: "chosen-by-an-attacker"}
	fixed.signIn(t, "alice")
	if fixed.cookies[sessionCookie].Value == "chosen-by-an-attacker" {
		t.Error("the session's name is the attacker's")
	}
	// GitHub's refusal is shown as text.
	_, to, _, err := b.send("/auth/login", nil)
	must(t, err)
	u, err := url.Parse(to)
	must(t, err)
	if status, _, body := b.get(t, "/auth/callback?error=access_denied&error_description=%3Cscript%3E&state="+u.Query().Get("state"), ""); status != http.StatusForbidden || strings.Contains(body, "<script>") || !strings.Contains(body, "&lt;script&gt;") {
		t.Errorf("a refusal: %d %s", status, body)
	}
	for _, to := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/%0d%0aSet-Cookie:a=b", "javascript:alert(1)", "/\t/evil.example", "auth", "", "/auth/login?to=/", "///evil.example", "https:/evil.example"} {
		x := l.browser()
		_, at, _ := x.get(t, "/auth/login?to="+url.QueryEscape(to), "alice")
		if !strings.HasPrefix(at, "/") || strings.HasPrefix(at, "//") || strings.Contains(at, "evil") || strings.Contains(at, "\\") {
			if to != "/%0d%0aSet-Cookie:a=b" {
				t.Errorf("%q leads to %q", to, at)
			}
		}
		for _, raw := range x.raw {
			if strings.HasPrefix(raw, "a=") {
				t.Errorf("%q sets a cookie", to)
			}
		}
	}
	// GitHub is down.
	down := l.browser()
	back = code(down)
	l.gh.Down(true)
	status, _, body := down.get(t, back, "")
	l.gh.Down(false)
	refused("GitHub is down", status, down)
	if !strings.Contains(body, "sign in again") {
		t.Errorf("GitHub is down: %s", body)
	}
}

// TestSignInPlaces: who comes by another name of the server is taken to the one that GitHub sends them back to, and where no
// browser would keep a session that is said, instead of a sign-in that never ends.
func TestSignInPlaces(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	l.gh.AddUser("alice")
	inside := l.browser()
	inside.host = "10.0.0.5:8080"
	status, to, _, err := inside.send("/auth/login?to=/audit", nil)
	if err != nil || status != http.StatusSeeOther || to != publicURL+"/auth/login?moved=&to=%2Faudit" || len(inside.cookies) > 0 {
		t.Errorf("by an address inside: %d %s %v %v", status, to, inside.cookies, err)
	}
	inside.signIn(t, "alice") // behind a proxy that hands on no name: it does not go round for ever
	// A page's address is kept in a cookie, which a browser refuses where it is too large.
	long := l.browser()
	status, at, _ := long.get(t, "/auth/login?to="+url.QueryEscape("/audit?q="+strings.Repeat("x", 4000)), "alice")
	if status != http.StatusOK || at != "/" {
		t.Errorf("from a long address: %d at %s", status, at)
	}
	for _, raw := range long.raw {
		if len(raw) > 4096 {
			t.Errorf("a cookie of %d bytes", len(raw))
		}
	}
	// Another tab's older sign-in does not end this one.
	tabs := l.browser()
	_, first, _, err := tabs.send("/auth/login", nil)
	must(t, err)
	_, second, _, err := tabs.send("/auth/login", nil)
	must(t, err)
	if status, _, _ := tabs.get(t, first, "alice"); status != http.StatusBadRequest {
		t.Errorf("the older tab: %d", status)
	}
	if status, at, _ := tabs.get(t, second, "alice"); status != http.StatusOK || at != "/" {
		t.Errorf("the newer tab: %d at %s", status, at)
	}
	// In Chinese, too, a refusal is told with GitHub's words.
	_, to, _, err = tabs.send("/auth/login", nil)
	must(t, err)
	_, back, _, err := tabs.send(to+"&deny=1", nil)
	must(t, err)
	if _, _, body, err := tabs.send(back, nil, "Accept-Language", "zh"); err != nil || !strings.Contains(body, "GitHub 未允许登录：The user has denied") {
		t.Errorf("a refusal in Chinese: %v %s", err, body)
	}
	// What is sent to sign out is not read without an end.
	large := url.Values{"x": {strings.Repeat("x", maxCall)}, "csrf": {tabs.csrf(t)}}
	if status, _, _, err := tabs.send("/auth/logout", large); err == nil && status == http.StatusSeeOther {
		t.Errorf("a form of %d bytes: %d", maxCall, status)
	}
	l.bot.cfg.PublicURL = "http://ship.example.com"
	if status, _, body, err := l.browser().send("/auth/login", nil); err != nil || status != http.StatusInternalServerError || !strings.Contains(body, "begins with http://") {
		t.Errorf("in the clear: %d %v %s", status, err, body)
	}
}

// TestSignInSees: of what GitHub shows a person counts what may use this server, and an installation that GitHub tells nothing of
// takes nobody the rest away.
func TestSignInSees(t *testing.T) {
	t.Parallel()
	var pages atomic.Int32
	both := make(chan struct{})
	gh := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repos := func(total int, names ...string) {
			list := []string{}
			for _, name := range names {
				list = append(list, `{"full_name":"`+name+`","permissions":{"pull":true,"admin":true}}`)
			}
			_, _ = fmt.Fprintf(w, `{"total_count":%d,"repositories":[%s]}`, total, strings.Join(list, ","))
		}
		switch page := r.URL.Query().Get("page"); {
		case r.URL.Path == "/user/installations":
			_, _ = io.WriteString(w, `{"installations":[{"id":1},{"id":2},{"id":3},{"id":4}]}`)
		case r.URL.Path == "/user/installations/2/repositories":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/user/installations/3/repositories":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/user/installations/4/repositories":
			repos(1, "stranger/own") // the App is public by mistake, and installed by anybody
		case page == "1":
			repos(201, "acme/web", "Acme/Api")
		case page == "2" || page == "3":
			if pages.Add(1) == 2 {
				close(both)
			}
			select {
			case <-both: // they are asked for at the same time
				repos(201, "acme/of-page-"+page)
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(gh.Close)
	c := github.NewClient(nil)
	c.BaseURL = got(url.Parse(gh.URL + "/"))(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := &signIn{bot: &Bot{cfg: &Config{GitHub: GitHubConfig{Allow: []string{"acme/*"}}}}}
	repos, err := s.visible(ctx, c)
	if names := slices.Sorted(maps.Keys(repos)); err != nil || !slices.Equal(names, []string{"acme/api", "acme/of-page-2", "acme/of-page-3", "acme/web"}) {
		t.Errorf("they see %v, %v", names, err)
	}
}

// TestPageCommand: a button is a command, refused by the same rules.
func TestPageCommand(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	must(t, l.Settle())
	alice, carol := l.browser(), l.browser()
	alice.signIn(t, "alice")
	carol.signIn(t, "carol")
	say := func(b *browser, csrf, text, back string) (int, string, string) {
		t.Helper()
		status, to, body, err := b.send("/command", url.Values{"csrf": {csrf}, "text": {text}, "repository": {"acme/web"}, "back": {back}})
		must(t, err)
		return status, to, body
	}
	locks := func() string { return got(l.lookup("SELECT count(*) FROM locks"))(t) }
	// Forged: from another site, with no token, another session's, or none at all.
	for what, csrf := range map[string]string{"no token": "", "carol's token": carol.csrf(t)} {
		if status, _, _ := say(alice, csrf, "/lock staging because", "/"); status != http.StatusForbidden {
			t.Errorf("%s: %d", what, status)
		}
	}
	if status, _, _ := say(l.browser(), alice.csrf(t), "/lock staging because", "/"); status != http.StatusUnauthorized {
		t.Errorf("without a session: %d", status)
	}
	if n := locks(); n != "0" {
		t.Errorf("%s locks", n)
	}
	status, to, body := say(alice, alice.csrf(t), "/lock staging because", "/?a=b")
	if status != http.StatusSeeOther || !strings.HasPrefix(to, "/?a=b&said=") || locks() != "1" {
		t.Fatalf("alice locks: %d %s %s, %s locks", status, to, body, locks())
	}
	if _, _, body := alice.get(t, strings.TrimSuffix(to, "#said"), ""); !strings.Contains(body, "staging is locked by you") {
		t.Errorf("the answer is not shown: %s", body)
	}
	if _, _, body := carol.get(t, strings.TrimSuffix(to, "#said"), ""); strings.Contains(body, "locked by you") {
		t.Errorf("somebody else's answer is shown: %s", body)
	}
	status, to, _ = say(carol, carol.csrf(t), "/unlock staging", "https://evil.example/")
	if status != http.StatusSeeOther || !strings.HasPrefix(to, "/?said=") || locks() != "1" {
		t.Errorf("carol unlocks: %d %s, %s locks", status, to, locks())
	}
	if _, _, body := carol.get(t, strings.TrimSuffix(to, "#said"), ""); !strings.Contains(body, "write") {
		t.Errorf("the refusal names no permission: %s", body)
	}
	if who := got(l.lookup("SELECT by FROM locks"))(t); who != "alice" {
		t.Errorf("locked by %s", who)
	}
	// A form's texts are the parts of one command, and its reason is one word whatever is in it.
	form := url.Values{"csrf": {alice.csrf(t)}, "text": {"/lock staging for", "3h"}, "reason": {"for 9d \"\\ /unlock staging\n<b>”"}, "repository": {"acme/web"}, "back": {"/"}}
	if status, _, body, err := alice.send("/command", form); err != nil || status != http.StatusSeeOther {
		t.Errorf("a form of parts: %d %s %v", status, body, err)
	}
	if got := got(l.lookup("SELECT reason || (unixepoch(until) - unixepoch(since) BETWEEN 10800 AND 12000) FROM locks"))(t); got != "for 9d \"\\ /unlock staging <b>”1" {
		t.Errorf("locked: %s", got)
	}
	for sha, want := range map[string]int{"abc1234": http.StatusBadRequest, "'" + strings.Repeat("a", 40): http.StatusBadRequest, strings.Repeat("a", 40): http.StatusSeeOther} {
		if status, _, body, err := alice.send("/command", url.Values{"csrf": {alice.csrf(t)}, "text": {"/rebuild"}, "sha": {sha}, "repository": {"acme/web"}}); err != nil || status != want {
			t.Errorf("sha %s: %d %s %v", sha, status, body, err)
		}
	}
	// A person votes on a page; a token cannot.
	if status, _, body, err := alice.send("/command", url.Values{"csrf": {alice.csrf(t)}, "text": {"/approve"}, "repository": {"acme/web"}}, "Accept", "application/json"); err != nil || status != http.StatusOK || strings.Contains(body, "token") {
		t.Errorf("a vote: %d %s %v", status, body, err)
	}
	token := carol.csrf(t)
	for n := 0; ; n++ { // of what is refused at once, or a busy machine takes more than a minute for it
		status, _, _ := say(carol, token, "", "/")
		if status == http.StatusTooManyRequests {
			break
		}
		if n > 2*callsMinute {
			t.Fatal("nothing limits how often somebody presses a button")
		}
	}
}
