-- What a tenant's JSON Web Tokens are signed with. The document never has a secret; that of HS256 is beside it, as
-- it must be to verify anything, and is gone when the key is revoked. A revoked key keeps its id for ever.
CREATE TABLE control.signing_keys (
    tenant     text NOT NULL REFERENCES control.tenants ON DELETE CASCADE,
    id         text NOT NULL,
    doc        json NOT NULL,
    secret     text,                 -- HS256 only
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);
