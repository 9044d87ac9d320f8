-- Strategies: a rollout that rests, is taken back, or leaves the release before beside it for a while.
ALTER TABLE deployments ADD COLUMN colour TEXT NOT NULL DEFAULT '';          -- of blue-green: the one that it runs as; '' under the manifest's own names
ALTER TABLE deployments ADD COLUMN pause TEXT NOT NULL DEFAULT 'null';       -- JSON: who asked it to rest
ALTER TABLE deployments ADD COLUMN paused_from TEXT NOT NULL DEFAULT '';     -- the state that it goes back to
ALTER TABLE deployments ADD COLUMN resumed_at TEXT;                          -- when it last went on; its time counts from then
ALTER TABLE deployments ADD COLUMN abort INTEGER NOT NULL DEFAULT 0;         -- cancel_by wants what was live before back
ALTER TABLE deployments ADD COLUMN retire_at TEXT;                           -- when what it replaced, and still runs, is removed
CREATE INDEX deployments_retire ON deployments (repo, app, environment, retire_at) WHERE retire_at IS NOT NULL;

-- What can't be gone back to: the image of the release that a rollback of the environment would take is in no registry any more.
CREATE TABLE gone_images (
  repo        TEXT NOT NULL COLLATE NOCASE,
  app         TEXT NOT NULL,
  environment TEXT NOT NULL,
  deployment  TEXT NOT NULL,                       -- whose objects would be applied again
  release     INTEGER NOT NULL,
  sha         TEXT NOT NULL,                       -- its commit
  image       TEXT NOT NULL,                       -- host/repository@sha256:…
  since       TEXT NOT NULL,                       -- when that was found
  PRIMARY KEY (repo, app, environment)
) STRICT;
