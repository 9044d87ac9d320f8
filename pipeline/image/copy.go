package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrDigest says that a registry has something else under a digest than what was copied there.
var ErrDigest = errors.New("the registry answers with another digest than the one that was copied")

// Exists reports whether the registry has repoAtDigest ("host/repository@sha256:…"). Only a registry that says so has it not; one
// that does not answer, or refuses, is an error (see Explain), and so is a 404 of a proxy that knows nothing of images.
func (c *Client) Exists(ctx context.Context, repoAtDigest string) (bool, error) {
	r, err := c.parseDigest(repoAtDigest)
	if err != nil {
		return false, err
	}
	_, err = c.digest(ctx, r)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, Explain(failure("look for", r, err), r.String())
	}
	return true, nil
}

// isGone tells of an error whether it is a registry's word that there is no such manifest. Harbor says NOT_FOUND.
func isGone(err error) bool {
	var refusal *transport.Error
	if !errors.As(err, &refusal) || refusal.StatusCode != http.StatusNotFound {
		return false
	}
	for _, d := range refusal.Errors {
		switch d.Code {
		case transport.ManifestUnknownErrorCode, transport.NameUnknownErrorCode, "NOT_FOUND":
			return true
		}
	}
	return false
}

// Copy copies src ("host/repository@sha256:…"), an index with all it lists, to the repository dst, and makes sure that it is there
// by its digest. What is there already is not sent again, so a copy that was cut off goes on where it was; within one
// registry layers are mounted where it lets them. Layers that their makers do not let be distributed are left out, as in any push.
//
// report, which may be nil, is told how many bytes are there of how many, often and one call at a time. The error is ErrNotFound
// where src is not there, ErrDigest, or of a registry, with what it means (see Explain).
func (c *Client) Copy(ctx context.Context, src, dst string, report func(done, total int64)) error {
	from, err := c.parseDigest(src)
	if err != nil {
		return err
	}
	if strings.Contains(dst, "@") {
		return fmt.Errorf("copy to %s: a digest can't be chosen; write the repository alone", dst)
	}
	to, err := c.parseDigest(dst + "@" + from.DigestStr())
	if err != nil {
		return err
	}
	source := c.registries[from.Context().RegistryStr()]
	if source.Puller != "" && from.Context().RegistryStr() != to.Context().RegistryStr() { // to mount one account has to reach both
		source.Username, source.Password = source.Puller, source.PullPassword
	}
	image, err := remote.Get(from, c.optionsOf(ctx, from, source)...)
	if isGone(err) {
		return fmt.Errorf("read %s: %w", from, ErrNotFound)
	}
	if err != nil {
		return Explain(failure("read", from, err), from.Context().Name())
	}
	options := c.options(ctx, to)
	if report != nil {
		m := &meter{inner: c.guard(to), sizes: map[string]int64{}, report: report}
		if err := c.sizes(ctx, from, image, source, m.sizes); err != nil {
			return Explain(failure("read", from, err), from.Context().Name())
		}
		for _, n := range m.sizes {
			m.total += n
		}
		options = append(options, remote.WithTransport(m))
	}
	if err := remote.Push(to, image, options...); err != nil {
		ref := to
		if isOf(err, from) {
			ref = from
		}
		return Explain(failure("copy to", to, err), ref.Context().Name())
	}
	return c.verify(ctx, to)
}

// verify makes sure that the registry has what was copied, under its digest.
func (c *Client) verify(ctx context.Context, to name.Digest) error {
	got, err := remote.Head(to, c.options(ctx, to)...)
	if err != nil && strings.Contains(err.Error(), "does not match requested digest") {
		return fmt.Errorf("copy to %s: %w (%w)", to, ErrDigest, err)
	}
	if err != nil { // some know no HEAD
		_, err = c.digest(ctx, to)
		return Explain(failure("look for", to, err), to.Context().Name())
	}
	if got.Digest.String() != to.DigestStr() {
		return fmt.Errorf("copy to %s: %w (%s)", to, ErrDigest, got.Digest)
	}
	return nil
}

