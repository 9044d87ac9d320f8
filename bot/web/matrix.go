package web

import (
	"context"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

const (
	// matrixTTL is how old what the overview shows may be. All viewers share it: who may see what is sorted out for each.
	matrixTTL = time.Second
	// appsShown is how many apps a page of the overview has.
	appsShown = 50
	// waitsShown is how much that waits for somebody is listed.
	waitsShown = 30
)

// A Health is what a cluster last said of a deployment.
type Health struct {
	At        time.Time     // when it said that; zero: never
	Age       time.Duration // how long ago that was
	Ready     int           // pods
	Desired   int
	Drift     bool   // what is in the cluster is not what was deployed, in ways that Workloads and Changes tell
	Unread    string // why the cluster could not be asked since
	Workloads []Workload
	Changes   []Change
}

// A Change is one field that somebody changed in the cluster since the deployment.
type Change struct {
	Object, Field  string // as in Deployment/web and spec.replicas; no field: the object is gone
	Live, Released string // what it is, empty: gone; and what was deployed
	By             string // as the API server calls them; may be empty
	At             time.Time
}

// A Workload is what a cluster said of one object that runs pods.
type Workload struct {
	Object         string // as in Deployment/web
	Ready, Desired int
	Text, Problem  string
	Gone           bool   // it should be there
	Foreign        bool   // somebody put something else there since the deployment
	Release        string // that it is of; may be empty
}

// staleAfter is how old what a cluster said is where a page says how old.
const staleAfter = 2 * time.Minute

// Stale tells whether what a cluster said is so old that it may not be so any more.
func (h Health) Stale() bool { return !h.At.IsZero() && (h.Unread != "" || h.Age >= staleAfter) }

// Look is how a health is shown, see look.
func (h Health) Look() string {
	switch {
	case h.Unread != "":
		return "idle"
	case h.Drift:
		return "held"
	case h.Ready < h.Desired || slices.ContainsFunc(h.Workloads, func(w Workload) bool { return w.Problem != "" }):
		return "bad"
	}
	return "good"
}

// An environment is what pages need of a pipeline.Environment.
type environment struct {
	Name, After, Cluster, Namespace string
	Deployers, Freeze               []string
	Approvals                       struct{ Self bool }
}

// A row is one app.
type row struct {
	store.Glance
	Cells []cell
}

// Path is the page of the app.
func (r row) Path() string { return appPath(r.Repo, r.App) }

func appPath(repo, app string) string {
	return "/apps/" + url.PathEscape(app) + "?repository=" + url.QueryEscape(repo)
}

// A cell is one environment of an app.
type cell struct {
	environment
	Live     *store.Sight  // what is live
	Now      *store.Sight  // the newest that began to change it, where that is another one: it is under way, or it ended badly
	Open     []store.Sight // what waits
	Locks    []store.Lock
	Hold     *store.Hold
	Gone     *store.Gone // the image that a rollback would need
	Frozen   string      // the window that is open
	Until    time.Time
	Unagreed *store.Sight // what went without approval, and nobody agreed to yet
	Health   *Health
}

// State is that of the environment as a whole.
func (c cell) State() string {
	switch {
	case c.Now != nil:
		return c.Now.State
	case c.Live != nil:
		return c.Live.State
	}
	return "pending"
}

// A matrix is every app, and what holds in its environments. What is in these, and how that looks, is read when somebody sees it.
type matrix struct {
	at     time.Time // by the wall clock
	now    time.Time
	apps   []listed
	facts  facts
	orders []store.Order
	repos  map[string]store.Repo // by lower-case name

	making sync.Mutex // held by who makes rows

	mu     sync.Mutex
	rows   map[store.App]*row
	html   map[lang]map[store.App]rowHTML
	looked map[lang]map[store.App]bool // what somebody wanted to see of it
}

// A rowHTML is a row as it is shown.
type rowHTML struct {
	template.HTML
	at time.Time // when that was now
}

// A listed is an app as it is found.
type listed struct {
	store.App
	lower string // as it is searched for
}

// cursor is where a list goes on after the app.
func (a listed) cursor() string { return a.Repo + ":" + a.Name }

// matrix reads the matrix, or takes the one that was just read; fresh does not. One that takes the place of another has the rows
// that were looked at there.
func (s *server) matrix(ctx context.Context, fresh bool) (*matrix, error) {
	return s.seen.get(struct{}{}, fresh, func(old *matrix) (*matrix, error) {
		m := &matrix{at: time.Now(), looked: map[lang]map[store.App]bool{}, repos: map[string]store.Repo{}, rows: map[store.App]*row{}, html: map[lang]map[store.App]rowHTML{en: {}, zh: {}}}
		if err := s.DB.View(ctx, func(tx *store.Tx) error { return m.read(tx) }); err != nil {
			return nil, err
		}
		if old == nil || m.at.Sub(old.at) > 2*s.seen.ttl {
			return m, nil // nobody waits for its rows
		}
		for _, l := range []lang{en, zh} {
			old.mu.Lock()
			looked := slices.Collect(maps.Keys(old.looked[l]))
			old.mu.Unlock()
			if _, err := s.show(ctx, m, l, looked, old); err != nil {
				return nil, err
			}
		}
		return m, nil
	})
}

func (m *matrix) read(tx *store.Tx) error {
	m.now = tx.Now()
	repos, err := tx.Repos()
	if err != nil {
		return err
	}
	for _, r := range repos {
		m.repos[strings.ToLower(r.Name)] = r
	}
	apps, err := tx.AllApps()
	if err != nil {
		return err
	}
	for _, a := range apps {
		m.apps = append(m.apps, listed{a, strings.ToLower(a.Repo + " " + a.Name)})
	}
	if m.facts.locks, err = tx.AllLocks(); err != nil {
		return err
	}
	if m.facts.holds, err = tx.Holds(); err != nil {
		return err
	}
	if m.facts.gone, err = tx.AllGone(); err != nil {
		return err
	}
	if m.facts.open, err = tx.Open(); err != nil {
		return err
	}
	if m.facts.agree, err = tx.UnratifiedSights(); err != nil {
		return err
	}
	m.orders, err = tx.WaitingOrders()
	return err
}

// sameFor is for how long a row that is what it was is shown as it was: it says how long ago things were, in minutes.
const sameFor = 10 * time.Second

// show makes the rows of some apps in a language, where that was not done yet. What is as it was in old, which may be nil, is taken
// from there.
func (s *server) show(ctx context.Context, m *matrix, l lang, apps []store.App, old *matrix) ([]template.HTML, error) {
	if all, whole := m.shown(l, apps); whole {
		return all, nil
	}
	m.making.Lock()
	defer m.making.Unlock()
	var missing []store.App
	rows := map[store.App]*row{}
	m.mu.Lock()
	for _, a := range apps {
		if rows[a] = m.rows[a]; rows[a] == nil {
			missing = append(missing, a)
		}
	}
	m.mu.Unlock()
	if len(missing) > 0 {
		err := s.DB.View(ctx, func(tx *store.Tx) error {
			glances, err := tx.Glances(missing)
			if err != nil {
				return err
			}
			read, err := s.readRows(tx, glances, m.facts)
			for _, r := range s.ask(read) {
				rows[store.App{Repo: r.Repo, Name: r.App}] = &r
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	made := map[store.App]rowHTML{}
	for _, a := range apps {
		r := rows[a]
		if _, _, ok := m.row(l, a); ok {
			continue
		}
		if before, html, ok := old.row(l, a); ok && r != nil && m.now.Sub(html.at) < sameFor && reflect.DeepEqual(before, r) {
			made[a] = html
			continue
		}
		var b strings.Builder
		if r != nil { // else it has had no run any more
			if err := s.pages[l]["home"].ExecuteTemplate(&b, "row", rowView{r, m.now}); err != nil {
				return nil, err
			}
		}
		made[a] = rowHTML{template.HTML(b.String()), m.now} // made by the template
	}
	for a, r := range rows {
		if r == nil {
			delete(rows, a)
		}
	}
	m.mu.Lock()
	maps.Copy(m.rows, rows)
	maps.Copy(m.html[l], made)
	m.mu.Unlock()
	all, _ := m.shown(l, apps)
	return all, nil
}

// row is a row with how it is shown, where both are there.
func (m *matrix) row(l lang, a store.App) (*row, rowHTML, bool) {
	if m == nil {
		return nil, rowHTML{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	html, ok := m.html[l][a]
	return m.rows[a], html, ok && m.rows[a] != nil
}

// shown are the rows of some apps that were made; whole tells whether all were.
func (m *matrix) shown(l lang, apps []store.App) (all []template.HTML, whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	whole = true
	for _, a := range apps {
		html, ok := m.html[l][a]
		all, whole = append(all, html.HTML), whole && ok
	}
	return all, whole
}

// look has the matrix that takes the place of this one begin with the rows of some apps.
func (m *matrix) look(l lang, apps []store.App) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range apps {
		if !m.looked[l][a] {
			if m.looked[l] == nil {
				m.looked[l] = map[store.App]bool{}
			}
			m.looked[l][a] = true
		}
	}
}

// A rowView is a row as a template shows it.
type rowView struct {
	*row
	Now time.Time
}

// facts are what holds in environments; more than those that are asked for may be among them.
type facts struct {
	open, agree []store.Sight
	locks       []store.Lock
	holds       []store.Hold
	gone        []store.Gone
}

// readRows reads what is in the environments of some apps, with a fixed number of queries.
func (s *server) readRows(tx *store.Tx, glances []store.Glance, f facts) ([]row, error) {
	var spots []store.Spot
	rows := make([]row, 0, len(glances))
	for _, g := range glances {
		r := row{Glance: g}
		var envs []environment
		_ = json.Unmarshal(g.Environments.V, &envs) // the page goes without what it cannot read
		r.Environments.V = nil
		for _, e := range envs {
			r.Cells = append(r.Cells, cell{environment: e})
			spots = append(spots, store.Spot{Repo: g.Repo, App: g.App, Environment: e.Name})
		}
		rows = append(rows, r)
	}
	current, err := tx.CurrentIn(spots)
	if err != nil {
		return nil, err
	}
	now := map[store.Spot]*store.Sight{}
	for i, d := range current {
		now[spotOf(d)] = &current[i]
	}
	var behind []store.Spot // where the newest is not what is live
	for _, at := range spots {
		if d := now[at]; d != nil && d.State != store.Succeeded {
			behind = append(behind, at)
		}
	}
	before, err := tx.LiveIn(behind)
	if err != nil {
		return nil, err
	}
	live := map[store.Spot]*store.Sight{}
	for i, d := range before {
		live[spotOf(d)] = &before[i]
	}
	open, agree, locks := map[store.Spot][]store.Sight{}, map[store.Spot]*store.Sight{}, map[string][]store.Lock{}
	for _, d := range f.open {
		if !store.Active(d.State) {
			open[spotOf(d)] = append(open[spotOf(d)], d)
		}
	}
	for i, d := range f.agree {
		agree[spotOf(d)] = &f.agree[i]
	}
	for _, l := range f.locks {
		locks[strings.ToLower(l.Repo)] = append(locks[strings.ToLower(l.Repo)], l)
	}
	holds := map[store.Spot]*store.Hold{}
	for i, h := range f.holds {
		holds[store.Spot{Repo: h.Repo, App: h.App, Environment: h.Environment}] = &f.holds[i]
	}
	gone := map[store.Spot]*store.Gone{}
	for i, g := range f.gone {
		gone[store.Spot{Repo: g.Repo, App: g.App, Environment: g.Environment}] = &f.gone[i]
	}
	for _, r := range rows {
		for i := range r.Cells {
			c := &r.Cells[i]
			at := store.Spot{Repo: r.Repo, App: r.App, Environment: c.Name}
			c.Open, c.Hold, c.Gone, c.Unagreed = open[at], holds[at], gone[at], agree[at]
			if c.Now = now[at]; c.Now != nil && c.Now.State == store.Succeeded {
				c.Live, c.Now = c.Now, nil
			} else {
				c.Live = live[at]
			}
			for _, l := range locks[strings.ToLower(r.Repo)] {
				if store.Overlaps(l.App, l.Environment, r.App, c.Name) {
					c.Locks = append(c.Locks, l)
				}
			}
			if len(c.Freeze) > 0 && s.Frozen != nil {
				c.Frozen, c.Until = s.Frozen(c.Freeze, tx.Now())
			}
		}
	}
	return rows, nil
}

func spotOf(d store.Sight) store.Spot {
	return store.Spot{Repo: d.Repo, App: d.App, Environment: d.Environment}
}

// ask adds what clusters said of what is live. It is not waited for.
func (s *server) ask(rows []row) []row {
	if s.Health == nil {
		return rows
	}
	var live []string
	for _, r := range rows {
		for _, c := range r.Cells {
			if c.Live != nil {
				live = append(live, c.Live.ID)
			}
		}
	}
	said := s.Health(live)
	for i := range rows {
		for j := range rows[i].Cells {
			if c := &rows[i].Cells[j]; c.Live != nil {
				if h, ok := said[c.Live.ID]; ok {
					h.Drift = h.Drift && (c.Now == nil || !store.Active(c.Now.State)) // which is putting another there
					c.Health = &h
				}
			}
		}
	}
	return rows
}

// A wait is a deployment or an order that waits for the viewer.
type wait struct {
	Path, Repo, App, Environment string
	Name                         string // as the command names it
	Deployment, Order            int    // its number; one of them is 0
	Sight                        *store.Sight
	Requester, Note              string
	Have, Need                   int
	After                        bool   // it is there already
	Changes                      string // in the cluster
	Since                        store.Time
	Actions                      []action
}

// waits lists what the viewer may approve, and did not yet.
func (s *server) waits(r *http.Request, who seer, m *matrix) (mine []wait, err error) {
	is := func(logins ...string) bool { return named(logins, who.Login) }
	asks := map[string]store.Block{}                              // of orders
	ctx, cancel := context.WithTimeout(r.Context(), teamPatience) // for all of them
	defer cancel()
	var ids []string
	add := func(w wait, id string, by []string) {
		repo, ok := m.repos[strings.ToLower(w.Repo)]
		if !ok || who.Permission(&repo, repo.Name) < Read || len(mine) == 2*waitsShown || !s.may(ctx, who, repo, by) {
			return
		}
		w.Actions = newAsker(r, who, repo).votes(w.Name)
		mine, ids = append(mine, w), append(ids, id)
	}
	for _, d := range m.facts.open {
		for _, b := range d.Blocks.V {
			switch {
			case b.Kind == store.BlockPart && b.Need > 0:
				asks[d.OrderID] = b
			case b.Kind == store.BlockApproval && (d.Self || !is(d.Requester, d.Author, d.Sender)):
				add(waitOf(d, b.Have, b.Need), d.ID, b.By)
			}
		}
	}
	for _, o := range m.orders {
		if b, ok := asks[o.ID]; ok && !is(o.Requester) {
			add(wait{Path: "/orders/" + o.ID, Repo: o.Repo, Environment: o.Environment, Name: "order " + itoa(o.Number), Order: o.Number,
				Requester: o.Requester, Note: o.Note, Have: b.Have, Need: b.Need, Since: o.CreatedAt}, o.ID, b.By)
		}
	}
	for _, d := range m.facts.agree {
		if !d.BeganAt.IsZero() && !is(d.Requester) && (d.Self || !is(d.Author, d.Sender)) {
			w := waitOf(d, 0, 1)
			w.After = true
			add(w, d.ID, d.May.V)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var voted map[string]bool
	var changes map[string]string
	err = s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if voted, err = tx.VotedOn(ids, who.Login); err == nil {
			changes, err = tx.ChangesOf(ids)
		}
		return err
	})
	var left []wait
	for i, w := range mine {
		if !voted[ids[i]] && len(left) < waitsShown {
			if who.Repos[strings.ToLower(w.Repo)] != None { // as seer.look
				w.Changes = changes[ids[i]]
			}
			left = append(left, w)
		}
	}
	return left, err
}

func waitOf(d store.Sight, have, need int) wait {
	return wait{Path: "/deployments/" + d.ID, Repo: d.Repo, App: d.App, Environment: d.Environment, Name: itoa(d.Number), Deployment: d.Number, Sight: &d,
		Requester: d.Requester, Have: have, Need: need, Since: d.CreatedAt}
}

// A homeView is what the overview shows.
type homeView struct {
	Now    time.Time
	Signed bool
	Waits  []wait
	Rows   []template.HTML
	Total  int // of the apps that fit
	Query  string
	Next   string // the address of the next page
	First  bool
}

func (s *server) home(w http.ResponseWriter, r *http.Request, who seer) {
	v := homeView{Now: s.DB.Now(), Signed: who.Viewer != nil, First: true}
	if who.Viewer == nil {
		s.render(w, r, who, http.StatusOK, "home", page{Body: v})
		return
	}
	m, err := s.matrix(r.Context(), r.URL.Query().Has("said"))
	if err == nil {
		v.Waits, err = s.waits(r, who, m)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	v.Query = strings.TrimSpace(r.URL.Query().Get("q"))
	after := r.URL.Query().Get("after")
	start := 1 + slices.IndexFunc(m.apps, func(a listed) bool { return a.cursor() == after })
	v.First = start == 0
	words := strings.Fields(strings.ToLower(v.Query))
	visible := map[string]bool{} // by repository
	var shown []store.App
	for i, a := range m.apps {
		can, known := visible[a.Repo]
		if !known {
			repo, ok := m.repos[strings.ToLower(a.Repo)]
			can = ok && who.Permission(&repo, repo.Name) >= Read
			visible[a.Repo] = can
		}
		if !can || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(a.lower, w) }) {
			continue
		}
		v.Total++
		switch {
		case i < start:
		case len(shown) < appsShown:
			shown = append(shown, a.App)
		case v.Next == "":
			q := url.Values{"after": {listed{App: shown[len(shown)-1]}.cursor()}}
			if v.Query != "" {
				q.Set("q", v.Query)
			}
			v.Next = "/?" + q.Encode()
		}
	}
	m.look(langOf(r), shown)
	if v.Rows, err = s.show(r.Context(), m, langOf(r), shown, nil); err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, who, http.StatusOK, "home", page{Refresh: refreshWaiting, Body: v})
}
