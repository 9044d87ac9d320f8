package pipeline

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/store"
)

// Each line says who, which ref, and what is given: the secrets (or the one that the build is refused for), whether it may
// push, the branches whose caches are written and read, the namespace of cache mounts without the repository, and whether it
// runs on builders for forks.
func TestTrusted(t *testing.T) {
	hashed := regexp.MustCompile(`cache-[0-9a-f]{32}-`)
	repo := store.Repo{Name: "Acme/Web", DefaultBranch: "master"}
	// What the server's file says of secrets: everyone's, only of the default branch, of releases, and of another repository.
	mayUse := func(secret, ref string) error {
		expr := map[string]string{"npm": ".*", "signing": "^refs/heads/master$", "store": "^refs/heads/release/|^refs/tags/v", "theirs": "^$"}[secret]
		if expr == "" || ref == "" || !regexp.MustCompile(expr).MatchString(ref) {
			return fmt.Errorf("%s is not for %s", secret, ref)
		}
		return nil
	}
	on := func(cause, ref string) store.Run { return store.Run{Cause: cause, Ref: ref} }
	push := func(ref string) store.Run { return on(store.CausePush, ref) }
	pull := func(branch string) store.Run {
		return store.Run{Cause: store.CausePull, Ref: "refs/pull/7/merge", Pull: 7, HeadRef: "refs/heads/" + branch, BaseRef: "refs/heads/master"}
	}
	into := func(base string, r store.Run) store.Run { r.BaseRef = "refs/heads/" + base; return r }
	fork := func(number int, branch string) store.Run {
		r := pull(branch)
		r.Pull, r.Fork = number, "mallory/web"
		return r
	}
	type line struct {
		run     store.Run
		secrets string // that the file names, separated by spaces
		want    string
	}
	for _, test := range []struct {
		cache string
		lines []line
	}{
		{CacheRegistry, []line{
			// The default branch was reviewed, whatever starts the build.
			{push("refs/heads/master"), "", "[] push, writes [master], reads [master], mounts default"},
			{push("refs/heads/master"), "npm signing", "[npm signing] push, writes [master], reads [master], mounts default"},
			{push("refs/heads/master"), "npm store", "refused: store is not for refs/heads/master"},
			{push("refs/heads/master"), "theirs", "refused: theirs is not for refs/heads/master"},
			{push("refs/heads/master"), "unknown", "refused: unknown is not for refs/heads/master"},
			{on(store.CauseSchedule, "refs/heads/master"), "signing", "[signing] push, writes [master], reads [master], mounts default"},
			{on(store.CauseAPI, "refs/heads/master"), "signing", "[signing] push, writes [master], reads [master], mounts default"},
			{on(store.CauseCommand, "refs/heads/master"), "signing", "[signing] push, writes [master], reads [master], mounts default"},

			// Of another branch nobody else need have seen anything.
			{push("refs/heads/topic"), "", "[] push, writes [topic], reads [topic master], mounts branches"},
			{push("refs/heads/topic"), "npm", "[npm] push, writes [topic], reads [topic master], mounts branches"},
			{push("refs/heads/topic"), "npm signing", "refused: signing is not for refs/heads/topic"},
			{push("refs/heads/release/7"), "store", "[store] push, writes [release-7], reads [release-7 master], mounts branches"},
			{push("refs/heads/release/7"), "signing", "refused: signing is not for refs/heads/release/7"},
			{push("refs/heads/Master"), "signing", "refused: signing is not for refs/heads/Master"},
			{push("refs/heads/Master"), "", "[] push, writes [Master], reads [Master master], mounts branches"},
			{push("refs/heads/master/x"), "signing", "refused: signing is not for refs/heads/master/x"},
			{push("refs/heads/master/x"), "", "[] push, writes [master-x], reads [master-x master], mounts branches"},
			{on(store.CauseCommand, "refs/heads/topic"), "npm", "[npm] push, writes [topic], reads [topic master], mounts branches"},
			{on(store.CauseAPI, "refs/heads/topic"), "signing", "refused: signing is not for refs/heads/topic"},
			{on(store.CauseAPI, "refs/heads/topic"), "npm", "[npm] push, writes [topic], reads [topic master], mounts branches"},
			{push("refs/heads/refs/heads/master"), "", "[] push, writes [], reads [master], mounts branches"}, // a branch that is called so

			// A tag is anybody's who may push, and whatever it is called it is no branch.
			{push("refs/tags/v1"), "", "[] push, writes [], reads [master], mounts branches"},
			{push("refs/tags/v1"), "npm store", "[npm store] push, writes [], reads [master], mounts branches"},
			{push("refs/tags/v1"), "signing", "refused: signing is not for refs/tags/v1"},
			{push("refs/tags/master"), "signing", "refused: signing is not for refs/tags/master"},
			{push("refs/tags/master"), "", "[] push, writes [], reads [master], mounts branches"},
			{on(store.CauseAPI, "refs/tags/v1"), "store", "[store] push, writes [], reads [master], mounts branches"},

			// A pull request of a branch of ours is given what the branch is, but leaves nothing behind.
			{pull("topic"), "", "[], writes [], reads [topic master], mounts branches"},
			{pull("topic"), "npm", "[npm], writes [], reads [topic master], mounts branches"},
			{pull("topic"), "signing", "refused: signing is not for refs/heads/topic"},
			{pull("release/7"), "store", "[store], writes [], reads [release-7 master], mounts branches"},
			{into("release/7", pull("release/7-fix")), "store", "[store], writes [], reads [release-7-fix master], mounts branches"},
			{into("topic", pull("release/7")), "store", "refused: store is not for refs/heads/topic"},
			{into("evil", pull("master")), "signing", "refused: signing is not for refs/heads/evil"}, // the merge holds what evil holds
			{into("evil", pull("master")), "npm", "[npm], writes [], reads [master], mounts branches"},

			// A fork's is given nothing, whatever its branch is called, and meets nobody in a cache that can be written.
			{fork(7, "topic"), "", "[], writes [], reads [master], mounts pull 7, fork"},
			{fork(7, "topic"), "npm", "[] without [npm], writes [], reads [master], mounts pull 7, fork"},
			{fork(7, "topic"), "npm signing store theirs unknown", "[] without [npm signing store theirs unknown], writes [], reads [master], mounts pull 7, fork"},
			{fork(7, "master"), "signing", "[] without [signing], writes [], reads [master], mounts pull 7, fork"},
			{fork(7, "release/7"), "store", "[] without [store], writes [], reads [master], mounts pull 7, fork"},
			{fork(8, "topic"), "", "[], writes [], reads [master], mounts pull 8, fork"},
		}},
		{"", []line{
			{push("refs/heads/master"), "", "[] push, writes [master], reads [master], mounts default"},
			{fork(7, "topic"), "", "[], writes [], reads [master], mounts pull 7, fork"},
		}},
		{CacheInline, []line{
			{push("refs/heads/master"), "npm", "[npm] push, inline, writes [], reads [], mounts default"},
			{push("refs/heads/topic"), "", "[] push, inline, writes [], reads [], mounts branches"},
			{push("refs/tags/v1"), "", "[] push, inline, writes [], reads [], mounts branches"},
			{pull("topic"), "npm", "[npm], writes [], reads [], mounts branches"},
			{fork(7, "topic"), "npm", "[] without [npm], writes [], reads [], mounts pull 7, fork"},
		}},
		{CacheOff, []line{
			{push("refs/heads/master"), "npm", "[npm] push, writes [], reads [], mounts default"},
			{push("refs/heads/topic"), "", "[] push, writes [], reads [], mounts branches"},
			{pull("topic"), "", "[], writes [], reads [], mounts branches"},
			{fork(7, "topic"), "npm", "[] without [npm], writes [], reads [], mounts pull 7, fork"},
		}},
	} {
		for _, l := range test.lines {
			cfg := Config{Build: Build{Image: testImage, Cache: test.cache, Secrets: strings.Fields(l.secrets)}}
			g, err := Trusted(l.run, repo, cfg, mayUse)
			branches := func(refs []string) string {
				for i, ref := range refs {
					path, tag, _ := strings.Cut(ref, ":")
					if path != testImage || !hashed.MatchString(tag) {
						t.Errorf("%+v: the cache %s", l.run, ref)
					}
					refs[i] = hashed.ReplaceAllString(tag, "")
				}
				return fmt.Sprint(refs)
			}
			got := fmt.Sprint(g.Secrets)
			if len(g.Withheld) > 0 {
				got += fmt.Sprintf(" without %s", g.Withheld)
			}
			if g.Push {
				got += " push"
			}
			if g.Inline {
				got += ", inline"
			}
			scope, ours := strings.CutPrefix(g.Scope, "acme/web ")
			got += fmt.Sprintf(", writes %s, reads %s, mounts %s", branches(g.Exports), branches(g.Imports), scope)
			if g.Fork {
				got += ", fork"
			}
			if err != nil {
				got = "refused: " + err.Error()
			} else if !ours {
				t.Errorf("%+v: mounts are kept under %q", l.run, g.Scope)
			}
			if got != l.want {
				t.Errorf("cache %q, %s of %s%s:\n%s\nwant\n%s", test.cache, l.run.Cause, l.run.Ref, l.run.HeadRef, got, l.want)
			}
		}
	}
}

// TestCachesOfTwoRepositories: two that share a path share no cache, and neither do names that look alike as a tag.
func TestCachesOfTwoRepositories(t *testing.T) {
	seen := map[string]string{}
	for _, repo := range []string{"acme/web", "acme/api", "acme/web-api", "acme-web/api"} {
		for _, branch := range []string{"a/b", "a-b", "A-B", "a.b", "a_b", "a-b-", "a-b.", "ä", "ö", strings.Repeat("x", 150), strings.Repeat("x", 151)} {
			ref, err := cacheRef(testImage, repo, branch)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := seen[ref]; ok {
				t.Errorf("%s of %s and %s share %s", branch, repo, other, ref)
			}
			seen[ref] = branch + " of " + repo
		}
	}
	one, _ := cacheRef(testImage, "acme/web", "master")
	if again, _ := cacheRef(testImage, "acme/web", "master"); one != again {
		t.Errorf("%s is not %s", one, again)
	}
}
