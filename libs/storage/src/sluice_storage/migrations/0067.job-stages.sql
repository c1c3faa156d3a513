-- When the first and the last item of a job passed each stage; null for what no item has passed, and for jobs
-- that had ended before this was noted. What took effect is a document that was attached or skipped, a part of an
-- export that was sealed, a file of an import that was loaded.

SET ROLE sluice_owner_status;
ALTER TABLE status.jobs
    ADD COLUMN first_fetched_at timestamptz,
    ADD COLUMN last_fetched_at timestamptz,
    ADD COLUMN first_scraped_at timestamptz,
    ADD COLUMN last_scraped_at timestamptz,
    ADD COLUMN first_attached_at timestamptz,
    ADD COLUMN last_attached_at timestamptz;
RESET ROLE;
