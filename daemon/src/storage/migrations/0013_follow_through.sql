-- What becomes of what was sent and said: whether a text message arrived, how callers rate a call, and what the office
-- thinks of an answer.

-- In the service's words: 'sent', 'delivered', 'undelivered', …; NULL: not asked yet, or another channel.
ALTER TABLE notifications ADD COLUMN delivery TEXT;
-- When the service is asked next; NULL: not any more.
ALTER TABLE notifications ADD COLUMN delivery_due_at INTEGER;
ALTER TABLE notifications ADD COLUMN delivery_checks INTEGER NOT NULL DEFAULT 0;
CREATE INDEX notifications_by_delivery ON notifications (delivery_due_at) WHERE delivery_due_at IS NOT NULL;
CREATE INDEX notifications_by_reference ON notifications (reference) WHERE reference IS NOT NULL;

-- 1 to 5, by a key at the end of the call; NULL: not asked, or none pressed.
ALTER TABLE call_sessions ADD COLUMN rating INTEGER CHECK (rating BETWEEN 1 AND 5);

-- Text messages that came for the office, each once however often the service tells of it.
CREATE TABLE received_texts (
    text_id     TEXT NOT NULL PRIMARY KEY CHECK (length(text_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    reference   TEXT NOT NULL UNIQUE CHECK (reference <> ''),              -- what the service calls it
    sender      TEXT NOT NULL,
    body        TEXT NOT NULL,
    effect      TEXT CHECK (effect <> '' AND effect NOT GLOB '*[^a-z0-9_]*') -- what it has done; NULL: nothing
) STRICT;

CREATE TRIGGER received_texts_inserted AFTER INSERT ON received_texts BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('received_texts', NEW.text_id, 'insert');
END;
CREATE TRIGGER received_texts_versioned AFTER UPDATE ON received_texts WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE received_texts SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER received_texts_updated AFTER UPDATE ON received_texts WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('received_texts', NEW.text_id, 'update');
END;
CREATE TRIGGER received_texts_deleted AFTER DELETE ON received_texts BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('received_texts', OLD.text_id, 'delete');
END;

-- What somebody of the office thinks of what the box has answered in a turn.
CREATE TABLE verdicts (
    verdict_id  TEXT NOT NULL PRIMARY KEY CHECK (length(verdict_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    turn_id       TEXT NOT NULL UNIQUE REFERENCES conversation_turns (turn_id) ON DELETE CASCADE,
    is_right      INTEGER NOT NULL CHECK (is_right IN (0, 1)),
    better_answer TEXT,                                                    -- in their words
    judged_by     TEXT
) STRICT;

CREATE TRIGGER verdicts_inserted AFTER INSERT ON verdicts BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('verdicts', NEW.verdict_id, 'insert');
END;
CREATE TRIGGER verdicts_versioned AFTER UPDATE ON verdicts WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE verdicts SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER verdicts_updated AFTER UPDATE ON verdicts WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('verdicts', NEW.verdict_id, 'update');
END;
CREATE TRIGGER verdicts_deleted AFTER DELETE ON verdicts BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('verdicts', OLD.verdict_id, 'delete');
END;
