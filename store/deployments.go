package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Why a deployment exists.
const (
	CauseAutomatic = "automatic" // the environment takes every release of its branches
	CauseDeploy    = "deploy"
	CausePromote   = "promote"
	CauseRollback  = "rollback" // a person's
	CauseRecovery  = "recovery" // our own, after a failed deployment
	CauseOrder     = "order"    // a part of a release order
	CauseNow       = "now"      // break-glass: before it was approved
)

// Kinds of blocks.
const (
	BlockApproval = "approval" // By may approve; Have of Need did. Text is the kind of the step that waits, empty before the deployment begins
	BlockHold     = "hold"     // By rolled back at Since, with Text as the reason
	BlockRunning  = "running"  // deployment Number is being made
	BlockOrder    = "order"    // the release is not live in Environment yet
	BlockSoak     = "soak"     // it must be live in Environment until Until
	BlockBranch   = "branch"   // the environment takes no releases of the branch or tag Text
	BlockLock     = "lock"     // By has locked it since Since until Until, with Text as the reason
	BlockFreeze   = "freeze"   // the window Text of the file goes until Until
	BlockChecks   = "checks"   // Names of the commit's checks are not green: Text says how they stand, or why it can't be told
	BlockPart     = "part"     // part Number of its order comes first; 0: the order itself waits, for approvals (Have of Need, By) or to be prepared
	BlockPause    = "pause"    // By paused it at Since; without By the step rests that it is at, until Until, or without until somebody resumes it
	BlockRatify   = "ratify"   // deployment Number went before it was approved, and By may agree to that until Until
)

// A Block is one reason why a deployment waits, as data.
type Block struct {
	Kind        string    `json:"kind"`
	By          []string  `json:"by,omitempty"`
	Have        int       `json:"have,omitempty"`
	Need        int       `json:"need,omitempty"`
	Number      int       `json:"number,omitempty"`
	Environment string    `json:"environment,omitempty"`
	Since       time.Time `json:"since,omitzero"`
	Until       time.Time `json:"until,omitzero"`
	Text        string    `json:"text,omitempty"`
	Names       []string  `json:"names,omitempty"`
	Others      []Check   `json:"others,omitempty"` // of Names: those that are there, but not of whom they have to be
}

// Checks are what was last read of the checks of a deployment's commit that it waits for.
type Checks struct {
	At     time.Time `json:"at"`
	Red    []Check   `json:"red,omitempty"`    // ended, and not well
	Open   []Check   `json:"open,omitempty"`   // not ended, or not there yet
	None   bool      `json:"none,omitempty"`   // there is not one yet, and they are awaited
	Unread string    `json:"unread,omitempty"` // why they could not be read
	Of     string    `json:"of,omitempty"`     // what was asked for
}

// A Check is a check run or commit status of something else.
type Check struct {
	Name string `json:"name"`
	App  string `json:"app,omitempty"` // whose it has to be, where that is said
	Is   string `json:"is,omitempty"`  // its state in GitHub's word, empty where it is not there
	URL  string `json:"url,omitempty"`

	By []string `json:"by,omitempty"` // whose there are of that name, where none is App's
}

// A Scope is what a deployment changes in its environment, for those who approve it.
type Scope struct {
	From    int           `json:"from,omitempty"`    // the release that was live then, 0 for none
	Total   int           `json:"total,omitempty"`   // commits since then
	Commits []ScopeCommit `json:"commits,omitempty"` // the newest of them, newest first
	Back    bool          `json:"back,omitempty"`    // the release is older than what is live
	Gone    int           `json:"gone,omitempty"`    // commits that are live and that it does not have
	Jobs    []string      `json:"jobs,omitempty"`    // that will run, as Kind/name
	Unread  string        `json:"unread,omitempty"`  // why the commits could not be read
}

// A ScopeCommit is a commit that a deployment brings.
type ScopeCommit struct {
	SHA     string `json:"sha"`
	Subject string `json:"subject"`
	Author  string `json:"author"` // a login, or the name in the commit where GitHub knows none
	Pull    int    `json:"pull,omitempty"`
}

