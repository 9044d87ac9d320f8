package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/shipmate-dev/shipmate/store"
)

// TestGoneImage: an image is gone where neither the registry of the environment has it nor that which it would be copied from again; a
// registry that can't tell says nothing.
func TestGoneImage(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*Environment){"built": nil, "copied": copying} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.run('a', environment(edit), nil)
			b.ok(b.work(t.Context()))
			d := b.deployment(1)
			var rel store.Release
			b.ok(b.DB.View(t.Context(), func(tx *store.Tx) (err error) { rel, err = tx.Release(testRepo, "web", 1); return err }))
			built := testImage + "@" + rel.Images.V[0].Digest
			runs := built
			if edit != nil {
				runs = otherImage + "@" + rel.Images.V[0].Digest
			}
			is := func(what, want string) {
				t.Helper()
				if got, err := b.GoneImage(t.Context(), d); err != nil || got != want {
					t.Errorf("%s: %q is gone, %v", what, got, err)
				}
			}
			is("all is there", "")
			delete(b.pushed, runs)
			if edit != nil {
				is("it can be copied again", "")
				delete(b.pushed, built)
			}
			is("nobody has it", runs)

			away := errors.New("nobody answers")
			b.on["ask"] = func(context.Context) error { return away }
			if got, err := b.GoneImage(t.Context(), d); got != "" || !errors.Is(err, away) {
				t.Errorf("who does not answer: %q is gone, %v", got, err)
			}
			delete(b.on, "ask")
			b.servers.denied = errors.New("not any more")
			if got, err := b.GoneImage(t.Context(), d); got != "" || err == nil {
				t.Errorf("who may not ask: %q is gone, %v", got, err)
			}
		})
	}
}
