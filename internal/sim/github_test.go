package sim_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// world is a GitHub with the repository acme/web (default branch master, one
// commit), a receiver of its webhooks, and clients.
type world struct {
	*testing.T
	gh    *sim.GitHub
	repo  *sim.Repo
	first string // the commit
	app   *github.Client
	api   *github.Client // of the installation

	mu       sync.Mutex
	received []hook
}

type hook struct {
	header http.Header
	body   []byte
}

const hookSecret = "s3cret"

func newWorld(t *testing.T, change ...func(*sim.GitHubConfig)) *world {
	t.Helper()
	w := &world{T: t}
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.received = append(w.received, hook{r.Header, body})
		w.mu.Unlock()
		rw.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(receiver.Close)
	cfg := sim.GitHubConfig{Dir: t.TempDir(), HookURL: receiver.URL, Secret: hookSecret}
	for _, c := range change {
		c(&cfg)
	}
	gh, err := sim.NewGitHub(cfg)
	must(t, err)
	must(t, gh.Start("127.0.0.1:0"))
	t.Cleanup(func() {
		gh.Close()
		if v := gh.Violations(); len(v) > 0 && !t.Failed() {
			t.Errorf("violations of GitHub's description:\n%s", strings.Join(v, "\n"))
		}
	})
	w.gh = gh
	w.repo, err = gh.CreateRepo("acme/web", sim.RepoOptions{})
	must(t, err)
	w.first, err = w.repo.Commit("master", "alice", "first\n\nwith a body", map[string]string{"README.md": "hello\n", "deploy/app.yaml": "kind: Service\n"})
	must(t, err)
	w.app = w.appClient()
	w.api = w.installationClient(nil)
	return w
}

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) appClient() *github.Client {
	transport, err := ghinstallation.NewAppsTransport(http.DefaultTransport, w.gh.AppID(), w.gh.PrivateKeyPEM())
	must(w.T, err)
	client, err := github.NewClient(&http.Client{Transport: transport}).WithEnterpriseURLs(w.gh.URL(), w.gh.URL())
	must(w.T, err)
	return client
}

func (w *world) transport(options *github.InstallationTokenOptions) *ghinstallation.Transport {
	installation, ok := w.gh.Installation("acme")
	if !ok {
		w.Fatal("the app is not installed on acme")
	}
	transport, err := ghinstallation.New(http.DefaultTransport, w.gh.AppID(), installation.ID, w.gh.PrivateKeyPEM())
	must(w.T, err)
	transport.BaseURL = strings.TrimSuffix(w.gh.APIURL(), "/")
	transport.InstallationTokenOptions = options
	return transport
}

func (w *world) installationClient(options *github.InstallationTokenOptions) *github.Client {
	client, err := github.NewClient(&http.Client{Transport: w.transport(options)}).WithEnterpriseURLs(w.gh.URL(), w.gh.URL())
	must(w.T, err)
	return client
}

func (w *world) token(options *github.InstallationTokenOptions) string {
	token, err := w.transport(options).Token(context.Background())
	must(w.T, err)
	return token
}

// hooks waits for all webhooks and returns those of the event.
func (w *world) hooks(event string) []hook {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(w.T, w.gh.Flush(ctx))
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []hook
	for _, h := range w.received {
		if h.header.Get("X-GitHub-Event") == event {
			found = append(found, h)
		}
	}
	return found
}

