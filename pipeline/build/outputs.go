package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// An Output is a file, or a folder with all in it, that is read back from where a build's last command ran. Regular files
// are; links, devices and names that no file of ours may have are left out.
type Output struct {
	Path  string // with slashes, relative to the working directory, and inside of it
	Dir   string // the existing folder that it is written to, under Path and with mode 0600
	Limit *Limit // may be shared with other outputs, which then count together
}

// A Limit is how much may still be read.
type Limit struct {
	mu    sync.Mutex
	bytes int64
	files int
}

// NewLimit allows that many bytes and files.
func NewLimit(bytes int64, files int) *Limit { return &Limit{bytes: bytes, files: files} }

// take reports whether there is room for one more file of that size, and fills it.
func (l *Limit) take(size int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size > l.bytes || l.files < 1 {
		return false
	}
	l.bytes -= size
	l.files--
	return true
}

// A File was read back.
type File struct {
	Output int    // which of Request.Outputs it belongs to
	Path   string // below that one's Dir, with slashes
	Size   int64
}

// A Left was not read back.
type Left struct {
	Output int    // which of Request.Outputs it belongs to
	Path   string // "" where several are told of together
	Why    string
}

const (
	readChunk = 1 << 20 // bytes that are asked for at a time; a message of the builder's has at most 16 MiB
	maxDepth  = 32      // folders in folders
	maxLeft   = 20      // things left out of an output that are named
)

// A tree is a file system in the builder, seen from a working directory. No path in it leads out of it: the builder
// resolves links inside.
type tree interface {
	stat(ctx context.Context, name string) (*fstypes.Stat, error)
	readDir(ctx context.Context, name string) ([]*fstypes.Stat, error)
	readFile(ctx context.Context, name string, offset, length int) ([]byte, error)
}

// refTree is the result of a build.
type refTree struct {
	ref gateway.Reference
	dir string
}

func (t *refTree) stat(ctx context.Context, name string) (*fstypes.Stat, error) {
	return t.ref.StatFile(ctx, gateway.StatRequest{Path: path.Join(t.dir, name)})
}

func (t *refTree) readDir(ctx context.Context, name string) ([]*fstypes.Stat, error) {
	return t.ref.ReadDir(ctx, gateway.ReadDirRequest{Path: path.Join(t.dir, name)})
}

func (t *refTree) readFile(ctx context.Context, name string, offset, length int) ([]byte, error) {
	return t.ref.ReadFile(ctx, gateway.ReadRequest{Filename: path.Join(t.dir, name), Range: &gateway.FileRange{Offset: offset, Length: length}})
}

// containerTree is what a command left behind that failed: the only mount of a container in which nothing runs.
type containerTree struct {
	container gateway.Container
	dir       string
}

func (t *containerTree) stat(ctx context.Context, name string) (*fstypes.Stat, error) {
	return t.container.StatFile(ctx, gateway.StatContainerRequest{StatRequest: gateway.StatRequest{Path: path.Join(t.dir, name)}})
}

func (t *containerTree) readDir(ctx context.Context, name string) ([]*fstypes.Stat, error) {
	return t.container.ReadDir(ctx, gateway.ReadDirContainerRequest{ReadDirRequest: gateway.ReadDirRequest{Path: path.Join(t.dir, name)}})
}

func (t *containerTree) readFile(ctx context.Context, name string, offset, length int) ([]byte, error) {
	return t.container.ReadFile(ctx, gateway.ReadContainerRequest{ReadRequest: gateway.ReadRequest{
		Filename: path.Join(t.dir, name), Range: &gateway.FileRange{Offset: offset, Length: length}}})
}

// workingDir is that of an image's configuration (OCI image specification, "WorkingDir").
func workingDir(config []byte) string {
	var image struct{ Config struct{ WorkingDir string } }
	_ = json.Unmarshal(config, &image) // without one it is the root
	return path.Join("/", image.Config.WorkingDir)
}

