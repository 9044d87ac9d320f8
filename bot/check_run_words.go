package bot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// A checkRun is what a check run says, as GitHub's "Create a check run" and "Update a check run" take it. (go-github v60
// leaves an empty list of actions out, so that a button could not be taken away.)
type checkRun struct {
	Name        string        `json:"name"`
	HeadSHA     string        `json:"head_sha,omitempty"` // only where it is created
	DetailsURL  string        `json:"details_url"`
	ExternalID  string        `json:"external_id"`
	Status      string        `json:"status"`
	Conclusion  string        `json:"conclusion,omitempty"`
	StartedAt   string        `json:"started_at,omitempty"`
	CompletedAt string        `json:"completed_at,omitempty"`
	Output      checkOutput   `json:"output"`
	Actions     []checkAction `json:"actions"`
}

type checkOutput struct {
	Title       string            `json:"title"`
	Summary     string            `json:"summary"`
	Text        string            `json:"text"`
	Annotations []checkAnnotation `json:"annotations,omitempty"`
}

// A checkAction is a button: GitHub takes three, with a label and an identifier of at most 20 characters and a description
// of at most 40, and shows them on a completed check run only.
type checkAction struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"`
}

type checkAnnotation struct {
	Path        string `json:"path"`
	StartLine   int    `json:"start_line"`
	EndLine     int    `json:"end_line"`
	StartColumn int    `json:"start_column,omitempty"`
	EndColumn   int    `json:"end_column,omitempty"`
	Level       string `json:"annotation_level"`
	Message     string `json:"message"`
}

// What GitHub takes, in characters; we count bytes.
const (
	maxLabel       = 20
	maxDescription = 40
	maxTitle       = 255
	maxOutput      = 60_000
	maxBatch       = 50 // annotations of one request
)

// Conclusions of a check run.
const (
	completed      = "completed"
	actionRequired = "action_required"
)

// checkRunOf is what the check run of a run says. required tells whether merging waits for it: then that a person is waited for
// does not hold merging up.
func (b *Bot) checkRunOf(v view, required func() (bool, error)) (c checkRun, err error) {
	l, r := b.lang, v.run
	c = checkRun{Name: strings.TrimSuffix(v.statusPrefix(), "/"), DetailsURL: b.page("runs", r.ID), ExternalID: r.ID, Actions: []checkAction{}}
	if !r.StartedAt.IsZero() {
		c.StartedAt = r.StartedAt.UTC().Format(time.RFC3339)
	}
	c.Status, c.Conclusion = v.conclusion()
	if c.Conclusion == actionRequired && r.State == store.RunSucceeded {
		yes, err := required()
		if err != nil {
			return c, err
		}
		if yes {
			c.Conclusion = "success"
		}
	}
	if c.Status == completed {
		c.CompletedAt = v.endedAt().UTC().Format(time.RFC3339)
		c.Actions = b.buttons(v)
	}
	c.Output = checkOutput{Title: text.Fit(b.checkTitle(v), maxTitle), Summary: clip(b.checkSummary(v), maxOutput, l), Text: clip(b.checkText(v), maxOutput, l)}
	return c, nil
}

// said is what tells one state of a check run from another. That a newer release took the way back away is not told: the button
// is refused then.
func (c checkRun) said() checkRun {
	c.Actions = slices.DeleteFunc(slices.Clone(c.Actions), func(a checkAction) bool { return strings.HasPrefix(a.Identifier, buttonBack) })
	return c
}

// followed are the newest deployments to the environments that the release goes to by itself.
func (v view) followed() (all []subject) {
	for _, e := range v.envs {
		if slices.ContainsFunc(v.deploys, func(d store.Deployment) bool { return d.Environment == e.d.Environment }) {
			all = append(all, e)
		}
	}
	return all
}

