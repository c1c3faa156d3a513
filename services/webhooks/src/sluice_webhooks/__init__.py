"""Tells clients of their jobs: folds jobs.events into deliveries, and makes them."""
