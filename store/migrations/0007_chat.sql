-- Who is who in the chats, what is told there, and what was sent to other programs.

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
