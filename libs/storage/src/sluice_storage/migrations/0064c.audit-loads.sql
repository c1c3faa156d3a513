-- What `sluice load` stores is an import too: a record for each of its batches. What others store is recorded with
-- their jobs, or by the request.

GRANT USAGE ON SCHEMA audit TO sluice_owner_fhir;
GRANT USAGE ON SCHEMA fhir TO sluice_owner_audit;
GRANT SELECT ON fhir.batch_types TO sluice_owner_audit;

SET ROLE sluice_owner_audit;
CREATE FUNCTION audit.of_load() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    INSERT INTO audit.records (act, kind, entity, items, bytes)
    SELECT 'load', 'batch', NEW.batch::text, sum(t.resources + t.tombstones), sum(t.bytes)
    FROM fhir.batch_types t WHERE t.batch = NEW.batch;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION audit.of_load FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.of_load TO sluice_owner_fhir;
RESET ROLE;

SET ROLE sluice_owner_fhir;
CREATE TRIGGER audited AFTER UPDATE OF committed_at ON fhir.batches FOR EACH ROW
    WHEN (OLD.committed_at IS NULL AND NEW.committed_at IS NOT NULL AND session_user = 'sluice_loader')
    EXECUTE FUNCTION audit.of_load();
RESET ROLE;
