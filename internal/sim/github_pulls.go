package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// issue is an issue, or a pull request where pull is set; they share numbers.
type issue struct {
	id               int64
	number           int
	title, body      string
	author           *account
	open             bool
	created, updated time.Time
	closed           time.Time
	pull             *pull
}

type pull struct {
	id             int64
	headRepo       *Repo
	headRef, head  string // branch and SHA
	baseRef, base  string
	mergeCommit    string // the test merge while it is open, "" where it conflicts
	shownMerge     string // what the API still shows of it while vague
	vague          int    // for how many more requests GitHub does not know yet whether it merges
	stale          int    // for how many more it takes the result of an earlier head for that of this one
	draft          bool
	merged         time.Time
	mergedBy       *account
	commits, files int
}

func (repo *Repo) newIssue(author, title, body string) *issue {
	repo.lastNumber++
	i := &issue{
		id: repo.gh.id(), number: repo.lastNumber, title: title, body: body, author: repo.gh.addAccount(author, "User"), open: true,
		created: repo.gh.now(), updated: repo.gh.now(),
	}
	repo.issues[i.number] = i
	return i
}

// OpenIssue opens an issue, which is no pull request, and returns its number.
func (repo *Repo) OpenIssue(author, title string) int {
	defer repo.lock()()
	return repo.newIssue(author, title, "").number
}

// OpenPullRequest opens a pull request and returns its number. head is a branch,
// or OWNER:BRANCH of a fork. GitHub then keeps refs/pull/N/head and, unless it
// conflicts, refs/pull/N/merge.
func (repo *Repo) OpenPullRequest(head, base, author, title string) (int, error) {
	defer repo.lock()()
	headRepo, branch := repo, head
	if owner, b, ok := strings.Cut(head, ":"); ok {
		branch = b
		headRepo = repo.gh.repos[strings.ToLower(owner+"/"+repo.name)]
		if headRepo == nil || headRepo != repo && headRepo.parent != repo {
			return 0, fmt.Errorf("open pull request: %s has no fork of %s", owner, repo.FullName())
		}
	}
	headSHA, baseSHA := headRepo.refs["refs/heads/"+branch], repo.refs["refs/heads/"+base]
	if headSHA == "" || baseSHA == "" {
		return 0, fmt.Errorf("open pull request: head %q or base %q does not exist", head, base)
	}
	i := repo.newIssue(author, title, "")
	i.pull = &pull{id: repo.gh.id(), headRepo: headRepo, headRef: branch, head: headSHA, baseRef: base, base: baseSHA}
	if err := repo.updatePull(i); err != nil {
		return 0, err
	}
	repo.sendPull("opened", i, i.author, object{})
	return i.number, nil
}

// updatePull keeps the refs of an open pull request. mu is held.
func (repo *Repo) updatePull(i *issue) error {
	p := i.pull
	if p.headRepo != repo {
		if _, err := repo.dir.run("fetch", "--quiet", string(p.headRepo.dir), p.head); err != nil {
			return err
		}
	}
	ref := fmt.Sprintf("refs/pull/%d/", i.number)
	if err := repo.dir.setRef(ref+"head", p.head); err != nil {
		return err
	}
	message := fmt.Sprintf("Merge %s into %s", p.head, p.base)
	var err error
	if p.mergeCommit, err = repo.dir.merge(p.base, p.head, repo.gh.person(i.author.Login), message); err != nil {
		return err
	}
	if p.mergeCommit == "" {
		err = repo.dir.deleteRef(ref + "merge")
	} else {
		err = repo.dir.setRef(ref+"merge", p.mergeCommit)
	}
	p.vague, p.stale = repo.gh.vague, repo.gh.stale
	commits, err1 := repo.dir.count(p.head, "^"+p.base)
	diffs, err2 := repo.pullDiff(p)
	p.commits, p.files = commits, len(diffs)
	return errors.Join(err, err1, err2)
}

func (repo *Repo) pullDiff(p *pull) ([]gitDiff, error) {
	mergeBase, err := repo.dir.mergeBase(p.base, p.head)
	if err != nil {
		return nil, err
	}
	return repo.dir.diff(mergeBase, p.head)
}

