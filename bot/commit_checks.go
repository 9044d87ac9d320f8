package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// How often the checks of a commit are read by the clock, since a webhook may be lost: often at first.
const (
	checksSoon  = time.Minute
	checksYoung = 10 * time.Minute // how long that is at first
	checksLater = 10 * time.Minute // less than store.ChecksFresh
)

// statusSet handles a commit status that somebody set.
func (b *Bot) statusSet(e store.Event, p *github.StatusEvent, repo store.Repo, d *decision) error {
	if p.GetSender().GetLogin() == b.slug()+"[bot]" {
		d.note("it is our own, so nothing is done")
		return nil
	}
	b.checksChanged(repo, p.GetSHA(), d)
	return nil
}

// checksChanged has the checks of a commit read again where a deployment waits for them.
func (b *Bot) checksChanged(repo store.Repo, sha string, d *decision) {
	d.do(func(tx *store.Tx) error {
		n, err := tx.ChecksChanged(repo.Name, sha)
		if n == 0 {
			d.note("nothing waits for the checks of %.7s", sha)
		} else {
			d.note("the checks of %.7s are read again, for %d deployments that have not begun", sha, n)
		}
		return err
	})
}

// readChecks reads the checks that a deployment waits for, until it begins or ends.
func (b *Bot) readChecks(ctx context.Context, id string, _ int) (again time.Time, err error) {
	var d store.Deployment
	var rel store.Release
	var run store.Run
	var repo store.Repo
	err = b.db.View(ctx, func(tx *store.Tx) (err error) {
		if d, err = tx.Deployment(id); err != nil {
			return err
		}
		if repo, err = tx.Repo(d.Repo); err != nil {
			return err
		}
		if rel, err = tx.Release(d.Repo, d.App, d.Release); err != nil {
			return err
		}
		run, err = tx.Run(rel.Run)
		return err
	})
	if err != nil || d.State != store.Blocked && d.State != store.Queued {
		return time.Time{}, err
	}
	var spec pipeline.Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return time.Time{}, err
	}
	wanted := pipeline.ChecksOf(d, spec.Environment)
	if len(wanted) == 0 {
		return time.Time{}, nil
	}
	pushed := run.CreatedAt.Time // or soon after
	checks, failed := b.commitChecks(ctx, repo, rel, wanted, pushed)
	if ctx.Err() != nil {
		return time.Time{}, ctx.Err()
	}
	if failed != nil {
		checks = store.Checks{Unread: b.engine.Mask(unreadBecause(failed))}
	}
	checks.Of = wanted.Key()
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Deployment(id)
		if err != nil {
			return err
		}
		again = tx.Now().Add(checksLater)
		if tx.Now().Before(d.CreatedAt.Add(checksYoung)) {
			again = tx.Now().Add(checksSoon)
		}
		return tx.SetChecks(now, checks)
	})
	if err == nil && failed != nil && away(failed) {
		err = failed // tried again soon
	}
	return again, err
}

// unreadBecause is why something could not be read from GitHub, without the address, which tells a reader nothing.
func unreadBecause(err error) string {
	var answer *github.ErrorResponse
	if errors.As(err, &answer) && answer.Response != nil {
		return strings.TrimSpace(fmt.Sprintf("GitHub answers %d %s", answer.Response.StatusCode, answer.Message))
	}
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err
	}
	return err.Error()
}

// maxCheckPages is how many pages of a hundred check runs or statuses of a commit are read.
const maxCheckPages = 20

