"""What can be read of a record that is no sound command, so that its job ends all the same."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from sluice_contracts.wire import UNREADABLE
from sluice_streaming.messages import Record


class SalvagedStart(Struct):
    """As much of a start as its job needs to end."""

    job: str
    client: str
    subject: str
    submitted_at: float


Start = TypeVar("Start", bound=Struct)


def salvaged(record: Record, kind: type[Start]) -> Start | None:
    """Read a start that is no sound command; None if it is not even that."""
    try:
        return msgspec.json.decode(record.value or b"", type=kind)
    except UNREADABLE:
        return None
