package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kinds of Trigger.
const (
	TriggerPush     = "push"         // a branch or a tag moved, or is gone
	TriggerPull     = "pull_request" // a pull request's head or base moved, or it was closed
	TriggerSchedule = "schedule"     // entries of trigger.schedule are due
	TriggerAPI      = "api"          // a program asked for a build of this ref
	TriggerRegistry = "registry"     // an image was pushed to a registry
	TriggerCommand  = "command"      // a person asked for a build of this commit, whatever the rules say
)

// Trigger is what may start a run, with all that the decision needs: plain values, gathered by whoever asks.
type Trigger struct {
	Kind          string
	Ref           string   // full, as in refs/heads/master or refs/tags/v1.2; refs/pull/7/merge of a pull request; the default branch's of a schedule and of a registry's event
	SHA           string   // whole: the commit that would be built
	DefaultBranch string   // short, as in master
	HeadMessage   string   // of the newest commit that somebody wrote: of a pull request its head's, not the merge's
	Authors       []string // the logins of the new commits' authors; of a pull request who opened it; one that is not known is ""; none: nothing is known
	Deleted       bool     // the ref is gone

	// Files are the paths that changed between Base and SHA, both names of what was renamed. Where they are not all,
	// because GitHub cut the list at a limit or there is no Base, FilesKnown is false: what is not known counts as changed.
	Files      []string
	FilesKnown bool
	Base       string // a commit, and no more than a word in the trace; of a push the one of the newest release of Ref rather than the one before the push, which may never have been built

	Previous  string            // the commit of the newest release of Ref, empty for none: of a schedule
	Due       []Schedule        // of a schedule, as Config.Due lists them
	Variables map[string]string // of the API
	Pull      Pull              // of a pull request
	Image     Image             // of a registry's event
}

// Values of Pull.Merge.
const (
	MergeUnknown  = "" // GitHub is still at it
	MergeClean    = "clean"
	MergeConflict = "conflict"
)

// Pull is what the decision needs of a pull request. A draft is built like any other: people open one to see it built.
type Pull struct {
	Number   int
	Base     string // the branch that it is to be merged into, short
	Head     string // the commit that it asks to have merged, whole
	Merge    string // MergeClean: SHA is the result
	Closed   bool   // merged or not
	Fork     bool   // Head lies in another repository
	OkToTest bool   // somebody who may write said so of exactly this Head
}

// Image is what the decision needs of an image that was pushed.
type Image struct {
	Repository string // with its host
	Tag        string // empty where it was pushed by digest alone
	Released   int    // the number of the release that has this digest already; 0 for none: an image of our own comes back as an event too
}

// Plan is the decision about a Trigger.
type Plan struct {
	Build   bool     // an image is built of the commit
	Release bool     // and becomes a release; without Build: an image that is there already does
	Cancel  bool     // what is under way for Ref is to be stopped, since Ref is gone
	Again   bool     // not to be known yet: gather the facts again, and ask again
	Reason  string   // a stable key, a colon and words, as in "branch: …": of a yes the rule that started it, of a no the one that stopped it
	Trace   []string // each step of the decision in its order, for /why
	Deploys []string // the environments to which the release goes by itself, in the order of the promotion chain; each still waits for what blocks it
}

// say notes what a rule came to, in words that begin with its key, and returns whether it lets the trigger through.
func (p *Plan) say(ok bool, format string, args ...any) bool {
	words := fmt.Sprintf(format, args...)
	p.Trace = append(p.Trace, words)
	if !ok || p.Reason == "" {
		p.Reason = words
	}
	return ok
}

// Plan decides what a trigger starts, from nothing but c and t.
func (c *Config) Plan(t Trigger) Plan {
	p := Plan{Trace: []string{t.String()}}
	if !c.starts(t, &p) {
		return p
	}
	p.Build, p.Release = t.Kind != TriggerRegistry, t.Kind != TriggerPull
	switch {
	case t.Kind == TriggerCommand:
		p.Trace = append(p.Trace, "no environment follows by itself, since a command names its own")
		return p
	case !p.Release:
		p.Trace = append(p.Trace, "no release follows, since a pull request is only built")
		return p
	}
	for i := range c.Environments {
		env := &c.Environments[i]
		why, follows := c.follows(env, t, p.Deploys)
		if follows {
			p.Deploys = append(p.Deploys, env.Name)
		}
		p.Trace = append(p.Trace, env.Name+": "+why)
	}
	return p
}

