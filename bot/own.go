package bot

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// How much an approval may cover for us to tell whose work it is: commits since what is live, and pages of a hundred pull
// requests and pushes.
const (
	maxRange = 2000
	maxPages = 10
)

// building is how long at most before a release was made its commit was pushed: what was pushed and merged meanwhile is newer
// than the commit, but older than the release.
const building = 24 * time.Hour

// own refuses an approval by somebody whose work it is: the requester, whoever pushed what the release adds to what is
// live, the pull requests' authors and mergers, and the commits' authors and co-authors. What cannot be determined refuses.
//
// What a client can set (a name in a commit) proves nothing: a commit that names somebody whom GitHub does not know takes
// nobody out. Its author is then among those who pushed it. They are excluded like all pushers, so that what is left to ask
// is whether they are known: where no push and no pull request on record brought such a commit, nobody can be told to be none
// of them, and the approval is refused.
func (c *call) own(ctx context.Context, d store.Deployment, rel, live store.Release) (outcome, error) {
	w, err := c.bot.access.works(ctx, c.client, c.repo.Name, rel, live)
	if err != nil {
		return c.unknown(err)
	}
	p, ok := w.by[strings.ToLower(c.login)]
	if strings.EqualFold(d.Requester, c.login) {
		p, ok = part{text.DidRequest, nil}, true
	}
	if ok {
		return c.notOwn(ctx, d, w, p)
	}
	if len(w.loose) > 0 {
		return c.no(text.NobodysCommits, d.Number, some(w.loose)), nil
	}
	c.d.note("%s has no part in what is approved", c.login)
	return nil, nil
}

// notOwn refuses the vote of somebody who did a part of what is approved, and says who may vote instead.
func (c *call) notOwn(ctx context.Context, d store.Deployment, w works, p part) (outcome, error) {
	var rules pipeline.Approvals
	err := c.bot.db.View(ctx, func(tx *store.Tx) (err error) { _, rules, err = c.bot.engine.BoundOf(tx, d); return err })
	if err != nil {
		return nil, err
	}
	list := rules.By
	if len(list) == 0 {
		list = c.bot.access.holders(ctx, c.client, c.repo.Name, maintain)
	}
	var others []string
	for _, name := range list {
		login := strings.ToLower(strings.TrimPrefix(name, "@"))
		if _, own := w.by[login]; !own && login != strings.ToLower(d.Requester) {
			others = append(others, name)
		}
	}
	did := c.lang().Say(p.did)
	if p.of != nil {
		did = c.lang().Say(p.did, p.of)
	}
	may := c.lang().Say(text.MayApprove, some(others))
	if len(others) == 0 {
		may = c.lang().Say(text.NobodyElseMay)
	}
	return func(*store.Tx) (answer, error) {
		no := &Refusal{c.lang().Say(text.OwnApproval, d.Number, did) + " " + may}
		c.d.note("refused: %s", no)
		return answer{}, no
	}, nil
}

// works is whose work a release adds to what is live. It is not changed once it is made.
type works struct {
	by    map[string]part // by lower-case login
	loose []string        // commits that name somebody whom GitHub does not know, and that nobody is on record to have brought
}

// A part is what somebody did for a release.
type part struct {
	did text.Key
	of  any // the commit or the pull request; nil where it is about none
}

// works asks GitHub whose work a release is. The answer is used for a minute, so that votes at the same time cost little.
func (a *access) works(ctx context.Context, c *github.Client, repo string, rel, live store.Release) (works, error) {
	owner, _ := split(repo)
	return cached(a, owner, "works "+repo+" "+live.SHA+" "+rel.SHA+" "+rel.Sender, func() (works, error) {
		return askWorks(ctx, c, repo, rel, live)
	})
}

// A span is a range of commits, and what is on record about how they came.
type span struct {
	commits map[string]*github.RepositoryCommit
	whole   map[string]bool // those that are on record, with what stands before them in their line
	ends    map[string]end  // by the branch of a pull request of which other commits were made: its head is not in the range
}

// An end is a pull request whose commits were squashed or rebased when it was merged.
type end struct {
	number int
	at     time.Time
}

// brought marks a commit as being on record, and the line that it ends (the first parents): that is what a push of it adds,
// while a merge takes up what was brought before.
func (s *span) brought(sha string) {
	for gc := s.commits[sha]; gc != nil && !s.whole[gc.GetSHA()]; gc = s.commits[gc.Parents[0].GetSHA()] {
		s.whole[gc.GetSHA()] = true
		if len(gc.Parents) == 0 {
			return
		}
	}
}

