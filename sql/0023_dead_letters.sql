-- A dead letter is a task that failed or expired, for as long as the task itself is kept.
CREATE INDEX tasks_dead ON tasks (finished_at, task) WHERE state IN ('failed', 'expired');
CREATE INDEX tasks_dead_tenant ON tasks (tenant, finished_at, task) WHERE state IN ('failed', 'expired');
