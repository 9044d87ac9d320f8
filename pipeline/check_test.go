package pipeline

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
)

func TestParseRepository(t *testing.T) {
	for repository, want := range map[string][2]string{
		"registry.example.com/team/app":      {"registry.example.com", "team/app"},
		"registry.example.com:5000/app":      {"registry.example.com:5000", "app"},
		"localhost/app":                      {"localhost", "app"},
		"127.0.0.1:41231/team/devops-app":    {"127.0.0.1:41231", "team/devops-app"},
		"ccr.ccs.tencentyun.com/a__b/c.d--e": {"ccr.ccs.tencentyun.com", "a__b/c.d--e"},
	} {
		host, repo, err := ParseRepository(repository)
		if err != nil || host != want[0] || repo != want[1] {
			t.Errorf("%s: %q, %q, %v", repository, host, repo, err)
		}
	}
	for _, repository := range []string{
		"", "app", "team/app", "nginx:1.2", "host:5000", "registry.example.com", "registry.example.com/", "registry.example.com/app:latest",
		"registry.example.com:5000/app:1", "registry.example.com/app@sha256:abc", "https://registry.example.com/app", "registry.example.com/team/../other",
		"registry.example.com/team/./app", "registry.example.com//app", "registry.example.com/Team/app", "registry.example.com/app/", "user:pw@registry.example.com/app",
		"registry.example.com/app?x=1", "registry.example.com/app#x", "registry.example.com/a b", "registry.example.com/app\n", "registry.example.com/" + strings.Repeat("a", 300),
		"/app", "../app", "registry.example.com/-app", "Registry.example.com/app", "registry..:5000/app:", "registry.example.com/a%2e",
	} {
		if host, repo, err := ParseRepository(repository); err == nil {
			t.Errorf("%q must be refused, is %q and %q", repository, host, repo)
		} else if !strings.Contains(err.Error(), ";") {
			t.Errorf("%q: %v does not say what to write", repository, err)
		}
	}
}