func askWorks(ctx context.Context, c *github.Client, repo string, rel, live store.Release) (works, error) {
	w := works{by: map[string]part{}}
	add := func(login string, did text.Key, of any) {
		if login = strings.ToLower(login); login != "" {
			if _, ok := w.by[login]; !ok {
				w.by[login] = part{did, of}
			}
		}
	}
	var commits []*github.RepositoryCommit
	var pulls pages[*github.PullRequest]
	var pushes pages[push]
	owner, name := split(repo)
	pulls.ask = func(ctx context.Context, cursor string) ([]*github.PullRequest, string, error) {
		opt := &github.PullRequestListOptions{State: "all", Sort: "updated", Direction: "desc", ListOptions: github.ListOptions{PerPage: 100}}
		if cursor != "" {
			_, _ = fmt.Sscan(cursor, &opt.Page) // we wrote it
		}
		all, resp, err := c.PullRequests.List(ctx, owner, name, opt)
		if err != nil || resp.NextPage == 0 {
			return all, "", err
		}
		return all, fmt.Sprint(resp.NextPage), nil
	}
	pushes.ask = func(ctx context.Context, cursor string) ([]push, string, error) {
		return activity(ctx, c, repo, "", cursor)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { commits, err = added(gctx, c, repo, rel, live); return err })
	g.Go(func() error { return pulls.next(gctx) })
	g.Go(func() error { return pushes.next(gctx) })
	if err := g.Wait(); err != nil {
		return w, err
	}

	s := span{commits: map[string]*github.RepositoryCommit{}, whole: map[string]bool{}, ends: map[string]end{}}
	// What is older than both releases concerns neither, nor what is older than every commit. Clients set the commits'
	// times, so these make us look further back, and never less far.
	hard := rel.CreatedAt.Time
	if live.SHA != "" && live.CreatedAt.Before(hard) {
		hard = live.CreatedAt.Time
	}
	hard = hard.Add(-building)
	soft := hard
	logins := map[string]string{} // by the addresses that GitHub knows
	for _, gc := range commits {
		s.commits[gc.GetSHA()] = gc
		if at := gc.GetCommit().GetCommitter().GetDate().Add(-building); at.Before(soft) {
			soft = at
		}
		if l := gc.GetAuthor().GetLogin(); l != "" {
			logins[strings.ToLower(gc.GetCommit().GetAuthor().GetEmail())] = l
		}
	}
	var nobodys []string // commits that name somebody whom GitHub does not know
	for _, gc := range commits {
		short := code(gc.GetSHA()[:7])
		add(gc.GetAuthor().GetLogin(), text.DidAuthor, short)
		add(gc.GetCommitter().GetLogin(), text.DidCommit, short)
		known := gc.GetAuthor().GetLogin() != ""
		for _, address := range coAuthors(gc.GetCommit().GetMessage()) {
			l := loginOf(address)
			if l == "" {
				l = logins[strings.ToLower(address)]
			}
			add(l, text.DidCoAuthor, short)
			known = known && l != ""
		}
		if !known {
			nobodys = append(nobodys, gc.GetSHA())
		}
	}
	add(rel.Sender, text.DidPush, nil)
	if strings.HasPrefix(rel.Ref, "refs/tags/") { // GitHub has no record of who pushed a tag; its event told us
		s.brought(rel.SHA)
	}
	// Pull requests by what they ended in or stand at.
	for {
		oldest := time.Time{}
		for _, pr := range pulls.got {
			oldest = pr.GetUpdatedAt().Time
			merge, head := s.commits[pr.GetMergeCommitSHA()] != nil, s.commits[pr.GetHead().GetSHA()] != nil
			if !merge && !head {
				continue
			}
			add(pr.GetUser().GetLogin(), text.DidOpen, pr.GetNumber())
			if fork := pr.GetHead().GetRepo().GetFullName(); !strings.EqualFold(fork, repo) { // pushes to it are not on record
				add(pr.GetHead().GetUser().GetLogin(), text.DidOpen, pr.GetNumber())
			} else if !head && pr.MergedAt != nil {
				s.ends["refs/heads/"+pr.GetHead().GetRef()] = end{pr.GetNumber(), pr.GetMergedAt().Time}
			}
			s.brought(pr.GetHead().GetSHA())
		}
		if more, err := pulls.further(ctx, oldest, soft, hard); err != nil {
			return w, err
		} else if !more {
			break
		}
	}
	// Who pushed and who merged, by GitHub's own record, not by what a commit says.
	for {
		oldest := time.Time{}
		for _, p := range pushes.got {
			oldest = p.Timestamp
			if e, ok := s.ends[p.Ref]; ok && !p.Timestamp.After(e.at) && s.commits[p.After] == nil {
				add(p.Actor.GetLogin(), text.DidPushTo, e.number)
			}
			if s.commits[p.After] == nil {
				continue
			}
			did := text.DidPush
			if p.Type == "pr_merge" {
				did = text.DidMergeInto
			}
			add(p.Actor.GetLogin(), did, nil)
			s.brought(p.After)
		}
		w.loose = nil
		for _, sha := range nobodys {
			if !s.whole[sha] {
				w.loose = append(w.loose, sha[:7])
			}
		}
		until := soft
		if len(w.loose) > 0 { // somebody may have pushed them long ago
			until = time.Time{}
		}
		if more, err := pushes.further(ctx, oldest, until, hard); err != nil {
			return w, err
		} else if !more {
			return w, nil
		}
	}
}

