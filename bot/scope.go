package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// maxScopeCommits is how many commits are listed to those who approve; the others are counted.
const maxScopeCommits = 20

// An approvalView is what is shown to those who approve a deployment. It is data: each surface puts it in its own form, or
// takes its lines.
type approvalView struct {
	Number      int // of the deployment
	App         string
	Environment string
	Release     int
	SHA         string
	Image       string       // repository@digest
	Scope       *store.Scope // the commits and jobs; nil: not worked out yet
	Changes     string       // the diff of the objects; empty for a public repository, whose page has it for those who may see it
	By          []string     // who may approve; empty: everyone with maintain
	Self        bool         // also those whose work it is
	Have        []string     // who approved
	Need        int
	Changed     []store.RulesChange // how the rules changed since it was first asked, and whose approval that made void
	Until       time.Time           // when it expires, or should have been agreed to
	Reminded    time.Time
	Ratify      bool   // it went without approval, and somebody has to agree to that
	Approve     string // the commands that decide
	Reject      string
	Page        string // the address of its page
}

// approvalText is what is shown to those who approve the deployment of a subject.
func (b *Bot) approvalText(s subject) approvalView {
	d := s.d
	v := approvalView{Number: d.Number, App: d.App, Environment: d.Environment, Release: d.Release, SHA: s.rel.SHA, Scope: d.Scope.V,
		By: s.rules.By, Self: s.rules.Self, Need: s.rules.Count, Until: d.ExpiresAt.Time, Reminded: d.RemindedAt.Time,
		Approve: s.typed(fmt.Sprintf("/approve %d", d.Number)), Reject: s.typed(fmt.Sprintf("/reject %d reason…", d.Number)), Page: b.page("deployments", d.ID)}
	v.Image = s.imageThere()
	if s.repo.Private {
		v.Changes = d.Changes
	}
	if r := d.Rules.V; r != nil {
		v.Changed = r.Changes
		v.Have = pipeline.Approvers(s.votes, r.Bound)
	}
	if unratified(*d) {
		v.Ratify, v.Need, v.Until, v.Reminded = true, 1, d.RatifyBy.Time, time.Time{}
	}
	return v
}

// scope says what is approved, in the marks of text.Quote: the first line, and under it the commits.
func (v approvalView) scope(l text.Lang) (line string, commits []string) {
	s := v.Scope
	switch {
	case s == nil:
		return l.Say(text.AskUnknown), nil
	case s.Unread != "":
		return l.Say(text.AskUnread, code(s.Unread)), nil
	case s.From == 0:
		line = l.Say(text.AskFirst, code(v.Environment))
	case s.Back:
		return l.Say(text.AskBackOnly, s.From, l.Count(s.Gone, text.Commits)), nil
	case s.Total == 0:
		line = l.Say(text.AskSameCommit, s.From)
	default:
		line = l.Say(text.AskCommits, l.Count(s.Total, text.Commits), s.From)
	}
	for _, c := range s.Commits {
		one := l.Say(text.AskCommit, code(c.SHA[:min(7, len(c.SHA))]), code(c.Subject), code(c.Author))
		if c.Pull > 0 {
			one += " (" + l.Say(text.AskPull, code(fmt.Sprintf("#%d", c.Pull))) + ")"
		}
		commits = append(commits, one)
	}
	if n := s.Total - len(s.Commits); n > 0 {
		commits = append(commits, l.Say(text.AskMore, n))
	}
	if s.Gone > 0 {
		commits = append(commits, l.Say(text.AskBack, l.Count(s.Gone, text.Commits)))
	}
	return line, commits
}

// who says who may approve, and who did.
func (v approvalView) who(l text.Lang) []string {
	may := l.Say(text.AskMaintainers)
	if len(v.By) > 0 {
		may = l.Say(text.AskListed, names(v.By))
	}
	lines := []string{may}
	if !v.Self {
		lines = append(lines, l.Say(text.AskOthers))
	}
	if !v.Ratify {
		lines = append(lines, l.Say(text.AskHave, len(v.Have), v.Need, names(v.Have)))
	}
	return []string{l.Join(lines)}
}

