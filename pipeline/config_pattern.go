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
	expr, err := parsePattern(string(text), "branch", branchPrefix, `a branch, default, or a /regular expression/`, `/^release\/.*/`)
	*p = Pattern{text: string(text), expr: expr}
	return err
}

// parsePattern checks a name, short or with its prefix, and returns the expression of a /regular expression/.
func parsePattern(text, what, prefix, want, example string) (*regexp.Regexp, error) {
	switch {
	case text == "":
		return nil, fmt.Errorf(`is empty; write %s`, want)
	case !strings.HasPrefix(text, "/"):
		if strings.ContainsAny(text, "*?[\\^~: ") { // none of them can be part of a ref's name
			return nil, fmt.Errorf("%q is no %s's name; write a /regular expression/ for several, such as %s", text, what, example)
		}
		if strings.HasPrefix(text, "refs/") && !strings.HasPrefix(text, prefix) {
			return nil, fmt.Errorf("%q is no %s; write %s", text, what, want)
		}
		return nil, nil
	case len(text) < 3 || !strings.HasSuffix(text, "/"):
		return nil, fmt.Errorf("%q is no regular expression; write it between two slashes, such as %s", text, example)
	}
	expr, err := regexp.Compile(text[1 : len(text)-1])
	if err != nil {
		return nil, fmt.Errorf("%q does not compile (%w); correct it as RE2 wants it", text, err)
	}
	return expr, nil
}

// MarshalText returns the pattern as UnmarshalText reads it.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

func (p Pattern) String() string { return p.text }

const (
	branchPrefix = "refs/heads/"
	tagPrefix    = "refs/tags/"
)

// branchOf returns the short name of a branch's full name. A branch that is itself called refs/… has none: its short
// name would pass for another's full one.
func branchOf(ref string) (string, bool) {
	return shortOf(ref, branchPrefix)
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

// TagPattern is a rule about tags: a name, short or full, or a /regular expression/, as in a Pattern.
type TagPattern struct{ Pattern }

var anyTag = TagPattern{Pattern{text: "/.*/", expr: regexp.MustCompile(".*")}}

// UnmarshalText reads a pattern as it stands in a file.
func (p *TagPattern) UnmarshalText(text []byte) error {
	expr, err := parsePattern(string(text), "tag", tagPrefix, `a tag, or a /regular expression/`, `/^v\d+/`)
	p.Pattern = Pattern{text: string(text), expr: expr}
	return err
}

// Match says whether ref, a full name such as refs/tags/v1, is a tag that the pattern means. Nothing else ever matches.
func (p TagPattern) Match(ref string) bool {
	short, ok := tagOf(ref)
	switch {
	case !ok:
		return false
	case p.expr != nil:
		return p.expr.MatchString(short) || p.expr.MatchString(ref)
	}
	return p.text == short || p.text == ref
}

// RefPattern is a rule about branches and tags where one must not pass for the other, since who may push a tag may not push
// every branch. It means branches, as a Pattern does, unless it says that it means tags: by a full name, refs/tags/v1, or by a
// /regular expression/ that begins with ^refs/tags/ (each / also as \/).
type RefPattern struct {
	branch Pattern
	tag    TagPattern
}

// UnmarshalText reads a pattern as it stands in a file.
func (p *RefPattern) UnmarshalText(text []byte) error {
	*p = RefPattern{}
	start := strings.ReplaceAll(string(text), `\/`, "/")
	if strings.HasPrefix(start, tagPrefix) || strings.HasPrefix(start, "/^"+tagPrefix) {
		return p.tag.UnmarshalText(text)
	}
	return p.branch.UnmarshalText(text)
}

// MarshalText returns the pattern as UnmarshalText reads it.
func (p RefPattern) MarshalText() ([]byte, error) { return []byte(p.branch.text + p.tag.text), nil }

// Match says whether ref, a full name, is a branch or a tag that the pattern means.
func (p RefPattern) Match(ref, defaultBranch string) bool {
	return p.branch.Match(ref, defaultBranch) || p.tag.Match(ref)
}

// tagOf returns the short name of a tag's full name; as in branchOf, a tag that is itself called refs/… has none.
func tagOf(ref string) (string, bool) {
	return shortOf(ref, tagPrefix)
}

func shortOf(ref, prefix string) (string, bool) {
	short, ok := strings.CutPrefix(ref, prefix)
	if !ok || short == "" || strings.HasPrefix(short, "refs/") {
		return "", false
	}
	return short, true
}

// MatchAnyTag says whether one of patterns matches; an empty list matches nothing.
func MatchAnyTag(patterns []TagPattern, ref string) bool {
	return slices.ContainsFunc(patterns, func(p TagPattern) bool { return p.Match(ref) })
}

// MatchAny says whether one of patterns matches; an empty list matches nothing.
func MatchAny(patterns []Pattern, ref, defaultBranch string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(ref, defaultBranch) })
}
