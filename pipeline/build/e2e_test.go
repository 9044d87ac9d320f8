//go:build e2e

package build

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
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
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
)

// These tests need a BuildKit daemon at BUILDKIT_HOST that reaches the registry REGISTRY (host:port on loopback, plain
// HTTP in the daemon's configuration too), and a static busybox at BUSYBOX or /bin/busybox. They prune the daemon's cache.

type far struct {
	*Builder
	registry string
	base     string // an image with busybox
}

func connect(t *testing.T) far {
	t.Helper()
	addr, reg := os.Getenv("BUILDKIT_HOST"), os.Getenv("REGISTRY")
	if addr == "" || reg == "" {
		t.Skip("needs BUILDKIT_HOST and REGISTRY")
	}
	b, err := Open(Address{URL: addr})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := far{Builder: b, registry: reg, base: reg + "/base/busybox:1"}
	f.pushBase(t)
	return f
}

func (f far) pushBase(t *testing.T) {
	t.Helper()
	busybox, err := os.ReadFile(cmp.Or(os.Getenv("BUSYBOX"), "/bin/busybox"))
	if err != nil {
		t.Skip("needs a static busybox: ", err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	add(&tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	add(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o777}, nil)
	add(&tar.Header{Name: "bin/busybox", Mode: 0o755}, busybox)
	for _, applet := range []string{"sh", "cat", "echo", "sleep", "ls", "touch", "test", "date", "head", "readlink", "true", "false"} {
		add(&tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Env = "linux", "amd64", []string{"PATH=/bin"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference(t, f.base), img); err != nil {
		t.Fatal(err)
	}
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(s, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// request is for a build of these files under a repository of this test's own.
func (f far) request(t *testing.T, files map[string]string) Request {
	t.Helper()
	for name, content := range files {
		files[name] = strings.ReplaceAll(content, "BASE", f.base)
	}
	repository := strings.NewReplacer("/", "-", "#", "-").Replace(strings.ToLower(t.Name()))
	return Request{
		Dir:      checkout(t, files),
		Image:    f.registry + "/" + repository,
		Insecure: func(host string) bool { return strings.HasPrefix(host, "127.0.0.1:") },
	}
}

// unique is a text that no build has seen yet, against the builder's cache.
func unique() string { return fmt.Sprint("u", time.Now().UnixNano()) }

// build returns the log as "stream text" lines too.
func (f far) build(t *testing.T, ctx context.Context, r Request) (Result, []string, error) {
	t.Helper()
	var lines []string
	result, err := f.Build(ctx, r, func(l Line) { lines = append(lines, fmt.Sprintf("%d %s", l.Stream, l.Text)) })
	return result, lines, err
}

func (f far) mustBuild(t *testing.T, r Request) (Result, []string) {
	t.Helper()
	result, lines, err := f.build(t, t.Context(), r)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
	}
	return result, lines
}

func (f far) prune(t *testing.T) {
	t.Helper()
	c, err := client.New(t.Context(), f.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Prune(t.Context(), nil, client.PruneAll); err != nil {
		t.Fatal(err)
	}
}

// pushedFiles lists the pushed image's files, links as "name -> target".
func pushedFiles(t *testing.T, ref string) (v1.Image, map[string]string) {
	t.Helper()
	desc, err := remote.Get(reference(t, ref))
	if err != nil {
		t.Fatal(err)
	}
	if !desc.MediaType.IsImage() {
		t.Fatalf("%s is %s, want a plain image manifest", ref, desc.MediaType)
	}
	img, err := desc.Image()
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	r := tar.NewReader(mutate.Extract(img))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return img, content
		}
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			content[h.Name] = string(b)
		case tar.TypeSymlink:
			content[h.Name] = "-> " + h.Linkname
		}
	}
}

func TestE2EBuild(t *testing.T) {
	f := connect(t)
	r := f.request(t, map[string]string{
		"docker/Dockerfile.web":              "FROM BASE AS build\nARG GIT_COMMIT\nCOPY . /src\nRUN echo building $GIT_COMMIT && cat /src/main.txt > /out\nFROM scratch AS run\nCOPY --from=build /out /app\nCOPY . /ctx\nFROM BASE AS never\nRUN false\n",
		"docker/Dockerfile.web.dockerignore": "ignored\n",
		"docker/note":                        "outside of the context",
		"app/main.txt":                       "hello",
		"app/ignored":                        "x",
		"app/passwd@":                        "/etc/passwd",
		"app/up@":                            "../docker/note",
	})
	r.Context, r.Dockerfile, r.Target = "app", "docker/Dockerfile.web", "run"
	commit := unique()
	r.Args = map[string]string{"GIT_COMMIT": commit}
	r.Labels = map[string]string{"org.opencontainers.image.revision": "abc123"}
	result, lines := f.mustBuild(t, r)

	img, content := pushedFiles(t, r.Image+"@"+result.Digest)
	want := map[string]string{"app": "hello", "ctx/main.txt": "hello", "ctx/passwd": "-> /etc/passwd", "ctx/up": "-> ../docker/note"}
	if fmt.Sprint(content) != fmt.Sprint(want) {
		t.Errorf("pushed %v\nwant %v", content, want)
	}
	if manifest, err := img.Manifest(); err != nil || manifest.Annotations["org.opencontainers.image.revision"] != "abc123" {
		t.Errorf("manifest %v (%v)", manifest, err)
	}
	if config, err := img.ConfigFile(); err != nil || config.Config.Labels["org.opencontainers.image.revision"] != "abc123" {
		t.Errorf("config %v (%v)", config, err)
	}
	if !slices.Contains(lines, "1 building "+commit) || !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "0 [build 3/3] RUN echo building") }) {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	_, lines = f.mustBuild(t, r)
	if !slices.Contains(lines, "0 cached") || slices.Contains(lines, "1 building "+commit) {
		t.Errorf("the second build's log:\n%s", strings.Join(lines, "\n"))
	}
}

func TestE2EPushByDigest(t *testing.T) {
	f := connect(t)
	r := f.request(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "*\n!kept\n", "kept": "k", "ignored": "i"})
	result, _ := f.mustBuild(t, r)
	if _, content := pushedFiles(t, r.Image+"@"+result.Digest); fmt.Sprint(content) != "map[kept:k]" {
		t.Errorf("pushed %v, and .dockerignore keeps one file", content)
	}
	if tags, err := remote.List(reference(t, r.Image).Context()); err == nil && len(tags) != 0 {
		t.Errorf("tags %v, want none", tags)
	}
}