// commitChecks reads the checks of a release's commit, and those that its branch requires where that is asked for, and says
// which of the wanted are not green.
func (b *Bot) commitChecks(ctx context.Context, repo store.Repo, rel store.Release, wanted pipeline.RequiredChecks, pushed time.Time) (store.Checks, error) {
	c := b.hub.client(repo.Installation)
	var statuses, runs []pipeline.CommitCheck
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { statuses, err = commitStatuses(gctx, c, repo.Name, rel.SHA); return err })
	g.Go(func() (err error) { runs, err = checkRuns(gctx, c, repo.Name, rel.SHA); return err })
	if wanted.ByRules() {
		branch, isBranch := strings.CutPrefix(rel.Ref, "refs/heads/")
		if !isBranch {
			branch = repo.DefaultBranch
		}
		g.Go(func() (err error) { wanted, err = b.requiredChecks(gctx, c, repo, branch); return err })
	}
	if err := g.Wait(); err != nil {
		return store.Checks{}, err
	}
	us := b.slug()
	found := slices.DeleteFunc(slices.Concat(runs, statuses), func(f pipeline.CommitCheck) bool {
		return f.AppID == b.cfg.GitHub.AppID || f.AppID == 0 && f.App == us
	})
	for i, f := range found {
		byID := func(w pipeline.RequiredCheck) bool { return w.Name == f.Name && w.AppID != 0 }
		if f.App == "" || f.AppID != 0 || !slices.ContainsFunc(wanted, byID) {
			continue
		}
		id, err := b.appID(ctx, c, f.App)
		if err != nil {
			return store.Checks{}, err
		}
		found[i].AppID = id
	}
	return pipeline.CheckVerdict(wanted, found, b.db.Now(), pushed), nil
}

// commitStatuses lists the statuses of a commit, the newest first. The combined status would tell the newest of each context,
// but not who set it.
func commitStatuses(ctx context.Context, c *github.Client, repo, sha string) (all []pipeline.CommitCheck, err error) {
	owner, name := split(repo)
	opt := &github.ListOptions{PerPage: 100}
	for page := 1; ; page++ {
		list, resp, err := c.Repositories.ListStatuses(ctx, owner, name, sha, opt)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			f := pipeline.CommitCheck{Name: s.GetContext(), Status: true, Login: s.GetCreator().GetLogin(), State: s.GetState(), URL: s.GetTargetURL()}
			if slug, ok := strings.CutSuffix(f.Login, "[bot]"); ok { // which no person's login can end in
				f.App = slug
			}
			all = append(all, f)
		}
		if opt.Page = resp.NextPage; opt.Page == 0 {
			return all, nil
		}
		if page == maxCheckPages {
			return nil, fmt.Errorf("the commit has more than %d statuses", 100*maxCheckPages)
		}
	}
}

// checkRuns lists the check runs of a commit, the newest first.
func checkRuns(ctx context.Context, c *github.Client, repo, sha string) ([]pipeline.CommitCheck, error) {
	owner, name := split(repo)
	var runs []*github.CheckRun
	opt := &github.ListCheckRunsOptions{Filter: github.String("latest"), ListOptions: github.ListOptions{PerPage: 100}}
	for page := 1; ; page++ {
		list, resp, err := c.Checks.ListCheckRunsForRef(ctx, owner, name, sha, opt)
		if err != nil {
			return nil, err
		}
		runs = append(runs, list.CheckRuns...)
		if opt.Page = resp.NextPage; opt.Page == 0 {
			break
		}
		if page == maxCheckPages {
			return nil, fmt.Errorf("the commit has more than %d check runs", 100*maxCheckPages)
		}
	}
	slices.SortStableFunc(runs, func(x, y *github.CheckRun) int { return cmp.Compare(y.GetID(), x.GetID()) })
	var all []pipeline.CommitCheck
	for _, r := range runs {
		all = append(all, pipeline.CommitCheck{Name: r.GetName(), App: r.GetApp().GetSlug(), AppID: r.GetApp().GetID(), State: cmp.Or(r.GetConclusion(), r.GetStatus()), URL: r.GetDetailsURL()})
	}
	return all, nil
}

