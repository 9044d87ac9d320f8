package sim_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// jwt makes a token by hand, also one that a library would not.
func jwt(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		must(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	must(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestJWT(t *testing.T) {
	w := newWorld(t)
	block, _ := pem.Decode(w.gh.PrivateKeyPEM())
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	must(t, err)
	otherKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	now := time.Now().Unix()
	rs256 := map[string]any{"alg": "RS256", "typ": "JWT"}
	claims := func(iss any, iat, exp int64) map[string]any {
		return map[string]any{"iss": iss, "iat": iat, "exp": exp}
	}
	for _, test := range []struct {
		name, token string
		status      int
	}{
		{"right", jwt(t, key, rs256, claims(w.gh.AppID(), now-30, now+300)), 200},
		{"issuer as text", jwt(t, key, rs256, claims(fmt.Sprint(w.gh.AppID()), now-30, now+300)), 200},
		{"another app", jwt(t, key, rs256, claims(1, now-30, now+300)), 401},
		{"another key", jwt(t, otherKey, rs256, claims(w.gh.AppID(), now-30, now+300)), 401},
		{"another algorithm", jwt(t, key, map[string]any{"alg": "none"}, claims(w.gh.AppID(), now-30, now+300)), 401},
		{"expired", jwt(t, key, rs256, claims(w.gh.AppID(), now-600, now-1)), 401},
		{"issued in the future", jwt(t, key, rs256, claims(w.gh.AppID(), now+60, now+300)), 401},
		{"valid for too long", jwt(t, key, rs256, claims(w.gh.AppID(), now, now+3600)), 401},
		{"no times", jwt(t, key, rs256, map[string]any{"iss": w.gh.AppID()}), 401},
		{"not a JWT", "a.b.c", 401},
		{"nothing", "", 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequest("GET", w.gh.APIURL()+"app", nil)
			must(t, err)
			request.Header.Set("Authorization", "Bearer "+test.token)
			response, err := http.DefaultClient.Do(request)
			must(t, err)
			response.Body.Close()
			if response.StatusCode != test.status {
				t.Fatalf("status %d, want %d", response.StatusCode, test.status)
			}
		})
	}
}

// TestTokenLivesAnHour advances GitHub's clock for credentials.
func TestTokenLivesAnHour(t *testing.T) {
	now := &clock{at: time.Now()}
	w := newWorld(t, func(cfg *sim.GitHubConfig) { cfg.AuthNow = now.Now })
	client, err := github.NewClient(nil).WithAuthToken(w.token(nil)).WithEnterpriseURLs(w.gh.URL(), w.gh.URL())
	must(t, err)
	_, _, err = client.Repositories.Get(ctx, "acme", "web")
	must(t, err)
	now.Advance(time.Hour)
	expired, response, err := client.Repositories.Get(ctx, "acme", "web")
	expectStatus(t, 401)(expired, response, err)
}

func TestAppWithoutAccess(t *testing.T) {
	w := newWorld(t)
	w.repo.SetInstalled(false)
	hidden, response, err := w.api.Repositories.Get(ctx, "acme", "web")
	expectStatus(t, 404)(hidden, response, err)
	none, response, err := w.app.Apps.FindRepositoryInstallation(ctx, "acme", "web")
	expectStatus(t, 404)(none, response, err)
	before := len(w.hooks("push"))
	_, err = w.repo.Commit("master", "alice", "unseen", map[string]string{"a": "1"})
	must(t, err)
	if len(w.hooks("push")) != before {
		t.Fatal("a push was told to an app that has no access")
	}
	token := w.token(nil)
	if out, err := git(t, t.TempDir(), "ls-remote", w.cloneURL("x-access-token", token)); err == nil {
		t.Fatalf("git was served: %s", out)
	}
	w.gh.Uninstall("acme")
	if _, ok := w.gh.Installation("acme"); ok {
		t.Fatal("still installed")
	}
	ended, response, err := w.api.Apps.ListRepos(ctx, nil)
	expectStatus(t, 401)(ended, response, err)
}

// TestSpecialFiles looks at what only a real git makes: a link, a submodule and
// an executable.
func TestSpecialFiles(t *testing.T) {
	w := newWorld(t)
	w.repo.SetPermission("alice", "write", "")
	dir := filepath.Join(t.TempDir(), "web")
	mustGit(t, ".", "clone", "--quiet", w.cloneURL("alice", w.gh.UserToken("alice")), dir)
	must(t, os.Symlink("README.md", filepath.Join(dir, "link")))
	must(t, os.WriteFile(filepath.Join(dir, ".gitmodules"), []byte("[submodule \"lib\"]\n\tpath = lib\n\turl = https://git.example/lib.git\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "large"), []byte(strings.Repeat("x", 1<<20+1)), 0o755))
	mustGit(t, dir, "add", ".")
	mustGit(t, dir, "update-index", "--add", "--cacheinfo", "160000,"+w.first+",lib")
	mustGit(t, dir, "commit", "--quiet", "-m", "special")
	mustGit(t, dir, "push", "--quiet", "origin", "HEAD:special")
	for _, test := range []struct{ path, kind string }{{"link", "symlink"}, {"lib", "submodule"}, {"large", "file"}} {
		file, _, _, err := w.api.Repositories.GetContents(ctx, "acme", "web", test.path, &github.RepositoryContentGetOptions{Ref: "special"})
		must(t, err)
		if file.GetType() != test.kind {
			t.Errorf("%s: %v", test.path, file)
		}
		switch test.path {
		case "link":
			if file.GetTarget() != "README.md" {
				t.Errorf("target %q", file.GetTarget())
			}
		case "lib":
			if file.GetSubmoduleGitURL() != "https://git.example/lib.git" {
				t.Errorf("submodule %q", file.GetSubmoduleGitURL())
			}
		case "large":
			if file.GetEncoding() != "none" || file.GetSize() != 1<<20+1 {
				t.Errorf("%v", file)
			}
		}
	}
	request, err := w.api.NewRequest("GET", "repos/acme/web/contents/README.md", nil)
	must(t, err)
	request.Header.Set("Accept", "application/vnd.github.raw+json")
	var raw strings.Builder
	_, err = w.api.Do(ctx, request, &raw)
	must(t, err)
	if raw.String() != "hello\n" {
		t.Errorf("raw: %q", raw.String())
	}
}

// TestConcurrentUse is for the race detector, and shows that OnWrite is told
// everything in order and may use the simulator.
func TestConcurrentUse(t *testing.T) {
	var mu sync.Mutex
	var told []string
	var w *world
	w = newWorld(t, func(cfg *sim.GitHubConfig) {
		cfg.OnWrite = func(write sim.Write) {
			statuses := w.repo.Statuses(write.SHA)
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(write.Kind, write.Name, len(statuses) > 0))
		}
	})
	const writers, each = 4, 5
	errs := make([]error, writers)
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			for range each {
				_, _, err1 := w.api.Repositories.CreateStatus(ctx, "acme", "web", w.first, &github.RepoStatus{State: github.String("pending"), Context: github.String("c")})
				_, err2 := w.repo.Commit(fmt.Sprint("b", i), "alice", "m", map[string]string{"a": fmt.Sprint(i)})
				errs[i] = errors.Join(errs[i], err1, err2)
				w.gh.Deliveries()
				w.gh.Requests()
			}
		})
	}
	wait.Wait()
	must(t, errors.Join(errs...))
	w.hooks("push")
	mu.Lock()
	defer mu.Unlock()
	if len(told) != writers*each || told[0] != "statusctrue" {
		t.Fatalf("told %d: %q", len(told), told)
	}
	if got := len(w.hooks("push")); got != 1+writers*each {
		t.Fatalf("%d push events, want %d", got, 1+writers*each)
	}
}
