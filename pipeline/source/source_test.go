package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const token = "ghs_s3cretTokenOfTheInstallation"

// upstream is a repository served by git's own HTTP backend to whoever brings the token.
type upstream struct {
	t    *testing.T
	work string // work tree with .git
	*httptest.Server
	sent atomic.Int64 // bytes of packs
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{t: t, work: t.TempDir()}
	u.git("init", "--quiet", "--initial-branch=master")
	execPath, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + filepath.Join(u.work, ".git"), "GIT_HTTP_EXPORT_ALL=1"},
		Root:   "/acme/web.git",
		Stderr: io.Discard,
	}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(&countingWriter{w, &u.sent}, r)
	}))
	t.Cleanup(u.Close)
	return u
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return w.ResponseWriter.Write(p)
}

func (u *upstream) git(args ...string) string {
	u.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = u.work
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_AUTHOR_DATE=1750000000 +0200",
		"GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.com", "GIT_COMMITTER_DATE=1750000001 +0200",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		u.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files (a name that ends in @ is a symbolic link) and returns the commit.
func (u *upstream) commit(subject string, files map[string]string) string {
	u.t.Helper()
	for name, content := range files {
		link, isLink := strings.CutSuffix(name, "@")
		path := filepath.Join(u.work, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			u.t.Fatal(err)
		}
		var err error
		if isLink {
			err = os.Symlink(content, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			u.t.Fatal(err)
		}
	}
	u.git("add", "--all")
	u.git("commit", "--quiet", "--message", subject)
	return u.git("rev-parse", "HEAD")
}

func (u *upstream) remote() Remote {
	return Remote{URL: u.URL + "/acme/web.git", Token: func(context.Context) (string, error) { return token, nil }}
}

func newFetcher(t *testing.T) *Fetcher { return &Fetcher{Dir: filepath.Join(t.TempDir(), "mirrors")} }

func dest(t *testing.T) string { return filepath.Join(t.TempDir(), "checkout") }

func files(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustNotExist(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there (%v)", path, err)
	}
}

func TestCheckout(t *testing.T) {
	u := newUpstream(t)
	first := u.commit("Add v1\n\nwith a body", map[string]string{"app.go": "v1", "deploy/app.yaml": "kind: Service", "link@": "app.go", "big.bin": strings.Repeat("x", 100)})
	second := u.commit("Add v2", map[string]string{"app.go": "v2"})
	f := newFetcher(t)

	d1 := dest(t)
	c, err := f.Checkout(t.Context(), "acme/web", u.remote(), first, d1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := Commit{SHA: first, Time: time.Unix(1750000001, 0).UTC(), AuthorName: "Ada", AuthorEmail: "ada@example.com", Subject: "Add v1"}
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if got, want := files(t, d1), []string{"app.go", "big.bin", "deploy/app.yaml", "link"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	if got := read(t, filepath.Join(d1, "link")); got != "v1" {
		t.Errorf("through the link: %q", got)
	}

	d2 := dest(t)
	if err := os.MkdirAll(d2, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d2, "left over"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), second, d2, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(d2, "app.go")); got != "v2" {
		t.Errorf("app.go is %q", got)
	}
	mustNotExist(t, filepath.Join(d2, "left over"))

	// What was fetched once is not asked for again, with the far end gone and no token to be had.
	u.Close()
	r := Remote{URL: u.URL + "/acme/web.git", Token: func(context.Context) (string, error) { return "", errors.New("no token") }}
	if _, err := f.Checkout(t.Context(), "acme/web", r, first, dest(t), Options{}); err != nil {
		t.Error(err)
	}
}

func TestFetchSendsOnlyWhatIsNew(t *testing.T) {
	u := newUpstream(t)
	noise := new(strings.Builder)
	for i := range 20000 {
		fmt.Fprintf(noise, "%x", i*i*7919)
	}
	first := u.commit("one", map[string]string{"noise": noise.String()})
	second := u.commit("two", map[string]string{"small": "x"})
	f := newFetcher(t)
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), first, dest(t), Options{}); err != nil {
		t.Fatal(err)
	}
	before := u.sent.Load()
	if before < 20000 {
		t.Fatalf("the first fetch sent %d bytes only", before)
	}
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), second, dest(t), Options{}); err != nil {
		t.Fatal(err)
	}
	if again := u.sent.Load() - before; again > 5000 {
		t.Errorf("the second fetch sent %d bytes, after %d", again, before)
	}
}

