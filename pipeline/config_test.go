package pipeline

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, yaml string) *Config {
	t.Helper()
	c, err := Parse(".shipmate.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func patterns(t *testing.T, texts ...string) []Pattern {
	t.Helper()
	ps := make([]Pattern, len(texts))
	for i, text := range texts {
		if err := ps[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return ps
}

func TestParseExample(t *testing.T) {
	file, err := os.ReadFile("testdata/shipmate.repo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, string(file))
	var versions TagPattern
	if err := versions.UnmarshalText([]byte(`/^v\d+/`)); err != nil {
		t.Fatal(err)
	}
	want := &Config{
		App: "devops-app",
		Trigger: TriggerRules{
			Branches: patterns(t, "master", `/^release\/.*/`), Tags: []TagPattern{versions}, Paths: []string{"**"}, PathsIgnore: []string{"docs/**"},
			AuthorsIgnore: []string{"dependabot[bot]"}, PullRequests: true, Schedule: []Schedule{{Cron: "0 3 * * *", Zone: "Asia/Shanghai"}},
			Registry: RegistryTrigger{Repository: "registry.example.com/team/base", Tag: `v\d+`},
		},
		Build: Build{
			Image: "registry.example.com/team/devops-app", Context: ".", Dockerfile: "Dockerfile",
			Args: map[string]string{"GO_VERSION": "1.26"}, Secrets: []string{"npm_token"}, Platforms: []string{"linux/amd64"},
			Tags: []string{"{branch}-{short_sha}"}, Cache: CacheRegistry, Timeout: 30 * time.Minute,
		},
		Checks: []CheckSpec{
			{Name: "unit", Target: "test", Timeout: 15 * time.Minute},
			{Name: "vet", Image: "golang:1.26", Run: "go vet ./...", Report: "junit.xml", Artifacts: []string{"coverage/"}, Timeout: 5 * time.Minute},
		},
		Environments: []Environment{
			{
				Name: "staging", Branches: []Pattern{anyBranch}, Tags: []TagPattern{anyTag}, Cluster: "test", Namespace: "staging", Manifests: "deploy/",
				Deploy: Auto, Timeout: 30 * time.Minute, Approvals: Approvals{Expire: 72 * time.Hour}, Rollback: Auto, Conflicts: Refuse,
			},
			{
				Name: "production", After: "staging", Soak: 30 * time.Minute, Branches: patterns(t, "default"), Tags: []TagPattern{versions}, Cluster: "prod", Namespace: "prod",
				Manifests: "deploy/", Deploy: Manual, Timeout: 30 * time.Minute,
				Approvals: Approvals{Count: 2, By: []string{"@acme/release", "alice"}, Expire: 72 * time.Hour},
				Deployers: []string{"@acme/dev"}, Rollback: Auto, PullSecret: "tcr-secret", Conflicts: Refuse,
				Strategy: Strategy{Rolling: &struct{}{}}, Flow: []FlowStep{{Deploy: &struct{}{}}},
			},
		},
		Notify: []Notify{
			{
				WeCom: "ops", Environments: []string{"staging", "production"}, On: Notices,
				Mention: map[string]string{"failed": "author", "waiting": "approvers"},
			},
			{Slack: "team", Channel: "C0123456789", On: []string{"succeeded", "failed"}, Quiet: &windows(t, "22:00 - 08:00 Asia/Shanghai")[0]},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

const minimal = `
build: {image: registry.example.com/team/web}
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy}
  - {name: qa, cluster: test, namespace: qa, manifests: deploy, after: none}
  - {name: production, cluster: prod, namespace: prod, manifests: deploy, after: staging, approvals: {}}
  - {name: mirror, cluster: prod, namespace: mirror, manifests: deploy, approvals: {by: [alice]}}
`

func TestDefaults(t *testing.T) {
	parsed := parse(t, minimal)
	c := parsed.WithDefaults("acme/My_Web.App", "trunk")
	if c.App != "my-web-app" || len(c.Trigger.Branches) != 1 || c.Trigger.Branches[0].String() != "trunk" {
		t.Errorf("app %q, branches %s", c.App, c.Trigger.Branches)
	}
	if parsed.App != "" || parsed.Trigger.Branches != nil {
		t.Error("WithDefaults must leave the original as it was")
	}
	if again := c.WithDefaults("acme/other", "other"); !reflect.DeepEqual(again, c) {
		t.Error("WithDefaults must not change what is set")
	}
	if b := c.Build; b.Context != "." || b.Dockerfile != "Dockerfile" || b.Cache != CacheRegistry || b.Timeout != 30*time.Minute || !slices.Equal(b.Tags, []string{"{branch}-{short_sha}", "{tag}"}) {
		t.Errorf("build %+v", b)
	}
	after, approvals, branches, tags := "", "", "", ""
	for _, env := range c.Environments {
		after += env.After + ","
		approvals += string(rune('0'+env.Approvals.Count)) + ","
		branches += env.Branches[0].String() + ","
		tags += fmt.Sprint(env.Tags)
		if env.Deploy != Manual || env.Timeout != 30*time.Minute || env.Rollback != Auto || env.Conflicts != Refuse || env.Approvals.Expire != 72*time.Hour || env.Approvals.Self {
			t.Errorf("%+v", env)
		}
	}
	if after != ",,staging,production," {
		t.Errorf("after %q", after)
	}
	if approvals != "0,0,1,1," {
		t.Errorf("a section approvals must ask for at least one: %q", approvals)
	}
	if branches != "/.*/,default,default,default," {
		t.Errorf("branches %q", branches)
	}
	if tags != "[/.*/][][][]" {
		t.Errorf("tags %q", tags)
	}
	if none := parse(t, "trigger: {branches: []}\nbuild: {image: r.example.com/x}").WithDefaults("acme/web", "trunk"); len(none.Trigger.Branches) != 0 {
		t.Errorf("an empty list is none: %s", none.Trigger.Branches)
	}
	for repo, app := range map[string]string{"acme/web": "web", "web": "web", "acme/-x-": "x", "acme/" + strings.Repeat("a", 62) + ".js": strings.Repeat("a", 62)} {
		if got := parsed.WithDefaults(repo, "master").App; got != app {
			t.Errorf("the app of %s is %q, want %q", repo, got, app)
		}
	}
}

// A run keeps its configuration as JSON.
func TestConfigSurvivesJSON(t *testing.T) {
	want := parse(t, strings.Replace(minimal, "build:", "trigger: {branches: [master, '/^v\\d/'], tags: ['/^v\\d/'], schedule: [{cron: 0 3 * * *}]}\nbuild:", 1))
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("got  %+v\nwant %+v", &got, want)
	}
	if !MatchAny(got.Trigger.Branches, "refs/heads/v1", "master") || !MatchAnyTag(got.Trigger.Tags, "refs/tags/v1") {
		t.Error("a regular expression is lost")
	}
}

// Whoever can push a branch writes its file. Nothing that it says may reach further than the build itself.
func TestEffective(t *testing.T) {
	trusted := parse(t, `
app: web
trigger: {branches: [master]}
build:
  image: registry.example.com/team/web
  context: app
  dockerfile: app/Dockerfile
  target: release
  args: {A: trusted}
  secrets: [npm_token]
  platforms: [linux/amd64]
  tags: ["{sha}"]
  cache: inline
  timeout: 10m
checks: [{name: unit, target: test}]
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy, branches: [master]}
  - {name: production, cluster: prod, namespace: prod, manifests: deploy, soak: 1h, approvals: {count: 2, by: [alice, bob, carol]}, deployers: [dave]}
notify: [{wecom: ops}]
`)
	shipped := parse(t, `
app: other
trigger:
  branches: [/.*/]
  tags: [/.*/]
  paths: ["**"]
  paths_ignore: [docs]
  authors_ignore: [alice]
  pull_requests: true
  schedule: [{cron: "* * * * *", always: true}]
  registry: {repository: registry.example.com/attacker/web}
build:
  image: registry.example.com/attacker/web
  context: elsewhere
  dockerfile: elsewhere/Dockerfile
  target: debug
  args: {A: shipped}
  secrets: [production_key]
  platforms: [linux/arm64]
  tags: [latest]
  cache: "off"
  submodules: true
  lfs: true
  timeout: 24h
checks: [{name: vet, image: "golang:1.26", run: go vet ./..., report: r.xml, artifacts: [out], timeout: 1h}]
environments:
  - {name: production, cluster: other, namespace: kube-system, manifests: evil, deploy: auto, branches: [/.*/], conflicts: force, deployers: [mallory], pull_secret: stolen}
notify: [{slack: team, channel: C1}]
`)
	before, err := json.Marshal([]*Config{trusted, shipped})
	if err != nil {
		t.Fatal(err)
	}
	got := Effective(trusted, shipped)

	// Field by field, so that a field that is added later has to be decided about here.
	fromShipped := map[string]bool{"Build.Context": true, "Build.Dockerfile": true, "Build.Target": true, "Build.Args": true, "Build.Platforms": true, "Checks": true}
	seen := 0
	var compare func(name string, got, trusted, shipped reflect.Value)
	compare = func(name string, got, trusted, shipped reflect.Value) {
		if name == "Build" || name == "Trigger" {
			for i := range got.NumField() {
				compare(name+"."+got.Type().Field(i).Name, got.Field(i), trusted.Field(i), shipped.Field(i))
			}
			return
		}
		seen++
		if reflect.DeepEqual(trusted.Interface(), shipped.Interface()) {
			t.Errorf("%s is the same in both files: it proves nothing", name)
		}
		want, whose := trusted, "the default branch's"
		if fromShipped[name] {
			want, whose = shipped, "the shipped commit's"
		}
		if !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Errorf("%s = %v, must be %s, %v", name, got, whose, want)
		}
	}
	g, tr, sh := reflect.ValueOf(*got), reflect.ValueOf(*trusted), reflect.ValueOf(*shipped)
	for i := range g.NumField() {
		compare(g.Type().Field(i).Name, g.Field(i), tr.Field(i), sh.Field(i))
	}
	if seen != 24 {
		t.Errorf("%d keys compared, want 24", seen)
	}

	if after, err := json.Marshal([]*Config{trusted, shipped}); err != nil || string(after) != string(before) {
		t.Error("Effective must leave both files as they were")
	}
	if got := Effective(trusted, nil); !reflect.DeepEqual(got, trusted) {
		t.Error("a commit without a file is built as the default branch says")
	}
	if got := Effective(nil, shipped); got != nil {
		t.Error("a file outside the default branch must configure nothing by itself")
	}
}

func TestPattern(t *testing.T) {
	tests := []struct {
		pattern string
		match   []string
		not     []string
	}{
		{"master", []string{"refs/heads/master"}, []string{"refs/heads/master2", "refs/heads/x/master", "refs/heads/Master", "refs/tags/master", "master", "refs/heads/", "", "refs/heads/mast"}},
		{"feature/x", []string{"refs/heads/feature/x"}, []string{"refs/heads/x", "refs/heads/feature/x/y"}},
		{"refs/heads/master", []string{"refs/heads/master"}, []string{"refs/heads/refs/heads/master", "refs/tags/refs/heads/master"}},
		{"default", []string{"refs/heads/trunk"}, []string{"refs/heads/default", "refs/tags/trunk", "refs/heads/refs/heads/trunk"}},
		{`/^release\/.*/`, []string{"refs/heads/release/1"}, []string{"refs/heads/x/release/1", "refs/tags/release/1"}},
		{`/^refs\/heads\/v/`, []string{"refs/heads/v1"}, []string{"refs/heads/refs/heads/v1"}},
		{"/lease/", []string{"refs/heads/release", "refs/heads/please/me"}, []string{"refs/tags/release", "refs/pull/1/head"}},
		{"/.*/", []string{"refs/heads/x"}, []string{"refs/tags/x", "refs/pull/1/merge", "x"}},
	}
	for _, test := range tests {
		p := patterns(t, test.pattern)[0]
		for _, ref := range test.match {
			if !p.Match(ref, "trunk") {
				t.Errorf("%s must match %s", p, ref)
			}
		}
		for _, ref := range test.not {
			if p.Match(ref, "trunk") {
				t.Errorf("%s must not match %s", p, ref)
			}
		}
	}
	if patterns(t, "default")[0].Match("refs/heads/", "") || (Pattern{}).Match("refs/heads/x", "x") {
		t.Error("an unknown default branch and an empty pattern match nothing")
	}
	for _, text := range []string{"", "/", "//", "/(/", "/x", "release/*", "a b", "refs/tags/v1", "a..b:c", "x^", `a\b`} {
		var p Pattern
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q must be refused", text)
		} else if !strings.Contains(err.Error(), ";") {
			t.Errorf("%q: %v does not say what to write", text, err)
		}
	}
}

func TestWants(t *testing.T) {
	all := Notify{}
	some := Notify{Environments: []string{"staging"}, On: []string{"failed"}}
	for _, test := range []struct {
		n           Notify
		notice, env string
		want        bool
	}{
		{all, "started", "production", true},
		{some, "failed", "staging", true},
		{some, "failed", "production", false},
		{some, "started", "staging", false},
		{some, "failed", "", true},
		{some, "started", "", false},
	} {
		if got := test.n.Wants(test.notice, test.env); got != test.want {
			t.Errorf("%+v wants %s of %q: %v", test.n, test.notice, test.env, got)
		}
	}
}

func TestRefPattern(t *testing.T) {
	tests := []struct {
		pattern string
		match   []string
		not     []string
	}{
		{"default", []string{"refs/heads/trunk"}, []string{"refs/tags/trunk", "refs/tags/default"}},
		{"master", []string{"refs/heads/master"}, []string{"refs/tags/master"}},
		{"/.*/", []string{"refs/heads/x"}, []string{"refs/tags/x", "refs/pull/1/merge", ""}},
		{`/refs\/tags/`, nil, []string{"refs/tags/x"}},
		{"refs/tags/v1", []string{"refs/tags/v1"}, []string{"refs/heads/v1", "refs/tags/v12", "refs/tags/refs/tags/v1", "refs/heads/refs/tags/v1"}},
		{`/^refs\/tags\/v\d/`, []string{"refs/tags/v1"}, []string{"refs/heads/v1", "refs/tags/x", "refs/heads/refs/tags/v1"}},
		{`/^refs/tags/v/`, []string{"refs/tags/v1"}, []string{"refs/heads/v1"}},
	}
	for _, test := range tests {
		var p RefPattern
		if err := p.UnmarshalText([]byte(test.pattern)); err != nil {
			t.Fatalf("%s: %v", test.pattern, err)
		}
		if text, err := p.MarshalText(); err != nil || string(text) != test.pattern {
			t.Errorf("%s is written as %s, %v", test.pattern, text, err)
		}
		for _, ref := range test.match {
			if !p.Match(ref, "trunk") {
				t.Errorf("%s must match %q", test.pattern, ref)
			}
		}
		for _, ref := range test.not {
			if p.Match(ref, "trunk") {
				t.Errorf("%s must not match %q", test.pattern, ref)
			}
		}
	}
	for _, pattern := range []string{"", "refs/tags/v*", `/^refs\/tags\/(/`, "refs/pull/1/head"} {
		if err := new(RefPattern).UnmarshalText([]byte(pattern)); err == nil {
			t.Errorf("%q must be refused", pattern)
		}
	}
}
