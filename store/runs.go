package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a run exists.
const (
	CausePush     = "push"
	CauseCommand  = "command"
	CausePull     = "pull_request"
	CauseSchedule = "schedule"
	CauseAPI      = "api"
	CauseRegistry = "registry"
)

// Kinds of tasks about a run or a deployment; the key is its id, for TaskEnv it is EnvKey.
const (
	TaskRun     = "run"     // advance a run; see Run.Task
	TaskPrepare = "prepare" // render a deployment
	TaskEnv     = "env"     // advance the deployments of one environment, one at a time
	TaskReport  = "report"  // say what the state of run/<id> or deployment/<id> is
	TaskPulls   = "pulls"   // give the environment of a deployment that is live what its pods pull by
)

// Kinds of tasks that advance a run and that do not wait for the same as TaskRun, a builder.
const (
	TaskForkRun  = "run fork"  // a builder for forks
	TaskImageRun = "run image" // nothing: there is no build
)

// A Repo is a repository that an installation gave us access to.
type Repo struct {
	Name          string `db:"name"` // owner/name
	ID            int64  `db:"id"`   // GitHub's
	Installation  int64  `db:"installation"`
	DefaultBranch string `db:"default_branch"`
	Private       bool   `db:"private"`
	HTMLURL       string `db:"html_url"`
}

// PutRepo records what the newest event said of a repository. Where its default branch is another now, it wakes what waits: which
// branches an environment takes may depend on that.
func (tx *Tx) PutRepo(r Repo) error {
	known, err := Optional(tx.Repo(r.Name))
	if err != nil {
		return err
	}
	err = tx.named(`INSERT INTO repos (name, id, installation, default_branch, private, html_url)
		VALUES (:name, :id, :installation, :default_branch, :private, :html_url)
		ON CONFLICT (name) DO UPDATE SET id = excluded.id, installation = excluded.installation, default_branch = excluded.default_branch,
			private = excluded.private, html_url = excluded.html_url`, r)
	if known != nil && known.DefaultBranch != r.DefaultBranch {
		err = errors.Join(err, tx.wakeCovered(r.Name, "", ""))
	}
	return err
}

// Repo reads a repository by its full name.
func (tx *Tx) Repo(name string) (Repo, error) {
	return get[Repo](tx, "repository "+name, "SELECT "+repoColumns+" FROM repos WHERE name = ?", name)
}

const repoColumns = "name, id, installation, default_branch, private, html_url"

// A Failure is why a run or a deployment failed, in words for people.
type Failure struct {
	Step    string   `json:"step"`              // the kind of the step that failed
	Where   string   `json:"where,omitempty"`   // Dockerfile:12, or Deployment/web, pod web-1, container web
	Reason  string   `json:"reason"`            // one line
	Logs    []string `json:"logs,omitempty"`    // the last lines of the log that matters
	Event   string   `json:"event,omitempty"`   // the newest warning event
	Hint    string   `json:"hint,omitempty"`    // what to do
	Command string   `json:"command,omitempty"` // the command that failed
	Ran     []string `json:"ran,omitempty"`     // Jobs that ran before, for which it is not gone back by itself
}

// Request asks for a deployment of the release that a run will make.
type Request struct {
	Environment string          `json:"environment"`
	Cause       string          `json:"cause"`
	Requester   string          `json:"requester"`
	Event       string          `json:"event,omitempty"`
	Spec        json.RawMessage `json:"spec"`            // the environment as the default branch's file says
	Note        string          `json:"note,omitempty"`  // see Deployment
	Pull        int             `json:"pull,omitempty"`  // see Deployment
	Green       bool            `json:"green,omitempty"` // see Deployment
	At          time.Time       `json:"at,omitzero"`     // when it was asked for, where it is green
}

