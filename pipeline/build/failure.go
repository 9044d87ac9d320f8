package build

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"
)

// Failure says that the Dockerfile, or a command in it, is at fault.
type Failure struct {
	Step    string   // the failed step's name; "" when it failed before the first step, as with a syntax error
	Command string   // the instruction as the Dockerfile has it
	File    string   // the Dockerfile's path in the checkout; "" of a Request.Command
	Line    int      // the instruction's first line, from 1; 0 when it is no single instruction's fault
	Tail    []string // the last lines that the step's command wrote, at most 20
	Err     error    // what went wrong, without the words above: "exit code: 1"
}

// Error is one line: "Dockerfile:7: RUN go vet ./...: exit code: 1".
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.File != "" {
		b.WriteString(": ")
	}
	if command := cutText(f.Command, 200); command != "" {
		fmt.Fprintf(&b, "%s: ", command)
	} else if f.Step != "" {
		fmt.Fprintf(&b, "%s: ", f.Step)
	}
	b.WriteString(f.Err.Error())
	return b.String()
}

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// explain returns a *Failure where BuildKit names the place in the Dockerfile, or faults it as a whole, and the error as
// it is otherwise.
func (p *progress) explain(err error, dockerfile string) error {
	sources := errdefs.Sources(err)
	if len(sources) == 0 {
		if said := reason(p.clean(err.Error())); atFault.MatchString(said) {
			return &Failure{File: dockerfile, Err: errors.New(said)}
		}
		for inner := err; inner != nil && strings.HasPrefix(err.Error(), "failed to solve: "); inner = errors.Unwrap(inner) {
			err = inner
		}
		return p.mask.error(fmt.Errorf("build: %w", err))
	}
	f := &Failure{File: dockerfile, Err: errors.New(reason(p.clean(err.Error())))}
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) {
		if s, known := p.byID[digest.Digest(vertex.Digest)]; known {
			f.Step, f.Tail = s.Name, s.tail
		}
	}
	source := sources[0] // the innermost
	last := 0
	for _, r := range source.Ranges {
		if f.Line == 0 || int(r.Start.Line) < f.Line {
			f.Line = int(r.Start.Line)
		}
		last = max(last, int(r.Start.Line), int(r.End.Line))
	}
	if source.Info != nil {
		f.File = source.Info.Filename
		f.Command = p.clean(instruction(string(source.Info.Data), f.Line, last))
	}
	return f
}

// instruction returns the file's lines first to last, counted from 1, joined to one.
func instruction(file string, first, last int) string {
	lines := strings.Split(file, "\n")
	if first < 1 || first > len(lines) {
		return ""
	}
	var words []string
	for _, line := range lines[first-1 : min(last, len(lines))] {
		words = append(words, strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), "\\"))...)
	}
	return strings.Join(words, " ")
}

// atFault matches what the Dockerfile frontend says of a whole file or a target, without naming a line.
var atFault = regexp.MustCompile(`^(the Dockerfile cannot be empty|target stage ".*" could not be found|(network\.host|security\.insecure) is not allowed)`)

// wrapping is what BuildKit puts before the reason itself.
var wrapping = regexp.MustCompile(`^(failed to (solve|solve with frontend [^:]+|load LLB|read dockerfile|create LLB definition|build LLB|compute cache key|load cache key|calculate checksum of ref \S+): |\S+: failed to resolve source metadata for \S+: |dockerfile parse error( on line \d+)?: |process ".*" did not complete successfully: )`)

func reason(s string) string {
	for {
		prefix := wrapping.FindString(s)
		if prefix == "" {
			return s
		}
		s = s[len(prefix):]
	}
}
