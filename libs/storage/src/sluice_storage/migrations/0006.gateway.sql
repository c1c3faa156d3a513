-- What all gateway processes must agree on: how much of its quota a client has used, and which job an
-- idempotency key stands for.

SET ROLE sluice_owner_gateway;

-- One row per client and quota: how many calls fell into each of the last slots. Losing it in a crash gives
-- every client a fresh quota, which is harmless; not writing it ahead makes a call cheap.
CREATE UNLOGGED TABLE gateway.quotas (
    client text NOT NULL,
    quota text NOT NULL,
    slots integer[] NOT NULL, -- calls by slot number modulo their count
    latest bigint NOT NULL, -- number of the newest slot: Unix time divided by the slot's width
    PRIMARY KEY (client, quota)
) WITH (fillfactor = 50);

CREATE TABLE gateway.idempotency (
    client text NOT NULL,
    subject text NOT NULL,
    key text NOT NULL,
    request bytea NOT NULL, -- SHA-256 of method, path and body
    job uuid NOT NULL,
    accepted_at timestamptz NOT NULL,
    published boolean NOT NULL DEFAULT false, -- the job's first record is known to be on Kafka
    PRIMARY KEY (client, subject, key)
);
CREATE INDEX idempotency_age ON gateway.idempotency (accepted_at);

-- The slots as they stand at slot number `present`: those that have left the window are emptied.
CREATE FUNCTION gateway.shifted(slots integer[], latest bigint, present bigint) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    n integer := cardinality(slots);
    step bigint;
BEGIN
    FOR step IN greatest(latest + 1, present - n + 1) .. present LOOP
        slots[1 + step % n] := 0;
    END LOOP;
    RETURN slots;
END
$$;

-- When the oldest call that still counts leaves the window (Unix seconds); now, if none counts.
CREATE FUNCTION gateway.frees_at(slots integer[], present bigint, width double precision)
RETURNS double precision LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    n integer := cardinality(slots);
    step bigint;
BEGIN
    FOR step IN present - n + 1 .. present LOOP
        IF slots[1 + step % n] > 0 THEN
            RETURN (step + n) * width;
        END IF;
    END LOOP;
    RETURN present * width;
END
$$;

-- Count one call at `at` (Unix seconds) unless the window is full. A slot counts until all of it has left, so
-- no `(n - 1) * width` seconds ever see more than `most` calls.
CREATE FUNCTION gateway.take_quota(
    of_client text, of_quota text, most integer, n integer, width double precision, at double precision,
    OUT allowed boolean, OUT used integer, OUT frees double precision
) LANGUAGE plpgsql AS $$
DECLARE
    present bigint := floor(at / width);
    known gateway.quotas%ROWTYPE;
BEGIN
    INSERT INTO gateway.quotas AS q (client, quota, slots, latest)
    VALUES (of_client, of_quota, array_fill(0, ARRAY[n]), present)
    ON CONFLICT (client, quota) DO NOTHING;
    SELECT * INTO known FROM gateway.quotas q WHERE q.client = of_client AND q.quota = of_quota FOR UPDATE;
    IF cardinality(known.slots) <> n THEN
        known.slots := array_fill(0, ARRAY[n]);
    END IF;
    present := greatest(present, known.latest); -- clocks of two machines: never backwards
    known.slots := gateway.shifted(known.slots, known.latest, present);
    SELECT coalesce(sum(s), 0) INTO used FROM unnest(known.slots) s;
    allowed := used < most;
    IF allowed THEN
        known.slots[1 + present % n] := known.slots[1 + present % n] + 1;
        used := used + 1;
        UPDATE gateway.quotas q SET slots = known.slots, latest = present
        WHERE q.client = of_client AND q.quota = of_quota;
    END IF;
    frees := gateway.frees_at(known.slots, present, width);
END
$$;

-- The same figures without counting a call.
CREATE FUNCTION gateway.read_quota(
    of_client text, of_quota text, n integer, width double precision, at double precision,
    OUT used integer, OUT frees double precision
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    present bigint := floor(at / width);
    known gateway.quotas%ROWTYPE;
BEGIN
    SELECT * INTO known FROM gateway.quotas q WHERE q.client = of_client AND q.quota = of_quota;
    IF NOT FOUND OR cardinality(known.slots) <> n THEN
        used := 0;
        frees := at;
        RETURN;
    END IF;
    present := greatest(present, known.latest);
    known.slots := gateway.shifted(known.slots, known.latest, present);
    SELECT coalesce(sum(s), 0) INTO used FROM unnest(known.slots) s;
    frees := gateway.frees_at(known.slots, present, width);
END
$$;

RESET ROLE;
