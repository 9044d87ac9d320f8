package bot

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// taskHeal is the kind of the task that reads back what GitHub shows and has it said again where it is not so: after a crash,
// a restored database, or when somebody else wrote there. It calls itself every healEvery.
const taskHeal = "heal"

// Keys of taskHeal.
const (
	healStart = "start" // once at start: also what was given up gets another chance
	healSweep = "sweep"
)

const (
	healEvery    = 5 * time.Minute
	healSince    = 6 * time.Hour // what ended longer ago is left alone
	healRequests = 60            // of one sweep, so at most 720 of the 5000 that an installation has in an hour
)

// A sweep is one pass of healing.
type sweep struct {
	*Bot
	start bool
	since time.Time
	left  int             // requests
	repos map[string]bool // whose deployments were listed
}

// heal checks the commits of what has not ended, or ended lately, as far as the number of requests goes; the next sweep goes
// on from there.
func (b *Bot) heal(ctx context.Context, key string, _ int) (again time.Time, err error) {
	var commits []store.Commit
	var last string
	cursor := "heal/" + key
	s := &sweep{Bot: b, start: key == healStart, left: healRequests, repos: map[string]bool{}}
	err = b.db.View(ctx, func(tx *store.Tx) (err error) {
		s.since = tx.Now().Add(-healSince)
		if commits, err = tx.RecentCommits(s.since); err != nil {
			return err
		}
		last, err = tx.Cursor(cursor)
		return err
	})
	if err != nil {
		return again, err
	}
	name := func(c store.Commit) string { return c.Repo + " " + c.SHA }
	from := slices.IndexFunc(commits, func(c store.Commit) bool { return name(c) > last })
	if from > 0 {
		commits = slices.Concat(commits[from:], commits[:from])
	}
	for _, c := range commits {
		if s.left <= 0 {
			break
		}
		if err := s.commit(ctx, c); err != nil {
			return again, err
		}
		if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.SetCursor(cursor, name(c)) }); err != nil {
			return again, err
		}
	}
	if s.start {
		return again, nil
	}
	return b.db.Now().Add(healEvery), nil
}

