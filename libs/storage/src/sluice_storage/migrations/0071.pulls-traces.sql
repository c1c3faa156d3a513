-- A bulk import goes in steps that are taken when they are due: each belongs to the trace of the request.

SET ROLE sluice_owner_pulls;
ALTER TABLE pulls.jobs ADD COLUMN trace text; -- its traceparent
RESET ROLE;