func (t Trigger) String() string {
	switch {
	case t.Kind == TriggerPull:
		return fmt.Sprintf("%s #%d into %s", t.Kind, t.Pull.Number, t.Pull.Base)
	case t.Kind == TriggerRegistry:
		return fmt.Sprintf("%s: a push of %s:%s", t.Kind, t.Image.Repository, t.Image.Tag)
	}
	return t.Kind + " of " + t.Ref
}

// starts asks the rules of a kind of trigger, until one says no.
func (c *Config) starts(t Trigger, p *Plan) bool {
	if t.Deleted {
		p.Cancel = t.Kind == TriggerPush
		return p.say(false, "deleted: %s was deleted, there is nothing to build", t.Ref)
	}
	if c.Build.Image == "" && t.Kind != TriggerRegistry {
		return p.say(false, "build: the file has no build, so only images that others push become releases")
	}
	switch t.Kind {
	case TriggerPush:
		return c.askRef(t, p) && askMessage(t, p) && c.askAuthors(t, p) && c.askPaths(t, p)
	case TriggerPull:
		return c.askPull(t, p) && askMessage(t, p) && c.askAuthors(t, p) && c.askPaths(t, p) && askMerge(t, p)
	case TriggerSchedule:
		return askDue(t, p)
	case TriggerAPI:
		return askAPI(t, p)
	case TriggerRegistry:
		return c.askImage(t, p)
	case TriggerCommand:
		return p.say(true, "command: a person asked for it")
	}
	return p.say(false, "kind: nothing is built on %q", t.Kind)
}

func (c *Config) askRef(t Trigger, p *Plan) bool {
	if _, ok := branchOf(t.Ref); ok {
		if MatchAny(c.Trigger.Branches, t.Ref, t.DefaultBranch) {
			return p.say(true, "branch: %s is one of trigger.branches %s", t.Ref, c.Trigger.Branches)
		}
		return p.say(false, "branch: %s is none of trigger.branches %s", t.Ref, c.Trigger.Branches)
	}
	if _, ok := tagOf(t.Ref); ok {
		if MatchAnyTag(c.Trigger.Tags, t.Ref) {
			return p.say(true, "tag: %s is one of trigger.tags %s", t.Ref, c.Trigger.Tags)
		}
		return p.say(false, "tag: %s is none of trigger.tags %s", t.Ref, c.Trigger.Tags)
	}
	return p.say(false, "ref: %q is neither a branch nor a tag, and only those are built", t.Ref)
}

// skipWords in the message of the newest commit keep a push or a pull request from being built. They are those that
// GitHub documents for its Actions ("Skipping workflow runs"), with our name in the place of Actions'.
var (
	skipWords   = []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip shipmate]", "[shipmate skip]"}
	skipTrailer = regexp.MustCompile(`(?i)(?:^|\n)skip-checks:[ \t]*true\s*$`) // the last line
)

func askMessage(t Trigger, p *Plan) bool {
	message := strings.ToLower(t.HeadMessage)
	if i := slices.IndexFunc(skipWords, func(word string) bool { return strings.Contains(message, word) }); i >= 0 {
		return p.say(false, "skip-word: the newest commit's message says %s", skipWords[i])
	}
	if skipTrailer.MatchString(t.HeadMessage) {
		return p.say(false, "skip-word: the newest commit's message ends with skip-checks: true")
	}
	return true
}

func (c *Config) askAuthors(t Trigger, p *Plan) bool {
	if len(c.Trigger.AuthorsIgnore) == 0 {
		return true
	}
	for _, author := range t.Authors {
		if !slices.ContainsFunc(c.Trigger.AuthorsIgnore, func(a string) bool { return strings.EqualFold(a, author) }) {
			return p.say(true, "author: %s is none of trigger.authors_ignore %s", cmp.Or(author, "somebody without a login"), c.Trigger.AuthorsIgnore)
		}
	}
	if len(t.Authors) == 0 {
		return p.say(true, "author: nobody knows whose the commits are, so nobody is ignored")
	}
	authors := slices.Compact(slices.Sorted(slices.Values(t.Authors)))
	return p.say(false, "author: all commits are by %s, and trigger.authors_ignore is %s", strings.Join(authors, " and "), c.Trigger.AuthorsIgnore)
}

// AsksChanges says whether Plan looks at what a push of ref changed and who wrote it: Files, FilesKnown, Base and Authors.
// Without them it takes every rule about them for passed.
func (c *Config) AsksChanges(ref string) bool {
	rules := len(c.Trigger.Paths) + len(c.Trigger.PathsIgnore) + len(c.Trigger.AuthorsIgnore)
	return rules > 0 && strings.HasPrefix(ref, branchPrefix)
}

