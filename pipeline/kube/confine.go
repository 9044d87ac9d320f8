package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of rendering a chart or a kustomization. A template is a program, and nothing
// that runs in our own process could end one that includes itself or fills the memory.
const (
	renderTimeout = 30 * time.Second
	renderMemory  = 256 << 20 // bytes
	renderStack   = 16 << 20  // bytes; a thousand templates deep
	renderOutput  = 64 << 20  // bytes, as JSON: about three times maxTotalSize
)

// renderVar is the environment variable that makes a process the one that renders.
const renderVar = "SHIPMATE_RENDER"

// rendering holds the processes that render. Each may take renderMemory beside what the bot has.
var rendering = make(chan struct{}, 2)

// renderJob is what the process that renders reads from its standard input. All that
// it needs is in here: it opens no file and no connection.
type renderJob struct {
	Dir   string    // of the chart or kustomization, a slash path in the repository
	Files []file    // of a chart named from Dir, of a kustomization from the repository's root
	Chart *chartJob // nil: a kustomization
}

// renderResult is what it answers.
type renderResult struct {
	Files []file
	Error string // one line; empty: none
}

// confined renders in another process, which has no environment, finds no program and
// reaches no network.
func (job renderJob) confined(ctx context.Context) ([]file, error) {
	input, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", job.Dir, err)
	}
	self := "/proc/self/exe" // this version also when another has been put in its file's place
	if runtime.GOOS != "linux" {
		if self, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("%s: %w", job.Dir, err)
		}
	}
	select {
	case rendering <- struct{}{}:
		defer func() { <-rendering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	// The argument keeps a test binary that does not call RenderConfined from testing.
	cmd := exec.CommandContext(limited, self, "-test.run=^$")
	cmd.Env = []string{renderVar + "=1", "PATH="}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(input)
	output, complaint := &head{max: renderOutput}, &head{max: 4 << 10}
	cmd.Stdout, cmd.Stderr = output, complaint
	err = cmd.Run()
	var result renderResult
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, fmt.Errorf("%s: rendering did not end within %s", job.Dir, renderTimeout)
	case output.cut:
		return nil, fmt.Errorf("%s: what is rendered is larger than %d MiB", job.Dir, maxTotalSize>>20)
	case nestsOrFills.Match(complaint.Bytes()):
		// What includes itself takes both; which limit it meets first is chance.
		return nil, fmt.Errorf("%s: rendering takes more than %d MiB of memory, or nests without end: does a template include or repeat itself?", job.Dir, renderMemory>>20)
	case err != nil:
		line, _, _ := strings.Cut(complaint.String(), "\n")
		return nil, fmt.Errorf("%s: rendering broke off (%w): %s", job.Dir, err, oneLine(line))
	}
	if err := json.Unmarshal(output.Bytes(), &result); err != nil {
		return nil, fmt.Errorf("%s: rendering gave no answer: %w", job.Dir, err)
	}
	if result.Error != "" {
		return nil, errors.New(result.Error)
	}
	return result.Files, nil
}

// nestsOrFills is how Go's runtime says that it has no more stack or memory.
var nestsOrFills = regexp.MustCompile(`stack exceeds|out of memory|cannot allocate memory`)

// head keeps the first max bytes that are written to it.
type head struct {
	bytes.Buffer
	max int
	cut bool
}

// Write never fails, so that the process goes on to where it says why.
func (h *head) Write(p []byte) (int, error) {
	room := min(len(p), h.max-h.Len())
	h.cut = h.cut || room < len(p)
	h.Buffer.Write(p[:room])
	return len(p), nil
}

// RenderConfined does the work of the process that Render starts for a chart or a
// kustomization, if this is one, and says whether it is: main then returns. It is called
// before anything else, by TestMain too where a test renders such.
func RenderConfined() bool {
	if os.Getenv(renderVar) == "" {
		return false
	}
	os.Clearenv()                                  // a generator of kustomize may ask for a variable
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM) // a terminal sends them here too; it is the bot that stops us
	debug.SetMaxStack(renderStack)
	limitMemory()
	// Where the memory of all is short, let it be this process that ends. Not everywhere possible.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	log.SetOutput(io.Discard) // the libraries' warnings
	http.DefaultTransport = noNetwork{}

	var result renderResult
	var job renderJob
	err := json.NewDecoder(os.Stdin).Decode(&job)
	if err == nil {
		result.Files, err = job.render()
	}
	size := 0
	for _, f := range result.Files {
		size += len(f.Text)
	}
	if err == nil && size > maxTotalSize {
		err = fmt.Errorf("%s: what is rendered is larger than %d MiB", job.Dir, maxTotalSize>>20)
	}
	if err != nil {
		result = renderResult{Error: oneLine(err.Error())}
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func (job renderJob) render() ([]file, error) {
	if job.Chart != nil {
		return job.Chart.render(job.Dir, job.Files)
	}
	return buildKustomization(job.Dir, job.Files)
}

// limitMemory has the system refuse more than renderMemory beside what is mapped already
// (RLIMIT_AS: RLIMIT_DATA is not asked where Go turns what it has reserved into heap). It
// does so on Linux only, and not under the race detector, which has terabytes mapped and
// maps more with the heap; there the collector's limit is left, which is a wish.
func limitMemory() {
	debug.SetMemoryLimit(renderMemory * 3 / 4)
	text, err := os.ReadFile("/proc/self/statm") // proc(5): the size in pages comes first
	if err != nil {
		return
	}
	var pages uint64
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		return
	}
	if size := pages * uint64(os.Getpagesize()); size < 1<<40 {
		_ = unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: size + renderMemory, Max: size + renderMemory})
	}
}

// noNetwork is the transport of a process that is to reach nothing.
type noNetwork struct{}

func (noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, errors.New("nothing is fetched here: commit a copy")
}
