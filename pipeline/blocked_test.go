package pipeline

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// TestBlocked is the table "what blocks what" of the commands' documentation: a row for each cause, a column for each
// thing that may be in the way.
func TestBlocked(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	finished := func(ago time.Duration) *store.Deployment {
		return &store.Deployment{FinishedAt: store.Time{Time: now.Add(-ago)}}
	}
	vote := func(login, vote, bound string) store.Approval {
		return store.Approval{Login: login, Vote: vote, Bound: bound}
	}
	obstacles := map[string]Facts{
		"nothing":           {},
		"running":           {Active: &store.Deployment{Number: 7}},
		"hold":              {Hold: &store.Hold{By: "bob", Reason: "it is slow", Since: store.Time{Time: now}}},
		"order":             {After: "staging"},
		"soak":              {After: "staging", Before: finished(29 * time.Minute), Soak: 30 * time.Minute},
		"soaked":            {After: "staging", Before: finished(30 * time.Minute), Soak: 30 * time.Minute},
		"there":             {After: "staging", Before: finished(0)},
		"approval":          {Approvals: Approvals{Count: 2}, Bound: "this", Votes: []store.Approval{vote("a", "approve", "this")}},
		"approval of other": {Approvals: Approvals{Count: 1}, Bound: "this", Votes: []store.Approval{vote("a", "approve", "that")}},
		"rejection":         {Approvals: Approvals{Count: 1}, Bound: "this", Votes: []store.Approval{vote("a", "reject", "this")}},
		"approved":          {Approvals: Approvals{Count: 1}, Bound: "this", Votes: []store.Approval{vote("a", "approve", "this")}},
		"approved by more":  {Approvals: Approvals{Count: 1}, Bound: "this", Votes: []store.Approval{vote("a", "approve", "this"), vote("b", "approve", "this")}},
		"approvals of none": {Approvals: Approvals{Count: 1}},
		"bound to nothing":  {Approvals: Approvals{Count: 1}, Bound: "this", Votes: []store.Approval{vote("a", "approve", "")}},
		"branch":            {Branch: "topic"},
		"checks not read":   {Checked: true},
		"checks unread":     {Checked: true, Checks: &store.Checks{Unread: "GitHub answers 403"}},
		"checks awaited":    {Checked: true, Checks: &store.Checks{None: true}},
		"checks open":       {Checked: true, Checks: &store.Checks{Open: []store.Check{{Name: "unit"}}}},
		"checks red":        {Checked: true, Checks: &store.Checks{Red: []store.Check{{Name: "unit"}}}},
		"checks green":      {Checked: true, Checks: &store.Checks{}},
		"checks of none":    {Checks: &store.Checks{Red: []store.Check{{Name: "unit"}}}},
		"running, all":      {Active: &store.Deployment{Number: 7}, Hold: &store.Hold{}, After: "staging", Approvals: Approvals{Count: 1}},
	}
	wait := map[string]map[string]string{ // obstacle → cause → kinds of blocks; a cause that is not there passes
		"running":           {"automatic": "running", "deploy": "running", "promote": "running", "rollback": "running", "recovery": "running"},
		"hold":              {"automatic": "hold"},
		"order":             {"automatic": "order", "deploy": "order", "promote": "order"},
		"soak":              {"automatic": "soak", "deploy": "soak", "promote": "soak"},
		"approval":          {"automatic": "approval", "deploy": "approval", "promote": "approval"},
		"approval of other": {"automatic": "approval", "deploy": "approval", "promote": "approval"},
		"rejection":         {"automatic": "approval", "deploy": "approval", "promote": "approval"},
		"approvals of none": {"automatic": "approval", "deploy": "approval", "promote": "approval"},
		"bound to nothing":  {"automatic": "approval", "deploy": "approval", "promote": "approval"},
		"branch":            {"automatic": "branch", "deploy": "branch", "promote": "branch"},
		"checks not read":   {"automatic": "checks", "deploy": "checks", "promote": "checks"},
		"checks unread":     {"automatic": "checks", "deploy": "checks", "promote": "checks"},
		"checks awaited":    {"automatic": "checks", "deploy": "checks", "promote": "checks"},
		"checks open":       {"automatic": "checks", "deploy": "checks", "promote": "checks"},
		"checks red":        {"automatic": "checks", "deploy": "checks", "promote": "checks"},
		"running, all": {"automatic": "running hold order approval", "deploy": "running order approval", "promote": "running order approval",
			"rollback": "running", "recovery": "running"},
	}
	for name, f := range obstacles {
		for _, cause := range []string{store.CauseAutomatic, store.CauseDeploy, store.CausePromote, store.CauseRollback, store.CauseRecovery} {
			f.Now = now
			var kinds []string
			for _, b := range Blocked(store.Deployment{Cause: cause}, f) {
				kinds = append(kinds, b.Kind)
			}
			if got, want := strings.Join(kinds, " "), wait[name][cause]; got != want {
				t.Errorf("%s, %s: blocked by %q, want %q", name, cause, got, want)
			}
		}
	}
}

func TestBlocksSayWhy(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	blocks := Blocked(store.Deployment{Cause: store.CauseAutomatic}, Facts{
		Now: now, Active: &store.Deployment{Number: 7}, Hold: &store.Hold{By: "bob", Reason: "it is slow", Since: store.Time{Time: now}},
		After: "staging", Before: &store.Deployment{FinishedAt: store.Time{Time: now}}, Soak: time.Hour,
		Approvals: Approvals{Count: 2, By: []string{"erin"}}, Bound: "this", Votes: []store.Approval{{Login: "erin", Vote: "approve", Bound: "this"}},
	})
	got, err := json.Marshal(blocks)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal([]store.Block{
		{Kind: store.BlockRunning, Number: 7},
		{Kind: store.BlockHold, By: []string{"bob"}, Since: now, Text: "it is slow"},
		{Kind: store.BlockSoak, Environment: "staging", Until: now.Add(time.Hour)},
		{Kind: store.BlockApproval, By: []string{"erin"}, Have: 1, Need: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestBound: whatever an approval stands for, if it changes, it is another.
func TestBound(t *testing.T) {
	rel := func(sha string, images ...store.Image) store.Release {
		return store.Release{SHA: sha, Images: store.JSON[[]store.Image]{V: images}}
	}
	a, b := store.Image{Repository: "r/a", Digest: "sha256:1"}, store.Image{Repository: "r/b", Digest: "sha256:1"}
	all := []string{
		Bound(rel("1", a), "objects", "policy"),
		Bound(rel("2", a), "objects", "policy"),
		Bound(rel("1", b), "objects", "policy"),
		Bound(rel("1", store.Image{Repository: "r/a", Digest: "sha256:2"}), "objects", "policy"),
		Bound(rel("1", a, b), "objects", "policy"),
		Bound(rel("1", a), "objects2", "policy"),
		Bound(rel("1", a), "objects", "2policy"),
		Bound(rel("1", a), "objectspolicy", ""),
		Bound(rel("1"), "objects", "policy"),
	}
	for i, x := range all {
		for j, y := range all {
			if (i == j) != (x == y) {
				t.Errorf("%d and %d: %s, %s", i, j, x, y)
			}
		}
	}
}
