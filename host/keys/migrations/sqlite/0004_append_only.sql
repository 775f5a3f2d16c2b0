-- The log only grows. Whoever can write the database file can take the triggers away, and is
-- found by the checkpoints; these stop a mistake, and whoever can only send statements.
-- Checkpoints of an older form, if there are any, are made anew.
DELETE FROM checkpoints;

CREATE TRIGGER audit_events_append BEFORE INSERT ON audit_events
WHEN NEW.n <> (SELECT coalesce(max(n), 0) + 1 FROM audit_events)
BEGIN SELECT RAISE(ABORT, 'audit_events: only the next number is appended'); END;

CREATE TRIGGER audit_events_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events: append only'); END;

CREATE TRIGGER audit_events_delete BEFORE DELETE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events: append only'); END;

CREATE TRIGGER checkpoints_append BEFORE INSERT ON checkpoints
WHEN NEW.count <= (SELECT coalesce(max(count), 0) FROM checkpoints)
BEGIN SELECT RAISE(ABORT, 'checkpoints: append only'); END;

CREATE TRIGGER checkpoints_update BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints: append only'); END;

CREATE TRIGGER checkpoints_delete BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints: append only'); END;
