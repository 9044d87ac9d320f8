package chat

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// A Hearer is a [Service] that people can speak to. Its methods may be called concurrently.
type Hearer interface {
	Service
	// Hear reads one request of the provider. what is the last part of its address. [ErrNotGenuine] means that the provider did not
	// send it, any other error that it can't be read. It does nothing but to ask a person for the reason of a button, for which the
	// provider leaves no time later.
	Hear(ctx context.Context, r *http.Request, what string, body []byte) (Hearing, error)
	// Answer tells the person who was heard, and nobody else where the provider can. Its errors are those of Send.
	Answer(ctx context.Context, to Back, a Answer) error
	// Typed is how a person has to write a command there, which comes as its name and arguments.
	Typed(command string) string
}

// A Fetcher is a [Hearer] that fetches what people say by itself, so that it needs no address where the provider reaches us.
type Fetcher interface {
	Hearer
	// Fetches tells whether it is set up for that.
	Fetches() bool
	// Fetch opens one connection, and has take see each thing that came by it, as from Hear, until the connection or ctx ends; nothing
	// of it goes on afterwards. take gets what Hear would return, and may be called concurrently; where it fails, the provider is not
	// told that it was heard, and sends it again. on is told how the connection stands. A nil error means that it ended as Leaving has
	// said; other errors are those of Send.
	Fetch(ctx context.Context, on func(Connection), take func(ctx context.Context, h Hearing, unread error) (body string, err error)) error
}

// A Connection is how a connection by which people are heard stands.
type Connection int

// How a connection stands.
const (
	Opened  Connection = iota // it is heard by
	Leaving                   // the provider is about to end it: another one is to be made meanwhile
)

// HearTimeout is how long handling what was heard may take: providers wait 3 s for the answer, and it has a way to go.
const HearTimeout = 2500 * time.Millisecond

// A Hearing is what a request came to.
type Hearing struct {
	Heard *Heard                     // nil: nobody said anything
	Body  string                     // what the provider is answered, where it wants something; else nothing
	Type  string                     // the media type of Body, and of what At makes
	Later bool                       // the provider wants its own answer before a person is given one
	At    func(Answer) (body string) // makes an answer to the person that is sent in the response itself; nil: only Answer can tell them
}

// A Heard is what a person typed or pressed.
type Heard struct {
	ID      string // tells it from all others of the chat: a provider sends again what was not answered in time
	User    string // the person's id in the chat
	Name    string // what the chat calls them, where it tells: their own choice, so that it proves nothing
	Foreign bool   // the person, or where it was said, is not of the workspace that is ours: User means nobody we know
	Open    bool   // everybody who is where it was said sees the answer
	Channel string // where it was said, as Send takes it; empty where nothing can be said but answers
	Text    string // what was typed, without our name in front; empty for a button
	Value   string // that of the [Button]
	Reason  string // what the person gave as the reason, where the button asks for one
	Plain   bool   // the button asks something ([Button.Confirm], [Button.Reason]) that this chat has no way to ask: it is still to be asked
	Back    Back   // where the person is answered
}

// Back is where a person is answered. It is the provider's own and lets whoever has it speak there: seal it before it is stored.
type Back string

// An Answer is what a person is told about what they said.
type Answer struct {
	Refused bool
	Text    []Span
	Title   string   // of the card that it is where it has buttons; of one that is a message like others nobody sees it
	Link    Link     // the page that knows more; the buttons of a card need one
	Buttons []Button // what can be said next; a provider that can't show them leaves them out
}

// A Span is a part of an answer: words of ours, or what is shown as it is.
type Span struct {
	Text string
	Kind SpanKind
}

// SpanKind says how a span is shown.
type SpanKind int

// The kinds of a span.
const (
	Words   SpanKind = iota
	Code             // a name, or what somebody typed: within the line
	Block            // lines of a log or a diff
	Address          // of a page of ours, to be followed
)

// A Button lets a person say something by a press. A provider that has none leaves it out.
type Button struct {
	Label   string // at most 24 characters, or it is cut
	Value   string // comes back with the press, at most 1,000 bytes; people don't see it
	Primary bool   // what is meant to be done
	Danger  bool
	Confirm string // what a person is asked before it counts; empty: nothing
	Reason  string // what the field for a reason is called, which the person is asked for; empty: none
	Cancel  string // how people get out of either question
	Typed   string // the command that says the same, for where a press may get lost; empty: none is shown
}

// A Settler is a [Service] whose buttons stay under a message until it is told that nothing is left to be pressed.
type Settler interface {
	Service
	// Settle shows label in place of the buttons under a message, to everybody who got it. It can be done once for a message. Its
	// errors are those of Send.
	Settle(ctx context.Context, ref Ref, label string) error
}

// ErrNotGenuine says that a request does not come from the provider.
var ErrNotGenuine = errors.New("the signature is not that of the chat")
