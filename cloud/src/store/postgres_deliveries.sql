-- Format 6, as in deliveries.sql.

CREATE TABLE deliveries (
    tenant_id   text NOT NULL,
    box_id      text NOT NULL,
    delivery_id text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    body        text NOT NULL,
    sha256      text,
    is_ready    boolean NOT NULL,
    acked_at    bigint,
    acked_epoch bigint,
    answer      text,
    PRIMARY KEY (tenant_id, box_id, delivery_id)
);

CREATE INDEX deliveries_in_order ON deliveries (tenant_id, box_id, created_at, delivery_id) WHERE is_ready;

ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON deliveries USING (tenant_id = current_setting('offhook.tenant_id', true));

-- When somebody has to look after one that is not ready yet, and nothing of what it is: each instance looks for all of its
-- boxes at once, so it stands without the wall.
CREATE TABLE delivery_work (
    tenant_id   text NOT NULL,
    box_id      text NOT NULL,
    delivery_id text NOT NULL,
    due_at      bigint NOT NULL,
    PRIMARY KEY (tenant_id, box_id, delivery_id)
);

CREATE INDEX delivery_work_due ON delivery_work (due_at);
