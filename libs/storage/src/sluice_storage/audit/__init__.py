"""Audit records in Postgres: written in the transaction of the act, read by operators."""

from sluice_storage.audit.acting import note
from sluice_storage.audit.model import Record
from sluice_storage.audit.writing import record

__all__ = ["Record", "note", "record"]
