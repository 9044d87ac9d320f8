package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// viaButton is how a command came that somebody gave by a button of a check run.
const viaButton = "button"

// momentAnnotations counts in the messages of surfaceRun how many annotations were sent: GitHub adds those of each request to
// those that are there.
const momentAnnotations = "annotations"

// sayRun keeps the check run of a run. again is when to come back: progress is not said at once.
func (b *Bot) sayRun(ctx context.Context, s subject) (again time.Time, err error) {
	var last store.Message
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { last, err = tx.Message(s.key, surfaceRun, ""); return err }); err != nil {
		return again, err
	}
	overtaken := s.run.State == store.RunSuperseded && s.run.CreatedAt == s.run.FinishedAt
	if last.Ref == "" && last.Said == "" && (!s.newest || overtaken) {
		return again, nil // another run speaks for its commit, or its status has said it all
	}
	v, err := b.view(ctx, s)
	if err != nil {
		return again, err
	}
	if until, yes := v.passing(b.db.Now(), false); yes && last.Ref != "" {
		return until, nil
	}
	want, err := b.checkRunOf(v, func() (bool, error) { return b.neededToMerge(ctx, v) })
	if err != nil {
		return again, err
	}
	urgent := want.Status == completed
	if next := last.At.Add(progressEvery); last.Ref != "" && !urgent && b.db.Now().Before(next) {
		return next, nil
	}
	var id string
	err = b.once(ctx, s, surfaceRun, "", want.said(), func(last store.Message) (string, error) {
		if last.Ref == "" && (last.Said == asked || last.Said == answered) { // an earlier attempt may have reached GitHub
			if last.Ref, err = b.findCheckRun(ctx, s, want.Name); err != nil {
				return "", err
			}
			if last.Ref == "" {
				if err := b.pending(s.repo, last); err != nil {
					return "", err
				}
			}
		}
		if last.Ref != "" { // one that was found may say what was so then
			return last.Ref, b.hub.write(s.repo, s.key+" check run", urgent, func(c *github.Client, owner, name string) error {
				_, err := putCheckRun(ctx, c, http.MethodPatch, s.repo.Name+"/check-runs/"+last.Ref, want)
				return err
			})
		}
		err := b.hub.write(s.repo, s.key+" check run", urgent, func(c *github.Client, owner, name string) error {
			return b.create(ctx, last, func() (err error) {
				body := want
				body.HeadSHA = s.run.Head()
				id, err = putCheckRun(ctx, c, http.MethodPost, s.repo.Name+"/check-runs", body)
				return err
			})
		})
		return id, err
	})
	if err != nil || !store.Final(s.run.State) || !s.repo.Private { // an annotation is a line of the log
		return again, err
	}
	return again, b.annotate(ctx, s, want)
}

// putCheckRun creates or changes a check run and returns its id.
func putCheckRun(ctx context.Context, c *github.Client, method, path string, body any) (id string, err error) {
	req, err := c.NewRequest(method, "repos/"+path, body)
	if err != nil {
		return "", err
	}
	var made github.CheckRun
	_, err = c.Do(ctx, req, &made)
	return fmt.Sprint(made.GetID()), err
}

// findCheckRun looks for the check run with our id; "" when there is none.
func (b *Bot) findCheckRun(ctx context.Context, s subject, name string) (id string, err error) {
	all, err := b.checkRuns(ctx, s.repo, s.run.Head())
	for _, run := range all {
		if run.GetExternalID() == s.run.ID && run.GetName() == name {
			return fmt.Sprint(run.GetID()), nil
		}
	}
	return "", err
}

// checkRuns lists our check runs of a commit, also those that newer ones of the same name stand before.
func (b *Bot) checkRuns(ctx context.Context, repo store.Repo, sha string) (all []*github.CheckRun, err error) {
	owner, name := split(repo.Name)
	opt := &github.ListCheckRunsOptions{Filter: github.String("all"), AppID: github.Int64(b.cfg.GitHub.AppID), ListOptions: github.ListOptions{PerPage: 100}}
	for {
		list, resp, err := b.hub.client(repo.Installation).Checks.ListCheckRunsForRef(ctx, owner, name, sha, opt)
		if err != nil {
			return nil, err
		}
		all = append(all, list.CheckRuns...)
		if resp.NextPage == 0 {
			return all, nil
		}
		opt.Page = resp.NextPage
	}
}

