package bot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

func TestWhenGreen(t *testing.T) {
	for _, test := range []struct {
		args, rest string
		green      bool
	}{
		{"", "", false},
		{"when green", "", true},
		{"When GREEN", "", true},
		{"12 when green", "12", true},
		{"when", "when", false},
		{"green", "green", false},
		{"when red", "when red", false},
		{"when green 12", "when green 12", false},
		{"when green when green", "when green", true},
	} {
		rest, green := whenGreen(strings.Fields(test.args))
		if strings.Join(rest, " ") != test.rest || green != test.green {
			t.Errorf("%q: %q, %v", test.args, rest, green)
		}
	}
}

func TestChecksWords(t *testing.T) {
	for _, test := range []struct {
		b      store.Block
		en, zh string
	}{
		{store.Block{}, "waiting to read the commit's checks", "等待读取提交的检查"},
		{store.Block{Text: "GitHub answers 403"}, "the commit's checks could not be read: GitHub answers 403", "无法读取提交的检查：GitHub answers 403"},
		{store.Block{Need: 2, Names: []string{"lint", "unit"}}, "waiting for checks: lint, unit", "等待检查：lint, unit"},
		{store.Block{Have: 1, Need: 2, Names: []string{"lint", "unit"}}, "1 checks failed; waiting for: lint, unit", "1 项检查失败；等待：lint, unit"},
		{store.Block{Need: 1, Names: []string{"unit"}, Others: []store.Check{{Name: "unit", App: "ci", By: []string{"evil", "mallory"}}}},
			"waiting for checks: unit; unit is there, but by evil, mallory, not by ci", "等待检查：unit；已有 unit，但来自 evil, mallory，而非 ci"},
	} {
		test.b.Kind = store.BlockChecks
		if en, zh := checksWords(test.b, text.En), checksWords(test.b, text.Zh); en != test.en || zh != test.zh {
			t.Errorf("%+v: %q, %q", test.b, en, zh)
		}
	}
}

// TestBranchIsTakenNoMore: what waits for its approval does not go on where the environment takes its branch no more.
func TestBranchIsTakenNoMore(t *testing.T) {
	l := newLab(t, nil)
	sha, err := l.Push("alice", "master", "A change", map[string]string{"app.txt": "hello"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Status(sha, "shipmate/deploy/staging", "success", ""); err != nil {
		t.Fatal(err)
	}
	issue := l.repo.OpenIssue("alice", "Ship it")
	say := func(login, what string) {
		t.Helper()
		id, err := l.Comment(issue, login, what)
		if err != nil {
			t.Fatal(err)
		}
		if reaction, reply, err := l.Answer(issue, id); err != nil || reaction != "rocket" {
			t.Fatalf("%s %s: %v", reaction, reply, err)
		}
	}
	say("alice", "/promote production")
	if err := l.Settle(); err != nil {
		t.Fatal(err)
	}
	branch := func(name string) {
		t.Helper()
		err := l.bot.db.Update(context.Background(), func(tx *store.Tx) error {
			repo, err := tx.Repo("acme/web")
			if err != nil {
				return err
			}
			repo.DefaultBranch = name
			return tx.PutRepo(repo)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Tick(0); err != nil {
			t.Fatal(err)
		}
	}
	branch("main")
	if _, err := l.Status(sha, "shipmate/deploy/production", "pending", "takes no releases of master; waiting for approval"); err != nil {
		t.Error(err)
	}
	branch("master")
	if _, err := l.Status(sha, "shipmate/deploy/production", "pending", "^waiting for approval"); err != nil {
		t.Error(err)
	}
	say("bob", "/approve")
	if _, err := l.Status(sha, "shipmate/deploy/production", "success", ""); err != nil {
		t.Error(err)
	}
}

// TestRequiredChecks: what a branch requires is read from its rulesets and from its protection, but for our own checks.
func TestRequiredChecks(t *testing.T) {
	l := newLab(t, nil)
	if _, err := l.Push("alice", "release/1.x", "A change", map[string]string{"app.txt": "hello"}); err != nil {
		t.Fatal(err)
	}
	l.repo.AddRuleOf("release/1.x", "ci", "unit", "e2e / web")
	l.repo.AddRuleOf("release/1.x", "", "lint", "shipmate/build")
	l.repo.RequireChecksOf("release/1.x", "", "lint", "shipmate/deploy/staging", "shipmate")
	l.repo.RequireChecksOf("release/1.x", "shipmate", "shipmate/check/vet")
	l.repo.RequireChecksOf("release/1.x", "evil", "shipmate/build")
	l.repo.AddRuleOf("master", "", "of the default branch")
	installation, _ := l.gh.Installation("acme")
	repo := store.Repo{Name: "acme/web", Installation: installation.ID, DefaultBranch: "master"}
	for branch, want := range map[string][]string{
		"release/1.x": {"e2e / web by another", "lint", "shipmate/build by another", "unit by another"},
		"master":      {"of the default branch"},
		"gone":        {"of the default branch"},
	} {
		required, err := l.bot.requiredChecks(context.Background(), l.bot.hub.client(repo.Installation), repo, branch)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range required {
			name := r.Name
			if r.AppID != 0 {
				name += " by another"
			}
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", branch, got, want)
		}
	}
}

// TestNoRulesets: a plan that knows no rulesets requires nothing by them; any other refusal holds back.
func TestNoRulesets(t *testing.T) {
	t.Parallel()
	answer := func(status int, message string) error {
		return fmt.Errorf("read the rules: %w", &github.ErrorResponse{Message: message, Response: &http.Response{StatusCode: status}})
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{answer(403, "Upgrade to GitHub Pro or make this repository public to enable this feature."), true},
		{answer(403, "Resource not accessible by integration"), false},
		{answer(500, "Upgrade to GitHub Pro"), false},
		{errors.New("Upgrade to GitHub Pro"), false},
		{nil, false},
	} {
		if got := noRulesets(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
