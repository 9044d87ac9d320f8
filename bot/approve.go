package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// waiting finds the deployment that a vote is about: one that waits for approval, or that went without and that somebody has
// to agree to. It may be named by its number.
func (c *call) waiting(ctx context.Context, args []string) (d store.Deployment, rest []string, no outcome, err error) {
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Waiting(c.repo.Name)
		if err != nil {
			return err
		}
		late, err := tx.UnratifiedOf(c.repo.Name)
		if err != nil {
			return err
		}
		all = append(all, late...)
		if len(args) > 0 {
			if n, err := strconv.Atoi(strings.TrimPrefix(args[0], "#")); err == nil {
				rest = args[1:]
				if d, err = tx.DeploymentNumber(c.repo.Name, n); errors.Is(err, store.ErrNotFound) {
					no = c.no(text.NoSuchDeployment, n)
					return nil
				}
				if err != nil || slices.ContainsFunc(all, func(w store.Deployment) bool { return w.ID == d.ID }) {
					return err
				}
				no = c.no(text.NotWaiting, n, c.lang().State(d.State))
				if d.OrderID != "" && !store.Final(d.State) {
					o, err := tx.Order(d.OrderID)
					if err != nil {
						return err
					}
					no = c.no(text.PartNotAlone, n, o.Number, code(c.typed(fmt.Sprintf("/%s order %d", c.cmd.name, o.Number))))
				}
				return nil
			}
			if c.cmd.name == "approve" { // a mistyped number must not approve whatever waits
				no = c.usage()
				return nil
			}
		}
		rest = args
		if c.named != "" { // in a chat, where the app is named
			all = slices.DeleteFunc(all, func(w store.Deployment) bool { return w.App != c.named })
		}
		orders, err := tx.OpenOrders(c.repo.Name)
		if err != nil {
			return err
		}
		var list []string
		for _, w := range all {
			list = append(list, fmt.Sprintf("%d: %s %d → %s", w.Number, w.App, w.Release, w.Environment))
		}
		for _, o := range orders {
			if o.State == store.OrderWaiting {
				list = append(list, fmt.Sprintf("order %d → %s", o.Number, o.Environment))
			}
		}
		switch {
		case len(list) == 0:
			no = c.no(text.NothingWaits)
		case len(list) == 1 && len(all) == 1:
			d = all[0]
		default:
			no = c.no(text.WhichDeployment, names(list), c.form())
		}
		return nil
	})
	return d, rest, no, err
}

func (c *call) approve(ctx context.Context, args []string) (outcome, error) {
	return c.vote(ctx, args, "approve")
}

func (c *call) reject(ctx context.Context, args []string) (outcome, error) {
	if fn, err := c.whyRejected(ctx, args); fn != nil || err != nil {
		return fn, err
	}
	return c.vote(ctx, args, "reject")
}

// A ballot is what a vote is about, as it was when whether the person may was asked.
type ballot struct {
	d     store.Deployment
	rel   store.Release
	live  store.Release // what is or was live before it; the zero Release before the first
	bound string
	rules pipeline.Approvals
}

func (c *call) ballot(ctx context.Context, d store.Deployment) (v ballot, err error) {
	v.d = d
	err = c.bot.db.View(ctx, func(tx *store.Tx) (err error) {
		if v.bound, v.rules, err = c.bot.engine.BoundOf(tx, d); err != nil {
			return err
		}
		if v.rel, err = tx.Release(d.Repo, d.App, d.Release); err != nil {
			return err
		}
		before, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
		if err == nil && !d.FinishedAt.IsZero() { // it is there already, or was
			before, err = store.Optional(tx.LiveBefore(d))
		}
		if err != nil || before == nil {
			return err
		}
		v.live, err = tx.Release(d.Repo, d.App, before.Release)
		return err
	})
	return v, err
}

