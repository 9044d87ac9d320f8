package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/store"
)

// What people say in chats: it is stored as the command that it is, said by the GitHub login that the person is tied to, and then
// decided like any other.

const (
	maxHeard    = 1 << 20 // bytes of a request: a press brings the message with it
	hearTimeout = 2500 * time.Millisecond
	sealedBack  = "back" // what the place of an answer is sealed with
)

// hear takes what people say in a chat: POST /chat/{kind}/{name}/{what}. Providers wait for 3 s at most.
func (b *Bot) hear(w http.ResponseWriter, r *http.Request) {
	kind, name, what := r.PathValue("kind"), r.PathValue("name"), r.PathValue("what")
	service, ok := b.chats[kind+"/"+name].(chat.Hearer)
	if !ok || !b.cfg.hears(kind, name) {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), hearTimeout)
	defer cancel()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHeard))
	if err != nil {
		http.Error(w, "the request cannot be read, or has more than 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	h, err := service.Hear(ctx, r, what, body)
	switch {
	case errors.Is(err, chat.ErrNotGenuine):
		http.Error(w, "the signature is not that of the chat", http.StatusUnauthorized)
		return
	case err != nil:
		b.log.Warn("what was said in a chat cannot be read", "chat", kind+"/"+name, "err", b.engine.Mask(err.Error()))
		http.Error(w, "it cannot be read", http.StatusBadRequest)
		return
	case h.Heard == nil:
		w.Header().Set("Content-Type", h.Type)
		_, _ = io.WriteString(w, h.Body) // who does not read it is gone
		return
	}
	answer, stored, err := b.heard(ctx, kind, name, *h.Heard)
	if err != nil {
		b.log.Warn("what was said in a chat cannot be stored", "chat", kind+"/"+name, "err", b.engine.Mask(err.Error()))
		http.Error(w, "it cannot be stored now; please say it again", http.StatusServiceUnavailable)
		return
	}
	if h.At != nil {
		w.Header().Set("Content-Type", h.Type)
		_, _ = io.WriteString(w, h.At(answer))
		return
	}
	if !stored { // nobody else will tell them
		if err := service.Answer(ctx, h.Heard.Back, answer); err != nil {
			b.log.Warn("a person in a chat could not be answered", "chat", kind+"/"+name, "err", b.engine.Mask(err.Error()))
		}
	}
}

// saidByButton is the value of a button: what it says, where, and what was shown.
type saidByButton struct {
	Text  string `json:"t"`
	Repo  string `json:"r"`
	App   string `json:"a"`
	Bound string `json:"b,omitempty"`
}

// heard stores what a person said as a command. stored is false where it went no further, and then the answer says why.
func (b *Bot) heard(ctx context.Context, kind, name string, h chat.Heard) (_ chat.Answer, stored bool, err error) {
	in := kind + "/" + name
	l := b.cfg.chatLanguage(in)
	refuse := func(key text.Key, args ...any) (chat.Answer, bool, error) {
		return chat.Answer{Refused: true, Text: b.spans(l.Say(key, args...))}, false, nil
	}
	login := b.cfg.personIn(kind, name, h.User)
	if login == "" {
		return refuse(text.Stranger, code(fmt.Sprintf("- {github: LOGIN, %s: {%s: %s}}", kind, name, h.User)))
	}
	if wait := b.calls.take(in+" "+h.User, b.db.Now()); wait > 0 {
		return refuse(text.TooMuchSaid, l.Duration(wait))
	}
	o := commandOrder{Login: login, Via: in}
	var repo *store.Repo
	var said line
	if h.Value != "" {
		var p saidByButton
		if err := json.Unmarshal([]byte(h.Value), &p); err != nil {
			return refuse(text.OldButton)
		}
		if h.Reason != "" {
			p.Text += ` "` + escape.Replace(strings.Join(strings.Fields(h.Reason), " ")) + `"`
		}
		o.App, o.Bound, said = p.App, p.Bound, lineOf(p.Text, l)
		err = b.db.View(ctx, func(tx *store.Tx) (err error) { repo, err = store.Optional(tx.Repo(p.Repo)); return err })
		if err == nil && (repo == nil || b.cfg.MayUseServer(repo.Name) != nil || b.cfg.MayUseChat(kind, name, repo.Name) != nil) {
			return refuse(text.OldButton)
		}
	} else {
		first, _, _ := strings.Cut(strings.TrimSpace(h.Text), "\n") // one command at a time
		if first == "" {
			first = "help"
		}
		said = lineOf(text.Fit(first, maxCommand), l)
		cmd := find(said.Name, l)
		switch {
		case cmd == nil:
			return refuse(text.NoSuchCommand, code(b.typedIn(in, "/help", "")))
		case said.Err != nil:
			return refuse(text.OpenQuote, code(b.typedIn(in, cmd.usage, "APP")))
		case cmd.name == "help":
			return b.helpInChat(in, said, l), false, nil
		case cmd.name == "link" || strings.HasSuffix(cmd.name, "subscribe"):
			return refuse(text.NotYet, code(cmd.name), code(b.typedIn(in, cmd.usage, "APP")))
		}
		repo, o.App, err = b.aboutInChat(ctx, kind, name, cmd, &said)
		var no *Refusal
		if errors.As(err, &no) {
			return refuse(text.SayWhich, code(b.typedIn(in, cmd.usage, "APP")))
		}
		if errors.Is(err, store.ErrNotFound) {
			return refuse(text.NoAppHere, code(said.Args[0]))
		}
	}
	if err != nil {
		return chat.Answer{}, false, err
	}
	o.Text = said.String()
	if o.Back, err = b.engine.Sealer.Seal([]byte(h.Back), sealedBack); err != nil {
		return chat.Answer{}, false, err
	}
	body, err := json.Marshal(map[string]commandOrder{kindCommand: o})
	if err != nil {
		return chat.Answer{}, false, err
	}
	if _, err := b.db.Accept(ctx, store.Event{ID: in + "/" + h.ID, Kind: kindCommand, Repo: &repo.Name, Body: body}); err != nil {
		return chat.Answer{}, false, err
	}
	return chat.Answer{Text: b.spans(l.Say(text.Heard, code(b.typedIn(in, o.Text, o.App))))}, true, nil
}

// aboutInChat finds what a command in a chat is about: the app that it names first, or owner/name and then the app, and takes off the
// line what its command does not read itself. A Refusal means that it names none, ErrNotFound that there is none.
func (b *Bot) aboutInChat(ctx context.Context, kind, name string, cmd *command, said *line) (repo *store.Repo, app string, err error) {
	if len(said.Args) == 0 {
		return nil, "", &Refusal{}
	}
	in, args := "", said.Args
	if strings.Contains(args[0], "/") && len(args) > 1 {
		in, args = args[0], args[1:]
	}
	app = args[0]
	if cmd.name == "order" && in == "" && orderVerb(app) != nil { // an order names its apps behind the environment
		app = ""
		for _, arg := range args {
			if part := typedPart.FindStringSubmatch(arg); part != nil && app == "" {
				app = part[1]
			}
		}
		if app == "" {
			return nil, "", &Refusal{}
		}
	} else if slices.Contains([]string{"approve", "reject", "why", "order"}, cmd.name) {
		args = args[1:]
	}
	err = b.db.View(ctx, func(tx *store.Tx) error {
		found, err := tx.DeclaredApps(app)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(a store.Declared) bool {
			return in != "" && !strings.EqualFold(a.Repo, in) || b.cfg.MayUseServer(a.Repo) != nil || b.cfg.MayUseChat(kind, name, a.Repo) != nil
		})
		switch len(found) {
		case 0:
			return store.ErrNotFound
		case 1:
			r, err := tx.Repo(found[0].Repo)
			repo = &r
			return err
		}
		return &Refusal{}
	})
	if err == nil {
		said.Args = args
	}
	return repo, app, err
}

