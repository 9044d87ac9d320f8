package sim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

const zeroSHA = "0000000000000000000000000000000000000000"

// gitDir is the path of a bare repository.
type gitDir string

// gitEnv keeps the machine's git configuration out.
func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_LITERAL_PATHSPECS=1",
		"GIT_AUTHOR_NAME=GitHub", "GIT_AUTHOR_EMAIL=noreply@github.com",
		"GIT_COMMITTER_NAME=GitHub", "GIT_COMMITTER_EMAIL=noreply@github.com",
	}
}

func (dir gitDir) run(args ...string) (string, error) { return dir.runInput("", args...) }

func (dir gitDir) runInput(input string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = string(dir), gitEnv(), strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// initGit makes an empty bare repository that serves what GitHub serves.
func initGit(dir gitDir, defaultBranch string) error {
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=" + defaultBranch},
		{"config", "uploadpack.allowAnySHA1InWant", "true"},
		{"config", "uploadpack.allowFilter", "true"},
		{"config", "http.receivepack", "true"},
		{"config", "receive.hideRefs", "refs/pull"},
		{"config", "transfer.hideRefs", "refs/sim"},
		{"config", "core.quotePath", "false"},
		{"config", "gc.auto", "0"},
	} {
		if _, err := dir.run(args...); err != nil {
			return err
		}
	}
	return nil
}

// refs returns the branches and tags with the objects that they name.
func (dir gitDir) refs() (map[string]string, error) {
	out, err := dir.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		sha, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[name] = sha
	}
	return refs, nil
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

var errNoCommit = errors.New("no such commit")

// commit finds the commit that a branch, a tag, a full ref or a SHA (at least
// seven digits) names, as GitHub's API takes them; never git's own revision
// syntax.
func (dir gitDir) commit(ref string) (string, error) {
	var names []string
	if isHex(ref) && len(ref) >= 7 && len(ref) <= 40 {
		names = append(names, ref)
	}
	if strings.HasPrefix(ref, "refs/") {
		names = append(names, ref)
	}
	names = append(names, "refs/heads/"+ref, "refs/tags/"+ref, "refs/"+ref)
	for _, name := range names {
		if strings.ContainsAny(name, "~^:?*[\\ ") || strings.Contains(name, "..") || strings.Contains(name, "@{") {
			continue
		}
		if out, err := dir.run("rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}"); err == nil {
			return strings.TrimSpace(out), nil
		}
	}
	return "", fmt.Errorf("%s: %w", ref, errNoCommit)
}

type gitPerson struct {
	Name, Email string
	Date        time.Time
}

type gitCommit struct {
	SHA, Tree                string
	Parents                  []string
	Author, Committer        gitPerson
	Message                  string
	Added, Removed, Modified []string
}

// log lists commits, newest first, as git log takes its arguments.
func (dir gitDir) log(args ...string) ([]gitCommit, error) {
	format := "--format=%x01%H%x00%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%B%x00"
	args = append([]string{"log", format, "--name-status", "--no-renames", "--diff-merges=first-parent"}, args...)
	out, err := dir.run(args...)
	if err != nil {
		return nil, err
	}
	var commits []gitCommit
	for _, text := range strings.Split(out, "\x01")[1:] {
		f := strings.Split(text, "\x00")
		commit := gitCommit{
			SHA: f[0], Tree: f[1], Parents: strings.Fields(f[2]),
			Author:    gitPerson{f[3], f[4], unix(f[5])},
			Committer: gitPerson{f[6], f[7], unix(f[8])},
			Message:   strings.TrimRight(f[9], "\n"),
		}
		for line := range strings.Lines(f[10]) {
			kind, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
			switch kind {
			case "A":
				commit.Added = append(commit.Added, path)
			case "D":
				commit.Removed = append(commit.Removed, path)
			case "M", "T":
				commit.Modified = append(commit.Modified, path)
			}
		}
		commits = append(commits, commit)
	}
	return commits, nil
}

func unix(s string) time.Time {
	seconds, _ := strconv.ParseInt(s, 10, 64)
	return time.Unix(seconds, 0).UTC()
}

func (dir gitDir) mergeBase(a, b string) (string, error) {
	out, err := dir.run("merge-base", a, b)
	return strings.TrimSpace(out), err
}

func (dir gitDir) isAncestor(ancestor, of string) bool {
	_, err := dir.run("merge-base", "--is-ancestor", ancestor, of)
	return err == nil
}

