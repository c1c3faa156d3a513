-- When a source took a bulk import's export on, for those who look at what happened when.

SET ROLE sluice_owner_pulls;
ALTER TABLE pulls.jobs ADD COLUMN begun_at timestamptz; -- null: it has not, or there is none to kick off
RESET ROLE;
