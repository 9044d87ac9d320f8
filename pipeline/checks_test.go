package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/store"
)

// check is what the fake builder does of a check: the call "check TARGET" or "check COMMAND", which leaves the bench's
// outputs behind, also when it fails.
func (b *bench) check(ctx context.Context, req build.Request, out func(build.Line)) (res build.Result, err error) {
	what := req.Target
	if req.Command != nil {
		what = req.Command.Run
	}
	err = b.call(ctx, "check "+what, nil)
	for i, o := range req.Outputs {
		content, ok := b.outputs[o.Path]
		if !ok {
			res.Left = append(res.Left, build.Left{Output: i, Path: o.Path, Why: "not found"})
			continue
		}
		if e := os.WriteFile(filepath.Join(o.Dir, o.Path), []byte(content), 0o600); e != nil {
			return res, e
		}
		res.Files = append(res.Files, build.File{Output: i, Path: o.Path, Size: int64(len(content))})
	}
	out(build.Line{At: time.Now(), Step: "RUN " + what, Text: "checking"})
	return res, err
}

// steps reads the steps of a run by their kinds.
func (b *bench) steps(r store.Run) map[string]store.Step {
	b.t.Helper()
	steps := map[string]store.Step{}
	b.ok(b.DB.View(context.Background(), func(tx *store.Tx) error {
		all, err := tx.Steps(r.ID)
		for _, s := range all {
			steps[s.Kind] = s
		}
		return err
	}))
	return steps
}

var (
	unit = CheckSpec{Name: "unit", Target: "test", Report: "junit.xml", Artifacts: []string{"cover.out", "none"}}
	vet  = CheckSpec{Name: "vet", Image: "golang:1.26", Run: "vet"}
)

const badReport = `<testsuite time="2"><testcase name="TestAdd"><failure message="got s3cr3t-token"/></testcase><testcase name="TestSub"/></testsuite>`

var errTests = &build.Failure{File: "Dockerfile", Line: 3, Command: "RUN go test", Tail: []string{"FAIL"}, Err: errors.New("exit code: 1")}

