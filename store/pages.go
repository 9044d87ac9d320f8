package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// An App is one of a repository's that has had a run.
type App struct {
	Repo string `db:"repo"`
	Name string `db:"app"`
}

// AllApps lists every app of the known repositories that has had a run, by repository and name.
func (tx *Tx) AllApps() ([]App, error) {
	// From one app to the next by the index, instead of through all runs.
	return list[App](tx, `WITH RECURSIVE apps (repo, app) AS (
		SELECT p.name, (SELECT min(app) FROM runs WHERE repo = p.name) FROM repos p
		UNION ALL SELECT apps.repo, (SELECT min(app) FROM runs WHERE repo = apps.repo AND app > apps.app) FROM apps WHERE apps.app IS NOT NULL)
		SELECT repo, app FROM apps WHERE app IS NOT NULL ORDER BY repo COLLATE NOCASE, app`)
}

// A Glance is what a list shows of an app: its newest run and the environments of its file.
type Glance struct {
	Repo         string                `db:"repo"`
	App          string                `db:"app"`
	Run          string                `db:"id"`
	Number       int                   `db:"number"`
	State        string                `db:"state"`
	SHA          string                `db:"sha"`
	Subject      string                `db:"subject"`
	CreatedAt    Time                  `db:"created_at"`
	Environments JSON[json.RawMessage] `db:"environments"` // of pipeline.Config
}

// Glances reads some apps, in their order; one that has had no run is left out.
func (tx *Tx) Glances(apps []App) ([]Glance, error) {
	names := make([][2]string, len(apps))
	for i, a := range apps {
		names[i] = [2]string{a.Repo, a.Name}
	}
	b, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	return list[Glance](tx, `SELECT r.repo, r.app, r.id, r.number, r.state, r.head_sha AS sha, r.subject, r.created_at, coalesce(json_extract(r.config, '$.Environments'), '[]') AS environments
		FROM json_each(?) a JOIN runs r ON r.repo = a.value ->> 0 AND r.app = a.value ->> 1
			AND r.number = (SELECT max(number) FROM runs WHERE repo = a.value ->> 0 AND app = a.value ->> 1) ORDER BY a.key`, string(b))
}

// Called lists the repositories that have an app of that name which has had a run.
func (tx *Tx) Called(app string) ([]string, error) {
	return list[string](tx, "SELECT p.name FROM repos p WHERE (SELECT max(number) FROM runs WHERE repo = p.name AND app = ?) IS NOT NULL ORDER BY p.name", app)
}

// A Spot is one environment of an app, as JSON a list of three.
type Spot struct{ Repo, App, Environment string }

// MarshalJSON implements json.Marshaler.
func (s Spot) MarshalJSON() ([]byte, error) {
	return json.Marshal([]string{s.Repo, s.App, s.Environment})
}

// A Sight is what a list shows of a deployment: what is large of it was not read.
type Sight struct {
	ID          string         `db:"id"`
	Repo        string         `db:"repo"`
	App         string         `db:"app"`
	Number      int            `db:"number"`
	Environment string         `db:"environment"`
	Release     int            `db:"release"`
	Cause       string         `db:"cause"`
	Requester   string         `db:"requester"`
	Run         string         `db:"run"`
	State       string         `db:"state"`
	Blocks      JSON[[]Block]  `db:"blocks"`
	OrderID     string         `db:"order_id"`
	CreatedAt   Time           `db:"created_at"`
	BeganAt     Time           `db:"began_at"`
	FinishedAt  Time           `db:"finished_at"`
	RatifyBy    Time           `db:"ratify_by"`
	RatifiedBy  string         `db:"ratified_by"`
	SHA         string         `db:"sha"` // of the release
	Subject     string         `db:"subject"`
	Author      string         `db:"author"`
	Sender      string         `db:"sender"`
	Self        bool           `db:"self"` // those whose work it is may approve it; of Open and UnratifiedSights alone
	May         JSON[[]string] `db:"may"`  // who may agree to it, empty: everyone who may maintain; of UnratifiedSights alone
}

const (
	sightColumns = `d.id, d.repo, d.app, d.number, d.environment, d.release, d.cause, d.requester, d.run, d.state, d.blocks, d.order_id, d.created_at, d.began_at,
		d.finished_at, d.ratify_by, d.ratified_by, coalesce(l.sha, '') AS sha, coalesce(l.subject, '') AS subject, coalesce(l.author, '') AS author, coalesce(l.sender, '') AS sender`
	sightRelease = " LEFT JOIN releases l ON l.repo = d.repo AND l.app = d.app AND l.number = d.release "
	spots        = " FROM json_each(?) s JOIN deployments d ON d.id = (SELECT id FROM deployments WHERE repo = s.value ->> 0 AND app = s.value ->> 1 AND environment = s.value ->> 2 AND "
)

// CurrentIn lists, of each of the environments, the newest deployment that began to change it, whatever came of it.
func (tx *Tx) CurrentIn(in []Spot) ([]Sight, error) {
	return inSpots(tx, "SELECT "+sightColumns+spots+"began_at IS NOT NULL ORDER BY began_at DESC, number DESC LIMIT 1)"+sightRelease, in)
}

