-- Audit records: who did what to what, when, and how it ended. Ids, codes and counts only. They are written in
-- the transaction of the act, never changed, and go a month at a time when they are old enough.

CREATE ROLE sluice_owner_audit NOLOGIN;
CREATE SCHEMA audit AUTHORIZATION sluice_owner_audit;
GRANT USAGE ON SCHEMA audit TO sluice_auth, sluice_gateway, sluice_expirer;
-- Whose job it is that files were attached or loaded for.
GRANT USAGE ON SCHEMA documents, pulls TO sluice_owner_audit;
GRANT SELECT (job, client, subject) ON documents.jobs, pulls.jobs TO sluice_owner_audit;

SET ROLE sluice_owner_audit;

CREATE SEQUENCE audit.ids CACHE 32;

CREATE TABLE audit.records (
    at timestamptz NOT NULL DEFAULT now(),
    id bigint NOT NULL DEFAULT nextval('audit.ids'),
    act text NOT NULL, -- sluice_contracts.audit.Act
    outcome smallint NOT NULL DEFAULT 0 CHECK (outcome IN (0, 4, 8, 12)), -- as FHIR's audit-event-outcome
    reason text, -- a code: of the error, or why
    service text NOT NULL DEFAULT replace(session_user, 'sluice_', ''), -- that recorded it
    client text, -- a known client's id, never what an unknown caller claimed
    subject text, -- whom the client acted for; the same as the client where it acted for itself
    address text, -- where the request came from
    kind text, -- what `entity` and `ids` are of
    entity text, -- what it was done to
    ids text[], -- the same of acts on several at once
    job uuid,
    patients text[], -- whose data they are, where that is known
    parameters text[], -- names of a search's parameters, without what was searched for
    items bigint, -- resources, lines or files
    bytes bigint,
    request text, -- its X-Request-Id
    trace text,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX records_client ON audit.records (client, at) WHERE client IS NOT NULL;
CREATE INDEX records_subject ON audit.records (subject, at) WHERE subject <> client;
CREATE INDEX records_job ON audit.records (job, at) WHERE job IS NOT NULL;
CREATE INDEX records_entity ON audit.records (entity, at) WHERE entity IS NOT NULL;
CREATE INDEX records_patients ON audit.records USING gin (patients) WHERE patients IS NOT NULL;

-- What no month's partition is there for. It should be empty: months are made ahead.
CREATE TABLE audit.records_other PARTITION OF audit.records DEFAULT;

-- See to it that the month of `day` has its partition; what waited for it elsewhere moves there.
CREATE FUNCTION audit.ensure_month(day timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path = audit AS $$
DECLARE
    month timestamp := date_trunc('month', day AT TIME ZONE 'UTC');
    name text := 'records_' || to_char(month, 'YYYYMM');
    low timestamptz := month AT TIME ZONE 'UTC';
    high timestamptz := (month + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(format('audit.%I', name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.records INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM audit.records_other WHERE at >= %L AND at < %L RETURNING *)'
        ' INSERT INTO audit.%I SELECT * FROM moved', low, high, name);
    EXECUTE format('ALTER TABLE audit.records ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)', name, low, high);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION audit.ensure_month FROM PUBLIC;

-- Make the months ahead, and drop those that have been over for longer than `keep`; give how many went.
CREATE FUNCTION audit.upkeep(moment timestamptz, keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit SET lock_timeout = '2s' AS $$
DECLARE
    name text;
    gone integer := 0;
BEGIN
    IF keep < interval '30 days' THEN
        RAISE EXCEPTION 'audit records are kept for 30 days at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR ahead IN 0..3 LOOP
        PERFORM audit.ensure_month((date_trunc('month', moment AT TIME ZONE 'UTC')
            + make_interval(months => ahead)) AT TIME ZONE 'UTC');
    END LOOP;
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit.records'::regclass AND c.relname ~ '^records_\d{6}$'
            AND (to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC' <= moment - keep
    LOOP
        EXECUTE format('DROP TABLE audit.%I', name);
        gone := gone + 1;
    END LOOP;
    DELETE FROM audit.records_other WHERE at < moment - keep;
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION audit.upkeep FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.upkeep TO sluice_expirer;

-- What was recorded so far of tokens and clients. The version before goes on writing to auth.audit until its
-- processes are replaced; that arrives here too.
CREATE FUNCTION audit.from_auth() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    INSERT INTO audit.records (at, act, outcome, reason, service, client, subject, kind, entity, trace)
    VALUES (NEW.at, NEW.action, CASE NEW.outcome WHEN 'ok' THEN 0 ELSE 8 END, nullif(NEW.outcome, 'ok'), 'auth',
        NEW.client_id, NEW.subject, CASE WHEN NEW.token IS NOT NULL THEN 'token' END, NEW.token, NEW.trace);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION audit.from_auth FROM PUBLIC;

DO $$
BEGIN
    PERFORM audit.ensure_month(now() + make_interval(months => ahead)) FROM generate_series(0, 3) AS ahead;
END
$$;

GRANT INSERT ON audit.records TO sluice_auth, sluice_gateway;
GRANT USAGE ON SEQUENCE audit.ids TO sluice_auth, sluice_gateway;
GRANT SELECT ON audit.records TO sluice_gateway;
GRANT EXECUTE ON FUNCTION audit.from_auth TO sluice_owner_auth;
GRANT USAGE ON SCHEMA audit TO sluice_owner_auth;

RESET ROLE;

INSERT INTO audit.records (at, act, outcome, reason, service, client, subject, kind, entity, trace)
SELECT at, action, CASE outcome WHEN 'ok' THEN 0 ELSE 8 END, nullif(outcome, 'ok'), 'auth', client_id, subject,
    CASE WHEN token IS NOT NULL THEN 'token' END, token, trace
FROM auth.audit ORDER BY id;

SET ROLE sluice_owner_auth;
DELETE FROM auth.audit;
CREATE TRIGGER forward BEFORE INSERT ON auth.audit FOR EACH ROW EXECUTE FUNCTION audit.from_auth();
RESET ROLE;
