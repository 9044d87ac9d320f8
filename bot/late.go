package bot

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// What is heard of late may have become wrong meanwhile: this file says what is done then.

// tooLate is the age at which a command that acts is not obeyed any more before its author confirms it (commands.md).
const tooLate = 10 * time.Minute

// acts tells whether a line is a command that does something, rather than only read.
func acts(l line, lang text.Lang) bool {
	cmd := find(l.Name, lang)
	return cmd != nil && cmd.acts
}

// inTime is obey for lines that may come late: then what acts waits for a word of its author.
func (c *call) inTime(ctx context.Context, e store.Event, lines []line) (all []outcome, err error) {
	late := c.bot.db.Now().Sub(c.said)
	for _, l := range lines {
		if late > tooLate && e.Via != store.ViaReplay && acts(l, c.lang()) {
			c.d.note("it comes %s after it was written, so its author is asked first", late.Round(time.Second))
			all = append(all, c.no(text.CommandLate, c.lang().Duration(late), code(c.typed(l.String()))))
			continue
		}
		fn, err := c.obey(ctx, []line{l})
		if err != nil {
			return nil, err
		}
		all = append(all, fn...)
	}
	return all, nil
}

// maxBody is how many bytes of answers go into one comment, of which GitHub takes 65536 characters.
const maxBody = 60000

// append adds an answer to those of a comment, where it still fits.
func (b *Bot) append(body, answer string) string {
	if body != "" {
		answer = "\n\n" + answer
	}
	if len(body)+len(answer) <= maxBody {
		return body + answer
	}
	if note := b.lang.Say(text.AnswerTooLong); !strings.HasSuffix(body, note) {
		return strings.TrimPrefix(body+"\n\n"+note, "\n\n")
	}
	return body
}

// onceFor lets fn happen for one delivery of a comment only. The delivery's id proves nothing: it stands in a header that the
// signature does not cover. An operator's replay is meant.
func onceFor(e store.Event, comment int64, d *decision, fn func(*store.Tx) error) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		if e.Via != store.ViaReplay {
			other, err := tx.Answered(comment)
			if err != nil {
				return err
			}
			if other != "" {
				d.note("nothing is done: the comment was answered already, for delivery %s", other)
				return nil
			}
		}
		return fn(tx)
	}
}

// overtakenRun records a push whose commit is not built, since its branch had moved on before we heard of it: its page and
// its status tell. It has no configuration, so chats are not told: after an outage that would be old news, many times.
func overtakenRun(tx *store.Tx, run store.Run, why string) error {
	run.Config.V = json.RawMessage("{}")
	return tx.NewOvertakenRun(&run, why, pipeline.StepFetch, pipeline.StepBuild, pipeline.StepResolve)
}

// knownRun finds the run that makes another one of the same push unnecessary; nil where there is none.
func knownRun(tx *store.Tx, e store.Event, run store.Run) (*store.Run, error) {
	switch {
	case e.Kind == kindGap: // nobody told of the push: any run of the commit will do
		return store.Optional(tx.RunOf(run.Repo, run.App, run.SHA))
	case e.Via != store.ViaReplay:
		return store.Optional(tx.RunFor(run.Repo, run.App, run.SHA, run.Event))
	}
	return nil, nil
}
