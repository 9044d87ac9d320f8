package store

// TaskOutbox is the kind of the task that tells a chat what waits for its turn there; its key is the chat, kind/name.
const TaskOutbox = "outbox"

// The ranks of what waits, in the order of their turns.
const (
	RankApproval = iota // somebody has to decide
	RankFailure
	RankEnd
	RankProgress
	RankOmitted // it is not told any more; that it was left out is
)

// An Outgoing is what waits for its turn in a chat that takes only so many messages a minute.
type Outgoing struct {
	Chat    string `db:"chat"` // kind/name
	Kind    string `db:"kind"` // of the task that had it told
	Key     string `db:"key"`  // of that task
	Rank    int    `db:"rank"`
	Said    string `db:"said"`    // tells what is to be told from what was before
	Waited  bool   `db:"waited"`  // there was no room for it
	Omitted int    `db:"omitted"` // its moments that were left out, and no message said so
	At      Time   `db:"at"`      // since when it waits
}

// Enqueue has something told in its turn and wakes who tells it. Its news takes the place of what waits of the same task: where
// that is progress for which there was no room, it counts as left out.
func (tx *Tx) Enqueue(o Outgoing) error {
	o.At = Time{tx.now}
	err := tx.named(`INSERT INTO outbox (chat, kind, key, rank, said, at) VALUES (:chat, :kind, :key, :rank, :said, :at)
		ON CONFLICT (chat, kind, key) DO UPDATE SET said = excluded.said, rank = excluded.rank,
		omitted = omitted + (waited AND rank = 3 AND excluded.rank < 3),
		waited = waited AND rank = excluded.rank, at = CASE WHEN rank = excluded.rank THEN at ELSE excluded.at END`, o)
	if err != nil {
		return err
	}
	return tx.Wake(TaskOutbox, o.Chat)
}

// Outbox lists what waits for its turn in a chat, whose turn is first before.
func (tx *Tx) Outbox(chat string) ([]Outgoing, error) {
	return list[Outgoing](tx, "SELECT * FROM outbox WHERE chat = ? ORDER BY rank, at, key", chat)
}

// Waits records that there was no room for what is in a chat's outbox.
func (tx *Tx) Waits(chat string) error {
	_, err := tx.exec("UPDATE outbox SET waited = 1 WHERE chat = ? AND waited = 0", chat)
	return err
}

// Omit leaves progress out: it is not told any more, and the next message says so. What has news is not left out.
func (tx *Tx) Omit(o Outgoing) error {
	_, err := tx.exec("UPDATE outbox SET rank = 4, omitted = omitted + 1 WHERE chat = ? AND kind = ? AND key = ? AND said = ?", o.Chat, o.Kind, o.Key, o.Said)
	return err
}

// Told takes out of the outbox what was told; what has news since stays.
func (tx *Tx) Told(o Outgoing) error {
	_, err := tx.exec("DELETE FROM outbox WHERE chat = ? AND kind = ? AND key = ? AND said = ? AND omitted = 0", o.Chat, o.Kind, o.Key, o.Said)
	if err != nil {
		return err
	}
	_, err = tx.exec("UPDATE outbox SET rank = 4 WHERE chat = ? AND kind = ? AND key = ? AND said = ?", o.Chat, o.Kind, o.Key, o.Said) // what it counts is not said yet
	return err
}

// ToldOmitted records that a message said what was left out, as far as these rows counted it.
func (tx *Tx) ToldOmitted(all []Outgoing) error {
	for _, o := range all {
		if o.Omitted == 0 {
			continue
		}
		if _, err := tx.exec("UPDATE outbox SET omitted = omitted - ? WHERE chat = ? AND kind = ? AND key = ?", o.Omitted, o.Chat, o.Kind, o.Key); err != nil {
			return err
		}
		if _, err := tx.exec("DELETE FROM outbox WHERE chat = ? AND kind = ? AND key = ? AND rank = 4 AND omitted = 0", o.Chat, o.Kind, o.Key); err != nil {
			return err
		}
	}
	return nil
}

// GiveUp takes what can't be told out of the outbox and shows the task that had it told among those given up, with the reason.
func (tx *Tx) GiveUp(o Outgoing, reason string) error {
	if err := tx.Told(o); err != nil {
		return err
	}
	_, err := tx.exec("INSERT INTO tasks (kind, key, due_at, reason, buried_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", o.Kind, o.Key, stamp(tx.now), reason, stamp(tx.now))
	return err
}
