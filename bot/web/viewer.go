package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/shipmate-dev/shipmate/store"
)

// What a person may do in a repository, from least to most: GitHub's repository roles.
const (
	None = iota
	Read
	Triage
	Write
	Maintain
	Admin
)

// A Viewer is who looks at the pages, signed in.
type Viewer struct {
	Login string
	CSRF  string         // goes with every form
	Repos map[string]int // what somebody let them do, by lower-case owner/name
}

// Permission is what the viewer may do in a repository. A public one everybody may read.
func (v *Viewer) Permission(repo *store.Repo, name string) int {
	p := v.Repos[strings.ToLower(name)]
	if p == None && repo != nil && !repo.Private {
		return Read
	}
	return p
}

// anywhere tells whether the viewer may do so much in any repository.
func (v *Viewer) anywhere(need int) bool {
	for _, p := range v.Repos {
		if p >= need {
			return true
		}
	}
	return false
}

// Writes tells whether there is a repository that the viewer may write to.
func (v *Viewer) Writes() bool { return v.anywhere(Write) }

// Administers tells whether there is a repository that the viewer administers.
func (v *Viewer) Administers() bool { return v.anywhere(Admin) }

// A seer is what a handler knows of who looks: either somebody who is signed in, or whoever has the address, where this server
// has no sign-in.
type seer struct{ *Viewer }

// look tells whether what a build or a cluster said is hidden from the viewer: of a public repository it is shown to those alone to
// whom somebody gave access to it. Where the repository may not be seen at all there is nothing: the error is ErrNotFound.
func (who seer) look(tx *store.Tx, name string) (hidden bool, err error) {
	repo, err := store.Optional(tx.Repo(name))
	if err != nil {
		return true, err
	}
	open := repo == nil || !repo.Private // or not known to be private
	switch {
	case who.Viewer == nil:
		return open, nil
	case who.Permission(repo, name) < Read:
		return true, fmt.Errorf("%s may not see %s: %w", who.Login, name, store.ErrNotFound)
	}
	return who.Repos[strings.ToLower(name)] == None, nil
}

// SaidID is the id of the event by which a person said a command on a page.
func SaidID(login, id string) string { return "page/" + strings.ToLower(login) + "/" + id }

// said is what the viewer's command on this page was answered.
func (s *server) said(r *http.Request, who seer) *store.Reply {
	id := r.URL.Query().Get("said")
	if who.Viewer == nil || id == "" {
		return nil
	}
	var reply *store.Reply
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		reply, err = store.Optional(tx.Reply(SaidID(who.Login, id)))
		return err
	})
	if err != nil {
		s.Logger.Error("an answer could not be read", "err", err)
	}
	if reply != nil {
		reply.Body = s.masked(reply.Body)
	}
	return reply
}

// guarded has a handler know who looks. Who is not signed in, where that is needed, is asked to.
func (s *server) guarded(handle func(http.ResponseWriter, *http.Request, seer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.Viewer == nil {
			handle(w, r, seer{})
			return
		}
		viewer, err := s.Viewer(r)
		switch {
		case err != nil && r.Context().Err() == nil:
			s.Logger.Warn("what somebody may see could not be asked", "err", err)
			s.renderError(w, r, http.StatusServiceUnavailable, "Page not available", "GitHub could not be asked what you may see. Please try again in a moment.")
		case err != nil: // nobody waits for the answer
		case viewer == nil:
			s.render(w, r, seer{}, http.StatusUnauthorized, "sign-in", page{Title: "Sign in", Body: "/auth/login?to=" + url.QueryEscape(r.URL.RequestURI())})
		default:
			handle(w, r, seer{viewer})
		}
	}
}
