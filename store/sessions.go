package store

import "fmt"

// A Session is a person who is signed in on the pages.
type Session struct {
	ID        string `db:"id"` // a hash of what the browser keeps, so that the database signs nobody in
	Login     string `db:"login"`
	Token     []byte `db:"token"` // GitHub's token of the person, sealed
	CreatedAt Time   `db:"created_at"`
	ExpiresAt Time   `db:"expires_at"`
}

// maxSessions is how many sessions one person has at most; the oldest ends.
const maxSessions = 20

// PutSession begins a session, and forgets those that have expired.
func (tx *Tx) PutSession(s Session) error {
	s.CreatedAt = Time{tx.now}
	if _, err := tx.AgeSessions(); err != nil {
		return err
	}
	if err := tx.insert("sessions", "id login token created_at expires_at", s); err != nil {
		return err
	}
	_, err := tx.exec("DELETE FROM sessions WHERE login = ?1 AND id NOT IN (SELECT id FROM sessions WHERE login = ?1 ORDER BY created_at DESC LIMIT ?2)", s.Login, maxSessions)
	return err
}

// AgeSessions forgets the sessions that have expired, and with them GitHub's tokens of people; it returns how many they were.
func (tx *Tx) AgeSessions() (int, error) {
	n, err := tx.exec("DELETE FROM sessions WHERE expires_at <= ?", stamp(tx.now))
	return int(n), err
}

// Session reads a session that has not expired.
func (tx *Tx) Session(id string) (Session, error) {
	s, err := get[Session](tx, "session", "SELECT * FROM sessions WHERE id = ?", id)
	if err == nil && !tx.now.Before(s.ExpiresAt.Time) {
		err = fmt.Errorf("session: %w", ErrNotFound)
	}
	return s, err
}

// EndSession ends a session; one that is not there has ended.
func (tx *Tx) EndSession(id string) error {
	_, err := tx.exec("DELETE FROM sessions WHERE id = ?", id)
	return err
}

// Sessions counts the sessions that have not expired.
func (tx *Tx) Sessions() (int, error) {
	return get[int](tx, "sessions", "SELECT count(*) FROM sessions WHERE expires_at > ?", stamp(tx.now))
}
