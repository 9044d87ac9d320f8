package kube

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what is seen into testdata")

func TestMain(m *testing.M) {
	if RenderConfined() {
		return
	}
	os.Exit(m.Run())
}

// old is the cluster that charts are rendered for.
func old(context.Context) (Capabilities, error) {
	return Capabilities{Version: "v1.31.4", Major: "1", Minor: "31", APIVersions: []string{"apps/v1", "apps/v1/Deployment", "v1", "v1/Service"}}, nil
}

// Each file of testdata/render is a checkout; a content of "-> x" is a link to x. "manifests:", "values:" and "upgrade:"
// in its comment are what Render is told. What comes of it stands in want (the objects) or error.
func TestRenderGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/render/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatal(cases, err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			m := Manifests{Path: "deploy", Name: "web", Namespace: "prod", Revision: 7, Capabilities: old}
			for line := range strings.Lines(string(archive.Comment)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				switch key {
				case "manifests":
					m.Path = value
				case "values":
					m.Values = strings.Fields(value)
				case "upgrade":
					m.Upgrade = value == "true"
				}
			}
			files, want := map[string]string{}, map[string]string{}
			for _, f := range archive.Files {
				switch text := string(f.Data); {
				case f.Name == "want" || f.Name == "error":
					want[f.Name] = text
				case strings.HasPrefix(text, "-> "):
					files[f.Name] = strings.TrimSpace(text)
				default:
					files[f.Name] = text
				}
			}
			m.Root = repository(t, files)
			got := map[string]string{}
			objs, err := Render(t.Context(), m)
			if err != nil {
				got["error"] = err.Error() + "\n"
			}
			for _, obj := range objs {
				text, err := yaml.Marshal(obj.Object)
				if err != nil {
					t.Fatal(err)
				}
				got["want"] += "---\n" + string(text)
			}
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return want[f.Name] != "" })
				for _, what := range sortedKeys(got) {
					archive.Files = append(archive.Files, txtar.File{Name: what, Data: []byte(got[what])})
				}
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				want = got
			}
			for _, what := range []string{"error", "want"} {
				if got[what] != want[what] {
					t.Errorf("%s: got\n%s\nwant\n%s", what, got[what], want[what])
				}
			}
		})
	}
}
