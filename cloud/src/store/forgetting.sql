-- Format 8: when what is left of rows that are gone may be forgotten. See store::forgetting.

ALTER TABLE boxes ADD COLUMN mark_applied INTEGER;
ALTER TABLE boxes ADD COLUMN marked_at INTEGER;

CREATE INDEX synced_gone ON synced_rows (tenant_id, box_id, applied) WHERE columns IS NULL;
