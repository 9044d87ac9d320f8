package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// Notices are told to chats once, in messages of their own: a message that is edited calls nobody.
const (
	noticeReminder = "reminder" // half of the time to approve is over; to those chats that want "waiting"
	noticeNow      = "now"      // it goes without approval; this and what comes of it to every chat of the app
	noticeOverdue  = "overdue"  // nobody agreed in time
	noticeRefused  = "refused"  // somebody who may agree does not
	noticeAgreed   = "agreed"
)

// surfaceNotice is what the surfaces of notices begin with: notice/<which>/<kind>/<name>[/<channel>].
const surfaceNotice = "notice/"

// noticeOf is the notice that a deployment calls for now, or "".
func noticeOf(s subject) string {
	d := s.d
	switch {
	case d == nil:
	case d.Cause == store.CauseNow:
		if d.BeganAt.IsZero() {
			return ""
		}
		switch {
		case d.RatifiedBy != "":
			return noticeAgreed
		case d.RatifyBy.IsZero():
			return ""
		case against(s.votes) != nil:
			return noticeRefused
		case !d.RemindedAt.IsZero():
			return noticeOverdue
		}
		return noticeNow
	case waitsForApproval(*d) && !d.RemindedAt.IsZero():
		return noticeReminder
	case s.order != nil && s.order.State == store.OrderWaiting && !s.order.RemindedAt.IsZero() && d.Part == 1: // it speaks for all
		return noticeReminder
	}
	return ""
}

// waitsForApproval tells whether an approval is among what a deployment waits for, before it begins or at a step of its flow.
func waitsForApproval(d store.Deployment) bool {
	return (d.State == store.Blocked || d.State == store.Paused) && slices.ContainsFunc(d.Blocks.V, func(b store.Block) bool { return b.Kind == store.BlockApproval })
}

// against is the first vote against, nil for none.
func against(votes []store.Approval) *store.Approval {
	for _, v := range votes {
		if v.Vote == "reject" {
			return &v
		}
	}
	return nil
}

// noticeSurfaces lists where a subject's notice is told.
func noticeSurfaces(s subject) (surfaces []string) {
	what := noticeOf(s)
	if what == "" {
		return nil
	}
	for _, n := range s.notify {
		if what == noticeReminder && !n.Wants("waiting", s.environment()) {
			continue
		}
		surfaces = append(surfaces, surfaceNotice+what+"/"+chatOf(n).surface())
	}
	return surfaces
}