// A Deployment is one release going to one environment.
type Deployment struct {
	ID          string                `db:"id"`
	Repo        string                `db:"repo"`
	App         string                `db:"app"`
	Number      int                   `db:"number"`
	Environment string                `db:"environment"`
	Release     int                   `db:"release"`
	RollbackOf  string                `db:"rollback_of"`
	Restores    string                `db:"restores"`
	Cause       string                `db:"cause"`
	Requester   string                `db:"requester"`
	Run         string                `db:"run"`
	Event       string                `db:"event"`
	Spec        JSON[json.RawMessage] `db:"spec"`
	State       string                `db:"state"`
	Blocks      JSON[[]Block]         `db:"blocks"`
	Reason      string                `db:"reason"`
	Failure     JSON[*Failure]        `db:"failure"`
	Progress    string                `db:"progress"`
	Objects     []byte                `db:"objects"`
	ObjectsHash string                `db:"objects_hash"`
	Inventory   JSON[json.RawMessage] `db:"inventory"`
	Changes     string                `db:"changes"`
	CancelBy    string                `db:"cancel_by"`
	GitHubID    int64                 `db:"github_id"`
	CreatedAt   Time                  `db:"created_at"`
	BeganAt     Time                  `db:"began_at"`
	FinishedAt  Time                  `db:"finished_at"`
	ExpiresAt   Time                  `db:"expires_at"`
	Note        string                `db:"note"`        // why, in the words of who asked for it
	Pull        int                   `db:"pull"`        // the pull request or issue that it was asked for on, 0 for none
	Green       bool                  `db:"green"`       // it waits for every check of its commit
	Checks      JSON[*Checks]         `db:"checks"`      // nil: not read yet
	Scope       JSON[*Scope]          `db:"scope"`       // nil: not known yet
	OrderID     string                `db:"order_id"`    // the release order that it is a part of
	Part        int                   `db:"part"`        // which part, from 1
	RatifyBy    Time                  `db:"ratify_by"`   // break-glass: an approver has to agree until then
	RatifiedBy  string                `db:"ratified_by"` // who did
	RemindedAt  Time                  `db:"reminded_at"` // when its approvers were reminded, or told that it is too late
	Rules       JSON[*Rules]          `db:"rules"`       // nil: it was not asked about yet
	Colour      string                `db:"colour"`      // of blue-green: the one that it runs as; empty: under the manifest's own names
	Pause       JSON[*Pause]          `db:"pause"`       // nil: nobody asked it to rest
	PausedFrom  string                `db:"paused_from"` // the state that it goes back to
	ResumedAt   Time                  `db:"resumed_at"`  // when it last went on; its time counts from then
	ResumedBy   string                `db:"resumed_by"`  // who let it go on then; empty: its time was over
	Abort       bool                  `db:"abort"`       // CancelBy wants what was live before back
	RetireAt    Time                  `db:"retire_at"`   // when what it replaced, and still runs, is removed
}

// An Approval is one person's vote on one deployment, or on one step of its flow.
type Approval struct {
	Deployment string `db:"deployment"`
	Step       string `db:"step"` // its kind; empty: the deployment, before it begins
	Login      string `db:"login"`
	Vote       string `db:"vote"` // approve | reject
	Reason     string `db:"reason"`
	Bound      string `db:"bound"` // hash of what was approved
	Via        string `db:"via"`   // github, …
	At         Time   `db:"at"`
}

// A Hold is what a person's rollback leaves, or a restored backup: automatic deployments of the environment stop until it is ended.
type Hold struct {
	Repo        string `db:"repo"`
	App         string `db:"app"`
	Environment string `db:"environment"`
	By          string `db:"by"` // a login; empty when a backup was restored
	Reason      string `db:"reason"`
	Since       Time   `db:"since"`
	Issue       int    `db:"issue"`       // the pull request or issue of the rollback, where its holder is told; 0 for none
	RemindedAt  Time   `db:"reminded_at"` // when people were last reminded of it
}

// HoldReminder is how often people are reminded of a hold.
const HoldReminder = 24 * time.Hour

// EnvKey is the key of the task that works on one environment of one app.
func EnvKey(repo, app, environment string) string { return repo + "\n" + app + "\n" + environment }

// NewDeployment stores a deployment, gives it its id and number, and wakes its work and its report. What waits in the
// same environment is superseded by it, except that an automatic one leaves alone what a person asked for, and a recovery
// everything: what waits may be the fix.
func (tx *Tx) NewDeployment(d *Deployment, steps ...string) error {
	n, err := get[int](tx, "deployment number", nextNumber+"deployments WHERE repo = ?", d.Repo)
	if err != nil {
		return err
	}
	open, err := tx.OpenDeployments(d.Repo, d.App, d.Environment)
	if err != nil {
		return err
	}
	for _, o := range open {
		if Active(o.State) || d.Cause == CauseRecovery || d.Cause == CauseAutomatic && o.Cause != CauseAutomatic {
			continue
		}
		if err := tx.EndDeployment(o, Superseded, fmt.Sprintf("by deployment %d", n), nil); err != nil {
			return err
		}
	}
	d.ID, d.Number, d.State, d.CreatedAt = NewID(), n, Queued, Time{tx.now}
	if d.Inventory.V == nil {
		d.Inventory.V = json.RawMessage("[]")
	}
	err = tx.insert("deployments", `id repo app number environment release rollback_of restores cause requester run event spec
		state objects objects_hash inventory changes created_at expires_at note pull green order_id part ratify_by`, d)
	if err != nil {
		return err
	}
	if err := errors.Join(tx.newSteps(d.ID, steps), tx.changed("deployment", d.ID, d.State)); err != nil {
		return err
	}
	return errors.Join(tx.Wake(TaskPrepare, d.ID), tx.wakeDeployment(*d))
}

