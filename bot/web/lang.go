package web

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// A lang is a language of the pages.
type lang string

const (
	en lang = "en"
	zh lang = "zh"
)

// langCookie keeps which language somebody chose.
const langCookie = "__Host-lang"

// langOf is the language of an answer: what was chosen, else what the browser prefers (RFC 9110, 12.5.4), else English.
func langOf(r *http.Request) lang {
	if l, ok := chosen(r); ok {
		return l
	}
	if c, err := r.Cookie(langCookie); err == nil && (c.Value == string(en) || c.Value == string(zh)) {
		return lang(c.Value)
	}
	best, most := en, 0.0
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, parameter, _ := strings.Cut(part, ";")
		tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
			var err error
			if weight, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		if (tag == string(en) || tag == string(zh)) && weight > most {
			best, most = lang(tag), weight
		}
	}
	return best
}

// LanguageOf is the language of an answer: en or zh.
func LanguageOf(r *http.Request) string { return string(langOf(r)) }

// chosen is the language that a link asks for.
func chosen(r *http.Request) (l lang, ok bool) {
	l = lang(r.URL.Query().Get("lang"))
	return l, l == en || l == zh
}

// keepLang remembers a choice for a year.
func keepLang(w http.ResponseWriter, r *http.Request) {
	if l, ok := chosen(r); ok {
		http.SetCookie(w, &http.Cookie{Name: langCookie, Value: string(l), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 365 * 24 * 3600})
	}
}

// otherLang is the same page in the other language.
func otherLang(r *http.Request, l lang) (address string) {
	q := r.URL.Query()
	q.Del("said")
	q.Set("lang", string(zh))
	if l == zh {
		q.Set("lang", string(en))
	}
	return "?" + q.Encode()
}

// here is the page's own address, without what only one answer is about: where a form goes back to.
func here(r *http.Request) string {
	q := r.URL.Query()
	q.Del("said")
	q.Del("lang")
	q.Del("following")
	return (&url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: q.Encode()}).RequestURI()
}

// say is a sentence in the language, as plain text; English where it lacks one.
func (l lang) say(sentence string, args ...any) string {
	if c, ok := chinese[sentence]; ok && l == zh {
		sentence = c
	}
	if len(args) == 0 {
		return sentence
	}
	return fmt.Sprintf(sentence, args...)
}

// html is the same with what is marked up among its arguments; all others are escaped.
func (l lang) html(sentence string, args ...any) template.HTML {
	for i, a := range args {
		switch a := a.(type) {
		case template.HTML, int, int64:
		default:
			args[i] = escaped(fmt.Sprint(a))
		}
	}
	return template.HTML(l.say(sentence, args...)) // the sentence is ours, and the arguments are escaped
}

// saying is what another package says.
func (l lang) saying(s *Saying) template.HTML { return l.html(s.sentence, slices.Clone(s.args)...) }

// escaped is what somebody wrote, as text of a page.
func escaped(s string) template.HTML { return template.HTML(template.HTMLEscapeString(printable(s))) }

// bdi sets what somebody wrote apart, so that its direction is its own.
func bdi(s string) template.HTML { return "<bdi>" + escaped(s) + "</bdi>" }

func code(s string) template.HTML { return "<code>" + escaped(s) + "</code>" }

// link leads to a page of ours.
func link(path string, text any) template.HTML {
	t, ok := text.(template.HTML)
	if !ok {
		t = escaped(fmt.Sprint(text))
	}
	return `<a href="` + template.HTML(template.HTMLEscapeString("/"+strings.TrimLeft(path, "/"))) + `">` + t + "</a>"
}

