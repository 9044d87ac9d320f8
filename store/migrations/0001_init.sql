-- Times are UTC, RFC 3339 with milliseconds (fixed width, so they sort as text). NULL is "not yet".
-- The states are those of the drawing in doc.go.

CREATE TABLE repos (
  name           TEXT PRIMARY KEY COLLATE NOCASE,  -- owner/name
  id             INTEGER NOT NULL,                 -- GitHub's
  installation   INTEGER NOT NULL,
  default_branch TEXT NOT NULL,
  private        INTEGER NOT NULL,
  html_url       TEXT NOT NULL
) STRICT;

CREATE TABLE events (
  id          TEXT PRIMARY KEY,                    -- GitHub's delivery id
  kind        TEXT NOT NULL,                       -- X-GitHub-Event
  repo        TEXT,
  received_at TEXT NOT NULL,
  body        BLOB NOT NULL,                       -- as signed
  decided_at  TEXT,
  trace       TEXT                                 -- JSON list: what was read, which rule decided, what came of it
) STRICT;

CREATE TABLE tasks (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again, so that a late finish cannot hit a newer row
  kind        TEXT NOT NULL,
  key         TEXT NOT NULL,
  gen         INTEGER NOT NULL DEFAULT 1,          -- bumped by Wake
  claimed_gen INTEGER NOT NULL DEFAULT 0,          -- the generation that the last claim took
  claims      INTEGER NOT NULL DEFAULT 0,          -- fencing: a finish must name the claim it belongs to
  attempts    INTEGER NOT NULL DEFAULT 0,          -- since the last success
  due_at      TEXT NOT NULL,
  lease_until TEXT,                                -- being worked until then
  buried_at   TEXT,
  reason      TEXT NOT NULL DEFAULT '',            -- of the last retry or of the burial
  UNIQUE (kind, key)
) STRICT;
CREATE INDEX tasks_due ON tasks (due_at, id) WHERE buried_at IS NULL;

CREATE TABLE runs (
  id          TEXT PRIMARY KEY,
  repo        TEXT NOT NULL COLLATE NOCASE,
  app         TEXT NOT NULL,
  number      INTEGER NOT NULL,                    -- counts from 1 for each app
  ref         TEXT NOT NULL,                       -- refs/heads/…
  sha         TEXT NOT NULL,
  subject     TEXT NOT NULL,                       -- first line of the commit message
  author      TEXT NOT NULL,                       -- login, or the name in the commit where GitHub knows none
  sender      TEXT NOT NULL,                       -- login that pushed or asked
  cause       TEXT NOT NULL,                       -- push | command
  pull        INTEGER NOT NULL DEFAULT 0,
  event       TEXT NOT NULL DEFAULT '',
  config      TEXT NOT NULL,                       -- JSON: the effective repository file
  deploys     TEXT NOT NULL DEFAULT '[]',          -- JSON: deployments to make when it succeeds
  state       TEXT NOT NULL CHECK (state IN ('queued','running','succeeded','failed','cancelled','superseded')),
  reason      TEXT NOT NULL DEFAULT '',
  failure     TEXT NOT NULL DEFAULT 'null',        -- JSON
  digest      TEXT NOT NULL DEFAULT '',
  release     INTEGER NOT NULL DEFAULT 0,          -- its number, once it exists
  created_at  TEXT NOT NULL,
  started_at  TEXT,
  finished_at TEXT,
  UNIQUE (repo, app, number)
) STRICT;
CREATE INDEX runs_sha ON runs (repo, app, sha);
CREATE INDEX runs_new ON runs (created_at);

CREATE TABLE steps (
  owner       TEXT NOT NULL,                       -- a run's or a deployment's id
  seq         INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('pending','running','succeeded','failed','cancelled','skipped','interrupted')),
  detail      TEXT NOT NULL DEFAULT '',
  started_at  TEXT,
  finished_at TEXT,
  PRIMARY KEY (owner, seq)
) STRICT;

CREATE TABLE releases (
  repo       TEXT NOT NULL COLLATE NOCASE,
  app        TEXT NOT NULL,
  number     INTEGER NOT NULL,
  run        TEXT NOT NULL REFERENCES runs (id),
  ref        TEXT NOT NULL,
  sha        TEXT NOT NULL,
  subject    TEXT NOT NULL,
  author     TEXT NOT NULL,
  sender     TEXT NOT NULL,
  images     TEXT NOT NULL,                        -- JSON list of repository and digest
  created_at TEXT NOT NULL,
  PRIMARY KEY (repo, app, number),
  UNIQUE (run)
) STRICT;
CREATE INDEX releases_sha ON releases (repo, app, sha);
-- Immutable: what was approved is what runs.
CREATE TRIGGER releases_fixed BEFORE UPDATE ON releases BEGIN SELECT RAISE(ABORT, 'a release is immutable'); END;

