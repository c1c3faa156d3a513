-- How long a source's export may take is how long it was waited for, and not how long ago it was begun: that
-- would count the time in which we were away ourselves.
SET ROLE sluice_owner_pulls;

ALTER TABLE pulls.jobs ADD COLUMN waited interval NOT NULL DEFAULT '0'; -- between steps, as planned
ALTER TABLE pulls.jobs DROP COLUMN begun_at;

RESET ROLE;
