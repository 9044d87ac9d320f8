package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
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

// PutMessage records what was said.
func (tx *Tx) PutMessage(m Message) error {
	m.At = Time{tx.now}
	_, err := tx.q.NamedExecContext(tx.ctx, `INSERT INTO messages (subject, surface, moment, said, ref, at) VALUES (:subject, :surface, :moment, :said, :ref, :at)
		ON CONFLICT (subject, surface, moment) DO UPDATE SET said = excluded.said, ref = excluded.ref, at = excluded.at`, m)
	return err
}

// An Entry is one line of the audit.
type Entry struct {
	Seq     int64  `db:"seq" json:"seq"`
	At      string `db:"at" json:"at"`
	Actor   string `db:"actor" json:"actor"` // a login, or "shipmate"
	Via     string `db:"via" json:"via"`     // github, …
	Action  string `db:"action" json:"action"`
	Repo    string `db:"repo" json:"repo"`
	Subject string `db:"subject" json:"subject"`
	Detail  string `db:"detail" json:"detail"`
	MAC     []byte `db:"mac" json:"mac"`
}

// Audit appends a line. Each carries an HMAC over itself and the one before, by a key that is not in the database.
func (tx *Tx) Audit(e Entry) error {
	last, err := list[Entry](tx, "SELECT * FROM audit ORDER BY seq DESC LIMIT 1")
	if err != nil {
		return err
	}
	var before []byte
	e.Seq = 1
	if len(last) == 1 {
		before, e.Seq = last[0].MAC, last[0].Seq+1
	}
	e.At = stamp(tx.now)
	e.MAC = nil
	if e.MAC, err = tx.db.mac(before, e); err != nil {
		return err
	}
	return tx.insert("audit", "seq at actor via action repo subject detail mac", e)
}

func (db *DB) mac(before []byte, e Entry) ([]byte, error) {
	e.MAC = nil
	b, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, db.key)
	h.Write(before)
	h.Write(b)
	return h.Sum(nil), nil
}

// VerifyAudit walks the chain and returns how many lines it has, or which line does not fit. A chain that was cut at its
// end cannot be told from a shorter one; the last sequence number in an earlier export tells.
func (tx *Tx) VerifyAudit() (int64, error) {
	rows, err := tx.q.QueryxContext(tx.ctx, "SELECT * FROM audit ORDER BY seq")
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }() // rows.Err is checked
	var before []byte
	var n int64
	for rows.Next() {
		var e Entry
		if err := rows.StructScan(&e); err != nil {
			return n, err
		}
		want, err := tx.db.mac(before, e)
		if err != nil {
			return n, err
		}
		if e.Seq != n+1 || !hmac.Equal(want, e.MAC) {
			return n, fmt.Errorf("audit: line %d does not fit the one before: a line was changed, removed or moved", e.Seq)
		}
		before, n = e.MAC, e.Seq
	}
	return n, rows.Err()
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
}

// PutReply stores an answer and wakes the task that posts it.
func (tx *Tx) PutReply(r Reply) error {
	return errors.Join(tx.insert("replies", "event repo issue comment reaction body", r), tx.Wake(TaskReply, r.Event))
}

// Reply reads the answer to an event.
func (tx *Tx) Reply(event string) (Reply, error) {
	return get[Reply](tx, "reply to "+event, "SELECT * FROM replies WHERE event = ?", event)
}
