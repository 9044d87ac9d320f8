package text

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var verb = regexp.MustCompile(`%(?:\[(\d+)\])?(.)`)

// arguments lists which arguments a format takes; it fails the test for any verb but %v.
func arguments(t *testing.T, format string) []int {
	t.Helper()
	var args []int
	for i, m := range verb.FindAllStringSubmatch(format, -1) {
		n := i + 1
		if m[1] != "" {
			n, _ = strconv.Atoi(m[1])
		}
		if m[2] != "v" {
			t.Errorf("%q uses %%%s", format, m[2])
		}
		if !slices.Contains(args, n) {
			args = append(args, n)
		}
	}
	slices.Sort(args)
	return args
}

func isChinese(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

func TestEverySentenceHasBothLanguages(t *testing.T) {
	for key, s := range sentences {
		if s.en == "" || s.zh == "" {
			t.Errorf("key %d: %q, %q: a language is missing", key, s.en, s.zh)
			continue
		}
		en, zh := arguments(t, s.en), arguments(t, s.zh)
		if !slices.Equal(en, zh) {
			t.Errorf("%q takes %v, %q takes %v", s.en, en, s.zh, zh)
		}
		if n := len(en); n > 0 && en[n-1] != n {
			t.Errorf("%q leaves an argument out: %v", s.en, en)
		}
		if isChinese(s.en) || !isChinese(s.zh) && Key(key) != BuildTitle { // whose status beside it is Chinese
			t.Errorf("%q, %q: a language stands in the other's place", s.en, s.zh)
		}
		marks := "`*_<>[]#"
		if k := Key(key); k == BuildTitle || k == ImageTitle { // for chats alone: on GitHub a number behind # is an issue
			marks = "`*_<>[]"
		}
		if strings.ContainsAny(verb.ReplaceAllString(s.en+s.zh, ""), marks) {
			t.Errorf("%q, %q: markup belongs to the surface", s.en, s.zh)
		}
	}
}

func TestEveryNameHasBothLanguages(t *testing.T) {
	for f := range fieldCount {
		if En.Field(f) == "" || !isChinese(Zh.Field(f)) {
			t.Errorf("field %d: %q, %q", f, En.Field(f), Zh.Field(f))
		}
	}
	for _, known := range []map[string]words{states, steps, causes, builds, blanks} {
		for name, w := range known {
			if w.en == "" || isChinese(w.en) || !isChinese(w.zh) {
				t.Errorf("%s: %q, %q", name, w.en, w.zh)
			}
		}
	}
	if En.State("odd") != "odd" || Zh.State("odd") != "odd" || Zh.State("failed") != "失败" || En.Step("observe") != "rollout" {
		t.Error("State or Step")
	}
	for kind, want := range map[string]string{"job/1/deploy/up.yaml": "任务 deploy/up.yaml", "wait/2/10m": "等待 10m", "verify/3/http://a/": "验证 http://a/", "webhook/4/a.example": "回调 a.example"} {
		if got := Zh.Step(kind); got != want {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

func TestArgumentsAreNotFormat(t *testing.T) {
	const evil = "100%s %d %!x %[9]v %"
	for key, s := range sentences {
		n := len(arguments(t, s.en))
		args := slices.Repeat([]any{evil}, n)
		for _, l := range []Lang{En, Zh} {
			said := l.Say(Key(key), args...)
			if got := strings.Count(said, evil); got < n {
				t.Errorf("%q holds the argument %d times of %d", said, got, n)
			}
			if rest := strings.ReplaceAll(said, evil, ""); strings.Contains(rest, "%") {
				t.Errorf("%q: a verb is left", rest)
			}
		}
	}
}

// TestCallers reads the code that speaks and counts the arguments that it gives, as the compiler can't.
func TestCallers(t *testing.T) {
	takes := map[string]int{}
	for name, key := range keys(t) {
		takes[name] = len(arguments(t, sentences[key].en))
	}
	for _, pattern := range []string{"../*.go", "../web/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 || call.Ellipsis.IsValid() {
					return true
				}
				key, ok := call.Args[0].(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := key.X.(*ast.Ident); !ok || pkg.Name != "text" {
					return true
				}
				if want, ok := takes[key.Sel.Name]; ok && want != len(call.Args)-1 {
					t.Errorf("%s: text.%s is given %d arguments, takes %d", set.Position(call.Pos()), key.Sel.Name, len(call.Args)-1, want)
				}
				return true
			})
		}
	}
}

// keys are the names of the sentences, from this package's own source.
func keys(t *testing.T) map[string]Key {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "sentences.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]Key{}
	for _, decl := range f.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			continue
		}
		for i, spec := range d.Specs {
			names[spec.(*ast.ValueSpec).Names[0].Name] = Key(i)
		}
	}
	if names["keyCount"] != keyCount {
		t.Fatalf("%d keys were read, there are %d", names["keyCount"], keyCount)
	}
	delete(names, "keyCount")
	return names
}

