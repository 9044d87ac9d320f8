package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Repo is a repository of the simulated GitHub. Its methods may be called at any
// time from any goroutine.
type Repo struct {
	gh            *GitHub
	id            int64
	owner         *account
	name          string
	description   string
	private       bool
	installed     bool
	defaultBranch string
	created       time.Time
	pushed        time.Time
	dir           gitDir
	lfs           map[string]string // objects by oid
	parent        *Repo             // of a fork
	refs          map[string]string // as last seen
	activity      []activity        // oldest first
	permissions   map[string]permission
	required      map[string][]requiredCheck // by branch
	rules         []branchRule
	lastNumber    int
	issues        map[int]*issue // pull requests too
	comments      []*comment     // oldest first
	statuses      []*Status      // oldest first
	checkRuns     []*CheckRun
	deployments   []*Deployment
}

type activity struct {
	id                       int64
	before, after, ref, kind string
	at                       time.Time
	actor                    *account
}

// permission is what a person may do: level is read, triage, write, maintain or
// admin; role is the same or the name of a custom role.
type permission struct{ level, role string }

type requiredCheck struct {
	Context string
	AppID   int64 // 0: any
}

type branchRule struct {
	branch, kind string
	checks       []requiredCheck
}

// FullName is owner/name.
func (repo *Repo) FullName() string { return repo.owner.Login + "/" + repo.name }

// ID is the repository's id, which stays when it is renamed.
func (repo *Repo) ID() int64 { return repo.id }

// CloneURL is the address for git over HTTP, without credentials.
func (repo *Repo) CloneURL() string { return repo.gh.URL() + "/" + repo.FullName() + ".git" }

// GitDir is the path of the bare repository.
func (repo *Repo) GitDir() string { return string(repo.dir) }

func (repo *Repo) lock() func() {
	repo.gh.mu.Lock()
	return repo.gh.mu.Unlock
}

// SetInstalled gives the app access to the repository, or takes it.
func (repo *Repo) SetInstalled(installed bool) {
	defer repo.lock()()
	repo.installed = installed
}

// SetPermission says what the person may do: level is read, triage, write,
// maintain or admin ("" or none: nothing of their own); role is the name of a
// custom role that extends the level, or empty.
func (repo *Repo) SetPermission(login, level, role string) {
	defer repo.lock()()
	a := repo.gh.addAccount(login, "User")
	key := strings.ToLower(a.Login)
	before, had := repo.permissions[key]
	now := permission{level, cmp.Or(role, level)}
	change := func(action string, changes object) {
		o := object{"member": repo.gh.simpleUser(a)}
		if changes != nil {
			o["changes"] = changes
		}
		repo.gh.send("member", action, repo, repo.owner, o)
	}
	switch {
	case level == "" || level == "none":
		if delete(repo.permissions, key); had {
			change("removed", nil)
		}
		return
	case !had:
		change("added", object{"permission": object{"to": legacy(level)}, "role_name": object{"to": now.role}})
	case now != before:
		change("edited", object{"permission": object{"from": legacy(before.level), "to": legacy(level)}})
	}
	repo.permissions[key] = now
}

// SetPublic lets everybody read the repository, or not.
func (repo *Repo) SetPublic(public bool) {
	defer repo.lock()()
	repo.private = !public
}

var levels = []string{"none", "read", "triage", "write", "maintain", "admin"}

// permission of an account, as it results. mu is held.
func (repo *Repo) permission(a *account) permission {
	if a == repo.owner {
		return permission{"admin", "admin"}
	}
	if p, ok := repo.permissions[strings.ToLower(a.Login)]; ok {
		return p
	}
	if !repo.private {
		return permission{"read", "read"}
	}
	return permission{"none", "none"}
}

func (repo *Repo) may(a *account, level string) bool {
	return slices.Index(levels, repo.permission(a).level) >= slices.Index(levels, level)
}