// helpInChat lists all commands, or tells of one: what a person may say is known of a repository only.
func (b *Bot) helpInChat(in string, said line, l text.Lang) chat.Answer {
	var lines []string
	for _, cmd := range table() {
		if len(said.Args) == 0 || slices.Contains(cmd.names(l), strings.ToLower(strings.TrimLeft(said.Args[0], "/／"))) {
			lines = append(lines, "• "+code(b.typedIn(in, cmd.usage, "APP"))+" "+l.Say(cmd.help))
		}
	}
	if len(lines) == 0 {
		return chat.Answer{Refused: true, Text: b.spans(l.Say(text.NoSuchCommand, code(b.typedIn(in, "/help", ""))))}
	}
	return chat.Answer{Text: b.spans(strings.Join(lines, "\n"))}
}

// inChat tells whether it was said in a chat.
func (c *call) inChat() bool { return strings.Contains(c.via, "/") }

// hidden refuses who may not even read the repository, as if there were none: in a chat there are such people. nil for everybody else.
func (b *Bot) hidden(ctx context.Context, c *call) ([]outcome, error) {
	if !c.inChat() {
		return nil, nil
	}
	has, err := b.access.permission(ctx, c.client, c.repo.Name, c.login)
	switch {
	case declined(err):
	case err != nil:
		return nil, err
	case has >= read:
		return nil, nil
	}
	return []outcome{c.no(text.NoAppHere, code(c.named))}, nil
}

