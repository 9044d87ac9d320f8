package pipeline

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// buildRequest says what the builder is asked for, as far as g trusts it. previous is the commit of the newest release of
// the same ref; secrets are the values of g.Secrets.
func buildRequest(cfg Config, run store.Run, repo store.Repo, commit source.Commit, previous, dir string, g Grants, secrets map[string][]byte) (build.Request, error) {
	_, tag := refNames(run.Ref)
	branch, pull := branchName(run), ""
	if run.Cause == store.CausePull {
		pull = strconv.Itoa(run.Pull)
	}
	if g.Push { // they are put on the image at the end; it is told before the build
		if _, err := imageTags(cfg, run); err != nil {
			return build.Request{}, err
		}
	}
	req := build.Request{
		Dir: dir, Context: cfg.Build.Context, Dockerfile: cfg.Build.Dockerfile, Target: cfg.Build.Target,
		Platforms: cfg.Build.Platforms, Secrets: secrets, Image: cfg.Build.Image,
		NoPush: !g.Push, CacheImports: g.Imports, CacheExports: g.Exports, InlineCache: g.Inline, CacheScope: g.Scope,
		SourceDateEpoch: commit.Time,
		Run:             run.ID, App: run.Repo + "/" + run.App, Fork: g.Fork,
		Args: map[string]string{},
		Labels: map[string]string{ // the same for each build of a commit, also for one of a tag, so that the image may be the same
			"org.opencontainers.image.source":   repo.HTMLURL,
			"org.opencontainers.image.revision": run.SHA,
			"org.opencontainers.image.created":  commit.Time.UTC().Format(time.RFC3339),
		},
	}
	maps.Copy(req.Args, cfg.Build.Args)
	maps.Copy(req.Args, run.Variables.V)
	maps.Copy(req.Args, map[string]string{ // a commit cannot pass for another by its file
		"GIT_COMMIT": run.SHA, "GIT_COMMIT_SHORT": run.SHA[:7], "GIT_BRANCH": branch, "GIT_TAG": tag,
		"GIT_PREVIOUS_SUCCESSFUL_COMMIT": previous, "CI_BUILD_NUMBER": strconv.Itoa(run.Number), "CI_PULL_REQUEST": pull,
	})
	return req, nil
}

// branchName is the short name of the branch that a run is of, of a pull request its head's; one in a fork stands behind its
// owner, as in mallory:master, so that it passes for none of ours.
func branchName(run store.Run) string {
	if run.Cause != store.CausePull {
		branch, _ := refNames(run.Ref)
		return branch
	}
	branch, _ := refNames(run.HeadRef)
	if owner, _, fork := strings.Cut(run.Fork, "/"); fork {
		return owner + ":" + branch
	}
	return branch
}
