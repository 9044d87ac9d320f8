package source

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// lfsServer is an LFS server in front of an upstream, and a storage on a host of its own.
type lfsServer struct {
	*httptest.Server
	storage *httptest.Server
	objects map[string]string // by oid

	mu      sync.Mutex
	batches int
	got     []http.Header                             // what the storage was sent
	action  func(oid string) (href string, error int) // instead of the storage's address
	answer  http.HandlerFunc                          // instead of the storage's answer
}

func newLFSServer(t *testing.T, u *upstream) *lfsServer {
	t.Helper()
	s := &lfsServer{objects: map[string]string{}}
	s.storage = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.got = append(s.got, r.Header)
		s.mu.Unlock()
		if s.answer != nil {
			s.answer(w, r)
			return
		}
		fmt.Fprint(w, s.objects[strings.TrimPrefix(r.URL.Path, "/")])
	}))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/acme/web.git/info/lfs/objects/batch" {
			u.Config.Handler.ServeHTTP(w, r)
			return
		}
		var ask struct {
			Operation string
			Objects   []struct {
				OID  string
				Size int64
			}
		}
		_, password, _ := r.BasicAuth()
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Operation != "download" || r.Header.Get("Accept") != mediaType || r.Header.Get("Content-Type") != mediaType {
			http.Error(w, "not understood", http.StatusUnprocessableEntity)
			return
		}
		if password != token {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		s.mu.Lock()
		s.batches++
		s.mu.Unlock()
		var objects []any
		for _, o := range ask.Objects {
			href, code := s.storage.URL+"/"+o.OID+"?signature=signed-by-storage", 0
			if s.action != nil {
				href, code = s.action(o.OID)
			}
			object := map[string]any{"oid": o.OID, "size": o.Size}
			if code != 0 {
				object["error"] = map[string]any{"code": code, "message": "see " + token}
			} else {
				object["actions"] = map[string]any{"download": map[string]any{"href": href, "header": map[string]string{"X-Storage": "ticket"}}}
			}
			objects = append(objects, object)
		}
		w.Header().Set("Content-Type", mediaType)
		_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": objects})
	}))
	t.Cleanup(func() { s.Close(); s.storage.Close() })
	return s
}

// add stores an object and returns its pointer.
func (s *lfsServer) add(content string) string {
	oid := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	s.objects[oid] = content
	return pointerTo(oid, len(content))
}

func pointerTo(oid string, size int) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, size)
}

func (s *lfsServer) remote(u *upstream) Remote {
	r := u.remote()
	r.URL = s.URL + "/acme/web.git"
	return r
}

func TestLFS(t *testing.T) {
	u := newUpstream(t)
	s := newLFSServer(t, u)
	one, two := s.add("the first object"), s.add(strings.Repeat("two", 1000))
	files := map[string]string{
		".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\nsub/kept.bin -filter\n",
		".lfsconfig":     "[lfs]\n\turl = http://127.0.0.1:1/evil\n",
		"a.bin":          one, "sub/two.bin": two, "sub/again.bin": one,
		"sub/kept.bin": one, "notes.txt": one, "real.bin": "no pointer", "link.bin@": "notes.txt",
	}
	for i := range maxBatch {
		files[fmt.Sprintf("many/%d.bin", i)] = s.add(fmt.Sprint("number ", i))
	}
	if err := os.WriteFile(filepath.Join(u.work, "run.bin"), []byte(two), 0o755); err != nil {
		t.Fatal(err)
	}
	commit := u.commit("lfs", files)
	d := dest(t)
	if _, err := newFetcher(t).Checkout(t.Context(), "acme/web", s.remote(u), commit, d, Options{LFS: true}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a.bin": "the first object", "sub/again.bin": "the first object", "sub/two.bin": strings.Repeat("two", 1000), "many/7.bin": "number 7",
		"sub/kept.bin": one, "notes.txt": one, "link.bin": one, "real.bin": "no pointer", "run.bin": strings.Repeat("two", 1000),
	} {
		if got := read(t, filepath.Join(d, name)); got != want {
			t.Errorf("%s is %.60q, want %.60q", name, got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(d, "run.bin")); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("run.bin: %v (%v): no longer executable", info, err)
	}
	if s.batches != 2 || len(s.got) != maxBatch+2 {
		t.Errorf("%d batches, %d downloads", s.batches, len(s.got))
	}
	for _, header := range s.got {
		if header.Get("X-Storage") != "ticket" {
			t.Error("the action's header was not sent")
		}
		if leaks(fmt.Sprint(header)) || header.Get("Authorization") != "" {
			t.Errorf("the storage was sent %v", header)
		}
	}

	plain := dest(t)
	if _, err := newFetcher(t).Checkout(t.Context(), "acme/web", s.remote(u), commit, plain, Options{}); err != nil || read(t, filepath.Join(plain, "a.bin")) != one {
		t.Errorf("without LFS: %v", err)
	}
}

func TestLFSThatFails(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Errorf("the other host was asked for %s", r.URL) }))
	defer other.Close()
	to := func(href string) func(*lfsServer) {
		return func(s *lfsServer) { s.action = func(string) (string, int) { return href, 0 } }
	}
	answers := func(h http.HandlerFunc) func(*lfsServer) { return func(s *lfsServer) { s.answer = h } }
	for _, tt := range []struct {
		name      string
		prepare   func(*lfsServer)
		words     string
		permanent bool
	}{
		{"metadata", to("http://169.254.169.254/latest/meta-data?signature=s"), "not fetched from 169.254.169.254", false},
		{"metadata by another notation", to("http://[::ffff:169.254.169.254]/"), "not fetched from ::ffff:169.254.169.254", false},
		{"loopback of another name", to("http://localhost:1/x"), "not fetched from localhost", false},
		{"loopback by IPv6", to("http://[::1]:1/x"), "not fetched from ::1", false},
		{"unspecified", to("http://0.0.0.0:1/x"), "not fetched from 0.0.0.0", false},
		{"a file", to("file:///etc/passwd"), "no https address", false},
		{"with a user", to("http://x:y@127.0.0.1/x"), "no https address", false},
		{"no address", to("::"), "no https address", false},
		{"redirect", answers(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/x", http.StatusFound) }), "the answer is 302", false},
		{"other content", answers(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "XXe object") }), "other content", false},
		{"shorter", answers(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the obj") }), "another size", false},
		{"longer", answers(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the object, and more") }), "another size", false},
		{"refused", answers(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "token", http.StatusForbidden) }), ErrDenied.Error(), false},
		{"never pushed", func(s *lfsServer) { s.action = func(string) (string, int) { return "", 404 } }, `"a.bin": the server has no such object; was it pushed (git lfs push)?`, true},
		{"over quota", func(s *lfsServer) { s.action = func(string) (string, int) { return "", 509 } }, "answers with error 509", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUpstream(t)
			s := newLFSServer(t, u)
			commit := u.commit("lfs", map[string]string{".gitattributes": "*.bin filter=lfs\n", "a.bin": s.add("the object")})
			tt.prepare(s)
			d := dest(t)
			_, err := newFetcher(t).Checkout(t.Context(), "acme/web", s.remote(u), commit, d, Options{LFS: true})
			if err == nil || !strings.Contains(err.Error(), tt.words) || IsPermanent(err) != tt.permanent {
				t.Fatalf("error: %v (permanent: %v); want %s", err, IsPermanent(err), tt.words)
			}
			if leaks(err.Error()) || strings.Contains(err.Error(), "signature") {
				t.Errorf("error: %v", err)
			}
			mustNotExist(t, d)
		})
	}
}

