-- Format 5: where tenants live. See store::tenants.

-- A tenant without a row here lives here, or was never heard of.
CREATE TABLE tenants (
    tenant_id  TEXT PRIMARY KEY,
    standing   TEXT NOT NULL CHECK (json_valid(standing)),
    changed_at INTEGER NOT NULL,
    changed_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
