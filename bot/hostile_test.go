package bot

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// hostile is what somebody may type to have it rendered as more than text. Each has the word zzz in all that must not get out.
var hostile = []string{
	"@zzz-everyone", "@acme/zzz", "@zzz[bot]", "](http://zzz.example)", "[zzz](http://zzz.example/a)", "![zzz](http://zzz.example/b.png)", "<img/src=http://zzz.example>",
	"<!--zzz", "-->zzz", "<details>zzz", "http://zzz.example/x?y=z", "www.zzz.example", "zzz@zzz.example", "#1zzz", "GH-1zzz", "acme/web#1zzz", "`zzz", "zzz`@zzz`", "``@zzz``", "```@zzz",
	"*zzz*", "__zzz__", "~~zzz~~", "$zzz$", "|zzz|@zzz|", "&lt;zzz&gt;", "&#64;zzz", "\\@zzz", "\\`@zzz", "\u200b@zzz", "@\u200bzzz", "`\u200b`@zzz", "\u202e@zzz", "\u2028@zzz", "\u2066@zzz\u2069",
	"\x0e@zzz\x0f", "\x0f@zzz", "\x00@zzz", "zzz\t@zzz", "@zzz\ufeff", "::zzz::", ":zzz:", "-zzz", "=zzz", "<@zzz>", "＠zzz", strings.Repeat("`", 30) + "@zzz", strings.Repeat("@zzz", 200),
}

// places are the commands with something typed in every place where something can be.
var places = []string{
	"/help %s", "/status %s", "/history %s", "/why %s", "/diff staging %s", "/diff %s", "/logs %s", "/deploy %s", "/deploy staging %s", "/deploy staging when %s", "/deploy production now! %s",
	"/promote %s", "/promote production %s", "/rollback %s", "/rollback staging to %s", "/rollback order %s", "/approve %s", "/reject 99 %s", "/reject %s",
	"/lock %s", "/lock production for %s", "/lock production for 1h %s", "/unlock %s", "/unlock production", "/lock production for 1h \"%s\"", "/pause %s", "/resume %s", "/abort %s",
	"/cancel %s", "/cancel run %s", "/rebuild %s", "/ok-to-test %s", "/order create %s", "/order create production web@%s", "/order create production web@1 \"%s\"", "/order show %s", "/order %s",
	"/subscribe %s", "/unsubscribe %s", "/link %s", "/shipmate %s", "/shipmate promote %s", "/promote \"%s", "/release %s",
}

