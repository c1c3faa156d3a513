-- Webhooks: where clients want to be told of their jobs, what they are to be told, and how far the service has
-- read jobs.events for that. The gateway registers endpoints and asks for deliveries; the service makes them.

CREATE ROLE sluice_owner_webhooks NOLOGIN;
CREATE ROLE sluice_webhooks LOGIN IN ROLE sluice_owner_webhooks;
CREATE SCHEMA webhooks AUTHORIZATION sluice_owner_webhooks;
GRANT USAGE ON SCHEMA webhooks TO sluice_gateway;

SET ROLE sluice_owner_webhooks;

CREATE TABLE webhooks.endpoints (
    id text PRIMARY KEY,
    client text NOT NULL, -- whose jobs it is told of
    url text NOT NULL,
    types text[] NOT NULL, -- of events, such as job.finished
    secret bytea NOT NULL, -- sealed
    enabled boolean NOT NULL DEFAULT true,
    note text, -- why the service disabled it
    created_at timestamptz NOT NULL,
    delivered_at timestamptz -- when it last took something
);
CREATE INDEX endpoints_by_client ON webhooks.endpoints (client, created_at, id);

-- One message to one endpoint: made once, however often its event is read.
CREATE TABLE webhooks.deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint text NOT NULL REFERENCES webhooks.endpoints ON DELETE CASCADE,
    message text NOT NULL, -- webhook-id: the event's
    type text NOT NULL,
    job uuid, -- null: it is about none
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    created_at timestamptz NOT NULL,
    due timestamptz NOT NULL, -- when it is tried next, while it waits
    until timestamptz NOT NULL, -- until when it is tried
    attempts integer NOT NULL DEFAULT 0,
    status integer, -- the HTTP status of the last answer
    error text, -- why there was none: one of sluice_contracts.errors
    ended_at timestamptz,
    UNIQUE (endpoint, message)
) WITH (fillfactor = 70);
CREATE INDEX deliveries_due ON webhooks.deliveries (due) WHERE state = 'waiting';
CREATE INDEX deliveries_by_endpoint ON webhooks.deliveries (endpoint, id DESC);

-- Whose a job is: only its plan says so, and all of its events come after it.
CREATE TABLE webhooks.jobs (
    job uuid PRIMARY KEY,
    client text NOT NULL,
    planned_at timestamptz NOT NULL
);
CREATE INDEX jobs_by_age ON webhooks.jobs (planned_at);

CREATE TABLE webhooks.offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks.endpoints TO sluice_gateway;
GRANT SELECT, INSERT ON webhooks.deliveries TO sluice_gateway;
-- To have one made again, and to end those of an endpoint that is disabled.
GRANT UPDATE (state, due, until, attempts, ended_at) ON webhooks.deliveries TO sluice_gateway;

RESET ROLE;
