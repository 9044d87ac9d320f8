//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// stack is shared by the tests of this package: each has a repository or a point of the story of its own.
var stack *Stack

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		var err error
		stack, err = Start(ctx, Options{Bot: os.Getenv("SHIPMATE_BOT"), Bin: os.Getenv("SHIPMATE_BIN"), App: "../app.yaml", ForkBuilder: true, Say: func(format string, args ...any) {
			fmt.Printf(format+"\n", args...)
		}})
		if err != nil {
			fmt.Fprintln(os.Stderr, err, "\n(make e2e sets SHIPMATE_BOT and SHIPMATE_BIN)")
			return 1
		}
		code := m.Run()
		if err := stack.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the stack down:", err)
			return 1
		}
		return code
	}())
}

func say(t *testing.T) func(string, ...any) {
	return func(format string, args ...any) { t.Logf(format, args...) }
}

// TestStory plays the story and then looks at everything that people saw of it; the failures go on from there.
func TestStory(t *testing.T) {
	ctx := t.Context()
	x, err := stack.NewExample("../examples/devops-app")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log("the bot's log:\n" + stack.BotLog())
		}
	}()
	if err := x.Story(ctx, say(t)); err != nil {
		t.Fatal(err)
	}
	x.logWrites(t)
	t.Run("statuses", func(t *testing.T) { x.checkStatuses(t) })
	t.Run("deployments", func(t *testing.T) { x.checkDeployments(t) })
	t.Run("pages", func(t *testing.T) { x.checkPages(t) })
	t.Run("chats", func(t *testing.T) { x.checkChats(t) })
	t.Run("steer", func(t *testing.T) { x.steer(t) })
	t.Run("pull request", func(t *testing.T) { x.deployPullRequest(t) })
	t.Run("failures", func(t *testing.T) { x.failures(t) })
	t.Run("restart", func(t *testing.T) { x.restart(t) })
	t.Run("no secret", func(t *testing.T) { x.noSecret(t) })
	if v := x.GitHub.Violations(); len(v) > 0 {
		t.Errorf("requests that GitHub's own description forbids: %s", strings.Join(v, "\n"))
	}
}

// logWrites says what the story had the bot write on GitHub, and how much of it within a minute.
func (x *Example) logWrites(t *testing.T) {
	kinds, minute := map[string]int{}, map[time.Time]int{}
	most, all := 0, 0
	for _, r := range x.GitHub.Requests() {
		if r.Method == http.MethodGet || strings.HasSuffix(r.Path, "/access_tokens") || strings.HasSuffix(r.Path, "git-upload-pack") {
			continue
		}
		parts := strings.Split(r.Path, "/") // /repos/owner/name/kind
		kinds[r.Method+" "+parts[min(4, len(parts)-1)]]++
		all++
		minute[r.At.Truncate(time.Minute)]++
		most = max(most, minute[r.At.Truncate(time.Minute)])
	}
	t.Logf("%d writes, at most %d in a minute: %v", all, most, kinds)
}

// checkStatuses: pending before final, short, with an address that answers. That something is under way is told only while there
// is room for progress, and a story that is played within a minute uses that up; that a person is waited for always is.
func (x *Example) checkStatuses(t *testing.T) {
	all := x.Repo.Statuses(x.Repo.Head("master"))
	pending, said := map[string]bool{}, map[string]string{}
	for _, s := range all {
		if s.State == "pending" {
			pending[s.Context] = true
		} else if !pending[s.Context] && s.Context == "shipmate/deploy/production" {
			t.Errorf("%s was never pending before %s", s.Context, s.State)
		}
		said[s.Context] = s.State
		if n := len([]rune(s.Description)); n == 0 || n > 140 {
			t.Errorf("%s: description of %d characters", s.Context, n)
		}
		if code, _ := fetch(t, s.TargetURL); code != http.StatusOK {
			t.Errorf("%s leads to a page that answers %d", s.Context, code)
		}
	}
	for _, c := range []string{"shipmate/build", "shipmate/deploy/staging", "shipmate/deploy/production"} {
		if said[c] != "success" {
			t.Errorf("the status %s ends with %q", c, said[c])
		}
	}
}

