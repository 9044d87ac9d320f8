package bot

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
)

func TestCommands(t *testing.T) {
	cases := map[string]struct {
		body string
		want []string // name and arguments, joined by |
	}{
		"bare":                        {"/promote production", []string{"promote|production"}},
		"any case":                    {"/Promote Production", []string{"promote|Production"}},
		"addressed":                   {"/shipmate promote production", []string{"promote|production"}},
		"mentioned":                   {"@Shipmate promote production", []string{"promote|production"}},
		"addressed with a slash":      {"/shipmate /promote production", []string{"promote|production"}},
		"addressed, nothing said":     {"/shipmate", []string{""}},
		"CRLF":                        {"hello\r\n/status\r\n/help\r\n", []string{"status", "help"}},
		"quoted text":                 {`/rollback production to 3 "too slow"  now`, []string{"rollback|production|to|3|too slow|now"}},
		"curly quotes":                {"/rollback production “too slow”", []string{"rollback|production|too slow"}},
		"escaped quote":               {`/reject "say \"no\""`, []string{`reject|say "no"`}},
		"empty quotes":                {`/reject ""`, []string{"reject|"}},
		"key=value":                   {"/deploy web reason=\"it works\"", []string{"deploy|web|reason=it works"}},
		"not at the start":            {"please /promote production", nil},
		"indented by one":             {" /promote production", nil},
		"a path":                      {"/usr/bin/promote", nil},
		"only a slash":                {"/ promote", nil},
		"another's mention":           {"@shipmates promote production", nil},
		"fenced":                      {"```\n/promote production\n```\n/status", []string{"status"}},
		"fenced with a language":      {"```sh\n/promote production\n```", nil},
		"fence not closed":            {"```\n/promote production", nil},
		"fence closed by a longer":    {"```\n/a\n````\n/status", []string{"status"}},
		"fence not closed by other":   {"```\n~~~\n/promote production\n```", nil},
		"fence in a longer fence":     {"````\n```\n/promote production\n````", nil},
		"indented code":               {"    /promote production", nil},
		"tab code":                    {"\t/promote production", nil},
		"quote":                       {"> /promote production", nil},
		"line that belongs to quote":  {"> somebody said\n/promote production", nil},
		"after a quote":               {"> somebody said\n\n/promote production", []string{"promote|production"}},
		"HTML comment":                {"<!-- \n/promote production\n-->\n/status", []string{"status"}},
		"HTML comment in a line":      {"<!-- x --> y\n/status", []string{"status"}},
		"comment opens behind":        {"/status <!-- \n/promote production\n-->", []string{"status"}},
		"comment not closed":          {"<!--\n/promote production", nil},
		"fence in a comment":          {"<!--\n```\n-->\n/status", []string{"status"}},
		"fence behind a tab":          {"\t```\n```\n/promote production\n```", nil},
		"fence not closed by a tab":   {"```\n\t```\n/promote production\n```", nil},
		"fence with an odd space":     {"\u00a0```\n```\n/promote production\n```", nil},
		"fence not closed by one":     {"```\n```\u00a0\n/promote production\n```", nil},
		"no fence: a tick behind it":  {"``` a`b\n```\n/promote production\n```", nil},
		"fence after a carriage":      {"x\r```\n/promote production\n```", nil},
		"carriage returns alone":      {"hello\r/status\r/help", []string{"status", "help"}},
		"quote, an odd blank line":    {"> x\n\u00a0\n/promote production", nil},
		"quote in a list":             {"- > x\n/promote production", nil},
		"fence in a list":             {"- ```\n  x\n  ```\n\n/status\n\n```\n/promote production\n```", []string{"status"}},
		"fence ends with its item":    {"- ```\n  x\n/status", []string{"status"}},
		"fence in a list or not":      {"- x\n\n  ```\nx\n```\n/promote production\n```", nil},
		"code over lines":             {"run `this\n/promote production\nnow`", nil},
		"code in a line":              {"run `this`\n/status", []string{"status"}},
		"tick in another paragraph":   {"it's `\n\n/status", []string{"status"}},
		"preformatted":                {"<pre>\n/promote production\n\n/promote production\n</pre>\n/status", []string{"status"}},
		"HTML of another name":        {"<president>\n\n/status", []string{"status"}},
		"folded":                      {"<details>\n<summary>x</summary>\n\n/status\n</details>", []string{"status"}},
		"processing instruction":      {"<?x\n/promote production\n?>\n/status", []string{"status"}},
		"declaration":                 {"<!DOCTYPE\n/promote production\n>\n/status", []string{"status"}},
		"HTML comment, empty":         {"<!-->\n/status", []string{"status"}},
		"comment opens, fence within": {"a <!-- b\n```\n-->\n/promote production\n```", nil},
		"comment ends with paragraph": {"a <!-- b\n\n/status", []string{"status"}},
		"comment opens in HTML":       {"<div><!--\n\n/promote production\n\n--></div>\n\n/status", []string{"status"}},
		"comment opens behind HTML":   {"<div>\nx <!--\n\n/promote production\n\n-->\n/status", []string{"status"}},
		"second comment of a line":    {"<!-- x --> <!-- y\n\n/promote production\n\n-->\n/status", []string{"status"}},
		"second comment at an end":    {"<!-- x\n--> <!-- y\n/promote production\n-->\n/status", []string{"status"}},
		"capitals":                    {"x <PRE>\n/promote production\n</PRE>\n\n/status", []string{"status"}},
		"capitals in HTML":            {"<DIV><PRE>\n\n/promote production\n</Pre>\n/status", []string{"status"}},
		"no fence: HTML before it":    {"<div>\n```\n\n```\n/promote production\n```", nil},
		"fence in HTML":               {"<details>\n<summary>x</summary>\n```\n/promote production\n```\n</details>\n\n/status", []string{"status"}},
		"comment in HTML's fence":     {"<div>\n```\n<!--\n```\n\n/promote production\n-->\n/status", []string{"status"}},
		"comment in a quote's HTML":   {"> <div><!--\n\n/promote production\n\n-->\n/status", []string{"status"}},
		"fence behind a link":         {"<https://example.com>\n```\n\n/promote production\n```\n/status", []string{"status"}},
		"a Chinese name":              {"/回滚 production 到 3 太慢", nil},
		"another name":                {"/release show 3", []string{"order|show|3"}},
		"another's command":           {"/lgtm\n/shipmate lgtm", []string{"lgtm"}},
		"full-width space":            {"/promote　production", []string{"promote|production"}},
		"full-width quotes":           {"/rollback production ＂too slow＂", []string{"rollback|production|too slow"}},
		"zero width":                  {"\u200b/promote production", nil},
		"empty":                       {"", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			lines, more := commands(c.body, "shipmate", true, text.En)
			var got []string
			for _, l := range lines {
				if l.Err != nil {
					t.Errorf("%v", l.Err)
				}
				got = append(got, strings.Join(append([]string{l.Name}, l.Args...), "|"))
			}
			if !reflect.DeepEqual(got, c.want) || more {
				t.Errorf("got %q (more: %v), want %q", got, more, c.want)
			}
		})
	}
}

