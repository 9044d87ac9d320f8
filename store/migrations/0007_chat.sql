-- Who is who in the chats, what is told there, and what was sent to other programs.

-- What outgoing webhooks are yet to be told: each change of a state, and each line of the audit. Nothing is noted where there are none.
CREATE TABLE news (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  kind    TEXT NOT NULL,                           -- run | deployment | order | audit
  subject TEXT NOT NULL,                           -- its id; of a line of the audit its number
  state   TEXT NOT NULL,                           -- the new one; of a line of the audit its action
  at      TEXT NOT NULL
) STRICT;

-- What they were told, or are to be.
CREATE TABLE hook_deliveries (
  seq      INTEGER PRIMARY KEY,
  id       TEXT NOT NULL UNIQUE,
  hook     TEXT NOT NULL,                          -- its name in the server's file
  repo     TEXT NOT NULL COLLATE NOCASE,
  event    TEXT NOT NULL,                          -- as in run.succeeded
  body     BLOB NOT NULL,
  made_at  TEXT NOT NULL,
  tried_at TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  status   INTEGER NOT NULL DEFAULT 0,             -- of the last answer, 0 for none
  error    TEXT NOT NULL DEFAULT '',               -- of the last attempt; of one that is done: none
  done_at  TEXT
) STRICT;
CREATE INDEX hook_deliveries_repo ON hook_deliveries (repo, seq);
CREATE INDEX hook_deliveries_made ON hook_deliveries (made_at);
