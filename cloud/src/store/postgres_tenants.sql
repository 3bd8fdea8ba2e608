-- Format 5, as in tenants.sql.

-- Without the wall: it says where a tenant lives and nothing of what it has, and each instance looks for all of them.
CREATE TABLE tenants (
    tenant_id  text PRIMARY KEY,
    standing   text NOT NULL,
    changed_at bigint NOT NULL,
    changed_by text NOT NULL
);
