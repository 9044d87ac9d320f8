package bot

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/oauth2"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/bot/web"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// sessionCookie and loginCookie are what a browser keeps. __Host- has it take them from this very host alone, over https
	// (RFC 6265bis, 4.1.3.2).
	sessionCookie = "__Host-shipmate"
	loginCookie   = "__Host-shipmate-login"
	// loginTime is how long somebody has to sign in at GitHub.
	loginTime = 10 * time.Minute
	// sessionTime is how long a session lasts. So does GitHub's token of a person, unless the App's owner turned that off.
	sessionTime = 8 * time.Hour
	// sealedSession is what a person's token is sealed with.
	sealedSession = "session"
)

// signIn is sign-in with GitHub, as the App's OAuth client (docs.github.com, "Generating a user access token for a GitHub App").
// A person's token is asked for two things alone: who they are, and what they may see.
type signIn struct {
	bot    *Bot
	oauth  oauth2.Config
	client *http.Client
}

// newSignIn is nil where the server's file names no client_id: then there is no sign-in.
func newSignIn(b *Bot) *signIn {
	if !b.cfg.signsIn() {
		return nil
	}
	return &signIn{bot: b, client: &http.Client{Timeout: requestTimeout}, oauth: oauth2.Config{
		ClientID: b.cfg.GitHub.ClientID, ClientSecret: b.cfg.GitHub.ClientSecret.Value(), RedirectURL: b.cfg.PublicURL + "/auth/callback",
		Endpoint: oauth2.Endpoint{AuthURL: b.hub.web() + "/login/oauth/authorize", TokenURL: b.hub.web() + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams},
	}}
}

// signsIn tells whether people can sign in on the pages.
func (c *Config) signsIn() bool { return c.GitHub.ClientID != "" && c.GitHub.ClientSecret.IsSet() }

func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(life.Seconds())}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// localPath is where to go after signing in: a path of ours, never another site's.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\x00\r\n\t") ||
		strings.HasPrefix(u.Path, "/auth/") || strings.HasPrefix(u.Path, "//") {
		return "/"
	}
	return u.RequestURI()
}

// maxReturn is how long the path is at most, in bytes, to which somebody comes back: it is kept in a cookie, of which browsers
// take 4096 bytes.
const maxReturn = 2048

// login sends a person to GitHub: GET /auth/login?to=PATH.
func (s *signIn) login(w http.ResponseWriter, r *http.Request) {
	public := s.bot.cfg.PublicURL
	if strings.HasPrefix(public, "http:") && !loopback(public) {
		s.bot.web.Error(w, r, http.StatusInternalServerError, "Not signed in", "Sign-in needs https://, without which a browser keeps no session, and public_url in the server's file begins with http://. Please tell who runs this server.")
		return
	}
	back := localPath(r.URL.Query().Get("to"))
	if len(back) > maxReturn {
		back = "/"
	}
	// GitHub sends the browser to public_url, and what is kept for another host is not seen there. Only once: before a proxy that
	// hands on no name every host is another one.
	if _, host, _ := strings.Cut(public, "://"); !strings.EqualFold(r.Host, host) && !r.URL.Query().Has("moved") {
		http.Redirect(w, r, public+"/auth/login?moved=&to="+url.QueryEscape(back), http.StatusSeeOther)
		return
	}
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	to := base64.RawURLEncoding.EncodeToString([]byte(back))
	setCookie(w, loginCookie, state+"."+verifier+"."+to, loginTime)
	http.Redirect(w, r, s.oauth.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)), http.StatusSeeOther)
}

// callback begins a session for who comes back from GitHub: GET /auth/callback.
func (s *signIn) callback(w http.ResponseWriter, r *http.Request) {
	b := s.bot
	parts := []string{"", "", ""}
	if c, err := r.Cookie(loginCookie); err == nil {
		if got := strings.Split(c.Value, "."); len(got) == len(parts) {
			parts = got
		}
	}
	q := r.URL.Query()
	if parts[0] == "" || !hmac.Equal([]byte(q.Get("state")), []byte(parts[0])) {
		// Also what a link to /auth/callback comes to that somebody else made, to have this browser act as them. The sign-in that
		// this browser began, in another tab, goes on.
		b.web.Error(w, r, http.StatusBadRequest, "Not signed in", "This sign-in was not begun in this browser, or took longer than ten minutes. Please sign in again.")
		return
	}
	setCookie(w, loginCookie, "", 0)
	if q.Get("error") != "" {
		b.web.Error(w, r, http.StatusForbidden, "Not signed in", "GitHub did not let you in: %s Please sign in again if that was not what you wanted.", q.Get("error_description"))
		return
	}
	login, token, err := s.who(r.Context(), q.Get("code"), parts[1])
	if err == nil {
		err = s.begin(w, r, login, token)
	}
	if err != nil {
		b.log.Warn("somebody could not sign in", "err", b.engine.Mask(err.Error()))
		b.web.Error(w, r, http.StatusBadGateway, "Not signed in", "GitHub could not be asked who you are. Please sign in again in a moment. If it stays so, the server's log tells more, and so does bot doctor.")
		return
	}
	to, _ := base64.RawURLEncoding.DecodeString(parts[2])
	http.Redirect(w, r, localPath(string(to)), http.StatusSeeOther)
}

