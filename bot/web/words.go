package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// funcs are what the templates call, besides what depends on the language (lang.funcs).
var funcs = template.FuncMap{
	"look":      look,
	"elapsed":   elapsed,
	"offset":    offset,
	"utc":       utc,
	"rfc3339":   rfc3339,
	"short":     short,
	"refName":   refName,
	"join":      strings.Join,
	"lines":     func(s string) []string { return strings.Split(s, "\n") },
	"printable": printable,
	"styled":    styled,
	"diffLines": diffLines,
	"bdi":       bdi,
	"code":      code,
	"link":      link,
	"when":      when,
	"date":      func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	"appPath":   appPath,
	"leases":    func() template.HTML { return leases },
	"icon":      icon,
	"glyph":     glyph,
	"cellOf":    func(c cell, now time.Time) cellView { return cellView{c, now} },
	"lookOf":    func(look string) string { return shapes[look] },
}

// icons are the pictures of looks, which always have their word beside them.
var icons = map[string]template.HTML{
	"good": `<circle cx="8" cy="8" r="8" class="fill"/><path d="m4.5 8.3 2.4 2.4 4.6-5" class="mark"/>`,
	"bad":  `<circle cx="8" cy="8" r="8" class="fill"/><path d="m5.2 5.2 5.6 5.6m0-5.6-5.6 5.6" class="mark"/>`,
	"busy": `<circle cx="8" cy="8" r="6.5" class="track"/><path d="M8 1.5a6.5 6.5 0 0 1 6.5 6.5" class="arc"/>`,
	"held": `<circle cx="8" cy="8" r="8" class="fill"/><path d="M6.1 5v6m3.8-6v6" class="mark"/>`,
	"idle": `<circle cx="8" cy="8" r="6.5" class="track"/><path d="M5 8h6" class="arc"/>`,
}

// icon is the picture of a state.
func icon(state string) template.HTML {
	l := look(state)
	return `<svg class="icon ` + template.HTML(l) + `" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">` + icons[l] + "</svg>"
}

// glyphs are the pictures of what stands in the way.
var glyphs = map[string]template.HTML{
	"lock":   `<path d="M4 7.5h8v6H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5"/>`,
	"hold":   `<path d="M5.5 3v10m5-10v10"/>`,
	"freeze": `<path d="M8 1.5v13M2.4 4.8l11.2 6.4M2.4 11.2l11.2-6.4"/>`,
	"alert":  `<path d="M8 2 1.5 13.5h13zM8 6.5v3.2m0 2v.1"/>`,
	"wait":   `<circle cx="8" cy="8" r="6.2"/><path d="M8 4.5V8l2.5 1.5"/>`,
}

func glyph(name string) template.HTML {
	return `<svg class="glyph" viewBox="0 0 16 16" width="13" height="13" aria-hidden="true">` + glyphs[name] + "</svg>"
}

// shapes are states that have each look.
var shapes = map[string]string{"good": store.Succeeded, "bad": store.Failed, "held": store.Blocked, "idle": store.StepPending}

func short(sha string) string { return fmt.Sprintf("%.7s", sha) }

// look is how a state is shown, besides its word: one of five colours, each with a shape of its own.
func look(state string) string {
	switch state {
	case store.RunSucceeded:
		return "good"
	case store.RunFailed, store.Rejected:
		return "bad"
	case store.RunRunning, store.Applying, store.Progressing, store.Verifying:
		return "busy"
	case store.Blocked, store.Paused, store.StepInterrupted, store.OrderWaiting:
		return "held"
	}
	return "idle" // not begun, or ended without a result
}

// step is what a kind of step does.
func (l lang) step(kind string) string {
	switch kind {
	case "fetch":
		return l.say("Fetch the source")
	case "build":
		return l.say("Build the image")
	case "resolve":
		return l.say("Read the digest back, and tag it")
	case "render":
		return l.say("Render the manifests")
	case "copy":
		return l.say("Copy the image")
	case "apply":
		return l.say("Apply to the cluster")
	case "observe":
		return l.say("Watch the rollout")
	case "switch":
		return l.say("Turn the traffic to it")
	case "verify":
		return l.say("Verify what runs")
	}
	if check, ok := strings.CutPrefix(kind, stepCheck); ok {
		return l.say("Check %s", check)
	}
	verb, rest, _ := strings.Cut(kind, "/") // of a flow, as in job/1/deploy/migrate.yaml
	if _, what, ok := strings.Cut(rest, "/"); ok {
		switch verb {
		case "job":
			return l.say("Run the Job of %s", what)
		case "wait":
			return l.say("Wait %s", what)
		case "verify", "prove":
			return l.say("Verify %s", what)
		case "approve":
			return l.say("Wait for approvals: %s", what)
		case "canary":
			return l.say("Send the canary %s", what)
		case "pause":
			if what == "manual" {
				return l.say("Pause until somebody resumes it")
			}
			return l.say("Pause %s", what)
		case "webhook":
			return l.say("Call %s", what)
		}
	}
	return kind
}

// task says what a task was to do.
func (l lang) task(t store.QueuedTask) string {
	switch t.Kind {
	case store.TaskRun, store.TaskForkRun, store.TaskImageRun:
		return l.say("The run")
	case store.TaskPrepare:
		return l.say("Rendering the manifests")
	case store.TaskEnv:
		return l.say("The deployment")
	case store.TaskOrder:
		return l.say("The release order")
	case store.TaskImages:
		return l.say("Looking whether images are still there")
	case store.TaskEvent:
		return l.say("Deciding a delivery")
	case store.TaskSay:
		_, surface, _ := strings.Cut(t.Key, "\n")
		return l.say("Telling %s", surface)
	}
	return l.say("Telling people")
}

// elapsed is how long something took, or has taken until now; empty where it has not begun.
func elapsed(from, to store.Time, now time.Time) string {
	if from.IsZero() {
		return ""
	}
	if !to.IsZero() {
		now = to.Time
	}
	d := max(0, now.Sub(from.Time))
	switch s := int(d.Seconds()); {
	case d < 10*time.Second && !to.IsZero():
		return fmt.Sprintf("%.1fs", d.Seconds())
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %02ds", s/60, s%60)
	default:
		return fmt.Sprintf("%dh %02dm", s/3600, s/60%60)
	}
}

// offset is the time of a log line since the run began, as minutes and seconds.
func offset(start store.Time, at time.Time) string {
	if start.IsZero() || at.IsZero() {
		return ""
	}
	s := max(0, int(at.Sub(start.Truncate(time.Second)).Seconds()))
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func refName(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return name
		}
	}
	return ref
}

// diffLines gives each line of a diff the class of what it says.
func diffLines(diff string) []span {
	var lines []span
	for line := range strings.Lines(diff) {
		s := span{Class: "same", Text: printable(strings.TrimSuffix(line, "\n"))}
		switch line[0] {
		case '+':
			s.Class = "added"
		case '-':
			s.Class = "removed"
		case ' ':
		default:
			s.Class = "place" // the name of an object, a hunk, a note
		}
		lines = append(lines, s)
	}
	return lines
}

// runCause is what started a run.
func (l lang) runCause(cause string) string {
	switch cause {
	case store.CausePull:
		return l.say("pull request")
	case store.CauseAPI:
		return l.say("the API, called")
	case store.CauseRegistry:
		return l.say("an image pushed")
	}
	return l.say(cause)
}
