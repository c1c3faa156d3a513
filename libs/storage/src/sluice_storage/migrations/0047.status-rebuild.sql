-- Where the status tables are built anew from the log, to be compared with those that are used.

CREATE SCHEMA status_rebuild AUTHORIZATION sluice_owner_status;
GRANT CREATE, USAGE ON SCHEMA status_rebuild TO sluice_status;

-- The gateway tells operators whether the database has the newest schema.
GRANT SELECT ON _yoyo_migration TO sluice_gateway;
