package bot

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// What the API tells of the nouns; openapi.json describes it. Times are UTC, and left out while there are none.

type apiApp struct {
	Repository   string           `json:"repository"`
	App          string           `json:"app"`
	URL          string           `json:"url"`                    // where all of it is told
	Environments []apiEnvironment `json:"environments,omitempty"` // where it is told alone; in the order of promotion
}

type apiEnvironment struct {
	Name  string     `json:"name"`
	Live  *apiLive   `json:"live"`  // what succeeded there last; null: nothing did
	Open  []apiBrief `json:"open"`  // deployments that have not ended, oldest first
	Hold  *apiHold   `json:"hold"`  // stops automatic deployments; null: none
	Locks []apiLock  `json:"locks"` // that cover it now
}

// apiFigures are the four figures of DORA in the environments of an app.
type apiFigures struct {
	Repository   string     `json:"repository"`
	App          string     `json:"app"`
	Until        time.Time  `json:"until"`        // where the last of the weeks ends
	Environments []apiTrend `json:"environments"` // in the order of promotion
}

type apiTrend struct {
	Name string `json:"name"`
	apiFigure
	Weeks []apiFigure `json:"weeks"` // the oldest first
}

// An apiFigure is what store.Figures has. What there is none of is null.
type apiFigure struct {
	Since       time.Time `json:"since"`
	Deployments int       `json:"deployments"`
	LeadTime    *float64  `json:"lead_time_seconds"`
	Led         int       `json:"lead_time_of"`
	Changes     int       `json:"changes"`
	Failed      int       `json:"failed"`
	FailureRate *float64  `json:"failure_rate"`
	Restore     *float64  `json:"restore_seconds"`
	Restored    int       `json:"restore_of"`
	Open        int       `json:"unrestored"`
}

func figureOf(f store.Figures, since time.Time) apiFigure {
	some := func(of int, v float64) *float64 {
		if of == 0 {
			return nil
		}
		return &v
	}
	return apiFigure{since, f.Deployments, some(f.Led, f.LeadTime.Seconds()), f.Led, f.Changes, f.Failed, some(f.Changes, f.FailureRate), some(f.Restored, f.Restore.Seconds()), f.Restored, f.Open}
}

type apiLive struct {
	Deployment string    `json:"deployment"`
	Number     int       `json:"number"`
	Release    int       `json:"release"`
	SHA        string    `json:"sha"`
	Subject    string    `json:"subject"`
	Requester  string    `json:"requester"`
	Since      time.Time `json:"since"`
}

type apiBrief struct {
	ID          string `json:"id"`
	Number      int    `json:"number"`
	App         string `json:"app"`
	Environment string `json:"environment"`
	Release     int    `json:"release"`
	State       string `json:"state"`
}

type apiHold struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

type apiLock struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

type apiRun struct {
	ID         string         `json:"id"`
	Number     int            `json:"number"`
	Repository string         `json:"repository"`
	App        string         `json:"app"`
	Ref        string         `json:"ref"`
	SHA        string         `json:"sha"`
	HeadSHA    string         `json:"head_sha"`
	Subject    string         `json:"subject"`
	Author     string         `json:"author"`
	Sender     string         `json:"sender"`
	Cause      string         `json:"cause"`
	Pull       int            `json:"pull,omitempty"`
	State      string         `json:"state"`
	Reason     string         `json:"reason"`
	Failure    *store.Failure `json:"failure"`
	Digest     string         `json:"digest"`
	Release    int            `json:"release,omitempty"`
	CreatedAt  time.Time      `json:"created_at"`
	StartedAt  time.Time      `json:"started_at,omitzero"`
	FinishedAt time.Time      `json:"finished_at,omitzero"`
	Page       string         `json:"page"`
}

type apiFullRun struct {
	apiRun
	Images      []store.Image `json:"images"`
	Steps       []apiStep     `json:"steps"`
	Deployments []apiBrief    `json:"deployments"`
}