func when(t time.Time) template.HTML {
	return template.HTML(`<time datetime="` + rfc3339(t) + `">` + utc(t) + "</time>")
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is how long ago something was, with the time itself behind it.
func (l lang) ago(t store.Time, now time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	words := t.UTC().Format("2006-01-02")
	if d := now.Sub(t.Time); d < 60*24*time.Hour {
		words = l.since(d)
	}
	return template.HTML(`<time class="ago" datetime="` + rfc3339(t.Time) + `" title="` + utc(t.Time) + `">` + words + "</time>")
}

// since is how long ago something was.
func (l lang) since(d time.Duration) string {
	switch {
	case d < time.Minute:
		return l.say("just now")
	case d < time.Hour:
		return l.say("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return l.say("%d h ago", int(d.Hours()))
	}
	return l.say("%d days ago", int(d.Hours()/24))
}

// state is the word for a state of a run, a step, a deployment or an order.
func (l lang) state(state string) string { return l.say(state) }

// block is why a deployment waits, in a sentence.
func (l lang) block(b store.Block) template.HTML {
	by := strings.Join(b.By, ", ")
	var who, text template.HTML
	if b.Text != "" {
		text = l.html(" (%s)", bdi(b.Text))
	}
	switch b.Kind {
	case store.BlockApproval:
		if who = l.html("Everyone who may maintain the repository may approve."); by != "" {
			who = l.html("May approve: %s.", by)
		}
		return l.html("Waits for approval: %d of %d so far. %s", b.Have, b.Need, who)
	case store.BlockHold:
		if by == "" {
			return l.html("Held since %s%s. Automatic deployments wait until the hold is ended.", when(b.Since), text)
		}
		return l.html("Held by %s since %s, after a rollback%s. Automatic deployments wait until the hold is ended.", by, when(b.Since), text)
	case store.BlockRunning:
		return l.html("Waits for deployment %d, which is changing this environment.", b.Number)
	case store.BlockOrder:
		return l.html("Waits until the release is live in %s.", b.Environment)
	case store.BlockSoak:
		return l.html("Waits until %s: the release soaks in %s.", when(b.Until), b.Environment)
	case store.BlockBranch:
		return l.html("This environment takes no releases of %s.", bdi(b.Text))
	case store.BlockLock:
		return l.html("Locked by %s until %s%s. It goes on by itself when the lock ends.", by, when(b.Until), text)
	case store.BlockFreeze:
		return l.html("Frozen until %s (%s). It goes on by itself then.", when(b.Until), bdi(b.Text))
	case store.BlockChecks:
		names := bdi(strings.Join(b.Names, ", "))
		switch {
		case b.Text != "":
			return l.html("The commit's checks could not be read: %s", bdi(b.Text))
		case len(b.Names) == 0:
			return l.html("Waits until the commit's checks are read.")
		case b.Have > 0:
			return l.html("Waits for checks of the commit, %d of which failed: %s.", b.Have, names)
		}
		return l.html("Waits for checks of the commit: %s.", names)
	case store.BlockRatify:
		if who = l.html("Everyone who may maintain the repository may agree."); by != "" {
			who = l.html("May agree: %s.", by)
		}
		if b.Until.IsZero() {
			return l.html("Deployment %d went without approval, and must be agreed to first. %s", b.Number, who)
		}
		return l.html("Deployment %d went without approval, and must be agreed to first, by %s. %s", b.Number, when(b.Until), who)
	case store.BlockPart:
		switch {
		case b.Need > 0:
			return l.html("Waits for the approval of its release order: %d of %d so far.", b.Have, b.Need)
		case b.Number > 0:
			return l.html("Waits for part %d of its release order.", b.Number)
		}
		return l.html("Waits until every part of its release order is prepared.")
	}
	if b.Kind == store.BlockPause {
		switch {
		case by != "":
			return l.html("Paused by %s since %s. It rests until somebody resumes it.", by, when(b.Since))
		case b.Until.IsZero():
			return l.html("Its strategy rests here until somebody resumes it.")
		}
		return l.html("%s: it rests until %s, and then goes on by itself.", l.step(b.Text), when(b.Until))
	}
	return escaped(b.Kind + " " + b.Text)
}

// cause is why a deployment exists.
func (l lang) cause(cause, requester string) template.HTML {
	switch cause {
	case store.CauseAutomatic:
		if requester == "" {
			return l.html("automatic")
		}
		return l.html("automatic, after a push by %s", requester)
	case store.CauseRecovery:
		return l.html("automatic, after a failed deployment")
	case store.CauseOrder:
		return l.html("a release order by %s", requester)
	}
	return l.html("%s by %s", l.say(cause), requester)
}

// funcs are what the templates call.
func (l lang) funcs() template.FuncMap {
	return template.FuncMap{
		"t": l.html, "saying": l.saying, "state": l.state, "whyWaits": l.block, "cause": l.cause, "ago": l.ago, "since": l.since, "stepName": l.step, "runCause": l.runCause, "taskName": l.task,
		"lang": func() lang { return l },
	}
}

// A cellView is a cell as a template shows it.
type cellView struct {
	cell
	At time.Time // now
}

// A placeView is an environment on the page of its app.
type placeView struct {
	cell
	At     time.Time // now
	Hidden bool
}
