-- Format 3: who asked for what. See fleet::audit.

CREATE TABLE audit (
    tenant_id TEXT NOT NULL,
    number    INTEGER NOT NULL CHECK (number >= 1),
    at        INTEGER NOT NULL,
    body      TEXT NOT NULL CHECK (json_valid(body)),
    hash      BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, number)
) STRICT, WITHOUT ROWID;
