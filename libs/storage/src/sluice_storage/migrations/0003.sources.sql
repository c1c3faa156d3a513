-- The FHIR servers that operators registered. Nothing is fetched from a server that is not in here.

SET ROLE sluice_owner_sources;

CREATE TABLE sources.sources (
    id text PRIMARY KEY,
    name text NOT NULL,
    base_url text NOT NULL UNIQUE, -- normalised, without a slash at its end
    auth_sealed bytea NOT NULL, -- how we prove who we are, secrets and all, sealed for this row
    max_requests_per_second double precision CHECK (max_requests_per_second > 0),
    max_concurrency integer NOT NULL CHECK (max_concurrency > 0),
    scrape_schema text,
    attachment_prefixes text[] NOT NULL,
    content_types text[] NOT NULL, -- empty: every type may be imported
    enabled boolean NOT NULL,
    software text,
    fhir_version text,
    revision integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

RESET ROLE;

