"""Submitting data for a measure: as files, or by saying where the service is to pull them from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sluice_client.api import step
from sluice_client.errors import SluiceError
from sluice_client.exports import FHIR
from sluice_client.measures import MeasureFileError, StoredArtifact, content_of, stored_of
from sluice_client.pull_requests import PullRequest
from sluice_client.pulls import PullCalls, job_of
from sluice_contracts.wire import UNREADABLE

_JSON = "application/fhir+json"


class DataFileError(SluiceError):
    """A file does not hold what can be submitted."""


class _Named(Struct, rename="camel"):
    resource_type: str = ""


class _Entry(Struct):
    resource: Raw = Raw()


class _Bundle(Struct):
    entry: list[_Entry] = []


class DataSubmissionCalls(PullCalls):
    """What is about data for measures."""

    async def submit_data(
        self, measure: str | None, report: Path | bytes, resources: Sequence[Path | bytes] = ()
    ) -> list[StoredArtifact]:
        """Store a MeasureReport and the data it is about: all of it, or nothing.

        Needs SMART scopes of writing these types and a grant of all patients, or operators' scopes.

        Parameters
        ----------
        measure
            The Measure's id; None: the one whose canonical URL the report names.
        report
            The MeasureReport, of type data-collection; JSON.
        resources
            Resources, Bundles of them, or NDJSON of either; also compressed by gzip.

        Returns
        -------
        list
            What became of the report, and of each resource.

        Raises
        ------
        DataFileError
            A file does not hold that.
        ApiError
            The service refused it; NotFoundError: a measure of that id is not there.
        """
        given = [{"name": "measureReport", "resource": report_of(report)}]
        for each in resources:
            given += [{"name": "resource", "resource": resource} for resource in resources_of(each)]
        body = {"resourceType": "Parameters", "parameter": given}
        headers = {"Accept": _JSON, "Content-Type": _JSON}
        # Storing the same again changes nothing: what has no id gets one that is made of its content.
        answer = await self.send("POST", _place(measure), body=body, headers=headers, repeatable=True)
        return stored_of(answer.body)

    async def start_submit_data(
        self,
        measure: str | None,
        report: Path | bytes,
        export_url: str,
        *,
        since: datetime | None = None,
        static: bool = False,
        strict: bool = False,
        key: str | None = None,
    ) -> str:
        """Have the data that a measure needs pulled from a source; gives the import's id.

        It is followed as any other: `wait_for_pull`, `cancel_pull`. The report is stored when the data are.
        Needs the scope `bulk/import`.

        Parameters
        ----------
        measure, report
            As for `submit_data`.
        export_url, since, static, strict
            As in a `PullRequest`; the types that are asked for are the measure's to say.
        key
            Makes the call safe to repeat; see `start_pull`.

        Raises
        ------
        DataFileError
            The report's file does not hold one.
        ApiError
            It is refused; NotFoundError names what of the measure is not there.
        """
        request = PullRequest(export_url=export_url, since=since, static=static, strict=strict)
        request.check()
        given = [{"name": "measureReport", "resource": report_of(report)}, *request.parameters()]
        return job_of(await self.kick_off(_place(measure).removeprefix(FHIR), given, key))


def _place(measure: str | None) -> str:
    which = "" if measure is None else f"/{step(measure)}"
    return f"{FHIR}/Measure{which}/$submit-data"


def report_of(source: Path | bytes) -> Raw:
    """Give a file's MeasureReport.

    Raises
    ------
    DataFileError
        It has none.
    """
    content = _content(source)
    if _type(content, source) != "MeasureReport":
        raise DataFileError(f"{_name(source)} is no MeasureReport.", "Give one in JSON.")
    return Raw(content)


def resources_of(source: Path | bytes) -> list[Raw]:
    """Give a file's resources: itself, or those in its Bundles, or those of its lines.

    Raises
    ------
    DataFileError
        It is none of these, or has none.
    """
    content = _content(source)
    found = [each for text in _texts(content) for each in _unpacked(text, source)]
    if not found:
        raise DataFileError(f"{_name(source)} holds no resources.", "Give resources, Bundles or NDJSON.")
    return found


def _texts(content: bytes) -> Sequence[bytes]:
    """Give the content if it is one JSON text, or else its lines."""
    lines = [line for line in content.splitlines() if line.strip()]
    try:
        msgspec.json.decode(content, type=Raw)
    except (msgspec.DecodeError, RecursionError):
        return lines
    return [content]


def _unpacked(text: bytes, source: Path | bytes) -> Iterator[Raw]:
    type_ = _type(text, source)
    if type_ != "Bundle":
        yield Raw(text)
        return
    try:
        bundle = msgspec.json.decode(text, type=_Bundle)
    except msgspec.DecodeError:
        raise DataFileError(f"{_name(source)} is no Bundle that can be read.") from None
    for entry in bundle.entry:
        if bytes(entry.resource):
            _type(bytes(entry.resource), source)
            yield entry.resource


def _type(text: bytes, source: Path | bytes) -> str:
    try:
        named: Any = msgspec.json.decode(text, type=_Named)
        text.decode()
    except UNREADABLE:
        raise DataFileError(
            f"{_name(source)} is not FHIR JSON.", "Give resources in JSON or NDJSON."
        ) from None
    if not named.resource_type:
        raise DataFileError(f"{_name(source)} holds something that is no resource.")
    return str(named.resource_type)


def _content(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return content_of(source)
    except MeasureFileError as error:
        raise DataFileError(error.message, error.advice) from None


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "The content"
