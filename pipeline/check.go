package pipeline

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/pipeline/image"
)

const maxTimeout = 24 * time.Hour

var (
	serverName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`) // of a cluster, chat or secret in the server's file
	digits         = regexp.MustCompile(`^[0-9]+$`)
	platformSyntax = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$`)
	argumentSyntax = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	loginSyntax    = regexp.MustCompile(`^[A-Za-z0-9](?:[-_]?[A-Za-z0-9])*$`)
	teamSyntax     = regexp.MustCompile(`^@[A-Za-z0-9](?:-?[A-Za-z0-9])*/[A-Za-z0-9_.-]+$`)
	registryHost   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?$`)
	registryPath   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`) // OCI distribution specification, "name"
)

// ParseRepository splits the name of an image repository into its registry (host, with a port where there is one) and
// path. The host must be written, a tag or digest must not.
func ParseRepository(repository string) (host, repo string, err error) {
	const example = "such as registry.example.com/team/app"
	host, repo, _ = strings.Cut(repository, "/")
	_, tagged, _ := strings.Cut(repository[strings.LastIndex(repository, "/")+1:], ":")
	switch {
	case repository == "":
		return "", "", fmt.Errorf("is missing; write the repository to push to, %s", example)
	case strings.Contains(repository, "://"):
		return "", "", fmt.Errorf("%q is an address; write it without %s//", repository, repository[:strings.Index(repository, "//")])
	case strings.Contains(repository, "@"):
		return "", "", fmt.Errorf("%q has a digest; write the repository alone", repository)
	case repo != "" && tagged != "":
		return "", "", fmt.Errorf("%q has a tag; write the repository alone, and the tags under build.tags", repository)
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "", "", fmt.Errorf("%q does not begin with a registry's host; write it whole, %s", repository, example)
	case !registryHost.MatchString(host) || !registryPath.MatchString(repo) || len(repository) > 255:
		return "", "", fmt.Errorf("%q is no image repository; write host/path in lower case, %s", repository, example)
	}
	return host, repo, nil
}

// Check reports every mistake in a repository file (strictyaml.Errors), or nil. more, if not nil, is called with what
// could be read of it, and may add mistakes of its own.
func Check(file string, data []byte, more func(*Config, *strictyaml.Document)) error {
	c := &Config{}
	doc := strictyaml.Decode(file, data, c)
	c.check(doc)
	c.fillIn(doc)
	if more != nil {
		more(c, doc)
	}
	return doc.Err()
}

func (c *Config) check(doc *strictyaml.Document) {
	if c.App != "" || doc.Has("app") {
		checkLabel(doc, "app", c.App)
	}
	c.Trigger.check(doc)
	if doc.Has("build") || !doc.Has("trigger.registry") { // what others build is released without one
		c.Build.check(doc)
	}
	c.checkChecks(doc)
	for i := range c.Environments {
		c.checkEnvironment(doc, i)
	}
	for i := range c.Notify {
		c.checkNotify(doc, i)
	}
}

func (r *TriggerRules) check(doc *strictyaml.Document) {
	if _, bad, err := parseGlobs(r.Paths); err != nil {
		doc.Errorf(fmt.Sprintf("trigger.paths[%d]", bad), "%s", err)
	}
	if _, bad, err := parseGlobs(r.PathsIgnore); err != nil {
		doc.Errorf(fmt.Sprintf("trigger.paths_ignore[%d]", bad), "%s", err)
	}
	for i, login := range r.AuthorsIgnore {
		if !loginSyntax.MatchString(strings.TrimSuffix(login, "[bot]")) {
			doc.Errorf(fmt.Sprintf("trigger.authors_ignore[%d]", i), `%q is no login; write a GitHub login, such as alice or "dependabot[bot]"`, login)
		}
	}
	for i, s := range r.Schedule {
		at := fmt.Sprintf("trigger.schedule[%d]", i)
		if _, err := s.spec(); err != nil {
			doc.Errorf(at+".cron", "%s", err)
		}
		if _, err := s.zone(); err != nil {
			doc.Errorf(at+".zone", "%s", err)
		}
	}
	r.Registry.check(doc, "trigger.registry")
}

