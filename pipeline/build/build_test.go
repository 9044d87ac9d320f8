package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil/types"

	"github.com/shipmate-dev/shipmate/pipeline/mask"
)

// checkout writes files into a new folder; a name that ends in @ is a symbolic link.
func checkout(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		link, isLink := strings.CutSuffix(name, "@")
		path := filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if isLink {
			err = os.Symlink(content, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUnavailable(t *testing.T) {
	b, err := Open(Address{URL: "unix://" + filepath.Join(t.TempDir(), "no.sock")})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ping: %v", err)
	}
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch"})
	if _, err := b.Build(t.Context(), Request{Dir: dir, NoPush: true}, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Build: %v", err)
	}
}

func TestCancelWhenTheBuilderIsSilent(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	b, err := Open(Address{URL: "tcp://" + silent.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Build(ctx, Request{Dir: checkout(t, map[string]string{"Dockerfile": "FROM scratch"}), NoPush: true}, nil)
		done <- err
	}()
	c := <-accepted
	defer c.Close()
	cancel()
	began := time.Now()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not cancelled after 10 s")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestSolveOptions(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch", "docker/Dockerfile.web": "FROM scratch", "app/main.go": ""})
	insecure := func(host string) bool { return host == "127.0.0.1:5000" }
	type exports struct {
		image map[string]string
		cache []client.CacheOptionsEntry
	}
	for _, tt := range []struct {
		name    string
		request Request
		attrs   map[string]string // the frontend's
		exports
		imports []client.CacheOptionsEntry
	}{
		{
			name:    "the least",
			request: Request{Image: "registry.example.com/team/web"},
			attrs:   map[string]string{"filename": "Dockerfile", "build-arg:BUILDKIT_CACHE_MOUNT_NS": "registry.example.com/team/web"},
			exports: exports{image: map[string]string{"name": "registry.example.com/team/web", "push": "true", "push-by-digest": "true", "oci-mediatypes": "true"}},
		},
		{
			name: "everything",
			request: Request{
				Context: "app", Dockerfile: "./docker/Dockerfile.web", Target: "run",
				Args: map[string]string{"GO_VERSION": "1.26"}, Labels: map[string]string{"a": "b"}, Platforms: []string{"linux/amd64", "linux/arm64"},
				Image: "127.0.0.1:5000/web", Insecure: insecure, InlineCache: true, CacheScope: "acme/web:master",
				CacheImports: []string{"127.0.0.1:5000/web:cache"}, CacheExports: []string{"registry.example.com/web:cache"},
				SourceDateEpoch: time.Unix(1750000000, 0),
			},
			attrs: map[string]string{
				"filename": "docker/Dockerfile.web", "target": "run", "build-arg:GO_VERSION": "1.26", "label:a": "b",
				"platform": "linux/amd64,linux/arm64", "build-arg:BUILDKIT_CACHE_MOUNT_NS": "acme/web:master",
			},
			exports: exports{
				image: map[string]string{
					"name": "127.0.0.1:5000/web", "push": "true", "push-by-digest": "true", "registry.insecure": "true",
					"annotation.a": "b", "annotation-index.a": "b",
					"oci-mediatypes": "true", "source-date-epoch": "1750000000", "rewrite-timestamp": "true",
				},
				cache: []client.CacheOptionsEntry{
					{Type: "registry", Attrs: map[string]string{"ref": "registry.example.com/web:cache", "mode": "max", "ignore-error": "true", "image-manifest": "true", "oci-mediatypes": "true"}},
					{Type: "inline"},
				},
			},
			imports: []client.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": "127.0.0.1:5000/web:cache", "registry.insecure": "true"}}},
		},
		{
			name: "nothing leaves without push",
			request: Request{
				NoPush: true, Image: "registry.example.com/web", InlineCache: true,
				CacheImports: []string{"registry.example.com/web:cache"}, CacheExports: []string{"registry.example.com/web:cache"}, CacheScope: "fork",
			},
			attrs:   map[string]string{"filename": "Dockerfile", "build-arg:BUILDKIT_CACHE_MOUNT_NS": "fork"},
			imports: []client.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": "registry.example.com/web:cache"}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.request.Dir = dir
			s, err := newSolve(tt.request)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			o := s.options
			if o.Frontend != "dockerfile.v0" || !maps.Equal(o.FrontendAttrs, tt.attrs) {
				t.Errorf("frontend %s %v\nwant %v", o.Frontend, o.FrontendAttrs, tt.attrs)
			}
			if len(o.AllowedEntitlements) != 0 {
				t.Errorf("entitlements %v", o.AllowedEntitlements)
			}
			var image map[string]string
			for _, e := range o.Exports {
				if e.Type != "image" || image != nil {
					t.Errorf("export %v", e)
				}
				image = e.Attrs
			}
			if !maps.Equal(image, tt.image) {
				t.Errorf("image %v\nwant %v", image, tt.image)
			}
			equal := func(a, b client.CacheOptionsEntry) bool { return a.Type == b.Type && maps.Equal(a.Attrs, b.Attrs) }
			if !slices.EqualFunc(o.CacheExports, tt.cache, equal) {
				t.Errorf("cache exports %v\nwant %v", o.CacheExports, tt.cache)
			}
			if !slices.EqualFunc(o.CacheImports, tt.imports, equal) {
				t.Errorf("cache imports %v\nwant %v", o.CacheImports, tt.imports)
			}
		})
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	outside := checkout(t, map[string]string{"Dockerfile": "FROM scratch"})
	dir := checkout(t, map[string]string{
		"Dockerfile": "FROM scratch", "sub/x": "", "out@": outside, "Dockerfile.out@": filepath.Join(outside, "Dockerfile"), "Dockerfile.up@": "../Dockerfile",
	})
	for _, tt := range []struct {
		name string
		r    Request
		err  string
	}{
		{"context above", Request{Context: ".."}, "must be inside the repository"},
		{"context above, later", Request{Context: "sub/../.."}, "must be inside the repository"},
		{"absolute context", Request{Context: "/etc"}, "must be inside the repository"},
		{"context through a link", Request{Context: "out"}, "must be inside the repository"},
		{"no context", Request{Context: "nowhere"}, `context "nowhere": file does not exist in the repository`},
		{"context is a file", Request{Context: "sub/x"}, "not a directory"},
		{"Dockerfile above", Request{Dockerfile: "../Dockerfile"}, "must be inside the repository"},
		{"absolute Dockerfile", Request{Dockerfile: filepath.Join(outside, "Dockerfile")}, "must be inside the repository"},
		{"Dockerfile through a link", Request{Dockerfile: "Dockerfile.out"}, "must be inside the repository"},
		{"Dockerfile through a relative link", Request{Dockerfile: "Dockerfile.up"}, "must be inside the repository"},
		{"no Dockerfile", Request{Dockerfile: "sub/Dockerfile"}, `Dockerfile "sub/Dockerfile": file does not exist in the repository`},
		{"Dockerfile is a folder", Request{Dockerfile: "sub"}, "not a file"},
		{"attestation by argument", Request{Args: map[string]string{"BUILDKIT_ATTEST_PROVENANCE": ""}}, "BUILDKIT_ATTEST_PROVENANCE can't be set"},
		{"another's cache by argument", Request{Args: map[string]string{"BUILDKIT_CACHE_MOUNT_NS": "acme/other"}}, "can't be set"},
		{"secret too long", Request{Secrets: map[string][]byte{"big": make([]byte, 600<<10)}}, "secret big has 614400 bytes"},
		{"no image", Request{Image: "-"}, ""},
		{"image with a tag", Request{Image: "r.example.com/web:v1"}, "without tag"},
		{"image with a digest", Request{Image: "r.example.com/web@sha256:00"}, "without tag"},
		{"two images", Request{Image: "r.example.com/web,r.example.com/other"}, "without tag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Dir = dir
			switch tt.r.Image {
			case "":
				tt.r.Image = "127.0.0.1:5000/web"
			case "-":
				tt.r.Image, tt.err = "", "must be a repository"
			}
			s, err := newSolve(tt.r)
			if err == nil {
				s.close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error: %v; want %q", err, tt.err)
			}
		})
	}
}

