package chat

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"
)

// slackAge is how old a request may be (docs.slack.dev/authentication/verifying-requests-from-slack).
const slackAge = 5 * time.Minute

// genuine checks the signature of a request: v0= and the HMAC-SHA256 of "v0:timestamp:body" in hexadecimal.
func (s *Slack) genuine(h http.Header, body []byte) error {
	stamp, err := strconv.ParseInt(h.Get("X-Slack-Request-Timestamp"), 10, 64)
	if err != nil || s.sign.Reveal() == "" {
		return ErrNotGenuine
	}
	if age := s.now().Sub(time.Unix(stamp, 0)); age > slackAge || age < -slackAge {
		return ErrNotGenuine
	}
	if !hmac.Equal([]byte(h.Get("X-Slack-Signature")), []byte(slackSignature(s.sign.Reveal(), strconv.FormatInt(stamp, 10), body))) {
		return ErrNotGenuine
	}
	return nil
}

// slackSignature is what Slack signs a request with, of the time given in seconds since 1970.
func slackSignature(secret, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "v0:%s:%s", stamp, body) // a hash takes everything
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// Hear reads a slash command (what is "commands"), a press or a reason (actions), or a mention (events). See
// docs.slack.dev/interactivity/implementing-slash-commands, /handling-user-interaction and docs.slack.dev/apis/events-api.
func (s *Slack) Hear(ctx context.Context, r *http.Request, what string, body []byte) (Hearing, error) {
	if err := s.genuine(r.Header, body); err != nil {
		return Hearing{}, err
	}
	sum := sha256.Sum256([]byte(r.Header.Get("X-Slack-Signature"))) // what is sent again is signed again: this keeps a copy from counting
	id := hex.EncodeToString(sum[:16])
	switch what {
	case "commands", "actions":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return Hearing{}, fmt.Errorf("slack: %s come as a form, and this is none", what)
		}
		if what == "commands" {
			return s.heard(ctx, id, form.Get, nil)
		}
		return s.heard(ctx, id, nil, []byte(form.Get("payload")))
	case "events":
		return s.hearEvent(ctx, id, body)
	}
	return Hearing{}, fmt.Errorf("slack: %q is none of commands, actions and events", what)
}

// heard reads a command by its fields, or else what was pressed; id tells it from all others where Slack's own doesn't.
func (s *Slack) heard(ctx context.Context, id string, command func(field string) string, action []byte) (h Hearing, err error) {
	if command != nil {
		h, err = s.hearCommand(ctx, command)
	} else {
		h, err = s.hearAction(ctx, action)
	}
	return checked(h, id, err)
}

// checked is what was heard, once it is known to have an id and a person.
func checked(h Hearing, id string, err error) (Hearing, error) {
	switch {
	case err != nil:
		return Hearing{}, err
	case h.Heard == nil:
		return h, nil
	case !slackID.MatchString(h.Heard.User):
		return Hearing{}, errors.New("slack: the request names no user")
	case h.Heard.ID == "":
		h.Heard.ID = id
	}
	return h, nil
}

// triggered is the id of what a person did, by the trigger that Slack makes for it: the same whichever way it comes, and hashed
// because for 3 s it lets whoever has it open a question. Empty where there is none.
func triggered(trigger string) string {
	if trigger == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(trigger))
	return hex.EncodeToString(sum[:16])
}

// foreign tells whether any of the workspaces that a request names is not the token's: of a channel that is shared with another
// one (Slack Connect), people there come too, and ids of theirs are not those of the server's file.
func (s *Slack) foreign(ctx context.Context, teams ...string) (bool, error) {
	teams = slices.DeleteFunc(teams, func(t string) bool { return t == "" })
	if len(teams) == 0 {
		return false, errors.New("slack: the request names no workspace")
	}
	s.mu.Lock()
	ours := s.team
	s.mu.Unlock()
	if ours == "" { // asked without the lock: who comes meanwhile asks too, and all get the same answer
		a, err := s.api().AuthTestContext(ctx)
		if err != nil {
			return false, fmt.Errorf("slack: ask which workspace the token is of: %w", slackError(err))
		}
		if ours = a.TeamID; ours == "" {
			return false, errNotSlack
		}
		s.mu.Lock()
		s.team = ours
		s.mu.Unlock()
	}
	return slices.ContainsFunc(teams, func(t string) bool { return t != ours }), nil
}

