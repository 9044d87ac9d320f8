package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const password = "s3cret-of-the-registry"

// newRegistry starts a registry behind wrap and returns its host.
func newRegistry(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	server := httptest.NewServer(wrap(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func open(h http.Handler) http.Handler { return h }

// basicAuth lets in bot with the password.
func basicAuth(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "bot" || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// tokenAuth hands a token to bot with the password, and lets in who brings it.
func tokenAuth(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if user, pass, _ := r.BasicAuth(); user != "bot" || pass != password {
				refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
				return
			}
			json.NewEncoder(w).Encode(map[string]string{"token": "let-me-in"})
			return
		}
		if r.Header.Get("Authorization") != "Bearer let-me-in" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="registry"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}

var bot = Registry{Username: "bot", Password: password, PlainHTTP: true}

// push puts an image, or with index a two-image index, there and returns its digest.
func push(t *testing.T, c *Client, ref string, index bool) string {
	t.Helper()
	r, err := c.parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	var digest v1.Hash
	if index {
		idx, err := random.Index(512, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(r, idx, c.options(t.Context(), r)...); err != nil {
			t.Fatal(err)
		}
		digest, err = idx.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return digest.String()
	}
	img, err := random.Image(512, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img, c.options(t.Context(), r)...); err != nil {
		t.Fatal(err)
	}
	if digest, err = img.Digest(); err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestResolveExistsTagCopy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		auth  func(http.Handler) http.Handler
		index bool
	}{
		{"open registry, image", open, false},
		{"basic authentication, image", basicAuth, false},
		{"token authentication, index", tokenAuth, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here, there := newRegistry(t, tt.auth), newRegistry(t, basicAuth)
			c := New(map[string]Registry{here: bot, there: bot})
			repo := here + "/team/web"
			digest := push(t, c, repo+":master-abc", tt.index)

			for _, ref := range []string{repo + ":master-abc", repo + "@" + digest} {
				if got, err := c.Resolve(t.Context(), ref); err != nil || got != digest {
					t.Errorf("Resolve(%s) = %q, %v; want %s", ref, got, err, digest)
				}
			}
			if _, err := c.Resolve(t.Context(), repo); err == nil {
				t.Error("latest was resolved, and nothing is tagged so")
			}

			absent := "sha256:" + strings.Repeat("0", 64)
			for ref, want := range map[string]bool{repo + "@" + digest: true, repo + "@" + absent: false, here + "/never/pushed@" + absent: false} {
				if got, err := c.Exists(t.Context(), ref); err != nil || got != want {
					t.Errorf("Exists(%s) = %v, %v; want %v", ref, got, err, want)
				}
			}

			if err := c.Tag(t.Context(), repo+"@"+digest, "v1.2.3"); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Resolve(t.Context(), repo+":v1.2.3"); err != nil || got != digest {
				t.Errorf("the tag stands for %q, %v; want %s", got, err, digest)
			}
			if err := c.Tag(t.Context(), repo+"@"+digest, "no/tag"); err == nil {
				t.Error("no/tag was accepted as a tag")
			}

			for _, dst := range []string{there + "/prod/web", there + "/prod/web", here + "/mirror/web"} {
				if err := c.Copy(t.Context(), repo+"@"+digest, dst, nil); err != nil {
					t.Fatalf("copy to %s: %v", dst, err)
				}
			}
			for _, ref := range []string{there + "/prod/web@" + digest, here + "/mirror/web@" + digest} {
				if got, err := c.Resolve(t.Context(), ref); err != nil || got != digest {
					t.Errorf("Resolve(%s) = %q, %v; want %s", ref, got, err, digest)
				}
			}
			r, err := name.ParseReference(there+"/prod/web@"+digest, name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			copied, err := remote.Get(r, c.options(t.Context(), r)...)
			if err != nil {
				t.Fatal(err)
			}
			if tt.index {
				idx, err := copied.ImageIndex()
				if err != nil {
					t.Fatal(err)
				}
				list, err := idx.IndexManifest()
				if err != nil || len(list.Manifests) != 2 {
					t.Fatalf("%d images in the copied index (%v), want 2", len(list.Manifests), err)
				}
				for _, m := range list.Manifests {
					img, err := idx.Image(m.Digest)
					if err != nil {
						t.Fatal(err)
					}
					pull(t, img)
				}
				return
			}
			img, err := copied.Image()
			if err != nil {
				t.Fatal(err)
			}
			pull(t, img)
		})
	}
}

// pull reads every layer; the library checks their digests.
func pull(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		r, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}

func TestCopyAndTagNeedADigest(t *testing.T) {
	c := New(nil)
	digest := "@sha256:" + strings.Repeat("0", 64)
	for name, err := range map[string]error{
		"copy by tag":      c.Copy(t.Context(), "registry.example.com/web:v1", "other.example.com/web", nil),
		"copy to a digest": c.Copy(t.Context(), "registry.example.com/web"+digest, "other.example.com/web"+digest, nil),
		"tag by tag":       c.Tag(t.Context(), "registry.example.com/web:v1", "v2"),
	} {
		if err == nil || !strings.Contains(err.Error(), "digest") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Exists(t.Context(), "registry.example.com/web:v1"); err == nil {
		t.Error("Exists took a tag")
	}
	if _, err := c.Resolve(t.Context(), "Not A Reference"); err == nil {
		t.Error("Resolve took nonsense")
	}
}

func TestResolveWithoutHEAD(t *testing.T) {
	var noHead atomic.Bool
	host := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if noHead.Load() && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	c := New(map[string]Registry{host: {PlainHTTP: true}})
	digest := push(t, c, host+"/web:v1", false)
	noHead.Store(true)
	if got, err := c.Resolve(t.Context(), host+"/web:v1"); err != nil || got != digest {
		t.Errorf("got %q, %v; want %s", got, err, digest)
	}
}

// immutable refuses to move a tag, as TCR and Harbor can.
func immutable(h http.Handler) http.Handler {
	var set sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, tag, ok := strings.Cut(r.URL.Path, "/manifests/"); ok && r.Method == http.MethodPut && !strings.HasPrefix(tag, "sha256:") {
			if _, taken := set.LoadOrStore(r.URL.Path, true); taken {
				refuse(w, http.StatusPreconditionFailed, "PRECONDITION", "configured as immutable, cannot be updated")
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

func TestTagMayBeRepeatedWhereTagsAreImmutable(t *testing.T) {
	host := newRegistry(t, immutable)
	c := New(map[string]Registry{host: {PlainHTTP: true}})
	one, two := push(t, c, host+"/web:one", false), push(t, c, host+"/web:two", false)
	for range 2 {
		if err := c.Tag(t.Context(), host+"/web@"+one, "v1"); err != nil {
			t.Fatal(err)
		}
	}
	err := c.Tag(t.Context(), host+"/web@"+two, "v1")
	if !errors.Is(err, ErrImmutable) {
		t.Fatalf("an immutable tag was moved: %v", err)
	}
	if got := Explain(err, host+"/web:v1").Error(); !strings.Contains(got, "does not let tags change") {
		t.Error(got)
	}
}

// A refusal is one to change a tag only where it says so, and where the tag is there for another image.
func TestTagsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name      string
		status    int
		code      string
		message   string
		taken     bool
		immutable bool
	}{
		{"Harbor", 412, "PRECONDITION", "Failed to process request due to 'library/web:v1' configured as immutable.", true, true},
		{"denied in these words", 403, "DENIED", "Tag is immutable", true, true},
		{"no right", 403, "DENIED", "requested access to the resource is denied", true, false},
		{"a new tag", 403, "DENIED", "tags are immutable here for you", false, false},
		{"broken", 500, "UNKNOWN", "internal error", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var refusing atomic.Bool
			host := newRegistry(t, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if refusing.Load() && r.Method == http.MethodPut {
						refuse(w, tt.status, tt.code, tt.message)
						return
					}
					h.ServeHTTP(w, r)
				})
			})
			c := New(map[string]Registry{host: {PlainHTTP: true}})
			one, two := push(t, c, host+"/immutable/web:immutable", false), push(t, c, host+"/immutable/web:two", false)
			if tt.taken {
				if err := c.Tag(t.Context(), host+"/immutable/web@"+one, "v1"); err != nil {
					t.Fatal(err)
				}
			}
			refusing.Store(true)
			err := c.Tag(t.Context(), host+"/immutable/web@"+two, "v1")
			if err == nil || errors.Is(err, ErrImmutable) != tt.immutable {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestParts(t *testing.T) {
	host := newRegistry(t, open)
	c := New(map[string]Registry{host: {PlainHTTP: true}})
	for _, index := range []bool{false, true} {
		digest := push(t, c, host+"/web:v1", index)
		parts, err := c.Parts(t.Context(), host+"/web@"+digest)
		if err != nil {
			t.Fatal(err)
		}
		want := 1 // the configuration
		if index {
			want = 4 // two manifests with theirs
		}
		if len(parts) != want || slices.Contains(parts, digest) {
			t.Errorf("index %v: parts %v", index, parts)
		}
		found := 0
		for _, p := range parts {
			if ok, err := c.Exists(t.Context(), host+"/web@"+p); ok && err == nil {
				found++
			}
		}
		if index && found != 2 {
			t.Errorf("%d of %v are manifests", found, parts)
		}
	}
}

// recorder notes the credentials that reach a host.
type recorder struct{ seen atomic.Value }

func (rec *recorder) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			rec.seen.Store(a)
		}
		h.ServeHTTP(w, r)
	})
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	var rec recorder
	other := newRegistry(t, rec.wrap)
	for name, auth := range map[string]func(http.Handler) http.Handler{"basic": basicAuth, "token": tokenAuth} {
		t.Run(name, func(t *testing.T) {
			var redirected atomic.Bool
			host := newRegistry(t, func(h http.Handler) http.Handler {
				return auth(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "/manifests/moved") {
						redirected.Store(true)
						http.Redirect(w, r, "http://"+other+r.URL.Path+"?signature=abc", http.StatusTemporaryRedirect)
						return
					}
					h.ServeHTTP(w, r)
				}))
			})
			c := New(map[string]Registry{host: bot})
			push(t, c, host+"/web:v1", false)
			_, err := c.Resolve(t.Context(), host+"/web:moved")
			if err == nil {
				t.Error("the other host has no such image, and it was resolved")
			} else if strings.Contains(err.Error(), password) {
				t.Errorf("error: %v", err)
			}
			if !redirected.Load() {
				t.Fatal("the redirect was not reached")
			}
			// And a registry that is not in the map gets none of those that are.
			if _, err := New(map[string]Registry{host: bot, other: {PlainHTTP: true}}).Resolve(t.Context(), other+"/web:v1"); err == nil {
				t.Error("resolved")
			}
			if a := rec.seen.Load(); a != nil {
				t.Errorf("the other host was sent %q", a)
			}
		})
	}
}

