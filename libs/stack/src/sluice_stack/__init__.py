"""The embedded stack: Kafka, Postgres and every service on one machine."""
