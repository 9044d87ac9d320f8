// Package source makes a folder from a commit: exactly that commit's tree, without a .git directory, out of a bare
// mirror that is kept from one fetch to the next.
//
// What a repository contains is not trusted. git runs without the machine's and the user's configuration, without
// hooks, filters and credential helpers, and talks HTTP to the one remote it was given. The remote's token reaches git by
// its environment, never by an argument, an address or a file. Submodules and LFS objects are fetched by this package
// itself and not by git, from the same host, each repository with a token of its own.
package source

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrCommitGone says that the remote no longer has the commit, as after a force-push.
var ErrCommitGone = errors.New("the repository no longer has this commit (was its branch force-pushed or deleted?)")

// ErrDenied says that the remote refused the token, or shows no such repository to it.
var ErrDenied = errors.New("the remote refused access (is the GitHub App installed on this repository, with contents: read?)")

// ErrTooLarge says that a commit, or what was sent for it, is larger than Fetcher.MaxBytes.
var ErrTooLarge = errors.New("larger than allowed")

// mistake marks an error that the repository's own content causes.
type mistake struct{ error }

func (m mistake) Unwrap() error { return m.error }

// IsPermanent reports whether the same checkout would fail in the same way again.
func IsPermanent(err error) bool {
	return errors.Is(err, ErrCommitGone) || errors.Is(err, ErrTooLarge) || errors.As(err, new(mistake))
}

const (
	defaultMaxBytes = 2 << 30
	defaultTimeout  = 10 * time.Minute

	// maxPacks bounds the fetches a mirror serves before it is made anew. Each fetch adds a pack; starting over costs
	// one shallow fetch and spares us garbage collection, which would have to run beside checkouts.
	maxPacks = 200
)

// Remote is where a repository is fetched from.
type Remote struct {
	// URL is the clone address: http or https, without user, query or fragment.
	URL string
	// Token returns the password for the user x-access-token, as a GitHub App installation uses it. It is called only
	// when there is something to fetch. Nil fetches anonymously, and keeps what was fetched apart from what a token gave.
	Token func(context.Context) (string, error)
	// Denied says why there is no token, for the case that the repository turns out not to be public.
	Denied string
	// Submodule returns the remote of a repository ("owner/name") on the same host that this one has as a submodule. Nil
	// refuses submodules.
	Submodule func(ctx context.Context, repo string) (Remote, error)
}

// Options say what a checkout has besides the commit's own files.
type Options struct {
	Submodules bool // each at its exact commit, and theirs
	LFS        bool // the files that LFS pointers stand for
	// Public says that the commit is a stranger's work: no submodule of it is fetched with a token, but for one of the
	// repository itself. Whoever makes the Remote heeds it.
	Public bool
}

// Commit describes a commit that was checked out.
type Commit struct {
	SHA         string
	Time        time.Time // committer's time, UTC
	AuthorName  string
	AuthorEmail string
	Subject     string // first line of the message
}

// Fetcher checks commits out. Fields are set before first use; methods may be called concurrently. Only one Fetcher may
// use a Dir at a time.
type Fetcher struct {
	Dir      string        // bare mirrors live here, as Dir/owner/name.git, and Dir/.public/owner/name.git of what anybody may fetch
	MaxBytes int64         // limit of one fetch and of one checkout, with its submodules and LFS objects, in bytes; 0 means 2 GiB
	Timeout  time.Duration // limit of one Checkout; 0 means 10 minutes

	mu    sync.Mutex
	locks map[string]chan struct{}
}

