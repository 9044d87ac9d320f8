// Package strictyaml decodes a YAML file that a person wrote into Go structs, and tells that person about every
// mistake in one run: where it is, what is wrong and what to write instead.
//
// It is strict where YAML is generous: an unknown or repeated key, a value of another type, an anchor, an alias, a
// merge key, a tag, a second document, or a key without a value is an error. Nothing is expanded, so no input grows.
package strictyaml

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// MaxSize is the largest file that is read, in bytes.
	MaxSize = 1 << 20

	maxDepth  = 100 // of nested lists and mappings
	maxErrors = 100 // reported for one file
)

// Position is a place in a file; lines count from 1.
type Position struct {
	File string
	Line int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Error is one mistake.
type Error struct {
	Position
	Path    string // as in "environments[1].after"; empty where the mistake belongs to no key
	Message string // what is wrong; what to write instead
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %s", e.Position, e.Message)
	}
	return fmt.Sprintf("%s: %s: %s", e.Position, e.Path, e.Message)
}

// Errors are the mistakes of one file in the order of their lines, one line of text each.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each mistake, for errors.As.
func (es Errors) Unwrap() []error {
	errs := make([]error, len(es))
	for i, e := range es {
		errs[i] = e
	}
	return errs
}

// Document remembers where each known key of a decoded file stands, and gathers mistakes: those that Decode found,
// and those that the caller's own checks add.
type Document struct {
	file   string
	lines  map[string]int  // by path
	failed map[string]bool // paths with a mistake
	errs   Errors
	more   bool // maxErrors was reached
}

// Has says whether the file has a value at path.
func (d *Document) Has(path string) bool {
	_, ok := d.lines[path]
	return ok
}

// At returns the place of path, or of the nearest thing around it that the file has.
func (d *Document) At(path string) Position {
	for {
		if line, ok := d.lines[path]; ok {
			return Position{d.file, line}
		}
		if path == "" {
			return Position{d.file, 1}
		}
		path = parent(path)
	}
}

// Errorf adds a mistake at path. The text says what is wrong and, after a semicolon, what to write instead. A path
// is told about once: a later mistake at it or inside it would most likely follow from the first.
func (d *Document) Errorf(path, format string, args ...any) {
	for p := path; ; p = parent(p) {
		if d.failed[p] {
			return
		}
		if p == "" {
			break
		}
	}
	if path != "" {
		d.failed[path] = true
	}
	d.add(d.At(path).Line, path, format, args...)
}

func (d *Document) add(line int, path, format string, args ...any) {
	if len(d.errs) >= maxErrors {
		d.more = true
		return
	}
	d.errs = append(d.errs, &Error{Position{d.file, line}, path, fmt.Sprintf(format, args...)})
}

// Err returns Errors, or nil when there was no mistake.
func (d *Document) Err() error {
	if len(d.errs) == 0 {
		return nil
	}
	errs := slices.Clone(d.errs)
	slices.SortStableFunc(errs, func(a, b *Error) int { return a.Line - b.Line })
	if d.more {
		errs = append(errs, &Error{Position{d.file, errs[len(errs)-1].Line}, "",
			fmt.Sprintf("there are more than %d mistakes; correct these first", maxErrors)})
	}
	return errs
}

// parent cuts the last key or index off path.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
