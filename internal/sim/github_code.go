package sim

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rawContent is a file's content, which is answered as it is.
type rawContent string

func (c *call) getRepo() (int, any) {
	o := c.gh.fullRepository(c.repo)
	if parent := c.repo.parent; parent != nil {
		o["parent"], o["source"] = c.gh.repositoryJSON(parent), c.gh.repositoryJSON(parent)
	}
	if c.repo.owner.Type == "Organization" {
		o["organization"] = c.gh.simpleUser(c.repo.owner)
	}
	return http.StatusOK, o
}

// listActivity pages by cursors, newest first unless asked otherwise.
func (c *call) listActivity() (int, any) {
	query := c.URL.Query()
	ref, actor, kind := query.Get("ref"), query.Get("actor"), query.Get("activity_type")
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	periods := map[string]time.Duration{"day": 24 * time.Hour, "week": 168 * time.Hour, "month": 720 * time.Hour, "quarter": 2160 * time.Hour, "year": 8760 * time.Hour}
	period, limited := periods[query.Get("time_period")]
	all := slices.DeleteFunc(slices.Clone(c.repo.activity), func(a activity) bool {
		return ref != "" && a.ref != ref || actor != "" && !strings.EqualFold(a.actor.Login, actor) || kind != "" && a.kind != kind ||
			limited && c.gh.now().Sub(a.at) > period
	})
	if query.Get("direction") != "asc" {
		slices.Reverse(all)
	}
	position := func(cursor string) int {
		return slices.IndexFunc(all, func(a activity) bool { return itoa(a.id) == cursor })
	}
	size := min(max(number(query.Get("per_page"), 30), 1), 100)
	from := position(query.Get("after")) + 1
	to := min(from+size, len(all))
	if cursor := query.Get("before"); cursor != "" {
		to = max(position(cursor), 0)
		from = max(to-size, 0)
	}
	if from > 0 {
		c.link(query, "before", map[string]string{"prev": itoa(all[from].id)})
	}
	previous := c.header.Get("Link")
	if to < len(all) {
		c.link(query, "after", map[string]string{"next": itoa(all[to-1].id)})
		if previous != "" {
			c.header.Set("Link", previous+", "+c.header.Get("Link"))
		}
	}
	answer := []object{}
	for _, a := range all[from:to] {
		answer = append(answer, object{
			"id": a.id, "node_id": nodeID("PSH", a.id), "before": a.before, "after": a.after, "ref": a.ref, "timestamp": a.at.Format(time.RFC3339),
			"activity_type": a.kind, "actor": c.gh.simpleUser(a.actor),
		})
	}
	return http.StatusOK, answer
}

func (c *call) getBranch() (int, any) {
	branch := c.params["branch"]
	sha := c.repo.refs["refs/heads/"+branch]
	if sha == "" {
		return c.fail(http.StatusNotFound, "Branch not found")
	}
	commits, err := c.repo.dir.log("-1", sha)
	if err != nil {
		return c.broken(err)
	}
	required, protected := c.repo.required[branch]
	contexts, checks := []string{}, []object{}
	for _, check := range required {
		contexts = append(contexts, check.Context)
		checks = append(checks, object{"context": check.Context, "app_id": nullableID(check.AppID)})
	}
	level := "off"
	if protected {
		level = "non_admins"
	}
	url := c.repo.api("/branches/", branch)
	return http.StatusOK, object{
		"name": branch, "commit": c.gh.commitJSON(c.repo, commits[0]), "_links": object{"html": c.repo.html("/tree/", branch), "self": url},
		"protected": protected || slices.ContainsFunc(c.repo.rules, func(r branchRule) bool { return r.branch == branch }),
		"protection": object{
			"enabled": protected, "required_status_checks": object{"enforcement_level": level, "contexts": contexts, "checks": checks},
		},
		"protection_url": url + "/protection",
	}
}

func (c *call) listRules() (int, any) {
	rules := []object{}
	for _, rule := range c.repo.rules {
		if rule.branch != c.params["branch"] {
			continue
		}
		checks := []object{}
		for _, check := range rule.checks {
			o := object{"context": check.Context}
			if check.AppID != 0 {
				o["integration_id"] = check.AppID
			}
			checks = append(checks, o)
		}
		rules = append(rules, object{
			"type": rule.kind, "ruleset_source_type": "Repository", "ruleset_source": c.repo.FullName(), "ruleset_id": c.repo.id,
			"parameters": object{"strict_required_status_checks_policy": false, "do_not_enforce_on_create": false, "required_status_checks": checks},
		})
	}
	return http.StatusOK, page(c, rules)
}

func (c *call) noCommit(ref string) (int, any) {
	return c.fail(http.StatusUnprocessableEntity, "No commit found for SHA: "+ref)
}

