package store

import (
	"errors"
	"time"
)

const (
	// TaskLocks is the kind of the task that ends leases when their time is up and tells who waits for one; its key is empty.
	TaskLocks = "locks"
	// TaskHolds is the kind of the task that reminds of holds; its key is empty.
	TaskHolds = "holds"
	// TaskMention is the kind of the task that posts a mention; its key is the mention's id.
	TaskMention = "mention"
)

// A Lock is a lease on an environment: what others ask for there waits or is refused until it ends. An App or Environment
// that is empty means all of them.
type Lock struct {
	Repo        string `db:"repo"`
	App         string `db:"app"`
	Environment string `db:"environment"`
	By          string `db:"by"` // a login
	Reason      string `db:"reason"`
	Since       Time   `db:"since"`
	Until       Time   `db:"until"`
	Pull        int    `db:"pull"`  // the pull request that it was taken from, and ends with; 0 for none
	Issue       int    `db:"issue"` // the pull request or issue that it was taken on, where its holder is told; 0 for none
}

// A LockWait is somebody's place in the line for a lock. Its App and Environment are what was asked for, as in a Lock.
type LockWait struct {
	Repo        string `db:"repo"`
	App         string `db:"app"`
	Environment string `db:"environment"`
	Login       string `db:"login"`
	Issue       int    `db:"issue"` // the pull request or issue that it was asked for on, where they are told
	Since       Time   `db:"since"`
	ToldAt      Time   `db:"told_at"` // when they were told that it is free
}

// A Mention is a comment for one person, who is mentioned in it.
type Mention struct {
	ID        string `db:"id"`
	Repo      string `db:"repo"`
	Issue     int    `db:"issue"` // a pull request or an issue
	Login     string `db:"login"`
	Body      string `db:"body"` // in the marks of text.Quote
	CreatedAt Time   `db:"created_at"`
}

// Overlaps tells whether two scopes, of an app and an environment each, have an environment in common. One that is empty
// means all of them.
func Overlaps(app, environment, otherApp, otherEnvironment string) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return same(app, otherApp) && same(environment, otherEnvironment)
}

// LocksOn lists the locks that hold now and cover an environment of an app, the narrowest first.
func (tx *Tx) LocksOn(repo, app, environment string) ([]Lock, error) {
	return list[Lock](tx, `SELECT * FROM locks WHERE repo = ? AND app IN (?, '') AND environment IN (?, '') AND until > ?
		ORDER BY environment = '', app = ''`, repo, app, environment, stamp(tx.now))
}

// Locks lists the locks of a repository that hold now, the widest first.
func (tx *Tx) Locks(repo string) ([]Lock, error) {
	return list[Lock](tx, "SELECT * FROM locks WHERE repo = ? AND until > ? ORDER BY app, environment", repo, stamp(tx.now))
}

// LocksOver lists the locks, of all repositories, whose time is up.
func (tx *Tx) LocksOver() ([]Lock, error) {
	return list[Lock](tx, "SELECT * FROM locks WHERE until <= ? ORDER BY until, repo, app, environment", stamp(tx.now))
}

// LocksOfPull lists the locks that end with a pull request.
func (tx *Tx) LocksOfPull(repo string, pull int) ([]Lock, error) {
	return list[Lock](tx, "SELECT * FROM locks WHERE repo = ? AND pull = ? AND pull > 0 ORDER BY app, environment", repo, pull)
}

// NextLockEnd is when the next lock ends by itself, the zero time where there is none.
func (tx *Tx) NextLockEnd() (time.Time, error) {
	next, err := list[Time](tx, "SELECT until FROM locks ORDER BY until LIMIT 1")
	if err != nil || len(next) == 0 {
		return time.Time{}, err
	}
	return next[0].Time, nil
}

// PutLock takes or extends a lock, and wakes what it covers and what ends it.
func (tx *Tx) PutLock(l Lock) error {
	err := tx.named(`INSERT INTO locks (repo, app, environment, by, reason, since, until, pull, issue) VALUES (:repo, :app, :environment, :by, :reason, :since, :until, :pull, :issue)
		ON CONFLICT (repo, app, environment) DO UPDATE SET by = excluded.by, reason = excluded.reason, since = excluded.since, until = excluded.until, pull = excluded.pull, issue = excluded.issue`, l)
	return errors.Join(err, tx.wakeCovered(l.Repo, l.App, l.Environment), tx.WakeAt(TaskLocks, "", l.Until.Time))
}

