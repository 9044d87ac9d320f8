package pipeline

import (
	"errors"
	"fmt"
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
	grants := Grants{Push: true, Imports: []string{"a", "b"}, Exports: []string{"c"}, Inline: true, Scope: "acme/web default"}

	r, err := buildRequest(cfg, run, repo, commit, "previous", "/work", grants, secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct{ what, got, want string }{
		{"tags", fmt.Sprint(imageTags(cfg, run)), "[feature-x-a1a1a1a build-12] <nil>"},
		{"args", fmt.Sprint(r.Args), "map[CI_BUILD_NUMBER:12 CI_PULL_REQUEST: GIT_BRANCH:feature/x GIT_COMMIT:" + sha + " GIT_COMMIT_SHORT:a1a1a1a GIT_PREVIOUS_SUCCESSFUL_COMMIT:previous GIT_TAG: MODE:release]"},
		{"labels", fmt.Sprint(r.Labels), "map[org.opencontainers.image.created:2026-11-24T12:00:00Z org.opencontainers.image.revision:" + sha + " org.opencontainers.image.source:https://github.example.com/acme/web]"},
		{"place", r.Dir + " " + r.Context + " " + r.Dockerfile, "/work app app/Dockerfile"},
		{"secrets", string(r.Secrets["npm"]), "x"},
		{"caches", fmt.Sprintf("%v %v %v %s", r.CacheImports, r.CacheExports, r.InlineCache, r.CacheScope), "[a b] [c] true acme/web default"},
		{"trust", fmt.Sprint(r.NoPush, r.Fork), "false false"},
	} {
		if check.got != check.want {
			t.Errorf("%s: %s, want %s", check.what, check.got, check.want)
		}
	}

	// Of a pull request the head's branch is told, and whose it is; its tags would have no use.
	run = store.Run{SHA: sha, Ref: "refs/pull/7/merge", Number: 12, Cause: store.CausePull, Pull: 7, HeadRef: "refs/heads/master", Fork: "mallory/web"}
	cfg.Build.Tags = []string{"{nonsense}"}
	if r, err = buildRequest(cfg, run, repo, commit, "", "/work", Grants{Fork: true}, nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s %v %v", r.Args["GIT_BRANCH"], r.Args["CI_PULL_REQUEST"], r.NoPush, r.Fork); got != "mallory:master 7 true true" {
		t.Errorf("a fork's pull request: %s", got)
	}

	run = store.Run{SHA: sha, Ref: "refs/tags/v1.2", Number: 12}
	run.Variables.V = map[string]string{"MODE": "nightly", "GIT_TAG": "v9", "EXTRA": "1"}
	cfg.Build.Tags = []string{"{branch}-{short_sha}", "build-{run}", "{tag}"}
	if r, err = buildRequest(cfg, run, repo, commit, "", "/work", grants, nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(imageTags(cfg, run)); got != "[build-12 v1.2] <nil>" {
		t.Errorf("tags of a tag: %s", got)
	}
	if len(r.Labels) != 3 || r.Args["GIT_TAG"] != "v1.2" || r.Args["GIT_BRANCH"] != "" {
		t.Errorf("a tag's build has the labels %v and arguments %v", r.Labels, r.Args)
	}
	if got := r.Args["MODE"] + " " + r.Args["EXTRA"]; got != "nightly 1" || cfg.Build.Args["MODE"] != "release" {
		t.Errorf("variables: %s, and the file's own became %v", got, cfg.Build.Args)
	}

	cfg.Build.Tags = []string{"{nonsense}"}
	if _, err = buildRequest(cfg, run, repo, commit, "", "/work", grants, nil); err == nil {
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
