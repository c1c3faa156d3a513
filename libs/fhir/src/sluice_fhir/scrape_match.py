"""Which scrape schema a source's documents are scraped with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Struct

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.scrape_compile import compile_schema
from sluice_fhir.scrape_plan import Plan
from sluice_fhir.scrape_schema import (
    META_SCHEMA,
    Match,
    Problem,
    SchemaError,
    ScrapeSchema,
    load_validator,
    pointer,
    read_schema,
)

FOLDER_VARIABLE = "SLUICE_SCRAPE_SCHEMAS"
_REMEMBERED = 1024
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Capability:
    """What a server's CapabilityStatement says of it, as far as schemas are matched by it."""

    software: str | None = None
    fhir_version: str | None = None


class _Software(Struct):
    name: str | None = None


class _Statement(Struct):
    software: _Software | None = None
    fhirVersion: str | None = None  # noqa: N815 - FHIR's name


def read_capability(body: bytes) -> Capability:
    """Read a CapabilityStatement; what it does not say, or says in a wrong form, is None."""
    try:
        statement = msgspec.json.decode(body, type=_Statement)
    except UNREADABLE:
        return Capability()
    name = statement.software.name if statement.software else None
    return Capability(name, statement.fhirVersion)


class SchemaChoice(Protocol):
    """What matching needs to know of a source; `sluice_fhir.sources.Source` is one."""

    @property
    def base_url(self) -> str:
        """Its base URL."""

    @property
    def scrape_schema(self) -> str | None:
        """The schema an operator chose, as `name` or `name@version`; None: by matching."""


class UnknownSchemaError(LookupError):
    """A source names a scrape schema that there is not."""


def schema_folder() -> Path:
    """Give the folder of scrape schemas: `SLUICE_SCRAPE_SCHEMAS`, else the checkout's `schemas/scrape`.

    Raises
    ------
    SchemaError
        There is none.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    for parent in Path(__file__).resolve().parents:
        if (parent / "schemas" / "scrape" / META_SCHEMA).is_file():
            return parent / "schemas" / "scrape"
    raise SchemaError("schemas/scrape", [Problem("", f"not found; set {FOLDER_VARIABLE} to the folder")])


class SchemaSet:
    """All scrape schemas, compiled. Build it once per process with `SchemaSet.load`.

    Parameters
    ----------
    plans
        Compiled schemas; of those with one name the highest version is the current one.
    """

    def __init__(self, plans: list[Plan]) -> None:
        self._by_ident = {plan.schema.ident: plan for plan in plans}
        self._current: dict[str, Plan] = {}
        for plan in sorted(plans, key=lambda plan: plan.schema.order):
            self._current[plan.schema.name] = plan
        # Asked for every document of a source, of which there are few.
        self._best = lru_cache(maxsize=_REMEMBERED)(self._match)
        self._open = lru_cache(maxsize=_REMEMBERED)(self._is_open)

    @classmethod
    def load(cls, folder: Path | None = None) -> SchemaSet:
        """Load and compile every `*.json` in `folder` (`schema_folder()` if None).

        Raises
        ------
        SchemaError
            One cannot be used, two have the same name and version, or none matches every server.
        """
        folder = folder or schema_folder()
        validator = load_validator(folder)
        plans: dict[str, Plan] = {}
        for file in sorted(folder.glob("*.json")):
            if file.name == META_SCHEMA:
                continue
            schema = read_schema(file.read_bytes(), str(file), validator)
            if schema.ident in plans:
                text = f"{schema.ident} is already defined in this folder; raise the version"
                raise SchemaError(str(file), [Problem(pointer("version"), text)])
            plans[schema.ident] = compile_schema(schema, str(file))
        if not any(_score(plan.schema, "https://any.invalid", Capability()) for plan in plans.values()):
            text = "no schema matches every server; keep one with an empty match"
            raise SchemaError(str(folder), [Problem("", text)])
        return cls(list(plans.values()))

    def get(self, choice: str) -> Plan:
        """Give the plan of `name` (its current version) or `name@version`.

        Raises
        ------
        UnknownSchemaError
            There is none.
        """
        plan = self._by_ident.get(choice) or self._current.get(choice)
        if plan is None:
            raise UnknownSchemaError(choice)
        return plan

    def for_source(self, source: SchemaChoice, capability: Capability | None = None) -> Plan:
        """Choose for a source: what its operator chose, else the current schema that matches it best.

        A match by base URL counts for more than one by software, that for more than one by FHIR version,
        and a longer base URL for more than a shorter; then `priority` decides, then the name.

        Raises
        ------
        UnknownSchemaError
            The operator's choice does not exist.
        """
        if source.scrape_schema:
            return self.get(source.scrape_schema)
        return self._best(source.base_url, capability or Capability())

    def _match(self, base_url: str, known: Capability) -> Plan:
        scored = [
            (score, plan.schema.name, plan)
            for plan in self._current.values()
            if (score := _score(plan.schema, base_url, known)) is not None
        ]
        return max(scored, key=lambda found: found[:2])[2]

    def needs_capability(self, source: SchemaChoice) -> bool:
        """Tell whether the source's CapabilityStatement could change what `for_source` chooses."""
        return not source.scrape_schema and self._open(source.base_url)

    def _is_open(self, base_url: str) -> bool:
        """Tell whether more than the base URL decides which schema matches."""
        nothing = Capability()
        known = _score(self._best(base_url, nothing).schema, base_url, nothing)
        by_url = known is not None and known[0] > 0
        return not by_url and any(
            match.software or match.fhir_versions
            for plan in self._current.values()
            for match in plan.schema.matches
        )

    def listing(self) -> list[dict[str, Any]]:
        """Describe the current schemas, by name, as `GET /v2/fhir/scrape-schemas` shows them."""
        return [_described(self._current[name].schema) for name in sorted(self._current)]


