-- How sources are doing, as all processes that call them learn it together: see sluice_fhir.conditions, which
-- says what the columns mean. Times are Unix seconds by this server's clock. What is in here may be lost: it is
-- learned again within seconds.

CREATE ROLE sluice_owner_conditions NOLOGIN;
GRANT sluice_owner_conditions TO sluice_fetcher, sluice_scraper, sluice_attacher, sluice_puller;
CREATE SCHEMA conditions AUTHORIZATION sluice_owner_conditions;
GRANT USAGE ON SCHEMA conditions TO sluice_gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE sluice_owner_conditions IN SCHEMA conditions
    GRANT SELECT ON TABLES TO sluice_gateway;

SET ROLE sluice_owner_conditions;

CREATE TABLE conditions.sources (
    source text PRIMARY KEY,
    allowed double precision NOT NULL,
    rate double precision,
    pace double precision NOT NULL DEFAULT 0,
    usual double precision,
    held_until double precision NOT NULL DEFAULT 0,
    cut_at double precision NOT NULL DEFAULT 0,
    eased_at double precision NOT NULL DEFAULT 0,
    at double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- What each process wants and has; one that has not told for a few seconds has nothing any more.
CREATE TABLE conditions.workers (
    source text NOT NULL,
    worker text NOT NULL,
    wanted integer NOT NULL,
    granted integer NOT NULL,
    seen_at double precision NOT NULL,
    PRIMARY KEY (source, worker)
) WITH (fillfactor = 50);

-- Answers by minute, of the last hour.
CREATE TABLE conditions.minutes (
    source text NOT NULL,
    minute bigint NOT NULL, -- Unix time in whole minutes
    good integer NOT NULL,
    refused integer NOT NULL,
    failed integer NOT NULL,
    answered integer NOT NULL,
    seconds double precision NOT NULL, -- how long those that answered took, together
    PRIMARY KEY (source, minute)
) WITH (fillfactor = 50);

RESET ROLE;
