-- Format 7: files of backups. See backups.

CREATE TABLE backup_files (
    tenant_id  TEXT NOT NULL,
    box_id     TEXT NOT NULL,
    name       TEXT NOT NULL,
    sha256     BLOB NOT NULL CHECK (length(sha256) = 32),
    size_bytes INTEGER NOT NULL CHECK (size_bytes > 0),
    kept_at    INTEGER NOT NULL,
    removed_at INTEGER,                                      -- NULL: it is there
    PRIMARY KEY (tenant_id, box_id, name, sha256)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX backup_files_there ON backup_files (tenant_id, box_id, name) WHERE removed_at IS NULL;

-- Certificates that were made before this are nobody's any more: another machine has taken the box's place.
ALTER TABLE enrolled ADD COLUMN void_before INTEGER;
