package web

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// newOrder stores an order of two parts that wait for its approval.
func newOrder(s *site) (store.Order, []store.Deployment) {
	s.t.Helper()
	_, rel := s.release()
	o := store.Order{Repo: rel.Repo, Environment: "production", Requester: "alice", Note: "why <b>not</b>"}
	s.update(func(tx *store.Tx) error { return tx.NewOrder(&o) })
	s.deploy(rel, store.Deployment{Environment: "production", Cause: store.CauseOrder, Requester: "alice", OrderID: o.ID, Part: 1})
	s.deploy(rel, store.Deployment{Environment: "staging", Cause: store.CauseOrder, Requester: "alice", OrderID: o.ID, Part: 2})
	var parts []store.Deployment
	s.update(func(tx *store.Tx) (err error) {
		if parts, err = tx.OrderParts(o.ID); err != nil {
			return err
		}
		for _, p := range parts {
			err = errors.Join(err, tx.Block(p, []store.Block{{Kind: store.BlockPart, Have: 1, Need: 2, By: []string{"@acme/release"}}}))
		}
		return errors.Join(err, tx.MoveOrder(o, store.OrderWaiting), tx.ExpireOrder(o, s.now.Add(time.Hour)),
			tx.VoteOrder(store.OrderApproval{OrderID: o.ID, Login: "bob", Vote: "approve", Via: "github"}))
	})
	return o, parts
}

func TestOrderPage(t *testing.T) {
	s := newSite(t)
	o, parts := newOrder(s)
	page := s.page("/orders/" + o.ID)
	wants(t, page, "Release order 1 to <bdi>production</bdi>", "why &lt;b&gt;not&lt;/b&gt;", "Waits for approval: 1 of 2 so far", "@acme/release", "/approve order 1", "It expires at",
		`href="/deployments/`+parts[0].ID+`"`, `href="/deployments/`+parts[1].ID+`"`, "<strong>bob</strong>", "Waits for the approval of its release order: 1 of 2 so far.")
	lacks(t, page, "half-way", "<b>not")
	wants(t, s.page("/deployments/"+parts[1].ID), `part 2 of <a href="/orders/`+o.ID+`">order 1</a>`)

	// It ends half-way: the page says how it is taken back.
	s.update(func(tx *store.Tx) error {
		parts[0].State = store.Blocked
		err := errors.Join(tx.Block(parts[0], nil), tx.Begin(parts[0]), tx.MoveOrder(o, store.OrderApproved))
		return errors.Join(err, tx.EndDeployment(parts[0], store.Failed, "it crashes", &store.Failure{Reason: "it crashes", Logs: []string{"a log line"}}),
			tx.EndDeployment(parts[1], store.Cancelled, store.ReasonOrder, nil), tx.EndOrder(o, store.Failed, "part 1 failed it crashes"))
	})
	page = s.page("/orders/" + o.ID)
	wants(t, page, "half-way", "/rollback order 1", "it crashes", store.ReasonOrder)
	lacks(t, page, "/approve order", "a log line")

	for _, path := range []string{"/orders/" + store.NewID(), "/orders/1", "/orders/"} {
		if w := s.do("GET", path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	h := s.do("GET", "/orders/"+o.ID).Header()
	if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", h)
	}
}
