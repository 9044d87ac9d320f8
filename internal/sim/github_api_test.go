package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

var ctx = context.Background()

// get makes a request that go-github v60 has no method, or not all fields, for.
func (w *world) get(path string, into any) *github.Response {
	w.Helper()
	request, err := w.api.NewRequest("GET", path, nil)
	must(w.T, err)
	response, err := w.api.Do(ctx, request, into)
	must(w.T, err)
	return response
}

// expectInvalid checks for a 422 that names the field.
func expectInvalid(t *testing.T, field string) func(_ any, response *github.Response, err error) {
	t.Helper()
	return func(_ any, _ *github.Response, err error) {
		t.Helper()
		var answer *github.ErrorResponse
		if !errors.As(err, &answer) || answer.Response.StatusCode != 422 || len(answer.Errors) != 1 || answer.Errors[0].Field != field {
			t.Errorf("got %v, want a 422 for %s", err, field)
		}
	}
}

func TestStatuses(t *testing.T) {
	w := newWorld(t)
	create := func(sha, context, state, description string) (*github.RepoStatus, *github.Response, error) {
		return w.api.Repositories.CreateStatus(ctx, "acme", "web", sha, &github.RepoStatus{
			State: &state, Context: &context, Description: &description, TargetURL: github.String("https://ship.example/runs/1"),
		})
	}
	for _, state := range []string{"pending", "success"} {
		_, _, err := create(w.first, "shipmate/build", state, strings.Repeat("船", 140))
		must(t, err)
	}
	_, _, err := create(w.first, "shipmate/deploy/staging", "pending", "")
	must(t, err)
	list, _, err := w.api.Repositories.ListStatuses(ctx, "acme", "web", w.first, nil)
	must(t, err)
	combined, _, err := w.api.Repositories.GetCombinedStatus(ctx, "acme", "web", "master", nil)
	must(t, err)
	if len(list) != 3 || list[0].GetContext() != "shipmate/deploy/staging" || combined.GetState() != "pending" || combined.GetTotalCount() != 2 {
		t.Fatalf("list %v, combined %v", list, combined)
	}
	if got := w.repo.Statuses(w.first); len(got) != 3 || got[1].State != "success" || got[1].By != "shipmate[bot]" {
		t.Fatalf("%+v", got)
	}

	ignore := func(a any, r *github.Response, err error) { expectInvalid(t, "description")(a, r, err) }
	status, response, err := create(w.first, "c", "pending", strings.Repeat("x", 141))
	ignore(status, response, err)
	status, response, err = create(w.first, strings.Repeat("c", 256), "pending", "")
	expectInvalid(t, "context")(status, response, err)
	status, response, err = create(strings.Repeat("0", 40), "c", "pending", "")
	expectStatus(t, 422)(status, response, err)
	for range 1000 - 2 {
		w.repo.SetStatus(w.first, "someone", "SHIPMATE/build", "pending") // contexts know no case
	}
	status, response, err = create(w.first, "shipmate/build", "pending", "")
	expectInvalid(t, "base")(status, response, err)
}

func TestPagination(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.repo.SetStatus(w.first, "ci", fmt.Sprint("c", i), "success")
	}
	var pages, got int
	options := &github.ListOptions{PerPage: 3}
	for {
		list, response, err := w.api.Repositories.ListStatuses(ctx, "acme", "web", w.first, options)
		must(t, err)
		pages, got = pages+1, got+len(list)
		if response.NextPage == 0 {
			break
		}
		options.Page = response.NextPage
	}
	if pages != 3 || got != 7 {
		t.Fatalf("%d pages with %d statuses", pages, got)
	}
}

