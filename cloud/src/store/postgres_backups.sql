-- Format 7, as in backups.sql.

CREATE TABLE backup_files (
    tenant_id  text NOT NULL,
    box_id     text NOT NULL,
    name       text COLLATE "C" NOT NULL,
    sha256     bytea NOT NULL CHECK (length(sha256) = 32),
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    kept_at    bigint NOT NULL,
    removed_at bigint,
    PRIMARY KEY (tenant_id, box_id, name, sha256)
);

CREATE UNIQUE INDEX backup_files_there ON backup_files (tenant_id, box_id, name) WHERE removed_at IS NULL;

ALTER TABLE backup_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE backup_files FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON backup_files USING (tenant_id = current_setting('offhook.tenant_id', true));

-- Certificates that were made before this are nobody's any more: another machine has taken the box's place.
ALTER TABLE enrolled ADD COLUMN void_before bigint;