// vote records one person's vote, bound to exactly what they were shown.
func (c *call) vote(ctx context.Context, args []string, vote string) (outcome, error) {
	if fn, ok, err := c.orderVoted(ctx, args, vote); ok || err != nil {
		return fn, err
	}
	d, rest, no, err := c.waiting(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	reason := strings.Join(rest, " ")
	if vote == "reject" && reason == "" {
		if c.via != viaButton {
			return c.usage(), nil
		}
		reason = store.ReasonButton // until whoever pressed it says why
	}
	b, err := c.ballot(ctx, d)
	if err != nil {
		return nil, err
	}
	if no, err := c.listed(ctx, b.rules.By, maintain); no != nil || err != nil {
		return no, err
	}
	after := unratified(d)
	if vote == "approve" {
		if after && strings.EqualFold(c.login, d.Requester) { // whatever self says: nobody breaks the glass alone
			return c.no(text.RatifyOwn, d.Number), nil
		}
		if !b.rules.Self {
			if no, err := c.own(ctx, d, b.rel, b.live); no != nil || err != nil {
				return no, err
			}
		}
	}
	if after {
		return c.ratify(d, vote, reason, b.bound), nil
	}
	return func(tx *store.Tx) (answer, error) {
		d, err := tx.Deployment(d.ID)
		if err != nil {
			return answer{}, err
		}
		now, rules, err := c.bot.engine.BoundOf(tx, d)
		if err != nil {
			return answer{}, err
		}
		step, _, asks := pipeline.Asking(d)
		if d.State != store.Blocked && !asks || now != b.bound {
			return answer{}, c.refuse(text.NotWaiting, d.Number, c.lang().State(d.State))
		}
		// What is asked is shown once the rules of now are those that it was asked under.
		if vote == "approve" && (d.Rules.V == nil || d.Rules.V.Bound != now || c.unseen(d.ExpiresAt.Add(-rules.Expire)) || c.bound != "" && c.bound != now) {
			return answer{}, c.refuse(text.AskedSince, code(c.typed(fmt.Sprintf("/approve %d", d.Number))))
		}
		votes, err := tx.Approvals(d.ID)
		if err != nil {
			return answer{}, err
		}
		have := pipeline.Approvers(votes, b.bound)
		if vote == "approve" && slices.ContainsFunc(have, func(l string) bool { return strings.EqualFold(l, c.login) }) {
			return answer{}, c.refuse(text.AlreadyVoted, d.Number)
		}
		err = errors.Join(
			tx.Vote(store.Approval{Deployment: d.ID, Step: step, Login: c.login, Vote: vote, Reason: reason, Bound: b.bound, Via: c.via}),
			tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: vote, Repo: c.repo.Name, Subject: "deployment/" + d.ID,
				Detail: fmt.Sprintf("release %d of %s to %s, bound to %s: %s", d.Release, d.App, d.Environment, b.bound, reason)}))
		if err != nil {
			return answer{}, err
		}
		c.d.note("%s: %s of deployment %d", c.login, vote, d.Number)
		if vote == "reject" {
			said := c.lang().Say(text.RejectedReply, d.Number, code(d.Environment))
			if asks {
				return tells(d.Run, said, pipeline.Reject(tx, d, step, c.login, reason))
			}
			return tells(d.Run, said, tx.EndDeployment(d, store.Rejected, c.login+": "+reason, nil))
		}
		_, err = c.bot.engine.Reconsider(tx, d)
		return tells(d.Run, c.lang().Say(text.Approved, d.Number, len(have)+1, rules.Count), err)
	}, nil
}

// unseen tells whether something was asked only after the command was written. GitHub's times are of whole seconds.
func (c *call) unseen(asked time.Time) bool {
	return !asked.Before(c.said.Truncate(time.Second).Add(time.Second))
}

// passed says of a rollback that it goes without the n approvals that its environment asks for, in words to be added to the
// answer and to the audit; empty where it asks for none.
func (c *call) passed(n int) (said, audit string) {
	if n == 0 {
		return "", ""
	}
	return " (" + c.lang().Say(text.NotApproved, n) + ")", fmt.Sprintf(", without approval (%d needed)", n)
}
