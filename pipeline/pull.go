package pipeline

import (
	"context"
	"encoding/json"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

// KeepPullSecret gives the environment of a deployment that is live what its pods pull by, as the server's file has it now:
// pods are made anew also when nobody deploys. It does nothing where another is live by now, or there is no pull_secret.
func (e *Engine) KeepPullSecret(ctx context.Context, id string) error {
	var d, live store.Deployment
	var rel store.Release
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if d, err = tx.Deployment(id); err != nil {
			return err
		}
		if live, err = tx.Live(d.Repo, d.App, d.Environment); err == nil {
			rel, err = tx.Release(d.Repo, d.App, d.Release)
		}
		return err
	})
	if err != nil || live.ID != id {
		return err
	}
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil || spec.Environment.PullSecret == "" {
		return err
	}
	env, cluster, err := e.environment(d)
	if err != nil {
		return err
	}
	images, err := e.images(rel, env)
	if err != nil {
		return err
	}
	return e.pullSecret(ctx, env, cluster, images)
}

// pullSecret makes what pods of images pull by, where the environment wants that. It is no part of the objects that are stored: a
// rollback pulls by the credentials of today.
func (e *Engine) pullSecret(ctx context.Context, env Environment, cluster Cluster, images []kube.Image) error {
	if env.PullSecret == "" {
		return nil
	}
	for _, image := range images {
		host, _, _ := ParseRepository(image.Repository) // checked when the file was read
		user, password, err := e.Server.PullCredentials(host)
		if err != nil {
			return permanent{err}
		}
		if err := cluster.EnsurePullSecret(ctx, env.Namespace, env.PullSecret, image.PullHost, user, password); err != nil {
			return err
		}
	}
	return nil
}
