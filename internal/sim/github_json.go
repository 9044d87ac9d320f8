package sim

import (
	"maps"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object of the API. The forms are those of GitHub's REST API
// documentation; every answer is checked against its OpenAPI description.
type object = map[string]any

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func nullableTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Format(time.RFC3339)
}

// list never is null in JSON.
func list(items []string) []string {
	if items == nil {
		return []string{}
	}
	return items
}

// api is an address of the REST API. mu is held.
func (gh *GitHub) api(parts ...string) string { return gh.url + "/api/v3" + strings.Join(parts, "") }

func (repo *Repo) api(parts ...string) string {
	return repo.gh.api("/repos/", repo.FullName(), strings.Join(parts, ""))
}

func (repo *Repo) html(parts ...string) string {
	return repo.gh.url + "/" + repo.FullName() + strings.Join(parts, "")
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func (gh *GitHub) simpleUser(a *account) object {
	url := gh.api("/users/", a.Login)
	return object{
		"login": a.Login, "id": a.ID, "node_id": nodeID("User", a.ID), "avatar_url": gh.url + "/avatars/" + itoa(a.ID), "gravatar_id": "",
		"url": url, "html_url": gh.url + "/" + a.Login, "followers_url": url + "/followers", "following_url": url + "/following{/other_user}",
		"gists_url": url + "/gists{/gist_id}", "starred_url": url + "/starred{/owner}{/repo}", "subscriptions_url": url + "/subscriptions",
		"organizations_url": url + "/orgs", "repos_url": url + "/repos", "events_url": url + "/events{/privacy}",
		"received_events_url": url + "/received_events", "type": a.Type, "site_admin": false, "user_view_type": "public",
	}
}

func (gh *GitHub) organization(a *account) object {
	url := gh.api("/orgs/", a.Login)
	return object{
		"login": a.Login, "id": a.ID, "node_id": nodeID("Organization", a.ID), "url": url, "repos_url": url + "/repos", "events_url": url + "/events",
		"hooks_url": url + "/hooks", "issues_url": url + "/issues", "members_url": url + "/members{/member}",
		"public_members_url": url + "/public_members{/member}", "avatar_url": gh.url + "/avatars/" + itoa(a.ID), "description": nil,
	}
}

// repositoryURLs are a repository's fields that are addresses below its own.
var repositoryURLs = map[string]string{
	"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}",
	"branches_url": "/branches{/branch}", "collaborators_url": "/collaborators{/collaborator}", "comments_url": "/comments{/number}",
	"commits_url": "/commits{/sha}", "compare_url": "/compare/{base}...{head}", "contents_url": "/contents/{+path}",
	"contributors_url": "/contributors", "deployments_url": "/deployments", "downloads_url": "/downloads", "events_url": "/events",
	"forks_url": "/forks", "git_commits_url": "/git/commits{/sha}", "git_refs_url": "/git/refs{/sha}", "git_tags_url": "/git/tags{/sha}",
	"hooks_url": "/hooks", "issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
	"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}", "languages_url": "/languages",
	"merges_url": "/merges", "milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}",
	"pulls_url": "/pulls{/number}", "releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}",
	"subscribers_url": "/subscribers", "subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams", "trees_url": "/git/trees{/sha}",
}

func (gh *GitHub) minimalRepository(repo *Repo) object {
	o := object{
		"id": repo.id, "node_id": nodeID("Repository", repo.id), "name": repo.name, "full_name": repo.FullName(), "owner": gh.simpleUser(repo.owner),
		"private": repo.private, "html_url": repo.html(), "description": nullable(repo.description), "fork": repo.parent != nil, "url": repo.api(),
	}
	for name, path := range repositoryURLs {
		o[name] = repo.api(path)
	}
	return o
}

func (gh *GitHub) fullRepository(repo *Repo) object {
	o := gh.minimalRepository(repo)
	visibility := "public"
	if repo.private {
		visibility = "private"
	}
	pushed := repo.pushed
	if pushed.IsZero() {
		pushed = repo.created
	}
	maps.Copy(o, object{
		"git_url": "git://" + strings.TrimPrefix(repo.html(".git"), "http://"), "ssh_url": "git@github.com:" + repo.FullName() + ".git",
		"clone_url": repo.html(".git"), "svn_url": repo.html(), "mirror_url": nil, "homepage": nil, "language": nil, "license": nil,
		"forks_count": 0, "stargazers_count": 0, "watchers_count": 0, "forks": 0, "open_issues": 0, "watchers": 0, "open_issues_count": 0,
		"subscribers_count": 0, "network_count": 0, "size": 1, "default_branch": repo.defaultBranch, "topics": []string{}, "visibility": visibility,
		"has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false, "has_downloads": true, "has_discussions": false,
		"archived": false, "disabled": false, "allow_forking": true, "is_template": false, "web_commit_signoff_required": false,
		"created_at": nullableTime(repo.created), "updated_at": nullableTime(repo.created), "pushed_at": nullableTime(pushed),
	})
	return o
}

// repositoryJSON is the form in lists of an installation's repositories.
func (gh *GitHub) repositoryJSON(repo *Repo) object {
	o := gh.fullRepository(repo)
	delete(o, "subscribers_count")
	delete(o, "network_count")
	return o
}

// pushRepository is the repository as push events have it: some times are Unix
// seconds there.
func (gh *GitHub) pushRepository(repo *Repo) object {
	o := gh.fullRepository(repo)
	o["created_at"], o["pushed_at"] = repo.created.Unix(), repo.pushed.Unix()
	o["master_branch"], o["stargazers"] = repo.defaultBranch, 0
	owner := gh.simpleUser(repo.owner)
	owner["name"], owner["email"] = repo.owner.Login, nil
	o["owner"] = owner
	if repo.owner.Type == "Organization" {
		o["organization"] = repo.owner.Login
	}
	return o
}

func (gh *GitHub) app() object {
	owner := gh.account(gh.cfg.Slug + "[bot]")
	if len(gh.installations) > 0 {
		owner = gh.installations[0].account
	}
	return object{
		"id": gh.cfg.AppID, "slug": gh.cfg.Slug, "client_id": gh.clientID(), "node_id": nodeID("App", gh.cfg.AppID),
		"owner": gh.simpleUser(owner), "name": gh.cfg.Slug, "description": nil, "external_url": "https://shipmate.example", "html_url": gh.url + "/apps/" + gh.cfg.Slug,
		"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z", "permissions": gh.cfg.Permissions, "events": gh.cfg.Events,
	}
}

func (gh *GitHub) clientID() string { return "Iv1." + itoa(gh.cfg.AppID) }

func (gh *GitHub) bot() *account { return gh.account(gh.cfg.Slug + "[bot]") }

func (gh *GitHub) installationJSON(i *Installation) object {
	selection := "all"
	for _, repo := range gh.repos {
		if repo.owner == i.account && !repo.installed {
			selection = "selected"
		}
	}
	o := object{
		"id": i.ID, "account": gh.simpleUser(i.account), "repository_selection": selection,
		"access_tokens_url": gh.api("/app/installations/", itoa(i.ID), "/access_tokens"), "repositories_url": gh.api("/installation/repositories"),
		"html_url": gh.url + "/organizations/" + i.Account + "/settings/installations/" + itoa(i.ID), "app_id": gh.cfg.AppID,
		"target_id": i.account.ID, "target_type": i.account.Type, "permissions": i.Permissions, "events": gh.cfg.Events,
		"created_at": nullableTime(i.created), "updated_at": nullableTime(i.created), "single_file_name": nil, "app_slug": gh.cfg.Slug,
		"suspended_by": nil, "suspended_at": nil,
	}
	if i.Suspended {
		o["suspended_by"], o["suspended_at"] = gh.simpleUser(i.account), nullableTime(gh.now())
	}
	return o
}

func (gh *GitHub) commitJSON(repo *Repo, c gitCommit) object {
	person := func(p gitPerson) object {
		return object{"name": p.Name, "email": p.Email, "date": p.Date.Format(time.RFC3339)}
	}
	user := func(p gitPerson) any {
		if a := gh.committer(p.Email); a != nil {
			return gh.simpleUser(a)
		}
		return nil
	}
	parents := []object{}
	for _, sha := range c.Parents {
		parents = append(parents, object{"sha": sha, "url": repo.api("/commits/", sha), "html_url": repo.html("/commit/", sha)})
	}
	url := repo.api("/commits/", c.SHA)
	return object{
		"url": url, "sha": c.SHA, "node_id": nodeID("Commit:"+c.SHA, repo.id), "html_url": repo.html("/commit/", c.SHA), "comments_url": url + "/comments",
		"author": user(c.Author), "committer": user(c.Committer), "parents": parents,
		"commit": object{
			"url": repo.api("/git/commits/", c.SHA), "author": person(c.Author), "committer": person(c.Committer), "message": c.Message, "comment_count": 0,
			"tree":         object{"sha": c.Tree, "url": repo.api("/git/trees/", c.Tree)},
			"verification": object{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil},
		},
	}
}

func (gh *GitHub) diffJSON(repo *Repo, sha string, diffs []gitDiff) []object {
	files := []object{}
	for _, d := range diffs {
		files = append(files, object{
			"sha": d.Blob, "filename": d.Path, "status": d.Status, "additions": d.Additions, "deletions": d.Deletions, "changes": d.Additions + d.Deletions,
			"blob_url": repo.html("/blob/", sha, "/", d.Path), "raw_url": repo.html("/raw/", sha, "/", d.Path),
			"contents_url": repo.api("/contents/", d.Path, "?ref=", sha),
		})
	}
	return files
}
