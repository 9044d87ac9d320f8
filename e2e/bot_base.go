package e2e

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// PushBotBases puts what the repository's own Dockerfile begins with into the registry: a golang that has the modules of the
// bot and what Go made of them, so that compiling it again takes seconds and no network, and a debian that has git and the
// certificates already, of this machine's own packages. Made once for each go.sum and kept in the cache; root is the repository.
func PushBotBases(ctx context.Context, registry, root string) error {
	toolchain, _, err := baseLayer()
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	dir, err := botBaseDir(root)
	if err != nil {
		return err
	}
	modules, err := kept(filepath.Join(dir, "modules.tar.gz"), func(t *tar.Writer) error { return addModules(ctx, t, dir, root) })
	if err != nil {
		return fmt.Errorf("base image of the bot: %w", err)
	}
	debian, err := kept(filepath.Join(dir, "debian.tar.gz"), addDebian)
	if err != nil {
		return fmt.Errorf("base image of Debian: %w", err)
	}
	env := []string{"PATH=/usr/local/go/bin:/bin", "HOME=/root", "GOTOOLCHAIN=local", "GOPROXY=off", "GOMODCACHE=/modules/mod", "GOCACHE=/modules/build"}
	if err := PushImage(ctx, registry+"/library/golang:1.26-bookworm", v1.Config{Env: env}, toolchain, modules); err != nil {
		return err
	}
	return PushImage(ctx, registry+"/library/debian:bookworm-slim", v1.Config{Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}, debian)
}

// PushImage makes an image for this machine of layers, which are files with a tar in each, and pushes it by plain HTTP.
func PushImage(ctx context.Context, ref string, config v1.Config, layers ...string) error {
	to, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return err
	}
	img := empty.Image
	for _, file := range layers {
		l, err := tarball.LayerFromFile(file)
		if err != nil {
			return fmt.Errorf("image %s: %w", ref, err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return fmt.Errorf("image %s: %w", ref, err)
		}
	}
	whole, err := img.ConfigFile()
	if err != nil {
		return err
	}
	whole = whole.DeepCopy()
	whole.OS, whole.Architecture, whole.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, whole); err != nil {
		return err
	}
	if err := remote.Write(to, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}

// botBaseDir is a folder of the cache for one version of Go and of our modules. Its name is of the form that setup.sh removes
// when it was not used for a month.
func botBaseDir(root string) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, "bot base 1", runtime.Version())
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", err
		}
		_, _ = hash.Write(text) // it never fails
	}
	dir := filepath.Join(cache, hex.EncodeToString(hash.Sum(nil))[:16])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chtimes(dir, time.Now(), time.Now())
}

// kept returns the file, which add fills with a tar if it is not there.
func kept(file string, add func(*tar.Writer) error) (string, error) {
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	f, err := os.CreateTemp(filepath.Dir(file), "part-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(f.Name()) }() // renamed by then, unless something went wrong
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return "", err
	}
	t := tar.NewWriter(z)
	if err := errors.Join(add(t), t.Close(), z.Close(), f.Close()); err != nil {
		return "", err
	}
	return file, os.Rename(f.Name(), file)
}

