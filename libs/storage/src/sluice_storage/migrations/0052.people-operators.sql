-- People who are operators: applications may be given operators' scopes on their behalf.

SET ROLE sluice_owner_auth;

ALTER TABLE auth.users ADD COLUMN operator boolean NOT NULL DEFAULT false;

RESET ROLE;
