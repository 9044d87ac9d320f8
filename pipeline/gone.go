package pipeline

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/shipmate-dev/shipmate/store"
)

// GoneImage tells which image of a deployment, whose objects may be applied again, is in no registry that has it pulled or that it
// would be copied from: host/repository@sha256:…, or "" for none. An error means that it is not known.
func (e *Engine) GoneImage(ctx context.Context, d store.Deployment) (string, error) {
	var rel store.Release
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) { rel, err = tx.Release(d.Repo, d.App, d.Release); return err }); err != nil {
		return "", err
	}
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return "", err
	}
	images, err := spec.Environment.ImagesAt(rel)
	if err != nil {
		return "", err
	}
	for i, image := range images {
		there := false
		for _, repository := range slices.Compact([]string{image.Repository, rel.Images.V[i].Repository}) {
			if there {
				break
			}
			if err := e.Server.MayUseRegistry(repository, d.Repo); err != nil {
				return "", err
			}
			if there, err = e.Images.Exists(ctx, repository+"@"+image.Digest); err != nil {
				return "", err
			}
		}
		if !there {
			return image.Repository + "@" + image.Digest, nil
		}
	}
	return "", nil
}