// annotate sends what a run found in the source, once. Where an attempt may have arrived, GitHub is asked how many there are.
func (b *Bot) annotate(ctx context.Context, s subject, want checkRun) error {
	var said, sent store.Message
	var found []checkAnnotation
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		if said, err = tx.Message(s.key, surfaceRun, ""); err != nil {
			return err
		}
		if sent, err = tx.Message(s.key, surfaceRun, momentAnnotations); err != nil {
			return err
		}
		all, err := tx.Annotations(s.run.ID)
		found = checkAnnotations(all)
		return err
	})
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(sent.Ref) // it was written by us; empty: 0
	if n < len(found) && (sent.Said == asked || sent.Said == answered) {
		if err := b.pending(s.repo, sent); err != nil {
			return err
		}
		owner, name := split(s.repo.Name)
		id, _ := strconv.ParseInt(said.Ref, 10, 64) // likewise
		run, _, err := b.hub.client(s.repo.Installation).Checks.GetCheckRun(ctx, owner, name, id)
		if err != nil {
			return err
		}
		n = run.GetOutput().GetAnnotationsCount()
	}
	for n < len(found) {
		batch := found[n:min(n+maxBatch, len(found))]
		err := b.hub.write(s.repo, s.key+" annotations", true, func(c *github.Client, owner, name string) error {
			return b.create(ctx, sent, func() error {
				body := struct {
					Output checkOutput `json:"output"`
				}{want.Output}
				body.Output.Annotations = batch
				_, err := putCheckRun(ctx, c, http.MethodPatch, s.repo.Name+"/check-runs/"+said.Ref, body)
				return err
			})
		})
		if err != nil {
			return err
		}
		n += len(batch)
		sent.Said, sent.Ref = "sent", strconv.Itoa(n)
		if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.PutMessage(sent) }); err != nil {
			return err
		}
	}
	return nil
}

// neededToMerge tells whether merging into the branch that a run's commit is meant for waits for its check run. What is on the
// default branch is merged, and what GitHub does not tell is taken for a no: then it is shown that a person is waited for.
func (b *Bot) neededToMerge(ctx context.Context, v view) (bool, error) {
	main := "refs/heads/" + v.repo.DefaultBranch
	if v.run.Ref == main {
		return false, nil
	}
	names, err := b.merging.names(ctx, b.hub.client(v.repo.Installation), v.repo.Name, strings.TrimPrefix(cmp.Or(v.run.BaseRef, main), "refs/heads/"), b.cfg.GitHub.AppID)
	if declined(err) {
		return false, nil
	}
	return slices.Contains(names, strings.TrimSuffix(v.statusPrefix(), "/")), err
}

// merging remembers for a minute which checks of an App's the rules of a branch require before merging.
type merging struct {
	now   func() time.Time
	mu    sync.Mutex
	known map[string]mergeChecks
}

type mergeChecks struct {
	names []string
	until time.Time
}

// names lists the required checks that an App can give: those that nobody is named for, and its own.
func (m *merging) names(ctx context.Context, c *github.Client, repo, branch string, app int64) (names []string, err error) {
	key := repo + " " + branch
	m.mu.Lock()
	defer m.mu.Unlock() // others that ask meanwhile want the same answer
	if k, ok := m.known[key]; ok && m.now().Before(k.until) {
		return k.names, nil
	}
	required, err := branchChecks(ctx, c, repo, branch)
	if err != nil {
		return nil, err
	}
	for _, w := range required {
		if w.AppID == 0 || w.AppID == app {
			names = append(names, w.Name)
		}
	}
	for k, v := range m.known {
		if !m.now().Before(v.until) {
			delete(m.known, k)
		}
	}
	m.known[key] = mergeChecks{names, m.now().Add(time.Minute)}
	return names, nil
}

