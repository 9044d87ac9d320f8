package bot

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
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

// TestReadmeFiles: what the README shows of a repository's file is right: the whole, and each strategy and flow of an environment.
func TestReadmeFiles(t *testing.T) {
	raw, err := os.ReadFile("../README.md")
	must(t, err)
	seen := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(raw), -1) {
		key, _, _ := strings.Cut(strings.TrimSpace(m[1]), ":")
		var files []string
		switch key {
		case "build":
			files = []string{m[1]}
		case "strategy", "flow": // several ways to write it, one after the other
			for part := range strings.SplitSeq("\n"+m[1], "\n    "+key+":") {
				if strings.TrimSpace(part) != "" {
					files = append(files, "build: {image: registry.example.com/team/web}\nenvironments:\n  - name: staging\n    cluster: test\n    namespace: staging\n    manifests: deploy/\n    "+key+":"+part)
				}
			}
		}
		for _, file := range files {
			seen[key]++
			if _, err := pipeline.Parse(".shipmate.yaml", []byte(file)); err != nil {
				t.Errorf("%v in\n%s", err, file)
			}
		}
	}
	if seen["build"] < 1 || seen["flow"] < 1 || seen["strategy"] < 6 {
		t.Errorf("there are %v", seen)
	}
}
