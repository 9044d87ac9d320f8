package image

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestFind(t *testing.T) {
	host := newRegistry(t, open)
	c := New(map[string]Registry{host: {PlainHTTP: true}})
	image, index := push(t, c, host+"/web:v1", false), push(t, c, host+"/web:multi", true)
	other := func(tag string, config types.MediaType) {
		t.Helper()
		ref, err := name.ParseReference(host+"/web:"+tag, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), config)); err != nil {
			t.Fatal(err)
		}
	}
	other("chart", "application/vnd.cncf.helm.config.v1+json")
	other("cache-main", "application/vnd.buildkit.cacheconfig.v0")
	for _, tt := range []struct {
		ref  string
		want string
		err  error
	}{
		{"web:v1", image, nil},
		{"web@" + image, image, nil},
		{"web:multi", index, nil},
		{"web:v2", "", ErrNotFound},
		{"other:v1", "", ErrNotFound},
		{"web@sha256:" + strings.Repeat("0", 64), "", ErrNotFound},
		{"web:chart", "", ErrNoImage},
		{"web:cache-main", "", ErrNoImage},
	} {
		if got, err := c.Find(t.Context(), host+"/"+tt.ref); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %s, %v, want %s, %v", tt.ref, got, err, tt.want, tt.err)
		}
	}
	denied := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				h.ServeHTTP(w, r)
				return
			}
			refuse(w, 403, "DENIED", "requested access to the resource is denied")
		})
	})
	_, err := New(map[string]Registry{denied: {PlainHTTP: true}}).Find(t.Context(), denied+"/web:v1")
	if errors.Is(err, ErrNotFound) || !IsPermanent(Explain(err, denied+"/web:v1")) {
		t.Errorf("denied: %v", err)
	}
}
