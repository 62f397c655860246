-- Inbound hooks of tenants: POST /v1/hooks/{id} at an edge starts a task of a pipeline. The document never has the
-- secret; it is beside it, as it must be to verify anything.
CREATE TABLE control.hooks (
    tenant     text NOT NULL REFERENCES control.tenants ON DELETE CASCADE,
    id         text NOT NULL UNIQUE,
    doc        json NOT NULL,
    secret     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);
