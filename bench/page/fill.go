package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// What follows counts the apps (i) and the releases of each (k). Releases of the first app come two hours apart, up to now; those of
// the others too. What is rendered of a deployment has 6 kB, and one in 15 deployments to production failed.
const (
	counted = "WITH RECURSIVE a (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM a WHERE i + 1 < @apps), n (i, k) AS (SELECT i, 1 FROM a UNION ALL SELECT i, k + 1 FROM n WHERE k < iif(i = 0, @releases, 10))"
	repo    = "'acme/repo-' || (i / 5)"
	app     = "printf('app-%03d', i)"
	runID   = "printf('%08xrun%08d%07d', (i * 10007 + k) * 2654435761 % 4294967296, i, k)"
	at      = "strftime('%Y-%m-%dT%H:%M:%fZ', unixepoch() - (iif(i = 0, @releases, 10) - k + 1) * 7200, 'unixepoch')"
	sha     = "printf('%040x', i * 100000 + k)"
	config  = `'{"App":"' || printf('app-%03d', i) || '","Environments":[{"Name":"dev"},{"Name":"staging","After":"dev"},{"Name":"production","After":"staging","Freeze":["Fri 18:00 - Mon 08:00 UTC"]}],"Filler":"' || hex(zeroblob(900)) || '"}'`
)

// fill makes the history of all apps.
func fill(ctx context.Context, file string, o options) error {
	raw, err := sql.Open("sqlite", file+"?_pragma=synchronous(OFF)&_pragma=cache_size(-200000)")
	if err != nil {
		return err
	}
	raw.SetMaxOpenConns(1)
	for _, statement := range []string{
		"BEGIN",
		counted + " INSERT INTO repos (name, id, installation, default_branch, private, html_url) SELECT DISTINCT " + repo + ", 1, 1, 'master', 1, 'https://github.example/acme' FROM a",
		counted + " INSERT INTO runs (id, repo, app, number, ref, sha, head_sha, subject, author, sender, cause, config, state, digest, release, created_at, started_at, finished_at) SELECT " +
			runID + ", " + repo + ", " + app + ", k, 'refs/heads/master', " + sha + ", " + sha + ", 'Change the number ' || k || ' of what there is to be changed', 'alice', 'alice', 'push', " + config +
			", 'succeeded', 'sha256:1', k, " + at + ", " + at + ", " + at + " FROM n",
		counted + " INSERT INTO releases SELECT " + repo + ", " + app + ", k, " + runID + ", 'refs/heads/master', " + sha + ", 'Change the number ' || k || ' of what there is to be changed', 'alice', 'alice', '[]', " + at + " FROM n",
		counted + " INSERT INTO deployments (id, repo, app, number, environment, release, cause, requester, run, spec, state, objects, objects_hash, created_at, began_at, finished_at) SELECT " +
			runID + " || e, " + repo + ", " + app + ", (i * 10001 + k) * 3 + e, CASE e WHEN 0 THEN 'dev' WHEN 1 THEN 'staging' ELSE 'production' END, k, 'automatic', 'alice', " + runID +
			", '{}', iif(e = 2 AND (i + k) % 15 = 0, 'failed', 'succeeded'), zeroblob(6000), 'hash', " + at + ", " + at + ", " + at + " FROM n, (SELECT 0 AS e UNION ALL SELECT 1 UNION ALL SELECT 2)",
		"COMMIT",
		"PRAGMA wal_checkpoint(TRUNCATE)",
	} {
		if _, err := raw.ExecContext(ctx, statement, sql.Named("apps", o.apps), sql.Named("releases", o.releases)); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", statement, err), raw.Close())
		}
	}
	return raw.Close()
}

// A run that is under way, and whose log is followed.
const followed = "followedfollowedfollowedab"

// setFollowed makes that run, or says what became of it.
func (s *stand) setFollowed(ctx context.Context, state string) error {
	const now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
	_, err := s.db.ExecContext(ctx, "INSERT INTO runs (id, repo, app, number, ref, sha, head_sha, subject, author, sender, cause, config, state, created_at, started_at) VALUES (?, 'acme/repo-0', 'followed', 1, 'refs/heads/master', '1', '1', 'Follow it', 'alice', 'alice', 'push', '{}', ?, "+
		now+", "+now+") ON CONFLICT (id) DO UPDATE SET state = excluded.state, finished_at = "+now, followed, state)
	return err
}
