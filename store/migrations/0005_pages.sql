-- People who are signed in on the pages.
CREATE TABLE sessions (
  id         TEXT PRIMARY KEY,       -- hash of what the browser keeps
  login      TEXT NOT NULL,
  token      BLOB NOT NULL,          -- GitHub's token of the person, encrypted with data_key
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_expire ON sessions (expires_at);
