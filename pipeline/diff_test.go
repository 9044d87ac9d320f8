package pipeline

import (
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// TestDiffText says "no change", and at most 200 lines with the exact count of the rest.
func TestDiffText(t *testing.T) {
	if got := diffText([]kube.Change{{Object: "Service/web", Action: "none"}}, false); got != "no change" {
		t.Error(got)
	}
	long := kube.Change{Object: "ConfigMap/web", Action: "update", Text: strings.Repeat("+line\n", 300)}
	got := strings.Split(diffText([]kube.Change{long, long}, false), "\n")
	if len(got) != maxChanges+1 || got[0] != "ConfigMap/web update" || got[maxChanges] != "… and 402 more lines" {
		t.Errorf("%d lines: %q … %q", len(got), got[0], got[len(got)-1])
	}
}
