package pipeline

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"
)

const chain = `
trigger:
  branches: [master, '/^release\/\d+$/', develop]
  tags: [/.*/]
  pull_requests: true
  registry: {repository: r.example.com/base}
build: {image: registry.example.com/team/web}
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy, deploy: auto, branches: [master, develop]}
  - {name: qa, cluster: test, namespace: qa, manifests: deploy, branches: [/.*/]}
  - {name: preview, cluster: test, namespace: preview, manifests: deploy, deploy: auto, branches: [/.*/]}
  - {name: production, cluster: prod, namespace: prod, manifests: deploy, deploy: auto, after: staging, tags: [/^v/]}
  - {name: mirror, cluster: prod, namespace: mirror, manifests: deploy, deploy: auto, after: production, branches: [/.*/]}
`

const (
	thisCommit  = "1111111111111111111111111111111111111111"
	otherCommit = "2222222222222222222222222222222222222222"
)

// Each line says: under these rules, this does or does not start a run, and which rule decided.
func TestPlan(t *testing.T) {
	on := func(kind, ref string) Trigger {
		return Trigger{Kind: kind, Ref: ref, SHA: thisCommit, DefaultBranch: "master", HeadMessage: "Add a page", Authors: []string{"alice"}}
	}
	branch := func(name string) Trigger { return on(TriggerPush, "refs/heads/"+name) }
	tag := func(name string) Trigger { return on(TriggerPush, "refs/tags/"+name) }
	gone := func(t Trigger) Trigger { t.Deleted = true; return t }
	saying := func(message string, t Trigger) Trigger { t.HeadMessage = message; return t }
	by := func(t Trigger, authors ...string) Trigger { t.Authors = authors; return t }
	changing := func(t Trigger, files ...string) Trigger { t.Files, t.FilesKnown = files, true; return t }
	among := func(t Trigger, files ...string) Trigger { t.Files = files; return t } // others that are not known
	pull := func(p Pull) Trigger {
		t := on(TriggerPull, "refs/pull/7/merge")
		p.Number, p.Base, p.Head = 7, "master", otherCommit
		t.Pull = p
		return t
	}
	clean := pull(Pull{Merge: MergeClean})
	fork := pull(Pull{Merge: MergeClean, Fork: true})
	tested := pull(Pull{Merge: MergeClean, Fork: true, OkToTest: true})
	due := func(previous string, entries ...Schedule) Trigger {
		t := on(TriggerSchedule, "refs/heads/master")
		t.Previous, t.Due = previous, entries
		return t
	}
	nightly, always := Schedule{Cron: "0 3 * * *", Zone: "UTC"}, Schedule{Cron: "0 4 * * 0", Zone: "UTC", Always: true}
	api := func(ref string, variables ...string) Trigger {
		t := on(TriggerAPI, ref)
		t.Variables = map[string]string{}
		for _, v := range variables {
			name, value, _ := strings.Cut(v, "=")
			t.Variables[name] = value
		}
		return t
	}
	image := func(repository, tag string) Trigger {
		t := on(TriggerRegistry, "refs/heads/master")
		t.Image = Image{Repository: repository, Tag: tag}
		return t
	}
	known := image("r.example.com/base", "v1")
	known.Image.Released = 41

	type line struct {
		trigger Trigger
		want    string // build, release or no; and the key of the rule that decided
	}
	tests := []struct {
		rules string
		lines []line
	}{
		{``, []line{ // the default branch's pushes alone
			{branch("master"), "build branch"},
			{branch("Master"), "no branch"},
			{branch("feature"), "no branch"},
			{branch("feature/master"), "no branch"},
			{branch("refs/heads/master"), "no ref"}, // a branch that is called so: its short name is another's full one
			{branch("default"), "no branch"},
			{tag("master"), "no tag"},
			{tag("v1.0"), "no tag"},
			{on(TriggerPush, ""), "no ref"},
			{on(TriggerPush, "refs/heads/"), "no ref"},
			{on(TriggerPush, "refs/notes/commits"), "no ref"},
			{on(TriggerPush, "refs/pull/7/head"), "no ref"},
			{gone(branch("master")), "no deleted"},
			{gone(branch("feature")), "no deleted"},
			{gone(tag("v1.0")), "no deleted"},
			{clean, "no pull"},
			{tested, "no pull"},
			{due("", nightly), "build schedule"}, // whoever made it due has read the file
			{image("r.example.com/base", "v1"), "no registry"},
			{on("dream", "refs/heads/master"), "no kind"},
		}},
		{`branches: [default, develop, '/^release\/\d+$/', '/^refs\/heads\/hot/', /wip/]`, []line{
			{branch("master"), "build branch"},
			{branch("develop"), "build branch"},
			{branch("release/7"), "build branch"},
			{branch("release/7x"), "no branch"}, // anchored, because it says so
			{branch("x/release/7"), "no branch"},
			{branch("hotfix"), "build branch"},  // by its full name
			{branch("a-wip-b"), "build branch"}, // anywhere, because it does not say where
			{tag("develop"), "no tag"},
			{tag("release/7"), "no tag"},
		}},
		{`branches: []`, []line{{branch("master"), "no branch"}}}, // none, said on purpose
		{`tags: [latest, '/^v\d+\.\d+$/', '/^refs\/tags\/rc-/', refs/tags/stable]`, []line{
			{tag("v1.2"), "build tag"},
			{tag("v1.2-rc1"), "no tag"},
			{tag("latest"), "build tag"},
			{tag("latest2"), "no tag"},
			{tag("rc-1"), "build tag"},
			{tag("stable"), "build tag"},
			{tag("refs/tags/stable"), "no ref"},
			{branch("master"), "build branch"}, // as without any tags
			{branch("latest"), "no branch"},
			{branch("v1.2"), "no branch"},
			{saying("Release [skip ci]", tag("v1.2")), "no skip-word"},
		}},
		{`branches: [master]`, []line{ // words in the newest commit's message
			{saying("Fix [skip ci]", branch("master")), "no skip-word"},
			{saying("[CI Skip] fix", branch("master")), "no skip-word"},
			{saying("fix\n\nmore\n[no ci]\nand more", branch("master")), "no skip-word"},
			{saying("fix [skip shipmate]", branch("master")), "no skip-word"},
			{saying("fix [shipmate skip]", branch("master")), "no skip-word"},
			{saying("fix\n\nskip-checks: true\n", branch("master")), "no skip-word"},
			{saying("fix\n\n\nCo-authored-by: Bob <bob@example.com>\nskip-checks:true", branch("master")), "no skip-word"},
			{saying("fix\n\nskip-checks: true\n\nnot at the end", branch("master")), "build branch"},
			{saying("explain what skip-checks: true", branch("master")), "build branch"},
			{saying("skip ci", branch("master")), "build branch"},
			{saying("fix [skip  ci]", branch("master")), "build branch"},
			{saying("fix [skip actions]", branch("master")), "build branch"}, // those are GitHub's
			{saying("Fix [skip ci]", branch("feature")), "no branch"},
			{saying("Fix [skip ci]", api("refs/heads/master")), "build api"},
			{saying("Fix [skip ci]", on(TriggerCommand, "refs/heads/master")), "build command"},
			{saying("Fix [skip ci]", due("", nightly)), "build schedule"},
			{saying("", branch("master")), "build branch"},
		}},
		{`authors_ignore: ["dependabot[bot]", renovate]`, []line{
			{by(branch("master"), "dependabot[bot]"), "no author"},
			{by(branch("master"), "Dependabot[bot]", "Renovate"), "no author"},
			{by(branch("master"), "dependabot[bot]", "alice"), "build branch"}, // one of somebody else is enough
			{by(branch("master"), "dependabot"), "build branch"},
			{by(branch("master"), "dependabot[bot]", ""), "build branch"}, // one of nobody knows whom
			{by(branch("master")), "build branch"},
			{by(branch("feature"), "alice"), "no branch"},
			{by(due("", nightly), "dependabot[bot]"), "build schedule"},
			{by(on(TriggerCommand, "refs/heads/x"), "dependabot[bot]"), "build command"},
		}},
		{`paths: ["web/**", go.mod]`, []line{
			{changing(branch("master"), "web/main.go"), "build branch"},
			{changing(branch("master"), "docs/a.md", "go.mod"), "build branch"}, // one file is enough
			{changing(branch("master"), "docs/web/a.md"), "no paths"},
			{changing(branch("master"), "api/go.mod"), "no paths"},
			{changing(branch("master")), "no paths"}, // an empty commit
			{branch("master"), "build branch"},       // nothing is known: it counts as changed
			{among(branch("master"), "docs/a.md"), "build branch"},
			{among(branch("master"), "web/a.go"), "build branch"},
			{changing(branch("feature"), "web/main.go"), "no branch"},
			{changing(tag("v1"), "web/main.go"), "no tag"},
			{changing(due("", nightly), "docs/a.md"), "build schedule"},
			{changing(api("refs/heads/master"), "docs/a.md"), "build api"},
			{changing(on(TriggerCommand, "refs/heads/master"), "docs/a.md"), "build command"},
		}},
		{`paths_ignore: ["docs/**", "**/*.md"]`, []line{
			{changing(branch("master"), "docs/a.png", "README.md", "web/README.md"), "no paths"},
			{changing(branch("master"), "docs/a.png", "web/main.go"), "build branch"},
			{changing(branch("master")), "no paths"},
			{among(branch("master"), "README.md"), "build branch"},
		}},
		{"paths: [web, '!web/test']\n  paths_ignore: ['**/*.md']\n  tags: [/^v/]\n  pull_requests: true", []line{
			{changing(branch("master"), "web/main.go"), "build branch"},
			{changing(branch("master"), "web/README.md"), "no paths"},
			{changing(branch("master"), "web/test/main.go"), "no paths"},
			{changing(branch("master"), "api/main.go", "web/README.md"), "no paths"}, // the same file must pass both
			{changing(tag("v1"), "api/main.go"), "build tag"},                        // a tag is no change
			{changing(tag("v1")), "build tag"},
			{changing(clean, "web/main.go"), "build pull"},
			{changing(clean, "api/main.go"), "no paths"},
		}},
		{"pull_requests: true\n  authors_ignore: [\"dependabot[bot]\"]", []line{
			{clean, "build pull"},
			{pull(Pull{Merge: MergeConflict}), "no merge-conflict"},
			{pull(Pull{}), "no merge-unknown"},
			{pull(Pull{Merge: "dirty?"}), "no merge-unknown"},
			{pull(Pull{Merge: MergeClean, Closed: true}), "no closed"},
			{fork, "no fork"},
			{tested, "build pull"},
			{pull(Pull{Merge: MergeConflict, Fork: true}), "no fork"},
			{pull(Pull{Merge: MergeConflict, Fork: true, OkToTest: true}), "no merge-conflict"},
			{saying("wip [skip ci]", clean), "no skip-word"},
			{saying("wip [skip ci]", pull(Pull{Merge: MergeConflict})), "no skip-word"}, // nobody is told of a conflict then
			{by(clean, "dependabot[bot]"), "no author"},
		}},
		{`schedule: [{cron: "0 3 * * *"}]`, []line{
			{due("", nightly), "build schedule"},
			{due(otherCommit, nightly), "build schedule"},
			{due(thisCommit, nightly), "no nothing-changed"},
			{due(thisCommit, always), "build schedule"},
			{due(thisCommit, nightly, always), "build schedule"},
			{due(otherCommit), "no schedule"},
		}},
		{`registry: {repository: r.example.com/base, tag: 'v\d+|edge'}`, []line{
			{image("r.example.com/base", "v1"), "release registry"},
			{image("r.example.com/base", "v12"), "release registry"},
			{image("r.example.com/base", "edge"), "release registry"},
			{image("r.example.com/base", "v1-rc"), "no registry"}, // the whole tag
			{image("r.example.com/base", "sledge"), "no registry"},
			{image("r.example.com/base", ""), "no registry"},
			{image("r.example.com/base/x", "v1"), "no registry"},
			{image("other.example.com/base", "v1"), "no registry"},
			{known, "no released"},
		}},
		{`registry: {repository: r.example.com/base}`, []line{
			{image("r.example.com/base", "anything"), "release registry"},
			{image("r.example.com/base", "latest"), "no registry"},
			{image("r.example.com/base", "latest-1"), "release registry"},
			{image("r.example.com/base", ""), "no registry"},
		}},
		{`registry: {repository: r.example.com/base, tag: latest}`, []line{{image("r.example.com/base", "latest"), "release registry"}}},
		{`branches: []`, []line{ // who asks for it gets it
			{api("refs/heads/feature"), "build api"},
			{api("refs/tags/v1", "LEVEL=3", "_x="), "build api"},
			{api("refs/pull/7/head"), "no ref"},
			{api("master"), "no ref"},
			{api("refs/heads/master", "BUILDKIT_SYNTAX=evil/frontend"), "no variables"},
			{gone(api("refs/heads/feature")), "no deleted"},
			{on(TriggerCommand, "refs/heads/feature"), "build command"},
			{gone(on(TriggerCommand, "refs/heads/feature")), "no deleted"},
		}},
	}
	for _, test := range tests {
		c := parse(t, "build: {image: r.example.com/web}\ntrigger:\n  "+cmp.Or(test.rules, "{}")+"\n").WithDefaults("acme/web", "master")
		for _, l := range test.lines {
			p := c.Plan(l.trigger)
			key, words, _ := strings.Cut(p.Reason, ": ")
			got := "no " + key
			if p.Build {
				got = "build " + key
			} else if p.Release {
				got = "release " + key
			}
			if got != l.want || words == "" {
				t.Errorf("%s\n%s changing %q by %q saying %q:\ngot  %s: %s\nwant %s", test.rules, l.trigger, l.trigger.Files, l.trigger.Authors, l.trigger.HeadMessage, got, words, l.want)
			}
			if !slices.Contains(p.Trace, p.Reason) || p.Trace[0] != l.trigger.String() {
				t.Errorf("%s: the trace %q is without its reason %q", l.trigger, p.Trace, p.Reason)
			}
			if p.Cancel != (key == "deleted" && l.trigger.Kind == TriggerPush || key == "closed") || p.Again != (key == "merge-unknown") {
				t.Errorf("%s: cancel %v, again %v because of %s", l.trigger, p.Cancel, p.Again, p.Reason)
			}
		}
	}
}