type apiStep struct {
	Kind       string    `json:"kind"`
	State      string    `json:"state"`
	Detail     string    `json:"detail"`
	Logs       []string  `json:"logs,omitempty"` // of a Job
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

type apiDeployment struct {
	ID          string         `json:"id"`
	Number      int            `json:"number"`
	Repository  string         `json:"repository"`
	App         string         `json:"app"`
	Environment string         `json:"environment"`
	Release     int            `json:"release"`
	SHA         string         `json:"sha"`
	Cause       string         `json:"cause"`
	Requester   string         `json:"requester"`
	Note        string         `json:"note"`
	Run         string         `json:"run"`
	Order       string         `json:"order,omitempty"`
	RollbackOf  string         `json:"rollback_of,omitempty"`
	Restores    string         `json:"restores,omitempty"`
	Strategy    string         `json:"strategy"`
	Step        string         `json:"step,omitempty"`
	Share       string         `json:"share,omitempty"`
	State       string         `json:"state"`
	Blocks      []store.Block  `json:"blocks"`
	Reason      string         `json:"reason"`
	Failure     *store.Failure `json:"failure"`
	Progress    string         `json:"progress"`
	CreatedAt   time.Time      `json:"created_at"`
	BeganAt     time.Time      `json:"began_at,omitzero"`
	FinishedAt  time.Time      `json:"finished_at,omitzero"`
	ExpiresAt   time.Time      `json:"expires_at,omitzero"`
	Page        string         `json:"page"`
}

type apiFullDeployment struct {
	apiDeployment
	Changes   string        `json:"changes"`
	Steps     []apiStep     `json:"steps"`
	Approvals []apiApproval `json:"approvals"`
}

type apiApproval struct {
	Step   string    `json:"step,omitempty"`
	Login  string    `json:"login"`
	Vote   string    `json:"vote"`
	Reason string    `json:"reason"`
	Via    string    `json:"via"`
	At     time.Time `json:"at"`
}

type apiOrder struct {
	ID          string    `json:"id"`
	Number      int       `json:"number"`
	Repository  string    `json:"repository"`
	Environment string    `json:"environment"`
	Requester   string    `json:"requester"`
	Note        string    `json:"note"`
	RollbackOf  string    `json:"rollback_of,omitempty"`
	State       string    `json:"state"`
	Reason      string    `json:"reason"`
	CreatedAt   time.Time `json:"created_at"`
	FinishedAt  time.Time `json:"finished_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Page        string    `json:"page"`
}

type apiFullOrder struct {
	apiOrder
	Parts     []apiBrief    `json:"parts"`
	Approvals []apiApproval `json:"approvals"`
}

type apiEntry struct {
	Seq        int64  `json:"seq"`
	At         string `json:"at"`
	Actor      string `json:"actor"`
	Via        string `json:"via"`
	Action     string `json:"action"`
	Repository string `json:"repository"`
	Subject    string `json:"subject"`
	Detail     string `json:"detail"`
}

// withheld is a failure without what comes from logs and the cluster, where that is hidden.
func withheld(f *store.Failure, hidden bool) *store.Failure {
	if f != nil && hidden {
		f.Logs, f.Event = nil, ""
	}
	return f
}

func (b *Bot) apiRun(r store.Run, hidden bool) apiRun {
	return apiRun{r.ID, r.Number, r.Repo, r.App, r.Ref, r.SHA, r.Head(), r.Subject, r.Author, r.Sender, r.Cause, r.Pull, r.State, r.Reason,
		withheld(r.Failure.V, hidden), r.Digest, r.Release, r.CreatedAt.Time, r.StartedAt.Time, r.FinishedAt.Time, b.page("runs", r.ID)}
}

func (b *Bot) apiDeployment(tx *store.Tx, d store.Deployment, hidden bool) (apiDeployment, error) {
	rel, err := tx.Release(d.Repo, d.App, d.Release)
	blocks := []store.Block{}
	for _, block := range d.Blocks.V { // a freeze has the zone of its window
		block.Since, block.Until = block.Since.UTC(), block.Until.UTC()
		blocks = append(blocks, block)
	}
	steps, errSteps := tx.Steps(d.ID)
	r := pipeline.RolloutOf(d, steps)
	return apiDeployment{d.ID, d.Number, d.Repo, d.App, d.Environment, d.Release, rel.SHA, d.Cause, d.Requester, d.Note, d.Run, d.OrderID, d.RollbackOf, d.Restores,
		r.Strategy, r.Step, r.Share, d.State, blocks, d.Reason, withheld(d.Failure.V, hidden), d.Progress, d.CreatedAt.Time, d.BeganAt.Time, d.FinishedAt.Time, d.ExpiresAt.Time,
		b.page("deployments", d.ID)}, errors.Join(err, errSteps)
}

func (b *Bot) apiOrder(o store.Order) apiOrder {
	return apiOrder{o.ID, o.Number, o.Repo, o.Environment, o.Requester, o.Note, o.RollbackOf, o.State, o.Reason, o.CreatedAt.Time, o.FinishedAt.Time, o.ExpiresAt.Time,
		b.page("orders", o.ID)}
}

func briefs(all []store.Deployment) []apiBrief {
	brief := []apiBrief{}
	for _, d := range all {
		brief = append(brief, apiBrief{d.ID, d.Number, d.App, d.Environment, d.Release, d.State})
	}
	return brief
}

// apiSteps tells of the steps of a run or a deployment; what they wrote is not told where that is hidden.
func apiSteps(tx *store.Tx, owner string, hidden bool) ([]apiStep, error) {
	all, err := tx.Steps(owner)
	steps := []apiStep{}
	for _, s := range all {
		one := apiStep{Kind: s.Kind, State: s.State, Detail: s.Detail, StartedAt: s.StartedAt.Time, FinishedAt: s.FinishedAt.Time}
		if s.Result.V != nil && !hidden {
			one.Logs = s.Result.V.Logs
		}
		steps = append(steps, one)
	}
	return steps, err
}

// run tells of one run.
func (q *reader) run() (any, error) {
	var full apiFullRun
	var r store.Run
	err := q.bot.db.View(q.ctx, func(tx *store.Tx) (err error) { r, err = tx.Run(q.r.PathValue("id")); return err })
	if err != nil {
		return nil, err
	}
	hidden, err := q.look(r.Repo)
	if err != nil {
		return nil, err
	}
	err = q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		if r, err = tx.Run(r.ID); err != nil { // it may have gone on
			return err
		}
		full.apiRun, full.Images = q.bot.apiRun(r, hidden), []store.Image{}
		if r.Release > 0 {
			rel, err := tx.Release(r.Repo, r.App, r.Release)
			if err != nil {
				return err
			}
			full.Images = rel.Images.V
		}
		if full.Steps, err = apiSteps(tx, r.ID, hidden); err != nil {
			return err
		}
		all, err := tx.DeploymentsOf(r.ID)
		full.Deployments = briefs(all)
		return err
	})
	return full, err
}

// deployment tells of one deployment.
func (q *reader) deployment() (any, error) {
	var full apiFullDeployment
	var d store.Deployment
	err := q.bot.db.View(q.ctx, func(tx *store.Tx) (err error) { d, err = tx.Deployment(q.r.PathValue("id")); return err })
	if err != nil {
		return nil, err
	}
	hidden, err := q.look(d.Repo)
	if err != nil {
		return nil, err
	}
	err = q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		if d, err = tx.Deployment(d.ID); err != nil { // it may have gone on
			return err
		}
		if full.apiDeployment, err = q.bot.apiDeployment(tx, d, hidden); err != nil {
			return err
		}
		if !hidden {
			full.Changes = d.Changes
		}
		if full.Steps, err = apiSteps(tx, d.ID, hidden); err != nil {
			return err
		}
		votes, err := tx.Approvals(d.ID)
		full.Approvals = []apiApproval{}
		for _, v := range votes {
			full.Approvals = append(full.Approvals, apiApproval{v.Step, v.Login, v.Vote, v.Reason, v.Via, v.At.Time})
		}
		return err
	})
	return full, err
}

// order tells of one release order.
func (q *reader) order() (any, error) {
	var full apiFullOrder
	var o store.Order
	err := q.bot.db.View(q.ctx, func(tx *store.Tx) (err error) { o, err = tx.Order(q.r.PathValue("id")); return err })
	if err != nil {
		return nil, err
	}
	if _, err := q.look(o.Repo); err != nil {
		return nil, err
	}
	err = q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		if o, err = tx.Order(o.ID); err != nil { // it may have gone on
			return err
		}
		full.apiOrder = q.bot.apiOrder(o)
		parts, err := tx.OrderParts(o.ID)
		if err != nil {
			return err
		}
		full.Parts = briefs(parts)
		votes, err := tx.OrderApprovals(o.ID)
		full.Approvals = []apiApproval{}
		for _, v := range votes {
			full.Approvals = append(full.Approvals, apiApproval{"", v.Login, v.Vote, v.Reason, v.Via, v.At.Time})
		}
		return err
	})
	return full, err
}

// repoOf finds the repository of an app, among those that the caller may see.
func (q *reader) repoOf(app string) (string, error) {
	in := q.param("repository")
	var found []store.Declared
	if err := q.bot.db.View(q.ctx, func(tx *store.Tx) (err error) { found, err = tx.DeclaredApps(app); return err }); err != nil {
		return "", err
	}
	found = slices.DeleteFunc(found, func(a store.Declared) bool { return in != "" && !strings.EqualFold(a.Repo, in) })
	var repos []string
	for _, a := range found {
		repos = append(repos, a.Repo)
	}
	if err := q.ask(repos...); err != nil {
		return "", err
	}
	found = slices.DeleteFunc(found, func(a store.Declared) bool { return q.sees(a.Repo).can < read })
	switch len(found) {
	case 0:
		return "", noApp(app)
	case 1:
		return found[0].Repo, nil
	}
	return "", refusal(http.StatusConflict, "several repositories have an app %s; say which one is meant: ?repository=owner/name", app)
}

// declared finds the app that is asked for, among those that the caller may see, and the environments that the file of its newest
// run names.
func (q *reader) declared() (repo, name string, envs []string, err error) {
	name = q.r.PathValue("app")
	if repo, err = q.repoOf(name); err != nil {
		return "", "", nil, err
	}
	err = q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		newest, err := store.Optional(tx.NewestRun(repo, name))
		if err != nil || newest == nil {
			return err
		}
		var cfg pipeline.Config
		err = json.Unmarshal(newest.Config.V, &cfg)
		envs = cfg.EnvironmentNames()
		return err
	})
	return repo, name, envs, err
}

// app tells of one app, with its environments.
func (q *reader) app() (any, error) {
	repo, name, envs, err := q.declared()
	if err != nil {
		return nil, err
	}
	app := apiApp{Repository: repo, App: name, URL: q.bot.apiApp(repo, name), Environments: []apiEnvironment{}}
	err = q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		for _, env := range envs {
			one, err := q.environment(tx, repo, name, env)
			if err != nil {
				return err
			}
			app.Environments = append(app.Environments, one)
		}
		return nil
	})
	return app, err
}

// figures tells the four figures of DORA, of each environment of an app.
func (q *reader) figures() (any, error) {
	repo, name, envs, err := q.declared()
	if err != nil {
		return nil, err
	}
	all := apiFigures{Repository: repo, App: name, Environments: []apiTrend{}}
	err = q.bot.db.View(q.ctx, func(tx *store.Tx) error {
		all.Until = store.TrendHour(tx.Now())
		for _, env := range envs {
			t, err := tx.Trend(repo, name, env)
			if err != nil {
				return err
			}
			one := apiTrend{Name: env, apiFigure: figureOf(t.Figures, t.Since(0))}
			for i, f := range t.Weeks {
				one.Weeks = append(one.Weeks, figureOf(f, t.Since(i)))
			}
			all.Environments = append(all.Environments, one)
		}
		return nil
	})
	return all, err
}

func (q *reader) environment(tx *store.Tx, repo, app, name string) (apiEnvironment, error) {
	env := apiEnvironment{Name: name, Locks: []apiLock{}}
	live, err := store.Optional(tx.Live(repo, app, name))
	if err != nil {
		return env, err
	}
	if live != nil {
		rel, err := tx.Release(repo, app, live.Release)
		if err != nil {
			return env, err
		}
		env.Live = &apiLive{live.ID, live.Number, live.Release, rel.SHA, rel.Subject, live.Requester, live.FinishedAt.Time}
	}
	open, err := tx.OpenDeployments(repo, app, name)
	if err != nil {
		return env, err
	}
	env.Open = briefs(open)
	hold, err := store.Optional(tx.Hold(repo, app, name))
	if err != nil {
		return env, err
	}
	if hold != nil {
		env.Hold = &apiHold{hold.By, hold.Reason, hold.Since.Time}
	}
	locks, err := tx.LocksOn(repo, app, name)
	for _, l := range locks {
		env.Locks = append(env.Locks, apiLock{l.By, l.Reason, l.Since.Time, l.Until.Time})
	}
	return env, err
}
