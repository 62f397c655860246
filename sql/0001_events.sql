-- The durable log, its projection of tasks, and what the event-store keeps to itself.

-- One row an event. (epoch, seq) is its place: seq is the channel's offset, epoch the life of the stream EVENTS
-- (its creation time in microseconds). `time` is when it was admitted, by the router's clock; where that is more
-- than a day off the broker's, the broker's. `data` is the JSON text exactly as published (text, not jsonb: jsonb
-- re-orders members and loses number spellings). The offset of the channel's previous event is not kept: it is
-- the row before.
CREATE TABLE events (
    epoch     bigint      NOT NULL,
    seq       bigint      NOT NULL,
    time      timestamptz NOT NULL,
    event_id  uuid        NOT NULL,
    tenant    text        NOT NULL,
    channel   text        NOT NULL,
    type      text        NOT NULL,
    version   integer     NOT NULL,
    data      text        NOT NULL,
    trace     text        NOT NULL DEFAULT '',
    key       text        NOT NULL DEFAULT '',
    digest    bigint      NOT NULL DEFAULT 0,
    session   text        NOT NULL DEFAULT '',
    router    text        NOT NULL DEFAULT '',
    command   text        NOT NULL DEFAULT '',
    principal text        NOT NULL DEFAULT '',
    -- A message that is delivered twice is one row. Partitioned tables need `time` in it; it is the same each time.
    PRIMARY KEY (epoch, seq, time)
) PARTITION BY RANGE (time);
-- Daily partitions events_pYYYYMMDD are made by the event-store, ahead and on demand; retention drops them whole.

CREATE INDEX events_channel ON events (tenant, channel, epoch, seq);
CREATE INDEX events_event_id ON events (event_id);
CREATE INDEX events_session ON events (session) WHERE session <> '';
-- The 32 hex digits of the trace id in a W3C traceparent.
CREATE INDEX events_trace ON events (substr(trace, 4, 32)) WHERE trace <> '';

-- Which place an idempotency key's event has: a repeat outside the broker's dedupe window is no second row.
CREATE TABLE event_keys (
    tenant   text        NOT NULL,
    event_id uuid        NOT NULL,
    epoch    bigint      NOT NULL,
    seq      bigint      NOT NULL,
    time     timestamptz NOT NULL,
    PRIMARY KEY (tenant, event_id)
);
-- For retention only; block ranges are enough, rows come in time order.
CREATE INDEX event_keys_time ON event_keys USING brin (time);

-- How far each life of EVENTS is in the log, without a hole: every message up to seq was stored or quarantined.
-- Written in the same transaction as the rows. event_id is the event at seq ('' if that was none): a broker that
-- lost its newest messages and gave their sequences to others is noticed by it.
CREATE TABLE store_position (
    epoch      bigint      PRIMARY KEY,
    seq        bigint      NOT NULL,
    event_id   text        NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- What could not be stored as an event: never lost, never in the way of the rest.
CREATE TABLE quarantine (
    epoch   bigint      NOT NULL,
    seq     bigint      NOT NULL,
    time    timestamptz NOT NULL DEFAULT now(),
    subject text        NOT NULL,
    reason  text        NOT NULL,
    bytes   bytea       NOT NULL,
    PRIMARY KEY (epoch, seq)
);

-- The newest state of each task, folded from its transitions in the order of seq (services/event-store/project.c).
CREATE TABLE tasks (
    task        text        PRIMARY KEY,
    tenant      text        NOT NULL,
    pipeline    text        NOT NULL DEFAULT '',
    version     integer     NOT NULL DEFAULT 0,
    state       text        NOT NULL CHECK (state IN ('accepted', 'running', 'parked', 'completed',
                                                      'failed', 'cancelled', 'expired')),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz,
    deadline_at timestamptz,
    input       json,
    output      json,
    error       json,
    usage       json,
    stages      json        NOT NULL,
    worker      text        NOT NULL DEFAULT '',
    run         integer     NOT NULL DEFAULT 0,
    attempts    integer     NOT NULL DEFAULT 0,
    epoch       bigint      NOT NULL,
    first_seq   bigint      NOT NULL,
    last_seq    bigint      NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX tasks_tenant ON tasks (tenant, created_at DESC);
-- Where the stream must not be trimmed yet, and what is under way.
CREATE INDEX tasks_unfinished ON tasks (epoch, first_seq) WHERE finished_at IS NULL;
CREATE INDEX tasks_finished ON tasks USING brin (finished_at);
