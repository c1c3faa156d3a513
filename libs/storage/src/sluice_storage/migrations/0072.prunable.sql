-- Up to where replaced versions of resources may be removed: who still reads them, or may have to put them back,
-- is told by their owners, and asked by the puller, which removes them.

SET ROLE sluice_owner_exports;
-- The oldest snapshot that an export still reads; null: none does.
CREATE FUNCTION exports.oldest_snapshot() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = exports AS $$
    SELECT min(snapshot) FROM jobs
    WHERE deleted_at IS NULL AND cancelled_at IS NULL AND snapshot IS NOT NULL AND sealed < parts
$$;
REVOKE EXECUTE ON FUNCTION exports.oldest_snapshot FROM PUBLIC;
GRANT EXECUTE ON FUNCTION exports.oldest_snapshot TO sluice_puller;
GRANT USAGE ON SCHEMA exports TO sluice_puller;
RESET ROLE;

SET ROLE sluice_owner_gateway;
-- When the oldest submission began that may still be stopped; null: there is none.
CREATE FUNCTION gateway.oldest_submission() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = gateway AS $$
    SELECT min(created_at) FROM submissions WHERE status = 'in-progress'
$$;
REVOKE EXECUTE ON FUNCTION gateway.oldest_submission FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway.oldest_submission TO sluice_puller;
GRANT USAGE ON SCHEMA gateway TO sluice_puller;
RESET ROLE;
