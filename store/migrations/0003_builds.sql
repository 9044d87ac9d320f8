-- What runs of other causes than a push need, and what a run is checked by.
ALTER TABLE runs ADD COLUMN head_sha TEXT NOT NULL DEFAULT '';     -- of a pull request: its head, where people look; sha is the merge result
ALTER TABLE runs ADD COLUMN fork TEXT NOT NULL DEFAULT '';         -- owner/name of the fork that the head lies in: its build is trusted with nothing
ALTER TABLE runs ADD COLUMN variables TEXT NOT NULL DEFAULT '{}';  -- JSON: build arguments that a caller of the API gave
ALTER TABLE runs ADD COLUMN image TEXT NOT NULL DEFAULT 'null';    -- JSON: the image that something else pushed, and that becomes a release without a build
ALTER TABLE runs ADD COLUMN same_as INTEGER NOT NULL DEFAULT 0;    -- the earlier release that has the same image

-- What the default branch's files ask for that no event of the repository itself starts: written whenever they are read.
CREATE TABLE declared (
  repo     TEXT NOT NULL COLLATE NOCASE,
  app      TEXT NOT NULL,
  sha      TEXT NOT NULL,                          -- the default branch's commit that was read
  schedule TEXT NOT NULL DEFAULT '[]',             -- JSON: trigger.schedule
  registry TEXT NOT NULL DEFAULT '',               -- trigger.registry.repository
  PRIMARY KEY (repo, app)
) STRICT;
CREATE INDEX declared_registry ON declared (registry, repo, app) WHERE registry <> '';
CREATE INDEX declared_schedule ON declared (repo, app) WHERE schedule <> '[]';
CREATE INDEX declared_app ON declared (app, repo);

-- The files of the repositories that are known already are read once.
INSERT INTO tasks (kind, key, due_at) SELECT 'declare', name, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM repos;

-- Repositories take turns at the builders: which claim of a run, counted over all of them, was theirs last.
ALTER TABLE repos ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
CREATE INDEX repos_turn ON repos (turn);
-- What a step of a run brought besides its state: of a check its tests and files, of one that failed why.
ALTER TABLE steps ADD COLUMN result TEXT NOT NULL DEFAULT 'null';  -- JSON
-- The image that a run ends with.
ALTER TABLE runs ADD COLUMN tags_kept TEXT NOT NULL DEFAULT '[]';  -- JSON: tags that stand for another image, and that the registry does not let change
CREATE INDEX releases_image ON releases (repo, app, json_extract(images, '$[0].digest'), number);
-- Places in the source that the output of a failed step names.
CREATE TABLE annotations (
  run         TEXT NOT NULL,
  step        TEXT NOT NULL,
  found       TEXT NOT NULL,                       -- JSON
  more        INTEGER NOT NULL DEFAULT 0,          -- how many are left out
  recorded_at TEXT NOT NULL,
  PRIMARY KEY (run, step)
) STRICT;
CREATE INDEX annotations_age ON annotations (recorded_at);

-- Pull requests. What is told of a run stands at its head: of every other run that is the commit itself.
ALTER TABLE runs ADD COLUMN head_ref TEXT NOT NULL DEFAULT '';     -- of a pull request: its head's branch, in full; it lies in fork where there is one
ALTER TABLE runs ADD COLUMN base_ref TEXT NOT NULL DEFAULT '';     -- of a pull request: the branch that it is to be merged into, in full
UPDATE runs SET head_sha = sha;
DROP INDEX runs_commit;
CREATE INDEX runs_commit ON runs (repo, head_sha, app, number);
CREATE INDEX runs_pull ON runs (repo, app, pull, number) WHERE cause = 'pull_request';

-- Commits of forks that somebody with write access wants to have built: exactly these.
CREATE TABLE ok_to_test (
  repo TEXT NOT NULL COLLATE NOCASE,
  pull INTEGER NOT NULL,
  sha  TEXT NOT NULL,                              -- the head
  by   TEXT NOT NULL,                              -- a login
  at   TEXT NOT NULL,
  PRIMARY KEY (repo, pull, sha)
) STRICT;

-- Open pull requests that were told that they conflict: looked at again when their base moves, of which GitHub tells no pull request.
CREATE TABLE conflicts (
  repo TEXT NOT NULL COLLATE NOCASE,
  pull INTEGER NOT NULL,
  base TEXT NOT NULL,                              -- a branch, in full
  PRIMARY KEY (repo, pull)
) STRICT;
