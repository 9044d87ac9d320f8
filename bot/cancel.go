package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// A piece is a run or a deployment, as people name it by its number.
type piece struct {
	run *store.Run
	d   *store.Deployment
}

func (p piece) state() string {
	if p.run != nil {
		return p.run.State
	}
	return p.d.State
}

// requester is who started it.
func (p piece) requester() string {
	if p.run != nil {
		return p.run.Sender
	}
	return p.d.Requester
}

// name is what the piece is called; several tells apps apart.
func (p piece) name(l text.Lang, several bool) string {
	if p.d != nil {
		return l.Say(text.DeploymentNumber, p.d.Number)
	}
	if several {
		return l.Say(text.RunNumberOf, p.run.Number, p.run.App)
	}
	return l.Say(text.RunNumber, p.run.Number)
}

// label is the name with what it is about and its state.
func (p piece) label(l text.Lang, several bool) string {
	about := ""
	if p.run != nil {
		about = fmt.Sprintf("%.7s", p.run.Head())
	} else {
		about = fmt.Sprintf("%s %d → %s", p.d.App, p.d.Release, p.d.Environment)
	}
	return fmt.Sprintf("%s (%s): %s", p.name(l, several), about, l.State(p.state()))
}

// A naming is how a command names a piece: [app] [run|deployment] [number], each of which may be left out.
type naming struct {
	app    string
	kind   string // run, deployment or empty
	number int    // 0 for none
}

// named reads a naming; ok is false when the arguments are none.
func named(args []string, apps []string) (n naming, ok bool) {
	if len(args) > 0 && slices.Contains(apps, args[0]) {
		n.app, args = args[0], args[1:]
	}
	if len(args) > 0 {
		if kind := strings.ToLower(args[0]); kind == "run" || kind == "deployment" {
			n.kind, args = kind, args[1:]
		}
	}
	if len(args) > 0 {
		number, err := strconv.Atoi(strings.TrimPrefix(args[0], "#"))
		if err != nil || number < 1 {
			return n, false
		}
		n.number, args = number, args[1:]
	}
	return n, len(args) == 0
}

// pieces finds what a naming means in a repository. Without a number that is everything that has not ended.
func (n naming) pieces(tx *store.Tx, repo string, apps []string) (found []piece, err error) {
	if n.kind != "deployment" {
		var runs []store.Run
		if n.number == 0 {
			runs, err = tx.OpenRuns(repo)
		}
		for _, app := range apps {
			if n.number == 0 {
				break
			}
			r, err := store.Optional(tx.RunNumber(repo, app, n.number))
			if err != nil {
				return nil, err
			}
			if r != nil {
				runs = append(runs, *r)
			}
		}
		for _, r := range runs {
			if n.app == "" || n.app == r.App {
				found = append(found, piece{run: &r})
			}
		}
	}
	if n.kind != "run" && err == nil {
		var deployments []store.Deployment
		if n.number == 0 {
			deployments, err = tx.OpenDeploymentsOf(repo)
		} else {
			var d *store.Deployment
			if d, err = store.Optional(tx.DeploymentNumber(repo, n.number)); d != nil && err == nil {
				deployments = append(deployments, *d)
			}
		}
		for _, d := range deployments {
			if n.app == "" || n.app == d.App {
				found = append(found, piece{d: &d})
			}
		}
	}
	return found, err
}

// labels lists pieces for a question.
func labels(all []piece, l text.Lang, several bool) string {
	var list []string
	for _, p := range all {
		list = append(list, p.label(l, several))
	}
	return names(list)
}

// cancel stops a run or a deployment.
func (c *call) cancel(ctx context.Context, args []string) (outcome, error) {
	branch, err := c.pullBranch(ctx)
	if err != nil {
		return nil, err
	}
	var p piece
	var several bool
	var no outcome
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		apps, err := tx.Apps(c.repo.Name)
		if err != nil {
			return err
		}
		several = len(apps) > 1
		n, ok := named(args, apps)
		if !ok {
			no = c.usage()
			return nil
		}
		all, err := n.pieces(tx, c.repo.Name, apps)
		if err != nil {
			return err
		}
		open := slices.Clone(all)
		open = slices.DeleteFunc(open, func(p piece) bool { return store.Final(p.state()) })
		if n.number == 0 && c.pull != 0 {
			// What belongs to this pull request comes before what else goes on in the repository.
			var here []piece
			for _, p := range open {
				yes, err := c.belongs(tx, p, branch)
				if err != nil {
					return err
				}
				if yes {
					here = append(here, p)
				}
			}
			if len(here) > 0 {
				open = here
			}
		}
		switch {
		case len(open) == 1:
			p = open[0]
		case len(open) > 1:
			no = c.no(text.WhichPiece, labels(open, c.lang(), several), c.form())
		case len(all) > 0:
			no = c.no(text.EndedAlready, labels(all, c.lang(), several))
		case n.number > 0:
			no = c.no(text.NoSuchPiece, n.number, c.form())
		default:
			no = c.no(text.NothingRuns)
		}
		return nil
	})
	if no != nil || err != nil {
		return no, err
	}
	if strings.EqualFold(p.requester(), c.login) {
		c.d.note("%s started %s", c.login, p.name(text.En, several))
	} else if no, err := c.needs(ctx, write); no != nil || err != nil {
		return no, err
	}
	return func(tx *store.Tx) (answer, error) { return c.stop(tx, p, several) }, nil
}