func TestCheckRuns(t *testing.T) {
	w := newWorld(t)
	run, _, err := w.api.Checks.CreateCheckRun(ctx, "acme", "web", github.CreateCheckRunOptions{
		Name: "shipmate", HeadSHA: w.first, Status: github.String("in_progress"), DetailsURL: github.String("https://ship.example/runs/1"),
		Output: &github.CheckRunOutput{Title: github.String("building"), Summary: github.String("…")},
	})
	must(t, err)
	annotations := func(n int) []*github.CheckRunAnnotation {
		var all []*github.CheckRunAnnotation
		for i := range n {
			all = append(all, &github.CheckRunAnnotation{
				Path: github.String("main.go"), StartLine: github.Int(i + 1), EndLine: github.Int(i + 1), AnnotationLevel: github.String("failure"), Message: github.String("wrong"),
			})
		}
		return all
	}
	update := func(n int) {
		_, _, err := w.api.Checks.UpdateCheckRun(ctx, "acme", "web", run.GetID(), github.UpdateCheckRunOptions{
			Name: "shipmate", Conclusion: github.String("action_required"),
			Actions: []*github.CheckRunAction{{Label: "Approve", Description: "deploys to production", Identifier: "approve"}},
			Output:  &github.CheckRunOutput{Title: github.String("waiting"), Summary: github.String("…"), Annotations: annotations(n)},
		})
		must(t, err)
	}
	update(50)
	update(3)
	list, _, err := w.api.Checks.ListCheckRunsForRef(ctx, "acme", "web", w.first, nil)
	must(t, err)
	if list.GetTotal() != 1 || list.CheckRuns[0].GetStatus() != "completed" || list.CheckRuns[0].GetOutput().GetAnnotationsCount() != 53 {
		t.Fatalf("%v", list.CheckRuns)
	}
	if got := w.repo.CheckRuns(w.first)[0]; got.Actions[0].Identifier != "approve" || got.Conclusion != "action_required" {
		t.Fatalf("%+v", got)
	}
	must(t, w.repo.PressButton(run.GetID(), "alice", "approve"))
	must(t, w.repo.Rerequest(run.GetID(), "alice"))
	hooks := w.hooks("check_run")
	event, err := github.ParseWebHook("check_run", hooks[0].body)
	must(t, err)
	if e := event.(*github.CheckRunEvent); e.GetAction() != "requested_action" || e.RequestedAction.Identifier != "approve" || e.GetSender().GetLogin() != "alice" {
		t.Fatalf("%v", e)
	}
	again, _, err := w.api.Checks.GetCheckRun(ctx, "acme", "web", run.GetID())
	must(t, err)
	if again.GetConclusion() != "action_required" || again.GetApp().GetID() != w.gh.AppID() {
		t.Fatalf("%v", again)
	}
	incomplete, response, err := w.api.Checks.CreateCheckRun(ctx, "acme", "web", github.CreateCheckRunOptions{Name: "x", HeadSHA: w.first, Status: github.String("completed")})
	expectInvalid(t, "conclusion")(incomplete, response, err)
	w.repo.SetCheckRun(w.first, 7, "test", "success")
	others := w.repo.CheckRuns(w.first)[1]
	changed, response, err := w.api.Checks.UpdateCheckRun(ctx, "acme", "web", others.ID, github.UpdateCheckRunOptions{Name: "test", Conclusion: github.String("failure")})
	expectStatus(t, 403)(changed, response, err)
}

func TestDeployments(t *testing.T) {
	w := newWorld(t)
	create := func(ref, environment string, contexts *[]string, payload any) (*github.Deployment, *github.Response, error) {
		return w.api.Repositories.CreateDeployment(ctx, "acme", "web", &github.DeploymentRequest{
			Ref: &ref, Environment: &environment, AutoMerge: github.Bool(false), RequiredContexts: contexts, Payload: payload,
		})
	}
	w.repo.SetStatus(w.first, "ci", "ci/test", "failure")
	refused, response, err := create("master", "staging", nil, nil)
	expectStatus(t, 409)(refused, response, err)
	refused, response, err = create("master", "staging", &[]string{"ci/lint"}, nil)
	expectStatus(t, 409)(refused, response, err)
	first, _, err := create(w.first, "staging", &[]string{}, map[string]any{"release": 41})
	must(t, err)
	first, _, err = w.api.Repositories.GetDeployment(ctx, "acme", "web", first.GetID())
	must(t, err)
	if string(first.Payload) != `{"release":41}` {
		t.Fatalf("payload %s", first.Payload)
	}
	second, _, err := create("master", "staging", &[]string{}, nil)
	must(t, err)
	success := func(d *github.Deployment, autoInactive bool) {
		_, _, err := w.api.Repositories.CreateDeploymentStatus(ctx, "acme", "web", d.GetID(), &github.DeploymentStatusRequest{
			State: github.String("success"), AutoInactive: &autoInactive, LogURL: github.String("https://ship.example/deployments/1"),
		})
		must(t, err)
	}
	success(first, false)
	success(second, false)
	if d := w.repo.Deployments(); d[0].State() != "success" || d[1].State() != "success" {
		t.Fatalf("auto_inactive: false was not obeyed: %+v", d)
	}
	success(second, true)
	if d := w.repo.Deployments(); d[0].State() != "inactive" || d[1].State() != "success" {
		t.Fatalf("auto_inactive: %+v", d)
	}
	list, _, err := w.api.Repositories.ListDeployments(ctx, "acme", "web", &github.DeploymentsListOptions{Environment: "staging", SHA: w.first})
	must(t, err)
	statuses, _, err := w.api.Repositories.ListDeploymentStatuses(ctx, "acme", "web", first.GetID(), nil)
	must(t, err)
	if len(list) != 2 || list[0].GetID() != second.GetID() || len(statuses) != 2 || statuses[0].GetState() != "inactive" {
		t.Fatalf("deployments %v, statuses %v", list, statuses)
	}
	status, response, err := w.api.Repositories.CreateDeploymentStatus(ctx, "acme", "web", first.GetID(), &github.DeploymentStatusRequest{
		State: github.String("failure"), Description: github.String(strings.Repeat("x", 141)),
	})
	expectInvalid(t, "description")(status, response, err)
	_, err = w.repo.Commit("old", "bob", "old", map[string]string{"old": "1"})
	must(t, err)
	_, err = w.repo.Commit("master", "alice", "new", map[string]string{"new": "1"})
	must(t, err)
	unmerged, response, err := w.api.Repositories.CreateDeployment(ctx, "acme", "web", &github.DeploymentRequest{Ref: github.String("old"), RequiredContexts: &[]string{}})
	expectStatus(t, 409)(unmerged, response, err)
	missing, response, err := create("nowhere", "staging", &[]string{}, nil)
	expectStatus(t, 422)(missing, response, err)
}