func TestLinksAreSentAsLinks(t *testing.T) {
	outside := checkout(t, map[string]string{"secret": "s3cret", "folder/secret": "s3cret"})
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch", "file@": filepath.Join(outside, "secret"), "folder@": filepath.Join(outside, "folder"), "up@": "..", "inner@": "Dockerfile"})
	s, err := newSolve(Request{Dir: dir, NoPush: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for name, mount := range s.options.LocalMounts {
		links := map[string]string{}
		err := mount.Walk(t.Context(), "", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			links[path] = info.Sys().(*types.Stat).Linkname
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"Dockerfile": "", "file": filepath.Join(outside, "secret"), "folder": filepath.Join(outside, "folder"), "up": "..", "inner": "Dockerfile"}
		if !maps.Equal(links, want) {
			t.Errorf("%s: %v\nwant %v", name, links, want)
		}
		// A link that takes the place of a file after it was listed is not followed out either.
		for _, path := range []string{"file", "folder/secret", "up/x", "../x"} {
			if r, err := mount.Open(path); err == nil {
				b, _ := io.ReadAll(r)
				t.Errorf("%s: opened %s: %q", name, path, b)
			}
		}
		r, err := mount.Open("inner")
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}

func TestCredentials(t *testing.T) {
	asked := []string{}
	c := &credentials{lookup: func(host string) (string, string) {
		asked = append(asked, host)
		if host == "registry.example.com" {
			return "bot", "pass"
		}
		return "", ""
	}}
	for _, host := range []string{"registry.example.com", "registry-1.docker.io", "evil.example.com"} {
		got, err := c.Credentials(t.Context(), &auth.CredentialsRequest{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		if want := host == "registry.example.com"; (got.Secret != "") != want || (got.Username != "") != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	if want := []string{"registry.example.com", "docker.io", "evil.example.com"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	if got, err := (&credentials{}).Credentials(t.Context(), &auth.CredentialsRequest{Host: "x"}); err != nil || got.Secret != "" {
		t.Errorf("without a lookup: %v, %v", got, err)
	}
}

func TestRegistryHost(t *testing.T) {
	for ref, want := range map[string]string{
		"registry.example.com/team/web": "registry.example.com", "127.0.0.1:5000/web:v1": "127.0.0.1:5000", "localhost/web": "localhost",
		"library/nginx": "docker.io", "nginx:1.27": "docker.io",
	} {
		if got := registryHost(ref); got != want {
			t.Errorf("registryHost(%q) = %q, want %q", ref, got, want)
		}
	}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) *time.Time {
	t := start.Add(time.Duration(seconds * float64(time.Second)))
	return &t
}

func vertex(id, name string, started, completed *time.Time) *client.Vertex {
	return &client.Vertex{Digest: digest.Digest(id), Name: name, Started: started, Completed: completed}
}

func logged(id string, stream int, data string) *client.VertexLog {
	return &client.VertexLog{Vertex: digest.Digest(id), Stream: stream, Data: []byte(data), Timestamp: *at(1)}
}

func collect(m mask.Mask, updates ...*client.SolveStatus) (*progress, []string) {
	var lines []string
	p := newProgress(m, func(l Line) { lines = append(lines, fmt.Sprintf("%d %s", l.Stream, l.Text)) })
	for _, u := range updates {
		p.update(u)
	}
	p.flush()
	return p, lines
}

func TestProgress(t *testing.T) {
	cached := vertex("b", "[2/3] COPY . .", at(0), at(0))
	cached.Cached = true
	failed := vertex("c", "[3/3] RUN false", at(2), at(4.26))
	failed.Error = "exit code: 1"
	stopped := vertex("d", "exporting", at(2), at(4))
	stopped.Error = "rpc: context canceled"
	p, got := collect(mask.Mask{},
		&client.SolveStatus{Vertexes: []*client.Vertex{vertex("z", "never begun", nil, nil), vertex("a", "[1/3] RUN make", at(0), nil)}},
		&client.SolveStatus{Logs: []*client.VertexLog{logged("a", 1, "com"), logged("a", 2, "warn\n"), logged("a", 1, "piling\r\n10%\r55%\r100%\n\x1b[31mred\x1b[0m\x00\n\nno end")}},
		&client.SolveStatus{Vertexes: []*client.Vertex{vertex("a", "[1/3] RUN make", at(0), at(0.123)), cached}},
		&client.SolveStatus{ // begin, log and end in one message
			Vertexes: []*client.Vertex{failed},
			Logs:     []*client.VertexLog{logged("c", 2, "it is false\n"), logged("unknown", 1, "x\n"), logged("c", 7, "x\n")},
			Warnings: []*client.VertexWarning{{Vertex: "c", Short: []byte("odd casing"), SourceInfo: &pb.SourceInfo{Filename: "Dockerfile"}, Range: []*pb.Range{{Start: &pb.Position{Line: 3}}}}},
		},
		&client.SolveStatus{
			Vertexes: []*client.Vertex{stopped},
			Statuses: []*client.VertexStatus{
				{ID: "pushing layers", Vertex: "d", Started: at(2), Completed: at(3.5)},
				{ID: "pushing layers", Vertex: "d", Started: at(2), Completed: at(3.5)},
				{ID: "sha256:00", Vertex: "d", Started: at(2), Completed: at(3), Total: 2_500_000},
				{ID: "transferring context:", Vertex: "d", Started: at(2), Completed: at(2), Current: 512},
				{ID: "still going", Vertex: "d", Started: at(2)},
			},
		},
		&client.SolveStatus{Vertexes: []*client.Vertex{stopped}}, // told again
	)
	want := []string{
		"0 [1/3] RUN make", "2 warn", "1 compiling", "1 100%", "1 \x1b[31mred\x1b[0m", "1 ",
		"0 [2/3] COPY . .", "1 no end", "0 done in 120ms", "0 cached",
		"0 [3/3] RUN false", "2 it is false", "0 warning: Dockerfile:3: odd casing", "0 failed after 2.3s: exit code: 1",
		"0 exporting", "0 pushing layers, 1.5s", "0 sha256:00 2.5 MB, 1s", "0 transferring context 0.5 kB, 0s", "0 cancelled after 2s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	steps := p.steps()
	if len(steps) != 4 || steps[1] != (Step{Name: "[2/3] COPY . .", Started: *at(0), Completed: *at(0), Cached: true}) || steps[2].Error != "exit code: 1" {
		t.Errorf("steps %+v", steps)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	m := maskOf(map[string][]byte{"npm": []byte("tok-12345\n"), "longer": []byte("tok-12345-and-more"), "pem": []byte("-----BEGIN-----\nMIIabcdef\n"), "short": []byte("ab"), "none": nil})
	_, got := collect(m, &client.SolveStatus{
		Vertexes: []*client.Vertex{vertex("a", "RUN echo tok-12345", at(0), nil)},
		Logs: []*client.VertexLog{
			logged("a", 1, "x tok-12345-and-more y tok-"), logged("a", 1, "12345 z\n"), // in two pieces
			logged("a", 1, "MIIabcdef ab\ntok-\x0012345 tok\x1b[1m-12345\n"),
			logged("a", 1, strings.Repeat("x", maxLine-4)+"tok-12345\n"), // where the line is cut
		},
	})
	want := []string{"0 RUN echo •••", "1 x ••• y ••• z", "1 ••• ab", "1 ••• •••"}
	if len(got) != 5 || !slices.Equal(got[:4], want) {
		t.Fatalf("got %.200q, want %q", got, want)
	}
	if last := got[4]; strings.Contains(last, "t") || !strings.HasSuffix(last, "x…") || len(last) > maxLine {
		t.Errorf("the long line ends in %q", last[len(last)-30:])
	}
}

// TestColours: of what a command writes for a terminal a line keeps colours alone, and none in the middle of a secret.
func TestColours(t *testing.T) {
	m := maskOf(map[string][]byte{"npm": []byte("tok-12345")})
	for raw, want := range map[string]string{
		"\x1b[1;31mFAIL\x1b[0m \x1b[38;5;200mx\x1b[m\x1b[2K":         "\x1b[1;31mFAIL\x1b[0m \x1b[38;5;200mx\x1b[m",
		"\x1b]8;;https://evil.example\x07click\x1b]8;;\x07\x1b[32m!": "click\x1b[32m!",
		"\x1b[32mtok\x1b[0m-12345 \x1b[1mb":                          "••• b",
		"\x1b[32mtok-12345\x1b[0m":                                   "•••",
		"\x1b[10;10Hx\x1b[?25l\x1b[>4;1my\x1b[3":                     "xy[3",
		"\x1b[31m\xc3\x1b[0m\xa9":                                    "é",
		"\x1b[31mred\x00\u0085\tand\x1bc\u009b31m":                   "\x1b[31mred andc31m",
	} {
		_, got := collect(m, &client.SolveStatus{Vertexes: []*client.Vertex{vertex("a", "RUN x", at(0), nil)}, Logs: []*client.VertexLog{logged("a", 1, raw+"\n")}})
		if len(got) != 2 || got[1] != "1 "+want {
			t.Errorf("%q\ngives %q\nwant  %q", raw, got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	dockerfile := "FROM busybox\nRUN echo one && \\\n    false tok-12345\nRUNN x\n"
	source := func(first, last int32) *errdefs.Source {
		return &errdefs.Source{Info: &pb.SourceInfo{Filename: "docker/Dockerfile", Data: []byte(dockerfile)}, Ranges: []*pb.Range{{Start: &pb.Position{Line: first}, End: &pb.Position{Line: first}}, {Start: &pb.Position{Line: last}, End: &pb.Position{Line: last}}}}
	}
	p, _ := collect(maskOf(map[string][]byte{"t": []byte("tok-12345")}), &client.SolveStatus{
		Vertexes: []*client.Vertex{vertex("a", "[2/2] RUN echo one && false tok-12345", at(0), at(1))},
		Logs:     []*client.VertexLog{logged("a", 1, strings.Repeat("early\n", 30)), logged("a", 2, "last tok-12345\n")},
	})

	err := p.explain(fmt.Errorf("failed to solve: %w", errdefs.WithSource(errdefs.WrapVertex(errors.New(`process "/bin/sh -c echo one && false tok-12345" did not complete successfully: exit code: 1`), "a"), source(2, 3))), "-")
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("not a failure: %v", err)
	}
	if got, want := f.Error(), "docker/Dockerfile:2: RUN echo one && false •••: exit code: 1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if f.Step != "[2/2] RUN echo one && false •••" || f.Line != 2 || len(f.Tail) != 20 || f.Tail[19] != "last •••" || f.Tail[0] != "early" {
		t.Errorf("got %+v", f)
	}

	err = p.explain(errdefs.WithSource(errors.New("failed to solve: dockerfile parse error on line 4: unknown instruction: RUNN (did you mean RUN?)"), source(4, 4)), "-")
	if got, want := err.Error(), "docker/Dockerfile:4: RUNN x: unknown instruction: RUNN (did you mean RUN?)"; got != want || !errors.As(err, &f) || f.Step != "" {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	err = p.explain(errors.New(`failed to solve: target stage "x" could not be found`), "docker/Dockerfile")
	if got, want := err.Error(), `docker/Dockerfile: target stage "x" could not be found`; got != want || !errors.As(err, &f) {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	cause := errors.New("push tok-12345: 401 Unauthorized")
	err = p.explain(fmt.Errorf("failed to solve: %w", cause), "Dockerfile")
	if errors.As(err, &f) || err.Error() != "build: push •••: 401 Unauthorized" {
		t.Errorf("got %v", err)
	}
	cause = errors.New("push web: 401 Unauthorized")
	if err = p.explain(fmt.Errorf("failed to solve: %w", cause), "Dockerfile"); !errors.Is(err, cause) {
		t.Errorf("the cause is lost in %v", err)
	}
}

func TestHint(t *testing.T) {
	for said, want := range map[string]string{
		"exit code: 137":                           "memory ran out",
		"exit code: 1":                             "",
		"exit code: 13":                            "",
		"write /x: no space left on device":        "disk is full",
		"fork/exec /bin/x: cannot allocate memory": "memory ran out",
	} {
		if got := Hint(fmt.Errorf("build: %w", &Failure{File: "Dockerfile", Err: errors.New(said)})); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", said, got, want)
		}
	}
	if got := Hint(&Failure{Err: errors.New("exit code: 1"), Tail: []string{"cp: error: No space left on device"}}); !strings.Contains(got, "disk is full") {
		t.Errorf("by the tail: %q", got)
	}
}
