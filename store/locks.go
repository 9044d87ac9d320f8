package store

import "errors"

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
	Pull        int    `db:"pull"` // the pull request that it was taken from, and ends with; 0 for none
}

// LocksOn lists the locks that hold now and cover an environment of an app, the narrowest first.
func (tx *Tx) LocksOn(repo, app, environment string) ([]Lock, error) {
	return list[Lock](tx, `SELECT * FROM locks WHERE repo = ? AND app IN (?, '') AND environment IN (?, '') AND until > ?
		ORDER BY environment = '', app = ''`, repo, app, environment, stamp(tx.now))
}

// PutLock takes or extends a lock and wakes what it covers.
func (tx *Tx) PutLock(l Lock) error {
	err := tx.named(`INSERT INTO locks (repo, app, environment, by, reason, since, until, pull) VALUES (:repo, :app, :environment, :by, :reason, :since, :until, :pull)
		ON CONFLICT (repo, app, environment) DO UPDATE SET by = excluded.by, reason = excluded.reason, since = excluded.since, until = excluded.until, pull = excluded.pull`, l)
	return errors.Join(err, tx.wakeCovered(l.Repo, l.App, l.Environment))
}

// EndLock ends a lock and wakes what waited for that.
func (tx *Tx) EndLock(l Lock) error {
	_, err := tx.exec("DELETE FROM locks WHERE repo = ? AND app = ? AND environment = ?", l.Repo, l.App, l.Environment)
	return errors.Join(err, tx.wakeCovered(l.Repo, l.App, l.Environment))
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
