-- What is known of an import's resources beside their content: what they refer to, which is looked up when all
-- files have ended; whose they are; and which of them were there before. All of it goes with the job.
SET ROLE sluice_owner_pulls;

-- What a chunk's resources refer to on their own server; gone when it has been looked up.
CREATE TABLE pulls.mentions (
    job uuid NOT NULL REFERENCES pulls.jobs ON DELETE CASCADE,
    type text COLLATE "C" NOT NULL,
    ids text[] COLLATE "C" NOT NULL
);
CREATE INDEX mentions_of_job ON pulls.mentions (job, type);

-- Which of that is not there, by type: how much, and the first of it, a hundred in all.
CREATE TABLE pulls.unresolved (
    job uuid NOT NULL REFERENCES pulls.jobs ON DELETE CASCADE,
    type text COLLATE "C" NOT NULL,
    total bigint NOT NULL,
    ids text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (job, type)
);

-- The patients in whose compartments a job's resources are.
CREATE TABLE pulls.patients (
    job uuid NOT NULL REFERENCES pulls.jobs ON DELETE CASCADE,
    patient text COLLATE "C" NOT NULL,
    PRIMARY KEY (job, patient)
);

-- Where (fhir.resources.seq) resources are that a job brought and that were there as they are: what it changed
-- is in its batches.
CREATE TABLE pulls.kept (
    job uuid NOT NULL REFERENCES pulls.jobs ON DELETE CASCADE,
    type text COLLATE "C" NOT NULL,
    firsts bigint[] NOT NULL, -- ranges: from here
    lasts bigint[] NOT NULL -- up to and including here
);
CREATE INDEX kept_of_job ON pulls.kept (job, type);

-- As it was, and what is known of its resources goes too.
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
    RETURN coalesce(first, false);
END
$$;

RESET ROLE;