// Where a release goes by itself.
func TestPlanDeploys(t *testing.T) {
	c := parse(t, chain)
	on := func(kind, ref string) Trigger {
		return Trigger{Kind: kind, Ref: ref, SHA: thisCommit, DefaultBranch: "master"}
	}
	pull := on(TriggerPull, "refs/pull/7/merge")
	pull.Pull.Merge = MergeClean
	due := on(TriggerSchedule, "refs/heads/master")
	due.Due = []Schedule{{Cron: "0 3 * * *", Zone: "UTC"}}
	image := on(TriggerRegistry, "refs/heads/master")
	image.Image = Image{Repository: "r.example.com/base", Tag: "v1"}
	for _, test := range []struct {
		trigger Trigger
		release bool
		deploys string
	}{
		{on(TriggerPush, "refs/heads/master"), true, "staging preview production mirror"},
		{on(TriggerPush, "refs/heads/develop"), true, "staging preview"},
		{on(TriggerPush, "refs/heads/release/7"), true, "preview"},
		{on(TriggerPush, "refs/heads/feature"), false, ""},
		{on(TriggerPush, "refs/tags/v1"), true, "staging production"},
		{on(TriggerPush, "refs/tags/nightly"), true, "staging"},
		{on(TriggerAPI, "refs/heads/feature"), true, "preview"},
		{on(TriggerAPI, "refs/heads/master"), true, "staging preview production mirror"},
		{on(TriggerCommand, "refs/heads/master"), true, ""},
		{due, true, "staging preview production mirror"},
		{image, true, "staging preview production mirror"},
		{pull, false, ""},
	} {
		p := c.Plan(test.trigger)
		if got := strings.Join(p.Deploys, " "); got != test.deploys || p.Release != test.release {
			t.Errorf("%s: release %v goes to %q, want %v and %q\n%s", test.trigger, p.Release, got, test.release, test.deploys, strings.Join(p.Trace, "\n"))
		}
	}
}