func TestNoDockerConfigurationIsRead(t *testing.T) {
	var rec recorder
	host := newRegistry(t, rec.wrap)
	home := t.TempDir()
	config := `{"auths":{"` + host + `":{"username":"bot","password":"from the file"}},"credsStore":"none-such"}`
	if err := os.MkdirAll(filepath.Join(home, ".docker"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, ".docker"))
	c := New(map[string]Registry{host: {PlainHTTP: true}})
	push(t, c, host+"/web:v1", false)
	if a := rec.seen.Load(); a != nil {
		t.Errorf("sent %q", a)
	}
}

func TestSchemeIsKept(t *testing.T) {
	var plain atomic.Int64
	host := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { plain.Add(1); h.ServeHTTP(w, r) })
	})
	_, err := New(map[string]Registry{host: {Username: "bot", Password: password}}).Resolve(t.Context(), host+"/web:v1")
	if err == nil || plain.Load() != 0 {
		t.Fatalf("%d requests without TLS, error %v", plain.Load(), err)
	}
	if got := Explain(err, host+"/web:v1").Error(); !strings.Contains(got, "set plain_http: true") {
		t.Error(got)
	}

	secure := httptest.NewUnstartedServer(registry.New())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	host = strings.TrimPrefix(secure.URL, "https://")
	_, err = New(map[string]Registry{host: {PlainHTTP: true}}).Resolve(t.Context(), host+"/web:v1")
	if err == nil {
		t.Fatal("a TLS registry was resolved with plain_http: true")
	}
	if got := Explain(err, host+"/web:v1").Error(); !strings.Contains(got, "remove plain_http: true") {
		t.Error(got)
	}
	_, err = New(nil).Resolve(t.Context(), host+"/web:v1")
	if err == nil {
		t.Fatal("an untrusted certificate was accepted")
	}
	if got := Explain(err, host+"/web:v1").Error(); !strings.Contains(got, "certificate") {
		t.Error(got)
	}
}

