-- Contents of files are encrypted, each under a data key of its own, which is kept here, wrapped by a master key,
-- and nowhere else. With the key a deleted content is unreadable, also in copies of the object store.

SET ROLE sluice_owner_files;

ALTER TABLE files.blobs
    ADD COLUMN object uuid, -- its name in the object store; null: from before contents were encrypted
    ADD COLUMN data_key bytea, -- null also once it is destroyed, when the last file with the content goes
    ADD CONSTRAINT blobs_key_of_object CHECK (data_key IS NULL OR object IS NOT NULL) NOT VALID;
CREATE UNIQUE INDEX blobs_object ON files.blobs (object) WHERE object IS NOT NULL;

RESET ROLE;
