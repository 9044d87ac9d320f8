package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/shipmate-dev/shipmate/pipeline"
)

const maxFile = 1 << 20 // bytes of a repository file

// Plan writes to w the run that a push of ref would start, for every app that the checkout around dir declares, or for
// the one repository file that is named; a ref that is empty is the branch that is checked out. Nothing is done, and
// nobody asked: what changed, who wrote it and what is there already is what this checkout knows of the remote. The
// error has every mistake in the files.
func Plan(ctx context.Context, w io.Writer, dir, ref, file string) error {
	c, err := open(ctx, dir)
	if err != nil {
		return err
	}
	files, err := c.repoFiles(dir, file)
	if err != nil {
		return err
	}
	p := &page{w: w}
	t, err := c.push(ctx, ref, p)
	if err != nil {
		return err
	}
	var mistakes []error
	for _, f := range files {
		if err := c.explain(ctx, f, t, p); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return errors.Join(append(mistakes, p.err)...)
}

// A page is what a person reads. It remembers the first error of writing it.
type page struct {
	w   io.Writer
	err error

	ahead bool // the commit is still to be made, of what lies in the checkout
}

func (p *page) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// A repoFile declares an app.
type repoFile struct {
	name string // from the root, or as it was given
	path string
	own  bool // where Shipmate looks for it, not one that was given
}

func (c checkout) repoFiles(dir, given string) ([]repoFile, error) {
	if given != "" {
		if !filepath.IsAbs(given) {
			return []repoFile{{name: given, path: filepath.Join(dir, given)}}, nil
		}
		return []repoFile{{name: given, path: given}}, nil
	}
	var files []repoFile
	for _, pattern := range []string{".shipmate.yaml", ".shipmate/*.yaml", ".shipmate/*.yml"} {
		found, err := fs.Glob(os.DirFS(string(c)), pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			files = append(files, repoFile{name: name, path: c.path(name), own: true})
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no .shipmate.yaml in %s; bot init writes one", string(c))
	}
	return files, nil
}

// path is where a file lies that is given by its slash path from the root.
func (c checkout) path(name string) string { return filepath.Join(string(c), filepath.FromSlash(name)) }

func (f repoFile) read() ([]byte, error) {
	r, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()                // it was only read
	return io.ReadAll(io.LimitReader(r, maxFile+1)) // Parse refuses what is larger
}

// push gathers what a push of ref would tell, and writes it at the top of the page.
func (c checkout) push(ctx context.Context, name string, p *page) (pipeline.Trigger, error) {
	ref, err := c.ref(ctx, name)
	if err != nil {
		return pipeline.Trigger{}, err
	}
	t := pipeline.Trigger{Kind: pipeline.TriggerPush, Ref: ref, SHA: c.commit(ctx, ref)}
	if t.HeadMessage, err = c.git(ctx, "log", "-1", "--format=%B", t.SHA); err != nil {
		return t, err
	}
	subject, _, _ := strings.Cut(t.HeadMessage, "\n")
	p.line("push of %s: %.7s %q", ref, t.SHA, subject)
	var sure bool
	if t.DefaultBranch, sure = c.defaultBranch(ctx); !sure {
		p.line("  the default branch is taken to be %s, since no remote here says so", t.DefaultBranch)
	}
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	if !isBranch {
		return t, nil
	}
	var why string
	t.Base, why = c.base(ctx, branch, t)
	if t.Base == "" {
		p.line("  %s, so every file counts as changed", why)
		return t, nil
	}
	if t.Files, err = c.files(ctx, t.Base, t.SHA); err != nil {
		return t, err
	}
	if t.Authors, err = c.authors(ctx, t.Base, t.SHA); err != nil {
		return t, err
	}
	t.FilesKnown = true
	p.line("  %s: files changed since %.7s: %d", why, t.Base, len(t.Files))
	return t, nil
}

// base is the commit that a push of a branch is compared with, and why that one; empty where there is none.
func (c checkout) base(ctx context.Context, branch string, t pipeline.Trigger) (commit, why string) {
	remote := c.remote(ctx)
	if remote != "" {
		switch there := c.commit(ctx, "refs/remotes/"+remote+"/"+branch); there {
		case "":
		case t.SHA:
			return c.commit(ctx, t.SHA+"^"), fmt.Sprintf("%s has this commit already, and it is shown as if it were pushed now", remote)
		default:
			return there, fmt.Sprintf("%s is at %.7s", remote, there)
		}
	}
	if branch == t.DefaultBranch {
		return "", "it is the first push of the default branch"
	}
	for _, prefix := range []string{"refs/remotes/" + remote + "/", "refs/heads/"} {
		if fork, err := c.git(ctx, "merge-base", prefix+t.DefaultBranch, t.SHA); err == nil {
			return fork, "a new branch, off " + t.DefaultBranch
		}
	}
	return "", fmt.Sprintf("it has nothing in common with %s here", t.DefaultBranch)
}

// explain writes what t starts by one repository file, and returns the mistakes in it.
func (c checkout) explain(ctx context.Context, f repoFile, t pipeline.Trigger, p *page) error {
	data, err := f.read()
	if err != nil {
		return err
	}
	cfg, err := pipeline.Parse(f.name, data)
	if err != nil {
		return err
	}
	cfg = cfg.WithDefaults(path.Join(c.repo(ctx)), t.DefaultBranch)
	p.line("\n%s (%s)", cfg.App, f.name)
	if f.own {
		c.noteOther(ctx, f.name, string(data), t, p)
	}
	plan := cfg.Plan(t)
	lines, err := cfg.Explain(plan, t, func(name string) string { return c.missing(ctx, name, t, p.ahead) })
	for _, line := range lines {
		p.line("%s", line)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

// missing tells of a path that the run would not find in the commit. ahead is whether that is still to be made of what lies here.
func (c checkout) missing(ctx context.Context, name string, t pipeline.Trigger, ahead bool) string {
	name = path.Clean(name)
	_, err := os.Stat(c.path(name))
	switch here := err == nil; {
	case name == "." || ahead && here, !ahead && c.has(ctx, t.SHA, name):
		return ""
	case here:
		return fmt.Sprintf("it fails: %s is here, but not in this commit", name)
	}
	return "it fails: there is no " + name
}

// noteOther tells where the file that would rule the push is not the one that is shown.
func (c checkout) noteOther(ctx context.Context, file, here string, t pipeline.Trigger, p *page) {
	commit, where := t.SHA, fmt.Sprintf("%.7s", t.SHA)
	if t.Ref != "refs/heads/"+t.DefaultBranch {
		where = t.DefaultBranch
		commit = c.commit(ctx, "refs/remotes/"+c.remote(ctx)+"/"+where)
		if commit == "" {
			commit = c.commit(ctx, "refs/heads/"+where)
		}
	}
	switch there, ok := c.show(ctx, commit, file); {
	case commit == "" || !ok:
		p.line("  shown as if this file were on %s, where it is not yet", where)
	case strings.TrimSuffix(here, "\n") != there:
		p.line("  shown by the file as it is here; a push is ruled by that of %s, which differs", where)
	}
}
