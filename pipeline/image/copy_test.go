package image

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A gate is a registry's door: it notes what comes in, and may answer itself.
type gate struct {
	mu     sync.Mutex
	asked  []string
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func (g *gate) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.asked = append(g.asked, r.Method+" "+r.URL.RequestURI())
		answer := g.answer
		g.mu.Unlock()
		if answer == nil || !answer(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

func (g *gate) count(method, part string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range g.asked {
		if strings.HasPrefix(a, method+" ") && strings.Contains(a, part) {
			n++
		}
	}
	return n
}

func (g *gate) on(answer func(w http.ResponseWriter, r *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked, g.answer = nil, answer
}

// two are two registries, and a client of both.
func two(t *testing.T) (c *Client, here, there string, source, target *gate) {
	source, target = &gate{}, &gate{}
	here, there = newRegistry(t, source.wrap), newRegistry(t, target.wrap)
	return New(map[string]Registry{here: {PlainHTTP: true}, there: {PlainHTTP: true}}), here, there, source, target
}

// TestCopyIndex: all that an index lists is copied, and how far it is goes from nothing to all of it.
func TestCopyIndex(t *testing.T) {
	c, here, there, _, target := two(t)
	digest := push(t, c, here+"/team/web", true)
	var told []int64
	report := func(done, total int64) {
		if total <= 0 || done > total {
			t.Errorf("%d of %d", done, total)
		}
		told = append(told, done, total)
	}
	if err := c.Copy(t.Context(), here+"/team/web@"+digest, there+"/prod/web", report); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 || told[len(told)-2] != told[len(told)-1] {
		t.Errorf("it was told %v", told)
	}
	parts, err := c.Parts(t.Context(), there+"/prod/web@"+digest)
	if err != nil || len(parts) != 4 {
		t.Errorf("there are %v, %v", parts, err)
	}
	if n := target.count("PATCH", ""); n != 6 { // two layers and a configuration each
		t.Errorf("%d blobs were sent", n)
	}
	target.on(nil)
	if err := c.Copy(t.Context(), here+"/team/web@"+digest, there+"/prod/web", report); err != nil || target.count("P", "") != 0 {
		t.Errorf("what is there is sent again: %v, %v", target.asked, err)
	}
}

// TestCopyMounts: within one registry nothing is sent.
func TestCopyMounts(t *testing.T) {
	for name, index := range map[string]bool{"image": false, "index": true} {
		t.Run(name, func(t *testing.T) {
			c, here, _, source, _ := two(t)
			digest := push(t, c, here+"/team/web", index)
			source.on(func(w http.ResponseWriter, r *http.Request) bool { // the registry of the tests knows each blob everywhere
				if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/prod/web/blobs/") {
					refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
					return true
				}
				if mount := r.URL.Query().Get("mount"); mount != "" && r.URL.Query().Get("from") == "team/web" {
					w.Header().Set("Docker-Content-Digest", mount)
					w.WriteHeader(http.StatusCreated)
					return true
				}
				return false
			})
			var last, of int64
			if err := c.Copy(t.Context(), here+"/team/web@"+digest, here+"/prod/web", func(done, total int64) { last, of = done, total }); err != nil {
				t.Fatal(err)
			}
			want := 3
			if index {
				want = 6
			}
			if mounts, sent := source.count("POST", "mount="), source.count("PATCH", ""); mounts != want || sent != 0 {
				t.Errorf("%d blobs were mounted and %d sent: %v", mounts, sent, source.asked)
			}
			if last != of || of == 0 {
				t.Errorf("%d of %d", last, of)
			}
		})
	}
}

// TestCopyGoesOn: what arrived before a copy was cut off is not sent again.
func TestCopyGoesOn(t *testing.T) {
	c, here, there, _, target := two(t)
	digest := push(t, c, here+"/team/web", true)
	ctx, cut := context.WithCancel(t.Context())
	arrived := 0
	target.on(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			target.mu.Lock()
			arrived++
			die := arrived > 2
			target.mu.Unlock()
			if die {
				cut()
				panic(http.ErrAbortHandler) // the connection ends in the middle
			}
		}
		return false
	})
	if err := c.Copy(ctx, here+"/team/web@"+digest, there+"/prod/web", func(int64, int64) {}); err == nil {
		t.Fatal("it was not cut off")
	}
	if ok, err := c.Exists(t.Context(), there+"/prod/web@"+digest); ok || err != nil {
		t.Fatalf("it is there: %v, %v", ok, err)
	}
	target.on(nil)
	if err := c.Copy(t.Context(), here+"/team/web@"+digest, there+"/prod/web", nil); err != nil {
		t.Fatal(err)
	}
	if n := target.count("PATCH", ""); n >= 6 || n == 0 {
		t.Errorf("%d of 6 blobs were sent after it was cut off", n)
	}
	if ok, err := c.Exists(t.Context(), there+"/prod/web@"+digest); !ok || err != nil {
		t.Errorf("it is not there: %v", err)
	}
}

