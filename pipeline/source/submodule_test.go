package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// host serves several repositories: each to whoever brings its token, or, where that is "", to anybody.
type host struct {
	*httptest.Server
	t      *testing.T
	repos  map[string]*upstream // by owner/name
	tokens map[string]string
	wrong  []string // requests that carried another token than the repository's
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, repos: map[string]*upstream{}, tokens: map[string]string{}}
	execPath, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend")
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
		u, ok := h.repos[repo]
		_, password, _ := r.BasicAuth()
		if password != "" && password != h.tokens[repo] {
			h.wrong = append(h.wrong, password+" for "+repo)
		}
		switch {
		case !ok || password != h.tokens[repo]:
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
		default:
			(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(u.work, ".git"), "GIT_HTTP_EXPORT_ALL=1"},
				Root: "/" + repo + ".git", Stderr: io.Discard}).ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		h.Close()
		if len(h.wrong) > 0 {
			t.Errorf("tokens went to the wrong repository: %v", h.wrong)
		}
	})
	return h
}

// repo makes a repository; token "" makes it public.
func (h *host) repo(name, token string) *upstream {
	u := &upstream{t: h.t, work: h.t.TempDir(), Server: h.Server}
	u.git("init", "--quiet", "--initial-branch=master")
	h.repos[name], h.tokens[name] = u, token
	return u
}

// remote gives out each repository's token but for those of denied.
func (h *host) remote(name string, denied map[string]string) Remote {
	r := Remote{URL: h.URL + "/" + name + ".git", Denied: denied[name]}
	if token := h.tokens[name]; token != "" && r.Denied == "" {
		r.Token = func(context.Context) (string, error) { return token, nil }
	}
	r.Submodule = func(_ context.Context, repo string) (Remote, error) { return h.remote(repo, denied), nil }
	return r
}

// link adds a submodule to what the next commit has.
func (u *upstream) link(path, commit string) {
	u.git("update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
}

// commitLinks commits a .gitmodules and submodules, as path → commit.
func (u *upstream) commitLinks(gitmodules string, links map[string]string) string {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.work, modulesFile), []byte(gitmodules), 0o644); err != nil {
		u.t.Fatal(err)
	}
	u.git("add", "--all")
	for path, commit := range links {
		u.link(path, commit)
	}
	u.git("commit", "--quiet", "--message", "links")
	return u.git("rev-parse", "HEAD")
}

func section(name, path, url string) string {
	return fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = %s\n", name, path, url)
}

var submodules = Options{Submodules: true}

func TestSubmodules(t *testing.T) {
	h := newHost(t)
	lib, deep, web := h.repo("acme/lib", "lib-token"), h.repo("other/deep", ""), h.repo("acme/web", "web-token")
	deepCommit := deep.commit("deep", map[string]string{"deep.txt": "deep"})
	deep.commit("deeper", map[string]string{"deep.txt": "newer"})
	lib.commit("lib", map[string]string{"lib.txt": "lib"})
	libCommit := lib.commitLinks(section("d", "vendor/deep", h.URL+"/other/deep"), map[string]string{"vendor/deep": deepCommit})
	hostname := strings.TrimPrefix(h.URL, "http://")
	hostname = hostname[:strings.LastIndex(hostname, ":")]
	web.commit("web", map[string]string{"main.go": "main"})
	commit := web.commitLinks(section("../../hooks", "third_party/lib", "../lib.git")+section("same", "again", "git@"+hostname+":acme/lib.git")+
		section("off", "off", "https://elsewhere.example.com/x/y")+"\tupdate = none\n"+section("unused", "nowhere", "ext::sh -c false"),
		map[string]string{"third_party/lib": libCommit, "again": libCommit, "off": libCommit})

	f := newFetcher(t)
	d := dest(t)
	if _, err := f.Checkout(t.Context(), "acme/web", h.remote("acme/web", nil), commit, d, submodules); err != nil {
		t.Fatal(err)
	}
	want := []string{".gitmodules", "again/.gitmodules", "again/lib.txt", "again/vendor/deep/deep.txt", "main.go",
		"third_party/lib/.gitmodules", "third_party/lib/lib.txt", "third_party/lib/vendor/deep/deep.txt"}
	if got := files(t, d); !slices.Equal(got, want) {
		t.Errorf("files %v\nwant  %v", got, want)
	}
	if got := read(t, filepath.Join(d, "again/vendor/deep/deep.txt")); got != "deep" {
		t.Errorf("the submodule's file is %q: not its exact commit", got)
	}
	for _, name := range files(t, f.Dir) {
		if text := read(t, filepath.Join(f.Dir, name)); strings.Contains(text, "lib-token") || strings.Contains(text, "web-token") {
			t.Errorf("%s holds a token", name)
		}
	}

	plain := dest(t)
	if _, err := f.Checkout(t.Context(), "acme/web", h.remote("acme/web", nil), commit, plain, Options{}); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, plain), []string{".gitmodules", "main.go"}; !slices.Equal(got, want) {
		t.Errorf("without submodules: files %v, want %v", got, want)
	}

	// A mirror that a token filled serves nobody who has none: a fork may name the same commit.
	_, err := f.Checkout(t.Context(), "acme/web", h.remote("acme/web", map[string]string{"acme/lib": "it comes from a fork"}), commit, dest(t), submodules)
	if err == nil || !IsPermanent(err) || !strings.Contains(err.Error(), `.gitmodules:6: submodule "again": acme/lib is not public, and no credential is used for it: it comes from a fork`) {
		t.Errorf("error: %v", err)
	}
}

