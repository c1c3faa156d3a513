"""What operators do: look a deployment over, keep its sources, have dead letters tried again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

from sluice_client.api import Api, step
from sluice_client.models import Checkup, Page

_SOURCES = "/v2/fhir/sources"
_LETTERS = "/v2/ops/dead-letters"


class Source(Struct, frozen=True, kw_only=True):
    """A FHIR server that may be imported from.

    `clients` are those who may, none: all with the scope; `type_filters` says that its `$export` understands
    `_typeFilter`. `request_headers` are fields that submitters may have sent along with requests for their
    files; `software` and `fhir_version` are what it says of itself.
    """

    id: str
    name: str
    base_url: str
    auth: dict[str, Any] = field(default_factory=dict)
    enabled: bool = True
    scrape_schema: str | None = None
    max_requests_per_second: float | None = None
    max_concurrency: int | None = None
    attachment_prefixes: list[str] = field(default_factory=list)
    content_types: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    type_filters: bool = False
    request_headers: list[str] = field(default_factory=list)
    software: str | None = None
    fhir_version: str | None = None
    revision: int = 0


class SourceMinute(Struct, frozen=True, kw_only=True):
    """A source's answers of one minute, which began at `at`."""

    at: datetime
    good: int
    refused: int
    failed: int
    mean_seconds: float | None = None


class SourceAlert(Struct, frozen=True, kw_only=True):
    """What makes a source worth looking at: attempts that failed for its reasons within so many seconds."""

    noticed_on: datetime
    seconds: float
    failed: int
    ended_well: int


class SourceHealth(Struct, frozen=True, kw_only=True):
    """How a source does; `state` is `unused`, `ok`, `slowed`, `held` or `failing`."""

    source: str
    state: str
    at_once: float
    registered_at_once: int
    per_second: float | None = None
    registered_per_second: float | None = None
    held_until: datetime | None = None
    usual_seconds: float | None = None
    calls_per_second: float = 0.0
    processes: int = 0
    recent: list[SourceMinute] = field(default_factory=list)
    alert: SourceAlert | None = None


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that could not be processed: where it was and why, never what it holds."""

    code: str
    status: int | None = None
    origin_topic: str = ""
    origin_partition: int = 0
    origin_offset: int = 0
    attempts: int = 0
    died_at: datetime | None = None
    sha256: str = ""


class DeadTopic(Struct, frozen=True, kw_only=True):
    """A topic's dead letters: how many wait, the newest of them, and whether redriving mends anything."""

    topic: str
    waiting: int = 0
    redrivable: bool = True
    letters: list[DeadLetter] = field(default_factory=list)


class Redriven(Struct, frozen=True, kw_only=True):
    """How many of a topic's dead letters are on it again."""

    topic: str
    redriven: int


class OperatingCalls(Api):
    """What is about running the service; each needs an operators' scope."""

    async def check_deployment(self) -> Checkup:
        """Have the gateway look the deployment over; needs the scope `ops/health`."""
        return await self.get("/v2/ops/health", Checkup)

    # -- sources (operators)

    async def sources(self) -> list[Source]:
        """List the FHIR servers that documents may be imported from; needs the scope `ops/sources`."""
        return (await self.get(_SOURCES, Page[Source])).items

    async def source(self, source: str) -> Source:
        """Give a source, without its secrets; needs the scope `ops/sources`."""
        return await self.get(f"{_SOURCES}/{step(source)}", Source)

    async def add_source(self, name: str, base_url: str, **settings: Any) -> Source:
        """Register a FHIR server; `settings` are further fields of the API's request, such as `auth`.

        Examples
        --------
        >>> auth = {"type": "bearer", "token": token}
        >>> await sluice.add_source("Ward 3", "https://fhir.example/r4", auth=auth)
        """
        body = {"name": name, "base_url": base_url, **settings}
        return await self.call("POST", _SOURCES, Source, body=body)

    async def change_source(self, source: str, **changes: Any) -> Source:
        """Change a source; `changes` are fields of the API's request. Its base URL stays.

        Examples
        --------
        >>> await sluice.change_source(source.id, auth={"type": "bearer", "token": token})
        """
        # Doing it twice is doing it once.
        path = f"{_SOURCES}/{step(source)}"
        return await self.call("PATCH", path, Source, body=changes, repeatable=True)

    async def source_health(self, source: str) -> SourceHealth:
        """Tell how a source does; needs the scope `ops/sources`."""
        return await self.get(f"{_SOURCES}/{step(source)}/health", SourceHealth)

    async def remove_source(self, source: str) -> None:
        """Remove a source; items that are still to be read from it fail."""
        await self.send("DELETE", f"{_SOURCES}/{step(source)}")

    # -- dead letters

    async def dead_letters(self) -> list[DeadTopic]:
        """List what could not be processed, by topic; needs the scope `ops/dead-letters`."""
        return (await self.get(_LETTERS, Page[DeadTopic])).items

    async def redrive(self, topic: str, *, limit: int = 100) -> Redriven:
        """Have up to `limit` (at most 1,000) dead letters of a topic tried again, the oldest first.

        Each is tried once; what is lost on the way back is not known here, so it is never repeated by itself.
        """
        body = {"topic": topic, "limit": limit}
        return await self.call("POST", f"{_LETTERS}/redrive", Redriven, body=body)
