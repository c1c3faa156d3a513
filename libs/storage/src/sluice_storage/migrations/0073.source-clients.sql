-- Who may import from a source, and what it understands.

SET ROLE sluice_owner_sources;
ALTER TABLE sources.sources
    ADD COLUMN clients text[] NOT NULL DEFAULT '{}', -- empty: every client that may import at all
    ADD COLUMN type_filters boolean NOT NULL DEFAULT false; -- its $export understands _typeFilter
RESET ROLE;
