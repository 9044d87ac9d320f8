package store

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	until := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	at := func(daysAgo float64) Time {
		return Time{until.Add(-time.Duration(daysAgo * 24 * float64(time.Hour)))}
	}
	// one is a deployment that began so many days ago, took an hour and was pushed a day before it began.
	one := func(id, state string, daysAgo float64, edit ...func(*Change)) Change {
		c := Change{ID: id, State: state, Cause: CausePromote, BeganAt: at(daysAgo), FinishedAt: at(daysAgo - 1.0/24), PushedAt: at(daysAgo + 1)}
		for _, e := range edit {
			e(&c)
		}
		return c
	}
	back := func(of, cause string) func(*Change) {
		return func(c *Change) { c.RollbackOf, c.Cause = of, cause }
	}
	again := func(c *Change) { c.Again = true }
	for name, test := range map[string]struct {
		changes []Change
		want    string // deployments, per 30 days; lead, of; failed of changes, rate; restore, of, open
	}{
		"nothing":                   {nil, "0 0.00; 0s 0; 0/0 0.00; 0s 0 0"},
		"one":                       {[]Change{one("a", Succeeded, 2)}, "1 1.00; 25h0m0s 1; 0/1 0.00; 0s 0 0"},
		"three":                     {[]Change{one("a", Succeeded, 5), one("b", Succeeded, 3, func(c *Change) { c.PushedAt = at(5) }), one("c", Succeeded, 1)}, "3 3.00; 25h0m0s 3; 0/3 0.00; 0s 0 0"},
		"the median of two":         {[]Change{one("a", Succeeded, 5), one("b", Succeeded, 3, func(c *Change) { c.PushedAt = at(6) })}, "2 2.00; 49h0m0s 2; 0/2 0.00; 0s 0 0"},
		"a release that goes again": {[]Change{one("a", Succeeded, 5), one("b", Succeeded, 3, again)}, "2 2.00; 25h0m0s 1; 0/2 0.00; 0s 0 0"},
		"too old":                   {[]Change{one("a", Succeeded, 31), one("b", Succeeded, 29.9)}, "1 1.00; 25h0m0s 1; 0/1 0.00; 0s 0 0"},
		"failed, nothing since":     {[]Change{one("a", Succeeded, 5), one("b", Failed, 3)}, "1 1.00; 25h0m0s 1; 1/2 0.50; 0s 0 1"},
		"failed, gone back at once": {[]Change{one("a", Succeeded, 5), one("b", Failed, 3), one("c", Succeeded, 3-1.0/24, back("b", CauseRecovery))}, "1 1.00; 25h0m0s 1; 1/2 0.50; 1h0m0s 1 0"},
		"failed, fixed by the next": {[]Change{one("a", Failed, 3), one("b", Failed, 2.5), one("c", Succeeded, 2)}, "1 1.00; 25h0m0s 1; 2/3 0.67; 18h0m0s 2 0"},
		"gone back later":           {[]Change{one("a", Succeeded, 5), one("b", Succeeded, 3), one("c", Succeeded, 1, back("b", CauseRollback), again)}, "2 2.00; 25h0m0s 2; 1/2 0.50; 48h0m0s 1 0"},
		"going back failed":         {[]Change{one("a", Succeeded, 3), one("b", Failed, 2, back("a", CauseRollback)), one("c", Succeeded, 1, back("a", CauseRollback))}, "1 1.00; 25h0m0s 1; 1/1 1.00; 48h0m0s 1 0"},
		"going back was cancelled":  {[]Change{one("a", Succeeded, 3), one("b", Cancelled, 2, back("a", CauseRollback))}, "1 1.00; 25h0m0s 1; 0/1 0.00; 0s 0 0"},
		"neither":                   {[]Change{one("a", Cancelled, 3), one("b", Superseded, 2), one("c", Progressing, 1)}, "0 0.00; 0s 0; 0/0 0.00; 0s 0 0"},
	} {
		f := FiguresOf(test.changes, 30, until)
		got := fmt.Sprintf("%d %.2f; %s %d; %d/%d %.2f; %s %d %d", f.Deployments, f.PerDay*30, f.LeadTime.Round(time.Minute), f.Led, f.Failed, f.Changes, f.FailureRate, f.Restore.Round(time.Minute), f.Restored, f.Open)
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		if math.IsNaN(f.FailureRate) {
			t.Errorf("%s: a rate of nothing", name)
		}
	}
}

