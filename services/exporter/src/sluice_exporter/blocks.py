"""`organizeOutputBy=Patient`: which patients' blocks a part has, and what types are in them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence

from sluice_exporter.plan import JobFacts, PartKind, PartPlan
from sluice_exporter.provenance import PROVENANCE
from sluice_exporter.scope import Scope, Scopes
from sluice_exporter.store import StorePlanner
from sluice_storage.resources.model import Window

# A block takes all of a patient's data, which is a thousand times what the Patient resource takes.
_BLOCKS_SHARE = 1000
_PATIENTS_IN_A_PART = 200
_PAGE = 5000

Asked = Sequence[tuple[Scope, Sequence[str]]]
"""Types by the scope that they are exported in."""


async def plan_blocks(
    planner: StorePlanner, facts: JobFacts, scopes: Scopes, asked: Asked, part_bytes: int
) -> AsyncGenerator[list[PartPlan]]:
    """Give the parts with blocks; `asked` are the types that are exported, by scope.

    All of a patient's data are in one block. So where types differ in whose patients they are exported of,
    patients are put together by the types they have.
    """
    if facts.request.include_associated is not None:
        asked = _with_provenance(scopes, asked)
    everyone = tuple(type_ for scope, types in asked if scope.patients is None for type_ in types)
    some = [(frozenset(scope.patients), tuple(types)) for scope, types in asked if scope.patients is not None]
    # Patients who have not changed since may have data that have.
    window = Window(facts.snapshot)
    if not some:
        size = max(part_bytes // _BLOCKS_SHARE, 1)
        found = await planner.parts(["Patient"], window, part_bytes=size) if everyone else []
        yield [PartPlan(kind=PartKind.BLOCKS, parts=(part,), types=everyone) for part in found]
        return
    left = set[str]().union(*(patients for patients, _ in some))
    after: int | None = 0 if everyone else None
    while after is not None:
        page = await planner.patients(window, after=after, limit=_PAGE)
        left -= {place.id for place in page}
        yield _chunked([place.id for place in page], everyone, some)
        after = page[-1].seq if len(page) == _PAGE else None
    yield _chunked(sorted(left), everyone, some)


def _with_provenance(scopes: Scopes, asked: Asked) -> Asked:
    """Have Provenance of whoever has other types: that it is about these is seen when blocks are written."""
    plain = [(scope, [type_ for type_ in types if type_ != PROVENANCE]) for scope, types in asked]
    plain = [(scope, types) for scope, types in plain if types]
    own = scopes.of(PROVENANCE)
    if own is None or not plain:
        return plain
    patients = own.patients
    if all(scope.patients is not None for scope, _ in plain):
        held = set[str]().union(*(scope.patients or () for scope, _ in plain))
        patients = tuple(sorted(held if patients is None else held.intersection(patients)))
    return [*plain, (Scope(patients, own.compartment), [PROVENANCE])]


def _chunked(
    patients: Iterable[str], everyone: tuple[str, ...], some: Sequence[tuple[frozenset[str], tuple[str, ...]]]
) -> list[PartPlan]:
    by_types: dict[tuple[str, ...], list[str]] = {}
    for patient in patients:
        more = (types for members, types in some if patient in members)
        by_types.setdefault(sum(more, everyone), []).append(patient)
    return [
        PartPlan(kind=PartKind.BLOCKS, patients=tuple(found[at : at + _PATIENTS_IN_A_PART]), types=types)
        for types, found in by_types.items()
        for at in range(0, len(found), _PATIENTS_IN_A_PART)
    ]
