-- Jobs and items as the status service has folded them out of jobs.events, with the place in the log up to
-- which it has: offsets change in the transaction that changes the rows, so a span of the log that is read
-- twice changes nothing.

SET ROLE sluice_owner_status;

-- A row may be there before its JobPlanned was read; kind, client, subject and submitted_at are null so long.
CREATE TABLE status.jobs (
    job uuid PRIMARY KEY,
    kind text,
    client text,
    subject text,
    state text NOT NULL DEFAULT 'SUBMITTED' CHECK (state IN ('SUBMITTED', 'RUNNING', 'FINISHED')),
    outcome text CHECK (outcome IN ('completed', 'cancelled', 'failed')), -- set once, with FINISHED
    items integer NOT NULL DEFAULT 0,
    attached integer NOT NULL DEFAULT 0,
    skipped integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    cancelled integer NOT NULL DEFAULT 0,
    submitted_at timestamptz,
    started_at timestamptz, -- when it was planned
    cancelled_at timestamptz, -- when its owner cancelled it
    finished_at timestamptz,
    announced_at timestamptz, -- when its JobFinished was on Kafka
    CHECK ((state = 'FINISHED') = (outcome IS NOT NULL)),
    CHECK ((state = 'FINISHED') = (finished_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX jobs_by_owner ON status.jobs (client, subject, submitted_at DESC, job);

-- One row per item of which anything is known; an item without a row has not been begun. Ranks are those of
-- sluice_contracts.progress.ItemRank: 10 retrying, 20 fetched, 30 scraped, 40 cancelled, 50 failed,
-- 60 skipped, 70 attached; 40 and above are final. The highest rank wins, in whatever order events come.
-- Text is compared as bytes, as Python compares it, so that ties fall the same way in both.
CREATE TABLE status.job_items (
    job uuid NOT NULL,
    item integer NOT NULL, -- position in the request, from 0
    rank smallint NOT NULL,
    previous_rank smallint NOT NULL DEFAULT 0, -- before the last change; what counts are derived from
    attempt integer, -- retrying: how often it was tried
    source_status integer, -- failed: the HTTP status the source answered with
    size bigint, -- fetched: bytes of the DocumentReference; skipped, attached: of the file
    updated_at timestamptz NOT NULL, -- when the item reached this rank
    stage text COLLATE "C", -- retrying, failed: plan, fetch, scrape or attach
    code text COLLATE "C", -- retrying, failed: one of sluice_contracts.errors
    file text COLLATE "C", -- skipped, attached: the file's id
    file_outcome text COLLATE "C", -- skipped, attached: created, renamed, replaced or skipped
    PRIMARY KEY (job, item)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE status.offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL, -- of the first record that is not folded yet
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- Messages decided on in a fold's transaction, to be published in this order and then removed.
CREATE TABLE status.outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition integer NOT NULL, -- of the record that led to it: whoever folds that one publishes this
    job uuid NOT NULL,
    type text NOT NULL, -- JobFinished or JobState
    body bytea NOT NULL -- the message's JSON
);

-- Records that are not what their topic promises: where they are, never what they hold.
CREATE TABLE status.dead (
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    reason text NOT NULL,
    sha256 bytea NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, record_offset)
);
CREATE INDEX dead_by_age ON status.dead (seen_at);

RESET ROLE;
