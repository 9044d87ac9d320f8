-- The page of a repository's audit.
CREATE INDEX audit_repo ON audit (repo, seq);
