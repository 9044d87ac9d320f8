package web

import (
	"crypto/hmac"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// linesShown is how many lines a page of the audit, or of the deliveries, has.
const linesShown = 50

// A scope is the repository that a page is about, of those that it could be about.
type scope struct {
	Repo  string
	Repos []string
}

// Reads tells whether there is a repository that somebody lets the viewer read.
func (v *Viewer) Reads() bool { return v.anywhere(Read) }

// scope is what ?repository= says, or the first repository where the viewer has a permission; none, where nothing was pushed yet to
// those where they have it. Where they have it nowhere it is ErrNotFound.
func (s *server) scope(tx *store.Tx, r *http.Request, who seer, need int) (c scope, err error) {
	all, err := tx.Repos()
	if err != nil {
		return c, err
	}
	for _, repo := range all {
		if who.Viewer != nil && who.Permission(&repo, repo.Name) >= need {
			c.Repos = append(c.Repos, repo.Name)
		}
	}
	wanted := r.URL.Query().Get("repository")
	if wanted == "" && len(c.Repos) == 0 && who.Viewer != nil && who.anywhere(need) {
		return c, nil
	}
	i := 0
	if wanted != "" {
		i = slices.IndexFunc(c.Repos, func(name string) bool { return strings.EqualFold(name, wanted) })
	}
	if i < 0 || len(c.Repos) == 0 {
		return c, store.ErrNotFound
	}
	c.Repo = c.Repos[i]
	return c, nil
}

type auditView struct {
	scope
	Apps  []string
	App   string
	Lines []auditLine
	Next  string
}

type auditLine struct {
	store.Entry
	Time time.Time
	Path string // the page of what it is about
}

// audit shows the audit of a repository to those who administer it: GET /audit?repository=&app=&before=.
func (s *server) audit(w http.ResponseWriter, r *http.Request, who seer) {
	var v auditView
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v.scope, err = s.scope(tx, r, who, Admin); err != nil || v.Repo == "" {
			return err
		}
		if v.Apps, err = tx.Apps(v.Repo); err != nil {
			return err
		}
		v.App = r.URL.Query().Get("app")
		before, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
		if err != nil || before < 1 {
			before = math.MaxInt64
		}
		lines, err := tx.AuditOf(v.Repo, v.App, before, linesShown+1)
		if len(lines) > linesShown {
			lines = lines[:linesShown]
			v.Next = "/audit?" + url.Values{"repository": {v.Repo}, "app": {v.App}, "before": {strconv.FormatInt(lines[linesShown-1].Seq, 10)}}.Encode()
		}
		for _, e := range lines {
			e.Detail = s.masked(e.Detail)
			line := auditLine{Entry: e}
			line.Time, _ = time.Parse(time.RFC3339, e.At) // ours
			for _, kind := range []string{"run", "deployment", "order"} {
				if id, ok := strings.CutPrefix(e.Subject, kind+"/"); ok {
					line.Path = "/" + kind + "s/" + id
				}
			}
			v.Lines = append(v.Lines, line)
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, who, http.StatusOK, "audit", page{Title: langOf(r).say("Audit"), Body: v})
}

type deliveriesView struct {
	scope
	Now    time.Time
	Events []delivery
	Next   string
}

// A delivery is an event, and how it was decided.
type delivery struct {
	store.Event
	About       string
	Trace       []string
	Runs        []store.Run
	Deployments []store.Deployment
	Trouble     []store.QueuedTask
	Now         time.Time
	Hidden      bool
}

// Path is the page of the delivery.
func (d delivery) Path() string { return (&url.URL{Path: "/deliveries/" + d.ID}).EscapedPath() }

// Last is the end of the trace: what came of it.
func (d delivery) Last() string {
	if len(d.Trace) == 0 {
		return ""
	}
	return d.Trace[len(d.Trace)-1]
}

func (s *server) delivery(e store.Event) delivery {
	d := delivery{Event: e, About: e.Kind}
	if s.About != nil {
		d.About = s.About(e)
	}
	d.Body = nil // no page shows it
	for _, line := range e.Trace.V {
		d.Trace = append(d.Trace, s.masked(line))
	}
	return d
}

// deliveries lists the events of a repository for those who may write to it: GET /deliveries?repository=&before=.
func (s *server) deliveries(w http.ResponseWriter, r *http.Request, who seer) {
	v := deliveriesView{Now: s.DB.Now()}
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v.scope, err = s.scope(tx, r, who, Write); err != nil || v.Repo == "" {
			return err
		}
		var before store.Event
		if id := r.URL.Query().Get("before"); id != "" {
			if before, err = s.eventOf(tx, who, id); err != nil {
				return err
			}
		}
		events, err := tx.EventsOf(v.Repo, before, linesShown+1)
		if len(events) > linesShown {
			events = events[:linesShown]
			v.Next = "/deliveries?" + url.Values{"repository": {v.Repo}, "before": {events[linesShown-1].ID}}.Encode()
		}
		for _, e := range events {
			v.Events = append(v.Events, s.delivery(e))
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, who, http.StatusOK, "deliveries", page{Title: langOf(r).say("Deliveries"), Body: v})
}

type hooksView struct {
	scope
	Now  time.Time
	Told []store.HookDelivery
	Next string
}

// hooks lists what outgoing webhooks were told of a repository, for those who may write to it: GET /hooks?repository=&before=.
func (s *server) hooks(w http.ResponseWriter, r *http.Request, who seer) {
	v := hooksView{Now: s.DB.Now()}
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v.scope, err = s.scope(tx, r, who, Write); err != nil || v.Repo == "" {
			return err
		}
		before, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
		if err != nil || before < 1 {
			before = math.MaxInt64
		}
		v.Told, err = tx.HookDeliveriesOf(v.Repo, before, linesShown+1)
		if len(v.Told) > linesShown {
			v.Told = v.Told[:linesShown]
			v.Next = "/hooks?" + url.Values{"repository": {v.Repo}, "before": {strconv.FormatInt(v.Told[linesShown-1].Seq, 10)}}.Encode()
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, who, http.StatusOK, "hooks", page{Title: langOf(r).say("Webhooks"), Body: v})
}

// eventOf reads an event of a repository that the viewer may write to.
func (s *server) eventOf(tx *store.Tx, who seer, id string) (store.Event, error) {
	e, err := tx.Event(id)
	switch {
	case err != nil:
		return e, err
	case e.Repo == nil:
		return e, store.ErrNotFound
	}
	_, err = visible(tx, who, *e.Repo, Write)
	return e, err
}

// oneDelivery tells how one event was decided and what came of it, as /why does: GET /deliveries/{id}.
func (s *server) oneDelivery(w http.ResponseWriter, r *http.Request, who seer) {
	var d delivery
	err := s.DB.View(r.Context(), func(tx *store.Tx) error {
		e, err := s.eventOf(tx, who, r.PathValue("id"))
		if err != nil {
			return err
		}
		d = s.delivery(e)
		d.Now = tx.Now()
		if d.Runs, d.Deployments, err = tx.MadeBy(e.ID); err != nil {
			return err
		}
		d.Trouble, err = tx.Troubled(store.TaskEvent, e.ID)
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, who, http.StatusOK, "delivery", page{Title: langOf(r).say("Delivery"), Body: d})
}

type queueView struct {
	Tasks []buried
	CSRF  string
}

type buried struct {
	store.QueuedTask
	Repo string
}

// Path is the page of what it is about, empty where there is none.
func (b buried) Path() string {
	key, rest, _ := strings.Cut(b.Key, "\n")
	kind, id, _ := strings.Cut(key, "/")
	switch b.Kind {
	case store.TaskEvent, store.TaskReply:
		return delivery{Event: store.Event{ID: key}}.Path()
	case store.TaskRun, store.TaskForkRun, store.TaskImageRun:
		kind, id = "run", key
	case store.TaskPrepare, store.TaskScope, store.TaskRatify, store.TaskChecks:
		kind, id = "deployment", key
	case store.TaskOrder:
		kind, id = "order", key
	case store.TaskEnv:
		app, _, _ := strings.Cut(rest, "\n")
		return appPath(key, app)
	case store.TaskReport, store.TaskSay:
	default:
		return ""
	}
	return "/" + kind + "s/" + id
}

// maxBuried is how much that was given up is looked at.
const maxBuried = 1000

// queue lists what was given up in the repositories that the viewer administers: GET /queue.
func (s *server) queue(w http.ResponseWriter, r *http.Request, who seer) {
	var v queueView
	err := s.DB.View(r.Context(), func(tx *store.Tx) error {
		if _, err := s.scope(tx, r, who, Admin); err != nil {
			return err
		}
		tasks, err := tx.GivenUp(maxBuried)
		for _, t := range tasks {
			repo, err := s.mayRevive(tx, who, t)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			t.Reason = s.masked(t.Reason)
			if v.Tasks = append(v.Tasks, buried{t, repo}); len(v.Tasks) == 2*linesShown {
				break
			}
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	v.CSRF = who.CSRF
	s.render(w, r, who, http.StatusOK, "queue", page{Title: langOf(r).say("Given up"), Body: v})
}

// mayRevive is the repository of a task, where the viewer administers it; else ErrNotFound.
func (s *server) mayRevive(tx *store.Tx, who seer, t store.QueuedTask) (string, error) {
	name, err := tx.TaskRepo(t.Task)
	if err != nil {
		return "", err
	}
	repo, err := visible(tx, who, name, Admin)
	return repo.Name, err
}

// retry gives a task that was given up another chance: POST /queue with csrf and task.
func (s *server) retry(w http.ResponseWriter, r *http.Request, who seer) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if who.Viewer == nil {
		s.notFound(w, r)
		return
	}
	if !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(who.CSRF)) || who.CSRF == "" {
		s.renderError(w, r, http.StatusForbidden, "Not done", "This form is out of date. Please go back, load the page again and try once more.")
		return
	}
	id, err := strconv.ParseInt(r.PostFormValue("task"), 10, 64)
	if err != nil {
		s.notFound(w, r)
		return
	}
	err = s.DB.Update(r.Context(), func(tx *store.Tx) error {
		t, err := tx.QueuedTask(id)
		if err != nil {
			return err
		}
		repo, err := s.mayRevive(tx, who, t)
		if err != nil {
			return err
		}
		err = tx.Revive(t, repo, who.Login, "page")
		if errors.Is(err, store.ErrState) {
			return nil // somebody was faster
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/queue", http.StatusSeeOther)
}

// A Part is one thing that the server works with.
type Part struct {
	Kind   string // builder, registry, cluster
	Name   string
	State  string // succeeded: it answers; failed: it does not; pending: it was not asked yet
	Detail string
	Forks  bool      // a builder that builds what forks have, and nothing else
	At     time.Time // when that was seen; zero where it is watched
}

type systemView struct {
	Now   time.Time
	Parts []Part
	Tasks int
}

// system shows what the server works with to whoever administers a repository that may use it, and, before anything was pushed to
// any, to whoever administers one where the App is installed: GET /system.
func (s *server) system(w http.ResponseWriter, r *http.Request, who seer) {
	v := systemView{Now: s.DB.Now()}
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		c, err := s.scope(tx, r, who, Admin)
		if err != nil {
			return err
		}
		if c.Repo == "" {
			if all, err := tx.Repos(); err != nil || len(all) > 0 {
				return errors.Join(err, store.ErrNotFound)
			}
		}
		v.Tasks, err = tx.Tasks()
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if s.System != nil {
		v.Parts = s.System()
	}
	for i := range v.Parts {
		v.Parts[i].Detail = s.masked(v.Parts[i].Detail)
	}
	s.render(w, r, who, http.StatusOK, "system", page{Title: langOf(r).say("System"), Refresh: refreshWaiting, Body: v})
}

// masked takes the server's secrets out of a text.
func (s *server) masked(text string) string {
	if s.Mask == nil {
		return text
	}
	return s.Mask(text)
}
