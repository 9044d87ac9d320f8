// Package image talks to container registries: it resolves, checks, copies and tags images by digest, over the OCI
// distribution specification, and says in plain words what a registry's refusal means.
//
// Credentials come from the map given to New and from nowhere else: no docker configuration is read. A credential goes
// to its own registry and to the token service that this registry names, as the distribution specification has it; a
// redirect elsewhere does not carry it.
package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrImmutable says that a tag stands for another image, and that its registry does not let it change.
var ErrImmutable = errors.New("this tag stands for another image, and the registry does not let it change")

// Registry says how a registry is reached. Without Username and Password it is used anonymously.
type Registry struct {
	Username string
	Password string
	// Puller and PullPassword are an account that only pulls, by which Copy reads from another registry. Without them it reads by the
	// others.
	Puller       string
	PullPassword string
	// PlainHTTP means HTTP and only HTTP. Without it a registry is spoken to by HTTPS only, also one on a loopback or
	// private address.
	PlainHTTP bool
}

// Client is safe for concurrent use.
type Client struct {
	registries map[string]Registry
	transport  *http.Transport
}

// New returns a client that knows these registries by host[:port], and others without a credential. Docker Hub is
// docker.io.
func New(registries map[string]Registry) *Client {
	c := &Client{
		registries: make(map[string]Registry, len(registries)),
		transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
		},
	}
	for host, r := range registries {
		if host == "docker.io" || host == "registry-1.docker.io" {
			host = name.DefaultRegistry
		}
		c.registries[host] = r
	}
	return c
}

// Resolve returns the digest ("sha256:…") that ref stands for in its registry now. A reference without tag and digest
// means the tag latest. For an image of several platforms it is the index's digest.
func (c *Client) Resolve(ctx context.Context, ref string) (string, error) {
	r, err := c.parse(ref)
	if err != nil {
		return "", err
	}
	digest, err := c.digest(ctx, r)
	if err != nil {
		return "", failure("resolve", r, err)
	}
	return digest, nil
}

// Tag makes tag in the image's own repository stand for repoAtDigest. A tag that does so already is left alone, so it
// may be repeated where tags are immutable. One that can't be changed is ErrImmutable.
func (c *Client) Tag(ctx context.Context, repoAtDigest, tag string) error {
	r, err := c.parseDigest(repoAtDigest)
	if err != nil {
		return err
	}
	if !tagPattern.MatchString(tag) {
		return fmt.Errorf("tag %s: %q is not a tag", r, tag)
	}
	return c.tag(ctx, r, r.Context().Tag(tag))
}

func (c *Client) tag(ctx context.Context, image name.Digest, tag name.Tag) error {
	if now, err := c.digest(ctx, tag); err == nil && now == image.DigestStr() {
		return nil
	}
	manifest, err := remote.Get(image, c.options(ctx, image)...)
	if err != nil {
		return failure("read", image, err)
	}
	if err := remote.Tag(tag, manifest, c.options(ctx, tag)...); err != nil {
		if now, lookErr := c.digest(ctx, tag); lookErr == nil && now != image.DigestStr() && isImmutable(err, tag) {
			err = fmt.Errorf("%w (%w)", ErrImmutable, err)
		}
		return failure("tag", tag, err)
	}
	return nil
}

// isImmutable tells a refusal to change a tag from others. There is no code for it: Harbor answers with 412, others with
// 400, 403 or 409, and all say the word, which the repository's own name may have too.
func isImmutable(err error, tag name.Tag) bool {
	var refusal *transport.Error
	if !errors.As(err, &refusal) {
		return false
	}
	said := strings.ReplaceAll(strings.ToLower(err.Error()), tag.RepositoryStr()+"/manifests/"+strings.ToLower(tag.TagStr()), "")
	return strings.Contains(strings.ReplaceAll(said, tag.RepositoryStr(), ""), "immutable")
}

// Parts returns the digests by which a container runtime may call the image that repoAtDigest names, besides its own: of an
// index the manifests in it, and of each manifest its configuration, which is what some call the image.
func (c *Client) Parts(ctx context.Context, repoAtDigest string) ([]string, error) {
	r, err := c.parseDigest(repoAtDigest)
	if err != nil {
		return nil, err
	}
	parts, err := c.parts(ctx, r)
	if err != nil {
		return nil, failure("read", r, err)
	}
	return parts, nil
}

