-- Bulk imports (ping and pull): how far each is at its source, the files its export was planned into, and what
-- became of them. What is loaded is in schema fhir; here are counts, and lines that could not be kept by number.

CREATE ROLE sluice_owner_pulls NOLOGIN;
CREATE ROLE sluice_puller LOGIN IN ROLE sluice_owner_pulls, sluice_owner_fhir;
CREATE SCHEMA pulls AUTHORIZATION sluice_owner_pulls;
GRANT USAGE ON SCHEMA pulls TO sluice_gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE sluice_owner_pulls IN SCHEMA pulls GRANT SELECT ON TABLES TO sluice_gateway;
GRANT USAGE ON SCHEMA sources TO sluice_puller;
GRANT SELECT ON sources.sources TO sluice_puller;

SET ROLE sluice_owner_pulls;

-- A row may be there before its job began, when the job was deleted first; then all that its start says is null.
CREATE TABLE pulls.jobs (
    job uuid PRIMARY KEY,
    client text,
    subject text,
    request bytea, -- JSON of sluice_contracts.imports.ImportRequest; null again when nothing is asked any more
    submitted_at timestamptz,
    phase text NOT NULL DEFAULT 'starting'
        CHECK (phase IN ('starting', 'polling', 'loading', 'releasing', 'done')),
    turn integer NOT NULL DEFAULT 0, -- steps taken at the source: a command of an older turn is over
    due timestamptz, -- when the next step is to be taken; null: none is
    strikes integer NOT NULL DEFAULT 0, -- failures of the source in a row
    begun_at timestamptz, -- when the source was asked first
    poll_url text, -- where the export's status is; null again when nothing is asked any more
    progress smallint, -- per cent, as far as the source says
    transaction_time timestamptz, -- of the source's manifest
    needs_token boolean NOT NULL DEFAULT true, -- its files do
    files integer, -- how many; null: not planned. The job has one more item than files: its end
    settled integer NOT NULL DEFAULT 0, -- how many of them have ended
    decided integer, -- the turn in which it was planned, or failed before
    planned_at timestamptz,
    failed text, -- why it could not be planned: an item's error code
    failed_status integer, -- the HTTP status of the source's answer
    finished_at timestamptz, -- when all files had ended
    cancelled_at timestamptz,
    deleted_at timestamptz, -- from here on the job is not there for anyone
    CHECK (files IS NULL OR settled <= files)
) WITH (fillfactor = 70);
CREATE INDEX jobs_due ON pulls.jobs (due) WHERE due IS NOT NULL;

CREATE TABLE pulls.files (
    job uuid NOT NULL REFERENCES pulls.jobs ON DELETE CASCADE,
    item integer NOT NULL, -- from 0, in the order of the manifest
    kind text NOT NULL CHECK (kind IN ('output', 'deleted', 'error')),
    type text, -- of its resources, if the manifest says so
    url text, -- null again when the file has ended: it may hold a signature
    expected bigint, -- lines, as the manifest says
    settled_at timestamptz,
    failed text, -- why it could not be loaded: an item's error code
    failed_status integer,
    read bigint NOT NULL DEFAULT 0, -- lines; each is counted once more below
    created bigint NOT NULL DEFAULT 0,
    updated bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    stale bigint NOT NULL DEFAULT 0, -- older than what is there, or than another of the same resource
    invalid bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0, -- resources
    size bigint NOT NULL DEFAULT 0, -- bytes of lines
    PRIMARY KEY (job, item)
) WITH (fillfactor = 70);

-- Lines that were not loaded, the first ten thousand of each file: where and why, nothing of what they hold.
CREATE TABLE pulls.issues (
    job uuid NOT NULL,
    item integer NOT NULL,
    line bigint NOT NULL, -- from 1
    code text NOT NULL, -- sluice_fhir.ndjson_resource.LineProblem
    PRIMARY KEY (job, item, line),
    FOREIGN KEY (job, item) REFERENCES pulls.files ON DELETE CASCADE
);

-- Delete a job for everyone to see, and stop it if it is under way: its next step, due now, tells the source.
-- True: it was not deleted before. What was loaded stays.
CREATE FUNCTION pulls.withdraw(of_job uuid, at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pulls AS $$
DECLARE
    first boolean;
BEGIN
    INSERT INTO pulls.jobs AS j (job, cancelled_at, deleted_at) VALUES (of_job, at, at)
    ON CONFLICT (job) DO UPDATE SET deleted_at = at,
        cancelled_at = CASE WHEN j.finished_at IS NULL AND j.failed IS NULL
            THEN coalesce(j.cancelled_at, at) ELSE j.cancelled_at END,
        due = CASE WHEN j.phase IN ('starting', 'polling', 'loading') THEN at ELSE j.due END
    WHERE j.deleted_at IS NULL
    RETURNING true INTO first;
    DELETE FROM pulls.files f WHERE f.job = of_job;
    RETURN coalesce(first, false);
END
$$;
REVOKE ALL ON FUNCTION pulls.withdraw FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pulls.withdraw TO sluice_gateway;

RESET ROLE;