// TestChinese: where the surface speaks Chinese, both the names and what the keyboards type are understood.
func TestChinese(t *testing.T) {
	for body, want := range map[string]string{
		"/回滚 production 到 3 太慢":     "rollback|production|to|3|太慢",
		"/回滚 web production 到 3 太慢": "rollback|web|production|to|3|太慢",
		"/回滚 production 需要回 到 以前":   "rollback|production|需要回|到|以前",
		"／发布　production":            "promote|production",
		"/shipmate 发布 production":   "promote|production",
		"／shipmate ／发布 production":  "promote|production",
		"@shipmate 部署 staging":      "deploy|staging",
		"/驳回 12 “太 慢”":              "reject|12|太 慢",
		"/锁定 全部 持续 2h 封网":           "lock|all|for|2h|封网",
		"/解锁 全部":                    "unlock|all",
		"/发布单 show 1":               "order|show|1",
		"/promote production":       "promote|production",
		"/上线 production":            "",
		"发布 production":             "",
		"/shipmate 上线":              "上线",
	} {
		var got string
		if lines, _ := commands(body, "shipmate", true, text.Zh); len(lines) > 0 {
			got = strings.Join(append([]string{lines[0].Name}, lines[0].Args...), "|")
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", body, got, want)
		}
	}
}

// TestTable: each name means one row, in both languages, and no row lacks a Chinese name.
func TestTable(t *testing.T) {
	seen := map[string]string{}
	for _, cmd := range table() {
		if !strings.HasPrefix(cmd.usage, "/"+cmd.name) {
			t.Errorf("the usage of %s is %q", cmd.name, cmd.usage)
		}
		zh := cmd.names(text.Zh)
		if len(zh) == len(cmd.names(text.En)) {
			t.Errorf("%s has no Chinese name", cmd.name)
		}
		for _, n := range zh {
			if seen[n] != "" || n != strings.ToLower(n) {
				t.Errorf("%q is a name of %s and of %s", n, seen[n], cmd.name)
			}
			seen[n] = cmd.name
			if found := find(n, text.Zh); found == nil || found.name != cmd.name {
				t.Errorf("%q finds %v", n, found)
			}
		}
	}
}

// TestOptions: key=value counts where the key is known, in any case; the rest are words.
func TestOptions(t *testing.T) {
	values, rest := options([]string{"web", "Reason=it works", "a=b", "for=2h"}, "reason", "for")
	if values["reason"] != "it works" || values["for"] != "2h" || len(values) != 2 || !slices.Equal(rest, []string{"web", "a=b"}) {
		t.Errorf("%v, %v", values, rest)
	}
}

