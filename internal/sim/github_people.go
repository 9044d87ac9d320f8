package sim

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
)

func (c *call) getMembership() (int, any) {
	org := c.gh.account(c.params["org"])
	if org == nil || org != c.token.installation.account {
		return c.notFound()
	}
	role := org.teams[c.params["team_slug"]][strings.ToLower(c.params["username"])]
	if role == "" {
		return c.notFound()
	}
	return http.StatusOK, object{
		"role": role, "state": "active", "url": c.gh.api("/organizations/", itoa(org.ID), "/team/", c.params["team_slug"], "/memberships/", c.params["username"]),
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

// getPermission knows four levels; maintain counts as write, triage as read.
func (c *call) getPermission() (int, any) {
	a := c.gh.account(c.params["username"])
	if a == nil {
		return c.notFound()
	}
	p := c.repo.permission(a)
	level := cmp.Or(map[string]string{"maintain": "write", "triage": "read"}[p.level], p.level)
	user := c.gh.simpleUser(a)
	user["permissions"], user["role_name"] = permissionsJSON(p), p.role
	return http.StatusOK, object{"permission": level, "role_name": p.role, "user": user}
}
