-- loses: SELECT count(*) FROM audit_events WHERE gone IS NOT NULL
DROP FUNCTION remove_audit_content(bigint, bigint);
DROP TRIGGER audit_events_change ON audit_events;
CREATE TRIGGER audit_events_change BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION append_only();
DROP FUNCTION only_removed();
ALTER TABLE audit_events DROP COLUMN gone;
