package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const docs = "https://docs.github.com/rest"

// A route is an operation of the API that the simulator has.
type route struct {
	method, path string // path as GitHub's description writes it
	by           caller
	needs        []string // permissions such as "statuses:write", any of which suffices
	handle       func(*call) (status int, body any)
}

// A caller is whom an operation is for.
type caller int

const (
	byApp          caller = iota // the app itself: a JWT
	byInstallation               // an installation's token
	byPerson                     // a token of somebody who signed in through the app
	byAnyone                     // no credential at all
)

// call is one request to an operation. Handlers run while GitHub.mu is held.
type call struct {
	*http.Request
	gh     *GitHub
	params map[string]string
	body   []byte
	token  *token     // an installation's; else nil
	person *userToken // a person's; else nil
	repo   *Repo      // where the path names one
	header http.Header
}

// githubRoutes is a function, not a variable, for the handlers refer to call.
func githubRoutes() []route {
	const repos = "/repos/{owner}/{repo}"
	comment := []string{"issues:write", "pull_requests:write"}
	readComment := []string{"issues:read", "pull_requests:read"}
	return []route{
		{"GET", "/app", byApp, nil, (*call).getApp},
		{"GET", "/app/hook/config", byApp, nil, (*call).getHookConfig},
		{"GET", "/app/hook/deliveries", byApp, nil, (*call).listDeliveries},
		{"GET", "/app/hook/deliveries/{delivery_id}", byApp, nil, (*call).getDelivery},
		{"POST", "/app/hook/deliveries/{delivery_id}/attempts", byApp, nil, (*call).redeliver},
		{"GET", "/app/installations", byApp, nil, (*call).listInstallations},
		{"GET", "/app/installations/{installation_id}", byApp, nil, (*call).getInstallation},
		{"POST", "/app/installations/{installation_id}/access_tokens", byApp, nil, (*call).createToken},
		{"GET", repos + "/installation", byApp, nil, (*call).getRepoInstallation},

		{"GET", "/apps/{app_slug}", byInstallation, nil, (*call).getAppBySlug},
		{"GET", "/installation/repositories", byInstallation, nil, (*call).listRepositories},
		{"GET", "/orgs/{org}/teams/{team_slug}/memberships/{username}", byInstallation, []string{"members:read"}, (*call).getMembership},
		{"GET", "/user", byPerson, nil, (*call).getMe},
		{"GET", "/user/installations", byPerson, nil, (*call).listMyInstallations},
		{"GET", "/user/installations/{installation_id}/repositories", byPerson, nil, (*call).listMyRepositories},
		{"POST", "/app-manifests/{code}/conversions", byAnyone, nil, (*call).convertManifest},
		{"GET", "/users/{username}", byInstallation, nil, (*call).getUser},

		{"GET", repos, byInstallation, []string{"metadata:read"}, (*call).getRepo},
		{"GET", repos + "/activity", byInstallation, []string{"contents:read"}, (*call).listActivity},
		{"GET", repos + "/branches/{branch}", byInstallation, []string{"contents:read"}, (*call).getBranch},
		{"GET", repos + "/collaborators", byInstallation, []string{"metadata:read"}, (*call).listCollaborators},
		{"GET", repos + "/collaborators/{username}/permission", byInstallation, []string{"metadata:read"}, (*call).getPermission},
		{"GET", repos + "/commits", byInstallation, []string{"contents:read"}, (*call).listCommits},
		{"GET", repos + "/commits/{ref}", byInstallation, []string{"contents:read"}, (*call).getCommit},
		{"GET", repos + "/compare/{basehead}", byInstallation, []string{"contents:read"}, (*call).compare},
		{"GET", repos + "/contents/{path}", byInstallation, []string{"contents:read"}, (*call).getContents},
		{"GET", repos + "/git/ref/{ref}", byInstallation, []string{"contents:read"}, (*call).getRef},
		{"GET", repos + "/rules/branches/{branch}", byInstallation, []string{"metadata:read"}, (*call).listRules},

		{"GET", repos + "/pulls", byInstallation, []string{"pull_requests:read"}, (*call).listPulls},
		{"GET", repos + "/pulls/{pull_number}", byInstallation, []string{"pull_requests:read"}, (*call).getPull},
		{"GET", repos + "/pulls/{pull_number}/commits", byInstallation, []string{"pull_requests:read"}, (*call).listPullCommits},
		{"GET", repos + "/pulls/{pull_number}/files", byInstallation, []string{"pull_requests:read"}, (*call).listPullFiles},
		{"GET", repos + "/commits/{commit_sha}/pulls", byInstallation, []string{"pull_requests:read"}, (*call).listCommitPulls},

		{"GET", repos + "/issues/{issue_number}/comments", byInstallation, readComment, (*call).listComments},
		{"POST", repos + "/issues/{issue_number}/comments", byInstallation, comment, (*call).createComment},
		{"GET", repos + "/issues/comments/{comment_id}", byInstallation, readComment, (*call).getComment},
		{"PATCH", repos + "/issues/comments/{comment_id}", byInstallation, comment, (*call).updateComment},
		{"DELETE", repos + "/issues/comments/{comment_id}", byInstallation, comment, (*call).deleteComment},
		{"GET", repos + "/issues/comments/{comment_id}/reactions", byInstallation, readComment, (*call).listReactions},
		{"POST", repos + "/issues/comments/{comment_id}/reactions", byInstallation, comment, (*call).createReaction},
		{"DELETE", repos + "/issues/comments/{comment_id}/reactions/{reaction_id}", byInstallation, comment, (*call).deleteReaction},

		{"POST", repos + "/statuses/{sha}", byInstallation, []string{"statuses:write"}, (*call).createStatus},
		{"GET", repos + "/commits/{ref}/statuses", byInstallation, []string{"statuses:read"}, (*call).listStatuses},
		{"GET", repos + "/commits/{ref}/status", byInstallation, []string{"statuses:read"}, (*call).combinedStatus},
		{"POST", repos + "/check-runs", byInstallation, []string{"checks:write"}, (*call).createCheckRun},
		{"GET", repos + "/check-runs/{check_run_id}", byInstallation, []string{"checks:read"}, (*call).getCheckRun},
		{"PATCH", repos + "/check-runs/{check_run_id}", byInstallation, []string{"checks:write"}, (*call).updateCheckRun},
		{"GET", repos + "/commits/{ref}/check-runs", byInstallation, []string{"checks:read"}, (*call).listCheckRuns},

		{"GET", repos + "/deployments", byInstallation, []string{"deployments:read"}, (*call).listDeployments},
		{"POST", repos + "/deployments", byInstallation, []string{"deployments:write"}, (*call).createDeployment},
		{"GET", repos + "/deployments/{deployment_id}", byInstallation, []string{"deployments:read"}, (*call).getDeployment},
		{"GET", repos + "/deployments/{deployment_id}/statuses", byInstallation, []string{"deployments:read"}, (*call).listDeploymentStatuses},
		{"POST", repos + "/deployments/{deployment_id}/statuses", byInstallation, []string{"deployments:write"}, (*call).createDeploymentStatus},
	}
}

