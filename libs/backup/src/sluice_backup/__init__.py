"""Backs a deployment up and restores it: database, objects, and jobs that are under way."""