func (tx *Tx) wakeDeployment(d Deployment) error {
	err := errors.Join(tx.Wake(TaskEnv, EnvKey(d.Repo, d.App, d.Environment)), tx.Wake(TaskReport, "deployment/"+d.ID))
	if d.OrderID != "" {
		err = errors.Join(err, tx.wakeOrder(d.OrderID))
	}
	return err
}

// Deployment reads a deployment by its id.
func (tx *Tx) Deployment(id string) (Deployment, error) {
	return get[Deployment](tx, "deployment "+id, "SELECT * FROM deployments WHERE id = ?", id)
}

// DeploymentNumber reads a deployment by the number that people type.
func (tx *Tx) DeploymentNumber(repo string, number int) (Deployment, error) {
	return get[Deployment](tx, fmt.Sprintf("deployment %d", number), "SELECT * FROM deployments WHERE repo = ? AND number = ?", repo, number)
}

const ended = "('succeeded','rejected','expired','failed','cancelled','superseded')"

// OpenDeployments lists the unfinished deployments of an environment, oldest first.
func (tx *Tx) OpenDeployments(repo, app, environment string) ([]Deployment, error) {
	return list[Deployment](tx, "SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND state NOT IN "+ended+" ORDER BY number", repo, app, environment)
}

// Waiting lists the deployments of a repository that wait for an approval, before they begin or at a step of theirs, oldest first.
func (tx *Tx) Waiting(repo string) ([]Deployment, error) {
	return list[Deployment](tx, `SELECT * FROM deployments WHERE repo = ? AND state NOT IN `+ended+` AND state IN ('blocked','paused')
		AND EXISTS (SELECT 1 FROM json_each(blocks) WHERE value ->> 'kind' = 'approval') ORDER BY number`, repo)
}

// DeploymentsOf lists the deployments of the release that a run made, oldest first.
func (tx *Tx) DeploymentsOf(run string) ([]Deployment, error) {
	return list[Deployment](tx, "SELECT * FROM deployments WHERE run = ? ORDER BY number", run)
}

// Live is the newest deployment that succeeded in an environment.
func (tx *Tx) Live(repo, app, environment string) (Deployment, error) {
	return get[Deployment](tx, "live deployment", "SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND state = 'succeeded' ORDER BY finished_at DESC, number DESC LIMIT 1", repo, app, environment)
}

// LiveRelease is the newest deployment of one release that succeeded in an environment.
func (tx *Tx) LiveRelease(repo, app, environment string, release int) (Deployment, error) {
	return get[Deployment](tx, fmt.Sprintf("deployment of release %d", release), "SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND release = ? AND state = 'succeeded' ORDER BY number DESC LIMIT 1", repo, app, environment, release)
}

// Current is the newest deployment that began to change an environment, whatever came of it.
func (tx *Tx) Current(repo, app, environment string) (Deployment, error) {
	return get[Deployment](tx, "current deployment", "SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND began_at IS NOT NULL ORDER BY began_at DESC, number DESC LIMIT 1", repo, app, environment)
}

// LiveBefore is what was live in an environment until d succeeded there, also where that was a rollback.
func (tx *Tx) LiveBefore(d Deployment) (Deployment, error) {
	return get[Deployment](tx, "deployment before", `SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND state = 'succeeded'
		AND (finished_at, number) < (?, ?) ORDER BY finished_at DESC, number DESC LIMIT 1`, d.Repo, d.App, d.Environment, d.FinishedAt, d.Number)
}

// Replaced is the first deployment of another release that succeeded in an environment after d did.
func (tx *Tx) Replaced(d Deployment) (Deployment, error) {
	return get[Deployment](tx, "deployment after", `SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND state = 'succeeded'
		AND (finished_at, number) > (?, ?) AND release <> ? ORDER BY finished_at, number LIMIT 1`, d.Repo, d.App, d.Environment, d.FinishedAt, d.Number, d.Release)
}

