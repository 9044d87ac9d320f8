package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// The living comment: there is exactly one for the release that a run makes, where there is something to steer. It is edited in
// place, and tells what the commands about that release came to.

const (
	progressEvery = 5 * time.Second  // at most so often is progress said again, in a comment or a check run
	rolling       = 30 * time.Second // a rollout that takes no longer is told there when it has ended
	maxComment    = 60_000           // bytes; GitHub takes 65536 characters
	maxPart       = 45_000           // bytes of what waits
	lastAnswers   = 10
)

// Moments of surfaceComment besides the comment itself.
const (
	momentPull   = "pull"   // what GitHub said the pull request of the commit is, 0 for none
	momentRemade = "remade" // somebody deleted it, and it was made once more
)

// A view is a run with all that its check run and its living comment tell.
type view struct {
	subject
	envs    []subject      // the newest deployment to each environment, in the order of the first ones
	answers []store.Answer // the newest, newest first
	count   int            // of all answers
	issue   int            // where the first command was said, 0 for nowhere
	undo    *subject       // the deployment that can be gone back from, the last of envs; nil for none
}

// view reads what is told of a run's release.
func (b *Bot) view(ctx context.Context, s subject) (v view, err error) {
	v.subject = s
	var all []store.Deployment
	err = b.db.View(ctx, func(tx *store.Tx) (err error) {
		if all, err = tx.DeploymentsOf(s.run.ID); err != nil {
			return err
		}
		if v.answers, err = tx.Answers(s.run.ID, lastAnswers); err != nil {
			return err
		}
		if v.count, err = tx.AnswerCount(s.run.ID); err != nil {
			return err
		}
		v.issue, err = tx.FirstIssue(s.run.ID)
		return err
	})
	if err != nil {
		return v, err
	}
	var newest []store.Deployment
	for _, d := range all {
		if v.issue == 0 && d.Pull > 0 {
			v.issue = d.Pull
		}
		if i := slices.IndexFunc(newest, func(n store.Deployment) bool { return n.Environment == d.Environment }); i >= 0 {
			newest[i] = d
		} else {
			newest = append(newest, d)
		}
	}
	for _, d := range newest {
		one, err := b.load(ctx, "deployment/"+d.ID)
		if err != nil {
			return v, err
		}
		v.envs = append(v.envs, one)
	}
	return v, b.db.View(ctx, func(tx *store.Tx) error {
		for i := range v.envs {
			e := &v.envs[i]
			if !e.current || e.back != nil || e.d.State != store.Succeeded && e.d.State != store.Failed {
				continue
			}
			before, err := tx.Before(*e.d)
			if e.d.State == store.Failed {
				before, err = tx.Live(e.d.Repo, e.d.App, e.d.Environment)
			}
			if err == nil {
				e.undo, v.undo = before.Release, e
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// waitsForVotes tells whether a deployment waits for approvals of its own, or went without them and somebody has to agree; a
// part of a release order waits for the order's, until it has begun.
func (s subject) waitsForVotes() bool {
	return (s.d.OrderID == "" || s.d.State == store.Paused) && (waitsForApproval(*s.d) || unratified(*s.d))
}

// waiting are the deployments that wait for approvals.
func (v view) waiting() (all []subject) {
	for _, e := range v.envs {
		if e.waitsForVotes() {
			all = append(all, e)
		}
	}
	return all
}

// resting are the deployments that rest until a person lets them go on, or gives them up.
func (v view) resting() (all []subject) {
	for _, e := range v.envs {
		if rests(*e.d) && restsForPerson(*e.d) {
			all = append(all, e)
		}
	}
	return all
}

// moving tells whether something changes by itself, so that what is said now is said again soon.
func (v view) moving() bool {
	return !store.Final(v.run.State) || slices.ContainsFunc(v.envs, func(e subject) bool {
		return e.d.State == store.Queued || store.Active(e.d.State) && !restsForPerson(*e.d)
	})
}

// passing is [subject.passing] of any of the deployments: a rollout may last a while before it is told, unless there is an
// answer to be told. Those who decide are not asked before it is known about what, unless that takes long.
func (v view) passing(now time.Time, answered bool) (until time.Time, yes bool) {
	for _, e := range v.envs {
		u, y := e.passing(now)
		switch {
		case e.waitsForVotes() && e.d.Scope.V == nil:
			u = e.d.CreatedAt.Add(instant)
			y = now.Before(u)
		case store.Active(e.d.State) && e.d.State != store.Paused && !answered:
			u = e.d.BeganAt.Add(rolling)
			y = now.Before(u)
		}
		if y {
			until, yes = later(until, u), true
		}
	}
	return until, yes
}

// steered tells whether there is something to steer, so that there should be a comment: a command was said about the
// release, a person is waited for, or something failed after it was merged.
func (v view) steered() bool {
	if v.count > 0 || len(v.waiting())+len(v.resting()) > 0 {
		return true
	}
	if slices.ContainsFunc(v.envs, func(e subject) bool {
		return e.d.State == store.Failed || !slices.Contains([]string{store.CauseAutomatic, store.CauseOrder}, e.d.Cause) // an order has a comment of its own
	}) {
		return true
	}
	return v.run.State == store.RunFailed && v.run.Cause != store.CausePull && v.run.Ref == "refs/heads/"+v.repo.DefaultBranch
}

// wakeComment has the living comment of a run brought up to date.
func wakeComment(tx *store.Tx, run string) error {
	return tx.Wake(taskSay, "run/"+run+"\n"+surfaceComment)
}

// record keeps what a command came to for the living comment of the release that it was about.
func (c *call) record(tx *store.Tx, l line, a answer) error {
	if a.run == "" {
		return nil
	}
	err := tx.PutAnswer(store.Answer{Event: c.event, Run: a.run, Login: c.login, Via: c.via, Issue: c.issue, Command: l.String(), Body: a.text})
	if err != nil {
		return err
	}
	return wakeComment(tx, a.run)
}

// place is the pull request or issue that the living comment stands on: the run's own, else the one of its commit, else where
// the first command about it was said; 0 for none.
func (b *Bot) place(ctx context.Context, v view) (int, error) {
	if v.run.Pull > 0 {
		return v.run.Pull, nil
	}
	var known store.Message
	err := b.db.View(ctx, func(tx *store.Tx) (err error) { known, err = tx.Message(v.key, surfaceComment, momentPull); return err })
	if err != nil {
		return 0, err
	}
	if known.Said == "" {
		pull, ok := v.pullOfScope()
		if !ok {
			if pull, err = b.pullOf(ctx, v.repo, v.run.Head()); err != nil {
				return 0, err
			}
		}
		known.Said, known.Ref = asked, strconv.Itoa(pull)
		if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.PutMessage(known) }); err != nil {
			return 0, err
		}
	}
	if pull, _ := strconv.Atoi(known.Ref); pull > 0 { // it was written by us
		return pull, nil
	}
	return v.issue, nil
}

// pullOfScope is what is known of the pull request of the run's commit already, from what a deployment changes.
func (v view) pullOfScope() (pull int, ok bool) {
	for _, e := range v.envs {
		if e.d.Scope.V == nil {
			continue
		}
		for _, c := range e.d.Scope.V.Commits {
			// Without one that was live before, nobody was asked for pull requests.
			if c.SHA == v.run.Head() && e.d.Scope.V.From > 0 {
				return c.Pull, true
			}
		}
	}
	return 0, false
}

// pullOf finds the pull request of a commit: the one that it was merged by before one that is open; 0 for none.
func (b *Bot) pullOf(ctx context.Context, repo store.Repo, sha string) (int, error) {
	owner, name := split(repo.Name)
	list, _, err := b.hub.client(repo.Installation).PullRequests.ListPullRequestsWithCommit(ctx, owner, name, sha, &github.ListOptions{PerPage: 100})
	if declined(err) {
		return 0, nil // GitHub no longer has the commit
	}
	if err != nil {
		return 0, err
	}
	best, rank := 0, 0
	for _, pr := range list {
		if !strings.EqualFold(pr.GetBase().GetRepo().GetFullName(), repo.Name) {
			continue // of a fork among its own
		}
		r := 0
		switch {
		case pr.MergedAt != nil && pr.GetMergeCommitSHA() == sha:
			r = 3
		case pr.MergedAt != nil:
			r = 2
		case pr.GetState() == "open":
			r = 1
		}
		if r > rank {
			best, rank = pr.GetNumber(), r
		}
	}
	return best, nil
}

// sayComment keeps the living comment of a run's release. again is when to come back: progress is not said at once.
func (b *Bot) sayComment(ctx context.Context, s subject) (again time.Time, err error) {
	v, err := b.view(ctx, s)
	if err != nil {
		return again, err
	}
	var last, remade store.Message
	err = b.db.View(ctx, func(tx *store.Tx) (err error) {
		if last, err = tx.Message(s.key, surfaceComment, ""); err != nil {
			return err
		}
		remade, err = tx.Message(s.key, surfaceComment, momentRemade)
		return err
	})
	if err != nil || last.Said == "" && last.Ref == "" && !v.steered() {
		return again, err
	}
	if until, yes := v.passing(b.db.Now(), v.answeredSince(last.At.Time)); yes {
		return until, nil
	}
	issue, err := b.place(ctx, v)
	if err != nil || issue == 0 {
		return again, err
	}
	body := b.commentWords(v)
	if next := last.At.Add(progressEvery); last.Ref != "" && b.db.Now().Before(next) && v.moving() && !v.answeredSince(last.At.Time) {
		return next, nil
	}
	return again, b.once(ctx, s, surfaceComment, "", body, func(last store.Message) (ref string, err error) {
		mark := markOf(s.key)
		if last.Ref != "" {
			id, _ := strconv.ParseInt(last.Ref, 10, 64) // it was written by us
			err := b.hub.write(s.repo, s.key+" comment", !v.moving() || v.answeredSince(last.At.Time), func(c *github.Client, owner, name string) error {
				_, _, err := c.Issues.EditComment(ctx, owner, name, id, &github.IssueComment{Body: github.String(body + "\n\n" + mark)})
				return err
			})
			if !isNotFound(err) {
				return last.Ref, err
			}
			if remade.Said != "" {
				return last.Ref, nil // it is not wanted
			}
			// Somebody deleted it. That may have been a mistake.
			remade.Said, last.Ref, last.Said = asked, "", ""
			err = b.db.Update(ctx, func(tx *store.Tx) error {
				if err := tx.PutMessage(remade); err != nil {
					return err
				}
				return tx.PutMessage(last)
			})
			if err != nil {
				return "", err
			}
		}
		return b.postComment(ctx, s, issue, body, mark, last)
	})
}

func (v view) answeredSince(at time.Time) bool {
	return len(v.answers) > 0 && !v.answers[0].At.Before(at)
}

// commentWords is the living comment, in markdown. What a person typed stands in code and nowhere else.
func (b *Bot) commentWords(v view) string {
	l, r := b.lang, v.run
	short := code(r.SHA[:min(7, len(r.SHA))])
	title := l.Say(text.RunTitle, code(r.App), short)
	if r.Release > 0 {
		title = l.Say(text.CommentTitle, code(r.App), r.Release, short)
	}
	parts := []string{"### " + text.Markdown(title)}
	if r.Subject != "" {
		parts = append(parts, text.Markdown(code(text.Fit(r.Subject, 200))))
	}
	if r.State != store.RunSucceeded {
		parts = append(parts, text.Markdown(fmt.Sprintf("[%s](%s): %s", l.State(r.State), b.page("runs", r.ID), code(buildWords(v.subject, l)))))
	}
	if len(v.envs) > 0 {
		parts = append(parts, b.environmentTable(v))
	}
	if waits := b.waitsWords(v); waits != "" {
		parts = append(parts, waits)
	}
	for _, e := range v.envs {
		if by, reason, ok := rejectedAt(*e.d); ok && reason == store.ReasonButton {
			parts = append(parts, text.Markdown(l.Say(text.SayWhy, code(by), e.d.Number, code(b.typed(fmt.Sprintf("/reject %d …", e.d.Number))))))
		}
	}
	if failed := failureOf(v); failed != nil && failed.Hint != "" {
		parts = append(parts, text.Markdown(code(failed.Hint)))
	}
	if said := b.answerWords(v); said != "" {
		parts = append(parts, said)
	}
	return clip(strings.Join(parts, "\n\n"), maxComment, l)
}

// environmentTable is where a release is and what became of it there.
func (b *Bot) environmentTable(v view) string {
	l := b.lang
	rows := []string{tableRow(l.Field(text.Environment), l.Say(text.HeadState), l.Say(text.HeadBy), l.Say(text.HeadSince)), "|---|---|---|---|"}
	for _, e := range v.envs {
		d := e.d
		since := d.CreatedAt
		if !d.FinishedAt.IsZero() {
			since = d.FinishedAt
		} else if !d.BeganAt.IsZero() {
			since = d.BeganAt
		}
		rows = append(rows, tableRow("["+code(d.Environment)+"]("+b.page("deployments", d.ID)+")", code(standing(e, l)), code(d.Requester), l.Time(since.UTC())))
	}
	return strings.Join(rows, "\n")
}

// standing is what a deployment says of itself where it stays true when others follow: an old comment need not be edited then.
func standing(s subject, l text.Lang) string {
	if s.d.State == store.Succeeded && s.d.RollbackOf == "" {
		return l.Say(text.WentLive, l.Duration(s.d.FinishedAt.Sub(s.d.BeganAt.Time)))
	}
	return deployWords(s, l)
}

// tableRow is a row of a table in markdown. Also in code a bar would end the cell.
func tableRow(cells ...string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(strings.ReplaceAll(text.Markdown(c), "|", `\|`), "\n", " ")
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// waitWords is what one deployment waits for, and what those who decide have to know, in markdown. It takes about most bytes.
func (b *Bot) waitWords(s subject, most int) string {
	l, d := b.lang, s.d
	why := deployWords(s, l)
	if d.State == store.Blocked || d.State == store.Paused {
		var reasons []string
		for _, block := range d.Blocks.V {
			reasons = append(reasons, blockWords(*d, block, l))
		}
		why = l.Join(reasons)
	}
	parts := []string{"**" + l.Say(text.WaitsFor, d.Number, code(d.Environment), code(why)) + "**"}
	if d.Note != "" {
		parts = append(parts, l.Field(text.Reason)+": "+code(d.Note))
	}
	v := b.approvalText(s)
	for _, line := range v.lines(l) {
		if last := len(parts) - 1; strings.HasPrefix(line, "- ") && strings.HasPrefix(parts[last], "- ") {
			parts[last] += "\n" + line
		} else {
			parts = append(parts, line)
		}
	}
	words := clip(text.Markdown(strings.Join(parts, "\n\n")), most, l)
	if left := most - len(words); v.Changes != "" && left > 500 {
		words += "\n\n" + clip("<details><summary>"+l.Field(text.Changes)+"</summary>\n\n"+fenced(strings.Split(v.Changes, "\n"))+"\n\n</details>", left, l)
	}
	return words
}

// waitsWords is [Bot.waitWords] of all that waits; empty where nothing does.
func (b *Bot) waitsWords(v view) string {
	var all []string
	left := maxPart
	for _, w := range v.waiting() {
		one := b.waitWords(w, max(left, 1000))
		left -= len(one)
		all = append(all, one)
	}
	for _, r := range v.resting() {
		d := r.d
		place := scope{d.App, d.Environment}.name(r.several)
		all = append(all, "**"+text.Markdown(b.lang.Say(text.WaitsFor, d.Number, code(d.Environment), code(deployWords(r, b.lang))))+"**",
			text.Markdown(b.lang.Say(text.AskRest, code(b.typed("/resume "+place)), code(b.typed("/abort "+place)))))
	}
	return clip(strings.Join(all, "\n\n"), maxPart, b.lang)
}

// answerWords are the last commands with what they came to, in markdown.
func (b *Bot) answerWords(v view) string {
	if len(v.answers) == 0 {
		return ""
	}
	lines := []string{b.lang.Say(text.LastCommands), ""}
	for _, a := range v.answers {
		key := text.CommandBy
		if a.Via == viaButton {
			key = text.ButtonBy
		}
		said := text.Markdown(b.lang.Say(key, code(text.Fit(a.Command, 200)), code(a.Login), a.Body))
		lines = append(lines, "- "+strings.ReplaceAll(said, "\n", "\n  ")) // its further lines belong to the same item
	}
	if more := v.count - len(v.answers); more > 0 {
		lines = append(lines, "- "+b.lang.Say(text.MoreCommands, more))
	}
	return strings.Join(lines, "\n")
}

// clip makes markdown of at most most bytes by leaving out whole lines at its end, and tells how many. What was opened is closed.
func clip(md string, most int, l text.Lang) string {
	if len(md) <= most {
		return md
	}
	lines := strings.Split(md, "\n")
	const room = 200 // for what is closed, and the line that tells
	size, n := 0, 0
	for n < len(lines) && size+len(lines[n])+1 <= most-room {
		size += len(lines[n]) + 1
		n++
	}
	fence, details := "", 0
	for _, line := range lines[:n] {
		trimmed := strings.TrimSpace(line)
		ticks := len(trimmed) - len(strings.TrimLeft(trimmed, "`"))
		switch {
		case fence == "" && ticks >= 3 && !strings.Contains(trimmed[ticks:], "`"):
			fence = trimmed[:ticks]
		case fence != "" && ticks >= len(fence) && trimmed == trimmed[:ticks]:
			fence = ""
		case fence == "":
			details += strings.Count(trimmed, "<details>") - strings.Count(trimmed, "</details>")
		}
	}
	kept := slices.Clone(lines[:n])
	if fence != "" {
		kept = append(kept, fence)
	}
	for range max(0, min(details, 5)) {
		kept = append(kept, "", "</details>")
	}
	return strings.Join(append(kept, "", l.Say(text.MoreLines, len(lines)-n)), "\n")
}

// fenced shows lines as code, in which nothing is markup, a mention or a link.
func fenced(lines []string) string {
	body := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(strings.Join(lines, "\n"), "\ufffd"))
	fence := "```"
	for strings.Contains(body, fence) {
		fence += "`"
	}
	return fence + "\n" + body + "\n" + fence
}

// failureOf is why a run, or else the newest deployment of its release that failed, failed; nil where nothing did.
func failureOf(v view) *store.Failure {
	if v.run.Failure.V != nil {
		return v.run.Failure.V
	}
	for _, e := range slices.Backward(v.envs) {
		if e.d.State == store.Failed {
			return e.d.Failure.V
		}
	}
	return nil
}
