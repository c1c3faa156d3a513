-- Most of what an import refers to it has brought itself: that is found by comparing marks, eight bytes that
-- stand for type and id, and only the rest is looked up in the store.
SET ROLE sluice_owner_pulls;

ALTER TABLE pulls.mentions
    ADD COLUMN marks bigint[], -- of keys, in their order; null: the version before has noted them
    ADD COLUMN brought bigint[], -- marks of what the job has stored, or found there as it is
    ADD COLUMN batch bigint; -- all batches up to it had ended before the file was begun
-- They look random and do not get smaller.
ALTER TABLE pulls.mentions ALTER COLUMN marks SET STORAGE EXTERNAL;
ALTER TABLE pulls.mentions ALTER COLUMN brought SET STORAGE EXTERNAL;

RESET ROLE;
