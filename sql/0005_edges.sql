-- What the operators want of an edge: the document edge.<id> of the bucket. An edge that nothing is wanted of has
-- no row; one that does not live may have one, and finds it when it comes back.
CREATE TABLE control.edges (
    id         text PRIMARY KEY,
    doc        json NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
