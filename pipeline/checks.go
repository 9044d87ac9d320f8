package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/junit"
	"github.com/shipmate-dev/shipmate/pipeline/mask"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	maxBeside    = 4         // parts of one run that are at work at a time
	maxReport    = 10 << 20  // bytes of a check's report
	maxArtifacts = 100 << 20 // bytes of a run's artifacts
	maxFiles     = 1000      // of a report, and of a run's artifacts
)

// ArtifactDir is where the artifacts of a run are kept, in a folder for each check; id is one of ours and safe in a path.
func ArtifactDir(dataDir, id string) string { return filepath.Join(dataDir, "artifacts", id) }

// OpenArtifact opens a file that a check of a run kept. No link leads out of its folder.
func OpenArtifact(dataDir, id, check, path string) (*os.File, error) {
	root, err := os.OpenRoot(filepath.Join(ArtifactDir(dataDir, id), check))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // what was opened stays open
	return root.Open(path)
}

// sideBySide runs parts at the same time, at most limit of them, each to its end. The error is the first that trying again
// does not mend, and where there is none, the first.
func sideBySide(limit int, parts []func() error) error {
	var g errgroup.Group
	g.SetLimit(limit)
	var mu sync.Mutex
	var first error
	var panicked *store.Panic
	for _, part := range parts {
		g.Go(func() error {
			defer func() {
				if p := recover(); p != nil { // it belongs to whoever called
					mu.Lock()
					defer mu.Unlock()
					var known bool
					if panicked, known = p.(*store.Panic); !known {
						panicked = &store.Panic{Value: p, Stack: debug.Stack()}
					}
				}
			}()
			if err := part(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil || lasting(err) && !lasting(first) {
					first = err
				}
			}
			return nil
		})
	}
	_ = g.Wait() // the parts return none
	if panicked != nil {
		panic(panicked)
	}
	return first
}

// unfinishedChecks are the checks that no earlier attempt brought to an end.
func (m *making) unfinishedChecks() (checks []CheckSpec) {
	for _, c := range m.cfg.Checks {
		s, known := m.step(CheckStep(c.Name))
		if known && s.State != store.StepSucceeded && s.State != store.StepFailed {
			checks = append(checks, c)
		}
	}
	return checks
}

// artifactLimit is what a run may still keep, besides what its steps have.
func artifactLimit(steps []store.Step) *build.Limit {
	bytes, files := int64(maxArtifacts), maxFiles
	for _, s := range steps {
		if s.Result.V != nil {
			for _, f := range s.Result.V.Artifacts {
				bytes, files = bytes-f.Size, files-1
			}
		}
	}
	return build.NewLimit(bytes, files)
}

// check runs one check and stores what it brought.
func (m *making) check(ctx context.Context, c CheckSpec, artifacts *build.Limit) error {
	step := CheckStep(c.Name)
	if _, _, err := m.begin(ctx, "run", m.run.ID, step); err != nil {
		return stepError{step, err}
	}
	outputs, err := m.outputs(c, artifacts)
	if err != nil {
		return stepError{step, err}
	}
	res, err := m.within(ctx, c.Timeout, "check", func(ctx context.Context) (build.Result, error) {
		return m.Builder.Build(ctx, checkRequest(m.req, c, outputs), logLine(m.log, step+" "))
	})
	if err != nil {
		m.log.Line(time.Now(), step, err.Error())
	}
	if ctx.Err() != nil {
		return stepError{step, err}
	}
	folder := m.req.Context
	if c.Target == "" {
		folder = "." // a command sees it all
	}
	err = m.annotated(ctx, step, step+" ", folder, err)
	result := m.result(c, res, outputs)
	for _, l := range result.Left {
		m.log.Line(time.Now(), step, "not kept: "+l)
	}
	if err != nil {
		err = stepError{step, err}
		if lasting(err) {
			result.Failure = m.runFailure(err)
			if t := result.Tests; t != nil && t.Failed > 0 {
				result.Failure.Reason = fmt.Sprintf("%d of %d tests failed: %s", t.Failed, t.Total, strings.Join(t.Names(), ", "))
			}
		}
		return m.end(ctx, step, result, err)
	}
	err = m.DB.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.EndPart(m.run.ID, step, store.StepSucceeded, result), tx.Wake(store.TaskReport, "run/"+m.run.ID))
	})
	if err != nil {
		return stepError{step, err}
	}
	return nil
}

