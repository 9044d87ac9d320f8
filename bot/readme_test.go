package bot

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/bot/text"
)

// TestReadme: the README's table of commands has every row of ours, each form in it is read as that row, and what it gives as an
// example is said in a script.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile("../README.md")
	must(t, err)
	_, chapter, _ := strings.Cut(string(raw), "\n## Commands\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	span := regexp.MustCompile("`(/[^`]+)`")
	told := map[string]bool{}
	for row := range strings.SplitSeq(chapter, "\n") {
		cells := strings.Split(strings.ReplaceAll(row, `\|`, "\x00"), "|")
		if len(cells) != 5 {
			continue
		}
		for _, m := range span.FindAllStringSubmatch(cells[1], -1) {
			form := strings.ReplaceAll(m[1], "\x00", "|")
			l, ok := command1(form, "shipmate", true, text.En)
			if !ok || l.Err != nil {
				t.Errorf("%q is read as no command: %v", form, l.Err)
			}
			told[l.Name] = true
		}
	}
	for _, cmd := range table() {
		if !told[cmd.name] {
			t.Errorf("the table of the README lacks /%s", cmd.name)
		}
	}

	var scripts []string
	files, err := filepath.Glob("testdata/script/*.txtar")
	must(t, err)
	for _, file := range files {
		script, err := os.ReadFile(file)
		must(t, err)
		scripts = append(scripts, string(script))
	}
	_, block, _ := strings.Cut(chapter, "```\n")
	block, _, _ = strings.Cut(block, "```")
	examples := 0
	for example := range strings.Lines(block) {
		example, _, _ = strings.Cut(example, "  #")
		example = strings.TrimSpace(example)
		examples++
		if !slices.ContainsFunc(scripts, func(s string) bool { return strings.Contains(s, example) }) {
			t.Errorf("no script says %q", example)
		}
	}
	if examples < 5 {
		t.Errorf("there are %d examples", examples)
	}
}
