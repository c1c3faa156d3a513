-- Which version of its DocumentReference a file came of: kept as long as the import's row, when the document
-- itself is long gone. Null where the source named none, and for what was imported before.
SET ROLE sluice_owner_files;
ALTER TABLE files.imports ADD COLUMN etag text, ADD COLUMN version text;
RESET ROLE;
