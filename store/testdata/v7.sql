-- What version 7 of the schema held: written by the program that shipped with it, with the data key of TestMigrate.

INSERT INTO repos (name, id, installation, default_branch, private, html_url) VALUES
  ('acme/web', 7, 42, 'master', 1, 'https://github.com/acme/web');

INSERT INTO events (id, kind, repo, received_at, body, decided_at, trace, via, delivered_at, aged_at) VALUES
  ('aaaa0001-push', 'push', 'acme/web', '2026-03-01T09:01:00.000Z', X'7B22726566223A22726566732F68656164732F6D6173746572227D', '2026-03-01T09:07:00.000Z', '["push to master","run of web"]', 'webhook', NULL, NULL),
  ('aaaa0002-push', 'push', 'acme/web', '2026-03-01T09:02:00.000Z', X'7B22726566223A22726566732F68656164732F6D6173746572227D', '2026-03-01T09:22:00.000Z', '["push to master","run of web"]', 'webhook', NULL, NULL),
  ('aaaa0003-comment', 'push', 'acme/web', '2026-03-01T09:03:00.000Z', X'7B22726566223A22726566732F68656164732F6D6173746572227D', NULL, NULL, 'webhook', NULL, NULL),
  ('aaaa0004-push', 'push', 'acme/web', '2026-03-01T09:04:00.000Z', X'7B22726566223A22726566732F68656164732F6D6173746572227D', '2026-03-01T09:49:00.000Z', '["push to master","run of web"]', 'webhook', NULL, NULL),
  ('aaaa0005-ping', 'push', 'acme/web', '2026-03-01T09:05:00.000Z', X'7B22726566223A22726566732F68656164732F6D6173746572227D', NULL, NULL, 'webhook', NULL, NULL);

