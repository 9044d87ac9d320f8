package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/store"
)

// tree writes empty files into a new folder.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAnnotator(t *testing.T) {
	t.Parallel()
	const fail, warn, note = store.LevelFailure, store.LevelWarning, store.LevelNotice
	long := strings.Repeat("é", maxMessage)
	found := func(path string, line, column int, level, message string) store.Annotation {
		return store.Annotation{Path: path, Line: line, Column: column, Level: level, Message: message}
	}
	cases := map[string]struct {
		files  string // main.go where none are named
		folder string
		in     string
		want   []store.Annotation
	}{
		"Go":                  {in: "# example.com/web\n./main.go:12:3: undefined: x", want: []store.Annotation{found("main.go", 12, 3, fail, "undefined: x")}},
		"Go vet":              {in: "vet: ./main.go:12:3: undefined: x", want: []store.Annotation{found("main.go", 12, 3, fail, "undefined: x")}},
		"Go test":             {files: "api/v2/a_test.go", in: "--- FAIL: TestA (0.00s)\n    a_test.go:9: got 1, want 2", want: []store.Annotation{found("api/v2/a_test.go", 9, 0, fail, "got 1, want 2")}},
		"gcc":                 {files: "src/a.c", in: "src/a.c: In function 'main':\nsrc/a.c:3:5: warning: unused variable 'x' [-Wunused-variable]\nsrc/a.c:4:1: fatal error: no.h: No such file\nsrc/a.c:4:1: note: here", want: []store.Annotation{found("src/a.c", 3, 5, warn, "unused variable 'x' [-Wunused-variable]"), found("src/a.c", 4, 1, fail, "no.h: No such file"), found("src/a.c", 4, 1, note, "here")}},
		"make":                {files: "Makefile", in: "Makefile:7: *** missing separator.  Stop.", want: []store.Annotation{found("Makefile", 7, 0, fail, "*** missing separator.  Stop.")}},
		"javac":               {files: "src/main/java/A.java", in: "/build/src/main/java/A.java:5: error: ';' expected", want: []store.Annotation{found("src/main/java/A.java", 5, 0, fail, "';' expected")}},
		"Maven":               {files: "src/main/java/A.java", in: "[INFO] x\n[ERROR] /build/src/main/java/A.java:[12,5] cannot find symbol\n[WARNING] /build/src/main/java/A.java:[1,2] deprecated\n[ERROR] BUILD FAILURE", want: []store.Annotation{found("src/main/java/A.java", 12, 5, fail, "cannot find symbol"), found("src/main/java/A.java", 1, 2, warn, "deprecated")}},
		"TypeScript":          {files: "src/a.ts", in: "src/a.ts(12,3): error TS2322: Type 'string' is not assignable to type 'number'.", want: []store.Annotation{found("src/a.ts", 12, 3, fail, "TS2322: Type 'string' is not assignable to type 'number'.")}},
		"Rust":                {files: "src/main.rs src/b.rs", in: "error[E0308]: mismatched types\n --> src/main.rs:3:5\n  |\n3 |     1\n --> src/b.rs:9:9\nwarning: unused import: `x`\n   --> src/b.rs:1:5\nerror: could not compile", want: []store.Annotation{found("src/main.rs", 3, 5, fail, "mismatched types"), found("src/b.rs", 1, 5, warn, "unused import: `x`")}},
		"Rust, place alone":   {files: "src/main.rs", in: " --> src/main.rs:3:5"},
		"Python":              {files: "app/a.py app/b.py", in: "Traceback (most recent call last):\n  File \"/srv/app/a.py\", line 3, in <module>\n    run()\n  File \"/srv/app/b.py\", line 9, in run\n    1/0\n  File \"/usr/lib/python3.11/x.py\", line 1, in x\nZeroDivisionError: division by zero", want: []store.Annotation{found("app/b.py", 9, 0, fail, "ZeroDivisionError: division by zero")}},
		"Python, syntax":      {files: "a.py", in: "  File \"/app/a.py\", line 3\n    def f(\n         ^\nSyntaxError: '(' was never closed", want: []store.Annotation{found("a.py", 3, 0, fail, "SyntaxError: '(' was never closed")}},
		"Python, two":         {files: "a.py", in: "  File \"/app/a.py\", line 3\nTraceback (most recent call last):\n  File \"/app/a.py\", line 5\nE: x", want: []store.Annotation{found("a.py", 5, 0, fail, "E: x")}},
		"pytest":              {files: "tests/test_a.py", in: "tests/test_a.py:12: AssertionError", want: []store.Annotation{found("tests/test_a.py", 12, 0, fail, "AssertionError")}},
		"ESLint":              {files: "src/a.js src/b.js", in: "\n/app/src/a.js\n  12:3  error    'x' is not defined  no-undef\n  13:1  warning  Missing   semicolon\n\n/app/src/b.js\n  1:1  error  odd  rule", want: []store.Annotation{found("src/a.js", 12, 3, fail, "'x' is not defined no-undef"), found("src/a.js", 13, 1, warn, "Missing semicolon"), found("src/b.js", 1, 1, fail, "odd rule")}},
		"twice":               {in: "main.go:1:2: a\nmain.go:1:2: a\nmain.go:1:2: b", want: []store.Annotation{found("main.go", 1, 2, fail, "a"), found("main.go", 1, 2, fail, "b")}},
		"long":                {in: "main.go:1: " + long, want: []store.Annotation{found("main.go", 1, 0, fail, long[:maxMessage]+"…")}},
		"no file of ours":     {in: "other.go:1:2: a\nhttp://main.go:80: b\n12:30:45: c\nmain.go:x:1: d\nmain.go:3"},
		"no line":             {in: "main.go:0: a\nmain.go:99999999999999999999: b"},
		"of a library":        {files: "x.go a/__init__.py i.js", in: "/go/pkg/mod/y/x.go:1:1: a\n/usr/local/go/src/x.go:2:2: b\n/usr/lib/python3/a/__init__.py:1: c\n/app/node_modules/y/i.js:1:1: d"},
		"outside":             {in: "../../../etc/passwd:1: a\n/etc/main.go/..:1: b"},
		"in the folder":       {files: "main.go web/main.go", folder: "web", in: "./main.go:1:1: a", want: []store.Annotation{found("web/main.go", 1, 1, fail, "a")}},
		"of the root":         {files: "main.go web/main.go", in: "./main.go:1:1: a", want: []store.Annotation{found("main.go", 1, 1, fail, "a")}},
		"folder, absolute":    {files: "api/src/a.c web/src/a.c", folder: "web/", in: "/build/src/a.c:1:1: a", want: []store.Annotation{found("web/src/a.c", 1, 1, fail, "a")}},
		"could be two":        {files: "a/x_test.go b/x_test.go", in: "x_test.go:1: a"},
		"could be two, whole": {files: "main.go src/main.go", in: "/src/main.go:1: a"},
		"from another folder": {files: "lib/a.c", in: "../lib/a.c:1:1: a", want: []store.Annotation{found("lib/a.c", 1, 1, fail, "a")}},
		"part of a name":      {files: "domain.go", in: "main.go:1:1: a"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.files == "" {
				c.files = "main.go"
			}
			a := NewAnnotator(tree(t, strings.Fields(c.files)...), c.folder)
			for line := range strings.Lines(c.in) {
				a.Line(strings.TrimSuffix(line, "\n"))
			}
			if got, more := a.Found(); !reflect.DeepEqual(got, c.want) || more != 0 {
				t.Errorf("got %+v and %d more\nwant %+v", got, more, c.want)
			}
		})
	}
	a := NewAnnotator(tree(t, "main.go"), ".")
	for i := range 60 {
		a.Line(fmt.Sprintf("main.go:%d:1: a", i+1))
	}
	if got, more := a.Found(); len(got) != 50 || more != 10 || got[49].Line != 50 {
		t.Errorf("%d and %d more", len(got), more)
	}
	// What no checkout has is a link out of it.
	dir := tree(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "main.go")); err != nil {
		t.Fatal(err)
	}
	a = NewAnnotator(dir, "")
	a.Line("main.go:1: a")
	if got, _ := a.Found(); got != nil {
		t.Errorf("through a link: %v", got)
	}
}