// branchMoved updates the open pull requests that the branch is head or base of.
func (gh *GitHub) branchMoved(moved *Repo, actor *account, branch, before, after string) error {
	for _, repo := range gh.sortedRepos() {
		for _, number := range slices.Sorted(maps.Keys(repo.issues)) {
			i := repo.issues[number]
			p := i.pull
			if p == nil || !i.open {
				continue
			}
			isHead := p.headRepo == moved && p.headRef == branch
			if !isHead && !(repo == moved && p.baseRef == branch) {
				continue
			}
			if after == zeroSHA {
				i.open, i.closed, i.updated = false, gh.now(), gh.now()
				repo.sendPull("closed", i, actor, object{})
				continue
			}
			if isHead {
				p.head = after
			} else {
				p.base = after
			}
			if p.merged.IsZero() {
				if err := repo.updatePull(i); err != nil {
					return err
				}
			}
			if isHead {
				i.updated = gh.now()
				repo.sendPull("synchronize", i, actor, object{"before": before, "after": after})
			}
		}
	}
	return nil
}

// MergePullRequest merges by a merge commit, as the person, and returns it. It
// pushes to the base branch and closes the pull request.
func (repo *Repo) MergePullRequest(number int, login string) (string, error) {
	defer repo.lock()()
	i := repo.issues[number]
	if i == nil || i.pull == nil || !i.open {
		return "", fmt.Errorf("merge #%d: no open pull request", number)
	}
	p := i.pull
	message := fmt.Sprintf("Merge pull request #%d from %s/%s\n\n%s", number, p.headRepo.owner.Login, p.headRef, i.title)
	sha, err := repo.dir.merge(p.base, p.head, repo.gh.person(login), message)
	if err != nil {
		return "", fmt.Errorf("merge #%d: %w", number, err)
	}
	if sha == "" {
		return "", fmt.Errorf("merge #%d: it conflicts with %s", number, p.baseRef)
	}
	if err := repo.dir.moveRef("refs/heads/"+p.baseRef, sha, p.base); err != nil {
		return "", fmt.Errorf("merge #%d: %w", number, err)
	}
	actor := repo.gh.addAccount(login, "User")
	i.open, i.closed, i.updated = false, repo.gh.now(), repo.gh.now()
	p.merged, p.mergedBy, p.mergeCommit, p.vague, p.stale = i.closed, actor, sha, 0, 0
	repo.sendPull("closed", i, actor, object{})
	return sha, repo.refsChanged(actor, "pr_merge")
}

// SetVagueMerges says for how many requests for a pull request, after each change of it, GitHub answers that it does not know
// yet whether it merges: it begins to find out when it is asked. Default 1.
func (gh *GitHub) SetVagueMerges(requests int) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.vague = requests
}

// SetStaleMerges says for how many requests for a pull request, after each change of it, GitHub shows the merge commit of before
// as if it were the new one. Default 0.
func (gh *GitHub) SetStaleMerges(requests int) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.stale = requests
}

// ReopenPullRequest opens a closed one again, as the person.
func (repo *Repo) ReopenPullRequest(number int, login string) error {
	defer repo.lock()()
	i := repo.issues[number]
	if i == nil || i.pull == nil || i.open || !i.pull.merged.IsZero() {
		return fmt.Errorf("reopen #%d: no closed pull request", number)
	}
	i.open, i.closed, i.updated = true, time.Time{}, repo.gh.now()
	i.pull.base = repo.refs["refs/heads/"+i.pull.baseRef]
	err := repo.updatePull(i)
	repo.sendPull("reopened", i, repo.gh.addAccount(login, "User"), object{})
	return err
}

// EditPullRequest changes its title, or where base is not empty its base, as the person.
func (repo *Repo) EditPullRequest(number int, login, title, base string) error {
	defer repo.lock()()
	i := repo.issues[number]
	if i == nil || i.pull == nil || !i.open {
		return fmt.Errorf("edit #%d: no open pull request", number)
	}
	changes := object{}
	if title != "" {
		changes["title"] = object{"from": i.title}
		i.title = title
	}
	var err error
	if base != "" {
		sha := repo.refs["refs/heads/"+base]
		if sha == "" {
			return fmt.Errorf("edit #%d: base %q does not exist", number, base)
		}
		changes["base"] = object{"ref": object{"from": i.pull.baseRef}, "sha": object{"from": i.pull.base}}
		i.pull.baseRef, i.pull.base = base, sha
		err = repo.updatePull(i)
	}
	i.updated = repo.gh.now()
	repo.sendPull("edited", i, repo.gh.addAccount(login, "User"), object{"changes": changes})
	return err
}

