package store

import "time"

// ReleaseWith finds the newest release of an app that has this image.
func (tx *Tx) ReleaseWith(repo, app string, image Image) (Release, error) {
	return get[Release](tx, "release of "+image.Digest, `SELECT * FROM releases WHERE repo = ? AND app = ?
		AND json_extract(images, '$[0].digest') = ? AND json_extract(images, '$[0].repository') = ? ORDER BY number DESC LIMIT 1`,
		repo, app, image.Digest, image.Repository)
}

// Unreleased lists the runs of an app that have not ended, and those that ended after since without a release.
func (tx *Tx) Unreleased(repo, app string, since time.Time) ([]Run, error) {
	open, err := list[Run](tx, "SELECT * FROM runs INDEXED BY runs_open WHERE repo = ? AND app = ? AND state IN ('queued','running') ORDER BY number", repo, app)
	if err != nil {
		return nil, err
	}
	ended, err := list[Run](tx, "SELECT * FROM runs INDEXED BY runs_ended WHERE finished_at > ? AND repo = ? AND app = ? AND release = 0 ORDER BY number", stamp(since), repo, app)
	return append(open, ended...), err
}
