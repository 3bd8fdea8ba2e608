-- Format 6: what is handed down to boxes. See deliveries.

CREATE TABLE deliveries (
    tenant_id   TEXT NOT NULL,
    box_id      TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    body        TEXT NOT NULL CHECK (json_valid(body)),
    sha256      TEXT,                       -- of a blob of the box that goes with it, in hexadecimal
    is_ready    INTEGER NOT NULL CHECK (is_ready IN (0, 1)),
    acked_at    INTEGER,
    acked_epoch INTEGER,                    -- the box as it was then
    answer      TEXT,
    PRIMARY KEY (tenant_id, box_id, delivery_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_in_order ON deliveries (tenant_id, box_id, created_at, delivery_id) WHERE is_ready = 1;

-- When somebody has to look after one that is not ready yet, and nothing of what it is.
CREATE TABLE delivery_work (
    tenant_id   TEXT NOT NULL,
    box_id      TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    due_at      INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, box_id, delivery_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX delivery_work_due ON delivery_work (due_at);
