package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n"

func named(name string) string { return strings.Replace(configMap, "NAME", name, 1) }

// repository writes files, and links for those whose content begins with "-> ".
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	outer := t.TempDir()
	if err := os.WriteFile(filepath.Join(outer, "secret.yaml"), []byte(named("outside")), 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(outer, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range sortedKeys(files) {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(files[name], "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(files[name]), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestRender(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		dir   string
		want  string // names of the objects, in order
	}{
		{"sorted, any depth", map[string]string{"deploy/b.yaml": named("b"), "deploy/a/z.yml": named("az"), "deploy/a.yaml": named("a"), "other/c.yaml": named("c")}, "deploy", "a az b"},
		{"trailing slash", map[string]string{"deploy/a.yaml": named("a")}, "deploy/", "a"},
		{"a single file", map[string]string{"deploy/a.yaml": named("a"), "deploy/b.yaml": named("b")}, "deploy/b.yaml", "b"},
		{"the root, without what begins with a dot", map[string]string{"a.yaml": named("a"), ".shipmate.yaml": "app: x", ".github/workflows/x.yaml": "on: push"}, ".", "a"},
		{"other files", map[string]string{"a.yaml": named("a"), "README.md": "# hello", "x.yaml.tmpl": "{{"}, ".", "a"},
		{"several documents", map[string]string{"a.yaml": "# a comment\n---\n" + named("a") + "---\n# nothing\n---\n" + named("b") + "...\n--- # c\n" + named("c") + "---\n"}, ".", "a b c"},
		{"a marker with content", map[string]string{"a.yaml": "--- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\t\n" + named("b")}, ".", "a b"},
		{"markers in text", map[string]string{"a.yaml": named("a") + "data:\n  x: |\n    ---\n    kind: Evil\n    ...\n  y: '--- z'\n---" + "\n" + named("b")}, ".", "a b"},
		{"CRLF and a byte order mark", map[string]string{"a.yaml": "\ufeff" + strings.ReplaceAll(named("a")+"---\n"+named("b"), "\n", "\r\n")}, ".", "a b"},
		{"JSON", map[string]string{"a.json": "{\n\t\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\"}, \"data\": {\"x\": \"\\ud83d\\ude00\\/\"}}"}, ".", "a"},
		{"lists", map[string]string{"a.yaml": "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Secret, metadata: {name: b}}]}\n---\n{apiVersion: v1, kind: ConfigMapList, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}]}"}, ".", "a b c"},
		{"a link inside", map[string]string{"deploy/a.yaml": "-> ../shared/a.yaml", "shared/a.yaml": named("a")}, "deploy", "a"},
		{"the folder is a link inside", map[string]string{"deploy": "-> shared", "shared/a.yaml": named("a")}, "deploy", "a"},
		{"through a link inside", map[string]string{"deploy": "-> shared", "shared/a.yaml": named("a")}, "deploy/a.yaml", "a"},
		{"one name in two namespaces", map[string]string{"a.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: z}}"}, ".", "a a"},
		{"one name of two kinds", map[string]string{"a.yaml": named("a") + "---\n{apiVersion: v1, kind: Secret, metadata: {name: a}}"}, ".", "a a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			objs, err := Render(t.Context(), Manifests{Root: repository(t, test.files), Path: test.dir})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, obj := range objs {
				names = append(names, obj.GetName())
			}
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestRenderExcept(t *testing.T) {
	job := "{apiVersion: batch/v1, kind: Job, metadata: {name: a, annotations: {shipmate.dev/step: '1', b: c}}}"
	root := repository(t, map[string]string{"deploy/a.yaml": job, "deploy/db/migrate.yaml": named("b")})
	objs, err := Render(t.Context(), Manifests{Root: root, Path: "deploy", Except: []string{"deploy/db/migrate.yaml"}})
	if err != nil || len(objs) != 1 || len(objs[0].GetAnnotations()) != 1 {
		t.Error(objs, err)
	}
}

func TestRenderRefuses(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for _, test := range []struct {
		name  string
		files map[string]string
		dir   string
		want  []string // parts of the error
	}{
		{"up", nil, "..", []string{"inside the repository"}},
		{"up from below", map[string]string{"deploy/a.yaml": named("a")}, "deploy/../../secret.yaml", []string{"inside the repository"}},
		{"absolute", nil, "/etc", []string{"inside the repository"}},
		{"missing", nil, "deploy", []string{"manifests deploy: no such file or folder"}},
		{"empty", map[string]string{"deploy/README.md": "x"}, "deploy", []string{"manifests deploy: no Kubernetes object"}},
		{"not a manifest", map[string]string{"a.txt": "x"}, "a.txt", []string{"a.txt", "must be a folder"}},
		{"file link out", map[string]string{"deploy/a.yaml": "-> ../../secret.yaml"}, "deploy", []string{"deploy/a.yaml: is a link that leads out"}},
		{"absolute link", map[string]string{"deploy/a.yaml": "-> /etc/hostname"}, "deploy", []string{"deploy/a.yaml: is a link that leads out"}},
		{"folder link out", map[string]string{"deploy/sub": "-> ../.."}, "deploy", []string{"deploy/sub: is a link that leads out"}},
		{"folder link inside", map[string]string{"deploy/sub": "-> ../shared", "shared/a.yaml": named("a")}, "deploy", []string{"deploy/sub: is a symbolic link to a folder"}},
		{"folder link to itself", map[string]string{"deploy/sub": "-> .", "deploy/a.yaml": named("a")}, "deploy", []string{"deploy/sub: is a symbolic link to a folder"}},
		{"dir link out", map[string]string{"deploy": "-> .."}, "deploy", []string{"deploy: is a link that leads out"}},
		{"through a link out", map[string]string{"up": "-> .."}, "up/secret.yaml", []string{"leads out"}},
		{"link to a link out", map[string]string{"a.yaml": "-> b", "b": "-> ../secret.yaml"}, ".", []string{"a.yaml: is a link that leads out"}},
		{"link loop", map[string]string{"a.yaml": "-> b.yaml", "b.yaml": "-> a.yaml"}, ".", []string{"a.yaml"}},
		{"syntax", map[string]string{"deploy/a.yaml": named("a") + "---\n" + named("b") + "data:\n  x: [1\n  y: 2\n"}, "deploy", []string{"deploy/a.yaml: document 2 (line 4): ", "line 9"}},
		{"key twice", map[string]string{"a.yaml": named("a") + "data: {a: b}\ndata: {a: c}\n"}, ".", []string{"a.yaml: document 1 (line 1)", `line 5`, `key "data" already set`}},
		{"JSON syntax", map[string]string{"a.json": "{\n\"apiVersion\": \"v1\",\n}"}, ".", []string{"a.json: document 1 (line 1): line 3"}},
		{"JSON key twice", map[string]string{"a.json": `{"apiVersion": "v1", "kind": "ConfigMap", "kind": "Secret", "metadata": {"name": "a"}}`}, ".", []string{"a.json", "kind"}},
		{"JSON and more", map[string]string{"a.json": `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}} {}`}, ".", []string{"a.json"}},
		{"a list at the top", map[string]string{"a.yaml": "- a\n"}, ".", []string{"is not a Kubernetes object"}},
		{"text", map[string]string{"a.yaml": "hello\n"}, ".", []string{"is not a Kubernetes object"}},
		{"no kind", map[string]string{"a.yaml": "apiVersion: v1\nmetadata: {name: a}\n"}, ".", []string{"has no kind"}},
		{"no apiVersion", map[string]string{"values.yaml": "replicas: 3\n"}, ".", []string{"values.yaml: document 1 (line 1): has no apiVersion"}},
		{"no name", map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {labels: {a: b}}\n"}, ".", []string{"Pod has no metadata.name"}},
		{"number for a name", map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: 5}\n"}, ".", []string{"Pod has no metadata.name"}},
		{"no metadata", map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\n"}, ".", []string{"Pod has no metadata"}},
		{"generated name", map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n"}, ".", []string{"needs a metadata.name"}},
		{"number for a namespace", map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 1}\n"}, ".", []string{"metadata.namespace must be text"}},
		{"label", map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {v: 1.0}}\n"}, ".", []string{"Pod/a: metadata.labels.v must be text; put 1 in quotes"}},
		{"template label", map[string]string{"a.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {metadata: {labels: {v: yes}}, spec: {containers: []}}}\n"}, ".", []string{"spec.template.metadata.labels.v must be text; put true in quotes"}},
		{"in a list", map[string]string{"a.yaml": "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a}}, {kind: Pod}]\n"}, ".", []string{"items[1] has no apiVersion"}},
		{"twice", map[string]string{"a.yaml": named("a"), "b.yaml": "\n\n---\n" + named("a")}, ".", []string{"b.yaml: document 1 (line 3): ConfigMap/a is also in a.yaml: document 1 (line 1)"}},
		{"twice in two versions", map[string]string{"a.yaml": "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}}\n---\n{apiVersion: batch/v1beta1, kind: CronJob, metadata: {name: a}}"}, ".", []string{"is also in"}},
		{"alias bomb", map[string]string{"a.yaml": bomb}, ".", []string{"a.yaml", "excessive aliasing"}},
		{"deep nesting", map[string]string{"a.yaml": strings.Repeat("[", 200000)}, ".", []string{"a.yaml"}},
		{"large file", map[string]string{"a.yaml": "# " + strings.Repeat("x", maxFileSize)}, ".", []string{"a.yaml: is larger than 4 MiB"}},
		{"not UTF-8", map[string]string{"a.yaml": "a: \xff\xfe"}, ".", []string{"a.yaml"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			objs, err := Render(t.Context(), Manifests{Root: repository(t, test.files), Path: test.dir})
			if err == nil {
				t.Fatalf("rendered %v", objs)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

func TestRenderCaps(t *testing.T) {
	var many strings.Builder
	for i := range maxObjects + 1 {
		fmt.Fprintf(&many, "---\n%s", named(fmt.Sprint("c", i)))
	}
	if _, err := Render(t.Context(), Manifests{Root: repository(t, map[string]string{"a.yaml": many.String()}), Path: "."}); err == nil || !strings.Contains(err.Error(), "more than 1000 objects") {
		t.Errorf("objects: %v", err)
	}
	files := map[string]string{}
	for i := range maxFiles + 1 {
		files[fmt.Sprintf("%d.yaml", i)] = "# empty"
	}
	if _, err := Render(t.Context(), Manifests{Root: repository(t, files), Path: "."}); err == nil || !strings.Contains(err.Error(), "more than 1000 files") {
		t.Errorf("files: %v", err)
	}
	files = map[string]string{}
	for i := range 5 {
		files[fmt.Sprintf("%d.yaml", i)] = "# " + strings.Repeat("x", maxFileSize-2)
	}
	if _, err := Render(t.Context(), Manifests{Root: repository(t, files), Path: "."}); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB in all") {
		t.Errorf("size: %v", err)
	}
}

func TestRenderPipe(t *testing.T) {
	root := repository(t, nil)
	if err := unix.Mkfifo(filepath.Join(root, "a.yaml"), 0o600); err != nil {
		t.Skip("no named pipes here: ", err)
	}
	if _, err := Render(t.Context(), Manifests{Root: root, Path: "."}); err == nil || !strings.Contains(err.Error(), "a.yaml: is not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestRenderDropsServerFields(t *testing.T) {
	objs := parse(t, `
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  uid: 1-2-3
  resourceVersion: "5"
  generation: 3
  creationTimestamp: null
  managedFields: [{manager: kubectl}]
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}", keep: this}
status: {x: z}
`)
	data, err := Encode(objs)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{"keep":"this"},"name":"a"}}` + "\n"
	if string(data) != want {
		t.Errorf("got %s", data)
	}
}

func FuzzRender(f *testing.F) {
	for _, seed := range []string{named("a"), "--- \n...\n---x", "{", "a: &a [*a]", "apiVersion: v1\nkind: List\nitems: [null]", "%YAML 1.1\n---\n" + named("a")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, doc := range splitYAML([]byte(text)) {
			objs, err := decodeDocument(doc, false)
			if err != nil {
				continue
			}
			images := []Image{{Repository: "r.example.com/app", Digest: digest}}
			if _, err := Bind(objs, images); err != nil {
				continue
			}
			if err := Own(objs, owner); err != nil {
				continue
			}
			data, err := Encode(objs)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(data); err != nil {
				t.Fatal(err)
			}
		}
	})
}
