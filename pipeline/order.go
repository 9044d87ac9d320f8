package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// MaxParts is how many parts a release order may have.
const MaxParts = 20

// NewPart makes the deployment that is a part of a release order; part counts from 1.
func NewPart(tx *store.Tx, o store.Order, part int, rel store.Release, q store.Request) (store.Deployment, error) {
	d := requested(rel, q)
	d.OrderID, d.Part = o.ID, part
	steps, err := stepsOf(q)
	if err == nil {
		err = tx.NewDeployment(&d, steps...)
	}
	return d, err
}

// NewRollbackPart is NewRollback as a part of the release order that takes another back.
func NewRollbackPart(tx *store.Tx, o store.Order, part int, from, to store.Deployment) (store.Deployment, error) {
	d := restoring(from, to, store.CauseRollback, o.Requester, o.Event)
	d.Note, d.OrderID, d.Part = o.Note, o.ID, part
	steps, err := backSteps(d)
	if err == nil {
		err = tx.NewDeployment(&d, steps...)
	}
	return d, err
}

// A Standing is how a release order stands in a transaction.
type Standing struct {
	Parts []store.Deployment
	Rules []Approvals           // of each part, raised to its cluster's floor
	Need  int                   // the most approvals that a part wants; 0 for an order that takes another back
	Have  []string              // who approved exactly this
	Void  []store.OrderApproval // approvals of what has changed since
	Bound string                // what a vote is bound to: every part's Bound, in their order
	Asked time.Time             // since when it is asked about as it is; the zero time: it is not, or is to be asked about anew
}

// Asks tells whether a part wants approvals of its own rules: whoever votes must be allowed there.
func (s Standing) Asks(part int) bool { return s.Need > 0 && s.Rules[part].Count > 0 }

// By lists who may approve as the parts' rules name them, each once; empty: everyone who may maintain.
func (s Standing) By() (by []string) {
	for i, r := range s.Rules {
		for _, who := range r.By {
			if s.Asks(i) && !slices.Contains(by, who) {
				by = append(by, who)
			}
		}
	}
	return by
}

// expire is how long the approvals are waited for: the shortest time that a part gives.
func (s Standing) expire() (d time.Duration) {
	for i, r := range s.Rules {
		if s.Asks(i) && (d == 0 || r.Expire < d) {
			d = r.Expire
		}
	}
	return d
}

// StandingOf reads how a release order stands.
func (e *Engine) StandingOf(tx *store.Tx, o store.Order) (s Standing, err error) {
	if s.Parts, err = tx.OrderParts(o.ID); err != nil {
		return s, err
	}
	var bounds []string
	asked, anew := o.CreatedAt.Time, o.ExpiresAt.IsZero()
	for _, p := range s.Parts {
		var spec Spec
		if err := json.Unmarshal(p.Spec.V, &spec); err != nil {
			return s, err
		}
		rel, err := tx.Release(p.Repo, p.App, p.Release)
		if err != nil {
			return s, err
		}
		rules := e.Server.Floor(spec.Environment.Cluster, spec.Environment.Approvals)
		s.Rules = append(s.Rules, rules)
		if o.RollbackOf == "" { // the way back is never closed
			s.Need = max(s.Need, rules.Count)
		}
		bound := Bound(rel, p.ObjectsHash, e.policy(spec.Environment))
		bounds = append(bounds, p.App, bound)
		if r := p.Rules.V; r != nil {
			if n := len(r.Changes); n > 0 && r.Changes[n-1].At.After(asked) {
				asked = r.Changes[n-1].At
			}
			anew = anew || r.Bound != bound && !store.Final(p.State) && !store.Active(p.State)
		}
	}
	if first := o.ExpiresAt.Add(-s.expire()); first.After(asked) {
		asked = first
	}
	if !anew {
		s.Asked = asked
	}
	b, _ := json.Marshal(bounds) // strings only
	sum := sha256.Sum256(b)
	s.Bound = hex.EncodeToString(sum[:])
	votes, err := tx.OrderApprovals(o.ID)
	for _, v := range votes {
		switch {
		case v.Vote != "approve":
		case v.Bound == s.Bound:
			s.Have = append(s.Have, v.Login)
		default:
			s.Void = append(s.Void, v)
		}
	}
	return s, err
}

// orderFacts are what decides whether a part of a release order may begin, as far as its order goes.
func (e *Engine) orderFacts(tx *store.Tx, d store.Deployment) (*OrderFacts, error) {
	o, err := tx.Order(d.OrderID)
	if err != nil {
		return nil, err
	}
	s, err := e.StandingOf(tx, o)
	if err != nil {
		return nil, err
	}
	f := &OrderFacts{Waits: o.State == store.OrderDraft || store.Final(o.State)}
	if o.State != store.OrderDraft && len(s.Have) < s.Need {
		f.Waits, f.Have, f.Need, f.By = true, len(s.Have), s.Need, s.By()
	}
	for _, p := range s.Parts {
		if p.Part < d.Part && p.State != store.Succeeded {
			f.Before = p.Part
		}
	}
	return f, nil
}

// AdvanceOrder takes a release order as far as its parts and its approvals let it go. It returns when it should be called
// again by the clock (the zero time: only when woken).
func (e *Engine) AdvanceOrder(ctx context.Context, id string, _ int) (again time.Time, err error) {
	err = e.DB.Update(ctx, func(tx *store.Tx) error {
		o, err := tx.Order(id)
		if err == nil {
			again, err = e.AdvanceOrderIn(tx, o)
		}
		return err
	})
	return again, err
}

