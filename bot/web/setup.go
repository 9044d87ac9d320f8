package web

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

// Setup are the pages of the set-up, before there is anything else to show. As an http.Handler it serves /assets/{name}, and
// nothing at every other address.
type Setup struct{ s *server }

// SetupPage is one of them: that of the field that is set.
type SetupPage struct {
	Form     *SetupForm
	Register *SetupRegister
	Done     *SetupDone

	Problem *Saying // what keeps it from going on
	Remedy  *Saying // nil: there is none
	Lines   string  // what to write, of Remedy
	Link    string  // a page at GitHub, of Remedy
}

// A Saying is a sentence that a page says in the language of who reads it.
type Saying struct {
	sentence string
	args     []any
}

// Say makes one: a constant, of which every %s stands for an argument. The arguments are escaped, the sentence is not.
func Say(sentence string, args ...any) *Saying { return &Saying{sentence, args} }

// String is the sentence in English.
func (s *Saying) String() string { return en.say(s.sentence, s.args...) }

// SetupForm asks what the App is to be.
type SetupForm struct {
	Code                        string // goes with every request
	Name, Organization          string
	GitHub, PublicURL           string
	FixedGitHub, FixedPublicURL bool    // they stand in the server's file
	Wrong                       *Saying // what is wrong with what was said; nil: nothing
}

// SetupRegister takes the manifest to GitHub.
type SetupRegister struct {
	Form     *SetupForm
	Target   string // an address of GitHub's
	Manifest string // JSON
}

// SetupDone says what is left to do.
type SetupDone struct {
	Name, Install, Allow, File string
}

// NewSetup makes the pages. The log is told of those that could not be made.
func NewSetup(version string, log *slog.Logger) *Setup {
	return &Setup{newServer(Config{Version: version, Logger: log}, "setup")}
}

// ServeHTTP implements http.Handler.
func (p *Setup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guard(w.Header())
	name, ok := strings.CutPrefix(r.URL.Path, "/assets/")
	if r.Method != http.MethodGet && r.Method != http.MethodHead || !ok {
		p.NotFound(w, r)
		return
	}
	r.SetPathValue("name", name)
	p.s.asset(w, r)
}

// NotFound answers that there is nothing. Its page repeats none of what it was asked with, which may have been a code.
func (p *Setup) NotFound(w http.ResponseWriter, r *http.Request) {
	guard(w.Header())
	p.s.lost(w, r)
}

// Show answers with a page. Of a page whose form goes to GitHub the browser is let go there, and from there back.
func (p *Setup) Show(w http.ResponseWriter, r *http.Request, status int, body SetupPage) {
	guard(w.Header())
	if to := body.Register; to != nil {
		policy := w.Header().Get("Content-Security-Policy")
		w.Header().Set("Content-Security-Policy", strings.Replace(policy, "form-action 'self'", "form-action 'self' "+origin(to.Target)+" "+origin(to.Form.PublicURL), 1))
	}
	p.s.render(w, r, seer{}, status, "setup", page{Title: langOf(r).say("Set-up"), Once: body.Done != nil, Body: body})
}

// origin is the scheme, host and port of an address, as a Content-Security-Policy names them.
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || strings.ContainsAny(u.Host, " ;,'\"") {
		return "'none'"
	}
	return u.Scheme + "://" + u.Host
}