func TestE2EPlatforms(t *testing.T) {
	f := connect(t)
	r := f.request(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	r.Platforms = []string{"linux/amd64", "linux/arm64"}
	r.Labels = map[string]string{"org.opencontainers.image.revision": "abc123"}
	result, _ := f.mustBuild(t, r)
	desc, err := remote.Get(reference(t, r.Image+"@"+result.Digest))
	if err != nil {
		t.Fatal(err)
	}
	index, err := desc.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	if list.Annotations["org.opencontainers.image.revision"] != "abc123" {
		t.Errorf("annotations of the index: %v", list.Annotations)
	}
	for _, m := range list.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := img.Manifest()
		if err != nil || manifest.Annotations["org.opencontainers.image.revision"] != "abc123" {
			t.Errorf("%s: annotations %v (%v)", m.Platform, manifest.Annotations, err)
		}
		config, err := img.ConfigFile()
		if err != nil || config.Config.Labels["org.opencontainers.image.revision"] != "abc123" {
			t.Errorf("%s: labels %v (%v)", m.Platform, config.Config.Labels, err)
		}
	}
	if !slices.Equal(platforms, r.Platforms) {
		t.Errorf("platforms %v, want %v and no attestation", platforms, r.Platforms)
	}
}

func TestE2ENoPush(t *testing.T) {
	f := connect(t)
	r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nRUN echo it ran; true " + unique() + "\n"})
	r.NoPush, r.CacheExports, r.InlineCache = true, []string{r.Image + ":cache"}, true
	result, lines := f.mustBuild(t, r)
	if result.Digest != "" || !slices.Contains(lines, "1 it ran") {
		t.Errorf("digest %q, log:\n%s", result.Digest, strings.Join(lines, "\n"))
	}
	for _, tag := range []string{"cache", "latest"} {
		if _, err := remote.Head(reference(t, r.Image+":"+tag)); err == nil {
			t.Errorf("%s was pushed", tag)
		}
	}
}

