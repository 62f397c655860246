-- What the bucket said when it took a row: its revision, by which a service tells that the change is in force there.
ALTER TABLE control.config_outbox ADD COLUMN revision bigint; -- NULL: not published yet, or by an older control-plane
