// Package web renders the pages of runs and deployments.
//
// Where people can sign in, a page shows what their permission on its repository lets them see. Where the server's file names no
// client of GitHub's for that, the address of a page, 128 random bits, is what gives access to it: then a page names no other
// address than those of its own family (a run and its deployments, a deployment and the rollback of it, a release order and
// its parts). Every answer keeps its address from referrers, caches and search engines.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// Config is what the pages are made from.
type Config struct {
	DB *store.DB
	// LogFile is where the log of a run is, by the id of a run that exists: see package runlog.
	LogFile func(run string) string
	// Artifact opens a file that a check of a run kept, by its path with slashes. An error that is fs.ErrNotExist means that
	// there is none (any more).
	Artifact func(run, check, path string) (io.ReadSeekCloser, error)
	// Typed is how a command has to be written in a comment. Nil: as it is.
	Typed func(form string) string
	// Stop is closed when the server stops: then whoever follows a log is let go. Nil: never.
	Stop <-chan struct{}
	// Viewer tells who looks, nil for somebody who is not signed in. Viewer itself is nil where nobody can sign in.
	Viewer func(*http.Request) (*Viewer, error)
	// Member tells whether somebody is in a list of logins and @org/team. Nil: teams have no members.
	Member func(ctx context.Context, repo store.Repo, list []string, login string) (bool, error)
	// Frozen tells which of an environment's windows are open now, and until when. Nil: none is.
	Frozen func(windows []string, now time.Time) (window string, until time.Time)
	// Health is what clusters last said of deployments, by their ids. It answers at once. Nil: nothing is known.
	Health func(deployments []string) map[string]Health
	// System lists what the server works with, and how that is. It answers at once.
	System func() []Part
	// About says in a line what an event is about. Nil: its kind.
	About func(store.Event) string
	// Mask takes the server's secrets out of a text. Nil: there are none.
	Mask    func(string) string
	Version string
	Logger  *slog.Logger // told of pages that could not be made; nil: nobody is
}

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// Pages serves GET and HEAD of /, /apps/{app}, /runs/{id}, /runs/{id}/log, /runs/{id}/artifacts/{check}/{path}, /deployments/{id},
// /orders, /orders/{id}, /audit, /deliveries, /deliveries/{id}, /hooks, /queue, /system, /links and /assets/{name}, and POST of /queue and /links.
type Pages struct {
	s       *server
	handler http.Handler
}

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// Error answers with a page that says what is wrong, and what to do. Of text every %s stands for one of args, where there are any.
func (p *Pages) Error(w http.ResponseWriter, r *http.Request, status int, title, text string, args ...any) {
	guard(w.Header())
	p.s.renderError(w, r, status, title, text, args...)
}

type server struct {
	Config
	followers  chan struct{} // one for each that follows a log
	askedAgain time.Duration // see there
	pages      map[lang]map[string]*template.Template
	seen       memo[struct{}, *matrix]
	apps       memo[appKey, appRow]
	pasts      memo[pastKey, past]
	trends     trends
	states     memo[string, string] // of runs whose logs are followed
	lines      memo[linesKey, []byte]
	assets     map[string]asset // by the name that is in the address
}

type asset struct {
	contentType string
	body        []byte
}

