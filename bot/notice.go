package bot

import (
	"context"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// mention addresses a person on GitHub. It is the one place where a comment of ours mentions anybody: by a login that GitHub
// itself gave us, of somebody who asked to be told here.
func mention(who string) string {
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
	return tx.PutNotice(store.Notice{Repo: repo, Issue: issue, Login: who, Body: b.lang.Say(key, args...)})
}

// notice posts a comment for one person, once.
func (b *Bot) notice(ctx context.Context, id string, attempts int) (time.Time, error) {
	var n *store.Notice
	var repo store.Repo
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		if n, err = store.Optional(tx.Notice(id)); err != nil || n == nil {
			return err
		}
		repo, err = tx.Repo(n.Repo)
		return err
	})
	if err != nil || n == nil {
		return time.Time{}, err
	}
	s := subject{key: "notice/" + id, repo: repo}
	body := mention(n.Login) + " " + text.Markdown(n.Body)
	err = b.once(ctx, s, "github/notice", "", body, func(last store.Message) (string, error) {
		return b.postComment(ctx, s, n.Issue, body, markOf(s.key), last)
	})
	if err != nil {
		return time.Time{}, final(err, attempts)
	}
	return time.Time{}, b.db.Update(ctx, func(tx *store.Tx) error { return tx.DropNotice(id) })
}
