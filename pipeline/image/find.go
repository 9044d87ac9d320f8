package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What Find says of a reference that stands for no image.
var (
	ErrNotFound = errors.New("the registry has no such image")
	ErrNoImage  = errors.New("it is no image")
)

// manifestTypes are the media types of images and of indexes of images, of Docker and of the OCI image specification.
var manifestTypes = map[string]bool{
	string(types.DockerManifestSchema2): true,
	string(types.DockerManifestList):    true,
	string(types.OCIManifestSchema1):    true,
	string(types.OCIImageIndex):         true,
}

// configTypes tell an image from what else a registry keeps in the form of one: a chart, a build cache, a signature.
var configTypes = map[string]bool{
	string(types.DockerConfigJSON): true,
	string(types.OCIConfigJSON):    true,
}

// Find is Resolve for what somebody else pushed: it makes sure that ref stands for an image, or an index that lists
// some. Its error is ErrNotFound where there is nothing, and ErrNoImage where there is something else.
func (c *Client) Find(ctx context.Context, ref string) (digest string, err error) {
	r, err := c.parse(ref)
	if err != nil {
		return "", err
	}
	d, err := remote.Get(r, c.options(ctx, r)...)
	var refusal *transport.Error
	if errors.As(err, &refusal) && refusal.StatusCode == http.StatusNotFound {
		return "", fmt.Errorf("find %s: %w", r, ErrNotFound)
	}
	if err != nil {
		return "", failure("find", r, err)
	}
	var manifest struct {
		Config struct {
			MediaType string `json:"mediaType"`
		} `json:"config"`
		Manifests []struct {
			MediaType string `json:"mediaType"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(d.Manifest, &manifest); err != nil {
		return "", fmt.Errorf("find %s: %w", r, err)
	}
	is := manifestTypes[string(d.MediaType)] && configTypes[manifest.Config.MediaType]
	for _, m := range manifest.Manifests {
		is = is || manifestTypes[m.MediaType]
	}
	if !is {
		return "", fmt.Errorf("find %s: %w but %s of %s", r, ErrNoImage, d.MediaType, manifest.Config.MediaType)
	}
	return d.Digest.String(), nil
}
