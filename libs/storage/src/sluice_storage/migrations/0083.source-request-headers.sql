-- What submitters of data may have sent along with requests for their files.

SET ROLE sluice_owner_sources;
ALTER TABLE sources.sources
    ADD COLUMN request_headers text[] NOT NULL DEFAULT '{}'; -- in lower case; empty: none
RESET ROLE;
