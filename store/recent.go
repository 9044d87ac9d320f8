package store

import "time"

// A Commit is one at which runs are shown: see Run.Head.
type Commit struct {
	Repo string `db:"repo"`
	SHA  string `db:"sha"`
}

// RecentCommits lists the commits whose runs, or deployments of whose releases, have not ended or ended after since; by
// repository.
func (tx *Tx) RecentCommits(since time.Time) ([]Commit, error) {
	return list[Commit](tx, `SELECT DISTINCT repo, head_sha AS sha FROM (
		SELECT repo, head_sha FROM runs WHERE finished_at IS NULL
		UNION ALL SELECT repo, head_sha FROM runs WHERE finished_at > ?1
		UNION ALL SELECT r.repo, r.head_sha FROM deployments d JOIN runs r ON r.id = d.run WHERE d.finished_at IS NULL
		UNION ALL SELECT r.repo, r.head_sha FROM deployments d JOIN runs r ON r.id = d.run WHERE d.finished_at > ?1)
		ORDER BY repo, sha`, stamp(since))
}

// RunsOf lists the runs that are shown at a commit, for all apps, oldest first.
func (tx *Tx) RunsOf(c Commit) ([]Run, error) {
	return list[Run](tx, "SELECT * FROM runs WHERE repo = ? AND head_sha = ? ORDER BY +app, number", c.Repo, c.SHA)
}

// DeploymentOf finds the newest deployment of a commit to an environment, for one app.
func (tx *Tx) DeploymentOf(repo, app, sha, environment string) (Deployment, error) {
	return get[Deployment](tx, "deployment of "+sha, `SELECT d.* FROM runs r JOIN deployments d ON d.run = r.id
		WHERE r.repo = ? AND r.app = ? AND r.sha = ? AND d.environment = ? ORDER BY d.number DESC LIMIT 1`, repo, app, sha, environment)
}
