package chat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"
)

// SlackConfig is one entry of chat.slack in the server's file.
type SlackConfig struct {
	BotToken      Secret   `yaml:"bot_token"`      // xoxb-…, with the scope chat:write; with channels:history (groups:history) too, Find works
	SigningSecret Secret   `yaml:"signing_secret"` // by which Slack's requests are told; empty: none is heard
	AppToken      Secret   `yaml:"app_token"`      // xapp-…, with the scope connections:write: Socket Mode, see Fetch. Without either no button is shown
	BaseURL       string   `yaml:"base_url"`       // default https://slack.com/api/
	Language      string   `yaml:"language"`       // en or zh; default: the server's
	Allow         []string `yaml:"allow"`          // repositories that may name this chat
}

// The limits of a message in blocks, by docs.slack.dev/reference/block-kit. Characters are counted strictly, as UTF-16
// code units after escaping.
const (
	slackHeader     = 150  // characters of a header block
	slackSection    = 3000 // characters of a section's text
	slackPerSection = 10   // fields of a section
	slackFields     = 20   // fields of a message; ours: a whole message has a limit too, that Slack doesn't document
	slackValue      = 300  // characters of a field's value; ours
	slackPerRow     = 5    // buttons beside each other; ours: more are folded away on a phone
	slackAllButtons = 25   // of a message; ours, what one block takes
)

// Slack is a [Service] for one workspace, by chat.postMessage and chat.update (docs.slack.dev/reference/methods).
type Slack struct {
	token  Secret
	sign   Secret
	app    Secret
	base   string
	client *http.Client
	now    func() time.Time

	mu   sync.Mutex
	team string // the workspace of the token, once it was asked for
}

// NewSlack returns the workspace of cfg. Requests go through client; now says how old a request of Slack's is.
func NewSlack(cfg SlackConfig, client *http.Client, now func() time.Time) (*Slack, error) {
	base, err := baseURL(cfg.BaseURL, slack.APIURL)
	if err != nil {
		return nil, fmt.Errorf("slack: %w", err)
	}
	if cfg.BotToken.Reveal() == "" {
		return nil, errors.New("slack: bot_token is empty; copy the bot user's OAuth token (xoxb-…) from the app's page")
	}
	return &Slack{token: cfg.BotToken, sign: cfg.SigningSecret, app: cfg.AppToken, base: base, client: guarded(client), now: now}, nil
}

// api is made for each call: a slack.Client that is kept would show the token to whoever prints what holds it.
func (s *Slack) api() *slack.Client {
	return slack.New(s.token.Reveal(), slack.OptionAPIURL(s.base), slack.OptionHTTPClient(s.client))
}

// slackScopes are the scopes of bot_token besides chat:write, without which nothing works, and what each is for.
var slackScopes = []struct {
	hears bool // only where people are heard
	name  string
	use   string
}{
	{false, "channels:history", "a message is found again after a crash (in private channels by groups:history)"},
	{true, "commands", "people say /shipmate"},
	{true, "app_mentions:read", "people mention the bot"},
}

