package bot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// rebuild runs the newest run of a commit again as a run of its own: what failed or was not reached, or the one check that is
// named. What passed is taken over, as long as the file says the same as it did then.
func (c *call) rebuild(ctx context.Context, args []string) (outcome, error) {
	a, args, no, err := c.app(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if len(args) > 1 {
		return c.usage(), nil
	}
	head, no, err := c.head(ctx)
	if no != nil || err != nil {
		return no, err
	}
	var old *store.Run
	var steps []store.Step
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		if old, err = store.Optional(tx.RunAt(c.repo.Name, a.name, head)); old == nil || err != nil {
			return err
		}
		steps, err = tx.Steps(old.ID)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case old == nil:
		return c.no(text.NothingBuiltYet, code(head[:7]), code(a.name)), nil
	case !store.Final(old.State):
		return c.no(text.GoesOn, old.Number, c.lang().State(old.State)), nil
	case old.Reason == store.ReasonUntested:
		return c.no(text.Untested, code(c.typed("/ok-to-test "+head))), nil
	}
	named := ""
	if len(args) == 1 {
		if named, no = c.step(args[0], steps, text.NoSuchCheck); no != nil {
			return no, nil
		}
	} else if old.State == store.RunSucceeded {
		return c.no(text.NothingFailed, old.Number, c.form()), nil
	}
	current, no, err := c.isHead(ctx, *old)
	if no != nil || err != nil {
		return no, err
	}
	apps, err := c.bot.apps(ctx, c.client, c.repo, c.repo.DefaultBranch, old.SHA, c.d)
	if err != nil {
		return nil, err
	}
	built, no := c.mistakes(apps, a.name)
	if no != nil {
		return no, nil
	}
	cfg := built.config
	now, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	run := store.Run{Repo: old.Repo, App: old.App, Ref: old.Ref, SHA: old.SHA, HeadSHA: old.HeadSHA, HeadRef: old.HeadRef, BaseRef: old.BaseRef, Fork: old.Fork,
		Subject: old.Subject, Author: old.Author, Sender: c.login, Cause: old.Cause, Pull: old.Pull, Variables: old.Variables, Event: c.event}
	var requests []store.Request
	if current {
		if requests, err = c.automaticAgain(cfg, *old, run); err != nil {
			return nil, err
		}
	} else { // it stops nobody's run, and goes nowhere by itself
		run.Cause = store.CauseCommand
	}
	passed := takenOver(*old, steps, named)
	if !bytes.Equal(now, old.Config.V) {
		passed = nil
	}
	return func(tx *store.Tx) (answer, error) {
		newest, err := tx.RunAt(old.Repo, old.App, old.Head())
		if err != nil {
			return answer{}, err
		}
		if newest.ID != old.ID {
			return answer{}, c.refuse(text.GoesOn, newest.Number, c.lang().State(newest.State))
		}
		if newer, err := newerOn(tx, *old); err != nil || newer != nil && current {
			if err != nil {
				return answer{}, err
			}
			return answer{}, c.refuse(text.GoesOn, newer.Number, c.lang().State(newer.State))
		}
		id, err := newRun(tx, run, cfg, requests)
		if err != nil {
			return answer{}, err
		}
		made, err := tx.Run(id)
		if err != nil {
			return answer{}, err
		}
		if err := tx.TakeOver(made, *old, passed); err != nil {
			return answer{}, err
		}
		c.d.note("run %d: run %d again, but for %s", made.Number, old.Number, cmp.Or(strings.Join(passed, ", "), "nothing"))
		err = tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "rebuild", Repo: c.repo.Name, Subject: "run/" + id,
			Detail: fmt.Sprintf("run %d of %s again, at %s, as run %d", old.Number, old.App, old.SHA, made.Number)})
		if len(passed) == 0 {
			return tells(id, c.lang().Say(text.RebuiltWhole, made.Number, old.Number, c.bot.page("runs", id)), err)
		}
		var words []string
		for _, kind := range passed {
			words = append(words, c.lang().Step(kind))
		}
		return tells(id, c.lang().Say(text.Rebuilt, made.Number, old.Number, names(words), c.bot.page("runs", id)), err)
	}, nil
}

