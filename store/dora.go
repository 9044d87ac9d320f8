package store

import (
	"slices"
	"time"
)

const day = 24 * time.Hour

// A Change is a deployment that began to change an environment, as the four DORA figures count it.
type Change struct {
	ID         string `db:"id"`
	Number     int    `db:"number"`
	Release    int    `db:"release"`
	Cause      string `db:"cause"`
	RollbackOf string `db:"rollback_of"`
	State      string `db:"state"`
	BeganAt    Time   `db:"began_at"`
	FinishedAt Time   `db:"finished_at"`
	PushedAt   Time   `db:"pushed_at"` // when the run of its release was made
	Again      bool   `db:"again"`     // the release was live there before
}

// Changes lists what began to change an environment of an app since a time, oldest first.
func (tx *Tx) Changes(repo, app, environment string, since time.Time) ([]Change, error) {
	return list[Change](tx, `SELECT d.id, d.number, d.release, d.cause, d.rollback_of, d.state, d.began_at, d.finished_at, r.created_at AS pushed_at,
		EXISTS (SELECT 1 FROM deployments o WHERE o.repo = d.repo AND o.app = d.app AND o.environment = d.environment AND o.release = d.release
			AND o.state = 'succeeded' AND o.number < d.number) AS again
		FROM deployments d JOIN runs r ON r.id = d.run
		WHERE d.repo = ? AND d.app = ? AND d.environment = ? AND d.began_at >= ? ORDER BY d.began_at, d.number`, repo, app, environment, stamp(since))
}

// Figures are the four of DORA (dora.dev, "DORA's software delivery performance metrics") for an environment of an app over some
// days. Going back, by a person or by ourselves, is no change but the end of a failure; what was cancelled or superseded is neither.
type Figures struct {
	Days        int
	Deployments int     // that succeeded
	PerDay      float64 // Deployments a day

	LeadTime time.Duration // the median, from the push of a release until it was live there for the first time; 0 where Led is
	Led      int           // how many releases that is of

	Changes     int     // that ended: succeeded or failed
	Failed      int     // of those: failed, or were gone back from later
	FailureRate float64 // Failed of Changes, 0 to 1; 0 where there are none

	Restore  time.Duration // the median, from the end of a deployment that failed (or is gone back from later) until the next succeeded; 0 where Restored is
	Restored int           // how many failures that is of
	Open     int           // failures that nothing has ended yet
}

// FiguresOf counts the changes that began in the days before until. changes are as Changes lists them, of at least those days.
func FiguresOf(changes []Change, days int, until time.Time) Figures {
	since := until.Add(-time.Duration(days) * day)
	f := Figures{Days: days}
	undone := map[string]bool{}
	var good []time.Time // when deployments succeeded
	for _, c := range changes {
		if c.State == Succeeded {
			good = append(good, c.FinishedAt.Time)
		}
		if c.RollbackOf != "" && c.State != Cancelled && c.State != Superseded {
			undone[c.RollbackOf] = true
		}
	}
	slices.SortFunc(good, time.Time.Compare)
	var lead, restore []time.Duration
	for _, c := range changes {
		back := c.RollbackOf != "" || c.Cause == CauseRollback || c.Cause == CauseRecovery
		if back || c.State != Succeeded && c.State != Failed || c.BeganAt.Before(since) || !c.BeganAt.Before(until) {
			continue
		}
		f.Changes++
		if c.State == Succeeded {
			f.Deployments++
			if !c.Again {
				lead = append(lead, c.FinishedAt.Sub(c.PushedAt.Time))
			}
		}
		if c.State == Succeeded && !undone[c.ID] {
			continue
		}
		f.Failed++
		next, _ := slices.BinarySearchFunc(good, c.FinishedAt.Time, func(at, failed time.Time) int { // the first after it
			if at.After(failed) {
				return 1
			}
			return -1
		})
		if next < len(good) {
			restore = append(restore, good[next].Sub(c.FinishedAt.Time))
		} else {
			f.Open++
		}
	}
	f.PerDay = float64(f.Deployments) / float64(days)
	f.LeadTime, f.Led = median(lead), len(lead)
	f.Restore, f.Restored = median(restore), len(restore)
	if f.Changes > 0 {
		f.FailureRate = float64(f.Failed) / float64(f.Changes)
	}
	return f
}

// median is the middle one, of an even number the mean of both; 0 of none.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// TrendWeeks is how many weeks a Trend has: a quarter of a year.
const TrendWeeks = 13

// A Trend is the figures of the last weeks, over all of them and of each.
type Trend struct {
	Figures
	Until time.Time // where the last week ends: the next full hour, so that a trend stays the same until then or until the next change
	Weeks []Figures // the oldest first
}

// Since is when a week began.
func (t Trend) Since(week int) time.Time {
	return t.Until.Add(-time.Duration(TrendWeeks-week) * 7 * day)
}

// TrendHour tells the trends of one time from those of another: one that was read in the same hour, with the same deployment as
// the newest that changed its environment, and that in the same state, is still true.
func TrendHour(now time.Time) time.Time { return now.UTC().Truncate(time.Hour).Add(time.Hour) }

// Trend reads the figures of an environment of an app.
func (tx *Tx) Trend(repo, app, environment string) (Trend, error) {
	t := Trend{Until: TrendHour(tx.now)}
	changes, err := tx.Changes(repo, app, environment, t.Since(0))
	t.Figures = FiguresOf(changes, TrendWeeks*7, t.Until)
	for week := range TrendWeeks {
		t.Weeks = append(t.Weeks, FiguresOf(changes, 7, t.Since(week+1)))
	}
	return t, err
}
