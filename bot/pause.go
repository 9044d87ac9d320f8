package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// A steering does what somebody says to the deployment of an environment that is being made, and answers.
type steering func(tx *store.Tx, d store.Deployment, at calledBy) (said string, err error)

// A calledBy is how a deployment and its environment are called in an answer.
type calledBy struct {
	name  string // of the deployment
	place string // how a command names its environment
}

func (c *call) pause(ctx context.Context, args []string) (outcome, error) {
	return c.steer(ctx, args, c.pauseIt)
}

func (c *call) resume(ctx context.Context, args []string) (outcome, error) {
	return c.steer(ctx, args, c.resumeIt)
}

func (c *call) abort(ctx context.Context, args []string) (outcome, error) {
	return c.steer(ctx, args, c.abortIt)
}

// steer finds the deployment that is being made in an environment. A button names it by its number besides: another one is not meant.
// Neither a lock nor a freeze is in the way: they are about what comes next.
func (c *call) steer(ctx context.Context, args []string, do steering) (outcome, error) {
	a, env, args, no, err := c.target(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	number := 0
	if len(args) == 1 {
		number, err = strconv.Atoi(args[0])
	}
	if len(args) > 1 || err != nil || len(args) == 1 && number < 1 {
		return c.usage(), nil
	}
	if no, err := c.listed(ctx, env.Deployers, write); no != nil || err != nil {
		return no, err
	}
	var there []string // where nothing is being made: what there is
	var d *store.Deployment
	err = c.bot.db.View(ctx, func(tx *store.Tx) (err error) { d, err = underWay(tx, c.repo.Name, a.name, env.Name); return err })
	if err == nil && d == nil {
		there, err = c.environmentStatus(ctx, a.name, *env)
	}
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) (answer, error) {
		d, err := underWay(tx, c.repo.Name, a.name, env.Name)
		switch {
		case err != nil:
			return answer{}, err
		case number > 0 && (d == nil || d.Number != number), c.bound != "" && (d == nil || d.ID != c.bound):
			return answer{}, c.refuse(text.ButtonChanged)
		case d == nil:
			return answer{}, c.refuse(text.NothingRolls, code(env.Name), strings.Join(there, " "), code(c.typed("/lock "+c.place(a, env)+" reason…")))
		}
		name := piece{d: d}.name(c.lang(), c.several)
		if d.CancelBy != "" {
			return answer{}, c.refuse(text.StopsAlready, name, code(d.CancelBy))
		}
		if d.Failure.V != nil {
			return answer{}, c.refuse(text.FailsAlready, name, code(failureWords(*d, c.lang())))
		}
		said, err := do(tx, *d, calledBy{name, c.place(a, env)})
		if err != nil {
			return answer{}, err
		}
		c.d.note("%s: %s of deployment %d", c.login, c.cmd.name, d.Number)
		return tells(d.Run, said, tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: c.cmd.name, Repo: c.repo.Name, Subject: "deployment/" + d.ID,
			Detail: fmt.Sprintf("release %d of %s to %s, which was %s", d.Release, d.App, d.Environment, d.State)}))
	}, nil
}

// underWay is the deployment of an environment that is being made, nil for none.
func underWay(tx *store.Tx, repo, app, env string) (*store.Deployment, error) {
	open, err := tx.OpenDeployments(repo, app, env)
	for _, d := range open {
		if store.Active(d.State) {
			return &d, err
		}
	}
	return nil, err
}

func (c *call) pauseIt(tx *store.Tx, d store.Deployment, at calledBy) (string, error) {
	l, resume, abort := c.lang(), code(c.typed("/resume "+at.place)), code(c.typed("/abort "+at.place))
	if p := d.Pause.V; p != nil {
		return "", c.refuse(text.PausedAlready, at.name, code(p.By), l.Time(p.At.UTC()), resume)
	}
	if rests(d) && d.Blocks.V[0].Until.IsZero() {
		return "", c.refuse(text.RestsAlready, at.name, blockWords(d, d.Blocks.V[0], l), resume)
	}
	steps, err := tx.Steps(d.ID)
	if err != nil {
		return "", err
	}
	changed, beside, err := tx.Touched(d)
	if err != nil {
		return "", err
	}
	said := l.Say(text.PauseAsked, at.name, resume, abort)
	if beside && !changed {
		said = l.Say(text.PauseBeside, at.name, resume, abort)
	} else if loose := notHeld(d, steps); len(loose) > 0 {
		said += " " + l.Say(text.PauseNotHeld, names(loose))
	}
	return said, tx.AskPause(d, c.login)
}

// notHeld lists what goes on in the cluster although a deployment rests, until it is done: what only a Deployment of Kubernetes can be
// stopped at.
func notHeld(d store.Deployment, steps []store.Step) (loose []string) {
	if slices.ContainsFunc(steps, func(s store.Step) bool { return s.Kind == pipeline.StepObserve && finished(s.State) }) {
		return nil
	}
	var all kube.Inventory
	_ = json.Unmarshal(d.Inventory.V, &all) // of ours; without it nothing is told
	for _, ref := range all {
		if ref.Kind == "StatefulSet" || ref.Kind == "DaemonSet" {
			loose = append(loose, ref.Kind+"/"+ref.Name)
		}
	}
	return loose
}

