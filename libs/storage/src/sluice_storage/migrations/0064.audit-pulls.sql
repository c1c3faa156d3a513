-- By itself: a change of these tables must not wait for one that holds others back.

SET ROLE sluice_owner_pulls;
CREATE TRIGGER audited AFTER UPDATE OF settled_at ON pulls.files FOR EACH ROW
    WHEN (OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL) EXECUTE FUNCTION audit.of_pulled_file();
RESET ROLE;
