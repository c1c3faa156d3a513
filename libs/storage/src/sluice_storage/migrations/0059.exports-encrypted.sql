-- Files of exports are encrypted under a data key of their job, which is kept here, wrapped by a master key, and
-- nowhere else. With the key a deleted job's files are unreadable, also in copies of the object store.

SET ROLE sluice_owner_exports;

-- Null: none was made yet, or it is destroyed.
ALTER TABLE exports.jobs ADD COLUMN data_key bytea;
-- False: written by a version that did not encrypt.
ALTER TABLE exports.files ADD COLUMN encrypted boolean NOT NULL DEFAULT false;

-- As it was, and destroys the key.
CREATE OR REPLACE FUNCTION exports.withdraw(of_job uuid, why text, at timestamptz) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = exports AS $$
    WITH gone AS (
        INSERT INTO exports.jobs AS j (job, deleted_at, reason) VALUES (of_job, at, why)
        ON CONFLICT (job) DO UPDATE SET deleted_at = excluded.deleted_at, reason = excluded.reason, data_key = NULL
        WHERE j.deleted_at IS NULL
        RETURNING true
    )
    SELECT EXISTS (SELECT FROM gone)
$$;

-- Keep data keys wrapped by another master key, those that are still as they were; give how many.
CREATE FUNCTION exports.rewrap(of_jobs uuid[], were bytea[], are bytea[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = exports AS $$
    WITH changed AS (
        UPDATE exports.jobs j SET data_key = k.is_now
        FROM unnest(of_jobs, were, are) AS k (job, was, is_now)
        WHERE j.job = k.job AND j.data_key = k.was
        RETURNING true
    )
    SELECT count(*) FROM changed
$$;
REVOKE ALL ON FUNCTION exports.rewrap FROM PUBLIC;
GRANT EXECUTE ON FUNCTION exports.rewrap TO sluice_gateway;

RESET ROLE;
