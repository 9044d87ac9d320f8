package store

// A Subscription has a place of a chat told of an app, besides what the app's file says.
type Subscription struct {
	Chat    string         `db:"chat"`    // kind and name
	Channel string         `db:"channel"` // of the chat
	Repo    string         `db:"repo"`
	App     string         `db:"app"`
	Events  JSON[[]string] `db:"events"` // as notify.on has them; none: all
	By      string         `db:"by"`
	At      Time           `db:"at"`
}

// PutSubscription subscribes, in place of what the place asked for of the app before.
func (tx *Tx) PutSubscription(s Subscription) error {
	s.At = Time{tx.now}
	return tx.named(`INSERT INTO subscriptions (chat, channel, repo, app, events, by, at) VALUES (:chat, :channel, :repo, :app, :events, :by, :at)
		ON CONFLICT (chat, channel, repo, app) DO UPDATE SET events = excluded.events, by = excluded.by, at = excluded.at`, s)
}

// DropSubscription unsubscribes, and tells whether there was something to.
func (tx *Tx) DropSubscription(chat, channel, repo, app string) (bool, error) {
	n, err := tx.exec("DELETE FROM subscriptions WHERE chat = ? AND channel = ? AND repo = ? AND app = ?", chat, channel, repo, app)
	return n > 0, err
}

// SubscriptionsAt lists what a place is told.
func (tx *Tx) SubscriptionsAt(chat, channel string) ([]Subscription, error) {
	return list[Subscription](tx, "SELECT * FROM subscriptions WHERE chat = ? AND channel = ? ORDER BY repo, app", chat, channel)
}

// SubscriptionsTo lists who is told of an app.
func (tx *Tx) SubscriptionsTo(repo, app string) ([]Subscription, error) {
	return list[Subscription](tx, "SELECT * FROM subscriptions WHERE repo = ? AND app = ? ORDER BY chat, channel", repo, app)
}
