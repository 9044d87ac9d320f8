package sim

import (
	"fmt"
	"net/http"
	"strings"
)

// Foreign has another App, by its slug, report a check of a commit: conclusion is empty while it runs. A check that runs is
// concluded, and one that is concluded is followed by another of the same name. GitHub tells of each.
func (repo *Repo) Foreign(sha, app, name, conclusion string) {
	defer repo.lock()()
	id := repo.gh.foreignApp(app)
	var run *CheckRun
	for _, r := range repo.checkRuns {
		if r.SHA == sha && r.appID == id && r.Name == name && r.Status != "completed" {
			run = r
		}
	}
	sender := repo.gh.account(app + "[bot]")
	if run == nil {
		run = &CheckRun{ID: repo.gh.id(), Name: name, SHA: sha, Status: "in_progress", Started: repo.gh.now(), appID: id}
		repo.checkRuns = append(repo.checkRuns, run)
		repo.gh.send("check_run", "created", repo, sender, object{"check_run": repo.checkRunJSON(run)})
	}
	if conclusion == "" {
		return
	}
	run.Status, run.Conclusion, run.Completed = "completed", conclusion, repo.gh.now()
	repo.gh.send("check_run", "completed", repo, sender, object{"check_run": repo.checkRunJSON(run)})
}

// ForeignStatus has a person, or an App's bot such as ci[bot], set a commit status. GitHub tells of it.
func (repo *Repo) ForeignStatus(sha, login, context, state string) error {
	defer repo.lock()()
	if slug, ok := strings.CutSuffix(login, "[bot]"); ok {
		repo.gh.foreignApp(slug)
	}
	s := &Status{ID: repo.gh.id(), SHA: sha, Context: context, State: state, By: repo.gh.addAccount(login, "User").Login, Created: repo.gh.now()}
	repo.statuses = append(repo.statuses, s)
	return repo.statusEvent(s)
}

// statusEvent tells of a commit status. mu is held.
func (repo *Repo) statusEvent(s *Status) error {
	commits, err := repo.dir.log("-1", s.SHA)
	if err != nil {
		return fmt.Errorf("status of %s: %w", s.SHA, err)
	}
	branches := []object{}
	for ref, sha := range repo.refs {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok && sha == s.SHA {
			branches = append(branches, object{"name": name, "protected": false, "commit": object{"sha": sha, "url": repo.api("/commits/", sha)}})
		}
	}
	by := repo.gh.account(s.By)
	repo.gh.send("status", "", repo, by, object{
		"id": s.ID, "sha": s.SHA, "name": repo.FullName(), "context": s.Context, "state": s.State, "description": nullable(s.Description),
		"target_url": nullable(s.TargetURL), "avatar_url": repo.gh.simpleUser(by)["avatar_url"], "commit": repo.gh.commitJSON(repo, commits[0]),
		"branches": branches, "created_at": s.Created.Format(timeFormat), "updated_at": s.Created.Format(timeFormat),
	})
	return nil
}

const timeFormat = "2006-01-02T15:04:05Z"

// RequireChecksOf is RequireChecks where each has to be of that App; "" is any.
func (repo *Repo) RequireChecksOf(branch, app string, contexts ...string) {
	defer repo.lock()()
	for _, context := range contexts {
		repo.required[branch] = append(repo.required[branch], requiredCheck{context, repo.gh.foreignApp(app)})
	}
}

// AddRuleOf is AddRule for an App by its slug; "" is any.
func (repo *Repo) AddRuleOf(branch, app string, contexts ...string) {
	repo.gh.mu.Lock()
	id := repo.gh.foreignApp(app)
	repo.gh.mu.Unlock()
	repo.AddRule(branch, id, contexts...)
}

// foreignApp is the id of an App by its slug, which is made when it is not there; 0 for "". mu is held.
func (gh *GitHub) foreignApp(slug string) int64 {
	switch slug {
	case "":
		return 0
	case gh.cfg.Slug:
		return gh.cfg.AppID
	}
	for id, known := range gh.apps {
		if known == slug {
			return id
		}
	}
	if gh.apps == nil {
		gh.apps = map[int64]string{}
	}
	id := gh.id()
	gh.apps[id] = slug
	gh.addAccount(slug+"[bot]", "Bot")
	return id
}

// appJSON is an App: ours, or another by its id. mu is held.
func (gh *GitHub) appJSON(id int64) object {
	app := gh.app()
	if id != gh.cfg.AppID {
		slug := gh.apps[id]
		if slug == "" {
			slug = "app-" + itoa(id)
		}
		app["id"], app["slug"], app["name"], app["html_url"] = id, slug, slug, gh.url+"/apps/"+slug
	}
	return app
}

func (c *call) getAppBySlug() (int, any) {
	slug := c.params["app_slug"]
	if slug == c.gh.cfg.Slug {
		return http.StatusOK, c.gh.app()
	}
	for id, known := range c.gh.apps {
		if known == slug {
			return http.StatusOK, c.gh.appJSON(id)
		}
	}
	return c.notFound()
}

func nullableID(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}
