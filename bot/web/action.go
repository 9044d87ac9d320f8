package web

import (
	"context"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// An action is a button that says a command of the table (POST /command). It is shown to those alone to whom their permission
// allows it; whether it is obeyed is the command's to decide.
type action struct {
	CSRF, Repo, Back string
	Label            string   // an English sentence of the catalogue
	Look             string   // primary, danger or empty
	Text             string   // the command, or what it begins with
	Choices          []string // one of them follows
	Release          bool     // and then a release's number, which may be left out
	Parts            bool     // and then the environment and the parts of a release order
	Lease            bool     // and then how long
	Ask              string   // what a reason is asked for by; empty: none is
	Must             bool     // there has to be one
	SHA              string   // the commit that the command is about
}

// Opens tells whether something is asked before the command is said.
func (a action) Opens() bool { return a.Ask != "" || a.Release || a.Parts || len(a.Choices) > 0 }

// leases are how long a lock may be asked for.
const leases template.HTML = "<option>30m</option><option selected>2h</option><option>8h</option><option>1d</option><option>3d</option>"

// An asker makes the actions of one page.
type asker struct {
	who  seer
	r    *http.Request
	repo store.Repo
	has  int // what the viewer may do in the repository
}

func newAsker(r *http.Request, who seer, repo store.Repo) asker {
	a := asker{who: who, r: r, repo: repo}
	if who.Viewer != nil {
		a.has = who.Permission(&repo, repo.Name)
	}
	return a
}

// can tells whether the viewer may say what a permission, or being named in a list, allows.
func (a asker) can(need int, names ...string) bool {
	return a.who.Viewer != nil && (a.has >= need || a.has >= Read && names != nil && named(names, a.who.Login))
}

func (a asker) action(label, look, text string) action {
	return action{CSRF: a.who.CSRF, Repo: a.repo.Name, Back: here(a.r), Label: label, Look: look, Text: text}
}

// named tells whether a login stands in a list.
func named(list []string, login string) bool {
	return slices.ContainsFunc(list, func(entry string) bool { return strings.EqualFold(strings.TrimPrefix(entry, "@"), login) })
}

// teamPatience is how long a page waits at most for GitHub to say who is in which team.
const teamPatience = 2 * time.Second

// may tells whether the viewer is among those who approve: by names them, and nobody means everyone who may maintain. A team whose
// members GitHub does not tell of in time counts as theirs: whoever is not in it is refused when they press the button.
func (s *server) may(ctx context.Context, who seer, repo store.Repo, by []string) bool {
	switch {
	case who.Viewer == nil:
		return false
	case len(by) == 0:
		return who.Permission(&repo, repo.Name) >= Maintain
	case named(by, who.Login):
		return true
	case s.Member == nil || !slices.ContainsFunc(by, func(entry string) bool { return strings.Contains(entry, "/") }):
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, teamPatience)
	defer cancel()
	yes, err := s.Member(ctx, repo, by, who.Login)
	return yes || err != nil
}

// votes are the buttons of who may approve something; name is how a command names it.
func (a asker) votes(name string) []action {
	approve := a.action("Approve", "primary", "/approve "+name)
	reject := a.action("Reject…", "danger", "/reject "+name)
	reject.Ask, reject.Must = "Why?", true
	return []action{approve, reject}
}
