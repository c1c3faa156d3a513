"""Reading and searching below `/fhir`, on a real Postgres: nobody sees more than a grant and a scope let."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import asyncpg
import msgspec
import pytest
from aiohttp import ClientResponse

from sluice_storage.access.grants import Grants
from sluice_storage.access.model import Grant, GranteeKind
from sluice_storage.resources.groups import Groups
from support.gateway_real import RealSite, real_gateway
from support.odd_resources import LINES
from support.resource_store import Json, Store, open_store
from support.stack import Database
from support.tokens import AUDIENCE

FHIR = AUDIENCE + "/fhir"
SYSTEM = "system/*.rs"
ids = (f"00000000-0000-4000-8000-{number:012}" for number in count())


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        yield found


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        await opened.load(
            *(patient(name) for name in ("a", "b", "c")),
            *(observation(f"{name}{number}", name) for name in ("a", "b", "c") for number in (1, 2)),
            {"resourceType": "Organization", "id": "o"},
            group("g", "a"),
            group("h", "b"),
        )
        yield opened


def patient(id_: str) -> Json:
    return {"resourceType": "Patient", "id": id_, "identifier": [{"system": "urn:x", "value": id_}]}


def observation(id_: str, of: str, category: str = "laboratory") -> Json:
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "category": [{"coding": [{"code": category}]}],
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{of}"},
    }


def group(id_: str, *patients: str, **more: Any) -> Json:
    members = [{"entity": {"reference": f"Patient/{patient}"}} for patient in patients]
    fields = {"type": "person", "actual": True, "name": f"Cohort {id_}", "member": members}
    return {"resourceType": "Group", "id": id_, **fields, **more}


async def grant(
    site: RealSite, group: str | None = None, *types: str, client: str = "portal", user: str | None = None
) -> None:
    given = Grant(
        id=next(ids),
        grantee_kind=GranteeKind.USER if user else GranteeKind.CLIENT,
        grantee=user or client,
        all_patients=group is None,
        group=group,
        types=types or None,
        granted_by="ops",
        granted_at=datetime.now(UTC),
    )
    await Grants(site.admin).give(given)


def token(site: RealSite, scopes: str = SYSTEM, **who: str) -> dict[str, str]:
    return site.authority.bearer(**{"client": "portal", "scopes": scopes, **who})


async def get(
    site: RealSite, path: str, headers: dict[str, str] | None = None, **more: str
) -> ClientResponse:
    return await site.get("/fhir/" + path, headers={**(headers or token(site)), **more})


async def found(site: RealSite, path: str, headers: dict[str, str] | None = None) -> set[str]:
    """Search and follow every `next` link; give `Type/id` of all that is found."""
    seen: set[str] = set()
    while True:
        answer = await get(site, path, headers)
        bundle = await answer.json(content_type="application/fhir+json")
        assert answer.status == 200, bundle
        assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
        entries = bundle.get("entry", [])
        for entry in entries:
            key = f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
            assert entry["fullUrl"] == f"{FHIR}/{key}"
            assert entry["search"] == {"mode": "match"}
            assert key not in seen
            seen.add(key)
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        if not following:
            return seen
        path = following[0].removeprefix(FHIR + "/")


async def statuses(site: RealSite, headers: dict[str, str], *paths: str) -> list[int]:
    return [(await get(site, path, headers)).status for path in paths]


async def test_without_a_grant_nothing_exists(site: RealSite, store: Store) -> None:
    absent = await get(site, "Patient/absent")
    text = await absent.text()
    for path in ("Patient/a", "Observation/a1", "Organization/o", "Group/g", "Nothing/a"):
        answer = await get(site, path)
        assert (answer.status, await answer.text()) == (404, text)
    assert await found(site, "Patient") == await found(site, "Group") == set()


async def test_a_grant_of_a_group_shows_its_patients_and_no_others(site: RealSite, store: Store) -> None:
    await grant(site, "g")
    seen = ("Patient/a", "Observation/a1", "Group/g")
    hidden = ("Patient/b", "Observation/b1", "Group/h", "Organization/o")
    assert await statuses(site, token(site), *seen) == [200, 200, 200]
    assert await statuses(site, token(site), *hidden) == [404, 404, 404, 404]
    assert await found(site, "Patient") == {"Patient/a"}
    assert await found(site, "Observation?_count=1") == {"Observation/a1", "Observation/a2"}
    assert await found(site, "Observation?_id=a1,b1") == {"Observation/a1"}
    assert await found(site, "Group") == {"Group/g"}
    assert await found(site, "Organization") == set()


async def test_grants_of_different_types_do_not_widen_each_other(site: RealSite, store: Store) -> None:
    await grant(site, "g", "Patient", "Observation")
    await grant(site, "h", "Patient")
    await grant(site, None, "Organization")
    assert await found(site, "Patient") == {"Patient/a", "Patient/b"}
    assert await found(site, "Observation") == {"Observation/a1", "Observation/a2"}
    assert await found(site, "Organization") == {"Organization/o"}
    assert await statuses(site, token(site), "Patient/b", "Observation/b1", "Group/g") == [200, 404, 404]


async def test_a_grant_is_its_grantees_alone(site: RealSite, store: Store) -> None:
    await grant(site, user="user-1")
    person = token(site, "user/*.rs", client="other", subject="user-1")
    assert await statuses(site, person, "Patient/a") == [200]
    others = (
        token(site, "user/*.rs", subject="user-2"),
        token(site),
        token(site, client="other", subject="other"),
    )
    for who in others:
        assert await statuses(site, who, "Patient/a") == [404]
        assert await found(site, "Patient", who) == set()


async def test_scopes_narrow_what_grants_give(site: RealSite, store: Store) -> None:
    await store.load(observation("vital", "a", "vital-signs"))
    await grant(site)
    only = token(site, "system/Observation.rs?category=vital-signs")
    assert await statuses(site, only, "Observation/vital", "Observation/a1", "Patient/a") == [200, 404, 404]
    assert await found(site, "Observation", only) == {"Observation/vital"}
    assert (await get(site, "Patient", only)).status == 403
    assert (await get(site, "Observation?_summary=count", only)).status == 400
    reading, searching = token(site, "system/Patient.r"), token(site, "system/Patient.s")
    assert await statuses(site, reading, "Patient/a", "Patient") == [200, 403]
    assert await statuses(site, searching, "Patient/a", "Patient") == [404, 200]


async def test_a_resource_says_its_version_and_is_sent_once(site: RealSite, store: Store) -> None:
    await grant(site)
    answer = await get(site, "Patient/a")
    body = await answer.json(content_type="application/fhir+json")
    assert body["identifier"][0]["value"] == "a"
    assert answer.headers["ETag"] == f'W/"{body["meta"]["versionId"]}"'
    tag, time = answer.headers["ETag"], answer.headers["Last-Modified"]
    for field in ({"If-None-Match": tag}, {"If-None-Match": "*"}, {"If-Modified-Since": time}):
        again = await get(site, "Patient/a", token(site), **field)
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
    await store.load({**patient("a"), "active": True})
    changed = await get(site, "Patient/a", token(site), **{"If-None-Match": tag})
    assert (changed.status, changed.headers["ETag"]) == (200, 'W/"2"')


async def test_asking_about_a_resource_gives_what_reading_gives_without_it(
    site: RealSite, store: Store
) -> None:
    await grant(site, "g")
    for path in ("Patient/a", "Patient/a/_history/1", "Binary/no", "Patient/b", "Patient/b/_history/1"):
        told = await site.call("HEAD", f"/fhir/{path}", headers=token(site))
        read = await get(site, path)
        assert (told.status, await told.read()) == (read.status, b"")
        for name in ("ETag", "Last-Modified", "Content-Type", "Content-Length"):
            assert told.headers.get(name) == read.headers.get(name)


async def test_only_the_current_version_is_told(site: RealSite, store: Store) -> None:
    await grant(site, "g")
    await Groups(store.readers).create("mine", "Mine", ["a"])
    await grant(site, "mine")
    first = await get(site, "Patient/a/_history/1")
    assert (first.status, first.headers["ETag"]) == (200, 'W/"1"')
    await store.load({**patient("a"), "active": True})
    paths = ("Patient/a/_history/2", "Patient/a/_history/1", "Patient/a/_history/x", "Patient/b/_history/1")
    assert await statuses(site, token(site), *paths) == [200, 404, 404, 404]
    await store.loader.delete([("Patient", "a")])
    assert await statuses(site, token(site), "Patient/a/_history/2") == [404]
    version = (await get(site, "Group/mine")).headers["ETag"].strip('W/"')
    assert await statuses(site, token(site), f"Group/mine/_history/{version}") == [200]


async def test_a_search_by_a_form_is_the_search_by_its_address(site: RealSite, store: Store) -> None:
    await grant(site, "g")

    async def search(query: str, **form: Any) -> ClientResponse:
        return await site.post(f"/fhir/Observation/_search{query}", headers=token(site), **form)

    expected = await (await get(site, "Observation?_id=a1,b1&category=laboratory")).json(content_type=None)
    for query, fields in (
        ("", {"_id": "a1,b1", "category": "laboratory"}),
        ("?_id=a1,b1", {"category": "laboratory"}),
        ("?_id=a1,b1&category=laboratory", None),
    ):
        answer = await search(query, data=fields)
        assert (answer.status, await answer.json(content_type=None)) == (200, expected)
    page = await (await search("", data={"_count": "1"})).json(content_type=None)
    (following,) = [link["url"] for link in page["link"] if link["relation"] == "next"]
    assert (await get(site, following.removeprefix(FHIR + "/"))).status == 200
    for form, status in (
        ({"data": {"unheard": "1"}}, 400),
        ({"data": {"_id": "a\0"}}, 400),
        ({"data": {"_format": "xml"}}, 406),
        ({"json": {"_id": "a1"}}, 415),
        ({"data": {f"f{number}": "x" for number in range(2000)}}, 400),
    ):
        answer = await search("", **form)
        shown = await answer.json(content_type="application/fhir+json")
        assert (answer.status, shown["resourceType"]) == (status, "OperationOutcome")


async def test_who_may_not_see_it_costs_the_same_whether_it_is_there_or_not(
    site: RealSite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that took another statement would tell by its time what it does not tell by its words."""
    await store.load(group("it", "b"), binary("it"))
    await grant(site, "g")
    asked: list[str] = []
    for name in ("fetch", "fetchval", "fetchrow"):
        monkeypatch.setattr(asyncpg.Pool, name, noting(getattr(asyncpg.Pool, name), asked))
    for path in ("Patient/b", "Observation/b1", "Organization/o", "Group/it", "Binary/it"):
        work = []
        for id_ in (path, f"{path.partition('/')[0]}/no"):
            asked.clear()
            assert (await get(site, id_)).status == 404
            work.append([query for query in asked if "fhir." in query])
        assert work[0] == work[1] != []