// A Run is what one commit goes through until its release exists, or it failed.
type Run struct {
	ID         string                  `db:"id"`
	Repo       string                  `db:"repo"`
	App        string                  `db:"app"`
	Number     int                     `db:"number"`
	Ref        string                  `db:"ref"`
	SHA        string                  `db:"sha"`
	Subject    string                  `db:"subject"`
	Author     string                  `db:"author"`
	Sender     string                  `db:"sender"`
	Cause      string                  `db:"cause"`
	Pull       int                     `db:"pull"`
	HeadSHA    string                  `db:"head_sha"`  // of a pull request, where SHA is the merge result; else SHA again, which NewRun sees to; see Head
	HeadRef    string                  `db:"head_ref"`  // of a pull request: its head's branch, in full, which lies in Fork where there is one
	BaseRef    string                  `db:"base_ref"`  // of a pull request: the branch that it is to be merged into, in full
	Fork       string                  `db:"fork"`      // the repository that the head lies in, where that is a fork: its build is trusted with nothing
	Variables  JSON[map[string]string] `db:"variables"` // build arguments that a caller of the API gave
	Image      JSON[*PushedImage]      `db:"image"`     // what becomes the release without a build; nil: the image is built
	Event      string                  `db:"event"`
	Config     JSON[json.RawMessage]   `db:"config"`
	Deploys    JSON[[]Request]         `db:"deploys"`
	State      string                  `db:"state"`
	Reason     string                  `db:"reason"`
	Failure    JSON[*Failure]          `db:"failure"`
	Digest     string                  `db:"digest"`
	Release    int                     `db:"release"`
	SameAs     int                     `db:"same_as"`   // an earlier release that has the same image, 0 for none
	TagsKept   JSON[[]string]          `db:"tags_kept"` // its image did not get them: they stand for another, and the registry lets no tag change
	CreatedAt  Time                    `db:"created_at"`
	StartedAt  Time                    `db:"started_at"`
	FinishedAt Time                    `db:"finished_at"`
}

// Head is the commit that people see the run at: a pull request's head, not what it would be merged.
func (r Run) Head() string { return cmp.Or(r.HeadSHA, r.SHA) }

// Asked tells whether a person asked for a deployment of what the run makes.
func (r Run) Asked() bool {
	return slices.ContainsFunc(r.Deploys.V, func(q Request) bool { return q.Cause != CauseAutomatic })
}

// Task is the kind of the task that advances the run; its key is the run's id.
func (r Run) Task() string {
	switch {
	case r.Image.V != nil:
		return TaskImageRun
	case r.Fork != "":
		return TaskForkRun
	}
	return TaskRun
}

// A PushedImage is one that something else than a run pushed to a registry.
type PushedImage struct {
	Repository string `json:"repository"` // with its host
	Tag        string `json:"tag"`
	Digest     string `json:"digest"` // empty: to be asked for
	Pusher     string `json:"pusher"` // as the registry calls them
}

// A Step is one piece of work of a run or a deployment.
type Step struct {
	Owner      string            `db:"owner"`
	Seq        int               `db:"seq"`
	Kind       string            `db:"kind"`
	State      string            `db:"state"`
	Detail     string            `db:"detail"`
	Result     JSON[*StepResult] `db:"result"`
	StartedAt  Time              `db:"started_at"`
	FinishedAt Time              `db:"finished_at"`
}

// An Image is what a release consists of.
type Image struct {
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	// Parts are other digests by which a container runtime may call it: see image.Client.Parts.
	Parts []string `json:"parts,omitempty"`
}

// A Release is immutable.
type Release struct {
	Repo      string        `db:"repo"`
	App       string        `db:"app"`
	Number    int           `db:"number"`
	Run       string        `db:"run"`
	Ref       string        `db:"ref"`
	SHA       string        `db:"sha"`
	Subject   string        `db:"subject"`
	Author    string        `db:"author"`
	Sender    string        `db:"sender"`
	Images    JSON[[]Image] `db:"images"`
	CreatedAt Time          `db:"created_at"`
}

// nextNumber is one more than the highest number, and more than what was left out when a backup was restored.
const nextNumber = "SELECT 1 + max(coalesce(max(number), 0), coalesce((SELECT CAST(value AS INTEGER) FROM cursors WHERE name = '" + numbersAbove + "'), 0)) FROM "

// NewRun stores a run with its steps, gives it its id and number, and wakes its work and its report.
// A push supersedes the runs that earlier pushes to its ref started and that have not ended, unless a person asked for a
// deployment of theirs, and a pull request's run those of its earlier heads; a build that is under way is stopped.
func (tx *Tx) NewRun(r *Run, steps ...string) error { return tx.newRun(r, "", steps) }