// Check asks Slack who we are there, and changes nothing (docs.slack.dev/reference/methods/auth.test). It fails too where the
// token lacks the scope to post. lacks are the other scopes that it does not have, each with what it is for.
func (s *Slack) Check(ctx context.Context) (who string, lacks []string, err error) {
	a, err := s.api().AuthTestContext(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("slack: %w", slackError(err))
	}
	scopes := strings.FieldsFunc(a.Header.Get("X-OAuth-Scopes"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(scopes) > 0 && !slices.Contains(scopes, "chat:write") {
		return "", nil, fmt.Errorf("slack: %w", slackRefusal("missing_scope"))
	}
	for _, scope := range slackScopes {
		if len(scopes) > 0 && !slices.Contains(scopes, scope.name) && (s.hears() || !scope.hears) {
			lacks = append(lacks, scope.name+": "+scope.use)
		}
	}
	return inert(a.User) + " in " + inert(a.Team), lacks, nil
}

// hears tells whether what people say there reaches us, one way or the other.
func (s *Slack) hears() bool { return s.sign.Reveal() != "" || s.Fetches() }

// Send posts m to a channel, named by its id (C012…), or into the thread of a message.
func (s *Slack) Send(ctx context.Context, to string, m Message) (Ref, error) {
	in, thread, _ := strings.Cut(to, ":")
	if in == "" {
		return "", Permanent(errors.New("slack: no channel given; set channel to the channel's id, such as C012AB3CD"))
	}
	content, err := s.content(m)
	if err != nil {
		return "", fmt.Errorf("slack: %w", err)
	}
	if thread != "" {
		content = slack.MsgOptionCompose(content, slack.MsgOptionTS(thread))
		if m.Aloud {
			content = slack.MsgOptionCompose(content, slack.MsgOptionBroadcast())
		}
	}
	channel, ts, err := s.api().PostMessageContext(ctx, in, content)
	if err == nil && (channel == "" || ts == "") {
		err = errNotSlack
	}
	if err != nil {
		return "", fmt.Errorf("slack: post to %s: %w", in, slackError(err))
	}
	return Ref(channel + ":" + ts), nil
}

// Edit replaces the message in place. Slack notifies nobody whom only the edited message mentions.
func (s *Slack) Edit(ctx context.Context, ref Ref, m Message) error {
	channel, ts, ok := strings.Cut(string(ref), ":")
	if !ok || channel == "" || ts == "" {
		return fmt.Errorf("slack: %q refers to no message: %w", ref, Permanent(ErrCannotEdit))
	}
	content, err := s.content(m)
	if err != nil {
		return fmt.Errorf("slack: %w", err)
	}
	_, edited, _, err := s.api().UpdateMessageContext(ctx, channel, ts, content)
	if err == nil && edited == "" {
		err = errNotSlack
	}
	if err != nil {
		return fmt.Errorf("slack: edit in %s: %w", channel, slackError(err))
	}
	return nil
}

// slackMetadata names our messages in their metadata (docs.slack.dev/messaging/message-metadata): nobody sees it.
const slackMetadata = "shipmate_message"

// Find reads the channel's history, or the replies in a thread (docs.slack.dev/reference/methods/conversations.history and
// conversations.replies), for which the app needs the scope channels:history, in a private channel groups:history.
func (s *Slack) Find(ctx context.Context, to, key string, since time.Time) (Ref, error) {
	in, thread, _ := strings.Cut(to, ":")
	oldest := fmt.Sprintf("%d.000000", since.Unix())
	if slackID.MatchString(to) { // a person, whose conversation with us has an id of its own
		return "", ErrCannotFind
	}
	for cursor, page := "", 0; page < slackPages; page++ {
		var messages []slack.Message
		var err error
		if thread == "" {
			var history *slack.GetConversationHistoryResponse
			history, err = s.api().GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
				ChannelID: in, Oldest: oldest, Limit: 200, Cursor: cursor, IncludeAllMetadata: true})
			if err == nil {
				messages, cursor = history.Messages, history.ResponseMetaData.NextCursor
			}
		} else {
			messages, _, cursor, err = s.api().GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{
				ChannelID: in, Timestamp: thread, Oldest: oldest, Limit: 200, Cursor: cursor, IncludeAllMetadata: true})
		}
		var refusal slack.SlackErrorResponse
		if errors.As(err, &refusal) && slices.Contains(slackUnreadable, refusal.Err) {
			return "", fmt.Errorf("slack: read %s: %s: %w", in, refusal.Err, ErrCannotFind)
		}
		if err != nil {
			return "", fmt.Errorf("slack: read %s: %w", in, slackError(err))
		}
		for _, m := range messages {
			if m.Metadata.EventType == slackMetadata && m.Metadata.EventPayload["key"] == key {
				return Ref(in + ":" + m.Timestamp), nil
			}
		}
		if cursor == "" {
			return "", nil
		}
	}
	return "", fmt.Errorf("slack: read %s: more than %d pages: %w", in, slackPages, ErrCannotFind)
}

