package store

import "time"

// A Link says which GitHub login a user of a chat is. In one scope a user is one login, and a login one user.
type Link struct {
	Scope string `db:"scope"` // where ids of users count: a workspace, or a corp
	User  string `db:"user"`  // the id
	Login string `db:"login"`
	Name  string `db:"name"` // what the chat calls the user, where it was told; the user's own choice
	Chat  string `db:"chat"` // kind and name of the one in which it was said
	At    Time   `db:"at"`
}

// Link reads who a user of a chat is.
func (tx *Tx) Link(scope, user string) (Link, error) {
	return get[Link](tx, "link", "SELECT * FROM links WHERE scope = ? AND user = ?", scope, user)
}

// LinkOf reads which user somebody is in a scope.
func (tx *Tx) LinkOf(login, scope string) (Link, error) {
	return get[Link](tx, "link", "SELECT * FROM links WHERE login = ? AND scope = ?", login, scope)
}

// LinksOf lists who somebody is in the chats.
func (tx *Tx) LinksOf(login string) ([]Link, error) {
	return list[Link](tx, "SELECT * FROM links WHERE login = ? ORDER BY scope", login)
}

// LinksIn lists the links in a scope.
func (tx *Tx) LinksIn(scope string) ([]Link, error) {
	return list[Link](tx, "SELECT * FROM links WHERE scope = ? ORDER BY user", scope)
}

// Links lists those after a login and scope, by these, at most so many.
func (tx *Tx) Links(login, scope string, limit int) ([]Link, error) {
	return list[Link](tx, "SELECT * FROM links WHERE (login, scope) > (?, ?) ORDER BY login, scope LIMIT ?", login, scope, limit)
}

// PutLink makes a link, in place of what the user was before. That the login is no other user there is for the caller to see.
func (tx *Tx) PutLink(l Link) error {
	l.At = Time{tx.now}
	return tx.named(`INSERT INTO links (scope, user, login, name, chat, at) VALUES (:scope, :user, :login, :name, :chat, :at)
		ON CONFLICT (scope, user) DO UPDATE SET login = excluded.login, name = excluded.name, chat = excluded.chat, at = excluded.at`, l)
}

// DropLink takes a link of somebody back, and tells whether there was one.
func (tx *Tx) DropLink(login, scope string) (bool, error) {
	n, err := tx.exec("DELETE FROM links WHERE login = ? AND scope = ?", login, scope)
	return n > 0, err
}

// A LinkRequest is a user of a chat who wants to be linked. It becomes a Link when somebody who is signed in confirms it, and the
// user then sends back the digits that were shown to them.
type LinkRequest struct {
	ID        string `db:"id"` // hash of the code in the address
	Scope     string `db:"scope"`
	User      string `db:"user"`
	Name      string `db:"name"`
	Chat      string `db:"chat"`
	Login     string `db:"login"`  // who confirmed it, or empty
	Digits    []byte `db:"digits"` // sealed
	Misses    int    `db:"misses"` // how often other digits were sent
	ExpiresAt Time   `db:"expires_at"`
}

// PutLinkRequest stores a request, in place of an earlier one of the user.
func (tx *Tx) PutLinkRequest(r LinkRequest) error {
	_, err := tx.exec("DELETE FROM link_requests WHERE scope = ? AND user = ?", r.Scope, r.User)
	if err != nil {
		return err
	}
	return tx.insert("link_requests", "id scope user name chat expires_at", r)
}

// LinkRequest reads a request, which may have expired.
func (tx *Tx) LinkRequest(id string) (LinkRequest, error) {
	return get[LinkRequest](tx, "request for a link", "SELECT * FROM link_requests WHERE id = ?", id)
}

// LinkRequestOf reads the request of a user, which may have expired.
func (tx *Tx) LinkRequestOf(scope, user string) (LinkRequest, error) {
	return get[LinkRequest](tx, "request for a link", "SELECT * FROM link_requests WHERE scope = ? AND user = ?", scope, user)
}

// ConfirmedLinkRequests lists the requests in a scope that somebody confirmed.
func (tx *Tx) ConfirmedLinkRequests(scope string) ([]LinkRequest, error) {
	return list[LinkRequest](tx, "SELECT * FROM link_requests WHERE scope = ? AND login <> ''", scope)
}

// AgeLinkRequests drops the requests that expired before the given time, and returns how many they were.
func (tx *Tx) AgeLinkRequests(before time.Time) (int, error) {
	n, err := tx.exec("DELETE FROM link_requests WHERE expires_at < ?", stamp(before))
	return int(n), err
}

// ConfirmLinkRequest stores who confirmed a request, and the digits.
func (tx *Tx) ConfirmLinkRequest(r LinkRequest) error {
	return tx.named("UPDATE link_requests SET login = :login, digits = :digits WHERE id = :id", r)
}

// MissLinkRequest counts that other digits were sent.
func (tx *Tx) MissLinkRequest(r LinkRequest) error {
	_, err := tx.exec("UPDATE link_requests SET misses = misses + 1 WHERE id = ?", r.ID)
	return err
}

// DropLinkRequest ends a request.
func (tx *Tx) DropLinkRequest(r LinkRequest) error {
	_, err := tx.exec("DELETE FROM link_requests WHERE id = ?", r.ID)
	return err
}
