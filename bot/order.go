package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// orderWords are what a release order is called in front of its number.
var orderWords = []string{"order", "release", "发布单"}

// orderVerb is the form of /order that a verb means; nil for none. It is a function because each may show how commands are typed.
func orderVerb(verb string) func(*call, context.Context, []string) (outcome, error) {
	switch strings.ToLower(verb) {
	case "create", "创建":
		return (*call).createOrder
	case "show", "查看":
		return (*call).showOrder
	case "run", "执行":
		return (*call).runOrder
	case "cancel", "取消":
		return (*call).cancelOrder
	}
	return nil
}

// order makes, shows, runs and cancels release orders.
func (c *call) order(ctx context.Context, args []string) (outcome, error) {
	if len(args) == 0 {
		return c.usage(), nil
	}
	fn := orderVerb(args[0])
	if fn == nil {
		return c.near(c.usage(), args[0], []string{"create", "show", "run", "cancel"}), nil
	}
	return fn(c, ctx, args[1:])
}

// tellsOrder is an answer that the comment of a release order tells.
func tellsOrder(o store.Order, text string, err error) (answer, error) {
	return answer{text: text, order: &o}, err
}

// A wantedPart is a part of an order as it was typed.
type wantedPart struct {
	app     string
	release int
}

func (p wantedPart) String() string { return fmt.Sprintf("%s@%d", p.app, p.release) }

var typedPart = regexp.MustCompile(`^([^@\s]+)@#?([0-9]{1,9})$`)

// readParts reads app@release…, and the reason behind them. wrong is a word that looks like a part and is none.
func readParts(args []string) (parts []wantedPart, reason, wrong string) {
	for i, a := range args {
		if strings.Index(a, "@") < 1 || strings.Contains(a, " ") { // @somebody begins a reason
			return parts, strings.TrimSpace(strings.Join(args[i:], " ")), ""
		}
		m := typedPart.FindStringSubmatch(a)
		if m == nil {
			return nil, "", a
		}
		n, _ := strconv.Atoi(m[2]) // at most nine digits
		parts = append(parts, wantedPart{m[1], n})
	}
	return parts, "", ""
}

// ofPart says which part a refusal is about.
func (c *call) ofPart(app string, no outcome) outcome {
	return func(tx *store.Tx) (answer, error) {
		a, err := no(tx)
		var r *Refusal
		if errors.As(err, &r) {
			r.Text = c.lang().Say(text.OfPart, code(app), r.Text)
		}
		return a, err
	}
}

// createOrder makes a release order: every part is checked before any is made.
func (c *call) createOrder(ctx context.Context, args []string) (outcome, error) {
	if len(args) == 0 {
		return c.usage(), nil
	}
	name := strings.ToLower(args[0])
	parts, reason, wrong := readParts(args[1:])
	switch {
	case wrong != "":
		return c.no(text.NotAPart, code(wrong), c.form(), code("web@12")), nil
	case len(parts) == 0 || len(parts) > pipeline.MaxParts:
		return c.no(text.PartsOfOrder, pipeline.MaxParts, c.form()), nil
	case reason == "":
		return c.no(text.OrderNeedsReason, c.form()), nil
	}
	apps, err := c.bot.apps(ctx, c.client, c.repo, c.repo.DefaultBranch, "", c.d)
	if err != nil {
		return nil, err
	}
	if len(apps) == 0 {
		return c.no(text.NoFile, code(c.repo.DefaultBranch)), nil
	}
	var known []string
	for _, a := range apps {
		known = append(known, a.name)
	}
	seen := map[string]bool{}
	var envs []*pipeline.Environment
	var requests []store.Request
	for _, p := range parts {
		i := slices.Index(known, p.app)
		switch {
		case i < 0:
			return c.near(c.no(text.NoSuchApp, code(p.app), names(known), c.form()), p.app, known), nil
		case seen[p.app]:
			return c.no(text.PartTwice, code(p.app), c.form()), nil
		case apps[i].err != nil:
			return c.no(text.FileMistakes, code(apps[i].file), code(apps[i].err.Error())), nil
		}
		seen[p.app] = true
		env, ok := apps[i].config.Environment(name)
		if !ok {
			known := apps[i].config.EnvironmentNames()
			return c.ofPart(p.app, c.near(c.no(text.UnknownEnvironment, code(args[0]), names(known), c.form()), args[0], known)), nil
		}
		if no, err := c.listed(ctx, env.Deployers, write); no != nil || err != nil {
			return c.ofPartOr(p.app, no), err
		}
		q, err := request(apps[i].config, env, store.CauseOrder, c.login, c.event)
		if err != nil {
			return nil, err
		}
		q.Note = text.Fit(reason, maxReason)
		envs, requests = append(envs, env), append(requests, q)
	}
	return func(tx *store.Tx) (answer, error) {
		o := store.Order{Repo: c.repo.Name, Environment: name, Requester: c.login, Note: text.Fit(reason, maxReason), Event: c.event, Pull: c.issue}
		var list, labels []string
		var releases []store.Release
		for i, p := range parts {
			rel, err := c.part(tx, p, envs[i])
			if err != nil {
				var r *Refusal
				if errors.As(err, &r) {
					r.Text = c.lang().Say(text.OfPart, code(p.app), r.Text)
				}
				return answer{}, err
			}
			releases, list, labels = append(releases, rel), append(list, p.String()), append(labels, code(p.String()))
		}
		if err := pipeline.PutOrder(tx, &o, c.via, strings.Join(list, " ")); err != nil {
			return answer{}, err
		}
		for i, rel := range releases {
			d, err := pipeline.NewPart(tx, o, i+1, rel, requests[i])
			if err != nil {
				return answer{}, err
			}
			c.d.note("order %d, part %d: deployment %d, release %d of %s to %s", o.Number, i+1, d.Number, rel.Number, rel.App, name)
		}
		return tellsOrder(o, c.lang().Say(text.OrderMade, o.Number, code(name), strings.Join(labels, ", "), c.bot.page("orders", o.ID)), nil)
	}, nil
}

