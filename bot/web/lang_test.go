package web

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template/parse"

	"github.com/shipmate-dev/shipmate/store"
)

// sentences are what the templates and the package's source say, by their places.
func sentences(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	files, _ := filepath.Glob("pages/*.html")
	for _, file := range files {
		body := must(pageFiles.ReadFile(file))
		trees := map[string]*parse.Tree{}
		tree := parse.New(file)
		tree.Mode = parse.SkipFuncCheck
		if _, err := tree.Parse(string(body), "", "", trees); err != nil {
			t.Fatal(err)
		}
		for _, tree := range trees {
			walk(tree.Root, func(n parse.Node) {
				switch n := n.(type) {
				case *parse.CommandNode:
					if id, ok := n.Args[0].(*parse.IdentifierNode); ok && id.Ident == "t" && len(n.Args) > 1 {
						if s, ok := n.Args[1].(*parse.StringNode); ok {
							found[s.Text] = file
						}
					}
				case *parse.TextNode:
					text := regexp.MustCompile(`(?s)<[^<>]*>|<[^<>]*$|^[^<>]*>|&\w+;`).ReplaceAllString(string(n.Text), " ")
					if strings.Contains(string(n.Text), "<") || !strings.ContainsAny(string(n.Text), `="`) {
						for _, word := range regexp.MustCompile(`\p{L}{2,}`).FindAllString(text, -1) {
							if !slices.Contains([]string{"Shipmate", "selected", "required", "readonly", "parts", "changes"}, word) { // the others are marks of elements
								t.Errorf("%s: %q is said in English alone (%q)", file, word, n.Text)
							}
						}
					}
				}
			})
		}
	}
	set := token.NewFileSet()
	sources, _ := filepath.Glob("*.go")
	for _, file := range append(sources, "../session.go", "../page_command.go", "../setup.go", "../link.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		literal := func(e ast.Expr) {
			if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
				s, _ := strconv.Unquote(b.Value)
				found[s] = file
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if detail, ok := n.(*ast.KeyValueExpr); ok { // of a problem
				if id, ok := detail.Key.(*ast.Ident); ok && id.Name == "Detail" {
					literal(detail.Value)
				}
			}
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if fn, ok := c.Fun.(*ast.Ident); ok && fn.Name == "refusal" {
				literal(c.Args[1])
			}
			fn, ok := c.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch fn.Sel.Name {
			case "say", "html", "action", "Say":
				literal(c.Args[0])
			case "renderError", "Error":
				if x, ok := fn.X.(*ast.SelectorExpr); len(c.Args) >= 5 && (fn.Sel.Name == "renderError" || ok && x.Sel.Name == "web") {
					literal(c.Args[3])
					literal(c.Args[4])
				}
			}
			return true
		})
	}
	// What is not written where it is said.
	for _, s := range []string{"Why?", "Why? (may be left out)", "builder", "registry", "cluster", "warning", "notice",
		store.CauseDeploy, store.CausePromote, store.CauseRollback, store.CauseNow, store.CausePush, store.CauseCommand, store.CauseSchedule,
		store.RunQueued, store.RunRunning, store.RunSucceeded, store.RunFailed, store.RunCancelled, store.RunSuperseded,
		store.StepPending, store.StepSkipped, store.StepInterrupted, store.Blocked, store.Applying, store.Progressing, store.Paused, store.Verifying,
		store.Rejected, store.Expired, store.OrderDraft, store.OrderWaiting, store.OrderApproved} {
		found[s] = "words"
	}
	return found
}

func walk(n parse.Node, visit func(parse.Node)) {
	visit(n)
	branch := func(b *parse.BranchNode) {
		walk(b.Pipe, visit)
		walk(b.List, visit)
		if b.ElseList != nil {
			walk(b.ElseList, visit)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, c := range n.Nodes {
			walk(c, visit)
		}
	case *parse.ActionNode:
		walk(n.Pipe, visit)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			walk(n.Pipe, visit)
		}
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			walk(c, visit)
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			walk(a, visit)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	}
}

var verb = regexp.MustCompile(`%(?:\[(\d)\])?[sd]`)

// Every sentence of the pages is there in Chinese, with the same values in it, and the catalogue has no other.
func TestEverySentenceInChinese(t *testing.T) {
	said := sentences(t)
	if len(said) < 150 {
		t.Errorf("only %d sentences were found", len(said))
	}
	for s, place := range said {
		c, ok := chinese[s]
		if !ok {
			t.Errorf("%s: no Chinese for %q", place, s)
			continue
		}
		count := func(text string) (verbs []string) {
			for i, m := range verb.FindAllStringSubmatch(text, -1) {
				at := strconv.Itoa(i + 1)
				if m[1] != "" {
					at = m[1]
				}
				verbs = append(verbs, at+m[0][len(m[0])-1:])
			}
			slices.Sort(verbs)
			return verbs
		}
		if en, zh := count(s), count(c); !slices.Equal(en, zh) {
			t.Errorf("%q has %v, %q has %v", s, en, c, zh)
		}
	}
	for s := range chinese {
		if _, ok := said[s]; !ok {
			t.Errorf("nothing says %q", s)
		}
	}
}

func TestLanguage(t *testing.T) {
	for _, c := range []struct {
		accept, cookie, query string
		want                  lang
	}{
		{"", "", "", en},
		{"zh-CN,zh;q=0.9,en;q=0.8", "", "", zh},
		{"en-GB,zh;q=0.9", "", "", en},
		{"fr, zh;q=0.3", "", "", zh},
		{"zh;q=0", "", "", en},
		{"zh;q=many", "", "", en},
		{"zh", "en", "", en},
		{"en", "zh", "", zh},
		{"en", "zh", "?lang=en", en},
		{"en", "<script>", "?lang=%22%3E%3Cscript%3E", en},
	} {
		r := httptest.NewRequest("GET", "/"+c.query, nil)
		r.Header.Set("Accept-Language", c.accept)
		if c.cookie != "" {
			r.Header.Set("Cookie", langCookie+"="+c.cookie)
		}
		if got := langOf(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		w := httptest.NewRecorder()
		keepLang(w, r)
		if set := w.Header().Get("Set-Cookie"); (set != "") != (c.query == "?lang=en") || strings.Contains(set, "script") {
			t.Errorf("%+v: it sets %q", c, set)
		}
	}
}
