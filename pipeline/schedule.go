package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is an entry of trigger.schedule: when the newest commit of the default branch is built.
type Schedule struct {
	Cron   string `yaml:"cron"`   // minute, hour, day of the month, month, day of the week (0 to 6 from Sunday, or names), as in a crontab
	Zone   string `yaml:"zone"`   // of the IANA database, as in Asia/Shanghai; default UTC
	Always bool   `yaml:"always"` // also when the newest release is of this very commit
}

func (s Schedule) String() string { return fmt.Sprintf("%q %s", s.Cron, s.Zone) }

// Due lists the entries of trigger.schedule that came due after since and not later than now, each once however often
// that was, so that a night that was missed is made up for by one run; and says when the next one will be due (the zero
// time: never).
func (c *Config) Due(since, now time.Time) (due []Schedule, next time.Time) {
	for _, s := range c.Trigger.Schedule {
		at, err := s.Next(since)
		if err == nil && !at.IsZero() && !at.After(now) {
			due = append(due, s)
			at, err = s.Next(now)
		}
		if err == nil && !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return due, next
}

// Next returns the first moment after t at which s is due, the zero time if there is none within five years. Where the
// clock is put forward over that moment, it is the moment at which that happens; where it is put back, a certain hour
// comes once, the first time. An entry for every hour keeps its pace through both.
func (s Schedule) Next(t time.Time) (time.Time, error) {
	zone, err := s.zone()
	if err != nil {
		return time.Time{}, err
	}
	spec, err := s.spec()
	if err != nil {
		return time.Time{}, err
	}
	const everyHour = 1<<24 - 1
	if spec.Hour&everyHour == everyHour {
		spec.Location = zone
		return spec.Next(t), nil
	}
	// By a clock that never changes, on which no hour is missing and none comes twice.
	for wall := spec.Next(onWall(t.In(zone))); !wall.IsZero(); wall = spec.Next(wall) {
		if at := whenShown(wall, zone); at.After(t) {
			return at, nil
		}
	}
	return time.Time{}, nil
}

// zone's error, like spec's, says what to write instead.
func (s Schedule) zone() (*time.Location, error) {
	return zoneOf(s.Zone)
}

func (s Schedule) spec() (*cron.SpecSchedule, error) {
	const write = `write minute, hour, day, month and day of the week (0-6 from Sunday), such as "0 3 * * MON-FRI"`
	if s.Cron == "" {
		return nil, errors.New("is missing; " + write)
	}
	if strings.ContainsAny(s.Cron, "=@") { // the parser's own zones and words
		return nil, fmt.Errorf("%q is no cron expression; %s", s.Cron, write)
	}
	schedule, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(s.Cron)
	if err != nil {
		return nil, fmt.Errorf("%q is no cron expression (%w); %s", s.Cron, err, write)
	}
	spec := schedule.(*cron.SpecSchedule) // "@every" alone makes another kind
	spec.Location = time.UTC
	if spec.Next(time.Unix(0, 0)).IsZero() {
		return nil, fmt.Errorf("%q is never due; %s", s.Cron, write)
	}
	return spec, nil
}

// onWall is what a clock shows at t, as if it were the time in UTC.
func onWall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// whenShown is the first moment at which a clock in zone shows wall, or passes over it.
func whenShown(wall time.Time, zone *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, zone)
	start, end := t.ZoneBounds()
	switch shown := onWall(t); {
	case shown.After(wall):
		return start
	case shown.Before(wall):
		return end
	case start.IsZero():
		return t
	}
	_, offset := start.Add(-time.Second).Zone()
	if first := wall.Add(-time.Duration(offset) * time.Second).In(zone); first.Before(start) {
		return first
	}
	return t
}