func (c *call) listCommits() (int, any) {
	query := c.URL.Query()
	sha, err := c.repo.dir.commit(cmp.Or(query.Get("sha"), c.repo.defaultBranch))
	if err != nil {
		return c.notFound()
	}
	args := []string{"-1000", sha}
	if folder := query.Get("path"); folder != "" {
		args = append(args, "--", folder)
	}
	commits, err := c.repo.dir.log(args...)
	if err != nil {
		return c.broken(err)
	}
	all := []object{}
	for _, commit := range page(c, commits) {
		all = append(all, c.gh.commitJSON(c.repo, commit))
	}
	return http.StatusOK, all
}

func (c *call) getCommit() (int, any) {
	sha, err := c.repo.dir.commit(c.params["ref"])
	if err != nil {
		return c.noCommit(c.params["ref"])
	}
	if strings.Contains(c.Header.Get("Accept"), "application/vnd.github.sha") {
		return http.StatusOK, rawContent(sha)
	}
	commits, err := c.repo.dir.log("-1", sha)
	if err != nil {
		return c.broken(err)
	}
	parent := emptyTree
	if len(commits[0].Parents) > 0 {
		parent = commits[0].Parents[0]
	}
	diffs, err := c.repo.dir.diff(parent, sha)
	if err != nil {
		return c.broken(err)
	}
	additions, deletions := 0, 0
	for _, d := range diffs {
		additions, deletions = additions+d.Additions, deletions+d.Deletions
	}
	o := c.gh.commitJSON(c.repo, commits[0])
	o["stats"] = object{"additions": additions, "deletions": deletions, "total": additions + deletions}
	o["files"] = page(c, c.gh.diffJSON(c.repo, sha, diffs))
	return http.StatusOK, o
}

// resolve finds one side of a comparison, which may be OWNER:BRANCH of a fork.
func (c *call) resolve(side string) (string, error) {
	owner, branch, ok := strings.Cut(side, ":")
	if !ok || strings.EqualFold(owner, c.repo.owner.Login) {
		return c.repo.dir.commit(cmp.Or(branch, side))
	}
	for _, fork := range c.gh.sortedRepos() {
		if fork.parent == c.repo && strings.EqualFold(fork.owner.Login, owner) {
			sha, err := fork.dir.commit(branch)
			if err != nil {
				return "", err
			}
			_, err = c.repo.dir.run("fetch", "--quiet", string(fork.dir), sha)
			return sha, err
		}
	}
	return "", errNoCommit
}

func (c *call) compare() (int, any) {
	baseName, headName, ok := strings.Cut(c.params["basehead"], "...")
	if !ok {
		return c.notFound()
	}
	base, err := c.resolve(baseName)
	if err != nil {
		return c.notFound()
	}
	head, err := c.resolve(headName)
	if err != nil {
		return c.notFound()
	}
	mergeBase, err := c.repo.dir.mergeBase(base, head)
	if err != nil {
		return c.fail(http.StatusNotFound, "No common ancestor between "+baseName+" and "+headName+".")
	}
	ahead, err1 := c.repo.dir.log(head, "^"+base)
	behind, err2 := c.repo.dir.count(base, "^"+head)
	heads, err3 := c.repo.dir.log("--no-walk=unsorted", base, mergeBase)
	diffs, err4 := c.repo.dir.diff(mergeBase, head)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return c.broken(err)
	}
	slices.Reverse(ahead)
	commits := []object{}
	for _, commit := range page(c, ahead) {
		commits = append(commits, c.gh.commitJSON(c.repo, commit))
	}
	status := "identical"
	switch {
	case len(ahead) > 0 && behind > 0:
		status = "diverged"
	case len(ahead) > 0:
		status = "ahead"
	case behind > 0:
		status = "behind"
	}
	html := c.repo.html("/compare/", c.params["basehead"])
	return http.StatusOK, object{
		"url": c.repo.api("/compare/", c.params["basehead"]), "html_url": html, "permalink_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"base_commit": c.gh.commitJSON(c.repo, heads[0]), "merge_base_commit": c.gh.commitJSON(c.repo, heads[len(heads)-1]), "status": status,
		"ahead_by": len(ahead), "behind_by": behind, "total_commits": len(ahead), "commits": commits, "files": c.gh.diffJSON(c.repo, head, diffs[:min(len(diffs), 300)]),
	}
}

func (c *call) getRef() (int, any) {
	ref := "refs/" + c.params["ref"]
	sha := c.repo.refs[ref]
	if sha == "" && strings.HasPrefix(ref, "refs/pull/") {
		sha, _ = c.repo.dir.commit(ref) // none: not found, below
	}
	if sha == "" {
		return c.notFound()
	}
	kind, err := c.repo.dir.run("cat-file", "-t", sha)
	if err != nil {
		return c.broken(err)
	}
	kind = strings.TrimSpace(kind)
	return http.StatusOK, object{
		"ref": ref, "node_id": nodeID(ref, c.repo.id), "url": c.repo.api("/git/", ref),
		"object": object{"type": kind, "sha": sha, "url": c.repo.api("/git/", kind, "s/", sha)},
	}
}

