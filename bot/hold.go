package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// taskRemind is the kind of the task that reminds one chat of one hold; its key is the environment's, newline, the surface.
const taskRemind = "remind"

// A reminder is what chats are told of an environment as such, while it is so.
type reminder struct {
	key     string // of its message; another one is told anew
	by      string // whoever is told where nobody else is named
	message func(b *Bot, s subject, where string, l text.Lang) chat.Message
}

// A reminding says how chats are told of one kind of thing.
type reminding struct {
	about  string // before the environment in the name of what is told
	notice string // of those in notify.on
	rank   int
	of     func(tx *store.Tx, repo, app, environment string) (*reminder, error) // nil: it is over
}

// remindings are by the kind of the task.
var remindings = map[string]reminding{
	taskRemind: {"hold", "waiting", store.RankApproval, remindOfHold},
	taskGone:   {"gone", "failed", store.RankFailure, remindOfGone},
}

func remindOfHold(tx *store.Tx, repo, app, environment string) (*reminder, error) {
	h, err := store.Optional(tx.Hold(repo, app, environment))
	if err != nil || h == nil {
		return nil, err
	}
	live, err := store.Optional(tx.Live(repo, app, environment))
	return &reminder{h.RemindedAt.Format(time.RFC3339), h.By, func(b *Bot, s subject, where string, l text.Lang) chat.Message {
		return b.holdMessage(s, *h, live, where, l)
	}}, err
}

// remindChats wakes the tasks of that kind for an environment.
func (b *Bot) remindChats(tx *store.Tx, kind, repo, app, environment string) error {
	notify, err := b.notifiedOf(tx, remindings[kind].notice, repo, app, environment)
	for _, n := range notify {
		err = errors.Join(err, tx.Wake(kind, store.EnvKey(repo, app, environment)+"\n"+chatOf(n).surface()))
	}
	return err
}

// holds is the work of store.TaskHolds: once a day it has the chats of an environment reminded that it is held.
func (b *Bot) holds(ctx context.Context, _ string, _ int) (next time.Time, err error) {
	err = b.db.Update(ctx, func(tx *store.Tx) (err error) { next, err = b.remindOfHolds(tx); return err })
	return next, err
}

// remindOfHolds marks a hold as reminded of in the transaction that wakes whoever says so: each day has its reminder once, and
// days on which nobody looked are not made up for.
func (b *Bot) remindOfHolds(tx *store.Tx) (next time.Time, err error) {
	holds, err := tx.Holds()
	if err != nil {
		return next, err
	}
	for _, h := range holds {
		due := h.Since.Add(store.HoldReminder)
		if !h.RemindedAt.IsZero() {
			due = h.RemindedAt.Add(store.HoldReminder)
		}
		if !tx.Now().Before(due) {
			due = tx.Now().Add(store.HoldReminder)
			if err := tx.RemindedOfHold(h); err != nil {
				return next, err
			}
			if err := b.remindChats(tx, taskRemind, h.Repo, h.App, h.Environment); err != nil {
				return next, err
			}
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next, nil
}

// notifiedOf lists the chats that are told of such notices of an environment, as what is there last was made.
func (b *Bot) notifiedOf(tx *store.Tx, notice, repo, app, environment string) (notify []pipeline.Notify, err error) {
	d, err := store.Optional(tx.Current(repo, app, environment))
	if err != nil || d == nil {
		return nil, err
	}
	var spec pipeline.Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return nil, err
	}
	all, err := b.notified(tx, repo, app, spec.Notify)
	for _, n := range all {
		if n.Webhook == "" && n.Wants(notice, environment) {
			notify = append(notify, n)
		}
	}
	return notify, err
}

// remind is the work of a task of one of remindings: it has one chat told.
func (b *Bot) remind(kind string) func(ctx context.Context, key string, _ int) (time.Time, error) {
	return func(ctx context.Context, key string, _ int) (time.Time, error) { return b.remindOne(ctx, kind, key) }
}

func (b *Bot) remindOne(ctx context.Context, kind, key string) (time.Time, error) {
	part := strings.SplitN(key, "\n", 4)
	to, ok := chatAt(part[len(part)-1])
	if len(part) != 4 || !ok {
		return time.Time{}, giveUp{fmt.Errorf("no surface is called %q", part[len(part)-1])}
	}
	var notify []pipeline.Notify
	err := b.db.View(ctx, func(tx *store.Tx) error {
		r, err := remindings[kind].of(tx, part[0], part[1], part[2])
		if err == nil && r != nil {
			notify, err = b.notifiedOf(tx, remindings[kind].notice, part[0], part[1], part[2])
		}
		return err
	})
	if until := quiet(notify, to, b.db.Now()); err != nil || !until.IsZero() {
		return until, err
	}
	if b.rations(to) {
		return time.Time{}, b.db.Update(ctx, func(tx *store.Tx) error {
			return tx.Enqueue(store.Outgoing{Chat: to.chat(), Kind: kind, Key: key, Rank: remindings[kind].rank, Said: tx.Now().Format(time.RFC3339)})
		})
	}
	return time.Time{}, b.sayReminder(ctx, kind, key, nil)
}

// sayReminder tells one chat what remind has it told, if it is still so.
func (b *Bot) sayReminder(ctx context.Context, kind, key string, t *turn) error {
	part := strings.SplitN(key, "\n", 4)
	to, _ := chatAt(part[3]) // remind saw to it
	var r *reminder
	var repo store.Repo
	var where string
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		if r, err = remindings[kind].of(tx, part[0], part[1], part[2]); err != nil || r == nil {
			return err
		}
		if where, err = place(tx, part[0], part[1], part[2]); err != nil {
			return err
		}
		repo, err = tx.Repo(part[0])
		return err
	})
	if err != nil || r == nil { // nil: it was ended meanwhile
		return err
	}
	s := subject{key: remindings[kind].about + "/" + strings.Join(part[:3], "/"), repo: repo, run: store.Run{App: part[1], Author: r.by}}
	service, l, err := b.chat(&s, to)
	if service == nil {
		return err
	}
	m := r.message(b, s, where, l)
	m.Key = s.key + " " + r.key
	return b.once(ctx, s, to.surface(), "", m.Key, func(last store.Message) (string, error) {
		t.closes(&m, l)
		return b.post(ctx, s, service, to, m, last, l)
	})
}

// holdMessage is the reminder itself; live is the deployment that is live there, nil for none, and where names the environment in commands.
func (b *Bot) holdMessage(s subject, h store.Hold, live *store.Deployment, where string, l text.Lang) chat.Message {
	m := chat.Message{Title: l.Say(text.HoldTitle, h.App, h.Environment), State: chat.Waiting,
		Status: blockWords(store.Deployment{}, pipeline.HoldBlock(h), l), Text: h.Reason,
		Fields: []chat.Field{{Name: l.Field(text.Project), Value: s.repo.Name, URL: s.repo.HTMLURL}, {Name: l.Field(text.Environment), Value: h.Environment},
			{Name: l.Field(text.Duration), Value: l.Duration(b.db.Now().Sub(h.Since.Time))}, {Name: l.Field(text.Note), Value: l.Say(text.HoldRemedy, s.typed("/unlock "+where))}}}
	if live != nil {
		m.Link = chat.Link{Text: l.Say(text.Details), URL: b.page("deployments", live.ID)}
	}
	return m
}
