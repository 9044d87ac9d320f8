package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
)

// A Window is an entry of environments[].freeze, a time in which the environment takes nothing, or notify[].quiet. It is one of
//
//	Fri 18:00 - Mon 08:00 Asia/Shanghai               every week
//	22:00 - 08:00 Europe/Berlin                       every day, here over midnight
//	Mon-Thu 18:00 - 09:00 America/New_York            the same on the days named, by which it begins
//	2026-12-24 00:00 - 2027-01-02 08:00 UTC           once
//
// Its hours are what a clock in its zone shows. Where that clock is put back, the window lasts to the second time that it
// shows its end; where it is put forward over a beginning or an end, that is the moment at which this happens.
// The zero Window is never.
type Window struct {
	text     string
	zone     *time.Location
	days     [7]bool   // of a window that recurs: on which it begins, from Sunday
	from, to clockTime // of the day that it begins on
	length   int       // days between the day on which it begins and the one on which it ends
	once     bool      // it does not recur, and
	start    time.Time // begins and
	end      time.Time // ends when a clock in its zone shows this, which stands here as if it were in UTC
}

// A clockTime is a time of day in minutes.
type clockTime int

const freezeForms = `write for example "Fri 18:00 - Mon 08:00 Asia/Shanghai", "22:00 - 08:00 Europe/Berlin", "Mon-Thu 18:00 - 09:00 UTC" or "2026-12-24 00:00 - 2027-01-02 08:00 UTC"`

var windowSyntax = regexp.MustCompile(`^(?:([A-Za-z]+)(?:-([A-Za-z]+))? |(\d{4}-\d{2}-\d{2}) )?(\d{1,2}:\d{2}) ?[-–] ?(?:([A-Za-z]+) |(\d{4}-\d{2}-\d{2}) )?(\d{1,2}:\d{2})(?: (\S+))?$`)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// weekday reads a day by its name or the first three letters of it.
func weekday(name string) (int, error) {
	i := -1
	if len(name) >= 3 {
		i = slices.Index(weekdays, strings.ToLower(name[:3]))
	}
	if i < 0 || len(name) > 3 && !strings.EqualFold(name, time.Weekday(i).String()) {
		return 0, fmt.Errorf("there is no day %q; write Mon, Tue, Wed, Thu, Fri, Sat or Sun", name)
	}
	return i, nil
}

// timeOfDay reads a time of day; 24:00 is the end of one.
func timeOfDay(s string, end bool) (clockTime, error) {
	hour, minute, _ := strings.Cut(s, ":")
	h, _ := strconv.Atoi(hour) // digits, by windowSyntax
	m, _ := strconv.Atoi(minute)
	if h > 24 || m > 59 || h == 24 && (m > 0 || !end) {
		return 0, fmt.Errorf("there is no time %q; write 00:00 to 23:59, or 24:00 where a window ends", s)
	}
	return clockTime(60*h + m), nil
}

// UnmarshalText reads a window as it stands in a file.
func (w *Window) UnmarshalText(text []byte) error {
	*w = Window{text: strings.Join(strings.Fields(string(text)), " ")}
	m := windowSyntax.FindStringSubmatch(w.text)
	if m == nil {
		return fmt.Errorf("%q is no window; %s", w.text, freezeForms)
	}
	day, dayTo, date, from, endDay, endDate, to, zone := m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8]
	if zone == "" {
		return fmt.Errorf("%q names no time zone; write one of the IANA database at its end, such as Asia/Shanghai or UTC", w.text)
	}
	var err error
	if w.zone, err = zoneOf(zone); err != nil {
		return err
	}
	if w.from, err = timeOfDay(from, false); err != nil {
		return err
	}
	if w.to, err = timeOfDay(to, true); err != nil {
		return err
	}
	switch {
	case (date == "") != (endDate == "") || dayTo != "" && endDay != "" || day == "" && endDay != "":
		return fmt.Errorf("%q is no window; %s", w.text, freezeForms)
	case date != "":
		return w.between(date, endDate)
	}
	first, last := 0, 6
	if day != "" {
		if first, err = weekday(day); err != nil {
			return err
		}
		last = first
	}
	if dayTo != "" {
		if last, err = weekday(dayTo); err != nil {
			return err
		}
	}
	for i := first; ; i = (i + 1) % 7 {
		w.days[i] = true
		if i == last {
			break
		}
	}
	if endDay == "" {
		if w.from == w.to {
			return fmt.Errorf("%q ends when it begins; for a whole day write 00:00 - 24:00", w.text)
		}
		if w.to < w.from {
			w.length = 1
		}
		return nil
	}
	end, err := weekday(endDay)
	if err != nil {
		return err
	}
	if w.length = (end - first + 7) % 7; w.length == 0 && w.to <= w.from {
		return fmt.Errorf("%q ends on the day on which it begins, but not after that; put the earlier time first, or name another day", w.text)
	}
	return nil
}