// checkRun handles an event about a check run: our own that somebody runs again or presses a button of, or another's that
// a deployment may wait for.
func (b *Bot) checkRun(ctx context.Context, e store.Event, p *github.CheckRunEvent, repo store.Repo, d *decision) error {
	shown := p.GetCheckRun()
	if shown.GetApp().GetID() != b.cfg.GitHub.AppID {
		b.checksChanged(repo, shown.GetHeadSHA(), d)
		return nil
	}
	action := p.GetAction()
	if action != "rerequested" && action != "requested_action" {
		d.note("it is a check run of ours that is %s, so nothing is done", action)
		return nil
	}
	run, ok, err := b.shownRun(ctx, repo, shown.GetExternalID(), shown.GetHeadSHA())
	if err != nil {
		return err
	}
	if !ok {
		d.note("its check run stands for no run that is known here, so nothing is done")
		return nil
	}
	press := press{b, e, repo, d, p.GetSender()}
	if action == "rerequested" {
		return press.obey(ctx, run, line{Name: "rebuild"}, nil)
	}
	var button github.RequestedAction
	if p.RequestedAction != nil {
		button = *p.RequestedAction
	}
	what, number, round, ok := pressed(button.Identifier)
	if !ok {
		d.note("it has no button %q, so nothing is done", button.Identifier)
		return nil
	}
	var about store.Deployment
	err = b.db.View(ctx, func(tx *store.Tx) (err error) { about, err = tx.DeploymentNumber(repo.Name, number); return err })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil || about.Run != run.ID {
		d.note("the button is about deployment %d, which is none of the run's, so nothing is done", number)
		return nil
	}
	l := line{Name: what, Args: []string{strconv.Itoa(number)}}
	switch what {
	case "reject":
		return press.obey(ctx, run, l, nil)
	case "resume", "abort":
		l.Args = []string{about.Environment, strconv.Itoa(number)}
		return press.obey(ctx, run, l, nil)
	case "approve":
		return press.obey(ctx, run, l, func(tx *store.Tx) (bool, error) {
			now, err := tx.Deployment(about.ID)
			return rounds(&now) == round, err
		})
	}
	l.Args = []string{about.Environment}
	return press.obey(ctx, run, l, func(tx *store.Tx) (bool, error) { // what is gone back from is what whoever pressed it saw
		now, err := store.Optional(tx.Current(about.Repo, about.App, about.Environment))
		return now != nil && now.ID == about.ID, err
	})
}

