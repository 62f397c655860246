-- Operators' replays: events of a channel that are delivered again (docs/decisions/0022). Written by the
-- control-plane, worked off by the event-store. Events behind `position` up to `until_seq` are still to come.
CREATE TABLE replays (
    id          uuid        PRIMARY KEY,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    actor       text        NOT NULL,
    tenant      text        NOT NULL,
    channel     text        NOT NULL,
    target      text        NOT NULL,
    epoch       bigint      NOT NULL,
    after_seq   bigint      NOT NULL,
    until_seq   bigint      NOT NULL,
    position    bigint      NOT NULL,
    per_s       integer     NOT NULL CHECK (per_s > 0),
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'cancelled', 'done')),
    sent        integer     NOT NULL DEFAULT 0,
    refused     integer     NOT NULL DEFAULT 0,
    -- As redrives.mark_at.
    mark_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX replays_running ON replays (created_at) WHERE state = 'running';
CREATE INDEX replays_created ON replays (created_at, id);
