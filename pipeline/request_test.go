package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

func TestBuildRequest(t *testing.T) {
	sha := strings.Repeat("a1", 20)
	run := store.Run{SHA: sha, Ref: "refs/heads/feature/x", Number: 12}
	repo := store.Repo{HTMLURL: "https://github.example.com/acme/web", DefaultBranch: "master"}
	commit := source.Commit{Time: time.Date(2026, 11, 24, 20, 0, 0, 0, time.FixedZone("", 8*3600))}
	cfg := Config{Build: Build{Image: testImage, Context: "app", Dockerfile: "app/Dockerfile", Tags: []string{"{branch}-{short_sha}", "build-{run}"},
		Args: map[string]string{"MODE": "release", "GIT_BRANCH": "master", "CI_BUILD_NUMBER": "1"}}}
	secrets := map[string][]byte{"npm": []byte("x")}

	r, err := buildRequest(cfg, run, repo, commit, "previous", "/work", secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct{ what, got, want string }{
		{"tags", fmt.Sprint(imageTags(cfg, run)), "[feature-x-a1a1a1a build-12] <nil>"},
		{"args", fmt.Sprint(r.Args), "map[CI_BUILD_NUMBER:12 GIT_BRANCH:feature/x GIT_COMMIT:" + sha + " GIT_COMMIT_SHORT:a1a1a1a GIT_PREVIOUS_SUCCESSFUL_COMMIT:previous GIT_TAG: MODE:release]"},
		{"labels", fmt.Sprint(r.Labels), "map[org.opencontainers.image.created:2026-11-24T12:00:00Z org.opencontainers.image.revision:" + sha + " org.opencontainers.image.source:https://github.example.com/acme/web]"},
		{"place", r.Dir + " " + r.Context + " " + r.Dockerfile, "/work app app/Dockerfile"},
		{"secrets", string(r.Secrets["npm"]), "x"},
	} {
		if check.got != check.want {
			t.Errorf("%s: %s, want %s", check.what, check.got, check.want)
		}
	}
	if len(r.CacheExports) != 1 || len(r.CacheImports) != 2 || r.CacheImports[0] != r.CacheExports[0] || !strings.Contains(r.CacheImports[1], "master") {
		t.Errorf("the cache goes to %v and comes from %v", r.CacheExports, r.CacheImports)
	}

	run.Ref = "refs/heads/master"
	if r, err = buildRequest(cfg, run, repo, commit, "", "/work", nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.CacheExports, r.CacheImports) || len(r.CacheImports) != 1 {
		t.Errorf("the cache goes to %v and comes from %v", r.CacheExports, r.CacheImports)
	}

	run.Ref = "refs/tags/v1.2"
	cfg.Build.Tags = append(cfg.Build.Tags, "{tag}")
	if r, err = buildRequest(cfg, run, repo, commit, "", "/work", nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(imageTags(cfg, run)); got != "[build-12 v1.2] <nil>" {
		t.Errorf("tags of a tag: %s", got)
	}
	if r.Labels["org.opencontainers.image.version"] != "v1.2" || r.Args["GIT_TAG"] != "v1.2" || r.Args["GIT_BRANCH"] != "" {
		t.Errorf("a tag's build has the labels %v and arguments %v", r.Labels, r.Args)
	}
	if len(r.CacheExports) != 0 || len(r.CacheImports) != 1 || !strings.Contains(r.CacheImports[0], "master") {
		t.Errorf("a tag's cache goes to %v and comes from %v", r.CacheExports, r.CacheImports)
	}
	run.Ref = "refs/heads/master"

	cfg.Build.Cache = CacheInline
	if r, err = buildRequest(cfg, run, repo, commit, "", "/work", nil); err != nil || !r.InlineCache || len(r.CacheExports)+len(r.CacheImports) > 0 {
		t.Errorf("inline: %+v, %v", r, err)
	}
	cfg.Build.Cache = CacheOff
	if r, err = buildRequest(cfg, run, repo, commit, "", "/work", nil); err != nil || r.InlineCache || len(r.CacheExports)+len(r.CacheImports) > 0 {
		t.Errorf("off: %+v, %v", r, err)
	}
	cfg.Build.Tags = []string{"{nonsense}"}
	if _, err = buildRequest(cfg, run, repo, commit, "", "/work", nil); err == nil {
		t.Error("an unknown variable in a tag is taken")
	}
}

func TestInWords(t *testing.T) {
	refused := errors.New("failed to push: 401 Unauthorized")
	if got := inWords(refused, "registry.example.com/team/web").Error(); !strings.Contains(got, "username and password") {
		t.Errorf("a registry's refusal is not explained: %s", got)
	}
	command := &build.Failure{Command: "RUN curl", Err: errors.New("401 Unauthorized")}
	if got := inWords(command, "registry.example.com/team/web").Error(); strings.Contains(got, "username and password") {
		t.Errorf("a command's words pass for the registry's: %s", got)
	}
	if err := inWords(nil, "registry.example.com/team/web"); err != nil {
		t.Error(err)
	}
}
