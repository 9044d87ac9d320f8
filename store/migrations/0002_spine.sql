-- What recovery from GitHub's delivery log needs.
ALTER TABLE events ADD COLUMN via TEXT NOT NULL DEFAULT 'webhook' CHECK (via IN ('webhook','log','replay'));
ALTER TABLE events ADD COLUMN delivered_at TEXT;   -- when GitHub first tried, where its log told

-- How far something was read that goes on: GitHub's delivery log, the sweep over statuses.
CREATE TABLE cursors (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- What people ask of the past: /why, /cancel, the replay of an event.
CREATE INDEX events_repo ON events (repo, received_at);
CREATE INDEX runs_event ON runs (event);
CREATE INDEX deployments_event ON deployments (event);
CREATE INDEX runs_open ON runs (repo) WHERE state IN ('queued', 'running');
CREATE INDEX deployments_open ON deployments (repo) WHERE state NOT IN ('succeeded','rejected','expired','failed','cancelled','superseded');