func TestCommentsAndReactions(t *testing.T) {
	w := newWorld(t)
	_, err := w.repo.Commit("topic", "bob", "change", map[string]string{"a": "1"})
	must(t, err)
	number, err := w.repo.OpenPullRequest("topic", "master", "bob", "A change")
	must(t, err)
	id, err := w.repo.Comment(number, "alice", "/promote production")
	must(t, err)
	must(t, w.repo.EditComment(id, "alice", "/rollback production"))

	got, _, err := w.api.Issues.GetComment(ctx, "acme", "web", id)
	must(t, err)
	if got.GetBody() != "/rollback production" || got.GetUser().GetLogin() != "alice" {
		t.Fatalf("%v", got)
	}
	for range 2 {
		_, _, err = w.api.Reactions.CreateIssueCommentReaction(ctx, "acme", "web", id, "eyes")
		must(t, err)
	}
	reactions := w.repo.Reactions(id)
	if len(reactions) != 1 || reactions[0].User != "shipmate[bot]" {
		t.Fatalf("%+v", reactions)
	}
	if list, _, err := w.api.Reactions.ListIssueCommentReactions(ctx, "acme", "web", id, nil); err != nil || len(list) != 1 || list[0].GetContent() != "eyes" {
		t.Fatalf("%v, %v", list, err)
	}
	_, err = w.api.Reactions.DeleteIssueCommentReaction(ctx, "acme", "web", id, reactions[0].ID)
	must(t, err)

	reply, _, err := w.api.Issues.CreateComment(ctx, "acme", "web", number, &github.IssueComment{Body: github.String("one")})
	must(t, err)
	_, _, err = w.api.Issues.EditComment(ctx, "acme", "web", reply.GetID(), &github.IssueComment{Body: github.String("two")})
	must(t, err)
	if c := w.repo.Comments(number); len(c) != 2 || c[1].Body != "two" || c[1].Edits != 1 {
		t.Fatalf("%+v", c)
	}
	for since, want := range map[time.Time]int{{}: 2, time.Now().Add(time.Hour): 0} {
		list, _, err := w.api.Issues.ListComments(ctx, "acme", "web", number, &github.IssueListCommentsOptions{Since: &since})
		must(t, err)
		if len(list) != want {
			t.Errorf("comments since %s: %v", since, list)
		}
	}
	blank, response, err := w.api.Issues.CreateComment(ctx, "acme", "web", number, &github.IssueComment{Body: github.String(" ")})
	expectInvalid(t, "body")(blank, response, err)
	long, response, err := w.api.Issues.CreateComment(ctx, "acme", "web", number, &github.IssueComment{Body: github.String(strings.Repeat("x", 65537))})
	expectInvalid(t, "body")(long, response, err)

	must(t, w.repo.DeleteComment(id, "alice"))
	_, err = w.api.Issues.DeleteComment(ctx, "acme", "web", reply.GetID())
	must(t, err)
	gone, response, err := w.api.Issues.GetComment(ctx, "acme", "web", id)
	expectStatus(t, 404)(gone, response, err)

	var actions []string
	for _, h := range w.hooks("issue_comment") {
		event, err := github.ParseWebHook("issue_comment", h.body)
		must(t, err)
		e := event.(*github.IssueCommentEvent)
		if !e.GetIssue().IsPullRequest() || e.GetInstallation().GetID() == 0 || e.GetRepo().GetFullName() != "acme/web" {
			t.Errorf("%v", e)
		}
		actions = append(actions, e.GetAction()+" "+e.GetComment().GetUser().GetLogin())
	}
	want := "created alice, edited alice, created shipmate[bot], edited shipmate[bot], deleted alice, deleted shipmate[bot]"
	if got := strings.Join(actions, ", "); got != want {
		t.Fatalf("events %s\nwant   %s", got, want)
	}
	issue := w.repo.OpenIssue("bob", "a question")
	_, err = w.repo.Comment(issue, "bob", "/help")
	must(t, err)
	hooks := w.hooks("issue_comment")
	event, err := github.ParseWebHook("issue_comment", hooks[len(hooks)-1].body)
	must(t, err)
	if event.(*github.IssueCommentEvent).GetIssue().IsPullRequest() {
		t.Fatal("an issue looks like a pull request")
	}
}

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	for login, p := range map[string][2]string{"admin": {"admin", ""}, "maintainer": {"maintain", ""}, "writer": {"write", ""}, "releaser": {"write", "release-owner"}, "triager": {"triage", ""}} {
		w.repo.SetPermission(login, p[0], p[1])
	}
	w.gh.AddUser("stranger")
	for _, test := range []struct{ login, permission, role string }{
		{"admin", "admin", "admin"}, {"maintainer", "write", "maintain"}, {"writer", "write", "write"}, {"releaser", "write", "release-owner"},
		{"triager", "read", "triage"}, {"stranger", "none", "none"},
	} {
		got, _, err := w.api.Repositories.GetPermissionLevel(ctx, "acme", "web", test.login)
		must(t, err)
		if got.GetPermission() != test.permission || got.GetUser().GetRoleName() != test.role {
			t.Errorf("%s: %s, %s; want %s, %s", test.login, got.GetPermission(), got.GetUser().GetRoleName(), test.permission, test.role)
		}
	}
	nobody, response, err := w.api.Repositories.GetPermissionLevel(ctx, "acme", "web", "nobody")
	expectStatus(t, 404)(nobody, response, err)
	people, _, err := w.api.Repositories.ListCollaborators(ctx, "acme", "web", nil)
	must(t, err)
	if len(people) != 5 {
		t.Errorf("%v", people)
	}
	w.gh.AddTeamMember("acme", "release", "carol", "maintainer")
	membership, _, err := w.api.Teams.GetTeamMembershipBySlug(ctx, "acme", "release", "carol")
	must(t, err)
	if membership.GetState() != "active" || membership.GetRole() != "maintainer" {
		t.Errorf("%v", membership)
	}
	none, response, err := w.api.Teams.GetTeamMembershipBySlug(ctx, "acme", "release", "alice")
	expectStatus(t, 404)(none, response, err)
	_, _, err = w.api.Users.Get(ctx, "carol")
	must(t, err)

	installation, _ := w.gh.Installation("acme")
	delete(installation.Permissions, "members")
	w.gh.SetInstallation("acme", installation.Permissions, false)
	refused, response, err := w.api.Teams.GetTeamMembershipBySlug(ctx, "acme", "release", "carol")
	expectStatus(t, 403)(refused, response, err)
	w.gh.SetInstallation("acme", installation.Permissions, true)
	suspended, response, err := w.api.Repositories.Get(ctx, "acme", "web")
	expectStatus(t, 401)(suspended, response, err)
}