func (c *call) ofPartOr(app string, no outcome) outcome {
	if no == nil {
		return nil
	}
	return c.ofPart(app, no)
}

// part finds the release of a part, and refuses what may not go there.
func (c *call) part(tx *store.Tx, p wantedPart, env *pipeline.Environment) (store.Release, error) {
	rel, err := c.release(tx, p.app, p.release)
	if err != nil {
		return rel, err
	}
	if !pipeline.Allows(env, rel.Ref, c.repo.DefaultBranch) {
		return rel, c.refuse(text.WrongBranch, code(env.Name), code(strings.TrimPrefix(rel.Ref, "refs/heads/")))
	}
	live, err := store.Optional(tx.Live(rel.Repo, rel.App, env.Name))
	if err != nil {
		return rel, err
	}
	if live != nil && live.Release == rel.Number {
		return rel, c.refuse(text.AlreadyLive, rel.Number, code(env.Name))
	}
	return rel, c.locked(tx, rel.App, env.Name)
}

// orderNumber reads the number of an order, as in 3 or #3; 0 when it is none.
func orderNumber(s string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "#"))
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// namedOrder takes "order 3" off the arguments of a command that is about something else too; 0 when they don't begin so.
func namedOrder(args []string) (number int, rest []string) {
	if len(args) < 2 || !slices.Contains(orderWords, strings.ToLower(args[0])) {
		return 0, args
	}
	if number = orderNumber(args[1]); number == 0 {
		return 0, args
	}
	return number, args[2:]
}

// findOrder finds the order that a command names.
func (c *call) findOrder(ctx context.Context, number int) (o store.Order, no outcome, err error) {
	err = c.bot.db.View(ctx, func(tx *store.Tx) (err error) { o, err = tx.OrderNumber(c.repo.Name, number); return err })
	if errors.Is(err, store.ErrNotFound) {
		return o, c.no(text.NoSuchOrder, number, c.form()), nil
	}
	return o, nil, err
}

// theOrder is findOrder for the one argument of show, run and cancel.
func (c *call) theOrder(ctx context.Context, args []string) (store.Order, outcome, error) {
	if len(args) != 1 || orderNumber(args[0]) == 0 {
		return store.Order{}, c.usage(), nil
	}
	return c.findOrder(ctx, orderNumber(args[0]))
}

