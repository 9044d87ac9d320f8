package pipeline

import (
	"strings"
	"testing"
	"time"
)

func TestScheduleNext(t *testing.T) {
	// In New York the clock went from 02:00 to 03:00 on 2026-03-08, and from 02:00 back to 01:00 on 2026-11-01. On Lord Howe
	// Island it is moved by half an hour: back from 02:00 to 01:30 on 2026-04-05. Shanghai has no such days.
	const ny, lordHowe = "America/New_York", "Australia/Lord_Howe"
	tests := []struct{ cron, zone, after, want string }{
		{"0 3 * * *", "UTC", "2026-01-31T03:00:00Z", "2026-02-01T03:00:00Z"},
		{"0 3 * * *", "UTC", "2026-01-31T02:59:59Z", "2026-01-31T03:00:00Z"},
		{"0 3 * * *", "Asia/Shanghai", "2026-01-31T03:00:00Z", "2026-01-31T19:00:00Z"},
		{"*/15 9-17 * * MON-FRI", "UTC", "2026-01-30T17:50:00Z", "2026-02-02T09:00:00Z"},
		{"0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 12 1 * 0", "UTC", "2026-01-02T00:00:00Z", "2026-01-04T12:00:00Z"}, // the first, and every Sunday

		{"30 2 * * *", ny, "2026-03-07T07:30:00Z", "2026-03-08T07:00:00Z"},   // skipped by the clock: when it jumps
		{"30 2 * * *", ny, "2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"},   // and not again
		{"0,30 2 * * *", ny, "2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z"}, // both of the skipped hour at once
		{"0 3 * * *", ny, "2026-03-08T06:59:00Z", "2026-03-08T07:00:00Z"},
		{"30 * * * *", ny, "2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"}, // an hour after the last
		{"30 1 * * *", ny, "2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z"}, // comes twice: the first time
		{"30 1 * * *", ny, "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}, // and not the second
		{"30 1 * * *", ny, "2026-11-01T06:10:00Z", "2026-11-02T06:30:00Z"}, // asked between the two
		{"30 * * * *", ny, "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"}, // an hour after the last
		{"30 1,2 * * *", ny, "2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z"},
		{"45 1 * * *", lordHowe, "2026-04-03T14:45:00Z", "2026-04-04T14:45:00Z"},
		{"45 1 * * *", lordHowe, "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"},
		{"0 3 * * *", "Asia/Shanghai", "2026-03-08T07:00:00Z", "2026-03-08T19:00:00Z"},
	}
	for _, test := range tests {
		after, err := time.Parse(time.RFC3339, test.after)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Schedule{Cron: test.cron, Zone: test.zone}.Next(after)
		if s := got.UTC().Format(time.RFC3339); err != nil || s != test.want {
			t.Errorf("%s in %s after %s: %s, %v, want %s", test.cron, test.zone, test.after, s, err, test.want)
		}
	}
}

// Whatever the zone, a job for every day comes once on each.
func TestScheduleComesOnceADay(t *testing.T) {
	for _, zone := range []string{"America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Shanghai", "America/Santiago"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, expr := range []string{"0 0 * * *", "30 1 * * *", "30 2 * * *", "59 23 * * *"} {
			at := time.Date(2025, 12, 31, 23, 59, 0, 0, loc)
			for day := 1; day <= 365; day++ {
				next, err := Schedule{Cron: expr, Zone: zone}.Next(at)
				if err != nil || next.In(loc).YearDay() != day {
					t.Fatalf("%s in %s after %s: %s, %v, want day %d", expr, zone, at, next.In(loc), err, day)
				}
				at = next
			}
		}
	}
}

func TestDue(t *testing.T) {
	c := parse(t, `
build: {image: r.example.com/web}
trigger:
  schedule:
    - {cron: "0 3 * * *", zone: Asia/Shanghai}
    - {cron: "0 12 * * SUN", always: true}
`)
	at := func(s string) time.Time {
		m, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	tests := []struct{ since, now, due, next string }{
		{"2026-01-02T19:00:00Z", "2026-01-03T18:59:59Z", "", "2026-01-03T19:00:00Z"},
		{"2026-01-02T19:00:00Z", "2026-01-03T19:00:00Z", `"0 3 * * *" Asia/Shanghai`, "2026-01-04T12:00:00Z"},
		{"2026-01-03T19:00:00Z", "2026-01-04T12:00:01Z", `"0 12 * * SUN" UTC`, "2026-01-04T19:00:00Z"},
		{"2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z", `"0 3 * * *" Asia/Shanghai, "0 12 * * SUN" UTC`, "2026-01-20T19:00:00Z"}, // away for weeks
		{"2026-01-04T12:00:00Z", "2026-01-04T12:00:00Z", "", "2026-01-04T19:00:00Z"},
		{"2026-01-04T12:00:00Z", "2026-01-01T00:00:00Z", "", "2026-01-04T19:00:00Z"}, // a clock that was put back
	}
	for _, test := range tests {
		due, next := c.Due(at(test.since), at(test.now))
		var names []string
		for _, s := range due {
			names = append(names, s.String())
		}
		if got := strings.Join(names, ", "); got != test.due || next.UTC().Format(time.RFC3339) != test.next {
			t.Errorf("from %s to %s: %s, next %s, want %s and %s", test.since, test.now, got, next.UTC(), test.due, test.next)
		}
	}
	if due, next := (&Config{}).Due(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")); due != nil || !next.IsZero() {
		t.Errorf("without a schedule: %v, %s", due, next)
	}
}
