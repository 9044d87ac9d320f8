package web

import (
	"crypto/hmac"
	"net/http"
	"net/url"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// SignedIn has a handler know who is signed in. Who is not, is asked to, and comes back.
func (p *Pages) SignedIn(handle func(http.ResponseWriter, *http.Request, *Viewer)) http.Handler {
	known := p.s.guarded(func(w http.ResponseWriter, r *http.Request, who seer) { handle(w, r, who.Viewer) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard(w.Header())
		known(w, r)
	})
}

// A LinkPage asks whoever is signed in whether a user of a chat is them, and then shows what that user has to send back.
type LinkPage struct {
	Chat, User string    // its kind and name, and the user's id there
	Name       string    // what the user calls themselves there, where it is known
	Send       string    // the command to be sent; empty: it is asked still
	Until      time.Time // for how long that is good
}

// Link answers with a LinkPage.
func (p *Pages) Link(w http.ResponseWriter, r *http.Request, who *Viewer, body LinkPage) {
	p.s.render(w, r, seer{who}, http.StatusOK, "link", page{Title: langOf(r).say("Link a chat user"), Body: struct {
		LinkPage
		Login, CSRF, Path string
	}{body, who.Login, who.CSRF, r.URL.Path}})
}

type linksView struct {
	Now         time.Time
	CSRF, Login string
	Mine, All   []store.Link // All: for who administers a repository
	Next        string
}

// links shows who the viewer is in the chats by their own word, and who everybody is to those who administer a repository: GET
// /links?after=LOGIN&scope=.
func (s *server) links(w http.ResponseWriter, r *http.Request, who seer) {
	if who.Viewer == nil {
		s.notFound(w, r)
		return
	}
	v := linksView{Now: s.DB.Now(), CSRF: who.CSRF, Login: who.Login}
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v.Mine, err = tx.LinksOf(who.Login); err != nil || !who.Administers() {
			return err
		}
		q := r.URL.Query()
		v.All, err = tx.Links(q.Get("after"), q.Get("scope"), linesShown+1)
		if len(v.All) > linesShown {
			v.All = v.All[:linesShown]
			last := v.All[linesShown-1]
			v.Next = "/links?" + url.Values{"after": {last.Login}, "scope": {last.Scope}}.Encode()
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, who, http.StatusOK, "links", page{Title: langOf(r).say("Chat users"), Body: v})
}

// unlink takes a link of the viewer's back: POST /links with csrf and scope.
func (s *server) unlink(w http.ResponseWriter, r *http.Request, who seer) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if who.Viewer == nil {
		s.notFound(w, r)
		return
	}
	if !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(who.CSRF)) || who.CSRF == "" {
		s.renderError(w, r, http.StatusForbidden, "Not done", "This form is out of date. Please go back, load the page again and try once more.")
		return
	}
	scope := r.PostFormValue("scope")
	err := s.DB.Update(r.Context(), func(tx *store.Tx) error {
		l, err := store.Optional(tx.LinkOf(who.Login, scope))
		if err != nil || l == nil { // it was taken back already
			return err
		}
		if _, err := tx.DropLink(who.Login, scope); err != nil {
			return err
		}
		return tx.Audit(store.Entry{Actor: who.Login, Via: "page", Action: "unlink", Subject: "link/" + scope, Detail: l.User + " in " + l.Chat + " is " + l.Login + " no more"})
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/links", http.StatusSeeOther)
}
