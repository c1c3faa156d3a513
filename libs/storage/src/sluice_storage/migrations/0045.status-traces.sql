-- The trace that an announcement belongs to, as a traceparent (W3C Trace Context, section 3.2).

SET ROLE sluice_owner_status;

ALTER TABLE status.outbox ADD COLUMN trace text;

RESET ROLE;
