-- What a write needs to know of all tenants' rows together: all that a tenant's transaction
-- sees of the others. A view reads with the rights of its owner; with
-- LIMIT or an aggregate nothing is written through it.
CREATE VIEW audit_head AS SELECT n, hash FROM audit_events ORDER BY n DESC LIMIT 1;
CREATE VIEW revocations_listed AS SELECT count(*) AS count FROM revocations WHERE listed = 1;
CREATE VIEW kek_in_use AS SELECT kek_id FROM deks WHERE scope = 'system' LIMIT 1;
