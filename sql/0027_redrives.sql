-- What operators let live again (docs/decisions/0022).

-- One order of an operator: written by the control-plane with all its items, worked off by the event-store.
CREATE TABLE redrives (
    id          uuid        PRIMARY KEY,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    actor       text        NOT NULL,
    filter      json        NOT NULL,
    per_s       integer     NOT NULL CHECK (per_s > 0),
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'cancelled', 'done')),
    total       integer     NOT NULL,
    -- How far the rate's allowance is used: (now - mark_at) * per_s items may be taken.
    mark_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX redrives_running ON redrives (created_at) WHERE state = 'running';

-- seq: the task's terminal event, behind which task.redriven is written, or nothing is.
CREATE TABLE redrive_items (
    redrive uuid    NOT NULL REFERENCES redrives ON DELETE CASCADE,
    n       integer NOT NULL,
    task    text    NOT NULL,
    tenant  text    NOT NULL,
    seq     bigint  NOT NULL,
    gen     integer NOT NULL,
    state   text    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'refused', 'cancelled')),
    reason  text    NOT NULL DEFAULT '',
    PRIMARY KEY (redrive, n)
) WITH (fillfactor = 80);
CREATE INDEX redrive_items_pending ON redrive_items (redrive, n) WHERE state = 'pending';
