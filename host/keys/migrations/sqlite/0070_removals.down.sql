-- loses: SELECT count(*) FROM audit_events WHERE gone IS NOT NULL
DROP TRIGGER audit_events_update;
ALTER TABLE audit_events DROP COLUMN gone;
CREATE TRIGGER audit_events_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events: append only'); END;
