"""What a part's files are made of: one stream of pieces for each kind of part."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime

import msgspec
from msgspec import Struct

from sluice_contracts.exports import Associated, ExportLevel
from sluice_exporter import outcomes
from sluice_exporter.attachments import Attachments
from sluice_exporter.lines import Compile, Transform, joined, matches_of, transform_of
from sluice_exporter.plan import JobFacts, PartKind, PartPlan
from sluice_exporter.provenance import PROVENANCE, BlockProvenance, ProvenanceReader, Rule
from sluice_exporter.scope import Scope, visible_groups
from sluice_exporter.sink import Piece
from sluice_exporter.store import StoreReader
from sluice_storage.resources.model import Chunk, Deleted, PatientChunk, Window

_encode = msgspec.json.Encoder().encode
_GOING_ON = Piece(b"", 0)


class _Id(Struct):
    id: str = ""


_id_of = msgspec.json.Decoder(_Id).decode


class Pieces:
    """Makes the pieces of parts, reading the resource store.

    Parameters
    ----------
    reader
        The resource store.
    provenance
        Reads Provenance resources.
    compile_
        Makes filters of searches.
    attachments
        Makes addresses absolute.
    """

    def __init__(
        self,
        reader: StoreReader,
        provenance: ProvenanceReader,
        compile_: Compile,
        attachments: Attachments,
    ) -> None:
        self._reader = reader
        self._provenance = provenance
        self._compile = compile_
        self._attachments = attachments

    def of(self, facts: JobFacts, plan: PartPlan, put: Callable[[Piece], None]) -> AsyncGenerator[Piece]:
        """Give the pieces of a part; one without lines says that work goes on.

        What is read and passed on as it is goes to `put` instead, from the thread that reads it.
        """
        if plan.kind is PartKind.DELETED:
            return self._deleted(facts, plan)
        if plan.kind is PartKind.BLOCKS:
            return self._blocks(facts, plan)
        if plan.kind is PartKind.PROVENANCE:
            return self._provenances(facts, plan)
        if plan.kind is PartKind.IGNORED:
            return _only(outcomes.ignored(facts.request.ignored))
        return self._resources(facts, plan, put)

    async def _resources(
        self, facts: JobFacts, plan: PartPlan, put: Callable[[Piece], None]
    ) -> AsyncGenerator[Piece]:
        transform = transform_of(plan.type, facts, matches_of(facts, self._compile, [plan.type]))

        def pass_on(chunk: Chunk) -> None:
            put(Piece(self._attachments.absolute(plan.type, chunk.data), chunk.count))

        for part in plan.parts:
            if transform is None:
                async with aclosing(self._reader.worked(part, facts.window, pass_on)) as passing:
                    async for _ in passing:
                        yield _GOING_ON
                continue
            async with aclosing(self._reader.lines(part, facts.window)) as stream:
                async for lines in stream:
                    data, count = joined(lines, transform)
                    yield Piece(self._attachments.absolute(plan.type, data), count)

    async def _deleted(self, facts: JobFacts, plan: PartPlan) -> AsyncGenerator[Piece]:
        groups = visible_groups(facts.access) if plan.type == "Group" else None
        for part in plan.parts:
            async with aclosing(self._reader.deleted(part, facts.window)) as stream:
                async for some in stream:
                    told = [each for each in some if groups is None or each.id in groups]
                    yield Piece(deletions(told, facts.snapshot.time), 1) if told else Piece(b"", 0)

    async def _blocks(self, facts: JobFacts, plan: PartPlan) -> AsyncGenerator[Piece]:
        matches = matches_of(facts, self._compile, plan.types)
        transforms = {type_: transform_of(type_, facts, matches) for type_ in plan.types}
        if plan.patients:
            async for piece in self._blocks_of(plan.patients, facts, transforms):
                yield piece
        for part in plan.parts:
            async with aclosing(self._reader.lines(part, Window(facts.snapshot))) as stream:
                async for lines in stream:
                    patients = [_id_of(line).id for line in lines]
                    async for piece in self._blocks_of(patients, facts, transforms):
                        yield piece

    async def _blocks_of(
        self,
        patients: Sequence[str],
        facts: JobFacts,
        transforms: dict[str, Transform | None],
    ) -> AsyncGenerator[Piece]:
        associated = facts.request.include_associated
        any_time: tuple[str, ...] = ()
        rule: BlockProvenance | None = None
        if associated is not None:
            any_time = (PROVENANCE,)
            rule = BlockProvenance(latest=associated is Associated.LATEST_PROVENANCE)
        # The patient opens the block that its data make; Provenance of these data can be told after them.
        ordered = sorted(transforms, key=lambda type_: (type_ != "Patient", type_ == PROVENANCE))
        window, patient = facts.window, ""
        async with aclosing(
            self._reader.by_patient(ordered, patients, window, at_any_time=any_time)
        ) as stream:
            async for chunk in stream:
                if rule is not None and chunk.patient != patient:
                    yield _rest(rule, patient, transforms)
                patient = chunk.patient
                yield self._in_block(chunk, transforms[chunk.type], rule)
        if rule is not None:
            yield _rest(rule, patient, transforms)

    def _in_block(
        self, chunk: PatientChunk, transform: Transform | None, rule: BlockProvenance | None
    ) -> Piece:
        header = header_of(chunk.patient)
        if rule is None and transform is None:
            return Piece(self._attachments.absolute(chunk.type, chunk.data), chunk.count, header)
        lines = chunk.data[:-1].split(b"\n")
        if rule is not None and chunk.type == PROVENANCE:
            return Piece(*joined(rule.told(lines), transform), header)
        data, count = joined(lines, transform)
        if rule is not None and count:
            rule.returned(chunk.type, data[:-1].split(b"\n"))
        return Piece(self._attachments.absolute(chunk.type, data), count, header)

    async def _provenances(self, facts: JobFacts, plan: PartPlan) -> AsyncGenerator[Piece]:
        request = facts.request
        associated = request.include_associated
        window = facts.window if associated is None else Window(facts.snapshot)
        compartment, groups = request.level is not ExportLevel.SYSTEM, visible_groups(facts.access)
        matches = matches_of(
            facts, self._compile, [PROVENANCE, *(of for each in plan.scopes for of in each.types)]
        )
        transform = transform_of(PROVENANCE, facts, matches)
        if associated is None:
            rule = Rule(((None, Scope(None, compartment)),), Window(facts.snapshot), {}, groups)
        else:
            scopes = tuple((frozenset(each.types), Scope(each.patients, compartment)) for each in plan.scopes)
            rule = Rule(scopes, facts.window, matches, groups)
        latest = associated is Associated.LATEST_PROVENANCE
        async with aclosing(self._provenance.lines(plan, window, rule, latest=latest)) as stream:
            async for lines in stream:
                yield Piece(*joined(lines, transform))


def _rest(rule: BlockProvenance, patient: str, transforms: dict[str, Transform | None]) -> Piece:
    return Piece(*joined(rule.end(), transforms.get(PROVENANCE)), header_of(patient))


def header_of(patient: str) -> bytes:
    """Give the line that opens a patient's block (Bulk Data Access 3.0.0, "Output File Organization")."""
    reference = {"name": "header", "valueReference": {"reference": f"Patient/{patient}"}}
    return _encode({"resourceType": "Parameters", "parameter": [reference]}) + b"\n"


def deletions(deleted: Sequence[Deleted], at: datetime) -> bytes:
    """Give a transaction Bundle, as a line, that deletes what was deleted (manifest's `deleted`)."""
    entries = [{"request": {"method": "DELETE", "url": f"{each.type}/{each.id}"}} for each in deleted]
    meta = {"lastUpdated": at}
    return _encode({"resourceType": "Bundle", "meta": meta, "type": "transaction", "entry": entries}) + b"\n"


async def _only(piece: Piece) -> AsyncGenerator[Piece]:
    yield piece