// slackPages bounds how much of a channel is read to find a message.
const slackPages = 5

// slackUnreadable are the error codes of a channel whose history the app may not read.
var slackUnreadable = []string{"missing_scope", "not_in_channel", "no_permission", "channel_not_found", "not_allowed_token_type"}

var errNotSlack = errors.New("the answer names no message; is base_url the address of Slack's API?")

// slackRefusals are the error codes that trying again can't heal, and what can
// (docs.slack.dev/reference/methods/chat.postMessage).
var slackRefusals = map[string]string{
	"account_inactive":        "the bot was removed from the workspace; install the app again and copy bot_token",
	"cannot_reply_to_message": "the message that it belongs to takes no replies",
	"channel_not_found":       "there is no such channel, or it is private and the bot is no member; check the id, and /invite the bot there",
	"invalid_arguments":       "Slack does not accept the message's form",
	"invalid_auth":            "Slack does not know the token; copy bot_token from the app's page again",
	"invalid_blocks":          "Slack does not accept the message's form",
	"invalid_blocks_format":   "Slack does not accept the message's form",
	"is_archived":             "the channel is archived; name another one, or unarchive it",
	"missing_scope":           "the token lacks a scope; add chat:write to the app and install it again",
	"msg_blocks_too_long":     "Slack does not accept the message's length",
	"msg_too_long":            "Slack does not accept the message's length",
	"no_text":                 "Slack does not accept an empty message",
	"not_allowed_token_type":  "bot_token is not a bot user's token; use the one that begins with xoxb-",
	"not_authed":              "Slack saw no token; copy bot_token from the app's page again",
	"not_in_channel":          "/invite the bot to the channel",
	"restricted_action":       "the workspace lets only some people post there; allow the bot in the channel's settings",
	"thread_not_found":        "the message that it belongs to is gone",
	"token_expired":           "the token has expired; install the app again and copy bot_token",
	"token_revoked":           "the token was revoked; install the app again and copy bot_token",
}

// slackUneditable are the error codes of a message that chat.update can't reach
// (docs.slack.dev/reference/methods/chat.update).
var slackUneditable = []string{"cant_update_message", "edit_window_closed", "message_not_found"}

// slackError classifies what slack-go returns. It repeats nothing that the far end wrote but a well-formed error code.
func slackError(err error) error {
	var limited *slack.RateLimitedError
	if errors.As(err, &limited) {
		return RetryAfter(errors.New("rate limited"), max(limited.RetryAfter, time.Second))
	}
	var status slack.StatusCodeError
	if errors.As(err, &status) {
		err := statusError(status.Code)
		if status.Code == http.StatusTooManyRequests {
			return RetryAfter(err, time.Minute)
		}
		return err
	}
	var refusal slack.SlackErrorResponse
	if errors.As(err, &refusal) {
		return slackRefusal(refusal.Err)
	}
	return unreached(err)
}

var slackCode = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)

func slackRefusal(code string) error {
	hint, known := slackRefusals[code]
	switch {
	case known:
		return Permanent(fmt.Errorf("%s: %s", code, hint))
	case slices.Contains(slackUneditable, code):
		return Permanent(fmt.Errorf("%s: %w", code, ErrCannotEdit))
	case code == "ratelimited":
		return RetryAfter(errors.New(code), time.Minute)
	case slackCode.MatchString(code):
		return errors.New(code)
	}
	return errors.New("refused with a malformed error code; is base_url the address of Slack's API?")
}

var slackSymbol = map[State]string{Running: "🔵", Waiting: "🟡", Succeeded: "🟢", Failed: "🔴", Stopped: "⚪"}

var slackID = regexp.MustCompile(`^[UW][0-9A-Z]{2,20}$`)

// content is slackContent, without buttons where nobody would hear them.
func (s *Slack) content(m Message) (slack.MsgOption, error) {
	if !s.hears() {
		m.Buttons = nil
	}
	return slackContent(m)
}

