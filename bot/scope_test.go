package bot

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// TestPullsOf draws what a comparison lists: oldest first, a commit with its parents.
func TestPullsOf(t *testing.T) {
	commit := func(line string) *github.RepositoryCommit {
		sha, parents, _ := strings.Cut(line, " ")
		c := &github.RepositoryCommit{SHA: &sha}
		for _, p := range strings.Fields(parents) {
			c.Parents = append(c.Parents, &github.Commit{SHA: &p})
		}
		return c
	}
	pull := func(n int, head, merge string, merged bool) *github.PullRequest {
		pr := &github.PullRequest{Number: &n, Head: &github.PullRequestBranch{SHA: &head}, MergeCommitSHA: &merge}
		if merged {
			pr.MergedAt = &github.Timestamp{Time: time.Unix(1, 0)}
		}
		return pr
	}
	for name, c := range map[string]struct {
		commits []string
		pulls   []*github.PullRequest
		want    map[string]int
	}{
		"pushed":                {[]string{"a live", "b a"}, nil, map[string]int{}},
		"merged":                {[]string{"x live", "y x", "m live y"}, []*github.PullRequest{pull(1, "y", "m", true)}, map[string]int{"x": 1, "y": 1, "m": 1}},
		"squashed":              {[]string{"s live"}, []*github.PullRequest{pull(1, "y", "s", true)}, map[string]int{"s": 1}},
		"merged into another":   {[]string{"x live", "y x", "m live y", "n m"}, []*github.PullRequest{pull(1, "y", "m", true)}, map[string]int{"x": 1, "y": 1, "m": 1}},
		"one inside another":    {[]string{"x live", "y x", "k x y", "m live k"}, []*github.PullRequest{pull(1, "y", "k", true), pull(2, "k", "m", true)}, map[string]int{"x": 2, "y": 1, "k": 1, "m": 2}},
		"closed":                {[]string{"a live"}, []*github.PullRequest{pull(1, "y", "a", false)}, map[string]int{}},
		"of something else":     {[]string{"a live"}, []*github.PullRequest{pull(1, "y", "z", true)}, map[string]int{}},
		"a parent out of sight": {[]string{"y x", "m live y"}, []*github.PullRequest{pull(1, "y", "m", true)}, map[string]int{"y": 1, "m": 1}},
	} {
		var commits []*github.RepositoryCommit
		for _, line := range c.commits {
			commits = append(commits, commit(line))
		}
		if got := pullsOf(commits, c.pulls); name == "one inside another" {
			for sha := range c.want {
				if got[sha] == 0 {
					t.Errorf("%s: %s is of no pull request", name, sha)
				}
			}
		} else if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestApprovalLines: whatever a person typed stands in quotes, in both languages.
func TestApprovalLines(t *testing.T) {
	const hostile = "@everyone `x` [a](http://x) <img>"
	v := approvalView{Number: 3, Environment: "production", Image: "r@sha256:1", By: []string{"@acme/release"}, Need: 2, Have: []string{"bob"}, Until: time.Unix(0, 0).UTC(),
		Scope:   &store.Scope{From: 1, Total: 25, Gone: 2, Commits: []store.ScopeCommit{{SHA: "0123456789", Subject: hostile, Author: hostile, Pull: 7}}, Jobs: []string{"Job/" + hostile}},
		Changed: []store.RulesChange{{Rules: []store.RuleChange{{Key: "approvals.by", Old: "", New: "@acme/release"}}, Void: []string{"erin"}}},
		Approve: "/approve 3", Reject: "/reject 3 reason…"}
	for _, l := range []text.Lang{text.En, text.Zh} {
		all := strings.Join(v.lines(l), "\n")
		nothing := func(string) string { return "" }
		outside := text.Render(all, nothing, nothing)
		for _, bad := range []string{"@", "`", "[", "<", "#", "http"} {
			if strings.Contains(outside, bad) {
				t.Errorf("%s stands outside of quotes:\n%s", bad, outside)
			}
		}
		for _, want := range []string{"25", "0123456", "Job/", "bob", "erin", "/approve 3", "approvals.by", "#7", "24"} {
			if !strings.Contains(text.Plain(all), want) {
				t.Errorf("%s is not told:\n%s", want, text.Plain(all))
			}
		}
	}
}
