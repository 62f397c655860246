-- What edges report of deliveries (proto/receipt.proto): for the audit of one event, not for anything that runs.

-- One row a subscription of one socket, as it was last told. It was to be given everything behind from_offset, and was
-- up to `sent`; while `level` and not closed also up to its reactor's position of the channel (receipt_positions).
CREATE TABLE receipts (
    tenant      text           NOT NULL,
    channel     text           NOT NULL,
    epoch       bigint         NOT NULL,
    session     text           NOT NULL,
    opened_at   timestamptz    NOT NULL,
    edge        text           NOT NULL,
    run         bigint         NOT NULL,   -- which life of the edge: its start, microseconds
    reactor     integer        NOT NULL,
    principal   text           NOT NULL,
    from_offset bigint         NOT NULL,
    sent        bigint         NOT NULL,
    level       boolean        NOT NULL,
    acked       bigint         NOT NULL,
    acked_at    timestamptz,
    spilled     int8multirange NOT NULL,   -- left to the log and read again later
    missed      int8multirange NOT NULL,   -- passed over: no longer kept, or not to be read
    updated_at  timestamptz    NOT NULL,
    closed_at   timestamptz,
    close_code  integer        NOT NULL,   -- 0: unsubscribed
    PRIMARY KEY (tenant, channel, epoch, session, opened_at)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Of all that ever subscribed to a channel, those that could have been there.
CREATE INDEX receipts_closed ON receipts (tenant, channel, epoch, closed_at);
-- For retention: rows come in this order, and none is updated before it was opened.
CREATE INDEX receipts_opened ON receipts USING brin (opened_at);

CREATE TABLE receipt_positions (
    tenant  text        NOT NULL,
    channel text        NOT NULL,
    epoch   bigint      NOT NULL,
    edge    text        NOT NULL,
    run     bigint      NOT NULL,
    reactor integer     NOT NULL,
    pos     bigint      NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (tenant, channel, epoch, edge, run, reactor)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- An edge that says nothing for longer than its period is gone, and with it what it did not close.
CREATE TABLE receipt_edges (
    edge      text        NOT NULL,
    run       bigint      NOT NULL,
    seen_at   timestamptz NOT NULL,
    period_ms integer     NOT NULL,
    resume_ms integer     NOT NULL,
    PRIMARY KEY (edge, run)
);

-- A union that does not grow for ever: of very many ranges only the span is kept, which says too much.
CREATE FUNCTION receipt_ranges(a int8multirange, b int8multirange) RETURNS int8multirange
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN isempty(b) THEN a
                WHEN (SELECT count(*) FROM unnest(a + b)) > 64 THEN multirange(range_merge(a + b))
                ELSE a + b END
$$;
