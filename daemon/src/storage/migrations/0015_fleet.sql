-- What the cloud has had this box do: each once, whatever becomes of the stream or of the process. Not in the change log: the
-- cloud has its own list.
CREATE TABLE fleet_commands (
    command_id  TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    sent_by     TEXT NOT NULL,
    started_at  INTEGER NOT NULL,                          -- written before it is begun
    finished_at INTEGER,                                   -- NULL: it is being done, or the box ended meanwhile
    done        INTEGER CHECK (done IN (0, 1)),
    detail      TEXT,
    CHECK ((finished_at IS NULL) = (done IS NULL))
) STRICT;
