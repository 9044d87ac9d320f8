package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// A chat that takes only so many messages a minute is told by turns: what has to be decided, failures, other ends, progress. Where
// there is room each has a message of its own, at once. Where room gets short, ends share messages and progress is left out; the next
// message says how much was. What is told is what is so when its turn comes.

const (
	// gathers is how long an end waits for others to share its message, where room is short.
	gathers = 15 * time.Second
	// stale is how long progress waits for room until it is left out. An end that waited as long goes even before what has to be
	// decided: it takes one message for all.
	stale = time.Minute
)

// ration decides what is told next of what waits in a chat, in the order of the turns: one message for all of next. omit is left out
// instead. Where there is neither, again is when to ask again; the zero time where nothing waits.
//
// A quarter of the room is for ends that share a message, and half of that for what has to be decided alone. Progress uses no more
// than the other half.
func ration(waiting []store.Outgoing, room chat.Room, now time.Time) (next, omit []store.Outgoing, again time.Time) {
	var decide, ends, progress, omitted []store.Outgoing
	oldest := now
	for _, o := range waiting {
		switch o.Rank {
		case store.RankApproval:
			decide = append(decide, o)
		case store.RankFailure, store.RankEnd:
			ends = append(ends, o)
			if o.At.Before(oldest) {
				oldest = o.At.Time
			}
		case store.RankProgress:
			if now.Sub(o.At.Time) < stale {
				progress = append(progress, o)
			} else {
				omit = append(omit, o)
			}
		default:
			omitted = append(omitted, o)
		}
	}
	quarter := room.Of / 4
	late := now.Sub(oldest) >= stale
	alone := room.Free > quarter && len(ends) <= room.Free-quarter
	soonest := func(at time.Time) {
		if again.IsZero() || at.Before(again) {
			again = at
		}
	}
	switch {
	case len(omit) > 0 || len(waiting) == 0:
		return nil, omit, again
	case room.Free <= 0:
		return nil, nil, room.More
	case len(decide) > 0 && !late:
		return decide[:1], nil, again
	case len(ends) > 0 && alone:
		return ends[:1], nil, again
	case len(ends) > 0 && (late || room.Free > quarter/2 && now.Sub(oldest) >= gathers):
		return ends, nil, again
	case len(ends) > 0:
		at := oldest.Add(gathers)
		if room.Free <= quarter/2 && room.More.After(at) {
			at = room.More
		}
		soonest(at)
		soonest(oldest.Add(stale))
		return nil, nil, again
	case len(progress) > 0 && room.Free > 2*quarter:
		return progress[:1], nil, again
	case len(progress) > 0:
		soonest(room.More)
		soonest(progress[0].At.Add(stale))
		return nil, nil, again
	}
	// Nothing else is to be told that could say what was left out.
	if at := omitted[0].At.Add(2 * stale); now.Before(at) {
		return nil, nil, at
	}
	return omitted, nil, again
}

// A turn is what a message in a chat's turn says of what was left out before it.
type turn struct {
	omitted int
	sent    bool // the message was rendered to be sent
}

// closes adds to a message what was left out before it.
func (t *turn) closes(m *chat.Message, l text.Lang) {
	if t == nil {
		return
	}
	t.sent = true
	if t.omitted > 0 {
		m.Fields = append([]chat.Field{{Name: l.Field(text.Note), Value: l.Say(text.ProgressOmitted, t.omitted)}}, m.Fields...)
	}
}

// rations tells whether a chat is told by turns.
func (b *Bot) rations(to chatPlace) bool {
	_, ok := b.chats[to.chat()].(chat.Rationed)
	return ok
}

// enqueue has a chat told by turns what a task would tell it; nothing where it has nothing to tell. again is when its quiet hours end.
func (b *Bot) enqueue(ctx context.Context, s subject, surface string, to chatPlace) (again time.Time, err error) {
	rank, moment, what := store.RankApproval, "", ""
	if notice, ok := strings.CutPrefix(surface, surfaceNotice); ok {
		notice, _, _ = strings.Cut(notice, "/")
		if noticeOf(s) != notice {
			return again, nil
		}
		what = notice + round(s.d)
	} else {
		_, told, ok := wanted(s, to)
		if !ok {
			return again, nil
		}
		if until := quiet(s.notify, to, b.db.Now()); !until.IsZero() && !loud(told) {
			return until, nil
		}
		moment, what = told, told+round(s.d)
		rank = map[string]int{"waiting": store.RankApproval, "failed": store.RankFailure, "started": store.RankProgress, "resumed": store.RankProgress}[moment]
		if moment == "succeeded" || moment == "stopped" {
			rank = store.RankEnd
		}
	}
	said, err := hash(what)
	if err != nil {
		return again, err
	}
	return again, b.db.Update(ctx, func(tx *store.Tx) error {
		last, err := tx.Message(s.key, surface, moment)
		if err != nil || last.Said == said {
			return err
		}
		return tx.Enqueue(store.Outgoing{Chat: to.chat(), Kind: taskSay, Key: s.key + "\n" + surface, Rank: rank, Said: said})
	})
}

