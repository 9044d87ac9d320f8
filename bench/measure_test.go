package main

import (
	"strings"
	"testing"
	"time"
)

func seconds(values ...float64) (s sample) {
	for _, v := range values {
		s = append(s, time.Duration(v*float64(time.Second)))
	}
	return s
}

func TestSample(t *testing.T) {
	for _, tt := range []struct {
		s    sample
		want string
	}{
		{nil, "–"},
		{seconds(2), "2.00 s [2.00–2.00]"},
		{seconds(9, 1, 2), "2.00 s [1.00–9.00]"},
		{seconds(4, 1, 3, 2), "2.50 s [1.00–4.00]"},
	} {
		if got := tt.s.String(); got != tt.want {
			t.Errorf("%v: got %s, want %s", []time.Duration(tt.s), got, tt.want)
		}
	}
}

func TestGoalMet(t *testing.T) {
	for _, tt := range []struct {
		shipmate, byHand time.Duration
		want             bool
	}{
		{time.Second, 2 * time.Second, true},
		{3 * time.Second, 2 * time.Second, true},                     // one second more
		{3*time.Second + time.Millisecond, 2 * time.Second, false},   // and a little
		{22 * time.Second, 20 * time.Second, true},                   // a tenth more
		{22*time.Second + time.Millisecond, 20 * time.Second, false}, // and a little
	} {
		if got := goalMet(tt.shipmate, tt.byHand); got != tt.want {
			t.Errorf("%s beside %s: got %t", tt.shipmate, tt.byHand, got)
		}
	}
}

func TestStopwatch(t *testing.T) {
	began := time.Now()
	w := stopwatch{last: began}
	w.lap("build", began.Add(3*time.Second))
	w.lap("apply", began.Add(4*time.Second))
	w.lap("build", began.Add(6*time.Second))
	m := measurement{w.parts}
	if m.total() != 6*time.Second || m.of("build") != 5*time.Second || m.of("none") != 0 {
		t.Errorf("total %s, build %s, none %s", m.total(), m.of("build"), m.of("none"))
	}
}

func TestPrintAll(t *testing.T) {
	of := func(name string, s float64) measurement { return measurement{[]part{{name, seconds(s)[0]}}} }
	steps := []*step{
		{name: "push → live", shipmate: []measurement{of("decide", 5)}, byHand: []measurement{of("build", 3)}},
		{name: "promote → live", shipmate: []measurement{of("apply", 2)}, byHand: []measurement{of("apply", 2)}},
	}
	var out strings.Builder
	if err := printAll(&out, steps, &botFigures{size: 56_500_000, starts: seconds(0.04), idle: 49e6, peak: 66e6, end: 60e6}, 0); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"push → live 5.00 s [5.00–5.00] 3.00 s [3.00–3.00] +2.00 s 1.67 no",
		"promote → live 2.00 s [2.00–2.00] 2.00 s [2.00–2.00] +0.00 s 1.00 yes",
		"binary, not stripped 56.5 MB",
		"start until /readyz 0.04 s [0.04–0.04]",
		"resident memory, peak during the run 66 MB",
		"decide 5.00 s [5.00–5.00] –",
		"build – 3.00 s [3.00–3.00]",
	} {
		if !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}

func TestParseMemory(t *testing.T) {
	status := "Name:\tbot\nVmHWM:\t   69632 kB\nVmRSS:\t    1024 kB\n"
	for _, tt := range []struct {
		field string
		want  int64
		bad   bool
	}{{"VmHWM", 69632 * 1024, false}, {"VmRSS", 1 << 20, false}, {"VmSwap", 0, true}, {"Name", 0, true}} {
		got, err := parseMemory(status, tt.field)
		if (err != nil) != tt.bad || !tt.bad && got != tt.want {
			t.Errorf("%s: got %d, %v", tt.field, got, err)
		}
	}
}
