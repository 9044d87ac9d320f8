package bot

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// Order returns the one comment of a release order on GitHub.
func (l *lab) Order(number string) (string, error) {
	id, err := l.lookup("SELECT id FROM orders WHERE number = ?", number)
	if err != nil {
		return "", err
	}
	pull, err := l.lookup("SELECT pull FROM orders WHERE number = ?", number)
	if err != nil {
		return "", err
	}
	issue, err := strconv.Atoi(pull)
	if err != nil {
		return "", fmt.Errorf("there is no order %s: %w", number, err)
	}
	var found []string
	for _, c := range l.repo.Comments(issue) {
		if body, ok := strings.CutSuffix(c.Body, "\n\n<!-- shipmate order/"+id+" -->"); ok {
			found = append(found, body)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("it has %d comments", len(found))
	}
	return found[0], nil
}

func TestReadParts(t *testing.T) {
	for _, test := range []struct {
		args          string
		parts         string
		reason, wrong string
	}{
		{"web@12 api@7 |why not", "web@12 api@7", "why not", ""},
		{"web@12 because it is time", "web@12", "because it is time", ""},
		{"web@#12 @bob asked for it", "web@12", "@bob asked for it", ""},
		{"web@12 |web@13 is broken", "web@12", "web@13 is broken", ""},
		{"web@12", "web@12", "", ""},
		{"web@12 |", "web@12", "", ""},
		{"", "", "", ""},
		{"web api", "", "web api", ""},
		{"web@ x", "", "", "web@"},
		{"web@latest x", "", "", "web@latest"},
		{"web@1@2 x", "", "", "web@1@2"},
		{"web@-1 x", "", "", "web@-1"},
		{"web@99999999999999999999 x", "", "", "web@99999999999999999999"},
	} {
		words, quoted, isQuoted := strings.Cut(test.args, "|")
		args := strings.Fields(words)
		if isQuoted {
			args = append(args, quoted)
		}
		parts, reason, wrong := readParts(args)
		if got := strings.Trim(fmt.Sprint(parts), "[]"); got != test.parts || reason != test.reason || wrong != test.wrong {
			t.Errorf("%q: %s, %q, %q", test.args, got, reason, wrong)
		}
	}
}

// FuzzReadParts: every word is of a part, of the reason, or told to be wrong.
func FuzzReadParts(f *testing.F) {
	f.Add("web@12 api@7 why")
	f.Add("web@ x")
	f.Add("@@ 应用@3 原因")
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Fields(s)
		parts, reason, wrong := readParts(args)
		if wrong != "" {
			if len(parts) > 0 || reason != "" || !slices.Contains(args, wrong) {
				t.Errorf("%q: %v, %q, %q", s, parts, reason, wrong)
			}
			return
		}
		for i, p := range parts {
			if app, _, _ := strings.Cut(args[i], "@"); p.app != app || p.release < 0 {
				t.Errorf("%q: part %d is %v", s, i, p)
			}
		}
		if want := strings.Join(args[len(parts):], " "); reason != strings.TrimSpace(want) {
			t.Errorf("%q: the reason is %q", s, reason)
		}
	})
}

// TestOrderCommentIsCut: what does not fit is left out by whole lines, so that nothing that was typed ends up outside of code.
func TestOrderCommentIsCut(t *testing.T) {
	b := &Bot{lang: text.En, cfg: &Config{PublicURL: "https://ship.example.com"}}
	v := orderView{o: store.Order{Number: 1, State: store.OrderDraft, Environment: "production", Requester: "alice", Note: "all"}, form: func(s string) string { return s },
		s: pipeline.Standing{Rules: make([]pipeline.Approvals, pipeline.MaxParts)}}
	scope := store.Scope{From: 1, Total: maxScopeCommits}
	for range maxScopeCommits {
		scope.Commits = append(scope.Commits, store.ScopeCommit{SHA: "0123456789", Subject: strings.Repeat("@acme/all ", 25), Author: "alice"})
	}
	for i := range pipeline.MaxParts {
		d := store.Deployment{App: "web", Part: i + 1, State: store.Queued, Scope: store.JSON[*store.Scope]{V: &scope}}
		v.parts = append(v.parts, orderPart{d: d, rel: store.Release{SHA: "0123456789"}, said: subject{d: &d}})
	}
	body := v.comment(text.En, b)
	if len(body) > maxOrder {
		t.Errorf("it has %d bytes", len(body))
	}
	if outside := regexp.MustCompile("`[^`\n]*`").ReplaceAllString(body, ""); strings.Contains(outside, "@") {
		t.Errorf("outside of code there is: %s", outside)
	}
	if strings.Count(body, "<details>") != strings.Count(body, "</details>") {
		t.Error("what was opened is not closed")
	}
}
