package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	newestEvents = 10  // how many events /why lists
	searchEvents = 100 // how many are looked at for those
	maxWhyLines  = 200 // of one answer, whose length GitHub limits to 65536 characters
	maxWhyLine   = 300 // characters
)

// why shows how an event was decided, or what led to a run or a deployment and what became of it. It is technical text for
// whoever wants to know, in English, and holds no line of a log.
func (c *call) why(ctx context.Context, args []string) (outcome, error) {
	branch, err := c.pullBranch(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	var no outcome
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		w := why{tx: tx, details: c.private()}
		if len(args) == 0 {
			lines, err = w.newest(c.repo.Name, c.event, c.pull, branch)
			if err == nil && len(lines) == 0 {
				no = c.no(text.NoDeliveries)
			}
			return err
		}
		apps, err := tx.Apps(c.repo.Name)
		if err != nil {
			return err
		}
		n, ok := named(args, apps)
		if !ok {
			if len(args) == 1 {
				e, err := store.Optional(tx.Event(args[0]))
				if err != nil {
					return err
				}
				if e != nil && e.Repo != nil && strings.EqualFold(*e.Repo, c.repo.Name) { // another repository's are none of theirs
					lines, err = w.event(*e)
					return err
				}
			}
			no = c.no(text.NoSuchDelivery, code(strings.Join(args, " ")), c.form())
			return nil
		}
		found, err := n.pieces(tx, c.repo.Name, apps)
		if err != nil {
			return err
		}
		switch {
		case len(found) > 1:
			no = c.no(text.WhichPiece, labels(found, c.lang(), len(apps) > 1), c.form())
		case len(found) == 0 && n.number == 0:
			no = c.no(text.NothingRuns)
		case len(found) == 0:
			no = c.no(text.NoSuchPiece, n.number, c.form())
		default:
			lines, err = w.piece(found[0])
		}
		return err
	})
	if no != nil || err != nil {
		return no, err
	}
	for i := range lines {
		lines[i] = c.bot.engine.Mask(lines[i])
	}
	return func(*store.Tx) (answer, error) { return reply(codeBlock(lines), nil) }, nil
}

// shownBytes is the most that the lines of one answer may have: five of them have to go into one comment, see maxBody.
const shownBytes = 11000

// codeBlock makes a block of the first lines, as many as may be shown, and says how many there are besides.
func codeBlock(lines []string) string {
	var shown []string
	size := 0
	for _, l := range lines {
		if line := []rune(l); len(line) > maxWhyLine {
			l = string(line[:maxWhyLine-1]) + "…"
		}
		if size += len(l) + 1; size > shownBytes || len(shown) == maxWhyLines {
			break
		}
		shown = append(shown, l)
	}
	if n := len(lines) - len(shown); n > 0 {
		shown = append(shown, fmt.Sprintf("… and %d more lines", n))
	}
	return text.Block(shown)
}

// why reads one snapshot of the database.
type why struct {
	tx      *store.Tx
	details bool // what comes from logs and clusters may be shown
}

// newest lists events of a repository, or of a pull request and its branch, one a line, but for what robots say: our own
// answers among it.
func (w why) newest(repo, but string, pull int, branch string) (lines []string, err error) {
	events, err := w.tx.NewestEvents(repo, searchEvents)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		a := aboutOf(e)
		if e.ID == but || a.robot || pull != 0 && a.pull != pull && (branch == "" || a.ref != branch) || len(lines) == newestEvents {
			continue
		}
		came, err := w.outcome(e)
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", e.ReceivedAt.Format(time.RFC3339), e.ID, a, came))
	}
	return lines, nil
}