// getContents lists a folder or gives a file; above 1 MiB the content is left
// out, and there is none above 100 MiB.
func (c *call) getContents() (int, any) {
	ref := cmp.Or(c.URL.Query().Get("ref"), c.repo.defaultBranch)
	commit, err := c.repo.dir.commit(ref)
	if err != nil && len(c.repo.refs) == 0 {
		return c.fail(http.StatusNotFound, "This repository is empty.")
	}
	if err != nil {
		return c.fail(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	name := strings.Trim(path.Clean("/"+c.params["path"]), "/")
	var entry gitEntry
	if name != "" {
		found, err := c.repo.dir.entries(commit, name)
		if err != nil {
			return c.broken(err)
		}
		if len(found) != 1 {
			return c.notFound()
		}
		entry = found[0]
	}
	raw := strings.Contains(c.Header.Get("Accept"), "application/vnd.github.raw")
	if name == "" || entry.Kind == "tree" {
		if name != "" {
			name += "/"
		}
		entries, err := c.repo.dir.entries(commit, name)
		if err != nil {
			return c.broken(err)
		}
		answer := []object{}
		for _, e := range entries {
			answer = append(answer, c.entryJSON(e, ref))
		}
		return http.StatusOK, answer
	}
	o := c.entryJSON(entry, ref)
	switch o["type"] {
	case "submodule":
		o["submodule_git_url"] = nil
		if modules, err := c.repo.dir.run("config", "--blob", commit+":.gitmodules", "--get-regexp", `^submodule\..*\.(path|url)$`); err == nil {
			o["submodule_git_url"] = submoduleURL(modules, entry.Path)
		}
		return http.StatusOK, o
	case "symlink":
		target, err := c.repo.dir.blob(entry.SHA)
		if err != nil {
			return c.broken(err)
		}
		o["target"] = target
		return http.StatusOK, o
	}
	if entry.Size > 100<<20 {
		return c.fail(http.StatusForbidden, "This API returns blobs up to 100 MB in size.")
	}
	content, err := c.repo.dir.blob(entry.SHA)
	if err != nil {
		return c.broken(err)
	}
	if raw {
		return http.StatusOK, rawContent(content)
	}
	o["encoding"], o["content"] = "base64", wrapped(base64.StdEncoding.EncodeToString([]byte(content)))
	if entry.Size > 1<<20 {
		o["encoding"], o["content"] = "none", ""
	}
	return http.StatusOK, o
}

// wrapped breaks lines after 60 characters, as GitHub does.
func wrapped(s string) string {
	var b strings.Builder
	for len(s) > 60 {
		b.WriteString(s[:60] + "\n")
		s = s[60:]
	}
	b.WriteString(s + "\n")
	return b.String()
}

// submoduleURL finds the address of the submodule at the path in the output of
// git config.
func submoduleURL(modules, at string) any {
	for line := range strings.Lines(modules) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name, ok := strings.CutSuffix(key, ".path"); ok && value == at {
			for line := range strings.Lines(modules) {
				if url, ok := strings.CutPrefix(strings.TrimSpace(line), name+".url "); ok {
					return url
				}
			}
		}
	}
	return nil
}

func (c *call) entryJSON(e gitEntry, ref string) object {
	kind := "file"
	switch {
	case e.Kind == "tree":
		kind = "dir"
	case e.Kind == "commit":
		kind = "submodule"
	case e.Mode == "120000":
		kind = "symlink"
	}
	self, html := c.repo.api("/contents/", e.Path, "?ref=", ref), c.repo.html("/blob/", ref, "/", e.Path)
	git := c.repo.api("/git/blobs/", e.SHA)
	o := object{
		"type": kind, "size": e.Size, "name": path.Base(e.Path), "path": e.Path, "sha": e.SHA, "url": self, "git_url": git, "html_url": html,
		"download_url": c.repo.html("/raw/", ref, "/", e.Path), "_links": object{"self": self, "git": git, "html": html},
	}
	if kind == "dir" || kind == "submodule" {
		o["download_url"] = nil
	}
	return o
}

// ContentsAt is a file's content at a commit, for tests.
func (repo *Repo) ContentsAt(commit, file string) (string, error) {
	defer repo.lock()()
	sha, err := repo.dir.commit(commit)
	if err != nil {
		return "", err
	}
	content, err := repo.dir.run("show", sha+":"+file)
	if err != nil {
		return "", fmt.Errorf("%s at %s: %w", file, strconv.Quote(commit), err)
	}
	return content, nil
}
