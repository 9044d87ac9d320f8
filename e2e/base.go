package e2e

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pushBase puts library/golang:1.26 into the registry, made of this machine's Go and a static busybox: what the example's
// Dockerfile begins with, on a machine that reaches no other registry.
func (s *Stack) pushBase(ctx context.Context) error {
	began := time.Now()
	reused, err := PushBase(ctx, s.Registry)
	what := "made"
	if reused {
		what = "reused"
	}
	s.opt.Say("base image golang:1.26 %s and pushed after %.1f s", what, time.Since(began).Seconds())
	return err
}

// PushBase is that for any registry that speaks plain HTTP.
func PushBase(ctx context.Context, registry string) (reused bool, err error) {
	layer, reused, err := baseLayer()
	if err != nil {
		return false, fmt.Errorf("base image: %w", err)
	}
	l, err := tarball.LayerFromFile(layer)
	if err != nil {
		return false, fmt.Errorf("base image: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return false, err
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"PATH=/usr/local/go/bin:/bin", "HOME=/root", "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod", "GOPROXY=off"}})
	if err != nil {
		return false, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return false, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return false, err
	}
	ref, err := name.ParseReference(registry+"/library/golang:1.26", name.Insecure)
	if err != nil {
		return false, err
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
		return false, fmt.Errorf("push the base image: %w", err)
	}
	return reused, nil
}

// baseLayer makes the layer once for each version of Go and keeps it in the cache.
func baseLayer() (file string, reused bool, err error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", false, err
	}
	root := strings.TrimSpace(string(out))
	dir, err := CacheDir()
	if err != nil {
		return "", false, err
	}
	file = filepath.Join(dir, "base-"+runtime.Version()+".tar.gz")
	if _, err := os.Stat(file); err == nil {
		return file, true, nil
	}
	f, err := os.CreateTemp(dir, "base-*")
	if err != nil {
		return "", false, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // renamed by then, unless something went wrong
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return "", false, err
	}
	t := tar.NewWriter(z)
	err = errors.Join(addGo(t, root), addShell(t), t.Close(), z.Close(), f.Close())
	if err != nil {
		return "", false, err
	}
	return file, false, os.Rename(f.Name(), file)
}

// addGo adds the toolchain and the standard library without tests.
func addGo(t *tar.Writer, root string) error {
	for _, part := range []string{"bin/go", "bin/gofmt", "go.env", "VERSION", "pkg/include", "pkg/tool", "src"} {
		err := filepath.WalkDir(filepath.Join(root, part), func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if !d.Type().IsRegular() || strings.HasSuffix(p, "_test.go") {
				return nil
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			return addFile(t, p, "usr/local/go/"+filepath.ToSlash(rel))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func addShell(t *tar.Writer) error {
	if err := addFile(t, "/bin/busybox", "bin/busybox"); err != nil {
		return fmt.Errorf("%w (package busybox-static)", err)
	}
	for _, link := range []string{"sh", "cat", "echo", "false", "ls", "mkdir", "cp", "sleep"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + link, Linkname: "busybox", Mode: 0o777}); err != nil {
			return err
		}
	}
	for _, dir := range []struct {
		name string
		mode int64
	}{{"tmp/", 0o1777}, {"root/", 0o700}} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode}); err != nil {
			return err
		}
	}
	return nil
}

func addFile(t *tar.Writer, from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Size: info.Size(), Mode: int64(info.Mode().Perm())}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

// CacheDir is where what takes long to make is kept, outside the repository.
func CacheDir() (string, error) {
	dir := os.Getenv("SHIPMATE_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "shipmate")
	}
	return dir, os.MkdirAll(dir, 0o755)
}
