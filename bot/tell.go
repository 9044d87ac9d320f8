package bot

import (
	"context"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// at addresses a person on GitHub. It is the one place where a comment of ours mentions anybody: by a login that GitHub
// itself gave us, of somebody who asked to be told here.
func at(who string) string {
	if !login.MatchString(who) {
		return text.Markdown(code(who))
	}
	return "@" + who
}

// tell leaves a comment for one person where they said something; nothing where that was nowhere on GitHub.
func (b *Bot) tell(tx *store.Tx, repo string, issue int, who string, key text.Key, args ...any) error {
	if issue == 0 || who == "" {
		return nil
	}
	return tx.PutMention(store.Mention{Repo: repo, Issue: issue, Login: who, Body: b.lang.Say(key, args...)})
}

// sayMention is the work of store.TaskMention: it posts a comment for one person, once.
func (b *Bot) sayMention(ctx context.Context, id string, attempts int) (time.Time, error) {
	var m *store.Mention
	var repo store.Repo
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		if m, err = store.Optional(tx.Mention(id)); err != nil || m == nil {
			return err
		}
		repo, err = tx.Repo(m.Repo)
		return err
	})
	if err != nil || m == nil {
		return time.Time{}, err
	}
	s := subject{key: "mention/" + id, repo: repo}
	body := at(m.Login) + " " + text.Markdown(m.Body)
	err = b.once(ctx, s, "github/mention", "", body, func(last store.Message) (string, error) {
		return b.postComment(ctx, s, m.Issue, body, markOf(s.key), last)
	})
	if err != nil {
		return time.Time{}, final(err, attempts)
	}
	return time.Time{}, b.db.Update(ctx, func(tx *store.Tx) error { return tx.DropMention(id) })
}