// typedIn is how a command has to be written in a chat (its kind and name), where its first argument is the app; where nobody is heard
// there, in a comment.
func (b *Bot) typedIn(in, form, app string) string {
	kind, name, _ := strings.Cut(in, "/")
	service, ok := b.chats[in].(chat.Hearer)
	if !ok || !b.cfg.hears(kind, name) {
		return b.typed(form)
	}
	l := b.cfg.chatLanguage(in)
	var all []string
	for _, one := range strings.Split(strings.TrimPrefix(form, "/"), ", /") { // a usage may show several
		name, rest, _ := strings.Cut(one, " ")
		verb, _, _ := strings.Cut(rest, " ")
		if app != "" && name != "help" && name != "link" && rest != app && !strings.HasPrefix(rest, app+" ") && !(name == "order" && verb == "create") && !(strings.HasSuffix(name, "subscribe")) {
			rest = strings.TrimSpace(app + " " + rest)
		}
		if l == text.Zh {
			name, rest = inChinese(name, rest, slices.Contains(usages(), form))
		}
		all = append(all, service.Typed(strings.TrimSpace(name+" "+rest)))
	}
	return strings.Join(all, ", ")
}

// usages are the forms of all commands, in which words stand for what is to be typed.
func usages() (all []string) {
	for _, cmd := range table() {
		all = append(all, cmd.usage)
	}
	return all
}

// inChinese is how a command is written in Chinese: by its Chinese name, and in a usage with Chinese words for what is to be typed.
func inChinese(name, rest string, usage bool) (string, string) {
	if cmd := find(name, text.Zh); cmd != nil && name == cmd.name {
		also := strings.Fields(cmd.also)
		name = also[len(also)-1] // the Chinese one stands last
	}
	rest = strings.ReplaceAll(rest, "reason…", "原因…")
	if usage {
		rest = text.Zh.Usage(rest)
	}
	return name, rest
}

// answerInChat tells a person in a chat what came of what they said.
func (b *Bot) answerInChat(ctx context.Context, s subject, event string, r store.Reply) error {
	var e store.Event
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { e, err = tx.Event(event); return err }); err != nil {
		return err
	}
	var o commandOrder
	if err := readOwn(e.Body, kindCommand, &o); err != nil || o.Back == nil {
		return err
	}
	back, err := b.engine.Sealer.Open(o.Back, sealedBack)
	if err != nil {
		return giveUp{err}
	}
	service, ok := b.chats[o.Via].(chat.Hearer)
	if !ok {
		return giveUp{fmt.Errorf("the chat %s is not in the server's file any more", o.Via)}
	}
	return b.once(ctx, s, "chat/reply", "", r.Body, func(store.Message) (string, error) {
		return "", chatError(service.Answer(ctx, chat.Back(back), chat.Answer{Refused: r.Reaction == "confused", Text: b.spans(r.Body)}))
	})
}

// spans are the pieces of a text in the marks of text.Quote, without secrets.
func (b *Bot) spans(s string) (all []chat.Span) {
	for _, p := range text.Parts(b.engine.Mask(s)) {
		span := chat.Span{Text: p.Text}
		switch {
		case p.Quoted:
			span.Kind = chat.Code
		case p.Block:
			span.Kind = chat.Block
		}
		if span.Text != "" {
			all = append(all, span)
		}
	}
	return all
}

// chatButtons are those of a message about a subject: of each deployment that waits for approval.
func (b *Bot) chatButtons(s subject, l text.Lang) (all []chat.Button) {
	waiting := s.deploys
	if s.d != nil {
		waiting = []store.Deployment{*s.d}
	}
	for _, d := range waiting {
		if !waitsForApproval(d) && !unratified(d) || d.Rules.V == nil || d.Scope.V == nil {
			continue
		}
		value := func(verb string) string {
			text, _ := json.Marshal(saidByButton{Text: fmt.Sprintf("%s %d", verb, d.Number), Repo: d.Repo, App: d.App, Bound: d.Rules.V.Bound}) // of strings alone
			return string(text)
		}
		all = append(all,
			chat.Button{Label: l.Say(text.Approve), Value: value("approve"), Primary: true, Confirm: l.Say(text.ConfirmApproval, d.App, d.Release, d.Environment), Cancel: l.Say(text.Back)},
			chat.Button{Label: l.Say(text.Reject), Value: value("reject"), Danger: true, Reason: l.Field(text.Reason), Cancel: l.Say(text.Back)})
	}
	return all
}
