"""Which registered source an address is on, for whoever wants something imported from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sluice_fhir.sources import Source
from sluice_gateway.problems import FieldProblem, Problem, invalid

_ADVICE = "Correct the address, or ask the operators to register its server as a source."


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


def unregistered(path: str) -> FieldProblem:
    """Give the problem of an address at `path` that no source covers."""
    return FieldProblem(path, "must be on a registered source server")


def no_source(problems: Sequence[FieldProblem]) -> Problem:
    """Give the answer to a request with which nothing is wrong but such addresses (400)."""
    return invalid(problems, _ADVICE)