func (s *Slack) hearCommand(ctx context.Context, field func(string) string) (Hearing, error) {
	back, err := s.back(field("response_url"))
	if err != nil {
		return Hearing{}, err
	}
	foreign, err := s.foreign(ctx, field("team_id"))
	return Hearing{
		Heard: &Heard{ID: triggered(field("trigger_id")), User: field("user_id"), Name: field("user_name"), Channel: field("channel_id"), Foreign: foreign, Text: slackUnescape.Replace(field("text")), Back: back},
		Type:  "application/json",
		At: func(a Answer) string {
			text, _ := json.Marshal(slackAnswer(a)) // strings and flags alone
			return string(text)
		},
	}, err
}

// slackAction marks our buttons; one that asks for a reason has another name, so that this is known before its value is read.
const (
	slackAction = "shipmate"
	slackAsks   = "shipmate-reason"
)

// slackAsked is the value of a button that asks for a reason, and with Back what the question keeps meanwhile.
type slackAsked struct {
	Value  string `json:"v"`
	Title  string `json:"t,omitempty"`
	Field  string `json:"f,omitempty"`
	Cancel string `json:"c,omitempty"`
	Back   string `json:"b,omitempty"`
}

// hearAction reads a press, or the reason that was asked for by one.
func (s *Slack) hearAction(ctx context.Context, payload []byte) (Hearing, error) {
	var p slack.InteractionCallback
	if err := json.Unmarshal(payload, &p); err != nil {
		return Hearing{}, errors.New("slack: the payload is no JSON that we know")
	}
	h := &Heard{ID: triggered(p.TriggerID), User: p.User.ID, Name: p.User.Name, Channel: p.Channel.ID}
	var asks bool
	var err error
	switch p.Type {
	case slack.InteractionTypeViewSubmission:
		var asked slackAsked
		if err := json.Unmarshal([]byte(p.View.PrivateMetadata), &asked); err != nil || p.View.State == nil {
			return Hearing{}, errors.New("slack: the question is none of ours")
		}
		h.Value, h.Reason = asked.Value, p.View.State.Values[slackAsks][slackAsks].Value
		h.Back, err = s.back(asked.Back)
	case slack.InteractionTypeBlockActions:
		if len(p.ActionCallback.BlockActions) != 1 {
			return Hearing{}, nil
		}
		action := p.ActionCallback.BlockActions[0]
		name, _, _ := strings.Cut(action.ActionID, "/")
		if asks = name == slackAsks; !asks && name != slackAction {
			return Hearing{}, nil
		}
		h.Value = action.Value
		h.Back, err = s.back(p.ResponseURL)
	default: // such as a question that was closed
		return Hearing{}, nil
	}
	if err == nil {
		h.Foreign, err = s.foreign(ctx, p.Team.ID, p.User.TeamID)
	}
	if err == nil && asks && !h.Foreign {
		return Hearing{}, s.ask(ctx, p.TriggerID, h.Value, h.Back)
	}
	return Hearing{Heard: h}, err
}

