package pipeline

import (
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// buildRequest says what the builder is asked for. previous is the commit of the newest release of the same ref.
func buildRequest(cfg Config, run store.Run, repo store.Repo, commit source.Commit, previous, dir string, secrets map[string][]byte) (build.Request, error) {
	branch, tag := refNames(run.Ref)
	if _, err := imageTags(cfg, run); err != nil { // they are put on the image at the end; it is told before the build
		return build.Request{}, err
	}
	req := build.Request{
		Dir: dir, Context: cfg.Build.Context, Dockerfile: cfg.Build.Dockerfile, Target: cfg.Build.Target,
		Platforms: cfg.Build.Platforms, Secrets: secrets, Image: cfg.Build.Image,
		SourceDateEpoch: commit.Time,
		Run:             run.ID, App: run.Repo + "/" + run.App, Fork: run.Fork != "",
		Args: map[string]string{},
		Labels: map[string]string{
			"org.opencontainers.image.source":   repo.HTMLURL,
			"org.opencontainers.image.revision": run.SHA,
			"org.opencontainers.image.created":  commit.Time.UTC().Format(time.RFC3339),
		},
	}
	if tag != "" {
		req.Labels["org.opencontainers.image.version"] = tag
	}
	maps.Copy(req.Args, cfg.Build.Args)
	maps.Copy(req.Args, map[string]string{ // a commit cannot pass for another by its file
		"GIT_COMMIT": run.SHA, "GIT_COMMIT_SHORT": run.SHA[:7], "GIT_BRANCH": branch, "GIT_TAG": tag,
		"GIT_PREVIOUS_SUCCESSFUL_COMMIT": previous, "CI_BUILD_NUMBER": strconv.Itoa(run.Number),
	})
	switch cfg.Build.Cache {
	case CacheInline:
		req.InlineCache = true
	case CacheRegistry, "":
		// A branch writes its own cache only, and reads besides it that of the default branch, which was reviewed.
		reviewed, err := cacheRef(cfg.Build.Image, repo.DefaultBranch)
		if err != nil {
			return req, err
		}
		if branch == "" { // what is no branch has none of its own
			req.CacheImports = []string{reviewed}
			break
		}
		own, err := cacheRef(cfg.Build.Image, branch)
		if err != nil {
			return req, err
		}
		req.CacheExports, req.CacheImports = []string{own}, []string{own}
		if reviewed != own {
			req.CacheImports = append(req.CacheImports, reviewed)
		}
	}
	return req, nil
}

// cacheRef names the cache of one branch. A tag is a lossy form of a branch's name, so what was lost is hashed into it:
// no branch can be named so that it writes another's cache.
func cacheRef(repository, branch string) (string, error) {
	tag, err := image.Tags([]string{"cache-" + shortHash(branch) + "-{branch}"}, map[string]string{"branch": branch})
	if err != nil {
		return "", err
	}
	return repository + ":" + strings.TrimRight(tag[0], "-."), nil
}

// inWords adds to a registry's error what it means. What a Dockerfile's own commands say is left as it is, however much it
// sounds like a registry.
func inWords(err error, repository string) error {
	if errors.As(err, new(*build.Failure)) || errors.Is(err, build.ErrUnavailable) || errors.Is(err, build.ErrNoRoom) || isPermanent(err) {
		return err
	}
	return image.Explain(err, repository)
}
