package store

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

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

// auditHead is where the audit ends. It is written with each line, so that a chain that was cut at its end is found, too.
type auditHead struct {
	Seq int64  `db:"seq"` // of the last line
	MAC []byte `db:"mac"` // over Seq and the last line's MAC
	Key []byte `db:"key"` // over nothing: tells whether a key is the one that the audit was written with
}

// ErrKey is returned (wrapped) where a database is opened with another data key than the one it was written with.
var ErrKey = errors.New("data_key is not the one that this database was written with: put that one back")

// Audit appends a line. Each carries an HMAC over itself and the one before, by a key that is not in the database.
func (tx *Tx) Audit(e Entry) error {
	last, err := tx.lastEntry()
	if err != nil {
		return err
	}
	head, err := tx.auditHead()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	// Where lines were removed, the gap stays: VerifyAudit finds it.
	e.Seq, e.At = max(last.Seq, head.Seq)+1, stamp(tx.now)
	if e.MAC, err = tx.db.mac(last.MAC, e); err != nil {
		return err
	}
	if err := errors.Join(tx.insert("audit", "seq at actor via action repo subject detail mac", e), tx.changed("audit", fmt.Sprint(e.Seq), e.Action)); err != nil {
		return err
	}
	if head.Seq != last.Seq || !hmac.Equal(head.MAC, tx.db.headMAC(last)) {
		return nil // a head that does not fit stays as it is: VerifyAudit finds it
	}
	_, err = tx.exec("UPDATE audit_head SET seq = ?, mac = ?", e.Seq, tx.db.headMAC(e))
	return err
}

// EachEntry calls fn for each line of the audit, the oldest first.
func (tx *Tx) EachEntry(fn func(Entry) error) error {
	rows, err := tx.q.QueryxContext(tx.ctx, "SELECT * FROM audit ORDER BY seq")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err is checked
	for rows.Next() {
		var e Entry
		if err := rows.StructScan(&e); err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return rows.Err()
}

// VerifyAudit walks the chain. It returns how many lines fit and, in an error, the first that was changed, removed or
// moved, also at the end. What it cannot tell: that the whole database is an older copy of itself (compare an export that
// is kept elsewhere).
func (tx *Tx) VerifyAudit() (int64, error) {
	head, err := tx.auditHead()
	if err != nil {
		return 0, fmt.Errorf("audit: %w: it was removed", err)
	}
	if !hmac.Equal(head.Key, tx.db.keyMAC()) {
		return 0, fmt.Errorf("audit: %w", ErrKey)
	}
	var n int64
	var before Entry
	var atHead []byte
	if head.Seq == 0 {
		atHead = tx.db.headMAC(before)
	}
	err = tx.EachEntry(func(e Entry) error {
		switch want, err := tx.db.mac(before.MAC, e); {
		case err != nil:
			return err
		case e.Seq > n+1:
			return missing(n+1, e.Seq-1)
		case e.Seq != n+1 || !hmac.Equal(want, e.MAC):
			return fmt.Errorf("audit: line %d was changed or moved", e.Seq)
		}
		if e.Seq == head.Seq {
			atHead = tx.db.headMAC(e)
		}
		before, n = e, e.Seq
		return nil
	})
	switch {
	case err != nil:
		return n, err
	case n < head.Seq:
		return n, missing(n+1, head.Seq)
	case n > head.Seq || !hmac.Equal(atHead, head.MAC):
		return n, fmt.Errorf("audit: the head was changed: it says that line %d is the last of %d", head.Seq, n)
	}
	return n, nil
}

func missing(from, to int64) error {
	if from == to {
		return fmt.Errorf("audit: line %d is missing", from)
	}
	return fmt.Errorf("audit: lines %d to %d are missing", from, to)
}

// lastEntry is the last line of the audit, the zero Entry before the first.
func (tx *Tx) lastEntry() (Entry, error) {
	e, err := get[Entry](tx, "audit", "SELECT * FROM audit ORDER BY seq DESC LIMIT 1")
	if errors.Is(err, ErrNotFound) {
		return Entry{}, nil
	}
	return e, err
}

func (tx *Tx) auditHead() (auditHead, error) {
	return get[auditHead](tx, "head", "SELECT seq, mac, key FROM audit_head")
}

// putAuditHead gives the audit its head, when the schema gets room for it.
func (tx *Tx) putAuditHead() error {
	last, err := tx.lastEntry()
	if err != nil {
		return err
	}
	_, err = tx.exec("INSERT INTO audit_head (one, seq, mac, key) VALUES (1, ?, ?, ?)", last.Seq, tx.db.headMAC(last), tx.db.keyMAC())
	return err
}

// checkKey fails with ErrKey when the database was written with another key. A head that is gone is VerifyAudit's to tell.
func (tx *Tx) checkKey() error {
	head, err := Optional(tx.auditHead())
	if err == nil && head != nil && !hmac.Equal(head.Key, tx.db.keyMAC()) {
		err = ErrKey
	}
	return err
}

// What a MAC is over begins differently for each use, so that none can stand for another: a line's with the 32 bytes of
// the MAC before (none for the first) and the { of its JSON, the others with their names.

func (db *DB) mac(before []byte, e Entry) ([]byte, error) {
	e.MAC = nil
	b, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return db.sum(before, b), nil
}

func (db *DB) headMAC(last Entry) []byte {
	return db.sum([]byte("head\n"), binary.BigEndian.AppendUint64(nil, uint64(last.Seq)), last.MAC)
}

func (db *DB) keyMAC() []byte { return db.sum([]byte("key\n")) }

func (db *DB) sum(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, db.key)
	h.Write(bytes.Join(parts, nil))
	return h.Sum(nil)
}

// Entry reads one line.
func (tx *Tx) Entry(seq int64) (Entry, error) {
	return get[Entry](tx, "audit", "SELECT * FROM audit WHERE seq = ?", seq)
}
