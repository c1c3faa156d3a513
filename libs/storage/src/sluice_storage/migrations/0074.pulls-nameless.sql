-- Resources that came without an id are told of.

SET ROLE sluice_owner_pulls;
ALTER TABLE pulls.files ADD COLUMN nameless bigint NOT NULL DEFAULT 0; -- lines without an id, which got one
RESET ROLE;
