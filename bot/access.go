package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/singleflight"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
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

// permissionKeys are the same in GitHub's object of a person's permissions.
var permissionKeys = []string{"", "pull", "triage", "push", "maintain", "admin"}

func (p permission) String() string { return permissionNames[p] }

// highest is the most that an object of permissions grants.
func highest(granted map[string]bool) permission {
	for p := admin; p > none; p-- {
		if granted[permissionKeys[p]] {
			return p
		}
	}
	return none
}

const (
	// accessTTL is how long an answer of GitHub's about a person's rights is used.
	accessTTL = time.Minute
	// lookupPatience is how long a lookup is tried again while GitHub is down. The attempts come at growing distances, so
	// that whoever waits hears after about a minute at the latest.
	lookupPatience = 30 * time.Second
	// maxNamed is how many people or teams a refusal names.
	maxNamed = 5
)

// access asks GitHub who may do what, and remembers the answer for a minute. Nothing is taken from an event.
type access struct {
	now    func() time.Time
	asking singleflight.Group // several who want to know the same at once ask once

	mu      sync.Mutex
	known   map[string]known // by the owner of the repository, a space, and what was asked
	emptied int              // how often something was forgotten
}

type known struct {
	answer any
	until  time.Time
}

// cached answers from memory or asks; owner is the account whose people the answer is about.
func cached[T any](a *access, owner, question string, ask func() (T, error)) (T, error) {
	key := strings.ToLower(owner + " " + question)
	a.mu.Lock()
	k, ok := a.known[key]
	emptied := a.emptied
	a.mu.Unlock()
	if ok && a.now().Before(k.until) {
		return k.answer.(T), nil
	}
	// Whoever comes after something was forgotten does not join those who asked before.
	got, err, _ := a.asking.Do(fmt.Sprintf("%d %s", emptied, key), func() (any, error) { return ask() })
	if err != nil {
		var nothing T
		return nothing, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, v := range a.known { // the map holds a minute's worth of people
		if !a.now().Before(v.until) {
			delete(a.known, k)
		}
	}
	if a.emptied == emptied { // else the answer may be of before
		a.known[key] = known{got, a.now().Add(accessTTL)}
	}
	return got.(T), nil
}

// forget empties what is known of an account's people, of everybody's where owner is empty: GitHub told that somebody's
// rights changed.
func (a *access) forget(owner string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.emptied++
	for key := range a.known {
		if owner == "" || strings.HasPrefix(key, strings.ToLower(owner)+" ") {
			delete(a.known, key)
		}
	}
}

// peopleChanged handles the events about members, teams, collaborators, and who can see a repository.
func (b *Bot) peopleChanged(e store.Event, d *decision) {
	type account struct{ Login string }
	var about struct {
		Organization account
		Repository   struct{ Owner account }
	}
	owner := ""
	if json.Unmarshal(e.Body, &about) == nil { // what cannot be read empties all
		owner = about.Organization.Login
		if owner == "" {
			owner = about.Repository.Owner.Login
		}
	}
	b.access.forget(owner)
	d.note("what was known of people's rights is asked again")
}

// unclear is the error of a lookup to which GitHub gives no answer that could be relied on, in words for the person.
type unclear struct {
	key  text.Key
	args []any
}

func (u *unclear) Error() string { return text.Plain(text.En.Say(u.key, u.args...)) }

// permission asks what a person may do in a repository. A custom role counts by its base.
func (a *access) permission(ctx context.Context, c *github.Client, repo, login string) (permission, error) {
	owner, _ := split(repo)
	return cached(a, owner, "permission "+repo+" "+login, func() (permission, error) {
		req, err := c.NewRequest(http.MethodGet, "repos/"+repo+"/collaborators/"+url.PathEscape(login)+"/permission", nil)
		if err != nil {
			return none, err
		}
		var answer struct { // go-github v60 lacks role_name
			Permission string `json:"permission"` // admin, write, read, none: no maintain, no triage
			RoleName   string `json:"role_name"`  // also the name of a custom role
			User       *struct {
				Permissions map[string]bool `json:"permissions"` // what the role comes to, also where it is a custom one
			} `json:"user"`
		}
		if _, err := c.Do(ctx, req, &answer); err != nil {
			if isNotFound(err) {
				return none, nil
			}
			return none, fmt.Errorf("ask for %s's permission on %s: %w", login, repo, err)
		}
		if answer.User != nil && len(answer.User.Permissions) > 0 {
			return highest(answer.User.Permissions), nil
		}
		for _, name := range []string{answer.RoleName, answer.Permission} {
			if i := slices.Index(permissionNames, name); i >= 0 {
				return permission(i), nil
			}
		}
		return none, &unclear{text.UnknownPermission, []any{code(answer.Permission)}}
	})
}

// member asks whether a person is an active member of a team, nested teams included. repo is whose installation asks: only
// its organization's teams can be read.
func (a *access) member(ctx context.Context, c *github.Client, repo, org, team, login string) (bool, error) {
	owner, _ := split(repo)
	if !strings.EqualFold(org, owner) {
		return false, &unclear{text.ForeignTeam, []any{code("@" + org + "/" + team), code(owner)}}
	}
	return cached(a, owner, "member "+team+" "+login, func() (bool, error) {
		m, _, err := c.Teams.GetTeamMembershipBySlug(ctx, org, team, login)
		if statusCode(err) == http.StatusForbidden && declined(err) {
			return false, &unclear{text.TeamsUnread, []any{code("@" + org + "/" + team)}}
		}
		if err != nil {
			if isNotFound(err) {
				return false, nil
			}
			return false, fmt.Errorf("ask whether %s is in @%s/%s: %w", login, org, team, err)
		}
		return m.GetState() == "active", nil // not pending
	})
}

// oneOf asks whether a person is in a list of logins and @org/team. Where a team cannot be read, another entry may still say
// yes.
func (a *access) oneOf(ctx context.Context, c *github.Client, repo, login string, list []string) (bool, error) {
	if slices.ContainsFunc(list, func(entry string) bool { return strings.EqualFold(strings.TrimPrefix(entry, "@"), login) }) {
		return true, nil
	}
	var failed error
	for _, entry := range list {
		org, team, isTeam := strings.Cut(strings.TrimPrefix(entry, "@"), "/")
		if !isTeam {
			continue
		}
		yes, err := a.member(ctx, c, repo, org, team, login)
		if yes {
			return true, nil
		}
		if failed == nil {
			failed = err
		}
	}
	return false, failed
}

// holders names people who have a permission, for a refusal that says whom to ask. It is a courtesy: where it cannot be read,
// nobody is named.
func (a *access) holders(ctx context.Context, c *github.Client, repo string, p permission) []string {
	owner, name := split(repo)
	all, _ := cached(a, owner, "holders "+repo+" "+p.String(), func() ([]string, error) {
		var names []string
		opt := &github.ListCollaboratorsOptions{ListOptions: github.ListOptions{PerPage: 100}}
		for range 3 { // in a larger organization there are enough among these
			users, resp, err := c.Repositories.ListCollaborators(ctx, owner, name, opt)
			if err != nil {
				return nil, err
			}
			for _, u := range users {
				if highest(u.GetPermissions()) >= p && u.GetType() != "Bot" {
					names = append(names, u.GetLogin())
				}
			}
			if opt.Page = resp.NextPage; opt.Page == 0 || len(names) >= 4*maxNamed {
				break
			}
		}
		return names, nil
	})
	return all
}

// some is names of at most as many as a refusal names.
func some(list []string) string {
	if more := len(list) - maxNamed; more > 0 {
		return names(list[:maxNamed]) + fmt.Sprintf(" +%d", more)
	}
	return names(list)
}

// needs refuses whoever lacks a permission on the repository, naming those who have it.
func (c *call) needs(ctx context.Context, p permission) (outcome, error) {
	if p == none {
		return nil, nil
	}
	has, err := c.bot.access.permission(ctx, c.client, c.repo.Name, c.login)
	if err != nil {
		return c.unknown(err)
	}
	c.d.note("%s has %s on %s, %s is needed", c.login, has, c.repo.Name, p)
	if has >= p {
		return nil, nil
	}
	who := c.bot.access.holders(ctx, c.client, c.repo.Name, p)
	if len(who) == 0 {
		return c.no(text.NeedsPermissionOfAdmin, p, code(c.repo.Name), has), nil
	}
	return c.no(text.NeedsPermission, p, code(c.repo.Name), has, some(who)), nil
}

// listed refuses whoever is not in a list of logins and teams; an empty list means a permission.
func (c *call) listed(ctx context.Context, list []string, otherwise permission) (outcome, error) {
	if len(list) == 0 {
		return c.needs(ctx, otherwise)
	}
	yes, err := c.bot.access.oneOf(ctx, c.client, c.repo.Name, c.login, list)
	if err != nil {
		return c.unknown(err)
	}
	c.d.note("%s is in %s: %v", c.login, strings.Join(list, ", "), yes)
	if yes {
		return nil, nil
	}
	key := "deployers" // each list stands for a permission of its own
	if otherwise == maintain {
		key = "approvals.by"
	}
	return c.no(text.NotListed, code(key), some(list)), nil
}

// unknown refuses what cannot be determined, and says so. What GitHub declines to tell refuses at once; a GitHub that is down
// is asked again first, but not for longer than somebody can be left without an answer.
func (c *call) unknown(err error) (outcome, error) {
	var u *unclear
	if errors.As(err, &u) {
		return c.no(text.CannotCheck, c.lang().Say(u.key, u.args...)), nil
	}
	if !declined(err) {
		if !c.givesUp(err) {
			return nil, err
		}
		c.d.note("given up: %v", err)
		return c.no(text.CannotCheck, c.lang().Say(text.GitHubSilent)), nil
	}
	var answer *github.ErrorResponse
	why := err.Error()
	if errors.As(err, &answer) { // without the address, which tells a reader nothing
		why = fmt.Sprintf("GitHub answers %d %s", answer.Response.StatusCode, answer.Message)
	}
	return c.no(text.CannotCheck, code(strings.TrimSpace(why))), nil
}

// givesUp tells whether a lookup that failed, since GitHub is down, was tried for long enough. Where GitHub's limit is used up
// nobody can be answered before it ends, so that it may as well be waited for.
func (c *call) givesUp(err error) bool {
	since := c.heard
	if since.IsZero() {
		since = c.said
	}
	if since.IsZero() || !away(err) || errors.As(err, new(*limited)) || errors.Is(err, context.Canceled) {
		return false
	}
	wait, _ := retryAfter(err)
	return !c.bot.db.Now().Add(wait).Before(since.Add(lookupPatience))
}