func TestExplainRefusals(t *testing.T) {
	for _, tt := range []struct {
		name          string
		status        int
		code, message string
		want          string
	}{
		{"wrong password", 401, "UNAUTHORIZED", "authentication required", "check username and password"},
		{"no right", 403, "DENIED", "requested access to the resource is denied", "does not allow this"},
		{"no repository", 404, "NAME_UNKNOWN", "repository name not known to registry", "no such repository"},
		{"no image", 404, "MANIFEST_UNKNOWN", "manifest unknown", "retention"},
		{"immutable tag under another code", 403, "DENIED", "tag v1 is immutable", "does not let tags change"},
		{"quota", 412, "DENIED", "adding 1 MiB would exceed the project quota", "quota is used up"},
		{"something else", 418, "TEAPOT", "short and stout", "refuses this"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/v2/" {
						h.ServeHTTP(w, r)
						return
					}
					refuse(w, tt.status, tt.code, tt.message)
				})
			})
			ref := host + "/team/web:v1"
			_, err := New(map[string]Registry{host: bot}).Resolve(t.Context(), ref)
			if err == nil {
				t.Fatal("no error")
			}
			got := Explain(err, ref)
			if !errors.Is(got, err) || !strings.Contains(got.Error(), tt.want) || tt.want == "" && got != err {
				t.Errorf("got %v", got)
			}
		})
	}
	if Explain(nil, "x") != nil {
		t.Error("nil is explained")
	}
}

