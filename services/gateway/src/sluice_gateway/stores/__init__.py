"""What the gateway keeps in and reads from Postgres."""
