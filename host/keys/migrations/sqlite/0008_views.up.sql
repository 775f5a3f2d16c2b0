-- What a write needs to know of all tenants' rows together. PostgreSQL has the same views, and
-- there they are all that a tenant's transaction sees of the others.
CREATE VIEW audit_head AS SELECT n, hash FROM audit_events ORDER BY n DESC LIMIT 1;
CREATE VIEW revocations_listed AS SELECT count(*) AS count FROM revocations WHERE listed = 1;
CREATE VIEW kek_in_use AS SELECT kek_id FROM deks WHERE scope = 'system' LIMIT 1;
