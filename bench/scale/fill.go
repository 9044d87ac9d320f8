package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/shipmate-dev/shipmate/store"
)

// size is how much is in a database.
type size struct {
	events  int // each 1 KiB, decided
	runs    int // with as many releases and deployments, three times as many steps and messages; at most as many as events
	waiting int // deployments that wait for an approval, each in an environment of its own
}

// repos is how many repositories share what there is; half of it is in the first.
const repos = 20

// create makes a database of that size. Everything in it succeeded long ago, but for what waits.
func (s *side) create(ctx context.Context, dir, name string) error {
	file := filepath.Join(dir, name)
	db, err := store.Open(ctx, file, []byte("key"))
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil { // it has its schema
		return err
	}
	raw, err := sql.Open("sqlite", file+"?_pragma=synchronous(OFF)&_pragma=cache_size(-400000)&_pragma=wal_autocheckpoint(100000)")
	if err != nil {
		return err
	}
	raw.SetMaxOpenConns(1)
	for _, statement := range fill {
		if _, err := raw.ExecContext(ctx, statement, sql.Named("events", s.size.events), sql.Named("runs", s.size.runs), sql.Named("waiting", s.size.waiting), sql.Named("repos", repos)); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", statement, err), raw.Close())
		}
	}
	if err := raw.Close(); err != nil {
		return err
	}
	if s.raw, err = sql.Open("sqlite", file+"?mode=ro"); err != nil {
		return err
	}
	s.db, err = store.Open(ctx, file, []byte("key"))
	return err
}

// n counts to a number; repo is the repository of a run, an event or a deployment.
const (
	n        = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
	repo     = "'acme/app-' || iif(i % 2 = 0, 0, i % @repos)"
	eventID  = "printf('%08x-0000-4000-8000-%012x', i * 2654435761 % 4294967296, i)" // scattered, as GitHub's are
	at       = "strftime('%Y-%m-%dT%H:%M:%fZ', 1735689600 + i, 'unixepoch')"
	runID    = "printf('%08xrun%015d', i * 2654435761 % 4294967296, i)"
	deployID = "printf('%08xdep%015d', i * 2654435761 % 4294967296, i)"
	sha      = "printf('%040x', i)"
)

var fill = []string{
	"BEGIN",
	n + "@repos) INSERT INTO repos (name, id, installation, default_branch, private, html_url) SELECT 'acme/app-' || (i - 1), i, 1, 'master', 1, 'https://github.com/acme' FROM n",
	n + "@events) INSERT INTO events (id, kind, repo, received_at, body, decided_at, trace) SELECT " + eventID + ", 'push', " + repo + ", " + at +
		", randomblob(1024), " + at + ", '[\"push to refs/heads/master\",\"1 run\"]' FROM n",
	n + "@runs) INSERT INTO runs (id, repo, app, number, ref, sha, head_sha, subject, author, sender, cause, event, config, state, digest, release, created_at, started_at, finished_at) SELECT " +
		runID + ", " + repo + ", 'web', i, 'refs/heads/' || iif(i % 3 = 0, 'master', 'branch-' || i), " + sha + ", " + sha + ", 'Change it', 'alice', 'alice', 'push', " + eventID +
		", '{\"App\":\"web\"}', 'succeeded', 'sha256:' || " + sha + ", i, " + at + ", " + at + ", " + at + " FROM n",
	n + "@runs) INSERT INTO steps (owner, seq, kind, state, started_at, finished_at) SELECT " + runID + ", seq, kind, 'succeeded', " + at + ", " + at +
		" FROM n, (SELECT 1 AS seq, 'fetch' AS kind UNION ALL SELECT 2, 'build' UNION ALL SELECT 3, 'resolve')",
	n + "@runs) INSERT INTO releases SELECT " + repo + ", 'web', i, " + runID + ", 'refs/heads/' || iif(i % 3 = 0, 'master', 'branch-' || i), " + sha +
		", 'Change it', 'alice', 'alice', '[{\"repository\":\"registry.example.com/web\",\"digest\":\"sha256:' || " + sha + " || '\"}]', " + at + " FROM n",
	n + "@runs) INSERT INTO deployments (id, repo, app, number, environment, release, cause, requester, run, event, spec, state, objects, objects_hash, created_at, began_at, finished_at) SELECT " +
		deployID + ", " + repo + ", 'web', i, iif(i % 4 = 0, 'production', 'staging'), i, 'automatic', 'alice', " + runID + ", " + eventID +
		", '{}', iif(i % 10 = 1, 'failed', 'succeeded'), randomblob(1024), 'hash', " + at + ", " + at + ", " + at + " FROM n",
	n + "@runs) INSERT INTO messages SELECT 'run/' || " + runID + ", surface, '', 'said', '', " + at +
		" FROM n, (SELECT 'github/status' AS surface UNION ALL SELECT 'wecom/ops' UNION ALL SELECT 'slack/team/C1')",
	n + "@waiting) INSERT INTO deployments (id, repo, app, number, environment, release, cause, requester, run, spec, state, blocks, created_at) SELECT 'waits-' || i, " + repo +
		", 'web', @runs + i, 'env-' || i, 1, 'promote', 'alice', '', '{}', 'blocked', '[{\"kind\":\"approval\",\"need\":1}]', " + at + " FROM n",
	n + "@waiting) INSERT INTO tasks (kind, key, due_at) SELECT 'env', " + repo + " || char(10) || 'web' || char(10) || 'env-' || i, '2100-01-01T00:00:00.000Z' FROM n",
	"COMMIT",
	"PRAGMA wal_checkpoint(TRUNCATE)",
}
