package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	modulesFile   = ".gitmodules"
	maxModules    = 1 << 20 // bytes of it
	maxSubmodules = 100     // of a checkout, at all depths
	maxDepth      = 8       // of submodules in submodules
)

// link is a submodule in a tree.
type link struct{ path, commit string }

// module is an entry of .gitmodules (gitmodules(5)). Its name is not kept: nothing is called by it here, since a name can
// be "../../hooks" (CVE-2018-11235).
type module struct {
	path, url string
	skip      bool // update = none
	line      int  // where its url stands; 0 where that is not clear
}

// place is where people find it.
func (m module) place() string {
	if m.line == 0 {
		return modulesFile
	}
	return fmt.Sprintf("%s:%d", modulesFile, m.line)
}

// addSubmodules checks out what the tree at dest has as submodules, each where the tree has an empty folder for it.
func (c *checkout) addSubmodules(ctx context.Context, r Remote, t tree, dest string, depth int) error {
	if len(t.links) == 0 {
		return nil
	}
	modules, err := readModules(ctx, t.modules)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, l := range t.links {
		i := slices.IndexFunc(modules, func(m module) bool { return m.path == l.path })
		if i < 0 {
			return mistake{fmt.Errorf("%q is a submodule that %s does not name", l.path, modulesFile)}
		}
		m := modules[i]
		if m.skip {
			continue
		}
		if err := c.submodule(ctx, r, m, l, root, depth+1); err != nil {
			return fmt.Errorf("%s: submodule %q: %w", m.place(), l.path, err)
		}
	}
	return nil
}

func (c *checkout) submodule(ctx context.Context, r Remote, m module, l link, root *os.Root, depth int) error {
	if depth > maxDepth {
		return mistake{fmt.Errorf("submodules are nested more than %d deep", maxDepth)}
	}
	if c.submodules--; c.submodules < 0 {
		return mistake{fmt.Errorf("there are more than %d submodules", maxSubmodules)}
	}
	repo, err := repositoryAt(r.URL, m.url)
	if err != nil {
		return mistake{err}
	}
	if r.Submodule == nil {
		return errors.New("submodules are not fetched here")
	}
	remote, err := r.Submodule(ctx, repo)
	if err != nil {
		return err
	}
	if err := plainFolder(root, l.path); err != nil {
		return mistake{err}
	}
	_, err = c.tree(ctx, repo, remote, l.commit, filepath.Join(root.Name(), filepath.FromSlash(l.path)), depth)
	if errors.Is(err, ErrDenied) && remote.Denied != "" {
		return mistake{fmt.Errorf("%s is not public, and no credential is used for it: %s", repo, remote.Denied)}
	}
	return err
}

// plainFolder checks that no part of a path is a symbolic link, which would lead what is written there elsewhere.
func plainFolder(root *os.Root, name string) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q is no place in the repository", name)
	}
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, err := root.Lstat(name[:i])
		if err == nil && !info.IsDir() {
			err = errors.New("not a folder")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name[:i], err)
		}
	}
	return nil
}

// Submodules lists the repositories ("owner/name") that a .gitmodules names, seen from the repository at address. Entries
// that Checkout would refuse are left out.
func Submodules(ctx context.Context, address string, gitmodules []byte) ([]string, error) {
	if len(gitmodules) > maxModules {
		return nil, mistake{fmt.Errorf("%s has %d bytes; it must have at most %d", modulesFile, len(gitmodules), maxModules)}
	}
	modules, err := readModules(ctx, gitmodules)
	if err != nil {
		return nil, err
	}
	var repos []string
	for _, m := range modules {
		if repo, err := repositoryAt(address, m.url); err == nil {
			repos = append(repos, repo)
		}
	}
	return repos, nil
}

// readModules parses a .gitmodules. git does it: the format is that of its configuration.
func readModules(ctx context.Context, text []byte) ([]module, error) {
	if len(text) == 0 {
		return nil, nil
	}
	out, err := git{dir: "/", stdin: text, args: []string{"config", "--file", "-", "--no-includes", "--list", "-z"}}.run(ctx)
	if ctx.Err() == nil && err != nil {
		err = mistake{fmt.Errorf("%s: %w", modulesFile, err)}
	}
	if err != nil {
		return nil, err
	}
	var modules []module
	at := map[string]int{}
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		key, value, _ := strings.Cut(entry, "\n") // as in submodule.lib.url
		name, ok := strings.CutPrefix(key, "submodule.")
		dot := strings.LastIndexByte(name, '.')
		if !ok || dot < 0 {
			continue
		}
		name, key = name[:dot], name[dot+1:]
		i, ok := at[name]
		if !ok {
			i = len(modules)
			at[name], modules = i, append(modules, module{line: lineOf(string(text), name)})
		}
		switch key {
		case "path":
			modules[i].path = strings.TrimSuffix(value, "/")
		case "url":
			modules[i].url = value
		case "update":
			modules[i].skip = value == "none"
		}
	}
	return modules, nil
}

// lineOf finds the line of a submodule's url.
func lineOf(text, name string) int {
	inside := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = line == `[submodule "`+name+`"]`
		}
		key, _, found := strings.Cut(line, "=")
		if inside && found && strings.EqualFold(strings.TrimSpace(key), "url") {
			return n
		}
	}
	return 0
}

var errElsewhere = errors.New("its url must be a repository on the same host as this one: https://host/owner/name.git, git@host:owner/name.git, or relative, ../name.git")

// repositoryAt returns the repository ("owner/name") that a submodule's address means, seen from the one at base. The
// address is used for nothing else, so that it can bring neither a transport nor a host of its own. It may hold a
// password and is never repeated.
func repositoryAt(base, address string) (string, error) {
	from, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	name := ""
	if strings.HasPrefix(address, "./") || strings.HasPrefix(address, "../") {
		name = path.Join(strings.TrimPrefix(from.Path, "/"), address)
	} else {
		if rest, ok := strings.CutPrefix(address, "git@"); ok && !strings.Contains(address, "://") {
			address = "ssh://git@" + strings.Replace(rest, ":", "/", 1)
		}
		u, err := url.Parse(address)
		if err != nil || u.RawQuery != "" || u.Fragment != "" {
			return "", errElsewhere
		}
		switch {
		case (u.Scheme == "https" || u.Scheme == "http") && u.User == nil && strings.EqualFold(u.Host, from.Host):
		case u.Scheme == "ssh" && u.User != nil && u.User.String() == "git" && strings.EqualFold(u.Host, from.Hostname()): // the same repository by another way
		default:
			return "", errElsewhere
		}
		name = u.Path
	}
	name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "/"), "/"), ".git")
	if !isRepository(name) {
		return "", errElsewhere
	}
	return name, nil
}
