package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/source"
	"github.com/shipmate-dev/shipmate/store"
)

// AdvanceRun takes a run to its end. An error means: try again later; attempts counts how often that was so.
func (e *Engine) AdvanceRun(ctx context.Context, id string, attempts int) error {
	var run store.Run
	var repo store.Repo
	err := e.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if run, err = tx.Run(id); err != nil {
			return err
		}
		if repo, err = tx.Repo(run.Repo); err != nil {
			return err
		}
		if run.State == store.RunQueued {
			return tx.StartRun(id)
		}
		return nil
	})
	if err != nil || store.Final(run.State) {
		return err
	}
	step := StepFetch
	var rel store.Release
	err = e.while(ctx, func(tx *store.Tx) (bool, error) {
		r, err := tx.Run(id)
		return store.Final(r.State), err
	}, func(ctx context.Context) error {
		made, err := e.makeImage(ctx, run, repo, &step)
		if err != nil {
			return err
		}
		return e.DB.Update(ctx, func(tx *store.Tx) (err error) {
			if run, err = tx.Run(id); err != nil { // what is deployed may have been added to
				return err
			}
			if rel, err = tx.SucceedRun(run, []store.Image{made}); err != nil {
				return err
			}
			for _, q := range run.Deploys.V {
				if _, err := NewDeployment(tx, rel, q); err != nil {
					return err
				}
			}
			return nil
		})
	})
	var failed *build.Failure
	switch {
	case err == nil, errors.Is(err, errStopped):
		return nil // when stopped, whoever stopped it wrote the state
	case ctx.Err() != nil:
		return err
	case errors.As(err, &failed) && !image.IsTemporary(err) || isPermanent(err) || attempts+1 >= maxAttempts:
		f := failure(step, err)
		if errors.Is(err, build.ErrUnavailable) {
			f.Hint = "is buildkitd running at that address, and may the bot connect to it? Push again, or comment /deploy, once it is"
		}
		if failed != nil {
			if failed.File != "" {
				f.Where = fmt.Sprintf("%s:%d", failed.File, failed.Line)
			}
			f.Command, f.Logs = failed.Command, failed.Tail
		}
		e.masked(f)
		return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.EndRun(id, store.RunFailed, f.Reason, f) })
	}
	return err
}

// makeImage fetches, builds and pushes, and reads the digest back.
func (e *Engine) makeImage(ctx context.Context, run store.Run, repo store.Repo, step *string) (store.Image, error) {
	if run.Image.V != nil {
		return e.pushedImage(ctx, run, step)
	}
	var cfg Config
	if err := json.Unmarshal(run.Config.V, &cfg); err != nil {
		return store.Image{}, permanent{err}
	}
	image := store.Image{Repository: cfg.Build.Image}
	// Asked again here, where the right is used: the server's file may have changed since the run was queued.
	if err := e.Server.MayUseRegistry(image.Repository, run.Repo); err != nil {
		return image, permanent{err}
	}
	// What was pushed and recorded before a crash is what the release will be: a second build would make another digest.
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) { image.Digest, err = built(tx, run.ID); return err })
	if err != nil {
		return image, err
	}
	if image.Digest == "" {
		if image.Digest, err = e.build(ctx, run, repo, cfg, step); err != nil {
			return image, err
		}
	}
	*step = StepResolve
	return image, e.step(ctx, "run", run.ID, *step, func() (string, error) {
		got, err := e.Images.Resolve(ctx, image.Repository+"@"+image.Digest)
		if err == nil && got != image.Digest {
			err = permanent{fmt.Errorf("the registry answers with %s for %s", got, image.Digest)}
		}
		return got, inWords(err, image.Repository)
	})
}

// built is the digest that the build step of a run recorded, empty where it has not ended.
func built(tx *store.Tx, run string) (digest string, err error) {
	steps, err := tx.Steps(run)
	for _, s := range steps {
		if s.Kind == StepBuild && s.State == store.StepSucceeded {
			digest = s.Detail
		}
	}
	return digest, err
}

// build fetches, builds and pushes, and returns the digest.
func (e *Engine) build(ctx context.Context, run store.Run, repo store.Repo, cfg Config, step *string) (digest string, err error) {
	secrets := map[string][]byte{}
	for _, name := range cfg.Build.Secrets {
		if err := e.Server.MayUseSecret(name, run.Repo, run.Ref, repo.DefaultBranch); err != nil {
			return "", permanent{err}
		}
		v, err := e.Server.Secret(name)
		if err != nil {
			return "", permanent{err}
		}
		secrets[name] = []byte(v)
	}
	dir, remove, err := e.workDir()
	if err != nil {
		return "", err
	}
	defer remove()
	log, err := OpenLog(LogFile(e.DataDir, run.ID), e.mask())
	if err != nil {
		return "", err
	}
	defer func() { _ = log.Close() }() // the build counts, not its log

	dest := filepath.Join(dir, "src")
	var commit source.Commit
	err = e.step(ctx, "run", run.ID, *step, func() (string, error) {
		log.Line(time.Now(), *step, fmt.Sprintf("fetching %s of %s", run.SHA, run.Repo))
		commit, err = e.Source.Checkout(ctx, repo, run.SHA, dest)
		if errors.Is(err, source.ErrCommitGone) {
			err = permanent{err}
		}
		return commit.Subject, err
	})
	if err != nil {
		log.Line(time.Now(), *step, err.Error())
		return "", err
	}

	var previous *store.Release // nil for the first of its branch
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		previous, err = store.Optional(tx.ReleaseOn(run.Repo, run.App, run.Ref))
		return err
	})
	if err != nil {
		return "", err
	}
	previousSHA := ""
	if previous != nil {
		previousSHA = previous.SHA
	}
	*step = StepBuild
	err = e.step(ctx, "run", run.ID, *step, func() (string, error) {
		req, err := buildRequest(cfg, run, repo, commit, previousSHA, dest, secrets)
		if err != nil {
			return "", permanent{err}
		}
		ctx := ctx
		if t := cfg.Build.Timeout; t > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, t, permanent{fmt.Errorf("the build took longer than its timeout of %s", t)})
			defer cancel()
		}
		res, err := e.Builder.Build(ctx, req, func(l build.Line) { log.Line(l.At, l.Step, l.Text) })
		if err != nil && isPermanent(context.Cause(ctx)) {
			err = context.Cause(ctx)
		}
		digest = res.Digest
		return res.Digest, inWords(err, cfg.Build.Image)
	})
	if err != nil {
		log.Line(time.Now(), *step, err.Error())
	}
	return digest, err
}
