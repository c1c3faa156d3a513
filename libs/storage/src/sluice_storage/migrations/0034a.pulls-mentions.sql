-- What resources refer to is kept as it is found, in one value for some chunks: taking it apart while loading
-- cost a third of what loading costs.
SET ROLE sluice_owner_pulls;

DROP TABLE pulls.mentions;
-- Gone when it has been looked up.
CREATE TABLE pulls.mentions (
    job uuid NOT NULL REFERENCES pulls.jobs ON DELETE CASCADE,
    keys bytea NOT NULL -- Type/id, one a line
);
ALTER TABLE pulls.mentions ALTER COLUMN keys SET STORAGE EXTERNAL;
CREATE INDEX mentions_of_job ON pulls.mentions (job);
GRANT SELECT ON pulls.mentions TO sluice_expirer;

RESET ROLE;
