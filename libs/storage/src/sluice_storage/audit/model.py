"""An audit record: ids, codes and counts, and never what data say."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Record(Struct, frozen=True, omit_defaults=True):
    """What is recorded of an act.

    Parameters
    ----------
    act
        A name of `sluice_contracts.audit.ACTS`.
    at
        When; None: the time of the transaction that writes it.
    outcome
        As FHIR's `audit-event-outcome`.
    reason
        A code: of the error, or why it was done.
    client, subject
        Whose token it was, and whom it spoke for; verified ones only.
    address
        Where the request came from.
    kind, entity, ids
        What `entity` is (a resource type, or a word such as `file`), its id, or ids of several.
    job
        The job it is about.
    patients
        Ids of the patients whose data they are, where that is known.
    parameters
        Names of a search's parameters.
    items, bytes
        How many resources, lines or files, and how long they are.
    request, trace
        The request's `X-Request-Id`, and the trace it belongs to.
    """

    act: str
    at: datetime | None = None
    outcome: int = 0
    reason: str | None = None
    client: str | None = None
    subject: str | None = None
    address: str | None = None
    kind: str | None = None
    entity: str | None = None
    ids: tuple[str, ...] | None = None
    job: str | None = None
    patients: tuple[str, ...] | None = None
    parameters: tuple[str, ...] | None = None
    items: int | None = None
    bytes: int | None = None
    request: str | None = None
    trace: str | None = None