// NewOvertakenRun records the run of a commit that its branch had left behind before we heard of it: it is superseded from
// the start, for the given reason, and stops no other.
func (tx *Tx) NewOvertakenRun(r *Run, reason string, steps ...string) error {
	return tx.newRun(r, reason, steps)
}

// Overtaken tells whether a newer run of the same ref is under way or has made a release: what that one brings must not be
// replaced by what came before it, only because that took longer to build.
func (tx *Tx) Overtaken(r Run) (bool, error) {
	return get[bool](tx, "newer run", `SELECT EXISTS (SELECT 1 FROM runs WHERE repo = ?1 AND app = ?2 AND number > ?4 AND ref = ?3 AND state IN ('queued','running') AND cause = 'push')
		OR EXISTS (SELECT 1 FROM releases l JOIN runs r ON r.id = l.run WHERE l.repo = ?1 AND l.app = ?2 AND l.ref = ?3 AND r.number > ?4)`, r.Repo, r.App, r.Ref, r.Number)
}

func (tx *Tx) newRun(r *Run, overtaken string, steps []string) error {
	n, err := get[int](tx, "run number", nextNumber+"runs WHERE repo = ? AND app = ?", r.Repo, r.App)
	if err != nil {
		return err
	}
	r.HeadSHA = r.Head()
	if (r.Cause == CausePush || r.Cause == CausePull) && overtaken == "" {
		older, err := list[Run](tx, "SELECT * FROM runs WHERE repo = ? AND app = ? AND ref = ? AND state IN ('queued', 'running') AND cause = ?", r.Repo, r.App, r.Ref, r.Cause)
		if err != nil {
			return err
		}
		for _, o := range older {
			if o.Asked() {
				continue // somebody waits for it
			}
			if err := tx.EndRun(o.ID, RunSuperseded, fmt.Sprintf("by run %d of %.7s", n, r.HeadSHA), nil); err != nil {
				return err
			}
		}
	}
	r.ID, r.Number, r.State, r.CreatedAt = NewID(), n, RunQueued, Time{tx.now}
	err = tx.insert("runs", "id repo app number ref sha subject author sender cause pull head_sha head_ref base_ref fork variables image event config deploys state created_at", r)
	if err != nil {
		return err
	}
	if err := errors.Join(tx.newSteps(r.ID, steps), tx.changed("run", r.ID, r.State)); err != nil {
		return err
	}
	if overtaken != "" {
		return tx.EndRun(r.ID, RunSuperseded, overtaken, nil)
	}
	return errors.Join(tx.Wake(r.Task(), r.ID), tx.Wake(TaskReport, "run/"+r.ID))
}

// Run reads a run.
func (tx *Tx) Run(id string) (Run, error) {
	return get[Run](tx, "run "+id, "SELECT * FROM runs WHERE id = ?", id)
}

// RunOf finds the newest run of a commit that is to make a release, for one app: no pull request's, and none that builds nothing. One that was overtaken
// from the start (see NewOvertakenRun) counts only where there is no other.
func (tx *Tx) RunOf(repo, app, sha string) (Run, error) {
	return get[Run](tx, fmt.Sprintf("run of %.7s", sha), `SELECT * FROM runs WHERE repo = ? AND app = ? AND sha = ? AND cause <> 'pull_request' AND image = 'null'
		ORDER BY state = 'superseded' AND created_at = finished_at, number DESC LIMIT 1`, repo, app, sha)
}

// RunAt finds the run that speaks for a commit where people look at it, for one app: the newest whose Head it is and that builds it. One that
// was overtaken from the start (see NewOvertakenRun) has nothing to say where there is another, nor has a fork's where there is
// one of our own: anybody can open a pull request whose head is a commit of ours.
func (tx *Tx) RunAt(repo, app, head string) (Run, error) {
	return get[Run](tx, fmt.Sprintf("run at %.7s", head), `SELECT * FROM runs WHERE repo = ? AND app = ? AND head_sha = ? AND image = 'null'
		ORDER BY state = 'superseded' AND created_at = finished_at, fork <> '', number DESC LIMIT 1`, repo, app, head)
}