func TestPlanTrace(t *testing.T) {
	rules := strings.Replace(chain, "  tags:", "  paths: [web]\n  authors_ignore: [\"dependabot[bot]\"]\n  schedule: [{cron: \"0 3 * * *\", zone: Asia/Shanghai}]\n  tags:", 1)
	push := Trigger{Kind: TriggerPush, Ref: "refs/heads/develop", SHA: thisCommit, DefaultBranch: "master"}
	told := push
	told.Authors, told.Files, told.FilesKnown, told.Base = []string{"dependabot[bot]", "alice"}, []string{"go.mod", "web/main.go"}, true, otherCommit
	elsewhere := told
	elsewhere.Files = []string{"api/main.go"}
	ignored := push
	ignored.Authors = []string{"dependabot[bot]"}
	pull := Trigger{Kind: TriggerPull, Ref: "refs/pull/7/merge", SHA: thisCommit, DefaultBranch: "master",
		Pull: Pull{Number: 7, Base: "master", Head: otherCommit, Merge: MergeConflict, Fork: true, OkToTest: true}}
	fork := pull
	fork.Pull.OkToTest = false
	due := Trigger{Kind: TriggerSchedule, Ref: "refs/heads/master", SHA: thisCommit, Previous: thisCommit, DefaultBranch: "master", Due: parse(t, rules).Trigger.Schedule}
	image := Trigger{Kind: TriggerRegistry, Ref: "refs/heads/master", DefaultBranch: "master", Image: Image{Repository: "r.example.com/base", Tag: "v1", Released: 41}}
	const follows = `
staging: yes, deploy is auto
qa: no, deploy is manual
preview: yes, deploy is auto, once it is live in qa
production: no, refs/heads/develop is none of its branches [default]
mirror: no, it comes after production, which does not take it`
	tests := []struct {
		rules   string
		trigger Trigger
		want    string
	}{
		{chain, push, `push of refs/heads/develop
branch: refs/heads/develop is one of trigger.branches [master /^release\/\d+$/ develop]` + follows},
		{rules, told, `push of refs/heads/develop
branch: refs/heads/develop is one of trigger.branches [master /^release\/\d+$/ develop]
author: alice is none of trigger.authors_ignore [dependabot[bot]]
paths: "web/main.go" changed since 2222222 and is among trigger.paths ["web"]` + follows},
		{rules, elsewhere, `push of refs/heads/develop
branch: refs/heads/develop is one of trigger.branches [master /^release\/\d+$/ develop]
author: alice is none of trigger.authors_ignore [dependabot[bot]]
paths: of the files that changed since 2222222 (1), none is among trigger.paths ["web"]`},
		{rules, push, `push of refs/heads/develop
branch: refs/heads/develop is one of trigger.branches [master /^release\/\d+$/ develop]
author: nobody knows whose the commits are, so nobody is ignored
paths: not every file that changed is known, so they count as changed: trigger.paths ["web"]` + follows},
		{rules, ignored, `push of refs/heads/develop
branch: refs/heads/develop is one of trigger.branches [master /^release\/\d+$/ develop]
author: all commits are by dependabot[bot], and trigger.authors_ignore is [dependabot[bot]]`},
		{chain, pull, `pull_request #7 into master
pull: trigger.pull_requests is on, and somebody who may write said /ok-to-test of 2222222, which comes from a fork
merge-conflict: 2222222 cannot be merged into master; resolve the conflict and push`},
		{chain, fork, `pull_request #7 into master
fork: 2222222 comes from a fork, and is built once somebody who may write says /ok-to-test 2222222222222222222222222222222222222222`},
		{rules, due, `schedule of refs/heads/master
nothing-changed: ["0 3 * * *" Asia/Shanghai] is due, but the newest release of refs/heads/master is of 1111111 already; always: true builds it again`},
		{chain, image, `registry: a push of r.example.com/base:v1
released: release 41 has this image already`},
	}
	for _, test := range tests {
		if got := strings.Join(parse(t, test.rules).Plan(test.trigger).Trace, "\n"); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}

// TestPlanWithoutBuild: with no build nothing but a pushed image makes a release.
func TestPlanWithoutBuild(t *testing.T) {
	c := parse(t, "trigger: {pull_requests: true, tags: [v1], registry: {repository: r.example.com/base}}")
	for _, kind := range []string{TriggerPush, TriggerPull, TriggerSchedule, TriggerAPI, TriggerCommand} {
		p := c.Plan(Trigger{Kind: kind, Ref: "refs/heads/master", SHA: thisCommit, DefaultBranch: "master", Pull: Pull{Merge: MergeClean}, Due: []Schedule{{Cron: "0 3 * * *", Zone: "UTC"}}})
		if p.Build || p.Release || !strings.HasPrefix(p.Reason, "build: ") {
			t.Errorf("%s: %+v", kind, p)
		}
	}
	if p := c.Plan(Trigger{Kind: TriggerPush, Ref: "refs/heads/master", DefaultBranch: "master", Deleted: true}); !p.Cancel {
		t.Errorf("a branch that is gone: %+v", p)
	}
	if p := c.Plan(Trigger{Kind: TriggerRegistry, Ref: "refs/heads/master", DefaultBranch: "master", Image: Image{Repository: "r.example.com/base", Tag: "v1"}}); p.Build || !p.Release {
		t.Errorf("a pushed image: %+v", p)
	}
}

func TestAllows(t *testing.T) {
	c := parse(t, minimal)
	staging, production := &c.Environments[0], &c.Environments[2]
	for _, test := range []struct {
		env  *Environment
		ref  string
		want bool
	}{
		{staging, "refs/heads/feature", true},
		{staging, "refs/tags/v1", true},
		{staging, "refs/tags/refs/heads/master", false},
		{production, "refs/heads/master", true},
		{production, "refs/heads/feature", false},
		{production, "refs/heads/default", false},
		{production, "refs/tags/master", false},
		{production, "refs/pull/1/head", false},
		{production, "refs/heads/refs/heads/master", false},
		{&Environment{}, "refs/heads/master", true}, // nothing said: the narrowest
		{&Environment{}, "refs/heads/feature", false},
	} {
		if got := Allows(test.env, test.ref, "master"); got != test.want {
			t.Errorf("%s takes %s: %v", test.env.Name, test.ref, got)
		}
	}
}

func TestPolicyHash(t *testing.T) {
	base := parse(t, chain).Environments[3]
	hash := base.PolicyHash()
	if len(hash) != len("sha256:")+64 || hash != base.PolicyHash() {
		t.Fatalf("hash %q", hash)
	}
	changes := map[string]func(*Environment){
		"name":               func(e *Environment) { e.Name = "other" },
		"after":              func(e *Environment) { e.After = "" },
		"soak":               func(e *Environment) { e.Soak = time.Second },
		"branches":           func(e *Environment) { e.Branches = []Pattern{anyBranch} },
		"tags":               func(e *Environment) { e.Tags = []TagPattern{anyTag} },
		"cluster":            func(e *Environment) { e.Cluster = "test" },
		"namespace":          func(e *Environment) { e.Namespace = "other" },
		"approvals.count":    func(e *Environment) { e.Approvals.Count++ },
		"approvals.by":       func(e *Environment) { e.Approvals.By = []string{"mallory"} },
		"approvals.self":     func(e *Environment) { e.Approvals.Self = true },
		"approvals.expire":   func(e *Environment) { e.Approvals.Expire *= 2 },
		"deployers":          func(e *Environment) { e.Deployers = []string{"mallory"} },
		"conflicts":          func(e *Environment) { e.Conflicts = Force },
		"require_checks":     func(e *Environment) { e.RequireChecks = RequiredChecks{{Set: ChecksAll}} },
		"require_checks.app": func(e *Environment) { e.RequireChecks = RequiredChecks{{Name: "unit", App: "ci"}} },
		"deployers approve":  func(e *Environment) { e.Deployers, e.Approvals.By = e.Approvals.By, []string{"x"} },
		"approvers, another": func(e *Environment) { e.Approvals.By = []string{"mallory", "eve"} },
	}
	seen := map[string]string{hash: "nothing"}
	for what, change := range changes {
		e := base
		change(&e)
		if other, twice := seen[e.PolicyHash()]; twice {
			t.Errorf("a change of %s has the hash of a change of %s", what, other)
		}
		seen[e.PolicyHash()] = what
	}
	a, b := base, base
	a.Approvals.By, b.Approvals.By = []string{"alice", "Bob"}, []string{"bob", "alice", "bob"}
	b.Timeout, b.Rollback, b.Freeze = time.Hour, Manual, []Window{{text: "x"}}
	if a.PolicyHash() != b.PolicyHash() {
		t.Error("the order and case of names, the time limit and what follows a failure must not void an approval")
	}
	if b.Approvals.By[0] != "bob" {
		t.Error("PolicyHash must not sort the environment's own list")
	}
}
