// Package chat speaks to people where they work: WeCom and Slack on the wire.
//
// A [Message] says what happened in plain text. Each provider renders it in its own markup, within its own limits, so
// that nothing a user typed (a commit subject, a branch, a log line) can become a mention, a link or markup. A provider
// sends once and says how the attempt ended; whoever called retries, by [IsPermanent] and [RetryDelay].
package chat

import (
	"context"
	"errors"
	"time"
)

// Service is one configured chat. Its methods may be called concurrently and send at most once for each call.
//
// An error is permanent ([IsPermanent]), or to be tried again no sooner than a given time ([RetryDelay]), or else to be
// tried again at the caller's own pace. Unless it is [IsNotSent], as after a timeout, the message may have arrived all the
// same. No error contains a secret of the chat.
type Service interface {
	// Send posts m to a place of the chat: a channel's id for Slack, or the Ref of a message there, below which it then stands as a
	// reply; userids or @all for an app of WeCom (see [WeComApp.Send]); a WeCom robot speaks in its own group and ignores to.
	Send(ctx context.Context, to string, m Message) (Ref, error)
	// Edit replaces what ref names by m. Where that can't be done, now or ever, the error is [ErrCannotEdit].
	Edit(ctx context.Context, ref Ref, m Message) error
	// Find looks for a message that may have arrived at a place since a time, by its Key; the Ref is empty where there is
	// none. Where the chat offers no way, or not to this bot, the error is [ErrCannotFind].
	Find(ctx context.Context, to, key string, since time.Time) (Ref, error)
}

// Rationed is a [Service] that sends only so many messages in a time. Who uses it sees to it that what matters goes first.
type Rationed interface {
	Service
	// Room tells how much may be sent now.
	Room() Room
	// Fits tells whether one message shows all of m's fields.
	Fits(m Message) bool
}

// Room is what a [Rationed] service may send: Free messages at once, of Of when it has rested. More is when Free grows next; the
// zero time where it is all of it.
type Room struct {
	Free, Of int
	More     time.Time
}

// Ref is a provider's own reference to a message that was sent: opaque, safe to store, empty where there is none.
type Ref string

// Message is what a person is told, before any provider's markup. All of it is plain text in the reader's language.
type Message struct {
	Key      string   // names the message for Find; nobody sees it
	Title    string   // what this is about, one line; required
	State    State    // how it stands: picks the colour or the symbol
	Status   string   // the state in words, shown beside the title
	Fields   []Field  // most important first: one that no longer fits is left out
	Text     string   // a person's own words, such as a commit's subject; shown as a quote
	Detail   string   // preformatted, such as a log; the end of it is what is kept
	Link     Link     // the page that knows more; never left out
	Mentions []Person // who must look now
	Aloud    bool     // a reply that the whole channel sees too
	Buttons  []Button // what can be said about it by a press, where the chat can hear
}

// State is how the thing a message tells of stands.
type State string

// The states of a message. Any other value is shown without colour or symbol.
const (
	Running   State = "running"
	Waiting   State = "waiting" // for a person
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Stopped   State = "stopped" // cancelled, superseded, rejected, expired
)

// Field is one fact. Without a value it is not shown.
type Field struct {
	Name  string
	Value string
	URL   string // where Value leads, if anywhere; see Link
	State State  // colours Name, where the provider has colours; empty for what is no state
}

// Link is an absolute http or https address of at most 512 bytes and what to call it. Any other address isn't shown.
type Link struct {
	Text string
	URL  string
}

// Person is someone to mention.
type Person struct {
	GitHub string // login
	ID     string // user id in this chat; where it is empty or no valid id, the login is shown and nobody is notified
}

// ErrCannotEdit says that the message can't be edited in place; a new one can be sent.
var ErrCannotEdit = errors.New("a message of this chat can't be edited once it is sent")

// ErrCannotFind says that messages of this chat can't be looked for.
var ErrCannotFind = errors.New("messages of this chat can't be looked for")

// errNoTitle is a mistake of the caller; every provider refuses it alike.
var errNoTitle = Permanent(errors.New("message has no title"))
