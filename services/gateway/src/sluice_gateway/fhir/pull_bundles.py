"""What an import brought, as transaction Bundles: one for each patient, then what is about nobody.

A patient's Bundle holds all of the import that is in the patient's compartment, and what that refers to of
the import and is in nobody's: practitioners, organizations, medications. Nothing is given that the import did
not bring, whatever its resources refer to. Bundles are written entry by entry and never held.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec
from msgspec import Struct

from sluice_fhir.references import local_mentions, mentioned
from sluice_gateway.fhir.outcomes import refused
from sluice_gateway.fhir.pull_store import PullStore
from sluice_storage.resources.brought import Scope
from sluice_storage.resources.model import PatientChunk, Range
from sluice_storage.resources.writer import Key

_PATIENTS = 50
# How far it is followed what a patient's resources refer to: an encounter's location, its organization, what
# that is part of.
_STEPS = 3
_ENTRIES = 5000
_BYTES = 8 * 1024 * 1024
# Each keeps a connection to the database for as long as its client reads.
_AT_ONCE = 2
_AFTER = 30
_HEAD = b'{"resourceType":"Bundle","type":"transaction","entry":['
_END = b"]}\n"


class BroughtReader(Protocol):
    """Reads what imports brought; see `sluice_storage.resources.brought.Brought`."""

    async def scope(self, job: str, kept: Mapping[str, Iterable[Range]]) -> Scope:
        """Give where a job's resources are."""

    def by_patient(self, scope: Scope, patients: Sequence[str]) -> AsyncGenerator[PatientChunk]:
        """Give what is in these patients' compartments, all of one patient together."""

    def of_nobody(self, scope: Scope) -> AsyncGenerator[bytes]:
        """Give what is in nobody's compartment."""

    def of_nobody_by_id(self, scope: Scope, keys: Iterable[Key]) -> AsyncGenerator[bytes]:
        """Give those of these resources that are in nobody's compartment."""


class _Named(Struct):
    type: str = msgspec.field(name="resourceType")
    id: str


_named = msgspec.json.Decoder(_Named).decode


def _split(lines: bytes) -> list[bytes]:
    # Not `splitlines`: a resource may hold a carriage return between its members.
    return lines.removesuffix(b"\n").split(b"\n")


class _Bundle:
    """One Bundle that is being written."""

    def __init__(self, base: str, source: str | None = None) -> None:
        self._base = base.encode()
        self._mentions = local_mentions(source)
        self.count = self.size = 0
        self._held: set[Key] = set()
        self._mentioned: set[bytes] = set()

    def add(self, lines: bytes, *, follow: bool) -> bytes:
        """Give the entries of these resources; with `follow` what they refer to is remembered."""
        entries: list[bytes] = []
        for line in _split(lines):
            named = _named(line)
            key = f"{named.type}/{named.id}".encode()
            before = b"," if self.count else _HEAD
            self.count += 1
            entries.append(
                b'%b{"fullUrl":"%b/%b","resource":%b,"request":{"method":"PUT","url":"%b"}}'
                % (before, self._base, key, line, key)
            )
            if follow:
                self._held.add((named.type, named.id))
                self._mentioned.update(self._mentions(line))
        written = b"".join(entries)
        self.size += len(written)
        return written

    def wanted(self) -> set[Key]:
        """Give what is referred to and not in the Bundle; it is taken to be in it from then on."""
        found = mentioned(self._mentioned) - self._held
        self._held |= found
        self._mentioned = set()
        return found

    def end(self) -> bytes:
        """Give what ends the Bundle, if it has been begun."""
        return _END if self.count else b""


class Bundles:
    """Writes imports' Bundles.

    Parameters
    ----------
    store, brought
        Where it is read whose data an import brought, and what they are.
    base
        The FHIR API's outside URL: what entries are named by.
    """

    def __init__(self, store: PullStore, brought: BroughtReader, base: str) -> None:
        self._store = store
        self._brought = brought
        self._base = base
        self._running = 0

    async def write(self, job: str, source: str | None) -> AsyncGenerator[bytes]:
        """Write an import's Bundles as NDJSON, in pieces of some hundred kilobytes or one resource.

        Parameters
        ----------
        source
            The base URL of the server it came from: absolute references to it are within.

        Raises
        ------
        Refusal
            429: too many are being written.
        """
        if self._running >= _AT_ONCE:
            text = "Others are reading Bundles at the moment. Try again later."
            raise refused(429, "throttled", text, {"Retry-After": str(_AFTER)})
        self._running += 1
        source = None if source is None else source.rstrip("/")
        try:
            scope = await self._brought.scope(job, await self._store.kept(job))
            after = ""
            while patients := await self._store.patients(job, after, _PATIENTS):
                after = patients[-1]
                async with aclosing(self._of_patients(scope, patients, source)) as written:
                    async for piece in written:
                        yield piece
            async with aclosing(self._left(scope)) as written:
                async for piece in written:
                    yield piece
        finally:
            self._running -= 1

    async def _of_patients(
        self, scope: Scope, patients: Sequence[str], source: str | None
    ) -> AsyncGenerator[bytes]:
        bundle, about = _Bundle(self._base, source), ""
        async with aclosing(self._brought.by_patient(scope, patients)) as chunks:
            async for chunk in chunks:
                if chunk.patient != about:
                    async for piece in self._ended(bundle, scope):
                        yield piece
                    bundle, about = _Bundle(self._base, source), chunk.patient
                yield bundle.add(chunk.data, follow=True)
        async for piece in self._ended(bundle, scope):
            yield piece

    async def _ended(self, bundle: _Bundle, scope: Scope) -> AsyncGenerator[bytes]:
        for _ in range(_STEPS):
            wanted = bundle.wanted()
            if not wanted:
                break
            async with aclosing(self._brought.of_nobody_by_id(scope, wanted)) as found:
                async for lines in found:
                    yield bundle.add(lines, follow=True)
        yield bundle.end()

    async def _left(self, scope: Scope) -> AsyncGenerator[bytes]:
        """Write what is in nobody's compartment, also if a patient's Bundle has it, in bounded Bundles."""
        bundle = _Bundle(self._base)
        async with aclosing(self._brought.of_nobody(scope)) as found:
            async for lines in found:
                for line in _split(lines):
                    if bundle.count >= _ENTRIES or bundle.size + len(line) > _BYTES:
                        yield bundle.end()
                        bundle = _Bundle(self._base)
                    yield bundle.add(line, follow=False)
        yield bundle.end()