CREATE TABLE deployments (
  id           TEXT PRIMARY KEY,
  repo         TEXT NOT NULL COLLATE NOCASE,
  app          TEXT NOT NULL,
  number       INTEGER NOT NULL,                   -- counts from 1 for each repository: what people type
  environment  TEXT NOT NULL,
  release      INTEGER NOT NULL,
  rollback_of  TEXT NOT NULL DEFAULT '',           -- the deployment it goes back from
  restores     TEXT NOT NULL DEFAULT '',           -- the deployment whose stored objects it applies again
  cause        TEXT NOT NULL,                      -- automatic | deploy | promote | rollback | recovery
  requester    TEXT NOT NULL,
  run          TEXT NOT NULL,                      -- of the release
  event        TEXT NOT NULL DEFAULT '',
  spec         TEXT NOT NULL,                      -- JSON: the environment as the default branch's file says
  state        TEXT NOT NULL CHECK (state IN ('blocked','queued','applying','progressing','paused','verifying',
                 'succeeded','rejected','expired','failed','cancelled','superseded')),
  blocks       TEXT NOT NULL DEFAULT '[]',         -- JSON: why it is blocked or paused
  reason       TEXT NOT NULL DEFAULT '',
  failure      TEXT NOT NULL DEFAULT 'null',       -- JSON
  progress     TEXT NOT NULL DEFAULT '',
  objects      BLOB,                               -- rendered and bound; Secrets sealed with data_key
  objects_hash TEXT NOT NULL DEFAULT '',
  inventory    TEXT NOT NULL DEFAULT '[]',         -- JSON
  changes      TEXT NOT NULL DEFAULT '',           -- the diff that is shown to approvers
  cancel_by    TEXT NOT NULL DEFAULT '',           -- asked to stop, by whom
  github_id    INTEGER NOT NULL DEFAULT 0,
  created_at   TEXT NOT NULL,
  began_at     TEXT,                               -- when applying began
  finished_at  TEXT,
  expires_at   TEXT,                               -- of its wait for approval
  UNIQUE (repo, number)
) STRICT;
CREATE INDEX deployments_env ON deployments (repo, app, environment, number);
CREATE INDEX deployments_run ON deployments (run);

CREATE TABLE approvals (
  deployment TEXT NOT NULL REFERENCES deployments (id),
  login      TEXT NOT NULL COLLATE NOCASE,
  vote       TEXT NOT NULL CHECK (vote IN ('approve','reject')),
  reason     TEXT NOT NULL DEFAULT '',
  bound      TEXT NOT NULL,                        -- hash of what was approved
  via        TEXT NOT NULL,
  at         TEXT NOT NULL,
  PRIMARY KEY (deployment, login)
) STRICT;

CREATE TABLE holds (
  repo        TEXT NOT NULL COLLATE NOCASE,
  app         TEXT NOT NULL,
  environment TEXT NOT NULL,
  by          TEXT NOT NULL,
  reason      TEXT NOT NULL DEFAULT '',
  since       TEXT NOT NULL,
  PRIMARY KEY (repo, app, environment)
) STRICT;

-- The answer to a comment with commands: a reaction on it, and a reply where there is something to say.
CREATE TABLE replies (
  event    TEXT PRIMARY KEY REFERENCES events (id),
  repo     TEXT NOT NULL,
  issue    INTEGER NOT NULL,
  comment  INTEGER NOT NULL,
  reaction TEXT NOT NULL,                          -- rocket | confused
  body     TEXT NOT NULL                           -- markdown, empty for none
) STRICT;

-- What was last said where. One row for each living message; for surfaces that cannot edit, one for each moment.
CREATE TABLE messages (
  subject TEXT NOT NULL,                           -- run/<id> | deployment/<id> | command/<event>
  surface TEXT NOT NULL,                           -- github:status:<context> | github:deployment | wecom:<name> | slack:<name>:<channel> | …
  moment  TEXT NOT NULL DEFAULT '',
  said    TEXT NOT NULL,                           -- hash of what was said
  ref     TEXT NOT NULL DEFAULT '',                -- the provider's reference
  at      TEXT NOT NULL,
  PRIMARY KEY (subject, surface, moment)
) STRICT;

CREATE TABLE audit (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  at      TEXT NOT NULL,
  actor   TEXT NOT NULL,
  via     TEXT NOT NULL,
  action  TEXT NOT NULL,
  repo    TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail  TEXT NOT NULL,
  mac     BLOB NOT NULL                            -- HMAC over this row and the one before
) STRICT;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