func (r *RegistryTrigger) check(doc *strictyaml.Document, at string) {
	if !doc.Has(at) {
		return
	}
	if r.Repository == "" {
		doc.Errorf(at+".repository", "is missing; write the repository whose images make a release, such as registry.example.com/team/app")
	} else if _, _, err := ParseRepository(r.Repository); err != nil {
		doc.Errorf(at+".repository", "%q is no image repository; write its host and path in lower case, without tag or digest, such as registry.example.com/team/app", r.Repository)
	}
	if _, err := r.tag(); err != nil {
		doc.Errorf(at+".tag", "%q does not compile (%s); correct it as RE2 wants it", r.Tag, err)
	}
}

func (b *Build) check(doc *strictyaml.Document) {
	if _, _, err := ParseRepository(b.Image); err != nil {
		doc.Errorf("build.image", "%s", err)
	}
	checkPath(doc, "build.context", b.Context)
	checkPath(doc, "build.dockerfile", b.Dockerfile)
	checkOneOf(doc, "build.cache", b.Cache, CacheRegistry, CacheInline, CacheOff)
	checkTimeout(doc, "build.timeout", b.Timeout)
	for _, name := range slices.Sorted(maps.Keys(b.Args)) {
		if !argumentSyntax.MatchString(name) {
			doc.Errorf("build.args."+name, "%q is no build argument; write letters, digits and _", name)
		}
	}
	for i, name := range b.Secrets {
		at := fmt.Sprintf("build.secrets[%d]", i)
		checkServerName(doc, at, name, "secret")
		checkOnce(doc, at, i, b.Secrets)
	}
	for i, p := range b.Platforms {
		at := fmt.Sprintf("build.platforms[%d]", i)
		if !platformSyntax.MatchString(p) {
			doc.Errorf(at, "%q is no platform; write os/architecture, such as linux/amd64", p)
		}
		checkOnce(doc, at, i, b.Platforms)
	}
	for i, template := range b.Tags {
		checkTag(doc, fmt.Sprintf("build.tags[%d]", i), template)
	}
}

// checkTag fills a template in, with a value for every placeholder that there is.
func checkTag(doc *strictyaml.Document, at, template string) {
	values := map[string]string{"branch": "b", "tag": "t", "short_sha": "0123456", "sha": strings.Repeat("0", 40), "run": "1"}
	if _, err := image.Tags([]string{template}, values); err != nil {
		doc.Errorf(at, "%s", err)
	}
}

func (c *Config) checkEnvironment(doc *strictyaml.Document, i int) {
	env, at := &c.Environments[i], fmt.Sprintf("environments[%d]", i)
	checkLabel(doc, at+".name", env.Name)
	switch {
	case env.Name == "all" || env.Name == "none":
		doc.Errorf(at+".name", "%q has a meaning of its own; choose another name", env.Name)
	case digits.MatchString(env.Name):
		doc.Errorf(at+".name", "%q could be a release's number; choose another name", env.Name)
	}
	earlier := c.EnvironmentNames()[:i]
	if j := slices.Index(earlier, env.Name); j >= 0 && env.Name != "" {
		doc.Errorf(at+".name", "%q is the name of environments[%d] already; choose another", env.Name, j)
	}
	c.checkAfter(doc, at+".after", i)
	if env.Soak > 0 && (env.After == "none" || i == 0) {
		doc.Errorf(at+".soak", "has nothing to wait for, since no environment comes before; remove it, or say after which")
	}
	checkServerName(doc, at+".cluster", env.Cluster, "cluster")
	checkLabel(doc, at+".namespace", env.Namespace)
	if env.Manifests == "" {
		doc.Errorf(at+".manifests", "is missing; write the folder of the Kubernetes manifests, such as deploy/")
	}
	checkPath(doc, at+".manifests", env.Manifests)
	for j, name := range env.Values {
		here := fmt.Sprintf("%s.values[%d]", at, j)
		checkPath(doc, here, name)
		checkOnce(doc, here, j, env.Values)
	}
	if ext := path.Ext(env.Manifests); len(env.Values) > 0 && (ext == ".yaml" || ext == ".yml" || ext == ".json") {
		doc.Errorf(at+".values", "are for a Helm chart, and manifests names a single file; remove values, or name the chart's folder")
	}
	checkOneOf(doc, at+".deploy", env.Deploy, Auto, Manual)
	checkOneOf(doc, at+".rollback", env.Rollback, Auto, Manual)
	checkOneOf(doc, at+".conflicts", env.Conflicts, Refuse, Force)
	checkTimeout(doc, at+".timeout", env.Timeout)
	checkPeople(doc, at+".deployers", env.Deployers)
	env.Approvals.check(doc, at+".approvals")
	checkFreeze(doc, at+".freeze", env.Freeze, "at which a release may go; leave a gap between the windows")
	env.RequireChecks.check(doc, at+".require_checks")
	if doc.Has(at + ".registry") {
		c.checkRegistry(doc, at+".registry", env.Registry)
	}
	if doc.Has(at + ".pull_secret") {
		checkLabel(doc, at+".pull_secret", env.PullSecret)
	}
	env.Strategy.check(doc, at+".strategy")
	checkFlow(doc, at+".flow", env.Flow)
}

