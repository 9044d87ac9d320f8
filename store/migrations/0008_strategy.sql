-- Strategies: a rollout that rests, is taken back, or leaves the release before beside it for a while.
ALTER TABLE deployments ADD COLUMN colour TEXT NOT NULL DEFAULT '';          -- of blue-green: the one that it runs as; '' under the manifest's own names
ALTER TABLE deployments ADD COLUMN pause TEXT NOT NULL DEFAULT 'null';       -- JSON: who asked it to rest
ALTER TABLE deployments ADD COLUMN paused_from TEXT NOT NULL DEFAULT '';     -- the state that it goes back to
ALTER TABLE deployments ADD COLUMN resumed_at TEXT;                          -- when it last went on; its time counts from then
ALTER TABLE deployments ADD COLUMN abort INTEGER NOT NULL DEFAULT 0;         -- cancel_by wants what was live before back
ALTER TABLE deployments ADD COLUMN retire_at TEXT;                           -- when what it replaced, and still runs, is removed
ALTER TABLE deployments ADD COLUMN resumed_by TEXT NOT NULL DEFAULT '';      -- who let it go on then; '' nobody: its time was over

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
-- A vote is on the deployment, before it begins, or on one step of its flow that waits for approval.
CREATE TABLE approvals_of_steps (
  deployment TEXT NOT NULL REFERENCES deployments (id),
  step       TEXT NOT NULL DEFAULT '',             -- its kind; '' the deployment itself
  login      TEXT NOT NULL COLLATE NOCASE,
  vote       TEXT NOT NULL CHECK (vote IN ('approve','reject')),
  reason     TEXT NOT NULL DEFAULT '',
  bound      TEXT NOT NULL,                        -- hash of what was approved, and the step
  via        TEXT NOT NULL,
  at         TEXT NOT NULL,
  PRIMARY KEY (deployment, step, login)
) STRICT;
INSERT INTO approvals_of_steps (deployment, login, vote, reason, bound, via, at) SELECT deployment, login, vote, reason, bound, via, at FROM approvals;
DROP TABLE approvals;
ALTER TABLE approvals_of_steps RENAME TO approvals;
