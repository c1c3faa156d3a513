"""Rules that peers get wrong, on a real store: instants, members who join later, attachments."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from sluice_contracts.commands import WritePart
from sluice_contracts.events import PartSealed
from sluice_contracts.exports import Associated, ExportAccess, ExportLevel
from sluice_storage.access.grants import Grants
from sluice_storage.access.model import Grant, GranteeKind
from support.exports import BASE, Bench, names, observation, open_bench, patient, start
from support.gateway_real import real_gateway
from support.odd_resources import LINES, REFUSED
from support.stack import Database


@pytest.fixture
async def bench(database: Database, scratch: Path) -> AsyncIterator[Bench]:
    async with open_bench(database, scratch) as opened:
        yield opened


async def test_since_leaves_out_the_very_instant_and_until_takes_it_in(bench: Bench) -> None:
    await bench.store.load(patient("a"))
    (line,) = await bench.export(start())
    at = datetime.fromisoformat(line["meta"]["lastUpdated"])
    instant = timedelta(milliseconds=1)
    asked: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({"since": at}, []),
        ({"since": at - instant}, ["Patient/a"]),
        ({"until": at}, ["Patient/a"]),
        ({"until": at - instant}, []),
        ({"since": at - instant, "until": at}, ["Patient/a"]),
    )
    for window, expected in asked:
        assert names(await bench.export(start(**window))) == expected, window


async def test_data_of_who_joined_a_group_later_are_not_older_than_since(bench: Bench) -> None:
    """The guide lets a server send them; this one does not, and its documentation says so."""
    await bench.store.load(patient("a"), patient("b"))
    await bench.store.groups.create("g", "Group", ["a"])
    before = await bench.store.planner.snapshot()
    await bench.store.groups.add("g", ["b"])
    await bench.store.load(observation("1", "a"), observation("2", "b"))
    command = start(level=ExportLevel.GROUP, group="g", since=before.time)
    assert names(await bench.export(command)) == ["Observation/1", "Observation/2"]
    joined = start(level=ExportLevel.GROUP, group="g", patients=("b",))
    assert names(await bench.export(joined)) == ["Observation/2", "Patient/b"]


async def test_an_attachments_address_is_read_with_the_token_of_the_export(
    bench: Bench, database: Database
) -> None:
    content = b"%PDF-1.7"
    attachment = {"contentType": "application/pdf", "url": "Binary/1"}
    await bench.store.load(
        patient("a"),
        {
            "resourceType": "Binary",
            "id": "1",
            "contentType": "application/pdf",
            "data": base64.b64encode(content).decode(),
        },
        {
            "resourceType": "DocumentReference",
            "id": "d",
            "status": "current",
            "subject": {"reference": "Patient/a"},
            "content": [{"attachment": attachment}],
        },
    )
    await bench.store.groups.create("g", "Group", ["a"])
    (line,) = (
        line
        for line in await bench.export(start(level=ExportLevel.GROUP, group="g"))
        if line["resourceType"] == "DocumentReference"
    )
    told = line["content"][0]["attachment"]
    assert told == {**attachment, "url": f"{BASE}/Binary/1"}
    async with real_gateway(database, public_url=BASE.removesuffix("/fhir")) as site:
        await Grants(site.admin).give(
            Grant(
                id=str(uuid4()),
                grantee_kind=GranteeKind.CLIENT,
                grantee="c",
                group="g",
                granted_by="ops",
                granted_at=datetime.now(UTC),
            )
        )
        path = "/fhir" + told["url"].removeprefix(BASE)
        for scopes, status in (("system/*.rs", 200), ("system/Patient.rs", 404)):
            headers = site.authority.bearer(client="c", subject="c", scopes=scopes)
            answer = await site.get(path, headers=headers)
            assert answer.status == status
            if status == 200:
                assert (answer.content_type, await answer.read()) == ("application/pdf", content)


async def test_provenance_comes_also_where_types_are_limited_and_only_if_it_is_permitted(
    bench: Bench,
) -> None:
    about = {"agent": [{"who": {"display": "x"}}], "recorded": "2026-01-01T00:00:00Z"}
    await bench.store.load(
        patient("a"),
        observation("1", "a"),
        *(
            {"resourceType": "Provenance", "id": id_, "target": [{"reference": target}], **about}
            for id_, target in (("of-o", "Observation/1"), ("of-a", "Patient/a"))
        ),
    )
    for types, expected in (
        (("Observation", "Provenance"), ["Observation/1", "Provenance/of-o"]),
        (("Observation",), ["Observation/1"]),
    ):
        command = start(
            access=ExportAccess(all_patients=True, types=types),
            types=("Observation",),
            include_associated=Associated.RELEVANT_PROVENANCE,
        )
        assert names(await bench.export(command)) == expected


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"elements": ("subject", "target")},
        {"level": ExportLevel.PATIENT},
        {"level": ExportLevel.PATIENT, "organize_by": "Patient", "elements": ("subject",)},
        {"include_associated": Associated.LATEST_PROVENANCE},
        {"level": ExportLevel.PATIENT, "include_associated": Associated.RELEVANT_PROVENANCE},
        {"organize_by": "Patient", "include_associated": Associated.LATEST_PROVENANCE},
    ],
    ids=str,
)
async def test_resources_of_odd_shapes_are_passed_on_with_all_others(
    bench: Bench, asked: dict[str, Any]
) -> None:
    outcome = await bench.store.load(patient("p"), observation("good", "p"), *LINES, *REFUSED)
    assert (outcome.created, outcome.invalid) == (len(LINES) + 2, len(REFUSED))
    # Loading the same again changes nothing.
    assert (await bench.store.load(*LINES)).unchanged == len(LINES)
    command = start(**asked)
    for message in await bench.plan(command):
        if isinstance(message.body, WritePart):
            (told,) = await bench.write(command.job, message.body.item)
            assert isinstance(told.body, PartSealed)
    lines = [
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        for row in await bench.files(command.job)
        for line in (await bench.text(row)).splitlines()
    ]
    ids = [bytes(line["id"]) for line in lines if "id" in line]
    assert {b'"odd"', b'"odd1"', b'"good"', b'"p"'} <= set(ids)
