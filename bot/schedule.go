package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// What the default branches' files ask for that no event starts is kept in rows (store.Declared), and one task sleeps until
// the next moment at which one of their schedules is due.
const (
	// taskSchedule is the kind of that task; its key is empty. It is the name of the cursor, too: when it looked last.
	taskSchedule = "schedule"
	// taskDeclare is the kind of the task that reads the files of a repository that no push told of; its key is the repository.
	taskDeclare = "declare"
)

// kindSchedule is the kind of the events by which schedules are due, one for each app.
const kindSchedule = "shipmate_schedule"

// A dueOrder is the body of a kindSchedule, under that key: what is due of the app since one moment and up to another.
type dueOrder struct {
	App   string    `json:"app"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// schedules makes an event of each app of which something is due, and sleeps until the next one is.
func (b *Bot) schedules(ctx context.Context, _ string, _ int) (next time.Time, err error) {
	err = b.db.Update(ctx, func(tx *store.Tx) (err error) { next, err = lookDue(tx); return err })
	return next, err
}

// lookDue does that in a transaction, so that what is due has its effect exactly once, also when it was due while nobody
// looked: then once however often that was. next is when to look again, the zero time for never.
func lookDue(tx *store.Tx) (next time.Time, err error) {
	now, since := tx.Now().UTC(), time.Time{}
	cursor, err := tx.Cursor(taskSchedule)
	if err != nil {
		return next, err
	}
	if since = now; cursor != "" {
		if since, err = time.Parse(time.RFC3339Nano, cursor); err != nil {
			return next, fmt.Errorf("cursor %s: %w", taskSchedule, err)
		}
	}
	declared, err := tx.DeclaredSchedules()
	if err != nil {
		return next, err
	}
	for _, a := range declared {
		var cfg pipeline.Config
		if err := json.Unmarshal(a.Schedule.V, &cfg.Trigger.Schedule); err != nil {
			return next, fmt.Errorf("schedule of %s in %s: %w", a.App, a.Repo, err)
		}
		due, at := cfg.Due(since, now)
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		if len(due) == 0 {
			continue
		}
		body, err := json.Marshal(map[string]dueOrder{kindSchedule: {a.App, since, now}})
		if err != nil {
			return next, err
		}
		e := store.Event{ID: fmt.Sprintf("schedule/%s/%s/%d", a.Repo, a.App, now.UnixMilli()), Kind: kindSchedule, Repo: &a.Repo, Body: body}
		if _, err := tx.PutEvent(e); err != nil {
			return next, err
		}
		if err := tx.Wake(store.TaskEvent, e.ID); err != nil {
			return next, err
		}
	}
	return next, tx.SetCursor(taskSchedule, now.Format(time.RFC3339Nano))
}

// schedule decides what is due, by the default branch's file as it is now.
func (b *Bot) schedule(ctx context.Context, e store.Event, d *decision) error {
	var o dueOrder
	if err := readOwn(e.Body, kindSchedule, &o); err != nil || e.Repo == nil {
		d.note("this is none of our schedules, so nothing is done: %v", err)
		return nil
	}
	return b.asNow(ctx, e, d, func(c *github.Client, repo store.Repo) error {
		if !strings.EqualFold(repo.Name, *e.Repo) {
			d.note("the repository is called %s now, and its schedules go by that name", repo.Name)
			d.do(func(tx *store.Tx) error { return tx.Declare(*e.Repo, nil) })
			return nil
		}
		trigger := pipeline.Trigger{Kind: pipeline.TriggerSchedule, Ref: branchPrefix + repo.DefaultBranch, DefaultBranch: repo.DefaultBranch}
		commit, err := commitAt(ctx, c, repo.Name, trigger.Ref)
		if err != nil {
			return err
		}
		if commit == nil {
			d.note("it has no branch %s", repo.DefaultBranch)
			return nil
		}
		trigger.SHA, trigger.HeadMessage = commit.GetSHA(), commit.GetCommit().GetMessage()
		apps, err := b.apps(ctx, c, repo, trigger.SHA, trigger.SHA, d)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(apps, func(a app) bool { return a.name == o.App && a.config != nil })
		if i < 0 {
			d.note("no file without mistakes declares %s, so nothing is built", o.App)
			return nil
		}
		cfg := apps[i].config
		trigger.Due, _ = cfg.Due(o.Since, o.Until)
		err = b.db.View(ctx, func(tx *store.Tx) error {
			previous, err := store.Optional(tx.BuiltOn(repo.Name, o.App, trigger.Ref))
			if previous != nil {
				trigger.Previous = previous.SHA
			}
			return err
		})
		if err != nil {
			return err
		}
		plan := cfg.Plan(trigger)
		d.trace = append(d.trace, plan.Trace...)
		if !plan.Build {
			return nil
		}
		run := store.Run{Repo: repo.Name, App: o.App, Ref: trigger.Ref, SHA: trigger.SHA, Subject: firstLine(trigger.HeadMessage), Author: writerOf(commit),
			Sender: b.slug() + "[bot]", Cause: store.CauseSchedule, Event: e.ID} // no person asked for it
		return d.begin(e, cfg, plan, run, func(tx *store.Tx) (string, error) {
			other, err := store.Optional(tx.RunOf(run.Repo, run.App, run.SHA))
			if err != nil || other == nil || other.Ref != run.Ref || store.Final(other.State) {
				return "", err
			}
			return fmt.Sprintf("run %d is of this commit and not done yet, so there is no other", other.Number), nil
		})
	})
}

// readDeclared reads what a repository's default branch declares.
func (b *Bot) readDeclared(ctx context.Context, name string, _ int) (time.Time, error) {
	d := &decision{}
	err := b.asNow(ctx, store.Event{Repo: &name}, d, func(c *github.Client, repo store.Repo) error {
		var before []store.Declared
		if err := b.db.View(ctx, func(tx *store.Tx) (err error) { before, err = tx.DeclaredOf(repo.Name); return err }); err != nil {
			return err
		}
		head, err := headOf(ctx, c, repo.Name, branchPrefix+repo.DefaultBranch)
		if err != nil || head == "" {
			return err
		}
		apps, err := b.apps(ctx, c, repo, head, "", d)
		if err != nil {
			return err
		}
		d.do(func(tx *store.Tx) error {
			now, err := tx.DeclaredOf(repo.Name)
			if err != nil || !slices.EqualFunc(before, now, func(x, y store.Declared) bool { return x.App == y.App && x.SHA == y.SHA }) {
				return err // nil: a push was decided meanwhile, and knows better
			}
			if err := b.rerule(tx, repo.Name, apps, d); err != nil {
				return err
			}
			return declare(tx, repo.Name, head, apps)
		})
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return time.Time{}, b.db.Update(ctx, func(tx *store.Tx) error {
		for _, fn := range d.apply {
			if err := fn(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// declare records what the default branch's files ask for, as they are at a commit. Where one has mistakes nobody knows what it
// is about, so whatever no other file declares stays as it was: a typing error ends no schedule.
func declare(tx *store.Tx, repo, sha string, apps []app) error {
	before, err := tx.DeclaredOf(repo)
	if err != nil {
		return err
	}
	var now []store.Declared
	broken := false
	for _, a := range apps {
		if a.reviewed == nil {
			broken = true
			continue
		}
		row := store.Declared{App: a.name, SHA: sha, Registry: a.reviewed.Trigger.Registry.Repository}
		row.Schedule.V = json.RawMessage("[]")
		if len(a.reviewed.Trigger.Schedule) > 0 {
			if row.Schedule.V, err = json.Marshal(a.reviewed.Trigger.Schedule); err != nil {
				return err
			}
		}
		now = append(now, row)
	}
	for _, row := range before {
		if broken && !slices.ContainsFunc(now, func(a store.Declared) bool { return a.App == row.App }) {
			now = append(now, row)
		}
	}
	scheduled := func(rows []store.Declared) (text []string) {
		for _, a := range rows {
			if !bytes.Equal(a.Schedule.V, []byte("[]")) {
				text = append(text, a.App+" "+string(a.Schedule.V))
			}
		}
		slices.Sort(text)
		return text
	}
	if !slices.Equal(scheduled(before), scheduled(now)) {
		// What was due until now was so by the old schedules, and the new ones count from now on.
		if _, err := lookDue(tx); err != nil {
			return err
		}
		if err := tx.Wake(taskSchedule, ""); err != nil {
			return err
		}
	}
	return tx.Declare(repo, now)
}