// What a failed step says of the source is kept with the run, without secrets, and without what other steps say.
func TestRunIsAnnotated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.servers = server{secrets: []string{"s3cr3t-token"}}
	b.says = []build.Line{
		{At: time.Now(), Step: "[lint 1/1] RUN lint", Stream: 1, Text: "deploy/web.yaml:1:1: of another step"},
		{At: time.Now(), Step: "[2/2] RUN go build s3cr3t-token", Text: "deploy/web.yaml:2:2: what the builder says"},
		{At: time.Now(), Step: "[2/2] RUN go build s3cr3t-token", Stream: 2, Text: "./web.yaml:7:9: undefined: s3cr3t-token"},
	}
	b.on["build"] = func(context.Context) error {
		return &build.Failure{Step: "[2/2] RUN go build s3cr3t-token", File: "Dockerfile", Line: 2, Err: errors.New("exit code: 1")}
	}
	r := b.run('a', environment(nil), nil)
	b.ok(b.AdvanceRun(t.Context(), r.ID, 0))
	if r = b.reload(r); r.State != store.RunFailed || r.Failure.V.Reason != "Dockerfile:2: [2/2] RUN go build •••: exit code: 1" {
		t.Errorf("the run is %s: %+v", r.State, r.Failure.V)
	}
	var got []store.Annotations
	b.ok(b.DB.View(t.Context(), func(tx *store.Tx) (err error) { got, err = tx.Annotations(r.ID); return err }))
	want := []store.Annotation{{Path: "deploy/web.yaml", Line: 7, Column: 9, Level: store.LevelFailure, Message: "undefined: •••"}}
	if len(got) != 1 || got[0].Step != StepBuild || !reflect.DeepEqual(got[0].Found.V, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