// checkRegistry wants another repository than the one that is built into. Where images come from elsewhere too, it may be that one.
func (c *Config) checkRegistry(doc *strictyaml.Document, at, repository string) {
	_, _, err := ParseRepository(repository)
	switch {
	case repository == "":
		doc.Errorf(at, "is empty; write the repository that the image is copied to, such as registry.example.com/team/app, or remove it")
	case err != nil:
		doc.Errorf(at, "%s", err)
	case repository == c.Build.Image && !doc.Has("trigger.registry"):
		doc.Errorf(at, "is where the image is built already, so nothing is copied; remove it, or name another repository")
	}
}

// checkAfter wants the environment before to stand before: no chain can run in a circle then.
func (c *Config) checkAfter(doc *strictyaml.Document, at string, i int) {
	after, names := c.Environments[i].After, c.EnvironmentNames()
	switch {
	case after == "" && doc.Has(at):
		doc.Errorf(at, "is empty; write an environment's name, or none")
	case after == "" || after == "none" || slices.Contains(names[:i], after):
	case after == names[i]:
		doc.Errorf(at, "%s cannot come after itself; name the environment before it, or none", after)
	case slices.Contains(names, after):
		doc.Errorf(at, "%s is listed further down; environments are written in the order of promotion, move it above", after)
	default:
		doc.Errorf(at, "there is no environment %q; %s", after, strictyaml.DidYouMean(after, "environments", names[:i]))
	}
}

func (a *Approvals) check(doc *strictyaml.Document, at string) {
	if doc.Has(at+".count") && a.Count < 1 {
		doc.Errorf(at+".count", "must be at least 1; remove %s where none is needed", at[strings.LastIndexByte(at, '.')+1:])
	}
	if doc.Has(at+".expire") && a.Expire <= 0 {
		doc.Errorf(at+".expire", "must be more than 0; write for example 72h")
	}
	checkPeople(doc, at+".by", a.By)
	isTeam := func(name string) bool { return strings.HasPrefix(name, "@") }
	if !slices.ContainsFunc(a.By, isTeam) && len(a.By) > 0 && a.Count > len(nameSet(a.By)) {
		doc.Errorf(at+".count", "asks for %d approvals, but by names %d; lower it or name more", a.Count, len(nameSet(a.By)))
	}
}