var (
	repoPattern   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*/[A-Za-z0-9._-]+$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// Checkout replaces the folder dest with the tree of one commit (all 40 hexadecimal digits) of repo ("owner/name").
// Without o.Submodules these are left as empty folders, without o.LFS pointers as they are. On an error dest is gone. The
// error is ErrCommitGone, ErrDenied or ErrTooLarge where one of these fits, and never holds a token.
func (f *Fetcher) Checkout(ctx context.Context, repo string, r Remote, commit, dest string, o Options) (Commit, error) {
	dest, err := absolute(dest)
	if err != nil {
		return Commit{}, err
	}
	timeout := cmp.Or(f.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %s: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	work := &checkout{fetcher: f, options: o, max: cmp.Or(f.MaxBytes, defaultMaxBytes), submodules: maxSubmodules}
	work.left = work.max
	c, err := work.tree(ctx, repo, r, commit, dest, 0)
	if err != nil {
		return Commit{}, errors.Join(fmt.Errorf("check out %.100q at %.40q: %w", repo, commit, err), os.RemoveAll(dest))
	}
	return c, nil
}

// absolute refuses an empty path, which would mean, and replace, the working directory.
func absolute(dest string) (string, error) {
	if dest == "" {
		return "", errors.New("no folder given to check out into")
	}
	return filepath.Abs(dest)
}

// checkout is one Checkout: what its commit, its submodules and their LFS objects share.
type checkout struct {
	fetcher    *Fetcher
	options    Options
	max        int64 // bytes that all files may take
	left       int64 // of these
	submodules int   // how many may still come
}

// tooLarge is the error of files that do not fit.
func (c *checkout) tooLarge() error {
	return fmt.Errorf("%w: the commit's files take more than %d bytes", ErrTooLarge, c.max)
}

// tree checks out one repository, then what it refers to; depth counts the repositories around it.
func (c *checkout) tree(ctx context.Context, repo string, r Remote, commit, dest string, depth int) (Commit, error) {
	if !isRepository(repo) {
		return Commit{}, errors.New("not a repository name; it must be owner/name")
	}
	if !commitPattern.MatchString(commit) {
		return Commit{}, errors.New("not a commit; it must be 40 lower-case hexadecimal digits")
	}
	if err := checkURL(r.URL); err != nil {
		return Commit{}, err
	}
	t, err := c.own(ctx, repo, r, commit, dest)
	if err != nil {
		return Commit{}, err
	}
	if err := c.download(ctx, r, dest, t.pointers); err != nil {
		return Commit{}, err
	}
	return t.Commit, c.addSubmodules(ctx, r, t, dest, depth)
}

// own checks out the commit without what it refers to.
func (c *checkout) own(ctx context.Context, repo string, r Remote, commit, dest string) (tree, error) {
	if r.Token == nil {
		// What a token fetched may be read by those alone who get a token: no owner is called .public.
		repo = ".public/" + repo
	}
	unlock, err := c.fetcher.lock(ctx, repo)
	if err != nil {
		return tree{}, err
	}
	defer unlock()
	dir, err := filepath.Abs(filepath.Join(c.fetcher.Dir, filepath.FromSlash(repo)+".git"))
	if err != nil {
		return tree{}, err
	}
	m := mirror{dir: dir, maxBytes: c.max}
	t, err := m.checkout(ctx, r, commit, dest, c)
	if errors.Is(err, errDamaged) {
		// A mirror is a cache: one that a crash or a full disk spoiled is made anew, once.
		if err := os.RemoveAll(m.dir); err != nil {
			return tree{}, err
		}
		t, err = m.checkout(ctx, r, commit, dest, c)
	}
	c.left -= t.size
	return t, err
}

func isRepository(name string) bool {
	return repoPattern.MatchString(name) && !strings.HasSuffix(name, "/.") && !strings.HasSuffix(name, "/..")
}

// lock waits for the repository's mirror and returns the function that gives it back.
func (f *Fetcher) lock(ctx context.Context, repo string) (unlock func(), err error) {
	f.mu.Lock()
	if f.locks == nil {
		f.locks = make(map[string]chan struct{})
	}
	held, ok := f.locks[repo]
	if !ok {
		held = make(chan struct{}, 1)
		f.locks[repo] = held
	}
	f.mu.Unlock()

	select {
	case held <- struct{}{}:
		return func() { <-held }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another checkout of this repository: %w", context.Cause(ctx))
	}
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(s, "\n\r\x00") {
		// The address is not repeated: what makes it wrong may be a password in it.
		return errors.New("the clone address must be https://host/owner/name.git, without user or query")
	}
	return nil
}

// mirror is a bare repository that holds shallow commits. Its lock is held.
type mirror struct {
	dir      string
	maxBytes int64
}

// tree is a commit that was extracted, and what it refers to.
type tree struct {
	Commit
	size     int64 // of its files, each counted with the length of its path
	links    []link
	modules  []byte // .gitmodules
	pointers []pointer
}

func (m *mirror) checkout(ctx context.Context, r Remote, commit, dest string, c *checkout) (t tree, err error) {
	if err := m.open(ctx); err != nil {
		return t, err
	}
	if err := m.fetch(ctx, r, commit, c.left); err != nil {
		return t, err
	}
	if t.Commit, err = m.describe(ctx, commit); err != nil {
		return t, err
	}
	modules := ""
	if t.size, t.links, modules, err = m.measure(ctx, commit, c); err != nil {
		return t, err
	}
	if len(t.links) > 0 && modules != "" {
		if t.modules, err = (git{mirror: m.dir, args: []string{"cat-file", "blob", modules}}).run(ctx); err != nil {
			return t, err
		}
	}
	index := filepath.Join(m.dir, "checkout.index")
	if err := m.extract(ctx, commit, dest, index); err != nil || !c.options.LFS {
		return t, err
	}
	t.pointers, err = m.pointers(ctx, dest, index)
	return t, err
}

// open makes the mirror, or makes the one that is there usable again after a kill.
func (m *mirror) open(ctx context.Context) error {
	packs, size, err := m.usage()
	if err != nil {
		return err
	}
	if packs > maxPacks || size > m.maxBytes {
		if err := os.RemoveAll(m.dir); err != nil {
			return err
		}
	}
	if err := m.removeLeftovers(); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(m.dir, "HEAD")); err == nil {
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	_, err = git{args: []string{"init", "--quiet", "--bare", "--template=", m.dir}, dir: m.dir}.run(ctx)
	return err
}

// usage tells how many packs the mirror has and how many bytes it takes.
func (m *mirror) usage() (packs int, size int64, err error) {
	err = filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // not made yet, or a temporary file of git's that is gone again
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		size += info.Size()
		if filepath.Ext(path) == ".pack" {
			packs++
		}
		return nil
	})
	return packs, size, err
}

