package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// States of a Run.
const (
	RunQueued     = "queued"
	RunRunning    = "running"
	RunSucceeded  = "succeeded"
	RunFailed     = "failed"
	RunCancelled  = "cancelled"
	RunSuperseded = "superseded"
)

// States of a Step.
const (
	StepPending     = "pending"
	StepRunning     = "running"
	StepSucceeded   = "succeeded"
	StepFailed      = "failed"
	StepCancelled   = "cancelled"
	StepSkipped     = "skipped"
	StepInterrupted = "interrupted"
)

// States of a Deployment.
const (
	Blocked     = "blocked"
	Queued      = "queued"
	Applying    = "applying"
	Progressing = "progressing"
	Paused      = "paused"
	Verifying   = "verifying"
	Succeeded   = "succeeded"
	Rejected    = "rejected"
	Expired     = "expired"
	Failed      = "failed"
	Cancelled   = "cancelled"
	Superseded  = "superseded"
)

// from lists, for each noun and each state, the states that it may be reached from.
var from = map[string]map[string][]string{
	"runs": {
		RunRunning:    {RunQueued},
		RunSucceeded:  {RunRunning},
		RunFailed:     {RunQueued, RunRunning},
		RunCancelled:  {RunQueued, RunRunning},
		RunSuperseded: {RunQueued, RunRunning},
	},
	"steps": {
		StepRunning:     {StepPending, StepInterrupted}, // interrupted → pending → running, in one move
		StepSucceeded:   {StepRunning},
		StepFailed:      {StepRunning, StepInterrupted},
		StepCancelled:   {StepRunning, StepInterrupted},
		StepSkipped:     {StepPending, StepRunning},
		StepInterrupted: {StepRunning},
		StepPending:     {StepInterrupted},
	},
	"deployments": {
		Blocked:     {Queued},
		Queued:      {Blocked},
		Applying:    {Queued, Paused},
		Progressing: {Applying, Paused},
		Paused:      {Applying, Progressing, Verifying}, // and back to the one that it was
		Verifying:   {Progressing, Paused},
		Succeeded:   {Verifying},
		Rejected:    {Blocked},
		Expired:     {Blocked},
		Failed:      unfinished,
		Cancelled:   unfinished,
		Superseded:  unfinished,
	},
	"orders": {
		OrderWaiting:  {OrderDraft, OrderApproved}, // again, when what was approved has changed
		OrderApproved: {OrderDraft, OrderWaiting},
		OrderRunning:  {OrderApproved},
		Succeeded:     {OrderRunning},
		Failed:        {OrderDraft, OrderWaiting, OrderApproved, OrderRunning},
		Cancelled:     {OrderDraft, OrderWaiting, OrderApproved, OrderRunning},
		Rejected:      {OrderWaiting},
		Expired:       {OrderWaiting},
	},
}

// unfinished are the states of a deployment that has not ended.
var unfinished = []string{Blocked, Queued, Applying, Progressing, Paused, Verifying}

// Final tells whether a run or deployment in this state has ended.
func Final(state string) bool {
	switch state {
	case RunSucceeded, RunFailed, RunCancelled, RunSuperseded, Rejected, Expired:
		return true
	}
	return false
}

// Active tells whether a deployment in this state is changing its environment.
func Active(state string) bool {
	return slices.Contains([]string{Applying, Progressing, Paused, Verifying}, state)
}

// ErrState is returned (wrapped) where a noun is not in a state from which the wanted one may be reached.
var ErrState = errors.New("not possible in this state")

// move is the only writer of a state. set holds further assignments of the same row, with their args; where names the row.
func (tx *Tx) move(table, to, set string, setArgs []any, where string, whereArgs ...any) error {
	may := from[table][to]
	query := "UPDATE " + table + " SET state = ?"
	if set != "" {
		query += ", " + set
	}
	query += " WHERE " + where + " AND state IN ('" + strings.Join(may, "','") + "')"
	n, err := tx.exec(query, slices.Concat([]any{to}, setArgs, whereArgs)...)
	if err != nil {
		return err
	}
	if n == 1 {
		if kind := strings.TrimSuffix(table, "s"); kind != "step" {
			return tx.changed(kind, whereArgs[0].(string), to) // their rows are named by their ids
		}
		return nil
	}
	is, err := get[string](tx, table, "SELECT state FROM "+table+" WHERE "+where, whereArgs...)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %s → %s: %w", table, is, to, ErrState)
}
