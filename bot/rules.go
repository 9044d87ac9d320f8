package bot

import (
	"encoding/json"
	"slices"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// rerule puts what has not begun under the rules that the default branch's files have now: what a repository's maintainers
// decided counts for what waits too. Where a file has mistakes nobody knows what it says, so that everything that no other
// file speaks of stays as it was.
func (b *Bot) rerule(tx *store.Tx, repo string, apps []app, d *decision) error {
	broken := slices.ContainsFunc(apps, func(a app) bool { return a.reviewed == nil })
	// now finds an environment; nil where there is none, and not known where that cannot be told.
	now := func(name, env string) (a *app, e *pipeline.Environment, known bool) {
		i := slices.IndexFunc(apps, func(a app) bool { return a.name == name })
		if i < 0 {
			return nil, nil, !broken
		}
		if apps[i].reviewed == nil {
			return nil, nil, false
		}
		e, _ = apps[i].reviewed.Environment(env)
		return &apps[i], e, true
	}
	runs, err := tx.OpenRuns(repo)
	if err != nil {
		return err
	}
	for _, r := range runs {
		if len(r.Deploys.V) == 0 {
			continue
		}
		var left []store.Request
		for _, q := range r.Deploys.V {
			a, env, known := now(r.App, q.Environment)
			switch {
			case !known:
			case env == nil:
				d.note("run %d of %s goes to %s no more: %s", r.Number, r.App, q.Environment, store.ReasonNoEnvironment)
				continue
			default: // nothing is rendered yet, so all of it is as the file says
				if q.Spec, err = json.Marshal(pipeline.Spec{Environment: *env, Notify: a.reviewed.Notify}); err != nil {
					return err
				}
			}
			left = append(left, q)
		}
		if err := tx.SetDeploys(r, left); err != nil {
			return err
		}
	}
	open, err := tx.OpenDeploymentsOf(repo)
	if err != nil {
		return err
	}
	for _, o := range open {
		_, env, known := now(o.App, o.Environment)
		if !known {
			continue
		}
		if o, err = tx.Deployment(o.ID); err != nil { // what came before may have ended it
			return err
		}
		note, err := b.engine.Rerule(tx, o, env)
		if err != nil {
			return err
		}
		if note != "" {
			d.note("%s", note)
		}
	}
	return nil
}
