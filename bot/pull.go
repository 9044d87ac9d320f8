package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// Whatever makes us look at a pull request, it is decided by what GitHub says of it now: so deliveries may come late, twice and
// in any order, and one that is overtaken does what the newest would do.

// kindLook is the kind of the events of our own by which a pull request is looked at (again): GitHub had not worked out yet
// what merging gives, its base moved while it conflicted, or somebody said /ok-to-test. GitHub sends none of this kind.
const kindLook = "pull_request_look"

// A pullLook says why a pull request is looked at. It is the body of a kindLook under a key that no body of GitHub's has, beside
// what [aboutOf] reads.
type pullLook struct {
	Number int       `json:"number"`
	Sender string    `json:"sender"`
	Before string    `json:"before,omitempty"` // the head that it had, where it moved
	Since  time.Time `json:"since,omitzero"`   // what GitHub says of it must be at least as new as the delivery that told us
	Vain   int       `json:"vain,omitempty"`   // how often GitHub did not know yet what merging gives
	Again  bool      `json:"again,omitempty"`
}

func (l pullLook) event(repo string) (store.Event, error) {
	type m = map[string]any
	body, err := json.Marshal(m{kindLook: l, "pull_request": m{"number": l.Number}, "sender": m{"login": l.Sender}})
	return store.Event{ID: deliveryID(), Kind: kindLook, Repo: &repo, Body: body}, err
}

// lookAt has a pull request looked at after a while.
func lookAt(tx *store.Tx, repo string, l pullLook, after time.Duration) error {
	e, err := l.event(repo)
	if err != nil {
		return err
	}
	return tx.PutDue(e, tx.Now().Add(after))
}

// mostVain is how often GitHub is asked what merging gives: for about twenty minutes.
const mostVain = 12

// patient is how long to wait before asking for the nth time: GitHub mostly knows a second later.
func patient(n int) time.Duration { return min(time.Second<<n, maxBackoff) }

// pullRequest handles a delivery about a pull request.
func (b *Bot) pullRequest(ctx context.Context, e store.Event, p *github.PullRequestEvent, repo store.Repo, d *decision) error {
	l := pullLook{Number: p.GetNumber(), Sender: p.GetSender().GetLogin(), Since: p.GetPullRequest().GetUpdatedAt().Time, Again: p.GetAction() == "reopened"}
	if p.GetAction() == "synchronize" {
		l.Before = p.GetBefore()
	}
	switch action := p.GetAction(); {
	case action == "edited" && p.GetChanges().GetBase() == nil:
		d.note("only its words were edited, so nothing is done")
		return nil
	case !slices.Contains([]string{"opened", "synchronize", "reopened", "closed", "edited", "ready_for_review"}, action):
		d.note("nothing is done when a pull request is %s", action)
		return nil
	}
	return b.pull(ctx, e, l, repo, d)
}

// lookAgain handles an event of kindLook.
func (b *Bot) lookAgain(ctx context.Context, e store.Event, d *decision) error {
	var body map[string]json.RawMessage
	var l pullLook
	if json.Unmarshal(e.Body, &body) != nil || json.Unmarshal(body[kindLook], &l) != nil || e.Repo == nil || l.Number == 0 {
		d.note("nothing is done on a %s", e.Kind)
		return nil
	}
	if err := b.cfg.MayUseServer(*e.Repo); err != nil {
		d.note("refused: %v", err)
		return nil
	}
	var repo store.Repo
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { repo, err = tx.Repo(*e.Repo); return err }); err != nil {
		return err
	}
	return b.pull(ctx, e, l, repo, d)
}

// rebased has the pull requests looked at that conflict with a branch which was pushed to.
func rebased(tx *store.Tx, repo, ref, sender string) error {
	pulls, err := tx.Conflicts(repo, ref)
	for _, n := range pulls {
		err = errors.Join(err, lookAt(tx, repo, pullLook{Number: n, Sender: sender}, patient(0)))
	}
	return err
}