// TestFailedCheckKilledAnywhere: whenever the engine is killed, a check that fails fails the run with its own reason, the
// others and the build come to their ends, and what ended is not done again.
func TestFailedCheckKilledAnywhere(t *testing.T) {
	t.Parallel()
	before := newBench(t)
	run := before.run('a', environment(nil), func(c *Config) { c.Checks = []CheckSpec{unit, vet} })
	stride := 1
	if testing.Short() {
		stride = 5
	}
	for n := 1; ; n += stride {
		b := before.copy()
		b.servers.secrets = []string{"s3cr3t-token"}
		b.outputs = map[string]string{"junit.xml": badReport, "cover.out": "mode: set"}
		b.on["check test"] = func(context.Context) error { return errTests }
		ctx, kill := context.WithCancel(t.Context())
		b.mu.Lock()
		b.points, b.dieAt, b.kill = 0, n, kill
		b.mu.Unlock()
		_ = b.work(ctx) // killed or not
		kill()
		b.mu.Lock()
		survived := b.points < n
		b.dieAt = 0
		calls := slices.Clone(b.calls)
		b.mu.Unlock()
		ended := map[string]bool{}
		for kind, s := range b.steps(run) {
			ended[kind] = s.State == store.StepSucceeded || s.State == store.StepFailed
		}
		b.update((*store.Tx).Recover)
		b.ok(b.work(t.Context()))
		r := b.reload(run)
		steps := b.steps(run)
		got := fmt.Sprint(r.State, " ", steps[CheckStep("unit")].State, " ", steps[CheckStep("vet")].State, " ", steps[StepBuild].State, " ", steps[StepResolve].State)
		if got != "failed failed succeeded succeeded succeeded" {
			t.Errorf("killed at %d: %s", n, got)
		}
		want := store.Failure{Step: "check/unit", Where: "Dockerfile:3", Reason: "1 of 2 tests failed: TestAdd", Command: "RUN go test", Logs: []string{"FAIL"}}
		if r.Failure.V == nil || !reflect.DeepEqual(*r.Failure.V, want) {
			t.Errorf("killed at %d: %+v, want %+v", n, r.Failure.V, want)
		}
		result := steps[CheckStep("unit")].Result.V
		if result == nil || !reflect.DeepEqual(result.Tests, &store.Tests{Total: 2, Failed: 1, Seconds: 2, Failing: []store.FailedTest{{Name: "TestAdd", Message: "got •••"}}}) ||
			fmt.Sprint(result.Artifacts, result.Left) != "[{cover.out 9}] [none: not found]" {
			t.Errorf("killed at %d: %+v", n, result)
		}
		for kind, call := range map[string]string{CheckStep("unit"): "check test", CheckStep("vet"): "check vet", StepBuild: "build"} {
			again := slices.Contains(b.calls[len(calls):], call)
			if ended[kind] && again {
				t.Errorf("killed at %d: %s had ended, and was done again", n, kind)
			}
		}
		if file, err := os.ReadFile(filepath.Join(ArtifactDir(b.DataDir, run.ID), "unit", "cover.out")); err != nil || string(file) != "mode: set" {
			t.Errorf("killed at %d: %q, %v", n, file, err)
		}
		if survived {
			if n < 20 {
				t.Errorf("only %d points", n)
			}
			return
		}
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	fails := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	tests := map[string]struct {
		on       map[string]func(context.Context) error
		outputs  map[string]string
		timeout  time.Duration
		attempts int
		again    bool
		state    string // of the run
		failed   string // its step and reason
		unread   string // of the report of unit
	}{
		"all pass":              {outputs: map[string]string{"junit.xml": "<testsuite/>"}, state: store.RunSucceeded},
		"no report":             {state: store.RunSucceeded, unread: "junit.xml: not found"},
		"broken report":         {outputs: map[string]string{"junit.xml": "<testsuite>\n<s3cr3t-token"}, state: store.RunSucceeded, unread: "junit.xml: line 2: unexpected EOF"},
		"fails without report":  {on: map[string]func(context.Context) error{"check test": fails(errTests)}, state: store.RunFailed, failed: "check/unit Dockerfile:3: RUN go test: exit code: 1", unread: "junit.xml: not found"},
		"takes too long":        {on: map[string]func(context.Context) error{"check vet": hang}, timeout: 20 * time.Millisecond, state: store.RunFailed, failed: "check/vet the check took longer than its timeout of 20ms", unread: "junit.xml: not found"},
		"build fails too":       {on: map[string]func(context.Context) error{"build": fails(errTests), "check vet": hang}, timeout: 20 * time.Millisecond, state: store.RunFailed, failed: "build Dockerfile:3: RUN go test: exit code: 1", unread: "junit.xml: not found"},
		"builder away":          {on: map[string]func(context.Context) error{"check vet": fails(build.ErrUnavailable)}, again: true, state: store.RunSucceeded, unread: "junit.xml: not found"},
		"builder stays away":    {on: map[string]func(context.Context) error{"check vet": fails(build.ErrUnavailable)}, attempts: maxAttempts - 1, state: store.RunFailed, failed: "check/vet builder unavailable", unread: "junit.xml: not found"},
		"away, and one fails":   {on: map[string]func(context.Context) error{"check test": fails(errTests), "build": fails(build.ErrUnavailable)}, state: store.RunFailed, failed: "check/unit Dockerfile:3: RUN go test: exit code: 1", unread: "junit.xml: not found"},
		"the commit is missing": {on: map[string]func(context.Context) error{"checkout": fails(permanent{errors.New("gone")})}, state: store.RunFailed, failed: "fetch gone"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.servers.secrets = []string{"s3cr3t-token"}
			b.outputs = test.outputs
			if test.on != nil {
				b.on = test.on
			}
			r := b.run('a', environment(nil), func(c *Config) {
				c.Checks = []CheckSpec{unit, vet}
				c.Checks[1].Timeout = test.timeout
			})
			err := b.AdvanceRun(t.Context(), r.ID, test.attempts)
			if test.again {
				if err == nil || b.reload(r).State != store.RunRunning {
					t.Fatalf("%v, the run is %s", err, b.reload(r).State)
				}
				b.on, b.calls = map[string]func(context.Context) error{}, nil
				err = b.AdvanceRun(t.Context(), r.ID, 1)
				if slices.Contains(b.calls, "check test") || slices.Contains(b.calls, "build") {
					t.Errorf("what had ended was done again: %s", b.calls)
				}
			}
			b.ok(err)
			r = b.reload(r)
			failed := ""
			if f := r.Failure.V; f != nil {
				failed = f.Step + " " + f.Reason
			}
			if r.State != test.state || failed != test.failed {
				t.Errorf("the run is %s: %q, want %s: %q", r.State, failed, test.state, test.failed)
			}
			for kind, s := range b.steps(r) {
				if s.State == store.StepPending || s.State == store.StepRunning {
					t.Errorf("the run is over, its step %s is %s", kind, s.State)
				}
				if kind == CheckStep("unit") && s.Result.V != nil && s.Result.V.Unread != test.unread {
					t.Errorf("the report: %q, want %q", s.Result.V.Unread, test.unread)
				}
			}
		})
	}
}

