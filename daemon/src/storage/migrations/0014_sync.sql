-- What the box knows of its cloud. Not in the change log: it is about the log.

-- Who this box is to its cloud, and since when both have the same rows.
CREATE TABLE sync_state (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch       INTEGER NOT NULL CHECK (epoch >= 1),                  -- grows with every restore
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),       -- random, made together with the epoch
    claiming    INTEGER NOT NULL CHECK (claiming IN (0, 1)),          -- not welcomed since
    equal_seq   INTEGER,                                              -- as of which entry; NULL: not in this epoch yet
    equal_at    INTEGER
) STRICT;

-- When the cloud had everything up to an entry of the change log: entries are kept for a while after that.
CREATE TABLE sync_acks (
    seq      INTEGER PRIMARY KEY,
    acked_at INTEGER NOT NULL
) STRICT;

-- What had to be dropped before the cloud had it. Written before it is dropped.
CREATE TABLE loss_ledger (
    loss_id   INTEGER PRIMARY KEY AUTOINCREMENT,
    noted_at  INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,                                       -- entries of the change log
    last_seq  INTEGER NOT NULL CHECK (last_seq >= first_seq),
    entries   INTEGER NOT NULL CHECK (entries >= 1),
    reason    TEXT NOT NULL CHECK (reason <> '' AND reason NOT GLOB '*[^a-z0-9_]*')
) STRICT;
