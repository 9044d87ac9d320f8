//go:build e2e

package build

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// cutter stands before a registry, counts what is uploaded, and cuts connections in the middle of a large layer.
type cutter struct {
	*httptest.Server
	after int64 // bytes of an upload after which it is cut

	mu    sync.Mutex
	cuts  int              // how many are still to be cut
	bytes map[string]int64 // by the blob's digest
}

func newCutter(t *testing.T, registry string, after int64) *cutter {
	t.Helper()
	target, err := url.Parse("http://" + registry)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{after: after, bytes: map[string]int64{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host // so that the registry says to go on here
	}, ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if blob := r.URL.Query().Get("digest"); r.Method == http.MethodPut && blob != "" {
			r.Body = &upload{ReadCloser: r.Body, c: c, blob: blob}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *cutter) cut(times int) { c.mu.Lock(); c.cuts = times; c.mu.Unlock() }

// sent is how many bytes of blobs were uploaded since the last time, and of how many blobs.
func (c *cutter) sent() (bytes int64, blobs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.bytes {
		bytes += n
	}
	blobs, c.bytes = len(c.bytes), map[string]int64{}
	return bytes, blobs
}

type upload struct {
	io.ReadCloser
	c    *cutter
	blob string
	n    int64
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	u.n += int64(n)
	u.c.bytes[u.blob] += int64(n)
	if u.n > u.c.after && u.c.cuts > 0 {
		u.c.cuts--
		return 0, errors.New("cut")
	}
	return n, err
}

// TestE2EPushGoesOn cuts the connection in the middle of a large layer. BuildKit begins that layer again by itself; where
// it gives up, the next build sends nothing that is there already.
func TestE2EPushGoesOn(t *testing.T) {
	f := connect(t)
	const small, large = 4 << 20, 24 << 20
	random := func(n int) string {
		b := make([]byte, n)
		_, _ = rand.Read(b) // never fails
		return string(b)
	}
	for name, tt := range map[string]struct {
		cuts   int
		builds int // until one succeeds
	}{
		"cut once":              {1, 1},
		"cut until it gives up": {4, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCutter(t, f.registry, large/2)
			r := f.request(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY small /\nCOPY large /\n", "small": random(small), "large": random(large)})
			r.Image = strings.TrimPrefix(c.URL, "http://") + "/" + fmt.Sprint("goes-on-", time.Now().UnixNano())
			c.cut(tt.cuts)
			var result Result
			for n := 1; ; n++ {
				began := time.Now()
				var err error
				result, _, err = f.build(t, t.Context(), r)
				bytes, blobs := c.sent()
				t.Logf("build %d: %.1f s, %.1f MiB of %d blobs: %v", n, time.Since(began).Seconds(), float64(bytes)/(1<<20), blobs, err)
				if err != nil && n < tt.builds {
					if !strings.Contains(err.Error(), "failed to push") {
						t.Errorf("error: %v", err)
					}
					continue
				}
				if err != nil || n != tt.builds {
					t.Fatalf("build %d: %v", n, err)
				}
				if n > 1 && (bytes < large || bytes > large+1<<20) {
					t.Errorf("the build after it sent %d bytes, which is not the large layer alone, of %d", bytes, large)
				}
				if n == 1 && (bytes < small+large || bytes > small+2*large) {
					t.Errorf("%d bytes were sent, of %d", bytes, small+large)
				}
				break
			}
			if _, err := remote.Head(reference(t, r.Image+"@"+result.Digest)); err != nil {
				t.Error(err)
			}
		})
	}
}
