package bot

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/web"
	"github.com/shipmate-dev/shipmate/store"
)

// viaPage is how what a person said on a page is recorded.
const viaPage = "page"

// command says a command for a person who is signed in: POST /command with csrf, text, repository (owner/name) and back (a
// path). Several texts are its parts, in their order; a reason goes behind them as one word; sha is the commit that it is about. It goes back to that page, which shows the answer (?said=); to whoever accepts JSON it answers as the API does.
func (s *signIn) command(w http.ResponseWriter, r *http.Request) {
	b := s.bot
	r.Body = http.MaxBytesReader(w, r.Body, maxCall)
	result, err := s.say(r)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		if err == nil {
			result.Answer = b.engine.Mask(result.Answer)
		}
		b.answer(w, http.StatusOK, result, err)
		return
	}
	var p *problem
	switch {
	case errors.As(err, &p):
		b.web.Error(w, r, p.Status, "Not done", b.engine.Mask(p.Detail))
		return
	case err != nil:
		b.log.Warn("a command of a page could not be decided", "err", b.engine.Mask(err.Error()))
		b.web.Error(w, r, http.StatusServiceUnavailable, "Not done", "It cannot be decided now. Please go back and try again in a moment.")
		return
	}
	back, err := url.Parse(localPath(r.PostFormValue("back")))
	if err != nil {
		back = &url.URL{Path: "/"}
	}
	q := back.Query()
	q.Set("said", result.Delivery[strings.LastIndex(result.Delivery, "/")+1:])
	back.RawQuery = q.Encode()
	http.Redirect(w, r, back.String()+"#said", http.StatusSeeOther)
}

func (s *signIn) say(r *http.Request) (*commanded, error) {
	b := s.bot
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, refusal(http.StatusUnauthorized, "you are not signed in; load the page again")
	}
	if !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(csrf(c.Value))) {
		return nil, refusal(http.StatusForbidden, "this form is out of date; go back, load the page again and try once more")
	}
	who, err := s.viewer(r)
	switch {
	case err != nil:
		return nil, err
	case who == nil:
		return nil, refusal(http.StatusUnauthorized, "your session has ended; load the page again to sign in")
	}
	if wait := b.calls.take("page "+strings.ToLower(who.Login), b.db.Now()); wait > 0 {
		return nil, &problem{Title: http.StatusText(http.StatusTooManyRequests), Status: http.StatusTooManyRequests, wait: wait, Detail: "too many commands within a minute; wait a little"}
	}
	said := strings.TrimSpace(strings.Join(r.PostForm["text"], " "))
	if reason := strings.Join(strings.Fields(r.PostFormValue("reason")), " "); reason != "" {
		said += ` "` + escape.Replace(reason) + `"`
	}
	sha := r.PostFormValue("sha")
	if sha != "" && (len(sha) < 40 || !commitID.MatchString(sha)) {
		return nil, refusal(http.StatusBadRequest, "sha is no whole commit id")
	}
	l, err := b.oneCommand(said)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), decideTimeout)
	defer cancel()
	repo, err := b.repoFor(ctx, l, r.PostFormValue("repository"), func(_ context.Context, repo store.Repo) (permission, error) {
		return permission(who.Permission(&repo, repo.Name)), nil
	})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]commandOrder{kindCommand: {Login: who.Login, Text: said, Via: viaPage, SHA: sha, Lang: web.LanguageOf(r)}})
	if err != nil {
		return nil, err
	}
	e := store.Event{ID: web.SaidID(who.Login, deliveryID()), Kind: kindCommand, Repo: &repo.Name, Body: body}
	if _, err := b.db.Accept(ctx, e); err != nil {
		return nil, err
	}
	return b.commanded(ctx, e.ID)
}
