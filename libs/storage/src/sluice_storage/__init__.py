"""Postgres pools, migrations, group commit and the object store."""
