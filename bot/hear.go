package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// What people say in chats: it is stored as the command that it is, said by the GitHub login that the person is tied to, and then
// decided like any other.

const (
	answerTimeout = 20 * time.Second // of an answer to a person, for which nobody waits
	sealedBack    = "back"           // what the place of an answer is sealed with
	maxOffered    = 3                // deployments that an answer has buttons for: a card has room for six
)

// hear takes what people say in a chat: /chat/{kind}/{name}, of Slack with /{what} behind it.
func (b *Bot) hear(w http.ResponseWriter, r *http.Request) {
	kind, name, what := r.PathValue("kind"), r.PathValue("name"), r.PathValue("what")
	service, ok := b.chats[kind+"/"+name].(chat.Hearer)
	if !ok || !b.cfg.hears(kind, name) {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), chat.HearTimeout)
	defer cancel()
	body, ok := smallBody(ctx, w, r)
	if !ok {
		return
	}
	h, err := service.Hear(ctx, r, what, body)
	if errors.Is(err, chat.ErrNotGenuine) {
		http.Error(w, "the signature is not that of the chat", http.StatusUnauthorized)
		return
	}
	answer, later, err := b.take(ctx, kind, name, h, err)
	switch {
	case errors.As(err, new(unread)):
		http.Error(w, "it cannot be read", http.StatusBadRequest)
	case err != nil:
		http.Error(w, "it cannot be stored now; please say it again", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", h.Type)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = io.WriteString(w, answer) // who does not read it is gone
		if later != nil {
			_ = http.NewResponseController(w).Flush()
			ctx, end := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
			defer end()
			later(ctx)
		}
	}
}

// unread wraps the error of what cannot be read.
type unread struct{ error }

// take stores what was heard in a chat, or why it was not understood, and returns what the provider is answered, and what is to be done after
// that, if anything. Its errors are logged.
func (b *Bot) take(ctx context.Context, kind, name string, h chat.Hearing, wrong error) (body string, later func(context.Context), err error) {
	in := kind + "/" + name
	if wrong != nil {
		b.log.Warn("what was said in a chat cannot be read", "chat", in, "err", b.engine.Mask(wrong.Error()))
		return "", nil, unread{wrong}
	}
	if h.Heard == nil {
		return h.Body, nil, nil
	}
	answer, stored, err := b.heard(ctx, kind, name, *h.Heard)
	switch {
	case err != nil:
		b.log.Warn("what was said in a chat cannot be stored", "chat", in, "err", b.engine.Mask(err.Error()))
		return "", nil, err
	case h.At != nil:
		return h.At(answer), nil, nil
	case stored: // they are told what comes of it
		return h.Body, nil, nil
	}
	tell := func(ctx context.Context) {
		if service, ok := b.chats[in].(chat.Hearer); ok {
			if err := service.Answer(ctx, h.Heard.Back, answer); err != nil {
				b.log.Warn("a person in a chat could not be answered", "chat", in, "err", b.engine.Mask(err.Error()))
			}
		}
	}
	if h.Later {
		return h.Body, tell, nil
	}
	tell(ctx)
	return h.Body, nil, nil
}

