"""Structured logs, trace context, metrics and health endpoints."""
