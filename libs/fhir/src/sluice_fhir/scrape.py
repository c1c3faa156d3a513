"""Metadata scraping: what a DocumentReference and the resources around it say, as flat key-value pairs.

Rules: the document import specification, steps, 2. The scraper follows what the plan names, reads each
resource once for all documents of a job, and makes the values. A value that is not there is left out; a
required one that is not there is named in `missing`, and is never a failure. Nothing is read but resources
below the source's own base URL: a document that refers elsewhere refers to something that is not there.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from sluice_fhir.scrape_cache import SharedReads
from sluice_fhir.scrape_plan import Extract, Plan
from sluice_fhir.scrape_run import Found, MetadataValue, Reader, Request, Run, Scraped, Unread
from sluice_fhir.scrape_values import MAX_KEYS

__all__ = [
    "Found",
    "MetadataValue",
    "Reader",
    "Request",
    "Scraped",
    "Scraper",
    "Unread",
    "open_document",
    "with_callers",
]


class Scraper:
    """Scrapes documents. One per process, so that what documents share is shared.

    Parameters
    ----------
    shared
        Where what was read is kept, by job.
    """

    def __init__(self, shared: SharedReads[Found] | None = None) -> None:
        self.shared: SharedReads[Found] = shared if shared is not None else SharedReads()

    async def scrape(
        self,
        plan: Plan,
        document: Extract | None,
        reader: Reader,
        base_url: str,
        *,
        scope: Hashable,
        settle: bool = False,
        trace: bool = False,
    ) -> Scraped:
        """Make the metadata of one document.

        Parameters
        ----------
        document
            What `open_document` made of it; None yields defaults only.
        base_url
            The source's base URL, without a slash at its end.
        scope
            Whose reads are shared: the job and the source.
        settle
            Take what cannot be read now for missing, instead of raising.

        Raises
        ------
        SourceFailure
            A resource could not be read, but may be later (`retry` is true).
        """
        run = Run(self.shared, plan, reader, base_url.rstrip("/"), scope, settle, trace)
        if document is not None:
            await run.follow(document)
        return run.result()


def open_document(plan: Plan, body: bytes) -> Extract | None:
    """Decode a DocumentReference and take from it what the plan wants; None if it is no DocumentReference.

    The body is not needed afterwards.
    """
    resource = plan.document.decode(body)
    return plan.extract(plan.document, resource) if resource is not None else None


def with_callers(scraped: Scraped, callers: Mapping[str, MetadataValue] | None) -> Scraped:
    """Lay the caller's metadata over the scraped: theirs wins, and is never dropped for the limit's sake.

    A required key that the caller gives is not missing.
    """
    given = dict(callers or {})
    room = max(0, MAX_KEYS - len(given))
    kept = [key for key in scraped.metadata if key not in given]
    metadata = {key: scraped.metadata[key] for key in kept[:room]} | given
    return Scraped(
        metadata,
        tuple(key for key in scraped.missing if key not in given),
        scraped.schema,
        tuple(kept[room:]),
        scraped.requests,
    )
