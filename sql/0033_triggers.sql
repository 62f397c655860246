-- Triggers of tenants: each durable event of a type starts a task of a pipeline (docs/decisions/0040).

-- How many triggers led to an event, one after the other: a loop of them ends.
ALTER TABLE events ADD COLUMN depth integer NOT NULL DEFAULT 0;

-- The document is the operators'; what stands beside it is the slow path's, and in the terms that it is looked up by.
CREATE TABLE control.triggers (
    tenant     text        NOT NULL REFERENCES control.tenants ON DELETE CASCADE,
    name       text        NOT NULL,
    doc        json        NOT NULL,
    type       text        NOT NULL,
    channels   text        NOT NULL,           -- a regular expression, made of the pattern
    paused     boolean     NOT NULL,
    from_epoch bigint      NOT NULL,           -- events behind this place of the log are its own
    from_seq   bigint      NOT NULL,
    started    bigint      NOT NULL DEFAULT 0, -- tasks that were accepted
    refused    bigint      NOT NULL DEFAULT 0,
    last       json,                           -- {event, at, result, task?, code?}
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);
CREATE INDEX triggers_type ON control.triggers (tenant, type);

-- How far each life of EVENTS has been looked at, for all triggers; events up to there that fit one were put into
-- trigger_events in the same statement.
CREATE TABLE trigger_places (
    epoch    bigint PRIMARY KEY,
    position bigint NOT NULL
);

-- Events that are to start a task and have not yet. `time` finds the event's partition.
CREATE TABLE trigger_events (
    tenant text        NOT NULL,
    name   text        NOT NULL,
    epoch  bigint      NOT NULL,
    seq    bigint      NOT NULL,
    time   timestamptz NOT NULL,
    PRIMARY KEY (tenant, epoch, seq, name),
    FOREIGN KEY (tenant, name) REFERENCES control.triggers ON DELETE CASCADE
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX trigger_events_trigger ON trigger_events (tenant, name);