func TestCode(t *testing.T) {
	w := newWorld(t)
	topic, err := w.repo.Commit("feature/x", "bob", "topic", map[string]string{"a/b/c.txt": "c\n", "README.md": "two\nlines\n"})
	must(t, err)
	master, err := w.repo.Commit("master", "alice", "more", map[string]string{"d": "d\n"})
	must(t, err)

	file, _, _, err := w.api.Repositories.GetContents(ctx, "acme", "web", "a/b/c.txt", &github.RepositoryContentGetOptions{Ref: "feature/x"})
	must(t, err)
	content, err := file.GetContent()
	must(t, err)
	if content != "c\n" || file.GetPath() != "a/b/c.txt" {
		t.Fatalf("%q %v", content, file)
	}
	_, root, _, err := w.api.Repositories.GetContents(ctx, "acme", "web", "", nil)
	must(t, err)
	if len(root) != 3 || root[0].GetName() != "README.md" || root[2].GetType() != "dir" || root[2].GetName() != "deploy" {
		t.Fatalf("%v", root)
	}
	_, folder, _, err := w.api.Repositories.GetContents(ctx, "acme", "web", "deploy", &github.RepositoryContentGetOptions{Ref: w.first})
	must(t, err)
	if len(folder) != 1 || folder[0].GetPath() != "deploy/app.yaml" {
		t.Fatalf("%v", folder)
	}
	_, _, response, err := w.api.Repositories.GetContents(ctx, "acme", "web", "missing", nil)
	expectStatus(t, 404)(nil, response, err)

	commit, _, err := w.api.Repositories.GetCommit(ctx, "acme", "web", topic, nil)
	must(t, err)
	if commit.GetAuthor().GetLogin() != "bob" || len(commit.Files) != 2 || commit.GetStats().GetAdditions() != 3 {
		t.Fatalf("%v", commit)
	}
	bad, response, err := w.api.Repositories.GetCommit(ctx, "acme", "web", "HEAD~1", nil)
	expectStatus(t, 422)(bad, response, err)

	comparison, _, err := w.api.Repositories.CompareCommits(ctx, "acme", "web", master, "feature/x", nil)
	must(t, err)
	if comparison.GetStatus() != "diverged" || comparison.GetAheadBy() != 1 || comparison.GetBehindBy() != 1 || comparison.GetMergeBaseCommit().GetSHA() != w.first {
		t.Fatalf("%v", comparison)
	}
	if commits, _, err := w.api.Repositories.ListCommits(ctx, "acme", "web", &github.CommitsListOptions{SHA: "feature/x"}); err != nil || len(commits) != 2 {
		t.Fatalf("%v %v", commits, err)
	}
	ref, _, err := w.api.Git.GetRef(ctx, "acme", "web", "heads/feature/x")
	must(t, err)
	if ref.GetObject().GetSHA() != topic {
		t.Fatalf("%v", ref)
	}
	w.repo.RequireChecks("master", "ci/test")
	var branch struct {
		Protected  bool
		Protection struct {
			Required struct{ Contexts []string } `json:"required_status_checks"`
		}
	}
	w.get("repos/acme/web/branches/master", &branch)
	if !branch.Protected || strings.Join(branch.Protection.Required.Contexts, ",") != "ci/test" {
		t.Fatalf("%v", branch)
	}
	_, _, err = w.api.Repositories.GetBranch(ctx, "acme", "web", "feature/x", 0)
	must(t, err)
	w.repo.AddRule("master", 7, "ci/lint")
	rules, _, err := w.api.Repositories.GetRulesForBranch(ctx, "acme", "web", "master")
	must(t, err)
	if len(rules) != 1 || rules[0].Type != "required_status_checks" {
		t.Fatalf("%v", rules)
	}
	if text, err := w.repo.ContentsAt(topic, "README.md"); err != nil || text != "two\nlines\n" {
		t.Fatalf("%q, %v", text, err)
	}
	repo, _, err := w.api.Repositories.Get(ctx, "acme", "web")
	must(t, err)
	if repo.GetDefaultBranch() != "master" || repo.GetCloneURL() != w.repo.CloneURL() || !repo.GetPrivate() {
		t.Fatalf("%v", repo)
	}
}

