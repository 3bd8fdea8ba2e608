-- Format 2, as in fleet.sql.

CREATE TABLE documents (
    tenant_id  text NOT NULL,
    kind       text NOT NULL,
    name       text COLLATE "C" NOT NULL,
    body       text NOT NULL,
    changed_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
);

ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON documents USING (tenant_id = current_setting('offhook.tenant_id', true));

-- Which boxes have something new to hear, and nothing of what it is: each instance looks for all of its boxes at once, so it
-- stands without the wall.
CREATE TABLE news (
    tenant_id  text NOT NULL,
    box_id     text NOT NULL,
    changed_at bigint NOT NULL,
    PRIMARY KEY (tenant_id, box_id)
);

CREATE INDEX news_changed ON news (changed_at);
