-- What the operators want of a worker: the document worker.<id> of the bucket. As control.edges.
CREATE TABLE control.workers (
    id         text PRIMARY KEY,
    doc        json NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
