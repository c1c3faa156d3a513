"""Dead letters over HTTP: for operators, and never what they hold."""

from sluice_contracts.topics import DOCUMENT_FETCH, Topic
from sluice_streaming.letters_reading import DeadTopic, Letter
from sluice_streaming.outcomes import Unavailable
from support.gateway_memory import memory_gateway

LETTER = Letter("malformed", None, "document.fetch", 4, 17, 3, 1_790_000_000.0, "ab" * 32)
LIST, REDRIVE = "/v2/ops/dead-letters", "/v2/ops/dead-letters/redrive"


class Log:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.away = False

    async def look(self) -> list[DeadTopic]:
        if self.away:
            raise Unavailable("kafka")
        return [DeadTopic("document.fetch", 1, [LETTER])]

    async def redrive(self, topic: Topic, limit: int) -> int:
        self.asked.append((topic.name, limit))
        return 1


async def test_operators_see_coordinates_and_codes_and_have_letters_tried_again() -> None:
    log = Log()
    async with memory_gateway(dead_letters=(log.look, log.redrive)) as site:
        headers = site.bearer(scopes="ops/dead-letters")
        found = await (await site.get(LIST, headers=headers)).json()
        assert found == {
            "items": [
                {
                    "topic": "document.fetch",
                    "waiting": 1,
                    "redrivable": True,
                    "letters": [
                        {
                            "code": "malformed",
                            "status": None,
                            "origin_topic": "document.fetch",
                            "origin_partition": 4,
                            "origin_offset": 17,
                            "attempts": 3,
                            "died_at": "2026-09-21T14:13:20Z",
                            "sha256": "ab" * 32,
                        }
                    ],
                }
            ]
        }
        done = await site.post(REDRIVE, headers=headers, json={"topic": DOCUMENT_FETCH.name, "limit": 7})
        assert await done.json() == {"topic": "document.fetch", "redriven": 1}
        assert log.asked == [("document.fetch", 7)]


async def test_a_topic_without_dead_letters_and_a_limit_out_of_bounds_are_refused() -> None:
    log = Log()
    async with memory_gateway(dead_letters=(log.look, log.redrive)) as site:
        headers = site.bearer(scopes="ops/dead-letters")
        for body in ({"topic": "jobs.events"}, {"topic": "document.fetch", "limit": 0}, {"topic": "x" * 300}):
            assert (await site.post(REDRIVE, headers=headers, json=body)).status == 400
        assert log.asked == []


async def test_letters_of_work_that_was_settled_as_failed_are_shown_and_not_tried_again() -> None:
    log = Log()
    async with memory_gateway(dead_letters=(log.look, log.redrive)) as site:
        headers = site.bearer(scopes="ops/dead-letters")
        for topic in ("jobs.bulk-import", "bulk-import.files", "jobs.bulk-export", "bulk-export.parts"):
            refused = await site.post(REDRIVE, headers=headers, json={"topic": topic})
            assert (refused.status, "start the job again" in await refused.text()) == (400, True)
        assert log.asked == []


async def test_others_may_not_and_a_log_that_is_away_is_said() -> None:
    log = Log()
    async with memory_gateway(dead_letters=(log.look, log.redrive)) as site:
        for scopes in ("bulk/import files/read", "ops/sources"):
            assert (await site.get(LIST, headers=site.bearer(scopes=scopes))).status == 403
        log.away = True
        assert (await site.get(LIST, headers=site.bearer(scopes="ops/dead-letters"))).status == 503
