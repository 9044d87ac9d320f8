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
