package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// ImagesAt are the images of a release by the repositories that the environment pulls them from. A release of several images has
// no place in an environment whose registry names one repository: then they are those of the release, with an error.
func (e Environment) ImagesAt(rel store.Release) ([]store.Image, error) {
	images := slices.Clone(rel.Images.V)
	if e.Registry == "" || len(images) == 0 {
		return images, nil
	}
	if len(images) > 1 {
		var names []string
		for _, i := range images {
			names = append(names, i.Repository)
		}
		return images, fmt.Errorf("registry of %s names a repository for one image, and release %d has %d (%s); remove registry there, or make a release of each image in an app of its own",
			e.Name, rel.Number, len(images), strings.Join(names, ", "))
	}
	images[0].Repository = e.Registry
	return images, nil
}

// deploySteps are those of the environment, of a deploy alone and of a way back.
func (e *Environment) deploySteps(back bool) []string {
	steps := e.Strategy.steps(back)
	if e.Registry == "" {
		return steps
	}
	return append([]string{StepCopy}, steps...)
}

// backSteps are the steps of a deployment that applies stored objects again.
func backSteps(d store.Deployment) ([]string, error) {
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return nil, err
	}
	return spec.Environment.deploySteps(true), nil
}

// tellCopy is how often it is told how far a copy is.
const tellCopy = time.Second

// copyImage brings the release's image to the registry of its environment. It may be repeated at any time: it goes by the digest.
func (r *flowRun) copyImage(ctx context.Context, at *moment) error {
	step, _, err := r.begin(ctx, "deployment", r.d.ID, StepCopy)
	if err != nil {
		return err
	}
	*at = moment{StepCopy, step.StartedAt.Add(r.env.Timeout)}
	ctx, cancel := context.WithDeadline(ctx, at.until)
	defer cancel()
	for i, from := range r.rel.Images.V { // one, as flow saw to
		detail, err := r.bring(ctx, from, r.images[i].Repository)
		if err != nil {
			return err
		}
		if err := r.end(ctx, step, detail, nil); err != nil {
			return err
		}
	}
	return nil
}

// bring copies one image where it is not there yet.
func (r *flowRun) bring(ctx context.Context, from store.Image, to string) (detail string, err error) {
	target := to + "@" + from.Digest
	there, err := r.Images.Exists(ctx, target)
	switch {
	case there:
		return target, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil && r.d.Restores != "": // nodes may have what was live before: a registry that is away holds up no way back
		return "not asked for again: " + oneLine(err.Error()), nil
	}
	// What it can't tell by a look, the copy tells with its reason.
	if err := r.Server.MayUseRegistry(from.Repository, r.d.Repo); err != nil {
		return "", permanent{err}
	}
	err = r.Images.Copy(ctx, from.Repository+"@"+from.Digest, to, r.copied(ctx, to))
	switch {
	case errors.Is(err, image.ErrNotFound):
		return "", permanent{fmt.Errorf("neither %s nor %s has the image %s (any more): was it deleted, or by a retention rule? Go to another release, or push a revert, which is built anew", to, from.Repository, from.Digest)}
	case errors.Is(err, image.ErrDigest):
		return "", permanent{err}
	}
	return target, inWords(err, to)
}

// copied records how far a copy is. It is told, not needed: an error here must not fail it.
func (r *flowRun) copied(ctx context.Context, to string) func(done, total int64) {
	var last time.Time
	return func(done, total int64) {
		if time.Since(last) < tellCopy && done < total {
			return
		}
		last = time.Now()
		line := fmt.Sprintf("%s: %s / %s", to, megabytes(done), megabytes(total))
		_ = r.DB.Update(ctx, func(tx *store.Tx) error { return tx.Progress(r.d, line) })
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
