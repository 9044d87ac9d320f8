package web

import (
	"encoding/json"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	Audit   string // the address of its lines; empty for who may not read them
}

// An envView is an environment with what the viewer may do there.
type envView struct {
	cell
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
	err := s.DB.View(r.Context(), func(tx *store.Tx) error {
		if in == "" {
			all, err := tx.Called(name)
			if err != nil {
				return err
			}
			for _, repo := range all {
				if _, err := visible(tx, who, repo, Read); err == nil {
					among = append(among, repo)
				}
			}
			if len(among) != 1 {
				return nil
			}
			in = among[0]
		}
		var err error
		v, err = s.readApp(tx, r, who, in, name)
		return err
	})
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
		v.App = s.ask([]row{v.App})[0]
		for i := range v.Cells {
			v.Cells[i].cell = v.App.Cells[i]
		}
		if v.Figures, err = s.figures(r.Context(), langOf(r), v.App, v.Now); err != nil {
			s.fail(w, r, err)
			return
		}
		s.render(w, r, who, http.StatusOK, "app", page{Title: v.App.App, Refresh: v.refresh(), Body: v})
	}
}

func paths(repos []string, app string) (all [][2]string) {
	for _, repo := range repos {
		all = append(all, [2]string{repo, appPath(repo, app)})
	}
	return all
}

func (s *server) readApp(tx *store.Tx, r *http.Request, who seer, in, name string) (*appView, error) {
	repo, err := visible(tx, who, in, Read)
	if err != nil {
		return nil, err
	}
	v := &appView{Now: tx.Now(), Home: repo.HTMLURL, First: true}
	if v.Hidden, err = who.look(tx, repo.Name); err != nil {
		return nil, err
	}
	found, err := tx.Glances([]store.App{{Repo: repo.Name, Name: name}})
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	var f facts
	if f.open, err = tx.OpenIn(repo.Name, name); err != nil {
		return nil, err
	}
	if f.agree, err = tx.UnratifiedSights(); err != nil {
		return nil, err
	}
	if f.locks, err = tx.Locks(repo.Name); err != nil {
		return nil, err
	}
	if f.holds, err = tx.HoldsOf(repo.Name); err != nil {
		return nil, err
	}
	rows, err := s.readRows(tx, found, f)
	if err != nil {
		return nil, err
	}
	v.App = rows[0]
	a := newAsker(r, who, repo)
	for _, c := range v.App.Cells {
		v.Cells = append(v.Cells, envView{c, a.environment(v.App, c)})
	}
	if a.can(Admin) {
		v.Audit = "/audit?" + url.Values{"repository": {repo.Name}, "app": {name}}.Encode()
		lock := a.action("Lock all environments…", "", "/lock "+name+" all for")
		lock.Lease, lock.Ask, lock.Must = true, "Why?", true
		v.All = append(v.All, lock)
	}
	return v, s.readHistory(tx, r, v)
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

// pasts keeps pages of histories for as long as a matrix: nothing in them depends on who looks.
type pasts struct {
	mu    sync.Mutex
	at    time.Time // by the wall clock: when the oldest was made
	pages map[pastKey]past
}

// get is a page that was made within ttl.
func (p *pasts) get(key pastKey, ttl time.Duration) (past, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) >= ttl {
		p.pages = nil
	}
	page, ok := p.pages[key]
	return page, ok
}

func (p *pasts) put(key pastKey, page past) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pages == nil {
		p.pages, p.at = map[pastKey]past{}, time.Now()
	}
	p.pages[key] = page
}

func (s *server) readHistory(tx *store.Tx, r *http.Request, v *appView) error {
	before := math.MaxInt32
	if n, err := strconv.Atoi(r.URL.Query().Get("before")); err == nil && n > 0 {
		before, v.First = n, false
	}
	key := pastKey{store.App{Repo: v.App.Repo, Name: v.App.App}, before, langOf(r)}
	if known, ok := s.pasts.get(key, s.seen.ttl); ok && !r.URL.Query().Has("said") {
		v.past = known
		return nil
	}
	runs, err := tx.History(v.App.Repo, v.App.App, before, historyShown+1)
	if err != nil {
		return err
	}
	if len(runs) > historyShown {
		runs = runs[:historyShown]
		v.Next = v.App.Path() + "&before=" + itoa(runs[historyShown-1].Number) + "#history"
	}
	ids := make([]string, len(runs))
	for i, run := range runs {
		ids[i] = run.ID
	}
	deployments, err := tx.Outcomes(ids)
	if err != nil {
		return err
	}
	of := map[string][]store.Outcome{}
	for _, d := range deployments {
		of[d.Run] = append(of[d.Run], d)
	}
	var all []pastRun
	for _, run := range runs {
		all = append(all, pastRun{run, below(v.Home, "commit", run.SHA), of[run.ID]})
	}
	var b strings.Builder
	err = s.pages[key.lang]["app"].ExecuteTemplate(&b, "past", struct {
		Runs []pastRun
		Now  time.Time
	}{all, v.Now})
	v.History = template.HTML(b.String()) // made by the template
	if err == nil {
		s.pasts.put(key, v.past)
	}
	return err
}

func (v *appView) refresh() int {
	seconds := refreshWaiting
	for _, c := range v.Cells {
		seconds = sooner(seconds, refreshOf(c.State()))
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
		if len(c.Locks) > 0 || c.Hold != nil {
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
	if !store.Final(d.State) && d.CancelBy == "" && a.can(Write, d.Requester) {
		all = append(all, a.action("Cancel", "danger", "/cancel deployment "+itoa(d.Number)))
	}
	var spec struct{ Environment environment }
	_ = json.Unmarshal(d.Spec.V, &spec) // the same
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
