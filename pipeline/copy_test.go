package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

const otherImage = "other.example.com/prod/web"

func copying(e *Environment) { e.Registry = otherImage }

func (b *bench) step(d store.Deployment, kind string) (s store.Step) {
	b.t.Helper()
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) (err error) { s, err = tx.Step(d.ID, kind); return err }))
	return s
}

// called counts calls of a far end since it was asked last.
func (b *bench) called(what string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if c == what {
			n++
		}
	}
	b.calls = nil
	return n
}

// TestCopy: the image is in the environment's registry before anything is applied, and is pulled from there; a way back needs no copy.
func TestCopy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.servers.puller = "reader"
	env := environment(func(e *Environment) { copying(e); e.PullSecret = "tcr" })
	b.on["pull secret tcr of reader"] = func(context.Context) error {
		if b.step(b.deployment(1), StepCopy).State != store.StepSucceeded {
			t.Error("applied before it was copied")
		}
		return nil
	}
	b.run('a', env, nil)
	b.ok(b.work(t.Context()))
	want := otherImage + "@" + fmt.Sprintf("sha256:%064x", 1)
	d := b.deployment(1)
	if s := b.step(d, StepCopy); d.State != store.Succeeded || b.running != want || !b.pushed[want] || s.Detail != want {
		t.Fatalf("%s: it runs %s, the copy says %s", d.State, b.running, s.Detail)
	}
	if n := b.called("copy"); n != 1 {
		t.Errorf("copied %d times", n)
	}
	b.run('b', env, nil)
	b.ok(b.work(t.Context()))
	b.called("copy")
	back := func() store.Deployment {
		var made store.Deployment
		b.update(func(tx *store.Tx) (err error) {
			made, err = NewRollback(tx, b.deployment(2), b.deployment(1), store.CauseRollback, "bob", "")
			return err
		})
		b.ok(b.work(t.Context()))
		return b.deployment(made.Number)
	}
	if d := back(); d.State != store.Succeeded || b.running != want || b.called("copy") != 0 {
		t.Errorf("a way back: %s, %s", d.State, b.running)
	}

	// It was deleted there meanwhile.
	delete(b.pushed, want)
	if d := back(); d.State != store.Succeeded || !b.pushed[want] || b.called("copy") != 1 {
		t.Errorf("a way back to what was deleted: %s", d.State)
	}
	// A registry that is away holds up no way back.
	b.on["ask"] = func(context.Context) error { return errors.New("nobody answers") }
	if d := back(); d.State != store.Succeeded || b.step(d, StepCopy).Detail != "not asked for again: nobody answers" {
		t.Errorf("a way back without a registry: %s", d.State)
	}
	// Neither has it.
	delete(b.on, "ask")
	delete(b.pushed, want)
	delete(b.pushed, testImage+"@"+fmt.Sprintf("sha256:%064x", 1))
	if d := back(); d.State != store.Failed || !strings.Contains(d.Reason, "neither other.example.com/prod/web nor registry.example.com/team/web has the image sha256:") || d.Failure.V.Step != StepCopy {
		t.Errorf("a way back to what nobody has: %s, %s", d.State, d.Reason)
	}
}

// TestCopyRefused: what needs somebody to change something first ends the deployment, with the environment as it was; what passes
// is waited for.
func TestCopyRefused(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code transport.ErrorCode) error {
		return image.Explain(fmt.Errorf("copy to x: %w", &transport.Error{StatusCode: status, Errors: []transport.Diagnostic{{Code: code}}}), otherImage)
	}
	for name, tt := range map[string]struct {
		err  error
		says string // of what ends; empty: it is tried again
	}{
		"denied":   {refusal(http.StatusForbidden, transport.DeniedErrorCode), "does not allow this; check that the namespace exists"},
		"digest":   {fmt.Errorf("x: %w", image.ErrDigest), "answers with another digest"},
		"too many": {refusal(http.StatusTooManyRequests, transport.TooManyRequestsErrorCode), ""},
		"away":     {errors.New("connection refused"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.on["copy"] = func(context.Context) error { return tt.err }
			b.run('a', environment(copying), nil)
			err := b.work(t.Context())
			d := b.deployment(1)
			if tt.says != "" {
				if err != nil || d.State != store.Failed || !strings.Contains(d.Reason, tt.says) || d.Failure.V.Step != StepCopy || b.running != "" {
					t.Errorf("%s: %s (%v), it runs %q", d.State, d.Reason, err, b.running)
				}
				return
			}
			if err == nil || d.State != store.Applying || !strings.Contains(d.Progress, "other.example.com/prod/web: 0.0 MB / 4.0 MB") {
				t.Fatalf("%v, %s, %s", err, d.State, d.Progress)
			}
			delete(b.on, "copy")
			b.update((*store.Tx).Recover)
			b.ok(b.work(t.Context()))
			if d := b.deployment(1); d.State != store.Succeeded || d.Progress != "Deployment/web: 0 of 1 pods ready" {
				t.Errorf("%s, %s", d.State, d.Progress)
			}
		})
	}
}

