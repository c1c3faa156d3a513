-- FHIR resources, kept so that an export reads rows and never parses them, and so that what it reads stays as
-- it was when the export was planned: rows are added, and told which batch replaced them, never rewritten.
--
-- Everything is written in batches. A batch gets its number, its time and its place in the order of rows (seq)
-- from fhir.clock, which gives them out one after the other: whatever is later in one is later in all three.
-- A snapshot is therefore one number: every batch up to it has ended, and a row is visible in it when its batch
-- is not above it and no batch up to it has replaced the row.

CREATE ROLE sluice_owner_fhir NOLOGIN;
-- Whoever reads resources is a member of this one.
CREATE ROLE sluice_reader_fhir NOLOGIN;
CREATE ROLE sluice_loader LOGIN IN ROLE sluice_owner_fhir;
CREATE SCHEMA fhir AUTHORIZATION sluice_owner_fhir;
GRANT USAGE ON SCHEMA fhir TO sluice_reader_fhir;
GRANT sluice_reader_fhir TO sluice_gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE sluice_owner_fhir IN SCHEMA fhir GRANT SELECT ON TABLES TO sluice_reader_fhir;

SET ROLE sluice_owner_fhir;

CREATE TABLE fhir.clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    batch bigint NOT NULL, -- the last that was given out
    seq bigint NOT NULL, -- the last that was given out
    time timestamptz NOT NULL -- of the last batch or snapshot; milliseconds, as meta.lastUpdated has them
) WITH (fillfactor = 10);
INSERT INTO fhir.clock (batch, seq, time) VALUES (0, 0, 'epoch');

-- A batch's row is committed before its data are begun, so that whoever plans a snapshot knows of it. The
-- transaction with its data locks the row, and ends it; a row that nobody locks and nobody ended is of a
-- process that died, and is abandoned: then its data can no more be committed.
CREATE TABLE fhir.batches (
    batch bigint PRIMARY KEY,
    time timestamptz NOT NULL, -- meta.lastUpdated of everything in it
    first_seq bigint NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    committed_at timestamptz,
    abandoned_at timestamptz,
    job uuid, -- the job that brought it, if one did
    source text, -- the source it came from, if it is known
    CHECK (committed_at IS NULL OR abandoned_at IS NULL)
);
CREATE INDEX batches_open ON fhir.batches (batch) WHERE committed_at IS NULL AND abandoned_at IS NULL;
CREATE INDEX batches_by_time ON fhir.batches (time);

-- What a batch holds of one type: what exports are planned from, so that planning reads no resources.
CREATE TABLE fhir.batch_types (
    type text COLLATE "C" NOT NULL,
    batch bigint NOT NULL REFERENCES fhir.batches ON DELETE CASCADE,
    first_seq bigint NOT NULL, -- rows of this type have seqs from here
    last_seq bigint NOT NULL, -- to here; no other batch's rows do
    resources bigint NOT NULL, -- rows with a body
    bytes bigint NOT NULL, -- of their bodies
    largest integer NOT NULL, -- bytes of the longest
    tombstones bigint NOT NULL, -- rows without a body
    replaced bigint NOT NULL, -- rows with a body that this batch replaced or deleted
    replaced_bytes bigint NOT NULL,
    PRIMARY KEY (type, batch)
);
CREATE INDEX batch_types_of_batch ON fhir.batch_types (batch);

-- One partition per type, made by fhir.ensure_types when the first resource of the type comes.
CREATE TABLE fhir.resources (
    type text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    version integer NOT NULL, -- meta.versionId
    batch bigint NOT NULL,
    superseded_by bigint, -- the batch that replaced it; null: the current version
    updated timestamptz NOT NULL, -- meta.lastUpdated
    source_updated timestamptz, -- what meta.lastUpdated was where it came from
    patient text COLLATE "C", -- the patient whose compartment it is in, if it is in one only
    shared boolean NOT NULL, -- it is in several compartments: fhir.shared has them
    deleted boolean NOT NULL,
    size integer NOT NULL, -- bytes of body
    digest bytea NOT NULL, -- of the content without version and time
    body bytea, -- one line of NDJSON, without its end; null: a tombstone
    CHECK (deleted = (body IS NULL)),
    CHECK (patient IS NULL OR NOT shared)
) PARTITION BY LIST (type);

CREATE TABLE fhir.shared (
    patient text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (patient, type, seq)
);
CREATE INDEX shared_of_resource ON fhir.shared (type, seq);

-- Groups of patients: as a Group resource says (managed by resource), or as operators say (managed by api).
CREATE TABLE fhir.groups (
    group_id text COLLATE "C" PRIMARY KEY,
    managed text NOT NULL CHECK (managed IN ('resource', 'api')),
    name text NOT NULL DEFAULT '',
    updated timestamptz NOT NULL
);
CREATE TABLE fhir.group_members (
    group_id text COLLATE "C" NOT NULL REFERENCES fhir.groups ON DELETE CASCADE,
    patient text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL, -- when the patient joined
    PRIMARY KEY (group_id, patient)
);
CREATE INDEX group_members_of_patient ON fhir.group_members (patient);
GRANT INSERT, UPDATE, DELETE ON fhir.groups, fhir.group_members TO sluice_gateway;