def noting(method: Any, asked: list[str]) -> Any:
    async def noted(pool: asyncpg.Pool, query: str, *arguments: Any, **more: Any) -> Any:
        asked.append(query)
        return await method(pool, query, *arguments, **more)

    return noted


async def test_what_was_deleted_is_gone_for_who_could_see_it_and_never_was_for_others(
    site: RealSite, store: Store
) -> None:
    await grant(site, "g")
    await store.loader.delete([("Observation", "a1"), ("Observation", "b1")])
    assert await statuses(site, token(site), "Observation/a1", "Observation/b1") == [410, 404]
    assert await found(site, "Observation") == {"Observation/a2"}
    limited = token(site, "system/Observation.rs?category=laboratory")
    assert await statuses(site, limited, "Observation/a1") == [404]


async def test_searches_by_parameters_find_what_they_should_page_by_page(
    site: RealSite, store: Store
) -> None:
    await grant(site)
    await store.load(*(observation(f"v{number}", "c", "vital-signs") for number in range(30)))
    vital = {f"Observation/v{number}" for number in range(30)}
    assert await found(site, "Observation?category=vital-signs&_count=7") == vital
    assert await found(site, "Observation?patient=a") == {"Observation/a1", "Observation/a2"}
    both = {f"Observation/{name}{number}" for name in "ab" for number in (1, 2)}
    assert await found(site, "Observation?patient=Patient/a,b") == both
    assert await found(site, "Observation?subject=Patient/c&category=laboratory") == {
        "Observation/c1",
        "Observation/c2",
    }
    assert await found(site, "Patient?identifier=urn:x|b") == {"Patient/b"}
    assert await found(site, "Patient?_lastUpdated=gt2999-01-01") == set()
    assert len(await found(site, "Patient?_lastUpdated=gt2001-01-01")) == 3
    counted = await (await get(site, "Observation?_summary=count")).json(content_type=None)
    assert (counted["total"], "entry" in counted) == (36, False)