// requiredChecks are branchChecks but for our own, which never block us. Of a branch that is gone those of the default branch
// count.
func (b *Bot) requiredChecks(ctx context.Context, c *github.Client, repo store.Repo, branch string) (pipeline.RequiredChecks, error) {
	required, err := branchChecks(ctx, c, repo.Name, branch)
	if isNotFound(err) && branch != repo.DefaultBranch {
		required, err = branchChecks(ctx, c, repo.Name, repo.DefaultBranch)
	}
	return slices.DeleteFunc(required, func(w pipeline.RequiredCheck) bool {
		return pipeline.OwnCheck(w.Name) && (w.AppID == 0 || w.AppID == b.cfg.GitHub.AppID)
	}), err
}

// noRulesets tells whether an error says that the repository's plan has none: a private one of a free account. GitHub then
// answers 403 with "Upgrade to GitHub Pro or make this repository public to enable this feature."; it has no field for that.
func noRulesets(err error) bool {
	var answer *github.ErrorResponse
	return errors.As(err, &answer) && statusCode(err) == http.StatusForbidden && strings.HasPrefix(answer.Message, "Upgrade to GitHub")
}

// branchChecks lists the checks that the rules of a branch require before merging: by the rulesets, and by the branch
// protection as the branch itself tells it, which takes no right to administer.
func branchChecks(ctx context.Context, c *github.Client, repo, branch string) (pipeline.RequiredChecks, error) {
	var required pipeline.RequiredChecks
	add := func(name string, app *int64) {
		w := pipeline.RequiredCheck{Name: name}
		if app != nil && *app > 0 { // else any: null, or -1
			w.AppID = *app
		}
		if !slices.Contains(required, w) {
			required = append(required, w)
		}
	}
	type check struct {
		Context string `json:"context"`
		AppID   *int64 `json:"app_id"`
	}
	var protected struct { // go-github v60's Branch lacks protection
		Protection struct {
			Required struct {
				Contexts []string `json:"contexts"`
				Checks   []check  `json:"checks"`
			} `json:"required_status_checks"`
		} `json:"protection"`
	}
	if _, err := getJSON(ctx, c, "repos/"+repo+"/branches/"+url.PathEscape(branch), &protected); err != nil {
		return nil, err
	}
	classic := protected.Protection.Required
	for _, check := range classic.Checks {
		add(check.Context, check.AppID)
	}
	for _, name := range classic.Contexts { // the same, and on an older GHES all that there is
		if !slices.ContainsFunc(classic.Checks, func(c check) bool { return c.Context == name }) {
			add(name, nil)
		}
	}
	for page := 1; page != 0; {
		var rules []struct {
			Type       string          `json:"type"`
			Parameters json.RawMessage `json:"parameters"`
		}
		resp, err := getJSON(ctx, c, fmt.Sprintf("repos/%s/rules/branches/%s?per_page=100&page=%d", repo, url.PathEscape(branch), page), &rules)
		if noRulesets(err) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if r.Type != "required_status_checks" {
				continue
			}
			var p struct {
				Checks []struct {
					Context string `json:"context"`
					AppID   *int64 `json:"integration_id"`
				} `json:"required_status_checks"`
			}
			if err := json.Unmarshal(r.Parameters, &p); err != nil {
				return nil, fmt.Errorf("a rule of %s: %w", branch, err)
			}
			for _, check := range p.Checks {
				add(check.Context, check.AppID)
			}
		}
		page = resp.NextPage
	}
	return required, nil
}

// getJSON asks for what go-github v60 lacks.
func getJSON(ctx context.Context, c *github.Client, path string, into any) (*github.Response, error) {
	req, err := c.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(ctx, req, into)
}

// appID asks for the id of the App with that slug, by which rules name it, and remembers it; 0 where it is not to be had, so
// that it is nobody's.
func (b *Bot) appID(ctx context.Context, c *github.Client, slug string) (int64, error) {
	if id, ok := b.appIDs.Load(slug); ok {
		return id.(int64), nil
	}
	app, _, err := c.Apps.Get(ctx, slug)
	if ignoreNotFound(err) != nil {
		return 0, err
	}
	if id := app.GetID(); id != 0 {
		b.appIDs.Store(slug, id)
	}
	return app.GetID(), nil
}

