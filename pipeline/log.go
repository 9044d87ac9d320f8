package pipeline

import (
	"path/filepath"
	"strings"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/mask"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
)

// LogFile is where the log of a run is kept; id is one of ours and safe in a path.
func LogFile(dataDir, id string) string { return filepath.Join(dataDir, "logs", id+".log.zst") }

// OpenLog continues the log of a run. What it is given is masked.
func OpenLog(file string, m mask.Mask) (*runlog.Writer, error) { return runlog.Create(file, m) }

// logLine writes the lines of a build to a log, their steps' names after prefix.
func logLine(log *runlog.Writer, prefix string) func(build.Line) {
	return func(l build.Line) {
		log.Write(runlog.Line{At: l.At, Step: prefix + l.Step, Stream: l.Stream, Text: l.Text})
	}
}

// oneLine keeps what belongs to a line.
func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ", "\t", " ").Replace(s) }
