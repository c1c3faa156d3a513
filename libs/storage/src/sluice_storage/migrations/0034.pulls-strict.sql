-- An import that is wanted whole or not at all takes its resources aside, and stores them in one step when all
-- are there and sound.
SET ROLE sluice_owner_pulls;

ALTER TABLE pulls.jobs ADD COLUMN strict boolean NOT NULL DEFAULT false; -- whole or not at all

CREATE TABLE pulls.staged (
    job uuid NOT NULL REFERENCES pulls.jobs ON DELETE CASCADE,
    n bigint GENERATED ALWAYS AS IDENTITY, -- in the order in which they came
    item integer NOT NULL, -- the file; the job's last item for what comes with its end
    type text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    source_updated timestamptz,
    line bytea, -- null: it is to be deleted
    PRIMARY KEY (job, n)
);
ALTER TABLE pulls.staged ALTER COLUMN line SET STORAGE EXTERNAL;
CREATE INDEX staged_resources ON pulls.staged (job, type, id);
GRANT SELECT (job) ON pulls.staged TO sluice_expirer;

-- As it was, and what was taken aside goes too.
CREATE OR REPLACE FUNCTION pulls.withdraw(of_job uuid, at timestamptz) RETURNS boolean
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
    DELETE FROM pulls.mentions m WHERE m.job = of_job;
    DELETE FROM pulls.unresolved u WHERE u.job = of_job;
    DELETE FROM pulls.patients p WHERE p.job = of_job;
    DELETE FROM pulls.kept k WHERE k.job = of_job;
    DELETE FROM pulls.staged s WHERE s.job = of_job;
    RETURN coalesce(first, false);
END
$$;

RESET ROLE;
