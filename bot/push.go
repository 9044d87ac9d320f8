package bot

import (
	"context"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	branchPrefix = "refs/heads/"
	tagPrefix    = "refs/tags/"
)

// push decides a push of a branch or a tag, for every app of the repository. GitHub sends none for the tags of a push of more
// than three (webhook event "push").
func (b *Bot) push(ctx context.Context, e store.Event, p *github.PushEvent, repo store.Repo, d *decision) error {
	trigger := pipeline.Trigger{Kind: pipeline.TriggerPush, Ref: p.GetRef(), SHA: p.GetAfter(), DefaultBranch: repo.DefaultBranch,
		HeadMessage: p.GetHeadCommit().GetMessage(), Deleted: p.GetDeleted()}
	isTag := strings.HasPrefix(trigger.Ref, tagPrefix)
	c := b.hub.client(repo.Installation)
	switch {
	case !isTag && !strings.HasPrefix(trigger.Ref, branchPrefix):
		d.note("%s is neither a branch nor a tag, and only those are built", trigger.Ref)
		return nil
	case trigger.Deleted:
		d.note("%s was deleted by %s", trigger.Ref, p.GetSender().GetLogin())
		return deletedRef(ctx, c, repo, trigger, d)
	case isTag: // what was pushed may be an annotated tag, an object of its own
		trigger.SHA = p.GetHeadCommit().GetID()
	}
	d.note("%s is now %.7s, pushed by %s", trigger.Ref, trigger.SHA, p.GetSender().GetLogin())
	if trigger.SHA == "" {
		d.note("it is a tag of no commit, so nothing is built")
		return nil
	}
	reviewed, isDefault := repo.DefaultBranch, trigger.Ref == branchPrefix+repo.DefaultBranch
	if isDefault {
		reviewed = trigger.SHA // where the branch is; what was overtaken is not built, see below
	}
	apps, err := b.apps(ctx, c, repo, reviewed, trigger.SHA, d)
	if err != nil {
		return err
	}
	since := &comparison{bot: b, client: c, repo: repo, push: p, d: d}
	var runs []func(tx *store.Tx, overtaken string) error
	for _, app := range apps {
		run := store.Run{Repo: repo.Name, App: app.name, Ref: trigger.Ref, SHA: trigger.SHA, Subject: firstLine(trigger.HeadMessage),
			Author: authorOf(p.GetHeadCommit()), Sender: p.GetSender().GetLogin(), Cause: store.CausePush, Event: e.ID}
		start := func(fn func(*store.Tx) error) {
			runs = append(runs, func(tx *store.Tx, overtaken string) error {
				if known, err := knownRun(tx, e, run); err != nil || known != nil {
					if known != nil {
						d.note("run %d of %s is of this commit, so there is no other", known.Number, run.App)
					}
					return err
				}
				if overtaken != "" {
					return overtakenRun(tx, run, overtaken)
				}
				return fn(tx)
			})
		}
		if app.reviewed == nil { // the file that says what triggers a build cannot be read
			if isDefault {
				start(func(tx *store.Tx) error { return brokenRun(tx, run, app.err) })
			}
			continue
		}
		plan, _, err := since.plan(ctx, app, trigger)
		if err != nil {
			return err
		}
		d.trace = append(d.trace, plan.Trace...)
		if !plan.Build {
			continue
		}
		if app.config == nil {
			start(func(tx *store.Tx) error { return brokenRun(tx, run, app.err) })
			continue
		}
		requests, err := automatic(app.config, plan, run)
		if err != nil {
			return err
		}
		start(func(tx *store.Tx) error { _, err := newRun(tx, run, app.config, requests); return err })
	}
	if len(runs) == 0 && !isDefault {
		return nil
	}
	// Deliveries come in any order, late, and are decided side by side, but only the newest commit of a branch is built and
	// may stop the run of an older one. Asked last, so that nothing else takes time between the answer and the transaction.
	head, err := headOf(ctx, c, repo.Name, trigger.Ref)
	if err != nil {
		return err
	}
	kind, gone := "branch", text.BranchGone
	if isTag {
		kind, gone = "tag", text.TagGone
	}
	overtaken := ""
	switch head {
	case p.GetAfter():
	case "":
		overtaken = b.lang.Say(gone)
		d.note("the %s is gone, so nothing is built of %.7s", kind, trigger.SHA)
	default:
		overtaken = b.lang.Say(text.OvertakenBy, head[:7])
		d.note("the %s has moved on to %.7s since, so nothing is built of %.7s", kind, head, trigger.SHA)
	}
	d.do(func(tx *store.Tx) error {
		for _, run := range runs {
			if err := run(tx, overtaken); err != nil {
				return err
			}
		}
		if isDefault && overtaken == "" {
			if err := b.rerule(tx, repo.Name, apps, d); err != nil {
				return err
			}
			return declare(tx, repo.Name, trigger.SHA, apps)
		}
		return nil
	})
	return nil
}

// automatic are the deployments that follow from a run by themselves.
func automatic(cfg *pipeline.Config, plan pipeline.Plan, run store.Run) (requests []store.Request, err error) {
	for _, name := range plan.Deploys {
		env, _ := cfg.Environment(name) // Plan names those of the file
		q, err := request(cfg, env, store.CauseAutomatic, run.Sender, run.Event)
		if err != nil {
			return nil, err
		}
		requests = append(requests, q)
	}
	return requests, nil
}

// deletedRef stops what goes on by itself for a branch or a tag that is gone: its runs, and the automatic deployments of its
// releases that have not begun, since nobody would expect the work of a ref that was taken back to arrive somewhere later.
// What a person asked for stays, as it does when a newer commit comes, and so does what is being applied.
func deletedRef(ctx context.Context, c *github.Client, repo store.Repo, trigger pipeline.Trigger, d *decision) error {
	plan := new(pipeline.Config).Plan(trigger) // no rule of a file is asked
	d.trace = append(d.trace, plan.Trace...)
	if !plan.Cancel {
		return nil
	}
	head, err := headOf(ctx, c, repo.Name, trigger.Ref)
	if err != nil {
		return err
	}
	if head != "" { // this may be old news
		d.note("it is there again, at %.7s, so nothing is cancelled", head)
		return nil
	}
	d.do(func(tx *store.Tx) error {
		runs, err := tx.OpenRuns(repo.Name)
		if err != nil {
			return err
		}
		for _, r := range runs {
			if r.Ref != trigger.Ref {
				continue
			}
			if r.Asked() {
				d.note("run %d of %s goes on, since somebody asked for a deployment of it", r.Number, r.App)
				continue
			}
			d.note("run %d of %s is cancelled", r.Number, r.App)
			if err := tx.EndRun(r.ID, store.RunCancelled, store.ReasonDeleted, nil); err != nil {
				return err
			}
		}
		deployments, err := tx.OpenDeploymentsOf(repo.Name)
		if err != nil {
			return err
		}
		for _, o := range deployments {
			rel, err := tx.Release(o.Repo, o.App, o.Release)
			if err != nil {
				return err
			}
			if rel.Ref != trigger.Ref {
				continue
			}
			if o.Cause != store.CauseAutomatic || store.Active(o.State) {
				d.note("deployment %d of %s to %s goes on, since it has begun or somebody asked for it", o.Number, o.App, o.Environment)
				continue
			}
			d.note("deployment %d of %s to %s is cancelled", o.Number, o.App, o.Environment)
			if err := tx.EndDeployment(o, store.Cancelled, store.ReasonDeleted, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return nil
}
