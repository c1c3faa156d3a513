-- Bulk exports: what was asked for, how it was cut into parts, and the files that are sealed. Files themselves
-- are in the object store, below exports/<job>/; a file that has no row here is not there for anyone.

CREATE ROLE sluice_owner_exports NOLOGIN;
CREATE ROLE sluice_exporter LOGIN IN ROLE sluice_owner_exports, sluice_reader_fhir;
CREATE ROLE sluice_expirer LOGIN IN ROLE sluice_owner_exports;
CREATE SCHEMA exports AUTHORIZATION sluice_owner_exports;
GRANT USAGE ON SCHEMA exports TO sluice_gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE sluice_owner_exports IN SCHEMA exports GRANT SELECT ON TABLES TO sluice_gateway;
-- When a job ended is the status service's knowledge.
GRANT USAGE ON SCHEMA status TO sluice_expirer;
GRANT SELECT ON status.jobs TO sluice_expirer;

SET ROLE sluice_owner_exports;

-- A row may be there before its job is planned, when the job was cancelled or deleted first; then all that
-- planning finds out is null. After a job's content is gone its row stays, without what was asked for.
CREATE TABLE exports.jobs (
    job uuid PRIMARY KEY,
    client text,
    subject text,
    request bytea, -- JSON of sluice_contracts.exports.ExportRequest; null again when the content is deleted
    access bytea, -- JSON of sluice_contracts.exports.ExportAccess; null again likewise
    snapshot bigint, -- the last batch of resources in it
    transaction_time timestamptz,
    parts integer, -- how many; null: not planned yet
    sealed integer NOT NULL DEFAULT 0, -- how many of them are sealed
    keep interval, -- how long after its end (status.jobs.finished_at) the content is kept
    submitted_at timestamptz,
    planned_at timestamptz,
    cancelled_at timestamptz, -- no more parts are written
    deleted_at timestamptz, -- from here on the job is not there for anyone
    reason text CHECK (reason IN ('expired', 'cancelled', 'deleted')), -- why it was deleted
    purged_at timestamptz, -- its objects and its other rows are gone
    swept_at timestamptz, -- they were looked for once more, after every writer must have ended
    CHECK ((deleted_at IS NULL) = (reason IS NULL)),
    CHECK (purged_at IS NULL OR deleted_at IS NOT NULL)
) WITH (fillfactor = 80);
CREATE INDEX jobs_kept ON exports.jobs (planned_at) WHERE deleted_at IS NULL;
CREATE INDEX jobs_to_purge ON exports.jobs (deleted_at) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
CREATE INDEX jobs_to_sweep ON exports.jobs (purged_at) WHERE purged_at IS NOT NULL AND swept_at IS NULL;

CREATE TABLE exports.parts (
    job uuid NOT NULL REFERENCES exports.jobs ON DELETE CASCADE,
    part integer NOT NULL,
    plan bytea NOT NULL, -- JSON of sluice_exporter.plan.PartPlan
    place integer, -- in the order in which the job's parts were sealed, from 0; null: not sealed
    sealed_at timestamptz,
    PRIMARY KEY (job, part),
    UNIQUE (job, place),
    CHECK ((place IS NULL) = (sealed_at IS NULL))
) WITH (fillfactor = 80);
ALTER TABLE exports.parts ALTER COLUMN plan SET STORAGE EXTERNAL;

-- All files of a part appear in one transaction, in the order of their places: what was listed once, in the
-- order of (place, n), is a beginning of whatever is listed later.
CREATE TABLE exports.files (
    job uuid NOT NULL,
    part integer NOT NULL,
    n integer NOT NULL, -- from 0
    kind text NOT NULL CHECK (kind IN ('output', 'deleted', 'error')),
    type text, -- of its resources; null: of several types, in blocks of a patient each
    count bigint NOT NULL, -- of lines
    size bigint NOT NULL, -- bytes
    sha256 bytea NOT NULL,
    continues boolean NOT NULL DEFAULT false, -- its last block goes on in the part's next file
    key text NOT NULL, -- in the object store
    PRIMARY KEY (job, part, n),
    FOREIGN KEY (job, part) REFERENCES exports.parts ON DELETE CASCADE
);

-- Who is reading a job's files just now. Whoever reads holds a row and renews it; one that was not renewed in
-- time counts for nothing. Objects are not removed while a row counts.
CREATE TABLE exports.downloads (
    lease uuid PRIMARY KEY,
    job uuid NOT NULL REFERENCES exports.jobs ON DELETE CASCADE,
    until timestamptz NOT NULL
);
CREATE INDEX downloads_of_job ON exports.downloads (job);
GRANT DELETE ON exports.downloads TO sluice_gateway;

-- Begin or go on holding a job's files. False: the job is deleted, and nothing of it may be read. Going on is
-- possible after the job was deleted, beginning is not.
CREATE FUNCTION exports.hold(of_job uuid, by_lease uuid, at timestamptz, span interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = exports AS $$
BEGIN
    UPDATE exports.downloads d SET until = at + span WHERE d.lease = by_lease AND d.job = of_job;
    IF FOUND THEN
        RETURN true;
    END IF;
    PERFORM FROM exports.jobs j WHERE j.job = of_job AND j.deleted_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO exports.downloads (lease, job, until) VALUES (by_lease, of_job, at + span);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION exports.hold FROM PUBLIC;
GRANT EXECUTE ON FUNCTION exports.hold TO sluice_gateway;

-- Delete a job for everyone to see; its content follows (topic jobs.expire). True: it was not deleted before.
CREATE FUNCTION exports.withdraw(of_job uuid, why text, at timestamptz) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = exports AS $$
    WITH gone AS (
        INSERT INTO exports.jobs AS j (job, deleted_at, reason) VALUES (of_job, at, why)
        ON CONFLICT (job) DO UPDATE SET deleted_at = excluded.deleted_at, reason = excluded.reason
        WHERE j.deleted_at IS NULL
        RETURNING true
    )
    SELECT EXISTS (SELECT FROM gone)
$$;
REVOKE ALL ON FUNCTION exports.withdraw FROM PUBLIC;
GRANT EXECUTE ON FUNCTION exports.withdraw TO sluice_gateway;

RESET ROLE;
