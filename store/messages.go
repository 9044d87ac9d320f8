package store

import (
	"errors"
	"time"
)

// A Message is what was last said about a subject on a surface (and, where it cannot edit, at which moment).
type Message struct {
	Subject string `db:"subject"` // run/<id> | deployment/<id> | command/<event>
	Surface string `db:"surface"`
	Moment  string `db:"moment"`
	Said    string `db:"said"` // hash of what was said
	Ref     string `db:"ref"`  // the provider's reference
	At      Time   `db:"at"`
}

// Message reads what was last said; the zero Message when nothing was.
func (tx *Tx) Message(subject, surface, moment string) (Message, error) {
	m, err := get[Message](tx, "message", "SELECT * FROM messages WHERE subject = ? AND surface = ? AND moment = ?", subject, surface, moment)
	if errors.Is(err, ErrNotFound) {
		return Message{Subject: subject, Surface: surface, Moment: moment}, nil
	}
	return m, err
}

// Referred lists what was said of a subject with a reference of the provider's.
func (tx *Tx) Referred(subject string) ([]Message, error) {
	return list[Message](tx, "SELECT * FROM messages WHERE subject = ? AND ref <> '' ORDER BY surface, moment", subject)
}

// PutMessage records what was said.
func (tx *Tx) PutMessage(m Message) error {
	m.At = Time{tx.now}
	err := tx.named(`INSERT INTO messages (subject, surface, moment, said, ref, at) VALUES (:subject, :surface, :moment, :said, :ref, :at)
		ON CONFLICT (subject, surface, moment) DO UPDATE SET said = excluded.said, ref = excluded.ref, at = excluded.at`, m)
	return err
}

// TaskReply is the kind of the task that posts a Reply; its key is the event's id.
const TaskReply = "reply"

// A Reply is the answer to a comment with commands.
type Reply struct {
	Event    string `db:"event"`
	Repo     string `db:"repo"`
	Issue    int    `db:"issue"`
	Comment  int64  `db:"comment"`
	Reaction string `db:"reaction"` // rocket | confused
	Body     string `db:"body"`     // markdown; empty for none
	About    string `db:"about"`    // the run whose living comment tells it instead; empty: it is a comment of its own
}

// PutReply stores an answer and wakes the task that posts it. One that is on no issue is posted nowhere: a program asks for it.
func (tx *Tx) PutReply(r Reply) error {
	if r.Issue == 0 {
		return tx.insert("replies", "event repo issue comment reaction body about", r)
	}
	return errors.Join(tx.insert("replies", "event repo issue comment reaction body about", r), tx.Wake(TaskReply, r.Event))
}

// Reply reads the answer to an event.
func (tx *Tx) Reply(event string) (Reply, error) {
	return get[Reply](tx, "reply to "+event, "SELECT * FROM replies WHERE event = ?", event)
}

// SaidSince tells whether something was said of a subject on a surface since a time.
func (tx *Tx) SaidSince(subject, surface string, since time.Time) (bool, error) {
	return get[bool](tx, "message", "SELECT EXISTS (SELECT 1 FROM messages WHERE subject = ? AND surface = ? AND at >= ?)", subject, surface, stamp(since))
}