// AdvanceOrderIn is AdvanceOrder in a transaction that has changed something.
func (e *Engine) AdvanceOrderIn(tx *store.Tx, o store.Order) (again time.Time, err error) {
	for !store.Final(o.State) {
		s, err := e.StandingOf(tx, o)
		if err != nil {
			return again, err
		}
		next := nextState(o, s)
		if next == store.Failed {
			p := s.Parts[slices.IndexFunc(s.Parts, lost)]
			return again, e.EndOrder(tx, o, store.Failed, oneLine(fmt.Sprintf("part %d %s %s", p.Part, p.State, p.Reason)), "shipmate", "engine")
		}
		if next == store.Succeeded {
			return again, e.EndOrder(tx, o, store.Succeeded, "", "shipmate", "engine")
		}
		if next == o.State {
			if err := e.reconsiderParts(tx, s.Parts); err != nil {
				return again, err
			}
			if o.State != store.OrderWaiting {
				return again, nil
			}
			if o, err = tx.Order(o.ID); err != nil { // its parts may have been put under other rules
				return again, err
			}
			if !o.ExpiresAt.IsZero() {
				return e.remind(tx, o, s)
			}
			if err := tx.ExpireOrder(o, tx.Now().Add(s.expire())); err != nil {
				return again, err
			}
			if o, err = tx.Order(o.ID); err != nil {
				return again, err
			}
			continue
		}
		if err := tx.MoveOrder(o, next); err != nil {
			return again, err
		}
		if next == store.OrderWaiting {
			if err := tx.ExpireOrder(o, tx.Now().Add(s.expire())); err != nil {
				return again, err
			}
		}
		if o, err = tx.Order(o.ID); err != nil {
			return again, err
		}
	}
	return again, nil
}

// lost tells whether a part has ended otherwise than well.
func lost(p store.Deployment) bool { return store.Final(p.State) && p.State != store.Succeeded }

// nextState is the state that an order goes to next: its own when there is nothing to do. It is pure.
func nextState(o store.Order, s Standing) string {
	is := func(fn func(store.Deployment) bool) bool { return slices.ContainsFunc(s.Parts, fn) }
	enough := len(s.Have) >= s.Need
	switch {
	case is(lost):
		return store.Failed
	case o.State == store.OrderDraft && is(func(p store.Deployment) bool { return p.Objects == nil }):
		return store.OrderDraft
	case o.State == store.OrderDraft && !enough:
		return store.OrderWaiting
	case o.State == store.OrderDraft, o.State == store.OrderWaiting && enough:
		return store.OrderApproved
	case o.State == store.OrderApproved && is(func(p store.Deployment) bool { return !p.BeganAt.IsZero() }):
		return store.OrderRunning
	case o.State == store.OrderApproved && !enough:
		return store.OrderWaiting // what was approved has changed
	case o.State == store.OrderRunning && !is(func(p store.Deployment) bool { return p.State != store.Succeeded }):
		return store.Succeeded
	}
	return o.State
}

// remind ends an order that nobody decided in time, and half-way there has those who may be reminded.
func (e *Engine) remind(tx *store.Tx, o store.Order, s Standing) (again time.Time, err error) {
	if !tx.Now().Before(o.ExpiresAt.Time) {
		return again, e.EndOrder(tx, o, store.Expired, "nobody decided in time", "shipmate", "engine")
	}
	half := o.ExpiresAt.Add(-s.expire() / 2)
	if !o.RemindedAt.IsZero() {
		return o.ExpiresAt.Time, nil
	}
	if tx.Now().Before(half) {
		return half, nil
	}
	return o.ExpiresAt.Time, errors.Join(tx.RemindOrder(o), tx.Wake(store.TaskReport, "deployment/"+s.Parts[0].ID)) // whose chats are told
}

func (e *Engine) reconsiderParts(tx *store.Tx, parts []store.Deployment) error {
	for _, p := range parts {
		if _, err := e.Reconsider(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// EndOrder ends a release order and what has not begun of it; who ends it and by what is audited. One that is cancelled
// stops the part that is being made, too, at its next safe point.
func (e *Engine) EndOrder(tx *store.Tx, o store.Order, state, reason, who, via string) error {
	parts, err := tx.OrderParts(o.ID)
	if err != nil {
		return err
	}
	if err := tx.EndOrder(o, state, reason); err != nil {
		return err
	}
	for _, p := range parts {
		var err error
		switch {
		case store.Final(p.State):
		case store.Active(p.State):
			if state == store.Cancelled && p.CancelBy == "" {
				_, err = tx.Cancel(p, who)
			}
		case p.State == store.Blocked && (state == store.Rejected || state == store.Expired):
			err = tx.EndDeployment(p, state, reason, nil)
		case state == store.Cancelled:
			err = tx.EndDeployment(p, store.Cancelled, "by "+who, nil)
		default:
			err = tx.EndDeployment(p, store.Cancelled, store.ReasonOrder, nil)
		}
		if err != nil {
			return err
		}
	}
	return tx.Audit(store.Entry{Actor: who, Via: via, Action: "order " + state, Repo: o.Repo, Subject: "order/" + o.ID,
		Detail: fmt.Sprintf("order %d to %s: %s", o.Number, o.Environment, reason)})
}

// PutOrder stores an order with its first audit line. Its parts are made by the caller.
func PutOrder(tx *store.Tx, o *store.Order, via, detail string) error {
	if err := tx.NewOrder(o); err != nil {
		return err
	}
	action := "order create"
	if o.RollbackOf != "" {
		action = "order rollback"
	}
	return tx.Audit(store.Entry{Actor: o.Requester, Via: via, Action: action, Repo: o.Repo, Subject: "order/" + o.ID,
		Detail: fmt.Sprintf("order %d to %s: %s: %s", o.Number, o.Environment, detail, o.Note)})
}
