package store

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPlans asks SQLite how it would answer every query in this package's source: none may read the whole of a table that
// grows, nor all that an app ever had.
func TestPlans(t *testing.T) {
	growing := []string{"events", "tasks", "runs", "steps", "releases", "deployments", "approvals", "replies", "messages", "audit", "annotations", "answers", "orders", "order_approvals", "hook_deliveries", "outbox"}
	// Indexes with a row for what is under way alone.
	bounded := []string{"tasks_leased", "tasks_buried", "runs_open", "steps_running", "deployments_open", "deployments_open_repo", "deployments_keep", "deployments_unratified", "deployments_pull", "orders_open"}
	// Indexes in the order in which the first row that fits is wanted.
	ordered := []string{"deployments_live", "deployments_began", "tasks_free", "events_repo"}
	// What reads everything, and may.
	all := []string{
		"SELECT * FROM audit ORDER BY seq", // verifies or exports
		"SELECT id, kind, key, attempts, claims, reason, due_at, lease_until, buried_at FROM tasks ORDER", // bot queue
		"SELECT count(*) FROM tasks WHERE buried_at IS NULL",
		"SELECT max(at) FROM (SELECT max(received_at)",                                                     // of a copy that nobody uses
		"SELECT max(n) FROM (SELECT",                                                                       // once, when a backup is restored
		"SELECT * FROM orders WHERE state IN ('draft','waiting','approved','running') ORDER BY created_at", // once, when a backup is restored
		"SELECT id FROM deployments WHERE github_id = 0",                                                   // once, when a backup is restored
		"SELECT * FROM runs WHERE state IN ('queued','running') ORDER",                                     // once, when a backup is restored
		"UPDATE hook_deliveries SET error = ? WHERE done_at IS NULL",                                       // once, when a backup is restored
		"DELETE FROM tasks WHERE kind <> ?",                                                                // once, when a backup is restored
		"INSERT INTO holds (repo, app, environment, by, reason, since)",                                    // once, when a backup is restored
	}
	db, _ := open(t)
	search := regexp.MustCompile(`^(SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?INDEX (\w+)| USING INTEGER PRIMARY KEY)?(?: \((.*)\))?`)
	parameter := regexp.MustCompile(`\?\d|:\w+`)
	last := regexp.MustCompile(`ORDER BY (seq|rowid) DESC LIMIT 1`)
	queries := sourceQueries(t)
	if len(queries) < 50 {
		t.Errorf("only %d queries were found", len(queries))
	}
	for _, place := range slices.Sorted(maps.Keys(queries)) {
		query := queries[place]
		if slices.ContainsFunc(all, func(q string) bool { return strings.HasPrefix(query, q) }) {
			continue
		}
		var plan []struct {
			ID, Parent, NotUsed int
			Detail              string
		}
		plain := parameter.ReplaceAllString(query, "?")
		if err := db.read.Select(&plan, "EXPLAIN QUERY PLAN "+plain, make([]any, strings.Count(plain, "?"))...); err != nil {
			t.Errorf("%s: %s: %v", place, query, err)
			continue
		}
		for _, step := range plan {
			m := search.FindStringSubmatch(step.Detail)
			if m == nil || !slices.Contains(growing, m[2]) || slices.Contains(bounded, m[3]) {
				continue
			}
			selective := slices.ContainsFunc(strings.Split(m[4], " AND "), func(c string) bool {
				return c != "" && !slices.Contains([]string{"repo=?", "app=?", "environment=?", "kind=?"}, c)
			})
			first := slices.Contains(ordered, m[3]) && strings.Contains(query, "LIMIT ") ||
				strings.Contains(query, "max(number)") || strings.Contains(query, "min(app)") // the ends of an index
			if m[1] == "SCAN" && !last.MatchString(query) || m[1] == "SEARCH" && !selective && !first {
				t.Errorf("%s: %s\n%s", place, query, step.Detail)
			}
		}
	}
}

// sourceQueries are the statements in this package's source, by their places.
func sourceQueries(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var parsed []*ast.File
	consts := map[string]ast.Expr{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Names) == len(v.Values) {
				for i := range v.Names {
					consts[v.Names[i].Name] = v.Values[i]
				}
			}
			return true
		})
	}
	var value func(ast.Expr) (string, bool)
	value = func(e ast.Expr) (string, bool) {
		switch e := e.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(e.Value)
			return s, e.Kind == token.STRING && err == nil
		case *ast.Ident:
			if c, ok := consts[e.Name]; ok {
				return value(c)
			}
		case *ast.BinaryExpr:
			x, okX := value(e.X)
			y, okY := value(e.Y)
			return x + y, okX && okY && e.Op == token.ADD
		}
		return "", false
	}
	statement := regexp.MustCompile(`^(SELECT|INSERT|UPDATE|DELETE|WITH) `)
	queries := map[string]string{}
	unfinished := []string{"UPDATE ", "INSERT INTO ", "SELECT state FROM ", "INSERT INTO main.", "SELECT count(*) FROM ", nextNumber} // their rest stands in a variable
	for _, f := range parsed {
		suffix := map[ast.Node]string{}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "finish" && len(call.Args) > 1 {
					suffix[call.Args[1]] = " WHERE id = ? AND claims = ? AND lease_until IS NOT NULL"
				}
			}
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			s, ok := value(e)
			if !ok {
				return true
			}
			if statement.MatchString(s) && !slices.Contains(unfinished, s) {
				queries[set.Position(e.Pos()).String()] = s + suffix[n]
			}
			return false
		})
	}
	// What move puts together.
	for table := range from {
		where := "id = ?"
		if table == "steps" {
			where = "owner = ? AND kind = ?"
		}
		queries["move "+table] = fmt.Sprintf("UPDATE %s SET state = ? WHERE %s AND state IN ('running')", table, where)
	}
	return queries
}
