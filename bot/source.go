package bot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// hubSource is the engine's view of git.
type hubSource struct {
	cfg     *Config
	hub     *hub
	fetcher *source.Fetcher
}

func (s hubSource) Checkout(ctx context.Context, repo store.Repo, sha, dest string, o source.Options) (source.Commit, error) {
	w := &submodules{hubSource: s, top: repo, public: o.Public, used: []store.Repo{repo}}
	c, err := s.fetcher.Checkout(ctx, repo.Name, w.remote(repo), sha, dest, o)
	if err != nil {
		for _, r := range w.used { // it may be a credential that GitHub knows no more
			s.hub.forget(r)
		}
	}
	return c, err
}

// submodules decides for one checkout which of its submodules a credential is used for.
type submodules struct {
	hubSource
	top    store.Repo
	public bool
	used   []store.Repo // whose credential was used
}

// remote is a repository for which a credential is used.
func (w *submodules) remote(repo store.Repo) source.Remote {
	r := w.hub.remote(repo)
	r.Submodule = func(ctx context.Context, name string) (source.Remote, error) { return w.submodule(ctx, &repo, name) }
	return r
}

// submodule is the remote of a repository that another, parent, names as a submodule; a nil parent is one that no credential
// was used for. Whoever may push a branch there chooses the name, and need not be one who may read that repository: it gets a
// credential only where the parent's default branch, which was reviewed, names it too. Without one it is fetched as
// anybody may.
func (w *submodules) submodule(ctx context.Context, parent *store.Repo, name string) (source.Remote, error) {
	repo, denied, err := w.credential(ctx, parent, name)
	if err != nil {
		return source.Remote{}, fmt.Errorf("%s: %w", name, err)
	}
	if denied == "" {
		w.used = append(w.used, repo)
		return w.remote(repo), nil
	}
	return source.Remote{URL: w.hub.web() + "/" + name + ".git", Denied: denied,
		Submodule: func(ctx context.Context, name string) (source.Remote, error) { return w.submodule(ctx, nil, name) }}, nil
}

// credential tells whose credential fetches a submodule, or why none does.
func (w *submodules) credential(ctx context.Context, parent *store.Repo, name string) (repo store.Repo, denied string, err error) {
	switch {
	case strings.EqualFold(name, w.top.Name):
		return w.top, "", nil
	case w.public:
		return repo, "the commit comes from a fork, whose builds get public submodules only", nil
	case parent == nil:
		return repo, "the repository that has it as a submodule is fetched without one", nil
	}
	if err := w.cfg.MayUseServer(name); err != nil {
		return repo, err.Error(), nil
	}
	owner, short := split(name)
	installation, _, err := w.hub.asApp().Apps.FindRepositoryInstallation(ctx, owner, short)
	if isNotFound(err) {
		return repo, "the GitHub App is not installed on it; install it there with contents: read", nil
	}
	if err != nil {
		return repo, "", fmt.Errorf("look for its installation: %w", err)
	}
	reviewed, err := w.reviewed(ctx, *parent)
	if err != nil {
		return repo, "", err
	}
	if !slices.ContainsFunc(reviewed, func(r string) bool { return strings.EqualFold(r, name) }) {
		return repo, "the default branch of " + parent.Name + " does not have it as a submodule; merge it there first", nil
	}
	return store.Repo{Name: name, Installation: installation.GetID()}, "", nil
}

// reviewed lists the submodules of a repository's default branch.
func (w *submodules) reviewed(ctx context.Context, repo store.Repo) ([]string, error) {
	owner, name := split(repo.Name)
	file, _, _, err := w.hub.client(repo.Installation).Repositories.GetContents(ctx, owner, name, ".gitmodules", &github.RepositoryContentGetOptions{})
	if isNotFound(err) || err == nil && file == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read .gitmodules of the default branch of %s: %w", repo.Name, err)
	}
	text, err := file.GetContent()
	if err != nil {
		return nil, fmt.Errorf("read .gitmodules of the default branch of %s: %w", repo.Name, err)
	}
	return source.Submodules(ctx, w.hub.remote(repo).URL, []byte(text))
}