// RequireChecks protects the branch: these status contexts or check runs must be
// green before merging. It is the classic branch protection.
func (repo *Repo) RequireChecks(branch string, contexts ...string) {
	defer repo.lock()()
	repo.required[branch] = nil
	for _, context := range contexts {
		repo.required[branch] = append(repo.required[branch], requiredCheck{Context: context})
	}
}

// AddRule adds a ruleset's required_status_checks rule for the branch. appID is
// the expected source of the checks, 0 for any.
func (repo *Repo) AddRule(branch string, appID int64, contexts ...string) {
	defer repo.lock()()
	rule := branchRule{branch: branch, kind: "required_status_checks"}
	for _, context := range contexts {
		rule.checks = append(rule.checks, requiredCheck{context, appID})
	}
	repo.rules = append(repo.rules, rule)
}

// Change is one commit to be made.
type Change struct {
	Author  string // login, or the address of somebody whom GitHub does not know
	Message string
	Files   map[string]string // path → content, or Deleted
}

// Commit makes one commit on the branch, which begins at the default branch's
// head where it does not exist, and pushes it as the author. It returns the SHA.
func (repo *Repo) Commit(branch, author, message string, files map[string]string) (string, error) {
	return repo.Push(branch, author, Change{Author: author, Message: message, Files: files})
}

// Push makes the commits on the branch and pushes them at once, as pusher.
func (repo *Repo) Push(branch, pusher string, changes ...Change) (string, error) {
	defer repo.lock()()
	parent := cmp.Or(repo.refs["refs/heads/"+branch], repo.refs["refs/heads/"+repo.defaultBranch])
	return repo.push(branch, parent, pusher, changes)
}

// ForcePush replaces the branch's commits: it makes the commits on top of base (a
// SHA, branch or tag) and pushes them, as pusher. Without changes the branch is
// moved to base.
func (repo *Repo) ForcePush(branch, base, pusher string, changes ...Change) (string, error) {
	defer repo.lock()()
	parent, err := repo.dir.commit(base)
	if err != nil {
		return "", fmt.Errorf("force-push %s: %w", branch, err)
	}
	return repo.push(branch, parent, pusher, changes)
}

func (repo *Repo) push(branch, parent, pusher string, changes []Change) (string, error) {
	sha := parent
	for _, change := range changes {
		author := repo.gh.person(cmp.Or(change.Author, pusher))
		next, err := repo.dir.write(sha, author, change.Message, change.Files)
		if err != nil {
			return "", fmt.Errorf("push %s: %w", branch, err)
		}
		sha = next
	}
	ref := "refs/heads/" + branch
	if err := repo.dir.moveRef(ref, sha, cmp.Or(repo.refs[ref], zeroSHA)); err != nil {
		return "", fmt.Errorf("push %s: %w", branch, err)
	}
	return sha, repo.refsChanged(repo.gh.addAccount(pusher, "User"), "")
}

// person is how an account stands in a commit; an email address instead of a login is somebody whom GitHub does not know. mu
// is held.
func (gh *GitHub) person(login string) gitPerson {
	if name, _, ok := strings.Cut(login, "@"); ok {
		return gitPerson{Name: name, Email: login, Date: gh.now()}
	}
	a := gh.addAccount(login, "User")
	return gitPerson{Name: a.Login, Email: a.Login + "@users.noreply.github.com", Date: gh.now()}
}

// committer is the account that an email address in a commit belongs to, or nil.
func (gh *GitHub) committer(email string) *account {
	login, ok := strings.CutSuffix(email, "@users.noreply.github.com")
	if !ok {
		return nil
	}
	return gh.account(login)
}

// DeleteBranch deletes the branch, as the person.
func (repo *Repo) DeleteBranch(branch, login string) error {
	defer repo.lock()()
	if repo.refs["refs/heads/"+branch] == "" {
		return fmt.Errorf("delete branch %s: it does not exist", branch)
	}
	if err := repo.dir.deleteRef("refs/heads/" + branch); err != nil {
		return err
	}
	return repo.refsChanged(repo.gh.addAccount(login, "User"), "")
}

