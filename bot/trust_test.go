package bot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// Each test here plays somebody who wants more than the server's file and the default branch's file give.

// file is testdata/repo's .shipmate.yaml with texts replaced.
func file(t *testing.T, oldNew ...string) map[string]string {
	t.Helper()
	base, err := readFiles("testdata/repo")
	must(t, err)
	text := base[".shipmate.yaml"]
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("the file has no %q", oldNew[i])
		}
		text = strings.Replace(text, oldNew[i], oldNew[i+1], 1)
	}
	return map[string]string{".shipmate.yaml": text}
}

func TestRepositoryThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	evil, err := l.gh.CreateRepo("evil/web", sim.RepoOptions{})
	must(t, err)
	evil.SetPermission("mallory", "admin", "")
	base, err := readFiles("testdata/repo")
	must(t, err)
	sha := got(evil.Commit("master", "mallory", "Ship it", base))(t)
	issue := evil.OpenIssue("mallory", "Please")
	comment := got(evil.Comment(issue, "mallory", "/deploy staging"))(t)
	must(t, l.Settle())

	if s := evil.Statuses(sha); len(s) > 0 {
		t.Errorf("statuses: %v", s)
	}
	if r := evil.Reactions(comment); len(r) > 0 {
		t.Errorf("reactions: %v", r)
	}
	for _, r := range l.gh.Requests() {
		if strings.Contains(r.Path, "evil") {
			t.Errorf("%s %s was asked for", r.Method, r.Path)
		}
	}
	trace := got(l.lookup("SELECT group_concat(trace) FROM events WHERE repo = 'evil/web'"))(t)
	if strings.Count(trace, `evil/web may not use this server; to allow it, add - \"evil/web\" at shipmate.yaml`) != 2 {
		t.Errorf("the refusals do not name the line to add: %s", trace)
	}
}

// TestNotAllowed has the default branch's own file ask for what the server's file does not give this repository.
func TestNotAllowed(t *testing.T) {
	t.Parallel()
	const build, deploy = "shipmate/build", "shipmate/deploy/staging"
	tests := map[string]struct {
		edit   []string
		branch string // default master
		status string
		want   string // in its description, after what went before it
	}{
		"namespace":                  {[]string{"namespace: staging", "namespace: kube-system"}, "", deploy, "acme/web may not deploy to the namespace kube-system of cluster test"},
		"namespace of other cluster": {[]string{"cluster: test", "cluster: prod"}, "", deploy, "acme/web may not deploy to the namespace staging of cluster prod"},
		"cluster":                    {[]string{"cluster: test", "cluster: tset"}, "", deploy, "there is no cluster tset in the server's file; did you mean test?"},
		"path":                       {[]string{"team/web", "team/api"}, "", build, "acme/web may not push to registry.example.com/team/api"},
		"path that begins alike":     {[]string{"team/web", "team/webx"}, "", build, "acme/web may not push to registry.example.com/team/webx"},
		"path that climbs":           {[]string{"team/web", "team/web/../api"}, "", build, ".shipmate.yaml:5: build.image"},
		"parent path":                {[]string{"team/web", "team"}, "", build, "acme/web may not push to registry.example.com/team"},
		"other case":                 {[]string{"team/web", "team/WEB"}, "", build, ".shipmate.yaml:5: build.image"},
		"registry":                   {[]string{"registry.example.com", "evil.example.com"}, "", build, "there is no registry evil.example.com in the server's file"},
		"registry with port":         {[]string{"registry.example.com", "registry.example.com:5000"}, "", build, "there is no registry registry.example.com:5000"},
		"secret":                     {[]string{"npm_token", "robot_key"}, "", build, "there is no secret robot_key in the server's file"},
		"secret of another branch":   {[]string{"npm_token", "signing_key"}, "topic", build, "builds of refs/heads/topic may not use the secret signing_key"},
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		test := tests[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			sha := got(l.Push("root", "master", "Ask for more", file(t, test.edit...)))(t)
			if test.branch != "" {
				must(t, l.Settle())
				sha = got(l.Push("alice", test.branch, "Ask for more", map[string]string{"app.txt": "x"}))(t)
			}
			got(l.Status(sha, test.status, "failure", ""))(t)
			if d := l.status(sha, test.status).Description; !strings.Contains(d, test.want) {
				t.Errorf("the status says %q, not %q", d, test.want)
			}
			must(t, l.Settle())
			if test.status == build {
				for _, r := range l.builder.Requests() {
					if r.Labels["org.opencontainers.image.revision"] == sha {
						t.Errorf("it was built: %v", r)
					}
				}
			}
			if calls := slices.Concat(l.test.Calls(), l.prod.Calls()); test.branch == "" && len(calls) > 0 {
				t.Errorf("clusters were asked: %v", calls)
			}
		})
	}
}

func TestChatThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("root", "master", "Tell the others", file(t, "wecom: ops", "wecom: board")))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	if m := l.wecom.Messages(robotKey); len(m) > 0 {
		t.Errorf("the board was told: %s", m[0].Content)
	}
	if m := l.slack.Messages("C1"); len(m) == 0 {
		t.Error("the chat that is allowed was not told")
	}
}

// TestFileOfABranch: of a branch's own file nothing counts but how to build.
func TestFileOfABranch(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("mallory", "topic", "My own rules", map[string]string{
		".shipmate.yaml": `
app: web
trigger: {branches: [evil]}
build:
  image: registry.example.com/team/web/evil
  context: sub
  dockerfile: Other
  target: final
  args: {MODE: mine, GIT_COMMIT: "0000000000000000000000000000000000000000"}
  platforms: [linux/arm64]
  secrets: [npm_token, signing_key]
  tags: [latest]
  cache: inline
environments:
  - name: production
    branches: [/.*/]
    cluster: prod
    namespace: production
    manifests: mine/
    deploy: auto
    deployers: [mallory]
    approvals: {count: 1, by: [mallory], self: true}
  - {name: staging, cluster: prod, namespace: production, manifests: mine/, deploy: auto, pull_secret: stolen}
notify: [{wecom: board}]
`,
		"sub/Other":     "FROM scratch\n",
		"mine/web.yaml": "kind: [",
	}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())

	requests := l.builder.Requests()
	if len(requests) != 1 {
		t.Fatalf("%d builds", len(requests))
	}
	r := requests[0]
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	// How to build is the branch's.
	check("context", r.Context, "sub")
	check("dockerfile", r.Dockerfile, "Other")
	check("target", r.Target, "final")
	check("args.MODE", r.Args["MODE"], "mine")
	check("platforms", r.Platforms, []string{"linux/arm64"})
	// Everything else is not, and a commit cannot pass for another.
	check("args.GIT_COMMIT", r.Args["GIT_COMMIT"], sha)
	check("image", r.Image, "registry.example.com/team/web")
	check("tags", l.registry.Tags(got(l.Release(1))(t).Images.V[0].Digest), []string{"topic-" + sha[:7]})
	check("secrets", slices.Sorted(maps.Keys(r.Secrets)), []string{"npm_token"})
	check("inline cache", r.InlineCache, false)
	for _, ref := range r.CacheExports {
		if !strings.Contains(ref, "topic") || slices.Contains(r.CacheImports[1:], ref) {
			t.Errorf("the cache is exported to %s and imported from %v", ref, r.CacheImports)
		}
	}
	check("deployments", got(l.Deployments())(t), "1 staging release 1 automatic by mallory: succeeded\n")
	check("calls to prod", l.prod.Calls(), []string{})
	check("messages", len(l.wecom.Messages(robotKey)) > 0, true)

	// Its release goes to no environment that takes the default branch only, whoever asks and however.
	issue := l.repo.OpenIssue("root", "Please")
	for _, text := range []string{"/promote production", "/promote production 1", "/deploy production 1", "/deploy production " + sha, "/rollback production to 1"} {
		if done, reply, err := l.Say(issue, "root", text); done || err != nil {
			t.Errorf("%s: %s %v", text, reply, err)
		}
	}
	l.repo.SetPermission("mallory", "write", "")
	if done, reply, err := l.Say(issue, "mallory", "/approve"); done || err != nil {
		t.Errorf("%s %v", reply, err)
	}
	check("calls to prod", l.prod.Calls(), []string{})
}

// TestCacheOfAnotherBranch: no branch can be named so that it writes the cache that another reads.
func TestCacheOfAnotherBranch(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("root", "master", "Build all", file(t, "branches: [master, topic]", `branches: [/.*/]`)))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	exports := map[string]string{}
	for i, branch := range []string{"a/b", "a-b", "A-B", "a.b", "a_b", "Master", "master-", strings.Repeat("x", 150), strings.Repeat("x", 151)} {
		sha := got(l.Push("alice", branch, "Change", map[string]string{"app.txt": fmt.Sprint(i)}))(t)
		got(l.Status(sha, "shipmate/build", "success", ""))(t)
	}
	for _, r := range l.builder.Requests() {
		for _, ref := range r.CacheExports {
			branch := r.Args["GIT_BRANCH"]
			if other, ok := exports[ref]; ok {
				t.Errorf("%s and %s share the cache %s", branch, other, ref)
			}
			exports[ref] = branch
		}
	}
	if len(exports) != 10 {
		t.Errorf("%d caches, want 10", len(exports))
	}
}