// who changes a code for a token, and asks GitHub whose it is.
func (s *signIn) who(ctx context.Context, code, verifier string) (login string, token *oauth2.Token, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	token, err = s.oauth.Exchange(context.WithValue(ctx, oauth2.HTTPClient, s.client), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return "", nil, err
	}
	me, _, err := s.asPerson(token.AccessToken).Users.Get(ctx, "")
	if err == nil && me.GetLogin() == "" {
		err = errors.New("GitHub tells no login")
	}
	return me.GetLogin(), token, err
}

// asPerson acts as a person who signed in.
func (s *signIn) asPerson(token string) *github.Client {
	c := github.NewClient(s.client).WithAuthToken(token)
	c.BaseURL = s.bot.hub.api
	return c
}

// begin begins a session. Its cookie is new, whatever the browser had before; that session ends.
func (s *signIn) begin(w http.ResponseWriter, r *http.Request, login string, token *oauth2.Token) error {
	b := s.bot
	sealed, err := b.engine.Sealer.Seal([]byte(token.AccessToken), sealedSession)
	if err != nil {
		return err
	}
	secret, expires := rand.Text()+rand.Text(), b.db.Now().Add(sessionTime)
	if life := time.Until(token.Expiry); !token.Expiry.IsZero() && life < sessionTime {
		expires = b.db.Now().Add(life)
	}
	err = b.db.Update(r.Context(), func(tx *store.Tx) error {
		if c, err := r.Cookie(sessionCookie); err == nil {
			if err := tx.EndSession(sessionID(c.Value)); err != nil {
				return err
			}
		}
		return tx.PutSession(store.Session{ID: sessionID(secret), Login: login, Token: sealed, ExpiresAt: store.Time{Time: expires}})
	})
	if err == nil {
		setCookie(w, sessionCookie, secret, expires.Sub(b.db.Now()))
	}
	return err
}

func sessionID(secret string) string {
	sum := sha256.Sum256([]byte("session " + secret))
	return hex.EncodeToString(sum[:])
}

// csrf is what goes with every form of a session: a site that has the browser send one does not know it.
func csrf(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// logout ends a session: POST /auth/logout.
func (s *signIn) logout(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxCall)
	c, err := r.Cookie(sessionCookie)
	if err != nil || !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(csrf(c.Value))) {
		s.bot.web.Error(w, r, http.StatusForbidden, "Not signed out", "This form is out of date. Please go back, load the page again and try once more.")
		return
	}
	if err := s.bot.db.Update(r.Context(), func(tx *store.Tx) error { return tx.EndSession(sessionID(c.Value)) }); err != nil {
		s.bot.log.Error("a session could not be ended", "err", err)
		s.bot.web.Error(w, r, http.StatusInternalServerError, "Not signed out", "The session could not be ended just now. Please try again in a moment.")
		return
	}
	setCookie(w, sessionCookie, "", 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// viewer is who looks at a page; nil for somebody who is not signed in. What they may see, GitHub is asked for with their own
// token, once a minute.
func (s *signIn) viewer(r *http.Request) (*web.Viewer, error) {
	b := s.bot
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, nil
	}
	var session *store.Session
	id := sessionID(c.Value)
	err = b.db.View(r.Context(), func(tx *store.Tx) (err error) { session, err = store.Optional(tx.Session(id)); return err })
	if err != nil || session == nil {
		return nil, err
	}
	repos, err := cached(b.access, "session", id, func() (map[string]int, error) {
		token, err := b.engine.Sealer.Open(session.Token, sealedSession)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout) // others wait for the same answer
		defer cancel()
		return s.visible(ctx, s.asPerson(string(token)))
	})
	if statusCode(err) == http.StatusUnauthorized { // they took their consent back, or the token has ended
		return nil, b.db.Update(r.Context(), func(tx *store.Tx) error { return tx.EndSession(id) })
	}
	if err != nil {
		return nil, fmt.Errorf("ask what %s may see: %w", session.Login, err)
	}
	return &web.Viewer{Login: session.Login, CSRF: csrf(c.Value), Repos: repos}, nil
}

// visible lists what a person may do in the repositories of the App's installations that may use this server, by lower-case name:
// those that somebody gave them access to.
func (s *signIn) visible(ctx context.Context, c *github.Client) (map[string]int, error) {
	const most = 100 // of a page
	repos := map[string]int{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asksAtOnce)
	read := func(installation int64, page int) (total int, err error) {
		list, _, err := c.Apps.ListUserRepos(ctx, installation, &github.ListOptions{PerPage: most, Page: page})
		if err != nil {
			return 0, err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, repo := range list.Repositories {
			if matchesAny(s.bot.cfg.GitHub.Allow, repo.GetFullName()) {
				repos[strings.ToLower(repo.GetFullName())] = int(highest(repo.GetPermissions()))
			}
		}
		return list.GetTotalCount(), nil
	}
	for opt := (&github.ListOptions{PerPage: most}); ; {
		found, resp, err := c.Apps.ListUserInstallations(ctx, opt)
		if err != nil {
			return nil, errors.Join(err, g.Wait())
		}
		for _, i := range found {
			total, err := read(i.GetID(), 1)
			if declined(err) {
				continue // it is suspended, gone, or for other addresses than ours: its repositories are not seen, the others are
			}
			if err != nil {
				return nil, errors.Join(err, g.Wait())
			}
			for page := 2; (page-1)*most < total; page++ {
				g.Go(func() error { _, err := read(i.GetID(), page); return err })
			}
		}
		if opt.Page = resp.NextPage; opt.Page == 0 {
			return repos, g.Wait()
		}
	}
}
