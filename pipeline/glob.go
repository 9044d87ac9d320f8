package pipeline

import (
	"fmt"
	"regexp"
	"strings"
)

// globs are the patterns of trigger.paths or trigger.paths_ignore, in their order. Paths and patterns are relative to
// the repository's root, with / between their parts.
//
//   - * is any text within one part, ** any text over any number of parts (**/ over none as well), ? one character
//     within a part. Everything else stands for itself, also [ and {, which are parts of names in many repositories.
//   - A pattern that names a folder is about everything in it: docs, docs/ and docs/** mean the same.
//   - ! before a pattern takes back what those above it matched: the last pattern that is about a path decides.
//
// But for ? and the brackets this is how GitHub Actions reads its paths.
type globs []glob

type glob struct {
	expr *regexp.Regexp
	not  bool
}

// parseGlobs reads patterns. Its error is about the one at index bad, and says what to write instead.
func parseGlobs(patterns []string) (gs globs, bad int, err error) {
	for i, pattern := range patterns {
		g, err := parseGlob(pattern)
		if err == nil && g.not && i == 0 {
			err = fmt.Errorf(`%q takes back what a pattern above it matched, and there is none; write one above it, such as "**"`, pattern)
		}
		if err != nil {
			return nil, i, err
		}
		gs = append(gs, g)
	}
	return gs, 0, nil
}

func (gs globs) match(path string) bool {
	matched := false
	for _, g := range gs {
		if matched == g.not && g.expr.MatchString(path) {
			matched = !g.not
		}
	}
	return matched
}

var wildcard = regexp.MustCompile(`(^|/)\*\*/|\*\*|\*|\?`)

func parseGlob(pattern string) (glob, error) {
	text, not := strings.CutPrefix(pattern, "!")
	text = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(text, "./"), "/"), "/")
	parts := "/" + text + "/"
	switch {
	case text == "":
		return glob{}, fmt.Errorf(`%q names nothing; write a path, or a pattern such as "src/**"`, pattern)
	case strings.Contains(parts, "/../") || strings.Contains(parts, "/./") || strings.Contains(parts, "//"):
		return glob{}, fmt.Errorf("%q is no path of a file; write it from the repository's root, without . and .. in it", pattern)
	case strings.Contains(text, `\`):
		return glob{}, fmt.Errorf(`%q has a \; write / between the parts of a path`, pattern)
	case strings.Contains(text, "***"):
		return glob{}, fmt.Errorf("%q has more than two * together; write * for any text within a part of a path, ** over several", pattern)
	}
	for strings.Contains(text, "**/**") {
		text = strings.ReplaceAll(text, "**/**", "**")
	}
	var expr strings.Builder
	end := 0
	for _, at := range wildcard.FindAllStringIndex(text, -1) {
		expr.WriteString(regexp.QuoteMeta(text[end:at[0]]))
		expr.WriteString(map[string]string{"**/": "(.*/)?", "/**/": "/(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}[text[at[0]:at[1]]])
		end = at[1]
	}
	expr.WriteString(regexp.QuoteMeta(text[end:]))
	compiled, err := regexp.Compile("(?s)^" + expr.String() + "(/.*)?$")
	if err != nil {
		return glob{}, fmt.Errorf("%q cannot be read (%w); write it shorter", pattern, err)
	}
	return glob{compiled, not}, nil
}
