package bot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// subscribe has the place of a chat where it is said told of an app, or not any more (/unsubscribe).
func (c *call) subscribe(ctx context.Context, args []string) (outcome, error) {
	switch {
	case !c.inChat():
		return c.no(text.InChatsOnly, c.form()), nil
	case c.channel == "":
		return c.no(text.CannotSpeak), nil
	case len(args) == 0 || args[0] != c.named || c.cmd.name == "unsubscribe" && len(args) > 1:
		return c.usage(), nil
	}
	app := code(c.named)
	if c.cmd.name == "unsubscribe" {
		return func(tx *store.Tx) (answer, error) {
			dropped, err := tx.DropSubscription(c.via, c.channel, c.repo.Name, c.named)
			if err == nil && !dropped {
				err = c.refuse(text.NotSubscribed, app)
			}
			if err != nil {
				return answer{}, err
			}
			return reply(c.lang().Say(text.Unsubscribed, app), c.auditSubscription(tx, nil))
		}, nil
	}
	events := []string{}
	for _, e := range args[1:] {
		for _, e := range strings.FieldsFunc(strings.ToLower(e), func(r rune) bool { return r == ',' || r == '，' || r == '、' }) {
			if !slices.Contains(pipeline.Notices, e) {
				return c.near(c.no(text.NoSuchEvent, code(e), names(pipeline.Notices), c.form()), e, pipeline.Notices), nil
			}
			events = append(events, e)
		}
	}
	return func(tx *store.Tx) (answer, error) {
		s := store.Subscription{Chat: c.via, Channel: c.channel, Repo: c.repo.Name, App: c.named, By: c.login}
		s.Events.V = events
		told := c.lang().Say(text.Everything)
		if len(events) > 0 {
			told = names(events)
		}
		return reply(c.lang().Say(text.Subscribed, app, told, code(c.typed("/unsubscribe "+c.named))), errors.Join(tx.PutSubscription(s), c.auditSubscription(tx, events)))
	}, nil
}

func (c *call) auditSubscription(tx *store.Tx, events []string) error {
	return tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: c.cmd.name, Repo: c.repo.Name, Subject: c.named, Detail: strings.TrimSpace(c.via + "/" + c.channel + " " + strings.Join(events, " "))})
}

// subscriptions lists what a place of a chat asked for, also what it is not told any more.
func (b *Bot) subscriptions(ctx context.Context, in, channel string, l text.Lang) (a chat.Answer, err error) {
	if channel == "" {
		return chat.Answer{Refused: true, Text: b.spans(l.Say(text.CannotSpeak))}, nil
	}
	var all []store.Subscription
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { all, err = tx.SubscriptionsAt(in, channel); return err }); err != nil {
		return a, err
	}
	kind, name, _ := strings.Cut(in, "/")
	var lines []string
	for _, s := range all {
		told := l.Say(text.Everything)
		if len(s.Events.V) > 0 {
			told = names(s.Events.V)
		}
		if b.cfg.MayUseServer(s.Repo) != nil || b.cfg.MayUseChat(kind, name, s.Repo) != nil {
			told = l.Say(text.NotAllowedHere)
		}
		lines = append(lines, "• "+l.Say(text.SubscriptionLine, code(s.Repo), code(s.App), told, code(s.By)))
	}
	if len(lines) == 0 {
		lines = []string{l.Say(text.NoSubscription)}
	}
	lines = append(lines, l.Say(text.SubscribeHow, code(b.typedIn(in, "/subscribe app [events]", ""))))
	return chat.Answer{Text: b.spans(strings.Join(lines, "\n"))}, nil
}

// notified are the places of chats that are told of an app: those of its file, as it was when something was made, and those that have
// subscribed, unless the server's file does not let the repository use their chat any more.
func (b *Bot) notified(tx *store.Tx, repo, app string, file []pipeline.Notify) ([]pipeline.Notify, error) {
	notify := slices.Clone(file)
	all, err := tx.SubscriptionsTo(repo, app)
	for _, s := range all {
		to, ok := chatAt(s.Chat)
		if !ok || b.cfg.MayUseChat(to.kind, to.name, repo) != nil {
			continue
		}
		n := pipeline.Notify{Channel: s.Channel, On: s.Events.V}
		if to.kind == "wecom" {
			n.WeCom = to.name
		} else {
			n.Slack = to.name
		}
		notify = append(notify, n)
	}
	return notify, err
}

// quiet tells until when a place of a chat is told of failures and approvals alone; the zero time where it is told everything. What a
// file says of the place is so for those too who subscribed there.
func quiet(notify []pipeline.Notify, to chatPlace, now time.Time) time.Time {
	var windows []pipeline.Window
	for _, n := range notify {
		if chatOf(n) == to && n.Quiet != nil {
			windows = append(windows, *n.Quiet)
		}
	}
	_, until, _ := pipeline.Frozen(windows, now)
	return until
}

// loud tells whether a notice is told in quiet hours too: somebody has to do something.
func loud(notice string) bool { return notice == "failed" || notice == "waiting" }