func TestE2ECacheIsImportedAfterAPrune(t *testing.T) {
	f := connect(t)
	r := f.request(t, map[string]string{
		"Dockerfile": "FROM BASE AS build\nCOPY in /in\nRUN cat /in > /out; echo it ran\nFROM scratch\nCOPY --from=build /out /out\n",
		"in":         unique(),
	})
	r.CacheImports, r.CacheExports = []string{r.Image + ":cache-none", r.Image + ":cache"}, []string{r.Image + ":cache"}
	first, lines := f.mustBuild(t, r)
	if !slices.Contains(lines, "1 it ran") {
		t.Fatalf("log:\n%s", strings.Join(lines, "\n"))
	}
	f.prune(t)
	second, lines := f.mustBuild(t, r)
	if slices.Contains(lines, "1 it ran") {
		t.Errorf("it ran again:\n%s", strings.Join(lines, "\n"))
	}
	if first.Digest != second.Digest {
		t.Errorf("digest %s, then %s", first.Digest, second.Digest)
	}
}

func TestE2ECacheExportThatFailsFailsNothing(t *testing.T) {
	f := connect(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nRUN true " + unique() + "\n"})
	r.CacheExports = []string{strings.TrimPrefix(refusing.URL, "http://") + "/x:cache"}
	result, _ := f.mustBuild(t, r)
	pushedFiles(t, r.Image+"@"+result.Digest)
}

// One source gives one digest, whatever differs between two runs of it and is not used: file times, the run's number, and a
// builder that remembers nothing.
func TestE2EReproducible(t *testing.T) {
	f := connect(t)
	for name, platforms := range map[string][]string{"one platform": nil, "an index": {"linux/amd64", "linux/arm64"}} {
		t.Run(name, func(t *testing.T) {
			digest := func(i int, dockerfile string) string {
				r := f.request(t, map[string]string{"Dockerfile": dockerfile, "a": "1", "sub/b": "2"})
				r.Platforms, r.SourceDateEpoch = platforms, time.Unix(1750000000, 0)
				r.Labels = map[string]string{"org.opencontainers.image.created": "2025-06-15T15:06:40Z"}
				r.Args = map[string]string{"GIT_COMMIT": "abc", "CI_BUILD_NUMBER": fmt.Sprint(i)}
				touched := time.Unix(1760000000+int64(i)*3600, 0)
				if err := os.Chtimes(filepath.Join(r.Dir, "a"), touched, touched); err != nil {
					t.Fatal(err)
				}
				f.prune(t)
				result, _ := f.mustBuild(t, r)
				return result.Digest
			}
			dockerfile, using := "FROM scratch\nARG GIT_COMMIT\nWORKDIR /app\nCOPY . /app\n", "FROM scratch\nARG CI_BUILD_NUMBER\nLABEL n=$CI_BUILD_NUMBER\nCOPY . /app\n"
			if platforms == nil {
				dockerfile = "FROM BASE\nARG GIT_COMMIT\nWORKDIR /app\nCOPY . /app\nRUN echo $GIT_COMMIT > /app/y\n"
			}
			if one, two := digest(1, dockerfile), digest(2, dockerfile); one != two {
				t.Errorf("two digests of one source: %s and %s", one, two)
			}
			if one, two := digest(1, using), digest(2, using); one == two {
				t.Error("the run's number is in the image, and two runs made the same one: the comparison shows nothing")
			}
		})
	}
}

func TestE2EFailures(t *testing.T) {
	f := connect(t)
	for _, tt := range []struct {
		name, dockerfile string
		line             int
		text             string
		tail             string
	}{
		{"command", "FROM BASE\nRUN echo before\nRUN echo one; \\\n    echo two >&2; false\n", 3, "Dockerfile:3: RUN echo one; echo two >&2; false: exit code: 1", "two"},
		{"instruction", "FROM BASE\nRUNN echo\n", 2, "Dockerfile:2: RUNN echo: unknown instruction: RUNN (did you mean RUN?)", ""},
		{"no such file", "FROM BASE\nCOPY absent /\n", 2, `Dockerfile:2: COPY absent /: "/absent": not found`, ""},
		{"no such base", "FROM BASE-absent\nRUN true\n", 1, "busybox:1-absent: not found", ""},
		{"empty", "", 0, "Dockerfile: the Dockerfile cannot be empty", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, lines, err := f.build(t, t.Context(), f.request(t, map[string]string{"Dockerfile": tt.dockerfile}))
			if err == nil {
				t.Fatal("built")
			}
			t.Log(err)
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error: %v\nwant   %s", err, tt.text)
			}
			var failure *Failure
			if !errors.As(err, &failure) {
				t.Fatalf("%T, want a *Failure", err)
			}
			if failure.Line != tt.line || tt.tail != "" && !slices.Contains(failure.Tail, tt.tail) {
				t.Errorf("failure %+v\nlog:\n%s", failure, strings.Join(lines, "\n"))
			}
		})
	}
	r := f.request(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n"})
	r.Target = "absent"
	_, _, err := f.build(t, t.Context(), r)
	if err == nil || err.Error() != `Dockerfile: target stage "absent" could not be found` {
		t.Errorf("error: %v", err)
	}
}

