package web

import (
	"context"
	"encoding/json"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

func itoa(n int) string { return strconv.Itoa(n) }

// historyShown is how many runs a page of a history has.
const historyShown = 25

// An appView is what the page of an app shows.
type appView struct {
	Now   time.Time
	App   row
	Cells []envView
	past
	Figures []template.HTML // of where its chains end
	First   bool            // it is the newest page of the history
	Home    string          // the repository's page on GitHub
	Hidden  bool            // what comes from the cluster is withheld
	All     []action
	Audit   string               // the address of its lines; empty for who may not read them
	Told    []store.Subscription // for who may write
}

// An envView is an environment, as everybody sees it, with what the viewer may do there.
type envView struct {
	cell
	HTML    template.HTML
	Actions []action
}

// A pastRun is a run with what became of its release.
type pastRun struct {
	store.PastRun
	URL         string // of the commit, on GitHub
	Deployments []store.Outcome
}

// visible reads a repository that the viewer may see. What they may not see is ErrNotFound, as what there is not.
func visible(tx *store.Tx, who seer, name string, need int) (store.Repo, error) {
	repo, err := tx.Repo(name)
	if err == nil && (who.Viewer == nil || who.Permission(&repo, repo.Name) < need) {
		return store.Repo{}, store.ErrNotFound
	}
	return repo, err
}

// app shows an app: GET /apps/{app}, with ?repository=owner/name where several repositories have one of that name.
func (s *server) app(w http.ResponseWriter, r *http.Request, who seer) {
	name, in := r.PathValue("app"), r.URL.Query().Get("repository")
	var v *appView
	var among []string // repositories
	var err error
	if in == "" {
		if among, err = s.called(r, who, name); len(among) == 1 {
			in = among[0]
		}
	}
	if err == nil && in != "" {
		v, err = s.readApp(r, who, in, name)
	}
	switch {
	case err != nil:
		s.fail(w, r, err)
	case v == nil && len(among) == 0:
		s.notFound(w, r)
	case v == nil:
		s.render(w, r, who, http.StatusOK, "apps", page{Title: name, Body: struct {
			Name  string
			Paths [][2]string
		}{name, paths(among, name)}})
	default:
		s.render(w, r, who, http.StatusOK, "app", page{Title: v.App.App, Refresh: v.refresh(), Body: v})
	}
}

func paths(repos []string, app string) (all [][2]string) {
	for _, repo := range repos {
		all = append(all, [2]string{repo, appPath(repo, app)})
	}
	return all
}

// called lists the repositories that have an app of that name which the viewer may see.
func (s *server) called(r *http.Request, who seer, app string) (among []string, err error) {
	err = s.DB.View(r.Context(), func(tx *store.Tx) error {
		all, err := tx.Called(app)
		for _, repo := range all {
			if _, err := visible(tx, who, repo, Read); err == nil {
				among = append(among, repo)
			}
		}
		return err
	})
	return among, err
}

// An appRow is what was read of an app.
type appRow struct {
	locks  []store.Lock // of the repository
	now    time.Time
	repo   store.Repo
	row    row
	places []template.HTML // its environments
	told   []store.Subscription
}

// An appKey is an app, and how it is shown.
type appKey struct {
	store.App // by the lower-case name of the repository
	lang      lang
	hidden    bool // what comes from the cluster is withheld
}

// readRow reads an app of a repository.
func (s *server) readRow(tx *store.Tx, in, name string) (a appRow, err error) {
	a.now = tx.Now()
	if a.repo, err = tx.Repo(in); err != nil {
		return a, err
	}
	found, err := tx.Glances([]store.App{{Repo: a.repo.Name, Name: name}})
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return a, err
	}
	if a.told, err = tx.SubscriptionsTo(a.repo.Name, name); err != nil {
		return a, err
	}
	var f facts
	if f.open, err = tx.OpenIn(a.repo.Name, name); err != nil {
		return a, err
	}
	if f.agree, err = tx.UnratifiedSights(); err != nil {
		return a, err
	}
	if f.locks, err = tx.Locks(a.repo.Name); err != nil {
		return a, err
	}
	if f.holds, err = tx.HoldsOf(a.repo.Name); err != nil {
		return a, err
	}
	if f.gone, err = tx.GoneIn(a.repo.Name); err != nil {
		return a, err
	}
	rows, err := s.readRows(tx, found, f)
	if err != nil {
		return a, err
	}
	a.row, a.locks = rows[0], f.locks
	return a, nil
}

