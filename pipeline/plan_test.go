package pipeline

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const chain = `
trigger: {branches: [master, '/^release\/\d+$/', develop]}
build: {image: registry.example.com/team/web}
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy, deploy: auto, branches: [master, develop]}
  - {name: qa, cluster: test, namespace: qa, manifests: deploy, branches: [/.*/]}
  - {name: preview, cluster: test, namespace: preview, manifests: deploy, deploy: auto, branches: [/.*/]}
  - {name: production, cluster: prod, namespace: prod, manifests: deploy, deploy: auto, after: staging}
  - {name: mirror, cluster: prod, namespace: mirror, manifests: deploy, deploy: auto, after: production, branches: [/.*/]}
`

func TestPlan(t *testing.T) {
	c := parse(t, chain)
	push := func(ref string) Trigger { return Trigger{Kind: TriggerPush, Ref: ref, DefaultBranch: "master"} }
	deleted := push("refs/heads/master")
	deleted.Deleted = true
	skip := push("refs/heads/master")
	skip.HeadMessage = "fix a typo\n\n[Skip CI]"
	command := Trigger{Kind: TriggerCommand, Ref: "refs/heads/feature", DefaultBranch: "master", HeadMessage: "[skip ci]"}
	commandOnDeleted := command
	commandOnDeleted.Deleted = true

	tests := map[string]struct {
		trigger Trigger
		build   bool
		reason  string // its key
		deploys []string
	}{
		"default branch":        {push("refs/heads/master"), true, "branch", []string{"staging", "preview", "production", "mirror"}},
		"other branch":          {push("refs/heads/develop"), true, "branch", []string{"staging", "preview"}},
		"regular expression":    {push("refs/heads/release/7"), true, "branch", []string{"preview"}},
		"expression, anchored":  {push("refs/heads/release/7x"), false, "branch", nil},
		"no rule":               {push("refs/heads/feature"), false, "branch", nil},
		"a branch named so":     {push("refs/heads/refs/heads/master"), false, "not-a-branch", nil},
		"tag named so":          {push("refs/tags/master"), false, "not-a-branch", nil},
		"no ref":                {push(""), false, "not-a-branch", nil},
		"deleted":               {deleted, false, "deleted", nil},
		"skip word":             {skip, false, "skip-word", nil},
		"command":               {command, true, "command", nil},
		"command, branch gone":  {commandOnDeleted, false, "deleted", nil},
		"a kind nobody defined": {Trigger{Kind: "dream", Ref: "refs/heads/master", DefaultBranch: "master"}, false, "kind", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := c.Plan(test.trigger)
			if key, words, _ := strings.Cut(p.Reason, ": "); p.Build != test.build || key != test.reason || words == "" {
				t.Errorf("build %v because of %q, want %v because of %s", p.Build, p.Reason, test.build, test.reason)
			}
			if !reflect.DeepEqual(p.Deploys, test.deploys) {
				t.Errorf("deploys %q, want %q", p.Deploys, test.deploys)
			}
		})
	}
}

func TestPlanTrace(t *testing.T) {
	c := parse(t, chain)
	got := c.Plan(Trigger{Kind: TriggerPush, Ref: "refs/heads/develop", DefaultBranch: "master"}).Trace
	want := []string{
		"push of refs/heads/develop",
		`branch: refs/heads/develop is one of trigger.branches [master /^release\/\d+$/ develop]`,
		"staging: yes, deploy is auto",
		"qa: no, deploy is manual",
		"preview: yes, deploy is auto, once it is live in qa",
		"production: no, refs/heads/develop is none of its branches [default]",
		"mirror: no, it comes after production, which does not take this branch",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
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
		{staging, "refs/tags/v1", false},
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
		"cluster":            func(e *Environment) { e.Cluster = "test" },
		"namespace":          func(e *Environment) { e.Namespace = "other" },
		"approvals.count":    func(e *Environment) { e.Approvals.Count++ },
		"approvals.by":       func(e *Environment) { e.Approvals.By = []string{"mallory"} },
		"approvals.self":     func(e *Environment) { e.Approvals.Self = true },
		"approvals.expire":   func(e *Environment) { e.Approvals.Expire *= 2 },
		"deployers":          func(e *Environment) { e.Deployers = []string{"mallory"} },
		"conflicts":          func(e *Environment) { e.Conflicts = Force },
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
	b.Timeout, b.Rollback = time.Hour, Manual
	if a.PolicyHash() != b.PolicyHash() {
		t.Error("the order and case of names, the time limit and what follows a failure must not void an approval")
	}
	if b.Approvals.By[0] != "bob" {
		t.Error("PolicyHash must not sort the environment's own list")
	}
}
