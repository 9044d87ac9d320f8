package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// Facts are what decides whether a deployment may begin; Blocked reads nothing else.
type Facts struct {
	Now       time.Time
	Hold      *store.Hold       // of the environment
	Active    *store.Deployment // what is changing the environment now
	Votes     []store.Approval
	Approvals Approvals         // what the environment asks for, raised to the cluster's floor
	Bound     string            // what a vote must be bound to, see Bound
	Before    *store.Deployment // the release's successful deployment in the environment before, if there is one
	After     string            // the environment before, empty for none
	Soak      time.Duration
}

// Blocked lists why a deployment waits: the table "what blocks what", one row a cause. It is pure.
func Blocked(d store.Deployment, f Facts) []store.Block {
	var blocks []store.Block
	if f.Active != nil {
		blocks = append(blocks, store.Block{Kind: store.BlockRunning, Number: f.Active.Number})
	}
	switch d.Cause {
	case store.CauseRollback, store.CauseRecovery:
		return blocks // the way back is never closed
	case store.CauseAutomatic:
		if f.Hold != nil {
			blocks = append(blocks, store.Block{Kind: store.BlockHold, By: []string{f.Hold.By}, Since: f.Hold.Since.Time, Text: f.Hold.Reason})
		}
	}
	if f.After != "" {
		if f.Before == nil {
			blocks = append(blocks, store.Block{Kind: store.BlockOrder, Environment: f.After})
		} else if until := f.Before.FinishedAt.Add(f.Soak); f.Now.Before(until) {
			blocks = append(blocks, store.Block{Kind: store.BlockSoak, Environment: f.After, Until: until})
		}
	}
	if have := Approvers(f.Votes, f.Bound); len(have) < f.Approvals.Count {
		blocks = append(blocks, store.Block{Kind: store.BlockApproval, By: f.Approvals.By, Have: len(have), Need: f.Approvals.Count})
	}
	return blocks
}

// Approvers lists who approved exactly this.
func Approvers(votes []store.Approval, bound string) []string {
	var who []string
	for _, v := range votes {
		if v.Vote == "approve" && v.Bound == bound {
			who = append(who, v.Login)
		}
	}
	return who
}

// Bound is what an approval is bound to: commit, digests, rendered objects and policy. If one changes, it is void.
func Bound(rel store.Release, objectsHash, policyHash string) string {
	b, _ := json.Marshal([]any{rel.SHA, rel.Images.V, objectsHash, policyHash}) // strings only
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