// TestCopyRefused: what a registry refuses is told with what it means, and whether trying again can mend it.
func TestCopyRefused(t *testing.T) {
	upload := func(status int, code, message string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/blobs/uploads/") {
				refuse(w, status, code, message)
				return true
			}
			return false
		}
	}
	absent := func(w http.ResponseWriter, r *http.Request) bool {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return true
	}
	other := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return true
		}
		return false
	}
	for name, tt := range map[string]struct {
		source, target func(http.ResponseWriter, *http.Request) bool
		permanent      bool
		says           string
		at             string // whose fault
	}{
		"denied":      {nil, upload(http.StatusForbidden, "DENIED", "requested access to the resource is denied"), true, "does not allow this; check that the namespace exists", "there"},
		"quota":       {nil, upload(http.StatusForbidden, "DENIED", "adding 30 MiB will exceed the configured upper limit of 10 MiB"), true, "quota is used up", "there"},
		"in trouble":  {nil, upload(http.StatusInternalServerError, "UNKNOWN", "disk"), false, "is in trouble itself", "there"},
		"not read":    {other, nil, true, "does not accept the credentials", "here"},
		"source gone": {absent, nil, false, "the registry has no such image", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, here, there, source, target := two(t)
			digest := push(t, c, here+"/team/web", false)
			source.on(tt.source)
			target.on(tt.target)
			err := c.Copy(t.Context(), here+"/team/web@"+digest, there+"/prod/web", nil)
			if err == nil || !strings.Contains(err.Error(), tt.says) || IsPermanent(err) != tt.permanent {
				t.Fatalf("%v (permanent: %v)", err, IsPermanent(err))
			}
			if at := map[string]string{"here": here + "/team/web: ", "there": there + "/prod/web: "}[tt.at]; !strings.Contains(err.Error(), at) {
				t.Errorf("%v does not name %s", err, at)
			}
			if errors.Is(err, ErrNotFound) != (name == "source gone") {
				t.Errorf("%v is ErrNotFound", err)
			}
		})
	}
}

// TestCopyVerifies: a registry that has something else there afterwards is found out.
func TestCopyVerifies(t *testing.T) {
	c, here, there, _, target := two(t)
	digest := push(t, c, here+"/team/web", false)
	put := false
	target.on(func(w http.ResponseWriter, r *http.Request) bool {
		target.mu.Lock()
		defer target.mu.Unlock()
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			put = true
		}
		if put && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("1", 64))
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Content-Length", "3")
			return true
		}
		return false
	})
	if err := c.Copy(t.Context(), here+"/team/web@"+digest, there+"/prod/web", nil); !errors.Is(err, ErrDigest) {
		t.Errorf("%v", err)
	}
}

