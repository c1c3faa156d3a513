"""`$submit-data`: data for a measure, as they are sent or as they are to be pulled from a source.

Both ways of asking are read and checked by the same rules. Then the data that were sent are stored, all or
nothing; or an import of what the measure needs is begun, like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable
from typing import Any, Protocol
from uuid import UUID, uuid5

import msgspec

from sluice_contracts.imports import ExportType
from sluice_fhir.measures.datatypes import Measure, Named
from sluice_fhir.measures.entries import Intake
from sluice_fhir.measures.intake import parse_resources
from sluice_fhir.measures.intake_answer import bundle_answer
from sluice_fhir.measures.problems import MeasureError
from sluice_fhir.measures.queries import export_query
from sluice_fhir.measures.requirements import Requirements
from sluice_fhir.measures.submission import Submission, check_measure, parse_submission
from sluice_fhir.sources import Source
from sluice_gateway.authentication import permit
from sluice_gateway.fhir.measure_problems import outcome_of, refusal_of
from sluice_gateway.fhir.outcomes import Issue, Refusal
from sluice_gateway.fhir.pull_parameters import INSTANT, Wanted, joined_url, within
from sluice_gateway.fhir.pulls import SCOPE
from sluice_gateway.fhir.requiring import Requiring
from sluice_gateway.fhir.writing import Writing
from sluice_gateway.source_matching import SourceMatcher, source_for
from sluice_security.tokens import Principal

# The namespace of the ids that are made of what is submitted.
_SUBMITTED = UUID("8d0f0a3e-3c0b-5a55-9a35-0b7f6d1c2e11")
_ENTRY = re.compile(r"Bundle\.entry\[(\d+)\]\.resource")


class ImportStarter(Protocol):
    """What begins imports; see `sluice_gateway.fhir.pulls.Pulls`."""

    async def begin(
        self,
        who: Principal,
        wanted: Wanted,
        idempotency_key: str | None = None,
        *,
        report: bytes | None = None,
    ) -> str:
        """Begin an import, whose MeasureReport is stored when the data are, and give its id."""


class Submitting:
    """Takes data for measures.

    Parameters
    ----------
    requiring
        Measures and what they need.
    writing
        Stores what is sent.
    imports
        Begins imports.
    sources
        Where it is known what sources understand.
    base
        The FHIR API's outside URL.
    """

    def __init__(
        self,
        requiring: Requiring,
        writing: Writing,
        imports: ImportStarter,
        sources: SourceMatcher,
        base: str,
    ) -> None:
        self._requiring = requiring
        self._writing = writing
        self._imports = imports
        self._sources = sources
        self._base = base

    async def store(self, who: Principal, measure: str | None, body: bytes) -> dict[str, Any]:
        """Store what is sent, and give the Bundle that says what became of the report and of each resource.

        Parameters
        ----------
        measure
            The Measure's id; None if only the MeasureReport says which it is.

        Raises
        ------
        Problem
            400 with all that is wrong, 403 or 404; nothing was stored then.
        """
        try:
            submission, _ = await self._read(measure, body, asynchronous=False)
            resources = (submission.report, *submission.resources)
            intake = await asyncio.to_thread(_taken, resources)
        except MeasureError as error:
            raise refusal_of(error, _place) from None
        intake, done = await self._writing.store(who, intake)
        return bundle_answer(intake, done, self._base, outcome_of)

    async def pull(
        self, who: Principal, measure: str | None, body: bytes, idempotency_key: str | None = None
    ) -> str:
        """Begin to import what the measure needs, and give the import's id.

        Raises
        ------
        Problem
            400 with all that is wrong, 403, 404, 422 or 503; nothing was done then.
        """
        permit(who, SCOPE)
        try:
            submission, found = await self._read(measure, body, asynchronous=True)
            needed = await self._requiring.requirements(f"Measure/{found.id}")
            await self._requiring.require_value_sets(needed)
            # Taken as if it were stored now, so that nothing is wrong with it when the data are there.
            intake = await asyncio.to_thread(_taken, (submission.report,))
        except MeasureError as error:
            raise refusal_of(error, _place) from None
        source = await source_for(self._sources, submission.export_url or "", who.client)
        wanted = _wanted(submission, needed, source)
        return await self._imports.begin(who, wanted, idempotency_key, report=intake.entries[0].body)

    async def _read(
        self, measure: str | None, body: bytes, *, asynchronous: bool
    ) -> tuple[Submission, Measure]:
        """Read a submission and find the Measure that it is for."""
        submission = await asyncio.to_thread(parse_submission, body, asynchronous=asynchronous)
        reference = submission.measure if measure is None else f"Measure/{measure}"
        found = await self._requiring.measure(reference)
        check_measure(submission, found)
        return submission, found


def _wanted(submission: Submission, needed: Requirements, source: Source | None) -> Wanted:
    """Say what is to be pulled: what the measure needs, or a manifest, which is what it is.

    Of a source that understands it, only what has the measure's codes, unless that is not wished for.

    Raises
    ------
    Refusal
        400: `_since` is no instant, or cannot be asked for.
    """
    url, since = submission.export_url or "", submission.since
    place = "Parameters.parameter.where(name='_since')"
    if submission.export_type == "static":
        if since is not None:
            text = "A static export is what it is: _since cannot be asked of it."
            raise Refusal(400, [Issue(code="not-supported", text=text, expression=(place,))])
        return Wanted(url, ExportType.STATIC, submission.strict)
    if since is not None and not INSTANT.fullmatch(since):
        text = "_since must be a FHIR instant, as 2026-01-31T12:00:00Z."
        raise Refusal(400, [Issue(code="value", text=text, expression=(place,))])
    parameters: dict[str, list[str]] = {}
    filters = source is not None and source.type_filters and submission.type_filters is not False
    for name, value in export_query(needed, type_filters=filters).parameters():
        parameters.setdefault(name, []).append(value)
    if since is not None:
        parameters["_since"] = [since]
    return Wanted(within(joined_url(url, parameters)), ExportType.DYNAMIC, submission.strict)


def _taken(resources: Iterable[bytes]) -> Intake:
    """Make the transaction that stores resources, so that the same sent again changes nothing.

    One without an id gets one that is made of its content.
    """
    unique = list(dict.fromkeys(resources))
    made = iter([_content_id(each) for each in unique if _id(each) is None])
    return parse_resources(unique, make_id=lambda: next(made))


def _id(resource: bytes) -> str | None:
    try:
        return msgspec.json.decode(resource, type=Named).id
    except msgspec.DecodeError:
        # It has no id that could be used; what is wrong with it is found when it is taken.
        return None


def _content_id(resource: bytes) -> str:
    return str(uuid5(_SUBMITTED, hashlib.sha256(resource).hexdigest()))


def _place(where: str) -> str:
    """Say where in the Parameters a place in the transaction is."""
    match = _ENTRY.match(where)
    if match is None:
        return where
    number = int(match[1])
    name = "Parameters.parameter.where(name='{}')"
    which = name.format("measureReport") if number == 0 else f"{name.format('resource')}[{number - 1}]"
    return f"{which}.resource{where[match.end() :]}"