// sizes puts how many bytes there are to copy of each blob of an image, or of all that an index lists, once for each digest.
func (c *Client) sizes(ctx context.Context, from name.Digest, d *remote.Descriptor, source Registry, sizes map[string]int64) error {
	switch {
	case d.MediaType.IsImage():
		m, err := v1.ParseManifest(bytes.NewReader(d.Manifest))
		if err != nil {
			return err
		}
		for _, l := range append(m.Layers, m.Config) {
			if l.MediaType.IsDistributable() {
				sizes[l.Digest.String()] = l.Size
			}
		}
	case d.MediaType.IsIndex():
		index, err := v1.ParseIndexManifest(bytes.NewReader(d.Manifest))
		if err != nil {
			return err
		}
		for _, m := range index.Manifests {
			if !m.MediaType.IsImage() && !m.MediaType.IsIndex() {
				continue
			}
			r := from.Context().Digest(m.Digest.String())
			inside, err := remote.Get(r, c.optionsOf(ctx, r, source)...)
			if err != nil {
				return err
			}
			if err := c.sizes(ctx, r, inside, source, sizes); err != nil {
				return err
			}
		}
	}
	return nil
}

// A meter counts what is there of a copy by the requests that bring it. (The library's own way of telling may write to a
// channel that it has closed, where an upload goes on while another has failed.)
type meter struct {
	inner  http.RoundTripper
	sizes  map[string]int64 // in bytes, by digest
	total  int64
	report func(done, total int64)

	mu   sync.Mutex
	done int64
}

// RoundTrip counts what is sent, and what is there already or mounted.
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	var body *meteredBody
	if r.Method == http.MethodPatch && r.Body != nil {
		body = &meteredBody{ReadCloser: r.Body, meter: m}
		r = r.Clone(r.Context())
		r.Body = body
	}
	answer, err := m.inner.RoundTrip(r)
	switch {
	case body != nil && (err != nil || answer.StatusCode >= http.StatusMultipleChoices):
		body.forget()
	case err != nil:
	case r.Method == http.MethodHead && answer.StatusCode == http.StatusOK && strings.Contains(r.URL.Path, "/blobs/"):
		m.add(m.sizes[path.Base(r.URL.Path)])
	case r.Method == http.MethodPost && answer.StatusCode == http.StatusCreated:
		m.add(m.sizes[r.URL.Query().Get("mount")])
	}
	return answer, err
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count(n)
}

func (m *meter) count(n int64) {
	if n != 0 {
		m.done += n
		m.report(min(m.done, m.total), m.total)
	}
}

// A meteredBody is a layer on its way.
type meteredBody struct {
	io.ReadCloser
	meter *meter
	n     int64 // of it that is counted
	lost  bool
}

func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.meter.mu.Lock()
	defer b.meter.mu.Unlock()
	if !b.lost { // it may be read a little longer than somebody waits for it
		b.n += int64(n)
		b.meter.count(int64(n))
	}
	return n, err
}

// forget takes back what was counted of a layer that did not arrive.
func (b *meteredBody) forget() {
	b.meter.mu.Lock()
	defer b.meter.mu.Unlock()
	b.lost = true
	b.meter.count(-b.n)
}

// isOf tells whether an error of a copy is of the registry that is read from.
func isOf(err error, from name.Digest) bool {
	var refusal *transport.Error
	var address *url.Error
	at := ""
	switch {
	case errors.As(err, &refusal) && refusal.Request != nil:
		at = refusal.Request.URL.Host + refusal.Request.URL.Path
	case errors.As(err, &address):
		if u, err := url.Parse(address.URL); err == nil {
			at = u.Host + u.Path
		}
	}
	return strings.HasPrefix(at, from.Context().RegistryStr()+"/v2/"+from.Context().RepositoryStr()+"/")
}
