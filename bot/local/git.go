// Package local is what the command line does in a developer's checkout, without a network: it tells what a push would
// start (Plan), and writes a repository's first files (Init).
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A checkout is a git work tree, by the folder at its root.
type checkout string

// open finds the checkout that dir lies in.
func open(ctx context.Context, dir string) (checkout, error) {
	root, err := checkout(dir).git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", fmt.Errorf("%s is in no git checkout (%w); go to the repository's folder, or run git init first", dir, err)
	}
	return checkout(root), nil
}

// git returns what git prints, without the line break at its end. It never talks to another machine.
func (c checkout) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = string(c)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=none")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		line, _, _ := bytes.Cut(bytes.TrimSpace(exit.Stderr), []byte("\n"))
		return "", fmt.Errorf("git %s: %s", args[0], line)
	} else if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// commit returns the commit that a name stands for, or "" where it stands for none.
func (c checkout) commit(ctx context.Context, name string) string {
	sha, err := c.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if err != nil {
		return ""
	}
	return sha
}

// ref returns the full name of a branch or tag; of the branch that is checked out where name is empty.
func (c checkout) ref(ctx context.Context, name string) (string, error) {
	if name == "" {
		ref, err := c.git(ctx, "symbolic-ref", "--quiet", "HEAD")
		if err != nil {
			return "", errors.New("no branch is checked out here; say which one with --ref")
		}
		name = ref
	}
	for _, prefix := range []string{"", "refs/heads/", "refs/tags/"} {
		ref := prefix + name
		if (strings.HasPrefix(ref, "refs/heads/") || strings.HasPrefix(ref, "refs/tags/")) && c.commit(ctx, ref) != "" {
			return ref, nil
		}
	}
	if short, ok := strings.CutPrefix(name, "refs/heads/"); ok && c.commit(ctx, "HEAD") == "" {
		return "", fmt.Errorf("there is no commit on %s yet; commit something first", short)
	}
	return "", fmt.Errorf("there is no branch or tag %s in this checkout; say which one with --ref", name)
}

// remote returns the name of the repository that is pushed to: origin, or the only one; empty where there is none.
func (c checkout) remote(ctx context.Context) string {
	out, _ := c.git(ctx, "remote") // its only error is to be no checkout
	names := strings.Fields(out)
	if slices.Contains(names, "origin") || len(names) == 0 {
		return strings.Join(names[:min(1, len(names))], "")
	}
	return names[0]
}

var lastTwo = regexp.MustCompile(`([^/:]+)/([^/:]+?)(?:\.git)?/?$`)

// repo returns owner and name of the repository that is pushed to, as far as its address tells; its name is else the
// folder's.
func (c checkout) repo(ctx context.Context) (owner, name string) {
	if remote := c.remote(ctx); remote != "" {
		if url, err := c.git(ctx, "config", "--get", "remote."+remote+".url"); err == nil {
			if m := lastTwo.FindStringSubmatch(url); m != nil {
				return m[1], m[2]
			}
		}
	}
	return "", filepath.Base(string(c))
}

// defaultBranch returns the default branch, short. Where no remote's HEAD tells it, it is guessed, and sure is false.
func (c checkout) defaultBranch(ctx context.Context) (branch string, sure bool) {
	remote := c.remote(ctx)
	if remote != "" {
		if ref, err := c.git(ctx, "symbolic-ref", "--quiet", "refs/remotes/"+remote+"/HEAD"); err == nil {
			return strings.TrimPrefix(ref, "refs/remotes/"+remote+"/"), true
		}
	}
	for _, branch := range []string{"main", "master"} {
		if remote != "" && c.commit(ctx, "refs/remotes/"+remote+"/"+branch) != "" {
			return branch, false
		}
	}
	for _, branch := range []string{"main", "master"} {
		if c.commit(ctx, "refs/heads/"+branch) != "" {
			return branch, false
		}
	}
	ref, err := c.git(ctx, "symbolic-ref", "--quiet", "HEAD")
	if err != nil {
		return "main", false
	}
	return strings.TrimPrefix(ref, "refs/heads/"), false
}

// files lists the paths that differ between two commits, both names of what was renamed.
func (c checkout) files(ctx context.Context, from, to string) ([]string, error) {
	out, err := c.git(ctx, "diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", from, to)
	return slices.DeleteFunc(strings.Split(out, "\x00"), func(s string) bool { return s == "" }), err
}

// noReply is the address that GitHub gives to those who keep theirs private; it holds the login.
var noReply = regexp.MustCompile(`^(?:\d+\+)?([^@+]+)@users\.noreply\.github\.com$`)

// authors lists those of the commits that came after from up to to: by login where the address tells it, else by name,
// which only GitHub can make a login of.
func (c checkout) authors(ctx context.Context, from, to string) ([]string, error) {
	out, err := c.git(ctx, "log", "--format=%ae%x00%an", from+".."+to)
	var names []string
	for line := range strings.Lines(out) {
		address, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		if m := noReply.FindStringSubmatch(address); m != nil {
			name = m[1]
		}
		names = append(names, name)
	}
	return names, err
}

// show returns a file as it is in a commit; ok is false where it is not.
func (c checkout) show(ctx context.Context, commit, file string) (content string, ok bool) {
	out, err := c.git(ctx, "cat-file", "blob", commit+":"+file)
	return out, err == nil
}

// has says whether a file or folder is in a commit.
func (c checkout) has(ctx context.Context, commit, name string) bool {
	_, err := c.git(ctx, "cat-file", "-e", commit+":"+name)
	return err == nil
}
