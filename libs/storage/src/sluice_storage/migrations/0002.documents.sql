-- Where an import's items wait between the steps: commands on Kafka only say which row is meant.

SET ROLE sluice_owner_documents;

CREATE TABLE documents.jobs (
    job uuid PRIMARY KEY,
    client text NOT NULL,
    subject text NOT NULL,
    conflict_resolution text NOT NULL,
    tags text[] NOT NULL,
    items integer NOT NULL,
    submitted_at timestamptz NOT NULL,
    planned_at timestamptz NOT NULL DEFAULT now(),
    cancelled_at timestamptz
);

CREATE TABLE documents.items (
    job uuid NOT NULL REFERENCES documents.jobs ON DELETE CASCADE,
    item integer NOT NULL,
    reference text NOT NULL,
    source text NOT NULL,
    project text NOT NULL,
    folder text NOT NULL,
    name text,
    metadata bytea, -- the caller's, as the JSON it came as
    PRIMARY KEY (job, item)
);

CREATE TABLE documents.fetched (
    job uuid NOT NULL,
    item integer NOT NULL,
    body bytea NOT NULL, -- the DocumentReference, byte for byte
    etag text,
    version text,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job, item),
    FOREIGN KEY (job, item) REFERENCES documents.items ON DELETE CASCADE
);
-- Bodies are mostly base64 or short; trying to compress them costs more than it saves.
ALTER TABLE documents.fetched ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE documents.scraped (
    job uuid NOT NULL,
    item integer NOT NULL,
    metadata bytea NOT NULL, -- a flat JSON object, the caller's values already on top
    warnings text[] NOT NULL, -- keys the schema requires and the source did not have
    schema text NOT NULL, -- the scrape schema's name and version
    scraped_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job, item),
    FOREIGN KEY (job, item) REFERENCES documents.items ON DELETE CASCADE
);

-- The attacher must see a cancellation, and hold it off while a file lands, in one transaction.
CREATE FUNCTION documents.hold_jobs(held uuid[]) RETURNS TABLE (job uuid, cancelled boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = documents AS $$
    SELECT jobs.job, jobs.cancelled_at IS NOT NULL
    FROM documents.jobs WHERE jobs.job = ANY(held) ORDER BY jobs.job FOR SHARE
$$;
REVOKE ALL ON FUNCTION documents.hold_jobs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION documents.hold_jobs TO sluice_attacher;

RESET ROLE;
