-- The authorization server's memory. Nothing here is a secret in the clear: client secrets and registration
-- tokens are hashes, signing keys are sealed under the deployment's secret.

SET ROLE sluice_owner_auth;

CREATE TABLE auth.clients (
    client_id text PRIMARY KEY,
    name text NOT NULL,
    auth_method text NOT NULL,
    grant_types text[] NOT NULL,
    scopes text NOT NULL, -- what it may ask for, space-separated, in the one spelling
    secret_hash bytea,
    registration_hash bytea,
    jwks json, -- its public keys, when it authenticates with one
    jwks_uri text, -- or where they are
    details json NOT NULL, -- what else it told about itself (RFC 7591 section 2)
    operator boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    removed_at timestamptz -- kept, so that the audit trail has something to refer to
);

CREATE TABLE auth.signing_keys (
    kid text PRIMARY KEY,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    active_at timestamptz NOT NULL -- published before, signs from then on
);

-- Assertions that were used: a second use finds its row (RFC 7523 section 3, rule 7).
CREATE TABLE auth.assertions (
    issuer text NOT NULL,
    jti_hash bytea NOT NULL, -- SHA-256: a caller chooses the length of what is hashed
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, jti_hash)
);
CREATE INDEX assertions_expiry ON auth.assertions (expires_at);

-- What resource servers must refuse before it expires, by a digest that does not tell what it is.
CREATE TABLE auth.revoked (
    digest text PRIMARY KEY,
    issued_until timestamptz NOT NULL, -- tokens issued up to then are void
    forget_at timestamptz NOT NULL -- by then they have all expired
);
CREATE INDEX revoked_age ON auth.revoked (forget_at);

-- Who was given or refused what, written in the transaction of the act. Ids and codes only.
CREATE TABLE auth.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL, -- `ok`, or the error's code
    client_id text, -- a known client's, never what an unknown caller claimed
    subject text,
    token text, -- the access token's jti
    trace text
);
CREATE INDEX audit_time ON auth.audit (at);
CREATE INDEX audit_client ON auth.audit (client_id, at);

RESET ROLE;
