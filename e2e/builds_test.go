//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/client"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// shop is a repository with a build plan: two checks beside the build, tags and pull requests.
func shop(registry string) map[string]string {
	return map[string]string{
		".shipmate.yaml": `app: shop
trigger:
  tags: ['/^v\d/']
  pull_requests: true
build:
  image: ` + registry + `/team/shop
  tags: ["{branch}-{short_sha}", "{tag}"]
checks:
  - {name: unit, target: test}
  - {name: lint, image: "golang:1.26", run: sh lint.sh, report: junit.xml, artifacts: [out]}
`,
		"Dockerfile": `FROM golang:1.26 AS test
COPY shop.txt /shop.txt
RUN cat /shop.txt
FROM scratch
COPY shop.txt /shop.txt
`,
		"shop.txt": "open\n",
		"lint.sh": `mkdir -p out
echo "looked at everything" >out/lint.txt
echo '<testsuite><testcase classname="shop" name="TestOpen"/><testcase classname="shop" name="TestClosed"><skipped/></testcase></testsuite>' >junit.xml
`,
	}
}

// TestBuilds plays a build plan on real parts: a push with its checks, a tag, a pull request that fails, and a fork's.
func TestBuilds(t *testing.T) {
	ctx := t.Context()
	repo, err := stack.GitHub.CreateRepo("globex/shop", sim.RepoOptions{}) // an installation of its own: what is written to GitHub is paced for each
	if err != nil {
		t.Fatal(err)
	}
	repo.SetPermission("alice", "write", "")
	x := &Example{Stack: stack, Repo: repo}
	defer func() {
		if t.Failed() {
			t.Log("the bot's log:\n" + stack.BotLog())
		}
	}()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	files := shop(stack.Registry)

	first, err := repo.Commit("master", "alice", "Open the shop", files)
	must(err)
	build, err := x.Status(ctx, first, "shipmate/build", "success")
	must(err)
	must(x.Says(ctx, first, "shipmate/check/lint", "success", "1 passed, 1 skipped"))
	must(x.Says(ctx, first, "shipmate/check/unit", "success", ""))
	code, page := fetch(t, build.TargetURL)
	artifact := regexp.MustCompile(`href="(/runs/[^"]+/artifacts/lint/out/lint.txt)"`).FindStringSubmatch(page)
	if code != http.StatusOK || artifact == nil {
		t.Fatalf("the page answers %d, without the artifact:\n%s", code, page)
	}
	if code, text := fetch(t, stack.BotURL+artifact[1]); code != http.StatusOK || text != "looked at everything\n" {
		t.Errorf("the artifact: %d %q", code, text)
	}

	// The same commit gives the same image again, and the tag its name.
	must(repo.Tag("v1.0", first, "alice"))
	must(x.Says(ctx, first, "shipmate/build", "success", "same image as release 1"))
	before := stack.tags(t, "team/shop")
	if !slices.Contains(before, "v1.0") || !slices.Contains(before, "master-"+first[:7]) {
		t.Errorf("the image's tags are %q", before)
	}

	// What a pull request would give fails its check, with the test and the line.
	failing := shop(stack.Registry)
	failing["lint.sh"] = `echo "shop.txt:1:2: the shop is never closed"
echo '<testsuite><testcase classname="shop" name="TestOpen"/><testcase classname="shop" name="TestClosed"><failure message="never"/></testcase></testsuite>' >junit.xml
exit 1
`
	topic, err := repo.Commit("topic", "alice", "Never close", failing)
	must(err)
	_, err = repo.OpenPullRequest("topic", "master", "alice", "Never close")
	must(err)
	must(x.Says(ctx, topic, "shipmate/check/lint", "failure", "TestClosed"))
	build, err = x.Status(ctx, topic, "shipmate/build", "failure")
	must(err)
	if code, page := fetch(t, build.TargetURL); code != http.StatusOK || !strings.Contains(page, "the shop is never closed") || !strings.Contains(page, "shop.txt:1") {
		t.Errorf("the page answers %d, without the place:\n%s", code, page)
	}

	// A fork's waits for a person, and is then built apart.
	used := func() int {
		c, err := client.New(ctx, stack.ForkBuilder)
		must(err)
		defer func() { _ = c.Close() }() // it was asked
		all, err := c.DiskUsage(ctx)
		must(err)
		return len(all)
	}
	if n := used(); n != 0 {
		t.Fatalf("the builder for forks has built %d things already", n)
	}
	fork, err := repo.Fork("mallory")
	must(err)
	hostile := shop(stack.Registry)
	hostile["shop.txt"] = "mine\n"
	evil, err := fork.Commit("evil", "mallory", "Take the shop", hostile)
	must(err)
	number, err := repo.OpenPullRequest("mallory:evil", "master", "mallory", "Take the shop")
	must(err)
	must(x.Says(ctx, evil, "shipmate/build", "error", "/ok-to-test"))
	_, err = x.Say(ctx, number, "mallory", "/ok-to-test "+evil, false)
	must(err)
	_, err = x.Say(ctx, number, "alice", "/ok-to-test "+evil, true)
	must(err)
	must(x.Says(ctx, evil, "shipmate/build", "success", ""))
	must(x.Says(ctx, evil, "shipmate/check/lint", "success", "1 passed"))
	if used() == 0 {
		t.Error("it was built elsewhere than on the builder for forks")
	}
	if after := stack.tags(t, "team/shop"); !slices.Equal(after, before) {
		t.Errorf("pull requests pushed something: the tags were %q and are %q", before, after)
	}
	if v := stack.GitHub.Violations(); len(v) > 0 {
		t.Errorf("requests that GitHub's own description forbids: %s", strings.Join(v, "\n"))
	}
}

// tags lists the tags of a repository in the registry but for caches, which come and go.
func (s *Stack) tags(t *testing.T, repository string) []string {
	t.Helper()
	r, err := name.NewRepository(s.Registry+"/"+repository, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(r, remote.WithContext(context.WithoutCancel(t.Context())))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(tags)
	return slices.DeleteFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, "cache-") })
}
