//go:build e2e

package local

import (
	"archive/tar"
	"bytes"
	"cmp"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/build"
)

// toolchain stands for every program that the Dockerfiles call in their base images: it makes what the real one would
// leave, so that the instructions after it find it.
const toolchain = `#!/bin/sh
set -e
what=" $* "
case "${0##*/}$what" in
go*" -o /out/app "*) mkdir -p /out; echo app >/out/app;;
gradle*) mkdir -p build/libs; echo jar >build/libs/app.jar;;
npm*" run build "* | pnpm*" run build "* | yarn*" run build "*) mkdir -p dist; echo page >dist/index.html;;
python*" -m venv "*) mkdir -p /venv/bin;;
esac
`

// mvnw stands for the wrapper that a repository brings along.
const mvnw = "mkdir -p target && echo jar >target/app.jar\n"

// applets are those of busybox that the Dockerfiles' commands use.
var applets = []string{"sh", "mkdir", "echo", "cp", "ls", "head", "rm", "test"}

var fromLine = regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+)`)

// Every Dockerfile that bot init writes is built by BuildKit. Its base images are stand-ins, with the names of the real
// ones: what is shown is that the stages, copies and users of it go together, not that npm installs.
//
// It needs a daemon at BUILDKIT_HOST that takes REGISTRY (host:port on loopback, plain HTTP) for Docker Hub, and a static
// busybox at BUSYBOX or /bin/busybox.
func TestE2EInitBuilds(t *testing.T) {
	addr, registry := os.Getenv("BUILDKIT_HOST"), os.Getenv("REGISTRY")
	if addr == "" || registry == "" {
		t.Skip("needs BUILDKIT_HOST and REGISTRY")
	}
	b, err := build.Open(addr)
	if err != nil {
		t.Fatal(err)
	}
	base := standIn(t)
	cases, err := filepath.Glob("testdata/init/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	built := 0
	for _, file := range cases {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		var dockerfile, config string
		for _, f := range archive.Files {
			name, written := strings.CutPrefix(f.Name, "want/")
			files[name] = string(f.Data)
			switch {
			case written && filepath.Base(name) == "Dockerfile":
				dockerfile = name
			case written && strings.HasPrefix(name, ".shipmate"):
				config = name
			}
		}
		delete(files, "stdout")
		if _, has := files["mvnw"]; has {
			files["mvnw"] = mvnw
		}
		if dockerfile == "" {
			continue
		}
		built++
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			for _, m := range fromLine.FindAllStringSubmatch(files[dockerfile], -1) {
				if m[1] == "scratch" {
					continue
				}
				ref := m[1]
				if !strings.Contains(ref, "/") {
					ref = "library/" + ref
				}
				r, err := name.ParseReference(registry+"/"+ref, name.Insecure)
				if err != nil {
					t.Fatal(err)
				}
				if err := remote.Write(r, base); err != nil {
					t.Fatal(err)
				}
			}
			c, err := pipeline.Parse(config, []byte(files[config]))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, name := range slices.Sorted(maps.Keys(files)) {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err = b.Build(t.Context(), build.Request{Dir: dir, Context: c.Build.Context, Dockerfile: c.Build.Dockerfile, NoPush: true, CacheScope: t.Name()},
				func(l build.Line) { t.Log(l.Text) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	if built < 10 {
		t.Errorf("only %d Dockerfiles were found", built)
	}
}

func standIn(t *testing.T) v1.Image {
	t.Helper()
	busybox, err := os.ReadFile(cmp.Or(os.Getenv("BUSYBOX"), "/bin/busybox"))
	if err != nil {
		t.Skip("needs a static busybox: ", err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h tar.Header, body string) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "bin/busybox", Mode: 0o755}, string(busybox))
	for _, applet := range applets {
		add(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, "")
	}
	for _, tool := range []string{"go", "gradle", "npm", "npx", "pnpm", "yarn", "corepack", "python", "pip", "uv", "poetry"} {
		add(tar.Header{Name: "bin/" + tool, Mode: 0o755}, toolchain)
	}
	add(tar.Header{Name: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644}, "certificates")
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
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: rootFS(t, img), Config: v1.Config{Env: []string{"PATH=/bin"}}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func rootFS(t *testing.T, img v1.Image) v1.RootFS {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return c.RootFS
}