// commit heals what GitHub shows of one commit. What GitHub declines to show is passed over.
func (s *sweep) commit(ctx context.Context, c store.Commit) error {
	if s.cfg.MayUseServer(c.Repo) != nil {
		return nil
	}
	var repo store.Repo
	var keys []string
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if repo, err = tx.Repo(c.Repo); err != nil {
			return err
		}
		runs, err := tx.RunsOf(c)
		if err != nil {
			return err
		}
		for _, r := range runs {
			keys = append(keys, "run/"+r.ID)
			deployments, err := tx.DeploymentsOf(r.ID)
			if err != nil {
				return err
			}
			for _, d := range deployments {
				keys = append(keys, "deployment/"+d.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var subjects []subject // loaded before GitHub is asked: what changes from here on is said anyway
	for _, key := range keys {
		one, err := s.load(ctx, key)
		if err != nil {
			return err
		}
		subjects = append(subjects, one)
	}
	for _, check := range []func() error{
		func() error { return s.statuses(ctx, repo, c.SHA, subjects) },
		func() error { return s.runs(ctx, repo, c.SHA, subjects) },
		func() error { return s.deployments(ctx, repo, subjects) },
		func() error { return s.strangers(ctx, repo) },
	} {
		err := check()
		if !s.start && errors.As(err, new(*limited)) {
			return nil // the next sweep comes by again; other installations need not wait
		}
		if err != nil && !declined(err) {
			return err
		}
	}
	return nil
}

// statuses compares the commit's statuses. By its state alone: GitHub may write a description in its own way.
func (s *sweep) statuses(ctx context.Context, repo store.Repo, sha string, subjects []subject) error {
	owner, name := split(repo.Name)
	var shown []*github.RepoStatus // the newest of each context
	for opt := (&github.ListOptions{PerPage: 100}); ; {
		s.left--
		page, resp, err := s.hub.client(repo.Installation).Repositories.GetCombinedStatus(ctx, owner, name, sha, opt)
		if err != nil {
			return err
		}
		shown = append(shown, page.Statuses...)
		if opt.Page = resp.NextPage; opt.Page == 0 {
			break
		}
	}
	spoken := map[string]bool{}
	for _, one := range subjects {
		if !one.newest {
			continue
		}
		wanted := map[string]commitStatus{surfaceStatus: s.statusOf(one)}
		for _, check := range one.checks() {
			name, _ := pipeline.CheckOf(check.Kind)
			wanted[surfaceCheck+name] = s.checkStatus(one, check)
		}
		for _, surface := range slices.Sorted(maps.Keys(wanted)) {
			want := wanted[surface]
			spoken[want.Context] = true
			if slices.ContainsFunc(shown, func(st *github.RepoStatus) bool {
				return st.GetContext() == want.Context && st.GetState() == want.State
			}) {
				continue
			}
			if err := s.again(ctx, one.key, surface, want); err != nil {
				return err
			}
		}
	}
	// What is pending and leads to a page of ours, but stands for nothing that we know, would stay so for ever. What has an
	// end is left as the history that it is.
	for _, st := range shown {
		lost := commitStatus{State: "error", Context: st.GetContext(), Description: s.lang.Say(text.NotKnown), URL: st.GetTargetURL()}
		if spoken[lost.Context] || st.GetState() != "pending" || !strings.HasPrefix(lost.Context, "shipmate/") || !s.ourPage(lost.URL) {
			continue
		}
		err := s.hub.write(repo, taskHeal, true, func(c *github.Client, owner, name string) error { return putStatus(ctx, c, owner, name, sha, lost) })
		if err != nil {
			return err
		}
	}
	return nil
}

// runs compares the check runs by which the runs of a commit are shown, and ends those that stand for nothing that we know: at
// start only, since nobody but us can write to them. (Living comments are not read back: that would cost a request each, and
// nothing waits for them.)
func (s *sweep) runs(ctx context.Context, repo store.Repo, sha string, subjects []subject) error {
	if !s.start {
		return nil
	}
	s.left--
	shown, err := s.checkRuns(ctx, repo, sha)
	if err != nil {
		return err
	}
	known := map[string]bool{} // ids of check runs, and our own
	for _, one := range subjects {
		if one.d != nil {
			continue
		}
		var last store.Message
		if err := s.db.View(ctx, func(tx *store.Tx) (err error) { last, err = tx.Message(one.key, surfaceRun, ""); return err }); err != nil {
			return err
		}
		if last.Ref == "" {
			known[one.run.ID] = true // it may be about to be told
			continue
		}
		known[last.Ref] = true
		v, err := s.view(ctx, one)
		if err != nil {
			return err
		}
		want, err := s.checkRunOf(v, func() (bool, error) { return s.neededToMerge(ctx, v) })
		if err != nil {
			return err
		}
		if slices.ContainsFunc(shown, func(run *github.CheckRun) bool {
			return strconv.FormatInt(run.GetID(), 10) == last.Ref && run.GetStatus() == want.Status && run.GetConclusion() == want.Conclusion
		}) {
			continue
		}
		if err := s.again(ctx, one.key, surfaceRun, want.said()); err != nil {
			return err
		}
	}
	for _, run := range shown {
		id := strconv.FormatInt(run.GetID(), 10)
		if run.GetStatus() == completed || known[id] || known[run.GetExternalID()] || !s.ourPage(run.GetDetailsURL()) {
			continue
		}
		lost := checkRun{Name: run.GetName(), DetailsURL: run.GetDetailsURL(), ExternalID: run.GetExternalID(), Status: completed, Conclusion: "cancelled",
			Output: checkOutput{Title: s.lang.Say(text.NotKnown), Summary: s.lang.Say(text.NotKnown)}, Actions: []checkAction{}}
		err := s.hub.write(repo, taskHeal, true, func(c *github.Client, owner, name string) error {
			_, err := putCheckRun(ctx, c, http.MethodPatch, repo.Name+"/check-runs/"+id, lost)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Bot) ourPage(url string) bool {
	return strings.HasPrefix(url, strings.TrimSuffix(b.cfg.PublicURL, "/")+"/")
}

// deployments compares the GitHub deployments that stand for ours.
func (s *sweep) deployments(ctx context.Context, repo store.Repo, subjects []subject) error {
	for _, one := range subjects {
		if one.d == nil || one.d.GitHubID == 0 || !one.d.FinishedAt.IsZero() && one.d.FinishedAt.Before(s.since) {
			continue
		}
		state, err := s.deploymentState(ctx, repo, one.d.GitHubID)
		if err != nil {
			return err
		}
		if want := s.deploymentStatus(one); state != want.State {
			if err := s.again(ctx, one.key, surfaceDeployment, want); err != nil {
				return err
			}
		}
	}
	return nil
}

// deploymentState is what a GitHub deployment shows; "" before its first status.
func (s *sweep) deploymentState(ctx context.Context, repo store.Repo, id int64) (string, error) {
	s.left--
	owner, name := split(repo.Name)
	newest, _, err := s.hub.client(repo.Installation).Repositories.ListDeploymentStatuses(ctx, owner, name, id, &github.ListOptions{PerPage: 1})
	if err != nil || len(newest) == 0 {
		return "", err
	}
	return newest[0].GetState(), nil
}

// strangers ends the GitHub deployments that we made, have not ended, and stand for nothing that we know.
func (s *sweep) strangers(ctx context.Context, repo store.Repo) error {
	if s.repos[repo.Name] {
		return nil
	}
	s.repos[repo.Name] = true
	s.left--
	owner, name := split(repo.Name)
	list, _, err := s.hub.client(repo.Installation).Repositories.ListDeployments(ctx, owner, name, &github.DeploymentsListOptions{ListOptions: github.ListOptions{PerPage: 100}})
	if err != nil {
		return err
	}
	for _, d := range list {
		id := payloadID(d.Payload)
		if id == "" || d.GetCreator().GetLogin() != s.slug()+"[bot]" || d.GetCreatedAt().Before(s.since) {
			continue
		}
		var ours *store.Deployment
		err := s.db.View(ctx, func(tx *store.Tx) (err error) { ours, err = store.Optional(tx.Deployment(id)); return err })
		if err != nil {
			return err
		}
		if ours != nil && (ours.GitHubID == 0 || ours.GitHubID == d.GetID()) {
			continue
		}
		state, err := s.deploymentState(ctx, repo, d.GetID())
		if err != nil {
			return err
		}
		if slices.Contains([]string{"success", "failure", "error", "inactive"}, state) {
			continue
		}
		lost := commitStatus{State: "error", Description: s.lang.Say(text.NotKnown), URL: s.page("deployments", id)}
		err = s.hub.write(repo, taskHeal, true, func(c *github.Client, owner, name string) error {
			return putDeploymentStatus(ctx, c, owner, name, d.GetID(), lost)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// again has a subject say on a surface what it says already by our record. Where the record is another, its task is on its
// way, or was given up, which only a start undoes.
func (s *sweep) again(ctx context.Context, key, surface string, want any) error {
	said, err := hash(want)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *store.Tx) error {
		last, err := tx.Message(key, surface, "")
		if err != nil || last.Said != said && !s.start {
			return err
		}
		last.Said = ""
		return errors.Join(tx.PutMessage(last), tx.Wake(taskSay, key+"\n"+surface))
	})
}