// ask opens the question for a reason. Slack takes it within 3 s of the press alone.
func (s *Slack) ask(ctx context.Context, trigger, value string, back Back) error {
	var asked slackAsked
	if err := json.Unmarshal([]byte(value), &asked); err != nil {
		return errors.New("slack: the button is none of ours")
	}
	kept, err := json.Marshal(slackAsked{Value: asked.Value, Back: string(back)})
	if err != nil {
		return err
	}
	plain := func(s string, most int) *slack.TextBlockObject {
		return slack.NewTextBlockObject(slack.PlainTextType, clip(s, most, units, inert), false, false)
	}
	field := slack.NewPlainTextInputBlockElement(nil, slackAsks)
	field.Multiline, field.MaxLength = true, 500
	_, err = s.api().OpenViewContext(ctx, trigger, slack.ModalViewRequest{
		Type: slack.VTModal, Title: plain(asked.Title, 24), Submit: plain(asked.Title, 24), Close: plain(asked.Cancel, 24), PrivateMetadata: string(kept),
		Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewInputBlock(slackAsks, plain(asked.Field, 100), nil, field)}},
	})
	if err != nil {
		return fmt.Errorf("slack: ask for a reason: %w", slackError(err))
	}
	return nil
}

// hearEvent reads a mention, or Slack's question whether this is the address.
func (s *Slack) hearEvent(ctx context.Context, id string, body []byte) (Hearing, error) {
	var e struct {
		Type      string `json:"type"`
		Challenge string `json:"challenge"`
		ID        string `json:"event_id"`
		Team      string `json:"team_id"`
		Event     struct {
			Type, User, Text, Channel string
			Team                      string // of the person, as are the next two in a shared channel
			UserTeam                  string `json:"user_team"`
			SourceTeam                string `json:"source_team"`
			Bot                       string `json:"bot_id"`
			Thread                    string `json:"thread_ts"`
		} `json:"event"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return Hearing{}, errors.New("slack: the event is no JSON that we know")
	}
	switch {
	case e.Type == "url_verification":
		return Hearing{Body: e.Challenge, Type: "text/plain"}, nil
	case e.Type != "event_callback" || e.Event.Type != "app_mention" || e.Event.Bot != "" || e.Event.User == "":
		return Hearing{}, nil
	}
	foreign, err := s.foreign(ctx, e.Team, e.Event.Team, e.Event.UserTeam, e.Event.SourceTeam)
	text := slackUnescape.Replace(slackOurs.ReplaceAllString(e.Event.Text, ""))
	return checked(Hearing{Heard: &Heard{ID: e.ID, User: e.Event.User, Channel: e.Event.Channel, Foreign: foreign, Text: text,
		Back: Back(strings.Join([]string{e.Event.Channel, e.Event.User, e.Event.Thread}, " "))}}, id, err)
}

// slackOurs is our name at the front of a mention.
var slackOurs = regexp.MustCompile(`^\s*<@[UW][0-9A-Z]+(?:\|[^>]*)?>\s*`)

// slackUnescape turns what people typed back: Slack reserves three characters.
var slackUnescape = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

// back checks the address where a person is answered: it is Slack's, whatever a request says.
func (s *Slack) back(address string) (Back, error) {
	u, err := url.Parse(address)
	base, _ := url.Parse(s.base) // NewSlack has checked it
	if err != nil || !(u.Scheme == "https" && u.Host == "hooks.slack.com" || u.Scheme == base.Scheme && u.Host == base.Host) {
		return "", errors.New("slack: the request has no response_url of Slack's")
	}
	return Back(address), nil
}

// Answer tells the person alone: by the address that came with what they said, which is good for half an hour and five answers
// (docs.slack.dev/interactivity/handling-user-interaction), or where they mentioned us.
func (s *Slack) Answer(ctx context.Context, to Back, a Answer) error {
	m := slackAnswer(a)
	if channel, rest, mentioned := strings.Cut(string(to), " "); mentioned {
		user, thread, _ := strings.Cut(rest, " ")
		options := []slack.MsgOption{slack.MsgOptionText(m.Text, false), slack.MsgOptionParse(false), slack.MsgOptionLinkNames(false)}
		if m.Blocks != nil {
			options = append(options, slack.MsgOptionBlocks(m.Blocks.BlockSet...))
		}
		if thread != "" {
			options = append(options, slack.MsgOptionTS(thread))
		}
		ts, err := s.api().PostEphemeralContext(ctx, channel, user, options...)
		if err == nil && ts == "" {
			err = errNotSlack
		}
		if err != nil {
			return fmt.Errorf("slack: answer in %s: %w", channel, slackError(err))
		}
		return nil
	}
	if _, err := s.back(string(to)); err != nil {
		return Permanent(err)
	}
	err := slack.PostWebhookCustomHTTPContext(ctx, string(to), s.client, m)
	var status slack.StatusCodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status) && status.Code/100 == 4 && status.Code != http.StatusTooManyRequests:
		return Permanent(fmt.Errorf("slack: answer: %w; it is too late for that", statusError(status.Code)))
	}
	return fmt.Errorf("slack: answer: %w", slackError(err))
}

// slackAnswer renders an answer for the person alone: as text, and where there are buttons as blocks, which the text then stands in for.
func slackAnswer(a Answer) *slack.WebhookMessage {
	no := false
	m := &slack.WebhookMessage{ResponseType: slack.ResponseTypeEphemeral, UnfurlLinks: &no, UnfurlMedia: &no}
	var b strings.Builder
	if a.Refused {
		b.WriteString(slackSymbol[Failed] + " ")
	}
	const fence = "```"
	for _, span := range a.Text {
		left := slackSection - len("…") - units(b.String())
		if left < 2*len(fence)+10 { // there is a page
			b.WriteString("…")
			break
		}
		switch span.Kind {
		case Code:
			if text := clip(span.Text, left-len("``"), units, slackVerbatim); text != "" {
				b.WriteString("`" + text + "`")
			}
		case Block:
			if text := clipTail(span.Text, left-len(fence+"\n\n"+fence), units, slackVerbatim); text != "" {
				b.WriteString(fence + "\n" + text + "\n" + fence)
			}
		case Address:
			if text := slackLink("", span.Text); units(text) <= left { // a piece of it leads nowhere
				b.WriteString(text)
			}
		default:
			b.WriteString(clip(span.Text, left, units, func(s string) string { return eachLine(s, slackText) }))
		}
	}
	m.Text = b.String()
	if rows := slackButtons(a.Buttons); m.Text != "" && len(rows) > 0 {
		m.Blocks = &slack.Blocks{BlockSet: append([]slack.Block{section(m.Text)}, rows...)}
	}
	return m
}

// slackButtons are rows of buttons.
func slackButtons(buttons []Button) (rows []slack.Block) {
	var all []slack.BlockElement
	plain := func(s string, most int) *slack.TextBlockObject {
		return slack.NewTextBlockObject(slack.PlainTextType, clip(s, most, units, inert), false, false)
	}
	for i, b := range buttons[:min(len(buttons), slackAllButtons)] {
		name, value := slackAction, b.Value
		if b.Reason != "" {
			short := func(s string, most int) string { return clip(s, most, units, inert) }
			asked, err := json.Marshal(slackAsked{Value: b.Value, Title: short(b.Label, 24), Field: short(b.Reason, 100), Cancel: short(b.Cancel, 24)})
			if err != nil {
				continue // of strings alone it never happens
			}
			name, value = slackAsks, string(asked)
		}
		element := slack.NewButtonBlockElement(fmt.Sprintf("%s/%d", name, i), value, plain(b.Label, 24))
		switch {
		case b.Danger:
			element.WithStyle(slack.StyleDanger)
		case b.Primary:
			element.WithStyle(slack.StylePrimary)
		}
		if b.Confirm != "" {
			element.WithConfirm(slack.NewConfirmationBlockObject(plain(b.Label, 100), plain(b.Confirm, 300), plain(b.Label, 30), plain(b.Cancel, 30)))
		}
		all = append(all, element)
	}
	for row := range slices.Chunk(all, slackPerRow) {
		rows = append(rows, slack.NewActionBlock("", row...))
	}
	return rows
}

// Typed is the slash command.
func (s *Slack) Typed(command string) string { return "/shipmate " + command }