// outcome is what came of an event, in a few words.
func (w why) outcome(e store.Event) (string, error) {
	runs, deployments, err := w.tx.MadeBy(e.ID)
	if err != nil {
		return "", err
	}
	var made []string
	for _, r := range runs {
		made = append(made, fmt.Sprintf("run %d of %s (%s)", r.Number, r.App, r.State))
	}
	for _, d := range deployments {
		made = append(made, fmt.Sprintf("deployment %d to %s (%s)", d.Number, d.Environment, d.State))
	}
	if len(made) > 0 {
		return strings.Join(made, "; "), nil
	}
	if e.DecidedAt.IsZero() {
		trouble, err := w.trouble(store.TaskEvent, e.ID)
		return strings.Join(append([]string{"not decided"}, trouble...), "; "), err
	}
	if n := len(e.Trace.V); n > 0 {
		return e.Trace.V[n-1], nil
	}
	return "nothing", nil
}

// event tells how an event was decided, and what came of it.
func (w why) event(e store.Event) ([]string, error) {
	lines := []string{fmt.Sprintf("delivery %s: %s", e.ID, aboutOf(e))}
	switch {
	case e.Via == store.ViaLog:
		lines = append(lines, "  it was missed, and found in GitHub's delivery log")
	case e.Via == store.ViaReplay:
		lines = append(lines, "  an operator asked for it")
	}
	for _, t := range e.Trace.V {
		lines = append(lines, "  "+t)
	}
	if e.DecidedAt.IsZero() {
		lines = append(lines, "  it is not decided yet")
	}
	runs, deployments, err := w.tx.MadeBy(e.ID)
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		lines = append(lines, "came of it: "+runLine(r))
	}
	for _, d := range deployments {
		lines = append(lines, "came of it: "+deploymentLine(d))
	}
	trouble, err := w.trouble(store.TaskEvent, e.ID)
	return append(lines, trouble...), err
}

func runLine(r store.Run) string {
	return strings.TrimSpace(fmt.Sprintf("run %d of %s at %.7s of %s: %s %s", r.Number, r.App, r.Head(), strings.TrimPrefix(r.Ref, "refs/heads/"), r.State, r.Reason))
}

func deploymentLine(d store.Deployment) string {
	line := fmt.Sprintf("deployment %d (%s by %s), release %d of %s to %s: %s %s", d.Number, d.Cause, d.Requester, d.Release, d.App, d.Environment, d.State, d.Reason)
	return strings.TrimSpace(line)
}

// piece tells what led to a run or a deployment, its steps, and what blocks it.
func (w why) piece(p piece) (lines []string, err error) {
	from := ""
	if p.run != nil {
		from = p.run.Event
	} else {
		from = p.d.Event
	}
	e, err := store.Optional(w.tx.Event(from))
	if err != nil {
		return nil, err
	}
	if e != nil {
		lines = []string{fmt.Sprintf("delivery %s: %s", e.ID, aboutOf(*e))}
		for _, t := range e.Trace.V {
			lines = append(lines, "  "+t)
		}
	}
	var own []string
	if p.run != nil {
		own, err = w.run(*p.run)
	} else {
		own, err = w.deployment(*p.d)
	}
	return append(lines, own...), err
}

func (w why) run(r store.Run) ([]string, error) {
	lines := []string{runLine(r)}
	steps, err := w.steps(r.ID)
	if err != nil {
		return nil, err
	}
	lines = append(append(lines, steps...), failureLines(r.Failure.V)...)
	if r.Release > 0 {
		lines = append(lines, fmt.Sprintf("it made release %d, %s", r.Release, r.Digest))
	}
	deployments, err := w.tx.DeploymentsOf(r.ID)
	if err != nil {
		return nil, err
	}
	for _, d := range deployments {
		lines = append(lines, deploymentLine(d))
		lines = append(lines, blockLines(d)...)
	}
	if len(deployments) == 0 && !store.Final(r.State) {
		for _, q := range r.Deploys.V {
			lines = append(lines, fmt.Sprintf("when it succeeds, its release goes to %s (%s by %s)", q.Environment, q.Cause, q.Requester))
		}
	}
	trouble, err := w.trouble(r.Task(), r.ID)
	return append(lines, trouble...), err
}

