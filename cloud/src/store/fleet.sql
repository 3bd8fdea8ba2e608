-- Format 2: what boxes should be and do. See fleet.

CREATE TABLE documents (
    tenant_id  TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    body       TEXT NOT NULL CHECK (json_valid(body)),
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
) STRICT, WITHOUT ROWID;

-- Which boxes have something new to hear, and nothing of what it is.
CREATE TABLE news (
    tenant_id  TEXT NOT NULL,
    box_id     TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, box_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX news_changed ON news (changed_at);
