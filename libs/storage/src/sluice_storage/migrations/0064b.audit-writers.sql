-- The puller stores what a submission came with, and records that as the gateway does.

SET ROLE sluice_owner_audit;
GRANT USAGE ON SCHEMA audit TO sluice_puller;
GRANT INSERT ON audit.records TO sluice_puller;
GRANT USAGE ON SEQUENCE audit.ids TO sluice_puller;
RESET ROLE;