// Each case is the minimal file with one line of it replaced.
func TestMistakes(t *testing.T) {
	const file = `app: web
trigger: {branches: [master]}
build:
  image: registry.example.com/team/web
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy}
  - name: production
    cluster: prod
    namespace: prod
    manifests: deploy/
notify:
  - {wecom: ops}
`
	const image, production, wecom = "  image: registry.example.com/team/web", "  - name: production", "  - {wecom: ops}"
	if _, err := Parse("f", []byte(file)); err != nil {
		t.Fatal(err)
	}
	in := func(line, add string) [2]string { return [2]string{line, line + "\n" + add} }
	tests := map[string]struct {
		replace [2]string
		want    string
	}{
		"app":              {[2]string{"app: web", "app: My_App"}, `f:1: app: "My_App" is not a valid name; write at most 63 small letters, digits and -, with no - at either end`},
		"app, empty":       {[2]string{"app: web", `app: ""`}, `f:1: app: is missing; write a name of small letters, digits and -`},
		"branch glob":      {[2]string{"[master]", `["release/*"]`}, `f:2: trigger.branches[0]: "release/*" is no branch's name; write a /regular expression/ for several, such as /^release\/.*/`},
		"branch regexp":    {[2]string{"[master]", `["/(/"]`}, "f:2: trigger.branches[0]: \"/(/\" does not compile (error parsing regexp: missing closing ): `(`); correct it as RE2 wants it"},
		"image, tag":       {[2]string{"team/web", "team/web:v1"}, `f:4: build.image: "registry.example.com/team/web:v1" has a tag; write the repository alone, and the tags under build.tags`},
		"image, no host":   {[2]string{"registry.example.com/team/web", "team/web"}, `f:4: build.image: "team/web" does not begin with a registry's host; write it whole, such as registry.example.com/team/app`},
		"image, none":      {[2]string{image, "  cache: inline"}, `f:3: build.image: is missing; write the repository to push to, such as registry.example.com/team/app`},
		"context, up":      {in(image, "  context: a/../.."), `f:5: build.context: "a/../.." leads out of the repository; write a path inside it`},
		"context, up only": {in(image, "  context: .."), `f:5: build.context: ".." leads out of the repository; write a path inside it`},
		"context, root":    {in(image, "  context: /etc"), `f:5: build.context: "/etc" must be relative to the repository's root, with / between its parts`},
		"context, address": {in(image, "  context: https://example.com/x.git"), `f:5: build.context: "https://example.com/x.git" is an address; write a path in this repository`},
		"context, empty":   {in(image, `  context: ""`), `f:5: build.context: is empty; write a path relative to the repository's root`},
		"dockerfile":       {in(image, "  dockerfile: ../Dockerfile"), `f:5: build.dockerfile: "../Dockerfile" leads out of the repository; write a path inside it`},
		"cache":            {in(image, "  cache: local"), `f:5: build.cache: "local" is not known here; write registry or inline or off`},
		"timeout, zero":    {in(image, "  timeout: 0s"), `f:5: build.timeout: must be between 1s and 24h; write for example 30m`},
		"timeout, long":    {in(image, "  timeout: 2d"), `f:5: build.timeout: must be between 1s and 24h; write for example 30m`},
		"argument":         {in(image, `  args: {"A B": x}`), `f:5: build.args.A B: "A B" is no build argument; write letters, digits and _`},
		"secret":           {in(image, `  secrets: ["a/b"]`), `f:5: build.secrets[0]: "a/b" is not a valid name; write the name of a secret in the server's file`},
		"secret twice":     {in(image, `  secrets: [a, a]`), `f:5: build.secrets[1]: "a" is here a second time; remove it`},
		"platform":         {in(image, `  platforms: [amd64]`), `f:5: build.platforms[0]: "amd64" is no platform; write os/architecture, such as linux/amd64`},
		"tag placeholder":  {in(image, `  tags: ["{brunch}"]`), `f:5: build.tags[0]: tag template "{brunch}": there is no {brunch}; use {branch}, {tag}, {short_sha}, {sha}, {run}`},
		"tag":              {in(image, `  tags: ["v/1"]`), `f:5: build.tags[0]: tag template "v/1" gives "v/1", which is not a tag: letters, digits, _ . and - only, at most 128, not . or - first`},

		"checks, same name":    {in(image, "checks: [{name: a, target: x}, {name: a, target: y}]"), `f:5: checks[1].name: "a" is the name of checks[0] already; choose another`},
		"checks, name":         {in(image, "checks: [{name: Unit_1, target: x}]"), `f:5: checks[0].name: "Unit_1" is not a valid name; write at most 63 small letters, digits and -, with no - at either end`},
		"checks, no name":      {in(image, "checks: [{target: x}]"), `f:5: checks[0].name: is missing; write a name of small letters, digits and -`},
		"checks, both":         {in(image, "checks: [{name: a, target: x, image: i, run: r}]"), `f:5: checks[0].target: stands beside image and run; write either a stage of the Dockerfile, or a command and its image`},
		"checks, neither":      {in(image, "checks: [{name: a}]"), `f:5: checks[0]: checks nothing; write target: STAGE for a stage of the Dockerfile, or image: and run: for a command`},
		"checks, no image":     {in(image, "checks: [{name: a, run: r}]"), `f:5: checks[0].run: needs an image that it runs in; write image: beside it, such as golang:1.26`},
		"checks, no run":       {in(image, "checks: [{name: a, image: i, run: ' '}]"), `f:5: checks[0].image: has nothing to do; write run: beside it, such as go vet ./...`},
		"checks, image":        {in(image, "checks: [{name: a, image: 'A b', run: r}]"), `f:5: checks[0].image: "A b" is no image; write it as in a FROM line, such as golang:1.26`},
		"checks, report up":    {in(image, "checks: [{name: a, target: x, report: ../r.xml}]"), `f:5: checks[0].report: "../r.xml" leads out of the check's working directory; write a path inside it`},
		"checks, report empty": {in(image, "checks: [{name: a, target: x, report: ''}]"), `f:5: checks[0].report: is empty; write a path relative to the check's working directory`},
		"checks, artifact":     {in(image, "checks: [{name: a, target: x, artifacts: [/etc]}]"), `f:5: checks[0].artifacts[0]: "/etc" must be relative to the check's working directory, with / between its parts`},
		"checks, glob":         {in(image, "checks: [{name: a, target: x, artifacts: ['*.xml']}]"), `f:5: checks[0].artifacts[0]: "*.xml" is a pattern; write a file, or a folder to have all in it`},
		"checks, timeout":      {in(image, "checks: [{name: a, target: x, timeout: 3h}]"), `f:5: checks[0].timeout: must be between 1s and 2h; write for example 15m`},
		"checks, unknown key":  {in(image, "checks: [{name: a, target: x, secrets: [s]}]"), `f:5: checks[0].secrets: unknown key; known keys: name, target, image, run, report, artifacts, timeout`},

		"environment, no name":    {[2]string{"{name: staging, ", "{"}, `f:6: environments[0].name: is missing; write a name of small letters, digits and -`},
		"environment, twice":      {[2]string{"name: production", "name: staging"}, `f:7: environments[1].name: "staging" is the name of environments[0] already; choose another`},
		"environment, reserved":   {[2]string{"name: production", "name: all"}, `f:7: environments[1].name: "all" has a meaning of its own; choose another name`},
		"environment, number":     {[2]string{"name: production", "name: 41"}, `f:7: environments[1].name: "41" could be a release's number; choose another name`},
		"after, unknown":          {in(production, "    after: stagin"), `f:8: environments[1].after: there is no environment "stagin"; did you mean staging?`},
		"after, itself":           {in(production, "    after: production"), `f:8: environments[1].after: production cannot come after itself; name the environment before it, or none`},
		"after, in a circle":      {[2]string{"{name: staging,", "{name: staging, after: production,"}, `f:6: environments[0].after: production is listed further down; environments are written in the order of promotion, move it above`},
		"after, empty":            {in(production, `    after: ""`), `f:8: environments[1].after: is empty; write an environment's name, or none`},
		"soak after nothing":      {[2]string{"{name: staging,", "{name: staging, soak: 5m,"}, `f:6: environments[0].soak: has nothing to wait for, since no environment comes before; remove it, or say after which`},
		"cluster, none":           {[2]string{"    cluster: prod\n", ""}, `f:7: environments[1].cluster: is missing; write the name of a cluster in the server's file`},
		"cluster, odd":            {[2]string{"cluster: prod", "cluster: prod/x"}, `f:8: environments[1].cluster: "prod/x" is not a valid name; write the name of a cluster in the server's file`},
		"namespace":               {[2]string{"namespace: prod", "namespace: Prod"}, `f:9: environments[1].namespace: "Prod" is not a valid name; write at most 63 small letters, digits and -, with no - at either end`},
		"manifests, none":         {[2]string{"    manifests: deploy/\n", ""}, `f:7: environments[1].manifests: is missing; write the folder of the Kubernetes manifests, such as deploy/`},
		"manifests, up":           {[2]string{"deploy/", "../deploy"}, `f:10: environments[1].manifests: "../deploy" leads out of the repository; write a path inside it`},
		"values, up":              {in(production, `    values: [a.yaml, ../b.yaml]`), `f:8: environments[1].values[1]: "../b.yaml" leads out of the repository; write a path inside it`},
		"values, address":         {in(production, `    values: ["https://example.com/a.yaml"]`), `f:8: environments[1].values[0]: "https://example.com/a.yaml" is an address; write a path in this repository`},
		"values, twice":           {in(production, `    values: [a.yaml, a.yaml]`), `f:8: environments[1].values[1]: "a.yaml" is here a second time; remove it`},
		"values of a file":        {[2]string{"    manifests: deploy/", "    manifests: deploy/web.yaml\n    values: [a.yaml]"}, `f:11: environments[1].values: are for a Helm chart, and manifests names a single file; remove values, or name the chart's folder`},
		"manifests, backslash":    {[2]string{"deploy/", `..\deploy`}, `f:10: environments[1].manifests: "..\\deploy" must be relative to the repository's root, with / between its parts`},
		"deploy":                  {in(production, "    deploy: always"), `f:8: environments[1].deploy: "always" is not known here; write auto or manual`},
		"rollback":                {in(production, "    rollback: never"), `f:8: environments[1].rollback: "never" is not known here; write auto or manual`},
		"conflicts":               {in(production, "    conflicts: ignore"), `f:8: environments[1].conflicts: "ignore" is not known here; write refuse or force`},
		"approvals, count":        {in(production, "    approvals: {count: 0}"), `f:8: environments[1].approvals.count: must be at least 1; remove approvals where none is needed`},
		"approve, count":          {in(production, "    flow: [approve: {count: 0}, deploy]"), `f:8: environments[1].flow[0].approve.count: must be at least 1; remove approve where none is needed`},
		"strategy, pause":         {in(production, "    strategy: {canary: {steps: [{weight: 10}, {pause: soon}]}}"), `f:8: environments[1].strategy.canary.steps[1].pause: "soon" is no time between 1s and 24h; write for example 5m, or manual, which rests until somebody resumes it`},
		"approvals, negative":     {in(production, "    approvals: {count: -1}"), `f:8: environments[1].approvals.count: must be at least 1; remove approvals where none is needed`},
		"approvals, out of reach": {in(production, "    approvals: {count: 2, by: [alice, Alice]}"), `f:8: environments[1].approvals.count: asks for 2 approvals, but by names 1; lower it or name more`},
		"approvals, expire":       {in(production, "    approvals: {expire: 0s}"), `f:8: environments[1].approvals.expire: must be more than 0; write for example 72h`},
		"approvals, at":           {in(production, `    approvals: {by: ["@alice"]}`), `f:8: environments[1].approvals.by[0]: "@alice" is neither a person nor a team; write alice for the person, or @org/team`},
		"approvals, misspelled":   {in(production, `    aprovals: {count: 2}`), `f:8: environments[1].aprovals: unknown key; did you mean approvals?`},
		"deployers":               {in(production, `    deployers: ["acme/dev"]`), `f:8: environments[1].deployers[0]: "acme/dev" is neither a person nor a team; write a GitHub login, or @org/team in quotes`},
		"pull secret":             {in(production, `    pull_secret: A`), `f:8: environments[1].pull_secret: "A" is not a valid name; write at most 63 small letters, digits and -, with no - at either end`},
		"strategy":                {in(production, `    strategy: fast`), `f:8: environments[1].strategy: "fast" is no strategy; write rolling, blue-green or canary: {steps: …}`},
		"strategy, short":         {in(production, `    strategy: canary`), `f:8: environments[1].strategy: canary needs steps; write for example canary: {steps: [{weight: 10, pause: 5m}]}`},
		"flow, no step": {in(production, `    flow: [jump]`), "f:8: environments[1].flow[0]: \"jump\" is no step; write deploy, approve, or one of job, wait, verify and webhook with what it is to do\n" +
			"f:8: environments[1].flow: has deploy 0 times; it has to be there once"},

		"notify, no chat":     {[2]string{wecom, "  - {on: [failed]}"}, `f:12: notify[0]: names no chat; write wecom: NAME, or slack: NAME with a channel, or webhook: NAME`},
		"notify, webhook":     {[2]string{wecom, "  - {webhook: audit, slack: team}"}, `f:12: notify[0].webhook: stands beside a chat; write one entry for each`},
		"notify, hook calls":  {[2]string{wecom, "  - {webhook: audit, channel: C1}"}, `f:12: notify[0].webhook: has no channel, mentions nobody and has no quiet hours; remove channel, mention and quiet`},
		"notify, hook quiet":  {[2]string{wecom, `  - {webhook: audit, quiet: "22:00 - 08:00 UTC"}`}, `f:12: notify[0].webhook: has no channel, mentions nobody and has no quiet hours; remove channel, mention and quiet`},
		"notify, two chats":   {[2]string{wecom, "  - {wecom: ops, slack: team, channel: C1}"}, `f:12: notify[0].slack: stands beside wecom; write one entry for each chat`},
		"notify, no channel":  {[2]string{wecom, "  - {slack: team}"}, `f:12: notify[0].channel: is missing; write the Slack channel's ID, such as C0123456789`},
		"notify, environment": {[2]string{wecom, "  - {wecom: ops, environments: [prodction]}"}, `f:12: notify[0].environments[0]: there is no environment "prodction"; did you mean production?`},
		"notify, on":          {[2]string{wecom, "  - {wecom: ops, on: [fail]}"}, `f:12: notify[0].on[0]: "fail" is not known here; write started or succeeded or failed or waiting or resumed or stopped`},
		"notify, quiet, zone": {[2]string{wecom, "  - {wecom: ops, quiet: 22:00 - 08:00}"}, `f:12: notify[0].quiet: "22:00 - 08:00" names no time zone; write one of the IANA database at its end, such as Asia/Shanghai or UTC`},
		"notify, quiet":       {[2]string{wecom, "  - {wecom: ops, quiet: at night}"}, `f:12: notify[0].quiet: "at night" is no window; write for example "Fri 18:00 - Mon 08:00 Asia/Shanghai", "22:00 - 08:00 Europe/Berlin", "Mon-Thu 18:00 - 09:00 UTC" or "2026-12-24 00:00 - 2027-01-02 08:00 UTC"`},
		"notify, quiet ever":  {[2]string{wecom, "  - {wecom: ops, quiet: 00:00 - 24:00 UTC}"}, `f:12: notify[0].quiet: leaves no moment at which everything is told; let it end`},
		"notify, mention":     {[2]string{wecom, "  - {wecom: ops, mention: {failed: everyone}}"}, `f:12: notify[0].mention.failed: "everyone" is not known here; write author or approvers`},
		"notify, mention on":  {[2]string{wecom, "  - {wecom: ops, mention: {faild: author}}"}, `f:12: notify[0].mention.faild: there is no notice "faild"; did you mean failed?`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			yaml := strings.Replace(file, test.replace[0], test.replace[1], 1)
			if yaml == file {
				t.Fatal("the case changes nothing")
			}
			_, err := Parse("f", []byte(yaml))
			if err == nil {
				t.Fatal("no error")
			}
			if err.Error() != test.want {
				t.Errorf("got\n%s\nwant\n%s", err, test.want)
			}
		})
	}
}

