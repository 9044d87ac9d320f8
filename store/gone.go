package store

import (
	"errors"
	"hash/fnv"
	"time"
)

// TaskImages is the kind of the task that asks whether an environment can be gone back in; its key is EnvKey.
const TaskImages = "images"

const (
	imagesEvery  = 6 * time.Hour    // how often it is asked
	imagesSpread = 30 * time.Minute // over which the environments are spread
)

// A Gone is an image that a rollback would need and that no registry has any more.
type Gone struct {
	Repo        string `db:"repo"`
	App         string `db:"app"`
	Environment string `db:"environment"`
	Deployment  string `db:"deployment"` // the id of the one whose objects would be applied again
	Release     int    `db:"release"`
	SHA         string `db:"sha"`
	Image       string `db:"image"` // host/repository@sha256:…
	Since       Time   `db:"since"`
}

// NextImages is when it is asked again whether an environment can be gone back in.
func (tx *Tx) NextImages(key string) time.Time {
	h := fnv.New64a()
	h.Write([]byte(key)) // a hash takes everything
	return tx.now.Add(imagesEvery + time.Duration(h.Sum64()%uint64(imagesSpread)))
}

// WakeImages has it asked of each environment in the next while, where it is not asked sooner.
func (tx *Tx) WakeImages() error {
	live, err := list[Spot](tx, `SELECT repo, app, environment FROM deployments d WHERE state = 'succeeded' AND NOT EXISTS (SELECT 1 FROM deployments n
		WHERE n.repo = d.repo AND n.app = d.app AND n.environment = d.environment AND n.state = 'succeeded' AND (n.finished_at, n.number) > (d.finished_at, d.number))`)
	for _, s := range live {
		key := EnvKey(s.Repo, s.App, s.Environment)
		err = errors.Join(err, tx.WakeAt(TaskImages, key, tx.NextImages(key).Add(-imagesEvery)))
	}
	return err
}

// WayBack finds what a rollback of an environment goes back from, and the deployment whose objects it applies again: what was live
// before what is, or what is live where the newest that began is not. ErrNotFound: nothing.
func (tx *Tx) WayBack(repo, app, environment string) (current, to Deployment, err error) {
	if current, err = tx.Current(repo, app, environment); err != nil {
		return current, to, err
	}
	if current.State != Succeeded { // failed, or still on its way
		to, err = tx.Live(repo, app, environment)
	} else {
		to, err = tx.Before(current)
	}
	return current, to, err
}

// PutGone records that an image is gone; known: that it was.
func (tx *Tx) PutGone(g Gone) (known bool, err error) {
	g.Since = Time{tx.now}
	old, err := Optional(tx.Gone(g.Repo, g.App, g.Environment))
	if err != nil || old != nil && old.Deployment == g.Deployment && old.Image == g.Image {
		return true, err
	}
	return false, tx.named(`INSERT INTO gone_images (repo, app, environment, deployment, release, sha, image, since)
		VALUES (:repo, :app, :environment, :deployment, :release, :sha, :image, :since)
		ON CONFLICT (repo, app, environment) DO UPDATE SET deployment = excluded.deployment, release = excluded.release, sha = excluded.sha, image = excluded.image, since = excluded.since`, g)
}

// Gone reads what is gone that a rollback of an environment would need.
func (tx *Tx) Gone(repo, app, environment string) (Gone, error) {
	return get[Gone](tx, "gone image", "SELECT * FROM gone_images WHERE repo = ? AND app = ? AND environment = ?", repo, app, environment)
}

// GoneIn lists what is gone of a repository's environments.
func (tx *Tx) GoneIn(repo string) ([]Gone, error) {
	return list[Gone](tx, "SELECT * FROM gone_images WHERE repo = ?", repo)
}

// AllGone lists what is gone.
func (tx *Tx) AllGone() ([]Gone, error) { return list[Gone](tx, "SELECT * FROM gone_images") }

// EndGone takes back that an image is gone.
func (tx *Tx) EndGone(repo, app, environment string) error {
	_, err := tx.exec("DELETE FROM gone_images WHERE repo = ? AND app = ? AND environment = ?", repo, app, environment)
	return err
}
