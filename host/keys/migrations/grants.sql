-- What the service's role (postern.service) may do: run by the owner after every migration.
-- Invariant: no right to change or delete what was logged, but to take content out for a tombstone
-- that is the last event; and none to change the schema.
DO $$
DECLARE
    role text := current_setting('postern.service');
    statement text;
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, %1$I',
        'GRANT USAGE ON SCHEMA public TO %1$I',
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO %1$I',
        'REVOKE UPDATE, DELETE ON audit_events, checkpoints FROM %1$I',
        'REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM %1$I',
        -- What is deleted there must leave the disk.
        'GRANT TRUNCATE ON epochs TO %1$I'
    ] LOOP
        EXECUTE format(statement, role);
    END LOOP;
    -- Not in a schema of before.
    IF to_regprocedure('remove_audit_content(bigint, bigint)') IS NOT NULL THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION remove_audit_content(bigint, bigint) TO %I', role);
    END IF;
END $$;
