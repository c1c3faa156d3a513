-- Which exports a client and subject have begun: how many of them run, and whether one is asked for twice. All
-- gateway processes must agree on both, from the moment of acceptance on, which no other row knows of yet.

SET ROLE sluice_owner_gateway;

-- Losing it in a crash lets everybody begin afresh, which is harmless; not writing it ahead makes it cheap.
CREATE UNLOGGED TABLE gateway.exports (
    job uuid PRIMARY KEY,
    client text NOT NULL,
    subject text NOT NULL,
    request bytea NOT NULL, -- SHA-256 of what is asked for, in the one spelling
    accepted_at timestamptz NOT NULL
);
CREATE INDEX exports_of_owner ON gateway.exports (client, subject);

-- Admit an export, unless as many as `most` of its owner's run already, or (with `once`) one that is neither
-- failed nor deleted nor expired asks for the same. Admitting it again changes nothing.
CREATE FUNCTION gateway.admit_export(
    of_job uuid, of_client text, of_subject text, of_request bytea, at timestamptz, most integer, once boolean,
    OUT admitted boolean, OUT twin uuid
) LANGUAGE plpgsql AS $$
DECLARE
    running integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('gateway.exports/' || of_client || '/' || of_subject, 0));
    WITH live AS (
        SELECT e.job, e.request, e.accepted_at, s.outcome, coalesce(s.state, '') = 'FINISHED' AS ended
        FROM gateway.exports e LEFT JOIN status.jobs s USING (job) LEFT JOIN exports.jobs j USING (job)
        WHERE e.client = of_client AND e.subject = of_subject AND e.job <> of_job
            AND j.deleted_at IS NULL AND j.cancelled_at IS NULL
            AND coalesce(s.finished_at + j.keep > at, true)
            -- Nobody has heard of it for an hour: it was never published.
            AND (s.job IS NOT NULL OR j.job IS NOT NULL OR e.accepted_at > at - interval '1 hour')
    )
    SELECT count(*) FILTER (WHERE NOT ended),
        (array_agg(job ORDER BY accepted_at DESC)
            FILTER (WHERE request = of_request AND outcome IS DISTINCT FROM 'failed'))[1]
    INTO running, twin FROM live;
    IF NOT once THEN
        twin := NULL;
    END IF;
    admitted := twin IS NULL AND running < most;
    IF admitted THEN
        INSERT INTO gateway.exports (job, client, subject, request, accepted_at)
        VALUES (of_job, of_client, of_subject, of_request, at) ON CONFLICT (job) DO NOTHING;
    END IF;
END
$$;

-- Forget exports that are gone, and those that never came to be.
-- In plpgsql, since the body is not looked at before the gateway's role, which may, runs it.
CREATE FUNCTION gateway.forget_exports(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM gateway.exports e
    WHERE EXISTS (SELECT FROM exports.jobs j WHERE j.job = e.job AND j.deleted_at IS NOT NULL)
        OR (e.accepted_at < at - interval '1 day'
            AND NOT EXISTS (SELECT FROM exports.jobs j WHERE j.job = e.job));
END
$$;

RESET ROLE;