// readOutputs reads outputs back, in their order and that of names. An error is the context's or that of writing the files.
func readOutputs(ctx context.Context, from tree, outputs []Output) (files []File, left []Left, err error) {
	for i, o := range outputs {
		root, err := os.OpenRoot(o.Dir)
		if err != nil {
			return files, left, err
		}
		r := reading{tree: from, root: root, output: i, limit: o.Limit}
		err = r.start(ctx, path.Clean(o.Path))
		if r.more > 0 {
			r.left = append(r.left, Left{i, "", fmt.Sprintf("and %d more", r.more)})
		}
		files, left = append(files, r.files...), append(left, r.left...)
		if err := errors.Join(err, root.Close()); err != nil {
			return files, left, err
		}
	}
	return files, left, nil
}

// reading is one output on its way.
type reading struct {
	tree
	root   *os.Root
	output int
	limit  *Limit
	files  []File
	left   []Left
	more   int // left out and not named
}

func (r *reading) leave(name, why string) {
	if len(r.left) == maxLeft {
		r.more++
		return
	}
	r.left = append(r.left, Left{r.output, strings.ToValidUTF8(strings.Map(shown, name), "\uFFFD"), why})
}

func shown(c rune) rune {
	if unicode.IsControl(c) {
		return unicode.ReplacementChar
	}
	return c
}

func (r *reading) start(ctx context.Context, name string) error {
	if !fs.ValidPath(name) {
		return fmt.Errorf("output %q leads out of the working directory", name)
	}
	// The entry of its folder and not its own, which the builder looks up through links.
	entry, err := r.entry(ctx, name)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		r.leave(name, "it can't be read: "+reason(err.Error()))
		return nil
	case entry == nil:
		r.leave(name, "not found")
		return nil
	}
	return r.read(ctx, name, entry, 0)
}

// entry is what is at a path, itself and not what it links to; nil where nothing is.
func (r *reading) entry(ctx context.Context, name string) (*fstypes.Stat, error) {
	if name == "." {
		return r.stat(ctx, name)
	}
	at, entries := "", []*fstypes.Stat(nil)
	for part := range strings.SplitSeq(name, "/") {
		if at != "" && !isDir(entries[0]) {
			return entries[0], nil // a link or a file on the way: told of as what it is
		}
		all, err := r.readDir(ctx, at)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(s *fstypes.Stat) bool { return path.Base(s.Path) == part })
		if i < 0 {
			return nil, nil
		}
		at, entries = path.Join(at, part), all[i:i+1]
	}
	return entries[0], nil
}

func isDir(s *fstypes.Stat) bool { return fs.FileMode(s.Mode).IsDir() }

func (r *reading) read(ctx context.Context, name string, s *fstypes.Stat, depth int) error {
	mode := fs.FileMode(s.Mode)
	switch {
	case mode&fs.ModeSymlink != 0:
		r.leave(name, "a symbolic link")
	case mode.IsDir() && depth == maxDepth:
		r.leave(name, "too many folders in each other")
	case mode.IsDir():
		entries, err := r.readDir(ctx, name)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			r.leave(name, "it can't be read: "+reason(err.Error()))
		}
		for _, e := range entries {
			base := path.Base(e.Path)
			if !utf8.ValidString(base) || strings.ContainsRune(base, '\\') || strings.ContainsFunc(base, unicode.IsControl) {
				r.leave(path.Join(name, base), "its name has characters that can't be kept")
				continue
			}
			if err := r.read(ctx, path.Join(name, base), e, depth+1); err != nil {
				return err
			}
		}
	case !mode.IsRegular():
		r.leave(name, "not a regular file")
	case !r.limit.take(s.Size):
		r.leave(name, fmt.Sprintf("%s are too much for what may be kept", size(s.Size)))
	default:
		return r.copy(ctx, name, s.Size)
	}
	return nil
}

// copy writes one file, as long as its entry said.
func (r *reading) copy(ctx context.Context, name string, size int64) (err error) {
	if err := r.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // an output inside another
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	offset := int64(0)
	for offset < size {
		data, err := r.readFile(ctx, name, int(offset), int(min(readChunk, size-offset)))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || len(data) == 0 {
			r.leave(name, "it can't be read to its end")
			break
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		offset += int64(len(data))
	}
	r.files = append(r.files, File{Output: r.output, Path: name, Size: offset})
	return nil
}