// newServer reads the templates and the assets.
func newServer(cfg Config, pages ...string) *server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{Config: cfg, followers: make(chan struct{}, maxFollowers), askedAgain: askedAgain, pages: map[lang]map[string]*template.Template{}, assets: map[string]asset{}}
	s.keep(matrixTTL)
	s.states.ttl, s.lines.ttl = statesTTL, sharedTTL
	hashed := map[string]string{} // the address of an asset changes with its content, so that it may be cached for ever
	for name, contentType := range map[string]string{
		"favicon.svg": "image/svg+xml",
		"page.js":     "text/javascript; charset=utf-8",
		"style.css":   "text/css; charset=utf-8",
	} {
		body := must(assetFiles.ReadFile("assets/" + name))
		sum := sha256.Sum256(body)
		ext := path.Ext(name)
		file := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		s.assets[file] = asset{contentType, body}
		hashed[name] = "/assets/" + file
	}
	for _, l := range []lang{en, zh} {
		layout := template.Must(template.New("").Funcs(funcs).Funcs(l.funcs()).Funcs(template.FuncMap{
			"asset":  func(name string) string { return hashed[name] },
			"signed": func() bool { return cfg.Viewer != nil },
			"typed": func(format string, args ...any) string {
				form := fmt.Sprintf(format, args...)
				if s.Typed == nil {
					return form
				}
				return s.Typed(form)
			},
		}).ParseFS(pageFiles, "pages/layout.html", "pages/parts.html"))
		s.pages[l] = map[string]*template.Template{}
		for _, name := range append(pages, "error") {
			s.pages[l][name] = template.Must(template.Must(layout.Clone()).ParseFS(pageFiles, "pages/"+name+".html"))
		}
	}
	return s
}

// keep says for how long is kept what is read for all.
func (s *server) keep(ttl time.Duration) { s.seen.ttl, s.apps.ttl, s.pasts.ttl = ttl, ttl, ttl }

// New makes the pages.
func New(cfg Config) *Pages {
	s := newServer(cfg, "home", "app", "apps", "run", "deployment", "order", "orders", "audit", "deliveries", "delivery", "hooks", "queue", "system", "sign-in", "link", "links")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.guarded(s.home))
	mux.HandleFunc("GET /runs/{id}", s.guarded(s.run))
	mux.HandleFunc("GET /runs/{id}/log", s.guarded(s.runLog))
	mux.HandleFunc("GET /runs/{id}/artifacts/{check}/{path...}", s.guarded(s.artifact))
	mux.HandleFunc("GET /deployments/{id}", s.guarded(s.deployment))
	mux.HandleFunc("GET /orders", s.guarded(s.orders))
	mux.HandleFunc("GET /orders/{id}", s.guarded(s.order))
	mux.HandleFunc("GET /apps/{app}", s.guarded(s.app))
	mux.HandleFunc("GET /audit", s.guarded(s.audit))
	mux.HandleFunc("GET /deliveries", s.guarded(s.deliveries))
	mux.HandleFunc("GET /deliveries/{id...}", s.guarded(s.oneDelivery))
	mux.HandleFunc("GET /hooks", s.guarded(s.hooks))
	mux.HandleFunc("GET /queue", s.guarded(s.queue))
	mux.HandleFunc("POST /queue", s.guarded(s.retry))
	mux.HandleFunc("GET /system", s.guarded(s.system))
	mux.HandleFunc("GET /links", s.guarded(s.links))
	mux.HandleFunc("POST /links", s.guarded(s.unlink))
	mux.HandleFunc("GET /assets/{name}", s.asset)
	mux.HandleFunc("GET /", s.notFound)
	return &Pages{s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard(w.Header())
		mux.ServeHTTP(w, r)
	})}
}

// guard says what a browser may do with a page: show it, and nothing else.
func guard(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "+
		"base-uri 'none'; frame-ancestors 'none'; form-action 'self'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex")
}

// must unwraps what cannot fail: a file that the compiler embedded.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A page is what the layout shows.
type page struct {
	Title   string
	Refresh int // seconds until the page is out of date; 0: it never will be
	Version string
	Who     *Viewer      // nil: nobody is signed in
	Other   string       // the address of the page in the other language
	Path    string       // its own
	Said    *store.Reply // what the command was answered that was just said
	Once    bool         // its address leads nowhere any more, in no language
	Body    any
}

func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	s.renderError(w, r, http.StatusNotFound, "Page not found", "There is nothing at this address. Is the link complete? What it led to may also have been removed.")
}