// conclusion maps the run and the environments that its release goes to by itself to GitHub's words. A failure comes before
// a person who is waited for, and that before what moves: it would look as if there were nothing to do.
func (v view) conclusion() (status, conclusion string) {
	switch v.run.State {
	case store.RunQueued:
		return "queued", ""
	case store.RunRunning:
		return "in_progress", ""
	case store.RunFailed:
		return completed, "failure"
	case store.RunCancelled:
		if v.run.Reason == store.ReasonUntested {
			return completed, actionRequired
		}
		return completed, "cancelled"
	case store.RunSuperseded:
		return completed, "cancelled" // neutral would let it be merged
	}
	ranks := []string{"failure", actionRequired, "", "timed_out", "cancelled", "success"}
	conclusion = "success"
	worse := func(c string) {
		if slices.Index(ranks, c) < slices.Index(ranks, conclusion) {
			conclusion = c
		}
	}
	for _, e := range v.followed() {
		switch e.d.State {
		case store.Succeeded, store.Superseded: // by a newer release: this one did what it could
		case store.Failed, store.Rejected:
			worse("failure")
		case store.Cancelled:
			worse("cancelled")
		case store.Expired:
			worse("timed_out")
		default:
			if e.waitsForPerson() {
				worse(actionRequired)
			} else {
				worse("")
			}
		}
	}
	if len(v.waiting())+len(v.resting()) > 0 { // also what somebody asked for
		worse(actionRequired)
	}
	if conclusion == "" {
		return "in_progress", ""
	}
	return completed, conclusion
}

// waitsForPerson tells whether only what a person does lets a deployment go on.
func (s subject) waitsForPerson() bool {
	return restsForPerson(*s.d) || s.d.State == store.Blocked && slices.ContainsFunc(s.d.Blocks.V, func(b store.Block) bool {
		return b.Kind == store.BlockApproval || b.Kind == store.BlockHold || b.Kind == store.BlockRatify || b.Kind == store.BlockPart && b.Number == 0
	})
}

// endedAt is when the newest thing ended that a completed check run stands for.
func (v view) endedAt() time.Time {
	at := v.run.FinishedAt.Time
	for _, e := range v.followed() {
		at = later(at, e.d.FinishedAt.Time)
	}
	return at
}

// buttons are those of a completed check run. Each carries the number of the deployment that it is about, so that it never means
// another than whoever presses it saw.
func (b *Bot) buttons(v view) []checkAction {
	l := b.lang
	all := []checkAction{}
	add := func(label, about, what string, number int) {
		all = append(all, checkAction{text.Fit(label, maxLabel), text.Fit(about, maxDescription), what + ":" + strconv.Itoa(number)})
	}
	if waiting := v.waiting(); len(waiting) > 0 {
		d := waiting[0].d
		about := l.Say(text.ButtonTo, d.Release, d.Environment)
		add(l.Say(text.Approve), about, "approve", d.Number)
		if n := rounds(d); n > 0 {
			all[0].Identifier += ":" + strconv.Itoa(n)
		}
		add(l.Say(text.Reject), about, "reject", d.Number)
	}
	if resting := v.resting(); len(resting) > 0 && len(all) == 0 {
		d := resting[0].d
		about := l.Say(text.ButtonTo, d.Release, d.Environment)
		add(l.Say(text.Resume), about, "resume", d.Number)
		add(l.Say(text.Abort), about, "abort", d.Number)
	}
	if v.undo != nil {
		d := v.undo.d
		add(l.Say(text.RollBack), l.Say(text.ButtonBack, d.Release, d.Environment), buttonBack, d.Number)
	}
	return all
}

// buttonBack is what begins the identifier of the button "Roll back".
const buttonBack = "rollback"

// pressed reads the identifier of a button. round is the one in which its deployment was asked about, of an approval.
func pressed(identifier string) (what string, number, round int, ok bool) {
	what, digits, _ := strings.Cut(identifier, ":")
	digits, again, changed := strings.Cut(digits, ":")
	number, err := strconv.Atoi(digits)
	if changed && err == nil {
		round, err = strconv.Atoi(again)
	}
	return what, number, round, err == nil && number > 0 && slices.Contains([]string{"approve", "reject", "resume", "abort", buttonBack}, what)
}

// checkTitle is one line: what one has to know of the run now.
func (b *Bot) checkTitle(v view) string {
	line := func(e subject) string { return e.d.Environment + ": " + deployWords(e, b.lang) }
	if v.run.State != store.RunSucceeded {
		return buildWords(v.subject, b.lang)
	}
	if waiting := append(v.waiting(), v.resting()...); len(waiting) > 0 {
		return line(waiting[0])
	}
	followed := v.followed()
	for _, wanted := range []func(subject) bool{
		func(e subject) bool { return e.d.State == store.Failed || e.d.State == store.Rejected },
		func(e subject) bool { return !store.Final(e.d.State) },
		func(e subject) bool { return e.d.State != store.Succeeded },
	} {
		if i := slices.IndexFunc(followed, wanted); i >= 0 {
			return line(followed[i])
		}
	}
	if len(followed) > 0 {
		return line(followed[len(followed)-1])
	}
	return buildWords(v.subject, b.lang)
}