// between reads a window that does not recur.
func (w *Window) between(from, to string) error {
	var err error
	if w.start, err = dayAt(from, w.from); err != nil {
		return err
	}
	if w.end, err = dayAt(to, w.to); err != nil {
		return err
	}
	if w.once = true; !w.start.Before(w.end) {
		return fmt.Errorf("%q ends before it begins; write the earlier moment first", w.text)
	}
	return nil
}

// dayAt is a time of a day, as if it were one in UTC.
func dayAt(date string, at clockTime) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return day, fmt.Errorf("there is no day %q; write it as in 2026-12-24", date)
	}
	return day.Add(time.Duration(at) * time.Minute), nil
}

// zoneOf is a time zone of the IANA database.
func zoneOf(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // that of whichever machine it is read on
		return nil, fmt.Errorf("there is no time zone %q; write one of the IANA database, such as Asia/Shanghai or UTC", name)
	}
	return zone, nil
}

// MarshalText returns the window as UnmarshalText reads it.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.text), nil }

func (w Window) String() string { return w.text }

// covers tells whether a moment lies in the window, and when it ends then. The moment of its end lies outside.
func (w Window) covers(t time.Time) (end time.Time, ok bool) {
	if w.zone == nil {
		return end, false
	}
	if w.once {
		end = lastShown(w.end, w.zone)
		return end, !t.Before(whenShown(w.start, w.zone)) && t.Before(end)
	}
	local := t.In(w.zone)
	today := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	for back := w.length + 1; back >= -1; back-- { // a clock that is changed may show a day too much
		day := today.AddDate(0, 0, -back)
		if !w.days[day.Weekday()] {
			continue
		}
		start := whenShown(day.Add(time.Duration(w.from)*time.Minute), w.zone)
		until := lastShown(day.AddDate(0, 0, w.length).Add(time.Duration(w.to)*time.Minute), w.zone)
		if !t.Before(start) && t.Before(until) && until.After(end) {
			end, ok = until, true
		}
	}
	return end, ok
}

// lastShown is the last moment at which a clock in zone shows wall, or the one at which it passes over it.
func lastShown(wall time.Time, zone *time.Location) time.Time {
	first := whenShown(wall, zone)
	if _, change := first.ZoneBounds(); !change.IsZero() {
		_, offset := change.Zone()
		if second := wall.Add(-time.Duration(offset) * time.Second).In(zone); !second.Before(change) && onWall(second).Equal(wall) {
			return second
		}
	}
	return first
}

// maxWindows is how many windows are followed one after the other: more do not leave a gap.
const maxWindows = 1000

// Frozen tells whether a moment lies in one of the windows, which ones that is, and until when there is no gap between them:
// in the zone of the one that ends last. It is pure.
func Frozen(windows []Window, now time.Time) (window string, until time.Time, ok bool) {
	var texts []string
	at := now
	for range maxWindows {
		var last *Window
		for i, w := range windows {
			if end, in := w.covers(at); in && end.After(until) {
				until, last = end.In(w.zone), &windows[i]
			}
		}
		if last == nil {
			break
		}
		if !slices.Contains(texts, last.text) {
			texts = append(texts, last.text)
		}
		at = until
	}
	return strings.Join(texts, "; "), until, len(texts) > 0
}

// maxFreeze is how many windows an environment may have.
const maxFreeze = 50

// checkFreeze wants windows to leave a gap; moment says which, and what to do.
func checkFreeze(doc *strictyaml.Document, at string, windows []Window, moment string) {
	if len(windows) > maxFreeze {
		doc.Errorf(at, "lists %d windows; write at most %d", len(windows), maxFreeze)
		return
	}
	recurring := slices.DeleteFunc(slices.Clone(windows), func(w Window) bool { return w.once })
	const twoWeeks = 14 * 24 * time.Hour
	any := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) // they repeat every week
	if _, until, ok := Frozen(recurring, any); ok && until.Sub(any) > twoWeeks {
		doc.Errorf(at, "leaves no moment %s", moment)
	}
}
