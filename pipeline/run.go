package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
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
	var rel store.Release
	err = e.while(ctx, func(tx *store.Tx) (bool, error) {
		r, err := tx.Run(id)
		return store.Final(r.State), err
	}, func(ctx context.Context) error {
		made, err := e.makeImage(ctx, run, repo)
		if err != nil {
			return err
		}
		if run.Cause == store.CausePull {
			return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.PassRun(id) })
		}
		return e.DB.Update(ctx, func(tx *store.Tx) (err error) {
			if run, err = tx.Run(id); err != nil { // what is deployed may have been added to
				return err
			}
			if rel, err = tx.SucceedRun(run, []store.Image{made}); err != nil {
				return err
			}
			overtaken := false
			if run.Cause == store.CausePush {
				if overtaken, err = tx.Overtaken(run); err != nil {
					return err
				}
			}
			for _, q := range run.Deploys.V {
				if overtaken && q.Cause == store.CauseAutomatic {
					continue // the newer one goes there
				}
				if _, err := NewDeployment(tx, rel, q); err != nil {
					return err
				}
			}
			return nil
		})
	})
	switch {
	case err == nil, errors.Is(err, errStopped):
		return nil // when stopped, whoever stopped it wrote the state
	case ctx.Err() != nil, errors.Is(err, build.ErrNoRoom):
		return err
	case lasting(err) || attempts+1 >= maxAttempts:
		f := e.runFailure(err)
		return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.EndRun(id, store.RunFailed, f.Reason, f) })
	}
	return err
}

// stepError says in which step of a run an error happened.
type stepError struct {
	step string
	error
}

func (e stepError) Unwrap() error { return e.error }

// stepFailed says that a step has ended as failed, with what was stored of that.
type stepFailed struct{ *store.Failure }

func (f stepFailed) Error() string { return f.Reason }

// lasting tells whether trying again does not mend an error.
func lasting(err error) bool {
	return errors.As(err, new(*build.Failure)) && !image.IsTemporary(err) || errors.As(err, new(stepFailed)) || isPermanent(err)
}

// runFailure is what is told of an error of a run.
func (e *Engine) runFailure(err error) *store.Failure {
	var known stepFailed
	if errors.As(err, &known) {
		return known.Failure
	}
	at := stepError{step: StepFetch}
	errors.As(err, &at)
	f := failure(at.step, err)
	f.Hint = build.Hint(err)
	if errors.Is(err, build.ErrUnavailable) {
		f.Hint = "push again, or comment /deploy, once a builder answers; the server's log says which does not, and why"
	}
	var failed *build.Failure
	if errors.As(err, &failed) {
		if failed.Line > 0 {
			f.Where = fmt.Sprintf("%s:%d", failed.File, failed.Line)
		}
		f.Command, f.Logs = failed.Command, failed.Tail
	}
	return e.masked(f)
}

// making is one attempt at what a run needs for its release: the image, and every check passed.
type making struct {
	*Engine
	run   store.Run
	repo  store.Repo
	cfg   Config
	steps []store.Step // as an earlier attempt left them
	dir   string       // removed when the attempt ends
	log   *runlog.Writer
	req   build.Request // of the image
}

// makeImage fetches, builds and pushes, with the checks beside that, then reads the digest back and puts the tags on it. What
// ended in an earlier attempt is not done again.
func (e *Engine) makeImage(ctx context.Context, run store.Run, repo store.Repo) (store.Image, error) {
	if run.Image.V != nil {
		return e.pushedImage(ctx, run)
	}
	m := &making{Engine: e, run: run, repo: repo}
	if err := json.Unmarshal(run.Config.V, &m.cfg); err != nil {
		return store.Image{}, permanent{err}
	}
	image := store.Image{Repository: m.cfg.Build.Image}
	// Asked again here, where the right is used: the server's file may have changed since the run was queued.
	if err := e.Server.MayUseRegistry(image.Repository, run.Repo); err != nil {
		return image, permanent{err}
	}
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) { m.steps, err = tx.Steps(run.ID); return err })
	if err != nil {
		return image, err
	}
	// What was pushed and recorded before a crash is what the release will be: a second build would make another digest.
	built, _ := m.step(StepBuild)
	if built.State == store.StepSucceeded {
		image.Digest = built.Detail
	}
	building := built.State != store.StepSucceeded && built.State != store.StepFailed
	checks := m.unfinishedChecks()
	if building || len(checks) > 0 {
		remove, err := m.prepare(ctx)
		defer remove()
		if err != nil {
			return image, err
		}
	}
	parts := []func() error{m.failedBefore}
	if building {
		parts = append(parts, func() (err error) {
			image.Digest, err = m.build(ctx)
			return m.end(ctx, StepBuild, store.StepResult{}, err)
		})
	}
	limit := artifactLimit(m.steps)
	for _, c := range checks {
		parts = append(parts, func() error { return m.check(ctx, c, limit) })
	}
	if err := sideBySide(maxBeside, parts); err != nil {
		return image, err
	}
	if run.Cause == store.CausePull { // nothing was pushed
		return image, nil
	}
	// Only now, when everything has passed: it puts the tags on the image.
	err = m.Engine.step(ctx, "run", run.ID, StepResolve, func() (string, error) {
		return image.Digest, inWords(m.resolve(ctx, run, m.cfg, &image), image.Repository)
	})
	return image, m.end(ctx, StepResolve, store.StepResult{}, err)
}

// step is what an earlier attempt left of a step.
func (m *making) step(kind string) (store.Step, bool) {
	i := slices.IndexFunc(m.steps, func(s store.Step) bool { return s.Kind == kind })
	if i < 0 {
		return store.Step{}, false
	}
	return m.steps[i], true
}