// added lists the commits that a release adds to what is live: its own where nothing is, or where it goes back.
func added(ctx context.Context, c *github.Client, repo string, rel, live store.Release) ([]*github.RepositoryCommit, error) {
	owner, name := split(repo)
	if live.SHA != "" && live.SHA != rel.SHA {
		first, _, err := c.Repositories.CompareCommits(ctx, owner, name, live.SHA, rel.SHA, &github.ListOptions{PerPage: 100})
		if err != nil {
			return nil, err
		}
		total := first.GetTotalCommits()
		if total > maxRange {
			return nil, &unclear{text.TooManyCommits, []any{total, maxRange}}
		}
		rest := make([][]*github.RepositoryCommit, (total+99)/100)
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(4)
		for page := 2; page <= len(rest); page++ {
			g.Go(func() error {
				cmp, _, err := c.Repositories.CompareCommits(gctx, owner, name, live.SHA, rel.SHA, &github.ListOptions{PerPage: 100, Page: page})
				if err == nil {
					rest[page-1] = cmp.Commits
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		all := first.Commits
		for _, more := range rest {
			all = append(all, more...)
		}
		if len(all) < total { // nobody's part may be left out
			return nil, fmt.Errorf("GitHub lists %d of %d commits of %s...%s", len(all), total, live.SHA, rel.SHA)
		}
		if total > 0 {
			return all, nil
		}
	}
	one, _, err := c.Repositories.GetCommit(ctx, owner, name, rel.SHA, nil)
	return []*github.RepositoryCommit{one}, err
}

// pages reads a list a page at a time, the newest first.
type pages[T any] struct {
	ask    func(ctx context.Context, cursor string) ([]T, string, error)
	got    []T // the page that was read last
	cursor string
	read   int
}

func (p *pages[T]) next(ctx context.Context) (err error) {
	p.got, p.cursor, err = p.ask(ctx, p.cursor)
	p.read++
	return err
}

// further reads the next page, unless there is none or what the last one ended with is older than soft. It gives up behind
// maxPages, which is an error unless that was older than hard.
func (p *pages[T]) further(ctx context.Context, oldest, soft, hard time.Time) (more bool, err error) {
	switch {
	case p.cursor == "" || oldest.Before(soft):
		return false, nil
	case p.read < maxPages:
		return true, p.next(ctx)
	case oldest.Before(hard):
		return false, nil
	}
	return false, &unclear{text.TooManyCommits, []any{fmt.Sprintf(">%d", 100*maxPages), 100 * maxPages}}
}

var coAuthor = regexp.MustCompile(`(?im)^co-authored-by:[^<\n]*<([^>\n]*)>[ \t]*\r?$`)

// coAuthors are the addresses of those who a commit message says took part.
func coAuthors(message string) []string {
	var all []string
	for _, m := range coAuthor.FindAllStringSubmatch(message, -1) {
		all = append(all, strings.TrimSpace(m[1]))
	}
	return all
}

var noReply = regexp.MustCompile(`(?i)^(?:\d+\+)?([a-z0-9-]+(?:\[bot\])?)@users\.noreply\.github\.com$`)

// loginOf is the login that an address of GitHub's own is of, empty for any other address.
func loginOf(address string) string {
	if m := noReply.FindStringSubmatch(address); m != nil {
		return m[1]
	}
	return ""
}
