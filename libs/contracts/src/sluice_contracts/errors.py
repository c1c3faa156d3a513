"""Item error codes: what can go wrong with one item, in words a portal can show.

An event carries only the code and the source's HTTP status; the text below is looked up when a poll is
answered, so it never holds anything of the source's answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ItemError(StrEnum):
    """Why an item ended without a file."""

    DOCUMENT_NOT_FOUND = "document_not_found"
    DOCUMENT_GONE = "document_gone"
    SOURCE_REFUSED = "source_refused"
    SOURCE_REJECTED = "source_rejected"
    SOURCE_THROTTLED = "source_throttled"
    SOURCE_UNAVAILABLE = "source_unavailable"
    SOURCE_TIMEOUT = "source_timeout"
    SOURCE_ADDRESS_REFUSED = "source_address_refused"
    SOURCE_UNKNOWN = "source_unknown"
    SOURCE_AUTHORIZATION = "source_authorization"
    NOT_JSON = "not_json"
    WRONG_RESOURCE = "wrong_resource"
    DOCUMENT_TOO_LARGE = "document_too_large"
    NO_CONTENT = "no_content"
    CONTENT_REFUSED = "content_refused"
    ATTACHMENT_NOT_FOUND = "attachment_not_found"
    ATTACHMENT_TOO_LARGE = "attachment_too_large"
    ATTACHMENT_TRUNCATED = "attachment_truncated"
    SIZE_MISMATCH = "size_mismatch"
    HASH_MISMATCH = "hash_mismatch"
    BAD_INLINE_DATA = "bad_inline_data"
    DECOMPRESSION_REFUSED = "decompression_refused"
    DESTINATION_GONE = "destination_gone"
    EXPORT_NOT_STARTED = "export_not_started"
    EXPORT_GONE = "export_gone"
    EXPORT_FAILED = "export_failed"
    EXPORT_TIMEOUT = "export_timeout"
    BAD_MANIFEST = "bad_manifest"
    FILE_NOT_FOUND = "file_not_found"
    FILE_TOO_LARGE = "file_too_large"
    FILE_TRUNCATED = "file_truncated"
    NOT_NDJSON = "not_ndjson"
    NOT_DECRYPTED = "not_decrypted"
    NOT_WHOLE = "not_whole"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


_CODES = frozenset(code.value for code in ItemError)


def item_error(code: str) -> str:
    """Give an item's error code for a failure's: the same if items have it, else `internal`."""
    return code if code in _CODES else ItemError.INTERNAL


@dataclass(frozen=True, slots=True)
class ErrorText:
    """How a code is shown: an HTTP-like `status`, what went wrong, and what to do about it."""

    status: int
    message: str
    more_info: str


_RETRY_LATER = "Submit the item again later."
_RETRY_IMPORT = "Begin the import again later."
_ASK_SOURCE = "Check the document at its source, or ask the source's operator."

ERROR_TEXTS: dict[ItemError, ErrorText] = {
    ItemError.DOCUMENT_NOT_FOUND: ErrorText(
        404, "The source has no such DocumentReference.", "Check its id."
    ),
    ItemError.DOCUMENT_GONE: ErrorText(410, "The DocumentReference was deleted at its source.", _ASK_SOURCE),
    ItemError.SOURCE_REFUSED: ErrorText(
        403,
        "The source refused access.",
        "Ask an operator to check the source's credentials and permissions.",
    ),
    ItemError.SOURCE_REJECTED: ErrorText(502, "The source rejected the request.", _ASK_SOURCE),
    ItemError.SOURCE_THROTTLED: ErrorText(429, "The source kept asking for fewer requests.", _RETRY_LATER),
    ItemError.SOURCE_UNAVAILABLE: ErrorText(503, "The source was not available.", _RETRY_LATER),
    ItemError.SOURCE_TIMEOUT: ErrorText(504, "The source did not answer in time.", _RETRY_LATER),
    ItemError.SOURCE_ADDRESS_REFUSED: ErrorText(
        403,
        "The address is not one that may be read from.",
        "Only registered sources and their files are read.",
    ),
    ItemError.SOURCE_UNKNOWN: ErrorText(
        404,
        "The source is not registered any more.",
        "Ask an operator to register it, then submit the item again.",
    ),
    ItemError.SOURCE_AUTHORIZATION: ErrorText(
        502,
        "No access token could be had for the source.",
        "Ask an operator to check the source's credentials.",
    ),
    ItemError.NOT_JSON: ErrorText(502, "The source's answer is not FHIR JSON.", _ASK_SOURCE),
    ItemError.WRONG_RESOURCE: ErrorText(502, "The source answered with another resource.", _ASK_SOURCE),
    ItemError.DOCUMENT_TOO_LARGE: ErrorText(
        413, "The DocumentReference is over the size limit.", _ASK_SOURCE
    ),
    ItemError.NO_CONTENT: ErrorText(422, "The DocumentReference has no content to import.", _ASK_SOURCE),
    ItemError.CONTENT_REFUSED: ErrorText(
        415, "No content of the document is of a permitted type.", _ASK_SOURCE
    ),
    ItemError.ATTACHMENT_NOT_FOUND: ErrorText(404, "The source does not have the attachment.", _ASK_SOURCE),
    ItemError.ATTACHMENT_TOO_LARGE: ErrorText(413, "The attachment is over the size limit.", _ASK_SOURCE),
    ItemError.ATTACHMENT_TRUNCATED: ErrorText(502, "The attachment ended early, repeatedly.", _RETRY_LATER),
    ItemError.SIZE_MISMATCH: ErrorText(
        502, "The attachment's size is not the one its document states.", _ASK_SOURCE
    ),
    ItemError.HASH_MISMATCH: ErrorText(
        502, "The attachment's hash is not the one its document states.", _ASK_SOURCE
    ),
    ItemError.BAD_INLINE_DATA: ErrorText(502, "The document's inline data is not base64.", _ASK_SOURCE),
    ItemError.DECOMPRESSION_REFUSED: ErrorText(
        413, "The answer grows too much when decompressed.", _ASK_SOURCE
    ),
    ItemError.DESTINATION_GONE: ErrorText(
        404,
        "The folder or project was deleted before the file arrived.",
        "Submit the item again to another folder.",
    ),
    ItemError.EXPORT_NOT_STARTED: ErrorText(
        502,
        "The source did not begin the export: it answered without 202 or without a Content-Location.",
        "Check that the address is that of an export, or ask the source's operator.",
    ),
    ItemError.EXPORT_GONE: ErrorText(
        502, "The source does not know the export any more.", "Begin the import again."
    ),
    ItemError.EXPORT_FAILED: ErrorText(
        502, "The source says that its export has failed.", "Ask the source's operator."
    ),
    ItemError.EXPORT_TIMEOUT: ErrorText(
        504, "The source's export did not end in the time that an import waits.", _RETRY_IMPORT
    ),
    ItemError.BAD_MANIFEST: ErrorText(
        502, "The source's manifest is not one of a bulk export.", "Ask the source's operator."
    ),
    ItemError.FILE_NOT_FOUND: ErrorText(404, "The source does not have the file.", _RETRY_IMPORT),
    ItemError.FILE_TOO_LARGE: ErrorText(
        413, "The file is over the size limit.", "Have the source write smaller files."
    ),
    ItemError.FILE_TRUNCATED: ErrorText(502, "The file ended early, repeatedly.", _RETRY_IMPORT),
    ItemError.NOT_NDJSON: ErrorText(
        502, "The source answered with something else than NDJSON.", "Ask the source's operator."
    ),
    ItemError.NOT_DECRYPTED: ErrorText(
        422,
        "It is not encrypted with the key that was submitted for it.",
        "Ask whoever submitted it.",
    ),
    ItemError.NOT_WHOLE: ErrorText(
        422,
        "The import was to be stored whole or not at all, and something of it is missing or not sound.",
        "See the import's file of errors; without _strict what is sound is stored.",
    ),
    ItemError.CANCELLED: ErrorText(
        409, "The job was cancelled before this item ended.", "Submit the item again."
    ),
    ItemError.INTERNAL: ErrorText(
        500, "The item could not be processed.", "Tell the operators the job's id and this item's position."
    ),
}
