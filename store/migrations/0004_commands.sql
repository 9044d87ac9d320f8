-- What blocks a deployment besides its order, its approvals and a hold, and what people are told of it.
ALTER TABLE deployments ADD COLUMN note TEXT NOT NULL DEFAULT '';           -- why, in the words of who asked for it
ALTER TABLE deployments ADD COLUMN pull INTEGER NOT NULL DEFAULT 0;         -- the pull request or issue that it was asked for on, 0 for none
ALTER TABLE deployments ADD COLUMN green INTEGER NOT NULL DEFAULT 0;        -- 1: it waits for every check of its commit (/deploy … when green)
ALTER TABLE deployments ADD COLUMN checks TEXT NOT NULL DEFAULT 'null';     -- JSON: what was last read of the checks of its commit
ALTER TABLE deployments ADD COLUMN scope TEXT NOT NULL DEFAULT 'null';      -- JSON: what it changes, for those who approve
ALTER TABLE deployments ADD COLUMN order_id TEXT NOT NULL DEFAULT '';       -- the release order that it is a part of
ALTER TABLE deployments ADD COLUMN part INTEGER NOT NULL DEFAULT 0;         -- which part, from 1
ALTER TABLE deployments ADD COLUMN ratify_by TEXT;                          -- break-glass: an approver has to agree until then
ALTER TABLE deployments ADD COLUMN ratified_by TEXT NOT NULL DEFAULT '';    -- who did
ALTER TABLE deployments ADD COLUMN reminded_at TEXT;                        -- when its approvers were reminded
CREATE INDEX deployments_order ON deployments (order_id, part, number) WHERE order_id <> '';
CREATE INDEX deployments_unratified ON deployments (repo, app, environment, number) WHERE ratify_by IS NOT NULL AND ratified_by = '';
CREATE INDEX deployments_pull ON deployments (repo, pull, number) WHERE pull > 0
  AND state NOT IN ('succeeded','rejected','expired','failed','cancelled','superseded');

-- Leases. An app or environment that is empty means all of them.
CREATE TABLE locks (
  repo        TEXT NOT NULL COLLATE NOCASE,
  app         TEXT NOT NULL,
  environment TEXT NOT NULL,
  by          TEXT NOT NULL,                       -- a login
  reason      TEXT NOT NULL,
  since       TEXT NOT NULL,
  until       TEXT NOT NULL,
  pull        INTEGER NOT NULL DEFAULT 0,          -- the pull request that it was taken from, and ends with; 0 for none
  PRIMARY KEY (repo, app, environment)
) STRICT;
CREATE INDEX locks_until ON locks (until);

-- Release orders.
CREATE TABLE orders (
  id          TEXT PRIMARY KEY,
  repo        TEXT NOT NULL COLLATE NOCASE,
  number      INTEGER NOT NULL,                    -- counts from 1 for each repository
  environment TEXT NOT NULL,
  requester   TEXT NOT NULL,
  note        TEXT NOT NULL,                       -- why
  event       TEXT NOT NULL DEFAULT '',
  pull        INTEGER NOT NULL DEFAULT 0,          -- the pull request or issue that it was made on, 0 for none
  rollback_of TEXT NOT NULL DEFAULT '',            -- the order that it takes back
  state       TEXT NOT NULL CHECK (state IN ('draft','waiting','approved','running','succeeded','failed','cancelled','rejected','expired')),
  reason      TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL,
  finished_at TEXT,
  expires_at  TEXT,
  reminded_at TEXT,
  UNIQUE (repo, number)
) STRICT;
CREATE INDEX orders_open ON orders (repo, number) WHERE state IN ('draft','waiting','approved','running');

CREATE TABLE order_approvals (
  order_id TEXT NOT NULL REFERENCES orders (id),
  login    TEXT NOT NULL COLLATE NOCASE,
  vote     TEXT NOT NULL CHECK (vote IN ('approve','reject')),
  reason   TEXT NOT NULL DEFAULT '',
  bound    TEXT NOT NULL,                          -- hash of what was approved
  via      TEXT NOT NULL,
  at       TEXT NOT NULL,
  PRIMARY KEY (order_id, login)
) STRICT;

-- The run whose living comment on GitHub tells what came of the commands; empty: their answer is a comment of its own.
ALTER TABLE replies ADD COLUMN about TEXT NOT NULL DEFAULT '';
CREATE INDEX replies_about ON replies (about) WHERE about <> '';

-- The rules under which a deployment is asked about, and how they changed since.
ALTER TABLE deployments ADD COLUMN rules TEXT NOT NULL DEFAULT 'null';      -- JSON

-- What the commands about the release of a run came to, as its living comment tells it.
CREATE TABLE answers (
  event   TEXT NOT NULL,
  seq     INTEGER NOT NULL,                        -- of the event's commands, from 1
  run     TEXT NOT NULL,
  login   TEXT NOT NULL,
  via     TEXT NOT NULL,
  issue   INTEGER NOT NULL DEFAULT 0,              -- the pull request or issue that it was said on, 0 for none
  command TEXT NOT NULL,
  body    TEXT NOT NULL,
  refused INTEGER NOT NULL DEFAULT 0,              -- 1: it was not obeyed, and there was no pull request to tell that on
  at      TEXT NOT NULL,
  PRIMARY KEY (event, seq)
) STRICT;
CREATE INDEX answers_run ON answers (run, at, event, seq);

CREATE INDEX orders_rollback ON orders (rollback_of, number) WHERE rollback_of <> '';

-- Where the holder of a lock or a hold is told that another ended it or passed it, 0 for nowhere.
ALTER TABLE locks ADD COLUMN issue INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN issue INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN reminded_at TEXT;
CREATE INDEX locks_pull ON locks (repo, pull) WHERE pull > 0;

-- The line of those who asked for a lock that another has: each is told, in turn, when it is free.
CREATE TABLE lock_waits (
  repo        TEXT NOT NULL COLLATE NOCASE,
  app         TEXT NOT NULL,
  environment TEXT NOT NULL,
  login       TEXT NOT NULL COLLATE NOCASE,
  issue       INTEGER NOT NULL,                    -- the pull request or issue that it was asked for on
  since       TEXT NOT NULL,
  told_at     TEXT,
  PRIMARY KEY (repo, app, environment, login)
) STRICT;

-- Comments for one person that are still to be posted.
CREATE TABLE mentions (
  id         TEXT PRIMARY KEY,
  repo       TEXT NOT NULL,
  issue      INTEGER NOT NULL,
  login      TEXT NOT NULL,
  body       TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