func TestNothingOfTheRepositoryRuns(t *testing.T) {
	u := newUpstream(t)
	ran := filepath.Join(t.TempDir(), "ran")
	evil := "#!/bin/sh\ntouch " + ran + "\n"
	commit := u.commit("evil", map[string]string{
		".gitattributes":       "* filter=evil\n*.bin filter=lfs diff=lfs merge=lfs -text\n",
		".gitconfig":           "[filter \"evil\"]\n\tsmudge = touch " + ran + "\n\trequired = true\n[filter \"lfs\"]\n\tsmudge = touch " + ran + "\n",
		"hooks/post-checkout":  evil,
		".githooks/pre-commit": evil,
		"model.bin":            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
	})
	f := newFetcher(t)
	// The same in the places where git would look for it: the user's configuration and the mirror's hooks.
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_CONFIG_PARAMETERS", "'filter.evil.smudge=touch "+ran+"'")
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[filter \"evil\"]\n\tsmudge = touch "+ran+"\n[core]\n\tfsmonitor = touch "+ran+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), commit, dest(t), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change", "post-merge"} {
		path := filepath.Join(f.Dir, "acme", "web.git", "hooks", hook)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(evil), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	next := u.commit("more", map[string]string{"x": "y"})
	d := dest(t)
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), next, d, Options{}); err != nil {
		t.Fatal(err)
	}
	mustNotExist(t, ran)
	if got := read(t, filepath.Join(d, "model.bin")); !strings.HasPrefix(got, "version https://git-lfs") {
		t.Errorf("the LFS pointer became %q", got)
	}
}

func TestTokenIsWrittenNowhere(t *testing.T) {
	u := newUpstream(t)
	commit := u.commit("one", map[string]string{"a": "b"})
	f := newFetcher(t)
	d := dest(t)
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), commit, d, Options{}); err != nil {
		t.Fatal(err)
	}
	mustNotExist(t, filepath.Join(d, ".git"))
	for _, name := range files(t, f.Dir) {
		if leaks(read(t, filepath.Join(f.Dir, name))) {
			t.Errorf("%s holds the token", name)
		}
	}
}

// leaks reports whether s holds the token, plain or as the header has it.
func leaks(s string) bool {
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth("x-access-token", token)
	basic := strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
	return strings.Contains(s, token) || strings.Contains(s, basic)
}

func TestFailingRemotes(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
		words   string
	}{
		{"says the token back", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, "fatal: you sent %s, that is %s\n", r.Header.Get("Authorization"), token)
		}, nil, "500"},
		{"says it in git's protocol", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			line := "ERR " + r.Header.Get("Authorization") + " " + token
			fmt.Fprintf(w, "001e# service=git-upload-pack\n0000%04x%s0000", len(line)+4, line)
		}, nil, "***"},
		{"says it without end", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusInternalServerError)
			for range 10000 {
				fmt.Fprint(w, r.Header.Get("Authorization"))
			}
		}, nil, ""},
		{"refuses", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}, ErrDenied, "contents: read"},
		{"forbids", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, ErrDenied, "installed"},
		{"has no such repository", http.NotFound, ErrDenied, "installed"},
		{"redirects elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusFound)
		}, nil, ""},
		{"hangs up", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, password, _ := r.BasicAuth(); password == token {
					asked.Store(true)
				}
				tt.handler(w, r)
			}))
			defer server.Close()
			r := Remote{URL: server.URL + "/acme/web.git", Token: func(context.Context) (string, error) { return token, nil }}
			d := dest(t)
			_, err := newFetcher(t).Checkout(t.Context(), "acme/web", r, strings.Repeat("a", 40), d, Options{})
			if err == nil {
				t.Fatal("no error")
			}
			if !asked.Load() {
				t.Error("the token was not sent, so the case shows nothing")
			}
			if leaks(err.Error()) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error: %v", err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("error: %v; want %v with %q", err, tt.want, tt.words)
			}
			mustNotExist(t, d)
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

