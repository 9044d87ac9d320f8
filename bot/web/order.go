package web

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// An orderView is what the page of a release order shows.
type orderView struct {
	Now       time.Time
	Order     store.Order
	Parts     []orderPart
	Votes     []store.OrderApproval
	Asks      *store.Block // what it waits for, where that is approvals
	RollsBack *store.Order // the one that it takes back
	UndoneBy  *store.Order // the newest that takes it back
	Trouble   []store.QueuedTask
	Hidden    bool // what comes from the cluster is withheld
	StillLive bool // something of it is live, or on its way there
	Actions   []action
}

// An orderPart is one deployment of an order.
type orderPart struct {
	store.Deployment
	Place  place
	Images []store.Image
	Commit commit
}

func (s *server) order(w http.ResponseWriter, r *http.Request, who seer) {
	var v *orderView
	var repo *store.Repo
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v, err = readOrder(tx, who, r.PathValue("id")); err == nil {
			repo, err = store.Optional(tx.Repo(v.Order.Repo))
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if repo != nil {
		v.Actions = newAsker(r, who, *repo).orderActions(v.Order, v.Asks, func(by []string) bool { return s.may(r.Context(), who, *repo, by) })
	}
	s.render(w, r, who, http.StatusOK, "order", page{Title: v.title(langOf(r)), Refresh: v.refresh(), Body: v})
}

type ordersView struct {
	scope
	Now     time.Time
	Orders  []store.Order
	Next    string
	Actions []action
}

// orders lists the release orders of a repository: GET /orders?repository=&before=.
func (s *server) orders(w http.ResponseWriter, r *http.Request, who seer) {
	v := ordersView{Now: s.DB.Now()}
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if v.scope, err = s.scope(tx, r, who, Read); err != nil || v.Repo == "" {
			return err
		}
		repo, err := tx.Repo(v.Repo)
		if err != nil {
			return err
		}
		if a := newAsker(r, who, repo); a.can(Write) {
			create := a.action("New release order…", "", "/order create")
			create.Parts, create.Ask, create.Must = true, "Why?", true
			v.Actions = []action{create}
		}
		before, err := strconv.Atoi(r.URL.Query().Get("before"))
		if err != nil || before < 1 {
			before = math.MaxInt32
		}
		v.Orders, err = tx.OrdersOf(v.Repo, before, linesShown+1)
		if len(v.Orders) > linesShown {
			v.Orders = v.Orders[:linesShown]
			v.Next = "/orders?" + url.Values{"repository": {v.Repo}, "before": {itoa(v.Orders[linesShown-1].Number)}}.Encode()
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, who, http.StatusOK, "orders", page{Title: langOf(r).say("Release orders"), Refresh: refreshWaiting, Body: v})
}

func readOrder(tx *store.Tx, who seer, id string) (*orderView, error) {
	v := &orderView{Now: tx.Now()}
	var err error
	if v.Order, err = tx.Order(id); err != nil {
		return nil, err
	}
	if v.Hidden, err = who.look(tx, v.Order.Repo); err != nil {
		return nil, err
	}
	home, err := homeOf(tx, v.Order.Repo)
	if err != nil {
		return nil, err
	}
	parts, err := tx.OrderParts(id)
	if err != nil {
		return nil, err
	}
	for _, d := range parts {
		rel, err := tx.Release(d.Repo, d.App, d.Release)
		if err != nil {
			return nil, err
		}
		if v.Hidden {
			withhold(d.Failure.V)
		}
		var spec struct{ Environment place } // of pipeline.Spec
		_ = json.Unmarshal(d.Spec.V, &spec)  // the page goes without what it cannot read
		v.Parts = append(v.Parts, orderPart{d, spec.Environment, spec.Environment.images(rel), commit{below(home, "commit", rel.SHA), rel.SHA, rel.Subject}})
		for _, b := range d.Blocks.V {
			if b.Kind == store.BlockPart && b.Need > 0 && v.Asks == nil {
				v.Asks = &b
			}
		}
		current, err := store.Optional(tx.Current(d.Repo, d.App, d.Environment))
		if err != nil {
			return nil, err
		}
		v.StillLive = v.StillLive || current != nil && current.ID == d.ID
	}
	if v.Votes, err = tx.OrderApprovals(id); err != nil {
		return nil, err
	}
	if v.RollsBack, err = store.Optional(tx.Order(v.Order.RollbackOf)); err != nil {
		return nil, err
	}
	if v.UndoneBy, err = store.Optional(tx.RollbackOrder(id)); err != nil {
		return nil, err
	}
	v.Trouble, err = tx.Troubled(store.TaskOrder, id)
	return v, err
}

// VotesVoid tells whether fewer approvals count than were given.
func (v *orderView) VotesVoid() bool {
	given := 0
	for _, a := range v.Votes {
		if a.Vote == "approve" {
			given++
		}
	}
	return v.Asks != nil && v.Asks.Have < given
}

// HalfWay tells whether it ended with something of it live.
func (v *orderView) HalfWay() bool {
	return v.StillLive && v.UndoneBy == nil && v.RollsBack == nil && (v.Order.State == store.Failed || v.Order.State == store.Cancelled)
}

func (v *orderView) title(l lang) string {
	return l.say("Release order %d to %s %s", v.Order.Number, v.Order.Environment, l.state(v.Order.State))
}

func (v *orderView) refresh() int {
	seconds := 0
	if !store.Final(v.Order.State) {
		seconds = refreshWaiting
	}
	for _, p := range v.Parts {
		seconds = sooner(seconds, refreshOf(p.State))
	}
	return seconds
}