func (s *server) readApp(r *http.Request, who seer, in, name string) (*appView, error) {
	said := r.URL.Query().Has("said")
	key := appKey{store.App{Repo: strings.ToLower(in), Name: name}, langOf(r), who.Viewer == nil || who.Repos[strings.ToLower(in)] == None}
	read, err := s.apps.get(key, said, func(appRow) (a appRow, err error) {
		if err = s.DB.View(r.Context(), func(tx *store.Tx) (err error) { a, err = s.readRow(tx, in, name); return err }); err != nil {
			return a, err
		}
		a.row = s.ask([]row{a.row})[0]
		for _, c := range a.row.Cells {
			var b strings.Builder
			if err := s.pages[key.lang]["app"].ExecuteTemplate(&b, "place", placeView{c, a.now, key.hidden}); err != nil {
				return a, err
			}
			a.places = append(a.places, template.HTML(b.String())) // made by the template
		}
		return a, nil
	})
	if err == nil && (who.Viewer == nil || who.Permission(&read.repo, read.repo.Name) < Read) {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	repo := read.repo
	v := &appView{Now: read.now, Home: repo.HTMLURL, First: true, App: read.row}
	a := newAsker(r, who, repo)
	for i, c := range v.App.Cells {
		v.Cells = append(v.Cells, envView{c, read.places[i], a.environment(v.App, c)})
	}
	for _, l := range read.locks {
		switch {
		case !a.can(Write) || l.Environment != "":
		case l.App == name:
			v.All = append(v.All, a.action("Unlock all environments", "", "/unlock "+name+" all"))
		case l.App == "":
			v.All = append(v.All, a.action("Unlock all apps and environments", "", "/unlock all"))
		}
	}
	if a.can(Write) {
		v.Told = read.told
	}
	if a.can(Admin) {
		v.Audit = "/audit?" + url.Values{"repository": {repo.Name}, "app": {name}}.Encode()
		lock := a.action("Lock all environments…", "", "/lock "+name+" all for")
		lock.Lease, lock.Ask, lock.Must = true, "Why?", true
		v.All = append(v.All, lock)
	}
	if v.Figures, err = s.figures(r.Context(), key.lang, v.App, v.Now); err != nil {
		return nil, err
	}
	before := math.MaxInt32
	if n, err := strconv.Atoi(r.URL.Query().Get("before")); err == nil && n > 0 {
		before, v.First = n, false
	}
	page := pastKey{store.App{Repo: v.App.Repo, Name: v.App.App}, before, key.lang}
	v.past, err = s.pasts.get(page, said, func(past) (past, error) { return s.readPast(r.Context(), page, v.App.Path(), v.Home) })
	return v, err
}

// A past is a page of a history.
type past struct {
	History template.HTML
	Next    string // the address of what is older
}

// A pastKey is which page of whose history, and how it is shown.
type pastKey struct {
	store.App
	before int
	lang   lang
}

// readPast makes a page of a history.
func (s *server) readPast(ctx context.Context, key pastKey, path, home string) (p past, err error) {
	var now time.Time
	var runs []store.PastRun
	var deployments []store.Outcome
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		now = tx.Now()
		if runs, err = tx.History(key.Repo, key.Name, key.before, historyShown+1); err != nil {
			return err
		}
		if len(runs) > historyShown {
			runs = runs[:historyShown]
			p.Next = path + "&before=" + itoa(runs[historyShown-1].Number) + "#history"
		}
		ids := make([]string, len(runs))
		for i, run := range runs {
			ids[i] = run.ID
		}
		deployments, err = tx.Outcomes(ids)
		return err
	})
	if err != nil {
		return p, err
	}
	of := map[string][]store.Outcome{}
	for _, d := range deployments {
		of[d.Run] = append(of[d.Run], d)
	}
	var all []pastRun
	for _, run := range runs {
		all = append(all, pastRun{run, below(home, "commit", run.SHA), of[run.ID]})
	}
	var b strings.Builder
	err = s.pages[key.lang]["app"].ExecuteTemplate(&b, "past", struct {
		Runs []pastRun
		Now  time.Time
	}{all, now})
	p.History = template.HTML(b.String()) // made by the template
	return p, err
}

func (v *appView) refresh() int {
	seconds := refreshWaiting
	for _, c := range v.Cells {
		if c.Now != nil {
			seconds = sooner(seconds, refreshOf(c.Now.State))
		}
	}
	if !store.Final(v.App.State) {
		seconds = refreshMoving
	}
	return seconds
}