func TestExplainConnections(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ref := closed.Addr().String() + "/web:v1"
	c := New(map[string]Registry{closed.Addr().String(): {PlainHTTP: true}})

	// It listens and never answers, as behind a firewall that drops.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err = c.Resolve(ctx, ref); err == nil {
		t.Fatal("no error")
	}
	if got := Explain(err, ref).Error(); !strings.Contains(got, "access control") {
		t.Error(got)
	}
	closed.Close()
	if _, err = c.Resolve(t.Context(), ref); err == nil {
		t.Fatal("no error")
	}
	if got := Explain(err, ref).Error(); !strings.Contains(got, "nothing listens at "+closed.Addr().String()) {
		t.Error(got)
	}
}

// TestExplainBuildKit has what BuildKit says, with containerd's client in it: errcode.go, pusher.go, resolver.go and
// authorizer.go of its core/remotes/docker. A registry's code comes in lower case on a line of its own, and an unknown one as "unknown".
func TestExplainBuildKit(t *testing.T) {
	const (
		push    = "failed to push r.example.com/team/web:v1: "
		post    = push + "unexpected status from POST request to https://r.example.com/v2/team/web/blobs/uploads/: "
		put     = push + "unexpected status from PUT request to https://r.example.com/v2/team/web/manifests/v1: "
		blob    = push + "unexpected status from PUT request to https://r.example.com/v2/team/web/blobs/uploads/5f3a?digest=sha256%3A00: "
		request = push + `failed to do request: Head "https://r.example.com/v2/team/web/blobs/sha256:00": `
	)
	for _, tt := range []struct {
		said, want string
		permanent  bool
	}{
		// Network.
		{request + "dial tcp 192.0.2.1:443: i/o timeout", "access control", false},
		{request + "dial tcp 192.0.2.1:443: connect: connection refused", "TCR instance refuses every address", false},
		{request + "net/http: TLS handshake timeout", "does not answer", false},
		{request + "dial tcp: lookup r.example.com on 10.0.0.2:53: no such host", "there is no host r.example.com", false},
		{request + "EOF", "was cut", false},
		{push + `failed to copy: failed to do request: Put "https://r.example.com/v2/team/web/blobs/uploads/5f3a?digest=sha256%3A00": write tcp 10.0.0.1:4711->192.0.2.1:443: write: connection reset by peer`, "was cut", false},
		{push + `failed to copy: failed to do request: Put "https://r.example.com/v2/team/web/blobs/uploads/5f3a": write: broken pipe`, "was cut", false},
		// TLS.
		{request + "http: server gave HTTP response to HTTPS client", "plain_http: true", true},
		{request + "tls: failed to verify certificate: x509: certificate signed by unknown authority", "is not trusted", true},
		{request + "tls: first record does not look like a TLS handshake", "plain_http: true", true},
		{push + "unexpected status from HEAD request to http://r.example.com/v2/team/web/blobs/sha256:00: 400 Bad Request\nClient sent an HTTP request to an HTTPS server.", "remove plain_http", true},
		// Credentials.
		{post + "401 Unauthorized", "username and password", true},
		{post + "401 Unauthorized\nunauthorized: authentication required", "such as TCR gives for an hour", true},
		{push + "failed to authorize: failed to fetch oauth token: unexpected status from POST request to https://r.example.com/service/token: 401 Unauthorized", "username and password", true},
		{push + "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r.example.com/token?scope=x: 401 Unauthorized", "username and password", true},
		{push + "push access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials", "username and password", true},
		{push + "server message: insufficient_scope: authorization failed", "does not allow", true},
		{push + "push access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed", "a push makes none in TCR", true},
		{push + "failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://r.example.com/token: 403 Forbidden: denied", "does not allow", true},
		{post + "403 Forbidden\ndenied: requested access to the resource is denied", "does not allow", true},
		{post + "403 Forbidden", "does not allow", true},
		// Names.
		{post + "404 Not Found\nname unknown: repository name not known to registry", "make its namespace first", true},
		{post + "404 Not Found\nunknown: project not found, name: team", "make its namespace first", true},
		{post + "404 Not Found", "no such image or repository", true},
		// Tags, space and limits.
		{put + "412 Precondition Failed\nunknown: Failed to process request due to 'web:v1' configured as immutable.", "the tag v1 exists and the registry does not let tags change", true},
		{blob + "403 Forbidden\ndenied: Quota exceeded when processing the request of adding 5.8 MiB of storage resource", "quota is used up", true},
		{blob + "412 Precondition Failed\nunknown: adding 5.8 MiB of storage resource, which when updated to current usage of 0 Byte will exceed the configured upper limit of 1.0 MiB.", "quota is used up", true},
		{push + "unexpected status from HEAD request to https://r.example.com/v2/team/web/manifests/v1: 429 Too Many Requests\ntoomanyrequests: rate exceeded", "limits how often", false},
		{blob + "413 Request Entity Too Large", "client_max_body_size", true},
		{blob + "404 Not Found\nblob upload unknown: blob upload unknown to registry", "begins again", false},
		{blob + "400 Bad Request\nblob upload invalid: blob upload invalid", "begins again", false},
		// The registry's own trouble.
		{post + "500 Internal Server Error\nunknown: unknown error", "in trouble itself", false},
		{blob + "500 Internal Server Error\nunknown: write /var/lib/registry/x: no space left on device", "storage of r.example.com is full", false},
		{blob + "507 Insufficient Storage", "is full", false},
		{put + "503 Service Unavailable", "in trouble itself", false},
		{put + "405 Method Not Allowed", "refuses this", true},
	} {
		err := errors.New(tt.said)
		got := Explain(err, "r.example.com/team/web")
		if !strings.Contains(got.Error(), tt.want) || !errors.Is(got, err) {
			t.Errorf("%s\nwant %q\ngot  %s", tt.said, tt.want, got)
		}
		if strings.Contains(got.Error(), "?") {
			t.Errorf("an address has its query: %s", got)
		}
		if IsPermanent(got) != tt.permanent || IsTemporary(got) == tt.permanent {
			t.Errorf("%s\npermanent %v, temporary %v", tt.said, IsPermanent(got), IsTemporary(got))
		}
		if again := Explain(got, "other.example.com/x"); again != got {
			t.Errorf("explained twice: %v", again)
		}
	}
	const cut = `failed to push r.example.com/team/web: failed to do request: Put "https://r.example.com/v2/team/web/blobs/uploads/5f3a?_state=topsecret&digest=sha256%3A00": read: connection reset by peer`
	if got := Explain(errors.New(cut), "r.example.com/team/web").Error(); strings.Contains(got, "topsecret") || !strings.Contains(got, `uploads/5f3a": read: connection`) {
		t.Error(got)
	}
	const limit = `failed to resolve source metadata for docker.io/library/golang:1.26: unexpected status from HEAD request to https://registry-1.docker.io/v2/library/golang/manifests/1.26: 429 Too Many Requests
toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit`
	if got := Explain(errors.New(limit), "golang:1.26"); !strings.Contains(got.Error(), "give docker.io a username and a password") || !IsTemporary(got) {
		t.Error(got)
	}
	err := errors.New("push r.example.com/acme/quota-immutable: something odd")
	if got := Explain(err, "r.example.com/acme/quota-immutable"); got != err || IsPermanent(got) || IsTemporary(got) {
		t.Errorf("a repository's name was taken for a reason: %v", got)
	}
}

