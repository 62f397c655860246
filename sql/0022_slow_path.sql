-- The slow path: what may not run now and comes back through admission (docs/decisions/0022).

-- Of a parked or redriven task: when the event-store asks the router for its ticket. Null: not parked, or its
-- ticket is in the queue. Set by the projection; taken away by the slow path once the ticket is acknowledged.
ALTER TABLE tasks ADD COLUMN release_at timestamptz;
-- How often it was redriven.
ALTER TABLE tasks ADD COLUMN redrive_gen integer NOT NULL DEFAULT 0;

CREATE INDEX tasks_release ON tasks (epoch, tenant, release_at) WHERE release_at IS NOT NULL;
