package pipeline

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones that the tests name, also where the machine has none
)

func windows(t *testing.T, texts ...string) []Window {
	t.Helper()
	all := make([]Window, len(texts))
	for i, text := range texts {
		if err := all[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestFrozen(t *testing.T) {
	weekend := "Fri 18:00 - Mon 08:00 Asia/Shanghai"
	nights := "22:00 - 08:00 Europe/Berlin"
	evenings := "Mon-Thu 18:00 - 09:00 America/New_York"
	holidays := "2026-12-24 00:00 - 2027-01-02 08:00 UTC"
	tests := map[string]struct {
		windows []string
		now     string
		until   string // empty: not frozen
	}{
		"none": {nil, "2026-03-01T12:00:00Z", ""},

		"a week's, a moment before":   {[]string{weekend}, "2026-03-06T17:59:59+08:00", ""},
		"a week's, at its beginning":  {[]string{weekend}, "2026-03-06T18:00:00+08:00", "2026-03-09T08:00:00+08:00"},
		"a week's, over its end":      {[]string{weekend}, "2026-03-08T23:00:00+08:00", "2026-03-09T08:00:00+08:00"},
		"a week's, by another clock":  {[]string{weekend}, "2026-03-08T23:59:00Z", "2026-03-09T08:00:00+08:00"},
		"a week's, at its end":        {[]string{weekend}, "2026-03-09T08:00:00+08:00", ""},
		"a week's, in the middle":     {[]string{weekend}, "2026-03-11T12:00:00+08:00", ""},
		"within a day of the week":    {[]string{"Fri 10:00 - Fri 12:00 UTC"}, "2026-03-06T11:00:00Z", "2026-03-06T12:00:00Z"},
		"almost a week":               {[]string{"Mon 10:00 - Sun 24:00 UTC"}, "2026-03-08T23:59:00Z", "2026-03-09T00:00:00Z"},
		"every night, before twelve":  {[]string{nights}, "2026-03-06T23:00:00+01:00", "2026-03-07T08:00:00+01:00"},
		"every night, after twelve":   {[]string{nights}, "2026-03-07T07:59:00+01:00", "2026-03-07T08:00:00+01:00"},
		"every night, by day":         {[]string{nights}, "2026-03-07T08:00:00+01:00", ""},
		"on days, the last evening":   {[]string{evenings}, "2026-03-05T20:00:00-05:00", "2026-03-06T09:00:00-05:00"},
		"on days, the morning after":  {[]string{evenings}, "2026-03-06T08:59:00-05:00", "2026-03-06T09:00:00-05:00"},
		"on days, another evening":    {[]string{evenings}, "2026-03-06T20:00:00-05:00", ""},
		"on days over the week's end": {[]string{"Sat-Mon 10:00 - 11:00 UTC"}, "2026-03-08T10:30:00Z", "2026-03-08T11:00:00Z"},
		"a whole day":                 {[]string{"Sun 00:00 - 24:00 UTC"}, "2026-03-08T23:59:59Z", "2026-03-09T00:00:00Z"},
		"once, before":                {[]string{holidays}, "2026-12-23T23:59:59Z", ""},
		"once, over the year's end":   {[]string{holidays}, "2026-12-31T23:59:59Z", "2027-01-02T08:00:00Z"},
		"once, a year later":          {[]string{holidays}, "2027-12-31T23:59:59Z", ""},

		"two that overlap": {[]string{"Fri 18:00 - Mon 08:00 UTC", "Mon 06:00 - 12:00 UTC"}, "2026-03-07T00:00:00Z", "2026-03-09T12:00:00Z"},
		"two that meet":    {[]string{"Fri 18:00 - Mon 08:00 UTC", "Mon 08:00 - 12:00 UTC"}, "2026-03-07T00:00:00Z", "2026-03-09T12:00:00Z"},
		"one in the other": {[]string{"Fri 18:00 - Mon 08:00 UTC", "Sat 08:00 - 12:00 UTC"}, "2026-03-07T09:00:00Z", "2026-03-09T08:00:00Z"},
		"with a gap":       {[]string{"Fri 18:00 - Mon 08:00 UTC", "Mon 08:01 - 12:00 UTC"}, "2026-03-07T00:00:00Z", "2026-03-09T08:00:00Z"},

		// Berlin puts its clocks forward at 02:00 on 29 March 2026, and back at 03:00 on 25 October.
		"a shorter night":                {[]string{nights}, "2026-03-28T22:00:00+01:00", "2026-03-29T08:00:00+02:00"},
		"a longer night":                 {[]string{nights}, "2026-10-24T22:00:00+02:00", "2026-10-25T08:00:00+01:00"},
		"begins in the hour left out":    {[]string{"02:30 - 04:00 Europe/Berlin"}, "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		"before the hour left out":       {[]string{"02:30 - 04:00 Europe/Berlin"}, "2026-03-29T01:59:59+01:00", ""},
		"ends in the hour left out":      {[]string{"01:00 - 02:30 Europe/Berlin"}, "2026-03-29T01:59:59+01:00", "2026-03-29T03:00:00+02:00"},
		"lies in the hour left out":      {[]string{"02:10 - 02:50 Europe/Berlin"}, "2026-03-29T03:00:00+02:00", ""},
		"begins in the hour come twice":  {[]string{"02:30 - 04:00 Europe/Berlin"}, "2026-10-25T02:30:00+02:00", "2026-10-25T04:00:00+01:00"},
		"ends in the hour come twice":    {[]string{"01:00 - 02:30 Europe/Berlin"}, "2026-10-25T02:45:00+02:00", "2026-10-25T02:30:00+01:00"},
		"over the hour come twice":       {[]string{"01:00 - 02:30 Europe/Berlin"}, "2026-10-25T02:30:00+01:00", ""},
		"where a zone skips a day":       {[]string{"22:00 - 08:00 Pacific/Apia"}, "2011-12-29T23:00:00-10:00", "2011-12-31T08:00:00+14:00"},
		"where half an hour is put back": {[]string{"01:00 - 01:45 Australia/Lord_Howe"}, "2026-04-05T01:50:00+11:00", "2026-04-05T01:45:00+10:30"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, test.now)
			if err != nil {
				t.Fatal(err)
			}
			window, until, ok := Frozen(windows(t, test.windows...), now)
			got := ""
			if ok {
				got = until.Format(time.RFC3339)
			}
			if got != test.until {
				t.Errorf("frozen until %s by %s, want %s", got, window, test.until)
			}
		})
	}
	begin := time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)
	if _, until, _ := Frozen(windows(t, "00:00 - 24:00 UTC"), begin); until.Before(begin.AddDate(1, 0, 0)) { // a file may not say so: see checkFreeze
		t.Errorf("one that meets itself ends at %s", until)
	}
	if window, _, _ := Frozen(windows(t, "Fri 18:00 - Mon 08:00 UTC", "Mon 06:00 - 12:00 UTC", "Tue 06:00 - 12:00 UTC"), begin); window != "Fri 18:00 - Mon 08:00 UTC; Mon 06:00 - 12:00 UTC" {
		t.Errorf("by %s", window)
	}
}

func TestFreezeMistakes(t *testing.T) {
	tests := map[string]string{
		"weekends":                                "is no window; write for example",
		"":                                        "is no window",
		"Fri - Mon UTC":                           "is no window",
		"18:00 - Mon 08:00 UTC":                   "is no window",
		"Mon-Thu 18:00 - Fri 08:00 UTC":           "is no window",
		"2026-12-24 00:00 - Mon 08:00 UTC":        "is no window",
		"Fri 18:00 - Mon 08:00":                   "names no time zone; write one",
		"Fri 18:00 - Mon 08:00 Local":             `no time zone "Local"`,
		"Fri 18:00 - Mon 08:00 CET+1":             `no time zone "CET+1"`,
		"Fri 18:00 - Mon 08:00 ../etc/passwd":     "no time zone",
		"Fry 18:00 - Mon 08:00 UTC":               `no day "Fry"; write Mon`,
		"Frida 18:00 - Mon 08:00 UTC":             `no day "Frida"`,
		"Friday 18:00 - Mo 08:00 UTC":             `no day "Mo"`,
		"Fri 24:00 - Mon 08:00 UTC":               `no time "24:00"`,
		"Fri 18:60 - Mon 08:00 UTC":               `no time "18:60"`,
		"Fri 18:00 - Mon 24:30 UTC":               `no time "24:30"`,
		"18:00 - 18:00 UTC":                       "ends when it begins; for a whole day",
		"Fri 18:00 - Fri 08:00 UTC":               "not after that",
		"2026-12-24 00:00 - 2026-12-24 00:00 UTC": "ends before it begins",
		"2026-12-24 00:00 - 2026-02-30 00:00 UTC": `no day "2026-02-30"`,
	}
	for text, want := range tests {
		var w Window
		if err := w.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	const env = "build: {image: r.io/x}\nenvironments:\n  - {name: a, cluster: c, namespace: n, manifests: m, freeze: "
	for freeze, want := range map[string]string{
		`["00:00 - 12:00 UTC", "12:00 - 24:00 UTC"]`:                                         "f:3: environments[0].freeze: leaves no moment",
		`["Mon 00:00 - Sun 24:00 UTC"]`:                                                      "f:3: environments[0].freeze: leaves no moment",
		`[` + strings.Repeat(`"01:00 - 02:00 UTC",`, 51) + `]`:                               "f:3: environments[0].freeze: lists 51 windows",
		`["01:00 - 02:00"]`:                                                                  "f:3: environments[0].freeze[0]: \"01:00 - 02:00\" names no time zone",
		`["Fri 18:00 - Mon 08:00 Asia/Shanghai", "2020-01-01 00:00 - 2040-01-01 00:00 UTC"]`: "",
	} {
		_, err := Parse("f", []byte(env+freeze+"}\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", freeze, err, want)
		}
	}
}

// FuzzWindow: what is read is read the same again, and is either over or ends later.
func FuzzWindow(f *testing.F) {
	for _, s := range []string{"Fri 18:00 - Mon 08:00 Asia/Shanghai", "22:00 - 08:00 Europe/Berlin", "Mon-Thu 18:00-09:00 America/New_York", "2026-12-24 00:00 – 2027-01-02 08:00 UTC",
		"Sun 00:00 - 24:00 Pacific/Apia", "0:00 - 0:01 Australia/Lord_Howe", "Sat-Fri 02:30 - 02:29 Africa/Monrovia"} {
		f.Add(s, int64(1_772_000_000))
	}
	f.Fuzz(func(t *testing.T, s string, at int64) {
		var w, again Window
		if err := w.UnmarshalText([]byte(s)); err != nil {
			return
		}
		text, err := w.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(text); err != nil {
			t.Fatalf("%q is read, and then %q is not: %v", s, text, err)
		}
		now := time.Unix(at%(1<<33), 0)
		name, until, ok := Frozen([]Window{w}, now)
		if name2, until2, ok2 := Frozen([]Window{again}, now); name != name2 || !until.Equal(until2) || ok != ok2 {
			t.Fatalf("%q and %q differ", s, text)
		}
		if ok && !until.After(now) {
			t.Fatalf("%q at %s: frozen until %s", s, now, until)
		}
	})
}