func (w why) deployment(d store.Deployment) ([]string, error) {
	r, err := w.tx.Run(d.Run)
	if err != nil {
		return nil, err
	}
	lines := []string{runLine(r), deploymentLine(d)}
	lines = append(lines, blockLines(d)...)
	if d.CancelBy != "" {
		lines = append(lines, "  "+d.CancelBy+" asked it to stop")
	}
	votes, err := w.tx.Approvals(d.ID)
	if err != nil {
		return nil, err
	}
	for _, v := range votes {
		lines = append(lines, fmt.Sprintf("  vote of %s: %s, bound to %.12s", v.Login, v.Vote, v.Bound))
	}
	steps, err := w.steps(d.ID)
	if err != nil {
		return nil, err
	}
	rolls, err := w.rolls(d)
	if err != nil {
		return nil, err
	}
	lines = append(append(append(lines, rolls...), steps...), failureLines(d.Failure.V)...)
	back, err := store.Optional(w.tx.RollbackOf(d.ID))
	if err != nil {
		return nil, err
	}
	if back != nil {
		lines = append(lines, "it was gone back from by "+deploymentLine(*back))
	}
	trouble, err := w.trouble(store.TaskPrepare, d.ID)
	return append(lines, trouble...), err
}

func (w why) steps(owner string) (lines []string, err error) {
	steps, err := w.tx.Steps(owner)
	for _, s := range steps {
		line := fmt.Sprintf("  step %s: %s", s.Kind, s.State)
		if !s.FinishedAt.IsZero() {
			line += fmt.Sprintf(" in %.1fs", s.FinishedAt.Sub(s.StartedAt.Time).Seconds())
		}
		if s.Result.V != nil && s.Result.V.From > 0 {
			line += fmt.Sprintf(", taken over from run %d", s.Result.V.From)
		}
		if s.Detail != "" && w.details {
			line += ", " + s.Detail
		}
		lines = append(lines, line)
	}
	return lines, err
}

// rolls tells by which strategy a deployment is made, where that is not the plain one, and how far it is.
func (w why) rolls(d store.Deployment) ([]string, error) {
	steps, err := w.tx.Steps(d.ID)
	r := pipeline.RolloutOf(d, steps)
	if err != nil || r.Strategy == "rolling" {
		return nil, err
	}
	line := "  strategy " + r.Strategy
	if r.Step != "" {
		line += ", at step " + r.Step
	}
	if r.Share != "" {
		line += ": " + r.Share + " of the traffic goes to it"
	}
	return []string{line}, nil
}

func blockLines(d store.Deployment) (lines []string) {
	for _, b := range d.Blocks.V {
		line := "  it waits: " + blockWords(d, b, text.En)
		if b.Kind == store.BlockApproval {
			line += " by " + cmp.Or(strings.Join(b.By, ", "), "those who may maintain the repository")
		}
		lines = append(lines, line)
	}
	return lines
}

func failureLines(f *store.Failure) (lines []string) {
	if f == nil {
		return nil
	}
	lines = append(lines, fmt.Sprintf("  it failed at step %s: %s", f.Step, failureLine(f)))
	if f.Hint != "" {
		lines = append(lines, "  hint: "+f.Hint)
	}
	return lines
}

// trouble lists the tasks of something that failed and are tried again, or were given up.
func (w why) trouble(kind, id string) (lines []string, err error) {
	tasks, err := w.tx.Troubled(kind, id)
	for _, t := range tasks {
		what, err := taskWords(w.tx, t.Task)
		if err != nil {
			return nil, err
		}
		if t.BuriedAt.IsZero() {
			lines = append(lines, fmt.Sprintf("task %s (%s) is tried again at %s, after %d attempts: %s", t.Kind, what, t.DueAt.Format(time.RFC3339), t.Attempts, t.Reason))
		} else {
			lines = append(lines, fmt.Sprintf("task %s (%s) was given up at %s: %s", t.Kind, what, t.BuriedAt.Format(time.RFC3339), t.Reason))
		}
	}
	return lines, err
}

