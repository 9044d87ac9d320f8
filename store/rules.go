package store

import (
	"encoding/json"
	"errors"
	"time"
)

// Kinds of tasks about a deployment; the key is its id.
const (
	TaskScope  = "scope"  // work out what it changes, see Scope
	TaskRatify = "ratify" // look whether somebody agreed in time to what went without approval
)

// Why what had not begun was ended when the file of the default branch changed.
const (
	ReasonNoEnvironment = "the file of the default branch has no such environment any more"
	ReasonMoved         = "the environment's cluster, namespace or manifests changed in the file; ask for it again"
)

// Rules are those under which a deployment is asked about, and how they changed since it was first.
type Rules struct {
	Bound   string        `json:"bound"`          // what a vote has to be bound to
	Step    string        `json:"step,omitempty"` // the kind of the step of its flow that is asked about
	Asked   []Rule        `json:"asked"`
	Changes []RulesChange `json:"changes,omitempty"` // oldest first
}

// A Rule is a key of an environment in the repository's file, raised to what the cluster insists on, as text.
type Rule struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// A RulesChange made every vote before it void.
type RulesChange struct {
	At    time.Time    `json:"at"`
	Rules []RuleChange `json:"rules,omitempty"`
	Void  []string     `json:"void,omitempty"` // the logins of those who had approved
}

// A RuleChange is a rule as it was and as it is.
type RuleChange struct {
	Key string `json:"key"`
	Old string `json:"old"`
	New string `json:"new"`
}

// SetRules records under which rules a deployment is asked about. Where they changed, its votes are void, and it is asked about
// again: its time to expire, which is the caller's, and its reminder begin anew.
func (tx *Tx) SetRules(d Deployment, r Rules, changed bool) error {
	if !changed {
		_, err := tx.exec("UPDATE deployments SET rules = ? WHERE id = ?", JSON[*Rules]{&r}, d.ID)
		return err
	}
	_, err := tx.exec("UPDATE deployments SET rules = ?, expires_at = NULL, reminded_at = NULL WHERE id = ?", JSON[*Rules]{&r}, d.ID)
	if err != nil {
		return err
	}
	// What is void stays so, also when the rules become again what they were.
	_, err = tx.exec("UPDATE approvals SET bound = 'void ' || bound WHERE deployment = ? AND bound <> ?", d.ID, r.Bound)
	return errors.Join(err, tx.Wake(TaskReport, "deployment/"+d.ID))
}

// SetSpec replaces what a deployment that has not begun was asked to do, and wakes its environment.
func (tx *Tx) SetSpec(d Deployment, spec json.RawMessage) error {
	_, err := tx.exec("UPDATE deployments SET spec = ? WHERE id = ?", JSON[json.RawMessage]{spec}, d.ID)
	return errors.Join(err, tx.wakeDeployment(d))
}

// SetDeploys replaces what is deployed when an unfinished run succeeds.
func (tx *Tx) SetDeploys(r Run, all []Request) error {
	_, err := tx.exec("UPDATE runs SET deploys = ? WHERE id = ?", JSON[[]Request]{all}, r.ID)
	return err
}

// SetScope records what a deployment changes.
func (tx *Tx) SetScope(d Deployment, s Scope) error {
	_, err := tx.exec("UPDATE deployments SET scope = ? WHERE id = ?", JSON[*Scope]{&s}, d.ID)
	if d.OrderID != "" {
		err = errors.Join(err, tx.Wake(TaskReport, "order/"+d.OrderID))
	}
	return errors.Join(err, tx.Wake(TaskReport, "deployment/"+d.ID))
}

// Ask records that a deployment is asked about anew until a time, at a step of its flow.
func (tx *Tx) Ask(d Deployment, r Rules, until time.Time) error {
	_, err := tx.exec("UPDATE deployments SET rules = ?, expires_at = ?, reminded_at = NULL WHERE id = ?", JSON[*Rules]{&r}, stamp(until), d.ID)
	return errors.Join(err, tx.Wake(TaskScope, d.ID), tx.Wake(TaskReport, "deployment/"+d.ID))
}

// Remind records that those whom a deployment waits for are reminded now.
func (tx *Tx) Remind(d Deployment) error {
	_, err := tx.exec("UPDATE deployments SET reminded_at = ? WHERE id = ?", stamp(tx.now), d.ID)
	return errors.Join(err, tx.Wake(TaskReport, "deployment/"+d.ID))
}

// WakeOpen wakes the work on every environment with an unfinished deployment: what decides about it may have changed.
func (tx *Tx) WakeOpen() error {
	open, err := list[Deployment](tx, "SELECT * FROM deployments WHERE state NOT IN "+ended)
	for _, d := range open {
		err = errors.Join(err, tx.Wake(TaskEnv, EnvKey(d.Repo, d.App, d.Environment)))
	}
	return err
}

// WakePulls has each environment that wants a pull secret given the credentials of today.
func (tx *Tx) WakePulls() error {
	live, err := list[string](tx, `SELECT id FROM deployments d WHERE state = 'succeeded' AND json_extract(spec, '$.Environment.PullSecret') <> '' AND NOT EXISTS (SELECT 1 FROM deployments n
		WHERE n.repo = d.repo AND n.app = d.app AND n.environment = d.environment AND n.state = 'succeeded' AND (n.finished_at, n.number) > (d.finished_at, d.number))`)
	for _, id := range live {
		err = errors.Join(err, tx.Wake(TaskPulls, id))
	}
	return err
}

// MustRatify says until when somebody has to agree to a deployment that goes without approval.
func (tx *Tx) MustRatify(d Deployment, until time.Time) error {
	_, err := tx.exec("UPDATE deployments SET ratify_by = ? WHERE id = ?", stamp(until), d.ID)
	return errors.Join(err, tx.WakeAt(TaskRatify, d.ID, until))
}

// Ratify records who agreed to a deployment that went without approval.
func (tx *Tx) Ratify(d Deployment, by string) error {
	_, err := tx.exec("UPDATE deployments SET ratified_by = ? WHERE id = ?", by, d.ID)
	return errors.Join(err, tx.wakeDeployment(d))
}

// UnratifiedIn lists what went to an environment without approval and nobody agreed to, oldest first.
func (tx *Tx) UnratifiedIn(repo, app, environment string) ([]Deployment, error) {
	return list[Deployment](tx, "SELECT * FROM deployments WHERE repo = ? AND app = ? AND environment = ? AND ratify_by IS NOT NULL AND ratified_by = '' ORDER BY number", repo, app, environment)
}

// UnratifiedOf lists what went without approval in a repository and nobody agreed to, oldest first.
func (tx *Tx) UnratifiedOf(repo string) ([]Deployment, error) {
	return list[Deployment](tx, "SELECT * FROM deployments INDEXED BY deployments_unratified WHERE repo = ? AND ratify_by IS NOT NULL AND ratified_by = '' ORDER BY number", repo)
}

// Overtake ends the wait for somebody to agree to a deployment: people put something else there.
func (tx *Tx) Overtake(d Deployment) error {
	_, err := tx.exec("UPDATE deployments SET ratify_by = NULL WHERE id = ?", d.ID)
	return errors.Join(err, tx.wakeDeployment(d))
}
