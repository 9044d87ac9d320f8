package bot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// kindCommand is the kind of an event by which a program, or a person on a page, says a command.
const kindCommand = "shipmate_command"

// viaAPI is how what a program said is recorded.
const viaAPI = "api"

// A commandOrder is the body of a kindCommand, under that key.
type commandOrder struct {
	Token string `json:"token,omitempty"` // the name of the token, where it was the API
	Login string `json:"login"`           // as whom it acts
	Text  string `json:"text"`
	Via   string `json:"via,omitempty"`  // viaPage, or a chat: its kind and name; default viaAPI
	SHA   string `json:"sha,omitempty"`  // the commit that the page was about
	Lang  string `json:"lang,omitempty"` // of the page: en or zh

	// Of a chat:
	App     string `json:"app,omitempty"`     // the one that it is about
	Bound   string `json:"bound,omitempty"`   // what a button showed that was approved
	Back    []byte `json:"back,omitempty"`    // where the person is answered, sealed
	Channel string `json:"channel,omitempty"` // where it was said
}

// A commandCall is the body of a call that says a command.
type commandCall struct {
	Text       string `json:"text"`       // as people type it, with or without its slash
	Repository string `json:"repository"` // owner/name; else the first argument is an app that one repository alone has
}

// A commanded is the answer to it: of a command that was obeyed, or as a problem of one that was refused.
type commanded struct {
	Answer   string `json:"answer"`
	Refused  bool   `json:"refused"`
	Delivery string `json:"delivery"` // what /why and bot replay know it by
}

// A refusedCommand is the problem that answers a command which was not obeyed. Its detail is the answer.
type refusedCommand struct {
	problem
	Refused  bool   `json:"refused"`
	Delivery string `json:"delivery"`
}

// maxCommand is the most that a command may have, in bytes.
const maxCommand = 4 << 10

// apiCommand says a command: POST /api/v1/command. It answers 200 once it was obeyed, and 422 where the command was refused, as
// curl --fail and the like expect. For Idempotency-Key see apiTrigger.
func (b *Bot) apiCommand(w http.ResponseWriter, r *http.Request) {
	result, err := b.sayCommand(w, r)
	if err == nil && result.Refused {
		no := refusedCommand{problem{Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity, Detail: b.engine.Mask(result.Answer)}, true, result.Delivery}
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(no.Status)
		_ = json.NewEncoder(w).Encode(no) // who does not read it is gone
		return
	}
	if err == nil {
		result.Answer = b.engine.Mask(result.Answer)
	}
	b.answer(w, http.StatusOK, result, err)
}

func (b *Bot) sayCommand(w http.ResponseWriter, r *http.Request) (*commanded, error) {
	token, err := b.caller(r, mayCommand)
	if err != nil {
		return nil, err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return nil, err
	}
	var call commandCall
	if err := readCall(w, r, &call); err != nil {
		return nil, err
	}
	l, err := b.oneCommand(call.Text)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), decideTimeout)
	defer cancel()
	repo, err := b.repoFor(ctx, l, call.Repository, b.may(token.GitHub))
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]commandOrder{kindCommand: {Token: token.Name, Login: token.GitHub, Text: call.Text}})
	if err != nil {
		return nil, err
	}
	e := store.Event{ID: "api/" + token.Name + "/" + key, Kind: kindCommand, Repo: &repo.Name, Body: body}
	if err := b.acceptOnce(ctx, e); err != nil {
		return nil, err
	}
	return b.commanded(ctx, e.ID)
}

// oneCommand reads what a program says: one line, with or without the slash or the name that it would need in a comment.
func (b *Bot) oneCommand(said string) (line, error) {
	said = strings.TrimSpace(said)
	switch {
	case said == "":
		return line{}, refusal(http.StatusBadRequest, `text is missing; write a command, as in {"text": "promote web production"}`)
	case len(said) > maxCommand:
		return line{}, refusal(http.StatusBadRequest, "a command has at most %d bytes", maxCommand)
	case strings.ContainsAny(said, "\n\r"):
		return line{}, refusal(http.StatusBadRequest, "text has several lines; send one command in a call")
	}
	l := lineOf(said, b.lang)
	if l.Err != nil {
		return l, refusal(http.StatusBadRequest, "text: %v", l.Err)
	}
	return l, nil
}

// lineOf reads a command with or without the slash or the name that it would need in a comment.
func lineOf(said string, lang text.Lang) line {
	l, ok := command1(said, "", false, lang)
	if !ok {
		l, _ = command1("/shipmate "+said, "", false, lang)
	}
	return l
}