// leaveHead ends what waits for a commit that its pull request has left, or whose pull request was closed unmerged, and says
// so where somebody was promised that it would go.
func (b *Bot) leaveHead(e store.Event, l pullLook, pr *github.PullRequest, repo store.Repo, d *decision) {
	sha, state, reason, until := l.Before, store.Superseded, store.ReasonHeadMoved, e.ReceivedAt.Time
	if !e.DeliveredAt.IsZero() {
		until = e.DeliveredAt.Time
	}
	head := pr.GetHead().GetSHA()
	switch {
	case pr.GetState() == "closed" && pr.GetMerged():
		return
	case pr.GetState() == "closed":
		sha, state, reason, until = head, store.Cancelled, store.ReasonClosed, pr.GetClosedAt().Time
	case sha == "" || sha == head:
		return
	}
	d.do(func(tx *store.Tx) error {
		left, err := tx.LeaveHead(repo.Name, l.Number, sha, state, reason, until)
		if err != nil {
			return err
		}
		for _, dep := range left.Deployments {
			d.note("deployment %d of %.7s to %s is %s: %s", dep.Number, sha, dep.Environment, state, reason)
		}
		for _, q := range left.Requests {
			d.note("%.7s does not go to %s any more, as %s had asked for: %s", sha, q.Environment, q.Requester, reason)
		}
		if len(left.Requests) == 0 || state == store.Cancelled {
			return nil
		}
		return b.sayLeft(tx, e, l.Number, head, left.Requests)
	})
}

// sayLeft says that what was to go when green does not go any more: it has no deployment yet that would tell it.
func (b *Bot) sayLeft(tx *store.Tx, e store.Event, pull int, head string, left []store.LeftRequest) error {
	for _, q := range left {
		where, err := place(tx, q.Run.Repo, q.Run.App, q.Environment)
		if err != nil {
			return err
		}
		again := b.typed("/deploy " + where + " when green")
		body := b.lang.Say(text.LeftBehindByHead, code(q.Run.SHA[:7]), code(q.Environment), code(head[:min(7, len(head))]), code(again))
		err = tx.PutAnswer(store.Answer{Event: e.ID, Run: q.Run.ID, Login: q.Requester, Via: "github", Issue: pull, Command: again, Body: body})
		if err = errors.Join(err, wakeComment(tx, q.Run.ID)); err != nil {
			return err
		}
	}
	return nil
}

// whenGreen takes "when green" off the end of a command's arguments.
func whenGreen(args []string) (rest []string, green bool) {
	n := len(args)
	if n >= 2 && strings.EqualFold(args[n-2], "when") && strings.EqualFold(args[n-1], "green") {
		return args[:n-2], true
	}
	return args, false
}

// green adds to what comes of a command that it waits for the checks of the commit.
func (c *call) green(q store.Request, fn outcome) outcome {
	if !q.Green {
		return fn
	}
	return func(tx *store.Tx) (answer, error) {
		a, err := fn(tx)
		if err == nil {
			a.text += " " + c.lang().Say(text.WhenGreen)
		}
		return a, err
	}
}

// checksWords say how the checks stand that a deployment waits for.
func checksWords(b store.Block, l text.Lang) string {
	names := strings.Join(b.Names, ", ")
	var said []string
	switch {
	case b.Text != "":
		return l.Say(text.ChecksUnread, b.Text)
	case names == "" && b.Need > 0:
		return l.Say(text.ChecksNone)
	case names == "":
		return l.Say(text.ChecksNotRead)
	case b.Have > 0:
		said = append(said, l.Say(text.ChecksFailed, b.Have, names))
	default:
		said = append(said, l.Say(text.ChecksWaiting, names))
	}
	for _, c := range b.Others {
		said = append(said, l.Say(text.CheckOfAnother, c.Name, strings.Join(c.By, ", "), c.App))
	}
	return l.Join(said)
}