// DraftPullRequest makes it a draft, or ready for review, as the person.
func (repo *Repo) DraftPullRequest(number int, login string, draft bool) error {
	defer repo.lock()()
	i := repo.issues[number]
	if i == nil || i.pull == nil || !i.open {
		return fmt.Errorf("draft #%d: no open pull request", number)
	}
	i.pull.draft, i.updated = draft, repo.gh.now()
	action := "ready_for_review"
	if draft {
		action = "converted_to_draft"
	}
	repo.sendPull(action, i, repo.gh.addAccount(login, "User"), object{})
	return nil
}

// ClosePullRequest closes it without merging, as the person.
func (repo *Repo) ClosePullRequest(number int, login string) error {
	defer repo.lock()()
	i := repo.issues[number]
	if i == nil || i.pull == nil || !i.open {
		return fmt.Errorf("close #%d: no open pull request", number)
	}
	i.open, i.closed, i.updated = false, repo.gh.now(), repo.gh.now()
	repo.sendPull("closed", i, repo.gh.addAccount(login, "User"), object{})
	return nil
}

func (repo *Repo) sendPull(action string, i *issue, actor *account, payload object) {
	payload["number"], payload["pull_request"] = i.number, repo.pullJSON(i)
	repo.gh.send("pull_request", action, repo, actor, payload)
}

func (i *issue) state() string {
	if i.open {
		return "open"
	}
	return "closed"
}

// association of a person with the repository, which proves no permission.
func (repo *Repo) association(a *account) string {
	switch {
	case a == repo.owner:
		return "OWNER"
	case repo.may(a, "triage"):
		return "COLLABORATOR"
	}
	return "NONE"
}

func (repo *Repo) simplePull(i *issue) object {
	p := i.pull
	number := strconv.Itoa(i.number)
	url, html, issueURL := repo.api("/pulls/", number), repo.html("/pull/", number), repo.api("/issues/", number)
	statuses := repo.api("/statuses/", p.head)
	side := func(r *Repo, ref, sha string) object {
		return object{"label": r.owner.Login + ":" + ref, "ref": ref, "sha": sha, "user": repo.gh.simpleUser(r.owner), "repo": repo.gh.repositoryJSON(r)}
	}
	merge := p.mergeCommit
	if p.vague > 0 || p.stale > 0 {
		merge = p.shownMerge
	}
	link := func(href string) object { return object{"href": href} }
	return object{
		"url": url, "id": p.id, "node_id": nodeID("PullRequest", p.id), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"issue_url": issueURL, "commits_url": url + "/commits", "review_comments_url": url + "/comments",
		"review_comment_url": repo.api("/pulls/comments{/number}"), "comments_url": issueURL + "/comments", "statuses_url": statuses,
		"number": i.number, "state": i.state(), "locked": false, "title": i.title, "user": repo.gh.simpleUser(i.author), "body": nullable(i.body),
		"labels": []any{}, "milestone": nil, "active_lock_reason": nil, "created_at": nullableTime(i.created), "updated_at": nullableTime(i.updated),
		"closed_at": nullableTime(i.closed), "merged_at": nullableTime(p.merged), "merge_commit_sha": nullable(merge),
		"assignee": nil, "assignees": []any{}, "requested_reviewers": []any{}, "requested_teams": []any{}, "draft": p.draft,
		"head": side(p.headRepo, p.headRef, p.head), "base": side(repo, p.baseRef, p.base),
		"_links": object{
			"self": link(url), "html": link(html), "issue": link(issueURL), "comments": link(issueURL + "/comments"), "review_comments": link(url + "/comments"),
			"review_comment": link(repo.api("/pulls/comments{/number}")), "commits": link(url + "/commits"), "statuses": link(statuses),
		},
		"author_association": repo.association(i.author), "auto_merge": nil,
	}
}