// repoFor finds the repository that a command is about, which the caller may read.
func (b *Bot) repoFor(ctx context.Context, l line, in string, may mayIn) (repo store.Repo, err error) {
	if in == "" {
		if len(l.Args) == 0 {
			return repo, refusal(http.StatusBadRequest, `say what it is about: an app as the first argument, or "repository": "owner/name"`)
		}
		if repo, err = b.repoOf(ctx, l.Args[0], "", may); err == nil {
			return repo, nil
		}
		var p *problem
		if errors.As(err, &p) && p.Status == http.StatusNotFound {
			err = refusal(http.StatusNotFound, `there is no app %q; name the app first, or add "repository": "owner/name"`, l.Args[0])
		}
		return repo, err
	}
	var known *store.Repo
	err = b.db.View(ctx, func(tx *store.Tx) (err error) { known, err = store.Optional(tx.Repo(in)); return err })
	if err != nil {
		return repo, err
	}
	if known == nil || b.cfg.MayUseServer(known.Name) != nil {
		return repo, noRepo()
	}
	has, err := may(ctx, *known)
	if err == nil && has < read { // what there is, is not for everybody
		err = noRepo()
	}
	return *known, err
}

func noRepo() error {
	return refusal(http.StatusNotFound, "there is no such repository here; a repository is known once something was pushed to it")
}

// acceptOnce stores an event of the API, unless its id is known; then it must be the same call.
func (b *Bot) acceptOnce(ctx context.Context, e store.Event) error {
	fresh, err := b.db.Accept(ctx, e)
	if fresh || err != nil {
		return err
	}
	var known store.Event
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { known, err = tx.Event(e.ID); return err }); err != nil {
		return err
	}
	if known.Kind != e.Kind || known.Repo == nil || !strings.EqualFold(*known.Repo, *e.Repo) || len(known.Body) > 0 && !bytes.Equal(known.Body, e.Body) {
		return refusal(http.StatusUnprocessableEntity, "this Idempotency-Key was used for another call; choose a new one")
	}
	return nil
}

// commanded waits until the event is decided, and gives the answer.
func (b *Bot) commanded(ctx context.Context, event string) (*commanded, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var e store.Event
		var r *store.Reply
		err := b.db.View(ctx, func(tx *store.Tx) (err error) {
			if e, err = tx.Event(event); err != nil {
				return err
			}
			r, err = store.Optional(tx.Reply(event))
			return err
		})
		switch {
		case err != nil:
			return nil, err
		case r != nil:
			return &commanded{r.Body, r.Reaction == "confused", event}, nil
		case !e.DecidedAt.IsZero():
			return nil, refusal(http.StatusUnprocessableEntity, "nothing came of it: %s", strings.TrimPrefix(e.Trace.V[len(e.Trace.V)-1], "refused: "))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, notDecided(event)
		}
	}
}

// command decides a command that a program said, or a person on a page or in a chat. Its answer is stored for a caller, who may ask
// for it again, and sent to who said it in a chat.
func (b *Bot) command(ctx context.Context, e store.Event, d *decision) error {
	var o commandOrder
	if err := readOwn(e.Body, kindCommand, &o); err != nil || e.Repo == nil {
		d.note("this is no order of the API, a page or a chat, so nothing is done: %v", err)
		return nil
	}
	call := &call{bot: b, login: o.Login, via: viaAPI, event: e.ID, language: b.lang, sha: o.SHA, said: e.ReceivedAt.Time, d: d}
	l := lineOf(o.Text, b.lang)
	switch {
	case o.Via == viaPage:
		call.via, call.language = viaPage, cmp.Or(text.Lang(o.Lang), b.lang)
		d.note("%s says a command on a page", o.Login)
	case o.Via != "":
		call.via, call.channel, call.named, call.bound, call.language = o.Via, o.Channel, o.App, o.Bound, b.cfg.chatLanguage(o.Via)
		l = lineOf(o.Text, call.language)
		d.note("%s says a command in the chat %s", o.Login, o.Via)
	default:
		d.note("the token %s says a command, as %s", o.Token, o.Login)
	}
	return b.asNow(ctx, e, d, func(client *github.Client, repo store.Repo) error {
		call.client, call.repo = client, repo
		all, err := b.hidden(ctx, call)
		if all == nil && err == nil {
			all, err = call.inTime(ctx, e, []line{l})
		}
		if err != nil {
			return err
		}
		d.do(func(tx *store.Tx) error {
			said, refused, err := answers(tx, all)
			if err != nil {
				return err
			}
			reply := store.Reply{Event: e.ID, Repo: repo.Name, Reaction: "rocket"}
			if refused {
				reply.Reaction = "confused"
			}
			for _, a := range said {
				reply.Body += a.text
			}
			if call.inChat() {
				return errors.Join(tx.PutReply(reply), tx.Wake(store.TaskReply, e.ID))
			}
			reply.Body = text.Plain(reply.Body)
			return tx.PutReply(reply)
		})
		return nil
	})
}
