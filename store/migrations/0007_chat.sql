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

-- Users of chats who said which GitHub login they are, besides those in the server's file, which wins.
CREATE TABLE links (
  scope TEXT NOT NULL,                             -- where ids of users count: a workspace, or a corp
  user  TEXT NOT NULL,
  login TEXT NOT NULL COLLATE NOCASE,
  name  TEXT NOT NULL,                             -- what the chat calls the user, where it was told
  chat  TEXT NOT NULL,                             -- kind and name of the one in which it was said
  at    TEXT NOT NULL,
  PRIMARY KEY (scope, user)
) STRICT;
CREATE UNIQUE INDEX links_login ON links (login, scope);

-- What such a user has asked for, and somebody who is signed in may have confirmed.
CREATE TABLE link_requests (
  id         TEXT PRIMARY KEY,                     -- hash of the code in the address
  scope      TEXT NOT NULL,
  user       TEXT NOT NULL,
  name       TEXT NOT NULL,
  chat       TEXT NOT NULL,
  login      TEXT NOT NULL DEFAULT '',             -- who confirmed it
  digits     BLOB NOT NULL DEFAULT x'',            -- what the user has to send back, encrypted with data_key
  misses     INTEGER NOT NULL DEFAULT 0,           -- how often it was something else
  expires_at TEXT NOT NULL,
  UNIQUE (scope, user)
) STRICT;

-- What chats asked to be told by /subscribe, besides what files say.
CREATE TABLE subscriptions (
  chat    TEXT NOT NULL,                           -- kind and name
  channel TEXT NOT NULL,
  repo    TEXT NOT NULL COLLATE NOCASE,
  app     TEXT NOT NULL,
  events  TEXT NOT NULL,                           -- JSON: a list as notify.on has it; null: all
  by      TEXT NOT NULL,                           -- a login
  at      TEXT NOT NULL,
  PRIMARY KEY (chat, channel, repo, app)
) STRICT;
CREATE INDEX subscriptions_app ON subscriptions (repo, app);

-- What waits for its turn in a chat that takes only so many messages a minute: a row for each subject, whose newest moment is told.
CREATE TABLE outbox (
  chat    TEXT NOT NULL,                           -- wecom/<name>
  kind    TEXT NOT NULL,                           -- the kind and the key of the task that had it told
  key     TEXT NOT NULL,
  rank    INTEGER NOT NULL,                        -- 0 approval, 1 failure, 2 another end, 3 progress, 4 left out
  said    TEXT NOT NULL,                           -- tells its news from what it was before
  waited  INTEGER NOT NULL DEFAULT 0 CHECK (waited IN (0, 1)), -- there was no room for it
  omitted INTEGER NOT NULL DEFAULT 0,              -- its moments that were left out, which the next message says
  at      TEXT NOT NULL,                           -- since when it waits
  PRIMARY KEY (chat, kind, key)
) STRICT;
CREATE INDEX outbox_rank ON outbox (chat, rank, at);

-- What Jobs of flows wrote, until it ages out.
CREATE INDEX steps_logs ON steps (finished_at) WHERE json_extract(result, '$.logs') IS NOT NULL;