// TestChanges reads a history of its own from the database.
func TestChanges(t *testing.T) {
	db, now := open(t)
	began := db.Now()
	var rel Release
	update(t, db, func(tx *Tx) error {
		r := Run{Repo: "acme/web", App: "web", Ref: "refs/heads/master", SHA: "1", Cause: CausePush}
		r.Config.V = []byte("{}")
		if err := tx.NewRun(&r); err != nil {
			return err
		}
		if err := tx.StartRun(r.ID); err != nil {
			return err
		}
		var err error
		rel, err = tx.SucceedRun(r, []Image{{Repository: "r", Digest: "sha256:1"}})
		return err
	})
	deploy := func(cause, rollbackOf, state string, takes time.Duration) Deployment {
		d := Deployment{Repo: "acme/web", App: "web", Environment: "production", Release: rel.Number, Run: rel.Run, Cause: cause, RollbackOf: rollbackOf}
		d.Spec.V = []byte("{}")
		update(t, db, func(tx *Tx) error { return tx.NewDeployment(&d) })
		update(t, db, func(tx *Tx) error { return tx.Begin(d) })
		*now = now.Add(takes)
		if state == Succeeded {
			update(t, db, func(tx *Tx) error { return tx.Advance(d, Progressing) })
			update(t, db, func(tx *Tx) error { return tx.Advance(d, Verifying) })
		}
		update(t, db, func(tx *Tx) error { return tx.EndDeployment(d, state, "", nil) })
		return d
	}
	*now = now.Add(time.Hour)
	deploy(CausePromote, "", Succeeded, time.Minute)
	*now = now.Add(time.Hour)
	bad := deploy(CausePromote, "", Failed, time.Minute)
	deploy(CauseRecovery, bad.ID, Succeeded, 2*time.Minute)
	var changes []Change
	if err := db.View(t.Context(), func(tx *Tx) (err error) {
		changes, err = tx.Changes("acme/web", "web", "production", began)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	f := FiguresOf(changes, 30, now.Add(time.Second))
	if len(changes) != 3 || f.Deployments != 1 || f.LeadTime != 61*time.Minute || f.Failed != 1 || f.Changes != 2 || f.Restore != 2*time.Minute {
		t.Errorf("%+v of %+v", f, changes)
	}
}

// TestTrend reads a history that is laid over 13 weeks, from its oldest minute to its newest.
func TestTrend(t *testing.T) {
	db, now := open(t)
	*now = time.Date(2026, 4, 1, 12, 30, 0, 0, time.UTC)
	until := time.Date(2026, 4, 1, 13, 0, 0, 0, time.UTC)
	first := until.Add(-13 * 7 * 24 * time.Hour)
	end := *now
	// ship pushes a release, and deploys it an hour later; that takes ten minutes.
	ship := func(pushed time.Time, cause, rollbackOf, state string) string {
		t.Helper()
		*now = pushed
		r := Run{Repo: "acme/web", App: "web", Ref: "refs/heads/master", SHA: "1", Cause: CausePush}
		r.Config.V = []byte("{}")
		d := Deployment{Repo: "acme/web", App: "web", Environment: "production", Cause: cause, RollbackOf: rollbackOf}
		d.Spec.V = []byte("{}")
		update(t, db, func(tx *Tx) error {
			rel, err := Release{}, errors.Join(tx.NewRun(&r), tx.StartRun(r.ID))
			if err == nil {
				rel, err = tx.SucceedRun(r, []Image{{Repository: "r", Digest: "sha256:1"}})
			}
			d.Release, d.Run = rel.Number, rel.Run
			return errors.Join(err, tx.NewDeployment(&d))
		})
		*now = now.Add(time.Hour)
		update(t, db, func(tx *Tx) error { return tx.Begin(d) })
		*now = now.Add(10 * time.Minute)
		update(t, db, func(tx *Tx) error {
			if state == Failed {
				return tx.EndDeployment(d, Failed, "", nil)
			}
			return errors.Join(tx.Advance(d, Progressing), tx.Advance(d, Verifying), tx.EndDeployment(d, state, "", nil))
		})
		return d.ID
	}
	ship(first.Add(-61*time.Minute), CausePromote, "", Succeeded)    // began a minute too early
	ship(first.Add(-time.Hour), CausePromote, "", Succeeded)         // began in the first minute
	bad := ship(first.Add(8*24*time.Hour), CausePromote, "", Failed) // in the second week
	ship(first.Add(9*24*time.Hour), CauseRecovery, bad, Succeeded)   // a day later: it ends what failed, and is no change
	ship(until.Add(-3*time.Hour), CausePromote, "", Succeeded)       // in the last week, as the next
	ship(until.Add(-101*time.Minute), CausePromote, "", Succeeded)   // it ended a minute before now
	*now = end
	var trend Trend
	if err := db.View(t.Context(), func(tx *Tx) (err error) { trend, err = tx.Trend("acme/web", "web", "production"); return err }); err != nil {
		t.Fatal(err)
	}
	if trend.Deployments != 3 || trend.Changes != 4 || trend.Failed != 1 || trend.FailureRate != .25 || trend.LeadTime != 70*time.Minute || trend.Led != 3 ||
		trend.Restore != 24*time.Hour || trend.Restored != 1 || !trend.Until.Equal(until) || !trend.Since(0).Equal(first) {
		t.Errorf("%+v", trend)
	}
	for week, w := range trend.Weeks {
		want := map[int]string{0: "1/1 70 0", 1: "0/1 0 1440", 12: "2/2 70 0"}[week]
		if want == "" {
			want = "0/0 0 0"
		}
		if got := fmt.Sprintf("%d/%d %.0f %.0f", w.Deployments, w.Changes, w.LeadTime.Minutes(), w.Restore.Minutes()); got != want {
			t.Errorf("week %d: %s, want %s", week, got, want)
		}
	}
}