async def test_groups_are_found_by_id_identifier_and_name_whoever_manages_them(
    site: RealSite, store: Store
) -> None:
    groups = Groups(store.readers)
    await groups.create("mine", "Managed cohort", ["a", "c"])
    await store.load(group("i", "c", identifier=[{"system": "urn:g", "value": "7"}], name="Other"))
    await grant(site)
    assert await found(site, "Group?_count=2") == {"Group/g", "Group/h", "Group/i", "Group/mine"}
    assert await found(site, "Group?identifier=urn:g|7") == {"Group/i"}
    assert await found(site, "Group?name=cohort") == {"Group/g", "Group/h"}
    assert await found(site, "Group?name:contains=COHORT") == {"Group/g", "Group/h", "Group/mine"}
    assert await found(site, "Group?name:exact=Other") == {"Group/i"}
    assert await found(site, "Group?_id=mine,h") == {"Group/h", "Group/mine"}
    shown = await (await get(site, "Group/mine")).json(content_type=None)
    assert [member["entity"]["reference"] for member in shown["member"]] == ["Patient/a", "Patient/c"]
    before = (await get(site, "Group/mine")).headers["ETag"]
    await groups.add("mine", ["b"])
    assert (await get(site, "Group/mine")).headers["ETag"] != before
    counted = await (await get(site, "Group?_summary=count")).json(content_type=None)
    assert counted["total"] == 4