// pull decides what is to be done about a pull request as it is now.
func (b *Bot) pull(ctx context.Context, e store.Event, l pullLook, repo store.Repo, d *decision) error {
	c := b.hub.client(repo.Installation)
	owner, name := split(repo.Name)
	pr, _, err := c.PullRequests.Get(ctx, owner, name, l.Number)
	if isNotFound(err) {
		d.note("there is no pull request #%d any more", l.Number)
		return nil
	}
	if err != nil {
		return err
	}
	b.leaveHead(e, l, pr, repo, d)
	f, err := b.pullFacts(ctx, c, repo, l, pr, d)
	if err != nil {
		return err
	}
	if f.Pull.Closed {
		d.do(func(tx *store.Tx) error {
			cancelled, err := tx.ClosePull(repo.Name, l.Number)
			for _, r := range cancelled {
				d.note("run %d of %s is cancelled", r.Number, r.App)
			}
			return errors.Join(err, pullClosed(tx, repo.Name, l.Number, d))
		})
	}
	trusted := !f.Pull.Fork || f.Pull.OkToTest
	sha := "" // whose files say how it is built; a stranger's are not read before somebody said so
	if f.Pull.Merge == pipeline.MergeClean && trusted {
		sha = f.SHA
	}
	apps, err := b.apps(ctx, c, repo, repo.DefaultBranch, sha, d)
	if err != nil {
		return err
	}
	listens := func(a app) bool { return a.reviewed != nil && a.reviewed.Trigger.PullRequests }
	if !f.Pull.Closed && trusted && slices.ContainsFunc(apps, listens) {
		if err := f.read(ctx, c, repo, pr, apps); err != nil {
			return err
		}
	}
	var runs []func(*store.Tx) error
	conflicts, again := false, false
	for _, a := range apps {
		if a.reviewed == nil { // the file that says what triggers a build cannot be read: whoever pushed it was told
			continue
		}
		plan := a.reviewed.Plan(f.Trigger)
		d.trace = append(d.trace, plan.Trace...)
		run := store.Run{Repo: repo.Name, App: a.name, Ref: f.Ref, SHA: f.SHA, HeadSHA: f.Pull.Head, HeadRef: "refs/heads/" + pr.GetHead().GetRef(), BaseRef: "refs/heads/" + f.Pull.Base,
			Fork: f.fork, Subject: cmp.Or(firstLine(f.HeadMessage), pr.GetTitle()), Author: cmp.Or(f.author, pr.GetUser().GetLogin()), Sender: l.Sender,
			Cause: store.CausePull, Pull: l.Number, Event: e.ID}
		key, _, _ := strings.Cut(plan.Reason, ":")
		switch {
		case plan.Build && a.config == nil:
			runs = append(runs, b.unlessKnown(e, l, run, d, func(tx *store.Tx) error { return brokenRun(tx, run, a.err) }))
		case plan.Build:
			runs = append(runs, b.unlessKnown(e, l, run, d, func(tx *store.Tx) error { _, err := newRun(tx, run, a.config, nil); return err }))
		case key == "fork":
			runs = append(runs, b.unlessKnown(e, l, run, d, func(tx *store.Tx) error {
				run.Config.V = json.RawMessage("{}")
				return tx.NewUntestedRun(&run)
			}))
		case key == "merge-conflict":
			conflicts = true
			runs = append(runs, b.unlessKnown(e, l, run, d, func(tx *store.Tx) error { return unmerged(tx, run, b.lang.Say(text.MergeConflict, f.Pull.Base)) }))
		case plan.Again && l.Vain >= mostVain:
			runs = append(runs, b.unlessKnown(e, l, run, d, func(tx *store.Tx) error { return unmerged(tx, run, b.lang.Say(text.MergeUnknown, f.Pull.Base)) }))
		case plan.Again:
			again = true
		}
	}
	if again {
		next := l
		next.Vain++
		wait := patient(l.Vain)
		d.note("GitHub is asked again in %s", wait)
		d.do(func(tx *store.Tx) error { return lookAt(tx, repo.Name, next, wait) })
		return nil
	}
	if len(runs) == 0 {
		return nil
	}
	// Asked once more at the end, so that next to nothing can come between the answer and the transaction.
	now, _, err := c.PullRequests.Get(ctx, owner, name, l.Number)
	if err != nil {
		return err
	}
	if head := now.GetHead().GetSHA(); head != f.Pull.Head {
		d.note("its head moved on to %.7s meanwhile, of which a delivery of its own tells", head)
		return nil
	}
	d.do(func(tx *store.Tx) error {
		for _, run := range runs {
			if err := run(tx); err != nil {
				return err
			}
		}
		if conflicts {
			return tx.PutConflict(repo.Name, l.Number, "refs/heads/"+f.Pull.Base)
		}
		return tx.EndConflict(repo.Name, l.Number)
	})
	return nil
}

