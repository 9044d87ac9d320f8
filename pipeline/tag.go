package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// refNames returns the branch or the tag that a ref is; of a pull request's both are empty.
func refNames(ref string) (branch, tag string) {
	if name, ok := branchOf(ref); ok {
		branch = name
	}
	if name, ok := tagOf(ref); ok {
		tag = name
	}
	return branch, tag
}

// imageTags are the tags of a run's image.
func imageTags(cfg Config, run store.Run) ([]string, error) {
	branch, tag := refNames(run.Ref)
	return image.Tags(cfg.Build.Tags, map[string]string{"branch": branch, "tag": tag, "sha": run.SHA, "short_sha": run.SHA[:7], "run": strconv.Itoa(run.Number)})
}

// resolve reads the image back that a build pushed by its digest, and puts the run's tags on it: only now, when all that the
// run must pass has passed. A tag that stands for another image and that the registry does not let change stays: the digest is
// what is deployed, and the same commit may well be built again, when a base image is new or a run is repeated. The run says
// so.
func (e *Engine) resolve(ctx context.Context, run store.Run, cfg Config, img *store.Image) error {
	ref := img.Repository + "@" + img.Digest
	got, err := e.Images.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	if got != img.Digest {
		return permanent{fmt.Errorf("the registry answers with %s for %s", got, img.Digest)}
	}
	if img.Parts, err = e.Images.Parts(ctx, ref); err != nil {
		return err
	}
	if run.Image.V != nil {
		return nil // what pushed it chose its tags
	}
	tags, err := imageTags(cfg, run)
	if err != nil {
		return permanent{err}
	}
	var kept []string
	for _, tag := range tags {
		err := e.Images.Tag(ctx, ref, tag)
		if errors.Is(err, image.ErrImmutable) {
			kept = append(kept, tag)
			continue
		}
		if err != nil {
			return err
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.KeepTags(run.ID, kept) })
}