func TestActivity(t *testing.T) {
	now := &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w := newWorld(t, func(cfg *sim.GitHubConfig) { cfg.Now = now.Now })
	_, err := w.repo.Commit("topic", "bob", "one", map[string]string{"a": "1"})
	must(t, err)
	now.Advance(time.Second)
	_, err = w.repo.Commit("topic", "carol", "two", map[string]string{"a": "2"})
	must(t, err)
	now.Advance(time.Second)
	_, err = w.repo.ForcePush("topic", w.first, "bob")
	must(t, err)
	type entry struct {
		Before, After, Ref string
		Kind               string `json:"activity_type"`
		Timestamp          time.Time
		Actor              struct{ Login string }
	}
	list := func(query string) ([]entry, *github.Response) {
		t.Helper()
		var entries []entry
		response := w.get("repos/acme/web/activity?"+query, &entries)
		return entries, response
	}
	all, _ := list("ref=topic")
	var kinds []string
	for i, e := range all {
		kinds = append(kinds, e.Kind+" "+e.Actor.Login)
		if i > 0 && !all[i-1].Timestamp.After(e.Timestamp) {
			t.Errorf("not newest first: %v", all)
		}
	}
	if got := strings.Join(kinds, ", "); got != "force_push bob, push carol, branch_creation bob" {
		t.Fatal(got)
	}
	var paged []entry
	query := "ref=refs/heads/topic&per_page=2"
	for {
		entries, response := list(query)
		paged = append(paged, entries...)
		if response.After == "" {
			break
		}
		query = "ref=refs/heads/topic&per_page=2&after=" + url.QueryEscape(response.After)
	}
	if len(paged) != 3 {
		t.Fatalf("%d entries on pages, want 3", len(paged))
	}
	if force, _ := list("ref=topic&activity_type=force_push"); len(force) != 1 || force[0].After != w.first {
		t.Fatalf("%v", force)
	}
}