// ReasonDeleted stands with what was cancelled because its branch or tag was deleted.
const ReasonDeleted = "its branch or tag was deleted"

// StartRun moves a queued run to running.
func (tx *Tx) StartRun(id string) error {
	return errors.Join(
		tx.move("runs", RunRunning, "started_at = ?", []any{stamp(tx.now)}, "id = ?", id),
		tx.Wake(TaskReport, "run/"+id))
}

// RequestDeploy adds to what is deployed when the run succeeds.
func (tx *Tx) RequestDeploy(r Run, req Request) error {
	if Final(r.State) {
		return fmt.Errorf("run %d is %s: %w", r.Number, r.State, ErrState)
	}
	r.Deploys.V = append(r.Deploys.V, req)
	_, err := tx.exec("UPDATE runs SET deploys = ? WHERE id = ?", r.Deploys, r.ID)
	return errors.Join(err, tx.Wake(TaskReport, "run/"+r.ID))
}

// EndRun moves a run to a final state other than succeeded.
func (tx *Tx) EndRun(id, state, reason string, f *Failure) error {
	err := tx.move("runs", state, "reason = ?, failure = ?, finished_at = ?", []any{reason, JSON[*Failure]{f}, stamp(tx.now)}, "id = ?", id)
	if err != nil {
		return err
	}
	tx.ended = append(tx.ended, Ended{Run: id, State: state})
	return errors.Join(tx.endSteps(id, state), tx.Wake(TaskReport, "run/"+id))
}

// KeepTags records the tags that a run's image did not get. The caller wakes the report.
func (tx *Tx) KeepTags(id string, tags []string) error {
	_, err := tx.exec("UPDATE runs SET tags_kept = ? WHERE id = ?", JSON[[]string]{tags}, id)
	return err
}

// SucceedRun moves a run to succeeded and makes its release, and notes the first release that has the same image.
func (tx *Tx) SucceedRun(r Run, images []Image) (Release, error) {
	n, err := get[int](tx, "release number", nextNumber+"releases WHERE repo = ? AND app = ?", r.Repo, r.App)
	if err != nil {
		return Release{}, err
	}
	sameAs, err := get[int](tx, "release of an image", `SELECT coalesce((SELECT number FROM releases WHERE repo = ? AND app = ?
		AND json_extract(images, '$[0].digest') = ? AND json_extract(images, '$[0].repository') = ? ORDER BY number LIMIT 1), 0)`,
		r.Repo, r.App, images[0].Digest, images[0].Repository)
	if err != nil {
		return Release{}, err
	}
	err = tx.move("runs", RunSucceeded, "digest = ?, release = ?, same_as = ?, finished_at = ?", []any{images[0].Digest, n, sameAs, stamp(tx.now)}, "id = ?", r.ID)
	if err != nil {
		return Release{}, err
	}
	rel := Release{Repo: r.Repo, App: r.App, Number: n, Run: r.ID, Ref: r.Ref, SHA: r.SHA, Subject: r.Subject, Author: r.Author, Sender: r.Sender,
		Images: JSON[[]Image]{images}, CreatedAt: Time{tx.now}}
	if err := tx.insert("releases", "repo app number run ref sha subject author sender images created_at", rel); err != nil {
		return Release{}, err
	}
	tx.ended = append(tx.ended, Ended{Run: r.ID, State: RunSucceeded})
	return rel, errors.Join(tx.endSteps(r.ID, RunSucceeded), tx.Wake(TaskReport, "run/"+r.ID))
}

// Release reads a release by its number.
func (tx *Tx) Release(repo, app string, number int) (Release, error) {
	return get[Release](tx, fmt.Sprintf("release %d of %s", number, app), "SELECT * FROM releases WHERE repo = ? AND app = ? AND number = ?", repo, app, number)
}

// ReleaseOf finds the newest release of a commit.
func (tx *Tx) ReleaseOf(repo, app, sha string) (Release, error) {
	return get[Release](tx, fmt.Sprintf("release of %.7s", sha), "SELECT * FROM releases WHERE repo = ? AND app = ? AND sha = ? ORDER BY number DESC LIMIT 1", repo, app, sha)
}

