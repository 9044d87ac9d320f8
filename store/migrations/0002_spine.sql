-- What recovery from GitHub's delivery log needs.
ALTER TABLE events ADD COLUMN via TEXT NOT NULL DEFAULT 'webhook' CHECK (via IN ('webhook','log','replay'));
ALTER TABLE events ADD COLUMN delivered_at TEXT;   -- when GitHub first tried, where its log told

-- How far something was read that goes on: GitHub's delivery log, the sweep over statuses.
CREATE TABLE cursors (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- A task that may be claimed stands in tasks_free, one that is being worked in tasks_leased: neither claiming nor asking
-- when the next is due reads more than a row for each kind, however many wait.
DROP INDEX tasks_due;
CREATE INDEX tasks_free ON tasks (kind, due_at, id) WHERE buried_at IS NULL AND lease_until IS NULL;
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_buried ON tasks (buried_at) WHERE buried_at IS NOT NULL;

-- What is asked for all the time is found without reading the history.
CREATE INDEX events_repo ON events (repo, received_at) WHERE repo IS NOT NULL;
CREATE INDEX runs_open ON runs (repo, app, number) WHERE state IN ('queued','running');
DROP INDEX runs_sha;
CREATE INDEX runs_sha ON runs (repo, app, sha, number); -- without the number SQLite walks an app's runs from the newest on
CREATE INDEX runs_event ON runs (event) WHERE event <> '';
CREATE INDEX steps_running ON steps (owner) WHERE state = 'running';
DROP INDEX releases_sha;
CREATE INDEX releases_sha ON releases (repo, app, sha, number);
CREATE INDEX releases_ref ON releases (repo, app, ref, number);
CREATE INDEX deployments_open ON deployments (repo, app, environment, number)
  WHERE state NOT IN ('succeeded','rejected','expired','failed','cancelled','superseded');
CREATE INDEX deployments_open_repo ON deployments (repo, number)
  WHERE state NOT IN ('succeeded','rejected','expired','failed','cancelled','superseded');
CREATE INDEX deployments_live ON deployments (repo, app, environment, finished_at, number) WHERE state = 'succeeded';
CREATE INDEX deployments_release ON deployments (repo, app, environment, release, number) WHERE state = 'succeeded';
CREATE INDEX deployments_began ON deployments (repo, app, environment, began_at, number) WHERE began_at IS NOT NULL;
CREATE INDEX deployments_rollback ON deployments (rollback_of, number) WHERE rollback_of <> '';
CREATE INDEX deployments_event ON deployments (event) WHERE event <> '';

-- What is still to be aged out (see keep.go).
ALTER TABLE events ADD COLUMN aged_at TEXT;        -- when its body was dropped; the row stays while something refers to it
CREATE INDEX events_keep ON events (received_at) WHERE decided_at IS NOT NULL AND aged_at IS NULL;
CREATE INDEX deployments_keep ON deployments (finished_at) WHERE objects IS NOT NULL
  AND state IN ('rejected','expired','failed','cancelled','superseded');

-- The end of the audit: without it a chain that was cut at its end could not be told from a shorter one. One row, written
-- with each line of the audit; the program puts it there when it migrates.
CREATE TABLE audit_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq INTEGER NOT NULL,                            -- of the last line, 0 for none
  mac BLOB NOT NULL,                               -- HMAC over seq and the last line's mac
  key BLOB NOT NULL                                -- HMAC over a fixed text: tells whether a key is the right one
) STRICT;

-- A comment is obeyed once, however many deliveries tell of it.
CREATE INDEX replies_comment ON replies (comment);

-- Failed attempts of a task by our own fault, since its last success: what a far end is to blame for never buries it.
ALTER TABLE tasks ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;

-- What ended lately or has not ended, for the sweep that reads back what GitHub shows.
CREATE INDEX runs_ended ON runs (finished_at);
CREATE INDEX deployments_ended ON deployments (finished_at);
CREATE INDEX runs_commit ON runs (repo, sha, app, number);
