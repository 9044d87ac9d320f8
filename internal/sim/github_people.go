package sim

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// team is a team of an organization.
type team struct {
	id      int64
	parent  string // the slug of the team that it is nested in, "" for none
	members map[string]member
}

// member is somebody in a team, by lower-case login; state is active, or pending while an invitation is not accepted.
type member struct{ role, state string }

// team of an organization, made where it does not exist. mu is held.
func (gh *GitHub) team(organization, slug string) (*account, *team) {
	org := gh.addAccount(organization, "Organization")
	if org.teams[slug] == nil {
		org.teams[slug] = &team{id: gh.id(), members: map[string]member{}}
	}
	return org, org.teams[slug]
}

// AddTeamMember makes the person a member of the organization's team; role is
// "member" or "maintainer". The team is made when it does not exist.
func (gh *GitHub) AddTeamMember(organization, slug, login, role string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	org, t := gh.team(organization, slug)
	a := gh.addAccount(login, "User")
	t.members[strings.ToLower(a.Login)] = member{role, "active"}
	gh.sendMembership("added", org, slug, a)
}

// InviteTeamMember invites the person, who has not accepted yet.
func (gh *GitHub) InviteTeamMember(organization, slug, login string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	_, t := gh.team(organization, slug)
	t.members[strings.ToLower(gh.addAccount(login, "User").Login)] = member{"member", "pending"}
}

// RemoveTeamMember takes the person out of the team.
func (gh *GitHub) RemoveTeamMember(organization, slug, login string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	org, t := gh.team(organization, slug)
	a := gh.addAccount(login, "User")
	delete(t.members, strings.ToLower(a.Login))
	gh.sendMembership("removed", org, slug, a)
}

// NestTeam nests a team in another one, whose members its members then are too; an empty parent takes it out.
func (gh *GitHub) NestTeam(organization, slug, parent string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	if parent != "" {
		gh.team(organization, parent)
	}
	org, t := gh.team(organization, slug)
	t.parent = parent
	gh.sendOf("team", "edited", org, org, object{"team": gh.teamJSON(org, slug), "changes": object{}})
}

func (gh *GitHub) sendMembership(action string, org *account, slug string, a *account) {
	gh.sendOf("membership", action, org, org, object{"scope": "team", "member": gh.simpleUser(a), "team": gh.teamJSON(org, slug)})
}

func (gh *GitHub) teamJSON(org *account, slug string) object {
	t := org.teams[slug]
	url := gh.api("/organizations/", itoa(org.ID), "/team/", itoa(t.id))
	return object{
		"id": t.id, "node_id": nodeID("Team", t.id), "name": slug, "slug": slug, "description": nil, "privacy": "closed", "permission": "pull",
		"notification_setting": "notifications_enabled", "url": url, "html_url": gh.url + "/orgs/" + org.Login + "/teams/" + slug,
		"members_url": url + "/members{/member}", "repositories_url": url + "/repos",
	}
}

// membership of a person in a team: a member of a team that is nested in it is one, too.
func (org *account) membership(slug, login string) (m member, ok bool) {
	t := org.teams[slug]
	if t == nil {
		return m, false
	}
	if m, ok = t.members[login]; ok {
		return m, true
	}
	for _, child := range slices.Sorted(maps.Keys(org.teams)) {
		if org.teams[child].parent == slug {
			if m, ok = org.membership(child, login); ok {
				return m, true
			}
		}
	}
	return m, false
}

func (c *call) getMembership() (int, any) {
	org := c.gh.account(c.params["org"])
	if org == nil || org != c.token.installation.account {
		return c.notFound()
	}
	m, ok := org.membership(c.params["team_slug"], strings.ToLower(c.params["username"]))
	if !ok {
		return c.notFound()
	}
	return http.StatusOK, object{
		"role": m.role, "state": m.state, "url": c.gh.api("/organizations/", itoa(org.ID), "/team/", c.params["team_slug"], "/memberships/", c.params["username"]),
	}
}

func (c *call) getUser() (int, any) {
	a := c.gh.account(c.params["username"])
	if a == nil {
		return c.notFound()
	}
	o := c.gh.simpleUser(a)
	maps.Copy(o, object{
		"name": a.Login, "company": nil, "blog": nil, "location": nil, "email": nil, "hireable": nil, "bio": nil, "public_repos": 0, "public_gists": 0,
		"followers": 0, "following": 0, "created_at": nullableTime(a.Created), "updated_at": nullableTime(a.Created),
	})
	return http.StatusOK, o
}

func permissionsJSON(p permission) object {
	rank := slices.Index(levels, p.level)
	o := object{}
	for name, level := range map[string]string{"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"} {
		o[name] = rank >= slices.Index(levels, level)
	}
	return o
}

func (c *call) listCollaborators() (int, any) {
	people := []object{}
	for _, login := range slices.Sorted(maps.Keys(c.repo.permissions)) {
		o := c.gh.simpleUser(c.gh.account(login))
		o["role_name"], o["permissions"] = c.repo.permissions[login].role, permissionsJSON(c.repo.permissions[login])
		people = append(people, o)
	}
	return http.StatusOK, page(c, people)
}

// getPermission knows four levels; maintain counts as write, triage as read. role_name may be a custom role's; what that
// extends tell user.permissions.
func (c *call) getPermission() (int, any) {
	a := c.gh.account(c.params["username"])
	if a == nil {
		return c.notFound()
	}
	p := c.repo.permission(a)
	level := legacy(p.level)
	user := c.gh.simpleUser(a)
	user["permissions"], user["role_name"] = permissionsJSON(p), p.role
	return http.StatusOK, object{"permission": level, "role_name": p.role, "user": user}
}

// legacy is the level as it was before there were five.
func legacy(level string) string {
	return cmp.Or(map[string]string{"maintain": "write", "triage": "read"}[level], level)
}