func TestCommitGone(t *testing.T) {
	u := newUpstream(t)
	kept := u.commit("one", map[string]string{"a": "1"})
	u.commit("two", map[string]string{"a": "2"})
	gone := u.git("rev-parse", "HEAD")
	u.git("reset", "--quiet", "--hard", kept)
	u.git("reflog", "expire", "--expire=now", "--all")
	u.git("gc", "--quiet", "--prune=now")
	d := dest(t)
	_, err := newFetcher(t).Checkout(t.Context(), "acme/web", u.remote(), gone, d, Options{})
	if !errors.Is(err, ErrCommitGone) {
		t.Errorf("error: %v", err)
	}
	mustNotExist(t, d)
}

func TestNotACommit(t *testing.T) {
	u := newUpstream(t)
	u.commit("one", map[string]string{"a": "1"})
	for _, object := range []string{u.git("rev-parse", "HEAD^{tree}"), u.git("rev-parse", "HEAD:a")} {
		if _, err := newFetcher(t).Checkout(t.Context(), "acme/web", u.remote(), object, dest(t), Options{}); err == nil {
			t.Errorf("object %s was checked out", object)
		}
	}
}

func TestNamesAreChecked(t *testing.T) {
	u := newUpstream(t)
	commit := u.commit("one", map[string]string{"a": "1"})
	ran := filepath.Join(t.TempDir(), "ran")
	good := u.remote()
	for _, tt := range []struct{ name, repo, url, commit string }{
		{"option as commit", "acme/web", good.URL, "--upload-pack=touch " + ran},
		{"short commit", "acme/web", good.URL, commit[:7]},
		{"branch", "acme/web", good.URL, "master"},
		{"upper case", "acme/web", good.URL, strings.Repeat("A", 40)},
		{"newline", "acme/web", good.URL, commit + "\n"},
		{"option as address", "acme/web", "--upload-pack=touch " + ran, commit},
		{"another transport", "acme/web", "ext::sh -c 'touch " + ran + "'", commit},
		{"ssh", "acme/web", "ssh://-oProxyCommand=touch/x", commit},
		{"a file", "acme/web", "file://" + u.work, commit},
		{"a path", "acme/web", u.work, commit},
		{"password in the address", "acme/web", strings.Replace(good.URL, "//", "//x:"+token+"@", 1), commit},
		{"query", "acme/web", good.URL + "?a=b", commit},
		{"up", "../web", good.URL, commit},
		{"up again", "acme/..", good.URL, commit},
		{"deep", "acme/web/../../x", good.URL, commit},
		{"absolute", "/etc", good.URL, commit},
		{"option as repository", "--upload-pack=x/web", good.URL, commit},
		{"no owner", "web", good.URL, commit},
		{"empty", "", good.URL, commit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, d := newFetcher(t), dest(t)
			_, err := f.Checkout(t.Context(), tt.repo, Remote{URL: tt.url, Token: good.Token}, tt.commit, d, Options{})
			if err == nil {
				t.Fatal("accepted")
			}
			if leaks(err.Error()) {
				t.Errorf("error: %v", err)
			}
			mustNotExist(t, d)
			mustNotExist(t, f.Dir)
		})
	}
	mustNotExist(t, ran)
	if _, err := newFetcher(t).Checkout(t.Context(), "acme/web", good, commit, "", Options{}); err == nil {
		t.Error("an empty destination was accepted")
	}
}

