"""What a DocumentReference would yield, without importing it: for authors of schemas and for portals."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from sluice_fhir.references import InvalidReferenceError, parse_reference
from sluice_fhir.scrape import MetadataValue, Reader, Request, Scraped, Scraper, open_document, with_callers
from sluice_fhir.scrape_addresses import is_same_base
from sluice_fhir.scrape_plan import DOCUMENT_TYPE, Plan
from sluice_security.failure import SourceFailure


class DryRunWarning(Struct, frozen=True, kw_only=True):
    """Something a dry run's caller should know; `key` is a metadata key, `follow` a follow of the schema.

    `code` is `missing` (a required key without a value), `dropped` (a key beyond the limit), or why something
    could not be read: an item error code, or `not_on_this_source`.
    """

    code: str
    key: str | None = None
    follow: str | None = None


class DryRunRequest(Struct, frozen=True, kw_only=True):
    """One reading: `url` is relative to the source, `outcome` is `read` or an error code."""

    follow: str
    url: str
    outcome: str
    resources: int


class DryRun(Struct, frozen=True, kw_only=True):
    """The result of a dry run."""

    schema: str
    metadata: dict[str, MetadataValue]
    warnings: tuple[DryRunWarning, ...]
    requests: tuple[DryRunRequest, ...]


@dataclass(frozen=True, slots=True)
class NotADocumentError(ValueError):
    """What was given, or read, is no DocumentReference; `reason` says more."""

    reason: str


async def dry_run(
    plan: Plan,
    reader: Reader,
    base_url: str,
    document: bytes | str,
    *,
    metadata: dict[str, MetadataValue] | None = None,
) -> DryRun:
    """Scrape one document as an import would, and tell what was read for it.

    Parameters
    ----------
    plan
        The schema, as `SchemaSet.for_source` or `SchemaSet.get` gives it.
    reader
        Reads from the source.
    document
        A DocumentReference's JSON, or a reference to one on the source.
    metadata
        What the caller would give with the item.

    Raises
    ------
    NotADocumentError
        It is no DocumentReference, or not one on this source.
    SourceFailure
        The document itself could not be read. What it refers to counts as missing instead.
    """
    requests: list[Request] = []
    if isinstance(document, str):
        url = _document_url(document, base_url)
        body = await reader.read(url, DOCUMENT_TYPE)
        requests.append(Request("document", url, "read", 1))
    else:
        body = document
    opened = open_document(plan, body)
    if opened is None:
        raise NotADocumentError("it is no DocumentReference in JSON")
    # A scraper of its own: a dry run is to show what the source says now.
    scraper = Scraper()
    try:
        scraped = await scraper.scrape(plan, opened, reader, base_url, scope="", settle=True, trace=True)
    finally:
        await scraper.shared.close()
    scraped = with_callers(scraped, metadata)
    requests += scraped.requests
    return DryRun(
        schema=scraped.schema,
        metadata=scraped.metadata,
        warnings=_warnings(scraped, requests),
        requests=tuple(_shown(request, base_url) for request in requests),
    )


def _document_url(reference: str, base_url: str) -> str:
    base = base_url.rstrip("/")
    try:
        found = parse_reference(reference, DOCUMENT_TYPE)
    except InvalidReferenceError as error:
        raise NotADocumentError(f"the reference {error}") from None
    if found.base is not None and not is_same_base(found.base, base):
        raise NotADocumentError("the reference is not on this source")
    return f"{base}/{found.path}"


def _warnings(scraped: Scraped, requests: list[Request]) -> tuple[DryRunWarning, ...]:
    found = [DryRunWarning(code="missing", key=key) for key in scraped.missing]
    found += [DryRunWarning(code="dropped", key=key) for key in scraped.dropped]
    unread = {(request.outcome, request.follow): None for request in requests if request.outcome != "read"}
    return (*found, *(DryRunWarning(code=code, follow=follow) for code, follow in unread))


def _shown(request: Request, base_url: str) -> DryRunRequest:
    url = request.url.removeprefix(base_url.rstrip("/") + "/")
    return DryRunRequest(follow=request.follow, url=url, outcome=request.outcome, resources=request.resources)


__all__ = ["DryRun", "DryRunRequest", "DryRunWarning", "NotADocumentError", "SourceFailure", "dry_run"]
