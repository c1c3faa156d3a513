"""Turns a DocumentReference and what it refers to into metadata."""