func TestTriggerMistakes(t *testing.T) {
	for trigger, want := range map[string]string{
		`{tags: ["v*"]}`:                `f:2: trigger.tags[0]: "v*" is no tag's name; write a /regular expression/ for several, such as /^v\d+/`,
		`{tags: [refs/heads/x]}`:        `f:2: trigger.tags[0]: "refs/heads/x" is no tag; write a tag, or a /regular expression/`,
		`{tags: [""]}`:                  `f:2: trigger.tags[0]: is empty; write a tag, or a /regular expression/`,
		`{branches: [refs/tags/x]}`:     `f:2: trigger.branches[0]: "refs/tags/x" is no branch; write a branch, default, or a /regular expression/`,
		`{paths: [a, ../b]}`:            `f:2: trigger.paths[1]: "../b" is no path of a file; write it from the repository's root, without . and .. in it`,
		`{paths_ignore: ["!a"]}`:        `f:2: trigger.paths_ignore[0]: "!a" takes back what a pattern above it matched, and there is none; write one above it, such as "**"`,
		`{authors_ignore: [Bob Smith]}`: `f:2: trigger.authors_ignore[0]: "Bob Smith" is no login; write a GitHub login, such as alice or "dependabot[bot]"`,
		`{schedule: [{zone: UTC}]}`:     `f:2: trigger.schedule[0].cron: is missing; write minute, hour, day, month and day of the week (0-6 from Sunday), such as "0 3 * * MON-FRI"`,
		`{schedule: [{cron: "0 3 * *"}]}`: `f:2: trigger.schedule[0].cron: "0 3 * *" is no cron expression (expected exactly 5 fields, found 4: [0 3 * *]); ` +
			`write minute, hour, day, month and day of the week (0-6 from Sunday), such as "0 3 * * MON-FRI"`,
		`{schedule: [{cron: "0 25 * * *"}]}`: `f:2: trigger.schedule[0].cron: "0 25 * * *" is no cron expression (end of range (25) above maximum (23): 25); ` +
			`write minute, hour, day, month and day of the week (0-6 from Sunday), such as "0 3 * * MON-FRI"`,
		`{schedule: [{cron: "0 0 30 2 *"}]}`:             `f:2: trigger.schedule[0].cron: "0 0 30 2 *" is never due; write minute, hour, day, month and day of the week (0-6 from Sunday), such as "0 3 * * MON-FRI"`,
		`{schedule: [{cron: "TZ=UTC"}]}`:                 `f:2: trigger.schedule[0].cron: "TZ=UTC" is no cron expression; write minute, hour, day, month and day of the week (0-6 from Sunday), such as "0 3 * * MON-FRI"`,
		`{schedule: [{cron: "@every 1s"}]}`:              `f:2: trigger.schedule[0].cron: "@every 1s" is no cron expression; write minute, hour, day, month and day of the week (0-6 from Sunday), such as "0 3 * * MON-FRI"`,
		`{schedule: [{cron: "0 3 * * *", zone: PT}]}`:    `f:2: trigger.schedule[0].zone: there is no time zone "PT"; write one of the IANA database, such as Asia/Shanghai or UTC`,
		`{schedule: [{cron: "0 3 * * *", zone: Local}]}`: `f:2: trigger.schedule[0].zone: there is no time zone "Local"; write one of the IANA database, such as Asia/Shanghai or UTC`,
		`{registry: {tag: x}}`:                           `f:2: trigger.registry.repository: is missing; write the repository whose images make a release, such as registry.example.com/team/app`,
		`{registry: {repository: "r.example.com/x:v1"}}`: `f:2: trigger.registry.repository: "r.example.com/x:v1" is no image repository; ` +
			`write its host and path in lower case, without tag or digest, such as registry.example.com/team/app`,
		`{registry: {repository: r.example.com/x, tag: "("}}`:    "f:2: trigger.registry.tag: \"(\" does not compile (error parsing regexp: missing closing ): `(`); correct it as RE2 wants it",
		`{registry: {repository: r.example.com/x, tag: "a)(b"}}`: "f:2: trigger.registry.tag: \"a)(b\" does not compile (error parsing regexp: unexpected ): `a)(b`); correct it as RE2 wants it",
	} {
		_, err := Parse("f", []byte("build: {image: r.example.com/x}\ntrigger: "+trigger+"\n"))
		if err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", trigger, err, want)
		}
	}
}

