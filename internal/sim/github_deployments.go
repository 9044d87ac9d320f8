package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Deployment is a GitHub deployment.
type Deployment struct {
	ID                                       int64
	SHA, Ref, Task, Environment, Description string
	Payload                                  json.RawMessage // as it was sent
	Transient, Production                    bool
	Statuses                                 []DeploymentStatus // oldest first
	Created                                  time.Time
}

// DeploymentStatus is a state that a deployment got.
type DeploymentStatus struct {
	ID                                         int64
	State, Description, LogURL, EnvironmentURL string
	Environment                                string
	Created                                    time.Time
}

// State is that of the newest status, "" before the first.
func (d Deployment) State() string {
	if len(d.Statuses) == 0 {
		return ""
	}
	return d.Statuses[len(d.Statuses)-1].State
}

// Deployments returns the repository's deployments, oldest first.
func (repo *Repo) Deployments() []Deployment {
	defer repo.lock()()
	var all []Deployment
	for _, d := range repo.deployments {
		clone := *d
		clone.Statuses = slices.Clone(d.Statuses)
		all = append(all, clone)
	}
	return all
}

const maxDeploymentDescription = 140 // characters

func (c *call) createDeployment() (int, any) {
	var wanted struct {
		Ref, Task, Environment, Description string
		AutoMerge                           *bool     `json:"auto_merge"`
		RequiredContexts                    *[]string `json:"required_contexts"`
		Payload                             json.RawMessage
		Transient                           bool  `json:"transient_environment"`
		Production                          *bool `json:"production_environment"`
	}
	wanted.Task, wanted.Environment = "deploy", "production"
	if err := c.decode(&wanted); err != nil {
		return c.fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	sha, err := c.repo.dir.commit(wanted.Ref)
	if err != nil {
		return c.fail(http.StatusUnprocessableEntity, "No ref found for: "+wanted.Ref)
	}
	if utf8.RuneCountInString(wanted.Description) > maxDeploymentDescription {
		return c.invalid("Deployment", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	// GitHub would merge the default branch into a branch that is behind it. The
	// simulator treats each such merge as one that conflicts.
	head := c.repo.refs["refs/heads/"+c.repo.defaultBranch]
	if wanted.AutoMerge == nil || *wanted.AutoMerge {
		if c.repo.refs["refs/heads/"+wanted.Ref] != "" && head != "" && !c.repo.dir.isAncestor(head, sha) {
			return c.fail(http.StatusConflict, "Conflict merging "+c.repo.defaultBranch+" into "+wanted.Ref)
		}
	}
	if failing := c.repo.failingContexts(sha, wanted.RequiredContexts); len(failing) > 0 {
		return c.fail(http.StatusConflict, "Conflict: Commit status checks failed for "+wanted.Ref+".",
			fieldError{Resource: "Deployment", Field: "required_contexts", Code: "invalid", Contexts: failing})
	}
	d := &Deployment{
		ID: c.gh.id(), SHA: sha, Ref: wanted.Ref, Task: wanted.Task, Environment: wanted.Environment, Description: wanted.Description,
		Payload: wanted.Payload, Transient: wanted.Transient, Production: wanted.Environment == "production", Created: c.gh.now(),
	}
	set(&d.Production, wanted.Production)
	c.repo.deployments = append(c.repo.deployments, d)
	c.gh.wrote(Write{Kind: "deployment", Repository: c.repo.FullName(), Name: d.Environment, SHA: d.SHA, Description: d.Description})
	return http.StatusCreated, c.deploymentJSON(d)
}

// failingContexts are the statuses that are not green: of the required contexts,
// or all of them where none are named.
func (repo *Repo) failingContexts(sha string, required *[]string) []contextAndState {
	var failing []contextAndState
	latest := repo.latestStatuses(sha)
	if required == nil {
		for _, s := range latest {
			if s.State != "success" {
				failing = append(failing, contextAndState{s.Context, s.State})
			}
		}
		return failing
	}
	for _, name := range *required {
		state := "missing"
		for _, s := range latest {
			if strings.EqualFold(s.Context, name) {
				state = s.State
			}
		}
		if state != "success" {
			failing = append(failing, contextAndState{name, state})
		}
	}
	return failing
}

func (c *call) deploymentJSON(d *Deployment) object {
	url := c.repo.api("/deployments/", itoa(d.ID))
	updated := d.Created
	if n := len(d.Statuses); n > 0 {
		updated = d.Statuses[n-1].Created
	}
	payload := any(d.Payload)
	if len(d.Payload) == 0 {
		payload = object{}
	}
	return object{
		"url": url, "id": d.ID, "node_id": nodeID("Deployment", d.ID), "sha": d.SHA, "ref": d.Ref, "task": d.Task, "payload": payload,
		"original_environment": d.Environment, "environment": d.Environment, "description": nullable(d.Description), "creator": c.gh.simpleUser(c.gh.bot()),
		"created_at": nullableTime(d.Created), "updated_at": nullableTime(updated), "statuses_url": url + "/statuses", "repository_url": c.repo.api(),
		"transient_environment": d.Transient, "production_environment": d.Production, "performed_via_github_app": c.gh.app(),
	}
}

func (c *call) deployment() *Deployment {
	for _, d := range c.repo.deployments {
		if d.ID == c.number("deployment_id") {
			return d
		}
	}
	return nil
}

func (c *call) getDeployment() (int, any) {
	d := c.deployment()
	if d == nil {
		return c.notFound()
	}
	return http.StatusOK, c.deploymentJSON(d)
}

func (c *call) listDeployments() (int, any) {
	query := c.URL.Query()
	matches := func(name, value string) bool {
		wanted := query.Get(name)
		return wanted == "" || wanted == "none" || wanted == value
	}
	all := []object{}
	for _, d := range slices.Backward(c.repo.deployments) {
		if matches("sha", d.SHA) && matches("ref", d.Ref) && matches("task", d.Task) && matches("environment", d.Environment) {
			all = append(all, c.deploymentJSON(d))
		}
	}
	return http.StatusOK, page(c, all)
}

func (c *call) deploymentStatusJSON(d *Deployment, s DeploymentStatus) object {
	url := c.repo.api("/deployments/", itoa(d.ID))
	return object{
		"url": url + "/statuses/" + itoa(s.ID), "id": s.ID, "node_id": nodeID("DeploymentStatus", s.ID), "state": s.State, "creator": c.gh.simpleUser(c.gh.bot()),
		"description": s.Description, "environment": s.Environment, "target_url": s.LogURL, "log_url": s.LogURL, "environment_url": s.EnvironmentURL,
		"created_at": nullableTime(s.Created), "updated_at": nullableTime(s.Created), "deployment_url": url, "repository_url": c.repo.api(),
		"performed_via_github_app": c.gh.app(),
	}
}

func (c *call) listDeploymentStatuses() (int, any) {
	d := c.deployment()
	if d == nil {
		return c.notFound()
	}
	all := []object{}
	for _, s := range slices.Backward(d.Statuses) {
		all = append(all, c.deploymentStatusJSON(d, s))
	}
	return http.StatusOK, page(c, all)
}

// createDeploymentStatus makes the environment's earlier deployments inactive
// when this one succeeds, unless auto_inactive is false: as GitHub documents it,
// those that are neither transient nor production environments.
func (c *call) createDeploymentStatus() (int, any) {
	d := c.deployment()
	if d == nil {
		return c.notFound()
	}
	var wanted struct {
		State, Description, Environment string
		LogURL                          string `json:"log_url"`
		TargetURL                       string `json:"target_url"`
		EnvironmentURL                  string `json:"environment_url"`
		AutoInactive                    *bool  `json:"auto_inactive"`
	}
	if err := c.decode(&wanted); err != nil {
		return c.fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	if utf8.RuneCountInString(wanted.Description) > maxDeploymentDescription {
		return c.invalid("DeploymentStatus", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	if wanted.LogURL == "" {
		wanted.LogURL = wanted.TargetURL
	}
	if wanted.LogURL != "" && !isHTTP(wanted.LogURL) {
		return c.invalid("DeploymentStatus", "log_url", "custom", "log_url must use http(s) scheme")
	}
	if wanted.EnvironmentURL != "" && !isHTTP(wanted.EnvironmentURL) {
		return c.invalid("DeploymentStatus", "environment_url", "custom", "environment_url must use http(s) scheme")
	}
	if wanted.Environment != "" {
		d.Environment = wanted.Environment
	}
	add := func(to *Deployment, state, description string) DeploymentStatus {
		s := DeploymentStatus{ID: c.gh.id(), State: state, Description: description, Environment: to.Environment, Created: c.gh.now()}
		if to == d && state == wanted.State {
			s.LogURL, s.EnvironmentURL = wanted.LogURL, wanted.EnvironmentURL
		}
		to.Statuses = append(to.Statuses, s)
		return s
	}
	s := add(d, wanted.State, wanted.Description)
	if wanted.State == "success" && (wanted.AutoInactive == nil || *wanted.AutoInactive) {
		for _, other := range c.repo.deployments {
			if other != d && other.Environment == d.Environment && !other.Transient && !other.Production && other.State() == "success" {
				add(other, "inactive", "")
			}
		}
	}
	c.gh.wrote(Write{
		Kind: "deployment_status", Repository: c.repo.FullName(), Name: d.Environment, SHA: d.SHA, State: s.State, Description: s.Description, URL: s.LogURL,
	})
	return http.StatusCreated, c.deploymentStatusJSON(d, s)
}