// wakePastNotices has those notices looked at again that were told where they can be edited and are over: what their buttons say makes
// no sense any more.
func wakePastNotices(tx *store.Tx, s subject) error {
	if s.d == nil || s.d.RemindedAt.IsZero() && s.d.Cause != store.CauseNow && s.order == nil {
		return nil
	}
	for _, n := range s.notify {
		for _, what := range []string{noticeReminder, noticeNow, noticeOverdue, noticeRefused} {
			surface := surfaceNotice + what + "/" + chatOf(n).surface()
			told, err := tx.Message(s.key, surface, "")
			if err != nil {
				return err
			}
			if told.Ref != "" && what != noticeOf(s) && chatOf(n).edits() {
				if err := tx.Wake(taskSay, s.key+"\n"+surface); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rounds tells one question about a deployment from another: how often it was asked again, since its rules changed, and at which step
// of its flow.
func rounds(d *store.Deployment) int {
	if d == nil || d.Rules.V == nil {
		return 0
	}
	n := len(d.Rules.V.Changes)
	if _, rest, ok := strings.Cut(d.Rules.V.Step, "/"); ok {
		position, _, _ := strings.Cut(rest, "/")
		step, _ := strconv.Atoi(position) // it was written by us
		n += 1000 * step
	}
	return n
}

// round tells one round from another: what was said of a deployment before its rules changed, or before it rested again, is said again.
func round(d *store.Deployment) string {
	said := ""
	if n := rounds(d); n > 0 {
		said = fmt.Sprintf(" %d", n)
	}
	switch {
	case d == nil:
	case rests(*d) && restsForPerson(*d): // what goes on by itself is told once
		said += fmt.Sprintf(" rests %d", d.Blocks.V[0].Since.Unix())
	case store.Active(d.State) && d.State != store.Paused && d.ResumedBy != "":
		said += fmt.Sprintf(" resumed %d", d.ResumedAt.Unix())
	}
	return said
}

// sayNotice tells a chat the notice that a deployment calls for now. One that is over loses its buttons, where it can be edited.
func (b *Bot) sayNotice(ctx context.Context, s subject, surface string) error {
	what, where, _ := strings.Cut(strings.TrimPrefix(surface, surfaceNotice), "/")
	to, ok := chatAt(where)
	if !ok {
		return giveUp{fmt.Errorf("no surface is called %q", surface)}
	}
	service, l, err := b.chat(&s, to)
	if service == nil {
		return err
	}
	said, over := what+round(s.d), noticeOf(s) != what
	if over {
		said = "over " + said
		var told store.Message
		if err := b.db.View(ctx, func(tx *store.Tx) (err error) { told, err = tx.Message(s.key, surface, ""); return err }); err != nil || told.Ref == "" || !to.edits() {
			return err
		}
	}
	m, err := b.noticeMessage(ctx, s, what, to, l)
	if err != nil {
		return err
	}
	if over {
		m.Buttons = nil
	}
	return b.once(ctx, s, surface, "", said, func(last store.Message) (string, error) {
		if over {
			err := service.Edit(ctx, chat.Ref(last.Ref), m)
			if errors.Is(err, chat.ErrCannotEdit) { // it is gone, and its buttons with it
				err = nil
			}
			return last.Ref, chatError(err)
		}
		s.turn.closes(&m, l)
		return b.post(ctx, s, service, to, m, last, l)
	})
}

// noticeMessage is the notice itself.
func (b *Bot) noticeMessage(ctx context.Context, s subject, what string, to chatPlace, l text.Lang) (m chat.Message, err error) {
	var approvers []chat.Person
	if what != noticeAgreed {
		by := s.rules.By
		for _, block := range s.d.Blocks.V {
			if asksForOrder(*s.d, block) { // every part's
				by = block.By
			}
		}
		if approvers, err = b.peopleIn(ctx, to, by); err != nil {
			return m, err
		}
	}
	d := s.d
	m = b.message(s, l, approvers)
	m.Key, m.Buttons = s.key+" "+what+round(d), b.chatButtons(s, l)
	title := map[string]text.Key{noticeReminder: text.RemindTitle, noticeNow: text.NowTitle, noticeOverdue: text.NowLateTitle, noticeRefused: text.NowNoTitle, noticeAgreed: text.NowYesTitle}
	m.Title = l.Say(title[what], d.App, d.Release, d.Environment)
	m.State = map[string]chat.State{noticeReminder: chat.Waiting, noticeAgreed: chat.Succeeded}[what]
	if what != noticeReminder {
		m.Status = ratifyWords(s, l)
		if what != noticeAgreed {
			m.State = chat.Failed
			v := b.approvalText(s)
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Note), Value: text.Plain(l.Say(text.AskSay, code(v.Approve), code(v.Reject)))})
		}
	}
	return m, nil
}

// fewCommits is how many commits stand in a field.
const fewCommits = 3

// approvalFields are what a chat's message says of what is approved, in short.
func (b *Bot) approvalFields(s subject, l text.Lang) (fields []chat.Field) {
	d := s.d
	if d.Note != "" {
		fields = append(fields, chat.Field{Name: l.Field(text.Reason), Value: d.Note})
	}
	if d.Cause == store.CauseRollback && s.rules.Count > 0 {
		fields = append(fields, chat.Field{Name: l.Field(text.Note), Value: l.Say(text.NotApproved, s.rules.Count)})
	}
	if !waitsForApproval(*d) && !unratified(*d) {
		return fields
	}
	v := b.approvalText(s)
	first, commits := v.scope(l)
	if len(commits) > 0 {
		more := ""
		if n := len(commits) - fewCommits; n > 0 {
			commits, more = commits[:fewCommits], " …"
		}
		first += " " + strings.Join(commits, " / ") + more
	}
	fields = append(fields, chat.Field{Name: l.Field(text.Changes), Value: text.Plain(first)})
	if v.Scope != nil && len(v.Scope.Jobs) > 0 {
		fields = append(fields, chat.Field{Name: l.Field(text.Jobs), Value: strings.Join(v.Scope.Jobs, ", ")})
	}
	who := v.who(l)
	if !v.Until.IsZero() && !v.Ratify {
		who = append(who, l.Say(text.AskUntil, l.Time(v.Until)))
	}
	fields = append(fields, chat.Field{Name: l.Field(text.Approval), Value: text.Plain(l.Join(who))})
	if void := v.void(l); len(void) > 0 {
		fields = append(fields, chat.Field{Name: l.Field(text.Note), Value: text.Plain(l.Join(void))})
	}
	return fields
}

// approvers lists whose approval counts for what a deployment is, or was, asked about.
func approvers(s subject) []string {
	if r := s.d.Rules.V; r != nil {
		return pipeline.Agreed(s.votes, *r)
	}
	return pipeline.Approvers(s.votes, boundOf(s.votes))
}