-- Give out a batch with room for `rows` rows. `at` is the time it is, if not what the server's clock says. Its
-- transaction, which is to be one of its own, does not wait for the disk: what depends on it comes later in the
-- log, and does wait.
CREATE FUNCTION fhir.open_batch(rows bigint, of_job uuid, of_source text, at timestamptz)
RETURNS TABLE (batch bigint, first_seq bigint, "time" timestamptz)
LANGUAGE sql SET search_path = fhir AS $$
    SELECT set_config('synchronous_commit', 'off', true);
    WITH given AS (
        UPDATE fhir.clock c SET batch = c.batch + 1, seq = c.seq + rows, time = greatest(
            date_trunc('milliseconds', coalesce(at, clock_timestamp())), c.time + interval '1 millisecond')
        RETURNING c.batch, c.seq - rows + 1 AS first_seq, c.time
    )
    INSERT INTO fhir.batches AS b (batch, time, first_seq, job, source)
    SELECT given.batch, given.time, given.first_seq, of_job, of_source FROM given
    RETURNING b.batch, b.first_seq, b.time
$$;
REVOKE ALL ON FUNCTION fhir.open_batch FROM PUBLIC;

-- Give the newest snapshot: `batch`, its `time` (nothing of a batch above it is as old), and `newest`, the last
-- batch that was given out; when that is higher, a batch in between has not ended yet. Batches that were opened
-- `patience` ago and that nobody works on are abandoned.
CREATE FUNCTION fhir.take_snapshot(at timestamptz, patience interval)
RETURNS TABLE (batch bigint, "time" timestamptz, newest bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = fhir AS $$
DECLARE
    last fhir.clock;
    pending fhir.batches;
BEGIN
    UPDATE fhir.batches b SET abandoned_at = clock_timestamp() WHERE b.batch IN (
        SELECT o.batch FROM fhir.batches o
        WHERE o.committed_at IS NULL AND o.abandoned_at IS NULL AND o.opened_at < clock_timestamp() - patience
        FOR UPDATE SKIP LOCKED);
    UPDATE fhir.clock c SET time = greatest(
        date_trunc('milliseconds', coalesce(at, clock_timestamp())), c.time) RETURNING c.* INTO last;
    SELECT b.* INTO pending FROM fhir.batches b
        WHERE b.committed_at IS NULL AND b.abandoned_at IS NULL ORDER BY b.batch LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT pending.batch - 1, pending.time - interval '1 millisecond', last.batch;
    ELSE
        RETURN QUERY SELECT last.batch, last.time, last.batch;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION fhir.take_snapshot FROM PUBLIC;
GRANT EXECUTE ON FUNCTION fhir.take_snapshot TO sluice_reader_fhir;

-- Make the partitions of these types that are not there yet.
CREATE FUNCTION fhir.ensure_types(wanted text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = fhir AS $$
DECLARE
    kind text;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('fhir.ensure_types'));
    FOREACH kind IN ARRAY wanted LOOP
        IF kind !~ '^[A-Z][A-Za-z]{1,48}$' THEN
            RAISE EXCEPTION 'not a resource type';
        END IF;
        name := 'resources_' || lower(kind);
        CONTINUE WHEN to_regclass(format('fhir.%I', name)) IS NOT NULL;
        -- Attached when it is complete: this takes no lock that readers of other partitions wait for.
        EXECUTE format('CREATE TABLE fhir.%I (LIKE fhir.resources INCLUDING CONSTRAINTS, CHECK (type = %L))', name, kind);
        -- Trying to compress costs more than it saves where bodies are read as they are.
        EXECUTE format('ALTER TABLE fhir.%I ALTER COLUMN body SET STORAGE EXTERNAL', name);
        EXECUTE format('CREATE UNIQUE INDEX %I ON fhir.%I (id) WHERE superseded_by IS NULL', name || '_current', name);
        EXECUTE format('CREATE INDEX %I ON fhir.%I (seq)', name || '_seq', name);
        EXECUTE format('CREATE INDEX %I ON fhir.%I (patient, seq) WHERE patient IS NOT NULL', name || '_patient', name);
        EXECUTE format('CREATE INDEX %I ON fhir.%I (superseded_by) WHERE superseded_by IS NOT NULL', name || '_old', name);
        EXECUTE format('ALTER TABLE fhir.resources ATTACH PARTITION fhir.%I FOR VALUES IN (%L)', name, kind);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION fhir.ensure_types FROM PUBLIC;

RESET ROLE;
