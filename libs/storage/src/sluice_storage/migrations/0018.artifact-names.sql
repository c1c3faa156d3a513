-- Looking up an artifact by name must not read its body, which may be megabytes: a hash index has to compare
-- what it finds, and a version that is not in the index has to be read. So URL and version are in one key.

SET ROLE sluice_owner_fhir;

-- The key that an artifact is found by: a digest of its `url` and one of its `version`, which is left out if it
-- has none; null if it has no `url`. Nothing that stands in a body may make this fail: then its row could not
-- be written. It costs much, so that it is looked up and not computed, however small the table is.
CREATE FUNCTION fhir.canonical_key(body bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100000 SET search_path = pg_catalog AS $$
DECLARE
    resource json;
BEGIN
    resource := convert_from(body, 'UTF8')::json;
    IF json_typeof(resource -> 'url') IS DISTINCT FROM 'string' THEN
        RETURN NULL;
    END IF;
    RETURN md5(resource ->> 'url') || CASE
        WHEN json_typeof(resource -> 'version') = 'string' THEN md5(resource ->> 'version') ELSE '' END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END
$$;

DROP INDEX fhir.resources_measure_url;
DROP INDEX fhir.resources_library_url;
DROP INDEX fhir.resources_valueset_url;
DROP FUNCTION fhir.canonical_url(bytea);
CREATE INDEX resources_measure_canonical ON fhir.resources_measure
    (fhir.canonical_key(body) COLLATE "C") WHERE superseded_by IS NULL AND NOT deleted;
CREATE INDEX resources_library_canonical ON fhir.resources_library
    (fhir.canonical_key(body) COLLATE "C") WHERE superseded_by IS NULL AND NOT deleted;
CREATE INDEX resources_valueset_canonical ON fhir.resources_valueset
    (fhir.canonical_key(body) COLLATE "C") WHERE superseded_by IS NULL AND NOT deleted;

RESET ROLE;
