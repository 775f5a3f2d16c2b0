-- Content of events can be taken out for a tombstone (AUDIT.md, Removal): hash and signature
-- stay, gone names the event that says so, which is the last one, and nothing else can change. What the
-- tombstone says is for the verifier to compare.
ALTER TABLE audit_events ADD COLUMN gone INTEGER;

DROP TRIGGER audit_events_update;
CREATE TRIGGER audit_events_update BEFORE UPDATE ON audit_events
WHEN NOT (OLD.gone IS NULL AND NEW.gone IS NOT NULL AND length(NEW.bytes) = 0
    AND NEW.n = OLD.n AND NEW.at_ms = OLD.at_ms AND NEW.tenant IS OLD.tenant
    AND NEW.prev = OLD.prev AND NEW.hash = OLD.hash AND NEW.sig = OLD.sig
    AND instr(OLD.bytes, CAST('"kind":"content_removed"' AS BLOB)) = 0
    AND EXISTS (SELECT 1 FROM audit_events t
        WHERE t.n = NEW.gone AND t.n > OLD.n AND t.tenant IS OLD.tenant
        AND instr(t.bytes, CAST('"kind":"content_removed"' AS BLOB)) > 0)
    AND NOT EXISTS (SELECT 1 FROM audit_events later WHERE later.n > NEW.gone))
BEGIN SELECT RAISE(ABORT, 'audit_events: append only'); END;
