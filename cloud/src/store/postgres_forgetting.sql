-- Format 8, as in forgetting.sql.

ALTER TABLE boxes ADD COLUMN mark_applied bigint;
ALTER TABLE boxes ADD COLUMN marked_at bigint;

CREATE INDEX synced_gone ON synced_rows (tenant_id, box_id, applied) WHERE columns IS NULL;