// head is the commit that is shown where the command was said: the one that the surface names, a pull request's, or the default
// branch's.
func (c *call) head(ctx context.Context) (sha string, no outcome, err error) {
	if c.sha != "" {
		return c.sha, nil, nil
	}
	owner, name := split(c.repo.Name)
	if c.pull != 0 {
		pr, _, err := c.client.PullRequests.Get(ctx, owner, name, c.pull)
		return pr.GetHead().GetSHA(), nil, err
	}
	sha, err = headOf(ctx, c.client, c.repo.Name, branchPrefix+c.repo.DefaultBranch)
	if err == nil && sha == "" {
		no = c.no(text.NoSuchCommit, code("HEAD"), code(c.repo.DefaultBranch))
	}
	return sha, no, err
}

// step finds the kind of the step that a word means, a check by its name alone too; or refuses it by the given sentence, with the
// nearest there is.
func (c *call) step(word string, steps []store.Step, refusal text.Key) (kind string, no outcome) {
	word = strings.ToLower(word)
	var known []string
	for _, s := range steps {
		name, isCheck := pipeline.CheckOf(s.Kind)
		if !isCheck {
			name = s.Kind
		}
		if word == strings.ToLower(s.Kind) || word == strings.ToLower(name) || word == strings.ToLower(c.lang().Step(s.Kind)) {
			return s.Kind, nil
		}
		known = append(known, name)
	}
	return "", c.near(c.no(refusal, code(word), names(known), c.form()), word, known)
}

// isHead tells whether a run is of the commit that its branch or tag is at. A pull request has no runs of other commits.
func (c *call) isHead(ctx context.Context, r store.Run) (bool, outcome, error) {
	if r.Cause != store.CausePull {
		at, err := commitAt(ctx, c.client, c.repo.Name, r.Ref)
		return at.GetSHA() == r.SHA, nil, err
	}
	owner, name := split(c.repo.Name)
	pr, _, err := c.client.PullRequests.Get(ctx, owner, name, r.Pull)
	switch {
	case err != nil:
		return false, nil, err
	case pr.GetState() != "open":
		return false, c.no(text.PullClosed, r.Pull), nil
	case pr.GetHead().GetSHA() != r.Head():
		return false, c.no(text.NotTheHeadAnyMore, code(r.Head()[:7]), r.Pull, code(pr.GetHead().GetSHA()[:7])), nil
	}
	return true, nil, nil
}

// automaticAgain are the deployments that followed from a run by themselves, as the file has their environments now.
func (c *call) automaticAgain(cfg *pipeline.Config, old, run store.Run) ([]store.Request, error) {
	var plan pipeline.Plan
	for _, q := range old.Deploys.V {
		env, ok := cfg.Environment(q.Environment)
		if ok && q.Cause == store.CauseAutomatic && env.Deploy == pipeline.Auto && pipeline.Allows(env, old.Ref, c.repo.DefaultBranch) {
			plan.Deploys = append(plan.Deploys, env.Name)
		}
	}
	return automatic(cfg, plan, run)
}

// takenOver are the kinds of the steps of a run that need not be done again. An image that could not be read back may be gone.
func takenOver(old store.Run, steps []store.Step, named string) (kinds []string) {
	for _, s := range steps {
		_, isCheck := pipeline.CheckOf(s.Kind)
		if s.State != store.StepSucceeded || s.Kind == named || !isCheck && s.Kind != pipeline.StepBuild {
			continue
		}
		if f := old.Failure.V; s.Kind == pipeline.StepBuild && f != nil && f.Step == pipeline.StepResolve {
			continue
		}
		kinds = append(kinds, s.Kind)
	}
	return kinds
}

// newerOn is a run that goes on for a newer commit of the same branch, tag or pull request; nil where there is none.
func newerOn(tx *store.Tx, old store.Run) (*store.Run, error) {
	open, err := tx.OpenRuns(old.Repo)
	for _, r := range open {
		if r.App == old.App && r.Ref == old.Ref && r.Cause == old.Cause && r.Number > old.Number {
			return &r, err
		}
	}
	return nil, err
}