func TestTooLarge(t *testing.T) {
	u := newUpstream(t)
	plain := u.commit("zeros that a pack makes small", map[string]string{"zeros": strings.Repeat("0", 1<<20)})
	// Ten folders that each name one folder ten times, and so on: 10^7 files in a pack of a few kilobytes.
	blob := u.git("rev-parse", "HEAD:zeros")
	tree, kind, mode := blob, "blob", "100644"
	for range 7 {
		var list strings.Builder
		for i := range 10 {
			fmt.Fprintf(&list, "%s %s %s\tf%d\n", mode, kind, tree, i)
		}
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", "git mktree <"+path)
		cmd.Dir = u.work
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		tree, kind, mode = strings.TrimSpace(string(out)), "tree", "040000"
	}
	bomb := u.git("commit-tree", "-m", "bomb", tree)
	u.git("branch", "bomb", bomb)

	for name, commit := range map[string]string{"one file": plain, "many folders": bomb} {
		t.Run(name, func(t *testing.T) {
			f, d := newFetcher(t), dest(t)
			f.MaxBytes = 500 << 10
			if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), commit, d, Options{}); !errors.Is(err, ErrTooLarge) {
				t.Errorf("error: %v", err)
			}
			mustNotExist(t, d)
		})
	}
}

func TestFetchThatBringsTooMuchIsStopped(t *testing.T) {
	u := newUpstream(t)
	commit := u.commit("one", map[string]string{"a": "1"})
	f := newFetcher(t)
	f.MaxBytes = 1 << 20
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), commit, dest(t), Options{}); err != nil {
		t.Fatal(err)
	}
	// A file that grows in the mirror stands for a pack that does not end.
	m := mirror{dir: filepath.Join(f.Dir, "acme", "web.git"), maxBytes: f.MaxBytes}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if err := os.WriteFile(filepath.Join(m.dir, "objects", "pack", "tmp_pack_x"), make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	m.watchSize(ctx, m.maxBytes, cancel)
	if !errors.Is(context.Cause(ctx), ErrTooLarge) {
		t.Errorf("cause: %v", context.Cause(ctx))
	}
}

// silentServer accepts requests and answers none until the test is over.
func silentServer(t *testing.T) (url string, asked <-chan struct{}) {
	t.Helper()
	over, first := make(chan struct{}), make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first <- struct{}{}
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(over); server.Close() })
	return server.URL, first
}