async def test_a_managed_group_is_seen_with_a_grant_of_it_only(site: RealSite, store: Store) -> None:
    await Groups(store.readers).create("mine", "Mine", ["a", "b"])
    await grant(site, "g")
    assert await statuses(site, token(site), "Group/mine") == [404]
    assert await found(site, "Group") == {"Group/g"}
    await grant(site, "mine")
    assert await statuses(site, token(site), "Group/mine", "Patient/b") == [200, 200]
    assert await found(site, "Group") == {"Group/g", "Group/mine"}
    await Groups(store.readers).remove("mine", ["b"])
    assert await statuses(site, token(site), "Patient/b") == [404]


@pytest.mark.parametrize(
    "query",
    [
        "_count=x",
        "_count=-1",
        "_sort=_id",
        "_include=Observation:subject",
        "unheard=1",
        "patient.name=x",
        "_summary=text",
        "date=yesterday",
        "_cursor=x1",
        "_cursor=rx",
        "category=laboratory&_summary=count",
    ],
)
async def test_a_search_that_cannot_be_done_as_asked_is_refused(
    site: RealSite, store: Store, query: str
) -> None:
    await grant(site)
    answer = await get(site, f"Observation?{query}")
    body = await answer.json(content_type="application/fhir+json")
    assert (answer.status, body["resourceType"]) == (400, "OperationOutcome"), body


async def test_a_lenient_search_leaves_out_what_cannot_be_used(site: RealSite, store: Store) -> None:
    await grant(site)
    answer = await get(site, "Patient?unheard=1&_id=a", token(site), Prefer="handling=lenient")
    bundle = await answer.json(content_type=None)
    assert (answer.status, bundle["total"], bundle["link"][0]["url"]) == (200, 1, f"{FHIR}/Patient?_id=a")


async def test_a_binary_is_read_as_what_it_holds_or_as_a_resource(site: RealSite, store: Store) -> None:
    data = b"\x00<script>"
    await store.load(binary("one", data))
    await grant(site)
    raw = await get(site, "Binary/one", token(site), Accept="*/*")
    assert (raw.status, await raw.read(), raw.content_type) == (200, data, "text/html")
    assert raw.headers["Content-Disposition"] == "attachment"
    assert "sandbox" in raw.headers["Content-Security-Policy"]
    shown = await get(site, "Binary/one", token(site), Accept="application/fhir+json")
    assert base64.b64decode((await shown.json(content_type=None))["data"]) == data


def binary(id_: str, data: bytes = b"x", context: str | None = None) -> Json:
    of = {} if context is None else {"securityContext": {"reference": context}}
    content = base64.b64encode(data).decode()
    return {"resourceType": "Binary", "id": id_, "contentType": "text/html", "data": content, **of}