// fetch hears a chat that people's words are fetched from, until ctx ends. What can't be healed is told once.
func (b *Bot) fetch(ctx context.Context, kind, name string, from chat.Fetcher) {
	log := b.log.With("chat", kind+"/"+name)
	take := func(ctx context.Context, h chat.Hearing, wrong error) (body string, err error) {
		defer func() {
			if p := recover(); p != nil { // as net/http does, where people are heard by it
				err = fmt.Errorf("panic: %v", p)
				log.Error("panic", "err", b.engine.Mask(err.Error()), "stack", string(debug.Stack()))
			}
		}()
		body, later, err := b.take(ctx, kind, name, h, wrong)
		if later != nil {
			later(ctx)
		}
		return body, err
	}
	var all sync.WaitGroup // the connection, and those that the provider is about to end
	defer all.Wait()
	var failed atomic.Int32
	for ctx.Err() == nil {
		began, leaves, ended := time.Now(), make(chan struct{}), make(chan error, 1)
		all.Go(func() {
			ended <- from.Fetch(ctx, func(c chat.Connection) {
				if c == chat.Leaving {
					close(leaves)
				} else if failed.Swap(0) > 0 {
					log.Info("what people say in a chat is fetched again")
				}
			}, take)
		})
		var err error
		select {
		case <-leaves:
		case err = <-ended:
		}
		wait := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return
		case chat.IsPermanent(err):
			log.Error("what people say in a chat is not fetched any more, until the next start", "err", b.engine.Mask(err.Error()))
			return
		case err != nil || time.Since(began) < time.Second: // one that ends at once is no connection
			n := failed.Add(1)
			wait = backoff(int(n) - 1)
			if after, ok := chat.RetryDelay(err); ok {
				wait = max(wait, after)
			}
			if err != nil && (n == 1 || n == longAttempts) {
				log.Warn("what people say in a chat cannot be fetched; it is tried again and again", "err", b.engine.Mask(err.Error()))
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
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
func (b *Bot) heard(ctx context.Context, kind, name string, h chat.Heard) (answer chat.Answer, stored bool, err error) {
	in := kind + "/" + name
	l := b.cfg.chatLanguage(in)
	defer func() { answer.Title, answer.Link = or(answer.Title, "Shipmate"), b.home(l) }()
	refuse := func(key text.Key, args ...any) (chat.Answer, bool, error) {
		return chat.Answer{Refused: true, Text: b.spans(l.Say(key, args...))}, false, nil
	}
	if h.Foreign {
		return refuse(text.Foreigner)
	}
	if wait := b.calls.take(b.cfg.scopeOf(kind, name)+" "+h.User, b.db.Now()); wait > 0 {
		return refuse(text.TooMuchSaid, l.Duration(wait))
	}
	login, err := b.personIn(ctx, kind, name, h.User)
	if err != nil {
		return chat.Answer{}, false, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(h.Text), "\n") // one command at a time
	typed := lineOf(text.Fit(cmp.Or(first, "help"), maxCommand), l)
	cmd := find(typed.Name, l)
	switch {
	case h.Value == "" && cmd != nil && cmd.name == "link" && typed.Err == nil:
		a, err := b.link(ctx, kind, name, h, login, typed.Args, l)
		return a, false, err
	case login == "":
		a, err := b.askWho(ctx, kind, name, h, l.Say(text.LinkFirst), l)
		return a, false, err
	}
	o := commandOrder{Login: login, Via: in, Channel: h.Channel}
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
		if err == nil && h.Plain {
			answer, err := b.askBefore(ctx, in, h.Value, p, l)
			return answer, false, err
		}
	} else {
		said = typed
		switch {
		case cmd == nil:
			return refuse(text.NoSuchCommand, code(b.typedIn(in, "/help", "")))
		case said.Err != nil:
			return refuse(text.OpenQuote, code(b.typedIn(in, cmd.usage, "APP")))
		case cmd.name == "help":
			return b.helpInChat(in, said, l), false, nil
		case cmd.name == "subscribe" && len(said.Args) == 0:
			a, err := b.subscriptions(ctx, in, h.Channel, l)
			return a, false, err
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

// home is where an answer leads to.
func (b *Bot) home(l text.Lang) chat.Link {
	return chat.Link{Text: l.Say(text.Details), URL: b.cfg.PublicURL}
}

// askBefore asks, after a press, what the chat had no way to ask at once: whether they are sure, by a button that counts, or what the
// reason is, which they type.
func (b *Bot) askBefore(ctx context.Context, in, value string, p saidByButton, l text.Lang) (chat.Answer, error) {
	if strings.HasPrefix(p.Text, "reject ") {
		return chat.Answer{Text: b.spans(l.Say(text.TypeReason, code(b.typedIn(in, "/"+p.Text+" "+l.Say(text.ReasonWord), p.App))))}, nil
	}
	for verb, of := range map[string]struct{ label, asks text.Key }{"resume": {text.Resume, text.ConfirmResume}, "abort": {text.Abort, text.ConfirmAbort}} {
		if strings.HasPrefix(p.Text, verb+" ") {
			return b.askSteering(ctx, in, value, p, of.label, of.asks, l)
		}
	}
	about := strings.TrimPrefix(p.Text, "approve ")
	order, ofOrder := strings.CutPrefix(about, "order ")
	title, asks := "", ""
	number, err := strconv.Atoi(order)
	if err == nil {
		err = b.db.View(ctx, func(tx *store.Tx) error {
			if ofOrder {
				o, err := tx.OrderNumber(p.Repo, number)
				title, asks = l.Say(text.OrderTitle, o.Number, o.Environment), l.Say(text.ConfirmOrder, o.Number, o.Environment)
				return err
			}
			d, err := tx.DeploymentNumber(p.Repo, number)
			title, asks = l.Say(text.DeployTitle, d.App, d.Release, d.Environment), l.Say(text.ConfirmApproval, d.App, d.Release, d.Environment)
			return err
		})
	}
	switch {
	case errors.As(err, new(*strconv.NumError)) || errors.Is(err, store.ErrNotFound):
		return chat.Answer{Refused: true, Text: b.spans(l.Say(text.OldButton))}, nil
	case err != nil:
		return chat.Answer{}, err
	}
	return chat.Answer{Title: title, Text: b.spans(asks),
		Buttons: []chat.Button{{Label: l.Say(text.ConfirmButton), Value: value, Primary: true, Typed: b.typedIn(in, "/"+p.Text, p.App)}}}, nil
}

// askSteering is askBefore of what is said to a deployment that rests.
func (b *Bot) askSteering(ctx context.Context, in, value string, p saidByButton, label, asks text.Key, l text.Lang) (chat.Answer, error) {
	var d *store.Deployment
	err := b.db.View(ctx, func(tx *store.Tx) (err error) { d, err = store.Optional(tx.Deployment(p.Bound)); return err })
	switch {
	case err != nil:
		return chat.Answer{}, err
	case d == nil || !rests(*d):
		return chat.Answer{Refused: true, Text: b.spans(l.Say(text.ButtonChanged))}, nil
	}
	return chat.Answer{Title: l.Say(text.DeployTitle, d.App, d.Release, d.Environment), Text: b.spans(l.Say(asks, d.App, d.Release, d.Environment)),
		Buttons: []chat.Button{{Label: l.Say(text.SteerButton, l.Say(label)), Value: value, Primary: true, Typed: b.typedIn(in, "/"+p.Text, p.App)}}}, nil
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
	args := strings.Split(rest, " ")
	for _, w := range chinese {
		for i, arg := range args[:min(w.within, len(args))] {
			if arg == w.english && slices.Contains(w.commands, name) {
				args[i] = w.word
			}
		}
	}
	rest = strings.Join(args, " ")
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
	l := b.cfg.chatLanguage(o.Via)
	answer := chat.Answer{Refused: r.Reaction == "confused", Title: o.App, Text: b.spans(r.Body), Link: b.home(l)}
	if offers := []string{"status", "deploy", "promote"}; !answer.Refused && slices.Contains(offers, lineOf(o.Text, l).Name) {
		if answer.Buttons, err = b.offered(ctx, o, r.Repo, l); err != nil {
			return err
		}
	}
	return b.once(ctx, s, "chat/reply", "", r.Body, func(store.Message) (string, error) {
		return "", chatError(service.Answer(ctx, chat.Back(back), answer))
	})
}

// offered are the buttons of an answer about an app: of what waits there for approval.
func (b *Bot) offered(ctx context.Context, o commandOrder, repo string, l text.Lang) (all []chat.Button, err error) {
	var waiting []store.Deployment
	err = b.db.View(ctx, func(tx *store.Tx) (err error) { waiting, err = tx.Waiting(repo); return err })
	buttons := func(d store.Deployment) []chat.Button {
		return b.chatButtons(subject{d: &d, form: func(form string) string { return b.typedIn(o.Via, form, o.App) }}, l)
	}
	waiting = slices.DeleteFunc(waiting, func(d store.Deployment) bool { return d.App != o.App || buttons(d) == nil })
	for _, d := range waiting[:min(len(waiting), maxOffered)] {
		for _, button := range buttons(d) {
			if len(waiting) > 1 {
				button.Label += fmt.Sprintf(" %d", d.Number)
			}
			all = append(all, button)
		}
	}
	return all, err
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

// said is the value of a button that says a command about an app. bound is what it shows: see call.bound.
func said(d store.Deployment, bound, format string, args ...any) string {
	value, _ := json.Marshal(saidByButton{Text: fmt.Sprintf(format, args...), Repo: d.Repo, App: d.App, Bound: bound}) // of strings alone
	return string(value)
}

// chatButtons are those of a message about a deployment: what can be decided of it, or of the release order that it speaks for.
func (b *Bot) chatButtons(s subject, l text.Lang) []chat.Button {
	d := s.d
	if d != nil && rests(*d) && restsForPerson(*d) {
		return b.restButtons(s, l)
	}
	if d == nil || d.Scope.V == nil { // what is decided about is shown first
		return nil
	}
	about, bound, confirm := fmt.Sprint(d.Number), "", l.Say(text.ConfirmApproval, d.App, d.Release, d.Environment)
	switch {
	case s.asks != "":
		about, bound, confirm = fmt.Sprintf("order %d", s.order.Number), s.asks, l.Say(text.ConfirmOrder, s.order.Number, d.Environment)
	case d.Rules.V != nil && (waitsForApproval(*d) || unratified(*d)):
		bound = d.Rules.V.Bound
	default:
		return nil
	}
	return []chat.Button{
		{Label: l.Say(text.Approve), Value: said(*d, bound, "approve %s", about), Primary: true, Confirm: confirm, Cancel: l.Say(text.Back), Typed: s.typed("/approve " + about)},
		{Label: l.Say(text.Reject), Value: said(*d, bound, "reject %s", about), Danger: true, Reason: l.Field(text.Reason), Cancel: l.Say(text.Back),
			Typed: s.typed("/reject " + about + " " + l.Say(text.ReasonWord))}}
}

// restButtons are those of a message about a deployment that rests until somebody lets it go on, or gives it up.
func (b *Bot) restButtons(s subject, l text.Lang) []chat.Button {
	d := s.d
	about := d.App + " " + d.Environment
	return []chat.Button{
		{Label: l.Say(text.Resume), Value: said(*d, d.ID, "resume %s", about), Primary: true, Confirm: l.Say(text.ConfirmResume, d.App, d.Release, d.Environment), Cancel: l.Say(text.Back), Typed: s.typed("/resume " + d.Environment)},
		{Label: l.Say(text.Abort), Value: said(*d, d.ID, "abort %s", about), Danger: true, Confirm: l.Say(text.ConfirmAbort, d.App, d.Release, d.Environment), Cancel: l.Say(text.Back), Typed: s.typed("/abort " + d.Environment)}}
}

// releaseButtons are those of the message of a release: what can be decided of it, where it can go next, and where it can be gone back
// from, in the environments that are shown.
func (b *Bot) releaseButtons(v view, shown func(environment string) bool, l text.Lang) (all []chat.Button) {
	of := map[string]subject{}
	for _, e := range v.envs {
		of[e.d.Environment] = e
	}
	several := len(slices.DeleteFunc(slices.Clone(v.envs), func(e subject) bool { return b.chatButtons(e, l) == nil })) > 1
	for _, e := range v.envs {
		for _, button := range b.chatButtons(e, l) {
			if several {
				button.Label += " " + e.d.Environment
			}
			if shown(e.d.Environment) {
				all = append(all, button)
			}
		}
	}
	for _, env := range v.chain {
		before, there := of[env.After], of[env.Name]
		switch {
		case before.d == nil || !before.live || !shown(env.Name) || env.Deploy == pipeline.Auto || !pipeline.Allows(&env, v.run.Ref, v.repo.DefaultBranch):
		case there.d != nil && (!store.Final(there.d.State) || there.live || there.back != nil): // it is there, on its way, or was gone back from
		default:
			d := *before.d
			all = append(all, chat.Button{Label: l.Say(text.PromoteTo, env.Name), Value: said(d, d.ID, "promote %s %s %d", d.App, env.Name, d.Release), Primary: true,
				Confirm: l.Say(text.ConfirmPromote, d.App, d.Release, env.Name), Cancel: l.Say(text.Back)})
		}
	}
	for _, e := range v.envs {
		if d := *e.d; e.undo > 0 && shown(d.Environment) {
			all = append(all, chat.Button{Label: l.Say(text.RollBackIn, d.Environment), Value: said(d, d.ID, "rollback %s %s to %d", d.App, d.Environment, e.undo), Danger: true,
				Confirm: l.Say(text.ConfirmRollBack, d.App, d.Environment, d.Release, e.undo), Cancel: l.Say(text.Back)})
		}
	}
	return all
}