func (c *Config) checkNotify(doc *strictyaml.Document, i int) {
	n, at := &c.Notify[i], fmt.Sprintf("notify[%d]", i)
	switch {
	case n.WeCom == "" && n.Slack == "" && n.Webhook == "":
		doc.Errorf(at, "names no chat; write wecom: NAME, or slack: NAME with a channel, or webhook: NAME")
	case n.WeCom != "" && n.Slack != "":
		doc.Errorf(at+".slack", "stands beside wecom; write one entry for each chat")
	case n.Webhook != "" && n.WeCom+n.Slack != "":
		doc.Errorf(at+".webhook", "stands beside a chat; write one entry for each")
	case n.Webhook != "" && (n.Channel != "" || len(n.Mention) > 0 || n.Quiet != nil):
		doc.Errorf(at+".webhook", "has no channel, mentions nobody and has no quiet hours; remove channel, mention and quiet")
	case n.Slack != "" && n.Channel == "":
		doc.Errorf(at+".channel", "is missing; write the Slack channel's ID, such as C0123456789")
	}
	for j, name := range n.Environments {
		if _, ok := c.Environment(name); !ok {
			doc.Errorf(fmt.Sprintf("%s.environments[%d]", at, j), "there is no environment %q; %s", name,
				strictyaml.DidYouMean(name, "environments", c.EnvironmentNames()))
		}
	}
	if n.Quiet != nil {
		checkFreeze(doc, at+".quiet", []Window{*n.Quiet}, "at which everything is told; let it end")
	}
	for j, notice := range n.On {
		checkOneOf(doc, fmt.Sprintf("%s.on[%d]", at, j), notice, Notices...)
	}
	for _, notice := range slices.Sorted(maps.Keys(n.Mention)) {
		if !slices.Contains(Notices, notice) {
			doc.Errorf(at+".mention."+notice, "there is no notice %q; %s", notice, strictyaml.DidYouMean(notice, "notices", Notices))
		}
		checkOneOf(doc, at+".mention."+notice, n.Mention[notice], mentionable...)
	}
}

func checkLabel(doc *strictyaml.Document, at, name string) {
	switch {
	case name == "":
		doc.Errorf(at, "is missing; write a name of small letters, digits and -")
	case len(validation.IsDNS1123Label(name)) > 0:
		doc.Errorf(at, "%q is not a valid name; write at most 63 small letters, digits and -, with no - at either end", name)
	}
}

func checkServerName(doc *strictyaml.Document, at, name, what string) {
	switch {
	case name == "":
		doc.Errorf(at, "is missing; write the name of a %s in the server's file", what)
	case !serverName.MatchString(name):
		doc.Errorf(at, "%q is not a valid name; write the name of a %s in the server's file", name, what)
	}
}

// checkPath wants a path below the repository's root. That no symlink leads out of it is seen to when it is read.
func checkPath(doc *strictyaml.Document, at, name string) {
	switch {
	case !doc.Has(at):
	case name == "":
		doc.Errorf(at, "is empty; write a path relative to the repository's root")
	case strings.Contains(name, "://"):
		doc.Errorf(at, "%q is an address; write a path in this repository", name)
	case strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\\x00"):
		doc.Errorf(at, "%q must be relative to the repository's root, with / between its parts", name)
	case strings.HasPrefix(path.Clean(name)+"/", "../"):
		doc.Errorf(at, "%q leads out of the repository; write a path inside it", name)
	}
}

func checkOneOf(doc *strictyaml.Document, at, value string, known ...string) {
	if doc.Has(at) && !slices.Contains(known, value) {
		doc.Errorf(at, "%q is not known here; write %s", value, strings.Join(known, " or "))
	}
}

func checkTimeout(doc *strictyaml.Document, at string, d time.Duration) {
	if doc.Has(at) && (d < time.Second || d > maxTimeout) {
		doc.Errorf(at, "must be between 1s and 24h; write for example 30m")
	}
}

func checkOnce(doc *strictyaml.Document, at string, i int, list []string) {
	if slices.Contains(list[:i], list[i]) {
		doc.Errorf(at, "%q is here a second time; remove it", list[i])
	}
}

func checkPeople(doc *strictyaml.Document, at string, names []string) {
	for i, name := range names {
		here := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case teamSyntax.MatchString(name) || loginSyntax.MatchString(name):
		case strings.HasPrefix(name, "@") && loginSyntax.MatchString(name[1:]):
			doc.Errorf(here, "%q is neither a person nor a team; write %s for the person, or @org/team", name, name[1:])
		default:
			doc.Errorf(here, "%q is neither a person nor a team; write a GitHub login, or @org/team in quotes", name)
		}
	}
}
