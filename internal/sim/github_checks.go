package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxStatusDescription  = 140  // characters
	maxStatusContext      = 255  // characters
	maxStatusesPerContext = 1000 // for one commit
)

// Status is a commit status.
type Status struct {
	ID                                              int64
	SHA, Context, State, Description, TargetURL, By string
	Created                                         time.Time
}

// Statuses returns every status that the commit ever got, oldest first.
func (repo *Repo) Statuses(sha string) []Status {
	defer repo.lock()()
	var all []Status
	for _, s := range repo.statuses {
		if s.SHA == sha {
			all = append(all, *s)
		}
	}
	return all
}

// SetStatus adds a status of another app or person.
func (repo *Repo) SetStatus(sha, login, context, state string) {
	defer repo.lock()()
	repo.gh.addAccount(login, "User")
	repo.statuses = append(repo.statuses, &Status{ID: repo.gh.id(), SHA: sha, Context: context, State: state, By: login, Created: repo.gh.now()})
}

func (c *call) createStatus() (int, any) {
	var wanted struct {
		State, Context, Description string
		TargetURL                   string `json:"target_url"`
	}
	if err := c.decode(&wanted); err != nil {
		return c.fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	wanted.Context = cmp.Or(wanted.Context, "default")
	if sha, err := c.repo.dir.commit(c.params["sha"]); err != nil || sha != c.params["sha"] {
		return c.noCommit(c.params["sha"])
	}
	if utf8.RuneCountInString(wanted.Description) > maxStatusDescription {
		return c.invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	if utf8.RuneCountInString(wanted.Context) > maxStatusContext {
		return c.invalid("Status", "context", "custom", "context is too long (maximum is 255 characters)")
	}
	if wanted.TargetURL != "" && !isHTTP(wanted.TargetURL) {
		return c.invalid("Status", "target_url", "custom", "target_url must use http(s) scheme")
	}
	count := 0
	for _, s := range c.repo.statuses {
		if s.SHA == c.params["sha"] && strings.EqualFold(s.Context, wanted.Context) {
			count++
		}
	}
	if count >= maxStatusesPerContext {
		return c.invalid("Status", "base", "custom", "This SHA and context has reached the maximum number of statuses.")
	}
	s := &Status{
		ID: c.gh.id(), SHA: c.params["sha"], Context: wanted.Context, State: wanted.State, Description: wanted.Description, TargetURL: wanted.TargetURL,
		By: c.gh.bot().Login, Created: c.gh.now(),
	}
	c.repo.statuses = append(c.repo.statuses, s)
	c.gh.wrote(Write{
		Kind: "status", Repository: c.repo.FullName(), Name: s.Context, SHA: s.SHA, State: s.State, Description: s.Description, URL: s.TargetURL,
	})
	return http.StatusCreated, c.statusJSON(s, true)
}

func isHTTP(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func (c *call) statusJSON(s *Status, creator bool) object {
	by := c.gh.account(s.By)
	o := object{
		"url": c.repo.api("/statuses/", s.SHA), "avatar_url": c.gh.simpleUser(by)["avatar_url"], "id": s.ID, "node_id": nodeID("StatusContext", s.ID),
		"state": s.State, "description": nullable(s.Description), "target_url": nullable(s.TargetURL), "context": s.Context,
		"created_at": nullableTime(s.Created), "updated_at": nullableTime(s.Created),
	}
	if creator {
		o["creator"] = c.gh.simpleUser(by)
	}
	return o
}

func (c *call) listStatuses() (int, any) {
	sha, err := c.repo.dir.commit(c.params["ref"])
	if err != nil {
		return c.notFound()
	}
	all := []object{}
	for _, s := range slices.Backward(c.repo.statuses) {
		if s.SHA == sha {
			all = append(all, c.statusJSON(s, true))
		}
	}
	return http.StatusOK, page(c, all)
}

// latestStatuses returns the newest status of each context, oldest first.
func (repo *Repo) latestStatuses(sha string) []*Status {
	var latest []*Status
	for _, s := range slices.Backward(repo.statuses) {
		if s.SHA == sha && !slices.ContainsFunc(latest, func(l *Status) bool { return strings.EqualFold(l.Context, s.Context) }) {
			latest = append(latest, s)
		}
	}
	slices.Reverse(latest)
	return latest
}

func combined(statuses []*Status) string {
	state := "success"
	if len(statuses) == 0 {
		state = "pending"
	}
	for _, s := range statuses {
		switch s.State {
		case "failure", "error":
			return "failure"
		case "pending":
			state = "pending"
		}
	}
	return state
}

func (c *call) combinedStatus() (int, any) {
	sha, err := c.repo.dir.commit(c.params["ref"])
	if err != nil {
		return c.notFound()
	}
	latest := c.repo.latestStatuses(sha)
	statuses := []object{}
	for _, s := range latest {
		statuses = append(statuses, c.statusJSON(s, false))
	}
	return http.StatusOK, object{
		"state": combined(latest), "statuses": page(c, statuses), "sha": sha, "total_count": len(latest), "repository": c.gh.minimalRepository(c.repo),
		"commit_url": c.repo.api("/commits/", sha), "url": c.repo.api("/commits/", sha, "/status"),
	}
}

// CheckRun is a check run; empty fields are null in the API.
type CheckRun struct {
	ID                            int64
	Name, SHA, Status, Conclusion string
	Title, Summary, Text          string
	DetailsURL, ExternalID        string
	Actions                       []CheckAction
	Annotations                   []CheckAnnotation
	Started, Completed            time.Time
	Updates                       int
	appID                         int64
}

// CheckAction is a button of a completed check run.
type CheckAction struct{ Label, Description, Identifier string }

// CheckAnnotation is a remark on a line of a file.
type CheckAnnotation struct {
	Path      string
	StartLine int    `json:"start_line"`
	EndLine   int    `json:"end_line"`
	Level     string `json:"annotation_level"`
	Message   string
	Title     string
}

// CheckRuns returns the commit's check runs, oldest first.
func (repo *Repo) CheckRuns(sha string) []CheckRun {
	defer repo.lock()()
	var all []CheckRun
	for _, run := range repo.checkRuns {
		if run.SHA == sha {
			clone := *run
			clone.Actions, clone.Annotations = slices.Clone(run.Actions), slices.Clone(run.Annotations)
			all = append(all, clone)
		}
	}
	return all
}

// SetCheckRun adds a check run of another app: conclusion is empty while it runs.
func (repo *Repo) SetCheckRun(sha string, appID int64, name, conclusion string) {
	defer repo.lock()()
	run := &CheckRun{ID: repo.gh.id(), Name: name, SHA: sha, Status: "in_progress", Conclusion: conclusion, Started: repo.gh.now(), appID: appID}
	if conclusion != "" {
		run.Status, run.Completed = "completed", repo.gh.now()
	}
	repo.checkRuns = append(repo.checkRuns, run)
}

// Rerequest asks the app to run the check again, as the person: GitHub's Re-run.
func (repo *Repo) Rerequest(checkRunID int64, login string) error {
	return repo.checkRunEvent(checkRunID, login, "rerequested", object{})
}

// PressButton presses a button of the completed check run, as the person.
func (repo *Repo) PressButton(checkRunID int64, login, identifier string) error {
	if run := repo.newestCheckRun(checkRunID); run == nil || !slices.ContainsFunc(run.Actions, func(a CheckAction) bool { return a.Identifier == identifier }) {
		return fmt.Errorf("check run %d shows no button %q", checkRunID, identifier)
	}
	return repo.checkRunEvent(checkRunID, login, "requested_action", object{"requested_action": object{"identifier": identifier}})
}

func (repo *Repo) newestCheckRun(id int64) *CheckRun {
	defer repo.lock()()
	return repo.checkRun(id)
}

// RerequestSuite asks the app to run all of its checks of the commit again, as the person.
func (repo *Repo) RerequestSuite(sha, login string) error {
	defer repo.lock()()
	i := slices.IndexFunc(repo.checkRuns, func(run *CheckRun) bool { return run.SHA == sha && run.appID == repo.gh.cfg.AppID })
	if i < 0 {
		return fmt.Errorf("rerequest: %.7s has no check suite of the app", sha)
	}
	suite := object{
		"id": repo.checkRuns[i].ID, "head_sha": sha, "head_branch": repo.defaultBranch, "status": "completed", "conclusion": "failure",
		"before": nil, "after": sha, "pull_requests": []any{}, "app": repo.gh.app(),
	}
	repo.gh.send("check_suite", "rerequested", repo, repo.gh.addAccount(login, "User"), object{"check_suite": suite})
	return nil
}

func (repo *Repo) checkRunEvent(id int64, login, action string, payload object) error {
	defer repo.lock()()
	run := repo.checkRun(id)
	if run == nil || run.Status != "completed" {
		return fmt.Errorf("%s: check run %d does not exist or is not completed", action, id)
	}
	payload["check_run"] = repo.checkRunJSON(run)
	repo.gh.send("check_run", action, repo, repo.gh.addAccount(login, "User"), payload)
	return nil
}

func (repo *Repo) checkRun(id int64) *CheckRun {
	for _, run := range repo.checkRuns {
		if run.ID == id {
			return run
		}
	}
	return nil
}

// wantedCheckRun is the body for a new or changed check run; what is nil stays.
type wantedCheckRun struct {
	Name        *string
	HeadSHA     *string `json:"head_sha"`
	DetailsURL  *string `json:"details_url"`
	ExternalID  *string `json:"external_id"`
	Status      *string
	Conclusion  *string
	StartedAt   *time.Time `json:"started_at"`
	CompletedAt *time.Time `json:"completed_at"`
	Actions     *[]CheckAction
	Output      *struct {
		Title, Summary *string
		Text           *string
		Annotations    []CheckAnnotation
	}
}

func set[T any](field *T, wanted *T) {
	if wanted != nil {
		*field = *wanted
	}
}

// apply changes the run; the description has checked lengths and counts.
func (c *call) apply(run *CheckRun) (int, any) {
	var wanted wantedCheckRun
	if err := json.Unmarshal(c.body, &wanted); err != nil {
		return c.fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	if wanted.Status != nil && *wanted.Status == "completed" && wanted.Conclusion == nil && run.Conclusion == "" {
		return c.invalid("CheckRun", "conclusion", "missing_field", "conclusion is required when status is completed")
	}
	if wanted.DetailsURL != nil && !isHTTP(*wanted.DetailsURL) {
		return c.invalid("CheckRun", "details_url", "custom", "details_url must use http(s) scheme")
	}
	set(&run.Name, wanted.Name)
	set(&run.DetailsURL, wanted.DetailsURL)
	set(&run.ExternalID, wanted.ExternalID)
	set(&run.Started, wanted.StartedAt)
	set(&run.Status, wanted.Status)
	set(&run.Conclusion, wanted.Conclusion)
	set(&run.Completed, wanted.CompletedAt)
	set(&run.Actions, wanted.Actions)
	if wanted.Conclusion != nil {
		run.Status = "completed"
	}
	switch {
	case run.Status != "completed":
		run.Conclusion, run.Completed = "", time.Time{}
	case run.Completed.IsZero():
		run.Completed = c.gh.now()
	}
	if out := wanted.Output; out != nil {
		set(&run.Title, out.Title)
		set(&run.Summary, out.Summary)
		set(&run.Text, out.Text)
		run.Annotations = append(run.Annotations, out.Annotations...)
	}
	return 0, nil
}

func (c *call) wroteCheckRun(run *CheckRun, updated bool) {
	c.gh.wrote(Write{
		Kind: "check_run", Repository: c.repo.FullName(), Name: run.Name, SHA: run.SHA, State: cmp.Or(run.Conclusion, run.Status), Description: run.Title,
		URL: run.DetailsURL, Updated: updated,
	})
}

func (c *call) createCheckRun() (int, any) {
	run := &CheckRun{ID: c.gh.id(), Status: "queued", Started: c.gh.now(), appID: c.gh.cfg.AppID}
	var wanted wantedCheckRun
	if err := c.decode(&wanted); err != nil {
		return c.fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	set(&run.SHA, wanted.HeadSHA)
	if sha, err := c.repo.dir.commit(run.SHA); err != nil || sha != run.SHA {
		return c.noCommit(run.SHA)
	}
	if status, body := c.apply(run); status != 0 {
		return status, body
	}
	c.repo.checkRuns = append(c.repo.checkRuns, run)
	c.wroteCheckRun(run, false)
	return http.StatusCreated, c.repo.checkRunJSON(run)
}

func (c *call) updateCheckRun() (int, any) {
	run := c.repo.checkRun(c.number("check_run_id"))
	if run == nil {
		return c.notFound()
	}
	if run.appID != c.gh.cfg.AppID {
		return c.fail(http.StatusForbidden, "Invalid app_id `"+itoa(c.gh.cfg.AppID)+"` - check run can only be modified by the GitHub App that created it.")
	}
	changed := *run
	if status, body := c.apply(&changed); status != 0 {
		return status, body
	}
	*run = changed
	run.Updates++
	c.wroteCheckRun(run, true)
	return http.StatusOK, c.repo.checkRunJSON(run)
}

func (repo *Repo) checkRunJSON(run *CheckRun) object {
	url, html := repo.api("/check-runs/", itoa(run.ID)), repo.html("/runs/", itoa(run.ID))
	app := repo.gh.appJSON(run.appID)
	return object{
		"id": run.ID, "head_sha": run.SHA, "node_id": nodeID("CheckRun", run.ID), "external_id": run.ExternalID, "url": url, "html_url": html,
		"details_url": cmp.Or(run.DetailsURL, html), "status": run.Status, "conclusion": nullable(run.Conclusion),
		"started_at": nullableTime(run.Started), "completed_at": nullableTime(run.Completed),
		"output": object{
			"title": nullable(run.Title), "summary": nullable(run.Summary), "text": nullable(run.Text), "annotations_count": len(run.Annotations),
			"annotations_url": url + "/annotations",
		},
		"name": run.Name, "check_suite": object{"id": run.ID}, "app": app, "pull_requests": []any{},
	}
}

func (c *call) getCheckRun() (int, any) {
	run := c.repo.checkRun(c.number("check_run_id"))
	if run == nil {
		return c.notFound()
	}
	return http.StatusOK, c.repo.checkRunJSON(run)
}

// listCheckRuns gives the newest run of each name unless all are asked for.
func (c *call) listCheckRuns() (int, any) {
	sha, err := c.repo.dir.commit(c.params["ref"])
	if err != nil {
		return c.noCommit(c.params["ref"])
	}
	query := c.URL.Query()
	type identity struct {
		app  int64
		name string
	}
	seen := map[identity]bool{}
	all := []object{}
	for _, run := range slices.Backward(c.repo.checkRuns) {
		id := identity{run.appID, run.Name}
		if run.SHA != sha || query.Get("filter") != "all" && seen[id] {
			continue
		}
		seen[id] = true
		if name := query.Get("check_name"); name != "" && name != run.Name {
			continue
		}
		if status := query.Get("status"); status != "" && status != run.Status {
			continue
		}
		if app := query.Get("app_id"); app != "" && app != itoa(run.appID) {
			continue
		}
		all = append(all, c.repo.checkRunJSON(run))
	}
	return http.StatusOK, object{"total_count": len(all), "check_runs": page(c, all)}
}