// greedy are the parameters that take several segments of a path.
var greedy = map[string]bool{"{path}": true, "{ref}": true}

// match finds the route of an escaped path. Literal segments win over parameters.
func (gh *GitHub) match(method, path string) (route, map[string]string, bool) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	best, bestParams, bestLiteral := -1, map[string]string(nil), -1
	for i, r := range gh.routes {
		if r.method != method {
			continue
		}
		if params, literal, ok := matchPath(strings.Split(r.path[1:], "/"), segments); ok && literal > bestLiteral {
			best, bestParams, bestLiteral = i, params, literal
		}
	}
	if best < 0 {
		return route{}, nil, false
	}
	return gh.routes[best], bestParams, true
}

func matchPath(template, segments []string) (params map[string]string, literal int, ok bool) {
	params = map[string]string{}
	for i, part := range template {
		rest := len(template) - i - 1
		if greedy[part] && len(segments) > len(template) {
			end := len(segments) - rest
			segments = slices.Concat(segments[:i], []string{strings.Join(segments[i:end], "/")}, segments[end:])
		}
		if i >= len(segments) {
			if part == "{path}" { // the root folder
				params["path"] = ""
				continue
			}
			return nil, 0, false
		}
		if !strings.HasPrefix(part, "{") {
			if part != segments[i] {
				return nil, 0, false
			}
			literal++
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, 0, false
		}
		params[part[1:len(part)-1]] = value
	}
	return params, literal, len(segments) <= len(template)
}

// serveAPI answers a request to the REST API and returns the request's body.
func (gh *GitHub) serveAPI(w http.ResponseWriter, r *http.Request, path string) string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	route, params, ok := gh.match(r.Method, path)
	if !ok {
		gh.violation(fmt.Errorf("%s %s: the simulator has no such operation", r.Method, path))
		gh.answer(w, http.StatusNotFound, apiError{Message: "Not Found"})
		return string(body)
	}
	c := &call{Request: r, gh: gh, params: params, body: body, header: w.Header()}
	status, answer := c.serve(route)
	encoded, err := json.Marshal(answer)
	if answer == nil {
		encoded = nil
	}
	if raw, ok := answer.(rawContent); ok {
		encoded = []byte(raw)
		w.Header().Set("Content-Type", "application/vnd.github.raw+json; charset=utf-8")
	} else if err == nil {
		err = gh.description.CheckAnswer(route.method, route.path, status, encoded)
	}
	if err != nil {
		gh.violation(fmt.Errorf("answer: %w", err))
		gh.answer(w, http.StatusInternalServerError, apiError{Message: "the simulator's answer violates GitHub's description: " + err.Error()})
		return string(body)
	}
	gh.answer(w, status, encoded)
	return string(body)
}

