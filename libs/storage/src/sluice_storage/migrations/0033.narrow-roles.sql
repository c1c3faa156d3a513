-- The gateway stores what is sent to it, and needs no more than that for it: it adds rows and tells which it
-- replaces, and can neither rewrite nor remove any. The expirer forgets imports.

CREATE ROLE sluice_writer_fhir NOLOGIN;
GRANT sluice_writer_fhir TO sluice_gateway;
REVOKE sluice_owner_fhir FROM sluice_gateway;
GRANT USAGE ON SCHEMA fhir TO sluice_writer_fhir;
GRANT USAGE ON SCHEMA pulls TO sluice_expirer;

SET ROLE sluice_owner_fhir;

GRANT UPDATE (committed_at, abandoned_at) ON fhir.batches TO sluice_writer_fhir;
GRANT INSERT ON fhir.batch_types, fhir.shared TO sluice_writer_fhir;
-- It alone moves the clock.
ALTER FUNCTION fhir.open_batch SECURITY DEFINER;
GRANT EXECUTE ON FUNCTION fhir.open_batch, fhir.ensure_types TO sluice_writer_fhir;

-- As it was, and whoever may write may write the new ones too.
CREATE OR REPLACE FUNCTION fhir.ensure_types(wanted text[]) RETURNS void
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
        EXECUTE format('GRANT INSERT, UPDATE (superseded_by) ON fhir.%I TO sluice_writer_fhir', name);
        EXECUTE format('ALTER TABLE fhir.resources ATTACH PARTITION fhir.%I FOR VALUES IN (%L)', name, kind);
    END LOOP;
END
$$;

DO $$
DECLARE
    there regclass;
BEGIN
    FOR there IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'fhir.resources'::regclass LOOP
        EXECUTE format('GRANT INSERT, UPDATE (superseded_by) ON %s TO sluice_writer_fhir', there);
    END LOOP;
END
$$;

RESET ROLE;
SET ROLE sluice_owner_pulls;

GRANT SELECT ON pulls.jobs, pulls.files, pulls.patients, pulls.kept, pulls.mentions TO sluice_expirer;
GRANT EXECUTE ON FUNCTION pulls.withdraw TO sluice_expirer;
CREATE INDEX jobs_to_forget ON pulls.jobs (finished_at) WHERE deleted_at IS NULL;

RESET ROLE;
