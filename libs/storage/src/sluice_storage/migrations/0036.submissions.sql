-- Bulk submissions: whose each is, how it stands, and which import each of its manifests is.

SET ROLE sluice_owner_gateway;

CREATE TABLE gateway.submissions (
    submission uuid PRIMARY KEY,
    client text NOT NULL,
    subject text NOT NULL,
    system text NOT NULL, -- the submitter, an Identifier; empty if it has none
    submitter text NOT NULL,
    name text NOT NULL, -- the submissionId
    status text NOT NULL DEFAULT 'in-progress' CHECK (status IN ('in-progress', 'completed', 'stopped')),
    created_at timestamptz NOT NULL,
    ended_at timestamptz, -- when it was completed or stopped
    asked_at timestamptz, -- when its status was asked for; null: not, or that was deleted
    UNIQUE (client, subject, system, submitter, name)
);

CREATE TABLE gateway.submission_manifests (
    submission uuid NOT NULL REFERENCES gateway.submissions ON DELETE CASCADE,
    number integer NOT NULL, -- from 1, in the order in which they came
    url text NOT NULL,
    base text NOT NULL, -- what references in it are relative to
    replaces integer, -- the manifest whose place it takes
    job uuid NOT NULL UNIQUE, -- the import
    request bytea, -- JSON of its StartBulkImport, until that is known to be on Kafka
    replaced_at timestamptz, -- when it was replaced, or taken back without a successor
    PRIMARY KEY (submission, number),
    UNIQUE (submission, url)
);

RESET ROLE;
