-- Format 3, as in audit.sql.

CREATE TABLE audit (
    tenant_id text NOT NULL,
    number    bigint NOT NULL CHECK (number >= 1),
    at        bigint NOT NULL,
    body      text NOT NULL,
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, number)
);

ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON audit USING (tenant_id = current_setting('offhook.tenant_id', true));
