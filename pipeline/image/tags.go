package image

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxTag is the length limit of a tag in the OCI distribution specification.
const maxTag = 128

var (
	tagPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
	notInTag    = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

	placeholders = []string{"branch", "tag", "short_sha", "sha", "run"}
)

// Tags fills vars into templates such as "{branch}-{short_sha}" and returns the tags in the templates' order, each
// once. The placeholders are branch, tag, short_sha, sha and run. What a tag can't hold becomes "-". A template with a
// placeholder that has no value here (the tag of a branch push) makes no tag. Where the result is longer than 128
// characters, branch and tag are cut, so that what makes it unique stays.
func Tags(templates []string, vars map[string]string) ([]string, error) {
	var tags []string
	for _, template := range templates {
		tag, err := fill(template, vars)
		if err != nil {
			return nil, err
		}
		if tag != "" && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

func fill(template string, vars map[string]string) (string, error) {
	values := make(map[string]string)
	for _, p := range placeholder.FindAllString(template, -1) {
		key := strings.Trim(p, "{}")
		if !slices.Contains(placeholders, key) {
			return "", fmt.Errorf("tag template %q: there is no %s; use {%s}", template, p, strings.Join(placeholders, "}, {"))
		}
		if vars[key] == "" {
			return "", nil
		}
		values[p] = notInTag.ReplaceAllString(vars[key], "-")
	}
	expand := func() string {
		s := placeholder.ReplaceAllStringFunc(template, func(p string) string { return values[p] })
		return strings.TrimLeft(s, ".-")
	}
	for _, p := range []string{"{branch}", "{tag}"} {
		for n := strings.Count(template, p); n > 0 && len(expand()) > maxTag && values[p] != ""; {
			over := len(expand()) - maxTag
			keep := max(0, len(values[p])-(over+n-1)/n)
			values[p] = values[p][:keep]
		}
	}
	tag := expand()
	if !tagPattern.MatchString(tag) {
		return "", fmt.Errorf("tag template %q gives %q, which is not a tag: letters, digits, _ . and - only, at most %d, not . or - first", template, tag, maxTag)
	}
	return tag, nil
}
