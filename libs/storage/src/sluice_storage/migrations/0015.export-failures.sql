-- A part that is given up is sealed as well: with one file, of the manifest's errors, that says so.
SET ROLE sluice_owner_exports;
ALTER TABLE exports.parts ADD COLUMN failed text; -- why nothing of it was written: an item's error code
RESET ROLE;