func (repo *Repo) pullJSON(i *issue) object {
	p := i.pull
	o := repo.simplePull(i)
	mergeable, state := any(p.mergeCommit != ""), "clean"
	switch {
	case !i.open, p.vague > 0:
		mergeable, state = nil, "unknown"
	case p.mergeCommit == "":
		state = "dirty"
	}
	var mergedBy any
	if p.mergedBy != nil {
		mergedBy = repo.gh.simpleUser(p.mergedBy)
	}
	comments := slices.DeleteFunc(slices.Clone(repo.comments), func(c *comment) bool { return c.number != i.number })
	maps.Copy(o, object{
		"merged": !p.merged.IsZero(), "mergeable": mergeable, "rebaseable": mergeable, "mergeable_state": state, "merged_by": mergedBy,
		"comments": len(comments), "review_comments": 0, "maintainer_can_modify": false, "commits": p.commits, "additions": 0, "deletions": 0,
		"changed_files": p.files,
	})
	return o
}

func (c *call) issue(parameter string) *issue { return c.repo.issues[int(c.number(parameter))] }

func (c *call) pull() *issue {
	i := c.issue("pull_number")
	if i == nil || i.pull == nil {
		return nil
	}
	return i
}

func (c *call) getPull() (int, any) {
	i := c.pull()
	if i == nil {
		return c.notFound()
	}
	answer := c.repo.pullJSON(i)
	switch p := i.pull; {
	case p.vague > 0:
		p.vague--
	case p.stale > 0:
		p.stale--
	default:
		p.shownMerge = p.mergeCommit
	}
	return http.StatusOK, answer
}

// pulls lists those that wanted says yes to, newest first.
func (c *call) pulls(wanted func(*issue) bool) (int, any) {
	all := []object{}
	for _, number := range slices.Backward(slices.Sorted(maps.Keys(c.repo.issues))) {
		if i := c.repo.issues[number]; i.pull != nil && wanted(i) {
			all = append(all, c.repo.simplePull(i))
		}
	}
	return http.StatusOK, page(c, all)
}

func (c *call) listPulls() (int, any) {
	query := c.URL.Query()
	state, head, base := cmp.Or(query.Get("state"), "open"), query.Get("head"), query.Get("base")
	return c.pulls(func(i *issue) bool {
		label := i.pull.headRepo.owner.Login + ":" + i.pull.headRef
		return (state == "all" || state == i.state()) && (base == "" || base == i.pull.baseRef) &&
			(head == "" || !strings.Contains(head, ":") || strings.EqualFold(head, label))
	})
}

// listCommitPulls lists the pull requests that have the commit: merged ones where
// it has reached the default branch, open ones too otherwise.
func (c *call) listCommitPulls() (int, any) {
	sha, err := c.repo.dir.commit(c.params["commit_sha"])
	if err != nil {
		return c.noCommit(c.params["commit_sha"])
	}
	return c.pulls(func(i *issue) bool {
		p := i.pull
		if !p.merged.IsZero() && p.mergeCommit == sha {
			return true
		}
		base := p.base
		if !p.merged.IsZero() {
			base = p.mergeCommit + "^1"
		}
		n, err := c.repo.dir.count(sha, "^"+base)
		return err == nil && n > 0 && c.repo.dir.isAncestor(sha, p.head)
	})
}

func (c *call) listPullCommits() (int, any) {
	i := c.pull()
	if i == nil {
		return c.notFound()
	}
	base := i.pull.base
	if !i.pull.merged.IsZero() {
		base = i.pull.mergeCommit + "^1"
	}
	commits, err := c.repo.dir.log("-250", i.pull.head, "^"+base)
	if err != nil {
		return c.broken(err)
	}
	slices.Reverse(commits)
	all := []object{}
	for _, commit := range page(c, commits) {
		all = append(all, c.gh.commitJSON(c.repo, commit))
	}
	return http.StatusOK, all
}

func (c *call) listPullFiles() (int, any) {
	i := c.pull()
	if i == nil {
		return c.notFound()
	}
	diffs, err := c.repo.pullDiff(i.pull)
	if err != nil {
		return c.broken(err)
	}
	return http.StatusOK, page(c, c.gh.diffJSON(c.repo, i.pull.head, diffs))
}
