package image

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// tidyTime is how long Probe may take after the end of its context.
const tidyTime = 4 * time.Second

// Probe pushes an image of a few bytes to a repository, by its digest and without a tag, and deletes it again; deleted is false
// where the registry does not let it. In between it is given to pull, as host/repository@sha256:… with what Pull has to find.
// The error says what was tried.
func (c *Client) Probe(ctx context.Context, repository string, pull func(repoAtDigest string, content []byte) error) (deleted bool, err error) {
	content := []byte("shipmate bot doctor " + rand.Text()) // new each time: a layer that is there is not pushed
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(content, types.OCIUncompressedLayer))
	if err != nil {
		return false, err
	}
	digest, err := img.Digest()
	if err != nil {
		return false, err
	}
	r, err := c.parseDigest(repository + "@" + digest.String())
	if err != nil {
		return false, err
	}
	tidy := func() bool { // also where ctx has ended meanwhile
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
		defer cancel()
		return remote.Delete(r, c.options(ctx, r)...) == nil
	}
	if err := remote.Write(r, img, c.options(ctx, r)...); err != nil {
		if ctx.Err() != nil { // it may have arrived
			tidy()
		}
		return false, failure("push to", r.Context(), err)
	}
	pulled := pull(r.String(), content)
	return tidy(), pulled
}

// Pull reads what Probe pushed.
func (c *Client) Pull(ctx context.Context, repoAtDigest string, content []byte) error {
	r, err := c.parseDigest(repoAtDigest)
	if err != nil {
		return err
	}
	read, err := func() ([]byte, error) {
		img, err := remote.Image(r, c.options(ctx, r)...)
		if err != nil {
			return nil, err
		}
		layers, err := img.Layers()
		if err != nil {
			return nil, err
		}
		if len(layers) != 1 {
			return nil, fmt.Errorf("it has %d layers, and was pushed with one", len(layers))
		}
		layer, err := layers[0].Compressed() // as it is
		if err != nil {
			return nil, err
		}
		read, err := io.ReadAll(io.LimitReader(layer, 1<<10))
		return read, errors.Join(err, layer.Close())
	}()
	if err == nil && !bytes.Equal(read, content) {
		err = errors.New("it is not what was pushed")
	}
	if err != nil {
		return failure("pull from", r.Context(), err)
	}
	return nil
}
