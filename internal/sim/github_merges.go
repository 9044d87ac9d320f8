package sim

import (
	"fmt"
	"strings"
)

// SquashPullRequest merges by one commit of the pull request's author with the given message, as the person, and returns
// it. It pushes to the base branch and closes the pull request.
func (repo *Repo) SquashPullRequest(number int, login, message string) (string, error) {
	defer repo.lock()()
	i := repo.issues[number]
	if i == nil || i.pull == nil || !i.open {
		return "", fmt.Errorf("squash #%d: no open pull request", number)
	}
	p := i.pull
	tree, err := repo.dir.run("merge-tree", "--write-tree", p.base, p.head)
	if err != nil {
		return "", fmt.Errorf("squash #%d: %w", number, err)
	}
	sha, err := repo.dir.commitTree(strings.TrimSpace(tree), repo.gh.person(i.author.Login), message, p.base)
	if err != nil {
		return "", fmt.Errorf("squash #%d: %w", number, err)
	}
	if err := repo.dir.moveRef("refs/heads/"+p.baseRef, sha, p.base); err != nil {
		return "", fmt.Errorf("squash #%d: %w", number, err)
	}
	actor := repo.gh.addAccount(login, "User")
	i.open, i.closed, i.updated = false, repo.gh.now(), repo.gh.now()
	p.merged, p.mergedBy, p.mergeCommit, p.vague, p.stale = i.closed, actor, sha, 0, 0
	repo.sendPull("closed", i, actor, object{})
	return sha, repo.refsChanged(actor, "pr_merge")
}

// MergeLocally makes the changes on a branch that is never pushed, merges that into the branch with a merge commit, and
// pushes the result, as pusher. It returns the merge commit.
func (repo *Repo) MergeLocally(branch, pusher string, changes ...Change) (string, error) {
	defer repo.lock()()
	base := repo.refs["refs/heads/"+branch]
	side := base
	for _, change := range changes {
		var err error
		if side, err = repo.dir.write(side, repo.gh.person(change.Author), change.Message, change.Files); err != nil {
			return "", fmt.Errorf("merge into %s: %w", branch, err)
		}
	}
	sha, err := repo.dir.merge(base, side, repo.gh.person(pusher), "Merge a branch")
	if err != nil {
		return "", fmt.Errorf("merge into %s: %w", branch, err)
	}
	if err := repo.dir.moveRef("refs/heads/"+branch, sha, base); err != nil {
		return "", fmt.Errorf("merge into %s: %w", branch, err)
	}
	return sha, repo.refsChanged(repo.gh.addAccount(pusher, "User"), "")
}
