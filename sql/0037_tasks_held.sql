-- The tasks that somebody may be at work on, or about to be: what EVENTS keeps for them. Those that are at rest are
-- many, and of the oldest.
CREATE INDEX tasks_held ON tasks (epoch, first_seq) WHERE finished_at IS NULL AND release_at IS NULL;
DROP INDEX tasks_unfinished;
