package bot

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v60/github"
)

// A permission is what a person may do in a repository, from least to most.
type permission int

// GitHub's repository roles.
const (
	none permission = iota
	read
	triage
	write
	maintain
	admin
)

var permissionNames = []string{"none", "read", "triage", "write", "maintain", "admin"}

func (p permission) String() string { return permissionNames[p] }

// accessTTL is how long an answer of GitHub's about a person's rights is used.
const accessTTL = time.Minute

// access asks GitHub who may do what, and remembers the answer for a minute. Nothing is taken from an event.
type access struct {
	now   func() time.Time
	mu    sync.Mutex
	known map[string]known
}

type known struct {
	permission permission
	until      time.Time
}

func (a *access) cached(key string, ask func() (permission, error)) (permission, error) {
	a.mu.Lock()
	k, ok := a.known[key]
	a.mu.Unlock()
	if ok && a.now().Before(k.until) {
		return k.permission, nil
	}
	p, err := ask()
	if err != nil {
		return none, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, v := range a.known { // the map holds a minute's worth of people
		if !a.now().Before(v.until) {
			delete(a.known, k)
		}
	}
	a.known[key] = known{p, a.now().Add(accessTTL)}
	return p, nil
}

// forget empties what is known: GitHub told that somebody's rights changed.
func (a *access) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.known)
}

// peopleChanged handles the events about members, teams and collaborators.
func (b *Bot) peopleChanged(d *decision) {
	b.access.forget()
	d.note("what was known of people's rights is asked again")
}

// permission asks what a person may do in a repository. A custom role counts by its base.
func (a *access) permission(ctx context.Context, c *github.Client, repo, login string) (permission, error) {
	return a.cached("permission "+strings.ToLower(repo+" "+login), func() (permission, error) {
		req, err := c.NewRequest(http.MethodGet, "repos/"+repo+"/collaborators/"+url.PathEscape(login)+"/permission", nil)
		if err != nil {
			return none, err
		}
		var answer struct { // go-github v60 lacks role_name
			Permission string `json:"permission"` // admin, write, read, none: the base of any role
			RoleName   string `json:"role_name"`
		}
		if _, err := c.Do(ctx, req, &answer); err != nil {
			if isNotFound(err) {
				return none, nil
			}
			return none, fmt.Errorf("ask for %s's permission on %s: %w", login, repo, err)
		}
		for _, name := range []string{answer.RoleName, answer.Permission} {
			if i := slices.Index(permissionNames, name); i >= 0 {
				return permission(i), nil
			}
		}
		return none, fmt.Errorf("GitHub says that %s has the permission %q on %s, which is not known here", login, answer.Permission, repo)
	})
}

// member asks whether a person is an active member of a team, nested teams included.
func (a *access) member(ctx context.Context, c *github.Client, org, team, login string) (bool, error) {
	p, err := a.cached("member "+strings.ToLower(org+"/"+team+" "+login), func() (permission, error) {
		m, _, err := c.Teams.GetTeamMembershipBySlug(ctx, org, team, login)
		if err != nil {
			if isNotFound(err) {
				return none, nil
			}
			return none, fmt.Errorf("ask whether %s is in @%s/%s: %w", login, org, team, err)
		}
		if m.GetState() != "active" {
			return none, nil
		}
		return read, nil
	})
	return p > none, err
}

// oneOf asks whether a person is in a list of logins and @org/team.
func (a *access) oneOf(ctx context.Context, c *github.Client, login string, list []string) (bool, error) {
	for _, entry := range list {
		org, team, isTeam := strings.Cut(strings.TrimPrefix(entry, "@"), "/")
		if !isTeam {
			if strings.EqualFold(org, login) {
				return true, nil
			}
			continue
		}
		if yes, err := a.member(ctx, c, org, team, login); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}

// holders names up to five people who have a permission, for a refusal that says whom to ask. It is a courtesy: where it
// cannot be read, nobody is named.
func holders(ctx context.Context, c *github.Client, repo string, p permission) []string {
	owner, name := split(repo)
	key := map[permission]string{read: "pull", triage: "triage", write: "push", maintain: "maintain", admin: "admin"}[p]
	users, _, err := c.Repositories.ListCollaborators(ctx, owner, name, &github.ListCollaboratorsOptions{ListOptions: github.ListOptions{PerPage: 100}})
	if err != nil {
		return nil
	}
	var names []string
	for _, u := range users {
		if u.GetPermissions()[key] && len(names) < 5 {
			names = append(names, u.GetLogin())
		}
	}
	return names
}