// checkSuite handles an event about a check suite: of ours, whose every run somebody runs again, or another's.
func (b *Bot) checkSuite(ctx context.Context, e store.Event, p *github.CheckSuiteEvent, repo store.Repo, d *decision) error {
	suite := p.GetCheckSuite()
	if suite.GetApp().GetID() != b.cfg.GitHub.AppID {
		b.checksChanged(repo, suite.GetHeadSHA(), d)
		return nil
	}
	if p.GetAction() != "rerequested" {
		d.note("it is a check suite of ours that is %s, so nothing is done", p.GetAction())
		return nil
	}
	var runs []store.Run // the newest of each app
	err := b.db.View(ctx, func(tx *store.Tx) error {
		all, err := tx.RunsOf(store.Commit{Repo: repo.Name, SHA: suite.GetHeadSHA()})
		for _, r := range all {
			newest, err := tx.RunAt(r.Repo, r.App, r.Head())
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if newest.ID == r.ID {
				runs = append(runs, r)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		d.note("no run of %.7s is known here, so nothing is done", suite.GetHeadSHA())
	}
	for _, run := range runs {
		if err := (press{b, e, repo, d, p.GetSender()}).obey(ctx, run, line{Name: "rebuild"}, nil); err != nil {
			return err
		}
	}
	return nil
}

// shownRun is the run that a check run of ours stands for.
func (b *Bot) shownRun(ctx context.Context, repo store.Repo, id, sha string) (run store.Run, ok bool, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) (err error) { run, err = tx.Run(id); return err })
	if errors.Is(err, store.ErrNotFound) {
		return run, false, nil
	}
	return run, strings.EqualFold(run.Repo, repo.Name) && run.Head() == sha, err
}

// A press is a button of a check run that somebody pressed, or its "Re-run".
type press struct {
	bot    *Bot
	event  store.Event
	repo   store.Repo
	d      *decision
	sender *github.User
}

// obey takes a press for a command about a run, by whoever pressed. still, which may be nil, tells in the transaction whether
// what it is about is as whoever pressed saw it.
func (p press) obey(ctx context.Context, run store.Run, l line, still func(*store.Tx) (bool, error)) error {
	b, e := p.bot, p.event
	if p.sender.GetType() != "User" {
		p.d.note("%s is no person, so nothing is done", p.sender.GetLogin())
		return nil
	}
	s, err := b.load(ctx, "run/"+run.ID)
	if err != nil {
		return err
	}
	v, err := b.view(ctx, s)
	if err != nil {
		return err
	}
	issue, err := b.place(ctx, v)
	if err != nil {
		return err
	}
	c := &call{bot: b, client: b.hub.client(p.repo.Installation), repo: p.repo, login: p.sender.GetLogin(), via: viaButton, event: e.ID, language: b.lang,
		pull: run.Pull, issue: issue, sha: run.Head(), about: run.App, said: e.ReceivedAt.Time, d: p.d}
	var all []outcome
	sent := e.ReceivedAt.Time
	if !e.DeliveredAt.IsZero() { // it did not arrive then
		sent = e.DeliveredAt.Time
	}
	if late := b.db.Now().Sub(sent); late > tooLate && e.Via != store.ViaReplay {
		p.d.note("it comes %s after it was pressed, so it is not obeyed", late.Round(time.Second))
		all = append(all, c.no(text.ButtonLate, b.lang.Duration(late), code(l.String())))
	} else if all, err = c.obey(ctx, []line{l}); err != nil {
		return err
	}
	p.d.do(func(tx *store.Tx) error {
		if still != nil {
			if yes, err := still(tx); err != nil {
				return err
			} else if !yes {
				all = []outcome{c.no(text.ButtonChanged)}
			}
		}
		said, refused, err := answers(tx, all)
		if err != nil || !refused {
			return err
		}
		// A refusal is for whoever pressed. GitHub shows a button's answer nowhere, so it is a reply where there is a place
		// for one, and else stands in the check run.
		answer := said[0].text
		if issue > 0 {
			body := text.Markdown(b.lang.Say(text.ButtonBy, code(l.String()), code(c.login), answer))
			told, err := store.Optional(tx.Reply(e.ID)) // of another app's run of the same suite
			if err != nil || told != nil {
				return err
			}
			return tx.PutReply(store.Reply{Event: e.ID, Repo: p.repo.Name, Issue: issue, Body: body})
		}
		err = tx.PutAnswer(store.Answer{Event: e.ID, Run: run.ID, Login: c.login, Via: c.via, Command: l.String(), Body: answer, Refused: true})
		return errors.Join(err, tx.Wake(taskSay, "run/"+run.ID+"\n"+surfaceRun))
	})
	return nil
}

// whyRejected adds the reason to a deployment that the same person rejected by a button; nil where it is not that.
func (c *call) whyRejected(ctx context.Context, args []string) (outcome, error) {
	if len(args) < 2 || c.via == viaButton {
		return nil, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(args[0], "#"))
	if err != nil {
		return nil, nil
	}
	var d store.Deployment
	err = c.bot.db.View(ctx, func(tx *store.Tx) (err error) { d, err = tx.DeploymentNumber(c.repo.Name, n); return err })
	if errors.Is(err, store.ErrNotFound) || err == nil && !rejectedByButton(d, c.login) {
		return nil, nil
	}
	reason := strings.Join(args[1:], " ")
	return func(tx *store.Tx) (answer, error) {
		now, err := tx.Deployment(d.ID)
		if err != nil {
			return answer{}, err
		}
		if !rejectedByButton(now, c.login) {
			return answer{}, c.refuse(text.NotWaiting, d.Number, c.lang().State(now.State))
		}
		err = errors.Join(
			tx.GiveReason(now, c.login, reason),
			tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "reject", Repo: c.repo.Name, Subject: "deployment/" + d.ID, Detail: "the reason: " + reason}))
		return tells(d.Run, c.lang().Say(text.ReasonGiven, d.Number), err)
	}, err
}

// rejectedByButton tells whether a person rejected a deployment by a button and has not said why.
func rejectedByButton(d store.Deployment, login string) bool {
	by, reason, ok := rejectedAt(d)
	return ok && reason == store.ReasonButton && strings.EqualFold(by, login)
}