// checkSummary is the steps with how long they took, what they made, and where that went, in markdown.
func (b *Bot) checkSummary(v view) string {
	l := b.lang
	rows := []string{tableRow(l.Field(text.Step), l.Say(text.HeadState), l.Field(text.Duration), l.Field(text.Note)), "|---|---|---|---|"}
	for _, step := range v.steps {
		took, note := "", step.Detail
		if finished(step.State) && !step.StartedAt.IsZero() {
			took = l.Duration(step.FinishedAt.Sub(step.StartedAt.Time))
		}
		if r := step.Result.V; r != nil && r.Tests != nil {
			note = testsWords(r.Tests, l)
		}
		if note != "" {
			note = code(text.Fit(note, 300))
		}
		rows = append(rows, tableRow(code(l.Step(step.Kind)), l.State(step.State), took, note))
	}
	parts := []string{strings.Join(rows, "\n")}
	var facts []string
	if v.run.Release > 0 {
		facts = append(facts, fmt.Sprintf("- %s: %s", l.Field(text.Release), releaseWords(v.run, l)))
	}
	if v.run.Digest != "" {
		facts = append(facts, fmt.Sprintf("- %s: %s", l.Field(text.Image), code(v.image+"@"+v.run.Digest)))
	}
	if len(v.run.TagsKept.V) > 0 {
		facts = append(facts, fmt.Sprintf("- %s: %s", l.Field(text.Note), code(tagsKeptWords(v.run, l))))
	}
	if len(facts) > 0 {
		parts = append(parts, text.Markdown(strings.Join(facts, "\n")))
	}
	if len(v.envs) > 0 {
		rows := []string{tableRow(l.Field(text.Environment), l.Say(text.HeadState)), "|---|---|"}
		for _, e := range v.envs {
			rows = append(rows, tableRow("["+code(e.d.Environment)+"]("+b.page("deployments", e.d.ID)+")", code(standing(e, l))))
		}
		parts = append(parts, strings.Join(rows, "\n"))
	}
	if len(v.answers) > 0 && v.answers[0].Refused { // of a button, where there is no pull request to answer on
		a := v.answers[0]
		parts = append(parts, text.Markdown(l.Say(text.ButtonBy, code(a.Command), code(a.Login), a.Body)))
	}
	return strings.Join(parts, "\n\n")
}

// checkText is what those who decide have to know, and why it failed, with the tail of the log where the repository is private, in
// markdown; empty where nothing waits or failed.
func (b *Bot) checkText(v view) string {
	f, waits := failureOf(v), b.waitsWords(v)
	if f == nil {
		return waits
	}
	l := b.lang
	why := failureLine(f)
	if f.Where != "" && strings.HasPrefix(f.Reason, f.Where) {
		why = f.Reason // it says where already
	}
	parts := []string{text.Markdown(code(why))}
	if f.Hint != "" {
		parts = append(parts, text.Markdown(code(f.Hint)))
	}
	lines := slices.Clone(f.Logs)
	if f.Event != "" {
		lines = append(lines, f.Event)
	}
	if v.run.Failure.V != nil {
		lines = append(failedTests(v.subject), lines...)
	}
	switch {
	case len(lines) == 0:
	case v.repo.Private:
		parts = append(parts, l.Say(text.LastLines), fenced(tail(lines, maxOutput-maxPart-2000)))
	default: // of a public repository no log line is posted
		parts = append(parts, l.Say(text.LogOnPage, b.page("runs", v.run.ID)))
	}
	if waits != "" {
		parts = append([]string{waits}, parts...)
	}
	return strings.Join(parts, "\n\n")
}

// tail is the last of some lines, at most so many bytes of them.
func tail(lines []string, most int) []string {
	size := 0
	for i := range slices.Backward(lines) {
		if size += len(lines[i]) + 1; size > most {
			return lines[i+1:]
		}
	}
	return lines
}

// checkAnnotations are a run's annotations as GitHub takes them. What has no place is left out.
func checkAnnotations(found []store.Annotations) []checkAnnotation {
	const most = 64 << 10 // bytes of a message
	var all []checkAnnotation
	for _, step := range found {
		for _, a := range step.Found.V {
			if a.Path == "" || a.Line < 1 || a.Message == "" {
				continue
			}
			message := strings.ToValidUTF8(a.Message, "\ufffd")
			if len(message) > most {
				message = strings.ToValidUTF8(message[:most], "")
			}
			all = append(all, checkAnnotation{Path: a.Path, StartLine: a.Line, EndLine: a.Line, StartColumn: a.Column, EndColumn: a.Column, Level: a.Level, Message: message})
		}
	}
	return all
}
