"""Quality measures: storing them, listing them, and which data they need (operators)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sluice_client.api import Api, decoded, step
from sluice_client.errors import SluiceError
from sluice_client.searchsets import PER_PAGE, found
from sluice_contracts.wire import UNREADABLE

ARTIFACTS = frozenset({"Measure", "Library", "ValueSet", "CodeSystem"})
"""What a measure consists of, of all that published files hold."""

_GZIP = b"\x1f\x8b"
_MOST_BYTES = 256 * 1024 * 1024


class MeasureFileError(SluiceError):
    """A file holds no measure that can be stored."""


class StoredArtifact(Struct, frozen=True, kw_only=True):
    """A part of a measure as it is stored now; `created` if it was not there before."""

    type: str
    id: str
    version: str
    created: bool


class Measure(Struct, frozen=True, kw_only=True):
    """A measure that is stored; `url` and `version` are its canonical's."""

    id: str
    url: str | None = None
    version: str | None = None
    title: str | None = None
    name: str | None = None


class CodeFilter(Struct, frozen=True, rename="camel", kw_only=True):
    """Codes that an element must have one of: of the value set, or of the list."""

    path: str | None = None
    value_set: str | None = None
    code: list[dict[str, Any]] = []


class DataRequirement(Struct, frozen=True, rename="camel", kw_only=True):
    """Data that a measure needs (R4, data type DataRequirement)."""

    type: str
    profile: list[str] = []
    code_filter: list[CodeFilter] = []
    date_filter: list[dict[str, Any]] = []


class _Needs(Struct, rename="camel"):
    data_requirement: list[DataRequirement] = []


class _Response(Struct):
    status: str = ""
    location: str = ""


class _Answered(Struct):
    response: _Response


class _Answer(Struct):
    entry: list[_Answered] = []


class _Named(Struct, rename="camel"):
    resource_type: str = ""
    id: str | None = None


class _Entry(Struct):
    resource: Raw = Raw()


class _File(Struct, rename="camel"):
    resource_type: str = ""
    entry: list[_Entry] = []


class MeasureCalls(Api):
    """What operators do about measures; needs the scope `ops/measures`."""

    async def load_measures(self, source: Path | bytes) -> list[StoredArtifact]:
        """Store the measures of a file: all of it, or nothing.

        Parameters
        ----------
        source
            A Bundle of any type as measures are published, or one resource; JSON, or that compressed by gzip.
            Only what measures consist of is taken, not the examples of patients that come with them.

        Raises
        ------
        MeasureFileError
            The file cannot be read, or has no measure, library or value set.
        ApiError
            The service refused it.

        Examples
        --------
        >>> await sluice.load_measures(Path("EXM104-8.2.000-bundle.json"))
        """
        body = artifacts_of(source if isinstance(source, bytes) else content_of(source))
        # Storing the same again changes nothing, if all of it has an id.
        answer = await self.send("POST", "/fhir", body=body, repeatable=b'"POST"' not in bytes(body))
        return stored_of(answer.body)

    async def measures(self) -> AsyncIterator[Measure]:
        """Go through the measures that are stored."""
        async for measure in found(self, f"/fhir/Measure?_count={PER_PAGE}", Measure):
            yield measure

    async def data_requirements(
        self, measure: str, *, start: date | None = None, end: date | None = None
    ) -> list[DataRequirement]:
        """Give which data a measure needs.

        Parameters
        ----------
        measure
            Its id.
        start, end
            The period that is measured, both or neither.

        Raises
        ------
        ApiError
            NotFoundError: it is not there, or something that it needs is not; the text names it.
        """
        path = f"/fhir/Measure/{step(measure)}/$data-requirements"
        period = {"periodStart": start, "periodEnd": end}
        return (await self.get(path, _Needs, period)).data_requirement


def artifacts_of(content: bytes) -> Raw:
    """Make the transaction that stores what the measures of a file consist of.

    Raises
    ------
    MeasureFileError
        It is no FHIR JSON, or has none of that.
    """
    entries: list[dict[str, Any]] = []
    for resource in _resources(content):
        try:
            named = msgspec.json.decode(resource, type=_Named)
        except msgspec.DecodeError:
            continue
        if named.resource_type in ARTIFACTS:
            request = {"method": "POST", "url": named.resource_type}
            if named.id is not None:
                request = {"method": "PUT", "url": f"{named.resource_type}/{named.id}"}
            entries.append({"resource": resource, "request": request})
    if not entries:
        text = "There is no Measure, Library or ValueSet in it."
        raise MeasureFileError(text, "Give a measure as it is published, a FHIR Bundle in JSON.")
    return Raw(msgspec.json.encode({"resourceType": "Bundle", "type": "transaction", "entry": entries}))


def _resources(content: bytes) -> list[Raw]:
    try:
        file = msgspec.json.decode(content, type=_File)
        content.decode()
    except UNREADABLE:
        raise MeasureFileError("It is not FHIR JSON.", "Give a FHIR Bundle in JSON.") from None
    if file.resource_type != "Bundle":
        return [Raw(content)]
    return [each.resource for each in file.entry if bytes(each.resource)]


def content_of(source: Path) -> bytes:
    """Read a file, unpacked if it is compressed.

    Raises
    ------
    MeasureFileError
        It cannot be read, or is too large.
    """
    try:
        content = source.read_bytes()
        if not content.startswith(_GZIP):
            return content
        with gzip.open(source) as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise MeasureFileError(f"{source} cannot be read.", "Check its name.") from None
    if len(content) > _MOST_BYTES:
        raise MeasureFileError(f"{source} is too large.", "Divide it into several.")
    return content


def stored_of(answer: bytes) -> list[StoredArtifact]:
    """Read the Bundle that says what became of each resource that was sent.

    Raises
    ------
    SluiceError
        It is none.
    """
    return [_stored(each.response) for each in decoded(answer, _Answer).entry]


def _stored(response: _Response) -> StoredArtifact:
    address, _, version = response.location.partition("/_history/")
    *_, type_, id_ = ["", *address.split("/")]
    return StoredArtifact(type=type_, id=id_, version=version, created=response.status.startswith("201"))
