package bot

import (
	"context"
	"errors"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// surfaceCheck is before a check's name in the surface of its commit status.
const surfaceCheck = "github/check/"

// checks are the steps of a run that are checks; none of a deployment.
func (s subject) checks() (checks []store.Step) {
	for _, step := range s.steps {
		if _, ok := pipeline.CheckOf(step.Kind); ok {
			checks = append(checks, step)
		}
	}
	return checks
}

// check is the step of a check of the run.
func (s subject) check(kind string) (store.Step, bool) {
	for _, step := range s.checks() {
		if step.Kind == kind {
			return step, true
		}
	}
	return store.Step{}, false
}

// checkStatus is what the commit status of a check says. It is pending with the same words until the check's end: GitHub
// takes a limited number of statuses.
func (b *Bot) checkStatus(s subject, step store.Step) commitStatus {
	state := told(step.State)
	if step.State == store.StepSkipped {
		state = "error"
	}
	return commitStatus{state, s.statusPrefix() + step.Kind, text.Fit(checkWords(step, b.lang), text.MaxStatus), b.page("runs", s.run.ID)}
}

// sayCheck sets the commit status of a check.
func (b *Bot) sayCheck(ctx context.Context, s subject, name string) error {
	step, ok := s.check(pipeline.CheckStep(name))
	if !ok {
		return giveUp{errors.New("the run has no such check")}
	}
	if !s.newest {
		return nil // a newer run speaks for this commit
	}
	st := b.checkStatus(s, step)
	return b.once(ctx, s, surfaceCheck+name, "", st, func(store.Message) (string, error) {
		return "", b.hub.write(s.repo, s.key+" "+step.Kind, st.State != "pending", func(c *github.Client, owner, name string) error {
			return putStatus(ctx, c, owner, name, s.run.Head(), st)
		})
	})
}

// checkWords is what a check says of itself in one line.
func checkWords(step store.Step, l text.Lang) string {
	r := step.Result.V
	switch {
	case step.State == store.StepSkipped:
		return l.Say(text.CheckNotRun)
	case !finished(step.State):
		return l.State(store.StepRunning)
	case r == nil:
		return l.State(step.State)
	case step.State == store.StepFailed && (r.Tests == nil || r.Tests.Failed == 0):
		return l.Say(text.DeployFailed, r.Failure.Reason)
	case r.Tests != nil && r.From > 0:
		return l.Join([]string{testsWords(r.Tests, l), l.Say(text.TakenOver, r.From)})
	case r.Tests != nil:
		return testsWords(r.Tests, l)
	case r.From > 0:
		return l.Join([]string{l.State(step.State), l.Say(text.TakenOver, r.From)})
	}
	clauses := []string{l.Say(text.CheckPassed, l.Duration(step.FinishedAt.Sub(step.StartedAt.Time)))}
	if r.Unread != "" {
		clauses = append(clauses, l.Say(text.ReportUnreadable, r.Unread))
	}
	return l.Join(clauses)
}

// finished tells whether a step has come to an end.
func finished(state string) bool {
	return state == store.StepSucceeded || state == store.StepFailed || state == store.StepCancelled || state == store.StepSkipped
}

func testsWords(t *store.Tests, l text.Lang) string {
	switch {
	case t.Failed > 0 && len(t.Failing) > 0:
		return l.Say(text.TestsFailed, t.Failed, t.Total, strings.Join(t.Names(), ", "))
	case t.Failed > 0:
		return l.Say(text.TestsFailedOnly, t.Failed, t.Total)
	case t.Skipped > 0:
		return l.Say(text.TestsPassedSome, t.Total-t.Skipped, t.Skipped)
	}
	return l.Say(text.TestsPassed, t.Total)
}

// failedTests are the tests that failed in the check that failed first, one a line with the first line of why.
func failedTests(s subject) (lines []string) {
	step, ok := s.check(s.run.Failure.V.Step)
	if !ok || step.Result.V == nil || step.Result.V.Tests == nil {
		return nil
	}
	const most = 10 // of a message that is read in passing
	for _, t := range step.Result.V.Tests.Failing {
		if len(lines) == most {
			return append(lines, "…")
		}
		why, _, _ := strings.Cut(t.Message, "\n")
		lines = append(lines, strings.TrimSuffix(t.Name+": "+why, ": "))
	}
	return lines
}
