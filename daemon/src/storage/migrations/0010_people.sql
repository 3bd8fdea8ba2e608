-- People of the office beside those of the configuration, when they are away, and why callers were given to them.

-- Imported people. What the configuration says about somebody of the same name comes first.
CREATE TABLE people (
    person_id TEXT NOT NULL PRIMARY KEY CHECK (length(person_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    name       TEXT NOT NULL UNIQUE COLLATE NOCASE CHECK (name <> ''),
    department TEXT,
    extension  TEXT,
    mobile     TEXT,                                                       -- E.164 with +
    email      TEXT,
    hours      TEXT                                                        -- 'mon-fri 09:00-17:00'; NULL: the office's
) STRICT;

CREATE TRIGGER people_inserted AFTER INSERT ON people BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('people', NEW.person_id, 'insert');
END;
CREATE TRIGGER people_versioned AFTER UPDATE ON people WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE people SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER people_updated AFTER UPDATE ON people WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('people', NEW.person_id, 'update');
END;
CREATE TRIGGER people_deleted AFTER DELETE ON people BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('people', OLD.person_id, 'delete');
END;

-- When somebody is away, whether they are in the configuration or imported.
CREATE TABLE absences (
    absence_id TEXT NOT NULL PRIMARY KEY CHECK (length(absence_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    person   TEXT NOT NULL COLLATE NOCASE CHECK (person <> ''),            -- their name
    from_at  INTEGER NOT NULL,
    until_at INTEGER NOT NULL CHECK (until_at > from_at)                   -- not away any more
) STRICT;
CREATE INDEX absences_by_end ON absences (until_at);

CREATE TRIGGER absences_inserted AFTER INSERT ON absences BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('absences', NEW.absence_id, 'insert');
END;
CREATE TRIGGER absences_versioned AFTER UPDATE ON absences WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE absences SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER absences_updated AFTER UPDATE ON absences WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('absences', NEW.absence_id, 'update');
END;
CREATE TRIGGER absences_deleted AFTER DELETE ON absences BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('absences', OLD.absence_id, 'delete');
END;

-- Callers whom the attendant gave to a person, or wanted to: why, to whom, and what came of it.
CREATE TABLE escalations (
    escalation_id TEXT NOT NULL PRIMARY KEY CHECK (length(escalation_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    call_id     TEXT NOT NULL REFERENCES call_sessions (call_id) ON DELETE CASCADE,
    turn_number INTEGER,                                                   -- the turn it was decided in; NULL: a key
    reason      TEXT NOT NULL CHECK (reason <> '' AND reason NOT GLOB '*[^a-z0-9_]*'),
    detail      TEXT,                                                      -- the rule or word of ours that fitted
    person      TEXT,
    reach       TEXT,                                                      -- 'extension:101', 'mobile'; NULL: nobody was there
    outcome     TEXT CHECK (outcome <> '' AND outcome NOT GLOB '*[^a-z0-9_]*')
) STRICT;
CREATE INDEX escalations_by_call ON escalations (call_id);

CREATE TRIGGER escalations_inserted AFTER INSERT ON escalations BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('escalations', NEW.escalation_id, 'insert');
END;
CREATE TRIGGER escalations_versioned AFTER UPDATE ON escalations WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE escalations SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER escalations_updated AFTER UPDATE ON escalations WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('escalations', NEW.escalation_id, 'update');
END;
CREATE TRIGGER escalations_deleted AFTER DELETE ON escalations BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('escalations', OLD.escalation_id, 'delete');
END;