func TestPullRequests(t *testing.T) {
	w := newWorld(t)
	head, err := w.repo.Commit("topic", "bob", "change", map[string]string{"a": "1\n"})
	must(t, err)
	number, err := w.repo.OpenPullRequest("topic", "master", "bob", "A change")
	must(t, err)
	pull, _, err := w.api.PullRequests.Get(ctx, "acme", "web", number)
	must(t, err)
	if pull.Mergeable != nil || pull.GetMergeCommitSHA() != "" {
		t.Fatalf("GitHub knew at once: %v", pull)
	}
	pull, _, err = w.api.PullRequests.Get(ctx, "acme", "web", number)
	must(t, err)
	if pull.GetHead().GetSHA() != head || !pull.GetMergeable() || pull.GetChangedFiles() != 1 || pull.GetCommits() != 1 {
		t.Fatalf("%v", pull)
	}
	stale := pull.GetMergeCommitSHA()
	merge := mustGit(t, w.repo.GitDir(), "rev-parse", fmt.Sprintf("refs/pull/%d/merge^2", number))
	if merge != head || mustGit(t, w.repo.GitDir(), "rev-parse", fmt.Sprintf("refs/pull/%d/head", number)) != head {
		t.Fatalf("refs/pull: merge's second parent %s, head %s", merge, head)
	}
	_, err = w.repo.Commit("master", "alice", "conflict", map[string]string{"a": "2\n"})
	must(t, err)
	pull, _, err = w.api.PullRequests.Get(ctx, "acme", "web", number)
	must(t, err)
	if pull.Mergeable != nil || pull.GetMergeCommitSHA() != stale {
		t.Fatalf("the base moved: %v", pull)
	}
	pull, _, err = w.api.PullRequests.Get(ctx, "acme", "web", number)
	must(t, err)
	if pull.GetMergeable() || pull.GetMergeableState() != "dirty" {
		t.Fatalf("after a conflict: %v", pull)
	}
	if _, err := w.repo.MergePullRequest(number, "alice"); err == nil {
		t.Fatal("a conflict was merged")
	}
	if _, err := w.repo.ForcePush("topic", "master", "bob", sim.Change{Message: "again", Files: map[string]string{"b": "1\n"}}); err != nil {
		t.Fatal(err)
	}
	files, _, err := w.api.PullRequests.ListFiles(ctx, "acme", "web", number, nil)
	must(t, err)
	commits, _, err := w.api.PullRequests.ListCommits(ctx, "acme", "web", number, nil)
	must(t, err)
	if len(files) != 1 || files[0].GetFilename() != "b" || len(commits) != 1 {
		t.Fatalf("files %v, commits %v", files, commits)
	}
	topic := w.repo.Head("topic")
	merged, err := w.repo.MergePullRequest(number, "alice")
	must(t, err)
	pull, _, err = w.api.PullRequests.Get(ctx, "acme", "web", number)
	must(t, err)
	if !pull.GetMerged() || pull.GetMergedBy().GetLogin() != "alice" || pull.GetMergeCommitSHA() != merged || w.repo.Head("master") != merged {
		t.Fatalf("%v", pull)
	}
	for _, sha := range []string{merged, topic} {
		pulls, _, err := w.api.PullRequests.ListPullRequestsWithCommit(ctx, "acme", "web", sha, nil)
		must(t, err)
		if len(pulls) != 1 {
			t.Errorf("pull requests with %s: %v", sha, pulls)
		}
	}
	var actions []string
	for _, h := range w.hooks("pull_request") {
		event, err := github.ParseWebHook("pull_request", h.body)
		must(t, err)
		actions = append(actions, event.(*github.PullRequestEvent).GetAction())
	}
	if got := strings.Join(actions, ", "); got != "opened, synchronize, closed" {
		t.Fatal(got)
	}
	open, _, err := w.api.PullRequests.List(ctx, "acme", "web", nil)
	must(t, err)
	closed, _, err := w.api.PullRequests.List(ctx, "acme", "web", &github.PullRequestListOptions{State: "closed", Head: "acme:topic"})
	must(t, err)
	if len(open) != 0 || len(closed) != 1 {
		t.Fatalf("open %v, closed %v", open, closed)
	}
}

func TestForkPullRequest(t *testing.T) {
	w := newWorld(t)
	fork, err := w.repo.Fork("mallory")
	must(t, err)
	sha, err := fork.Commit("evil", "mallory", "change", map[string]string{"a": "1"})
	must(t, err)
	number, err := w.repo.OpenPullRequest("mallory:evil", "master", "mallory", "Trust me")
	must(t, err)
	pull, _, err := w.api.PullRequests.Get(ctx, "acme", "web", number)
	must(t, err)
	if pull.GetHead().GetSHA() != sha || pull.GetHead().GetRepo().GetFullName() != "mallory/web" || !pull.GetHead().GetRepo().GetFork() {
		t.Fatalf("%v", pull.GetHead())
	}
	// as on GitHub, the commit can be had from the base repository
	dir := t.TempDir()
	mustGit(t, dir, "init", "--quiet")
	mustGit(t, dir, "fetch", "--quiet", w.cloneURL("x-access-token", w.token(nil)), sha)
	comparison, _, err := w.api.Repositories.CompareCommits(ctx, "acme", "web", "master", "mallory:evil", nil)
	must(t, err)
	if comparison.GetAheadBy() != 1 {
		t.Fatalf("%v", comparison)
	}
	if _, err := fork.Commit("evil", "mallory", "more", map[string]string{"a": "2"}); err != nil {
		t.Fatal(err)
	}
	hooks := w.hooks("pull_request")
	must(t, w.repo.ClosePullRequest(number, "alice"))
	if after := w.hooks("pull_request"); len(after) != len(hooks)+1 {
		t.Fatal("closing it was not told")
	}
	event, err := github.ParseWebHook("pull_request", hooks[len(hooks)-1].body)
	must(t, err)
	if e := event.(*github.PullRequestEvent); e.GetAction() != "synchronize" || e.GetBefore() != sha || e.GetRepo().GetFullName() != "acme/web" {
		t.Fatalf("%v", e)
	}
	if len(w.hooks("push")) != 1 {
		t.Fatal("a push to the fork was told to the app")
	}
	forkRepo, response, err := w.api.Repositories.Get(ctx, "mallory", "web")
	expectStatus(t, 404)(forkRepo, response, err)
}

