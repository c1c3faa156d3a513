-- Measures, Libraries and ValueSets are referred to by canonical URL, not by id: indexes find them by it. And
-- the gateway stores what is sent to it.

GRANT sluice_owner_fhir TO sluice_gateway;
SET ROLE sluice_owner_fhir;

-- The `url` of a resource, null if it has none that is a text. The store keeps whatever can be named, so nothing
-- that stands in a body may make this fail: then its row could not be written.
CREATE FUNCTION fhir.canonical_url(body bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE
    resource json;
BEGIN
    resource := convert_from(body, 'UTF8')::json;
    RETURN CASE WHEN json_typeof(resource -> 'url') = 'string' THEN resource ->> 'url' END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END
$$;

-- By hash: a URL may be longer than what a tree takes.
DO $$ BEGIN PERFORM fhir.ensure_types(ARRAY['Measure', 'Library', 'ValueSet']); END $$;
CREATE INDEX resources_measure_url ON fhir.resources_measure
    USING hash (fhir.canonical_url(body)) WHERE superseded_by IS NULL AND NOT deleted;
CREATE INDEX resources_library_url ON fhir.resources_library
    USING hash (fhir.canonical_url(body)) WHERE superseded_by IS NULL AND NOT deleted;
CREATE INDEX resources_valueset_url ON fhir.resources_valueset
    USING hash (fhir.canonical_url(body)) WHERE superseded_by IS NULL AND NOT deleted;

RESET ROLE;
