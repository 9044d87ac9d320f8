package e2e

import (
	"archive/tar"
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

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	env := []string{"PATH=/usr/local/go/bin:/bin", "HOME=/root", "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod", "GOPROXY=off"}
	if err := PushImage(ctx, registry+"/library/golang:1.26", v1.Config{Env: env}, layer); err != nil {
		return false, err
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
	_, err = os.Stat(file)
	reused = err == nil
	file, err = kept(file, func(t *tar.Writer) error { return errors.Join(addGo(t, root), addShell(t)) })
	return file, reused, err
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
