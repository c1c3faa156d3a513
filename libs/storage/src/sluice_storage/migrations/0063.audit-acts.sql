-- Acts that are rows of others' schemas are recorded by triggers, in the transaction that writes them: whatever
-- code writes such a row, and however often a command is delivered, there is one record of what it did.

GRANT USAGE ON SCHEMA audit TO sluice_owner_exports, sluice_owner_pulls, sluice_owner_documents,
    sluice_owner_files, sluice_owner_access;

SET ROLE sluice_owner_audit;

-- Exports and bulk imports: begun, cancelled, deleted (by whom, or because they expired), gone.
CREATE FUNCTION audit.of_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
DECLARE
    what text := TG_ARGV[0];
    now_is jsonb := to_jsonb(NEW) - '{request,access}'::text[];
    was jsonb := CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) - '{request,access}'::text[] ELSE '{}' END;
    why text := coalesce(now_is ->> 'reason',
        CASE session_user WHEN 'sluice_expirer' THEN 'expired' ELSE 'deleted' END);
BEGIN
    INSERT INTO audit.records (act, reason, client, subject, kind, entity, job)
    SELECT what || '.' || step.act, step.reason, NEW.client, NEW.subject, 'job', NEW.job::text, NEW.job
    FROM (VALUES
        ('begin', 'submitted_at', NULL),
        ('cancel', 'cancelled_at', NULL),
        ('discard', 'discarded_at', NULL),
        ('delete', 'deleted_at', why),
        ('removed', 'removed_at', NULL),
        ('purge', 'purged_at', why)
    ) AS step (act, field, reason)
    WHERE now_is ->> step.field IS NOT NULL AND was ->> step.field IS NULL;
    RETURN NULL;
END
$$;

-- A document import: begun, cancelled.
CREATE FUNCTION audit.of_document_import() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    IF NEW.items > 0 AND (TG_OP = 'INSERT' OR OLD.items = 0) THEN
        INSERT INTO audit.records (act, client, subject, kind, entity, job, items)
        VALUES ('document-import.begin', NEW.client, NEW.subject, 'job', NEW.job::text, NEW.job, NEW.items);
    END IF;
    IF NEW.cancelled_at IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.cancelled_at IS NULL) THEN
        INSERT INTO audit.records (act, client, subject, kind, entity, job)
        VALUES ('document-import.cancel', nullif(NEW.client, ''), nullif(NEW.subject, ''), 'job', NEW.job::text, NEW.job);
    END IF;
    RETURN NULL;
END
$$;

-- Documents whose time was over, by job.
CREATE FUNCTION audit.of_expired_documents() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    INSERT INTO audit.records (act, reason, client, subject, kind, entity, job, items)
    SELECT 'document-import.purge', 'expired', j.client, j.subject, 'job', gone.job::text, gone.job, gone.items
    FROM (SELECT job, count(*) AS items FROM gone GROUP BY job) AS gone LEFT JOIN documents.jobs j USING (job);
    RETURN NULL;
END
$$;

-- Files that a document import attached, by job: one record for all that a transaction attaches.
CREATE FUNCTION audit.of_attached() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    INSERT INTO audit.records (act, client, subject, kind, job, ids, items, bytes)
    SELECT 'document-import.attach', j.client, j.subject, 'file', put.job, put.ids, cardinality(put.ids), put.bytes
    FROM (
        SELECT job, array_agg(entry ORDER BY item) AS ids, sum(size)::bigint AS bytes
        FROM attached WHERE outcome <> 'skipped' GROUP BY job
    ) AS put LEFT JOIN documents.jobs j USING (job);
    RETURN NULL;
END
$$;

CREATE FUNCTION audit.of_grant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    INSERT INTO audit.records (act, subject, kind, entity, ids)
    VALUES (
        CASE TG_OP WHEN 'INSERT' THEN 'grant.give' ELSE 'grant.revoke' END,
        CASE TG_OP WHEN 'INSERT' THEN NEW.granted_by ELSE NEW.revoked_by END,
        'grant', NEW.id::text, array_remove(ARRAY[NEW.grantee, NEW.group_id], NULL));
    RETURN NULL;
END
$$;

-- A file of a bulk import: loaded, or given up.
CREATE FUNCTION audit.of_pulled_file() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    INSERT INTO audit.records (act, outcome, reason, client, subject, kind, entity, job, items, bytes)
    SELECT 'bulk-import.load', CASE WHEN NEW.failed IS NULL THEN 0 ELSE 8 END, NEW.failed, j.client, j.subject,
        'pulled-file', NEW.job::text || '.' || NEW.item, NEW.job, NEW.read, NEW.size
    FROM pulls.jobs j WHERE j.job = NEW.job;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION audit.of_job, audit.of_document_import, audit.of_expired_documents, audit.of_attached,
    audit.of_grant, audit.of_pulled_file FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.of_job TO sluice_owner_exports, sluice_owner_pulls;
GRANT EXECUTE ON FUNCTION audit.of_document_import, audit.of_expired_documents TO sluice_owner_documents;
GRANT EXECUTE ON FUNCTION audit.of_attached TO sluice_owner_files;
GRANT EXECUTE ON FUNCTION audit.of_grant TO sluice_owner_access;
GRANT EXECUTE ON FUNCTION audit.of_pulled_file TO sluice_owner_pulls;

RESET ROLE;
SET ROLE sluice_owner_exports;
CREATE TRIGGER audited AFTER INSERT OR UPDATE OF submitted_at, cancelled_at, deleted_at, purged_at ON exports.jobs
    FOR EACH ROW EXECUTE FUNCTION audit.of_job('export');

RESET ROLE;
SET ROLE sluice_owner_documents;
CREATE TRIGGER audited AFTER INSERT OR UPDATE OF items, cancelled_at ON documents.jobs
    FOR EACH ROW EXECUTE FUNCTION audit.of_document_import();
CREATE TRIGGER audited AFTER DELETE ON documents.fetched REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION audit.of_expired_documents();

RESET ROLE;
SET ROLE sluice_owner_files;
CREATE TRIGGER audited AFTER INSERT ON files.imports REFERENCING NEW TABLE AS attached
    FOR EACH STATEMENT EXECUTE FUNCTION audit.of_attached();

RESET ROLE;
SET ROLE sluice_owner_access;
CREATE TRIGGER given AFTER INSERT ON access.grants FOR EACH ROW EXECUTE FUNCTION audit.of_grant();
CREATE TRIGGER revoked AFTER UPDATE ON access.grants FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION audit.of_grant();
RESET ROLE;