// removeLeftovers removes what a git that was killed left in the mirror. The mirror's lock is ours, so no other git
// holds any of it.
func (m *mirror) removeLeftovers() error {
	return filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		if filepath.Ext(path) == ".lock" || strings.HasPrefix(d.Name(), "tmp_") {
			return os.Remove(path)
		}
		return nil
	})
}

// fetch brings the commit's tree into the mirror. The reference that marks a commit is written when all of its objects
// are there, so a commit that has one is not asked for again. More than most bytes are not taken.
func (m *mirror) fetch(ctx context.Context, r Remote, commit string, most int64) error {
	mark := "refs/commits/" + commit
	found, err := git{mirror: m.dir, args: []string{"for-each-ref", "--format=%(objectname)", mark}}.run(ctx)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(found)) == commit {
		return nil
	}

	config := []setting{{"http.followRedirects", "false"}}
	var secrets []string
	if r.Token != nil {
		token, err := r.Token(ctx)
		if err != nil {
			return fmt.Errorf("get a token: %w", err)
		}
		basic := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + token))
		config = append(config, setting{"http." + r.URL + ".extraHeader", "Authorization: Basic " + basic})
		secrets = []string{basic, token}
	}
	_, before, err := m.usage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.watchSize(ctx, before+most, cancel)
	}()
	_, err = git{
		mirror:  m.dir,
		args:    []string{"fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance", "--end-of-options", r.URL, "+" + commit + ":" + mark},
		config:  config,
		secrets: secrets,
	}.run(ctx)
	cancel(nil)
	<-watched
	return err
}

