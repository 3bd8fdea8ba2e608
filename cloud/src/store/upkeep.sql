-- Format 4: what upkeep looks for, so that it reads what has changed and no more. See store::upkeep.

-- When a box was last heard before its silence became an alarm; NULL while it is heard. It was in the documents before.
ALTER TABLE enrolled ADD COLUMN silent_since INTEGER;
UPDATE enrolled SET silent_since = (
    SELECT body ->> '$.silent_since' FROM documents
    WHERE documents.tenant_id = enrolled.tenant_id AND kind = 'box' AND name = box_id);

CREATE INDEX enrolled_heard ON enrolled (heard_at) WHERE silent_since IS NULL AND revoked_at IS NULL;
CREATE INDEX enrolled_silent ON enrolled (heard_at) WHERE silent_since IS NOT NULL;
CREATE INDEX documents_changed ON documents (tenant_id, kind, changed_at);

-- Rollouts that go on by themselves.
CREATE TABLE running (
    tenant_id  TEXT NOT NULL,
    rollout_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, rollout_id)
) STRICT, WITHOUT ROWID;

INSERT INTO running
SELECT tenant_id, name FROM documents WHERE kind = 'rollout' AND body ->> '$.state.state' = 'running';
