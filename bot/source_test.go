package bot

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// TestSubmodules builds from a Dockerfile that stands in a submodule: what is echoed there tells which one it got.
func TestSubmodules(t *testing.T) {
	t.Parallel()
	const build = "shipmate/build"
	names := map[string]sim.RepoOptions{"acme/lib": {}, "acme/secret": {}, "acme/uninstalled": {NotInstalled: true}, "zeta/public": {Public: true, NotInstalled: true}, "zeta/private": {}}
	modules := func(url string) string {
		return fmt.Sprintf("[submodule \"sub\"]\n\tpath = sub\n\turl = %s\n", url)
	}
	tests := map[string]struct {
		url    string // on master, whose default is ../lib.git
		branch string // of a branch; "": master is built
		want   string // in the status, "": it is built
	}{
		"private":                       {url: "../lib.git"},
		"public of a stranger":          {url: "../../zeta/public"},
		"absolute":                      {url: "WEB/acme/lib.git"},
		"same on a branch":              {url: "../lib.git", branch: "git@HOST:acme/lib.git"},
		"not reviewed":                  {url: "../lib.git", branch: "../secret.git", want: "acme/secret is not public, and no credential is used for it: the default branch of acme/web does not have it"},
		"public, not reviewed":          {url: "../lib.git", branch: "../../zeta/public"},
		"not installed":                 {url: "../uninstalled", want: "the GitHub App is not installed on it"},
		"not allowed by the server":     {url: "../../zeta/private", want: "zeta/private may not use this server; to allow it, add"},
		"another host":                  {url: "https://evil.example.com/acme/lib", want: `.gitmodules:3: submodule "sub": its url must be a repository on the same host`},
		"reviewed, but of another host": {url: "../lib.git", branch: "ext::sh -c false", want: "its url must be a repository on the same host"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil)
			expand := strings.NewReplacer("WEB", l.gh.URL(), "HOST", "127.0.0.1").Replace
			commits := map[string]string{}
			for repo, options := range names {
				r := got(l.gh.CreateRepo(repo, options))(t)
				r.SetPermission("root", "admin", "")
				commits[repo] = got(r.Commit("master", "root", "Begin", map[string]string{"Dockerfile": "FROM scratch\nRUN echo built " + repo + "\n"}))(t)
			}
			files := func(address string) map[string]string {
				repo := "acme/lib"
				for name := range names {
					if _, short := split(name); strings.Contains(address, short) {
						repo = name
					}
				}
				return map[string]string{".gitmodules": modules(expand(address)), "sub": sim.Submodule(commits[repo])}
			}
			first := files(test.url)
			first[".shipmate.yaml"] = file(t, "team/web", "team/web\n  submodules: true\n  dockerfile: sub/Dockerfile")[".shipmate.yaml"]
			sha := got(l.Push("root", "master", "Take the Dockerfile from a submodule", first))(t)
			if test.branch != "" {
				must(t, l.Settle())
				sha = got(l.Push("alice", "topic", "Take another", files(test.branch)))(t)
			}
			state := map[bool]string{true: "success", false: "failure"}[test.want == ""]
			if _, err := l.Status(sha, build, state, ""); err != nil {
				t.Fatal(err)
			}
			var run store.Run
			must(t, l.bot.db.View(t.Context(), func(tx *store.Tx) (err error) { run, err = tx.RunOf("acme/web", "web", sha); return err }))
			// A fork's build of the same commit gets no credential but the repository's own.
			dest := filepath.Join(t.TempDir(), "src")
			repo := store.Repo{Name: "acme/web", Installation: installation(t, l), DefaultBranch: "master"}
			_, err := l.bot.engine.Source.Checkout(t.Context(), repo, sha, dest, source.Options{Submodules: true, Public: true})
			if public := strings.Contains(test.url+test.branch, "public"); public != (err == nil) || !public && !source.IsPermanent(err) {
				t.Errorf("for a fork: %v", err)
			}
			if test.want != "" && (run.Failure.V == nil || !strings.Contains(run.Failure.V.Reason, test.want)) {
				t.Errorf("the run failed by %+v, not by %q", run.Failure.V, test.want)
			}
		})
	}
}
