package bot

import (
	"reflect"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	cases := map[string]struct {
		body string
		want []string // name and arguments, joined by |
	}{
		"bare":                       {"/promote production", []string{"promote|production"}},
		"any case":                   {"/Promote Production", []string{"promote|Production"}},
		"addressed":                  {"/shipmate promote production", []string{"promote|production"}},
		"mentioned":                  {"@Shipmate promote production", []string{"promote|production"}},
		"addressed with a slash":     {"/shipmate /promote production", []string{"promote|production"}},
		"addressed, nothing said":    {"/shipmate", []string{""}},
		"CRLF":                       {"hello\r\n/status\r\n/help\r\n", []string{"status", "help"}},
		"quoted text":                {`/rollback production to 3 "too slow"  now`, []string{"rollback|production|to|3|too slow|now"}},
		"curly quotes":               {"/rollback production “too slow”", []string{"rollback|production|too slow"}},
		"escaped quote":              {`/reject "say \"no\""`, []string{`reject|say "no"`}},
		"empty quotes":               {`/reject ""`, []string{"reject|"}},
		"key=value":                  {"/deploy web reason=\"it works\"", []string{"deploy|web|reason=it works"}},
		"not at the start":           {"please /promote production", nil},
		"indented by one":            {" /promote production", nil},
		"a path":                     {"/usr/bin/promote", nil},
		"only a slash":               {"/ promote", nil},
		"another's mention":          {"@shipmates promote production", nil},
		"fenced":                     {"```\n/promote production\n```\n/status", []string{"status"}},
		"fenced with a language":     {"```sh\n/promote production\n```", nil},
		"fence not closed":           {"```\n/promote production", nil},
		"fence closed by a longer":   {"```\n/a\n````\n/status", []string{"status"}},
		"fence not closed by other":  {"```\n~~~\n/promote production\n```", nil},
		"fence in a longer fence":    {"````\n```\n/promote production\n````", nil},
		"indented code":              {"    /promote production", nil},
		"tab code":                   {"\t/promote production", nil},
		"quote":                      {"> /promote production", nil},
		"line that belongs to quote": {"> somebody said\n/promote production", nil},
		"after a quote":              {"> somebody said\n\n/promote production", []string{"promote|production"}},
		"HTML comment":               {"<!-- \n/promote production\n-->\n/status", []string{"status"}},
		"HTML comment in a line":     {"<!-- x --> y\n/status", []string{"status"}},
		"comment opens behind":       {"/status <!-- \n/promote production\n-->", []string{"status"}},
		"comment not closed":         {"<!--\n/promote production", nil},
		"fence in a comment":         {"<!--\n```\n-->\n/status", []string{"status"}},
		"Chinese":                    {"/回滚 production 到 3 太慢", []string{"回滚|production|到|3|太慢"}},
		"zero width":                 {"\u200b/promote production", nil},
		"empty":                      {"", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			lines, more := commands(c.body, "shipmate", true)
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

func TestCommandsLimits(t *testing.T) {
	lines, more := commands(strings.Repeat("/status\n", 6), "shipmate", true)
	if len(lines) != maxCommands || !more {
		t.Errorf("got %d commands, more: %v", len(lines), more)
	}
	if lines, _ := commands("/promote production\n/shipmate status", "shipmate", false); len(lines) != 1 || lines[0].Name != "status" {
		t.Errorf("without bare commands: %+v", lines)
	}
	if lines, _ := commands(`/reject "no`, "shipmate", true); len(lines) != 1 || lines[0].Err == nil {
		t.Errorf("an open quote: %+v", lines)
	}
}

func FuzzCommands(f *testing.F) {
	for _, s := range []string{"/promote production", "```\n/x", "<!--", "> a\n/b", "/a \"", "@shipmate", "/shipmate  a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		lines, _ := commands(body, "shipmate", true)
		if len(lines) > maxCommands {
			t.Errorf("%d commands", len(lines))
		}
		for _, l := range lines {
			if strings.ContainsAny(l.Name, " \n") {
				t.Errorf("a name with white space: %q", l.Name)
			}
		}
		for l := range strings.Lines(body) {
			if strings.HasPrefix(l, "> ") && strings.Count(body, "\n") == 0 && len(lines) > 0 {
				t.Errorf("a quote was obeyed: %q", body)
			}
		}
	})
}