func TestE2EPushRefused(t *testing.T) {
	f := connect(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"no right to push"}]}`)
	}))
	defer refusing.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for url, words := range map[string]string{refusing.URL: "no right to push", closed.URL: "connection refused"} {
		r := f.request(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
		r.Image = strings.TrimPrefix(url, "http://") + "/web"
		_, _, err := f.build(t, t.Context(), r)
		var failure *Failure
		if err == nil || errors.As(err, &failure) || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), words) {
			t.Errorf("error: %v, want %q", err, words)
		}
	}
}

func TestE2ECredentials(t *testing.T) {
	f := connect(t)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "bot" || pass != "s3cret-password" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	r := f.request(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	r.Image = host + "/web"
	if _, _, err := f.build(t, t.Context(), r); err == nil {
		t.Error("pushed without a credential")
	}
	r.Auth = func(asked string) (string, string) {
		if asked == host {
			return "bot", "s3cret-password"
		}
		return "", ""
	}
	_, lines := f.mustBuild(t, r)
	if strings.Contains(strings.Join(lines, "\n"), "s3cret-password") {
		t.Error("the log has the password")
	}
}

func TestE2ESecret(t *testing.T) {
	f := connect(t)
	const secret = "npm_s3cretSecret"
	r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nRUN --mount=type=secret,id=npm echo we have $(cat /run/secrets/npm); cat /run/secrets/npm > /tmp/x; test -s /tmp/x && echo there; busybox rm /tmp/x; cat /run/secrets/npm; false\n"})
	r.Secrets = map[string][]byte{"npm": []byte(secret)}
	result, lines, err := f.build(t, t.Context(), r)
	var failure *Failure
	if !errors.As(err, &failure) {
		t.Fatalf("error: %v", err)
	}
	if !slices.Contains(lines, "1 we have ***") || !slices.Contains(lines, "1 there") || !slices.Contains(lines, "1 ***") {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	if all := fmt.Sprint(lines, err, failure, result); strings.Contains(all, secret) {
		t.Errorf("the secret is in %s", all)
	}
}

func TestE2ENoEntitlement(t *testing.T) {
	f := connect(t)
	for _, flag := range []string{"--network=host", "--security=insecure"} {
		_, lines, err := f.build(t, t.Context(), f.request(t, map[string]string{"Dockerfile": "FROM BASE\nRUN " + flag + " echo it ran\n"}))
		if err == nil || slices.Contains(lines, "1 it ran") {
			t.Errorf("%s: %v", flag, err)
		}
		var failure *Failure
		if !errors.As(err, &failure) {
			t.Errorf("%T %v, want a *Failure", err, err)
		}
	}
}

func TestE2ECacheMountsAreSeparate(t *testing.T) {
	f := connect(t)
	build := func(scope, command string) []string {
		r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nARG NOW\nRUN --mount=type=cache,id=deps,target=/cache " + command + "\n"})
		r.CacheScope = scope
		r.Args = map[string]string{"NOW": unique()}
		_, lines := f.mustBuild(t, r)
		return lines
	}
	build("acme/one", "echo poison > /cache/file")
	if lines := build("acme/one", "echo same: $(ls /cache)"); !slices.Contains(lines, "1 same: file") {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	if lines := build("acme/two", "echo other: $(ls /cache)"); !slices.Contains(lines, "1 other:") && !slices.Contains(lines, "1 other: ") {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
}

func TestE2ECancel(t *testing.T) {
	f := connect(t)
	r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nRUN echo sleeping; sleep 300\n"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var cancelled time.Time
	_, err := f.Build(ctx, r, func(l Line) {
		if l.Text == "sleeping" {
			if yes, err := f.active(t.Context(), r.Image); !yes || err != nil {
				t.Errorf("the daemon does not know of it: %v", err)
			}
			cancelled = time.Now()
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || cancelled.IsZero() {
		t.Fatalf("error: %v", err)
	}
	took := time.Since(cancelled)
	for {
		yes, err := f.active(t.Context(), r.Image)
		if err != nil {
			t.Fatal(err)
		}
		if !yes {
			break
		}
		time.Sleep(10 * time.Millisecond) // between two looks, not for something
	}
	t.Logf("Build returned after %s; the daemon had ended it after %s", took, time.Since(cancelled))
	if ended := time.Since(cancelled); ended > 2*time.Second {
		t.Errorf("took %s", ended)
	}
}

// active tells whether the daemon itself works on a build of an image.
func (f far) active(ctx context.Context, image string) (bool, error) {
	c, err := client.New(ctx, f.url)
	if err != nil {
		return false, err
	}
	defer c.Close()
	events, err := c.ControlClient().ListenBuildHistory(ctx, &control.BuildHistoryRequest{ActiveOnly: true, EarlyExit: true})
	if err != nil {
		return false, err
	}
	for {
		event, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for _, e := range event.GetRecord().GetExporters() {
			if strings.HasPrefix(e.Attrs["name"], image) {
				return true, nil
			}
		}
	}
}

func TestE2EBuilderGoesAway(t *testing.T) {
	f := connect(t)
	network, address, _ := strings.Cut(f.url, "://")
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	cut := make(chan struct{})
	go func() {
		for {
			near, err := relay.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial(network, address)
			if err != nil {
				near.Close()
				return
			}
			go io.Copy(near, far)
			go io.Copy(far, near)
			go func() {
				<-cut
				near.Close()
				far.Close()
			}()
		}
	}()
	b, err := Open(Address{URL: "tcp://" + relay.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nRUN echo sleeping; sleep 300\n"})
	_, err = b.Build(ctx, r, func(l Line) {
		if l.Text == "sleeping" {
			relay.Close()
			close(cut)
		}
	})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("error: %v", err)
	}
	t.Log(err)
}

func TestE2EManyAtOnce(t *testing.T) {
	f := connect(t)
	var wg sync.WaitGroup
	for i := range 6 {
		number := unique()
		r := f.request(t, map[string]string{"Dockerfile": "FROM BASE\nCOPY n /n\nRUN cat /n\n", "n": number + "\n"})
		r.Image = fmt.Sprintf("%s/many/%d", f.registry, i)
		wg.Go(func() {
			var lines []string
			result, err := f.Build(t.Context(), r, func(l Line) { lines = append(lines, l.Text) })
			if err != nil {
				t.Error(err)
				return
			}
			if !slices.Contains(lines, number) {
				t.Errorf("no %q in\n%s", number, strings.Join(lines, "\n"))
			}
			if _, err := remote.Head(reference(t, r.Image+"@"+result.Digest)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestE2ELinkInThePlaceOfAFile(t *testing.T) {
	f := connect(t)
	r := f.request(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY passwd /passwd\n", "passwd@": "/etc/passwd"})
	result, _, err := f.build(t, t.Context(), r)
	if err != nil {
		return // the link leads nowhere within the context
	}
	if _, content := pushedFiles(t, r.Image+"@"+result.Digest); strings.Contains(content["passwd"], "root:") {
		t.Errorf("copied from outside: %q", content["passwd"])
	}
}
