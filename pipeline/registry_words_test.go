package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// TestRunAndRegistry: what a registry refuses for good ends the run at once; what may pass is tried again.
func TestRunAndRegistry(t *testing.T) {
	t.Parallel()
	const push = "build: failed to push registry.example.com/team/web:v1: unexpected status from PUT request to https://registry.example.com/v2/team/web/manifests/v1: "
	from := func(said string) error {
		return &build.Failure{Command: "FROM --platform=$BUILDPLATFORM golang:1.26 AS build", File: "Dockerfile", Line: 1, Err: errors.New(said)}
	}
	for name, tt := range map[string]struct {
		at    string // the call that fails
		err   error
		again bool
		want  string // in the reason
	}{
		"push denied":             {"build", errors.New(push + "403 Forbidden\ndenied: requested access to the resource is denied"), false, "a push makes none in TCR"},
		"push limited":            {"build", errors.New(push + "429 Too Many Requests"), true, ""},
		"push cut":                {"build", errors.New("build: failed to push x: failed to copy: write: connection reset by peer"), true, ""},
		"push meets an error":     {"build", errors.New(push + "502 Bad Gateway"), true, ""},
		"an immutable tag":        {"build", errors.New(push + "412 Precondition Failed\nunknown: configured as immutable"), false, "the tag v1 exists"},
		"something unknown":       {"build", errors.New("build: strange"), true, ""},
		"resolve with a password": {"resolve", errors.New("GET https://registry.example.com/v2/: UNAUTHORIZED: authentication required"), false, "check username and password"},
		"base image limited":      {"build", from("unexpected status from HEAD request to https://registry-1.docker.io/v2/library/golang/manifests/1.26: 429 Too Many Requests\ntoomanyrequests: You have reached your pull rate limit"), true, ""},
		"base image denied":       {"build", from("pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"), false, "index.docker.io knows these credentials but does not allow this"},
		"base image cut":          {"build", from(`failed to do request: Head "https://registry-1.docker.io/v2/library/golang/manifests/1.26": dial tcp: i/o timeout`), true, ""},
		"a command that sounds so": {"build", &build.Failure{Command: "RUN docker push x", File: "Dockerfile", Line: 2, Err: errors.New("429 too many requests")}, false,
			"Dockerfile:2: RUN docker push x: 429 too many requests"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.on[tt.at] = func(context.Context) error { return tt.err }
			r := b.run('a', environment(nil), nil)
			err := b.AdvanceRun(t.Context(), r.ID, 0)
			switch r = b.reload(r); {
			case tt.again && (err == nil || r.State != store.RunRunning):
				t.Errorf("%v, the run is %s: %+v", err, r.State, r.Failure.V)
			case !tt.again && (err != nil || r.State != store.RunFailed || !strings.Contains(r.Failure.V.Reason, tt.want)):
				t.Errorf("%v, the run is %s: %+v, want %q", err, r.State, r.Failure.V, tt.want)
			}
		})
	}
}

// TestRunOfPushedImage: nothing is fetched and nothing is built.
func TestRunOfPushedImage(t *testing.T) {
	t.Parallel()
	const repository, digest = "registry.example.com/team/base", "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for name, tt := range map[string]struct {
		image store.PushedImage
		on    error
		again bool
		want  string // the release's image, or the failure
	}{
		"there":          {image: store.PushedImage{Repository: repository, Tag: "v1", Digest: digest}, want: repository + "@" + digest},
		"gone":           {image: store.PushedImage{Repository: repository, Tag: "v1", Digest: digest}, on: image.ErrNotFound, want: "the registry has no such image"},
		"a chart":        {image: store.PushedImage{Repository: repository, Tag: "v1"}, on: image.ErrNoImage, want: "it is no image"},
		"registry down":  {image: store.PushedImage{Repository: repository, Tag: "v1"}, on: errors.New("dial tcp: connection refused"), again: true},
		"wrong password": {image: store.PushedImage{Repository: repository, Tag: "v1"}, on: errors.New("UNAUTHORIZED: no"), want: "check username and password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.pushed[repository+"@"+digest] = true
			b.on["resolve"] = func(context.Context) error { return tt.on }
			r := b.run('a', environment(nil), nil)
			b.update(func(tx *store.Tx) error { return tx.EndRun(r.ID, store.RunCancelled, "", nil) })
			r.Cause, r.Image.V = store.CauseRegistry, &tt.image
			b.update(func(tx *store.Tx) error { return tx.NewRun(&r, StepResolve) })
			err := b.AdvanceRun(t.Context(), r.ID, 0)
			r = b.reload(r)
			said := string(r.State)
			switch {
			case r.Failure.V != nil:
				said = r.Failure.V.Step + ": " + r.Failure.V.Reason
			case r.Release > 0:
				b.update(func(tx *store.Tx) error {
					rel, err := tx.Release(r.Repo, r.App, r.Release)
					said = rel.Images.V[0].Repository + "@" + rel.Images.V[0].Digest
					return err
				})
			}
			if tt.again != (err != nil) || !strings.Contains(said, tt.want) {
				t.Errorf("%v, %s, want %s", err, said, tt.want)
			}
			if calls := strings.Join(b.calls, " "); strings.Contains(calls, "checkout") || strings.Contains(calls, "build") {
				t.Errorf("calls: %s", calls)
			}
		})
	}
}
