"""What conflict resolution would make of each item, as things are now."""

from __future__ import annotations

from collections import defaultdict

from sluice_contracts.commands import ConflictResolution
from sluice_gateway.models.imports import DryRun, Forecast, ForecastName
from sluice_gateway.submission import Wanted
from sluice_storage.catalogue import Catalogue
from sluice_storage.catalogue.model import Entry, EntryKind, Listing
from sluice_storage.catalogue.naming import renamed

_NAMES_PER_PAGE = 100
_MOST_NUMBERS = 1000


class Forecasts:
    """Forecasts imports.

    Parameters
    ----------
    catalogue
        What the folders hold.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def of(self, subject: str, wanted: Wanted) -> DryRun:
        """Say what would happen to each item.

        An item without a name of its own is `unknown`: its name comes from the document. Items are taken in
        the order of the request; in a real job the order is that of their arrival.
        """
        names: defaultdict[str, set[str]] = defaultdict(set)
        for item in wanted.items:
            if item.name is not None:
                names[item.folder].add(item.name)
        taken: dict[tuple[str, str], Entry | None] = {}
        for folder, asked in names.items():
            for entry in await self._there(subject, folder, asked):
                taken[folder, entry.name] = entry
        forecasts: list[Forecast] = []
        for index, item in enumerate(wanted.items):
            if item.name is None:
                forecasts.append(
                    Forecast(item=index, outcome=ForecastName.UNKNOWN, name=None, conflicts_with=None)
                )
                continue
            outcome, name = await self._outcome(
                subject, item.folder, item.name, wanted.conflict_resolution, taken
            )
            there = taken.get((item.folder, item.name))
            forecasts.append(
                Forecast(item=index, outcome=outcome, name=name, conflicts_with=there.id if there else None)
            )
            taken.setdefault((item.folder, name), None)
        return DryRun(items=forecasts)

    async def _there(self, subject: str, folder: str, names: set[str]) -> list[Entry]:
        listing = Listing(parent=folder, names=tuple(sorted(names)), limit=_NAMES_PER_PAGE)
        return list((await self._catalogue.entries.list(subject, listing)).items)

    async def _outcome(
        self,
        subject: str,
        folder: str,
        name: str,
        rule: ConflictResolution,
        taken: dict[tuple[str, str], Entry | None],
    ) -> tuple[ForecastName, str]:
        if (folder, name) not in taken:
            return ForecastName.CREATED, name
        there = taken[folder, name]
        if rule is ConflictResolution.SKIP:
            return ForecastName.SKIPPED, name
        if rule is ConflictResolution.OVERWRITE and (there is None or there.kind is EntryKind.FILE):
            return ForecastName.REPLACED, name
        for number in range(1, _MOST_NUMBERS):
            candidate = renamed(name, number)
            if (folder, candidate) in taken:
                continue
            if found := await self._there(subject, folder, {candidate}):
                taken[folder, candidate] = found[0]
                continue
            return ForecastName.RENAMED, candidate
        return ForecastName.UNKNOWN, name