// LiveIn lists, of each of the environments, the newest deployment that succeeded there.
func (tx *Tx) LiveIn(in []Spot) ([]Sight, error) {
	return inSpots(tx, "SELECT "+sightColumns+spots+"state = 'succeeded' ORDER BY finished_at DESC, number DESC LIMIT 1)"+sightRelease, in)
}

func inSpots(tx *Tx, query string, in []Spot) ([]Sight, error) {
	if len(in) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return list[Sight](tx, query, string(b))
}

// Open lists the deployments, of all repositories, that have not ended, oldest first for each environment.
func (tx *Tx) Open() ([]Sight, error) {
	return list[Sight](tx, "SELECT "+sightColumns+", coalesce(json_extract(d.spec, '$.Environment.Approvals.Self'), 0) AS self FROM deployments d INDEXED BY deployments_open"+sightRelease+"WHERE d.state NOT IN "+ended+" ORDER BY d.repo, d.app, d.environment, d.number")
}

// OpenIn lists those of one app.
func (tx *Tx) OpenIn(repo, app string) ([]Sight, error) {
	return list[Sight](tx, "SELECT "+sightColumns+" FROM deployments d INDEXED BY deployments_open"+sightRelease+"WHERE d.repo = ? AND d.app = ? AND d.state NOT IN "+ended+" ORDER BY d.environment, d.number", repo, app)
}

// UnratifiedSights lists the deployments, of all repositories, that went before they were approved, and that nobody agreed to yet.
func (tx *Tx) UnratifiedSights() ([]Sight, error) {
	return list[Sight](tx, "SELECT "+sightColumns+", coalesce(json_extract(d.spec, '$.Environment.Approvals.Self'), 0) AS self, coalesce(json_extract(d.spec, '$.Environment.Approvals.By'), '[]') AS may FROM deployments d INDEXED BY deployments_unratified"+sightRelease+"WHERE d.ratify_by IS NOT NULL AND d.ratified_by = '' ORDER BY d.repo, d.number")
}

// WaitingOrders lists the orders, of all repositories, that wait for approvals.
func (tx *Tx) WaitingOrders() ([]Order, error) {
	return list[Order](tx, "SELECT * FROM orders INDEXED BY orders_open WHERE state IN ('draft','waiting','approved','running') AND state = 'waiting' ORDER BY repo, number")
}

// AllLocks lists the locks, of all repositories, that hold now.
func (tx *Tx) AllLocks() ([]Lock, error) {
	return list[Lock](tx, "SELECT * FROM locks WHERE until > ? ORDER BY repo, app, environment", stamp(tx.now))
}

// A PastRun is what a history shows of a run.
type PastRun struct {
	ID         string `db:"id"`
	Number     int    `db:"number"`
	Ref        string `db:"ref"`
	SHA        string `db:"head_sha"`
	Subject    string `db:"subject"`
	Author     string `db:"author"`
	Pull       int    `db:"pull"`
	State      string `db:"state"`
	Release    int    `db:"release"`
	CreatedAt  Time   `db:"created_at"`
	StartedAt  Time   `db:"started_at"`
	FinishedAt Time   `db:"finished_at"`
}

// History lists the runs of an app below a number, newest first.
func (tx *Tx) History(repo, app string, below, limit int) ([]PastRun, error) {
	return list[PastRun](tx, `SELECT id, number, ref, head_sha, subject, author, pull, state, release, created_at, started_at, finished_at
		FROM runs WHERE repo = ? AND app = ? AND number < ? ORDER BY number DESC LIMIT ?`, repo, app, below, limit)
}

// An Outcome is what a history shows of a deployment.
type Outcome struct {
	ID          string `db:"id"`
	Run         string `db:"run"`
	Environment string `db:"environment"`
	State       string `db:"state"`
}

// Outcomes lists the deployments of the releases of some runs, oldest first.
func (tx *Tx) Outcomes(runs []string) ([]Outcome, error) {
	b, err := json.Marshal(runs)
	if err != nil {
		return nil, err
	}
	return list[Outcome](tx, "SELECT id, run, environment, state FROM deployments WHERE run IN (SELECT value FROM json_each(?)) ORDER BY number", string(b))
}

// AuditOf lists the lines of the audit about a repository below a number, newest first; app, where it is not empty, leaves those
// of its runs and deployments.
func (tx *Tx) AuditOf(repo, app string, below int64, limit int) ([]Entry, error) {
	return list[Entry](tx, `SELECT * FROM audit WHERE repo = ?1 AND seq < ?3 AND (?2 = '' OR
		CASE WHEN subject LIKE 'deployment/%' THEN (SELECT app FROM deployments WHERE id = substr(audit.subject, 12))
		WHEN subject LIKE 'run/%' THEN (SELECT app FROM runs WHERE id = substr(audit.subject, 5)) ELSE substr(subject, 1, instr(subject || ' ', ' ') - 1) END = ?2)
		ORDER BY seq DESC LIMIT ?4`, repo, app, below, limit)
}

