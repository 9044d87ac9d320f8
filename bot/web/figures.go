package web

import (
	"context"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// maxTrends is how many environments' figures are kept; beyond, all are read anew.
const maxTrends = 2000

// trends keeps the figures of environments, as they are shown, until they change: with the newest deployment that changed the
// environment, of which there is one at a time, and with the hour. Nothing in them depends on who looks.
type trends struct {
	mu sync.Mutex
	of map[store.Spot]*trend
}

type trend struct {
	mu   sync.Mutex // whoever comes while they are read waits for them
	as   string     // what they were read for
	html map[lang]template.HTML
}

func (t *trends) get(at store.Spot) *trend {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of[at]
	if one == nil {
		if t.of == nil || len(t.of) >= maxTrends {
			t.of = map[store.Spot]*trend{}
		}
		one = &trend{}
		t.of[at] = one
	}
	return one
}

// ends are the environments that stand at the end of a chain: that come after another one, and none comes after them. Where each
// stands for itself it is the last.
func ends(cells []cell) (last []cell) {
	for _, c := range cells {
		if c.After != "" && !slices.ContainsFunc(cells, func(o cell) bool { return o.After == c.Name }) {
			last = append(last, c)
		}
	}
	if len(last) == 0 && len(cells) > 0 {
		last = cells[len(cells)-1:]
	}
	return last
}

// figures shows how an app is delivered to where its chains end. now is when r was read.
func (s *server) figures(ctx context.Context, l lang, r row, now time.Time) (all []template.HTML, err error) {
	for _, c := range ends(r.Cells) {
		newest := c.Now
		if newest == nil {
			newest = c.Live
		}
		as := store.TrendHour(now).String()
		if newest != nil {
			as += newest.ID
			if store.Final(newest.State) {
				as += newest.State
			}
		}
		html, err := s.figuresIn(ctx, l, store.Spot{Repo: r.Repo, App: r.App, Environment: c.Name}, as)
		if err != nil {
			return nil, err
		}
		all = append(all, html)
	}
	return all, nil
}

func (s *server) figuresIn(ctx context.Context, l lang, at store.Spot, as string) (template.HTML, error) {
	known := s.trends.get(at)
	known.mu.Lock()
	defer known.mu.Unlock()
	if html, ok := known.html[l]; ok && known.as == as {
		return html, nil
	}
	var t store.Trend
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) { t, err = tx.Trend(at.Repo, at.App, at.Environment); return err })
	if err != nil {
		return "", err
	}
	if known.as != as {
		known.as, known.html = as, map[lang]template.HTML{}
	}
	var b strings.Builder
	if err := s.pages[l]["app"].ExecuteTemplate(&b, "figures", figuresView{at.Environment, t, l.figures(t)}); err != nil {
		return "", err
	}
	known.html[l] = template.HTML(b.String()) // made by the template
	return known.html[l], nil
}

// A figuresView is what the page of an app shows of the figures of one environment.
type figuresView struct {
	Environment string
	store.Trend
	Figures []figure
}

// A figure is one of the four.
type figure struct {
	Name, Value, Of string // what it is called, what it comes to, what that is counted over
	Meaning         string
	Look            string
	Weeks           []week // the oldest first
}

// A week is one bar of a figure's chart.
type week struct {
	Since  time.Time
	Words  string
	Height float64 // of 1
}

// Chart is the drawing of the weeks, with the words of each.
func (f figure) Chart(label string) template.HTML {
	const high = 30.0
	var b strings.Builder
	var words []string
	for i, w := range f.Weeks {
		h := high * w.Height
		if h > 0 {
			h = max(h, 2)
		}
		fmt.Fprintf(&b, `<g><title>%s: %s</title><rect class="base" x="%d" y="%g" width="8" height="1"/><rect x="%d" y="%.1f" width="8" height="%.1f"/></g>`,
			escaped(w.Since.Format(time.DateOnly)), escaped(w.Words), 10*i, high, 10*i, high-h, h)
		words = append(words, w.Words)
	}
	return `<svg class="chart ` + template.HTML(f.Look) + `" viewBox="0 0 128 31" preserveAspectRatio="none" role="img" aria-label="` +
		escaped(label+" "+strings.Join(words, ", ")) + `">` + template.HTML(b.String()) + "</svg>"
}