// outputs are what is read back of a check: its report, if it has one, and its artifacts. What an attempt that was
// interrupted left of them is removed.
func (m *making) outputs(c CheckSpec, artifacts *build.Limit) ([]build.Output, error) {
	var outputs []build.Output
	if c.Report != "" {
		dir := filepath.Join(m.dir, "report", c.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		outputs = append(outputs, build.Output{Path: c.Report, Dir: dir, Limit: build.NewLimit(maxReport, maxFiles)})
	}
	dir := filepath.Join(ArtifactDir(m.DataDir, m.run.ID), c.Name)
	if err := os.RemoveAll(dir); err != nil || len(c.Artifacts) == 0 {
		return outputs, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, path := range c.Artifacts {
		outputs = append(outputs, build.Output{Path: path, Dir: dir, Limit: artifacts})
	}
	return outputs, nil
}

// checkRequest says what the builder is asked for. A stage is trusted with what the image's build is trusted with; a
// command gets neither its secrets nor its arguments.
func checkRequest(image build.Request, c CheckSpec, outputs []build.Output) build.Request {
	req := image
	req.NoPush, req.Target, req.Platforms, req.Outputs = true, c.Target, nil, outputs
	if c.Target == "" {
		req.Command = &build.Command{Image: c.Image, Run: c.Run}
		req.Secrets, req.Args, req.CacheImports = nil, nil, nil
	}
	return req
}

// result is what a check brought, with its secrets taken out.
func (m *making) result(c CheckSpec, res build.Result, outputs []build.Output) store.StepResult {
	var r store.StepResult
	mask := m.mask()
	report := -1 // its output
	if c.Report != "" {
		report = 0
		r.Tests, r.Unread = readReport(outputs[0], res, mask)
	}
	for _, f := range res.Files {
		if f.Output != report && mask.String(f.Path) == f.Path { // a name may be a secret too
			r.Artifacts = append(r.Artifacts, store.File{Path: f.Path, Size: f.Size})
		}
	}
	for _, l := range res.Left {
		if l.Output != report {
			r.Left = append(r.Left, mask.String(strings.TrimPrefix(l.Path+": "+l.Why, ": ")))
		}
	}
	return r
}

// readReport reads a check's report, a file or the *.xml of a folder; unread is why it could not be.
func readReport(output build.Output, res build.Result, m mask.Mask) (_ *store.Tests, unread string) {
	var sum junit.Report
	files := 0
	for _, f := range res.Files {
		if f.Output != 0 || f.Path != filepath.ToSlash(filepath.Clean(output.Path)) && !strings.HasSuffix(f.Path, ".xml") {
			continue
		}
		one, err := parseReport(output.Dir, f.Path, m)
		if err != nil {
			return nil, oneLine(m.String(f.Path + ": " + err.Error()))
		}
		sum.Add(one)
		files++
	}
	for _, l := range res.Left {
		if l.Output == 0 {
			return nil, oneLine(m.String(strings.TrimPrefix(l.Path+": "+l.Why, ": ")))
		}
	}
	if files == 0 {
		return nil, output.Path + ": not found"
	}
	tests := &store.Tests{Total: sum.Tests, Failed: sum.Bad(), Skipped: sum.Skipped, Seconds: sum.Duration.Seconds()}
	for _, t := range sum.Failing {
		tests.Failing = append(tests.Failing, store.FailedTest{Suite: t.Suite, Name: t.Name, Message: t.Message})
	}
	return tests, ""
}

func parseReport(dir, name string, m mask.Mask) (junit.Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return junit.Report{}, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(name)
	if err != nil {
		return junit.Report{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return junit.Parse(f, m.String)
}