// A stage gets what the image's build gets, and a command none of that. Nothing of either is pushed.
func TestCheckRequest(t *testing.T) {
	image := build.Request{Dir: "/work", Context: "app", Dockerfile: "app/Dockerfile", Target: "release", Args: map[string]string{"A": "b"}, Platforms: []string{"linux/arm64"},
		Secrets: map[string][]byte{"npm": []byte("x")}, Image: testImage, CacheImports: []string{testImage + ":cache"}}
	outputs := []build.Output{{Path: "junit.xml"}}
	stage := checkRequest(image, unit, outputs)
	if want := (build.Request{Dir: "/work", Context: "app", Dockerfile: "app/Dockerfile", Target: "test", Args: image.Args, Secrets: image.Secrets, Image: testImage, CacheImports: image.CacheImports,
		NoPush: true, Outputs: outputs}); !reflect.DeepEqual(stage, want) {
		t.Errorf("%+v", stage)
	}
	command := checkRequest(image, vet, outputs)
	if !command.NoPush || command.Command == nil || *command.Command != (build.Command{Image: "golang:1.26", Run: "vet"}) || command.Secrets != nil || command.Args != nil || command.CacheImports != nil || command.Dir != "/work" {
		t.Errorf("%+v", command)
	}
}

func TestArtifactLimit(t *testing.T) {
	kept := func(files ...store.File) store.Step {
		return store.Step{Result: store.JSON[*store.StepResult]{V: &store.StepResult{Artifacts: files}}}
	}
	got := artifactLimit([]store.Step{{}, kept(store.File{Size: 1 << 20}, store.File{Size: 2 << 20}), kept(store.File{Size: 3})})
	if want := build.NewLimit(maxArtifacts-3<<20-3, maxFiles-3); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestOpenArtifact(t *testing.T) {
	data := t.TempDir()
	dir := filepath.Join(ArtifactDir(data, "run"), "unit")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a"), 0o700), os.WriteFile(filepath.Join(dir, "a", "b"), []byte("kept"), 0o600),
		os.WriteFile(filepath.Join(data, "secret"), []byte("x"), 0o600), os.Symlink(filepath.Join(data, "secret"), filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	f, err := OpenArtifact(data, "run", "unit", "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "kept" {
		t.Errorf("%q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"../../../secret", "link", "/etc/passwd", "none"} {
		if f, err := OpenArtifact(data, "run", "unit", path); err == nil {
			t.Errorf("%s was opened", path)
			_ = f.Close()
		}
	}
}

// The first error that trying again does not mend rules, and a panic is the caller's.
func TestSideBySide(t *testing.T) {
	first, second := permanent{errors.New("first")}, permanent{errors.New("second")}
	passing := errors.New("passing")
	turn := make(chan struct{})
	err := sideBySide(3, []func() error{
		func() error { return passing },
		func() error { defer close(turn); return first },
		func() error { <-turn; return second },
	})
	if !errors.Is(err, first) && !errors.Is(err, second) {
		t.Errorf("%v", err)
	}
	if err := sideBySide(1, []func() error{func() error { return first }, func() error { return second }}); err != first {
		t.Errorf("%v", err)
	}
	ran := false
	func() {
		defer func() {
			if p, ok := recover().(*store.Panic); !ok || p.Error() != "oops" || !strings.Contains(string(p.Stack), "TestSideBySide") {
				t.Errorf("%v", p)
			}
		}()
		_ = sideBySide(1, []func() error{func() error { panic("oops") }, func() error { ran = true; return nil }})
	}()
	if !ran {
		t.Error("a part did not come to its end")
	}
}
