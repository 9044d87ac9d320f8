package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// Facts are what decides whether a deployment may begin; Blocked reads nothing else.
type Facts struct {
	Now        time.Time
	Hold       *store.Hold       // of the environment
	Locks      []store.Lock      // that cover the environment
	Freeze     *Freeze           // nil: there is none now
	Active     *store.Deployment // what is changing the environment now
	Unratified *store.Deployment // what went there before it was approved, and nobody agreed to yet
	Votes      []store.Approval
	Approvals  Approvals         // what the environment asks for, raised to the cluster's floor
	Bound      string            // what a vote must be bound to, see Bound
	Before     *store.Deployment // the release's successful deployment in the environment before, if there is one
	Left       time.Time         // when another release took its place there, zero: it is live there
	After      string            // the environment before, empty for none
	Soak       time.Duration
	Branch     string        // the branch or tag of the release where the environment takes none of it, else empty
	Checked    bool          // the environment or whoever asked for it wants checks of the commit to be green
	Checks     *store.Checks // what was read of them, nil: nothing yet
	Order      *OrderFacts   // of what is a part of a release order
}

// A Freeze is a window of time in which an environment takes nothing.
type Freeze struct {
	Window string // as the file has it
	Until  time.Time
}

// OrderFacts are how the release order stands that a deployment is a part of.
type OrderFacts struct {
	Waits  bool // for its approval: no part may begin
	Before int  // the part before, while it has not succeeded; 0 for none
	// While it waits for approvals: how many of how many there are, and who may give them.
	Have, Need int
	By         []string
}

// Blocked lists why a deployment waits: the table "what blocks what", one row a cause. It is pure.
func Blocked(d store.Deployment, f Facts) []store.Block {
	var blocks []store.Block
	add := func(b store.Block) { blocks = append(blocks, b) }
	if f.Active != nil {
		add(store.Block{Kind: store.BlockRunning, Number: f.Active.Number})
	}
	if o := f.Order; o != nil && (o.Waits || o.Before > 0) {
		b := store.Block{Kind: store.BlockPart}
		if o.Waits {
			b.Have, b.Need, b.By = o.Have, o.Need, o.By
		} else {
			b.Number = o.Before
		}
		add(b)
	}
	switch d.Cause {
	case store.CauseRollback, store.CauseRecovery:
		return blocks // the way back is never closed
	case store.CauseAutomatic:
		if f.Hold != nil {
			add(HoldBlock(*f.Hold))
		}
		if u := f.Unratified; u != nil && u.ID != d.ID {
			add(store.Block{Kind: store.BlockRatify, Number: u.Number, By: f.Approvals.By, Until: u.RatifyBy.Time})
		}
	}
	for _, l := range f.Locks {
		if d.Cause == store.CauseAutomatic || !strings.EqualFold(l.By, d.Requester) {
			add(LockBlock(l))
		}
	}
	if d.Cause == store.CauseNow {
		return blocks // what else there is was passed on purpose
	}
	if f.Branch != "" {
		add(store.Block{Kind: store.BlockBranch, Text: f.Branch})
	}
	if f.After != "" {
		var until time.Time
		if f.Before != nil {
			until = f.Before.FinishedAt.Add(f.Soak)
		}
		switch {
		case f.Before == nil, !f.Left.IsZero() && f.Left.Before(until): // what went back from there too early comes no further
			add(store.Block{Kind: store.BlockOrder, Environment: f.After})
		case f.Now.Before(until):
			add(store.Block{Kind: store.BlockSoak, Environment: f.After, Until: until})
		}
	}
	if f.Freeze != nil {
		add(store.Block{Kind: store.BlockFreeze, Text: f.Freeze.Window, Until: f.Freeze.Until})
	}
	if f.Checked {
		switch {
		case f.Checks == nil:
			add(store.Block{Kind: store.BlockChecks})
		case f.Checks.Unread != "":
			add(store.Block{Kind: store.BlockChecks, Text: f.Checks.Unread})
		case f.Checks.None: // Need without Names
			add(store.Block{Kind: store.BlockChecks, Need: 1})
		case len(f.Checks.Red)+len(f.Checks.Open) > 0:
			b := store.Block{Kind: store.BlockChecks, Have: len(f.Checks.Red), Need: len(f.Checks.Red) + len(f.Checks.Open)}
			for _, c := range slices.Concat(f.Checks.Red, f.Checks.Open) {
				b.Names = append(b.Names, c.Name)
				if len(c.By) > 0 {
					b.Others = append(b.Others, store.Check{Name: c.Name, App: c.App, By: c.By})
				}
			}
			add(b)
		}
	}
	if f.Order != nil {
		return blocks // its approval is the order's
	}
	if have := Approvers(f.Votes, f.Bound); len(have) < f.Approvals.Count {
		add(store.Block{Kind: store.BlockApproval, By: f.Approvals.By, Have: len(have), Need: f.Approvals.Count})
	}
	return blocks
}

// HoldBlock is a hold as a reason to wait.
func HoldBlock(h store.Hold) store.Block {
	return store.Block{Kind: store.BlockHold, By: []string{h.By}, Since: h.Since.Time, Text: h.Reason}
}

// LockBlock is a lock as a reason to wait.
func LockBlock(l store.Lock) store.Block {
	return store.Block{Kind: store.BlockLock, By: []string{l.By}, Since: l.Since.Time, Until: l.Until.Time, Text: l.Reason}
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