def document(id_: str, of: str, url: str) -> Json:
    return {
        "resourceType": "DocumentReference",
        "id": id_,
        "status": "current",
        "subject": {"reference": f"Patient/{of}"},
        "content": [{"attachment": {"url": url}}],
    }


async def test_an_attachment_is_read_by_who_sees_its_document_or_whose_it_says_it_is(
    site: RealSite, store: Store
) -> None:
    await store.load(
        *(binary(id_) for id_ in ("of-a", "of-a2", "of-b", "nobodys")),
        binary("says-a", context="Patient/a"),
        binary("says-b", context="Patient/b"),
        binary("says-b-too", context="Patient/b"),
        document("1", "a", "Binary/of-a"),
        document("2", "a", f"{FHIR}/Binary/of-a2"),
        document("3", "b", "Binary/of-b"),
        # Somebody's document does not open what says that it is somebody else's.
        document("4", "a", "Binary/says-b-too"),
        document("5", "a", "https://elsewhere.test/Binary/nobodys"),
    )
    await grant(site, "g")
    seen = ("Binary/of-a", "Binary/of-a2", "Binary/says-a")
    hidden = ("Binary/of-b", "Binary/says-b", "Binary/says-b-too", "Binary/nobodys")
    assert await statuses(site, token(site), *seen) == [200, 200, 200]
    assert await statuses(site, token(site), *hidden) == [404, 404, 404, 404]
    no_documents = token(site, "system/Binary.rs system/Patient.rs")
    assert await statuses(site, no_documents, "Binary/of-a", "Binary/says-a") == [404, 200]


async def test_only_json_is_given(site: RealSite, store: Store) -> None:
    await grant(site)
    for path in ("Patient/a", "Patient"):
        assert (await get(site, path, token(site), Accept="application/fhir+xml")).status == 406
        assert (await get(site, f"{path}?_format=xml")).status == 406
        assert (await get(site, f"{path}?_format=json", token(site), Accept="text/html, */*")).status == 200


async def test_resources_of_odd_shapes_are_read_and_fail_no_search(site: RealSite, store: Store) -> None:
    await store.load(*LINES)
    await grant(site)
    for line in LINES:
        named = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        type_, id_ = (msgspec.json.decode(named[name], type=str) for name in ("resourceType", "id"))
        answer = await get(site, f"{type_}/{id_}", Accept="application/fhir+json")
        assert answer.status == 200
        kept = msgspec.json.decode(await answer.read(), type=dict[str, msgspec.Raw])
        assert {name: kept[name] for name in named if name != "meta"} == {
            name: raw for name, raw in named.items() if name != "meta"
        }
    assert (await get(site, "Binary/odd")).status == 406
    for path, left in (
        (
            "Observation?code:missing=false&date:missing=true",
            {f"Observation/{name}" for name in ("a1", "odd1")},
        ),
        ("Observation?subject=Patient/p", {"Observation/odd1"}),
        ("Patient?gender:not=female", {"Patient/a", "Patient/early"}),
        ("Provenance?target=Patient/p", {"Provenance/odd1"}),
        ("Group?type=person", {"Group/g"}),
        ("DocumentReference?location=Binary/b", set()),
    ):
        assert left <= await found(site, path), path
    # A search of scopes' holds as well, and a Binary is looked for in documents beside an odd one.
    limited = token(site, "system/Observation.rs?category=laboratory")
    assert "Observation/a1" in await found(site, "Observation", limited)
    await store.load(
        {"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": "eA=="},
        {
            "resourceType": "DocumentReference",
            "id": "plain",
            "subject": {"reference": "Patient/a"},
            "content": [{"attachment": {"url": "Binary/b"}}],
        },
        b'{"resourceType":"DocumentReference","id":"odd2","subject":{"reference":"Patient/a"},'
        b'"content":[{"attachment":{"url":["Binary/b"]}},7,{"attachment":"Binary/b"}],"x":"Binary/b"}',
    )
    await grant(site, "g", client="other")
    other = token(site, client="other")
    assert await (await get(site, "Binary/b", other)).read() == b"x"
    assert (await get(site, "Binary/odd", other)).status == 404
