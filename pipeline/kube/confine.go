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
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"
)

// Limits of rendering a chart or a kustomization. A template is a program, and nothing
// that runs in our own process could end one that includes itself or fills the memory.
const (
	renderTimeout = 30 * time.Second
	renderMemory  = 512 << 20 // bytes
	renderStack   = 64 << 20  // bytes
	renderOutput  = 64 << 20  // bytes, as JSON: about three times maxTotalSize
)

// renderVar is the environment variable that makes a process the one that renders.
const renderVar = "SHIPMATE_RENDER"

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
	limited, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	// The argument keeps a test binary that does not call RenderConfined from testing.
	cmd := exec.CommandContext(limited, self, "-test.run=^$")
	cmd.Env = []string{renderVar + "=1", "PATH="}
	cmd.Dir = "/"
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
	case strings.Contains(complaint.String(), "stack exceeds"):
		return nil, fmt.Errorf("%s: rendering did not end: a template includes itself, or a value that it is made of does", job.Dir)
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
	os.Clearenv() // a generator of kustomize may ask for a variable
	debug.SetMaxStack(renderStack)
	debug.SetMemoryLimit(renderMemory * 3 / 4)
	// Where the memory of all is short, let it be this process that ends. Not everywhere possible.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	go watchMemory()
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

// watchMemory ends the process when it takes too much: the limit of the collector is
// none for what is in use.
func watchMemory() {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for range time.Tick(5 * time.Millisecond) {
		metrics.Read(sample)
		if sample[0].Value.Uint64()-sample[1].Value.Uint64() > renderMemory {
			fmt.Fprintf(os.Stderr, "it takes more than %d MiB of memory\n", renderMemory>>20)
			os.Exit(1)
		}
	}
}

// noNetwork is the transport of a process that is to reach nothing.
type noNetwork struct{}

func (noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, errors.New("nothing is fetched here: commit a copy")
}