// checkDeployments: one on GitHub for each of ours, with the newest live one active and those before it inactive.
func (x *Example) checkDeployments(t *testing.T) {
	err := until(t.Context(), "GitHub deployments", func() error {
		last := map[string][]string{}
		ids := map[string]bool{}
		for _, d := range x.Repo.Deployments() {
			var payload struct{ Shipmate string }
			if err := json.Unmarshal(d.Payload, &payload); err != nil || payload.Shipmate == "" || ids[payload.Shipmate] {
				return final{fmt.Errorf("payload %s: %w", d.Payload, err)}
			}
			ids[payload.Shipmate] = true
			last[d.Environment] = append(last[d.Environment], d.State())
		}
		want := map[string]string{"staging": "inactive success", "production": "inactive inactive success"}
		for env, w := range want {
			if got := strings.Join(last[env], " "); got != w {
				return fmt.Errorf("%s: %s, want %s", env, got, w)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// fetch reads a page as alice, who is let see all repositories of these tests.
func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	code, body, err := stack.Fetch(t.Context(), "alice", url)
	if err != nil {
		t.Fatal(err)
	}
	return code, body
}

// checkPages: a run's page has its steps, digest and log; a deployment's its release and votes.
func (x *Example) checkPages(t *testing.T) {
	want := map[string][]string{
		"shipmate/build":             {"devops-app", "fetch", "build", "sha256:", "go build -o /devops-app"},
		"shipmate/deploy/production": {"production", "release", "bob"},
	}
	for _, s := range x.Repo.Statuses(x.Repo.Head("master")) {
		_, body := fetch(t, s.TargetURL)
		for _, w := range want[s.Context] {
			if s.State == "success" && !strings.Contains(strings.ToLower(body), strings.ToLower(w)) {
				t.Errorf("the page of %s does not say %q", s.Context, w)
			}
		}
	}
	if code, _ := fetch(t, x.BotURL+"/runs/aaaaaaaaaaaaaaaaaaaaaaaaaa"); code != http.StatusNotFound {
		t.Errorf("a page that does not exist answers %d", code)
	}
	build := x.status(x.Repo.Head("master"), "shipmate/build")
	if resp, page, err := x.get(t.Context(), build.TargetURL, nil); err != nil || resp.StatusCode != http.StatusUnauthorized || strings.Contains(page, "sha256:") {
		t.Errorf("who is not signed in sees %v, %v:\n%s", resp, err, page)
	}
}

// checkChats: WeCom got built and deployed for each push, Slack one message a subject, edited in place.
func (x *Example) checkChats(t *testing.T) {
	count := func(parts ...string) int {
		n := 0
	next:
		for _, m := range x.WeCom.Messages(wecomKey) {
			for _, p := range parts {
				if !strings.Contains(m.Content, p) {
					continue next
				}
			}
			n++
		}
		return n
	}
	err := until(t.Context(), "WeCom notices", func() error {
		for what, parts := range map[string][]string{
			"built v1":               {"devops-app #1", "构建成功", "sha256:"},
			"built v2":               {"devops-app #2", "构建成功"},
			"v1 in staging":          {"devops-app 版本 1 部署到 staging", "已上线"},
			"v2 in staging":          {"devops-app 版本 2 部署到 staging", "已上线"},
			"v2 waits":               {"devops-app 版本 2 部署到 production", "等待审批"},
			"v2 in production":       {"devops-app 版本 2 部署到 production", "已上线", "bob"},
			"production rolled back": {"回滚", "production", "版本 1", "已回滚"},
		} {
			if n := count(parts...); n != 1 {
				return fmt.Errorf("%s: %d notices", what, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = until(t.Context(), "Slack messages", func() error {
		messages := slices.DeleteFunc(x.Slack.Messages(slackChannel), func(m sim.SlackMessage) bool { return m.ThreadTS != "" })
		if len(messages) != 2 { // one for each release, wherever it goes
			return fmt.Errorf("%d messages", len(messages))
		}
		for _, m := range messages {
			if m.Edits == 0 {
				return fmt.Errorf("never edited: %s", m.Text)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// steer: nobody approves their own, a rejection says why, a rollback to a named release builds nothing, and the registry
// holds the cache.
func (x *Example) steer(t *testing.T) {
	ctx := t.Context()
	issue := x.Repo.OpenIssue("bob", "Steering")
	say := func(login, text string, yes bool, want string) {
		t.Helper()
		body, err := x.Say(ctx, issue, login, text, yes)
		if err != nil || !strings.Contains(body, want) {
			t.Fatalf("%s said %q: %q does not say %q (%v)", login, text, body, want, err)
		}
	}
	production, err := x.Digest(ctx, "production")
	if err != nil {
		t.Fatal(err)
	}
	staging, err := x.Digest(ctx, "staging")
	if err != nil {
		t.Fatal(err)
	}
	builds := len(x.notices("构建"))

	say("bob", "/promote production", true, "release 2")
	if err := x.Says(ctx, x.Repo.Head("master"), "shipmate/deploy/production", "pending", "approval"); err != nil {
		t.Fatal(err)
	}
	say("bob", "/approve", false, "someone else")
	say("bob", "/reject", false, "Usage")
	say("carol", "/reject looks wrong", false, "maintain")
	say("bob", "/reject looks wrong", true, "rejected")
	s, err := x.Status(ctx, x.Repo.Head("master"), "shipmate/deploy/production", "failure")
	if err != nil || !strings.Contains(s.Description, "looks wrong") {
		t.Errorf("the status does not say why: %q, %v", s.Description, err)
	}
	if err := x.Runs(ctx, "production", production); err != nil {
		t.Error(err)
	}
	say("bob", "/rollback production to 99", false, "roll back")
	say("carol", "/rollback production to 2", false, "write")
	say("alice", "/rollback prodution to 2", false, "`production`")
	say("alice", "/rollback production to 2", true, "release 2")
	if err := x.Says(ctx, x.Repo.Head("master"), "shipmate/deploy/production", "success", "release 2"); err != nil {
		t.Fatal(err)
	}
	if err := x.Runs(ctx, "production", staging); err != nil {
		t.Error(err)
	}
	if n := len(x.notices("构建")); n != builds {
		t.Errorf("%d builds before, %d after: a rollback built something", builds, n)
	}
	say("bob", "/unlock production", true, "production")
	resp, err := http.Get("http://" + x.Registry + "/v2/team/devops-app/tags/list")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	var list struct{ Tags []string }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	short := "master-" + x.Repo.Head("master")[:7]
	if all := strings.Join(list.Tags, " "); !strings.Contains(all, "cache-") || !strings.Contains(all, short) {
		t.Errorf("the registry has the tags %s: no cache, or no %s", all, short)
	}
}

// notices are the WeCom messages that hold a text.
func (x *Example) notices(part string) []string {
	var all []string
	for _, m := range x.WeCom.Messages(wecomKey) {
		if strings.Contains(m.Content, part) {
			all = append(all, m.Content)
		}
	}
	return all
}

// deployPullRequest: a pull request's head is built on demand and goes to staging, and no further.
func (x *Example) deployPullRequest(t *testing.T) {
	ctx := t.Context()
	sha, err := x.Repo.Commit("topic", "alice", "Another greeting", map[string]string{"main.go": strings.Replace(x.file(t, "main.go"), "devops-app, v1", "devops-app, topic", 1)})
	if err != nil {
		t.Fatal(err)
	}
	pr, err := x.Repo.OpenPullRequest("topic", "master", "alice", "Another greeting")
	if err != nil {
		t.Fatal(err)
	}
	// GitHub dates a push by the second, and a comment of the same second could have come before it.
	err = until(ctx, "/deploy staging", func() error {
		_, err := x.Say(ctx, pr, "alice", "/deploy staging", true)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Status(ctx, sha, "shipmate/deploy/staging", "success"); err != nil {
		t.Fatal(err)
	}
	if err := x.Live(ctx, "staging", "/", "Hello from devops-app, topic"); err != nil {
		t.Error(err)
	}
	if body, err := x.Say(ctx, pr, "alice", "/promote production", false); err != nil || !strings.Contains(body, "topic") {
		t.Errorf("a branch was promoted to production: %s, %v", body, err)
	}
	unknown, err := x.Repo.Comment(pr, "bob", "/rejct\nis what I meant to say")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Say(ctx, pr, "bob", "/shipmate status", true); err != nil {
		t.Error(err)
	}
	if r := x.Repo.Reactions(unknown); len(r) > 0 {
		t.Errorf("an unknown word was answered: %+v", r)
	}
}

func (x *Example) file(t *testing.T, name string) string {
	t.Helper()
	text, err := x.Repo.ContentsAt(x.Repo.Head("master"), name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// failures: a Dockerfile that does not build, a manifest that the API server rejects, an image that crashes; each time the
// old version keeps serving and says why, and in the end the next push works.
func (x *Example) failures(t *testing.T) {
	ctx := t.Context()
	serving := func() {
		t.Helper()
		if _, err := x.Get(ctx, "staging", "/"); err != nil {
			t.Errorf("staging does not serve: %v", err)
		}
	}
	notice := func(parts ...string) {
		t.Helper()
		err := until(ctx, "a WeCom notice of the failure", func() error {
			all := x.WeCom.Messages(wecomKey)
			for _, m := range all {
				ok := true
				for _, p := range parts {
					ok = ok && strings.Contains(m.Content, p)
				}
				if ok {
					return nil
				}
			}
			return fmt.Errorf("none has %q; the last: %s", parts, all[len(all)-1].Content)
		})
		if err != nil {
			t.Error(err)
		}
	}
	push := func(message string, files map[string]string) string {
		t.Helper()
		sha, err := x.Repo.Commit("master", "alice", message, files)
		if err != nil {
			t.Fatal(err)
		}
		return sha
	}
	failed := func(sha, name string, words ...string) sim.Status {
		t.Helper()
		s, err := x.Status(ctx, sha, name, "failure")
		if err != nil {
			t.Fatal(err)
		}
		_, page := fetch(t, s.TargetURL)
		for _, w := range words {
			if !strings.Contains(page, w) {
				t.Errorf("the page of %s does not say %q", s.TargetURL, w)
			}
		}
		return s
	}
	good := x.file(t, "main.go")
	manifest := x.file(t, "deploy/deployment.yaml")

	sha := push("Does not compile", map[string]string{"main.go": strings.Replace(good, "func main() {", "func main() { undefinedThing()", 1)})
	s := failed(sha, "shipmate/build", "undefinedThing", "Dockerfile:4")
	if !strings.Contains(s.Description, "Dockerfile:4") {
		t.Errorf("the status does not name the line: %s", s.Description)
	}
	notice("devops-app #", "构建失败", "undefined: undefinedThing", "<@alice>")
	serving()

	sha = push("A manifest that is refused", map[string]string{"main.go": good, "deploy/deployment.yaml": strings.Replace(manifest, "containerPort: 5000", "containerPort: 500000", 1)})
	s = failed(sha, "shipmate/deploy/staging", "containerPort")
	if !strings.Contains(s.Description, "containerPort") {
		t.Errorf("the status does not name the field: %s", s.Description)
	}
	notice("到 staging", "失败", "containerPort")
	serving()

	sha = push("Crashes", map[string]string{"deploy/deployment.yaml": manifest, "main.go": strings.Replace(good, "func main() {", `func main() { log.Fatal("no config found, giving up")`, 1)})
	failed(sha, "shipmate/deploy/staging", "no config found, giving up", "CrashLoopBackOff")
	notice("到 staging", "失败", "no config found, giving up")
	serving()
	err := until(ctx, "automatic rollback", func() error {
		for _, m := range x.WeCom.Messages(wecomKey) {
			if strings.Contains(m.Content, "回滚") && strings.Contains(m.Content, "staging") && strings.Contains(m.Content, "已回滚") {
				return nil
			}
		}
		return errors.New("no notice")
	})
	if err != nil {
		t.Error(err)
	}

	sha = push("Works again", map[string]string{"main.go": strings.Replace(good, "devops-app, v1", "devops-app, v3", 1)})
	if _, err := x.Status(ctx, sha, "shipmate/deploy/staging", "success"); err != nil {
		t.Fatal(err)
	}
	if err := x.Live(ctx, "staging", "/", "Hello from devops-app, v3"); err != nil {
		t.Error(err)
	}
}

// restart: a bot that is killed while it builds goes on where it was, and makes one release.
func (x *Example) restart(t *testing.T) {
	ctx := t.Context()
	sha, err := x.Repo.Commit("master", "alice", "Killed on the way", map[string]string{"main.go": strings.Replace(x.file(t, "main.go"), "devops-app, v3", "devops-app, v4", 1)})
	if err != nil {
		t.Fatal(err)
	}
	err = until(ctx, "the build runs", func() error { // as Slack tells: GitHub is told progress only where there is room
		for _, m := range x.Slack.Messages(slackChannel) {
			if strings.Contains(m.Text+string(m.Blocks), "Killed on the way") {
				return nil
			}
		}
		return errors.New("no message yet")
	})
	if err != nil {
		t.Fatal(err)
	}
	x.KillBot()
	if err := x.StartBot(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Status(ctx, sha, "shipmate/deploy/staging", "success"); err != nil {
		t.Fatal(err)
	}
	if err := x.Live(ctx, "staging", "/", "Hello from devops-app, v4"); err != nil {
		t.Error(err)
	}
	err = until(ctx, "one GitHub deployment for one of ours", func() error {
		n := 0
		for _, d := range x.Repo.Deployments() {
			if d.SHA == sha {
				n++
			}
		}
		switch n {
		case 0:
			return errors.New("there is none") // yet
		case 1:
			return nil
		}
		return final{fmt.Errorf("there are %d", n)}
	})
	if err != nil {
		t.Error(err)
	}
}

// noSecret: nothing that was configured as a secret is in anything that anybody saw.
func (x *Example) noSecret(t *testing.T) {
	var seen strings.Builder
	seen.WriteString(x.BotLog())
	for _, m := range x.WeCom.Messages(wecomKey) {
		seen.WriteString(m.Content)
	}
	for _, m := range x.Slack.Messages(slackChannel) {
		seen.WriteString(m.Text + string(m.Blocks))
	}
	for _, s := range x.Repo.Statuses(x.Repo.Head("master")) {
		_, page := fetch(t, s.TargetURL)
		seen.WriteString(s.Description + s.TargetURL + page)
	}
	for _, secret := range []string{wecomKey, slackToken, hookSecret, clientSecret, "ghs_", "ghu_", "PRIVATE KEY"} {
		if i := strings.Index(seen.String(), secret); i >= 0 {
			t.Errorf("%q was shown: …%s…", secret, seen.String()[max(0, i-80):i])
		}
	}
	pods, err := x.Kube.CoreV1().Pods("staging").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		t.Errorf("%d pods, %v", len(pods.Items), err)
	}
}
