"""What an import brought as Bundles: each patient's whole, and nothing of anybody else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.gateway_real import RealSite
from support.pulling import PullSite
from support.resource_store import Json, lines_of
from support.tokens import AUDIENCE

pytest_plugins = ["support.pulling_http"]


def token(site: RealSite, **who: Any) -> dict[str, str]:
    return site.authority.bearer(**{"client": "portal", "subject": "ann", "scopes": "bulk/import", **who})


def to(reference: str) -> Json:
    return {"reference": reference}


async def imported(site: RealSite, pull: PullSite, base: str = "/fhir") -> str:
    """Import what the source has; give the status address's path."""
    parameter = {"name": "exportUrl", "valueString": pull.source.url}
    body = {"resourceType": "Parameters", "parameter": [parameter]}
    headers = {"Content-Type": "application/fhir+json", **token(site)}
    answer = await site.post(f"{base}/$import", data=json.dumps(body), headers=headers)
    path = answer.headers["Content-Location"].removeprefix(AUDIENCE)
    async with pull.running(), asyncio.timeout(120):
        while (await site.get(path, headers=token(site))).status == 202:  # noqa: ASYNC110 - it runs elsewhere
            await asyncio.sleep(0.05)
    return path


async def bundles(site: RealSite, path: str) -> list[dict[str, Json]]:
    """Give the Bundles' resources by address, after checking what all Bundles have."""
    answer = await site.get(f"{path}/bundles", headers=token(site))
    assert (answer.status, answer.content_type) == (200, "application/fhir+ndjson")
    text = await answer.text()
    assert not text or text.endswith("\n")
    found = []
    for line in text.splitlines():
        bundle = json.loads(line)
        assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
        resources = {}
        for entry in bundle["entry"]:
            resource = entry["resource"]
            key = f"{resource['resourceType']}/{resource['id']}"
            assert entry["request"] == {"method": "PUT", "url": key}
            assert entry["fullUrl"] == f"{AUDIENCE}/fhir/{key}"
            resources[key] = resource
        assert len(resources) == len(bundle["entry"])
        found.append(resources)
    return found


def clinic(source: Any) -> None:
    """Have the source export two patients with what is theirs, what they share, and what is nobody's."""
    source.patients("p", "p1", "p2")
    source.give(
        "e",
        lines_of(
            {
                "resourceType": "Encounter",
                "id": "e1",
                "subject": to("Patient/p1"),
                "location": [{"location": to("Location/l")}],
            },
            {
                "resourceType": "Encounter",
                "id": "e2",
                "subject": to("Patient/p2"),
                "participant": [{"individual": to(f"{source.http.base}/Practitioner/d")}],
            },
            {"resourceType": "Encounter", "id": "e3", "subject": to("Patient/absent")},
        ),
        type_="Encounter",
    )
    appointment = {"resourceType": "Appointment", "id": "a"}
    actors = [{"actor": to("Patient/p1")}, {"actor": to("Patient/p2")}]
    source.give("a", lines_of({**appointment, "participant": actors}), type_="Appointment")
    source.give(
        "l",
        lines_of({"resourceType": "Location", "id": "l", "managingOrganization": to("Organization/o")}),
        type_="Location",
    )
    source.give(
        "o",
        lines_of(*({"resourceType": "Organization", "id": each} for each in ("o", "unused"))),
        type_="Organization",
    )
    source.give(
        "d",
        lines_of(
            {"resourceType": "Practitioner", "id": "d", "extension": [{"valueReference": to("Patient/p1")}]}
        ),
        type_="Practitioner",
    )


P1 = {"Patient/p1", "Encounter/e1", "Appointment/a", "Location/l", "Organization/o"}
P2 = {"Patient/p2", "Encounter/e2", "Appointment/a", "Practitioner/d"}
NOBODY = {"Location/l", "Organization/o", "Organization/unused", "Practitioner/d"}


@pytest.mark.parametrize("base", ["/fhir", "/4_0_1"])
async def test_each_patient_has_a_bundle_with_all_that_is_theirs_and_what_that_refers_to(
    pull: PullSite, site: RealSite, base: str
) -> None:
    clinic(pull.source)
    path = await imported(site, pull, base)
    assert path.startswith(f"{base}/bulkstatus/")
    found = await bundles(site, path)
    assert [set(each) for each in found] == [{"Encounter/e3"}, P1, P2, NOBODY]
    assert next(iter(found[1])) == "Patient/p1"


async def test_an_import_of_what_was_there_already_has_the_same_bundles(
    pull: PullSite, site: RealSite
) -> None:
    clinic(pull.source)
    first = await bundles(site, await imported(site, pull))
    pull.source.busy = 0
    assert await bundles(site, await imported(site, pull)) == first
    # What the second one does not bring is not in its Bundles, also where its resources refer to it.
    kept = {"p", "l", "e"}
    outputs = pull.source.manifest["output"]
    pull.source.manifest["output"] = [each for each in outputs if each["url"].rpartition("/")[2] in kept]
    third = await bundles(site, await imported(site, pull))
    assert [set(each) for each in third] == [
        {"Encounter/e3"},
        {"Patient/p1", "Encounter/e1", "Location/l"},
        {"Patient/p2", "Encounter/e2"},
        {"Location/l"},
    ]


async def test_what_another_import_replaced_since_is_not_in_the_first_ones_bundles(
    pull: PullSite, site: RealSite
) -> None:
    pull.source.patients("p", "p1", "p2")
    first = await imported(site, pull)
    pull.source.manifest["output"] = []
    pull.source.give("n", lines_of({"resourceType": "Patient", "id": "p1", "active": True}))
    second = await imported(site, pull)
    assert [set(each) for each in await bundles(site, first)] == [{"Patient/p2"}]
    (only,) = await bundles(site, second)
    assert only["Patient/p1"]["active"] is True


async def test_what_is_nobodys_comes_in_bundles_of_a_bounded_size(pull: PullSite, site: RealSite) -> None:
    filler = "x" * 3000
    source = pull.source
    source.give(
        "o",
        lines_of(*({"resourceType": "Organization", "id": f"o{n}", "name": filler} for n in range(6000))),
        type_="Organization",
    )
    found = await bundles(site, await imported(site, pull))
    assert len(found) == 3
    assert sum(map(len, found)) == len(set().union(*found)) == 6000


async def test_only_who_began_the_import_gets_its_bundles_and_only_when_it_has_ended(
    pull: PullSite, site: RealSite
) -> None:
    pull.source.patients("p", "p1")
    path = await imported(site, pull)
    answers = []
    for other, who in (
        (path, {"subject": "bob"}),
        (path, {"client": "x"}),
        (f"/fhir/bulkstatus/{'0' * 36}", {}),
    ):
        answer = await site.get(f"{other}/bundles", headers=token(site, **who))
        answers.append((answer.status, await answer.read()))
    assert answers[0][0] == 404
    assert len(set(answers)) == 1
    assert len(await bundles(site, path)) == 1
    await site.client.delete(path, headers=token(site))
    assert (await site.get(f"{path}/bundles", headers=token(site))).status == 404
    rows = "SELECT (SELECT count(*) FROM pulls.patients) + (SELECT count(*) FROM pulls.kept)"
    assert await pull.rows.fetchval(rows) == 0
