package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shipmate-dev/shipmate/store"
)

// A signedSite is a site where people sign in: who looks stands in a header.
type signedSite struct {
	*site
	people map[string]*Viewer
	cfg    Config
	pages  *Pages
	who    atomic.Pointer[looker] // where a test changes who looks
}

type looker struct {
	viewer *Viewer
	err    error
}

func newSignedSite(t *testing.T) *signedSite {
	t.Helper()
	s := &signedSite{site: newSite(t), people: map[string]*Viewer{}}
	s.cfg = Config{DB: s.db, Version: "v1.2.3", Logger: slog.New(slog.NewTextHandler(&s.errors, nil)), Stop: s.stop, Artifact: artifact(t),
		LogFile: func(run string) string { return s.logFile(run) },
		Viewer:  func(r *http.Request) (*Viewer, error) { return s.people[r.Header.Get("As")], nil }}
	s.open()
	return s
}

// open makes the pages from cfg; what they show is never old.
func (s *signedSite) open() {
	s.pages = New(s.cfg)
	s.pages.s.keep(0)
	s.Handler = s.pages
}

func (s *signedSite) person(login string, repos map[string]int) {
	s.people[login] = &Viewer{Login: login, CSRF: "csrf of " + login, Repos: repos}
}

func (s *signedSite) as(login, method, target string, form url.Values, header ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("As", login)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// see reads a page that must be there for somebody.
func (s *signedSite) see(login, target string, header ...string) string {
	s.t.Helper()
	w := s.as(login, "GET", target, nil, header...)
	if w.Code != http.StatusOK {
		s.t.Fatalf("%s gets %s: %d %s", login, target, w.Code, s.errors.String())
	}
	return w.Body.String()
}

const chain = `{"Environments":[{"Name":"staging","Cluster":"test","Namespace":"staging"},{"Name":"production","After":"staging","Cluster":"prod","Namespace":"prod","Deployers":["dora"],"Freeze":["Fri 18:00 - Mon 08:00 UTC"]}]}`

// ship makes a run of an app and its release.
func (s *signedSite) ship(repo, app, subject string) (store.Run, store.Release) {
	s.t.Helper()
	r := store.Run{Repo: repo, App: app, Cause: "push", Sender: "alice", Author: "alice", Ref: "refs/heads/master", SHA: strings.Repeat("0a1b2c3d", 5), Subject: subject}
	r.Config.V = json.RawMessage(chain)
	var rel store.Release
	s.update(func(tx *store.Tx) error {
		old, err := store.Optional(tx.Repo(repo))
		if err == nil && old == nil {
			err = tx.PutRepo(store.Repo{Name: repo, Private: true, DefaultBranch: "master", HTMLURL: "https://github.example/" + repo})
		}
		if err = errors.Join(err, tx.NewRun(&r, "fetch", "build", "resolve"), tx.StartRun(r.ID)); err != nil {
			return err
		}
		rel, err = tx.SucceedRun(r, []store.Image{{Repository: "registry.example.com/" + app, Digest: digest}})
		return err
	})
	return r, rel
}

// deployTo makes a deployment; states are those it goes through after it began.
func (s *signedSite) deployTo(rel store.Release, env, requester string, states ...string) store.Deployment {
	s.t.Helper()
	d := store.Deployment{Repo: rel.Repo, App: rel.App, Release: rel.Number, Run: rel.Run, Environment: env, Cause: store.CausePromote, Requester: requester}
	d.Spec.V = json.RawMessage(fmt.Sprintf(`{"Environment":{"Name":%q,"Cluster":"prod","Namespace":"prod"}}`, env))
	s.update(func(tx *store.Tx) error { return tx.NewDeployment(&d, "render", "apply") })
	if len(states) > 0 {
		s.end(d, states...)
	}
	return d
}

// live takes a release to an environment.
func (s *signedSite) live(rel store.Release, env string) store.Deployment {
	s.t.Helper()
	return s.deployTo(rel, env, "bob", store.Progressing, store.Verifying, store.Succeeded)
}

// asks has a deployment wait for an approval.
func (s *signedSite) asks(d store.Deployment, by ...string) {
	s.t.Helper()
	s.update(func(tx *store.Tx) error {
		d, err := tx.Deployment(d.ID)
		return errors.Join(err, tx.Block(d, []store.Block{{Kind: store.BlockApproval, Need: 1, By: by}}))
	})
}
