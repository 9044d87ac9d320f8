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

-- Repositories take turns at the builders: which claim of a run, counted over all of them, was theirs last.
ALTER TABLE repos ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
CREATE INDEX repos_turn ON repos (turn);
-- What a step of a run brought besides its state: of a check its tests and files, of one that failed why.
ALTER TABLE steps ADD COLUMN result TEXT NOT NULL DEFAULT 'null';  -- JSON
-- The image that a run ends with.
ALTER TABLE runs ADD COLUMN tags_kept TEXT NOT NULL DEFAULT '[]';  -- JSON: tags that stand for another image, and that the registry does not let change
CREATE INDEX releases_image ON releases (repo, app, json_extract(images, '$[0].digest'), number);
