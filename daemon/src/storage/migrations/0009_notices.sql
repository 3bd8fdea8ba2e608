-- What is still to be done, and who is told of it: jobs, notices, promises, and the people on both sides.

-- Work that survives the process. A row is queued in the transaction that makes it necessary, and done in the one that
-- keeps its effect: each job runs at least once, and its effect is there once.
CREATE TABLE jobs (
    job_id TEXT NOT NULL PRIMARY KEY CHECK (length(job_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    kind        TEXT NOT NULL CHECK (kind <> '' AND kind NOT GLOB '*[^a-z0-9_]*'),
    subject     TEXT NOT NULL CHECK (subject <> ''),                       -- key of the row it is about
    dedupe_key  TEXT NOT NULL UNIQUE,                                      -- the same work is queued once
    state       TEXT NOT NULL CHECK (state IN ('queued', 'done', 'dead')),
    attempts    INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),          -- begun, also by a process that died in it
    due_at      INTEGER NOT NULL,                                          -- not before
    error       TEXT                                                       -- of the last attempt
) STRICT;
CREATE INDEX jobs_queued ON jobs (due_at) WHERE state = 'queued';

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('jobs', NEW.job_id, 'insert');
END;
CREATE TRIGGER jobs_versioned AFTER UPDATE ON jobs WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE jobs SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER jobs_updated AFTER UPDATE ON jobs WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('jobs', NEW.job_id, 'update');
END;
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('jobs', OLD.job_id, 'delete');
END;

-- Notices to people: one row for each of them and each way of telling them. What a notice says is put together when it
-- is sent, from the row it is about.
CREATE TABLE notifications (
    notification_id TEXT NOT NULL PRIMARY KEY CHECK (length(notification_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    kind        TEXT NOT NULL CHECK (kind <> '' AND kind NOT GLOB '*[^a-z0-9_]*'),
    channel     TEXT NOT NULL CHECK (channel <> '' AND channel NOT GLOB '*[^a-z0-9_]*'),
    recipient   TEXT NOT NULL CHECK (recipient <> ''),
    subject     TEXT NOT NULL CHECK (subject <> ''),                       -- key of the row it is about
    order_key   TEXT NOT NULL,                                             -- notices of one key are sent in order
    dedupe_key  TEXT NOT NULL UNIQUE,                                      -- the same notice is queued once
    urgent      INTEGER NOT NULL CHECK (urgent IN (0, 1)),                 -- also in quiet hours
    state       TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'dead')),
    attempts    INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),          -- all of them
    deferrals   INTEGER NOT NULL DEFAULT 0 CHECK (deferrals >= 0),         -- those that were answered with "later"
    due_at      INTEGER NOT NULL,                                          -- not before
    failure     TEXT CHECK (failure <> '' AND failure NOT GLOB '*[^a-z0-9_]*'),
    error       TEXT,                                                      -- of the last attempt
    reference   TEXT,                                                      -- Message-ID, or what the service calls it
    sent_at     INTEGER,
    cost_cents  REAL NOT NULL DEFAULT 0 CHECK (cost_cents >= 0)
) STRICT;
CREATE INDEX notifications_waiting ON notifications (created_at) WHERE state IN ('queued', 'sending');
CREATE INDEX notifications_by_subject ON notifications (subject);

CREATE TRIGGER notifications_inserted AFTER INSERT ON notifications BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('notifications', NEW.notification_id, 'insert');
END;
CREATE TRIGGER notifications_versioned AFTER UPDATE ON notifications WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE notifications SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER notifications_updated AFTER UPDATE ON notifications WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('notifications', NEW.notification_id, 'update');
END;
CREATE TRIGGER notifications_deleted AFTER DELETE ON notifications BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('notifications', OLD.notification_id, 'delete');
END;

-- Promises made to callers.
CREATE TABLE follow_ups (
    follow_up_id TEXT NOT NULL PRIMARY KEY CHECK (length(follow_up_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    reference    TEXT NOT NULL,                                            -- what the caller was told, if anything
    call_id      TEXT REFERENCES call_sessions (call_id) ON DELETE SET NULL,
    turn_id      TEXT,                                                     -- the sentence it was promised in
    voicemail_id TEXT,                                                     -- or the message it was asked for in
    owner        TEXT,                                                     -- who has to keep it; NULL: whoever comes first
    channel      TEXT NOT NULL CHECK (channel IN ('phone', 'email', 'sms')),
    contact      TEXT,                                                     -- number or address
    contact_name TEXT,
    task         TEXT NOT NULL,
    due_at       INTEGER NOT NULL,
    due_text     TEXT,                                                     -- as it was said
    state        TEXT NOT NULL CHECK (state IN ('open', 'acknowledged', 'closed')),
    reminded_at     INTEGER,
    escalated_at    INTEGER,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    closed_at       INTEGER,
    closed_reason   TEXT CHECK (closed_reason <> '' AND closed_reason NOT GLOB '*[^a-z0-9_]*'),
    CHECK ((state = 'closed') = (closed_at IS NOT NULL) AND (closed_at IS NULL) = (closed_reason IS NULL))
) STRICT;
CREATE INDEX follow_ups_by_due ON follow_ups (due_at) WHERE state <> 'closed';
CREATE UNIQUE INDEX follow_ups_of_voicemail ON follow_ups (voicemail_id) WHERE voicemail_id IS NOT NULL;

CREATE TRIGGER follow_ups_inserted AFTER INSERT ON follow_ups BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('follow_ups', NEW.follow_up_id, 'insert');
END;
CREATE TRIGGER follow_ups_versioned AFTER UPDATE ON follow_ups WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE follow_ups SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER follow_ups_updated AFTER UPDATE ON follow_ups WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('follow_ups', NEW.follow_up_id, 'update');
END;
CREATE TRIGGER follow_ups_deleted AFTER DELETE ON follow_ups BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('follow_ups', OLD.follow_up_id, 'delete');
END;

-- Who calls.
CREATE TABLE contacts (
    contact_id TEXT NOT NULL PRIMARY KEY CHECK (length(contact_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    number            TEXT NOT NULL UNIQUE CHECK (number <> ''),           -- as the carrier writes it
    name              TEXT,                                                -- as they last gave it
    email             TEXT,
    thread_message_id TEXT,                                                -- the first e-mail about them
    sms_stopped_at    INTEGER                                              -- they want no text messages
) STRICT;

CREATE TRIGGER contacts_inserted AFTER INSERT ON contacts BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('contacts', NEW.contact_id, 'insert');
END;
CREATE TRIGGER contacts_versioned AFTER UPDATE ON contacts WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE contacts SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER contacts_updated AFTER UPDATE ON contacts WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('contacts', NEW.contact_id, 'update');
END;
CREATE TRIGGER contacts_deleted AFTER DELETE ON contacts BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('contacts', OLD.contact_id, 'delete');
END;

-- What a message says, in parts: JSON.
ALTER TABLE voicemails ADD COLUMN particulars TEXT;
