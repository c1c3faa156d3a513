"""Which registered source an address is on, for whoever wants something imported from there."""

from __future__ import annotations

from typing import Protocol

from sluice_fhir.sources import Source


class SourceMatcher(Protocol):
    """Where registered sources are looked up."""

    async def match(self, url: str) -> Source | None:
        """Give the source that covers `url`, None if none does."""


async def source_for(sources: SourceMatcher, url: str, client: str) -> Source | None:
    """Give the source that covers `url` if the client may import from it.

    One that it may not import from is not registered, as far as it is told.
    """
    found = await sources.match(url)
    return found if found is not None and found.serves(client) else None