// figures says the four figures. What there is none of is a dash, not a zero.
func (l lang) figures(t store.Trend) []figure {
	// over makes the weeks of a figure, whose bars are as high as what size tells.
	over := func(size func(store.Figures) float64, words func(store.Figures) string) (all []week) {
		most := 0.0
		for _, f := range t.Weeks {
			most = max(most, size(f))
		}
		for i, f := range t.Weeks {
			w := week{Since: t.Since(i), Words: words(f)}
			if most > 0 {
				w.Height = size(f) / most
			}
			all = append(all, w)
		}
		return all
	}
	lead := func(f store.Figures) string { return l.lasted(f.LeadTime, f.Led) }
	restore := func(f store.Figures) string { return l.lasted(f.Restore, f.Restored) }
	rate := func(f store.Figures) string {
		if f.Changes == 0 {
			return "–"
		}
		return l.say("%d%%", int(100*f.FailureRate+.5))
	}
	frequency := l.say("%s a week", strconv.FormatFloat(7*t.PerDay, 'f', 1, 64))
	if t.PerDay >= 1 {
		frequency = l.say("%s a day", strconv.FormatFloat(t.PerDay, 'f', 1, 64))
	}
	succeeded, led, restored := l.say("%d deployments succeeded", t.Deployments), l.say("median of %d releases", t.Led), l.say("median of %d failures", t.Restored)
	if t.Deployments == 1 {
		succeeded = l.say("1 deployment succeeded")
	}
	if t.Led == 1 {
		led = l.say("of 1 release")
	}
	switch {
	case t.Restored == 0 && t.Open == 0:
		restored = l.say("nothing failed")
	case t.Restored == 0:
		restored = l.say("not ended yet: %d", t.Open)
	case t.Restored == 1:
		restored = l.say("of 1 failure")
	}
	if t.Restored > 0 && t.Open > 0 {
		restored += ", " + l.say("not ended yet: %d", t.Open)
	}
	return []figure{
		{l.say("Deployment frequency"), frequency, succeeded,
			l.say("Deployments that succeeded. Going back to an earlier release is not counted."),
			"busy", over(func(f store.Figures) float64 { return float64(f.Deployments) }, func(f store.Figures) string { return strconv.Itoa(f.Deployments) })},
		{l.say("Lead time for changes"), lead(t.Figures), led,
			l.say("From the push until its release was live here for the first time."),
			"busy", over(func(f store.Figures) float64 { return f.LeadTime.Seconds() }, lead)},
		{l.say("Change failure rate"), rate(t.Figures), l.say("%d of %d deployments", t.Failed, t.Changes),
			l.say("Deployments that failed or were gone back from later, of all that succeeded or failed. What was cancelled or superseded is neither."),
			"bad", over(func(f store.Figures) float64 { return f.FailureRate }, rate)},
		{l.say("Time to restore"), restore(t.Figures), restored,
			l.say("From the end of a deployment that failed, or was gone back from later, until the next one succeeded here."),
			"held", over(func(f store.Figures) float64 { return f.Restore.Seconds() }, restore)},
	}
}

// lasted is how long something took at the median of some; a dash where it is of none.
func (l lang) lasted(d time.Duration, of int) string {
	switch m := int(d.Minutes()); {
	case of == 0:
		return "–"
	case d < time.Minute:
		return l.say("%d s", int(d.Seconds()))
	case d < time.Hour:
		return l.say("%d min", m)
	case d < 48*time.Hour:
		return l.say("%d h %d min", m/60, m%60)
	default:
		return l.say("%d days %d h", m/60/24, m/60%24)
	}
}
