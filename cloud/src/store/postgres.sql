-- What boxes have sent, as in schema.sql. Keys begin with the tenant, and PostgreSQL shows a transaction the rows of its
-- tenant only, whatever is asked (row-level security): a second wall behind the WHERE of each query.

CREATE TABLE boxes (
    tenant_id   text NOT NULL,
    box_id      text NOT NULL,
    epoch       bigint NOT NULL CHECK (epoch >= 1),
    incarnation bytea NOT NULL,
    watermark   bigint NOT NULL CHECK (watermark >= 0),
    applied     bigint NOT NULL CHECK (applied >= 0),
    PRIMARY KEY (tenant_id, box_id)
);

-- "C": keys are compared as bytes, as SQLite and the box do.
-- json, not jsonb: a number stays as it was written, and a text may hold U+0000.
CREATE TABLE synced_rows (
    tenant_id   text NOT NULL,
    box_id      text NOT NULL,
    table_name  text NOT NULL,
    row_key     text COLLATE "C" NOT NULL,
    epoch       bigint NOT NULL,
    row_version bigint NOT NULL,
    applied     bigint NOT NULL,
    hash        bytea NOT NULL CHECK (length(hash) = 16),
    columns     json,
    PRIMARY KEY (tenant_id, box_id, table_name, row_key)
);

CREATE TABLE day_sums (
    tenant_id  text NOT NULL,
    box_id     text NOT NULL,
    table_name text NOT NULL,
    epoch      bigint NOT NULL,
    day        integer NOT NULL,
    row_count  bigint NOT NULL,
    hash       bytea NOT NULL CHECK (length(hash) = 16),
    PRIMARY KEY (tenant_id, box_id, table_name, epoch, day)
);

CREATE TABLE enrolled (
    tenant_id   text NOT NULL,
    box_id      text NOT NULL,
    enrolled_at bigint NOT NULL,
    release     text NOT NULL,
    heard_at    bigint,
    equal_at    bigint,
    revoked_at  bigint,
    PRIMARY KEY (tenant_id, box_id)
);

-- Found by whoever has the code, who has no tenant yet: without the wall, and it holds no code.
CREATE TABLE claims (
    code_sha256 bytea PRIMARY KEY CHECK (length(code_sha256) = 32),
    tenant_id   text NOT NULL,
    expires_at  bigint NOT NULL,
    box_id      text
);

DO $$
DECLARE walled text;
BEGIN
    FOREACH walled IN ARRAY ARRAY['boxes', 'synced_rows', 'day_sums', 'enrolled'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', walled);
        -- Also for the owner of the tables, who this service is.
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', walled);
        EXECUTE format('CREATE POLICY of_tenant ON %I USING (tenant_id = current_setting(''offhook.tenant_id'', true))',
            walled);
    END LOOP;
END $$;
