package bot

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// How much an approval may cover for us to tell whose work it is: commits (a page of GitHub's comparison), and pages of a
// hundred pull requests and pushes since what is live.
const (
	maxRange = 250
	maxPages = 5
)

// own refuses an approval by somebody whose work it is: the requester, whoever pushed what the release adds to what is
// live, the pull requests' authors and mergers, and the commits' authors and co-authors. What a client can set (a name in
// a commit) proves nothing, so a commit that maps to no login takes nobody out who is not taken out as its pusher. What cannot be determined refuses.
func (c *call) own(ctx context.Context, d store.Deployment, rel, live store.Release) (outcome, error) {
	whose, err := c.workers(ctx, rel, live)
	if err != nil {
		return c.unknown(err)
	}
	whose[strings.ToLower(d.Requester)] = c.lang().Say(text.DidRequest)
	if why, ok := whose[strings.ToLower(c.login)]; ok {
		return c.no(text.OwnApproval, d.Number, why), nil
	}
	c.d.note("%s has no part in what is approved", c.login)
	return nil, nil
}

// workers maps the lower-case logins of those whose work a release is to what they did.
func (c *call) workers(ctx context.Context, rel, live store.Release) (map[string]string, error) {
	owner, name := split(c.repo.Name)
	whose := map[string]string{strings.ToLower(rel.Sender): c.lang().Say(text.DidPush), strings.ToLower(rel.Author): c.lang().Say(text.DidAuthor, code(rel.SHA[:7]))}
	add := func(u *github.User, did string) {
		if l := u.GetLogin(); l != "" {
			whose[strings.ToLower(l)] = did
		}
	}
	var commits []*github.RepositoryCommit
	if live.SHA == "" || live.SHA == rel.SHA {
		one, _, err := c.client.Repositories.GetCommit(ctx, owner, name, rel.SHA, nil)
		if err != nil {
			return nil, err
		}
		commits = append(commits, one)
	} else {
		cmp, _, err := c.client.Repositories.CompareCommits(ctx, owner, name, live.SHA, rel.SHA, &github.ListOptions{PerPage: maxRange})
		if err != nil {
			return nil, err
		}
		if cmp.GetTotalCommits() > maxRange {
			return nil, &Refusal{c.lang().Say(text.TooManyCommits, cmp.GetTotalCommits(), maxRange)}
		}
		commits = cmp.Commits
	}
	inRange := map[string]bool{}
	for _, gc := range commits {
		inRange[gc.GetSHA()] = true
		add(gc.GetAuthor(), c.lang().Say(text.DidAuthor, code(gc.GetSHA()[:7])))
		add(gc.GetCommitter(), c.lang().Say(text.DidCommit, code(gc.GetSHA()[:7])))
		for _, login := range coAuthors(gc.GetCommit().GetMessage()) {
			whose[strings.ToLower(login)] = c.lang().Say(text.DidCoAuthor, code(gc.GetSHA()[:7]))
		}
	}
	// Pull requests by what they ended in or stand at. One that was merged since then was updated since then.
	opt := &github.PullRequestListOptions{State: "all", Sort: "updated", Direction: "desc", ListOptions: github.ListOptions{PerPage: 100}}
	for page := 1; ; page++ {
		prs, resp, err := c.client.PullRequests.List(ctx, owner, name, opt)
		if err != nil {
			return nil, err
		}
		older := false
		for _, pr := range prs {
			if inRange[pr.GetMergeCommitSHA()] || inRange[pr.GetHead().GetSHA()] {
				add(pr.GetUser(), c.lang().Say(text.DidOpen, pr.GetNumber()))
			}
			older = older || pr.GetUpdatedAt().Before(live.CreatedAt.Time)
		}
		if resp.NextPage == 0 || older {
			break
		}
		if page == maxPages {
			return nil, &Refusal{c.lang().Say(text.TooManyCommits, ">"+fmt.Sprint(100*maxPages), 100*maxPages)}
		}
		opt.Page = resp.NextPage
	}
	// Who pushed and who merged, by GitHub's own record, not by what a commit says.
	for page, cursor := 1, ""; ; page++ {
		pushes, next, err := activity(ctx, c.client, c.repo.Name, "", cursor)
		if err != nil {
			return nil, err
		}
		older := false
		for _, p := range pushes {
			if inRange[p.After] {
				did := text.DidPush
				if p.Type == "pr_merge" {
					did = text.DidMergeInto
				}
				add(p.Actor, c.lang().Say(did))
			}
			older = older || p.Timestamp.Before(live.CreatedAt.Time)
		}
		if next == "" || older {
			return whose, nil
		}
		if page == maxPages {
			return nil, &Refusal{c.lang().Say(text.TooManyCommits, ">"+fmt.Sprint(100*maxPages), 100*maxPages)}
		}
		cursor = next
	}
}

var coAuthor = regexp.MustCompile(`(?im)^co-authored-by:.*<(?:\d+\+)?([a-z0-9-]+)@users\.noreply\.github\.com>\s*$`)

// coAuthors are the logins that GitHub's own no-reply addresses in a commit message name.
func coAuthors(message string) []string {
	var logins []string
	for _, m := range coAuthor.FindAllStringSubmatch(message, -1) {
		logins = append(logins, m[1])
	}
	return logins
}
