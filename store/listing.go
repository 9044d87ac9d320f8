package store

// A Head is what a list is filtered by: a run, a deployment or a release order without what it holds.
type Head struct {
	Row         int64  `db:"row"` // grows with each; where the next page goes on, not what anything is known by
	ID          string `db:"id"`
	Repo        string `db:"repo"`
	App         string `db:"app"`         // not of an order
	Environment string `db:"environment"` // not of a run
	Ref         string `db:"ref"`         // of a run
	State       string `db:"state"`
}

// A Listed is what there are lists of.
type Listed string

// The lists that Heads reads.
const (
	ListedRuns        Listed = "runs"
	ListedDeployments Listed = "deployments"
	ListedOrders      Listed = "orders"
)

// Heads lists what is older than a row, newest first; no row is 1<<62 or more. They are read without what they hold, so that
// whoever filters them may read many.
func (tx *Tx) Heads(of Listed, before int64, limit int) ([]Head, error) {
	switch of {
	case ListedRuns:
		return list[Head](tx, "SELECT rowid AS row, id, repo, app, '' AS environment, ref, state FROM runs WHERE rowid < ? ORDER BY rowid DESC LIMIT ?", before, limit)
	case ListedDeployments:
		return list[Head](tx, "SELECT rowid AS row, id, repo, app, environment, '' AS ref, state FROM deployments WHERE rowid < ? ORDER BY rowid DESC LIMIT ?", before, limit)
	}
	return list[Head](tx, "SELECT rowid AS row, id, repo, '' AS app, environment, '' AS ref, state FROM orders WHERE rowid < ? ORDER BY rowid DESC LIMIT ?", before, limit)
}

// HeadsOf is Heads of one repository, and of one app where app is not empty; of runs an app is needed. Row is then their number.
func (tx *Tx) HeadsOf(of Listed, repo, app string, before int64, limit int) ([]Head, error) {
	switch of {
	case ListedRuns:
		return list[Head](tx, "SELECT number AS row, id, repo, app, '' AS environment, ref, state FROM runs WHERE repo = ? AND app = ? AND number < ? ORDER BY number DESC LIMIT ?", repo, app, before, limit)
	case ListedDeployments:
		return list[Head](tx, "SELECT number AS row, id, repo, app, environment, '' AS ref, state FROM deployments WHERE repo = ? AND number < ? ORDER BY number DESC LIMIT ?", repo, before, limit)
	}
	return list[Head](tx, "SELECT number AS row, id, repo, '' AS app, environment, '' AS ref, state FROM orders WHERE repo = ? AND number < ? ORDER BY number DESC LIMIT ?", repo, before, limit)
}

// EntriesBefore lists the lines of the audit before one, newest first.
func (tx *Tx) EntriesBefore(seq int64, limit int) ([]Entry, error) {
	return list[Entry](tx, "SELECT * FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?", seq, limit)
}

// DeclaredAfter lists the apps of all repositories that come after one, by repository and name.
func (tx *Tx) DeclaredAfter(repo, app string, limit int) ([]Declared, error) {
	return list[Declared](tx, "SELECT * FROM declared WHERE (repo, app) > (?, ?) ORDER BY repo, app LIMIT ?", repo, app, limit)
}

// NewestRun is an app's run with the highest number.
func (tx *Tx) NewestRun(repo, app string) (Run, error) {
	return get[Run](tx, "newest run of "+app, "SELECT * FROM runs WHERE repo = ?1 AND app = ?2 AND number = (SELECT max(number) FROM runs WHERE repo = ?1 AND app = ?2)", repo, app)
}