// TestApprovalsBelowTheFloor: what a cluster insists on, no repository's file can lower.
func TestApprovalsBelowTheFloor(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("bob", "master", "No more approvals", file(t, "    approvals: {count: 1}\n", "    deploy: auto\n")))(t)
	got(l.Status(sha, "shipmate/deploy/production", "pending", "0 of 1"))(t)
	if c := l.prod.Calls(); slices.Contains(c, "apply release 1") {
		t.Errorf("it was applied: %v", c)
	}
	sha = got(l.Push("bob", "master", "I approve myself", file(t, "{count: 1}", "{count: 1, self: true, by: [bob]}")))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	issue := l.repo.OpenIssue("root", "Please")
	if done, reply, err := l.Say(issue, "bob", "/promote production"); !done {
		t.Fatalf("%s %v", reply, err)
	}
	got(l.Status(sha, "shipmate/deploy/production", "pending", "0 of 1"))(t)
	if done, reply, err := l.Say(issue, "bob", "/approve"); done || err != nil || !strings.Contains(reply, "someone else") {
		t.Errorf("%s %v", reply, err)
	}
	must(t, l.Settle())
	if c := l.prod.Calls(); slices.Contains(c, "apply release 1") || slices.Contains(c, "apply release 2") {
		t.Errorf("it was applied: %v", c)
	}
}

// TestSecretsAreNotShown has every far end answer with secrets; newLab looks for them everywhere at the end.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	all := "the values are " + strings.Join([]string{hookSecret, robotKey, slackToken, npmToken, pullSecret, dockerToken}, ", ")
	leak := errors.New(all)
	l.builder.Fail(leak) // tried again, so it is logged
	l.test.Fail("diff", leak)
	l.test.Fail("apply", &kube.Error{Object: "Deployment/web", Message: all, Hint: all, Temporary: true}, &kube.Error{Object: "Deployment/web", Message: all, Hint: all})
	sha := got(l.Push("alice", "master", "Print the secrets", map[string]string{"Dockerfile": "FROM scratch\nRUN echo $npm_token\n"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "failure", "the values are •••"))(t)
	page := got(l.Page("runs", "1"))(t)
	if !strings.Contains(page, "•••") || strings.Contains(page, npmToken) {
		t.Errorf("the page of the run: %s", page)
	}

	sha = got(l.Push("alice", "master", "Fail", map[string]string{"Dockerfile": "FROM scratch\nRUN echo $npm_token\nRUN false"}))(t)
	got(l.Status(sha, "shipmate/build", "failure", "exit code"))(t)
	must(t, l.Settle())

	l.test.Fail("wait", &kube.Failure{Object: all, Reason: all, Message: all, Logs: []string{all}, Event: all, Hint: all})
	sha = got(l.Push("alice", "master", "Crash", map[string]string{"Dockerfile": "FROM scratch\n"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "failure", "•••"))(t)
	page = got(l.Page("deployments", "2"))(t)
	if !strings.Contains(page, "•••") || strings.Contains(page, npmToken) {
		t.Errorf("the page of the deployment: %s", page)
	}
	must(t, l.Settle())

	// A far end that forces a secret into its address, and is down.
	l.wecom.Down(true)
	l.slack.Down(true)
	l.test.Fail("status", leak)
	sha = got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "4"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, until("it is logged that chats are down", func() error {
		if !strings.Contains(l.log.String(), "wecom/ops") || !strings.Contains(l.log.String(), "slack/team") {
			return errors.New("it is not")
		}
		return nil
	}))
	done, reply, err := l.Say(l.repo.OpenIssue("alice", "Hm"), "alice", "/status")
	if !done || !strings.Contains(reply, "•••") {
		t.Errorf("%s %v", reply, err)
	}
	if got(l.lookup("SELECT count(*) FROM tasks WHERE reason LIKE '%•••%'"))(t) == "" {
		t.Error("no task says why it failed")
	}
}

// TestPublicRepository: of a public repository no log line is posted.
func TestPublicRepository(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	open, err := l.gh.CreateRepo("acme/open", sim.RepoOptions{Public: true})
	must(t, err)
	open.SetPermission("alice", "write", "")
	base := file(t)
	base["Dockerfile"] = "FROM scratch\nRUN echo internal.example.com\nRUN false\n"
	must(t, l.Stop())
	l.server = strings.ReplaceAll(l.server, `repositories: ["acme/web"]`, `repositories: ["acme/*"]`)
	l.server = strings.ReplaceAll(l.server, `allow: ["acme/web"]`, `allow: ["acme/*"]`)
	must(t, l.Start())
	must(t, l.gh.Flush(context.Background()))
	sha := got(open.Commit("master", "alice", "Fail", base))(t)
	must(t, l.Settle())
	statuses := open.Statuses(sha)
	if len(statuses) == 0 || statuses[len(statuses)-1].State != "failure" {
		t.Fatalf("statuses: %v", statuses)
	}
	said := fmt.Sprint(statuses, l.wecom.Messages(robotKey), l.slack.Messages("C1"))
	if !strings.Contains(said, "failed") || strings.Contains(said, "internal.example.com") {
		t.Errorf("it was said: %s", said)
	}
	id := got(l.lookup("SELECT id FROM runs WHERE repo = 'acme/open'"))(t)
	resp, err := http.Get(l.url + "/runs/" + id)
	must(t, err)
	defer func() { _ = resp.Body.Close() }() // only its status counts
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the run's page: %s", resp.Status)
	}
}