// Begun lists the newest deployments that began to change an environment, whatever came of them, newest first.
func (tx *Tx) Begun(repo, app, environment string, limit int) ([]Deployment, error) {
	return list[Deployment](tx, "SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND began_at IS NOT NULL ORDER BY began_at DESC, number DESC LIMIT ?", repo, app, environment, limit)
}

// Before finds what to go back to from d: the newest deployment of another release that succeeded before it. A rollback
// stands where the deployment stands that it restored, so that going back twice goes back two releases.
func (tx *Tx) Before(d Deployment) (Deployment, error) {
	for d.Restores != "" && d.State == Succeeded {
		o, err := tx.Deployment(d.Restores)
		if err != nil {
			return o, err
		}
		d = o
		d.State = Succeeded
	}
	return get[Deployment](tx, "earlier release", `SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND state = 'succeeded'
		AND (finished_at, number) < (?, ?) AND release <> ? AND restores = '' ORDER BY finished_at DESC, number DESC LIMIT 1`, d.Repo, d.App, d.Environment, d.FinishedAt, d.Number, d.Release)
}

// Block records why a deployment waits (an empty list: nothing), moving it between queued and blocked.
func (tx *Tx) Block(d Deployment, blocks []Block) error {
	a, errA := json.Marshal(blocks)
	b, errB := json.Marshal(d.Blocks.V)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	to := Queued
	if len(blocks) > 0 {
		to = Blocked
	}
	if d.State == to && (string(a) == string(b) || len(blocks)+len(d.Blocks.V) == 0) {
		return nil
	}
	var err error
	if d.State != to {
		err = tx.move("deployments", to, "", nil, "id = ?", d.ID)
	} else {
		err = tx.changed("deployment", d.ID, to) // it waits for something else now
	}
	if err != nil {
		return err
	}
	if blocks == nil {
		blocks = []Block{}
	}
	_, err = tx.exec("UPDATE deployments SET blocks = ? WHERE id = ?", JSON[[]Block]{blocks}, d.ID)
	return errors.Join(err, tx.wakeDeployment(d))
}

// Expire says until when a deployment waits for its approvals.
func (tx *Tx) Expire(d Deployment, at time.Time) error {
	_, err := tx.exec("UPDATE deployments SET expires_at = ? WHERE id = ?", stamp(at), d.ID)
	return err
}

// Prepared stores what was rendered for a deployment. It is stored once: what was approved is what is applied.
func (tx *Tx) Prepared(d Deployment, objects []byte, hash string, inventory json.RawMessage, changes string) error {
	n, err := tx.exec("UPDATE deployments SET objects = ?, objects_hash = ?, inventory = ?, changes = ? WHERE id = ? AND objects IS NULL",
		objects, hash, JSON[json.RawMessage]{inventory}, changes, d.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("deployment %d is rendered already: %w", d.Number, ErrState)
	}
	return tx.wakeDeployment(d)
}

// Begin moves a queued deployment to applying.
func (tx *Tx) Begin(d Deployment) error {
	return errors.Join(
		tx.move("deployments", Applying, "began_at = ?, blocks = '[]'", []any{stamp(tx.now)}, "id = ?", d.ID),
		tx.wakeDeployment(d))
}

// Advance moves a deployment on to progressing or verifying.
func (tx *Tx) Advance(d Deployment, state string) error {
	return errors.Join(tx.move("deployments", state, "", nil, "id = ?", d.ID), tx.Wake(TaskReport, "deployment/"+d.ID))
}

// Progress records one line on how far a rollout is.
func (tx *Tx) Progress(d Deployment, line string) error {
	n, err := tx.exec("UPDATE deployments SET progress = ? WHERE id = ? AND progress <> ?", line, d.ID, line)
	if err != nil || n == 0 {
		return err
	}
	return tx.Wake(TaskReport, "deployment/"+d.ID)
}

