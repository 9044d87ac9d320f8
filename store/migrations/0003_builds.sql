-- What runs of other causes than a push need, and what a run is checked by.
ALTER TABLE runs ADD COLUMN head_sha TEXT NOT NULL DEFAULT '';     -- of a pull request: its head, where people look; sha is the merge result
ALTER TABLE runs ADD COLUMN fork TEXT NOT NULL DEFAULT '';         -- owner/name of the fork that the head lies in: its build is trusted with nothing
ALTER TABLE runs ADD COLUMN variables TEXT NOT NULL DEFAULT '{}';  -- JSON: build arguments that a caller of the API gave
ALTER TABLE runs ADD COLUMN image TEXT NOT NULL DEFAULT 'null';    -- JSON: the image that something else pushed, and that becomes a release without a build
ALTER TABLE runs ADD COLUMN same_as INTEGER NOT NULL DEFAULT 0;    -- the earlier release that has the same image