// git runs git in the folder with the credentials in the address.
func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@users.noreply.github.com", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@users.noreply.github.com")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := git(t, dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (w *world) cloneURL(user, password string) string {
	return strings.Replace(w.repo.CloneURL(), "http://", "http://"+user+":"+password+"@", 1)
}

func TestGitOverHTTP(t *testing.T) {
	w := newWorld(t)
	second, err := w.repo.Commit("master", "bob", "second", map[string]string{"README.md": "hello again\n", "deploy/app.yaml": sim.Deleted})
	must(t, err)

	t.Run("clone with the installation's token", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "web")
		mustGit(t, ".", "clone", "--quiet", w.cloneURL("x-access-token", w.token(nil)), dir)
		if head := mustGit(t, dir, "rev-parse", "HEAD"); head != second {
			t.Fatalf("HEAD %s, want %s", head, second)
		}
		if _, err := os.Stat(filepath.Join(dir, "deploy/app.yaml")); !os.IsNotExist(err) {
			t.Fatalf("the deleted file is there: %v", err)
		}
	})
	t.Run("fetch exactly one commit", func(t *testing.T) {
		dir := t.TempDir()
		mustGit(t, dir, "init", "--quiet")
		mustGit(t, dir, "fetch", "--quiet", "--depth=1", w.cloneURL("x-access-token", w.token(nil)), w.first)
		if got := mustGit(t, dir, "rev-parse", "FETCH_HEAD"); got != w.first {
			t.Fatalf("fetched %s, want %s", got, w.first)
		}
	})
	for _, test := range []struct{ name, password, want string }{
		{"no such token", "ghs_wrong", "Authentication failed"},
		{"without contents:read", w.token(&github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Statuses: github.String("write")}}), "403"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := git(t, t.TempDir(), "ls-remote", w.cloneURL("x-access-token", test.password))
			if err == nil || !strings.Contains(out, test.want) {
				t.Fatalf("%v, %s", err, out)
			}
		})
	}
	t.Run("push by a user sends a webhook", func(t *testing.T) {
		w.repo.SetPermission("alice", "write", "")
		dir := filepath.Join(t.TempDir(), "web")
		mustGit(t, ".", "clone", "--quiet", w.cloneURL("alice", w.gh.UserToken("alice")), dir)
		big := make([]byte, 3<<20) // more than git's http.postBuffer: a chunked request
		for i := range big {
			big[i] = byte(i * i >> 7)
		}
		must(t, os.WriteFile(filepath.Join(dir, "big"), big, 0o644))
		mustGit(t, dir, "-c", "core.compression=0", "add", "big")
		mustGit(t, dir, "-c", "core.compression=0", "commit", "--quiet", "-m", "big")
		mustGit(t, dir, "-c", "core.compression=0", "-c", "pack.compression=0", "push", "--quiet", "origin", "master")
		pushes := w.hooks("push")
		event, err := github.ParseWebHook("push", pushes[len(pushes)-1].body)
		must(t, err)
		push := event.(*github.PushEvent)
		if push.GetAfter() != mustGit(t, dir, "rev-parse", "HEAD") || push.GetBefore() != second || push.GetPusher().GetName() != "alice" {
			t.Fatalf("push event: %v", push)
		}
		if out, err := git(t, dir, "push", "origin", "HEAD:refs/pull/1/head"); err == nil {
			t.Fatalf("a push to refs/pull was accepted: %s", out)
		}
	})
	t.Run("push by a reader is refused", func(t *testing.T) {
		w.repo.SetPermission("carol", "read", "")
		out, err := git(t, w.repo.GitDir(), "push", w.cloneURL("carol", w.gh.UserToken("carol")), "master:stolen")
		if err == nil || !strings.Contains(out, "403") || w.repo.Head("stolen") != "" {
			t.Fatalf("%v, %s", err, out)
		}
	})
	t.Run("push by the app is refused", func(t *testing.T) {
		out, err := git(t, w.repo.GitDir(), "push", w.cloneURL("x-access-token", w.token(nil)), "master:stolen")
		if err == nil || w.repo.Head("stolen") != "" {
			t.Fatalf("%v, %s", err, out)
		}
	})
}

func TestPushWebhook(t *testing.T) {
	w := newWorld(t)
	topic, err := w.repo.Push("topic", "bob",
		sim.Change{Author: "bob", Message: "one", Files: map[string]string{"a": "1", "README.md": "changed"}},
		sim.Change{Author: "carol", Message: "two", Files: map[string]string{"a": sim.Deleted}})
	must(t, err)
	_, err = w.repo.ForcePush("topic", w.first, "bob", sim.Change{Message: "three", Files: map[string]string{"b": "1"}})
	must(t, err)
	must(t, w.repo.DeleteBranch("topic", "bob"))
	must(t, w.repo.Tag("v1", w.first, "alice"))

	hooks := w.hooks("push")
	var events []*github.PushEvent
	for _, h := range hooks {
		mac := hmac.New(sha256.New, []byte(hookSecret))
		mac.Write(h.body)
		if h.header.Get("X-Hub-Signature-256") != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
			t.Error("the signature does not fit")
		}
		event, err := github.ParseWebHook("push", h.body)
		must(t, err)
		events = append(events, event.(*github.PushEvent))
	}
	if len(events) != 5 {
		t.Fatalf("%d push events, want 5", len(events))
	}
	created, forced, deleted, tagged := events[1], events[2], events[3], events[4]
	if !created.GetCreated() || created.GetRef() != "refs/heads/topic" || created.GetAfter() != topic || len(created.Commits) != 2 {
		t.Errorf("created: %v", created)
	}
	if c := created.Commits[0]; c.GetMessage() != "one" || strings.Join(c.Added, ",") != "a" || strings.Join(c.Modified, ",") != "README.md" || c.GetAuthor().GetLogin() != "bob" {
		t.Errorf("first commit: %v", c)
	}
	if c := created.Commits[1]; strings.Join(c.Removed, ",") != "a" {
		t.Errorf("second commit: %v", c)
	}
	if !forced.GetForced() || len(forced.Commits) != 1 {
		t.Errorf("forced: %v", forced)
	}
	if !deleted.GetDeleted() || deleted.HeadCommit != nil || strings.Trim(deleted.GetAfter(), "0") != "" {
		t.Errorf("deleted: %v", deleted)
	}
	if tagged.GetRef() != "refs/tags/v1" || tagged.GetBaseRef() != "refs/heads/master" || len(tagged.Commits) != 0 || tagged.GetHeadCommit().GetID() != w.first {
		t.Errorf("tagged: %v", tagged)
	}
	if got := len(w.hooks("create")); got != 3 { // master, topic, v1
		t.Errorf("%d create events, want 3", got)
	}
}