// void says how the rules changed since it was first asked, and whose approval that cost.
func (v approvalView) void(l text.Lang) (lines []string) {
	for _, c := range v.Changed {
		lines = append(lines, rulesChangeWords(c, l))
	}
	return lines
}

func rulesChangeWords(c store.RulesChange, l text.Lang) string {
	var what []string
	for _, r := range c.Rules {
		what = append(what, fmt.Sprintf("%s %s → %s", r.Key, orDash(r.Old), orDash(r.New)))
	}
	if len(c.Void) > 0 {
		return l.Say(text.RulesChangedFor, names(c.Void), names(what))
	}
	return l.Say(text.RulesChanged, names(what))
}

func orDash(s string) string {
	if s == "" {
		return "—"
	}
	return s
}

// lines is everything but the diff, one sentence each, in the marks of text.Quote; the commits begin with a dash.
func (v approvalView) lines(l text.Lang) []string {
	first, commits := v.scope(l)
	lines := []string{first}
	for _, c := range commits {
		lines = append(lines, "- "+c)
	}
	if v.Scope != nil && len(v.Scope.Jobs) > 0 {
		lines = append(lines, l.Say(text.AskJobs, names(v.Scope.Jobs)))
	}
	lines = append(lines, l.Say(text.AskImage, code(v.Image)))
	lines = append(lines, v.void(l)...)
	lines = append(lines, v.who(l)...)
	switch {
	case v.Ratify:
		lines = append(lines, l.Say(text.MustAgree, l.Time(v.Until)))
	case !v.Until.IsZero():
		until := []string{l.Say(text.AskUntil, l.Time(v.Until))}
		if !v.Reminded.IsZero() {
			until = append(until, l.Say(text.AskReminded, l.Time(v.Reminded)))
		}
		lines = append(lines, l.Join(until))
	}
	return append(lines, l.Say(text.AskSay, code(v.Approve), code(v.Reject)))
}

// readScope works out what a deployment changes. It holds nothing up: what cannot be read is said to be so, and asked for
// again where that may mend it.
func (b *Bot) readScope(ctx context.Context, id string, attempts int) (time.Time, error) {
	var d store.Deployment
	var rel, live store.Release
	var repo store.Repo
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		if d, err = tx.Deployment(id); err != nil {
			return err
		}
		if repo, err = tx.Repo(d.Repo); err != nil {
			return err
		}
		if rel, err = tx.Release(d.Repo, d.App, d.Release); err != nil {
			return err
		}
		before, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
		if err == nil && !d.FinishedAt.IsZero() { // what is there since is not what it was compared with
			before, err = store.Optional(tx.LiveBefore(d))
		}
		if err != nil || before == nil {
			return err
		}
		live, err = tx.Release(d.Repo, d.App, before.Release)
		return err
	})
	// What has begun is known as it was when it began.
	if err != nil || (store.Final(d.State) || store.Active(d.State)) && d.Scope.V != nil && d.Scope.V.Unread == "" {
		return time.Time{}, err
	}
	if old := d.Scope.V; old != nil && old.Unread == "" && old.From == live.Number {
		return time.Time{}, nil // nothing has gone there since
	}
	scope := store.Scope{From: live.Number}
	objs, jobs, err := b.engine.Objects(d)
	if err != nil {
		return time.Time{}, err
	}
	for _, o := range append(objs, jobs...) {
		if k := o.GetKind(); k == "Job" || k == "CronJob" {
			scope.Jobs = append(scope.Jobs, k+"/"+o.GetName())
		}
	}
	failed := b.scopeCommits(ctx, repo, live, rel, &scope)
	if failed != nil {
		scope.Unread = refusalWords(failed)
	}
	if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.SetScope(d, scope) }); err != nil {
		return time.Time{}, err
	}
	return time.Time{}, final(failed, attempts) // also of a limit, where GitHub says when to ask again
}