func TestSubmodulesThatAreRefused(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { elsewhere = append(elsewhere, r.Host) }))
	defer other.Close()
	for _, address := range []string{
		"ext::sh -c 'touch " + ran + "'", "ext::touch% " + ran, "file:///etc", "file::/etc", "/etc", "../../../../etc/passwd", "./x", "..", "fd::17",
		"ssh://evil.example.com/acme/lib", "ssh://-oProxyCommand=touch/acme/lib", "-u./x", "--upload-pack=touch " + ran,
		"git@evil.example.com:acme/lib.git", "root@HOST:acme/lib", "ssh://root@HOST/acme/lib",
		other.URL + "/acme/lib.git", "https://evil.example.com/acme/lib", "https://HOST.evil.example.com/acme/lib", "https://x:secret-password@HOST/acme/lib",
		"https://HOST@evil.example.com/acme/lib", "URL/acme/lib?service=git-receive-pack", "URL/acme", "URL/acme/lib/../../../x", "URL/acme/..", "git://HOST/acme/lib", "",
		"URL/-x/lib", "http://[::1", "../lib\n.git",
	} {
		t.Run(address, func(t *testing.T) {
			h := newHost(t)
			web := h.repo("acme/web", "web-token")
			web.commit("web", map[string]string{"a": "b"})
			r := h.remote("acme/web", nil)
			r.Submodule = func(_ context.Context, repo string) (Remote, error) {
				t.Errorf("asked for the repository %q", repo)
				return Remote{}, errors.New("asked")
			}
			address = strings.NewReplacer("HOST", strings.TrimPrefix(h.URL, "http://"), "URL", h.URL).Replace(address)
			file := filepath.Join(t.TempDir(), "modules")
			web.git("config", "--file", file, "submodule.lib.path", "lib")
			web.git("config", "--file", file, "submodule.lib.url", address)
			commit := web.commitLinks(read(t, file), map[string]string{"lib": strings.Repeat("a", 40)})
			d := dest(t)
			_, err := newFetcher(t).Checkout(t.Context(), "acme/web", r, commit, d, submodules)
			if err == nil || !IsPermanent(err) || !strings.Contains(err.Error(), `.gitmodules:3: submodule "lib": its url must be a repository on the same host`) {
				t.Errorf("error: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret-password") {
				t.Errorf("the error has the password: %v", err)
			}
			mustNotExist(t, d)
		})
	}
	mustNotExist(t, ran)
	if len(elsewhere) != 0 {
		t.Errorf("the other host was asked: %v", elsewhere)
	}
}