func TestCancelEndsEveryProcess(t *testing.T) {
	url, asked := silentServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	d := dest(t)
	f := newFetcher(t)
	go func() {
		_, err := f.Checkout(ctx, "acme/web", Remote{URL: url + "/acme/web.git"}, strings.Repeat("a", 40), d, Options{})
		done <- err
	}()
	<-asked
	children := descendants(t)
	if len(children) < 2 {
		t.Fatalf("expected git and its transport, found %v", children)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still running 10 s after it was cancelled")
	}
	mustNotExist(t, d)
	for _, pid := range children {
		for deadline := time.Now().Add(10 * time.Second); alive(pid); {
			if time.Now().After(deadline) {
				t.Fatalf("process %s is still there", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// descendants lists this process's children and theirs.
func descendants(t *testing.T) []string {
	t.Helper()
	parents := map[string]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(stats) == 0 {
		t.Skip("needs /proc")
	}
	for _, path := range stats {
		if b, err := os.ReadFile(path); err == nil {
			rest := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
			parents[filepath.Base(filepath.Dir(path))] = rest[1]
		}
	}
	var found []string
	for pid := range parents {
		for p := parents[pid]; p != ""; p = parents[p] {
			if p == fmt.Sprint(os.Getpid()) {
				found = append(found, pid)
			}
		}
	}
	return found
}

// alive reports whether a process runs; one that only waits for init to reap it does not.
func alive(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[0] != "Z"
}

func TestTimeout(t *testing.T) {
	url, _ := silentServer(t)
	f := newFetcher(t)
	f.Timeout = 200 * time.Millisecond
	_, err := f.Checkout(t.Context(), "acme/web", Remote{URL: url + "/acme/web.git"}, strings.Repeat("a", 40), dest(t), Options{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "200ms") {
		t.Errorf("error: %v", err)
	}
}

func TestConcurrentCheckoutsOfOneRepository(t *testing.T) {
	u := newUpstream(t)
	var commits []string
	for i := range 5 {
		commits = append(commits, u.commit("n", map[string]string{"n": fmt.Sprint(i)}))
	}
	f := newFetcher(t)
	var wg sync.WaitGroup
	for i, commit := range commits {
		wg.Go(func() {
			d := dest(t)
			if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), commit, d, Options{}); err != nil {
				t.Error(err)
				return
			}
			if got := read(t, filepath.Join(d, "n")); got != fmt.Sprint(i) {
				t.Errorf("n is %q at commit %d", got, i)
			}
		})
	}
	wg.Wait()
}

func TestMirrorAfterAKill(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, mirror string)
	}{
		{"lock files", func(t *testing.T, mirror string) {
			for _, name := range []string{"shallow.lock", "packed-refs.lock", "checkout.index.lock", "config.lock", "HEAD.lock", "objects/pack/tmp_pack_abc"} {
				if err := os.WriteFile(filepath.Join(mirror, name), nil, 0o444); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"a lock on the commit", func(t *testing.T, mirror string) {
			refs, _ := filepath.Glob(filepath.Join(mirror, "refs", "commits", "*"))
			if len(refs) == 0 {
				t.Fatal("no reference to lock")
			}
			for _, ref := range refs {
				if err := os.Rename(ref, ref+".lock"); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"truncated packs", func(t *testing.T, mirror string) {
			packs, _ := filepath.Glob(filepath.Join(mirror, "objects", "pack", "*.pack"))
			loose, _ := filepath.Glob(filepath.Join(mirror, "objects", "??", "*"))
			if len(packs)+len(loose) == 0 {
				t.Fatal("nothing to truncate")
			}
			for _, path := range append(packs, loose...) {
				if err := os.Chmod(path, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(path, 10); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"objects lost", func(t *testing.T, mirror string) {
			if err := os.RemoveAll(filepath.Join(mirror, "objects")); err != nil {
				t.Fatal(err)
			}
		}},
		{"empty config", func(t *testing.T, mirror string) {
			if err := os.WriteFile(filepath.Join(mirror, "config"), []byte("[core"), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"only half made", func(t *testing.T, mirror string) {
			for _, name := range []string{"HEAD", "refs"} {
				if err := os.RemoveAll(filepath.Join(mirror, name)); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUpstream(t)
			first := u.commit("one", map[string]string{"n": "1"})
			f := newFetcher(t)
			if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), first, dest(t), Options{}); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, filepath.Join(f.Dir, "acme", "web.git"))
			second := u.commit("two", map[string]string{"n": "2"})
			for n, commit := range map[string]string{"1": first, "2": second} {
				d := dest(t)
				if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), commit, d, Options{}); err != nil {
					t.Fatal(err)
				}
				if got := read(t, filepath.Join(d, "n")); got != n {
					t.Errorf("n is %q, want %q", got, n)
				}
			}
		})
	}
}

func TestMirrorIsMadeAnewWhenItGrows(t *testing.T) {
	u := newUpstream(t)
	f := newFetcher(t)
	f.MaxBytes = 1 << 20
	mirrorDir := filepath.Join(f.Dir, "acme", "web.git")
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), u.commit("one", map[string]string{"n": "1"}), dest(t), Options{}); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(mirrorDir, "old")
	if err := os.WriteFile(old, make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Checkout(t.Context(), "acme/web", u.remote(), u.commit("two", map[string]string{"n": "2"}), dest(t), Options{}); err != nil {
		t.Fatal(err)
	}
	mustNotExist(t, old)
}

func TestLinksInTheTreeDontLeadWritesOut(t *testing.T) {
	u := newUpstream(t)
	outside := t.TempDir()
	commit := u.commit("links", map[string]string{"out@": outside, "up@": "../../..", "passwd@": "/etc/passwd"})
	d := dest(t)
	if _, err := newFetcher(t).Checkout(t.Context(), "acme/web", u.remote(), commit, d, Options{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(filepath.Join(d, "out"))
	if err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("out is %v (%v), want a symbolic link", info, err)
	}
	if got := files(t, outside); len(got) != 0 {
		t.Errorf("written outside: %v", got)
	}
}

func TestTailKeepsWholeLines(t *testing.T) {
	said := new(tail)
	fmt.Fprint(said, token, strings.Repeat(".", tailSize-len(token)/2), "\nfatal: over\n")
	if got := said.String(); got != "fatal: over\n" {
		t.Errorf("kept %.80q", got)
	}
}