// failedBefore is the error of the step that failed first in an earlier attempt, while others still went on.
func (m *making) failedBefore() error {
	failed := slices.DeleteFunc(slices.Clone(m.steps), func(s store.Step) bool { return s.State != store.StepFailed })
	if len(failed) == 0 {
		return nil
	}
	first := slices.MinFunc(failed, func(a, b store.Step) int { return cmp.Or(a.FinishedAt.Compare(b.FinishedAt.Time), a.Seq-b.Seq) })
	return stepFailed{first.Result.V.Failure}
}

// end is the error with which a step ended, if it did. Where trying again does not mend it, the step is over, though what
// goes on beside it is not.
func (m *making) end(ctx context.Context, step string, result store.StepResult, err error) error {
	if err == nil || errors.As(err, new(stepFailed)) {
		return err
	}
	err = stepError{step, err}
	if ctx.Err() != nil || !lasting(err) {
		return err
	}
	if result.Failure == nil {
		result.Failure = m.runFailure(err)
	}
	ended := m.DB.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.EndPart(m.run.ID, step, store.StepFailed, result), tx.Wake(store.TaskReport, "run/"+m.run.ID))
	})
	if ended != nil {
		return stepError{step, ended}
	}
	return stepFailed{result.Failure}
}

// prepare fetches the commit, opens the log and makes the request of the image. remove ends it all, also after an error.
func (m *making) prepare(ctx context.Context) (remove func(), err error) {
	remove = func() {}
	grants, err := Trusted(m.run, m.repo, m.cfg, func(secret, ref string) error {
		return m.Server.MayUseSecret(secret, m.run.Repo, ref, m.repo.DefaultBranch)
	})
	if err != nil {
		return remove, permanent{err}
	}
	secrets := map[string][]byte{}
	for _, name := range grants.Secrets {
		v, err := m.Server.Secret(name)
		if err != nil {
			return remove, permanent{err}
		}
		secrets[name] = []byte(v)
	}
	dir, removeDir, err := m.workDir()
	if err != nil {
		return remove, err
	}
	remove = removeDir
	if m.log, err = OpenLog(LogFile(m.DataDir, m.run.ID), m.mask()); err != nil {
		return remove, err
	}
	remove = func() {
		_ = m.log.Close() // the build counts, not its log
		removeDir()
	}
	for _, name := range grants.Withheld {
		m.log.Line(time.Now(), StepFetch, fmt.Sprintf("the secret %s is not given to the build of a fork", name))
	}
	m.dir = dir
	dest := filepath.Join(dir, "src")
	var commit source.Commit
	err = m.Engine.step(ctx, "run", m.run.ID, StepFetch, func() (string, error) {
		m.log.Line(time.Now(), StepFetch, fmt.Sprintf("fetching %s of %s", m.run.SHA, m.run.Repo))
		commit, err = m.Source.Checkout(ctx, m.repo, m.run.SHA, dest, source.Options{Submodules: m.cfg.Build.Submodules, LFS: m.cfg.Build.LFS, Public: m.run.Fork != ""})
		if source.IsPermanent(err) {
			err = permanent{err}
		}
		return commit.Subject, err
	})
	if err != nil {
		m.log.Line(time.Now(), StepFetch, err.Error())
		return remove, err
	}
	var previous *store.Release // nil for the first of its branch
	err = m.DB.View(ctx, func(tx *store.Tx) (err error) {
		previous, err = store.Optional(tx.BuiltOn(m.run.Repo, m.run.App, m.run.Ref))
		return err
	})
	if err != nil {
		return remove, err
	}
	previousSHA := ""
	if previous != nil {
		previousSHA = previous.SHA
	}
	if m.req, err = buildRequest(m.cfg, m.run, m.repo, commit, previousSHA, dest, grants, secrets); err != nil {
		return remove, stepError{StepBuild, permanent{err}}
	}
	return remove, nil
}

// build builds and pushes, and returns the digest.
func (m *making) build(ctx context.Context) (digest string, err error) {
	err = m.Engine.step(ctx, "run", m.run.ID, StepBuild, func() (string, error) {
		res, err := m.within(ctx, m.cfg.Build.Timeout, "build", func(ctx context.Context) (build.Result, error) {
			return m.Builder.Build(ctx, m.req, logLine(m.log, ""))
		})
		digest = res.Digest
		return res.Digest, inWords(err, m.cfg.Build.Image)
	})
	if err != nil {
		m.log.Line(time.Now(), StepBuild, err.Error())
	}
	return digest, m.annotated(ctx, StepBuild, "", m.req.Context, err)
}

// annotated records which places in the source a failed step of the builder speaks of: err is how the run's step ended, prefix
// what stands before the builder's step in the log, and folder what of the checkout the step saw.
func (m *making) annotated(ctx context.Context, kind, prefix, folder string, err error) error {
	var failed *build.Failure
	if !errors.As(err, &failed) {
		return err
	}
	m.log.Flush()
	if e := m.annotate(ctx, m.run, kind, prefix+failed.Step, m.req.Dir, folder); e != nil {
		return errors.Join(err, fmt.Errorf("annotations: %w", e))
	}
	return err
}

// within gives work on a builder a time limit, over which it fails for good.
func (m *making) within(ctx context.Context, limit time.Duration, what string, work func(context.Context) (build.Result, error)) (build.Result, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, permanent{fmt.Errorf("the %s took longer than its timeout of %s", what, limit)})
		defer cancel()
	}
	res, err := work(ctx)
	if err != nil && isPermanent(context.Cause(ctx)) {
		err = context.Cause(ctx)
	}
	return res, err
}
