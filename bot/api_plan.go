package bot

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

type apiPlan struct {
	Repository string   `json:"repository"`
	App        string   `json:"app"`
	File       string   `json:"file"`
	Ref        string   `json:"ref"`
	SHA        string   `json:"sha"`
	Subject    string   `json:"subject"`
	Build      bool     `json:"build"`
	Reason     string   `json:"reason"`
	Deploys    []string `json:"deploys"` // environments, in the order of promotion
	Text       string   `json:"text"`    // what bot plan prints
}

// plan tells what a push of a branch or tag would start, if what is there now were pushed now: GET /api/v1/apps/{app}/plan. It is
// decided as push decides, and nothing is done.
func (q *reader) plan() (any, error) {
	b, name := q.bot, q.r.PathValue("app")
	in, err := q.repoOf(name)
	if err != nil {
		return nil, err
	}
	var repo store.Repo
	if err := b.db.View(q.ctx, func(tx *store.Tx) (err error) { repo, err = tx.Repo(in); return err }); err != nil {
		return nil, err
	}
	c := b.hub.client(repo.Installation)
	ref, no, err := refOf(q.ctx, c, repo.Name, or(q.param("ref"), branchPrefix+repo.DefaultBranch))
	if err != nil {
		return nil, err
	}
	if no != "" {
		return nil, refusal(http.StatusBadRequest, "%s", no)
	}
	commit, err := commitAt(q.ctx, c, repo.Name, ref)
	if err != nil {
		return nil, err
	}
	if commit == nil {
		return nil, refusal(http.StatusUnprocessableEntity, "%s is of no commit, so nothing is built", ref)
	}
	t := pipeline.Trigger{Kind: pipeline.TriggerPush, Ref: ref, SHA: commit.GetSHA(), DefaultBranch: repo.DefaultBranch, HeadMessage: commit.GetCommit().GetMessage()}
	reviewed := repo.DefaultBranch
	if ref == branchPrefix+reviewed {
		reviewed = t.SHA
	}
	d := &decision{}
	apps, err := b.apps(q.ctx, c, repo, reviewed, t.SHA, d)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(apps, func(a app) bool { return a.name == name })
	if i < 0 {
		return nil, refusal(http.StatusUnprocessableEntity, "no file on %s declares %s any more", repo.DefaultBranch, name)
	}
	a := apps[i]
	if a.reviewed == nil {
		return nil, refusal(http.StatusUnprocessableEntity, "the file of %s has mistakes: %v", repo.DefaultBranch, a.err)
	}
	since := &comparison{bot: b, client: c, repo: repo, push: &github.PushEvent{}, d: d}
	plan, t, err := since.plan(q.ctx, a, t)
	if err != nil {
		return nil, err
	}
	if plan.Build && a.config == nil {
		return nil, refusal(http.StatusUnprocessableEntity, "a run would fail at once, since its file has mistakes: %v", a.err)
	}
	lines := []string{fmt.Sprintf("push of %s: %.7s %q", ref, t.SHA, firstLine(t.HeadMessage))}
	switch {
	case t.FilesKnown:
		lines = append(lines, fmt.Sprintf("  files changed since %.7s: %d", t.Base, len(t.Files)))
	case plan.Build && a.reviewed.AsksChanges(ref):
		lines = append(lines, "  not every file that changed is known, so all count as changed")
	}
	lines = append(lines, "", fmt.Sprintf("%s (%s)", a.name, a.file))
	cfg := a.config
	if cfg == nil {
		cfg = a.reviewed // what is not built has no commit's part
	}
	told, err := cfg.Explain(plan, t, nil)
	if err != nil {
		return nil, refusal(http.StatusUnprocessableEntity, "%s: %v", a.file, err)
	}
	return apiPlan{repo.Name, a.name, a.file, ref, t.SHA, firstLine(t.HeadMessage), plan.Build, plan.Reason, append([]string{}, plan.Deploys...),
		strings.Join(append(lines, told...), "\n") + "\n"}, nil
}
