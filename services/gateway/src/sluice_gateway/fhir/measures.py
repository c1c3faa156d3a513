"""Measures put together: what stores Bundles, what says which data a measure needs, what takes these data."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from sluice_fhir.measures.datatypes import Period
from sluice_fhir.measures.intake import parse_bundle
from sluice_fhir.measures.intake_answer import bundle_answer
from sluice_fhir.measures.problems import MeasureError
from sluice_gateway.fhir.measure_problems import outcome_of, refusal_of
from sluice_gateway.fhir.outcomes import Issue, Refusal
from sluice_gateway.fhir.requiring import ArtifactStore, Requiring
from sluice_gateway.fhir.starting import GrantReader
from sluice_gateway.fhir.submitting import ImportStarter, Submitting
from sluice_gateway.fhir.writing import ResourceWriter, Writing
from sluice_gateway.quotas import Quotas
from sluice_gateway.source_matching import SourceMatcher
from sluice_security.tokens import Principal

_DATE = re.compile(r"\d{4}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?)?")


@dataclass(frozen=True, slots=True)
class MeasurePorts:
    """What measures reach outside: artifacts, and what stores resources."""

    artifacts: ArtifactStore
    writer: ResourceWriter


class Measures:
    """The services that handlers of Bundles and measures use.

    Parameters
    ----------
    ports
        What they reach outside.
    grants
        What is granted to whom.
    quotas
        Counts bulk requests.
    imports
        Begins imports.
    sources
        Where it is known what sources understand.
    base
        The FHIR API's outside URL.
    """

    def __init__(
        self,
        ports: MeasurePorts,
        grants: GrantReader,
        quotas: Quotas,
        imports: ImportStarter,
        sources: SourceMatcher,
        base: str,
    ) -> None:
        self._requiring = Requiring(ports.artifacts)
        self._writing = Writing(grants, ports.writer, base)
        self._quotas = quotas
        self._base = base
        self.submitting = Submitting(self._requiring, self._writing, imports, sources, base)

    async def take(self, who: Principal, body: bytes) -> dict[str, Any]:
        """Do what a transaction or batch Bundle asks for, and give the Bundle that answers.

        Raises
        ------
        Problem
            400 with all that is wrong, 403, 413 or 429; nothing was done then.
        """
        await self._quotas.take(who.client)
        try:
            intake = await asyncio.to_thread(parse_bundle, body)
        except MeasureError as error:
            raise refusal_of(error) from None
        intake, done = await self._writing.store(who, intake)
        return bundle_answer(intake, done, self._base, outcome_of)

    async def requirements(self, measure: str, start: str | None, end: str | None) -> dict[str, Any]:
        """Give the Library with what a measure needs.

        Parameters
        ----------
        measure
            The Measure's id.
        start, end
            The measurement period, FHIR dates; without it the measure's effective period.

        Raises
        ------
        Problem
            400, 404 naming what is missing, or 422 naming what cannot be used.
        """
        period = _period(start, end)
        try:
            return (await self._requiring.requirements(f"Measure/{measure}", period)).library()
        except MeasureError as error:
            raise refusal_of(error) from None


def _period(start: str | None, end: str | None) -> Period | None:
    wrong = [
        Issue(code="value", text=f"{name} must be a date, as 2026-01-31.", expression=(name,))
        for name, value in (("periodStart", start), ("periodEnd", end))
        if value is not None and not _DATE.fullmatch(value)
    ]
    if wrong:
        raise Refusal(400, wrong)
    if (start is None) is not (end is None):
        raise Refusal(400, [Issue(code="required", text="Give both periodStart and periodEnd, or neither.")])
    return None if start is None else Period(start, end)
