package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// Compare tells what a deployment that is not made would change in its cluster now, by a dry run there: one line for each object
// that would change, with the lines of its difference. Of d only what a request says is read. Nothing is stored.
func (e *Engine) Compare(ctx context.Context, d store.Deployment, rel store.Release, repo store.Repo) ([]string, error) {
	env, cluster, err := e.environment(d)
	if err != nil {
		return nil, err
	}
	dir, remove, err := e.workDir()
	if err != nil {
		return nil, err
	}
	defer remove()
	objs, live, released, err := e.objects(ctx, filepath.Join(dir, "src"), d, rel, repo, env, cluster)
	if err != nil {
		return nil, err
	}
	if objs, err = e.compared(objs, live, rel, env); err != nil {
		return nil, err
	}
	changes, err := cluster.Diff(ctx, objs, released)
	if err != nil {
		return nil, err
	}
	return diffLines(changes, Adopts(d.Spec.V)), nil
}

// objects renders the environment's manifests at the release's commit, bound to the release's digests, and behind them the Jobs of its
// flow; dest is where the commit is put. What it changes nothing of still names the release that it has in released, the objects of
// what is live, which is nil for nothing.
func (e *Engine) objects(ctx context.Context, dest string, d store.Deployment, rel store.Release, repo store.Repo, env Environment, cluster Cluster) (objs []*unstructured.Unstructured, live *store.Deployment, released []*unstructured.Unstructured, err error) {
	if _, err := e.Source.Checkout(ctx, repo, rel.SHA, dest, source.Options{}); err != nil {
		if source.IsPermanent(err) {
			err = permanent{err}
		}
		return nil, nil, nil, err
	}
	// Whether a chart is installed or upgraded is asked when it is rendered, which may be before what is under way ends.
	if live, released, err = e.released(ctx, d); err != nil {
		return nil, nil, nil, err
	}
	var except []string
	for _, step := range env.Flow {
		if step.Job != "" {
			except = append(except, path.Clean(step.Job))
		}
	}
	objs, err = kube.Render(ctx, kube.Manifests{Root: dest, Path: env.Manifests, Except: except, Values: env.Values, Name: d.App, Namespace: env.Namespace,
		Revision: rel.Number, Upgrade: live != nil, Capabilities: cluster.Capabilities})
	var api *kube.Error
	if err != nil && (ctx.Err() != nil || errors.As(err, &api) && api.Temporary || errors.Is(err, context.DeadlineExceeded)) {
		return nil, nil, nil, err // nobody said what a chart asks of the cluster
	}
	if err != nil {
		return nil, nil, nil, permanent{err}
	}
	images, err := e.images(rel, env)
	if err == nil {
		_, err = kube.Bind(objs, images)
	}
	if err != nil {
		return nil, nil, nil, permanent{err}
	}
	if err := kube.Own(objs, e.owner(d, env)); err != nil {
		return nil, nil, nil, permanent{err}
	}
	if err := kube.KeepRelease(objs, released); err != nil {
		return nil, nil, nil, permanent{err}
	}
	if err := env.Strategy.fits(objs, images); err != nil {
		return nil, nil, nil, permanent{err}
	}
	jobs, err := e.flowJobs(ctx, dest, d, rel, env)
	if err != nil {
		return nil, nil, nil, permanent{err}
	}
	return append(objs, jobs...), live, released, nil
}

// released is what is live where d goes, nil for nothing, with its objects, none where they are kept no more.
func (e *Engine) released(ctx context.Context, d store.Deployment) (live *store.Deployment, objs []*unstructured.Unstructured, err error) {
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		live, err = store.Optional(tx.Live(d.Repo, d.App, d.Environment))
		return err
	})
	if err != nil || live == nil {
		return nil, nil, err
	}
	objs, _, err = e.Objects(*live)
	return live, objs, err
}

// maxDriftLines is how much of what somebody changed of one object is told before it is overwritten.
const maxDriftLines = 5

// diffLines are the changes that a cluster would make, none for none; with what would be taken over, where that is asked for.
func diffLines(changes []kube.Change, adopt bool) (lines []string) {
	for _, c := range changes {
		takes := c.Takes
		if c.Conflict != nil && adopt {
			c.Note = ""
			takes = append(slices.Clone(takes), fmt.Sprintf("%s (%s)", c.Conflict.Manager, strings.Join(c.Conflict.Fields, ", ")))
		}
		if c.Action == "none" && c.Note == "" && (len(takes) == 0 || !adopt) {
			continue
		}
		lines = append(lines, strings.TrimSpace(c.Object+" "+c.Action+" "+c.Note))
		if adopt && len(takes) > 0 {
			lines = append(lines, "! taken over from "+strings.Join(takes, ", "))
		}
		for _, field := range c.Loses {
			if adopt {
				lines = append(lines, "! removed by that: "+field)
			}
		}
		for i, d := range c.Drift {
			if i == maxDriftLines {
				lines = append(lines, fmt.Sprintf("! and %d more changed in the cluster", len(c.Drift)-i))
				break
			}
			lines = append(lines, "! changed in the cluster: "+d.String())
		}
		if c.Text != "" {
			lines = slices.Concat(lines, strings.Split(strings.TrimRight(c.Text, "\n"), "\n"))
		}
	}
	return lines
}
