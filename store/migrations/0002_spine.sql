-- What recovery from GitHub's delivery log needs.
ALTER TABLE events ADD COLUMN via TEXT NOT NULL DEFAULT 'webhook' CHECK (via IN ('webhook','log','replay'));
ALTER TABLE events ADD COLUMN delivered_at TEXT;   -- when GitHub first tried, where its log told

-- How far something was read that goes on: GitHub's delivery log, the sweep over statuses.
CREATE TABLE cursors (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- Failed attempts of a task by our own fault, since its last success: what a far end is to blame for never buries it.
ALTER TABLE tasks ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;

-- What ended lately or has not ended, for the sweep that reads back what GitHub shows.
CREATE INDEX runs_ended ON runs (finished_at);
CREATE INDEX deployments_ended ON deployments (finished_at);
CREATE INDEX runs_commit ON runs (repo, sha);
