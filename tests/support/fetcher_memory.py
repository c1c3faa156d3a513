"""The fetcher's store and sources in memory, with the promises of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sluice_contracts.commands import ImportItem, StartDocumentImport
from sluice_contracts.errors import ItemError
from sluice_contracts.ids import job_id
from sluice_fetcher.store import Body, WaitingItem
from sluice_fhir.client import FetchedResource
from sluice_fhir.sources import Source, best_match
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import Prefix
from sluice_security.http_budget import Hold
from sluice_streaming.outcomes import Unavailable

NOW = 1_700_000_100.0
JOB = job_id(b"k" * 32, "client/subject", 1_700_000_000.0, 7)


def start(items: int = 3, job: str = JOB) -> StartDocumentImport:
    """Give the start of a job of so many items."""
    return StartDocumentImport(
        job=job,
        client="client",
        subject="subject",
        submitted_at=1_700_000_000.0,
        items=tuple(
            ImportItem(
                reference=f"https://h.example/DocumentReference/{number}",
                source="s1",
                project="o/p",
                folder="f",
            )
            for number in range(items)
        ),
    )


@dataclass
class MemoryDocuments:
    """Jobs, items and bodies; it is both `Jobs` and `Documents`."""

    starts: dict[str, StartDocumentImport] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    items: dict[tuple[str, int], ImportItem] = field(default_factory=dict)
    bodies: dict[tuple[str, int], Body] = field(default_factory=dict)
    away: bool = False

    async def plan(self, command: StartDocumentImport) -> None:
        """See `Jobs.plan`."""
        self._here()
        self.starts.setdefault(command.job, command)
        for number, item in enumerate(command.items):
            self.items.setdefault((command.job, number), item)

    async def cancel(self, job: str) -> None:
        """See `Jobs.cancel`."""
        self._here()
        self.cancelled.add(job)

    async def find(self, job: str, items: Sequence[int]) -> Sequence[WaitingItem | None]:
        """See `Documents.find`."""
        self._here()
        return [self._find(job, item) for item in items]

    async def keep(self, job: str, bodies: Sequence[tuple[int, Body]]) -> None:
        """See `Documents.keep`."""
        self._here()
        for item, body in bodies:
            if (job, item) in self.items:
                self.bodies.setdefault((job, item), body)

    def _find(self, job: str, item: int) -> WaitingItem | None:
        found = self.items.get((job, item))
        if found is None:
            return None
        body = self.bodies.get((job, item))
        size = None if body is None else len(body.data)
        return WaitingItem(found.reference, found.source, job in self.cancelled, size)

    def _here(self) -> None:
        if self.away:
            raise Unavailable("postgres")


@dataclass
class MemorySources:
    """Sources by id."""

    sources: dict[str, Source]

    async def get(self, source_id: str) -> Source | None:
        """See `SourceLookup.get`."""
        return self.sources.get(source_id)

    async def match(self, url: str) -> Source | None:
        """See `SourceLookup.match`."""
        places = [(Prefix.parse(source.base_url), source) for source in self.sources.values()]
        return best_match(places, url)


@dataclass
class ScriptedReader:
    """Reads what a test put there; everything else is not found. It counts what it was asked."""

    answers: dict[str, bytes | SourceFailure] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def get_resource(
        self, source: Source, reference: str, *, expected: str | None = None, hold: Hold | None = None
    ) -> FetchedResource:
        """See `sluice_fetcher.fetching.Reader`."""
        self.asked.append(reference)
        answer = self.answers.get(reference)
        if isinstance(answer, bytes):
            return FetchedResource(answer, expected or "", None, 'W/"1"', "1")
        raise answer or SourceFailure(ItemError.DOCUMENT_NOT_FOUND, 404)
