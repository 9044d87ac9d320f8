package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// pushedImage makes sure that the image that something else pushed is there, and returns it by its digest.
func (e *Engine) pushedImage(ctx context.Context, run store.Run) (store.Image, error) {
	made := store.Image{Repository: run.Image.V.Repository, Digest: run.Image.V.Digest}
	// Asked again here, where the right is used: the server's file may have changed since the run was queued.
	if err := e.Server.MayUseRegistry(made.Repository, run.Repo); err != nil {
		return made, permanent{err}
	}
	ref := made.Repository + ":" + run.Image.V.Tag
	if made.Digest != "" {
		ref = made.Repository + "@" + made.Digest
	}
	err := e.step(ctx, "run", run.ID, StepResolve, func() (string, error) {
		got, err := e.Images.Find(ctx, ref)
		switch {
		case errors.Is(err, image.ErrNotFound), errors.Is(err, image.ErrNoImage):
			err = permanent{err}
		case err == nil && made.Digest != "" && got != made.Digest:
			err = permanent{fmt.Errorf("the registry answers with %s for %s", got, made.Digest)}
		}
		if err == nil {
			made.Digest = got
			made.Parts, err = e.Images.Parts(ctx, made.Repository+"@"+got)
		}
		return got, inWords(err, ref)
	})
	if err != nil {
		err = stepError{StepResolve, err}
	}
	return made, err
}

// PushesTag tells whether a run builds an image and gives it that tag: what its registry tells of it is no news.
func PushesTag(run store.Run, repository, tag string) (bool, error) {
	var cfg Config
	if err := json.Unmarshal(run.Config.V, &cfg); err != nil || run.Image.V != nil || cfg.Build.Image != repository {
		return false, err
	}
	tags, err := imageTags(cfg, run)
	return slices.Contains(tags, tag), err
}
