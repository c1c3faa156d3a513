"""Watches jobs.events and tells rates, stuck jobs and when running jobs will end; nothing waits for it."""
