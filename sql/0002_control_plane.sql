-- What the operators configured. The documents are kept as `json` (text as it was validated), because their
-- ETags and the bucket's documents are made from that text; the columns beside them are what SQL needs.
CREATE SCHEMA control;

CREATE TABLE control.tenants (
    id         text PRIMARY KEY,
    doc        json NOT NULL,
    limits     json,                 -- NULL: the defaults
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.api_keys (
    id         text PRIMARY KEY,
    tenant     text NOT NULL REFERENCES control.tenants ON DELETE CASCADE,
    hash       text NOT NULL,        -- hex SHA-256 of the secret; the secret itself is nowhere
    doc        json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_tenant ON control.api_keys (tenant, id);

-- A type's class never changes and a version's number is never used twice, also after its deletion.
CREATE TABLE control.event_types (
    tenant       text NOT NULL REFERENCES control.tenants ON DELETE CASCADE,
    type         text NOT NULL,
    class        text NOT NULL,
    last_version integer NOT NULL,
    PRIMARY KEY (tenant, type)
);

CREATE TABLE control.event_type_versions (
    tenant     text NOT NULL,
    type       text NOT NULL,
    version    integer NOT NULL CHECK (version > 0),
    doc        json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, type, version),
    FOREIGN KEY (tenant, type) REFERENCES control.event_types ON DELETE CASCADE
);

CREATE TABLE control.models (
    name       text PRIMARY KEY,
    doc        json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.pipelines (
    name         text PRIMARY KEY,
    last_version integer NOT NULL
);

CREATE TABLE control.pipeline_versions (
    name       text NOT NULL REFERENCES control.pipelines ON DELETE CASCADE,
    version    integer NOT NULL CHECK (version > 0),
    doc        json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);

-- Who needs a model: it cannot be deleted from under a pipeline or another model's fallbacks.
CREATE TABLE control.pipeline_models (
    name    text NOT NULL,
    version integer NOT NULL,
    model   text NOT NULL REFERENCES control.models,
    PRIMARY KEY (name, version, model),
    FOREIGN KEY (name, version) REFERENCES control.pipeline_versions ON DELETE CASCADE
);
CREATE INDEX pipeline_models_model ON control.pipeline_models (model);

CREATE TABLE control.model_fallbacks (
    name     text NOT NULL REFERENCES control.models ON DELETE CASCADE,
    fallback text NOT NULL REFERENCES control.models,
    PRIMARY KEY (name, fallback)
);
CREATE INDEX model_fallbacks_fallback ON control.model_fallbacks (fallback);

CREATE TABLE control.operators (
    id         text PRIMARY KEY,
    hash       text NOT NULL,
    doc        json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each mutation, written in its transaction. Never a secret, never a hash.
CREATE TABLE control.audit (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,          -- "admin", or an operator's id
    role     text NOT NULL,
    action   text NOT NULL,          -- "tenant.create"
    resource text NOT NULL,          -- path below /v1
    tenant   text,
    before   json,
    after    json,
    reason   text,
    trace    text
);
CREATE INDEX audit_tenant ON control.audit (tenant, id);

-- What still has to go into the bucket pen_config, in the order of the mutations. Published rows stay for a
-- day: a caller waits for its own row's published_at.
CREATE TABLE control.config_outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key          text NOT NULL,
    document     text,               -- NULL: the key is deleted
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz
);
CREATE INDEX config_outbox_pending ON control.config_outbox (id) WHERE published_at IS NULL;
CREATE INDEX config_outbox_published ON control.config_outbox (published_at) WHERE published_at IS NOT NULL;