func TestEveryMistakeInOneRun(t *testing.T) {
	const file = `
ap: web
build: {image: team/web, cache: none}
environments:
  - {name: staging, cluster: test, namespace: S, manifests: deploy, freeze: [x]}
  - {name: staging, cluster: test, namespace: s, manifests: /deploy, soak: 5}
`
	err := Check("f", []byte(file), func(c *Config, doc *strictyaml.Document) {
		if c.Environments[1].Cluster == "test" {
			doc.Errorf("environments[1].cluster", "found by the caller; write something else")
		}
	})
	want := `f:2: ap: unknown key; did you mean app?
f:3: build.image: "team/web" does not begin with a registry's host; write it whole, such as registry.example.com/team/app
f:3: build.cache: "none" is not known here; write registry or inline or off
f:5: environments[0].freeze[0]: "x" is no window; write for example "Fri 18:00 - Mon 08:00 Asia/Shanghai", "22:00 - 08:00 Europe/Berlin", "Mon-Thu 18:00 - 09:00 UTC" or "2026-12-24 00:00 - 2027-01-02 08:00 UTC"
f:5: environments[0].namespace: "S" is not a valid name; write at most 63 small letters, digits and -, with no - at either end
f:6: environments[1].soak: "5" is no time span; write for example 90s, 30m, 1h30m or 30d
f:6: environments[1].name: "staging" is the name of environments[0] already; choose another
f:6: environments[1].manifests: "/deploy" must be relative to the repository's root, with / between its parts
f:6: environments[1].cluster: found by the caller; write something else`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// FuzzParse: every mistake in a repository's file names its place; what is right stays the same when it is stored with a
// run and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(chain))
	f.Add([]byte("build: {image: r.io/a}\nenvironments: [{name: a, cluster: c, namespace: n, manifests: d, require_checks: [x, {name: y, app: z}]}, {name: b, cluster: c, namespace: n, manifests: d, require_checks: required}]"))
	f.Add([]byte("build: {image: r.io/a}\nenvironments: [{name: a, cluster: c, namespace: n, manifests: d}]\nnotify: [{wecom: ops, quiet: 'Mon-Thu 22:00 - 08:00 Asia/Shanghai'}]"))
	f.Add([]byte("build: {image: 'a:b/c:d@e', tags: ['{x}'], platforms: ['']}\nenvironments: [{after: x, approvals: {count: -1}}]\nnotify: [{mention: {a: b}}]"))
	f.Add([]byte("build: &b {image: r.io/a}\nenvironments: [*b, null, {name: x, flow: [{job: a}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("%+v, %v", c, err)
		}
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f:") {
					t.Errorf("a mistake without its place: %q", line)
				}
			}
			return
		}
		c = Effective(c, c).WithDefaults("acme/web", "master")
		c.Plan(Trigger{Kind: TriggerPush, Ref: "refs/heads/master", DefaultBranch: "master"})
		for i := range c.Environments {
			env := &c.Environments[i]
			Frozen(env.Freeze, time.Unix(1e9, 0))
			if env.After == env.Name || env.Approvals.Count < 0 || env.PolicyHash() == "" {
				t.Fatalf("%+v", env)
			}
		}
		stored, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var read Config
		if err := json.Unmarshal(stored, &read); err != nil {
			t.Fatalf("%s: %v", stored, err)
		}
		if again, err := json.Marshal(&read); err != nil || string(again) != string(stored) {
			t.Fatalf("stored as %s, then as %s: %v", stored, again, err)
		}
	})
}

// FuzzParseRepository: what is taken for an image repository is one for the registry's client too, at the host that was
// checked against what the server's file allows.
func FuzzParseRepository(f *testing.F) {
	for _, s := range []string{"registry.example.com/team/app", "localhost:5000/a", "a.b:80/c/d__e", "docker.io/library/x", "r.io/a:b", "r.io/a@sha256:0", "index.docker.io/x", "R.io/a", "r.io//a", "[::1]:5000/a", "r.io:0/a", "a..b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, path, err := ParseRepository(s)
		if err != nil {
			return
		}
		r, err := name.NewRepository(s)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		canonical := strings.Replace(host, "docker.io", "index.docker.io", 1)
		if got := r.RegistryStr(); host+"/"+path != s || got != host && (host != "docker.io" || got != canonical) {
			t.Errorf("%q: host %q, path %q; the client goes to %q", s, host, path, got)
		}
	})
}
