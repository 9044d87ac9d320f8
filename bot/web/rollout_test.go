package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// rolls makes a deployment with these steps by a strategy, which has begun; the steps before at are done.
func (s *signedSite) rolls(rel store.Release, env, strategy, at string, kinds ...string) store.Deployment {
	s.t.Helper()
	d := store.Deployment{Repo: rel.Repo, App: rel.App, Release: rel.Number, Run: rel.Run, Environment: env, Cause: store.CausePromote, Requester: "bob"}
	d.Spec.V = json.RawMessage(fmt.Sprintf(`{"Environment":{"Name":%q,"Cluster":"prod","Namespace":"prod","Strategy":%s}}`, env, strategy))
	s.update(func(tx *store.Tx) error { return tx.NewDeployment(&d, kinds...) })
	s.end(d, store.Progressing)
	for _, kind := range kinds {
		s.now = s.now.Add(7 * time.Second)
		s.update(func(tx *store.Tx) error { _, err := tx.StartStep(d.ID, kind); return err })
		if kind == at {
			break
		}
		s.update(func(tx *store.Tx) error {
			var err error
			if kind == "canary/1/10%" {
				err = tx.NoteStep(d.ID, kind, store.StepResult{Share: "17%"})
			}
			return errors.Join(err, tx.EndStep(d.ID, kind, store.StepSucceeded, ""))
		})
	}
	s.update(func(tx *store.Tx) (err error) { d, err = tx.Deployment(d.ID); return err })
	return d
}

const canaryOf10 = `{"Canary":{"Steps":[{"Weight":10,"Pause":{"Manual":true}}]}}`

// A canary that rests says how much it has, and is let go on or given up by whoever may deploy.
func TestRestingCanary(t *testing.T) {
	s := newSignedSite(t)
	_, rel := s.ship("acme/shop", "web", "Ship it")
	d := s.rolls(rel, "production", canaryOf10, "pause/1/manual", "render", "canary/1/10%", "pause/1/manual", "apply", "observe", "verify")
	s.update(func(tx *store.Tx) error {
		return tx.Pause(d, []store.Block{{Kind: store.BlockPause, Since: s.now, Text: "pause/1/manual"}})
	})
	s.person("frank", map[string]int{"acme/shop": Write})
	s.person("carol", map[string]int{"acme/shop": Read})
	page := s.see("frank", "/deployments/"+d.ID)
	wants(t, page, "canary, <bdi>17%</bdi> of the traffic goes to the new release", "Send the canary 10%", "Its strategy rests here until somebody resumes it.",
		`<input type="hidden" name="csrf" value="csrf of frank">`, `value="/resume web production `+itoa(d.Number)+`"`, `value="/abort web production `+itoa(d.Number)+`"`, "<code>/resume production</code>")
	lacks(t, s.see("carol", "/deployments/"+d.ID), `value="/resume`, `value="/abort`)
	wants(t, s.see("frank", "/deployments/"+d.ID, "Accept-Language", "zh"), "金丝雀流量 10%", "停留至人工继续", "发布策略在此停留，等待有人继续。", "canary，新版本承接流量 <bdi>17%</bdi>", "继续", "中止")
	s.update(func(tx *store.Tx) error { return tx.AskAbort(d, "frank") })
	lacks(t, s.see("frank", "/deployments/"+d.ID), `value="/resume`, `value="/abort`, `value="/cancel`)
}

// What blue-green keeps is told for as long as it is there.
func TestKeptColour(t *testing.T) {
	s := newSignedSite(t)
	_, one := s.ship("acme/shop", "web", "One")
	s.live(one, "production")
	_, two := s.ship("acme/shop", "web", "Two")
	d := s.rolls(two, "production", `{"BlueGreen":{"Keep":600000000000}}`, "", "render", "apply", "observe", "switch", "verify")
	s.update(func(tx *store.Tx) error {
		return errors.Join(tx.Advance(d, store.Verifying), tx.EndDeployment(d, store.Succeeded, "", nil), tx.RetireAt(d, s.now.Add(10*time.Minute)))
	})
	s.person("frank", map[string]int{"acme/shop": Write})
	const kept = "The pods of release 1 still run, without requests, until "
	wants(t, s.see("frank", "/deployments/"+d.ID), kept, "<code>/rollback production to 1</code>", "Turn the traffic to it")
	wants(t, s.see("frank", "/deployments/"+d.ID, "Accept-Language", "zh"), "版本 1 的 Pod 仍在运行但不接收流量，保留至 ")
	next := s.rolls(two, "production", `{"BlueGreen":{}}`, "apply", "render", "apply")
	lacks(t, s.see("frank", "/deployments/"+d.ID), kept)
	s.update(func(tx *store.Tx) error { return tx.EndDeployment(next, store.Cancelled, "by bob", nil) })
	s.now = s.now.Add(11 * time.Minute)
	lacks(t, s.see("frank", "/deployments/"+d.ID), kept)
}

// An image that is gone is told with the way that is left.
func TestImageGone(t *testing.T) {
	s := newSignedSite(t)
	_, rel := s.ship("acme/shop", "web", "One")
	d := s.live(rel, "production")
	s.update(func(tx *store.Tx) error {
		_, err := tx.PutGone(store.Gone{Repo: "acme/shop", App: "web", Environment: "production", Deployment: d.ID, Release: 1, SHA: rel.SHA, Image: "registry.example.com/web@" + digest})
		return err
	})
	s.person("frank", map[string]int{"acme/shop": Write})
	page := "/apps/web?repository=acme%2Fshop"
	wants(t, s.see("frank", page), "be rolled back to release 1: its image is not in the registry any more", "registry.example.com/web@"+digest, "<code>/rollback production to N</code>")
	wants(t, s.see("frank", page, "Accept-Language", "zh"), "无法回滚到版本 1", "镜像恢复之前，评论 <code>/rollback production to N</code>")
}
