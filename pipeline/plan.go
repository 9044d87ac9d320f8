package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of Trigger.
const (
	TriggerPush    = "push"    // a branch moved
	TriggerCommand = "command" // a person asked for a build of this commit, whatever the rules say
)

// Trigger is what may start a run, with all that the decision needs.
type Trigger struct {
	Kind          string // TriggerPush or TriggerCommand
	Ref           string // full, as in refs/heads/master
	SHA           string // whole
	DefaultBranch string // short, as in master
	HeadMessage   string // of the newest commit
	Deleted       bool   // the ref is gone
}

// Plan is the decision about a Trigger.
type Plan struct {
	Build   bool
	Reason  string   // a stable key, a colon and words, as in "branch: …"; the keys are branch, command, deleted, not-a-branch, skip-word and kind
	Trace   []string // each step of the decision in its order, for /why
	Deploys []string // the environments to which the release goes by itself, in the order of the promotion chain; each still waits for what blocks it
}

// skipWords in the message of the newest commit keep a push from being built.
var skipWords = []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip shipmate]", "[shipmate skip]"}

// Plan decides what a trigger starts, from nothing but c and t.
func (c *Config) Plan(t Trigger) Plan {
	build, reason := c.decide(t)
	p := Plan{Build: build, Reason: reason, Trace: []string{t.Kind + " of " + t.Ref, reason}}
	if !build {
		return p
	}
	if t.Kind == TriggerCommand {
		p.Trace = append(p.Trace, "no environment follows by itself, since a command names its own")
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

func (c *Config) decide(t Trigger) (build bool, reason string) {
	if t.Deleted {
		return false, fmt.Sprintf("deleted: %s was deleted, there is nothing to build", t.Ref)
	}
	if t.Kind == TriggerCommand {
		return true, "command: a person asked for it"
	}
	if t.Kind != TriggerPush {
		return false, fmt.Sprintf("kind: nothing is built on %q", t.Kind)
	}
	if _, ok := branchOf(t.Ref); !ok {
		return false, fmt.Sprintf("not-a-branch: %s is not a branch, and only those are built", t.Ref)
	}
	message := strings.ToLower(t.HeadMessage)
	if i := slices.IndexFunc(skipWords, func(word string) bool { return strings.Contains(message, word) }); i >= 0 {
		return false, fmt.Sprintf("skip-word: the newest commit's message says %s", skipWords[i])
	}
	if !MatchAny(c.Trigger.Branches, t.Ref, t.DefaultBranch) {
		return false, fmt.Sprintf("branch: %s is none of trigger.branches %s", t.Ref, c.Trigger.Branches)
	}
	return true, fmt.Sprintf("branch: %s is one of trigger.branches %s", t.Ref, c.Trigger.Branches)
}

// follows says whether a release of t goes to env by itself, when it goes to those in deploys before.
func (c *Config) follows(env *Environment, t Trigger, deploys []string) (why string, ok bool) {
	if env.Deploy != Auto {
		return "no, deploy is manual", false
	}
	if !Allows(env, t.Ref, t.DefaultBranch) {
		return fmt.Sprintf("no, %s is none of its branches %s", t.Ref, env.Branches), false
	}
	if env.After == "" || slices.Contains(deploys, env.After) {
		return "yes, deploy is auto", true
	}
	if before, found := c.Environment(env.After); !found || !Allows(before, t.Ref, t.DefaultBranch) {
		return fmt.Sprintf("no, it comes after %s, which does not take this branch", env.After), false
	}
	return fmt.Sprintf("yes, deploy is auto, once it is live in %s", env.After), true
}

// Allows says whether env takes releases of ref. It takes none of a tag or of any other ref that is not a branch; with
// no branches at all it takes the default branch's only (Parse fills in the first environment's, which takes any).
func Allows(env *Environment, ref, defaultBranch string) bool {
	if len(env.Branches) == 0 {
		return defaultBranchOnly.Match(ref, defaultBranch)
	}
	return MatchAny(env.Branches, ref, defaultBranch)
}

// PolicyHash identifies the rules under which a release may go to e: where it goes, what must have come before, which
// branches it takes, who deploys and who approves. An approval is bound to it: when it changes, the approval is void.
// The order in which people are listed, the time limit and what follows a failure do not count.
func (e *Environment) PolicyHash() string {
	policy := struct {
		Name, Cluster, Namespace string
		After                    string
		Soak                     time.Duration
		Branches                 []Pattern
		Count                    int
		By                       []string
		Self                     bool
		Expire                   time.Duration
		Deployers                []string
		Conflicts                string
	}{
		e.Name, e.Cluster, e.Namespace, e.After, e.Soak, e.Branches,
		e.Approvals.Count, nameSet(e.Approvals.By), e.Approvals.Self, e.Approvals.Expire,
		nameSet(e.Deployers), e.Conflicts,
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