func (c *Client) parts(ctx context.Context, r name.Digest) ([]string, error) {
	d, err := remote.Get(r, c.options(ctx, r)...)
	if err != nil {
		return nil, err
	}
	if d.MediaType.IsImage() {
		m, err := v1.ParseManifest(bytes.NewReader(d.Manifest))
		if err != nil {
			return nil, err
		}
		return []string{m.Config.Digest.String()}, nil
	}
	if !d.MediaType.IsIndex() {
		return nil, nil
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(d.Manifest))
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, m := range index.Manifests {
		if !m.MediaType.IsImage() || m.Platform != nil && m.Platform.OS == "unknown" { // an attestation, which nothing runs
			continue
		}
		inside, err := c.parts(ctx, r.Context().Digest(m.Digest.String()))
		if err != nil {
			return nil, err
		}
		parts = append(append(parts, m.Digest.String()), inside...)
	}
	return parts, nil
}

// digest asks by HEAD, and by GET where that fails: some registries know no HEAD, and only an answer to GET has a body
// that says what is wrong.
func (c *Client) digest(ctx context.Context, r name.Reference) (string, error) {
	if d, err := remote.Head(r, c.options(ctx, r)...); err == nil {
		return d.Digest.String(), nil
	}
	d, err := remote.Get(r, c.options(ctx, r)...)
	if err != nil {
		return "", err
	}
	return d.Digest.String(), nil
}

func (c *Client) parse(ref string) (name.Reference, error) {
	r, err := name.ParseReference(ref)
	if err == nil && c.registries[r.Context().RegistryStr()].PlainHTTP {
		r, err = name.ParseReference(ref, name.Insecure)
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not an image reference: %w", ref, err)
	}
	return r, nil
}

func (c *Client) parseDigest(ref string) (name.Digest, error) {
	r, err := c.parse(ref)
	if err != nil {
		return name.Digest{}, err
	}
	d, ok := r.(name.Digest)
	if !ok {
		return name.Digest{}, fmt.Errorf("%q names no digest; write host/repository@sha256:…", ref)
	}
	return d, nil
}

func (c *Client) options(ctx context.Context, r name.Reference) []remote.Option {
	return c.optionsOf(ctx, r, c.registries[r.Context().RegistryStr()])
}

func (c *Client) optionsOf(ctx context.Context, r name.Reference, registry Registry) []remote.Option {
	auth := authn.Anonymous
	if registry.Username != "" || registry.Password != "" {
		auth = authn.FromConfig(authn.AuthConfig{Username: registry.Username, Password: registry.Password})
	}
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuth(auth),
		remote.WithUserAgent("shipmate"),
		remote.WithTransport(c.guard(r)),
	}
}

func (c *Client) guard(r name.Reference) *schemeGuard {
	host := r.Context().RegistryStr()
	return &schemeGuard{host: host, plainHTTP: c.registries[host].PlainHTTP, inner: c.transport}
}

// schemeGuard keeps to the configured scheme. The library would fall back from HTTPS to HTTP, with the password, on
// loopback and private addresses.
type schemeGuard struct {
	host      string
	plainHTTP bool
	inner     http.RoundTripper
}

func (g *schemeGuard) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Scheme == "http" && !g.plainHTTP:
		return nil, fmt.Errorf("plain HTTP not tried: registry %s has no plain_http: true", g.host)
	case r.URL.Scheme == "https" && g.plainHTTP && r.URL.Host == g.host:
		return nil, fmt.Errorf("HTTPS not tried: registry %s has plain_http: true", g.host)
	}
	return g.inner.RoundTrip(r)
}

// failure names what was tried. Addresses lose their query: the one of a redirect to blob storage is a credential.
func failure(verb string, r fmt.Stringer, err error) error {
	var address *url.Error
	if errors.As(err, &address) {
		address.URL, _, _ = strings.Cut(address.URL, "?")
	}
	return fmt.Errorf("%s %s: %w", verb, r, err)
}