// count is the number of commits of a range.
func (dir gitDir) count(args ...string) (int, error) {
	out, err := dir.run(append([]string{"rev-list", "--count"}, args...)...)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

type gitDiff struct {
	Path, Blob, Status   string
	Additions, Deletions int
}

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// diff compares two trees, in the order of the paths.
func (dir gitDir) diff(from, to string) ([]gitDiff, error) {
	out, err := dir.run("diff-tree", "-r", "--no-renames", "--raw", "--numstat", "--full-index", "--no-abbrev", from, to)
	if err != nil {
		return nil, err
	}
	var diffs []gitDiff
	at := map[string]int{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if raw := strings.Fields(f[0]); len(raw) == 5 {
			d := gitDiff{Path: f[1], Blob: raw[3], Status: map[string]string{"A": "added", "D": "removed"}[raw[4]]}
			if d.Status == "" {
				d.Status = "modified"
			}
			if d.Status == "removed" {
				d.Blob = raw[2]
			}
			at[d.Path] = len(diffs)
			diffs = append(diffs, d)
			continue
		}
		if len(f) == 3 {
			d := &diffs[at[f[2]]]
			d.Additions, _ = strconv.Atoi(f[0]) // "-" for a binary file
			d.Deletions, _ = strconv.Atoi(f[1])
		}
	}
	return diffs, nil
}

type gitEntry struct {
	Mode, Kind, SHA, Path string
	Size                  int
}

// entries lists one folder of a commit, or the one file; root is "".
func (dir gitDir) entries(commit, path string) ([]gitEntry, error) {
	args := []string{"ls-tree", "-l", "-z", commit}
	if path != "" {
		args = append(args, "--", path)
	}
	out, err := dir.run(args...)
	if err != nil {
		return nil, err
	}
	var entries []gitEntry
	for line := range strings.SplitSeq(strings.TrimRight(out, "\x00"), "\x00") {
		head, name, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		f := strings.Fields(head)
		size, _ := strconv.Atoi(f[3])
		entries = append(entries, gitEntry{Mode: f[0], Kind: f[1], SHA: f[2], Size: size, Path: name})
	}
	return entries, nil
}

func (dir gitDir) blob(sha string) (string, error) { return dir.run("cat-file", "blob", sha) }

// Deleted as a file's content removes the file.
const Deleted = "\x00deleted"

// Submodule is a file's content that makes it a submodule at a commit.
func Submodule(commit string) string { return submodule + commit }

const submodule = "\x00submodule "

// write makes a commit on top of parent ("" for a root commit) without moving a
// ref, and returns it. Files maps paths to contents.
func (dir gitDir) write(parent string, author gitPerson, message string, files map[string]string) (string, error) {
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	const temporary = "refs/sim/commit"
	var in strings.Builder
	stamp := fmt.Sprintf("%s <%s> %d +0000", author.Name, author.Email, author.Date.Unix())
	fmt.Fprintf(&in, "reset %s\n", temporary)
	fmt.Fprintf(&in, "commit %s\nmark :1\nauthor %s\ncommitter %s\ndata %d\n%s\n", temporary, stamp, stamp, len(message), message)
	if parent != "" {
		fmt.Fprintf(&in, "from %s\n", parent)
	}
	for _, path := range paths {
		if path == "" || strings.ContainsAny(path, "\"\n") {
			return "", fmt.Errorf("commit: path %q is not supported", path)
		}
		if files[path] == Deleted {
			fmt.Fprintf(&in, "D %s\n", path)
			continue
		}
		if commit, ok := strings.CutPrefix(files[path], submodule); ok {
			fmt.Fprintf(&in, "M 160000 %s %s\n", commit, path)
			continue
		}
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", path, len(files[path]), files[path])
	}
	in.WriteString("\nget-mark :1\n")
	out, err := dir.runInput(in.String(), "fast-import", "--quiet", "--force")
	if err != nil {
		return "", err
	}
	_, err = dir.run("update-ref", "-d", temporary)
	return strings.TrimSpace(out), err
}

// merge makes the merge commit of two commits without moving a ref. It returns
// "" when they conflict.
func (dir gitDir) merge(base, head string, author gitPerson, message string) (string, error) {
	tree, err := dir.run("merge-tree", "--write-tree", base, head)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return dir.commitTree(strings.TrimSpace(tree), author, message, base, head)
}

// commitTree makes a commit of a tree, committed by GitHub, and returns it.
func (dir gitDir) commitTree(tree string, author gitPerson, message string, parents ...string) (string, error) {
	args := []string{"commit-tree", tree, "-m", message}
	for _, parent := range parents {
		args = append(args, "-p", parent)
	}
	cmd := exec.Command("git", args...)
	date := fmt.Sprintf("%d +0000", author.Date.Unix())
	cmd.Dir = string(dir)
	cmd.Env = append(gitEnv(), "GIT_AUTHOR_NAME="+author.Name, "GIT_AUTHOR_EMAIL="+author.Email, "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_DATE="+date)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git commit-tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (dir gitDir) setRef(ref, sha string) error {
	_, err := dir.run("update-ref", ref, sha)
	return err
}

// moveRef sets a branch, unless it is no longer at old (zeroSHA: it must be new).
func (dir gitDir) moveRef(ref, sha, old string) error {
	_, err := dir.run("update-ref", ref, sha, old)
	return err
}

func (dir gitDir) deleteRef(ref string) error {
	_, err := dir.run("update-ref", "-d", ref)
	return err
}