// ReleaseOn finds the newest release of a ref.
func (tx *Tx) ReleaseOn(repo, app, ref string) (Release, error) {
	return get[Release](tx, "release of "+ref, "SELECT * FROM releases WHERE repo = ? AND app = ? AND ref = ? ORDER BY number DESC LIMIT 1", repo, app, ref)
}

// BuiltOn finds the newest release of a ref that was built: one whose image something else pushed says nothing of its commit.
func (tx *Tx) BuiltOn(repo, app, ref string) (Release, error) {
	return get[Release](tx, "built release of "+ref, `SELECT * FROM releases WHERE repo = ? AND app = ? AND ref = ?
		AND (SELECT image FROM runs WHERE id = run) = 'null' ORDER BY number DESC LIMIT 1`, repo, app, ref)
}

// Apps lists the apps of a repository that have had a run.
func (tx *Tx) Apps(repo string) ([]string, error) {
	// From one app to the next by the index, instead of through all runs.
	return list[string](tx, `WITH RECURSIVE apps (app) AS (
		SELECT min(app) FROM runs WHERE repo = ?1
		UNION ALL SELECT (SELECT min(app) FROM runs WHERE repo = ?1 AND app > apps.app) FROM apps WHERE app IS NOT NULL)
		SELECT app FROM apps WHERE app IS NOT NULL ORDER BY app`, repo)
}

// Several tells whether the repository had other apps already when a run was made. What is told of the run, and of the
// deployments of its release, keeps its name when an app is added later.
func (tx *Tx) Several(r Run) (bool, error) {
	return get[bool](tx, "other apps", "SELECT EXISTS (SELECT 1 FROM runs WHERE repo = ? AND (app < ? OR app > ?) AND number = 1 AND created_at <= ?)", r.Repo, r.App, r.App, r.CreatedAt)
}

// Steps lists the steps of a run or a deployment in their order.
func (tx *Tx) Steps(owner string) ([]Step, error) {
	return list[Step](tx, "SELECT * FROM steps WHERE owner = ? ORDER BY seq", owner)
}

// Step reads one step of a run or deployment.
func (tx *Tx) Step(owner, kind string) (Step, error) {
	return get[Step](tx, "step "+kind, "SELECT * FROM steps WHERE owner = ? AND kind = ?", owner, kind)
}

func (tx *Tx) newSteps(owner string, kinds []string) error {
	for i, k := range kinds {
		if err := tx.insert("steps", "owner seq kind state", Step{Owner: owner, Seq: i + 1, Kind: k, State: StepPending}); err != nil {
			return err
		}
	}
	return nil
}

// StartStep moves a step to running; one that is running stays so. It returns whether the step is still to be done.
func (tx *Tx) StartStep(owner, kind string) (todo bool, err error) {
	s, err := tx.Step(owner, kind)
	if err != nil || s.State == StepSucceeded || s.State == StepSkipped {
		return false, err
	}
	if s.State == StepRunning {
		return true, nil
	}
	return true, tx.move("steps", StepRunning, "started_at = coalesce(started_at, ?)", []any{stamp(tx.now)}, "owner = ? AND kind = ?", owner, kind)
}

// EndStep moves a running step to its end. The caller wakes the report.
func (tx *Tx) EndStep(owner, kind, state, detail string) error {
	return tx.move("steps", state, "detail = ?, finished_at = ?", []any{detail, stamp(tx.now)}, "owner = ? AND kind = ?", owner, kind)
}

// endSteps closes what is open when the run or deployment that the steps belong to ends.
func (tx *Tx) endSteps(owner, state string) error {
	steps, err := tx.Steps(owner)
	if err != nil {
		return err
	}
	running := StepCancelled
	switch state {
	case RunFailed:
		running = StepFailed
	case RunSucceeded:
		running = StepSucceeded
	}
	for _, s := range steps {
		switch s.State {
		case StepRunning, StepInterrupted:
			err = tx.EndStep(owner, s.Kind, running, s.Detail)
		case StepPending:
			err = tx.move("steps", StepSkipped, "", nil, "owner = ? AND kind = ?", owner, s.Kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
