-- People who sign in, what they consented to, and what clients were given for it. Passwords, session ids,
-- codes and refresh tokens are hashes.

SET ROLE sluice_owner_auth;

ALTER TABLE auth.clients ADD COLUMN redirect_uris text[] NOT NULL DEFAULT '{}';

CREATE TABLE auth.users (
    user_id text PRIMARY KEY, -- the `sub` of tokens; never given to anyone else
    name text NOT NULL, -- what is typed to sign in, folded
    password_hash text NOT NULL, -- argon2id, with its parameters
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    removed_at timestamptz -- kept, so that the id stays taken
);
CREATE UNIQUE INDEX users_name ON auth.users (name) WHERE removed_at IS NULL;

CREATE TABLE auth.sessions (
    session_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES auth.users,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_user ON auth.sessions (user_id);
CREATE INDEX sessions_expiry ON auth.sessions (expires_at);

CREATE TABLE auth.consents (
    user_id text NOT NULL REFERENCES auth.users,
    client_id text NOT NULL REFERENCES auth.clients,
    resource text NOT NULL,
    scopes text NOT NULL,
    given_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, client_id, resource)
);

-- What one code stands for, and everything that came of it: revoking the row revokes that.
CREATE TABLE auth.authorizations (
    authorization_id text PRIMARY KEY,
    client_id text NOT NULL REFERENCES auth.clients,
    user_id text NOT NULL REFERENCES auth.users,
    resource text NOT NULL,
    scopes text NOT NULL,
    redirect_uri text NOT NULL,
    challenge text NOT NULL, -- S256 (RFC 7636)
    code_hash bytea NOT NULL UNIQUE,
    code_expires_at timestamptz NOT NULL,
    redeemed_at timestamptz, -- a second attempt finds it set
    revoked_at timestamptz,
    expires_at timestamptz NOT NULL -- of all that came of it; forgotten after that
);
CREATE INDEX authorizations_owner ON auth.authorizations (user_id, client_id);
CREATE INDEX authorizations_client ON auth.authorizations (client_id);
CREATE INDEX authorizations_expiry ON auth.authorizations (expires_at);

CREATE TABLE auth.refresh_tokens (
    token_hash bytea PRIMARY KEY,
    authorization_id text NOT NULL REFERENCES auth.authorizations ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    used_at timestamptz -- it was exchanged for its successor
);
CREATE INDEX refresh_tokens_authorization ON auth.refresh_tokens (authorization_id);

-- The access tokens that came of it and have not expired: what has to be published when it is revoked.
CREATE TABLE auth.given_tokens (
    jti text PRIMARY KEY,
    authorization_id text NOT NULL REFERENCES auth.authorizations ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX given_tokens_authorization ON auth.given_tokens (authorization_id);
CREATE INDEX given_tokens_expiry ON auth.given_tokens (expires_at);

RESET ROLE;