// TestCopyStopped: a copy that is cancelled ends at once.
func TestCopyStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.on["copy"] = func(ctx context.Context) error {
		b.update(func(tx *store.Tx) error { return tx.AskCancel(b.deployment(1), "bob") })
		<-ctx.Done()
		return ctx.Err()
	}
	b.run('a', environment(copying), nil)
	b.ok(b.work(t.Context()))
	if d := b.deployment(1); d.State != store.Cancelled || b.running != "" {
		t.Errorf("%s, it runs %q", d.State, b.running)
	}
}

// TestCopyKilledAnywhere: whenever the engine is killed, the release is copied and applied afterwards.
func TestCopyKilledAnywhere(t *testing.T) {
	t.Parallel()
	before := newBench(t)
	before.run('a', environment(func(e *Environment) {
		copying(e)
		e.Flow = []FlowStep{{Job: "deploy/job.yaml"}, {Deploy: &struct{}{}}}
	}), nil)
	before.files = map[string]string{"deploy/web.yaml": manifest, "deploy/job.yaml": `{apiVersion: batch/v1, kind: Job, metadata: {name: m}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: registry.example.com/team/web}]}}}}`}
	for n := 1; ; n++ {
		b := before.copy()
		ctx, kill := context.WithCancel(t.Context())
		b.mu.Lock()
		b.points, b.dieAt, b.kill = 0, n, kill
		b.mu.Unlock()
		_ = b.work(ctx) // killed
		kill()
		b.mu.Lock()
		survived := b.points < n
		b.dieAt = 0
		b.mu.Unlock()
		b.update((*store.Tx).Recover)
		b.ok(b.work(t.Context()))
		digest := b.running[strings.Index(b.running, "@"):]
		if got := b.deployments(); got != "automatic 1 succeeded" || b.running != otherImage+digest || !b.pushed[b.running] {
			t.Fatalf("killed at %d: %s, it runs %s", n, got, b.running)
		}
		_, jobs, err := b.Objects(b.deployment(1))
		b.ok(err)
		if len(jobs) != 1 || imageOf(jobs) != b.running {
			t.Fatalf("the Job runs %v", jobs)
		}
		if survived {
			if n < 40 {
				t.Errorf("only %d points", n)
			}
			return
		}
	}
}

// TestSeveralImages: registry names a repository for one image.
func TestSeveralImages(t *testing.T) {
	rel := store.Release{Number: 3}
	rel.Images.V = []store.Image{{Repository: "r.example.com/a", Digest: "sha256:a"}, {Repository: "r.example.com/b", Digest: "sha256:b"}}
	env := environment(copying)
	if at, err := env.ImagesAt(rel); err == nil || !strings.HasPrefix(err.Error(), "registry of staging names a repository for one image, and release 3 has 2 (r.example.com/a, r.example.com/b); remove registry there") || len(at) != 2 || at[0].Repository != "r.example.com/a" {
		t.Errorf("%v, %v", at, err)
	}
	rel.Images.V = rel.Images.V[:1]
	at, err := env.ImagesAt(rel)
	if err != nil || at[0].Repository != otherImage || rel.Images.V[0].Repository != "r.example.com/a" {
		t.Errorf("%v, %v; the release has %v", at, err, rel.Images.V)
	}
}

// TestRegistryOfAnEnvironment: what may stand in the file.
func TestRegistryOfAnEnvironment(t *testing.T) {
	file := func(build, registry string) string {
		return build + "\nenvironments: [{name: staging, cluster: test, namespace: staging, manifests: deploy, registry: " + registry + "}]"
	}
	const built = "build: {image: r.example.com/team/web}"
	for yaml, want := range map[string]string{
		file(built, "other.example.com/team/web"):                                                    "",
		file(built, "r.example.com/prod/web"):                                                        "",
		file(built, "r.example.com/team/web"):                                                        "environments[0].registry: is where the image is built already",
		file(built+"\ntrigger: {registry: {repository: x.example.com/w}}", "r.example.com/team/web"): "",
		file(built, "other.example.com"):                                                             "is no image repository",
		file(built, "other.example.com/team/web:v1"):                                                 "has a tag",
		file(built, `""`): "environments[0].registry: is empty",
	} {
		_, err := Parse("f", []byte(yaml))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", yaml, err, want)
		}
	}
}