func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	var failing atomic.Bool
	failing.Store(true)
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if failing.Load() {
			http.Error(rw, "not now", http.StatusServiceUnavailable)
		}
	}))
	defer receiver.Close()
	w.hooks("push")
	w.gh.SetHook(receiver.URL, hookSecret)
	for i := range 4 {
		_, err := w.repo.Commit("master", "alice", "m", map[string]string{"n": fmt.Sprint(i)})
		must(t, err)
	}
	w.hooks("push")
	failing.Store(false)

	var all []*github.HookDelivery
	options := &github.ListCursorOptions{PerPage: 2}
	for {
		list, response, err := w.app.Apps.ListHookDeliveries(ctx, options)
		must(t, err)
		all = append(all, list...)
		if response.Cursor == "" {
			break
		}
		options.Cursor = response.Cursor
	}
	if len(all) != 6 || all[0].GetStatusCode() != 503 || all[5].GetStatusCode() != 202 { // create, then five pushes
		t.Fatalf("%v", all)
	}
	detail, _, err := w.app.Apps.GetHookDelivery(ctx, all[0].GetID())
	must(t, err)
	payload, err := detail.ParseRequestPayload()
	must(t, err)
	if payload.(*github.PushEvent).GetAfter() != w.repo.Head("master") || detail.Request.Headers["X-Github-Delivery"] != all[0].GetGUID() {
		t.Fatalf("%v", detail)
	}
	_, _, err = w.app.Apps.RedeliverHookDelivery(ctx, all[0].GetID())
	var accepted *github.AcceptedError
	if !errors.As(err, &accepted) {
		must(t, err)
	}
	w.hooks("push")
	attempts := w.gh.Deliveries()
	last := attempts[len(attempts)-1]
	if !last.Redelivery || last.GUID != all[0].GetGUID() || last.StatusCode != 200 || last.ID == all[0].GetID() {
		t.Fatalf("%+v", last)
	}
	config, _, err := w.app.Apps.GetHookConfig(ctx)
	must(t, err)
	if config.GetURL() != receiver.URL {
		t.Fatalf("%v", config)
	}

	w.gh.SetHook("http://127.0.0.1:1/", hookSecret)
	guid := w.gh.Deliver("push", []byte("not JSON"))
	w.hooks("push")
	attempts = w.gh.Deliveries()
	if last := attempts[len(attempts)-1]; last.GUID != guid || last.StatusCode != 502 {
		t.Fatalf("%+v", last)
	}
}

func TestDeliveryTimesOut(t *testing.T) {
	release := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer receiver.Close()
	defer close(release)
	w := newWorld(t, func(cfg *sim.GitHubConfig) { cfg.HookURL, cfg.HookTimeout = receiver.URL, 50*time.Millisecond })
	w.hooks("push")
	if d := w.gh.Deliveries()[0]; d.StatusCode != 504 || d.Status != "timed out" {
		t.Fatalf("%+v", d)
	}
}

func TestFormEncodedWebhook(t *testing.T) {
	w := newWorld(t, func(cfg *sim.GitHubConfig) { cfg.HookForm = true })
	h := w.hooks("push")[0]
	form, err := url.ParseQuery(string(h.body))
	must(t, err)
	if _, err := github.ParseWebHook("push", []byte(form.Get("payload"))); err != nil || h.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Fatalf("%v, %v", err, h.header)
	}
}

func TestFaults(t *testing.T) {
	w := newWorld(t)
	status := func() error {
		_, _, err := w.api.Repositories.CreateStatus(ctx, "acme", "web", w.first, &github.RepoStatus{State: github.String("pending")})
		return err
	}
	w.gh.Fail("POST", "*/statuses/*", 502, 1, 0)
	if err := status(); err == nil || !strings.Contains(err.Error(), "502") {
		t.Fatalf("got %v, want 502", err)
	}
	must(t, status())

	w.gh.Fail("", "*", 403, 1, 1500*time.Millisecond)
	var abuse *github.AbuseRateLimitError
	if err := status(); !errors.As(err, &abuse) || abuse.GetRetryAfter() != 2*time.Second {
		t.Fatalf("got %v, want a secondary rate limit", err)
	}
	w.api = w.installationClient(nil) // go-github waits by itself after that

	w.gh.Down(true)
	if err := status(); err == nil || !strings.Contains(err.Error(), "503") {
		t.Fatalf("got %v, want 503", err)
	}
	before := len(w.gh.Deliveries())
	_, err := w.repo.Commit("master", "alice", "while down", map[string]string{"x": "1"})
	must(t, err)
	w.gh.Recover()
	w.hooks("push")
	if len(w.gh.Deliveries()) <= before {
		t.Fatal("what happened while GitHub was down was never sent")
	}
	must(t, status())

	w.gh.SlowDown(time.Hour)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, _, err := w.api.Repositories.Get(short, "acme", "web"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want a timeout", err)
	}
}