func (c *call) showOrder(ctx context.Context, args []string) (outcome, error) {
	o, no, err := c.theOrder(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	return func(tx *store.Tx) (answer, error) {
		v, err := c.bot.orderView(tx, o.ID)
		if err != nil {
			return answer{}, err
		}
		return reply(v.lines(c.lang(), c.bot), nil)
	}, nil
}

// runOrder says where an order stands, and has one that may begin looked at again.
func (c *call) runOrder(ctx context.Context, args []string) (outcome, error) {
	o, no, err := c.theOrder(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if no, err := c.needs(ctx, write); no != nil || err != nil {
		return no, err
	}
	return func(tx *store.Tx) (answer, error) {
		o, err := tx.Order(o.ID)
		if err != nil {
			return answer{}, err
		}
		if store.Final(o.State) {
			return answer{}, c.refuse(text.OrderHasEnded, o.Number, c.lang().State(o.State))
		}
		if _, err := c.bot.engine.AdvanceOrderIn(tx, o); err != nil {
			return answer{}, err
		}
		v, err := c.bot.orderView(tx, o.ID)
		if err != nil {
			return answer{}, err
		}
		for _, p := range v.parts {
			if err := tx.Wake(store.TaskEnv, store.EnvKey(p.d.Repo, p.d.App, p.d.Environment)); err != nil {
				return answer{}, err
			}
		}
		return reply(v.lines(c.lang(), c.bot), nil)
	}, nil
}

// cancelOrder stops an order: what has not begun never does, and what is being made stops at its next safe point.
func (c *call) cancelOrder(ctx context.Context, args []string) (outcome, error) {
	o, no, err := c.theOrder(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if strings.EqualFold(o.Requester, c.login) {
		c.d.note("%s made order %d", c.login, o.Number)
	} else if no, err := c.needs(ctx, write); no != nil || err != nil {
		return no, err
	}
	return func(tx *store.Tx) (answer, error) {
		o, err := tx.Order(o.ID)
		if err != nil {
			return answer{}, err
		}
		if store.Final(o.State) {
			return answer{}, c.refuse(text.OrderHasEnded, o.Number, c.lang().State(o.State))
		}
		if err := c.bot.engine.EndOrder(tx, o, store.Cancelled, "by "+c.login, c.login, c.via); err != nil {
			return answer{}, err
		}
		c.d.note("order %d is cancelled", o.Number)
		v, err := c.bot.orderView(tx, o.ID)
		if err != nil {
			return answer{}, err
		}
		said := c.lang().Say(text.OrderCancelled, o.Number)
		if done := v.doneWords(c.lang()); done != "" {
			said += " " + done
		}
		return tellsOrder(o, said, nil)
	}, nil
}

// orderVoted is a vote on an order, where the arguments name one, or where one is all that waits; ok is false when the vote
// is about a deployment.
func (c *call) orderVoted(ctx context.Context, args []string, vote string) (fn outcome, ok bool, err error) {
	number, rest := namedOrder(args)
	if number == 0 {
		if len(args) > 0 && orderNumber(args[0]) > 0 || c.named != "" { // a deployment's, or in a chat of an app
			return nil, false, nil
		}
		err = c.bot.db.View(ctx, func(tx *store.Tx) error {
			all, err := tx.Waiting(c.repo.Name)
			if err != nil || len(all) > 0 {
				return err
			}
			if late, err := tx.UnratifiedOf(c.repo.Name); err != nil || len(late) > 0 {
				return err
			}
			open, err := tx.OpenOrders(c.repo.Name)
			waiting := slices.DeleteFunc(open, func(o store.Order) bool { return o.State != store.OrderWaiting })
			if len(waiting) == 1 {
				number = waiting[0].Number
			}
			return err
		})
		if number == 0 || err != nil {
			return nil, false, err
		}
	}
	fn, err = c.orderVote(ctx, number, vote, strings.Join(rest, " "))
	return fn, true, err
}

// orderVote records one person's vote on an order, bound to every part of it. Whoever votes must be allowed to in each part
// that wants approvals, and have no part in the work of any.
func (c *call) orderVote(ctx context.Context, number int, vote, reason string) (outcome, error) {
	if vote == "reject" && reason == "" {
		return c.usage(), nil
	}
	o, no, err := c.findOrder(ctx, number)
	if no != nil || err != nil {
		return no, err
	}
	var s pipeline.Standing
	releases, live := map[string]store.Release{}, map[string]store.Release{}
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		if s, err = c.bot.engine.StandingOf(tx, o); err != nil {
			return err
		}
		for _, p := range s.Parts {
			if releases[p.ID], err = tx.Release(p.Repo, p.App, p.Release); err != nil {
				return err
			}
			before, err := store.Optional(tx.Live(p.Repo, p.App, p.Environment))
			if err != nil {
				return err
			}
			if before != nil {
				if live[p.ID], err = tx.Release(p.Repo, p.App, before.Release); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	looked := map[[4]string]bool{} // parts of one commit and one state before are the same work
	for i, p := range s.Parts {
		if !s.Asks(i) {
			continue
		}
		if no, err := c.listed(ctx, s.Rules[i].By, maintain); no != nil || err != nil {
			return c.ofPartOr(p.App, no), err
		}
		rel := releases[p.ID]
		work := [4]string{rel.SHA, live[p.ID].SHA, rel.Sender, rel.Author}
		if vote != "approve" || s.Rules[i].Self || looked[work] {
			continue
		}
		looked[work] = true
		if no, err := c.own(ctx, p, rel, live[p.ID]); no != nil || err != nil {
			return c.ofPartOr(p.App, no), err
		}
	}
	return func(tx *store.Tx) (answer, error) {
		o, err := tx.Order(o.ID)
		if err != nil {
			return answer{}, err
		}
		now, err := c.bot.engine.StandingOf(tx, o)
		if err != nil {
			return answer{}, err
		}
		// One that is running is asked about again when what was approved has changed.
		open := o.State == store.OrderWaiting || o.State == store.OrderApproved || o.State == store.OrderRunning
		if !open || len(now.Have) >= now.Need || now.Bound != s.Bound {
			return answer{}, c.refuse(text.OrderNotWaiting, o.Number, c.lang().State(o.State))
		}
		if vote == "approve" && (now.Asked.IsZero() || c.unseen(now.Asked) || c.bound != "" && c.bound != now.Bound) {
			return answer{}, c.refuse(text.AskedSince, code(c.typed(fmt.Sprintf("/approve order %d", o.Number))))
		}
		if vote == "approve" && slices.ContainsFunc(now.Have, func(l string) bool { return strings.EqualFold(l, c.login) }) {
			return answer{}, c.refuse(text.OrderVotedAlready, o.Number)
		}
		err = errors.Join(
			tx.VoteOrder(store.OrderApproval{OrderID: o.ID, Login: c.login, Vote: vote, Reason: reason, Bound: s.Bound, Via: c.via}),
			tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: vote, Repo: c.repo.Name, Subject: "order/" + o.ID,
				Detail: fmt.Sprintf("order %d to %s, bound to %s: %s", o.Number, o.Environment, s.Bound, reason)}))
		if err != nil {
			return answer{}, err
		}
		c.d.note("%s: %s of order %d", c.login, vote, o.Number)
		if vote == "reject" {
			state := store.Rejected
			if o.State != store.OrderWaiting { // some of it may be done
				state = store.Cancelled
			}
			return tellsOrder(o, c.lang().Say(text.OrderRejected, o.Number), c.bot.engine.EndOrder(tx, o, state, c.login+": "+reason, c.login, c.via))
		}
		_, err = c.bot.engine.AdvanceOrderIn(tx, o)
		return tellsOrder(o, c.lang().Say(text.OrderApproved, o.Number, len(now.Have)+1, now.Need), err)
	}, nil
}

// rollbackOrder takes back what is live of an order, the last part first, as an order of its own. An order that has not ended
// is cancelled by it.
func (c *call) rollbackOrder(ctx context.Context, number int, reason string) (outcome, error) {
	o, no, err := c.findOrder(ctx, number)
	if no != nil || err != nil {
		return no, err
	}
	var parts []store.Deployment
	if err := c.bot.db.View(ctx, func(tx *store.Tx) (err error) { parts, err = tx.OrderParts(o.ID); return err }); err != nil {
		return nil, err
	}
	apps, err := c.bot.apps(ctx, c.client, c.repo, c.repo.DefaultBranch, "", c.d)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		deployers, err := deployersOf(p, apps)
		if err != nil {
			return nil, err
		}
		if no, err := c.listed(ctx, deployers, write); no != nil || err != nil {
			return c.ofPartOr(p.App, no), err
		}
	}
	gone, err := c.partsGone(ctx, parts)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) (answer, error) { return c.takeBack(tx, o, text.Fit(reason, maxReason), gone) }, nil
}

// takeBack takes an order back; gone are images that are in no registry any more, by the deployment that would be applied again.
func (c *call) takeBack(tx *store.Tx, o store.Order, reason string, gone map[string]string) (answer, error) {
	o, err := tx.Order(o.ID)
	if err != nil {
		return answer{}, err
	}
	if o.RollbackOf != "" {
		return answer{}, c.refuse(text.OrderIsRollback, o.Number)
	}
	back, err := store.Optional(tx.RollbackOrder(o.ID))
	if err != nil {
		return answer{}, err
	}
	if back != nil && !store.Final(back.State) {
		return answer{}, c.refuse(text.OrderTakenBack, o.Number, back.Number)
	}
	if !store.Final(o.State) {
		if err := c.bot.engine.EndOrder(tx, o, store.Cancelled, "by "+c.login, c.login, c.via); err != nil {
			return answer{}, err
		}
	}
	parts, err := tx.OrderParts(o.ID)
	if err != nil {
		return answer{}, err
	}
	slices.Reverse(parts)
	var from, to []store.Deployment
	var left, labels, list, ran []string
	needed := 0
	for _, p := range parts {
		target, why, err := c.wayBack(tx, p)
		switch {
		case err != nil:
			return answer{}, err
		case target != nil && gone[target.ID] != "":
			left = append(left, c.lang().Say(text.PartImageGone, code(p.App), target.Release, code(gone[target.ID])))
		case target != nil:
			var spec pipeline.Spec
			if err := json.Unmarshal(p.Spec.V, &spec); err != nil {
				return answer{}, err
			}
			needed = max(needed, c.bot.cfg.Floor(spec.Environment.Cluster, spec.Environment.Approvals).Count)
			from, to = append(from, p), append(to, *target)
			jobs, err := tx.JobsSince(*target)
			if err != nil {
				return answer{}, err
			}
			ran = append(ran, jobs...)
			list = append(list, fmt.Sprintf("%s %d → %d", p.App, p.Release, target.Release))
			labels = append(labels, code(list[len(list)-1]))
		case why != "":
			left = append(left, why)
		}
	}
	if len(from) == 0 {
		return answer{}, c.refuse(text.NothingToTakeBack, o.Number, strings.Join(left, " "))
	}
	made := store.Order{Repo: o.Repo, Environment: o.Environment, Requester: c.login, Note: reason, Event: c.event, Pull: c.issue, RollbackOf: o.ID}
	passed, passedAudit := c.passed(needed)
	if err := pipeline.PutOrder(tx, &made, c.via, fmt.Sprintf("order %d back%s: %s", o.Number, passedAudit, strings.Join(list, ", "))); err != nil {
		return answer{}, err
	}
	for i := range from {
		d, err := pipeline.NewRollbackPart(tx, made, i+1, from[i], to[i])
		if err != nil {
			return answer{}, err
		}
		c.d.note("order %d, part %d: deployment %d, %s back to release %d", made.Number, i+1, d.Number, d.App, d.Release)
		err = errors.Join(
			tx.PutHold(store.Hold{Repo: d.Repo, App: d.App, Environment: d.Environment, By: c.login, Reason: reason, Issue: c.issue}),
			c.passLocks(tx, d))
		if err != nil {
			return answer{}, err
		}
	}
	said := append([]string{c.lang().Say(text.OrderRollbackMade, made.Number, o.Number, strings.Join(labels, ", "), c.bot.page("orders", made.ID)) + passed}, left...)
	if len(ran) > 0 {
		said = append(said, c.lang().Say(text.JobsRanSince, names(ran)))
	}
	if err := tx.Wake(store.TaskReport, "order/"+o.ID); err != nil { // which says that it is taken back
		return answer{}, err
	}
	return tellsOrder(made, strings.Join(said, " "), nil)
}

// wayBack finds what a part of an order is taken back to; nil where it is left alone, and why, if there is something to say.
func (c *call) wayBack(tx *store.Tx, p store.Deployment) (target *store.Deployment, why string, err error) {
	if p.BeganAt.IsZero() {
		return nil, "", nil
	}
	current, err := tx.Current(p.Repo, p.App, p.Environment)
	if err != nil {
		return nil, "", err
	}
	switch {
	case current.ID == p.ID:
	case current.RollbackOf != p.ID:
		return nil, c.lang().Say(text.PartOvertaken, code(p.App), current.Number), nil
	case !store.Final(current.State) || current.State == store.Succeeded: // its own recovery, or somebody's rollback
		return nil, "", nil
	}
	if p.State == store.Succeeded {
		target, err = store.Optional(tx.LiveBefore(p))
	} else {
		target, err = store.Optional(tx.Live(p.Repo, p.App, p.Environment))
	}
	if target == nil && err == nil {
		why = c.lang().Say(text.PartWithoutBefore, code(p.App))
	}
	return target, why, err
}

// openOrders is a line for each release order to an environment that an app has a part in.
func (c *call) openOrders(tx *store.Tx, app string, environments []pipeline.Environment) (lines []string, err error) {
	open, err := tx.OpenOrders(c.repo.Name)
	for _, o := range open {
		if !slices.ContainsFunc(environments, func(e pipeline.Environment) bool { return e.Name == o.Environment }) {
			continue
		}
		v, err := c.bot.orderView(tx, o.ID)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(v.parts, func(p orderPart) bool { return p.d.App == app }) {
			lines = append(lines, c.lang().Say(text.StatusOrder, code(o.Environment), o.Number, v.stateWords(c.lang())))
		}
	}
	return lines, err
}
