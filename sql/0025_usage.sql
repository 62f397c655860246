-- What calls of models took, summed from the transitions of tasks (services/event-store/usage.c). The sums are written
-- in the transaction that moves store_position, so each event is in them once, whatever crashes.

-- Kept for good. `day` is UTC, by the time of the event. calls: ended calls, failed ones included; a call whose worker
-- died has no event and is not counted. cost: by the model's price when the event was stored, 0 without one.
CREATE TABLE usage_days (
    day               date    NOT NULL,
    tenant            text    NOT NULL,
    pipeline          text    NOT NULL,
    model             text    NOT NULL,
    calls             bigint  NOT NULL,
    failed            bigint  NOT NULL,
    prompt_tokens     bigint  NOT NULL,
    completion_tokens bigint  NOT NULL,
    total_tokens      bigint  NOT NULL,
    cost              numeric NOT NULL,
    PRIMARY KEY (tenant, day, pipeline, model)
) WITH (fillfactor = 70);

-- The same of each task, for as long as the task itself is kept.
CREATE TABLE usage_tasks (
    tenant            text    NOT NULL,
    task              text    NOT NULL,
    pipeline          text    NOT NULL,
    model             text    NOT NULL,
    calls             bigint  NOT NULL,
    failed            bigint  NOT NULL,
    prompt_tokens     bigint  NOT NULL,
    completion_tokens bigint  NOT NULL,
    total_tokens      bigint  NOT NULL,
    cost              numeric NOT NULL,
    updated_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant, task, model)
) WITH (fillfactor = 70);
CREATE INDEX usage_tasks_updated ON usage_tasks USING brin (updated_at);