// askPaths asks for one changed file that counts. A tag is no change, so it is not asked about.
func (c *Config) askPaths(t Trigger, p *Plan) bool {
	rules := fmt.Sprintf("trigger.paths %q without trigger.paths_ignore %q", c.Trigger.Paths, c.Trigger.PathsIgnore)
	switch {
	case len(c.Trigger.Paths) == 0 && len(c.Trigger.PathsIgnore) == 0 || strings.HasPrefix(t.Ref, tagPrefix):
		return true
	case len(c.Trigger.PathsIgnore) == 0:
		rules = fmt.Sprintf("trigger.paths %q", c.Trigger.Paths)
	case len(c.Trigger.Paths) == 0:
		rules = fmt.Sprintf("what is left by trigger.paths_ignore %q", c.Trigger.PathsIgnore)
	}
	wanted, _, err := parseGlobs(c.Trigger.Paths)
	ignored, _, err2 := parseGlobs(c.Trigger.PathsIgnore)
	if err := cmp.Or(err, err2); err != nil { // Parse lets none through
		return p.say(false, "paths: %s", err)
	}
	counts := func(file string) bool {
		return (len(wanted) == 0 || wanted.match(file)) && !ignored.match(file)
	}
	if i := slices.IndexFunc(t.Files, counts); i >= 0 {
		return p.say(true, "paths: %q changed%s and is among %s", t.Files[i], t.since(), rules)
	}
	if !t.FilesKnown {
		return p.say(true, "paths: not every file that changed is known, so they count as changed: %s", rules)
	}
	return p.say(false, "paths: of the files that changed%s (%d), none is among %s", t.since(), len(t.Files), rules)
}

func (t Trigger) since() string {
	if t.Base == "" {
		return ""
	}
	return fmt.Sprintf(" since %.7s", t.Base)
}

func (c *Config) askPull(t Trigger, p *Plan) bool {
	switch {
	case t.Pull.Closed:
		p.Cancel = true
		return p.say(false, "closed: pull request #%d is closed", t.Pull.Number)
	case !c.Trigger.PullRequests:
		return p.say(false, "pull: trigger.pull_requests is off")
	case t.Pull.Fork && !t.Pull.OkToTest:
		return p.say(false, "fork: %.7s comes from a fork, and is built once somebody who may write says /ok-to-test %s", t.Pull.Head, t.Pull.Head)
	case t.Pull.Fork:
		return p.say(true, "pull: trigger.pull_requests is on, and somebody who may write said /ok-to-test of %.7s, which comes from a fork", t.Pull.Head)
	}
	return p.say(true, "pull: trigger.pull_requests is on")
}

// askMerge comes last: a conflict is told to the author, who need not hear of what would not be built anyway.
func askMerge(t Trigger, p *Plan) bool {
	switch t.Pull.Merge {
	case MergeClean:
		return p.say(true, "merge: %.7s is what %s would be with %.7s merged", t.SHA, t.Pull.Base, t.Pull.Head)
	case MergeConflict:
		return p.say(false, "merge-conflict: %.7s cannot be merged into %s; resolve the conflict and push", t.Pull.Head, t.Pull.Base)
	}
	p.Again = true
	return p.say(false, "merge-unknown: GitHub has not worked out yet whether %.7s can be merged into %s", t.Pull.Head, t.Pull.Base)
}

func askDue(t Trigger, p *Plan) bool {
	if len(t.Due) == 0 {
		return p.say(false, "schedule: no entry of trigger.schedule is due")
	}
	always := slices.ContainsFunc(t.Due, func(s Schedule) bool { return s.Always })
	switch {
	case t.Previous == t.SHA && !always:
		return p.say(false, "nothing-changed: %s is due, but the newest release of %s is of %.7s already; always: true builds it again", t.Due, t.Ref, t.SHA)
	case t.Previous == t.SHA:
		return p.say(true, "schedule: %s is due, always", t.Due)
	}
	return p.say(true, "schedule: %s is due, and there is no release of %.7s yet", t.Due, t.SHA)
}

// askAPI asks no rule of the file but who may, which is asked before: a program names the ref that it wants.
func askAPI(t Trigger, p *Plan) bool {
	_, branch := branchOf(t.Ref)
	_, tag := tagOf(t.Ref)
	if !branch && !tag {
		return p.say(false, "ref: %q is neither a branch nor a tag, and only those are built", t.Ref)
	}
	if err := CheckVariables(t.Variables); err != nil {
		return p.say(false, "variables: %s", err)
	}
	return p.say(true, "api: a program asked for it")
}