// drain is the work of store.TaskOutbox: it tells a chat what waits there, as far as there is room. While the chat is away all of it is
// kept for the next attempt; what fails by itself, or is refused for long, is given up and holds up nothing.
func (b *Bot) drain(ctx context.Context, in string, attempts int) (time.Time, error) {
	refused := func(err error) bool { return chat.IsRefused(err) && attempts+1 >= longAttempts }
	for {
		service, ok := b.chats[in].(chat.Rationed)
		var waiting []store.Outgoing
		err := b.db.View(ctx, func(tx *store.Tx) (err error) { waiting, err = tx.Outbox(in); return err })
		if err != nil || len(waiting) == 0 {
			return time.Time{}, err
		}
		if !ok {
			return time.Time{}, b.db.Update(ctx, func(tx *store.Tx) error {
				for _, o := range waiting {
					if o.Rank == store.RankOmitted {
						continue
					}
					if err := tx.GiveUp(o, fmt.Sprintf("%s is no group of robots in the server's file any more", in)); err != nil {
						return err
					}
				}
				return tx.ToldOmitted(waiting)
			})
		}
		next, omit, again := ration(waiting, service.Room(), b.db.Now())
		if len(next)+len(omit) == 0 {
			return again, b.db.Update(ctx, func(tx *store.Tx) error { return tx.Waits(in) })
		}
		for _, o := range omit {
			if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.Omit(o) }); err != nil {
				return time.Time{}, err
			}
		}
		if len(omit) > 0 {
			continue
		}
		t, from := &turn{}, b.db.Now()
		for _, o := range waiting {
			t.omitted += o.Omitted
		}
		switch {
		case next[0].Rank == store.RankOmitted:
			err = b.sayOmitted(ctx, service, in, t)
		case len(next) > 1:
			next, err = b.sayResults(ctx, service, in, next, t)
			if len(next) > 1 && (chat.IsPermanent(err) || refused(err)) { // one of them may be why
				next, t.sent = next[:1], false
				err = b.sayInTurn(ctx, next[0], t)
			}
		default:
			err = b.sayInTurn(ctx, next[0], t)
		}
		if err != nil && (ctx.Err() != nil || !hopeless(err) && !refused(err)) {
			return time.Time{}, err
		}
		if err != nil {
			b.log.Error("gave up", "task", next[0].Kind, "key", next[0].Key, "err", b.engine.Mask(err.Error()))
		}
		gaveUp := err
		err = b.db.Update(ctx, func(tx *store.Tx) error {
			if gaveUp == nil && t.sent {
				if err := tx.ToldOmitted(waiting); err != nil {
					return err
				}
			}
			for _, o := range next {
				var err error
				switch {
				case gaveUp != nil && o.Rank != store.RankOmitted:
					err = tx.GiveUp(o, b.engine.Mask(gaveUp.Error()))
				case o.Rank == store.RankProgress && o.Waited && !t.sent: // it is over, and nothing of what came of it is told here
					err = tx.Omit(o)
				case o.Rank != store.RankOmitted:
					err = tx.Told(o)
				case gaveUp != nil:
					err = tx.ToldOmitted([]store.Outgoing{o})
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return time.Time{}, err
		}
		for _, o := range next {
			if b.tracer != nil && o.Kind == taskSay {
				b.tracer.reported(ctx, o.Key, from)
			}
		}
		if refused(gaveUp) { // the next has as many attempts
			return b.db.Now(), nil
		}
	}
}

// hopeless tells whether trying again mends nothing, or nothing but what is ours to mend: it must not hold up what waits behind it.
func hopeless(err error) bool { return errors.As(err, new(giveUp)) || !away(err) }

// sayInTurn tells a chat what its turn is, in a message of its own.
func (b *Bot) sayInTurn(ctx context.Context, o store.Outgoing, t *turn) error {
	if _, ok := remindings[o.Kind]; ok {
		return b.sayReminder(ctx, o.Kind, o.Key, t)
	}
	key, surface, _ := strings.Cut(o.Key, "\n")
	s, err := b.load(ctx, key)
	if err != nil {
		return err
	}
	s.turn = t
	if strings.HasPrefix(surface, surfaceNotice) {
		return b.sayNotice(ctx, s, surface)
	}
	to, _ := chatAt(surface) // it was one when it was enqueued
	_, err = b.sayMoment(ctx, s, to)
	return err
}

// sayOmitted tells a chat what was left out, where no other message says so.
func (b *Bot) sayOmitted(ctx context.Context, service chat.Service, in string, t *turn) error {
	t.sent = true
	_, err := service.Send(ctx, "", chat.Message{Title: b.cfg.chatLanguage(in).Say(text.ProgressOmitted, t.omitted), State: chat.Stopped})
	return chatError(err)
}

// A result is an end that shares its message.
type result struct {
	o       store.Outgoing
	last    store.Message
	said    string
	message chat.Message
}

// sayResults tells a chat several ends in one message, and returns those that it told, and those of which there is nothing to tell:
// as many as one message shows. Like post it marks each before.
func (b *Bot) sayResults(ctx context.Context, service chat.Rationed, in string, ends []store.Outgoing, t *turn) (done []store.Outgoing, err error) {
	l := b.cfg.chatLanguage(in)
	var results []result
	var m chat.Message
	for _, o := range ends {
		r, err := b.resultOf(ctx, o, l)
		if err != nil && hopeless(err) && len(done) > 0 {
			break // it comes first the next time
		}
		if err != nil {
			return []store.Outgoing{o}, err // it alone
		}
		if r == nil {
			done = append(done, o)
			continue
		}
		if len(results) > 0 && (r.last.Said == asked) != (results[0].last.Said == asked) {
			continue // what may be a repeat shares no message with what is none
		}
		more := append(slices.Clip(results), *r)
		if with := b.resultsMessage(more, l, t); service.Fits(with) || len(results) == 0 {
			results, m, done = more, with, append(done, o)
			continue
		}
		break
	}
	switch len(results) {
	case 0:
		return done, nil
	case 1:
		return done, b.sayInTurn(ctx, results[0].o, t)
	}
	t.sent = true
	mark := func(said func(result) string) error {
		return b.db.Update(ctx, func(tx *store.Tx) (err error) {
			for _, r := range results {
				r.last.Said = said(r)
				err = errors.Join(err, tx.PutMessage(r.last))
			}
			return err
		})
	}
	if err := mark(func(result) string { return asked }); err != nil {
		return nil, err
	}
	if _, err = service.Send(ctx, "", m); err != nil {
		if chat.IsNotSent(err) { // neither this attempt nor one before arrived, where that one is not marked
			err = errors.Join(err, mark(func(r result) string { return r.last.Said }))
		}
		return done, chatError(err)
	}
	return done, mark(func(r result) string { return r.said })
}

// resultOf is an end as it is now; nil where there is nothing to tell any more.
func (b *Bot) resultOf(ctx context.Context, o store.Outgoing, l text.Lang) (*result, error) {
	key, surface, _ := strings.Cut(o.Key, "\n")
	s, err := b.load(ctx, key)
	if err != nil {
		return nil, err
	}
	to, _ := chatAt(surface)
	if service, _, err := b.chat(&s, to); err != nil || service == nil {
		return nil, err
	}
	n, what, ok := wanted(s, to)
	if !ok {
		return nil, nil
	}
	r := result{o: o}
	if r.said, err = hash(what + round(s.d)); err != nil {
		return nil, err
	}
	err = b.db.View(ctx, func(tx *store.Tx) (err error) { r.last, err = tx.Message(s.key, surface, what); return err })
	if err != nil || r.last.Said == r.said {
		return nil, err
	}
	called, err := b.mentions(ctx, s, n, what)
	r.message = b.message(s, l, called)
	return &r, err
}

// resultsMessage has a line for each result, failures first.
func (b *Bot) resultsMessage(results []result, l text.Lang, t *turn) chat.Message {
	m := chat.Message{Title: l.Say(text.Results, len(results)), State: chat.Succeeded, Link: chat.Link{Text: l.Say(text.Details), URL: b.cfg.PublicURL}}
	failed := 0
	var repeat store.Time
	for _, r := range results {
		if r.message.State == chat.Failed {
			failed++
		}
		if r.last.Said == asked && (repeat.IsZero() || r.last.At.Before(repeat.Time)) {
			repeat = r.last.At
		}
		m.Fields = append(m.Fields, chat.Field{Name: r.message.Status, State: r.message.State, Value: r.message.Title, URL: r.message.Link.URL})
		for _, p := range r.message.Mentions {
			if !slices.Contains(m.Mentions, p) {
				m.Mentions = append(m.Mentions, p)
			}
		}
	}
	if failed > 0 {
		m.State, m.Status = chat.Failed, l.Say(text.ResultsFailed, failed)
	}
	if !repeat.IsZero() {
		m.Fields = append([]chat.Field{{Name: l.Field(text.Note), Value: l.Say(text.MayRepeat, l.Time(repeat.Time))}}, m.Fields...)
	}
	t.closes(&m, l)
	return m
}

// wanted is the moment that a subject is at, and the entry of notify that has a chat told of it; ok is false where there is none.
func wanted(s subject, to chatPlace) (n pipeline.Notify, what string, ok bool) {
	what = moment(s)
	n, ok = s.wanted(to, what)
	return n, what, ok && (what != "waiting" || s.d.Scope.V != nil || rests(*s.d)) // what is approved is said with it, a moment later
}
