package pipeline

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/mask"
)

// BenchmarkLog masks and stores lines of a build; bench/log has the rest of the way, from BuildKit on.
func BenchmarkLog(b *testing.B) {
	var secrets []string
	for i := range 20 {
		secrets = append(secrets, fmt.Sprintf("%c3cr3t-%d-of-the-server's-file/%d", 'a'+i, i, i*i))
	}
	log, err := OpenLog(filepath.Join(b.TempDir(), "x.log.zst"), mask.New(secrets...))
	if err != nil {
		b.Fatal(err)
	}
	write, at := logLine(log, ""), time.Now()
	n := 0
	for b.Loop() {
		n++
		write(build.Line{At: at, Step: "[build 2/4] RUN go build ./...", Stream: 1, Text: fmt.Sprint("line ", n, ": compiling example.com/some/package/of/a/large/program")})
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
}