def _described(schema: ScrapeSchema) -> dict[str, Any]:
    return {
        "name": schema.name,
        "version": schema.version,
        "title": schema.title,
        "description": schema.description,
        "match": [msgspec.to_builtins(match) for match in schema.matches],
        "follows": sorted({kind for hop in schema.follow.values() for kind in hop.types}),
        "keys": [
            {
                "key": value.key,
                "type": value.type,
                "required": value.required,
                "description": value.description,
            }
            for value in schema.values
        ],
    }


def _score(schema: ScrapeSchema, base_url: str, known: Capability) -> tuple[int, ...] | None:
    """Rate how well a schema matches, None if it does not; greater is better, and none is falsy."""
    scores = (_rate(match, base_url, known) for match in schema.matches)
    return max((score for score in scores if score is not None), default=None)


def _rate(match: Match, base_url: str, known: Capability) -> tuple[int, ...] | None:
    covered = max((_covered(pattern, base_url) for pattern in match.base_urls), default=0)
    software = _any(match.software, known.software)
    version = _any(match.fhir_versions, known.fhir_version)
    if (match.base_urls and not covered) or not software or not version:
        return None
    return (covered, bool(match.software), bool(match.fhir_versions), match.priority)


def _any(patterns: tuple[str, ...], value: str | None) -> bool:
    if not patterns:
        return True
    return value is not None and any(fnmatchcase(value.casefold(), text.casefold()) for text in patterns)


def _covered(pattern: str, base_url: str) -> int:
    """Give the length of `pattern` if the base URL is at or below it, else 0."""
    one, two = urlsplit(pattern), urlsplit(base_url)
    host = fnmatchcase((two.hostname or "").casefold(), (one.hostname or "").casefold())
    prefix, path = one.path.rstrip("/"), two.path.rstrip("/")
    below = path == prefix or path.startswith(f"{prefix}/")
    return len(pattern) if one.scheme == two.scheme and host and _port(one) == _port(two) and below else 0


def _port(url: SplitResult) -> int | None:
    return url.port or _PORTS.get(url.scheme)
