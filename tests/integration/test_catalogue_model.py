"""The catalogue in Postgres behaves as a model of it in a few dictionaries, whatever is done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import count
from typing import TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sluice_contracts.commands import ConflictResolution
from sluice_contracts.events import FileOutcome
from sluice_storage.catalogue.attachment import Attached, Attachment, Refusal
from sluice_storage.catalogue.model import EntryKind, Listing, NameTakenError
from support.catalogue import Bench, open_bench
from support.stack import Database

T = TypeVar("T")

NAMES = st.sampled_from(["a", "b", "_1_a"])
EXAMPLES = 25
CONTENTS = st.sampled_from([b"x", b"y", b"z"])


class CatalogueMachine(RuleBasedStateMachine):
    """One project with two folders; the model keeps name → (id, job, content) per folder."""

    runner: asyncio.Runner
    bench: Bench
    compared = 0
    # Batches are taken in the order of their jobs' ids: random ones would make every run another.
    numbers = count()

    @initialize()
    def begin(self) -> None:
        self.project = self.run(self.bench.project("ada"))
        self.folders = [
            self.run(self.bench.catalogue.entries.create_folder("ada", self.project.root, name)).id
            for name in ("one", "two")
        ]
        self.held: dict[str, dict[str, tuple[str, str | None, bytes | None]]] = {
            folder: {} for folder in self.folders
        }
        self.jobs: list[str] = []
        self.items: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.delivered: list[tuple[Attachment, bytes, Attached | Refusal]] = []

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wrapped() -> T:
            return await awaitable

        return self.runner.run(wrapped())

    @rule(
        wanted=st.lists(
            st.tuples(
                st.integers(0, 3),
                st.integers(0, 1),
                NAMES,
                CONTENTS,
                st.sampled_from(ConflictResolution),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def attach(self, wanted: list[tuple[int, int, str, bytes, ConflictResolution]]) -> None:
        batch: list[tuple[Attachment, bytes]] = []
        for which, folder, name, content, how in wanted:
            while which >= len(self.jobs):
                self.jobs.append(self.run(self.bench.job(100, str(UUID(int=next(self.numbers))))))
            job = self.jobs[which]
            item = self.items[job] = self.items.get(job, -1) + 1
            attachment = self.run(self.bench.attachment(job, item, self.folders[folder], name, content, how))
            batch.append((attachment, content))
        done = self.run(self.bench.catalogue.attach([attachment for attachment, _ in batch]))
        results = {
            (attachment.job, attachment.item): (attachment, content, outcome)
            for (attachment, content), outcome in zip(batch, done, strict=True)
        }
        # A batch takes effect in the order of (job, item).
        for _, (attachment, content, outcome) in sorted(results.items()):
            self.expect(attachment, content, outcome)
            self.delivered.append((attachment, content, outcome))

    def expect(self, attachment: Attachment, content: bytes, outcome: Attached | Refusal) -> None:
        held = self.held[attachment.folder]
        if attachment.job in self.cancelled:
            assert outcome is Refusal.CANCELLED
            return
        assert isinstance(outcome, Attached)
        there = held.get(attachment.name)
        if there is None:
            assert outcome.outcome is FileOutcome.CREATED
            held[attachment.name] = (outcome.entry, attachment.job, content)
            return
        entry, job, old = there
        foreign = job != attachment.job
        if foreign and attachment.rule is ConflictResolution.SKIP:
            assert (outcome.outcome, outcome.entry) == (FileOutcome.SKIPPED, entry)
        elif foreign and attachment.rule is ConflictResolution.OVERWRITE and old is not None:
            assert outcome.outcome is FileOutcome.REPLACED
            held[attachment.name] = (outcome.entry, attachment.job, content)
        else:
            assert outcome.outcome is FileOutcome.RENAMED
            self.renamed(attachment, content, outcome)

    def renamed(self, attachment: Attachment, content: bytes, outcome: Attached) -> None:
        # The name it got is read back: that it was free and of the family is what matters. It may be gone
        # already, replaced by a later item of the batch; then that one has its name in the model.
        found = self.run(self.bench.catalogue.entries.get_many("ada", [outcome.entry]))
        if outcome.entry in found:
            name = found[outcome.entry].name
            assert name not in self.held[attachment.folder]
            prefix, _, rest = name.removeprefix("_").partition("_")
            assert prefix.isdigit()
            assert rest == attachment.name
            self.held[attachment.folder][name] = (outcome.entry, attachment.job, content)

    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        if not self.delivered:
            return
        again = data.draw(st.lists(st.sampled_from(self.delivered), min_size=1, max_size=4))
        for attachment, content, _ in again:
            self.run(self.bench.objects.put(content))
            assert attachment.stored.size == len(content)
        done = self.run(self.bench.catalogue.attach([attachment for attachment, _, _ in again]))
        assert done == [outcome for _, _, outcome in again]

    @rule(which=st.integers(0, 3))
    def cancel(self, which: int) -> None:
        if which < len(self.jobs):
            job = self.jobs[which]
            self.cancelled.add(job)
            self.run(
                self.bench.fetcher.execute(
                    "UPDATE documents.jobs SET cancelled_at = now() WHERE job = $1", job
                )
            )

    @rule(folder=st.integers(0, 1), data=st.data())
    def delete(self, folder: int, data: st.DataObject) -> None:
        held = self.held[self.folders[folder]]
        if held:
            name = data.draw(st.sampled_from(sorted(held)))
            self.run(self.bench.catalogue.remove.entry("ada", held.pop(name)[0]))

    @rule(folder=st.integers(0, 1), name=NAMES)
    def make_folder(self, folder: int, name: str) -> None:
        parent = self.folders[folder]
        making = self.bench.catalogue.entries.create_folder("ada", parent, name)
        if name in self.held[parent]:
            with pytest.raises(NameTakenError):
                self.run(making)
        else:
            self.held[parent][name] = (self.run(making).id, None, None)

    @rule(source=st.integers(0, 1), name=NAMES, data=st.data())
    def move(self, source: int, name: str, data: st.DataObject) -> None:
        held = self.held[self.folders[source]]
        target = self.folders[1 - source]
        if not held:
            return
        old = data.draw(st.sampled_from(sorted(held)))
        moving = self.bench.catalogue.entries.move("ada", held[old][0], target, name=name)
        if name in self.held[target]:
            with pytest.raises(NameTakenError):
                self.run(moving)
        else:
            self.run(moving)
            self.held[target][name] = held.pop(old)

    @rule()
    def sweep(self) -> None:
        self.run(self.bench.catalogue.blobs.sweep())

    @invariant()
    def what_is_listed_is_what_the_model_has(self) -> None:
        CatalogueMachine.compared += 1
        for folder, held in getattr(self, "held", {}).items():
            page = self.run(self.bench.catalogue.entries.list("ada", Listing(folder, limit=500)))
            assert {entry.name: entry.id for entry in page.items} == {
                name: entry for name, (entry, _, _) in held.items()
            }
            for entry in page.items:
                assert (entry.kind is EntryKind.FOLDER) == (held[entry.name][2] is None)
                if entry.sha256 is not None:
                    assert self.run(self.bench.has(entry.sha256))


def test_the_catalogue_agrees_with_its_model(database: Database) -> None:
    with asyncio.Runner() as runner:
        opening = open_bench(database)
        bench = runner.run(opening.__aenter__())
        CatalogueMachine.runner, CatalogueMachine.bench = runner, bench
        try:
            run_state_machine_as_test(
                CatalogueMachine,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=20,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(opening.__aexit__(None, None, None))
    # The machine itself compares, after every step.
    assert CatalogueMachine.compared > EXAMPLES