func TestLFSSharesTheLimit(t *testing.T) {
	u := newUpstream(t)
	s := newLFSServer(t, u)
	huge := pointerTo(strings.Repeat("a", 64), 999_999_999_999_999_999)
	half := s.add(strings.Repeat("x", 600<<10))
	for name, files := range map[string]map[string]string{"one": {"a.bin": huge}, "two of them": {"a.bin": half, "b.bin": half}} {
		files[".gitattributes"] = "*.bin filter=lfs\n"
		f, d := newFetcher(t), dest(t)
		f.MaxBytes = 1 << 20
		if _, err := f.Checkout(t.Context(), "acme/web", s.remote(u), u.commit(name, files), d, Options{LFS: true}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		mustNotExist(t, d)
	}
	if s.batches != 0 {
		t.Errorf("the server was asked %d times for what is too large", s.batches)
	}
}

func TestLFSOfASubmodule(t *testing.T) {
	lib := newUpstream(t)
	s := newLFSServer(t, lib) // serves acme/web.git, which is the submodule here
	libCommit := lib.commit("lfs", map[string]string{".gitattributes": "*.bin filter=lfs\n", "a.bin": s.add("the object")})
	u := newUpstream(t)
	commit := u.commitLinks(section("l", "lib", "../web.git"), map[string]string{"lib": libCommit})
	r := u.remote()
	var asked []string
	r.Submodule = func(_ context.Context, repo string) (Remote, error) {
		asked = append(asked, repo)
		return s.remote(lib), nil
	}
	d := dest(t)
	if _, err := newFetcher(t).Checkout(t.Context(), "acme/parent", r, commit, d, Options{Submodules: true, LFS: true}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(d, "lib", "a.bin")); got != "the object" || len(asked) != 1 {
		t.Errorf("lib/a.bin is %q, asked for %v", got, asked)
	}
}

func TestReachable(t *testing.T) {
	for _, tt := range []struct {
		remote, host, ip string
		want             bool
	}{
		{"https://github.com/a/b.git", "github-cloud.githubusercontent.com", "185.199.108.133", true},
		{"https://ghes.example.com/a/b.git", "storage.example.com", "10.1.2.3", true},
		{"https://github.com/a/b.git", "rebound.example.com", "127.0.0.1", false},
		{"https://github.com/a/b.git", "rebound.example.com", "::ffff:127.0.0.1", false},
		{"https://github.com/a/b.git", "rebound.example.com", "169.254.169.254", false},
		{"https://github.com/a/b.git", "rebound.example.com", "fe80::1%eth0", false},
		{"https://github.com/a/b.git", "rebound.example.com", "fd00:ec2::254", false},
		{"https://github.com/a/b.git", "rebound.example.com", "100.100.100.200", false},
		{"http://127.0.0.1:1/a/b.git", "127.0.0.1", "127.0.0.1", true},
		{"http://127.0.0.1:1/a/b.git", "169.254.169.254", "169.254.169.254", false},
	} {
		remote, err := url.Parse(tt.remote)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&lfs{remote: remote}).reachable(tt.host, netip.MustParseAddr(tt.ip)); got != tt.want {
			t.Errorf("%s at %s for %s: %v", tt.host, tt.ip, tt.remote, got)
		}
	}
}
