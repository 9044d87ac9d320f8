package web

import (
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

const (
	refreshMoving  = 2  // seconds between two looks at what is being worked on
	refreshWaiting = 15 // seconds, where only a person or the clock can change something
)

// A commit is what a page says of one.
type commit struct {
	URL          string // GitHub's page; empty where the repository is not known any more
	SHA, Subject string
}

// A runView is what the page of a run shows.
type runView struct {
	Now         time.Time
	Run         store.Run
	Commit      commit
	PullURL     string
	Steps       []store.Step
	Checks      []checkView
	Images      []store.Image // of the release
	Deployments []store.Deployment
	Log         *logTail
	Annotations []annotation
	Unlisted    int                // annotations that were left out
	Trouble     []store.QueuedTask // work about it that failed and is tried again, or was given up
	Hidden      bool               // the log is withheld
	Actions     []action
	Why         string // the page of the event that led to it
}

func readRun(tx *store.Tx, who seer, id string) (*runView, error) {
	v := &runView{Now: tx.Now()}
	var err error
	if v.Run, err = tx.Run(id); err != nil {
		return nil, err
	}
	if v.Hidden, err = who.look(tx, v.Run.Repo); err != nil {
		return nil, err
	}
	home, err := homeOf(tx, v.Run.Repo)
	if err != nil {
		return nil, err
	}
	v.Commit = commit{below(home, "commit", v.Run.Head()), v.Run.Head(), v.Run.Subject}
	v.PullURL = below(home, "pull", strconv.Itoa(v.Run.Pull))
	if v.Steps, err = tx.Steps(id); err != nil {
		return nil, err
	}
	for i, s := range v.Steps {
		if s.Detail == v.Run.Subject || s.Detail == v.Run.Digest {
			v.Steps[i].Detail = "" // it stands above
		}
	}
	if v.Run.Release > 0 {
		rel, err := tx.Release(v.Run.Repo, v.Run.App, v.Run.Release)
		if err != nil {
			return nil, err
		}
		v.Images = rel.Images.V
	}
	if v.Deployments, err = tx.DeploymentsOf(id); err != nil {
		return nil, err
	}
	if v.Trouble, err = tx.Troubled(v.Run.Task(), id); err != nil {
		return nil, err
	}
	v.Checks = checksOf(v.Steps, v.Hidden)
	if v.Hidden {
		withhold(v.Run.Failure.V)
		return v, nil
	}
	found, err := tx.Annotations(id)
	for _, a := range found {
		v.Unlisted += a.More
		for _, f := range a.Found.V {
			v.Annotations = append(v.Annotations, annotation{f, blob(home, v.Run.SHA, f)})
		}
	}
	return v, err
}

// An annotation has the address of the place that it is about; none where the repository is not known any more.
type annotation struct {
	store.Annotation
	URL string
}

// blob is where GitHub shows a line of a file at a commit.
func blob(home, sha string, a store.Annotation) string {
	if home == "" {
		return ""
	}
	return home + "/blob/" + url.PathEscape(sha) + (&url.URL{Path: "/" + a.Path}).EscapedPath() + "#L" + strconv.Itoa(a.Line)
}

// withhold takes out of a failure what comes from logs and the cluster.
func withhold(f *store.Failure) {
	if f != nil {
		f.Logs, f.Event = nil, ""
	}
}

// Logged tells whether there was a log, even if it is gone by now: one is begun with the first step.
func (v *runView) Logged() bool { return len(v.Steps) > 0 && !v.Steps[0].StartedAt.IsZero() }

func (v *runView) title(l lang) string {
	return l.say("%s run %d %s", v.Run.App, v.Run.Number, l.state(v.Run.State))
}

func (v *runView) refresh() int {
	seconds := refreshOf(v.Run.State)
	for _, d := range v.Deployments {
		seconds = sooner(seconds, refreshOf(d.State))
	}
	return seconds
}

// A deploymentView is what the page of a deployment shows.
type deploymentView struct {
	Now        time.Time
	Deployment store.Deployment
	Run        store.Run
	Release    store.Release
	Commit     commit
	Place      place
	Strategy   string // how it replaces what was live
	Share      string // of the traffic that a canary has
	Touched    bool   // it has begun to change what was live before
	Kept       int    // the release whose pods still run beside it, 0 for none
	Steps      []store.Step
	Votes      []store.Approval
	VotesVoid  bool // some approvals are bound to something else than what would be deployed now
	Changed    []store.RulesChange
	Passed     bool              // the environment's file asks for approvals
	Home       string            // the repository's page on GitHub; empty where it is not known any more
	RollsBack  *store.Deployment // the one that it goes back from
	Restores   *store.Deployment // the one whose objects it applies again
	UndoneBy   *store.Deployment // the newest that goes back from it
	Order      *store.Order      // the release order that it is a part of
	Trouble    []store.QueuedTask
	Hidden     bool // what comes from the cluster is withheld
	Live       bool // it is what is live
	Current    bool // it is the newest that began to change its environment
	Health     *Health
	Actions    []action
	Why        string // the page of the event that led to it
}

// A strategy is that of pipeline.Strategy.
type strategy struct{ BlueGreen, Canary *struct{} }

func (s strategy) name() string {
	switch {
	case s.BlueGreen != nil:
		return "blue-green"
	case s.Canary != nil:
		return "canary"
	}
	return "rolling"
}

// A place is where a deployment goes.
type place struct{ Cluster, Namespace, Registry string }

// images are those of a release as they are pulled there: one that was copied by the name of the copy.
func (p place) images(rel store.Release) []store.Image {
	if p.Registry == "" || len(rel.Images.V) != 1 {
		return rel.Images.V
	}
	copied := rel.Images.V[0]
	copied.Repository = p.Registry
	return []store.Image{copied}
}

// Images are those of its release, as they are pulled.
func (v *deploymentView) Images() []store.Image { return v.Place.images(v.Release) }

func readDeployment(tx *store.Tx, who seer, id string) (*deploymentView, error) {
	v := &deploymentView{Now: tx.Now()}
	d, err := tx.Deployment(id)
	if err != nil {
		return nil, err
	}
	v.Deployment = d
	if v.Hidden, err = who.look(tx, d.Repo); err != nil {
		return nil, err
	}
	if v.Run, err = tx.Run(d.Run); err != nil {
		return nil, err
	}
	if v.Release, err = tx.Release(d.Repo, d.App, d.Release); err != nil {
		return nil, err
	}
	home, err := homeOf(tx, d.Repo)
	if err != nil {
		return nil, err
	}
	v.Home = home
	v.Commit = commit{below(home, "commit", v.Release.SHA), v.Release.SHA, v.Release.Subject}
	if r := d.Rules.V; r != nil {
		v.Changed = r.Changes
	}
	if v.Steps, err = tx.Steps(id); err != nil {
		return nil, err
	}
	if v.Votes, err = tx.Approvals(id); err != nil {
		return nil, err
	}
	v.VotesVoid = votesVoid(d.Blocks.V, v.Votes)
	if v.RollsBack, err = store.Optional(tx.Deployment(d.RollbackOf)); err != nil {
		return nil, err
	}
	if v.Restores, err = store.Optional(tx.Deployment(d.Restores)); err != nil {
		return nil, err
	}
	if v.UndoneBy, err = store.Optional(tx.RollbackOf(id)); err != nil {
		return nil, err
	}
	if v.Order, err = store.Optional(tx.Order(d.OrderID)); err != nil {
		return nil, err
	}
	if v.Trouble, err = tx.Troubled(store.TaskPrepare, id); err != nil {
		return nil, err
	}
	current, err := tx.CurrentIn([]store.Spot{{Repo: d.Repo, App: d.App, Environment: d.Environment}})
	if err != nil {
		return nil, err
	}
	v.Current = len(current) > 0 && current[0].ID == id
	v.Live = v.Current && d.State == store.Succeeded
	var spec struct { // of pipeline.Spec
		Environment struct {
			place
			Approvals struct{ Count int }
			Strategy  strategy
		}
	}
	_ = json.Unmarshal(d.Spec.V, &spec) // the page goes without what it cannot read
	v.Strategy = spec.Environment.Strategy.name()
	_, v.Share = d.Standing(v.Steps)
	if v.Touched, _, err = tx.Touched(d); err != nil {
		return nil, err
	}
	if v.Live {
		if v.Kept, err = tx.Kept(d); err != nil {
			return nil, err
		}
	}
	v.Place, v.Passed = spec.Environment.place, spec.Environment.Approvals.Count > 0
	if v.Hidden {
		v.Deployment.Changes = ""
		withhold(v.Deployment.Failure.V)
		for i := range v.Steps {
			v.Steps[i].Result.V = nil
		}
	}
	return v, nil
}

// CommitURL is GitHub's page of a commit that it brings.
func (v *deploymentView) CommitURL(sha string) string { return below(v.Home, "commit", sha) }

func (v *deploymentView) title(l lang) string {
	d := v.Deployment
	return l.say("%s release %d to %s %s", d.App, d.Release, d.Environment, l.state(d.State))
}

func (v *deploymentView) refresh() int {
	seconds := refreshOf(v.Deployment.State)
	if v.UndoneBy != nil {
		seconds = sooner(seconds, refreshOf(v.UndoneBy.State))
	}
	return seconds
}

// votesVoid tells whether fewer approvals count than were given.
func votesVoid(blocks []store.Block, votes []store.Approval) bool {
	given := map[string]int{} // by the step that they are on
	for _, v := range votes {
		if v.Vote == "approve" {
			given[v.Step]++
		}
	}
	for _, b := range blocks {
		if b.Kind == store.BlockApproval && b.Have < given[b.Text] {
			return true
		}
	}
	return false
}

// refreshOf is how soon something in this state may look different, in seconds; 0 for never.
func refreshOf(state string) int {
	switch {
	case store.Final(state):
		return 0
	case state == store.Blocked || state == store.Paused:
		return refreshWaiting
	}
	return refreshMoving
}

func sooner(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// homeOf is the address of a repository's page on GitHub; empty where the repository is not known any more.
func homeOf(tx *store.Tx, repo string) (string, error) {
	r, err := store.Optional(tx.Repo(repo))
	if err != nil || r == nil {
		return "", err
	}
	return r.HTMLURL, nil
}

func below(home, kind, name string) string {
	if home == "" {
		return ""
	}
	return home + "/" + kind + "/" + url.PathEscape(name)
}
