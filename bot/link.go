package bot

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/bot/web"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/store"
)

// Who somebody in a chat is on GitHub, they say themselves: /link gives them an address; there they sign in, see which user of which
// chat has asked, and confirm; and the user sends back the digits that are shown then. Neither half is enough: who sends their address
// to somebody else is named on the page that this person sees, and gets no digits.

const (
	linkTime   = 10 * time.Minute // from the command until the digits are sent back
	linkMisses = 5                // how often other digits may be sent
	sealedLink = "link"           // what the digits are sealed with
)

// linkID is what a request is stored by: the database opens no address.
func linkID(code string) string {
	sum := sha256.Sum256([]byte("link " + code))
	return hex.EncodeToString(sum[:])
}

// personIn is the GitHub login of a user of a chat: by the server's file, else by a link; "" for nobody.
func (b *Bot) personIn(ctx context.Context, kind, name, user string) (login string, err error) {
	if login = b.cfg.personIn(kind, name, user); login != "" {
		return login, nil
	}
	err = b.db.View(ctx, func(tx *store.Tx) error {
		l, err := store.Optional(tx.Link(b.cfg.scopeOf(kind, name), user))
		if l != nil && b.cfg.ChatUser(kind, name, l.Login) == "" { // else the file says by now who that is
			login = l.Login
		}
		return err
	})
	return login, err
}

// peopleIn are logins as the users of a chat that they are.
func (b *Bot) peopleIn(ctx context.Context, to chatPlace, logins []string) (all []chat.Person, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		for _, login := range logins {
			p := chat.Person{GitHub: login, ID: b.cfg.ChatUser(to.kind, to.name, login)}
			if p.ID == "" {
				l, err := store.Optional(tx.LinkOf(login, b.cfg.scopeOf(to.kind, to.name)))
				if err != nil {
					return err
				}
				if l != nil && b.cfg.personIn(to.kind, to.name, l.User) == "" {
					p.ID = l.User
				}
			}
			all = append(all, p)
		}
		return nil
	})
	return all, err
}