// Tag pushes a lightweight tag at the commit (a SHA, branch or tag), as the person.
func (repo *Repo) Tag(tag, commit, login string) error {
	defer repo.lock()()
	sha, err := repo.dir.commit(commit)
	if err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	if err := repo.dir.setRef("refs/tags/"+tag, sha); err != nil {
		return err
	}
	return repo.refsChanged(repo.gh.addAccount(login, "User"), "")
}

// TagAnnotated pushes a tag with a message, which is an object of its own, as the person. One that exists is moved.
func (repo *Repo) TagAnnotated(tag, commit, login, message string) error {
	defer repo.lock()()
	sha, err := repo.dir.commit(commit)
	if err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	if _, err := repo.dir.run("tag", "--force", "--annotate", "--message", message, "--", tag, sha); err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	return repo.refsChanged(repo.gh.addAccount(login, "User"), "")
}

// DeleteTag deletes the tag, as the person.
func (repo *Repo) DeleteTag(tag, login string) error {
	defer repo.lock()()
	if repo.refs["refs/tags/"+tag] == "" {
		return fmt.Errorf("delete tag %s: it does not exist", tag)
	}
	if err := repo.dir.deleteRef("refs/tags/" + tag); err != nil {
		return err
	}
	return repo.refsChanged(repo.gh.addAccount(login, "User"), "")
}

// Head is the SHA of a branch, "" where there is none.
func (repo *Repo) Head(branch string) string {
	defer repo.lock()()
	return repo.refs["refs/heads/"+branch]
}

// Fork makes the person's fork, which has the repository's name, and to which the
// app has no access.
func (repo *Repo) Fork(login string) (*Repo, error) {
	defer repo.lock()()
	fork, err := repo.gh.createRepo(login+"/"+repo.name, RepoOptions{
		Public: !repo.private, DefaultBranch: repo.defaultBranch, PersonalOwner: true, NotInstalled: true,
	})
	if err != nil {
		return nil, err
	}
	fork.parent = repo
	if _, err := fork.dir.run("fetch", "--quiet", string(repo.dir), "+refs/heads/*:refs/heads/*"); err != nil {
		return nil, fmt.Errorf("fork %s: %w", repo.FullName(), err)
	}
	fork.refs, err = fork.dir.refs()
	return fork, err
}

// refsChanged finds which branches and tags have moved since it was last called,
// and does what GitHub does for each: it records the activity, keeps pull
// requests' refs, and sends webhooks. kind is the activity where it is known
// better (pr_merge). mu is held.
func (repo *Repo) refsChanged(actor *account, kind string) error {
	after, err := repo.dir.refs()
	if err != nil {
		return err
	}
	before := repo.refs
	repo.refs = after
	names := slices.Sorted(maps.Keys(before))
	for name := range after {
		if before[name] == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if before[name] == after[name] {
			continue
		}
		if err := repo.refMoved(actor, name, cmp.Or(before[name], zeroSHA), cmp.Or(after[name], zeroSHA), kind, before); err != nil {
			return fmt.Errorf("%s %s: %w", repo.FullName(), name, err)
		}
	}
	return nil
}

