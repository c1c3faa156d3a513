-- Submissions are forgotten when their time has come, by the expirer; their imports go with them and not before.

GRANT USAGE ON SCHEMA status, pulls TO sluice_owner_gateway;
GRANT USAGE ON SCHEMA gateway TO sluice_expirer;

SET ROLE sluice_owner_status;
GRANT SELECT (job, finished_at) ON status.jobs TO sluice_owner_gateway;
RESET ROLE;
SET ROLE sluice_owner_pulls;
GRANT SELECT (job, removed_at) ON pulls.jobs TO sluice_owner_gateway;
RESET ROLE;

SET ROLE sluice_owner_gateway;
GRANT SELECT (job) ON gateway.submission_manifests TO sluice_expirer;

-- Forget submissions that were completed or stopped by then, and of whose manifests, too, each had been loaded or
-- taken back; give how many. Of one whose import was never published nothing comes any more.
CREATE FUNCTION gateway.forget_submissions(by timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = gateway AS $$
    WITH gone AS (
        DELETE FROM submissions s WHERE s.ended_at <= by AND NOT EXISTS (
            SELECT FROM submission_manifests m LEFT JOIN pulls.jobs p USING (job) LEFT JOIN status.jobs j USING (job)
            WHERE m.submission = s.submission AND (m.request IS NULL OR p.job IS NOT NULL OR j.job IS NOT NULL)
                AND coalesce(CASE WHEN s.status = 'stopped' OR m.replaced_at IS NOT NULL
                    THEN p.removed_at ELSE j.finished_at END, 'infinity') > by
        ) RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE EXECUTE ON FUNCTION gateway.forget_submissions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway.forget_submissions TO sluice_expirer;
RESET ROLE;
