package bot

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/store"
)

// rules is testdata/repo's .shipmate.yaml with pull requests on, and texts replaced.
func rules(t *testing.T, oldNew ...string) map[string]string {
	t.Helper()
	return file(t, append([]string{"trigger:\n", "trigger:\n  pull_requests: true\n"}, oldNew...)...)
}

// pullLab is a lab whose master has these rules already.
func pullLab(t *testing.T, oldNew ...string) *lab {
	t.Helper()
	l := newLab(t, nil)
	sha := got(l.Push("root", "master", "Build pull requests", rules(t, oldNew...)))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	return l
}

// built lists what was built of a commit's pull request.
func (l *lab) built(number int) (requests []build.Request) {
	for _, r := range l.builder.Requests() {
		if r.Args["CI_PULL_REQUEST"] == fmt.Sprint(number) {
			requests = append(requests, r)
		}
	}
	return requests
}

// TestMergeUnknown: GitHub is asked for a while what merging gives, by rows and not by anybody who waits, and then it is said
// that it does not tell. A result of an earlier head counts as none.
func TestMergeUnknown(t *testing.T) {
	t.Parallel()
	l := pullLab(t)
	sha := got(l.Push("dave", "feature", "One", map[string]string{"app.txt": "1"}))(t)
	n := got(l.repo.OpenPullRequest("feature", "master", "dave", "A change"))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)

	l.gh.SetStaleMerges(1)
	sha = got(l.Push("dave", "feature", "One and a half", map[string]string{"app.txt": "1.5"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	l.gh.SetStaleMerges(0)
	if built := l.built(n); len(built) != 2 || built[0].Args["GIT_COMMIT"] == built[1].Args["GIT_COMMIT"] {
		t.Errorf("what was merged before was built again: %v", built)
	}

	l.gh.SetVagueMerges(1000)
	asked := len(l.gh.Requests())
	sha = got(l.Push("dave", "feature", "Two", map[string]string{"app.txt": "2"}))(t)
	for range mostVain + 2 {
		must(t, l.Settle())
		must(t, l.Tick(maxBackoff))
	}
	got(l.Status(sha, "shipmate/build", "failure", "GitHub does not say whether it can be merged into master"))(t)
	vain := 0
	for _, r := range l.gh.Requests()[asked:] {
		if r.Path == fmt.Sprintf("/repos/acme/web/pulls/%d", n) {
			vain++
		}
	}
	if vain < mostVain || vain > mostVain+2 {
		t.Errorf("GitHub was asked %d times", vain)
	}
	if built := l.built(n); len(built) != 2 {
		t.Errorf("%d builds", len(built))
	}

	// Closing and opening it asks from the start.
	l.gh.SetVagueMerges(0)
	must(t, l.repo.ClosePullRequest(n, "dave"))
	must(t, l.repo.ReopenPullRequest(n, "dave"))
	got(l.Status(sha, "shipmate/build", "success", "built in"))(t)
}

// TestPullRequestPaths: the files are those of the pull request, whatever happened on its base, and where GitHub does not list
// them all they count as changed.
func TestPullRequestPaths(t *testing.T) {
	t.Parallel()
	l := pullLab(t, "  branches:", "  paths_ignore: [docs/**]\n  branches:")
	docs := got(l.Push("dave", "docs", "Words", map[string]string{"docs/a.md": "a"}))(t)
	got(l.Push("alice", "master", "Go on", map[string]string{"app.txt": "1"}))(t)
	n := got(l.repo.OpenPullRequest("docs", "master", "dave", "Words"))(t)
	must(t, l.Settle())
	if s := l.status(docs, "shipmate/build"); s.State != "" || len(l.built(n)) > 0 {
		t.Errorf("words were built: %v", s)
	}
	sha := got(l.Push("dave", "docs", "More than words", map[string]string{"app.go": "a"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)

	many := map[string]string{}
	for i := range maxPullFiles + 1 {
		many[fmt.Sprintf("docs/%d.md", i)] = "x"
	}
	sha = got(l.Push("dave", "many", "Many words", many))(t)
	n = got(l.repo.OpenPullRequest("many", "master", "dave", "Many words"))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	if len(l.built(n)) != 1 {
		t.Error("what is not known was taken for unchanged")
	}
}

// TestForkGetsNothing plays a stranger whose pull request was allowed, and who asks for everything.
func TestForkGetsNothing(t *testing.T) {
	t.Parallel()
	l := pullLab(t)
	_, err := l.repo.Fork("mallory")
	must(t, err)
	fork := l.gh.Repo("mallory/web")
	l.clock.Advance(2 * time.Second)
	sha := got(fork.Commit("master", "mallory", "Mine", map[string]string{ // its branch is called as ours
		".shipmate.yaml": `
app: web
trigger: {branches: [/.*/], pull_requests: true}
build:
  image: registry.example.com/team/web/evil
  dockerfile: Other
  args: {BUILDKIT_SYNTAX: evil.example.com/frontend, GIT_BRANCH: master, CI_PULL_REQUEST: ""}
  secrets: [npm_token, signing_key]
  tags: [latest]
  cache: inline
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy/, deploy: auto}
`, "Other": "FROM scratch\nRUN echo $npm_token\n"}))(t)
	n := got(l.repo.OpenPullRequest("mallory:master", "master", "mallory", "Mine"))(t)
	got(l.Status(sha, "shipmate/build", "error", "waits for /ok-to-test "+sha))(t)
	if done, reply, err := l.Say(n, "alice", "/ok-to-test "+sha); !done {
		t.Fatalf("%s %v", reply, err)
	}
	got(l.Status(sha, "shipmate/build", "success", "built in"))(t)
	must(t, l.Settle())
	built := l.built(n)
	if len(built) != 1 {
		t.Fatalf("%d builds", len(built))
	}
	r := built[0]
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	check("dockerfile", r.Dockerfile, "Other")
	check("its program that reads the Dockerfile", r.Args["BUILDKIT_SYNTAX"], "evil.example.com/frontend") // on a builder for forks
	check("fork", r.Fork, true)
	check("no push", r.NoPush, true)
	check("image", r.Image, "registry.example.com/team/web")
	check("secrets", slices.Sorted(maps.Keys(r.Secrets)), []string{})
	check("exports", len(r.CacheExports), 0)
	check("inline", r.InlineCache, false)
	check("branch", r.Args["GIT_BRANCH"], "mallory:master")
	check("scope", r.CacheScope, fmt.Sprintf("acme/web pull %d", n))
	for _, other := range l.builder.Requests() {
		if other.Args["CI_PULL_REQUEST"] != "" {
			continue
		}
		check("imports", r.CacheImports, other.CacheExports) // the default branch's
		if other.CacheScope == r.CacheScope {
			t.Errorf("it shares cache mounts with %v", other.Args)
		}
	}
	check("releases", got(l.lookup("SELECT count(*) FROM releases"))(t), "1")
	check("deployments", strings.Contains(got(l.Deployments())(t), "mallory"), false)
	check("messages", strings.Contains(fmt.Sprint(l.slack.Messages("C1")), "Mine"), false)

	// The word was for that commit: not for the next, and not for the same in another pull request.
	l.clock.Advance(time.Minute)
	sha2 := got(fork.Commit("master", "mallory", "Mine too", map[string]string{"x": "1"}))(t)
	got(l.Status(sha2, "shipmate/build", "error", "waits for /ok-to-test "+sha2))(t)
	must(t, l.repo.ClosePullRequest(n, "mallory"))
	must(t, l.repo.ReopenPullRequest(n, "mallory"))
	must(t, l.Settle())
	check("builds", len(l.built(n)), 1)
	_, err = fork.ForcePush("master", sha, "mallory") // back to what was allowed
	must(t, err)
	must(t, l.repo.ClosePullRequest(n, "mallory"))
	second := got(l.repo.OpenPullRequest("mallory:master", "master", "mallory", "Again"))(t)
	must(t, l.Settle())
	check("builds", len(l.built(second)), 0)
}

// TestForkAtOurCommit: whoever opens a pull request of a commit of ours does not change what stands there.
func TestForkAtOurCommit(t *testing.T) {
	t.Parallel()
	l := pullLab(t)
	sha := got(l.Push("dave", "feature", "Ours", map[string]string{"x": "1"}))(t)
	n := got(l.repo.OpenPullRequest("feature", "master", "dave", "Ours"))(t)
	got(l.Status(sha, "shipmate/build", "success", "built in"))(t)
	_, err := l.repo.Fork("mallory")
	must(t, err)
	theirs := got(l.repo.OpenPullRequest("mallory:feature", "master", "mallory", "Theirs"))(t)
	must(t, l.Settle())
	must(t, l.Tick(healEvery))
	must(t, l.Settle())
	got(l.Status(sha, "shipmate/build", "success", "built in"))(t)
	if len(l.built(n)) != 1 || len(l.built(theirs)) != 0 {
		t.Errorf("built: %v", l.builder.Requests())
	}
}

func TestForkOf(t *testing.T) {
	ours := store.Repo{Name: "acme/web", ID: 7}
	pr := func(repo *github.Repository, login string) *github.PullRequest {
		return &github.PullRequest{Head: &github.PullRequestBranch{Repo: repo, User: &github.User{Login: &login}}}
	}
	repo := func(id int64, name string) *github.Repository { return &github.Repository{ID: &id, FullName: &name} }
	for what, test := range map[string]struct {
		pr   *github.PullRequest
		repo store.Repo
		want string
	}{
		"ours":                    {pr(repo(7, "acme/web"), "acme"), ours, ""},
		"ours, renamed":           {pr(repo(7, "acme/site"), "acme"), ours, ""},
		"a fork":                  {pr(repo(8, "mallory/web"), "mallory"), ours, "mallory/web"},
		"a fork called as ours":   {pr(repo(8, "acme/web"), "acme"), ours, "acme/web"},
		"a fork that is gone":     {pr(nil, "mallory"), ours, "mallory/"},
		"nobody's":                {&github.PullRequest{}, ours, "/"},
		"where ours has no id":    {pr(repo(0, "acme/web"), "acme"), store.Repo{Name: "acme/web"}, "acme/web"},
		"where neither is known":  {&github.PullRequest{}, store.Repo{}, "/"},
		"one that names no owner": {pr(repo(8, ""), ""), ours, "/"},
	} {
		if got := forkOf(test.pr, test.repo); got != test.want {
			t.Errorf("%s: %q, want %q", what, got, test.want)
		}
	}
}

// TestOkToTestOfWhatChanged: between the word and the build the head may move: what is built is what was named, or nothing.
func TestOkToTestOfWhatChanged(t *testing.T) {
	t.Parallel()
	l := pullLab(t)
	_, err := l.repo.Fork("mallory")
	must(t, err)
	fork := l.gh.Repo("mallory/web")
	l.clock.Advance(2 * time.Second)
	sha := got(fork.Commit("topic", "mallory", "Harmless", map[string]string{"x": "1"}))(t)
	n := got(l.repo.OpenPullRequest("mallory:topic", "master", "mallory", "Harmless"))(t)
	got(l.Status(sha, "shipmate/build", "error", "waits for"))(t)
	l.wrote.set(func(what string) { // the moment at which the bot has seen the comment, and looks at nothing yet
		if strings.HasPrefix(what, "reaction") {
			l.wrote.set(nil)
			if _, err := fork.Commit("topic", "mallory", "Not harmless", map[string]string{"x": "2"}); err != nil {
				t.Error(err)
			}
		}
	})
	_, reply, err := l.Say(n, "alice", "/ok-to-test "+sha)
	must(t, err)
	must(t, l.Settle())
	must(t, l.Tick(time.Minute))
	must(t, l.Settle())
	if built := l.built(n); len(built) > 0 {
		t.Errorf("after %q there was a build: %v", reply, built)
	}
}

// TestSecretsOfPullRequests: one of our own branches gets what its branch gets, but not what is for the default branch alone,
// whichever way the merge goes.
func TestSecretsOfPullRequests(t *testing.T) {
	t.Parallel()
	l := pullLab(t, "[npm_token]", "[npm_token, signing_key]")
	sha := got(l.Push("dave", "feature", "Print it", map[string]string{"Dockerfile": "FROM scratch\nRUN echo $npm_token\n"}))(t)
	n := got(l.repo.OpenPullRequest("feature", "master", "dave", "Print it"))(t)
	got(l.Status(sha, "shipmate/build", "failure", "builds of refs/heads/feature may not use the secret signing_key"))(t)

	// The default branch into a branch of one's own: the merge result holds what nobody reviewed.
	head := got(l.Push("alice", "master", "Go on", map[string]string{"app.txt": "1"}))(t)
	must(t, l.Settle())
	back := got(l.repo.OpenPullRequest("master", "feature", "dave", "Merge master"))(t)
	got(l.Status(head, "shipmate/build", "failure", "builds of refs/heads/feature may not use the secret signing_key"))(t)
	if len(l.built(n))+len(l.built(back)) > 0 {
		t.Error("it was built")
	}
}

// TestForksNeedTheirBuilders: without a builder for forks the run fails, and says what to add.
func TestForksNeedTheirBuilders(t *testing.T) {
	t.Parallel()
	l := pullLab(t)
	none := shareOut(l.bot.cfg, &builder{name: "not for forks"})
	_, refusal := none.Build(t.Context(), build.Request{Fork: true}, nil)
	if refusal == nil {
		t.Fatal("it was built")
	}
	_, err := l.repo.Fork("mallory")
	must(t, err)
	l.clock.Advance(2 * time.Second)
	sha := got(l.gh.Repo("mallory/web").Commit("topic", "mallory", "Mine", map[string]string{"x": "1"}))(t)
	n := got(l.repo.OpenPullRequest("mallory:topic", "master", "mallory", "Mine"))(t)
	got(l.Status(sha, "shipmate/build", "error", "waits for"))(t)
	l.builder.Fail(refusal)
	if done, reply, err := l.Say(n, "alice", "/ok-to-test "+sha); !done {
		t.Fatalf("%s %v", reply, err)
	}
	got(l.Status(sha, "shipmate/build", "failure", "write forks: true beside one of builder.buildkit in shipmate.yaml"))(t)
}

// TestPushAndPullRequest: where both rules apply there are two runs of two commits, and the release is the branch's.
func TestPushAndPullRequest(t *testing.T) {
	t.Parallel()
	l := pullLab(t)
	sha := got(l.Push("dave", "topic", "One", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	n := got(l.repo.OpenPullRequest("topic", "master", "dave", "A change"))(t)
	got(l.Status(sha, "shipmate/build", "success", "^built in"))(t)
	must(t, l.Settle())
	built := l.built(n)
	if len(built) != 1 || built[0].Args["GIT_COMMIT"] == sha || built[0].Args["GIT_BRANCH"] != "topic" {
		t.Errorf("built: %v", built)
	}
	if rel, err := l.Release(2); err != nil || rel.SHA != sha {
		t.Errorf("release 2 is of %s, %v", rel.SHA, err)
	}
	// A command means the branch, and so its release.
	if done, reply, err := l.Say(n, "dave", "/deploy staging"); done || !strings.Contains(reply, "already") {
		t.Errorf("%s %v", reply, err)
	}
}

// TestHealedAtTheHead: what GitHub lost of a pull request is said again where it stood.
func TestHealedAtTheHead(t *testing.T) {
	t.Parallel()
	l := pullLab(t)
	sha := got(l.Push("dave", "feature", "One", map[string]string{"app.txt": "1"}))(t)
	got(l.repo.OpenPullRequest("feature", "master", "dave", "A change"))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	l.repo.SetStatus(sha, "dave", "shipmate/build", "pending")
	must(t, l.Tick(healEvery))
	got(l.Status(sha, "shipmate/build", "success", "built in"))(t)

	_, err := l.repo.Fork("mallory")
	must(t, err)
	l.clock.Advance(2 * time.Second)
	sha = got(l.gh.Repo("mallory/web").Commit("topic", "mallory", "Mine", map[string]string{"x": "1"}))(t)
	n := got(l.repo.OpenPullRequest("mallory:topic", "master", "mallory", "Mine"))(t)
	got(l.Status(sha, "shipmate/build", "error", "waits for"))(t)
	must(t, l.Settle())
	must(t, l.Tick(healEvery))
	must(t, l.Settle())
	got(l.Status(sha, "shipmate/build", "error", "waits for"))(t)
	if len(l.built(n)) > 0 {
		t.Error("it was built")
	}
}
