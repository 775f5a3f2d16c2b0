-- Content of events can be taken out for a tombstone (AUDIT.md, Removal), as long as that is the
-- last event: hash and signature stay, gone names the event that says so, and nothing else of a
-- row can change. Which events a tombstone speaks of is for the verifier to compare. The service's
-- role still has no right to change rows: it calls remove_audit_content, which changes just that.
ALTER TABLE audit_events ADD COLUMN gone BIGINT;

CREATE FUNCTION only_removed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
DECLARE
    mark CONSTANT bytea := convert_to('"kind":"content_removed"', 'UTF8');
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.gone IS NULL AND NEW.gone IS NOT NULL AND length(NEW.bytes) = 0
        AND NEW.n = OLD.n AND NEW.at_ms = OLD.at_ms AND NEW.tenant IS NOT DISTINCT FROM OLD.tenant
        AND NEW.prev = OLD.prev AND NEW.hash = OLD.hash AND NEW.sig = OLD.sig
        AND position(mark IN OLD.bytes) = 0
        AND EXISTS (SELECT 1 FROM audit_events t
            WHERE t.n = NEW.gone AND t.n > OLD.n AND t.tenant IS NOT DISTINCT FROM OLD.tenant
            AND position(mark IN t.bytes) > 0)
        AND NOT EXISTS (SELECT 1 FROM audit_events later WHERE later.n > NEW.gone)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '%: append only', TG_TABLE_NAME;
END $$;

DROP TRIGGER audit_events_change ON audit_events;
CREATE TRIGGER audit_events_change BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION only_removed();

CREATE FUNCTION remove_audit_content(event bigint, tombstone bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE audit_events SET bytes = ''::bytea, gone = tombstone WHERE n = event AND reaches(tenant);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'audit_events: append only';
    END IF;
END $$;
-- Of the service's role alone: grants.sql.
REVOKE ALL ON FUNCTION remove_audit_content(bigint, bigint) FROM PUBLIC;