// lost is notFound for an address whose query is repeated nowhere on the page: it may have been a code.
func (s *server) lost(w http.ResponseWriter, r *http.Request) {
	l, ok := chosen(r)
	r = r.Clone(r.Context())
	r.URL.RawQuery = ""
	if ok {
		r.URL.RawQuery = "lang=" + string(l)
	}
	s.notFound(w, r)
}

func (s *server) run(w http.ResponseWriter, r *http.Request, who seer) {
	var v *runView
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v, err = readRun(tx, who, r.PathValue("id")); err != nil {
			return err
		}
		repo, err := store.Optional(tx.Repo(v.Run.Repo))
		if repo != nil {
			a := newAsker(r, who, *repo)
			v.Actions, v.Why = a.runActions(v.Run), a.why(v.Run.Event)
		}
		return err
	})
	if err == nil && !v.Hidden {
		v.Log, err = s.logOf(r, v.Run)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	refresh := v.refresh()
	if refresh > 0 && v.Log != nil && v.Log.Query != "" {
		refresh = refreshWaiting // all of the log is read each time
	}
	s.render(w, r, who, http.StatusOK, "run", page{Title: v.title(langOf(r)), Refresh: refresh, Body: v})
}

func (s *server) deployment(w http.ResponseWriter, r *http.Request, who seer) {
	var v *deploymentView
	var repo *store.Repo
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v, err = readDeployment(tx, who, r.PathValue("id")); err == nil {
			repo, err = store.Optional(tx.Repo(v.Deployment.Repo))
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if repo != nil {
		a := newAsker(r, who, *repo)
		v.Actions = a.deploymentActions(v.Deployment, v.Current, func(by []string) bool { return s.may(r.Context(), who, *repo, by) })
		v.Why = a.why(v.Deployment.Event)
	}
	refresh := v.refresh()
	if s.Health != nil && v.Current && !v.Hidden {
		refresh = sooner(refresh, refreshWaiting) // for what the cluster says
		if h, ok := s.Health([]string{v.Deployment.ID})[v.Deployment.ID]; ok {
			v.Health = &h
		}
	}
	s.render(w, r, who, http.StatusOK, "deployment", page{Title: v.title(langOf(r)), Refresh: refresh, Body: v})
}

func (s *server) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.PathValue("name")]
	if !ok {
		s.lost(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Type", a.contentType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

// fail answers for a page that could not be made. The cause is for the operator's log only.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		s.notFound(w, r)
		return
	}
	if r.Context().Err() != nil {
		return // nobody waits for the answer
	}
	s.Logger.Error("a page could not be made", "route", r.Pattern, "err", err)
	s.renderError(w, r, http.StatusInternalServerError, "Page not available", "This page could not be made just now. Please try again in a moment.")
}

func (s *server) renderError(w http.ResponseWriter, r *http.Request, status int, title, text string, args ...any) {
	l := langOf(r)
	title, text = l.say(title), l.say(text, args...)
	s.render(w, r, seer{}, status, "error", page{Title: title, Body: struct{ Title, Text string }{title, text}})
}

// buffers are what pages are made in; one of a page that is larger than maxBuffer is not kept.
var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

const maxBuffer = 1 << 20

func (s *server) render(w http.ResponseWriter, r *http.Request, who seer, status int, name string, p page) {
	l := langOf(r)
	keepLang(w, r)
	p.Title = printable(p.Title)
	p.Version, p.Who, p.Said, p.Other, p.Path = s.Version, who.Viewer, s.said(r, who), otherLang(r, l), r.URL.Path
	b := buffers.Get().(*bytes.Buffer) // whole or not at all
	defer func() {
		if b.Cap() <= maxBuffer {
			b.Reset()
			buffers.Put(b)
		}
	}()
	if err := s.pages[l][name].ExecuteTemplate(b, "layout", p); err != nil {
		s.Logger.Error("a page could not be made", "route", r.Pattern, "err", err)
		http.Error(w, "this page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the reader may be gone
}
