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
		"left too early":    {After: "staging", Before: finished(time.Hour), Left: now.Add(-31 * time.Minute), Soak: 30 * time.Minute},
		"left after that":   {After: "staging", Before: finished(time.Hour), Left: now.Add(-30 * time.Minute), Soak: 30 * time.Minute},
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
		"freeze":            {Freeze: &Freeze{"Fri 18:00 - Mon 08:00 UTC", now.Add(time.Hour)}},
		"another's lock":    {Locks: []store.Lock{{By: "bob"}}},
		"own lock":          {Locks: []store.Lock{{By: "Alice"}}},
		"not agreed to":     {Unratified: &store.Deployment{ID: "x", Number: 7}},
		"running, all":      {Active: &store.Deployment{Number: 7}, Hold: &store.Hold{}, After: "staging", Approvals: Approvals{Count: 1}},
	}
	// Obstacle → kinds of blocks of each cause, in this order.
	causes := []string{store.CauseAutomatic, store.CauseDeploy, store.CausePromote, store.CauseOrder, store.CauseNow, store.CauseRollback, store.CauseRecovery}
	asked := func(kind string) []string { return []string{kind, kind, kind, kind, "", "", ""} } // passed by break-glass and the ways back
	wait := map[string][]string{                                                                // what is not there stands in nobody's way
		"running":           {"running", "running", "running", "running", "running", "running", "running"},
		"hold":              {"hold", "", "", "", "", "", ""},
		"not agreed to":     {"ratify", "", "", "", "", "", ""},
		"order":             asked("order"),
		"left too early":    asked("order"),
		"soak":              asked("soak"),
		"branch":            asked("branch"),
		"freeze":            asked("freeze"),
		"another's lock":    {"lock", "lock", "lock", "lock", "lock", "", ""},
		"own lock":          {"lock", "", "", "", "", "", ""},
		"approval":          asked("approval"),
		"approval of other": asked("approval"),
		"rejection":         asked("approval"),
		"approvals of none": asked("approval"),
		"bound to nothing":  asked("approval"),
		"checks not read":   asked("checks"),
		"checks unread":     asked("checks"),
		"checks awaited":    asked("checks"),
		"checks open":       asked("checks"),
		"checks red":        asked("checks"),
		"running, all": {"running hold order approval", "running order approval", "running order approval", "running order approval",
			"running", "running", "running"},
	}
	for name, f := range obstacles {
		for i, cause := range causes {
			f.Now = now
			var kinds []string
			for _, b := range Blocked(store.Deployment{Cause: cause, Requester: "alice"}, f) {
				kinds = append(kinds, b.Kind)
			}
			want := ""
			if wait[name] != nil {
				want = wait[name][i]
			}
			if got := strings.Join(kinds, " "); got != want {
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