// EndLock ends a lock, and wakes what waited for that and what tells the next in line.
func (tx *Tx) EndLock(l Lock) error {
	_, err := tx.exec("DELETE FROM locks WHERE repo = ? AND app = ? AND environment = ?", l.Repo, l.App, l.Environment)
	return errors.Join(err, tx.wakeCovered(l.Repo, l.App, l.Environment), tx.Wake(TaskLocks, ""))
}

// wakeCovered wakes the work on every environment with an unfinished deployment that a lock covers.
func (tx *Tx) wakeCovered(repo, app, environment string) error {
	open, err := list[Deployment](tx, "SELECT * FROM deployments WHERE repo = ? AND (? = '' OR app = ?) AND (? = '' OR environment = ?) AND state NOT IN "+ended,
		repo, app, app, environment, environment)
	for _, d := range open {
		err = errors.Join(err, tx.Wake(TaskEnv, EnvKey(d.Repo, d.App, d.Environment)))
	}
	return err
}

// WaitForLock puts somebody at the end of the line; whoever stands in it keeps their place.
func (tx *Tx) WaitForLock(w LockWait) error {
	w.Since = Time{tx.now}
	return tx.named(`INSERT INTO lock_waits (repo, app, environment, login, issue, since) VALUES (:repo, :app, :environment, :login, :issue, :since)
		ON CONFLICT (repo, app, environment, login) DO UPDATE SET issue = excluded.issue`, w)
}

// LockLine lists who waits for a lock in a repository, in the order in which they asked.
func (tx *Tx) LockLine(repo string) ([]LockWait, error) {
	return list[LockWait](tx, "SELECT * FROM lock_waits WHERE repo = ? ORDER BY since, rowid", repo)
}

// LockLines lists the repositories in which somebody waits for a lock.
func (tx *Tx) LockLines() ([]string, error) {
	return list[string](tx, "SELECT DISTINCT repo FROM lock_waits ORDER BY repo")
}

// ToldOfLock records when somebody was told that they may take the lock, the zero time where that is void.
func (tx *Tx) ToldOfLock(w LockWait) error {
	_, err := tx.exec("UPDATE lock_waits SET told_at = ? WHERE repo = ? AND app = ? AND environment = ? AND login = ?", w.ToldAt, w.Repo, w.App, w.Environment, w.Login)
	return err
}

// LeaveLine takes somebody out of the line, and wakes what tells the next.
func (tx *Tx) LeaveLine(w LockWait) error {
	_, err := tx.exec("DELETE FROM lock_waits WHERE repo = ? AND app = ? AND environment = ? AND login = ?", w.Repo, w.App, w.Environment, w.Login)
	return errors.Join(err, tx.Wake(TaskLocks, ""))
}

// Holds lists the holds of all repositories, oldest first.
func (tx *Tx) Holds() ([]Hold, error) {
	return list[Hold](tx, "SELECT * FROM holds ORDER BY since, repo, app, environment")
}

// HoldsOf lists the holds of a repository.
func (tx *Tx) HoldsOf(repo string) ([]Hold, error) {
	return list[Hold](tx, "SELECT * FROM holds WHERE repo = ? ORDER BY app, environment", repo)
}

// RemindedOfHold records that people were reminded of a hold.
func (tx *Tx) RemindedOfHold(h Hold) error {
	_, err := tx.exec("UPDATE holds SET reminded_at = ? WHERE repo = ? AND app = ? AND environment = ?", stamp(tx.now), h.Repo, h.App, h.Environment)
	return err
}

// PutMention stores a mention and wakes what posts it.
func (tx *Tx) PutMention(m Mention) error {
	m.ID, m.CreatedAt = NewID(), Time{tx.now}
	return errors.Join(tx.insert("mentions", "id repo issue login body created_at", m), tx.Wake(TaskMention, m.ID))
}

// Mention reads a mention that was not posted yet.
func (tx *Tx) Mention(id string) (Mention, error) {
	return get[Mention](tx, "mention "+id, "SELECT * FROM mentions WHERE id = ?", id)
}

// DropMention forgets a mention that was posted.
func (tx *Tx) DropMention(id string) error {
	_, err := tx.exec("DELETE FROM mentions WHERE id = ?", id)
	return err
}