// knownIn lists everybody whose user in a chat is known.
func (b *Bot) knownIn(ctx context.Context, to chatPlace) ([]chat.Person, error) {
	var logins []string
	for _, p := range b.cfg.People {
		logins = append(logins, p.GitHub)
	}
	err := b.db.View(ctx, func(tx *store.Tx) error {
		linked, err := tx.LinksIn(b.cfg.scopeOf(to.kind, to.name))
		for _, l := range linked {
			if !slices.ContainsFunc(logins, func(login string) bool { return strings.EqualFold(login, l.Login) }) {
				logins = append(logins, l.Login)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.peopleIn(ctx, to, logins)
}

// askWho gives a user of a chat an address by which to say who they are on GitHub; without sign-in it tells how else that is known.
// why is put in front, and may be empty.
func (b *Bot) askWho(ctx context.Context, kind, name string, h chat.Heard, why string, l text.Lang) (a chat.Answer, err error) {
	if b.signIn == nil {
		return chat.Answer{Refused: true, Text: b.spans(l.Say(text.Stranger, code(fmt.Sprintf("- {github: LOGIN, %s: {%s: %s}}", kind, name, h.User))))}, nil
	}
	if h.Public { // the first who opens an address has it
		return chat.Answer{Refused: true, Text: b.spans(strings.TrimSpace(why + " " + l.Say(text.LinkAlone, code(b.typedIn(kind+"/"+name, "/link", "")))))}, nil
	}
	secret := strings.ToLower(rand.Text()) // 130 bits
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		return tx.PutLinkRequest(store.LinkRequest{ID: linkID(secret), Scope: b.cfg.scopeOf(kind, name), User: h.User, Name: text.Fit(h.Name, 80),
			Chat: kind + "/" + name, ExpiresAt: store.Time{Time: tx.Now().Add(linkTime)}})
	})
	a = chat.Answer{Refused: why != "", Text: b.spans(strings.TrimSpace(why+" "+l.Say(text.LinkHere, l.Duration(linkTime))) + " ")}
	a.Text = append(a.Text, chat.Span{Text: b.page("link", secret), Kind: chat.Address})
	return a, err
}

// link is /link in a chat: without arguments it gives an address, with the digits that this led to it makes the link. login is who
// the user is so far.
func (b *Bot) link(ctx context.Context, kind, name string, h chat.Heard, login string, args []string, l text.Lang) (chat.Answer, error) {
	in := kind + "/" + name
	no := func(key text.Key, args ...any) (chat.Answer, error) {
		return chat.Answer{Refused: true, Text: b.spans(l.Say(key, args...))}, nil
	}
	again := code(b.typedIn(in, "/link", ""))
	switch {
	case b.cfg.personIn(kind, name, h.User) != "":
		return no(text.LinkedByFile, code(login))
	case len(args) == 0:
		return b.askWho(ctx, kind, name, h, "", l)
	case len(args) > 1 || b.signIn == nil:
		return no(text.Usage, code(b.typedIn(in, "/link [code]", "")))
	}
	var key text.Key // of what is wrong; Linked where nothing is
	var left int
	scope := b.cfg.scopeOf(kind, name)
	err := b.db.Update(ctx, func(tx *store.Tx) error {
		key, left = text.Linked, 0
		q, err := store.Optional(tx.LinkRequestOf(scope, h.User))
		if err != nil {
			return err
		}
		switch {
		case q == nil && login != "": // it is heard twice
			return nil
		case q == nil:
			key = text.LinkUnasked
			return nil
		case !tx.Now().Before(q.ExpiresAt.Time):
			key = text.LinkExpired
			return tx.DropLinkRequest(*q)
		case q.Login == "":
			key = text.LinkUnconfirmed
			return nil
		}
		digits, err := b.engine.Sealer.Open(q.Digits, sealedLink)
		if err != nil {
			return err
		}
		if !hmac.Equal([]byte(args[0]), digits) {
			if left = linkMisses - q.Misses - 1; left > 0 {
				key = text.LinkMissed
				return tx.MissLinkRequest(*q)
			}
			key = text.LinkMissedAll
			return tx.DropLinkRequest(*q)
		}
		if taken, err := b.userOf(tx, in, q.Login); taken != "" || err != nil { // meanwhile
			key = text.LinkTaken
			return err
		}
		login = q.Login
		return b.putLink(tx, *q)
	})
	switch {
	case err != nil:
		return chat.Answer{}, err
	case key == text.Linked:
		a := chat.Answer{Text: b.spans(l.Say(key, code(login)) + " ")}
		a.Text = append(a.Text, chat.Span{Text: b.cfg.PublicURL + "/links", Kind: chat.Address})
		return a, nil
	case key == text.LinkMissed:
		return no(key, left)
	}
	return no(key, again)
}

// userOf is which user of a chat a login is already, by the server's file or by a link; "" for none.
func (b *Bot) userOf(tx *store.Tx, in, login string) (string, error) {
	kind, name, _ := strings.Cut(in, "/")
	if user := b.cfg.ChatUser(kind, name, login); user != "" {
		return user, nil
	}
	l, err := store.Optional(tx.LinkOf(login, b.cfg.scopeOf(kind, name)))
	if l == nil {
		return "", err
	}
	return l.User, err
}

// putLink makes the link of a request, and has it told to the person wherever else they are known.
func (b *Bot) putLink(tx *store.Tx, q store.LinkRequest) error {
	all, err := tx.LinksOf(q.Login)
	if err != nil {
		return err
	}
	told := map[string]string{} // who they are in which chats
	for _, l := range all {
		told[l.Chat] = l.User
	}
	for in := range b.chats {
		kind, name, _ := strings.Cut(in, "/")
		if user := b.cfg.ChatUser(kind, name, q.Login); user != "" {
			told[in] = user
		}
	}
	for in, user := range told {
		kind, name, _ := strings.Cut(in, "/")
		if b.cfg.tellsPeople(kind, name) {
			if err := tx.Wake(taskLinked, strings.Join([]string{q.Scope, q.User, in, user}, "\n")); err != nil {
				return err
			}
		}
	}
	return errors.Join(tx.PutLink(store.Link{Scope: q.Scope, User: q.User, Login: q.Login, Name: q.Name, Chat: q.Chat}), tx.DropLinkRequest(q),
		tx.Audit(store.Entry{Actor: q.Login, Via: q.Chat, Action: "link", Subject: "link/" + q.Scope, Detail: q.User + " in " + q.Chat + " is " + q.Login}))
}

// taskLinked is the kind of the task that tells somebody, in another chat, that a user was linked to them; its key is the link's scope
// and user, that chat and who they are there, each on a line.
const taskLinked = "linked"

// sayLinked tells somebody that a user of a chat acts as them now: if it is not their own, they must hear of it elsewhere.
func (b *Bot) sayLinked(ctx context.Context, key string, _ int) (time.Time, error) {
	part := strings.Split(key, "\n")
	if len(part) != 4 {
		return time.Time{}, nil
	}
	var link *store.Link
	err := b.db.View(ctx, func(tx *store.Tx) (err error) { link, err = store.Optional(tx.Link(part[0], part[1])); return err })
	to, ok := chatAt(part[2] + "/" + part[3])
	service := b.chats[to.chat()]
	if err != nil || link == nil || !ok || service == nil {
		return time.Time{}, err
	}
	l := b.cfg.chatLanguage(to.chat())
	s := subject{key: "link/" + link.Scope + "/" + link.User + "/" + link.At.Format(time.RFC3339)}
	m := chat.Message{Key: s.key, Title: l.Say(text.LinkedTitle, link.Login), State: chat.Waiting,
		Fields: []chat.Field{{Name: l.Field(text.Chat), Value: link.Chat}, {Name: l.Field(text.User), Value: strings.TrimSpace(link.Name + " " + link.User)},
			{Name: l.Field(text.Note), Value: l.Say(text.LinkedRemedy)}},
		Link: chat.Link{Text: l.Say(text.Details), URL: b.cfg.PublicURL + "/links"}}
	return time.Time{}, b.once(ctx, s, to.surface(), "", m.Key, func(last store.Message) (string, error) {
		return b.post(ctx, s, service, to, m, last, l)
	})
}

// linkPage asks who is signed in whether they are the user of a chat who sent for this address, and shows whom that is: GET
// /link/{code}. What they confirm by POST, with csrf, is then theirs to finish: it shows the digits to send back. The address is good
// for one person, who may look at it again until it expires.
func (s *signIn) linkPage(w http.ResponseWriter, r *http.Request, who *web.Viewer) {
	b := s.bot
	r.Body = http.MaxBytesReader(w, r.Body, maxCall)
	confirms := r.Method == http.MethodPost
	if confirms && !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(who.CSRF)) {
		b.web.Error(w, r, http.StatusForbidden, "Not linked", "This form is out of date. Please go back, load the page again and try once more.")
		return
	}
	var q *store.LinkRequest
	var taken string
	work := b.db.View
	if confirms {
		work = b.db.Update
	}
	err := work(r.Context(), func(tx *store.Tx) (err error) {
		taken = ""
		q, err = store.Optional(tx.LinkRequest(linkID(r.PathValue("code"))))
		if err != nil || q == nil || !tx.Now().Before(q.ExpiresAt.Time) || q.Login != "" && !strings.EqualFold(q.Login, who.Login) {
			q = nil
			return err
		}
		if taken, err = b.userOf(tx, q.Chat, who.Login); err != nil || taken != "" || !confirms || q.Login != "" {
			return err
		}
		n, err := rand.Int(rand.Reader, big.NewInt(1e6))
		if err != nil {
			return err
		}
		q.Login = who.Login
		if q.Digits, err = b.engine.Sealer.Seal(fmt.Appendf(nil, "%06d", n), sealedLink); err != nil {
			return err
		}
		return tx.ConfirmLinkRequest(*q)
	})
	page := web.LinkPage{}
	if err == nil && q != nil {
		page = web.LinkPage{Chat: q.Chat, User: q.User, Name: q.Name, Until: q.ExpiresAt.Time}
		if q.Login != "" {
			var digits []byte
			digits, err = b.engine.Sealer.Open(q.Digits, sealedLink)
			page.Send = b.typedIn(q.Chat, "/link "+string(digits), "")
		}
	}
	switch {
	case err != nil:
		b.log.Error("a request for a link could not be read", "err", b.engine.Mask(err.Error()))
		b.web.Error(w, r, http.StatusServiceUnavailable, "Not linked", "It cannot be decided now. Please go back and try again in a moment.")
	case q == nil:
		b.web.Error(w, r, http.StatusGone, "Not linked", "This address was used, has expired, or a newer one was asked for. Say link in the chat again to get a new one.")
	case taken != "":
		b.web.Error(w, r, http.StatusConflict, "Not linked", "In that chat you are %s already, and can be one user only. Take that back at /links first, or ask who runs this server to change people in its file.", taken)
	case confirms:
		http.Redirect(w, r, r.URL.Path, http.StatusSeeOther)
	default:
		b.web.Link(w, r, who, page)
	}
}
