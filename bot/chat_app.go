package bot

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/store"
)

// What an app needs that a group or a channel does not: whom it writes to, and an end of the buttons that each of them got.

// settleCards ends the buttons of all that was said of a subject in a chat, once nothing is left to be pressed, however that was decided.
func (b *Bot) settleCards(ctx context.Context, s subject, service chat.Service, to chatPlace, l text.Lang) error {
	if _, ok := service.(chat.Settler); !ok || s.d == nil || waitsForApproval(*s.d) || unratified(*s.d) || s.asks != "" || rests(*s.d) {
		return nil
	}
	state := "approved"
	if r := s.d.Rules.V; look(s.d.State) == chat.Stopped || s.d.ResumedBy != "" && (r == nil || r.Step == "") {
		state = s.d.State
	}
	var said []store.Message
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { said, err = tx.Referred(s.key); return err }); err != nil {
		return err
	}
	for _, m := range said {
		where := m.Surface
		if notice, ok := strings.CutPrefix(where, surfaceNotice); ok {
			_, where, _ = strings.Cut(notice, "/")
		}
		if where != to.surface() {
			continue
		}
		if err := b.settleCard(ctx, service, m, l.State(state)); err != nil {
			return err
		}
	}
	return nil
}

// settleCard ends the buttons of a message, where it has some. It forgets them: that can be done once.
func (b *Bot) settleCard(ctx context.Context, service chat.Service, m store.Message, label string) error {
	settler, ok := service.(chat.Settler)
	if !ok || m.Ref == "" {
		return nil
	}
	switch err := settler.Settle(ctx, chat.Ref(m.Ref), label); {
	case chat.IsPermanent(err): // such as after three days
		b.log.Warn("the buttons of a message stay", "subject", m.Subject, "err", b.engine.Mask(err.Error()))
	case err != nil:
		return chatError(err)
	}
	m.Ref = ""
	return b.db.Update(ctx, func(tx *store.Tx) error { return tx.PutMessage(m) })
}

// addressee is whom a message is written to: the channel of its place. Where an app of WeCom has none it is those whom the message
// mentions and those who may press its buttons, or else who asked for what it is about and who wrote it. It is empty where none of them
// is known there.
func (b *Bot) addressee(ctx context.Context, s subject, to chatPlace, m chat.Message) (channel string, err error) {
	var ids []string
	for _, p := range m.Mentions {
		ids = append(ids, p.ID)
	}
	if len(m.Buttons) > 0 {
		may, err := b.mayPressIn(ctx, s, to)
		if err != nil {
			return "", err
		}
		ids = append(ids, may...)
	}
	if strings.Join(ids, "") == "" {
		logins := []string{s.run.Author}
		if s.d != nil {
			logins = append(logins, s.d.Requester)
		}
		people, err := b.peopleIn(ctx, to, logins)
		if err != nil {
			return "", err
		}
		for _, p := range people {
			ids = append(ids, p.ID)
		}
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
	return strings.Join(ids, "|"), nil
}

// mayPressIn are the ids of those in a chat who may approve a deployment, or let it go on where it rests, as far as GitHub tells: it is a
// courtesy, and each press is checked by itself.
func (b *Bot) mayPressIn(ctx context.Context, s subject, to chatPlace) (ids []string, err error) {
	client, by, need, self := b.hub.client(s.repo.Installation), s.rules.By, maintain, s.rules.Self
	if rests(*s.d) {
		by, need, self = s.spec.Environment.Deployers, write, true
	}
	if len(by) == 0 {
		if by = b.access.holders(ctx, client, s.repo.Name, need); len(by) == 0 {
			return nil, nil
		}
	}
	known, err := b.knownIn(ctx, to)
	if err != nil {
		return nil, err
	}
	for _, p := range known {
		if p.ID == "" || strings.EqualFold(p.GitHub, s.d.Requester) && !self {
			continue
		}
		may, err := b.access.oneOf(ctx, client, s.repo.Name, p.GitHub, by)
		var u *unclear
		if err != nil && !declined(err) && !errors.As(err, &u) {
			return nil, err
		}
		if may {
			ids = append(ids, p.ID)
		}
	}
	return ids, nil
}

// writesToPeople tells whether it depends on the message whom it is written to there.
func (b *Bot) writesToPeople(to chatPlace) bool {
	w := b.cfg.Chat.WeCom[to.name]
	return to.kind == "wecom" && to.channel == "" && w != nil && w.app()
}
