-- Which Kafka the places in its log are of (its cluster id): those of another one mean nothing. Null: kept before
-- this was noted, and of the one in use then.

SET ROLE sluice_owner_status;
ALTER TABLE status.offsets ADD COLUMN cluster text;
RESET ROLE;

SET ROLE sluice_owner_webhooks;
ALTER TABLE webhooks.offsets ADD COLUMN cluster text;
RESET ROLE;