func TestSay(t *testing.T) {
	for _, tt := range []struct {
		key    Key
		en, zh string
		args   func(Lang) []any
	}{
		{BuildSucceeded, "release 12 built in 1m 20s", "版本 12 构建成功，耗时 1 分 20 秒",
			func(l Lang) []any { return []any{12, l.Duration(80 * time.Second)} }},
		{BuildFailed, "failed at step build: exit status 1", "构建失败（步骤“构建镜像”）：exit status 1",
			func(l Lang) []any { return []any{l.Step("build"), "exit status 1"} }},
		{WaitingForApproval, "waiting for approval (1 of 2)", "等待审批（1/2）", func(Lang) []any { return []any{1, 2} }},
		{PodsReady, "1 of 2 pods ready", "1/2 个 Pod 就绪", func(l Lang) []any { return []any{1, l.Count(2, Pods)} }},
		{PodsReady, "0 of 1 pod ready", "0/1 个 Pod 就绪", func(l Lang) []any { return []any{0, l.Count(1, Pods)} }},
		{FailedRolledBack, "rolled back to release 2; failed: crash", "部署失败，已回滚到版本 2；原因：crash", func(Lang) []any { return []any{"crash", 2} }},
		{NeedsPermission, "This needs write on acme/web; you have read. Who has it: alice, bob.", "此操作需要 acme/web 的 write 权限；你的权限是 read。拥有此权限的人：alice, bob。",
			func(Lang) []any { return []any{"write", "acme/web", "read", "alice, bob"} }},
	} {
		if got := En.Say(tt.key, tt.args(En)...); got != tt.en {
			t.Errorf("got %q, want %q", got, tt.en)
		}
		if got := Zh.Say(tt.key, tt.args(Zh)...); got != tt.zh {
			t.Errorf("got %q, want %q", got, tt.zh)
		}
		if got, want := Lang("").Say(tt.key, tt.args("")...), tt.en; got != want {
			t.Errorf("no language: got %q, want %q", got, want)
		}
	}
	if got := En.Join([]string{"a", "b"}) + Zh.Join([]string{"a", "b"}); got != "a; ba；b" {
		t.Errorf("Join: %q", got)
	}
	at := time.Date(2026, 3, 1, 12, 0, 59, 0, time.UTC)
	if got := Zh.Time(at); got != "2026-03-01 12:00 UTC" {
		t.Errorf("Time: %q", got)
	}
}

func TestCount(t *testing.T) {
	for noun := range nounCount {
		one, many, zh := En.Count(1, noun), En.Count(2, noun), Zh.Count(2, noun)
		if one[2:]+"s" != many[2:] || !strings.HasPrefix(zh, "2 个") || En.Count(0, noun)[1:] != many[1:] {
			t.Errorf("%q, %q, %q", one, many, zh)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		-time.Second:                  {"less than 1s", "不到 1 秒"},
		0:                             {"less than 1s", "不到 1 秒"},
		400 * time.Millisecond:        {"less than 1s", "不到 1 秒"},
		time.Second:                   {"1s", "1 秒"},
		59500 * time.Millisecond:      {"1m", "1 分钟"},
		80 * time.Second:              {"1m 20s", "1 分 20 秒"},
		time.Hour:                     {"1h", "1 小时"},
		time.Hour + 30*time.Second:    {"1h", "1 小时"},
		2*time.Hour + 5*time.Minute:   {"2h 5m", "2 小时 5 分钟"},
		72 * time.Hour:                {"3d", "3 天"},
		100*time.Hour + 5*time.Minute: {"4d 4h", "4 天 4 小时"},
	} {
		if en, zh := En.Duration(d), Zh.Duration(d); en != want[0] || zh != want[1] {
			t.Errorf("%v: %q, %q, want %q", d, en, zh, want)
		}
	}
}

func TestFit(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"a\n b\tc ":               "a b c",
		strings.Repeat("中", 140):  strings.Repeat("中", 140),
		strings.Repeat("🚀", 141):  strings.Repeat("🚀", 139) + "…",
		strings.Repeat("ab ", 90): strings.TrimSpace(strings.Repeat("ab ", 47)[:139]) + "…",
		"a\xff":                   "a\ufffd",
	} {
		if got := Fit(in, MaxStatus); got != want {
			t.Errorf("Fit(%q) = %q, want %q", in, got, want)
		}
	}
	long := strings.Repeat("说明 ", 200)
	for key, s := range sentences {
		for _, l := range []Lang{En, Zh} {
			got := Fit(l.Say(Key(key), slices.Repeat([]any{long}, len(arguments(t, s.en)))...), MaxStatus)
			if n := utf8.RuneCountInString(got); n > MaxStatus || !utf8.ValidString(got) {
				t.Errorf("%d characters: %q", n, got)
			}
		}
	}
}

// TestBlock: what stands in a block is nothing but lines, whatever they hold.
func TestBlock(t *testing.T) {
	s := "before " + Quote("a`b") + " " + Block([]string{"  one ```` @team", "two\nthree", Quote("x") + Block(nil) + "\xff"}) + " after"
	if got, want := Plain(s), "before a`b   one ```` @team\ntwo three\nx\ufffd after"; got != want {
		t.Errorf("%q", got)
	}
	if got, want := Markdown(s), "before `` a`b `` `````text\n  one ```` @team\ntwo three\nx\ufffd\n````` after"; got != want {
		t.Errorf("%q", got)
	}
}