func (c *Config) askImage(t Trigger, p *Plan) bool {
	r, pushed := &c.Trigger.Registry, t.Image
	tag, err := r.tag()
	switch {
	case err != nil: // Parse lets none through
		return p.say(false, "registry: %s", err)
	case r.Repository == "":
		return p.say(false, "registry: there is no trigger.registry")
	case r.Repository != pushed.Repository:
		return p.say(false, "registry: %s is not trigger.registry.repository %s", pushed.Repository, r.Repository)
	case pushed.Tag == "":
		return p.say(false, "registry: it was pushed without a tag")
	case r.Tag == "" && pushed.Tag == "latest":
		return p.say(false, "registry: trigger.registry.tag is not set, and then every tag counts but latest")
	case !tag.MatchString(pushed.Tag):
		return p.say(false, "registry: the tag %s does not match trigger.registry.tag %s", pushed.Tag, r.Tag)
	case pushed.Released > 0:
		return p.say(false, "released: release %d has this image already", pushed.Released)
	}
	return p.say(true, "registry: %s:%s is what trigger.registry names", pushed.Repository, pushed.Tag)
}

// tag is the expression for the whole of a tag.
func (r *RegistryTrigger) tag() (*regexp.Regexp, error) {
	if _, err := regexp.Compile(r.Tag); err != nil {
		return nil, err
	}
	return regexp.Compile("^(?:" + cmp.Or(r.Tag, ".*") + ")$")
}

// follows says whether a release of t goes to env by itself, when it goes to those in deploys before.
func (c *Config) follows(env *Environment, t Trigger, deploys []string) (why string, ok bool) {
	if env.Deploy != Auto {
		return "no, deploy is manual", false
	}
	if !Allows(env, t.Ref, t.DefaultBranch) {
		if strings.HasPrefix(t.Ref, tagPrefix) {
			return fmt.Sprintf("no, %s is none of its tags %s", t.Ref, env.Tags), false
		}
		return fmt.Sprintf("no, %s is none of its branches %s", t.Ref, env.Branches), false
	}
	if env.After == "" || slices.Contains(deploys, env.After) {
		return "yes, deploy is auto", true
	}
	if before, found := c.Environment(env.After); !found || !Allows(before, t.Ref, t.DefaultBranch) {
		return fmt.Sprintf("no, it comes after %s, which does not take it", env.After), false
	}
	return fmt.Sprintf("yes, deploy is auto, once it is live in %s", env.After), true
}

// Allows says whether env takes releases of ref, a branch or a tag; it takes those of no other ref. With no branches at
// all it takes the default branch's only, and with no tags none (Parse fills in the first environment's, which takes any).
func Allows(env *Environment, ref, defaultBranch string) bool {
	if len(env.Branches) == 0 && defaultBranchOnly.Match(ref, defaultBranch) {
		return true
	}
	return MatchAny(env.Branches, ref, defaultBranch) || MatchAnyTag(env.Tags, ref)
}

// PolicyHash identifies the rules under which a release may go to e: where it goes, what must have come before, which
// branches and tags it takes, who deploys and who approves. An approval is bound to it: when it changes, the approval is void.
// The order in which people are listed, the time limit and what follows a failure do not count, and neither do freezes: they say
// when a release may go, which nobody approves, and a window that is added holds what was approved up, too.
func (e *Environment) PolicyHash() string {
	policy := struct {
		Name, Cluster, Namespace string
		After                    string
		Soak                     time.Duration
		Branches                 []Pattern
		Tags                     []TagPattern
		Count                    int
		By                       []string
		Self                     bool
		Expire                   time.Duration
		Deployers                []string
		Conflicts                string
		RequireChecks            RequiredChecks
	}{
		e.Name, e.Cluster, e.Namespace, e.After, e.Soak, e.Branches, e.Tags,
		e.Approvals.Count, nameSet(e.Approvals.By), e.Approvals.Self, e.Approvals.Expire,
		nameSet(e.Deployers), e.Conflicts, e.RequireChecks,
	}
	text, err := json.Marshal(policy)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// nameSet is names without order and repetition: GitHub's do not depend on case.
func nameSet(names []string) []string {
	set := make([]string, len(names))
	for i, name := range names {
		set[i] = strings.ToLower(name)
	}
	slices.Sort(set)
	return slices.Compact(set)
}