// pullBranch is the ref of the branch that a comment's pull request is of; empty on an issue, and for a fork's.
func (c *call) pullBranch(ctx context.Context) (ref string, err error) {
	if c.pull == 0 {
		return "", nil
	}
	owner, name := split(c.repo.Name)
	pr, _, err := c.client.PullRequests.Get(ctx, owner, name, c.pull)
	if err != nil || !strings.EqualFold(pr.GetHead().GetRepo().GetFullName(), c.repo.Name) {
		return "", ignoreNotFound(err)
	}
	return "refs/heads/" + pr.GetHead().GetRef(), nil
}

// belongs tells whether a piece is of the comment's pull request, or of its branch.
func (c *call) belongs(tx *store.Tx, p piece, ref string) (bool, error) {
	if p.run != nil {
		return p.run.Pull == c.pull || p.run.Ref == ref, nil
	}
	if ref == "" {
		return false, nil
	}
	rel, err := tx.Release(p.d.Repo, p.d.App, p.d.Release)
	return rel.Ref == ref, err
}

// stop cancels a piece as it is in this transaction.
func (c *call) stop(tx *store.Tx, p piece, several bool) (a answer, err error) {
	var subject, detail string
	if p.run != nil {
		r, err := tx.Run(p.run.ID)
		if err != nil {
			return answer{}, err
		}
		p.run = &r
		subject, detail = "run/"+r.ID, fmt.Sprintf("run %d of %s at %s, which was %s", r.Number, r.App, r.SHA, r.State)
	} else {
		d, err := tx.Deployment(p.d.ID)
		if err != nil {
			return answer{}, err
		}
		p.d = &d
		subject, detail = "deployment/"+d.ID, fmt.Sprintf("release %d of %s to %s, which was %s", d.Release, d.App, d.Environment, d.State)
	}
	if store.Final(p.state()) {
		return answer{}, c.refuse(text.EndedAlready, labels([]piece{p}, c.lang(), several))
	}
	name := p.name(c.lang(), several)
	if p.run != nil {
		a.run = p.run.ID
		err = tx.EndRun(p.run.ID, store.RunCancelled, "by "+c.login, nil)
		a.text = c.lang().Say(text.Cancelled, name)
		c.d.note("%s is cancelled", p.name(text.En, several))
	} else {
		d := *p.d
		a.run = d.Run
		if d.CancelBy != "" {
			return answer{}, c.refuse(text.StopsAlready, name, code(d.CancelBy))
		}
		began := store.Active(d.State)
		stopping, e := tx.Cancel(d, c.login)
		if e != nil {
			return answer{}, e
		}
		a.text = c.lang().Say(text.Cancelled, name)
		if stopping {
			a.text = c.lang().Say(text.Stopping, name)
			c.d.note("deployment %d is asked to stop at its next safe point", d.Number)
		} else {
			c.d.note("deployment %d is cancelled", d.Number)
		}
		if began {
			left, e := c.leftBehind(tx, d, several)
			if e != nil {
				return answer{}, e
			}
			a.text += " " + left
		}
	}
	return a, errors.Join(err, tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "cancel", Repo: c.repo.Name, Subject: subject, Detail: detail}))
}

// leftBehind says what a rollout that is stopped half-way leaves in its environment, and the way back; before it changed what was live,
// nothing.
func (c *call) leftBehind(tx *store.Tx, d store.Deployment, several bool) (string, error) {
	live, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
	if err != nil {
		return "", err
	}
	changed, beside, err := tx.Touched(d)
	switch {
	case err != nil:
		return "", err
	case changed:
	case beside && live != nil:
		return c.lang().Say(text.CancelTraffic, live.Release), nil
	default:
		return c.lang().Say(text.CancelUntouched, code(d.Environment)), nil
	}
	said := c.lang().Say(text.LeftBehindFirst, code(d.Environment), d.Release)
	if live != nil {
		said = c.lang().Say(text.LeftBehind, code(d.Environment), d.Release, code(c.typed("/rollback "+scope{d.App, d.Environment}.name(several))), live.Release)
	}
	held, err := tx.Held(d)
	if held {
		said += " " + c.lang().Say(text.LeftHeld)
	}
	return said, err
}

// cancelledWords is what a cancelled deployment says of itself: also what it left behind, where it had begun and nothing
// was put there since.
func cancelledWords(s subject, l text.Lang) string {
	d := s.d
	by := strings.TrimPrefix(d.Reason, "by ")
	switch {
	case d.BeganAt.IsZero() || !s.current || !s.changed:
		return l.Say(text.CancelledBy, by)
	case s.lives == 0:
		return l.Say(text.CancelledMidway, by, d.Release)
	}
	return l.Say(text.CancelledMidwayBack, by, d.Release, s.typed("/rollback "+scope{d.App, d.Environment}.name(s.several)), s.lives)
}
