package pipeline

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

func rulesOf(t *testing.T, yaml string) Environment {
	t.Helper()
	c, err := Parse(".shipmate.yaml", []byte("app: web\nbuild: {image: registry.example.com/web}\nenvironments:\n  - {name: staging, cluster: c, namespace: n, manifests: deploy/}\n  - {name: production, cluster: c, namespace: n, manifests: deploy/"+yaml+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	env, _ := c.Environment("production")
	return *env
}

func TestRuleChanges(t *testing.T) {
	base := rulesOf(t, "")
	for yaml, want := range map[string]string{
		"":                               "",
		", timeout: 1h":                  "", // no rule
		", rollback: manual":             "",
		", soak: 30m":                    "soak  → 30m",
		", soak: 36h":                    "soak  → 36h",
		", soak: 90s":                    "soak  → 1m30s",
		", after: none":                  "after staging → ",
		", branches: [default, hotfix]":  "branches default → default, hotfix",
		", tags: [/^v/]":                 "tags  → /^v/",
		", deployers: [alice, \"@a/b\"]": "deployers  → alice, @a/b",
		", conflicts: force":             "conflicts refuse → force",
		", approvals: {count: 2, by: [bob, erin], self: true, expire: 1h}": "approvals.count 0 → 2; approvals.by  → bob, erin; approvals.self false → true; approvals.expire 72h → 1h",
	} {
		var got []string
		for _, c := range ruleChanges(base.Rules(), rulesOf(t, yaml).Rules()) {
			got = append(got, fmt.Sprintf("%s %s → %s", c.Key, c.Old, c.New))
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%s: %s, want %s", yaml, s, want)
		}
	}
}

// TestWithRules: the rules are the other's, the place and how it is rendered stay, and an approval is bound to every rule
// that is copied.
func TestWithRules(t *testing.T) {
	old := rulesOf(t, ", timeout: 5m, pull_secret: s")
	now := rulesOf(t, ", timeout: 1h, soak: 1h, deployers: [alice], approvals: {count: 2}, conflicts: force, branches: [x], tags: [y]")
	now.Cluster, now.Namespace, now.Manifests = "other", "other", "other/"
	got := old.WithRules(now)
	if got.Cluster != "c" || got.Namespace != "n" || got.Manifests != "deploy/" || got.Timeout != 5*time.Minute || got.PullSecret != "s" {
		t.Errorf("%+v", got)
	}
	if !reflect.DeepEqual(got.Rules(), now.Rules()) {
		t.Errorf("%v, want %v", got.Rules(), now.Rules())
	}
	if old.SamePlace(now) || !old.SamePlace(got) {
		t.Error("a place is a cluster, a namespace and what is rendered")
	}
	if other := rulesOf(t, ", values: [v.yaml]"); old.SamePlace(other) || !other.SamePlace(other) {
		t.Error("with other values something else is rendered")
	}
	again := old.WithRules(old)
	a, errA := json.Marshal(old)
	b, errB := json.Marshal(again)
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Errorf("under its own rules it is %s, not %s", b, a)
	}
}

// TestRuleKeys: each rule is a key of the file.
func TestRuleKeys(t *testing.T) {
	var known []string
	env := reflect.TypeFor[Environment]()
	for i := range env.NumField() {
		known = append(known, env.Field(i).Tag.Get("yaml"))
	}
	for _, key := range ruleKeys {
		if !slices.Contains(known, key) {
			t.Errorf("%q is no key of an environment", key)
		}
	}
}

func TestBack(t *testing.T) {
	for cause, want := range map[string]bool{store.CauseAutomatic: false, store.CauseDeploy: false, store.CausePromote: false, store.CauseOrder: false, store.CauseNow: false,
		store.CauseRollback: true, store.CauseRecovery: true} {
		if got := back(store.Deployment{Cause: cause}); got != want {
			t.Errorf("%s: %v", cause, got)
		}
	}
}