// taskWords says what a task is about.
func taskWords(tx *store.Tx, t store.Task) (string, error) {
	key, surface, _ := strings.Cut(t.Key, "\n")
	kind, id, _ := strings.Cut(key, "/")
	switch t.Kind {
	case store.TaskEvent, store.TaskReply:
		kind, id = "event", key
	case store.TaskRun, store.TaskForkRun, store.TaskImageRun:
		kind, id = "run", key
	case store.TaskPrepare:
		kind, id = "deployment", key
	case store.TaskEnv:
		if part := strings.Split(t.Key, "\n"); len(part) == 3 {
			return fmt.Sprintf("%s of %s in %s", part[2], part[1], part[0]), nil
		}
	}
	words, err := subjectWords(tx, kind, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && words == "" {
		words, err = strings.ReplaceAll(key, "\n", " "), nil
	}
	if surface != "" && t.Kind == taskSay {
		words += " on " + surface
	}
	return words, err
}

func subjectWords(tx *store.Tx, kind, id string) (string, error) {
	switch kind {
	case "event":
		e, err := tx.Event(id)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s of %s, delivery %s", e.Kind, repoOr(e.Repo), e.ID), nil
	case "run":
		r, err := tx.Run(id)
		return fmt.Sprintf("run %d of %s in %s", r.Number, r.App, r.Repo), err
	case "deployment":
		d, err := tx.Deployment(id)
		return fmt.Sprintf("deployment %d to %s in %s", d.Number, d.Environment, d.Repo), err
	}
	return "", nil
}

// An about is what an event is about, as far as its body tells.
type about struct {
	words string
	pull  int
	ref   string
	robot bool // it is a comment of no person
}

func (a about) String() string { return a.words }

var commitID = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func aboutOf(e store.Event) about {
	var p struct {
		Action string `json:"action"`
		Ref    any    `json:"ref"` // a string in most events
		After  string `json:"after"`
		Issue  struct {
			Number int `json:"number"`
		} `json:"issue"`
		Pull struct {
			Number int `json:"number"`
		} `json:"pull_request"`
		Sender struct {
			Login string `json:"login"`
			Type  string `json:"type"`
		} `json:"sender"`
		Replay  replayOrder  `json:"shipmate_replay"`
		Due     dueOrder     `json:"shipmate_schedule"`
		Trigger triggerOrder `json:"shipmate_trigger"`
		Image   imagePush    `json:"registry"`
		Command commandOrder `json:"shipmate_command"`
	}
	_ = json.Unmarshal(e.Body, &p) // what cannot be read says nothing
	ref, _ := p.Ref.(string)
	a := about{words: e.Kind, pull: cmp.Or(p.Issue.Number, p.Pull.Number), ref: ref, robot: e.Kind == "issue_comment" && p.Sender.Type == "Bot"}
	if p.Action != "" {
		a.words += " " + p.Action
	}
	if a.pull != 0 {
		a.words += fmt.Sprintf(" on #%d", a.pull)
	}
	if ref != "" {
		a.words += " " + ref
	}
	if commitID.MatchString(p.After) {
		a.words += " " + p.After[:7]
	}
	if p.Sender.Login != "" {
		a.words += " by " + p.Sender.Login
	}
	if p.Due.App != "" {
		a.words += " of " + p.Due.App
	}
	if p.Trigger.App != "" {
		a.words += fmt.Sprintf(" of %s at %s by %s", p.Trigger.App, p.Trigger.Ref, p.Trigger.Login)
	}
	if p.Command.Text != "" {
		a.words += fmt.Sprintf(" %q by %s", text.Fit(p.Command.Text, 100), p.Command.Login)
	}
	if p.Image.Tag != "" {
		a.words += fmt.Sprintf(" push of %s by %s", p.Image, p.Image.sender())
	}
	if p.Replay.Delivery != "" {
		a.words += " of " + p.Replay.Delivery
	}
	return a
}
