-- Records of triggers say where a request came from, where one led to the act: whoever answers it says so for its
-- transaction (sluice_storage.audit.acting.asked). Sources and webhooks are recorded as well.

GRANT USAGE ON SCHEMA audit TO sluice_owner_sources, sluice_owner_webhooks;

SET ROLE sluice_owner_audit;

CREATE FUNCTION audit.asked() RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('sluice.asked', true), ''), '{}')::jsonb
$$;

CREATE OR REPLACE FUNCTION audit.of_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
DECLARE
    what text := TG_ARGV[0];
    now_is jsonb := to_jsonb(NEW) - '{request,access}'::text[];
    was jsonb := CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) - '{request,access}'::text[] ELSE '{}' END;
    why text := coalesce(now_is ->> 'reason',
        CASE session_user WHEN 'sluice_expirer' THEN 'expired' ELSE 'deleted' END);
    asked jsonb := audit.asked();
BEGIN
    INSERT INTO audit.records (act, reason, client, subject, address, kind, entity, job, request, trace)
    SELECT what || '.' || step.act, step.reason, NEW.client, NEW.subject, asked ->> 'address', 'job',
        NEW.job::text, NEW.job, asked ->> 'request', asked ->> 'trace'
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

CREATE OR REPLACE FUNCTION audit.of_grant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
DECLARE
    asked jsonb := audit.asked();
BEGIN
    INSERT INTO audit.records (act, client, subject, address, kind, entity, ids, request, trace)
    VALUES (
        CASE TG_OP WHEN 'INSERT' THEN 'grant.give' ELSE 'grant.revoke' END,
        asked ->> 'client',
        CASE TG_OP WHEN 'INSERT' THEN NEW.granted_by ELSE NEW.revoked_by END,
        asked ->> 'address', 'grant', NEW.id::text, array_remove(ARRAY[NEW.grantee, NEW.group_id], NULL),
        asked ->> 'request', asked ->> 'trace');
    RETURN NULL;
END
$$;

-- A source or a webhook: registered, changed, removed. Nobody asked where the service itself disables a webhook.
CREATE FUNCTION audit.of_registered() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
DECLARE
    asked jsonb := audit.asked();
BEGIN
    INSERT INTO audit.records (act, client, subject, address, kind, entity, request, trace)
    VALUES (
        TG_ARGV[0] || CASE TG_OP WHEN 'INSERT' THEN '.register' WHEN 'UPDATE' THEN '.change' ELSE '.remove' END,
        asked ->> 'client', asked ->> 'subject', asked ->> 'address', TG_ARGV[0],
        CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END, asked ->> 'request', asked ->> 'trace');
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION audit.asked, audit.of_registered FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.of_registered TO sluice_owner_sources, sluice_owner_webhooks;

RESET ROLE;
SET ROLE sluice_owner_sources;
CREATE TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON sources.sources
    FOR EACH ROW EXECUTE FUNCTION audit.of_registered('source');

RESET ROLE;
SET ROLE sluice_owner_webhooks;
CREATE TRIGGER registered AFTER INSERT OR DELETE ON webhooks.endpoints
    FOR EACH ROW EXECUTE FUNCTION audit.of_registered('webhook');
CREATE TRIGGER changed AFTER UPDATE OF url, types, enabled, secret ON webhooks.endpoints
    FOR EACH ROW WHEN (
        (OLD.url, OLD.types, OLD.enabled, OLD.secret) IS DISTINCT FROM (NEW.url, NEW.types, NEW.enabled, NEW.secret)
    ) EXECUTE FUNCTION audit.of_registered('webhook');
RESET ROLE;