func (c *call) resumeIt(tx *store.Tx, d store.Deployment, at calledBy) (string, error) {
	err := tx.AskResume(d, c.login)
	if errors.Is(err, store.ErrState) {
		if waitsForApproval(d) {
			return "", c.refuse(text.RestsForApproval, at.name, code(c.typed(fmt.Sprintf("/approve %d", d.Number))))
		}
		return "", c.refuse(text.NothingRests, at.name, code(deployWords(subject{d: &d}, c.lang())))
	}
	return c.lang().Say(text.ResumeAsked, at.name, d.Release, code(d.Environment)), err
}

func (c *call) abortIt(tx *store.Tx, d store.Deployment, at calledBy) (string, error) {
	live, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
	if err != nil {
		return "", err
	}
	said, err := c.abortWords(tx, d, live, at)
	if err != nil {
		return "", err
	}
	return said, tx.AskAbort(d, c.login)
}

// abortWords say what becomes of an environment when its deployment is given up.
func (c *call) abortWords(tx *store.Tx, d store.Deployment, live *store.Deployment, at calledBy) (string, error) {
	l, env := c.lang(), code(d.Environment)
	changed, beside, err := tx.Touched(d)
	switch {
	case err != nil:
		return "", err
	case changed && live == nil:
		return l.Say(text.AbortFirst, at.name, d.Release, env), nil
	case changed && d.RollbackOf != "":
		return l.Say(text.AbortOfBack, at.name, d.Release, env), nil
	case changed:
		return l.Say(text.AbortBack, at.name, env, live.Release), nil
	case live == nil:
		return l.Say(text.AbortUntouchedFirst, at.name, env), nil
	case beside:
		return l.Say(text.AbortTraffic, at.name, live.Release), nil
	}
	return l.Say(text.AbortUntouched, at.name, env, live.Release), nil
}

// rests tells whether a deployment rests, as a person or a step of its strategy wants, rather than for approvals.
func rests(d store.Deployment) bool {
	return d.State == store.Paused && len(d.Blocks.V) > 0 && d.Blocks.V[0].Kind == store.BlockPause
}

// restsForPerson tells whether only a person lets it go on.
func restsForPerson(d store.Deployment) bool {
	return d.State == store.Paused && !slices.ContainsFunc(d.Blocks.V, func(b store.Block) bool { return !b.Until.IsZero() })
}

// restWords says why a deployment rests.
func restWords(d store.Deployment, b store.Block, l text.Lang) string {
	if len(b.By) > 0 {
		return l.Say(text.PausedBy, strings.Join(b.By, ", "), l.Time(b.Since.UTC()))
	}
	at, share := l.Step(b.Text), pipeline.ShareAt(d, b.Text)
	switch {
	case share != "":
		at = l.Say(text.StepAt, share)
	case b.Until.IsZero(): // of blue-green: what its step is called says no more
		return l.Say(text.RestsBeforeTurn)
	}
	if b.Until.IsZero() {
		return l.Say(text.RestsForResume, at)
	}
	return l.Say(text.RestsUntil, l.Time(b.Until.UTC()), at)
}

// rollsWords says by which strategy a deployment is made that is under way, at which step it is, and how much the new release has got;
// empty where there is nothing but the plain rollout.
func rollsWords(d store.Deployment, steps []store.Step, l text.Lang) string {
	if !store.Active(d.State) {
		return ""
	}
	r := pipeline.RolloutOf(d, steps)
	if r.Strategy == "rolling" && !strings.Contains(r.Step, "/") {
		return ""
	}
	words := []string{l.Say(text.RollsBy, r.Strategy)}
	if r.Step != "" {
		words = append(words, l.Say(text.AtStep, l.Step(r.Step)))
	}
	if r.Share != "" {
		words = append(words, l.Say(text.HasShare, r.Share))
	}
	return l.Join(words)
}

// rejectedAt tells who rejected a deployment, and why: before it began, or at a step of its flow.
func rejectedAt(d store.Deployment) (by, reason string, ok bool) {
	said := d.Reason
	if f := d.Failure.V; f != nil {
		said, ok = strings.CutPrefix(f.Reason, store.ReasonRejected)
		ok = ok && strings.HasPrefix(f.Step, "approve/")
	} else {
		ok = d.State == store.Rejected
	}
	by, reason, _ = strings.Cut(said, ": ")
	return by, reason, ok
}

// failureWords is why a deployment failed, or fails.
func failureWords(d store.Deployment, l text.Lang) string {
	f := d.Failure.V
	if by, reason, ok := rejectedAt(d); ok {
		if reason == store.ReasonButton {
			reason = l.Say(text.ByButton)
		}
		return l.Say(text.Rejected, by, reason)
	}
	if strings.HasPrefix(f.Step, "approve/") && f.Reason == store.ReasonUndecided {
		return l.Say(text.Undecided)
	}
	return failureLine(f)
}