func TestSubmodulePlaces(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plant func(web *upstream, lib string) string // returns the commit
		words string
	}{
		{"unnamed", func(web *upstream, lib string) string {
			return web.commitLinks("", map[string]string{"lib": lib})
		}, `"lib" is a submodule that .gitmodules does not name`},
		{"a link as .gitmodules", func(web *upstream, lib string) string {
			web.commit("x", map[string]string{"modules": section("l", "lib", "../lib.git")})
			commit := web.git("commit-tree", "-m", "x", web.mktree("120000 blob "+web.git("rev-parse", "HEAD:modules")+"\t.gitmodules\n160000 commit "+lib+"\tlib"))
			web.git("branch", "x", commit)
			return commit
		}, ".gitmodules is a symbolic link"},
		{"nonsense", func(web *upstream, lib string) string {
			return web.commitLinks("[submodule \"x\"\n", map[string]string{"lib": lib})
		}, ".gitmodules: git config: "},
		{"includes a file", func(web *upstream, lib string) string {
			return web.commitLinks("[include]\n\tpath = /etc/passwd\n", map[string]string{"lib": lib})
		}, "does not name"},
		{"huge .gitmodules", func(web *upstream, lib string) string {
			return web.commitLinks(strings.Repeat("# x\n", maxModules/4+1), map[string]string{"lib": lib})
		}, "it must have at most"},
		{"a .git in the path", func(web *upstream, lib string) string {
			return web.rawTree("040000 tree "+web.mktree("160000 commit "+lib+"\thooks")+"\t.git", section("l", ".git/hooks", "../lib.git"))
		}, "invalid path"},
		{"above", func(web *upstream, lib string) string {
			return web.rawTree("040000 tree "+web.mktree("160000 commit "+lib+"\tlib")+"\t..", section("l", "../lib", "../lib.git"))
		}, "invalid path"},
		{"a commit that is gone", func(web *upstream, lib string) string {
			return web.commitLinks(section("l", "lib", "../lib.git"), map[string]string{"lib": strings.Repeat("b", 40)})
		}, `.gitmodules:3: submodule "lib": the repository no longer has this commit`},
		{"too many", func(web *upstream, lib string) string {
			links, modules := map[string]string{}, ""
			for i := range maxSubmodules + 1 {
				links[fmt.Sprint("l", i)] = lib
				modules += section(fmt.Sprint(i), fmt.Sprint("l", i), "../lib.git")
			}
			return web.commitLinks(modules, links)
		}, "more than 100 submodules"},
		{"too deep", func(web *upstream, lib string) string {
			for range maxDepth + 1 {
				lib = web.commitLinks(section("l", "l", "../web"), map[string]string{"l": lib})
			}
			return lib
		}, "nested more than 8 deep"},
		{"too large together", func(web *upstream, lib string) string {
			web.commit("x", map[string]string{"large": strings.Repeat("0", 600<<10)})
			return web.commitLinks(section("l", "lib", "../lib.git"), map[string]string{"lib": lib})
		}, "take more than 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			lib, web := h.repo("acme/lib", ""), h.repo("acme/web", "web-token")
			web.commit("web", map[string]string{"a": "b"})
			commit := tt.plant(web, lib.commit("lib", map[string]string{"post-checkout": "#!/bin/sh\n", "large": strings.Repeat("0", 600<<10)}))
			f, d := newFetcher(t), dest(t)
			f.MaxBytes = 1 << 20
			if tt.name != "too large together" {
				f.MaxBytes = 0
			}
			_, err := f.Checkout(t.Context(), "acme/web", h.remote("acme/web", nil), commit, d, submodules)
			if err == nil || !IsPermanent(err) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("error: %v; want %s", err, tt.words)
			}
			mustNotExist(t, d)
		})
	}
}

// mktree makes a tree of entries as git would never do by itself.
func (u *upstream) mktree(entries string) string {
	u.t.Helper()
	path := filepath.Join(u.t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(entries+"\n"), 0o644); err != nil {
		u.t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "git mktree --missing <"+path)
	cmd.Dir = u.work
	out, err := cmd.Output()
	if err != nil {
		u.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// rawTree commits a tree entry beside a .gitmodules.
func (u *upstream) rawTree(entry, gitmodules string) string {
	u.t.Helper()
	u.commit("modules", map[string]string{".gitmodules": gitmodules})
	commit := u.git("commit-tree", "-m", "raw", u.mktree("100644 blob "+u.git("rev-parse", "HEAD:.gitmodules")+"\t.gitmodules\n"+entry))
	u.git("branch", "raw", commit)
	return commit
}

// A folder that became a symbolic link after it was extracted leads no submodule out.
func TestPlainFolder(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.Symlink("/etc", filepath.Join(dir, "out")), os.Symlink("a", filepath.Join(dir, "in")),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, good := range map[string]bool{"a": true, "a/b": true, "out": false, "out/ssl": false, "in": false, "in/b": false, "file": false,
		"..": false, "../x": false, "a/../..": false, "/etc": false, "": false, "none": false} {
		if err := plainFolder(root, name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAGitFolderInTheTree(t *testing.T) {
	u := newUpstream(t)
	u.commit("one", map[string]string{"config": "[core]\n\tfsmonitor = touch /tmp/x\n"})
	for _, name := range []string{".git", ".GIT", "git~1"} {
		commit := u.git("commit-tree", "-m", "x", u.mktree("040000 tree "+u.git("rev-parse", "HEAD^{tree}")+"\t"+name))
		u.git("branch", "x"+strings.Trim(name, ".~1")+fmt.Sprint(len(name)), commit)
		d := dest(t)
		_, err := newFetcher(t).Checkout(t.Context(), "acme/web", u.remote(), commit, d, Options{})
		if err == nil || !IsPermanent(err) || !strings.Contains(err.Error(), "invalid path") {
			t.Errorf("%s: %v", name, err)
		}
		mustNotExist(t, d)
	}
}