// watchSize stops a fetch that makes the mirror larger than limit: git has no such limit of its own.
func (m *mirror) watchSize(ctx context.Context, limit int64, stop context.CancelCauseFunc) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, size, err := m.usage(); err == nil && size > limit {
				stop(fmt.Errorf("%w: the fetch brought more than the %d bytes that a checkout may take", ErrTooLarge, m.maxBytes))
				return
			}
		}
	}
}

func (m *mirror) describe(ctx context.Context, commit string) (Commit, error) {
	out, err := git{mirror: m.dir, args: []string{"log", "-1", "--no-show-signature", "--no-mailmap", "--format=%H%x00%ct%x00%an%x00%ae%x00%s", commit}}.run(ctx)
	if err != nil {
		return Commit{}, err
	}
	field := strings.Split(strings.TrimSuffix(string(out), "\n"), "\x00")
	if len(field) != 5 || field[0] != commit {
		return Commit{}, errors.New("this object is not a commit")
	}
	seconds, err := strconv.ParseInt(field[1], 10, 64)
	if err != nil {
		return Commit{}, fmt.Errorf("commit time: %w", err)
	}
	return Commit{SHA: commit, Time: time.Unix(seconds, 0).UTC(), AuthorName: field[2], AuthorEmail: field[3], Subject: field[4]}, nil
}

// measure refuses a tree larger than allowed before a byte of it is written, also one whose folders repeat each other
// a billion times. A path counts with its length. It finds the submodules, where they are asked for, and the blob of
// .gitmodules.
func (m *mirror) measure(ctx context.Context, commit string, c *checkout) (size int64, links []link, modules string, err error) {
	err = git{mirror: m.dir, args: []string{"ls-tree", "-r", "-l", "-z", commit}}.each(ctx, func(entry []byte) error {
		// <mode> SP <type> SP <object> SP <size, padded> TAB <path>; a submodule's size is "-".
		info, path, _ := bytes.Cut(entry, []byte{'\t'})
		fields := bytes.Fields(info)
		if len(fields) != 4 {
			return fmt.Errorf("git ls-tree: %q", entry)
		}
		n, _ := strconv.ParseInt(string(fields[3]), 10, 64)
		if size += n + int64(len(path)); size > c.left {
			return c.tooLarge()
		}
		if !c.options.Submodules {
			return nil
		}
		switch mode := string(fields[0]); {
		case mode == "160000":
			if len(links) >= c.submodules {
				return mistake{fmt.Errorf("there are more than %d submodules", maxSubmodules)}
			}
			links = append(links, link{path: string(path), commit: string(fields[2])})
		case string(path) == modulesFile && mode == "120000":
			return mistake{errors.New(modulesFile + " is a symbolic link; it must be a file")}
		case string(path) == modulesFile:
			if n > maxModules {
				return mistake{fmt.Errorf("%s has %d bytes; it must have at most %d", modulesFile, n, maxModules)}
			}
			modules = string(fields[2])
		}
		return nil
	})
	return size, links, modules, err
}

// extract writes the commit's tree to dest. The index stands in the mirror, so nothing of git is left in dest.
func (m *mirror) extract(ctx context.Context, commit, dest, index string) error {
	if err := os.RemoveAll(dest); err != nil {
		return err
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	if err := os.Remove(index); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err := git{mirror: m.dir, dir: dest, index: index, args: []string{"read-tree", "--reset", "-u", "--no-recurse-submodules", commit}}.run(ctx)
	return err
}

// scanEntries splits at NUL, as git's -z writes.
func scanEntries(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
