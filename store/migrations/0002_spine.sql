-- What recovery from GitHub's delivery log needs.
ALTER TABLE events ADD COLUMN via TEXT NOT NULL DEFAULT 'webhook' CHECK (via IN ('webhook','log','replay'));
ALTER TABLE events ADD COLUMN delivered_at TEXT;   -- when GitHub first tried, where its log told

-- How far something was read that goes on: GitHub's delivery log, the sweep over statuses.
CREATE TABLE cursors (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- A comment is obeyed once, however many deliveries tell of it.
CREATE INDEX replies_comment ON replies (comment);
