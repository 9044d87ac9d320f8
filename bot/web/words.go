package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// funcs are what the templates call.
var funcs = template.FuncMap{
	"look":      look,
	"stepName":  stepName,
	"runCause":  runCause,
	"taskName":  taskName,
	"elapsed":   elapsed,
	"offset":    offset,
	"utc":       func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"rfc3339":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"short":     func(sha string) string { return fmt.Sprintf("%.7s", sha) },
	"refName":   refName,
	"join":      strings.Join,
	"lines":     func(s string) []string { return strings.Split(s, "\n") },
	"printable": printable,
	"styled":    styled,
	"diffLines": diffLines,
}

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

func stepName(kind string) string {
	switch kind {
	case "fetch":
		return "Fetch the source"
	case "build":
		return "Build the image"
	case "resolve":
		return "Read the digest back, and tag it"
	case "render":
		return "Render the manifests"
	case "apply":
		return "Apply to the cluster"
	case "observe":
		return "Watch the rollout"
	case "verify":
		return "Verify what runs"
	}
	if check, ok := strings.CutPrefix(kind, stepCheck); ok {
		return "Check " + check
	}
	return kind
}

// taskName says what a task was to do.
func taskName(t store.QueuedTask) string {
	switch t.Kind {
	case store.TaskRun, store.TaskForkRun, store.TaskImageRun:
		return "The run"
	case store.TaskPrepare:
		return "Rendering the manifests"
	case store.TaskEnv:
		return "The deployment"
	case store.TaskOrder:
		return "The release order"
	case store.TaskSay:
		_, surface, _ := strings.Cut(t.Key, "\n")
		return "Telling " + surface
	}
	return "Telling people"
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
		s := span{Class: "same", Text: printable(line)}
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
func runCause(cause string) string {
	switch cause {
	case store.CausePull:
		return "pull request"
	case store.CauseAPI:
		return "the API, called"
	case store.CauseRegistry:
		return "an image pushed"
	}
	return cause
}
