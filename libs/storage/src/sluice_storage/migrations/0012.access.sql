-- Whose data clients and people may see: what operators granted them. Who is in a group is in fhir.groups.

CREATE ROLE sluice_owner_access NOLOGIN;
GRANT sluice_owner_access TO sluice_gateway;
CREATE SCHEMA access AUTHORIZATION sluice_owner_access;

SET ROLE sluice_owner_access;

-- Rows are never deleted and never changed but to be revoked: they also say who could see what, and when.
CREATE TABLE access.grants (
    id uuid PRIMARY KEY,
    grantee_kind text NOT NULL CHECK (grantee_kind IN ('client', 'user')),
    grantee text COLLATE "C" NOT NULL, -- a client's id, or a user's as tokens have it in `sub`
    all_patients boolean NOT NULL,
    group_id text COLLATE "C", -- of fhir.groups, if it is not all patients
    types text[] COLLATE "C", -- null: all
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz, -- it counts before this time only; null: until it is revoked
    revoked_by text,
    revoked_at timestamptz,
    CHECK (all_patients = (group_id IS NULL)),
    CHECK (types IS NULL OR cardinality(types) > 0),
    CHECK (expires_at IS NULL OR expires_at > granted_at),
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX grants_of_grantee ON access.grants (grantee, grantee_kind) WHERE revoked_at IS NULL;
CREATE INDEX grants_of_group ON access.grants (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX grants_by_time ON access.grants (granted_at, id);

RESET ROLE;