// environment is what the viewer may do in an environment.
func (a asker) environment(r row, c cell) (all []action) {
	name := r.App + " " + c.Name
	if a.can(Write, c.Deployers...) {
		if c.After != "" {
			if i := slices.IndexFunc(r.Cells, func(o cell) bool { return o.Name == c.After }); i >= 0 {
				if from := r.Cells[i].Live; from != nil && (c.Live == nil || c.Live.Release != from.Release) {
					all = append(all, a.action("Promote", "primary", "/promote "+name))
				}
			}
		}
	}
	if a.can(Write) {
		deploy := a.action("Deploy…", "", "/deploy "+name)
		deploy.Release = true
		all = append(all, deploy)
	}
	if a.can(Write, c.Deployers...) && (c.Live != nil || c.Now != nil) {
		back := a.action("Roll back…", "danger", "/rollback "+name)
		back.Ask = "Why? (may be left out)"
		all = append(all, back)
	}
	if a.can(Write) {
		own := func(l store.Lock) bool { return l.Environment != "" } // a wider one ends as a whole
		if c.Hold != nil || slices.ContainsFunc(c.Locks, own) {
			all = append(all, a.action("Unlock", "", "/unlock "+name))
		}
		lock := a.action("Lock…", "", "/lock "+name+" for")
		lock.Lease, lock.Ask, lock.Must = true, "Why?", true
		all = append(all, lock)
	}
	return all
}

// runActions is what the viewer may do with a run.
func (a asker) runActions(run store.Run) (all []action) {
	if !store.Final(run.State) {
		if a.can(Write, run.Sender) {
			all = append(all, a.action("Cancel", "danger", "/cancel "+run.App+" run "+itoa(run.Number)))
		}
		return all
	}
	if !a.can(Write) {
		return all
	}
	if run.State == store.RunFailed || run.State == store.RunCancelled {
		again := a.action("Rebuild", "primary", "/rebuild "+run.App)
		again.SHA = run.Head()
		all = append(all, again)
	}
	if run.Release > 0 && run.Pull == 0 {
		var file struct{ Environments []environment }
		_ = json.Unmarshal(run.Config.V, &file) // the page goes without what it cannot read
		if len(file.Environments) > 0 {
			deploy := a.action("Deploy this release…", "", "/deploy "+run.App)
			for _, e := range file.Environments {
				deploy.Choices = append(deploy.Choices, e.Name+" "+itoa(run.Release))
			}
			all = append(all, deploy)
		}
	}
	return all
}

// why is the page that tells how the event was decided that led to something, empty for who may not see that.
func (a asker) why(event string) string {
	if event == "" || !a.can(Write) {
		return ""
	}
	return delivery{Event: store.Event{ID: event}}.Path()
}

// deploymentActions is what the viewer may do with a deployment. may tells whether they may approve it.
func (a asker) deploymentActions(d store.Deployment, current bool, may func(by []string) bool) (all []action) {
	for _, b := range d.Blocks.V {
		if b.Kind == store.BlockApproval && may(b.By) {
			all = append(all, a.votes(itoa(d.Number))...)
		}
	}
	if !d.RatifyBy.IsZero() && d.RatifiedBy == "" && !d.BeganAt.IsZero() && !strings.EqualFold(d.Requester, a.who.login()) {
		var spec struct {
			Environment struct{ Approvals struct{ By []string } }
		}
		_ = json.Unmarshal(d.Spec.V, &spec) // the page goes without what it cannot read
		if may(spec.Environment.Approvals.By) {
			all = append(all, a.votes(itoa(d.Number))...)
		}
	}
	var spec struct{ Environment environment }
	_ = json.Unmarshal(d.Spec.V, &spec) // the page goes without what it cannot read
	if deploys := a.can(Write, spec.Environment.Deployers...); deploys && d.CancelBy == "" {
		for _, b := range d.Blocks.V {
			if d.State == store.Paused && b.Kind == store.BlockPause {
				about := d.App + " " + d.Environment + " " + itoa(d.Number)
				all = append(all, a.action("Resume", "primary", "/resume "+about), a.action("Abort", "danger", "/abort "+about))
			}
		}
	}
	if !store.Final(d.State) && d.CancelBy == "" && a.can(Write, d.Requester) {
		all = append(all, a.action("Cancel", "danger", "/cancel deployment "+itoa(d.Number)))
	}
	if current && store.Final(d.State) && a.can(Write, spec.Environment.Deployers...) {
		back := a.action("Roll back…", "danger", "/rollback "+d.App+" "+d.Environment)
		back.Ask = "Why? (may be left out)"
		all = append(all, back)
	}
	return all
}

// orderActions is what the viewer may do with a release order.
func (a asker) orderActions(o store.Order, asks *store.Block, may func(by []string) bool) (all []action) {
	name := "order " + itoa(o.Number)
	if asks != nil && may(asks.By) {
		all = append(all, a.votes(name)...)
	}
	switch {
	case !store.Final(o.State):
		if a.can(Write, o.Requester) {
			all = append(all, a.action("Cancel", "danger", "/order cancel "+itoa(o.Number)))
		}
	case o.RollbackOf == "" && o.State != store.Rejected && o.State != store.Expired && a.can(Write):
		back := a.action("Roll back…", "danger", "/rollback "+name)
		back.Ask = "Why? (may be left out)"
		all = append(all, back)
	}
	return all
}

func (who seer) login() string {
	if who.Viewer == nil {
		return ""
	}
	return who.Login
}
