package bot

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/shipmate-dev/shipmate"

// arrows is the table of rooms in the architecture's description: what of ours each may import. A room that is not here
// is new: give it its place there first.
var arrows = map[string][]string{
	"cmd/bot":              {"bot", "bot/local", "pipeline/kube"},
	"":                     {}, // the root: app.yaml
	"bot":                  {"", "pipeline", "pipeline/build", "pipeline/image", "pipeline/kube", "pipeline/runlog", "pipeline/source", "chat", "store", "bot/text", "bot/web", "internal/egress", "internal/strictyaml"},
	"bot/web":              {"store", "bot/text", "pipeline/runlog"},
	"bot/local":            {"pipeline", "pipeline/image", "pipeline/kube"},
	"bot/text":             {},
	"pipeline":             {"store", "pipeline/build", "pipeline/image", "pipeline/junit", "pipeline/kube", "pipeline/mask", "pipeline/runlog", "pipeline/source", "internal/strictyaml"},
	"pipeline/runlog":      {"pipeline/mask"},
	"pipeline/source":      {},
	"pipeline/build":       {"pipeline/mask"},
	"pipeline/image":       {},
	"pipeline/junit":       {},
	"pipeline/kube":        {},
	"pipeline/mask":        {},
	"chat":                 {},
	"chat/preview":         {},
	"store":                {},
	"internal/egress":      {},
	"internal/strictyaml":  {},
	"internal/sim":         {"internal/sim/openapi"},
	"internal/sim/openapi": {},
}

// free may import anything of ours, and nothing of ours imports them.
var free = []string{"deploy", "e2e", "bench", "internal/deps", "examples"}

// roomOf is the room of a package of ours.
func roomOf(path string) (room string, ours bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestArrows(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		room, ours := roomOf(p.ImportPath)
		if !ours || slices.ContainsFunc(free, func(f string) bool { return room == f || strings.HasPrefix(room, f+"/") }) {
			continue
		}
		may, known := arrows[room]
		if !known {
			t.Errorf("%s is not in the table of rooms", room)
		}
		seen[room] = true
		for _, i := range p.Imports {
			if i, ours := roomOf(i); ours && !slices.Contains(may, i) {
				t.Errorf("%s imports %s", room, i)
			}
		}
		if room == "pipeline" || strings.HasPrefix(room, "pipeline/") || room == "store" {
			for _, d := range p.Deps {
				if d == module+"/chat" || strings.HasPrefix(d, "github.com/google/go-github/") || strings.HasPrefix(d, "github.com/slack-go/") {
					t.Errorf("%s depends on %s", room, d)
				}
			}
		}
		for _, word := range []string{"util", "utils", "common", "models", "helpers", "types"} {
			if slices.Contains(strings.Split(room, "/"), word) {
				t.Errorf("%s: no room is called %s", room, word)
			}
		}
	}
	for room := range arrows {
		if !seen[room] {
			t.Errorf("the table has %s, which is not there", room)
		}
	}
}
