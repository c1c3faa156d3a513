-- An export that runs ends when its owner may not see any more what it may hold: who may is read where it is written.

GRANT USAGE ON SCHEMA access TO sluice_exporter;
SET ROLE sluice_owner_access;
GRANT SELECT ON access.grants TO sluice_exporter;
RESET ROLE;
