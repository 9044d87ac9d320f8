package pipeline

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/shipmate-dev/shipmate/pipeline/runlog"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	maxAnnotations = 50   // of one step; GitHub takes as many in one request
	maxMessage     = 1000 // bytes
)

// An Annotator finds in the output of compilers, linters and tests which places in the source they speak of. A place counts
// only where the checkout has such a file, since the same output names files of base images and libraries too.
type Annotator struct {
	dir, folder string
	files       map[string][]string // paths in the checkout by their last part; nil until one is asked for
	found       []store.Annotation
	seen        map[store.Annotation]bool
	more        int

	listed string           // the file whose findings are listed below it (ESLint)
	rust   store.Annotation // whose place comes below
	python store.Annotation // the innermost place of a traceback so far, whose error comes below
}

// NewAnnotator finds places in a checkout. The step ran in a copy of its folder, a path in dir.
func NewAnnotator(dir, folder string) *Annotator {
	return &Annotator{dir: dir, folder: path.Clean(filepath.ToSlash(folder)), seen: map[store.Annotation]bool{}}
}

// The forms that places are written in. Each is looked for only where the text that all of its lines have is there.
var (
	// Go, gcc, clang, mypy, pytest, make: main.go:12:3: message.
	placeForm = regexp.MustCompile(`^\s*(?:vet: )?([^\s:()"'\[\]]+):(\d+)(?::(\d+))?: +(?:(fatal error|error|warning|note|info)(?:\[[^\]]*\])?: +)?(\S.*)$`)
	// TypeScript, MSBuild: src/a.ts(12,3): error TS2322: message.
	parenForm = regexp.MustCompile(`^\s*([^\s:()"'\[\]]+)\((\d+),(\d+)\): (error|warning|info) (\S.*)$`)
	// Maven: [ERROR] /src/A.java:[12,3] message.
	mavenForm = regexp.MustCompile(`^\[(ERROR|WARNING)\] ([^\s:()"'\[\]]+):\[(\d+),(\d+)\] (\S.*)$`)
	// Rust: error[E0308]: message, and below it --> src/main.rs:12:3.
	rustError = regexp.MustCompile(`^(error|warning)(?:\[\w+\])?: (\S.*)$`)
	rustPlace = regexp.MustCompile(`^\s*--> ([^\s:()"'\[\]]+):(\d+):(\d+)$`)
	// Python: File "a.py", line 12, in f; and below the last of them, not indented, the error.
	pythonForm = regexp.MustCompile(`^\s*File "([^"]+)", line (\d+)`)
	// ESLint: the file, and below it 12:3  error  message.
	listedFile = regexp.MustCompile(`^[^\s:()"'\[\]]+\.\w+$`)
	listedForm = regexp.MustCompile(`^\s+(\d+):(\d+)\s+(error|warning)\s+(\S.*)$`)
)

// Line takes one line of the step's output.
func (a *Annotator) Line(text string) {
	text = strings.TrimRight(text, " ")
	if a.python.Path != "" && text != "" && text[0] != ' ' {
		if !strings.HasPrefix(text, "Traceback ") {
			a.python.Message = text
			a.add(a.python)
		}
		a.python = store.Annotation{}
	}
	switch {
	case strings.Contains(text, `File "`):
		if m := pythonForm.FindStringSubmatch(text); m != nil {
			if at, ok := a.place(m[1], m[2], ""); ok {
				a.python = at
			}
		}
	case strings.Contains(text, "--> "):
		if m := rustPlace.FindStringSubmatch(text); m != nil && a.rust.Message != "" {
			if at, ok := a.place(m[1], m[2], m[3]); ok {
				at.Level, at.Message = a.rust.Level, a.rust.Message
				a.add(at)
			}
			a.rust = store.Annotation{} // further ones are about the same
		}
	case strings.Contains(text, ":["):
		if m := mavenForm.FindStringSubmatch(text); m != nil {
			a.report(m[2], m[3], m[4], m[1], m[5])
		}
	case strings.Contains(text, "): "):
		if m := parenForm.FindStringSubmatch(text); m != nil {
			a.report(m[1], m[2], m[3], m[4], m[5])
			break
		}
		fallthrough
	case strings.Contains(text, ": "):
		if m := placeForm.FindStringSubmatch(text); m != nil {
			a.report(m[1], m[2], m[3], m[4], m[5])
		} else if m := rustError.FindStringSubmatch(text); m != nil {
			a.rust = store.Annotation{Level: level(m[1]), Message: m[2]}
		}
	case a.listed != "" && strings.HasPrefix(text, " "):
		if m := listedForm.FindStringSubmatch(text); m != nil {
			a.report(a.listed, m[1], m[2], m[3], strings.Join(strings.Fields(m[4]), " "))
		}
	case listedFile.MatchString(text):
		a.listed = text
	}
}