func (repo *Repo) refMoved(actor *account, ref, before, after, kind string, known map[string]string) error {
	created, deleted := before == zeroSHA, after == zeroSHA
	forced := !created && !deleted && !repo.dir.isAncestor(before, after)
	repo.pushed = repo.gh.now()
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	if isBranch {
		switch {
		case created:
			kind = "branch_creation"
		case deleted:
			kind = "branch_deletion"
		case forced:
			kind = "force_push"
		}
		repo.activity = append(repo.activity, activity{
			id: repo.gh.id(), before: before, after: after, ref: ref, kind: cmp.Or(kind, "push"), at: repo.gh.now(), actor: actor,
		})
	}
	payload, err := repo.pushPayload(actor, ref, before, after, forced, known)
	if err != nil {
		return err
	}
	short := cmp.Or(branch, strings.TrimPrefix(ref, "refs/tags/"))
	refType := "tag"
	if isBranch {
		refType = "branch"
	}
	if created {
		repo.gh.send("create", "", repo, actor, object{
			"ref": short, "ref_type": refType, "master_branch": repo.defaultBranch, "description": nullable(repo.description), "pusher_type": "user",
		})
	}
	repo.gh.send("push", "", repo, actor, payload)
	if deleted {
		repo.gh.send("delete", "", repo, actor, object{"ref": short, "ref_type": refType, "pusher_type": "user"})
	}
	if isBranch {
		return repo.gh.branchMoved(repo, actor, branch, before, after)
	}
	return nil
}

// pushPayload is the payload of GitHub's push event, of which a push to a new
// branch has only the commits that no other branch had.
func (repo *Repo) pushPayload(actor *account, ref, before, after string, forced bool, known map[string]string) (object, error) {
	created, deleted := before == zeroSHA, after == zeroSHA
	html := repo.gh.url + "/" + repo.FullName()
	payload := object{
		"ref": ref, "before": before, "after": after, "created": created, "deleted": deleted, "forced": forced, "base_ref": nil,
		"compare": fmt.Sprintf("%s/compare/%.12s...%.12s", html, before, after), "commits": []any{}, "head_commit": nil,
		"pusher":     object{"name": actor.Login, "email": actor.Login + "@users.noreply.github.com"},
		"repository": repo.gh.pushRepository(repo),
	}
	if deleted {
		payload["compare"] = fmt.Sprintf("%s/compare/%.12s...%.12s", html, before, zeroSHA)
		return payload, nil
	}
	head, err := repo.dir.log("-1", after)
	if err != nil {
		return nil, err
	}
	payload["head_commit"] = repo.pushCommit(head[0])
	if strings.HasPrefix(ref, "refs/tags/") {
		payload["compare"] = html + "/compare/" + strings.TrimPrefix(ref, "refs/tags/")
		for _, name := range slices.Sorted(maps.Keys(repo.refs)) {
			if strings.HasPrefix(name, "refs/heads/") && repo.refs[name] == after {
				payload["base_ref"] = name
				break
			}
		}
		return payload, nil
	}
	args := []string{fmt.Sprintf("-%d", repo.gh.cfg.PushCommits), after, "^" + before}
	if created {
		payload["compare"] = html + "/compare/" + strings.TrimPrefix(ref, "refs/heads/")
		args = args[:2]
		for _, name := range slices.Sorted(maps.Keys(known)) {
			if known[name] == after && strings.HasPrefix(name, "refs/heads/") && payload["base_ref"] == nil {
				payload["base_ref"] = name
			}
			args = append(args, "^"+known[name])
		}
	}
	commits, err := repo.dir.log(args...)
	if err != nil {
		return nil, err
	}
	slices.Reverse(commits)
	list := []any{}
	for _, commit := range commits {
		list = append(list, repo.pushCommit(commit))
	}
	payload["commits"] = list
	return payload, nil
}

func (repo *Repo) pushCommit(commit gitCommit) object {
	person := func(p gitPerson) object {
		o := object{"name": p.Name, "email": p.Email}
		if a := repo.gh.committer(p.Email); a != nil {
			o["username"] = a.Login
		}
		return o
	}
	return object{
		"id": commit.SHA, "tree_id": commit.Tree, "distinct": true, "message": commit.Message,
		"timestamp": commit.Author.Date.Format(time.RFC3339), "url": repo.gh.url + "/" + repo.FullName() + "/commit/" + commit.SHA,
		"author": person(commit.Author), "committer": person(commit.Committer),
		"added": list(commit.Added), "removed": list(commit.Removed), "modified": list(commit.Modified),
	}
}