// EndDeployment moves a deployment to a final state and wakes what waited for it.
func (tx *Tx) EndDeployment(d Deployment, state, reason string, f *Failure) error {
	err := tx.move("deployments", state, "reason = ?, failure = ?, blocks = '[]', finished_at = ?", []any{reason, JSON[*Failure]{f}, stamp(tx.now)}, "id = ?", d.ID)
	if err != nil {
		return err
	}
	if err := errors.Join(tx.endSteps(d.ID, state), tx.wakeDeployment(d)); err != nil {
		return err
	}
	end := Ended{Deployment: d.ID, State: state, Environment: d.Environment}
	if !d.BeganAt.IsZero() {
		end.Took = tx.now.Sub(d.BeganAt.Time)
	}
	tx.ended = append(tx.ended, end)
	if state == Succeeded {
		if err := tx.Wake(TaskImages, EnvKey(d.Repo, d.App, d.Environment)); err != nil { // another release is the one to go back to
			return err
		}
		// What was live before says so no more.
		if before, err := list[string](tx, "SELECT id FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND state = 'succeeded' AND id <> ? ORDER BY finished_at DESC LIMIT 1", d.Repo, d.App, d.Environment, d.ID); err != nil {
			return err
		} else if len(before) == 1 {
			if err := tx.Wake(TaskReport, "deployment/"+before[0]); err != nil {
				return err
			}
		}
	}
	// Later environments may have waited for this one.
	others, err := list[string](tx, "SELECT DISTINCT environment FROM deployments WHERE repo = ? AND app = ? AND environment <> ? AND state NOT IN "+ended+" AND state = 'blocked'", d.Repo, d.App, d.Environment)
	for _, e := range others {
		err = errors.Join(err, tx.Wake(TaskEnv, EnvKey(d.Repo, d.App, e)))
	}
	return err
}

// AskCancel asks a deployment that is being made to stop; the engine stops it at its next safe point.
func (tx *Tx) AskCancel(d Deployment, by string) error {
	_, err := tx.exec("UPDATE deployments SET cancel_by = ? WHERE id = ? AND cancel_by = ''", by, d.ID)
	return errors.Join(err, tx.wakeDeployment(d))
}

// SetGitHubID records the id of the GitHub deployment that stands for this one.
func (tx *Tx) SetGitHubID(id string, github int64) error {
	_, err := tx.exec("UPDATE deployments SET github_id = ? WHERE id = ?", github, id)
	return err
}

// Vote records one person's vote; a second one of the same person on the same step replaces the first. The caller wakes the environment
// by Reconsidering it in the same transaction.
func (tx *Tx) Vote(a Approval) error {
	a.At = Time{tx.now}
	err := tx.named(`INSERT INTO approvals (deployment, step, login, vote, reason, bound, via, at)
		VALUES (:deployment, :step, :login, :vote, :reason, :bound, :via, :at)
		ON CONFLICT (deployment, step, login) DO UPDATE SET vote = excluded.vote, reason = excluded.reason, bound = excluded.bound, via = excluded.via, at = excluded.at`, a)
	return err
}

// Approvals lists the votes on a deployment, oldest first.
func (tx *Tx) Approvals(deployment string) ([]Approval, error) {
	return list[Approval](tx, "SELECT * FROM approvals WHERE deployment = ? ORDER BY at, login", deployment)
}

// PutHold leaves (or renews) a hold.
func (tx *Tx) PutHold(h Hold) error {
	h.Since = Time{tx.now}
	err := tx.named(`INSERT INTO holds (repo, app, environment, by, reason, since, issue) VALUES (:repo, :app, :environment, :by, :reason, :since, :issue)
		ON CONFLICT (repo, app, environment) DO UPDATE SET by = excluded.by, reason = excluded.reason, since = excluded.since, issue = excluded.issue, reminded_at = NULL`, h)
	return errors.Join(err, tx.WakeAt(TaskHolds, "", tx.now.Add(HoldReminder)))
}

// Hold reads the hold of an environment.
func (tx *Tx) Hold(repo, app, environment string) (Hold, error) {
	return get[Hold](tx, "hold", "SELECT * FROM holds WHERE repo = ? AND app = ? AND environment = ?", repo, app, environment)
}

// EndHold ends the hold of an environment and wakes what waited for it.
func (tx *Tx) EndHold(repo, app, environment string) error {
	_, err := tx.exec("DELETE FROM holds WHERE repo = ? AND app = ? AND environment = ?", repo, app, environment)
	return errors.Join(err, tx.Wake(TaskEnv, EnvKey(repo, app, environment)))
}

// Unratified is the oldest deployment of an environment that went before it was approved, and that nobody agreed to yet.
func (tx *Tx) Unratified(repo, app, environment string) (Deployment, error) {
	return get[Deployment](tx, "unratified deployment", "SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND ratify_by IS NOT NULL AND ratified_by = '' ORDER BY number LIMIT 1", repo, app, environment)
}

// RollbackOf finds the deployment that goes back from another.
func (tx *Tx) RollbackOf(id string) (Deployment, error) {
	return get[Deployment](tx, "rollback", "SELECT * FROM deployments WHERE rollback_of = ? AND rollback_of <> '' ORDER BY number DESC LIMIT 1", id)
}
