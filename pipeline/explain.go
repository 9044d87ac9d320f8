package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shipmate-dev/shipmate/pipeline/image"
)

// Explain says in lines, which bot plan prints, what p, the plan of t, comes to: the rules that were asked, the build, and where its release goes. Each path
// that the commit has to have is given to missing, which may be nil; where its answer is not empty, it is a line more.
func (c *Config) Explain(p Plan, t Trigger, missing func(path string) string) (lines []string, err error) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	needs := func(path string) {
		if missing == nil {
			return
		}
		if why := missing(path); why != "" {
			say("    %s", why)
		}
	}
	rules, environments := p.Trace[1:], []string(nil)
	if p.Build {
		first := len(p.Trace) - len(c.Environments)
		rules, environments = p.Trace[1:first], p.Trace[first:]
	}
	for _, why := range rules {
		say("  %s", why)
	}
	if !p.Build {
		say("  nothing is built")
		return lines, nil
	}
	branch, _ := branchOf(t.Ref)
	tag, _ := tagOf(t.Ref)
	tags, err := image.Tags(c.Build.Tags, map[string]string{"sha": t.SHA, "short_sha": t.SHA[:min(len(t.SHA), 7)], "run": "N", "branch": branch, "tag": tag})
	if err != nil {
		return lines, err
	}
	if len(tags) == 0 {
		tags = []string{"no tag, by digest alone"}
	}
	say("  build: %s in %s becomes %s (%s)", c.Build.Dockerfile, c.Build.Context, c.Build.Image, strings.Join(tags, ", "))
	needs(c.Build.Dockerfile)
	needs(c.Build.Context)
	for _, check := range c.Checks {
		if check.Target != "" {
			say("  check %s: the stage %s of %s, beside the build", check.Name, check.Target, c.Build.Dockerfile)
		} else {
			say("  check %s: %s in %s, beside the build", check.Name, strings.Join(strings.Fields(check.Run), " "), check.Image)
		}
	}
	for i, why := range environments {
		say("  %s", why)
		if env := &c.Environments[i]; slices.Contains(p.Deploys, env.Name) {
			say("    %s to the namespace %s of the cluster %s%s", env.Manifests, env.Namespace, env.Cluster, waits(env))
			if env.Registry != "" {
				say("    its image is copied to %s first, and pulled from there", env.Registry)
			}
			if how := env.Strategy.explain(); how != "" {
				say("    %s", how)
			}
			if len(env.Flow) > 0 {
				var flow []string
				for _, step := range env.Flow {
					flow = append(flow, step.String())
				}
				say("    step by step: %s", strings.Join(flow, ", "))
			}
			needs(env.Manifests)
			for _, step := range env.Flow {
				if step.Job != "" {
					needs(step.Job)
				}
			}
			for _, name := range env.Values {
				needs(name)
			}
		}
	}
	return lines, nil
}

// explain says how a release replaces the one before; empty where the manifest alone decides.
func (s Strategy) explain() string {
	var words []string
	for _, kind := range between(s.between()) {
		verb, rest, _ := strings.Cut(kind, "/")
		_, what, _ := strings.Cut(rest, "/")
		switch {
		case verb == verbProve:
			verb = "verify"
		case what == (Rest{Manual: true}).String():
			what = "until somebody resumes it"
		}
		words = append(words, verb+" "+what)
	}
	switch {
	case s.Canary != nil:
		return "by canary: " + strings.Join(append(words, "then all of it"), ", ")
	case s.BlueGreen != nil && s.BlueGreen.Keep == 0:
		return "by blue-green: " + strings.Join(append(words, "turn the Services"), ", ")
	case s.BlueGreen != nil:
		return "by blue-green: " + strings.Join(append(words, "turn the Services", "keep the old pods "+shortDuration(s.BlueGreen.Keep)), ", ")
	}
	return ""
}

// waits says what else a deployment waits for.
func waits(env *Environment) string {
	var waits []string
	if env.Soak > 0 {
		waits = append(waits, fmt.Sprintf("%s in %s", env.Soak, env.After))
	}
	switch checks := env.RequireChecks; {
	case checks.All():
		waits = append(waits, "all checks of the commit")
	case checks.ByRules():
		waits = append(waits, "the checks that its branch requires on GitHub")
	case len(checks) > 0:
		var names []string
		for _, check := range checks {
			names = append(names, check.Name)
		}
		waits = append(waits, "the checks "+strings.Join(names, ", "))
	}
	if n := env.Approvals.Count; n > 0 {
		waits = append(waits, fmt.Sprintf("approvals (%d)", n))
	}
	said := ""
	if len(waits) > 0 {
		said = ", after " + strings.Join(waits, " and ")
	}
	for i, w := range env.Freeze {
		said += map[bool]string{true: ", not ", false: " or "}[i == 0] + w.String()
	}
	return said
}
