package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (c *call) getApp() (int, any) { return http.StatusOK, c.gh.app() }

func (c *call) getHookConfig() (int, any) {
	contentType := "json"
	if c.gh.cfg.HookForm {
		contentType = "form"
	}
	return http.StatusOK, object{"content_type": contentType, "insecure_ssl": "0", "secret": "********", "url": c.gh.cfg.HookURL}
}

func (c *call) listInstallations() (int, any) {
	all := []object{}
	for _, i := range c.gh.installations {
		all = append(all, c.gh.installationJSON(i))
	}
	return http.StatusOK, page(c, all)
}

func (c *call) getInstallation() (int, any) {
	for _, i := range c.gh.installations {
		if i.ID == c.number("installation_id") {
			return http.StatusOK, c.gh.installationJSON(i)
		}
	}
	return c.notFound()
}

func (c *call) getRepoInstallation() (int, any) {
	i := c.gh.installation(c.repo.owner)
	if i == nil || !c.repo.installed {
		return c.notFound()
	}
	return http.StatusOK, c.gh.installationJSON(i)
}

func (c *call) listRepositories() (int, any) {
	all := []object{}
	selection := "all"
	for _, repo := range c.gh.sortedRepos() {
		if c.token.reaches(repo) {
			all = append(all, c.gh.repositoryJSON(repo))
		}
	}
	if c.token.repositories != nil {
		selection = "selected"
	}
	return http.StatusOK, object{"total_count": len(all), "repository_selection": selection, "repositories": page(c, all)}
}

func deliveryJSON(d *Delivery) object {
	o := object{
		"id": d.ID, "guid": d.GUID, "delivered_at": d.DeliveredAt.Format(time.RFC3339), "redelivery": d.Redelivery, "duration": d.Duration.Seconds(),
		"status": d.Status, "status_code": d.StatusCode, "event": d.Event, "action": nullable(d.Action), "installation_id": nil, "repository_id": nil,
		"throttled_at": nil,
	}
	if d.InstallationID != 0 {
		o["installation_id"] = d.InstallationID
	}
	if d.RepositoryID != 0 {
		o["repository_id"] = d.RepositoryID
	}
	return o
}

// listDeliveries pages by a cursor, newest first. Deliveries older than three
// days are gone.
func (c *call) listDeliveries() (int, any) {
	c.header.Set("Date", c.gh.now().UTC().Format(http.TimeFormat)) // by the clock that dates the deliveries
	c.gh.hooks.mu.Lock()
	log := slices.Clone(c.gh.hooks.log)
	c.gh.hooks.mu.Unlock()
	slices.Reverse(log)
	log = slices.DeleteFunc(log, func(d *Delivery) bool { return c.gh.now().Sub(d.DeliveredAt) > 72*time.Hour })
	query := c.URL.Query()
	size := min(max(number(query.Get("per_page"), 30), 1), 100)
	if cursor := query.Get("cursor"); cursor != "" {
		before, err := strconv.ParseInt(strings.TrimPrefix(cursor, "v1_"), 10, 64)
		if err != nil {
			return c.fail(http.StatusUnprocessableEntity, "Invalid cursor")
		}
		log = slices.DeleteFunc(log, func(d *Delivery) bool { return d.ID >= before })
	}
	if len(log) > size {
		log = log[:size]
		c.link(query, "cursor", map[string]string{"next": "v1_" + itoa(log[size-1].ID)})
	}
	all := []object{}
	for _, d := range log {
		all = append(all, deliveryJSON(d))
	}
	return http.StatusOK, all
}

func (c *call) getDelivery() (int, any) {
	c.gh.hooks.mu.Lock()
	defer c.gh.hooks.mu.Unlock()
	for _, d := range c.gh.hooks.log {
		if d.ID != c.number("delivery_id") {
			continue
		}
		o := deliveryJSON(d)
		o["url"] = d.URL
		o["request"] = object{"headers": flatHeader(d.RequestHeaders), "payload": json.RawMessage(d.Payload)}
		o["response"] = object{"headers": flatHeader(d.ResponseHeaders), "payload": nullable(d.ResponseBody)}
		if !json.Valid(d.Payload) {
			o["request"] = object{"headers": flatHeader(d.RequestHeaders), "payload": object{}}
		}
		return http.StatusOK, o
	}
	return c.notFound()
}

func flatHeader(header http.Header) any {
	if header == nil {
		return nil
	}
	flat := object{}
	for name := range header {
		flat[name] = header.Get(name)
	}
	return flat
}

func (c *call) redeliver() (int, any) {
	if err := c.gh.redeliver(c.number("delivery_id")); err != nil {
		return c.notFound()
	}
	return http.StatusAccepted, object{}
}