func TestRateLimits(t *testing.T) {
	now := &clock{at: time.Now()}
	w := newWorld(t, func(cfg *sim.GitHubConfig) { cfg.SecondaryLimit, cfg.RateLimit, cfg.Now = true, 85, now.Now })
	status := func() (*github.RepoStatus, *github.Response, error) {
		return w.api.Repositories.CreateStatus(ctx, "acme", "web", w.first, &github.RepoStatus{State: github.String("pending")})
	}
	for range 80 {
		_, _, err := status()
		must(t, err)
	}
	var secondary *github.AbuseRateLimitError
	if _, _, err := status(); !errors.As(err, &secondary) || secondary.GetRetryAfter() != time.Minute {
		t.Fatalf("content 81 in a minute: %v", err)
	}
	now.Advance(time.Minute)
	w.api = w.installationClient(nil)
	_, _, err := status()
	must(t, err)

	var primary *github.RateLimitError
	for range 85 {
		_, _, err = w.api.Repositories.Get(ctx, "acme", "web")
	}
	if !errors.As(err, &primary) || primary.Rate.Limit != 85 || primary.Rate.Remaining != 0 {
		t.Fatalf("request 86 in an hour: %v", err)
	}
}

func TestPublicRepository(t *testing.T) {
	w := newWorld(t)
	open, err := w.gh.CreateRepo("other/open", sim.RepoOptions{Public: true, NotInstalled: true, DefaultBranch: "main"})
	must(t, err)
	sha, err := open.Commit("main", "bob", "first", map[string]string{"a": "1"})
	must(t, err)
	_, _, err = w.api.Repositories.Get(ctx, "other", "open")
	must(t, err)
	status, response, err := w.api.Repositories.CreateStatus(ctx, "other", "open", sha, &github.RepoStatus{State: github.String("pending")})
	expectStatus(t, 403)(status, response, err)
	mustGit(t, t.TempDir(), "clone", "--quiet", open.CloneURL(), ".")
	if out, err := git(t, t.TempDir(), "clone", w.repo.CloneURL(), "."); err == nil {
		t.Fatalf("a private repository was cloned without credentials: %s", out)
	}
}

// TestViolations shows that a request against GitHub's description does not pass
// unseen.
func TestViolations(t *testing.T) {
	gh, err := sim.NewGitHub(sim.GitHubConfig{Dir: t.TempDir()})
	must(t, err)
	must(t, gh.Start("127.0.0.1:0"))
	defer gh.Close()
	repo, err := gh.CreateRepo("acme/web", sim.RepoOptions{})
	must(t, err)
	sha, err := repo.Commit("master", "alice", "first", map[string]string{"a": "1"})
	must(t, err)
	w := &world{T: t, gh: gh, repo: repo}
	token := w.token(nil)
	for i, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/repos/acme/web/statuses/" + sha, `{"state":"running"}`, 422, "/state"},
		{"POST", "/api/v3/repos/acme/web/statuses/" + sha, `{"state":"pending","target":"x"}`, 422, "unknown body property target"},
		{"GET", "/repos/acme/web/activity?branch=master", "", 422, "unknown query parameter branch"},
		{"POST", "/repos/acme/web/check-runs", `{"name":"x","head_sha":"` + sha + `","actions":[` + strings.Repeat(`{"label":"l","description":"d","identifier":"i"},`, 3) + `{"label":"l","description":"d","identifier":"i"}]}`, 422, "/actions"},
		{"GET", "/repos/acme/web/teapots", "", 404, "no such operation"},
	} {
		request, err := http.NewRequest(test.method, gh.URL()+test.path, strings.NewReader(test.body))
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		must(t, err)
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		violations := gh.Violations()
		if response.StatusCode != test.status || len(violations) != i+1 || !strings.Contains(violations[i], test.want) {
			t.Errorf("%s %s: %d %s\nviolations %q", test.method, test.path, response.StatusCode, body, violations)
		}
	}
	if len(repo.Statuses(sha)) != 0 {
		t.Error("a request that violates the description had an effect")
	}
	if requests := gh.Requests(); requests[1].Path != "/repos/acme/web/statuses/"+sha || requests[1].Status != 422 || requests[1].Body != `{"state":"running"}` {
		t.Errorf("%+v", requests[1])
	}
}