// TestCopyLeavesForeignLayers: what its maker does not let be distributed is not sent, and counts for nothing.
func TestCopyLeavesForeignLayers(t *testing.T) {
	c, here, there, _, target := two(t)
	img, err := random.Image(512, 1)
	if err != nil {
		t.Fatal(err)
	}
	foreign := static.NewLayer([]byte("not ours to give"), types.DockerForeignLayer)
	if img, err = mutate.Append(img, mutate.Addendum{Layer: foreign, MediaType: types.DockerForeignLayer, URLs: []string{"https://layers.example.com/x"}}); err != nil {
		t.Fatal(err)
	}
	r, err := c.parse(here + "/team/web")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img, c.options(t.Context(), r)...); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	var last, of int64
	target.on(func(w http.ResponseWriter, r *http.Request) bool { return false })
	if err := c.Copy(t.Context(), here+"/team/web@"+digest.String(), there+"/prod/web", func(done, total int64) { last, of = done, total }); err != nil {
		t.Fatal(err)
	}
	if n := target.count("PATCH", ""); n != 2 || last != of {
		t.Errorf("%d blobs were sent, %d of %d bytes", n, last, of)
	}
}

// TestCopyCredentials: what another registry has is read by the account that only pulls, and written by that which pushes.
func TestCopyCredentials(t *testing.T) {
	var mu sync.Mutex
	users := map[string][]string{}
	door := func(name string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, _, ok := r.BasicAuth()
				if !ok {
					w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
					refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
					return
				}
				mu.Lock()
				if !slices.Contains(users[name], user) {
					users[name] = append(users[name], user)
				}
				mu.Unlock()
				h.ServeHTTP(w, r)
			})
		}
	}
	here, there := newRegistry(t, door("here")), newRegistry(t, door("there"))
	c := New(map[string]Registry{
		here:  {Username: "push-here", Password: "x", Puller: "pull-here", PullPassword: "x", PlainHTTP: true},
		there: {Username: "push-there", Password: "x", Puller: "pull-there", PullPassword: "x", PlainHTTP: true}})
	digest := push(t, c, here+"/team/web", false)
	for dst, want := range map[string][2]string{there + "/prod/web": {"pull-here", "push-there"}, here + "/prod/web": {"push-here", ""}} {
		mu.Lock()
		clear(users)
		mu.Unlock()
		if err := c.Copy(t.Context(), here+"/team/web@"+digest, dst, func(int64, int64) {}); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if got := [2]string{strings.Join(users["here"], " "), strings.Join(users["there"], " ")}; got != want {
			t.Errorf("to %s: %v", dst, got)
		}
		mu.Unlock()
	}
}

// TestExistsOnlyByItsWord: a registry that does not answer, or refuses, does not say that it has no such image.
func TestExistsOnlyByItsWord(t *testing.T) {
	c, here, _, source, _ := two(t)
	ref := here + "/team/web@sha256:" + strings.Repeat("0", 64)
	for name, tt := range map[string]struct {
		status  int
		code    string
		unknown bool
	}{
		"manifest unknown": {http.StatusNotFound, "MANIFEST_UNKNOWN", false},
		"name unknown":     {http.StatusNotFound, "NAME_UNKNOWN", false},
		"as Harbor says":   {http.StatusNotFound, "NOT_FOUND", false},
		"a proxy's page":   {http.StatusNotFound, "", true},
		"unauthorized":     {http.StatusUnauthorized, "UNAUTHORIZED", true},
		"denied":           {http.StatusForbidden, "DENIED", true},
		"in trouble":       {http.StatusNotImplemented, "UNKNOWN", true},
	} {
		source.on(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			if tt.code == "" {
				http.Error(w, "<html>no such page</html>", tt.status)
				return true
			}
			refuse(w, tt.status, tt.code, "no")
			return true
		})
		if ok, err := c.Exists(t.Context(), ref); ok || (err != nil) != tt.unknown {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}
