package bot

import (
	"context"
	"encoding/json"
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
			notify, err := b.notifiedOf(tx, h)
			if err != nil {
				return next, err
			}
			for _, n := range notify {
				if err := tx.Wake(taskRemind, store.EnvKey(h.Repo, h.App, h.Environment)+"\n"+chatOf(n).surface()); err != nil {
					return next, err
				}
			}
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next, nil
}

// notifiedOf lists the chats that are told of what waits in an environment, as what is there last was made.
func (b *Bot) notifiedOf(tx *store.Tx, h store.Hold) (notify []pipeline.Notify, err error) {
	d, err := store.Optional(tx.Current(h.Repo, h.App, h.Environment))
	if err != nil || d == nil {
		return nil, err
	}
	var spec pipeline.Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return nil, err
	}
	all, err := b.notified(tx, h.Repo, h.App, spec.Notify)
	for _, n := range all {
		if n.Webhook == "" && n.Wants("waiting", h.Environment) {
			notify = append(notify, n)
		}
	}
	return notify, err
}

// remind has one chat told that an environment is held.
func (b *Bot) remind(ctx context.Context, key string, _ int) (time.Time, error) {
	part := strings.SplitN(key, "\n", 4)
	to, ok := chatAt(part[len(part)-1])
	if len(part) != 4 || !ok {
		return time.Time{}, giveUp{fmt.Errorf("no surface is called %q", part[len(part)-1])}
	}
	var notify []pipeline.Notify
	err := b.db.View(ctx, func(tx *store.Tx) error {
		h, err := store.Optional(tx.Hold(part[0], part[1], part[2]))
		if err == nil && h != nil {
			notify, err = b.notifiedOf(tx, *h)
		}
		return err
	})
	if until := quiet(notify, to, b.db.Now()); err != nil || !until.IsZero() {
		return until, err
	}
	if b.rations(to) {
		return time.Time{}, b.db.Update(ctx, func(tx *store.Tx) error {
			return tx.Enqueue(store.Outgoing{Chat: to.chat(), Kind: taskRemind, Key: key, Rank: store.RankApproval, Said: tx.Now().Format(time.RFC3339)})
		})
	}
	return time.Time{}, b.sayHold(ctx, key, nil)
}

// sayHold tells one chat that an environment is held, if it still is. The key is that of remind.
func (b *Bot) sayHold(ctx context.Context, key string, t *turn) error {
	part := strings.SplitN(key, "\n", 4)
	to, _ := chatAt(part[3]) // remind saw to it
	var h *store.Hold
	var repo store.Repo
	var live *store.Deployment
	var where string
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		if h, err = store.Optional(tx.Hold(part[0], part[1], part[2])); err != nil || h == nil {
			return err
		}
		if live, err = store.Optional(tx.Live(h.Repo, h.App, h.Environment)); err != nil {
			return err
		}
		if where, err = place(tx, h.Repo, h.App, h.Environment); err != nil {
			return err
		}
		repo, err = tx.Repo(h.Repo)
		return err
	})
	if err != nil || h == nil { // nil: it was ended meanwhile
		return err
	}
	s := subject{key: "hold/" + h.Repo + "/" + h.App + "/" + h.Environment, repo: repo, run: store.Run{App: h.App, Author: h.By}} // whoever holds it is told where nobody else is named
	service, l, err := b.chat(&s, to)
	if service == nil {
		return err
	}
	m := b.holdMessage(s, *h, live, where, l)
	return b.once(ctx, s, to.surface(), "", m.Key, func(last store.Message) (string, error) {
		t.closes(&m, l)
		return b.post(ctx, s, service, to, m, last, l)
	})
}

// holdMessage is the reminder itself; live is the deployment that is live there, nil for none, and where names the environment in commands.
func (b *Bot) holdMessage(s subject, h store.Hold, live *store.Deployment, where string, l text.Lang) chat.Message {
	m := chat.Message{Key: s.key + " " + h.RemindedAt.Format(time.RFC3339), Title: l.Say(text.HoldTitle, h.App, h.Environment), State: chat.Waiting,
		Status: blockWords(store.Deployment{}, pipeline.HoldBlock(h), l), Text: h.Reason,
		Fields: []chat.Field{{Name: l.Field(text.Project), Value: s.repo.Name, URL: s.repo.HTMLURL}, {Name: l.Field(text.Environment), Value: h.Environment},
			{Name: l.Field(text.Duration), Value: l.Duration(b.db.Now().Sub(h.Since.Time))}, {Name: l.Field(text.Note), Value: l.Say(text.HoldRemedy, s.typed("/unlock "+where))}}}
	if live != nil {
		m.Link = chat.Link{Text: l.Say(text.Details), URL: b.page("deployments", live.ID)}
	}
	return m
}
