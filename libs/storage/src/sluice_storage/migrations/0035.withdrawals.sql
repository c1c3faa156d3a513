-- What a job stored can be taken back: its batches are found by it, and once it is withdrawn it can commit no
-- more of them.

SET ROLE sluice_owner_fhir;
CREATE TABLE fhir.withdrawn (
    job uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX batches_of_job ON fhir.batches (job) WHERE job IS NOT NULL;
RESET ROLE;

SET ROLE sluice_owner_pulls;
ALTER TABLE pulls.jobs
    ADD COLUMN discarded_at timestamptz, -- what it loaded is to be taken back
    ADD COLUMN removal_due timestamptz, -- when somebody is to do that; null: it is done, or not wanted
    ADD COLUMN removed_at timestamptz; -- when it had been done
CREATE INDEX jobs_removal_due ON pulls.jobs (removal_due) WHERE removal_due IS NOT NULL;

-- Stop a job if it is under way, and have what it loaded taken back. Doing it again changes nothing.
CREATE FUNCTION pulls.discard(of_job uuid, at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pulls AS $$
    INSERT INTO pulls.jobs AS j (job, cancelled_at, discarded_at, removal_due) VALUES (of_job, at, at, at)
    ON CONFLICT (job) DO UPDATE SET discarded_at = at, removal_due = at,
        cancelled_at = CASE WHEN j.finished_at IS NULL AND j.failed IS NULL
            THEN coalesce(j.cancelled_at, at) ELSE j.cancelled_at END,
        due = CASE WHEN j.phase IN ('starting', 'polling', 'loading') THEN at ELSE j.due END
    WHERE j.discarded_at IS NULL
$$;
REVOKE ALL ON FUNCTION pulls.discard FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pulls.discard TO sluice_gateway;
RESET ROLE;
