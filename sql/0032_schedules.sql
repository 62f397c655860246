-- Schedules of tenants: at the times of a cron expression a task of a pipeline begins (docs/decisions/0028). The document is
-- the operators'; what stands beside it is the slow path's.
CREATE TABLE control.schedules (
    tenant     text        NOT NULL REFERENCES control.tenants ON DELETE CASCADE,
    name       text        NOT NULL,
    doc        json        NOT NULL,
    next_at    timestamptz,                    -- null: paused
    last       json,                           -- {due_at, at, result, task?, code?}
    runs       bigint      NOT NULL DEFAULT 0, -- tasks that were accepted
    missed     bigint      NOT NULL DEFAULT 0, -- due times that were passed over
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);
CREATE INDEX schedules_due ON control.schedules (next_at) WHERE next_at IS NOT NULL;