// refusalWords is an error of GitHub's without the address, which tells a reader nothing.
func refusalWords(err error) string {
	var answer *github.ErrorResponse
	if errors.As(err, &answer) && answer.Response != nil {
		return strings.TrimSpace(fmt.Sprintf("GitHub answers %d %s", answer.Response.StatusCode, answer.Message))
	}
	return "GitHub cannot be reached"
}

// scopeCommits lists what a release has that the live one has not.
func (b *Bot) scopeCommits(ctx context.Context, repo store.Repo, live, rel store.Release, s *store.Scope) error {
	c := b.hub.client(repo.Installation)
	owner, name := split(repo.Name)
	switch live.SHA {
	case "":
		s.Total = 1
		s.Commits = []store.ScopeCommit{{SHA: rel.SHA, Subject: rel.Subject, Author: rel.Author}}
		return nil
	case rel.SHA:
		return nil
	}
	const perPage = 100
	opt := &github.ListOptions{PerPage: perPage}
	cmp, _, err := c.Repositories.CompareCommits(ctx, owner, name, live.SHA, rel.SHA, opt)
	if err != nil {
		return err
	}
	s.Total, s.Gone = cmp.GetTotalCommits(), cmp.GetBehindBy()
	s.Back = s.Total == 0 && s.Gone > 0
	commits := cmp.Commits // oldest first
	if s.Total > perPage { // the newest are on the last page
		opt.Page = (s.Total + perPage - 1) / perPage
		last, _, err := c.Repositories.CompareCommits(ctx, owner, name, live.SHA, rel.SHA, opt)
		if err != nil {
			return err
		}
		if len(last.Commits) < maxScopeCommits && opt.Page == 2 {
			last.Commits = append(commits, last.Commits...)
		}
		commits = last.Commits
	}
	if len(commits) == 0 {
		return nil
	}
	prs, _, err := c.PullRequests.List(ctx, owner, name, &github.PullRequestListOptions{State: "all", Sort: "updated", Direction: "desc", ListOptions: github.ListOptions{PerPage: 100}})
	if err != nil {
		return err
	}
	pulls := pullsOf(commits, prs)
	for i := len(commits) - 1; i >= 0 && len(s.Commits) < maxScopeCommits; i-- {
		gc := commits[i]
		author := gc.GetAuthor().GetLogin()
		if author == "" {
			author = gc.GetCommit().GetAuthor().GetName()
		}
		s.Commits = append(s.Commits, store.ScopeCommit{SHA: gc.GetSHA(), Subject: text.Fit(firstLine(gc.GetCommit().GetMessage()), maxWhyLine), Author: author, Pull: pulls[gc.GetSHA()]})
	}
	return nil
}

// pullsOf tells which pull request brought which commit: what it ended in, and what it had. A number in a commit's message
// proves nothing.
func pullsOf(commits []*github.RepositoryCommit, prs []*github.PullRequest) map[string]int {
	parent := map[string]string{} // the first
	for _, c := range commits {
		parent[c.GetSHA()] = ""
		if len(c.Parents) > 0 {
			parent[c.GetSHA()] = c.Parents[0].GetSHA()
		}
	}
	mainline := map[string]bool{}
	for sha := commits[len(commits)-1].GetSHA(); sha != "" && !mainline[sha]; sha = parent[sha] {
		mainline[sha] = true
	}
	pulls := map[string]int{}
	for _, pr := range prs {
		if _, in := parent[pr.GetMergeCommitSHA()]; in && pr.MergedAt != nil {
			pulls[pr.GetMergeCommitSHA()] = pr.GetNumber()
		}
		for sha := pr.GetHead().GetSHA(); !mainline[sha] && pulls[sha] == 0; sha = parent[sha] {
			if _, in := parent[sha]; !in {
				break
			}
			pulls[sha] = pr.GetNumber()
		}
	}
	return pulls
}
