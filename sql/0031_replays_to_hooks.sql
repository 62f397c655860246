-- An operators' replay may go to an outgoing hook instead of a channel: its events go into that hook's queue.
ALTER TABLE replays ADD COLUMN hook text REFERENCES hook_states ON DELETE CASCADE;
