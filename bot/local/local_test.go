package local

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

func TestMain(m *testing.M) {
	if kube.RenderConfined() {
		return
	}
	os.Exit(m.Run())
}

var update = flag.Bool("update", false, "write what is seen into testdata")

// A repo is a checkout with a remote that it never talks to.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T, files map[string]string) repo {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "Alice")
		t.Setenv("GIT_"+who+"_EMAIL", "1+alice@users.noreply.github.com")
		t.Setenv("GIT_"+who+"_DATE", "2026-01-02T03:04:05Z")
	}
	r := repo{t, filepath.Join(t.TempDir(), "folder")}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "--quiet", "--initial-branch=master")
	r.git("remote", "add", "origin", "git@github.com:Acme/web.git")
	r.write(files)
	return r
}

func (r repo) write(files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		name = filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r repo) commit(message string) {
	r.t.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "--message", message)
}

// pushed makes the remote's branch what ours is.
func (r repo) pushed(branch string) { r.git("update-ref", "refs/remotes/origin/"+branch, branch) }

// files reads the work tree.
func (r repo) files() map[string]string {
	r.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == ".git" && d.IsDir() {
			return cmp.Or(err, fs.SkipDir)
		}
		if d.Type().IsRegular() {
			text, err := os.ReadFile(name)
			rel, _ := filepath.Rel(r.dir, name)
			found[filepath.ToSlash(rel)] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// Each file of testdata/init is a repository. "dir:" and "image:" in its comment are what Init is called with; under
// want/ stands what it writes, and in stdout what it prints.
func TestInit(t *testing.T) {
	cases, err := filepath.Glob("testdata/init/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatal(cases, err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before, want, wantOut := map[string]string{}, map[string]string{}, ""
			for _, f := range archive.Files {
				if name, ok := strings.CutPrefix(f.Name, "want/"); ok {
					want[name] = string(f.Data)
				} else if f.Name == "stdout" {
					wantOut = string(f.Data)
				} else {
					before[f.Name] = string(f.Data)
				}
			}
			dir, image := ".", ""
			for line := range strings.Lines(string(archive.Comment)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				switch key {
				case "dir":
					dir = value
				case "image":
					image = value
				}
			}
			r := newRepo(t, before)
			r.commit("Begin")
			r.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/master")
			var out bytes.Buffer
			if err := Init(t.Context(), &out, filepath.Join(r.dir, dir), image); err != nil {
				t.Fatal(err)
			}
			after := r.files()
			got := map[string]string{}
			for name, text := range after {
				if old, was := before[name]; !was {
					got[name] = text
				} else if old != text {
					t.Errorf("%s was changed", name)
				}
			}
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "stdout" || strings.HasPrefix(f.Name, "want/") })
				for _, name := range sorted(got) {
					archive.Files = append(archive.Files, txtar.File{Name: "want/" + name, Data: []byte(got[name])})
				}
				archive.Files = append(archive.Files, txtar.File{Name: "stdout", Data: out.Bytes()})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				want, wantOut = got, out.String()
			}
			for _, name := range sorted(want) {
				if got[name] != want[name] {
					t.Errorf("%s: got\n%s\nwant\n%s", name, got[name], want[name])
				}
			}
			if len(got) != len(want) || out.String() != wantOut {
				t.Errorf("wrote %q, want %q, and said\n%s\nwant\n%s", sorted(got), sorted(want), out.String(), wantOut)
			}
			check(t, r, got)

			r.commit("Ship")
			var again bytes.Buffer
			if err := Init(t.Context(), &again, filepath.Join(r.dir, dir), image); err == nil || again.Len() > 0 {
				t.Errorf("a second time: %v\n%s", err, again.String())
			}
			if r.git("status", "--porcelain") != "" {
				t.Error("it writes over what is there")
			}
			var plan bytes.Buffer
			if err := Plan(t.Context(), &plan, r.dir, "", ""); err != nil || !strings.Contains(plan.String(), "staging: yes, deploy is auto") {
				t.Errorf("bot plan: %v\n%s", err, plan.String())
			}
		})
	}
}

func sorted(m map[string]string) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// check holds what was written against those who will read it.
func check(t *testing.T, r repo, got map[string]string) {
	t.Helper()
	var c *pipeline.Config
	for name, text := range got {
		var err error
		switch {
		case strings.HasPrefix(name, ".shipmate"):
			c, err = pipeline.Parse(name, []byte(text))
		case path.Base(name) == "Dockerfile":
			var parsed *parser.Result
			if parsed, err = parser.Parse(strings.NewReader(text)); err == nil && len(parsed.Warnings) > 0 {
				err = fmt.Errorf("%v", parsed.Warnings)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c == nil {
		t.Fatal("no repository file was written")
	}
	for name := range got {
		if strings.HasSuffix(name, "/deployment.yaml") {
			objects, err := kube.Render(t.Context(), kube.Manifests{Root: r.dir, Path: c.Environments[0].Manifests})
			if err != nil || len(objects) != 2 {
				t.Fatalf("%d objects, %v", len(objects), err)
			}
			digest := "sha256:" + strings.Repeat("0", 64)
			if _, err := kube.Bind(objects, []kube.Image{{Repository: c.Build.Image, Digest: digest, Required: true}}); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestInitRefuses(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		dir   string
		image string
		want  string
	}{
		"a file":         {map[string]string{".shipmate.yaml": "x"}, ".", "", ".shipmate.yaml is there already; bot plan shows what it does, and bot check what is wrong with it"},
		"several":        {map[string]string{".shipmate/api.yaml": "x"}, ".", "", ".shipmate/api.yaml declares an app already; run bot init in the folder of another one, or look at this one with bot plan"},
		"one of several": {map[string]string{".shipmate/api.yaml": "x", "api/go.mod": "module x"}, "api", "", ".shipmate/api.yaml is there already; bot plan shows what it does, and bot check what is wrong with it"},
		"an image":       {nil, ".", "team/web:v1", `--image: "team/web:v1" has a tag; write the repository alone, and the tags under build.tags`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t, test.files)
			r.commit("Begin")
			err := Init(t.Context(), &bytes.Buffer{}, filepath.Join(r.dir, test.dir), test.image)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if s := r.git("status", "--porcelain"); s != "" {
				t.Errorf("something was written: %s", s)
			}
		})
	}
	if err := Init(t.Context(), &bytes.Buffer{}, t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "git init") {
		t.Errorf("outside of a checkout: %v", err)
	}
}

// What cannot be written whole is not written at all.
func TestWriteAllOrNothing(t *testing.T) {
	r := newRepo(t, map[string]string{"b": "old"})
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(r.dir, "link")); err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(r.files())
	for _, last := range []string{"b", "link/x", "../x", "b/x"} {
		if err := checkout(r.dir).write([]newFile{{"a", []byte("a")}, {"dir/a", []byte("a")}, {last, []byte("new")}}); err == nil {
			t.Errorf("%s was written", last)
		}
		if after := fmt.Sprint(r.files()); after != before {
			t.Errorf("%s: %s, before %s", last, after, before)
		}
		if _, err := os.Stat(filepath.Join(r.dir, "dir")); err == nil {
			t.Error("a folder is left")
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Error("a link was followed out of the repository")
	}
}
