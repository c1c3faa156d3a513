-- The secret that a webhook had before, sealed: messages are signed with it too, until its receiver knows the new
-- one.

SET ROLE sluice_owner_webhooks;
ALTER TABLE webhooks.endpoints
    ADD COLUMN previous bytea,
    ADD COLUMN previous_until timestamptz;
RESET ROLE;
