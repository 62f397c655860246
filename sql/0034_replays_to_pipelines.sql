-- An operators' replay may go to a pipeline: each of its events starts a task. And what refused the latest event
-- that will never be delivered, a code of the protocol.
ALTER TABLE replays ADD COLUMN pipeline text;
ALTER TABLE replays ADD COLUMN reason text;
