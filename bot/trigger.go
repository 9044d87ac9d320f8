package bot

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// kindTrigger is the kind of an event by which a program asks for a run.
const kindTrigger = "shipmate_trigger"

// A triggerOrder is the body of a kindTrigger, under that key.
type triggerOrder struct {
	Token     string            `json:"token"` // the name of the token
	Login     string            `json:"login"` // as whom it acts
	App       string            `json:"app"`
	Ref       string            `json:"ref"` // a branch or tag, short or in full
	Variables map[string]string `json:"variables,omitempty"`
}

// refSyntax are the names that git allows for a branch or tag (git-check-ref-format), with none that a path of the API could
// be led astray by.
var refSyntax = regexp.MustCompile(`^[^\x00-\x20\x7f~^:?*\[\\/.][^\x00-\x20\x7f~^:?*\[\\/]*(/[^\x00-\x20\x7f~^:?*\[\\/.][^\x00-\x20\x7f~^:?*\[\\/]*)*$`)

// refOf finds the branch or tag of that name, short or in full. no says why there is none, and what to do, in words for whoever
// named it.
func refOf(ctx context.Context, c *github.Client, repo, name string) (ref, no string, err error) {
	if len(name) > 250 || !refSyntax.MatchString(name) || strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, ".") {
		return "", "ref is no name of a branch or tag; write for example master or refs/tags/v1.0", nil
	}
	candidates := []string{branchPrefix + name, tagPrefix + name}
	if strings.HasPrefix(name, "refs/") {
		if !strings.HasPrefix(name, branchPrefix) && !strings.HasPrefix(name, tagPrefix) {
			return "", fmt.Sprintf("ref %q is neither a branch nor a tag; write refs/heads/… or refs/tags/…", name), nil
		}
		candidates = []string{name}
	}
	for _, full := range candidates {
		head, err := headOf(ctx, c, repo, full)
		switch {
		case err != nil:
			return "", "", err
		case head != "" && ref != "":
			return "", fmt.Sprintf("ref %q is a branch and a tag; write %s or %s", name, ref, full), nil
		case head != "":
			ref = full
		}
	}
	if ref == "" {
		return "", fmt.Sprintf("%s has no branch or tag %q", repo, name), nil
	}
	return ref, "", nil
}

// trigger decides what a program asked for. Everything is asked again that was asked before the order was taken: what matters is
// what is so when the run begins.
func (b *Bot) trigger(ctx context.Context, e store.Event, d *decision) error {
	var o triggerOrder
	if err := readOwn(e.Body, kindTrigger, &o); err != nil || e.Repo == nil {
		d.note("this is no order of the API, so nothing is done: %v", err)
		return nil
	}
	d.note("the token %s asks for a run of %s at %s, as %s", o.Token, o.App, o.Ref, o.Login)
	return b.asNow(ctx, e, d, func(c *github.Client, repo store.Repo) error {
		has, err := b.access.permission(ctx, c, repo.Name, o.Login)
		if declined(err) {
			d.note("refused: what %s may do cannot be checked: %v", o.Login, err)
			return nil
		}
		if err != nil {
			return err
		}
		d.note("%s has %s on %s, %s is needed", o.Login, has, repo.Name, write)
		if has < write {
			return nil
		}
		ref, no, err := refOf(ctx, c, repo.Name, o.Ref)
		if err != nil {
			return err
		}
		if no != "" {
			d.note("refused: %s", no)
			return nil
		}
		commit, err := commitAt(ctx, c, repo.Name, ref)
		if err != nil {
			return err
		}
		if commit == nil {
			d.note("refused: %s is of no commit", ref)
			return nil
		}
		trigger := pipeline.Trigger{Kind: pipeline.TriggerAPI, Ref: ref, SHA: commit.GetSHA(), DefaultBranch: repo.DefaultBranch,
			HeadMessage: commit.GetCommit().GetMessage(), Variables: o.Variables}
		apps, err := b.apps(ctx, c, repo, repo.DefaultBranch, trigger.SHA, d)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(apps, func(a app) bool { return a.name == o.App })
		switch {
		case i < 0:
			d.note("refused: no file without mistakes on %s declares %s", repo.DefaultBranch, o.App)
			return nil
		case apps[i].config == nil:
			d.note("refused: its file has mistakes: %v", apps[i].err)
			return nil
		}
		plan := apps[i].config.Plan(trigger)
		d.trace = append(d.trace, plan.Trace...)
		if !plan.Build {
			return nil
		}
		run := store.Run{Repo: repo.Name, App: o.App, Ref: ref, SHA: trigger.SHA, Subject: firstLine(trigger.HeadMessage), Author: writerOf(commit),
			Sender: o.Login, Cause: store.CauseAPI, Event: e.ID, Variables: store.JSON[map[string]string]{V: o.Variables}}
		if err := d.begin(e, apps[i].config, plan, run, nil); err != nil {
			return err
		}
		d.do(func(tx *store.Tx) error {
			return tx.Audit(store.Entry{Actor: o.Login, Via: "api", Action: "trigger", Repo: repo.Name, Subject: "event/" + e.ID,
				Detail: fmt.Sprintf("token %s: a run of %s at %.7s of %s", o.Token, o.App, trigger.SHA, ref)})
		})
		return nil
	})
}
