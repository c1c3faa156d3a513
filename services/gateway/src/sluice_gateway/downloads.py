"""Downloads by a signed address: no token is needed, for some minutes, for one file and one subject.

The address carries a ticket: the subject and the end of its time, sealed for the file. It proves who asked
and when, and tells a reader of logs or browser histories nothing. Membership is checked again when the
content is fetched.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from urllib.parse import quote

import msgspec
from msgspec import Struct

from sluice_gateway.hrefs import Hrefs
from sluice_gateway.problems import not_found
from sluice_security.sealing import Seal, SealBrokenError

LIFETIME = 600.0
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?charset=[A-Za-z0-9_-]+)?")


class _Ticket(Struct, array_like=True):
    subject: str
    until: float


class Tickets:
    """Makes and reads download addresses.

    Parameters
    ----------
    seal
        Seals tickets.
    hrefs
        Makes addresses.
    now
        The wall clock, Unix seconds.
    """

    def __init__(self, seal: Seal, hrefs: Hrefs, now: Callable[[], float]) -> None:
        self._seal = seal
        self._hrefs = hrefs
        self._now = now

    def address(self, subject: str, file: str) -> str:
        """Give an address at which the file can be fetched for ten minutes as if by the subject."""
        ticket = msgspec.msgpack.encode(_Ticket(subject, self._now() + LIFETIME))
        sealed = base64.urlsafe_b64encode(self._seal.close(ticket, file)).decode().rstrip("=")
        return f"{self._hrefs.file(file)}/content?ticket={sealed}"

    def subject(self, file: str, ticket: str) -> str:
        """Give the subject a ticket was made for.

        Raises
        ------
        Problem
            404: the ticket is not for this file, or its time is over.
        """
        try:
            sealed = base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))
            read = msgspec.msgpack.decode(self._seal.open(sealed, file), type=_Ticket)
        except (SealBrokenError, binascii.Error, ValueError):
            raise not_found("download") from None
        if read.until < self._now():
            raise not_found("download")
        return read.subject


def disposition(name: str) -> str:
    """Give the Content-Disposition that saves a file under `name` (RFC 6266, RFC 8187).

    The plain parameter holds only letters, digits, dots, hyphens and underscores: a quote or a backslash in
    it would let a name add parameters of its own.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    extended = quote(name, safe="", encoding="utf-8")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"


def media_type(stored: str | None) -> str:
    """Give the content type to serve; what a source claimed is served only if it is well-formed."""
    return stored if stored and _MEDIA_TYPE.fullmatch(stored) else "application/octet-stream"