func TestSignedAddressesAreCut(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	host := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				http.Redirect(w, r, gone.URL+"/blob?X-Amz-Signature=topsecret", http.StatusTemporaryRedirect)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	_, err := New(map[string]Registry{host: {PlainHTTP: true}}).Resolve(t.Context(), host+"/web:v1")
	if err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("error: %v", err)
	}
}

func TestTags(t *testing.T) {
	push := map[string]string{"branch": "feature/Über log-in", "sha": strings.Repeat("a", 40), "short_sha": "aaaaaaa", "run": "17"}
	long := map[string]string{"branch": strings.Repeat("b", 200), "short_sha": "aaaaaaa"}
	for _, tt := range []struct {
		name      string
		templates []string
		vars      map[string]string
		want      []string
		err       string
	}{
		{"nothing", nil, push, nil, ""},
		{"the default", []string{"{branch}-{short_sha}"}, push, []string{"feature-ber-log-in-aaaaaaa"}, ""},
		{"several, one twice", []string{"run-{run}", "latest", "run-17"}, push, []string{"run-17", "latest"}, ""},
		{"no tag on a branch push", []string{"{tag}", "{sha}"}, push, []string{strings.Repeat("a", 40)}, ""},
		{"a git tag", []string{"{tag}"}, map[string]string{"tag": "v1.2.3+build.5"}, []string{"v1.2.3-build.5"}, ""},
		{"a dot first", []string{"{branch}"}, map[string]string{"branch": ".-x"}, []string{"x"}, ""},
		{"too long keeps the commit", []string{"{branch}-{short_sha}"}, long, []string{strings.Repeat("b", 120) + "-aaaaaaa"}, ""},
		{"too long, twice", []string{"{branch}.{branch}"}, long, []string{strings.Repeat("b", 63) + "." + strings.Repeat("b", 63)}, ""},
		{"nothing left", []string{"{branch}"}, map[string]string{"branch": "功能"}, nil, "is not a tag"},
		{"unknown placeholder", []string{"{brnch}"}, push, nil, "there is no {brnch}; use {branch}, {tag}"},
		{"not closed", []string{"{branch"}, push, nil, "is not a tag"},
		{"slash", []string{"a/{sha}"}, push, nil, "is not a tag"},
		{"too long by itself", []string{strings.Repeat("x", 129)}, push, nil, "at most 128"},
		{"empty", []string{""}, push, nil, "is not a tag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Tags(tt.templates, tt.vars)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil || strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// FuzzTags: what comes out is a tag, the same each time, and names the commit where its template does.
func FuzzTags(f *testing.F) {
	f.Add("{branch}-{short_sha}", "feature/x")
	f.Add("{branch}{branch}.{short_sha}-{tag}", strings.Repeat("b", 200))
	f.Add("{{branch}}-{short_sha}", "{sha}")
	f.Add("-{branch}", "功能")
	f.Fuzz(func(t *testing.T, template, branch string) {
		vars := map[string]string{"branch": branch, "short_sha": "aaaaaaa"}
		tags, err := Tags([]string{template}, vars)
		if len(tags) > 1 || err != nil && len(tags) > 0 {
			t.Errorf("%q, %v", tags, err)
		}
		for _, tag := range tags {
			if !tagPattern.MatchString(tag) || strings.Contains(template, "{short_sha}") && !strings.Contains(tag, "aaaaaaa") {
				t.Errorf("%q of %q", tag, template)
			}
			if again, err := Tags([]string{template, template}, vars); err != nil || len(again) != 1 || again[0] != tag {
				t.Errorf("%q, then %q, %v", tag, again, err)
			}
		}
	})
}
