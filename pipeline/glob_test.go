package pipeline

import (
	"strings"
	"testing"
)

func TestGlobs(t *testing.T) {
	tests := []struct {
		patterns string // with spaces between them
		match    string
		not      string
	}{
		{"**", "a a/b .github/x a/b/c.md", ""},
		{"*", "a a.md .env a/b", ""}, // a folder's name is about everything in it
		{"*.md", "a.md .md", "a/b.md a.md5 amd"},
		{"**/*.md", "a.md a/b.md a/b/c.md", "a/b.mdx md"},
		{"**.md", "a.md a/b.md a/b/c.md", "a/md"},
		{"docs", "docs docs/a docs/a/b", "docs2 a/docs docs.md"},
		{"docs/", "docs/a docs/a/b", "docs2/a a/docs"},
		{"docs/**", "docs/a docs/a/b", "docs2/a a/docs"},
		{"/docs", "docs/a", "a/docs"},
		{"./docs", "docs/a", "a/docs"},
		{"**/docs", "docs/a a/docs a/b/docs/c", "mydocs/a a/mydocs/b"},
		{"**/docs/**", "docs/a a/docs/c", "mydocs/a"},
		{"docs/*", "docs/a docs/a/b", "docs2"},
		{"docs/*.md", "docs/a.md", "docs/a/b.md"},
		{"docs/**/a.md", "docs/a.md docs/b/a.md docs/b/c/a.md", "docs/ba.md docsa.md"},
		{"docs/**/**/a.md", "docs/a.md docs/b/a.md", "docs/ba.md"},
		{"src/*/main.go", "src/a/main.go", "src/main.go src/a/b/main.go"},
		{"v?.txt", "v1.txt", "v.txt v12.txt v/.txt"},
		{"app/[locale]/**", "app/[locale]/page.tsx", "app/l/page.tsx"},
		{"a+b/{x,y}/(z).go", "a+b/{x,y}/(z).go", "aab/x/z.go"},
		{"** !docs/**", "a.go", "docs/a docs/a/b"},
		{"web !web/test web/test/keep.go", "web/a web/test/keep.go", "web/test/a api/a"},
		{"docs 图/*.md", "图/说明.md docs/a", "说明.md"},
		{".github", ".github/workflows/x.yaml", "github/x"},
		{"", "", "a a/b"},
	}
	for _, test := range tests {
		gs, _, err := parseGlobs(strings.Fields(test.patterns))
		if err != nil {
			t.Errorf("%s: %v", test.patterns, err)
		}
		for _, path := range strings.Fields(test.match) {
			if !gs.match(path) {
				t.Errorf("%s must match %s", test.patterns, path)
			}
		}
		for _, path := range strings.Fields(test.not) {
			if gs.match(path) {
				t.Errorf("%s must not match %s", test.patterns, path)
			}
		}
	}
	if gs, _, _ := parseGlobs([]string{"docs"}); !gs.match("docs/a\nb") || gs.match("a\ndocs/b") {
		t.Error("a line break in a file's name ends nothing")
	}
	for _, bad := range []string{"", "/", "./", "!", "!docs", "../a", "a/../b", "a/./b", "a//b", `a\b`, "a/***", "."} {
		if _, _, err := parseGlobs([]string{bad}); err == nil {
			t.Errorf("%q must be refused", bad)
		} else if !strings.Contains(err.Error(), ";") {
			t.Errorf("%q: %v does not say what to write", bad, err)
		}
	}
	if _, index, err := parseGlobs([]string{"a", "!b", "c//d"}); err == nil || index != 2 {
		t.Errorf("%d: %v", index, err)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("docs/**/a?.*", "docs/x/ab.md")
	f.Add("!a{b", "a{b/c")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		g, err := parseGlob(pattern)
		if err != nil {
			return
		}
		if strings.ContainsAny(pattern, "*?") || g.not {
			g.expr.MatchString(path)
			return
		}
		name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(pattern, "./"), "/"), "/")
		if want := path == name || strings.HasPrefix(path, name+"/"); g.expr.MatchString(path) != want {
			t.Fatalf("%q matches %q: %v", pattern, path, !want)
		}
	})
}
