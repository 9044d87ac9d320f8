package bot

import (
	"context"
	"slices"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	// wholeCommits is up to how many commits a push event surely lists all: GitHub lists at most 2048 (webhook event "push"),
	// older GitHub Enterprise Servers 20.
	wholeCommits = 19
	// wholeFiles is up to how many changed files it surely lists all of a commit: GitHub lists at most 3000.
	wholeFiles = 2999
	// comparedFiles is how many changed files GitHub lists of a comparison at most (REST "Compare two commits").
	comparedFiles = 300
	// comparedCommits is how many commits of a comparison are read.
	comparedCommits = 100
)

// A comparison finds what a push changed, for the apps whose rules ask for it. It asks GitHub once for each commit that the
// push is compared with.
type comparison struct {
	bot    *Bot
	client *github.Client
	repo   store.Repo
	push   *github.PushEvent
	d      *decision
	known  map[string]pipeline.Trigger // by what it is compared with
}

// plan decides a push for an app, and returns what it was decided by: what changed is asked only where all other rules let it
// through.
func (c *comparison) plan(ctx context.Context, a app, t pipeline.Trigger) (pipeline.Plan, pipeline.Trigger, error) {
	plan := a.reviewed.Plan(t)
	if !plan.Build || !a.reviewed.AsksChanges(t.Ref) {
		return plan, t, nil
	}
	t, err := c.fill(ctx, a.name, t)
	return a.reviewed.Plan(t), t, err
}

// fill returns t with Files, FilesKnown, Authors and Base since the newest release of t.Ref: what was pushed in between may
// have failed, or never have been built. A branch without a release is compared with the default branch, from where it left
// that; the default branch without one is compared with nothing.
func (c *comparison) fill(ctx context.Context, app string, t pipeline.Trigger) (pipeline.Trigger, error) {
	var previous *store.Release
	err := c.bot.db.View(ctx, func(tx *store.Tx) (err error) {
		previous, err = store.Optional(tx.BuiltOn(c.repo.Name, app, t.Ref))
		return err
	})
	if err != nil {
		return t, err
	}
	base := c.repo.DefaultBranch
	switch {
	case previous != nil:
		base = previous.SHA
	case t.Ref == branchPrefix+base:
		return t, nil
	}
	if filled, ok := c.known[base]; ok {
		return filled, nil
	}
	if base == c.push.GetBefore() && tellsAll(c.push) {
		t.Base, t.FilesKnown = base, true
		for _, commit := range c.push.Commits {
			t.Files = slices.Concat(t.Files, commit.Added, commit.Removed, commit.Modified)
			t.Authors = append(t.Authors, commit.GetAuthor().GetLogin())
		}
	} else if t, err = c.compare(ctx, t, base, previous != nil); err != nil {
		return t, err
	}
	if c.known == nil {
		c.known = map[string]pipeline.Trigger{}
	}
	c.known[base] = t
	return t, nil
}

// tellsAll says whether a push lists everything that it changed since the commit before it. Of a merge GitHub may leave out
// what it changed, and of a push that was forced it tells nothing of what was taken back.
func tellsAll(p *github.PushEvent) bool {
	if p.GetForced() || len(p.Commits) == 0 || len(p.Commits) > wholeCommits {
		return false
	}
	return !slices.ContainsFunc(p.Commits, func(c *github.HeadCommit) bool {
		n := len(c.Added) + len(c.Removed) + len(c.Modified)
		return n == 0 || n > wholeFiles
	})
}

// compare asks GitHub. ahead is whether the push must hold base: where it does not, as after a push that was forced, the
// comparison lacks what was taken back.
func (c *comparison) compare(ctx context.Context, t pipeline.Trigger, base string, ahead bool) (pipeline.Trigger, error) {
	owner, name := split(c.repo.Name)
	got, _, err := c.client.Repositories.CompareCommits(ctx, owner, name, base, t.SHA, &github.ListOptions{PerPage: comparedCommits})
	if declined(err) { // base is gone, or they have nothing in common
		c.d.note("%.7s cannot be compared with %s: %v", t.SHA, base, err)
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t.Base = got.GetMergeBaseCommit().GetSHA()
	if s := got.GetStatus(); ahead && s != "ahead" && s != "identical" {
		c.d.note("%.7s does not hold %.7s, the commit of its newest release, so not every change is known", t.SHA, base)
		return t, nil
	}
	t.FilesKnown = len(got.Files) < comparedFiles
	for _, f := range got.Files {
		t.Files = append(t.Files, f.GetFilename())
		if old := f.GetPreviousFilename(); old != "" {
			t.Files = append(t.Files, old)
		}
	}
	for _, commit := range got.Commits {
		t.Authors = append(t.Authors, commit.GetAuthor().GetLogin())
	}
	if got.GetTotalCommits() > len(got.Commits) {
		t.Authors = append(t.Authors, "") // of those that are not listed
	}
	return t, nil
}
