package store

import (
	"cmp"
	"slices"
	"time"
)

// A StepResult is what a step brought besides its state.
type StepResult struct {
	From      int      `json:"from,omitempty"`      // the run of the same commit whose result this is
	Failure   *Failure `json:"failure,omitempty"`   // why the step failed, where it failed before the run ended
	Tests     *Tests   `json:"tests,omitempty"`     // of a check whose report could be read
	Unread    string   `json:"unread,omitempty"`    // why its report could not be
	Artifacts []File   `json:"artifacts,omitempty"` // of a check, kept with the run
	Left      []string `json:"left,omitempty"`      // what of its artifacts was not kept, each with the reason

	// Of the steps of a flow:
	Object string    `json:"object,omitempty"` // the Job, as in Job/migrate-1
	UID    string    `json:"uid,omitempty"`    // its id in the cluster, from before it runs
	Logs   []string  `json:"logs,omitempty"`   // the last lines of it
	Misses int       `json:"misses,omitempty"` // how often in a row it was not as it should be
	Again  time.Time `json:"again,omitzero"`   // when it is asked again
	By     string    `json:"by,omitempty"`     // of a pause: who ended it
	Held   bool      `json:"held,omitempty"`   // the rollout that it watches is held in the cluster

	// Of the first canary step:
	Began   bool   `json:"began,omitempty"`   // something of the canary may be in the cluster
	Skipped string `json:"skipped,omitempty"` // why there is none

	Share string `json:"share,omitempty"` // of a canary step: of the traffic, as it really is
}

// Tests is the sum of a check's report. What its tests say is masked and capped.
type Tests struct {
	Total   int          `json:"total"`
	Failed  int          `json:"failed"` // failed or broke
	Skipped int          `json:"skipped"`
	Seconds float64      `json:"seconds"` // as the runner says, 0 where it does not
	Failing []FailedTest `json:"failing,omitempty"`
}

// Names are those of the tests that did not pass.
func (t *Tests) Names() []string {
	names := make([]string, len(t.Failing))
	for i, f := range t.Failing {
		names[i] = f.Name
	}
	return names
}

// A FailedTest is one test that did not pass.
type FailedTest struct {
	Suite   string `json:"suite,omitempty"`
	Name    string `json:"name"`
	Message string `json:"message,omitempty"` // several lines
}

// A File is an artifact, by its path with slashes.
type File struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// EndPart moves a running step of a run to its end with what it brought, while the run goes on. The caller wakes the report.
func (tx *Tx) EndPart(owner, kind, state string, r StepResult) error {
	return tx.move("steps", state, "result = ?, finished_at = ?", []any{JSON[*StepResult]{&r}, stamp(tx.now)}, "owner = ? AND kind = ?", owner, kind)
}

// NoteStep records what a running step has brought so far. The caller wakes the report.
func (tx *Tx) NoteStep(owner, kind string, r StepResult) error {
	_, err := tx.exec("UPDATE steps SET result = ? WHERE owner = ? AND kind = ? AND state = 'running'", JSON[*StepResult]{&r}, owner, kind)
	return err
}

// begunJob tells of a step whether it is a Job that may have run.
const begunJob = "kind LIKE 'job/%' AND result ->> 'uid' <> ''"

// JobsOf lists the Jobs that a deployment has begun, as in Job/migrate-1, in their order.
func (tx *Tx) JobsOf(deployment string) ([]string, error) {
	return list[string](tx, "SELECT result ->> 'object' FROM steps WHERE owner = ? AND "+begunJob+" ORDER BY seq", deployment)
}

// JobsSince lists those that an environment's deployments have begun since d succeeded there, the newest of many deployments alone.
func (tx *Tx) JobsSince(d Deployment) (jobs []string, err error) {
	begun, err := tx.Begun(d.Repo, d.App, d.Environment, 50)
	for _, later := range slices.Backward(begun) {
		if err != nil || !later.BeganAt.After(d.FinishedAt.Time) {
			continue
		}
		var of []string
		of, err = tx.JobsOf(later.ID)
		jobs = append(jobs, of...)
	}
	return jobs, err
}

// TakeOver ends steps of a new run that need not be done, since an earlier run of the same commit did them: their results are
// those of that run, which keeps its artifacts.
func (tx *Tx) TakeOver(run, from Run, kinds []string) error {
	steps, err := tx.Steps(from.ID)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.State != StepSucceeded || !slices.Contains(kinds, s.Kind) {
			continue
		}
		if _, err := tx.StartStep(run.ID, s.Kind); err != nil {
			return err
		}
		r := StepResult{From: from.Number}
		if had := s.Result.V; had != nil {
			r.From, r.Tests, r.Unread = cmp.Or(had.From, from.Number), had.Tests, had.Unread
		}
		err := tx.move("steps", StepSucceeded, "detail = ?, result = ?, finished_at = ?", []any{s.Detail, JSON[*StepResult]{&r}, stamp(tx.now)}, "owner = ? AND kind = ?", run.ID, s.Kind)
		if err != nil {
			return err
		}
	}
	return nil
}