// TestNothingTypedIsRendered says every command with hostile arguments, and reads everything that the bot posts as GitHub's
// markdown: what was typed stands in code, where it is no markup, no mention and no link.
func TestNothingTypedIsRendered(t *testing.T) {
	muchOfTheSame(t)
	t.Parallel()
	l := newLab(t, nil)
	sha := got(l.Push("root", "master", "@zzz <img src=zzz> [zzz](http://zzz.example)\n\n@zzz", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	issue := l.repo.OpenIssue("root", "@zzz `zzz")
	l.repo.SetPermission("zzz", "admin", "")
	// What a rejection's reason, a cancelled deployment's canceller and the like turn up in.
	for i, word := range hostile {
		if i%8 != 0 {
			continue
		}
		if _, _, err := l.Say(issue, "alice", "/promote production"); err != nil {
			t.Fatal(err)
		}
		must(t, l.Settle())
		if _, _, err := l.Say(issue, "bob", "/reject "+word); err != nil {
			t.Fatal(err)
		}
		l.clock.Advance(2 * time.Minute) // GitHub takes so many comments a minute
	}
	if _, _, err := l.Say(issue, "alice", "/promote production"); err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, place := range places {
		for i := 0; i < len(hostile); i += maxCommands {
			var lines []string
			for _, word := range hostile[i:min(i+maxCommands, len(hostile))] {
				lines = append(lines, fmt.Sprintf(place, word))
			}
			// In the order of this list the places are said without waiting for each answer.
			if _, err := l.Comment(issue, "root", strings.Join(lines, "\n")); err != nil {
				t.Fatal(err)
			}
			said += len(lines)
			l.clock.Advance(20 * time.Second)
		}
		must(t, l.Settle())
		l.clock.Advance(time.Minute)
	}
	must(t, l.Settle())
	posted := 0
	for _, c := range l.repo.Comments(issue) {
		if c.User != "shipmate[bot]" {
			continue
		}
		posted++
		if out := outsideCode(c.Body); strings.Contains(out, "zzz") || strings.Contains(out, "@") {
			t.Errorf("rendered: %q\nof: %s", out, c.Body)
		}
		if len(c.Body) > 65536 {
			t.Errorf("a body of %d bytes", len(c.Body))
		}
	}
	if posted < len(places) {
		t.Errorf("it posted only %d comments", posted)
	}
	t.Logf("%d commands, %d answers", said, posted)
}

var (
	ourMark = regexp.MustCompile(`(?m)^<!-- shipmate [^>]*-->\s*$`)
	tick    = regexp.MustCompile("`+")
	fences  = regexp.MustCompile("^ {0,3}(`{3,}|~{3,})")
)

// outsideCode is what GitHub-flavoured markdown has outside of code: without fenced blocks and code spans. A span does not
// reach over a blank line, nor over the cells of a table, which end at any | that is not escaped. (CommonMark 0.31, 4.5 and
// 6.1; GFM 4.10.)
func outsideCode(body string) string {
	var out, paragraph strings.Builder
	flush := func() {
		out.WriteString(outsideSpans(paragraph.String()))
		paragraph.Reset()
	}
	fence := ""
	for line := range strings.SplitSeq(ourMark.ReplaceAllString(body, ""), "\n") {
		m := fences.FindStringSubmatch(line)
		switch {
		case fence != "":
			if m != nil && strings.HasPrefix(m[1], fence) && strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), fence[:1])) == "" {
				fence = ""
			}
		case m != nil && !(m[1][0] == '`' && strings.Contains(line[len(m[0]):], "`")):
			flush()
			fence = m[1]
			out.WriteString(line[len(m[0]):] + "\n")
		case strings.TrimSpace(line) == "":
			flush()
		case strings.HasPrefix(line, "|"):
			flush()
			for _, cell := range strings.Split(strings.ReplaceAll(line, `\|`, ""), "|") {
				out.WriteString(outsideSpans(cell) + "|")
			}
		default:
			if strings.HasPrefix(line, "- ") { // an item is a paragraph of its own
				flush()
			}
			paragraph.WriteString(line + "\n")
		}
	}
	flush()
	return out.String()
}

// outsideSpans takes the code spans out of a paragraph.
func outsideSpans(s string) string {
	var out strings.Builder
	for {
		open := tick.FindStringIndex(s)
		if open == nil {
			return out.String() + s
		}
		if open[0] > 0 && s[open[0]-1] == '\\' { // escaped, so that its run is one shorter
			open[0]++
		}
		mark, rest := s[open[0]:open[1]], s[open[1]:]
		out.WriteString(s[:open[0]])
		end := -1
		for _, m := range tick.FindAllStringIndex(rest, -1) {
			if rest[m[0]:m[1]] == mark {
				end = m[1]
				break
			}
		}
		if end < 0 { // text
			out.WriteString(mark)
			s = rest
			continue
		}
		s = rest[end:]
	}
}

func TestOutsideCode(t *testing.T) {
	for body, want := range map[string]string{
		"a `b` c":                   "a  c\n",
		"a `` b ` @c `` d":          "a  d\n",
		"a `b\n\n@c` d":             "a `b\n@c` d\n",
		"a \\`@b` c":                "a \\`@b` c\n",
		"```\n@a\n```\nb":           "\nb\n",
		"```\n@a\n``\n@b\n````\nc":  "\nc\n",
		"``` a`b\n@c":               "``` a`b\n@c\n",
		"| `a | @b` |":              "| `a | @b` ||",
		"| `a \\| @b` |":            "|  ||",
		"x\n<!-- shipmate 1234 -->": "x\n",
		"`a`` b":                    "`a`` b\n",
		"- `a\n- @b`":               "- `a\n- @b`\n",
	} {
		if got := outsideCode(body); got != want {
			t.Errorf("%q: got %q, want %q", body, got, want)
		}
	}
}