func (gh *GitHub) answer(w http.ResponseWriter, status int, body any) {
	encoded, ok := body.([]byte)
	if !ok {
		encoded, _ = json.Marshal(body) // an apiError always encodes
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.Header().Set("X-GitHub-Media-Type", "github.v3; format=json")
	w.Header().Set("X-GitHub-Request-Id", randomHex(8))
	w.WriteHeader(status)
	w.Write(encoded) //nolint:errcheck // the client has gone
}

func (gh *GitHub) answerFault(w http.ResponseWriter, f fault) {
	e := apiError{Message: http.StatusText(f.status)}
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
		if f.status == http.StatusForbidden || f.status == http.StatusTooManyRequests {
			e = secondaryLimit
		}
	}
	gh.answer(w, f.status, e)
}

// apiError is the body of GitHub's errors.
type apiError struct {
	Message          string       `json:"message"`
	Errors           []fieldError `json:"errors,omitempty"`
	DocumentationURL string       `json:"documentation_url"`
	Status           string       `json:"status,omitempty"`
}

// fieldError is one reason of a 422.
type fieldError struct {
	Resource string            `json:"resource"`
	Field    string            `json:"field,omitempty"`
	Code     string            `json:"code"`
	Message  string            `json:"message,omitempty"`
	Contexts []contextAndState `json:"contexts,omitempty"`
}

type contextAndState struct {
	Context string `json:"context"`
	State   string `json:"state"`
}

var secondaryLimit = apiError{
	Message:          "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
	DocumentationURL: docs + "/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits",
}

func (c *call) fail(status int, message string, errors ...fieldError) (int, any) {
	return status, apiError{Message: message, Errors: errors, DocumentationURL: docs, Status: strconv.Itoa(status)}
}

func (c *call) notFound() (int, any) { return c.fail(http.StatusNotFound, "Not Found") }

// invalid is GitHub's answer to a field that it does not accept.
func (c *call) invalid(resource, field, code, message string) (int, any) {
	return c.fail(http.StatusUnprocessableEntity, "Validation Failed", fieldError{Resource: resource, Field: field, Code: code, Message: message})
}

// broken is for what must not happen; tests find it among the violations.
func (c *call) broken(err error) (int, any) {
	c.gh.violations = append(c.gh.violations, fmt.Sprintf("%s %s: %v", c.Method, c.URL.Path, err))
	return c.fail(http.StatusInternalServerError, "the simulator: "+err.Error())
}

// decode reads a body that the description has accepted.
func (c *call) decode(into any) error {
	if len(c.body) == 0 {
		return nil
	}
	return json.Unmarshal(c.body, into)
}

func (c *call) number(name string) int64 {
	n, _ := strconv.ParseInt(c.params[name], 10, 64)
	return n
}

// page cuts out the page that was asked for and sets the Link header.
func page[T any](c *call, items []T) []T {
	query := c.URL.Query()
	size := number(query.Get("per_page"), 30)
	size = min(max(size, 1), 100)
	at := max(number(query.Get("page"), 1), 1)
	last := max((len(items)+size-1)/size, 1)
	c.link(query, "page", map[string]string{
		"prev": numberIf(at > 1, min(at-1, last)), "next": numberIf(at < last, at+1), "last": numberIf(at < last, last), "first": numberIf(at > 1, 1),
	})
	from := min((at-1)*size, len(items))
	return items[from:min(from+size, len(items))]
}

func number(s string, otherwise int) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return otherwise
	}
	return n
}

func numberIf(wanted bool, n int) string {
	if !wanted {
		return ""
	}
	return strconv.Itoa(n)
}

// link sets the Link header; targets maps a relation to the parameter's value,
// where "" leaves it out.
func (c *call) link(query url.Values, parameter string, targets map[string]string) {
	var links []string
	for _, rel := range []string{"prev", "next", "last", "first"} {
		if targets[rel] == "" {
			continue
		}
		next := maps.Clone(query)
		next.Del("before")
		next.Del("after")
		next.Set(parameter, targets[rel])
		links = append(links, fmt.Sprintf(`<%s%s?%s>; rel="%s"`, c.gh.url, c.URL.EscapedPath(), next.Encode(), rel))
	}
	if len(links) > 0 {
		c.header.Set("Link", strings.Join(links, ", "))
	}
}

// serve checks credentials, the request's form, limits and permissions, in
// GitHub's order, and then runs the route's handler.
func (c *call) serve(r route) (int, any) {
	gh := c.gh
	if status, body := c.authenticate(r); status != 0 {
		return status, body
	}
	if err := gh.description.CheckRequest(c.Request, r.path, c.params); err != nil {
		gh.violation(fmt.Errorf("request: %w", err))
		return c.fail(http.StatusUnprocessableEntity, "Invalid request.\n\n"+err.Error())
	}
	gh.mu.Lock()
	defer gh.mu.Unlock()
	if status, body := c.limit(r); status != 0 {
		return status, body
	}
	if c.params["repo"] != "" {
		if status, body := c.openRepo(r); status != 0 {
			return status, body
		}
	} else if r.by == byInstallation && !c.permitted(r.needs) {
		return c.fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	return r.handle(c)
}
