-- Outgoing webhooks (docs/decisions/0027). What an operator wants of a hook is in control.hooks; how far it is, here.

-- While a secret is changed: the one before, and until when it counts.
ALTER TABLE control.hooks ADD COLUMN previous_secret text;
ALTER TABLE control.hooks ADD COLUMN previous_until timestamptz;

-- One row a hook. Events of the log up to (epoch, position) have been looked at: those that match were delivered or
-- are in hook_deliveries. channels and types are regular expressions, made of the patterns.
CREATE TABLE hook_states (
    hook          text        PRIMARY KEY REFERENCES control.hooks (id) ON DELETE CASCADE,
    tenant        text        NOT NULL,
    channels      text        NOT NULL,
    types         text        NOT NULL,
    concurrent    integer     NOT NULL,
    epoch         bigint      NOT NULL,
    position      bigint      NOT NULL,
    enabled       boolean     NOT NULL DEFAULT true,
    reason        text        NOT NULL DEFAULT '',
    disabled_at   timestamptz,
    -- How many times it was disabled by itself, and whether the last time was told yet.
    disabled      integer     NOT NULL DEFAULT 0,
    told          boolean     NOT NULL DEFAULT true,
    -- Attempts that failed since the last one that did not; while there are any, one delivery at a time and none
    -- before resume_at.
    failures      integer     NOT NULL DEFAULT 0,
    failing_since timestamptz,
    resume_at     timestamptz,
    delivered     bigint      NOT NULL DEFAULT 0,
    expired       bigint      NOT NULL DEFAULT 0, -- no longer in the log when their turn came
    last_at       timestamptz,
    last_status   integer,
    last_error    text
) WITH (fillfactor = 70);

-- The queue of each hook. sending: handed out, and handed out again if nothing is heard of it by due_at. dead: all
-- its attempts failed; it waits for an operator.
CREATE TABLE hook_deliveries (
    hook     text        NOT NULL REFERENCES hook_states ON DELETE CASCADE,
    epoch    bigint      NOT NULL,
    seq      bigint      NOT NULL,
    replay   text        NOT NULL DEFAULT '',
    time     timestamptz NOT NULL,
    attempts integer     NOT NULL DEFAULT 0,
    due_at   timestamptz NOT NULL DEFAULT now(),
    sending  boolean     NOT NULL DEFAULT false,
    dead     boolean     NOT NULL DEFAULT false,
    error    text,
    PRIMARY KEY (hook, epoch, seq, replay)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX hook_deliveries_due ON hook_deliveries (hook, due_at) WHERE NOT dead;
