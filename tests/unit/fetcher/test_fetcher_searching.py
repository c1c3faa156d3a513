"""Documents are searched for together where that works; what a search does not give is left to reads."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import pytest

from sluice_contracts.commands import FetchDocuments, ScrapeDocuments
from sluice_contracts.errors import ItemError
from sluice_fetcher.fetching import Fetching
from sluice_fetcher.searching import Searching
from sluice_fhir.client import FetchedResource
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_security.http_budget import MemoryBudget
from sluice_streaming.messages import Delivery
from support.fetcher_memory import JOB, NOW, MemoryDocuments, MemorySources, ScriptedReader, start

SOURCE = Source(id="s1", name="s", base_url="https://h.example")
_SAYS = {
    "rest": [
        {
            "mode": "server",
            "resource": [
                {
                    "type": "DocumentReference",
                    "interaction": [{"code": "search-type"}],
                    "searchParam": [{"name": "_id"}],
                }
            ],
        }
    ]
}
REFERENCES = {number: f"https://h.example/DocumentReference/{number}" for number in range(25)}
ALL = [str(number) for number in REFERENCES]
GONE = SourceFailure(ItemError.SOURCE_REJECTED, 400)
AWAY = SourceFailure(ItemError.SOURCE_UNAVAILABLE, 503, retry=True)


class Server:
    """Answers searches with what it has, and counts what it was asked."""

    def __init__(self) -> None:
        self.statement: dict[str, Any] | SourceFailure = _SAYS
        self.has = dict.fromkeys(ALL, b"x" * 10)
        self.fails: SourceFailure | None = None
        self.page = 1000
        self.asked: list[list[str]] = []
        self.statements = 0

    async def find(
        self, _source: Source, kind: str, ids: Collection[str], *, limit: int, hold: Any = None
    ) -> Mapping[str, FetchedResource]:
        assert limit > 0
        assert hold is not None
        self.asked.append(list(ids))
        if self.fails is not None:
            raise self.fails
        found = [name for name in ids if name in self.has][: self.page]
        return {name: FetchedResource(self.has[name], kind, name, None, "1") for name in found}

    async def get_json(self, _source: Source, url: str, *, expected: str) -> FetchedResource:
        assert url == "https://h.example/metadata"
        self.statements += 1
        if isinstance(self.statement, SourceFailure):
            raise self.statement
        return FetchedResource(msgspec.json.encode(self.statement), expected, None, None, None)


class Site:
    def __init__(self) -> None:
        self.now = 0.0
        self.server = Server()
        self.searching = Searching(self.server, MemoryBudget(10**6, free=100), lambda: self.now)

    async def read(self, references: Mapping[int, str] = REFERENCES, source: Source = SOURCE) -> set[int]:
        found = await self.searching.read(source, references)
        await asyncio.sleep(0)  # what it began to learn
        await asyncio.sleep(0)
        return set(found)


@pytest.fixture
async def site() -> Site:
    made = Site()
    assert await made.read() == set(), "what a source can do is learned beside its first documents"
    assert made.server.asked == []
    return made


async def test_a_lot_is_one_search_at_a_source_that_says_that_it_answers_it(site: Site) -> None:
    assert await site.read() == set(REFERENCES)
    assert site.server.asked == [ALL]
    assert site.server.statements == 1


@pytest.mark.parametrize("statement", [{}, GONE, AWAY])
async def test_a_source_that_does_not_say_so_is_never_searched(statement: Any) -> None:
    site = Site()
    site.server.statement = statement
    assert [await site.read() for _ in range(3)] == [set()] * 3
    assert site.server.asked == []
    assert site.server.statements == 1
    site.now += 601
    site.server.statement = _SAYS
    await site.read()
    assert await site.read() == set(REFERENCES), "it is asked again later"


async def test_what_a_search_does_not_give_is_left_out(site: Site) -> None:
    del site.server.has["3"]
    site.server.has["4"] = b"x" * 101
    assert await site.read() == set(REFERENCES) - {3, 4}
    assert await site.read() == set(REFERENCES) - {3, 4}


async def test_only_current_documents_below_the_base_itself_are_searched_for(site: Site) -> None:
    references = {
        0: "https://h.example/DocumentReference/1/_history/2",
        1: "https://h.example/tenant/DocumentReference/1",
        2: "https://other.example/DocumentReference/1",
        3: "https://h.example/Patient/1",
        4: "https://h.example/DocumentReference/2",
        5: "https://h.example/DocumentReference/2",
        6: "https://h.example/DocumentReference/7",
    }
    assert await site.read(references) == {4, 5, 6}
    assert site.server.asked == [["2", "7"]]
    assert await site.read({4: references[4]}) == set()
    assert len(site.server.asked) == 1, "one alone is read as it always is"


@pytest.mark.parametrize(("failure", "pause"), [(GONE, 601), (AWAY, 31)])
async def test_after_a_search_that_failed_there_is_none_for_a_while(
    site: Site, failure: SourceFailure, pause: float
) -> None:
    site.server.fails = failure
    assert await site.read() == await site.read() == set()
    assert len(site.server.asked) == 1
    site.server.fails = None
    site.now += pause
    await site.read()
    assert await site.read() == set(REFERENCES)


async def test_a_source_that_holds_us_back_is_searched_again(site: Site) -> None:
    site.server.fails = SourceFailure(ItemError.SOURCE_THROTTLED, retry=True, after=9.0, counts=False)
    assert await site.read() == set()
    site.server.fails = None
    assert await site.read() == set(REFERENCES)


async def test_answers_that_are_too_large_make_searches_smaller_until_there_are_none(site: Site) -> None:
    site.server.fails = SourceFailure(ItemError.DOCUMENT_TOO_LARGE, 200)
    for _ in range(10):
        await site.read()
    sizes = [len(ids) for ids in site.server.asked]
    assert sizes[0] == 25
    assert sizes[-1] in (2, 3)
    assert sizes == sorted(sizes, reverse=True)
    before = len(sizes)
    assert await site.read() == set()
    assert len(site.server.asked) == before


async def test_pages_that_are_short_make_searches_as_short(site: Site) -> None:
    site.server.page = 10
    assert await site.read() == set(range(10))
    assert await site.read() == set(REFERENCES)
    assert [len(ids) for ids in site.server.asked] == [25, 10, 10, 5]


async def test_a_source_that_takes_one_id_alone_is_not_searched_again(site: Site) -> None:
    site.server.page = 1
    assert await site.read() == {0}
    assert await site.read() == set()


async def test_what_a_changed_source_can_do_is_learned_anew(site: Site) -> None:
    changed = msgspec.structs.replace(SOURCE, revision=2)
    assert await site.read(source=changed) == set()
    assert await site.read(source=changed) == set(REFERENCES)
    assert site.server.statements == 2


async def test_a_lot_takes_what_the_search_gives_and_reads_the_rest(site: Site) -> None:
    documents = MemoryDocuments()
    await documents.plan(start(4))
    reader = ScriptedReader({REFERENCES[1]: b"read"})
    del site.server.has["1"], site.server.has["2"]
    site.server.has["0"] = b"found"
    fetching = Fetching(
        documents,
        MemorySources({"s1": SOURCE}),
        reader,
        MemoryBudget(1000),
        lambda: NOW,
        searching=site.searching,
    )
    fetching._lots.patience = 3600.0  # these deliveries cannot pass a part on
    for _ in range(2):
        command = FetchDocuments(job=JOB, items=(0, 1, 2, 3))
        messages = await fetching.handle(Delivery(command, None))
        (onward,) = [it.body for it in messages if isinstance(it.body, ScrapeDocuments)]
        assert onward.items == (0, 1, 3), "and twice the same"
    assert reader.asked == [REFERENCES[1], REFERENCES[2], REFERENCES[2]]
    assert site.server.asked == [["0", "1", "2", "3"]]
    assert {item: body.data for (_, item), body in documents.bodies.items()} == {
        0: b"found",
        1: b"read",
        3: b"x" * 10,
    }


async def test_its_end_ends_what_it_is_learning() -> None:
    class Silent(Server):
        async def get_json(self, *_args: Any, **_more: Any) -> FetchedResource:
            await asyncio.Event().wait()
            raise AssertionError

    searching = Searching(Silent(), MemoryBudget(1))
    assert await searching.read(SOURCE, REFERENCES) == {}
    async with asyncio.timeout(120):
        await searching.close()
