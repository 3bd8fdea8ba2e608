-- Format 4, as in upkeep.sql.

ALTER TABLE enrolled ADD COLUMN silent_since bigint;

-- Upkeep asks for boxes of all tenants at once, by when they were heard. A transaction that says so sees this table whole, in
-- which there is nothing of what boxes have sent; all others stay behind the wall.
CREATE POLICY upkeep ON enrolled USING (current_setting('offhook.upkeep', true) = 'on');

CREATE INDEX enrolled_heard ON enrolled (heard_at) WHERE silent_since IS NULL AND revoked_at IS NULL;
CREATE INDEX enrolled_silent ON enrolled (heard_at) WHERE silent_since IS NOT NULL;
CREATE INDEX documents_changed ON documents (tenant_id, kind, changed_at);

-- Rollouts that go on by themselves, of all tenants: without the wall, and nothing of what they are about.
CREATE TABLE running (
    tenant_id  text NOT NULL,
    rollout_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, rollout_id)
);

DO $$
DECLARE tenant text;
BEGIN
    PERFORM set_config('offhook.upkeep', 'on', true);
    FOR tenant IN SELECT tenant_id FROM claims UNION SELECT tenant_id FROM enrolled LOOP
        PERFORM set_config('offhook.tenant_id', tenant, true);
        UPDATE enrolled SET silent_since = (body::json ->> 'silent_since')::bigint FROM documents
            WHERE enrolled.tenant_id = tenant AND documents.tenant_id = tenant AND kind = 'box' AND name = box_id;
        INSERT INTO running SELECT tenant_id, name FROM documents
            WHERE tenant_id = tenant AND kind = 'rollout' AND body::json #>> '{state,state}' = 'running';
    END LOOP;
    PERFORM set_config('offhook.upkeep', '', true), set_config('offhook.tenant_id', '', true);
END $$;