// unlessKnown lets fn record a run where the newest one of its pull request does not say the same already.
func (b *Bot) unlessKnown(e store.Event, l pullLook, run store.Run, d *decision, fn func(*store.Tx) error) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		known, err := store.Optional(tx.PullRun(run.Repo, run.App, run.Pull))
		if err != nil {
			return err
		}
		if known == nil || e.Via == store.ViaReplay || known.Head() != run.Head() || known.SHA != run.SHA || known.BaseRef != run.BaseRef ||
			known.State == store.RunFailed && l.Again || known.State == store.RunCancelled && known.Reason != store.ReasonUntested {
			return fn(tx)
		}
		d.note("run %d of %s is of this commit, so there is no other", known.Number, run.App)
		return nil
	}
}

// unmerged records the run of a head that there is no merge result of: its author sees why where they look.
func unmerged(tx *store.Tx, run store.Run, why string) error {
	run.Config.V = json.RawMessage("{}")
	if err := tx.NewRun(&run, pipeline.StepMerge); err != nil {
		return err
	}
	return tx.EndRun(run.ID, store.RunFailed, why, &store.Failure{Step: pipeline.StepMerge, Reason: why})
}

// pullFacts are what is known of a pull request besides its trigger.
type pullFacts struct {
	pipeline.Trigger
	fork   string // the repository that the head lies in, where it is another
	author string // of the head
}

// pullFacts gathers what decides whether a pull request may be built at all. SHA is the merge result where there is one,
// else the head.
func (b *Bot) pullFacts(ctx context.Context, c *github.Client, repo store.Repo, l pullLook, pr *github.PullRequest, d *decision) (f pullFacts, err error) {
	head := pr.GetHead()
	f.Trigger = pipeline.Trigger{Kind: pipeline.TriggerPull, Ref: fmt.Sprintf("refs/pull/%d/merge", l.Number), SHA: head.GetSHA(), DefaultBranch: repo.DefaultBranch,
		Pull: pipeline.Pull{Number: l.Number, Base: pr.GetBase().GetRef(), Head: head.GetSHA(), Closed: pr.GetState() == "closed"}}
	if login := pr.GetUser().GetLogin(); login != "" {
		f.Authors = []string{login}
	}
	d.note("#%d is %s, its head %.7s of %s is to go into %s", l.Number, pr.GetState(), f.Pull.Head, head.GetLabel(), f.Pull.Base)
	if f.fork = forkOf(pr, repo); f.fork != "" {
		f.Pull.Fork = true
		var by string
		err = b.db.View(ctx, func(tx *store.Tx) (err error) { by, err = tx.TestAllowed(repo.Name, l.Number, f.Pull.Head); return err })
		if err != nil {
			return f, err
		}
		if f.Pull.OkToTest = by != ""; f.Pull.OkToTest {
			d.note("%s said /ok-to-test of %.7s", by, f.Pull.Head)
		}
	}
	switch {
	case f.Pull.Closed || f.Pull.Fork && !f.Pull.OkToTest:
		return f, nil // whatever merging gives
	case pr.GetUpdatedAt().Before(l.Since) || pr.Mergeable == nil:
		return f, nil // not to be known, or not yet
	case !pr.GetMergeable():
		f.Pull.Merge = pipeline.MergeConflict
		return f, nil
	}
	// GitHub may still show the result of an earlier head.
	owner, name := split(repo.Name)
	merge, _, err := c.Repositories.GetCommit(ctx, owner, name, pr.GetMergeCommitSHA(), &github.ListOptions{PerPage: 1})
	if err != nil {
		return f, ignoreNotFound(err)
	}
	if slices.ContainsFunc(merge.Parents, func(p *github.Commit) bool { return p.GetSHA() == f.Pull.Head }) {
		f.Pull.Merge, f.SHA = pipeline.MergeClean, merge.GetSHA()
	} else {
		d.note("%.7s, which GitHub calls the result, is none of %.7s", merge.GetSHA(), f.Pull.Head)
	}
	return f, nil
}