INSERT INTO tasks (id, kind, key, gen, claimed_gen, claims, attempts, due_at, lease_until, buried_at, reason, faults) VALUES
  (1, 'event', 'aaaa0001-push', 1, 0, 0, 0, '2026-03-01T09:01:00.000Z', NULL, NULL, '', 0),
  (2, 'event', 'aaaa0002-push', 1, 0, 0, 0, '2026-03-01T09:02:00.000Z', NULL, NULL, '', 0),
  (3, 'event', 'aaaa0003-comment', 1, 0, 0, 0, '2026-03-01T09:03:00.000Z', NULL, NULL, '', 0),
  (4, 'event', 'aaaa0004-push', 1, 0, 0, 0, '2026-03-01T09:04:00.000Z', NULL, NULL, '', 0),
  (5, 'event', 'aaaa0005-ping', 1, 0, 0, 0, '2026-03-01T09:05:00.000Z', NULL, NULL, '', 0),
  (6, 'run', 'p7f7vp6axfa2gjnijzocowy6vq', 1, 0, 0, 0, '2026-03-01T09:07:00.000Z', NULL, NULL, '', 0),
  (7, 'report', 'run/p7f7vp6axfa2gjnijzocowy6vq', 3, 0, 0, 0, '2026-03-01T09:07:00.000Z', NULL, NULL, '', 0),
  (10, 'prepare', 'gtqj7t72n3xsq4z7guwpn2kx4m', 1, 0, 0, 0, '2026-03-01T09:16:00.000Z', NULL, NULL, '', 0),
  (11, 'env', 'acme/web
web
staging', 12, 0, 0, 0, '2026-03-01T09:16:00.000Z', NULL, NULL, '', 0),
  (12, 'report', 'deployment/gtqj7t72n3xsq4z7guwpn2kx4m', 7, 0, 0, 0, '2026-03-01T09:16:00.000Z', NULL, NULL, '', 0),
  (21, 'run', 'odk7uccuqcsui2f2hch4xd64ne', 1, 0, 0, 0, '2026-03-01T09:22:00.000Z', NULL, NULL, '', 0),
  (22, 'report', 'run/odk7uccuqcsui2f2hch4xd64ne', 3, 0, 0, 0, '2026-03-01T09:22:00.000Z', NULL, NULL, '', 0),
  (25, 'prepare', '2h7ywctdrcmoj5u2hfasy4l3yq', 1, 0, 0, 0, '2026-03-01T09:31:00.000Z', NULL, NULL, '', 0),
  (27, 'report', 'deployment/2h7ywctdrcmoj5u2hfasy4l3yq', 7, 0, 0, 0, '2026-03-01T09:31:00.000Z', NULL, NULL, '', 0),
  (37, 'prepare', 'ry65bir4r2odqlegf7nyez5n7a', 1, 0, 0, 0, '2026-03-01T09:38:00.000Z', NULL, NULL, '', 0),
  (39, 'report', 'deployment/ry65bir4r2odqlegf7nyez5n7a', 6, 0, 0, 0, '2026-03-01T09:38:00.000Z', NULL, NULL, '', 0),
  (49, 'prepare', 'k5qkyk3nl27ccrmwi56zuagt3q', 1, 0, 0, 0, '2026-03-01T09:45:00.000Z', NULL, NULL, '', 0),
  (50, 'env', 'acme/web
web
production', 3, 0, 0, 0, '2026-03-01T09:45:00.000Z', NULL, NULL, '', 0),
  (51, 'report', 'deployment/k5qkyk3nl27ccrmwi56zuagt3q', 3, 0, 0, 0, '2026-03-01T09:45:00.000Z', NULL, NULL, '', 0),
  (56, 'run', 'bnr5xoemy4oolcrlikiqwuifja', 1, 0, 0, 0, '2026-03-01T09:49:00.000Z', NULL, NULL, '', 0),
  (57, 'report', 'run/bnr5xoemy4oolcrlikiqwuifja', 2, 0, 0, 0, '2026-03-01T09:49:00.000Z', NULL, NULL, '', 0),
  (59, 'reply', 'aaaa0003-comment', 1, 1, 1, 0, '2026-03-01T09:52:00.000Z', NULL, '2026-03-01T09:56:00.000Z', 'the repository is gone', 0);

INSERT INTO runs (id, repo, app, number, ref, sha, subject, author, sender, cause, pull, event, config, deploys, state, reason, failure, digest, release, created_at, started_at, finished_at) VALUES
  ('p7f7vp6axfa2gjnijzocowy6vq', 'acme/web', 'web', 1, 'refs/heads/master', '1111111111111111111111111111111111111111', 'Change it', 'alice', 'alice', 'push', 0, 'aaaa0001-push', '{"app":"web"}', 'null', 'succeeded', '', 'null', 'sha256:1111111111111111111111111111111111111111111111111111111111111111', 1, '2026-03-01T09:07:00.000Z', '2026-03-01T09:08:00.000Z', '2026-03-01T09:15:00.000Z'),
  ('odk7uccuqcsui2f2hch4xd64ne', 'acme/web', 'web', 2, 'refs/heads/master', '2222222222222222222222222222222222222222', 'Change it', 'alice', 'alice', 'push', 0, 'aaaa0002-push', '{"app":"web"}', 'null', 'succeeded', '', 'null', 'sha256:2222222222222222222222222222222222222222222222222222222222222222', 2, '2026-03-01T09:22:00.000Z', '2026-03-01T09:23:00.000Z', '2026-03-01T09:30:00.000Z'),
  ('bnr5xoemy4oolcrlikiqwuifja', 'acme/web', 'web', 3, 'refs/heads/master', '3333333333333333333333333333333333333333', 'Change it', 'alice', 'alice', 'push', 0, 'aaaa0004-push', '{"app":"web"}', 'null', 'running', '', 'null', '', 0, '2026-03-01T09:49:00.000Z', '2026-03-01T09:50:00.000Z', NULL);

INSERT INTO steps (owner, seq, kind, state, detail, started_at, finished_at) VALUES
  ('p7f7vp6axfa2gjnijzocowy6vq', 1, 'fetch', 'succeeded', 'done', '2026-03-01T09:09:00.000Z', '2026-03-01T09:10:00.000Z'),
  ('p7f7vp6axfa2gjnijzocowy6vq', 2, 'build', 'succeeded', 'done', '2026-03-01T09:11:00.000Z', '2026-03-01T09:12:00.000Z'),
  ('p7f7vp6axfa2gjnijzocowy6vq', 3, 'resolve', 'succeeded', 'done', '2026-03-01T09:13:00.000Z', '2026-03-01T09:14:00.000Z'),
  ('gtqj7t72n3xsq4z7guwpn2kx4m', 1, 'render', 'skipped', '', NULL, NULL),
  ('gtqj7t72n3xsq4z7guwpn2kx4m', 2, 'apply', 'skipped', '', NULL, NULL),
  ('gtqj7t72n3xsq4z7guwpn2kx4m', 3, 'observe', 'skipped', '', NULL, NULL),
  ('gtqj7t72n3xsq4z7guwpn2kx4m', 4, 'verify', 'skipped', '', NULL, NULL),
  ('odk7uccuqcsui2f2hch4xd64ne', 1, 'fetch', 'succeeded', 'done', '2026-03-01T09:24:00.000Z', '2026-03-01T09:25:00.000Z'),
  ('odk7uccuqcsui2f2hch4xd64ne', 2, 'build', 'succeeded', 'done', '2026-03-01T09:26:00.000Z', '2026-03-01T09:27:00.000Z'),
  ('odk7uccuqcsui2f2hch4xd64ne', 3, 'resolve', 'succeeded', 'done', '2026-03-01T09:28:00.000Z', '2026-03-01T09:29:00.000Z'),
  ('2h7ywctdrcmoj5u2hfasy4l3yq', 1, 'render', 'skipped', '', NULL, NULL),
  ('2h7ywctdrcmoj5u2hfasy4l3yq', 2, 'apply', 'skipped', '', NULL, NULL),
  ('2h7ywctdrcmoj5u2hfasy4l3yq', 3, 'observe', 'skipped', '', NULL, NULL),
  ('2h7ywctdrcmoj5u2hfasy4l3yq', 4, 'verify', 'skipped', '', NULL, NULL),
  ('ry65bir4r2odqlegf7nyez5n7a', 1, 'render', 'skipped', '', NULL, NULL),
  ('ry65bir4r2odqlegf7nyez5n7a', 2, 'apply', 'skipped', '', NULL, NULL),
  ('ry65bir4r2odqlegf7nyez5n7a', 3, 'observe', 'skipped', '', NULL, NULL),
  ('ry65bir4r2odqlegf7nyez5n7a', 4, 'verify', 'skipped', '', NULL, NULL),
  ('k5qkyk3nl27ccrmwi56zuagt3q', 1, 'render', 'pending', '', NULL, NULL),
  ('k5qkyk3nl27ccrmwi56zuagt3q', 2, 'apply', 'pending', '', NULL, NULL),
  ('k5qkyk3nl27ccrmwi56zuagt3q', 3, 'observe', 'pending', '', NULL, NULL),
  ('k5qkyk3nl27ccrmwi56zuagt3q', 4, 'verify', 'pending', '', NULL, NULL),
  ('bnr5xoemy4oolcrlikiqwuifja', 1, 'fetch', 'running', '', '2026-03-01T09:51:00.000Z', NULL),
  ('bnr5xoemy4oolcrlikiqwuifja', 2, 'build', 'pending', '', NULL, NULL),
  ('bnr5xoemy4oolcrlikiqwuifja', 3, 'resolve', 'pending', '', NULL, NULL);

INSERT INTO releases (repo, app, number, run, ref, sha, subject, author, sender, images, created_at) VALUES
  ('acme/web', 'web', 1, 'p7f7vp6axfa2gjnijzocowy6vq', 'refs/heads/master', '1111111111111111111111111111111111111111', 'Change it', 'alice', 'alice', '[{"repository":"registry.example.com/team/web","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111"}]', '2026-03-01T09:15:00.000Z'),
  ('acme/web', 'web', 2, 'odk7uccuqcsui2f2hch4xd64ne', 'refs/heads/master', '2222222222222222222222222222222222222222', 'Change it', 'alice', 'alice', '[{"repository":"registry.example.com/team/web","digest":"sha256:2222222222222222222222222222222222222222222222222222222222222222"}]', '2026-03-01T09:30:00.000Z');

INSERT INTO deployments (id, repo, app, number, environment, release, rollback_of, restores, cause, requester, run, event, spec, state, blocks, reason, failure, progress, objects, objects_hash, inventory, changes, cancel_by, github_id, created_at, began_at, finished_at, expires_at) VALUES
  ('gtqj7t72n3xsq4z7guwpn2kx4m', 'acme/web', 'web', 1, 'staging', 1, '', '', 'automatic', 'alice', 'p7f7vp6axfa2gjnijzocowy6vq', 'aaaa0003-comment', '{"Environment":{"Name":"staging"}}', 'succeeded', '[]', '', 'null', '', X'7365616C6564206F626A65637473', 'hash', '["Deployment/web"]', '+ image', '', 0, '2026-03-01T09:16:00.000Z', '2026-03-01T09:18:00.000Z', '2026-03-01T09:21:00.000Z', NULL),
  ('2h7ywctdrcmoj5u2hfasy4l3yq', 'acme/web', 'web', 2, 'staging', 2, '', '', 'automatic', 'alice', 'odk7uccuqcsui2f2hch4xd64ne', 'aaaa0003-comment', '{"Environment":{"Name":"staging"}}', 'succeeded', '[]', '', 'null', '', X'7365616C6564206F626A65637473', 'hash', '["Deployment/web"]', '+ image', '', 0, '2026-03-01T09:31:00.000Z', '2026-03-01T09:33:00.000Z', '2026-03-01T09:36:00.000Z', NULL),
  ('ry65bir4r2odqlegf7nyez5n7a', 'acme/web', 'web', 3, 'staging', 1, '2h7ywctdrcmoj5u2hfasy4l3yq', 'gtqj7t72n3xsq4z7guwpn2kx4m', 'rollback', 'alice', 'p7f7vp6axfa2gjnijzocowy6vq', 'aaaa0003-comment', '{"Environment":{"Name":"staging"}}', 'succeeded', '[]', '', 'null', '', X'7365616C6564206F626A65637473', 'hash', '["Deployment/web"]', '+ image', '', 0, '2026-03-01T09:38:00.000Z', '2026-03-01T09:40:00.000Z', '2026-03-01T09:43:00.000Z', NULL),
  ('k5qkyk3nl27ccrmwi56zuagt3q', 'acme/web', 'web', 4, 'production', 2, '', '', 'promote', 'alice', 'odk7uccuqcsui2f2hch4xd64ne', 'aaaa0003-comment', '{"Environment":{"Name":"production"}}', 'blocked', '[{"kind":"approval","need":2}]', '', 'null', '', X'7365616C6564206F626A65637473', 'hash', '["Deployment/web"]', '+ image', '', 0, '2026-03-01T09:45:00.000Z', NULL, NULL, NULL);

INSERT INTO approvals (deployment, login, vote, reason, bound, via, at) VALUES
  ('k5qkyk3nl27ccrmwi56zuagt3q', 'bob', 'approve', '', 'hash', 'github', '2026-03-01T09:48:00.000Z');

INSERT INTO holds (repo, app, environment, by, reason, since) VALUES
  ('acme/web', 'web', 'staging', 'alice', 'it is slow', '2026-03-01T09:44:00.000Z');

INSERT INTO replies (event, repo, issue, comment, reaction, body) VALUES
  ('aaaa0003-comment', 'acme/web', 3, 99, 'rocket', 'Rolling back.');

INSERT INTO messages (subject, surface, moment, said, ref, at) VALUES
  ('deployment/gtqj7t72n3xsq4z7guwpn2kx4m', 'github/deployment', '', 'abc', '5', '2026-03-01T09:53:00.000Z'),
  ('run/p7f7vp6axfa2gjnijzocowy6vq', 'wecom/ops', 'succeeded', 'abc', '', '2026-03-01T09:54:00.000Z');

INSERT INTO audit (seq, at, actor, via, action, repo, subject, detail, mac) VALUES
  (1, '2026-03-01T09:37:00.000Z', 'alice', 'github', 'rollback', 'acme/web', 'deployment/x', 'staging to 1', X'07BD704E39AA86B45258257C672C14EF4F31ED595777445110471EAECA42A6A5'),
  (2, '2026-03-01T09:48:00.000Z', 'bob', 'github', 'approve', 'acme/web', 'deployment/k5qkyk3nl27ccrmwi56zuagt3q', 'production', X'7DC91EF1F90DCD70756BC3AA00756B4AE98C1F43BED94920AAD5D8A573E5E88A'),
  (3, '2026-03-01T09:55:00.000Z', 'shipmate', 'engine', 'recover', 'acme/web', 'deployment/y', 'ünïcode', X'0E8ACFD71BA2FB9580EC48210FBAC40B90391C124D187BD8ABE276197B2B95AD');

INSERT INTO cursors (name, value) VALUES
  ('deliveries', '{"after":"2026-03-01T09:00:00Z"}');

INSERT INTO audit_head (one, seq, mac, key) VALUES
  (1, 3, X'B9EE3A8200BC6047BAB9A19C9A99AD265770A5BC44CB5656230A472AC3FA3B4A', X'C328F99B948D7E44AFE049F9C1C7B896980E8A338B94536A3AA1636E3DF6B29F');

UPDATE runs SET head_sha = sha;

INSERT INTO declared (repo, app, sha, schedule, registry) VALUES
  ('acme/web', 'web', '1111111111111111111111111111111111111111', '[]', '');

INSERT INTO annotations (run, step, found, more, recorded_at) SELECT id, 'build', '[]', 0, '2026-03-01T09:30:00.000Z' FROM runs LIMIT 1;

INSERT INTO ok_to_test (repo, pull, sha, by, at) VALUES
  ('acme/web', 7, '1111111111111111111111111111111111111111', 'alice', '2026-03-01T09:30:00.000Z');

INSERT INTO conflicts (repo, pull, base) VALUES ('acme/web', 8, 'refs/heads/master');

INSERT INTO locks (repo, app, environment, by, reason, since, until, pull, issue) VALUES
  ('acme/web', 'web', 'production', 'bob', 'a migration', '2026-03-01T09:44:00.000Z', '2026-03-01T17:44:00.000Z', 8, 8);
INSERT INTO lock_waits (repo, app, environment, login, issue, since) VALUES ('acme/web', 'web', 'production', 'alice', 9, '2026-03-01T09:45:00.000Z');
INSERT INTO mentions (id, repo, issue, login, body, created_at) VALUES ('lock/1', 'acme/web', 9, 'alice', 'production is free', '2026-03-01T09:46:00.000Z');
INSERT INTO orders (id, repo, number, environment, requester, note, event, pull, state, created_at, expires_at) VALUES
  ('or7y3r3k2m5tq4z7guwpn2kx4m', 'acme/web', 1, 'production', 'alice', 'the spring release', 'aaaa0003-comment', 8, 'waiting', '2026-03-01T09:47:00.000Z', '2026-03-04T09:47:00.000Z');
INSERT INTO order_approvals (order_id, login, vote, bound, via, at) VALUES ('or7y3r3k2m5tq4z7guwpn2kx4m', 'bob', 'approve', 'hash', 'github', '2026-03-01T09:48:00.000Z');
INSERT INTO answers (event, seq, run, login, via, issue, command, body, at) VALUES
  ('aaaa0003-comment', 1, 'odk7uccuqcsui2f2hch4xd64ne', 'alice', 'github', 8, '/promote production', 'production waits for approval', '2026-03-01T09:45:00.000Z');

INSERT INTO sessions (id, login, token, created_at, expires_at) VALUES
  ('5b0c', 'alice', X'00', '2026-03-01T09:00:00.000Z', '2026-03-01T17:00:00.000Z');

INSERT INTO news (kind, subject, state, at) VALUES ('deployment', 'gtqj7t72n3xsq4z7guwpn2kx4m', 'succeeded', '2026-03-01T09:53:00.000Z');
INSERT INTO hook_deliveries (seq, id, hook, repo, event, body, made_at) VALUES
  (1, 'hd7y3r3k2m5tq4z7guwpn2kx4m', 'audit', 'acme/web', 'deployment.succeeded', X'7B7D', '2026-03-01T09:53:00.000Z');
INSERT INTO links (scope, user, login, name, chat, at) VALUES ('T1', 'U1', 'alice', 'Alice', 'slack/team', '2026-03-01T09:50:00.000Z');
INSERT INTO link_requests (id, scope, user, name, chat, expires_at) VALUES ('5b0d', 'T1', 'U2', 'Bob', 'slack/team', '2026-03-01T10:00:00.000Z');
INSERT INTO subscriptions (chat, channel, repo, app, events, by, at) VALUES ('slack/team', 'C1', 'acme/web', 'web', 'null', 'alice', '2026-03-01T09:50:00.000Z');
INSERT INTO outbox (chat, kind, key, rank, said, at) VALUES ('wecom/ops', 'say', 'run/p7f7vp6axfa2gjnijzocowy6vq', 2, 'succeeded', '2026-03-01T09:54:00.000Z');