func (a *Annotator) report(file, line, column, word, message string) {
	if at, ok := a.place(file, line, column); ok {
		at.Level, at.Message = level(word), message
		a.add(at)
	}
}

func (a *Annotator) add(f store.Annotation) {
	f.Level = cmp.Or(f.Level, store.LevelFailure)
	if len(f.Message) > maxMessage {
		f.Message = strings.ToValidUTF8(f.Message[:maxMessage], "") + "…"
	}
	switch {
	case a.seen[f]:
	case len(a.found) == maxAnnotations:
		a.more++ // perhaps one that was counted already: they are not remembered without end
	default:
		a.seen[f] = true
		a.found = append(a.found, f)
	}
}

// Found are the first 50 places, in the order of the output, and how many more there were.
func (a *Annotator) Found() (found []store.Annotation, more int) { return a.found, a.more }

// level is what a tool's word means. Without one, in a step that failed, it is what failed.
func level(word string) string {
	switch strings.ToLower(word) {
	case "warning":
		return store.LevelWarning
	case "note", "info":
		return store.LevelNotice
	}
	return store.LevelFailure
}

// foreign are places that no checkout is copied to.
var foreign = regexp.MustCompile(`^/(usr/(lib|local|include|share)|lib|go/pkg|root/\.)|/(site-packages|node_modules)/`)

// place finds a file of the checkout by what a tool calls it. What could be several files is none.
func (a *Annotator) place(file, line, column string) (at store.Annotation, ok bool) {
	var err error
	at.Line, err = strconv.Atoi(line)
	at.Column, _ = strconv.Atoi(column) // mostly there is none
	file = path.Clean(filepath.ToSlash(file))
	if err != nil || at.Line < 1 || foreign.MatchString(file) {
		return at, false
	}
	if a.files == nil {
		a.list()
	}
	same := a.files[path.Base(file)]
	if !strings.HasPrefix(file, "/") {
		for _, exact := range []string{path.Join(a.folder, file), file} {
			for _, f := range same {
				if f == exact {
					at.Path = f
					return at, true
				}
			}
		}
		for strings.HasPrefix(file, "../") { // from a folder beside it
			file = file[len("../"):]
		}
	}
	for _, f := range same {
		inFolder := strings.TrimPrefix(f, a.folder+"/")
		// An absolute path ends in what the file is called here; a shorter one, seen from another folder, is its end.
		if strings.HasSuffix(file, "/"+inFolder) || strings.HasSuffix("/"+f, "/"+file) {
			if at.Path != "" {
				return at, false
			}
			at.Path = f
		}
	}
	return at, at.Path != ""
}

// list reads the names of the checkout's files. What can't be read is not there.
func (a *Annotator) list() {
	a.files = map[string][]string{}
	_ = filepath.WalkDir(a.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if rel, err := filepath.Rel(a.dir, name); err == nil && d.Type().IsRegular() {
			a.files[d.Name()] = append(a.files[d.Name()], filepath.ToSlash(rel))
		}
		return nil
	})
}

// annotate records which places of the checkout (dir, of which the folder was built) a failed step of BuildKit's speaks of in
// the log of a run, as found for a step of the run. The log is what is kept and masked; it must have been flushed.
func (e *Engine) annotate(ctx context.Context, run store.Run, kind, step, dir, folder string) error {
	log, err := runlog.Open(LogFile(e.DataDir, run.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // it was only read
	a := NewAnnotator(dir, folder)
	step = oneLine(e.Mask(step))
	for l, err := range log.Lines(0) {
		if err != nil {
			return err
		}
		if l.Step == step && l.Stream != 0 {
			a.Line(runlog.Uncoloured(l.Text))
		}
	}
	found, more := a.Found()
	if len(found) == 0 {
		return nil
	}
	return e.DB.Update(ctx, func(tx *store.Tx) error { return tx.Annotate(run.ID, kind, found, more) })
}