// forkOf is the repository that a pull request's head lies in, empty where that is repo. What is not known to be ours is a
// stranger's: of a fork that was deleted GitHub tells no more than its owner.
func forkOf(pr *github.PullRequest, repo store.Repo) string {
	head := pr.GetHead()
	if id := head.GetRepo().GetID(); id != 0 && id == repo.ID {
		return ""
	}
	return cmp.Or(head.GetRepo().GetFullName(), head.GetUser().GetLogin()+"/")
}

// maxPullFiles is how many files of a pull request GitHub lists (REST "List pull requests files").
const maxPullFiles = 3000

// read adds what the rules of apps ask for: the head's message, and the files where somebody asks for paths.
func (f *pullFacts) read(ctx context.Context, c *github.Client, repo store.Repo, pr *github.PullRequest, apps []app) error {
	owner, name := split(repo.Name)
	head, _, err := c.Repositories.GetCommit(ctx, owner, name, f.Pull.Head, &github.ListOptions{PerPage: 1})
	if err != nil {
		return err
	}
	f.HeadMessage = head.GetCommit().GetMessage()
	f.author = cmp.Or(head.GetAuthor().GetLogin(), head.GetCommit().GetAuthor().GetName())
	byPaths := func(a app) bool {
		return a.reviewed != nil && a.reviewed.Trigger.PullRequests && len(a.reviewed.Trigger.Paths)+len(a.reviewed.Trigger.PathsIgnore) > 0
	}
	if !slices.ContainsFunc(apps, byPaths) {
		return nil
	}
	f.Base = pr.GetBase().GetSHA()
	listed := 0
	for opt := (&github.ListOptions{PerPage: 100}); ; {
		files, resp, err := c.PullRequests.ListFiles(ctx, owner, name, f.Pull.Number, opt)
		if err != nil {
			return err
		}
		for _, file := range files {
			f.Files = append(f.Files, file.GetFilename())
			if was := file.GetPreviousFilename(); was != "" {
				f.Files = append(f.Files, was)
			}
		}
		listed += len(files)
		if opt.Page = resp.NextPage; opt.Page == 0 {
			break
		}
	}
	f.FilesKnown = listed < maxPullFiles && listed == pr.GetChangedFiles()
	return nil
}

// okToTest allows the build of a fork's pull request at exactly one commit. It takes all 40 digits: fewer could be made to fit
// another commit.
func (c *call) okToTest(ctx context.Context, args []string) (outcome, error) {
	if c.pull == 0 {
		return c.no(text.NotOnAPull, c.form()), nil
	}
	if len(args) != 1 {
		return c.usage(), nil
	}
	owner, name := split(c.repo.Name)
	pr, _, err := c.client.PullRequests.Get(ctx, owner, name, c.pull)
	if err != nil {
		return nil, err
	}
	head := pr.GetHead().GetSHA()
	switch {
	case pr.GetState() != "open":
		return c.no(text.PullClosed, c.pull), nil
	case forkOf(pr, c.repo) == "":
		return c.no(text.NotAFork, c.pull), nil
	case !strings.EqualFold(args[0], head):
		return c.no(text.NotTheHead, code(args[0]), code(head), code(c.typed("/ok-to-test "+head))), nil
	}
	apps, err := c.bot.apps(ctx, c.client, c.repo, c.repo.DefaultBranch, "", c.d)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(apps, func(a app) bool { return a.reviewed != nil && a.reviewed.Trigger.PullRequests }) {
		return c.no(text.PullsAreOff, code("trigger.pull_requests"), code(c.repo.DefaultBranch)), nil
	}
	return func(tx *store.Tx) (answer, error) {
		err := errors.Join(
			tx.AllowTest(c.repo.Name, c.pull, head, c.login),
			tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "ok-to-test", Repo: c.repo.Name, Subject: fmt.Sprintf("pull/%d", c.pull), Detail: fmt.Sprintf("#%d at %s", c.pull, head)}),
			lookAt(tx, c.repo.Name, pullLook{Number: c.pull, Sender: c.login}, 0))
		return reply(c.lang().Say(text.TestAllowed, c.pull, code(head)), err)
	}, nil
}
