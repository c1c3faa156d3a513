"""Every fault the source can play, by the id of the document that meets it, with what must come of it.

Ask for `DocumentReference/fault-<kind>` under a base that plays faults. A suffix after a dot makes further
documents of the kind (`fault-html.7`): faults that pass after some requests count per id, so tests that
share a source use suffixes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluice_contracts.errors import ItemError

PREFIX = "fault-"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its outcome.

    Parameters
    ----------
    kind
        What follows `fault-` in the id.
    meaning
        What the source does.
    error
        The code the item must fail with; None: the file arrives all the same.
    status
        The HTTP status with which the source refused, None where its statuses look like success.
    slow
        It takes a time-out or all retries, so that it suits only tests with short ones.
    """

    kind: str
    meaning: str
    error: ItemError | None
    status: int | None = None
    slow: bool = False

    @property
    def id(self) -> str:
        """The document's id."""
        return PREFIX + self.kind

    def document(self, suffix: str = "") -> str:
        """Give the id of a further document that meets this fault."""
        return f"{self.id}.{suffix}" if suffix else self.id


_E = ItemError

FAULTS: tuple[Fault, ...] = (
    # The document itself.
    Fault("not-found", "404", _E.DOCUMENT_NOT_FOUND, 404),
    Fault("gone", "410", _E.DOCUMENT_GONE, 410),
    Fault("unauthorized", "401", _E.SOURCE_REFUSED, 401),
    Fault("forbidden", "403", _E.SOURCE_REFUSED, 403),
    Fault("rejected", "422 with an OperationOutcome", _E.SOURCE_REJECTED, 422),
    Fault("outcome", "an OperationOutcome instead of the document, with 200", _E.SOURCE_REJECTED),
    Fault("throttled-twice", "429 with Retry-After: 1 two times, then the document", None),
    Fault("throttled", "429 with Retry-After: 1 for ever", _E.SOURCE_THROTTLED, 429, slow=True),
    Fault("unavailable-twice", "503 two times, then the document", None),
    Fault("unavailable", "503 for ever", _E.SOURCE_UNAVAILABLE, 503, slow=True),
    Fault("hang", "no answer at all", _E.SOURCE_TIMEOUT, slow=True),
    Fault("html", "a web page with 200", _E.NOT_JSON),
    Fault("broken-json", "half a document with 200", _E.NOT_JSON),
    Fault("wrong-type", "a Patient", _E.WRONG_RESOURCE),
    Fault("huge", "a document of 300 MB", _E.DOCUMENT_TOO_LARGE),
    Fault("redirect-away", "302 to an address nobody registered", _E.SOURCE_ADDRESS_REFUSED, 302),
    # What it holds.
    Fault("no-content", "content without data and URL", _E.NO_CONTENT),
    Fault("empty-content", "no content at all", _E.NO_CONTENT),
    Fault("bad-data", "inline data that is not base64", _E.BAD_INLINE_DATA),
    Fault("inline-wrong-size", "inline data of another size than stated", _E.SIZE_MISMATCH),
    Fault("inline-wrong-hash", "inline data of another hash than stated", _E.HASH_MISMATCH),
    Fault("private-url", "an attachment at a private address", _E.SOURCE_ADDRESS_REFUSED),
    Fault("file-url", "an attachment at a file: address", _E.SOURCE_ADDRESS_REFUSED),
    # Its attachment.
    Fault("file-not-found", "404 for the attachment", _E.ATTACHMENT_NOT_FOUND, 404),
    Fault("file-forbidden", "403 for the attachment", _E.SOURCE_REFUSED, 403),
    Fault("file-unavailable-twice", "503 for the attachment two times, then the attachment", None),
    Fault("file-throttled-twice", "429 for the attachment two times, then the attachment", None),
    Fault("truncated", "the connection closes in the middle, always", _E.ATTACHMENT_TRUNCATED, slow=True),
    Fault("broken-once", "the connection closes in the middle once, then Range works", None),
    Fault("broken-no-range", "the connection closes in the middle once, and Range is ignored", None),
    Fault("wrong-size", "an attachment shorter than stated", _E.SIZE_MISMATCH),
    Fault("wrong-hash", "an attachment of another hash than stated", _E.HASH_MISMATCH),
    Fault("file-redirect", "302 to another address of the same source", None),
    Fault("file-redirect-private", "302 to a private address", _E.SOURCE_ADDRESS_REFUSED, 302),
    Fault("file-redirect-metadata", "302 to a cloud's metadata address", _E.SOURCE_ADDRESS_REFUSED, 302),
    Fault("file-redirect-loop", "302 to itself", _E.SOURCE_REJECTED, 302),
    Fault("gzip", "an attachment compressed for transport", None),
    Fault("gzip-bomb", "100 MB of zeros in 100 KB of gzip", _E.DECOMPRESSION_REFUSED),
    Fault("claims-huge", "an attachment that says it has 11 GB", _E.ATTACHMENT_TOO_LARGE),
    Fault("file-hang", "the attachment stops in the middle for ever", _E.SOURCE_TIMEOUT, slow=True),
    Fault("binary", "the attachment is a Binary resource, whatever is asked for", None),
)

BY_KIND = {fault.kind: fault for fault in FAULTS}


def kind_of(name: str) -> str | None:
    """Give the kind of the fault that this document or file meets, None for no known fault."""
    if not name.startswith(PREFIX):
        return None
    kind = name.removeprefix(PREFIX).partition(".")[0]
    return kind if kind in BY_KIND else None