// addModules adds the modules that the bot is compiled from, and Go's cache of having done it the way the Dockerfile does.
func addModules(ctx context.Context, t *tar.Writer, dir, root string) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		return err
	}
	here, proxy, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	mod, build := filepath.Join(dir, "mod"), filepath.Join(dir, "build")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", os.DevNull, "./cmd/bot")
	cmd.Dir = root
	// What this machine has downloaded already is taken from there.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=-modcacherw", "GOMODCACHE="+mod, "GOCACHE="+build,
		"GOPROXY=file://"+filepath.ToSlash(here)+"/cache/download,"+proxy)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the bot: %w\n%s", err, out)
	}
	for _, part := range []string{"mod", "build"} {
		err := filepath.WalkDir(filepath.Join(dir, part), func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if !d.Type().IsRegular() || strings.HasSuffix(p, "_test.go") || strings.HasSuffix(p, ".zip") {
				return nil
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			return addFile(t, p, "modules/"+filepath.ToSlash(rel))
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(mod), os.RemoveAll(build)) // the layer has it all
}

// addDebian adds the packages that make a Debian with apt-get, git and certificates: this machine's files of them. There are no
// sources for packages in it, so that apt-get finds everything to be there and asks no network.
func addDebian(t *tar.Writer) error {
	packages, err := closure("apt", "ca-certificates", "git", "libc-bin")
	if err != nil {
		return err
	}
	out, err := exec.Command("dpkg-query", append([]string{"-L"}, packages...)...).Output()
	if err != nil {
		return fmt.Errorf("dpkg-query -L: %w", err)
	}
	files := strings.Split(string(out), "\n")
	files = append(files, "/bin", "/sbin", "/lib", "/lib64", "/tmp", "/etc/ssl/certs/ca-certificates.crt", "/var/lib/dpkg/status")
	places := map[string]string{} // where a file stands, behind the symbolic links of its folder
	for _, f := range files {
		if f == "" || f == "/." || strings.HasPrefix(f, "/etc/apt/sources") || strings.HasPrefix(f, "/usr/share/doc/") || strings.HasPrefix(f, "/usr/share/man/") || strings.HasPrefix(f, "/usr/share/locale/") {
			continue
		}
		folder, err := filepath.EvalSymlinks(filepath.Dir(f))
		if err != nil {
			continue // taken off this machine, as documentation often is
		}
		places[filepath.Join(folder, filepath.Base(f))] = f
	}
	for place := range places {
		for d := filepath.Dir(place); d != "/"; d = filepath.Dir(d) {
			places[d] = d
		}
	}
	sorted := make([]string, 0, len(places))
	for place := range places {
		sorted = append(sorted, place)
	}
	slices.Sort(sorted) // folders come before what is in them
	for _, place := range sorted {
		info, err := os.Lstat(place)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		to := strings.TrimPrefix(place, "/")
		switch {
		case info.IsDir():
			mode := int64(info.Mode().Perm())
			if info.Mode()&fs.ModeSticky != 0 {
				mode |= 0o1000
			}
			err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: to + "/", Mode: mode})
		case info.Mode()&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(place); err == nil {
				err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: to, Linkname: target, Mode: 0o777})
			}
		case info.Mode().IsRegular():
			err = addFile(t, place, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// closure is what is installed here of these packages, of the essential ones, and of all that they depend on.
func closure(names ...string) ([]string, error) {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n").Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-query: %w (this is no Debian?)", err)
	}
	depends := map[string]string{}
	provider := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Split(lines.Text(), "\t")
		if len(f) != 5 || f[1] != "installed" {
			continue
		}
		depends[f[0]] = f[3]
		if f[2] == "yes" {
			names = append(names, f[0])
		}
		for p := range strings.SplitSeq(f[4], ",") {
			p, _, _ = strings.Cut(strings.TrimSpace(p), " ")
			provider[p] = f[0]
		}
	}
	for _, n := range []string{"git", "ca-certificates"} {
		if _, ok := depends[n]; !ok {
			return nil, fmt.Errorf("%s is not installed as a package; apt-get install %s", n, n)
		}
	}
	seen := map[string]bool{}
	for len(names) > 0 {
		n := names[0]
		names = names[1:]
		if _, ok := depends[n]; !ok {
			n = provider[n]
		}
		if n == "" || seen[n] {
			continue // not here: another of the alternatives is
		}
		seen[n] = true
		for one := range strings.FieldsFuncSeq(depends[n], func(r rune) bool { return r == ',' || r == '|' }) {
			one, _, _ = strings.Cut(strings.TrimSpace(one), " ")
			one, _, _ = strings.Cut(one, ":")
			names = append(names, one)
		}
	}
	sorted := make([]string, 0, len(seen))
	for n := range seen {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	return sorted, nil
}
