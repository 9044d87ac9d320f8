package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// The goal: Shipmate takes at most goalRatio times what it takes by hand, or at most goalExtra more.
const (
	goalRatio = 1.10
	goalExtra = time.Second
)

// A part of a step, such as its build.
type part struct {
	name string
	took time.Duration
}

// A stopwatch divides a step into parts.
type stopwatch struct {
	last  time.Time
	parts []part
}

// lap ends a part.
func (w *stopwatch) lap(name string, at time.Time) {
	w.parts = append(w.parts, part{name, at.Sub(w.last)})
	w.last = at
}

// A measurement is one step, done once.
type measurement struct{ parts []part }

func (m measurement) total() (sum time.Duration) {
	for _, p := range m.parts {
		sum += p.took
	}
	return sum
}

// of sums the parts with a name.
func (m measurement) of(name string) (sum time.Duration) {
	for _, p := range m.parts {
		if p.name == name {
			sum += p.took
		}
	}
	return sum
}

// A sample is what was measured of one thing.
type sample []time.Duration

func totals(ms []measurement) (s sample) {
	for _, m := range ms {
		s = append(s, m.total())
	}
	return s
}

func sampleOf(ms []measurement, name string) (s sample) {
	for _, m := range ms {
		s = append(s, m.of(name))
	}
	return s
}

func (s sample) median() time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// String is the median with the least and the greatest, in seconds.
func (s sample) String() string {
	if len(s) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f s [%.2f–%.2f]", s.median().Seconds(), slices.Min(s).Seconds(), slices.Max(s).Seconds())
}

// goalMet compares Shipmate with by hand.
func goalMet(shipmate, byHand time.Duration) bool {
	return float64(shipmate) <= goalRatio*float64(byHand) || shipmate-byHand <= goalExtra
}

// printAll prints what came out: the comparison, the bot's own figures, and where the time of each step went.
func printAll(out io.Writer, steps []*step, bot *botFigures, delay time.Duration) error {
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "step\tShipmate\tby hand\tdifference\tratio\tat most %.2f, or %.0f s more\n", goalRatio, goalExtra.Seconds())
	for _, st := range steps {
		a, b := totals(st.shipmate), totals(st.byHand)
		met := "no"
		if goalMet(a.median(), b.median()) {
			met = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%+.2f s\t%.2f\t%s\n", st.name, a, b, (a.median() - b.median()).Seconds(), float64(a.median())/float64(b.median()), met)
	}
	fmt.Fprintf(t, "\nmedian [least–greatest] of %d rounds, on %d processors; GitHub answers after %s\n\n", len(steps[0].shipmate), runtime.NumCPU(), delay)

	stripped := ", stripped"
	if !bot.stripped {
		stripped = ", not stripped"
	}
	fmt.Fprintf(t, "the bot\t\n")
	fmt.Fprintf(t, "binary%s\t%.1f MB\n", stripped, float64(bot.size)/1e6)
	fmt.Fprintf(t, "start until /readyz\t%s\n", bot.starts)
	fmt.Fprintf(t, "resident memory, idle after its start\t%.0f MB\n", math.Round(float64(bot.idle)/1e6))
	fmt.Fprintf(t, "resident memory, peak during the run\t%.0f MB\n", math.Round(float64(bot.peak)/1e6))
	fmt.Fprintf(t, "resident memory, at the end of the run\t%.0f MB\n\n", math.Round(float64(bot.end)/1e6))

	for _, st := range steps {
		fmt.Fprintf(t, "where the time of %s goes\tShipmate\tby hand\n", st.name)
		for _, name := range partNames(st.shipmate, st.byHand) {
			fmt.Fprintf(t, "%s\t%s\t%s\n", name, partSample(st.shipmate, name), partSample(st.byHand, name))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// partNames lists the parts in the order in which they happen; those of the longer list first.
func partNames(lists ...[]measurement) (names []string) {
	for _, ms := range lists {
		for _, m := range ms {
			for _, p := range m.parts {
				if !slices.Contains(names, p.name) {
					names = append(names, p.name)
				}
			}
		}
	}
	return names
}

// partSample is empty where a way has no such part.
func partSample(ms []measurement, name string) sample {
	if !slices.Contains(partNames(ms), name) {
		return nil
	}
	return sampleOf(ms, name)
}
