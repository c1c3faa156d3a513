"""Folds job events into Postgres and announces each job's end."""
