package sim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// grant is a code that a person who signed in came back with.
type grant struct {
	person    *account
	redirect  string
	challenge string // of PKCE, S256
	expires   time.Time
}

// userToken is what such a code was changed for.
type userToken struct {
	person  *account
	expires time.Time
}

// ClientSecret is what the app proves itself with when people sign in.
func (gh *GitHub) ClientSecret() string {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	return gh.clientSecret
}

// SetClientSecret changes it.
func (gh *GitHub) SetClientSecret(secret string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.clientSecret = secret
}

// ClientID is the app's, for sign-in.
func (gh *GitHub) ClientID() string { return gh.clientID() }

// SetCallback says where people come back to who sign in.
func (gh *GitHub) SetCallback(url string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.cfg.CallbackURL = url
}

// RevokeUserTokens ends every token of the people who signed in so far.
func (gh *GitHub) RevokeUserTokens() {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	clear(gh.people)
}

func (gh *GitHub) userToken(secret string) *userToken {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	if t := gh.people[secret]; t != nil && gh.cfg.AuthNow().Before(t.expires) {
		return t
	}
	return nil
}

// servePages serves what people see in a browser.
func (gh *GitHub) servePages(w http.ResponseWriter, r *http.Request, path string) bool {
	switch {
	case r.Method == http.MethodGet && path == "/login/oauth/authorize":
		gh.authorize(w, r)
	case r.Method == http.MethodPost && path == "/login/oauth/access_token":
		gh.accessToken(w, r)
	case path == "/settings/apps/new" || strings.HasPrefix(path, "/organizations/") && strings.HasSuffix(path, "/settings/apps/new"):
		gh.registerApp(w, r, path)
	default:
		return false
	}
	return true
}

var authorizePage = template.Must(template.New("").Parse(`<!DOCTYPE html><html lang="en"><title>Sign in to GitHub</title><link rel="icon" href="data:,"><h1>Sign in to {{.App}}</h1>
<ul>{{range .People}}<li><a href="{{.URL}}">{{.Login}}</a></li>{{end}}</ul></html>`))

// authorize is GitHub's "Request a user's GitHub identity": who the person is, real GitHub knows by a cookie; here they say
// so, by a link or the parameter user.
func (gh *GitHub) authorize(w http.ResponseWriter, r *http.Request) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case q.Get("client_id") != gh.clientID():
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	case err != nil || !back.IsAbs() || gh.cfg.CallbackURL != "" && !sameCallback(gh.cfg.CallbackURL, back):
		http.Error(w, "Be careful! The redirect_uri is not associated with this application.", http.StatusBadRequest)
		return
	case q.Get("code_challenge") != "" && q.Get("code_challenge_method") != "S256":
		http.Error(w, "code_challenge_method must be S256", http.StatusBadRequest)
		return
	}
	answer := back.Query()
	answer.Set("state", q.Get("state"))
	if q.Get("deny") != "" {
		answer.Set("error", "access_denied")
		answer.Set("error_description", "The user has denied your application access.")
		back.RawQuery = answer.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound)
		return
	}
	person := gh.account(q.Get("user"))
	if person == nil {
		type link struct{ Login, URL string }
		page := struct {
			App    string
			People []link
		}{App: gh.cfg.Slug}
		for _, a := range gh.accounts {
			if a.Type == "User" {
				q.Set("user", a.Login)
				page.People = append(page.People, link{a.Login, "?" + q.Encode()})
			}
		}
		slices.SortFunc(page.People, func(a, b link) int { return strings.Compare(a.Login, b.Login) })
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = authorizePage.Execute(w, page) // the browser has gone
		return
	}
	code := randomHex(10)
	gh.grants[code] = &grant{person, q.Get("redirect_uri"), q.Get("code_challenge"), gh.cfg.AuthNow().Add(10 * time.Minute)}
	answer.Set("code", code)
	back.RawQuery = answer.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// sameCallback tells whether an address is the registered one or below it (GitHub, "Authorizing OAuth apps", Redirect URLs).
func sameCallback(registered string, back *url.URL) bool {
	u, err := url.Parse(registered)
	return err == nil && u.Scheme == back.Scheme && u.Host == back.Host && (back.Path == u.Path || strings.HasPrefix(back.Path, strings.TrimSuffix(u.Path, "/")+"/"))
}

// accessToken changes a code for a token, which lives for eight hours. A refusal comes with the status 200.
func (gh *GitHub) accessToken(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	gh.mu.Lock()
	defer gh.mu.Unlock()
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	code := r.PostForm.Get("code")
	g := gh.grants[code]
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	answer := url.Values{}
	no := func(kind, description string) {
		answer = url.Values{"error": {kind}, "error_description": {description}}
	}
	switch {
	case id != gh.clientID() || subtle.ConstantTimeCompare([]byte(secret), []byte(gh.clientSecret)) == 0:
		no("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
	case g == nil || !gh.cfg.AuthNow().Before(g.expires) || g.challenge != "" && g.challenge != base64.RawURLEncoding.EncodeToString(sum[:]):
		no("bad_verification_code", "The code passed is incorrect or expired.")
	case r.PostForm.Get("redirect_uri") != "" && r.PostForm.Get("redirect_uri") != g.redirect:
		no("redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application.")
	default:
		delete(gh.grants, code)
		token := "ghu_" + randomHex(18)
		gh.people[token] = &userToken{g.person, gh.cfg.AuthNow().Add(8 * time.Hour)}
		answer = url.Values{"access_token": {token}, "token_type": {"bearer"}, "scope": {""}, "expires_in": {"28800"},
			"refresh_token": {"ghr_" + randomHex(18)}, "refresh_token_expires_in": {"15897600"}}
	}
	if !strings.Contains(r.Header.Get("Accept"), "json") {
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		_, _ = w.Write([]byte(answer.Encode())) // the client has gone
		return
	}
	body := map[string]any{}
	for key := range answer {
		body[key] = answer.Get(key)
	}
	if answer.Has("expires_in") {
		body["expires_in"], body["refresh_token_expires_in"] = 28800, 15897600
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}

func (c *call) getMe() (int, any) {
	c.params["username"] = c.person.person.Login
	return c.getUser()
}

// mine are the installations in which a person can see a repository.
func (c *call) mine() (all []*Installation) {
	for _, i := range c.gh.installations {
		if !i.Suspended && len(c.seen(i)) > 0 {
			all = append(all, i)
		}
	}
	return all
}

// seen are the repositories of an installation that a person can see. (A public one counts only where somebody gave them
// more than everybody has: GitHub lists what they have explicit access to.)
func (c *call) seen(i *Installation) (all []*Repo) {
	for _, repo := range c.gh.sortedRepos() {
		_, explicit := repo.permissions[strings.ToLower(c.person.person.Login)]
		if repo.installed && repo.owner == i.account && (explicit || repo.owner == c.person.person) {
			all = append(all, repo)
		}
	}
	return all
}

func (c *call) listMyInstallations() (int, any) {
	all := []object{}
	for _, i := range c.mine() {
		all = append(all, c.gh.installationJSON(i))
	}
	return http.StatusOK, object{"total_count": len(all), "installations": page(c, all)}
}

func (c *call) listMyRepositories() (int, any) {
	for _, i := range c.mine() {
		if i.ID != c.number("installation_id") {
			continue
		}
		all := []object{}
		for _, repo := range c.seen(i) {
			o := c.gh.repositoryJSON(repo)
			o["permissions"] = permissionsJSON(repo.permission(c.person.person))
			all = append(all, o)
		}
		return http.StatusOK, object{"total_count": len(all), "repositories": page(c, all)}
	}
	return c.notFound()
}
