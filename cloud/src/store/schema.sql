-- What boxes have sent. Keys begin with the tenant: nothing is found without it.

-- What is known of a box: see sync::apply::BoxState.
CREATE TABLE boxes (
    tenant_id   TEXT NOT NULL,
    box_id      TEXT NOT NULL,
    epoch       INTEGER NOT NULL CHECK (epoch >= 1),
    incarnation BLOB NOT NULL,
    watermark   INTEGER NOT NULL CHECK (watermark >= 0),
    applied     INTEGER NOT NULL CHECK (applied >= 0),
    PRIMARY KEY (tenant_id, box_id)
) STRICT, WITHOUT ROWID;

-- Rows of all tables, also what is left of those that are gone.
CREATE TABLE synced_rows (
    tenant_id   TEXT NOT NULL,
    box_id      TEXT NOT NULL,
    table_name  TEXT NOT NULL,
    row_key     TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    row_version INTEGER NOT NULL,
    applied     INTEGER NOT NULL,
    hash        BLOB NOT NULL CHECK (length(hash) = 16),     -- little endian
    columns     TEXT CHECK (json_valid(columns)),            -- NULL: it is gone
    PRIMARY KEY (tenant_id, box_id, table_name, row_key)
) STRICT, WITHOUT ROWID;

-- The sums of the rows above that are there, kept with each change: a comparison reads no row.
CREATE TABLE day_sums (
    tenant_id  TEXT NOT NULL,
    box_id     TEXT NOT NULL,
    table_name TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    row_count  INTEGER NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 16),      -- little endian
    PRIMARY KEY (tenant_id, box_id, table_name, epoch, day)
) STRICT, WITHOUT ROWID;

-- Which boxes there are.
CREATE TABLE enrolled (
    tenant_id   TEXT NOT NULL,
    box_id      TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL,
    release     TEXT NOT NULL,
    heard_at    INTEGER,
    equal_at    INTEGER,
    revoked_at  INTEGER,
    PRIMARY KEY (tenant_id, box_id)
) STRICT, WITHOUT ROWID;

-- Found by whoever has the code, who has no tenant yet. It holds no code.
CREATE TABLE claims (
    code_sha256 BLOB PRIMARY KEY CHECK (length(code_sha256) = 32),
    tenant_id   TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    box_id      TEXT                                         -- whose it is; NULL: nobody's yet
) STRICT, WITHOUT ROWID;
