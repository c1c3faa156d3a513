-- Which absolute references are to the import's own server is to be known for as long as the import is.
SET ROLE sluice_owner_pulls;

ALTER TABLE pulls.jobs ADD COLUMN base text; -- the source's base URL when the job was planned

RESET ROLE;
