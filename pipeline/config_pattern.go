package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Pattern is a rule about branches: a name, short or full; "default", the repository's default branch whatever its
// name; or a /regular expression/ (RE2) that is tried on the short and the full name, and is anchored only where it
// says so. The zero Pattern matches nothing.
type Pattern struct {
	text string
	expr *regexp.Regexp // of the /form/
}

var (
	defaultBranchOnly = Pattern{text: "default"}
	anyBranch         = Pattern{text: "/.*/", expr: regexp.MustCompile(".*")}
)

// UnmarshalText reads a pattern as it stands in a file.
func (p *Pattern) UnmarshalText(text []byte) error {
	*p = Pattern{text: string(text)}
	switch {
	case p.text == "":
		return fmt.Errorf(`is empty; write a branch, default, or a /regular expression/`)
	case !strings.HasPrefix(p.text, "/"):
		if strings.ContainsAny(p.text, "*?[\\^~: ") { // none of them can be part of a branch's name
			return fmt.Errorf("%q is no branch's name; write a /regular expression/ for several, such as %s", p.text, `/^release\/.*/`)
		}
		if strings.HasPrefix(p.text, "refs/") && !strings.HasPrefix(p.text, branchPrefix) {
			return fmt.Errorf("%q is no branch; write the branch's name", p.text)
		}
		return nil
	case len(p.text) < 3 || !strings.HasSuffix(p.text, "/"):
		return fmt.Errorf("%q is no regular expression; write it between two slashes, such as %s", p.text, `/^release\/.*/`)
	}
	expr, err := regexp.Compile(p.text[1 : len(p.text)-1])
	if err != nil {
		return fmt.Errorf("%q does not compile (%w); correct it as RE2 wants it", p.text, err)
	}
	p.expr = expr
	return nil
}

// MarshalText returns the pattern as UnmarshalText reads it.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

func (p Pattern) String() string { return p.text }

const branchPrefix = "refs/heads/"

// branchOf returns the short name of a branch's full name. A branch that is itself called refs/… has none: its short
// name would pass for another's full one.
func branchOf(ref string) (string, bool) {
	short, ok := strings.CutPrefix(ref, branchPrefix)
	return short, ok && short != "" && !strings.HasPrefix(short, "refs/")
}

// Match says whether ref, a full name such as refs/heads/master, is a branch that the pattern means. Tags and other
// refs never match, whatever they are called.
func (p Pattern) Match(ref, defaultBranch string) bool {
	short, ok := branchOf(ref)
	switch {
	case !ok:
		return false
	case p.expr != nil:
		return p.expr.MatchString(short) || p.expr.MatchString(ref)
	case p.text == defaultBranchOnly.text:
		return short == defaultBranch
	}
	return p.text == short || p.text == ref
}

// MatchAny says whether one of patterns matches; an empty list matches nothing.
func MatchAny(patterns []Pattern, ref, defaultBranch string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(ref, defaultBranch) })
}
