SET ROLE sluice_owner_pulls;
CREATE TRIGGER audited AFTER INSERT OR UPDATE OF submitted_at, cancelled_at, deleted_at, discarded_at, removed_at
    ON pulls.jobs FOR EACH ROW EXECUTE FUNCTION audit.of_job('bulk-import');
RESET ROLE;
