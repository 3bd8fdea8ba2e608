-- The row of a side in call_metrics changes every five seconds for as long as the call lasts. Whoever reads the change log
-- reads the rows as they are now, so of those changes only the latest is of use: each takes the place of the one before.
-- The partial index costs the other tables nothing, and neither a call that ends within its first five seconds.
CREATE INDEX change_log_metrics ON change_log (row_key) WHERE table_name = 'call_metrics' AND op = 'update';

CREATE TRIGGER call_metrics_coalesced BEFORE UPDATE ON call_metrics BEGIN
    DELETE FROM change_log WHERE table_name = 'call_metrics' AND op = 'update' AND row_key = OLD.metrics_id;
END;