func TestCommandsLimits(t *testing.T) {
	lines, more := commands(strings.Repeat("/status\n", 6), "shipmate", true, text.En)
	if len(lines) != maxCommands || !more {
		t.Errorf("got %d commands, more: %v", len(lines), more)
	}
	if lines, _ := commands("/promote production\n/shipmate status", "shipmate", false, text.En); len(lines) != 1 || lines[0].Name != "status" {
		t.Errorf("without bare commands: %+v", lines)
	}
	if lines, _ := commands(`/reject "no`, "shipmate", true, text.En); len(lines) != 1 || lines[0].Err == nil {
		t.Errorf("an open quote: %+v", lines)
	}
}

// TestCommandsEnd: whatever a comment holds, as long as one may be, it is read within a moment.
func TestCommandsEnd(t *testing.T) {
	for _, row := range []string{"/status", "/status ` ``", "/status <!--", "/status <prefix", "/status <pres<pres", "> /status", "- <!--"} {
		before := time.Now()
		body := "a `````\n" + strings.Repeat(row+"\n", 65536/len(row))
		if lines, _ := commands(body, "shipmate", true, text.En); len(lines) > 0 || time.Since(before) > 2*time.Second {
			t.Errorf("%q: %d commands after %v", row, len(lines), time.Since(before))
		}
	}
}

// FuzzCommands: whatever a comment holds, what is put where it is text is no command, and a command is found again in
// what was found.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{"/promote production", "```\n/x", "<!--", "> a\n/b", "/a \"", "@shipmate", "/shipmate  a", "\t```\n```\n/a\n```", "``` a`b\n```\n/a", "x\r/a\r\n/b",
		"- > x\n/a", "- ```\n/a", "a `\n/b\n`", "<pre>\n/a", "/rollback production to 3 “too slow”", strings.Repeat("/status\n", 7), "/reject \"say \\\"no\\\"\""} {
		f.Add(s)
	}
	f.Add("/回滚 production 到 3 “太 慢”\n／发布　a\\ ＂\u0085＂")
	f.Fuzz(func(t *testing.T, body string) {
		for _, lang := range []text.Lang{text.En, text.Zh} {
			lines, more := commands(body, "shipmate", true, lang)
			if len(lines) > maxCommands || more && len(lines) < maxCommands {
				t.Errorf("%d commands, more: %v", len(lines), more)
			}
			for _, l := range lines { // as it may be typed again, it is the same
				if l.Err != nil {
					continue
				}
				again, ok := command1("/shipmate "+l.String(), "", false, lang)
				if !ok || again.Err != nil || again.Name != l.Name || !slices.Equal(again.Args, l.Args) || again.String() != l.String() {
					t.Errorf("%q is %q, and that is %+v", body, l, again)
				}
			}
		}
		lines, more := commands(body, "shipmate", true, text.En)
		if len(lines) > maxCommands || more && len(lines) < maxCommands {
			t.Errorf("%d commands, more: %v", len(lines), more)
		}
		var again strings.Builder
		for _, l := range lines {
			if strings.ContainsAny(l.Name, " \t\r\n") {
				t.Errorf("a name with white space: %q", l.Name)
			}
			again.WriteString("/shipmate " + l.Name)
			for _, arg := range l.Args {
				again.WriteString(` "` + escape.Replace(arg) + `"`)
			}
			again.WriteString("\n\n")
		}
		found, _ := commands(again.String(), "shipmate", true, text.En)
		for i := range lines {
			if lines[i].Err == nil && !strings.Contains(again.String(), "<!") && (i >= len(found) || found[i].Name != lines[i].Name || !slices.Equal(found[i].Args, lines[i].Args)) {
				t.Errorf("%q was read as %q, and that as %+v", body, again.String(), found)
				break
			}
		}

		plain := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(body)
		each := func(before string) string { return before + strings.ReplaceAll(plain, "\n", "\n"+before) }
		longest := strings.Repeat("`", 3+strings.Count(plain, "`"))
		for where, body := range map[string]string{
			"a fence":          longest + "\n" + body + "\n" + longest,
			"an open fence":    longest + "sh\n" + body,
			"a quote":          each("> "),
			"indented code":    each("    "),
			"a tab's code":     each("\t"),
			"a list":           each("  "),
			"an HTML comment":  "<!--\n" + strings.ReplaceAll(body, "-->", "") + "\n-->",
			"preformatted":     "<pre>\n" + regexp.MustCompile("(?i)</pre>").ReplaceAllString(body, "") + "\n</pre>",
			"the rest of text": "x" + strings.ReplaceAll(plain, "\n", "\nx"),
		} {
			if found, _ := commands(body, "shipmate", true, text.En); len(found) > 0 {
				t.Errorf("in %s: %q holds %+v", where, body, found)
			}
		}
		if found, _ := commands(body+"\n\nThank you.", "shipmate", true, text.En); len(found) != len(lines) {
			t.Errorf("%q: %d commands, with a line behind it %d", body, len(lines), len(found))
		}
		if found, _ := commands("Please:\n\n"+body, "shipmate", true, text.En); len(found) != len(lines) {
			t.Errorf("%q: %d commands, with a line before it %d", body, len(lines), len(found))
		}
	})
}
