-- Calls: what happened, what was said, how it sounded, what was recorded.
--
-- Conventions of every table:
--   * Keys are UUIDv7 as 36 characters of text. `…_at` is UTC in milliseconds, `…_ms` a duration.
--   * `row_version` grows with every update by trigger, so that a reader of the change log can tell old from new.
--   * A CHECK lists the values of a column only where the set is closed for good. Causes, dispositions and intents
--     will grow, and widening a CHECK needs a rebuilt table: their shape is checked instead.
--   * No CHECK compares two times: a wall clock that was set back must not cost a row.
--   * Migrations only add (expand-only): an older release that is put back can still write.

-- Which rows changed, in commit order. Sync, standby box and backup each read on from the last `seq` they have seen;
-- AUTOINCREMENT, because a `seq` must not be used again after the log was trimmed.
CREATE TABLE change_log (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    table_name TEXT NOT NULL,
    row_key    TEXT NOT NULL,
    op         TEXT NOT NULL CHECK (op IN ('insert', 'update', 'delete'))
) STRICT;

CREATE TABLE call_sessions (
    call_id     TEXT NOT NULL PRIMARY KEY CHECK (length(call_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    direction   TEXT NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    trunk       TEXT NOT NULL,
    peer_address_kind TEXT NOT NULL CHECK (peer_address_kind IN ('loopback', 'private', 'public')),
    caller_id   TEXT,
    called      TEXT,
    sip_call_id TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    answered_at INTEGER,
    ended_at    INTEGER,
    state       TEXT NOT NULL CHECK (state IN ('ringing', 'answered', 'ended', 'interrupted')),
    termination TEXT CHECK (termination IN ('success', 'caller_error', 'our_error', 'upstream_error', 'unknown')),
    hangup_cause TEXT CHECK (hangup_cause <> '' AND hangup_cause NOT GLOB '*[^a-z0-9_]*'),
    disposition TEXT CHECK (disposition <> '' AND disposition NOT GLOB '*[^a-z0-9_]*'),
    summary     TEXT,
    CHECK (state <> 'ringing' OR answered_at IS NULL),
    CHECK (state <> 'answered' OR answered_at IS NOT NULL),
    CHECK ((state IN ('ringing', 'answered')) = (ended_at IS NULL)),
    CHECK ((ended_at IS NULL) = (termination IS NULL) AND (ended_at IS NULL) = (hangup_cause IS NULL))
) STRICT;
CREATE INDEX call_sessions_by_start ON call_sessions (started_at);
CREATE INDEX call_sessions_open ON call_sessions (state) WHERE ended_at IS NULL;

CREATE TRIGGER call_sessions_inserted AFTER INSERT ON call_sessions BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('call_sessions', NEW.call_id, 'insert');
END;
CREATE TRIGGER call_sessions_versioned AFTER UPDATE ON call_sessions WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE call_sessions SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER call_sessions_updated AFTER UPDATE ON call_sessions WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('call_sessions', NEW.call_id, 'update');
END;
CREATE TRIGGER call_sessions_deleted AFTER DELETE ON call_sessions BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('call_sessions', OLD.call_id, 'delete');
END;

-- One row a turn: what one side said and, if it was the caller, what we answered and how long that took.
-- Each duration is counted from the end of the caller's speech unless its comment says otherwise.
CREATE TABLE conversation_turns (
    turn_id     TEXT NOT NULL PRIMARY KEY CHECK (length(turn_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    call_id     TEXT NOT NULL REFERENCES call_sessions (call_id) ON DELETE CASCADE,
    turn_index  INTEGER NOT NULL CHECK (turn_index >= 0),
    who         TEXT NOT NULL CHECK (who IN ('caller', 'attendant', 'person')),
    text        TEXT NOT NULL,
    confidence  REAL CHECK (confidence BETWEEN 0 AND 1),
    intent      TEXT CHECK (intent <> '' AND intent NOT GLOB '*[^a-z0-9_]*'),
    intent_score REAL,
    slots       TEXT NOT NULL DEFAULT '{}' CHECK (json_type(slots) = 'object'),
    sources     TEXT NOT NULL DEFAULT '[]' CHECK (json_type(sources) = 'array'), -- passage ids
    answer      TEXT,
    heard       TEXT,                                                            -- set if interrupted
    interrupted_at_ms     INTEGER CHECK (interrupted_at_ms >= 0),                -- from the answer's first sound
    speech_ended_at       INTEGER,
    endpoint_decided_ms   INTEGER CHECK (endpoint_decided_ms >= 0),
    stt_ms                INTEGER CHECK (stt_ms >= 0),                           -- of work, final decode
    understand_ms         INTEGER CHECK (understand_ms >= 0),                    -- of work
    first_sentence_tts_ms INTEGER CHECK (first_sentence_tts_ms >= 0),            -- of work
    first_audio_ms        INTEGER CHECK (first_audio_ms >= 0),                   -- first packet given to the socket
    heard_gap_ms          INTEGER CHECK (heard_gap_ms >= 0),                     -- silence measured in RTP
    UNIQUE (call_id, turn_index)
) STRICT;

CREATE TRIGGER conversation_turns_inserted AFTER INSERT ON conversation_turns BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('conversation_turns', NEW.turn_id, 'insert');
END;
CREATE TRIGGER conversation_turns_versioned AFTER UPDATE ON conversation_turns WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE conversation_turns SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER conversation_turns_updated AFTER UPDATE ON conversation_turns WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('conversation_turns', NEW.turn_id, 'update');
END;
CREATE TRIGGER conversation_turns_deleted AFTER DELETE ON conversation_turns BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('conversation_turns', OLD.turn_id, 'delete');
END;

-- One row per leg, written when it ends.
CREATE TABLE call_metrics (
    metrics_id  TEXT NOT NULL PRIMARY KEY CHECK (length(metrics_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    call_id     TEXT NOT NULL REFERENCES call_sessions (call_id) ON DELETE CASCADE,
    leg         TEXT NOT NULL CHECK (leg IN ('caller', 'callee')),
    codec       TEXT NOT NULL,
    packets_sent       INTEGER NOT NULL CHECK (packets_sent >= 0),
    packets_received   INTEGER NOT NULL CHECK (packets_received >= 0),
    packets_lost       INTEGER NOT NULL CHECK (packets_lost >= 0),
    packets_late       INTEGER NOT NULL CHECK (packets_late >= 0),
    packets_duplicated INTEGER NOT NULL CHECK (packets_duplicated >= 0),
    concealed_ms       INTEGER NOT NULL CHECK (concealed_ms >= 0),
    jitter_ms          REAL CHECK (jitter_ms >= 0),
    jitter_max_ms      REAL CHECK (jitter_max_ms >= 0),
    round_trip_ms      REAL CHECK (round_trip_ms >= 0),
    send_late_max_ms   REAL CHECK (send_late_max_ms >= 0),
    mos                REAL CHECK (mos BETWEEN 1 AND 5),
    UNIQUE (call_id, leg)
) STRICT;

CREATE TRIGGER call_metrics_inserted AFTER INSERT ON call_metrics BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('call_metrics', NEW.metrics_id, 'insert');
END;
CREATE TRIGGER call_metrics_versioned AFTER UPDATE ON call_metrics WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE call_metrics SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER call_metrics_updated AFTER UPDATE ON call_metrics WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('call_metrics', NEW.metrics_id, 'update');
END;
CREATE TRIGGER call_metrics_deleted AFTER DELETE ON call_metrics BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('call_metrics', OLD.metrics_id, 'delete');
END;

-- Audio kept on disk under its SHA-256. Several rows may name one file: equal content is stored once.
CREATE TABLE recordings (
    recording_id TEXT NOT NULL PRIMARY KEY CHECK (length(recording_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    call_id      TEXT NOT NULL REFERENCES call_sessions (call_id) ON DELETE CASCADE,
    kind         TEXT NOT NULL CHECK (kind IN ('call', 'voicemail')),
    state        TEXT NOT NULL CHECK (state IN ('complete', 'recovered')),
    sha256       TEXT NOT NULL CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    format       TEXT NOT NULL CHECK (format <> ''),
    size_bytes   INTEGER NOT NULL CHECK (size_bytes >= 0),
    duration_ms  INTEGER NOT NULL CHECK (duration_ms >= 0),
    started_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX recordings_by_call ON recordings (call_id);
CREATE INDEX recordings_by_content ON recordings (sha256);

CREATE TRIGGER recordings_inserted AFTER INSERT ON recordings BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('recordings', NEW.recording_id, 'insert');
END;
CREATE TRIGGER recordings_versioned AFTER UPDATE ON recordings WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE recordings SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER recordings_updated AFTER UPDATE ON recordings WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('recordings', NEW.recording_id, 'update');
END;
CREATE TRIGGER recordings_deleted AFTER DELETE ON recordings BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('recordings', OLD.recording_id, 'delete');
END;

CREATE TABLE voicemails (
    voicemail_id TEXT NOT NULL PRIMARY KEY CHECK (length(voicemail_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    call_id      TEXT NOT NULL REFERENCES call_sessions (call_id) ON DELETE CASCADE,
    recording_id TEXT REFERENCES recordings (recording_id) ON DELETE SET NULL,
    status       TEXT NOT NULL CHECK (status IN ('new', 'heard', 'archived')),
    ended_by     TEXT NOT NULL CHECK (ended_by IN ('silence', 'key', 'hangup', 'length', 'restart')),
    duration_ms  INTEGER NOT NULL CHECK (duration_ms >= 0),
    transcript   TEXT,
    transcript_confidence REAL CHECK (transcript_confidence BETWEEN 0 AND 1)
) STRICT;
CREATE INDEX voicemails_by_call ON voicemails (call_id);
CREATE INDEX voicemails_by_recording ON voicemails (recording_id);
CREATE INDEX voicemails_by_status ON voicemails (status, created_at);

CREATE TRIGGER voicemails_inserted AFTER INSERT ON voicemails BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('voicemails', NEW.voicemail_id, 'insert');
END;
CREATE TRIGGER voicemails_versioned AFTER UPDATE ON voicemails WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE voicemails SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER voicemails_updated AFTER UPDATE ON voicemails WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('voicemails', NEW.voicemail_id, 'update');
END;
CREATE TRIGGER voicemails_deleted AFTER DELETE ON voicemails BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('voicemails', OLD.voicemail_id, 'delete');
END;
