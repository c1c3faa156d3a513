-- Every schema has one owner role; a service writes only through the owner roles it is a member of, and
-- reads elsewhere only what is granted. Service roles get their passwords from the deployment, not from here.

CREATE ROLE sluice_owner_documents NOLOGIN;
CREATE ROLE sluice_owner_sources NOLOGIN;
CREATE ROLE sluice_owner_files NOLOGIN;
CREATE ROLE sluice_owner_status NOLOGIN;
CREATE ROLE sluice_owner_auth NOLOGIN;
CREATE ROLE sluice_owner_gateway NOLOGIN;

CREATE ROLE sluice_gateway LOGIN IN ROLE sluice_owner_gateway, sluice_owner_sources, sluice_owner_files;
CREATE ROLE sluice_auth LOGIN IN ROLE sluice_owner_auth;
CREATE ROLE sluice_fetcher LOGIN IN ROLE sluice_owner_documents;
CREATE ROLE sluice_scraper LOGIN IN ROLE sluice_owner_documents;
CREATE ROLE sluice_attacher LOGIN IN ROLE sluice_owner_files;
CREATE ROLE sluice_status LOGIN IN ROLE sluice_owner_status;

CREATE SCHEMA documents AUTHORIZATION sluice_owner_documents;
CREATE SCHEMA sources AUTHORIZATION sluice_owner_sources;
CREATE SCHEMA files AUTHORIZATION sluice_owner_files;
CREATE SCHEMA status AUTHORIZATION sluice_owner_status;
CREATE SCHEMA auth AUTHORIZATION sluice_owner_auth;
CREATE SCHEMA gateway AUTHORIZATION sluice_owner_gateway;

-- What each reads beyond its own. Tables made later by the owners are covered by the default privileges.
GRANT USAGE ON SCHEMA documents, status, auth TO sluice_gateway;
GRANT USAGE ON SCHEMA sources TO sluice_fetcher, sluice_scraper, sluice_attacher;
GRANT USAGE ON SCHEMA documents TO sluice_attacher;
GRANT USAGE ON SCHEMA status TO sluice_fetcher;
GRANT USAGE ON SCHEMA files TO sluice_fetcher;
ALTER DEFAULT PRIVILEGES FOR ROLE sluice_owner_documents IN SCHEMA documents
    GRANT SELECT ON TABLES TO sluice_gateway, sluice_attacher;
ALTER DEFAULT PRIVILEGES FOR ROLE sluice_owner_status IN SCHEMA status
    GRANT SELECT ON TABLES TO sluice_gateway, sluice_fetcher;
ALTER DEFAULT PRIVILEGES FOR ROLE sluice_owner_sources IN SCHEMA sources
    GRANT SELECT ON TABLES TO sluice_fetcher, sluice_scraper, sluice_attacher;