func TestAppAuthentication(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	installation, _, err := w.app.Apps.FindRepositoryInstallation(ctx, "acme", "web")
	must(t, err)
	if installation.GetAccount().GetLogin() != "acme" {
		t.Fatalf("installation: %v", installation)
	}
	app, _, err := w.app.Apps.Get(ctx, "")
	must(t, err)
	if app.GetID() != w.gh.AppID() {
		t.Fatalf("app: %v", app)
	}
	list, _, err := w.app.Apps.ListInstallations(ctx, nil)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("installations: %v", list)
	}

	same, _, err := w.app.Apps.GetInstallation(ctx, installation.GetID())
	must(t, err)
	if same.GetAppID() != w.gh.AppID() {
		t.Fatalf("installation: %v", same)
	}

	_, err = w.gh.CreateRepo("acme/other", sim.RepoOptions{})
	must(t, err)
	repos, _, err := w.api.Apps.ListRepos(ctx, nil)
	must(t, err)
	if repos.GetTotalCount() != 2 {
		t.Fatalf("repositories: %v", repos)
	}

	onlyWeb := w.installationClient(&github.InstallationTokenOptions{Repositories: []string{"web"}})
	if _, _, err := onlyWeb.Repositories.Get(ctx, "acme", "web"); err != nil {
		t.Error(err)
	}
	expectStatus(t, 404)(onlyWeb.Repositories.Get(ctx, "acme", "other"))

	noStatuses := w.installationClient(&github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Statuses: github.String("read")}})
	expectStatus(t, 403)(noStatuses.Repositories.CreateStatus(ctx, "acme", "web", w.first, &github.RepoStatus{State: github.String("pending")}))

	more := w.transport(&github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Administration: github.String("write")}})
	if _, err := more.Token(ctx); err == nil || !strings.Contains(err.Error(), "422") {
		t.Errorf("a permission that the app lacks was granted: %v", err)
	}

	if _, _, err := w.api.Repositories.Get(ctx, "acme", "web"); err != nil {
		t.Error(err)
	}
	w.gh.ExpireTokens()
	expectStatus(t, 401)(w.api.Repositories.Get(ctx, "acme", "web"))

	wrongKey, err := sim.NewGitHub(sim.GitHubConfig{Dir: t.TempDir(), AppID: 999})
	must(t, err)
	transport, err := ghinstallation.NewAppsTransport(http.DefaultTransport, wrongKey.AppID(), wrongKey.PrivateKeyPEM())
	must(t, err)
	stranger, err := github.NewClient(&http.Client{Transport: transport}).WithEnterpriseURLs(w.gh.URL(), w.gh.URL())
	must(t, err)
	expectStatus(t, 401)(stranger.Apps.Get(ctx, ""))
}

// expectStatus returns a function that takes what a call of go-github returned
// and checks that it was refused.
func expectStatus(t *testing.T, status int) func(_ any, response *github.Response, err error) {
	t.Helper()
	return func(_ any, response *github.Response, err error) {
		t.Helper()
		if err == nil || response == nil || response.StatusCode != status {
			t.Errorf("got %v, want status %d", err, status)
		}
	}
}