// slackContent renders m as blocks, and as the line of text that a notification shows in their place. Slack itself is told
// to find no links, names or channels in either.
func slackContent(m Message) (slack.MsgOption, error) {
	if clean(m.Title) == "" {
		return nil, errNoTitle
	}
	headline := m.Title
	if clean(m.Status) != "" {
		headline += ": " + m.Status
	}
	symbol := slackSymbol[m.State]
	people := mentions(m.Mentions, 1024, slackID.MatchString, slackText)

	blocks := []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType,
		clip(headline, slackHeader, units, func(s string) string { return strings.TrimSpace(symbol + " " + inert(s)) }), false, false))}
	if people != "" {
		blocks = append(blocks, section(people))
	}
	for fields := range slices.Chunk(slackFacts(m.Fields), slackPerSection) {
		blocks = append(blocks, slack.NewSectionBlock(nil, fields, nil))
	}
	if quote := clip(m.Text, slackSection, units, slackQuote); quote != "" {
		blocks = append(blocks, section(quote))
	}
	const fence = "```"
	if detail := clipTail(m.Detail, slackSection-len(fence+"\n\n"+fence), units, slackVerbatim); detail != "" {
		blocks = append(blocks, section(fence+"\n"+detail+"\n"+fence))
	}
	blocks = append(blocks, slackButtons(m.Buttons)...)
	if link := slackLink(m.Link.Text, m.Link.URL); link != "" {
		blocks = append(blocks, slack.NewContextBlock("", markdown(link)))
	}
	notification := clip(headline, slackSection, units, func(s string) string {
		return strings.TrimSpace(strings.Join([]string{symbol, slackText(s), people}, " "))
	})
	named := slack.MsgOptionCompose()
	if m.Key != "" {
		named = slack.MsgOptionMetadata(slack.SlackMetadata{EventType: slackMetadata, EventPayload: map[string]any{"key": m.Key}})
	}
	return slack.MsgOptionCompose(
		named,
		slack.MsgOptionText(notification, false),
		slack.MsgOptionBlocks(blocks...),
		slack.MsgOptionParse(false),
		slack.MsgOptionLinkNames(false),
		slack.MsgOptionDisableLinkUnfurl(),
		slack.MsgOptionDisableMediaUnfurl(),
	), nil
}

func slackFacts(fields []Field) []*slack.TextBlockObject {
	var facts []*slack.TextBlockObject
	for _, f := range fields {
		value := slackLink(f.Value, f.URL)
		if value == "" {
			value = clip(f.Value, slackValue, units, slackText)
		}
		if value == "" {
			continue
		}
		if name := clip(f.Name, 64, units, slackText); name != "" {
			value = "*" + name + "*\n" + value
		}
		if facts = append(facts, markdown(value)); len(facts) == slackFields {
			break
		}
	}
	return facts
}

func section(text string) slack.Block { return slack.NewSectionBlock(markdown(text), nil, nil) }

func markdown(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.MarkdownType, text, false, true)
}

// slackLink is "" unless there is an address.
func slackLink(text, target string) string {
	target = address(target)
	if target == "" {
		return ""
	}
	text = clip(text, slackValue, units, slackText)
	if text == "" {
		text = slackEscape.Replace(target)
	}
	return "<" + strings.ReplaceAll(target, "&", "&amp;") + "|" + text + ">"
}

// slackText is s as one line without any meaning in mrkdwn.
func slackText(s string) string { return slackEscape.Replace(defuse(s, "*~`")) }

// slackVerbatim is s as one line of a code block.
func slackVerbatim(s string) string {
	return slackEscape.Replace(strings.ReplaceAll(clean(s), "`", "ˋ"))
}

func slackQuote(s string) string {
	quoted := lines(s)
	for i, line := range quoted {
		quoted[i] = ">" + slackText(line)
	}
	return strings.Join(quoted, "\n")
}

// slackEscape replaces the three characters that Slack reserves (docs.slack.dev/messaging/formatting-message-text).
var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
