package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"
)

// solve is a request in BuildKit's terms, with the folders it holds open.
type solve struct {
	options client.SolveOpt
	roots   []*os.Root
}

func (s *solve) close() {
	for _, root := range s.roots {
		root.Close()
	}
}

// reservedArgs are build arguments that BuildKit's Dockerfile frontend takes for its own settings ("Build arguments" in
// the Dockerfile reference) and that would change what is pushed or with whom a cache is shared.
var reservedArgs = []string{"BUILDKIT_ATTEST_", "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_CACHE_MOUNT_NS"}

const dockerfileFrontend = "dockerfile.v0"

func newSolve(r Request) (_ *solve, err error) {
	r.Context = cmp.Or(r.Context, ".")
	r.Dockerfile = cmp.Or(r.Dockerfile, "Dockerfile")
	r.CacheScope = cmp.Or(r.CacheScope, r.Image, r.Dir)
	if r.Insecure == nil {
		r.Insecure = func(string) bool { return false }
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	s := &solve{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.options.SharedKey = r.CacheScope
	s.options.Session = []session.Attachable{&credentials{lookup: r.Auth}}
	if r.Command != nil {
		return s, s.openSource(r)
	}
	s.options.Session = append(s.options.Session, secretsprovider.FromMap(r.Secrets))
	if err := s.openFolders(r); err != nil {
		return nil, err
	}

	attrs := map[string]string{
		"filename":                          filepath.ToSlash(filepath.Clean(r.Dockerfile)),
		"build-arg:BUILDKIT_CACHE_MOUNT_NS": r.CacheScope,
	}
	if r.Target != "" {
		attrs["target"] = r.Target
	}
	if len(r.Platforms) > 0 {
		attrs["platform"] = strings.Join(r.Platforms, ",")
	}
	for k, v := range r.Args {
		attrs["build-arg:"+k] = v
	}
	for k, v := range r.Labels {
		attrs["label:"+k] = v
	}
	s.options.Frontend = dockerfileFrontend
	s.options.FrontendAttrs = attrs
	for _, ref := range r.CacheImports {
		s.options.CacheImports = append(s.options.CacheImports, registryCache(r, ref, nil))
	}
	if r.NoPush {
		return s, nil
	}
	s.options.Exports = []client.ExportEntry{{Type: client.ExporterImage, Attrs: imageAttrs(r)}}
	for _, ref := range r.CacheExports {
		// An image manifest, since some registries refuse the older form, an index of layers.
		s.options.CacheExports = append(s.options.CacheExports, registryCache(r, ref, map[string]string{
			"mode": "max", "ignore-error": "true", "image-manifest": "true", "oci-mediatypes": "true",
		}))
	}
	if r.InlineCache {
		s.options.CacheExports = append(s.options.CacheExports, client.CacheOptionsEntry{Type: "inline"})
	}
	return s, nil
}

func (r Request) check() error {
	if len(r.Outputs) > 0 && !r.NoPush && r.Command == nil {
		return errors.New("build: outputs are read of what is not pushed")
	}
	if !r.NoPush && r.Command == nil {
		slash := strings.LastIndexByte(r.Image, '/')
		if r.Image == "" || strings.ContainsAny(r.Image, "@, ") || strings.Contains(r.Image[slash+1:], ":") {
			return fmt.Errorf("build: image %q must be a repository without tag or digest", r.Image)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Args)) {
		for _, reserved := range reservedArgs {
			if strings.HasPrefix(key, reserved) {
				return fmt.Errorf("build: the build argument %s can't be set; it would change how the image is pushed or cached", key)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.Secrets)) {
		if n := len(r.Secrets[id]); n > secretsprovider.MaxSecretSize {
			return fmt.Errorf("build: secret %s has %d bytes; BuildKit takes at most %d", id, n, secretsprovider.MaxSecretSize)
		}
	}
	return nil
}

// openFolders offers the builder the context and, for the Dockerfile and the .dockerignore that belongs to it, the
// checkout. They are opened as roots: no symbolic link leads out of them, whenever it is made.
func (s *solve) openFolders(r Request) error {
	dir, err := os.OpenRoot(r.Dir)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	s.roots = append(s.roots, dir)
	folder, err := dir.OpenRoot(filepath.Clean(r.Context))
	if err != nil {
		return fmt.Errorf("build: context %q: %w", r.Context, inRepository(err))
	}
	s.roots = append(s.roots, folder)
	info, err := dir.Stat(filepath.Clean(r.Dockerfile))
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a file")
	}
	if err != nil {
		return fmt.Errorf("build: Dockerfile %q: %w", r.Dockerfile, inRepository(err))
	}
	s.options.LocalMounts = map[string]fsutil.FS{
		"context":    fsutil.NewRootFS(fsutil.NewRoot(folder)),
		"dockerfile": fsutil.NewRootFS(fsutil.NewRoot(dir)),
	}
	return nil
}

// openSource offers the builder the checkout.
func (s *solve) openSource(r Request) error {
	dir, err := os.OpenRoot(r.Dir)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	s.roots = append(s.roots, dir)
	s.options.LocalMounts = map[string]fsutil.FS{sourceMount: fsutil.NewRootFS(fsutil.NewRoot(dir))}
	return nil
}

// inRepository leaves out the path, which is named already, and says what the error means here.
func inRepository(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in the repository at this commit", fs.ErrNotExist)
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%w; it must be inside the repository, through links too", path.Err)
	}
	return err
}

// imageAttrs are the image exporter's. No provenance or SBOM attestation is asked for (attest:… attributes), so that an
// image for one platform is a plain manifest, whose digest is the one that a kubelet reports.
func imageAttrs(r Request) map[string]string {
	attrs := map[string]string{
		"name":           r.Image,
		"push":           "true",
		"push-by-digest": "true",
		"oci-mediatypes": "true",
	}
	for k, v := range r.Labels {
		attrs["annotation."+k] = v
		if len(r.Platforms) > 1 { // BuildKit refuses one for an index that there will not be
			attrs["annotation-index."+k] = v
		}
	}
	if r.Insecure(registryHost(r.Image)) {
		attrs["registry.insecure"] = "true"
	}
	if !r.SourceDateEpoch.IsZero() {
		// The exporter's attribute and not the build argument, which is part of the cache key of some steps.
		attrs["source-date-epoch"] = strconv.FormatInt(r.SourceDateEpoch.Unix(), 10)
		attrs["rewrite-timestamp"] = "true"
	}
	return attrs
}

func registryCache(r Request, ref string, attrs map[string]string) client.CacheOptionsEntry {
	entry := client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}}
	maps.Copy(entry.Attrs, attrs)
	if r.Insecure(registryHost(ref)) {
		entry.Attrs["registry.insecure"] = "true"
	}
	return entry
}

const dockerHub = "docker.io"

// registryHost returns the registry's part of an image reference: what stands before the first slash if it looks like
// a host, and Docker Hub otherwise.
func registryHost(ref string) string {
	host, _, found := strings.Cut(ref, "/")
	if !found || host != "localhost" && !strings.ContainsAny(host, ".:") {
		return dockerHub
	}
	return host
}

// credentials answers the builder when a registry asks it for a credential. The builder fetches registry tokens by
// itself then.
type credentials struct {
	auth.UnimplementedAuthServer
	lookup func(host string) (user, password string)
}

// Register makes it a session.Attachable.
func (c *credentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, c) }

// Credentials implements BuildKit's session service moby.filesync.v1.Auth.
func (c *credentials) Credentials(_ context.Context, r *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	if c.lookup == nil {
		return &auth.CredentialsResponse{}, nil
	}
	host := r.Host
	if host == "registry-1.docker.io" || host == "index.docker.io" {
		host = dockerHub
	}
	user, password := c.lookup(host)
	return &auth.CredentialsResponse{Username: user, Secret: password}, nil
}