// listedColumns are eventColumns for a list, which is read without bodies of more than 256 KiB.
const listedColumns = "id, kind, repo, via, delivered_at, received_at, iif(length(body) > 262144, x'', body) AS body, decided_at, coalesce(trace, 'null') AS trace"

// EventsOf lists the events of a repository that came before another, newest first; the zero Event stands for the end. A large
// body is left out: a page of a list has many.
func (tx *Tx) EventsOf(repo string, before Event, limit int) ([]Event, error) {
	at := stamp(before.ReceivedAt.Time)
	if before.ReceivedAt.IsZero() {
		at = "9999" // later than any
	}
	return list[Event](tx, "SELECT "+listedColumns+" FROM events WHERE repo = ?1 AND received_at <= ?2 AND (received_at < ?2 OR id < ?3) ORDER BY received_at DESC, id DESC LIMIT ?4", repo, at, before.ID, limit)
}

// GivenUp lists the tasks that were buried, newest first, at most so many.
func (tx *Tx) GivenUp(limit int) ([]QueuedTask, error) {
	return list[QueuedTask](tx, "SELECT "+queuedColumns+" FROM tasks WHERE buried_at IS NOT NULL ORDER BY buried_at DESC, id DESC LIMIT ?", limit)
}

// QueuedTask reads a task.
func (tx *Tx) QueuedTask(id int64) (QueuedTask, error) {
	return get[QueuedTask](tx, fmt.Sprintf("task %d", id), "SELECT "+queuedColumns+" FROM tasks WHERE id = ?", id)
}

// Revive gives a task that was buried another chance, and says in the audit who asked for it. One that is not buried (any more)
// is ErrState.
func (tx *Tx) Revive(t QueuedTask, repo, by, via string) error {
	n, err := tx.exec("UPDATE tasks SET gen = gen + 1, due_at = ?, attempts = 0, faults = 0, buried_at = NULL WHERE id = ? AND buried_at IS NOT NULL", stamp(tx.now), t.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("task %d is not given up: %w", t.ID, ErrState)
	}
	tx.wakes = true
	return tx.Audit(Entry{Actor: by, Via: via, Action: "retry", Repo: repo, Subject: fmt.Sprintf("task/%d", t.ID), Detail: fmt.Sprintf("%s %q, given up: %s", t.Kind, t.Key, t.Reason)})
}

// TaskRepo is the repository that a task is about; empty where it is about none.
func (tx *Tx) TaskRepo(t Task) (string, error) {
	id, _, _ := strings.Cut(t.Key, "\n") // of TaskEnv that is the repository
	kind := ""
	switch t.Kind {
	case TaskEvent, TaskReply:
		kind = "command"
	case TaskRun, TaskForkRun, TaskImageRun:
		kind = "run"
	case TaskPrepare, TaskScope, TaskRatify, TaskChecks:
		kind = "deployment"
	case TaskOrder:
		kind = "order"
	case TaskMention:
		kind = "mention"
	case TaskHook:
		kind = "hook"
	case TaskReport, TaskSay:
		kind, id, _ = strings.Cut(id, "/")
	}
	query := "SELECT name FROM repos WHERE name = ?" // an environment, or the repository as a whole
	switch kind {
	case "command":
		query = "SELECT coalesce(repo, '') FROM events WHERE id = ?"
	case "run":
		query = "SELECT repo FROM runs WHERE id = ?"
	case "deployment":
		query = "SELECT repo FROM deployments WHERE id = ?"
	case "order":
		query = "SELECT repo FROM orders WHERE id = ?"
	case "hook":
		query = "SELECT repo FROM hook_deliveries WHERE id = ?"
	case "mention":
		query = "SELECT repo FROM mentions WHERE id = ?"
	}
	repo, err := get[string](tx, "task", query, id)
	if errors.Is(err, ErrNotFound) { // it is about something that is gone
		return "", nil
	}
	return repo, err
}

// ChangesOf tells what some deployments, by their ids, change in the cluster, where that was compared.
func (tx *Tx) ChangesOf(ids []string) (map[string]string, error) {
	b, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	type row struct {
		ID      string `db:"id"`
		Changes string `db:"changes"`
	}
	found, err := list[row](tx, "SELECT id, changes FROM deployments WHERE id IN (SELECT value FROM json_each(?)) AND changes <> ''", string(b))
	changes := map[string]string{}
	for _, r := range found {
		changes[r.ID] = r.Changes
	}
	return changes, err
}

// VotedOn tells on which of some deployments and orders, by their ids, somebody has a vote.
func (tx *Tx) VotedOn(ids []string, login string) (map[string]bool, error) {
	b, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	found, err := list[string](tx, `SELECT a.deployment FROM approvals a JOIN deployments d ON d.id = a.deployment
			WHERE a.deployment IN (SELECT value FROM json_each(?1)) AND a.login = ?2 AND a.step = coalesce(d.rules ->> 'step', '')
		UNION ALL SELECT order_id FROM order_approvals WHERE order_id IN (SELECT value FROM json_each(?1)) AND login = ?2`, string(b), login)
	voted := map[string]bool{}
	for _, id := range found {
		voted[id] = true
	}
	return voted, err
}
